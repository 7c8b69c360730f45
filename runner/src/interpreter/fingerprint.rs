//! Names things by what they are made of.

use std::fmt::Write;

use sha2::{Digest, Sha256};

/// A hash over parts, each kept apart from the next.
#[derive(Debug, Clone, Default)]
pub(super) struct Fingerprint(Sha256);

impl Fingerprint {
    pub(super) fn add(&mut self, part: &[u8]) {
        self.0.update(part.len().to_le_bytes());
        self.0.update(part);
    }

    /// The first `length` bytes, in hexadecimal.
    pub(super) fn hex(&self, length: usize) -> String {
        let mut hex = String::with_capacity(2 * length);
        for byte in self.0.clone().finalize().iter().take(length) {
            // Writing to a string cannot fail.
            let _ = write!(hex, "{byte:02x}");
        }
        hex
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(parts: &[&str]) -> String {
        let mut fingerprint = Fingerprint::default();
        for part in parts {
            fingerprint.add(part.as_bytes());
        }
        fingerprint.hex(10)
    }

    #[test]
    fn the_same_parts_and_nothing_else_give_the_same_name() {
        assert_eq!(of(&["a", "b"]), of(&["a", "b"]));
        assert_eq!(of(&["a"]).len(), 20);
        assert_ne!(of(&["a", "b"]), of(&["ab"]));
        assert_ne!(of(&["a", "b"]), of(&["b", "a"]));
    }
}
