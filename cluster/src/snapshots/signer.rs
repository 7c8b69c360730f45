//! Signs snapshots, and knows its own again.

use crate::signing::{KeyError, Keys, Signature};

/// Signs snapshots with a key of the cluster's, and knows its own again. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Signer(Keys);

impl Signer {
    /// Signs with the first of these keys, and takes what any of them has signed: to change keys, put the new one in front
    /// everywhere and keep the old one behind it until no snapshot is left that it has signed.
    ///
    /// A key is the text of a key that was derived from the cluster's secret for snapshots, and nothing else.
    pub fn new<K: AsRef<[u8]>>(cluster: &str, keys: impl IntoIterator<Item = K>) -> Result<Self, KeyError> {
        Keys::new("streamfleet snapshot", cluster, keys).map(Self)
    }

    /// Signs a manifest.
    pub(super) fn sign(&self, manifest: &[u8]) -> Signature {
        self.0.sign(manifest)
    }

    /// Whether a manifest was signed with one of the keys.
    pub(super) fn verify(&self, manifest: &[u8], signature: &[u8]) -> bool {
        self.0.verify(manifest, signature)
    }
}
