//! Signs snapshots, and knows its own again.

use std::{fmt, sync::Arc};

use hmac::{Hmac, Mac as _};
use sha2::Sha256;

/// Written in front of all that is signed, so that no signature made for something else with the same key fits.
const PURPOSE: &str = "streamfleet snapshot";

/// HMAC-SHA-256 over the purpose, the cluster's name, and the manifest.
pub(super) type Signature = [u8; 32];

/// Signs snapshots with a key of the cluster's, and knows its own again. Cheap to clone.
#[derive(Clone)]
pub struct Signer {
    /// Which have taken up the purpose and the cluster's name. The first signs.
    keys: Arc<[Hmac<Sha256>]>,
}

/// There is no key to sign snapshots with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("there is no key to sign snapshots with")]
pub struct KeyError;

impl Signer {
    /// Signs with the first of these keys, and takes what any of them has signed: to change keys, put the new one in front
    /// everywhere and keep the old one behind it until no snapshot is left that it has signed.
    ///
    /// A key is the text of a key that was derived from the cluster's secret for snapshots, and nothing else.
    pub fn new<K: AsRef<[u8]>>(cluster: &str, keys: impl IntoIterator<Item = K>) -> Result<Self, KeyError> {
        let prepare = |key: K| {
            let key = Some(key.as_ref()).filter(|key| !key.is_empty()).ok_or(KeyError)?;
            let mut mac = Hmac::<Sha256>::new_from_slice(key).map_err(|_| KeyError)?;
            for text in [PURPOSE, cluster] {
                // With its length, so that what follows can't be taken for more of it.
                mac.update(&u64::try_from(text.len()).map_err(|_| KeyError)?.to_be_bytes());
                mac.update(text.as_bytes());
            }
            Ok(mac)
        };
        let keys: Arc<[_]> = keys.into_iter().map(prepare).collect::<Result<_, _>>()?;
        if keys.is_empty() { Err(KeyError) } else { Ok(Self { keys }) }
    }

    /// Signs a manifest.
    pub(super) fn sign(&self, manifest: &[u8]) -> Signature {
        // There is a first one: `new` sees to it.
        let mac = self.keys.first().map(|key| key.clone().chain_update(manifest).finalize());
        mac.map(|mac| mac.into_bytes().into()).unwrap_or_default()
    }

    /// Whether a manifest was signed with one of the keys. Takes as long for every wrong signature.
    pub(super) fn verify(&self, manifest: &[u8], signature: &[u8]) -> bool {
        self.keys.iter().any(|key| key.clone().chain_update(manifest).verify_slice(signature).is_ok())
    }
}

impl fmt::Debug for Signer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn signer(cluster: &str, keys: &[&str]) -> Signer {
        Signer::new(cluster, keys).unwrap()
    }

    #[test]
    fn only_the_same_cluster_and_key_fit() {
        let signature = signer("one", &["key"]).sign(b"text");
        assert!(signer("one", &["key"]).verify(b"text", &signature));
        for other in [signer("one", &["yek"]), signer("two", &["key"]), signer("on", &["key"])] {
            assert!(!other.verify(b"text", &signature));
            assert!(!other.verify(b"etext", &signature), "the end of a name counts for a text's beginning");
        }
        assert_eq!(format!("{:?}", signer("one", &["key"])), "***");
    }

    #[test]
    fn every_bit_of_text_and_signature_counts() {
        let signer = signer("one", &["key"]);
        let (text, signature) = (*b"text", signer.sign(b"text"));
        for bit in 0..text.len() * 8 {
            let mut altered = text;
            altered[bit / 8] ^= 1 << (bit % 8);
            assert!(!signer.verify(&altered, &signature));
        }
        for bit in 0..signature.len() * 8 {
            let mut altered = signature;
            altered[bit / 8] ^= 1 << (bit % 8);
            assert!(!signer.verify(&text, &altered));
        }
        for length in 0..signature.len() {
            assert!(!signer.verify(&text, &signature[..length]));
        }
    }

    #[test]
    fn keys_can_be_changed() {
        let (old, both, new) = (signer("c", &["old"]), signer("c", &["new", "old"]), signer("c", &["new"]));
        assert!(both.verify(b"text", &old.sign(b"text")));
        assert!(new.verify(b"text", &both.sign(b"text")));
        assert!(!old.verify(b"text", &both.sign(b"text")));
    }

    #[test]
    fn nothing_is_signed_without_a_key() {
        assert!(Signer::new("c", [""; 0]).is_err());
        assert!(Signer::new("c", ["key", ""]).is_err());
    }
}
