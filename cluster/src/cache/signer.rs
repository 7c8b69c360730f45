//! Signs values, and knows its own again.

use sha2::{Digest as _, Sha256};

use super::{ValueKey, value::Part};
use crate::signing::{KeyError, Keys, Signature};

/// Signs values with a key of the cluster's, and knows its own again. Cheap to clone.
#[derive(Debug, Clone)]
pub struct CacheSigner(Keys);

/// What a stored part is: its length and its SHA-256.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct PartDigest {
    pub(super) length: u32,
    pub(super) sha256: [u8; 32],
}

impl PartDigest {
    pub(super) fn of(part: &Part) -> Self {
        let mut hash = Sha256::new();
        part.pieces().into_iter().for_each(|piece| hash.update(piece));
        Self { length: u32::try_from(part.stored_bytes()).unwrap_or(u32::MAX), sha256: hash.finalize().into() }
    }
}

impl CacheSigner {
    /// Signs with the first of these keys, and takes what any of them has signed. What was signed with another is forgotten.
    ///
    /// A key is the text of a key that was derived from the cluster's secret for this cache, and nothing else.
    pub fn new<K: AsRef<[u8]>>(cluster: &str, keys: impl IntoIterator<Item = K>) -> Result<Self, KeyError> {
        Keys::new("streamfleet cached value", cluster, keys).map(Self)
    }

    /// Signs a value of so many bytes, for this place and no other.
    pub(super) fn sign(&self, revision: &str, key: &ValueKey, size: u64, parts: &[PartDigest]) -> Signature {
        self.0.sign(&text(revision, key, size, parts))
    }

    /// Whether a value was signed with one of the keys, for this place.
    pub(super) fn verify(
        &self,
        revision: &str,
        key: &ValueKey,
        size: u64,
        parts: &[PartDigest],
        signature: &[u8],
    ) -> bool {
        self.0.verify(&text(revision, key, size, parts), signature)
    }
}

/// What is signed. Everything has its length in front, or always the same.
fn text(revision: &str, key: &ValueKey, size: u64, parts: &[PartDigest]) -> Vec<u8> {
    let mut text = Vec::new();
    for name in [revision, &key.function, &key.call] {
        text.extend((name.len() as u64).to_be_bytes());
        text.extend(name.as_bytes());
    }
    text.extend(size.to_be_bytes());
    for part in parts {
        text.extend(part.length.to_be_bytes());
        text.extend(part.sha256);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(function: &str, call: &str) -> ValueKey {
        ValueKey { function: function.into(), call: call.into() }
    }

    fn part(data: &'static [u8]) -> PartDigest {
        PartDigest::of(&Part::read(&data.into()).unwrap())
    }

    #[test]
    fn a_signature_is_for_one_place_and_one_value() {
        let signer = CacheSigner::new("c", ["key"]).unwrap();
        let parts = [part(b"\0one"), part(b"\0two")];
        let signature = signer.sign("r", &key("f", "call"), 6, &parts);
        let fits = |revision: &str, function: &str, call: &str, size: u64, parts: &[PartDigest]| {
            signer.verify(revision, &key(function, call), size, parts, &signature)
        };
        assert!(fits("r", "f", "call", 6, &parts));
        assert!(!fits("s", "f", "call", 6, &parts));
        assert!(!fits("r", "g", "call", 6, &parts));
        assert!(!fits("r", "fc", "all", 6, &parts));
        assert!(!fits("r", "f", "calm", 6, &parts));
        assert!(!fits("r", "f", "call", 7, &parts));
        assert!(!fits("r", "f", "call", 6, &parts[..1]));
        assert!(!fits("r", "f", "call", 6, &[parts[1], parts[0]]));
        assert!(!fits("r", "f", "call", 6, &[parts[0], part(b"\0tow")]));
        // Packed or not is no matter of taste.
        assert!(!fits("r", "f", "call", 6, &[parts[0], part(b"\x01two")]));
    }

    #[test]
    fn other_keys_and_clusters_do_not_fit() {
        let sign =
            |cluster: &str, keys: &[&str]| CacheSigner::new(cluster, keys).unwrap().sign("r", &key("f", "c"), 0, &[]);
        let verifies = |signature: Signature| {
            let signer = CacheSigner::new("c", ["new", "old"]).unwrap();
            signer.verify("r", &key("f", "c"), 0, &[], &signature)
        };
        assert!(verifies(sign("c", &["old"])) && verifies(sign("c", &["new"])));
        assert!(!verifies(sign("c", &["another"])) && !verifies(sign("d", &["old"])));
    }
}
