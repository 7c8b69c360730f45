//! The cluster's secret, from which everything is derived that all runners must agree on and nobody else may know.

use std::{fmt, io::Write as _, os::unix::fs::OpenOptionsExt as _, path::Path};

use anyhow::{Context as _, Result, bail};
use hmac::{Hmac, Mac as _};
use sha2::Sha256;
use uuid::Uuid;

/// Shorter texts are no secret.
const MIN_CHARACTERS: usize = 32;

/// The purpose of the key that signs the cookies of `st.login` and XSRF protection.
pub(crate) const COOKIES: &str = "cookies";

/// The purpose of the key that signs sessions' snapshots.
pub(crate) const SNAPSHOTS: &str = "snapshots";

/// The cluster's secret. Never shown.
#[derive(Clone)]
pub(crate) struct ClusterSecret(String);

impl ClusterSecret {
    /// A secret for a cluster that is one process: 244 random bits.
    pub(crate) fn random() -> Self {
        Self(format!("{}{}", Uuid::new_v4().simple(), Uuid::new_v4().simple()))
    }

    /// The secret that this folder has had since it was first used.
    pub(crate) fn of_folder(folder: &Path) -> Result<Self> {
        let path = folder.join("secret");
        std::fs::create_dir_all(folder).with_context(|| format!("cannot make the folder {}", folder.display()))?;
        let mut options = std::fs::OpenOptions::new();
        match options.write(true).create_new(true).mode(0o600).open(&path) {
            Ok(mut file) => {
                let secret = Self::random();
                file.write_all(secret.0.as_bytes()).with_context(|| format!("cannot write {}", path.display()))?;
                Ok(secret)
            }
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {
                Self::load(None, Some(&path))?.with_context(|| format!("{} holds no secret", path.display()))
            }
            Err(error) => Err(error).with_context(|| format!("cannot write {}", path.display())),
        }
    }

    /// The secret that is given, in itself or in a file.
    pub(crate) fn load(text: Option<&str>, file: Option<&Path>) -> Result<Option<Self>> {
        let text = match (text, file) {
            (Some(_), Some(_)) => bail!("secret and secret_file are both set: keep one"),
            (Some(text), None) => text.to_owned(),
            (None, Some(path)) => {
                std::fs::read_to_string(path).with_context(|| format!("cannot read secret_file {}", path.display()))?
            }
            (None, None) => return Ok(None),
        };
        let text = text.trim();
        if text.chars().count() < MIN_CHARACTERS {
            bail!("the secret is shorter than {MIN_CHARACTERS} characters; make one with: openssl rand -hex 32");
        }
        Ok(Some(Self(text.to_owned())))
    }

    /// A key for one purpose, of 64 hexadecimal digits. Who learns it learns neither the secret nor any other key.
    pub(crate) fn derive(&self, purpose: &str) -> Result<String> {
        let mut mac = Hmac::<Sha256>::new_from_slice(self.0.as_bytes()).context("an unusable secret")?;
        mac.update(purpose.as_bytes());
        Ok(format!("{:x}", mac.finalize().into_bytes()))
    }
}

impl fmt::Debug for ClusterSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_depend_on_secret_and_purpose() {
        let secret = |text: &str| ClusterSecret::load(Some(text), None).unwrap().unwrap();
        let (one, other) = (secret(&"a".repeat(32)), secret(&"b".repeat(40)));
        let key = one.derive("cookies").unwrap();
        assert_eq!(key.len(), 64);
        assert_eq!(key, one.derive("cookies").unwrap());
        assert_ne!(key, one.derive("snapshots").unwrap());
        assert_ne!(key, other.derive("cookies").unwrap());
        assert_eq!(format!("{one:?}"), "***");
    }

    #[test]
    fn secrets_come_from_one_place_and_are_long() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("secret");
        std::fs::write(&file, format!("{}\n", "s".repeat(32))).unwrap();
        let (from_file, given) = (ClusterSecret::load(None, Some(&file)), "s".repeat(32));
        let from_file = from_file.unwrap().unwrap().derive("x").unwrap();
        assert_eq!(from_file, ClusterSecret::load(Some(&given), None).unwrap().unwrap().derive("x").unwrap());
        assert!(ClusterSecret::load(None, None).unwrap().is_none());
        for refused in [
            ClusterSecret::load(Some("short"), None),
            ClusterSecret::load(Some(&given), Some(&file)),
            ClusterSecret::load(None, Some(&folder.path().join("none"))),
        ] {
            assert!(refused.is_err());
        }
    }
}
