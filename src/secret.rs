//! The cluster's secret, from which everything is derived that all runners must agree on and nobody else may know; and the token
//! that operators show.

use std::{fmt, io::Write as _, os::unix::fs::OpenOptionsExt as _, path::Path};

use anyhow::{Context as _, Result, bail};
use hmac::{Hmac, Mac as _, digest::CtOutput};
use sha2::{Digest as _, Sha256};
use uuid::Uuid;

/// Shorter texts are no secret.
const MIN_CHARACTERS: usize = 32;

/// Shorter tokens can be guessed.
const MIN_TOKEN_CHARACTERS: usize = 16;

/// The purpose of the key that signs the cookies of `st.login` and XSRF protection.
pub(crate) const COOKIES: &str = "cookies";

/// The purpose of the key that signs sessions' snapshots.
pub(crate) const SNAPSHOTS: &str = "snapshots";

/// The purpose of the key that signs cached values.
pub(crate) const CACHE: &str = "cache";

/// The cluster's secret, and those that it had before or will have next: what any of them has signed is believed. Never shown.
#[derive(Clone)]
pub(crate) struct ClusterSecret {
    current: String,
    others: Vec<String>,
}

impl ClusterSecret {
    /// A secret for a cluster that is one process: 244 random bits.
    pub(crate) fn random() -> Self {
        Self { current: format!("{}{}", Uuid::new_v4().simple(), Uuid::new_v4().simple()), others: Vec::new() }
    }

    /// The secret that this folder has had since it was first used.
    pub(crate) fn of_folder(folder: &Path) -> Result<Self> {
        let path = folder.join("secret");
        std::fs::create_dir_all(folder).with_context(|| format!("cannot make the folder {}", folder.display()))?;
        let mut options = std::fs::OpenOptions::new();
        match options.write(true).create_new(true).mode(0o600).open(&path) {
            Ok(mut file) => {
                let secret = Self::random();
                file.write_all(secret.current.as_bytes())
                    .with_context(|| format!("cannot write {}", path.display()))?;
                Ok(secret)
            }
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {
                Self::load(None, Some(&path))?.with_context(|| format!("{} holds no secret", path.display()))
            }
            Err(error) => Err(error).with_context(|| format!("cannot write {}", path.display())),
        }
    }

    /// The secret that is given, in itself or in a file; of several lines the first one is the secret.
    pub(crate) fn load(text: Option<&str>, file: Option<&Path>) -> Result<Option<Self>> {
        let Some(text) = given("secret", text, file)? else {
            return Ok(None);
        };
        let mut secrets: Vec<_> =
            text.lines().map(str::trim).filter(|line| !line.is_empty()).map(str::to_owned).collect();
        if secrets.is_empty() || secrets.iter().any(|secret| secret.chars().count() < MIN_CHARACTERS) {
            bail!("the secret is shorter than {MIN_CHARACTERS} characters; make one with: openssl rand -hex 32");
        }
        Ok(Some(Self { current: secrets.remove(0), others: secrets }))
    }

    /// A key for one purpose, of 64 hexadecimal digits. Who learns it learns neither the secret nor any other key.
    pub(crate) fn derive(&self, purpose: &str) -> Result<String> {
        derive(&self.current, purpose)
    }

    /// All keys for one purpose: first the one to sign with, then those whose signatures are believed as well.
    pub(crate) fn derive_all(&self, purpose: &str) -> Result<Vec<String>> {
        [&self.current].into_iter().chain(&self.others).map(|secret| derive(secret, purpose)).collect()
    }
}

fn derive(secret: &str, purpose: &str) -> Result<String> {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).context("an unusable secret")?;
    mac.update(purpose.as_bytes());
    Ok(format!("{:x}", mac.finalize().into_bytes()))
}

impl fmt::Debug for ClusterSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// What operators show to the admin listener. Never shown, and not even kept: its hash is enough to know it again.
#[derive(Clone)]
pub(crate) struct AdminToken(CtOutput<Sha256>);

impl AdminToken {
    /// The token that is given, in itself or in a file.
    pub(crate) fn load(text: Option<&str>, file: Option<&Path>) -> Result<Option<Self>> {
        let Some(text) = given("admin_token", text, file)? else {
            return Ok(None);
        };
        if text.chars().count() < MIN_TOKEN_CHARACTERS {
            bail!("admin_token is shorter than {MIN_TOKEN_CHARACTERS} characters; make one with: openssl rand -hex 32");
        }
        if !text.bytes().all(|byte| byte == b' ' || byte.is_ascii_graphic()) {
            bail!("admin_token has characters that no HTTP header can have; make one with: openssl rand -hex 32");
        }
        Ok(Some(Self(hash(text.as_bytes()))))
    }

    /// Whether this is the token. How long that takes says nothing about it.
    pub(crate) fn is(&self, candidate: &[u8]) -> bool {
        self.0 == hash(candidate)
    }
}

impl fmt::Debug for AdminToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

fn hash(text: &[u8]) -> CtOutput<Sha256> {
    CtOutput::new(Sha256::digest(text))
}

/// What the setting `name` says, in itself or in the file that `NAME_file` names.
fn given(name: &str, text: Option<&str>, file: Option<&Path>) -> Result<Option<String>> {
    let text = match (text, file) {
        (Some(_), Some(_)) => bail!("{name} and {name}_file are both set: keep one"),
        (Some(text), None) => text.to_owned(),
        (None, Some(path)) => {
            std::fs::read_to_string(path).with_context(|| format!("cannot read {name}_file {}", path.display()))?
        }
        (None, None) => return Ok(None),
    };
    Ok(Some(text.trim().to_owned()))
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
    fn of_several_lines_the_first_signs_and_all_are_believed() {
        let [old, new] = ["a", "b"].map(|letter| letter.repeat(32));
        let load = |text: String| ClusterSecret::load(Some(&text), None).unwrap().unwrap();
        let both = load(format!("{new}\n\n  {old}\n"));
        assert_eq!(both.derive("x").unwrap(), load(new.clone()).derive("x").unwrap());
        let [one, other] = [new.clone(), old].map(|text| load(text).derive("x").unwrap());
        assert_eq!(both.derive_all("x").unwrap(), [one, other]);
        assert!(ClusterSecret::load(Some(&format!("{new}\nshort")), None).is_err());
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

    #[test]
    fn a_token_is_known_again_and_not_shown() {
        let token = AdminToken::load(Some(" correct horse battery staple\n"), None).unwrap().unwrap();
        assert!(token.is(b"correct horse battery staple"));
        for other in
            ["", "correct horse battery stapl", "correct horse battery staple ", "Correct horse battery staple"]
        {
            assert!(!token.is(other.as_bytes()), "{other}");
        }
        assert_eq!(format!("{token:?}"), "***");
        assert!(AdminToken::load(None, None).unwrap().is_none());
        for refused in ["", "fifteen letters", "sixteen letters\u{e9}", "line one\nline two"] {
            assert!(AdminToken::load(Some(refused), None).is_err(), "{refused:?}");
        }
    }
}
