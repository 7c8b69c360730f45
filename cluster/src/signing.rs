//! Signs what the cluster's runners put into a store, and knows it again when it comes out.

use std::{fmt, sync::Arc};

use hmac::{Hmac, Mac as _};
use sha2::Sha256;

/// HMAC-SHA-256 over a purpose, the cluster's name, and a text.
pub(crate) type Signature = [u8; 32];

/// Keys of the cluster's, for one purpose. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Keys {
    /// Which have taken up the purpose and the cluster's name. The first signs.
    keys: Arc<[Hmac<Sha256>]>,
}

/// There is no key to sign with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("there is no key to sign with")]
pub struct KeyError;

impl Keys {
    /// Signs with the first of these keys, and takes what any of them has signed. `purpose` goes in front of all that is signed,
    /// so that no signature made for something else with the same key fits.
    pub(crate) fn new<K: AsRef<[u8]>>(
        purpose: &str,
        cluster: &str,
        keys: impl IntoIterator<Item = K>,
    ) -> Result<Self, KeyError> {
        let prepare = |key: K| {
            let key = Some(key.as_ref()).filter(|key| !key.is_empty()).ok_or(KeyError)?;
            let mut mac = Hmac::<Sha256>::new_from_slice(key).map_err(|_| KeyError)?;
            for text in [purpose, cluster] {
                // With its length, so that what follows can't be taken for more of it.
                mac.update(&u64::try_from(text.len()).map_err(|_| KeyError)?.to_be_bytes());
                mac.update(text.as_bytes());
            }
            Ok(mac)
        };
        let keys: Arc<[_]> = keys.into_iter().map(prepare).collect::<Result<_, _>>()?;
        if keys.is_empty() { Err(KeyError) } else { Ok(Self { keys }) }
    }

    /// Signs a text.
    pub(crate) fn sign(&self, text: &[u8]) -> Signature {
        // There is a first one: `new` sees to it.
        let mac = self.keys.first().map(|key| key.clone().chain_update(text).finalize());
        mac.map(|mac| mac.into_bytes().into()).unwrap_or_default()
    }

    /// Whether a text was signed with one of the keys. Takes as long for every wrong signature.
    pub(crate) fn verify(&self, text: &[u8], signature: &[u8]) -> bool {
        self.keys.iter().any(|key| key.clone().chain_update(text).verify_slice(signature).is_ok())
    }
}

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(cluster: &str, keys: &[&str]) -> Keys {
        Keys::new("purpose", cluster, keys).unwrap()
    }

    #[test]
    fn only_the_same_purpose_cluster_and_key_fit() {
        let signature = keys("one", &["key"]).sign(b"text");
        assert!(keys("one", &["key"]).verify(b"text", &signature));
        let for_something_else = Keys::new("another purpose", "one", ["key"]).unwrap();
        for other in [keys("one", &["yek"]), keys("two", &["key"]), keys("on", &["key"]), for_something_else] {
            assert!(!other.verify(b"text", &signature));
            assert!(!other.verify(b"etext", &signature), "the end of a name counts for a text's beginning");
        }
        assert_eq!(format!("{:?}", keys("one", &["key"])), "***");
    }

    #[test]
    fn every_bit_of_text_and_signature_counts() {
        let keys = keys("one", &["key"]);
        let (text, signature) = (*b"text", keys.sign(b"text"));
        for bit in 0..text.len() * 8 {
            let mut altered = text;
            altered[bit / 8] ^= 1 << (bit % 8);
            assert!(!keys.verify(&altered, &signature));
        }
        for bit in 0..signature.len() * 8 {
            let mut altered = signature;
            altered[bit / 8] ^= 1 << (bit % 8);
            assert!(!keys.verify(&text, &altered));
        }
        for length in 0..signature.len() {
            assert!(!keys.verify(&text, &signature[..length]));
        }
    }

    #[test]
    fn keys_can_be_changed() {
        let (old, both, new) = (keys("c", &["old"]), keys("c", &["new", "old"]), keys("c", &["new"]));
        assert!(both.verify(b"text", &old.sign(b"text")));
        assert!(new.verify(b"text", &both.sign(b"text")));
        assert!(!old.verify(b"text", &both.sign(b"text")));
    }

    #[test]
    fn nothing_is_signed_without_a_key() {
        assert!(Keys::new("purpose", "c", [""; 0]).is_err());
        assert!(Keys::new("purpose", "c", ["key", ""]).is_err());
    }
}
