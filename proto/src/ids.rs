//! Identifiers, parsed once where they enter and trusted from there on.

use std::{fmt, str::FromStr};

use uuid::Uuid;

/// A text that is not the id it was taken for.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("{text:?} is not a {kind}")]
pub struct IdError {
    kind: &'static str,
    text: String,
}

impl IdError {
    fn new(kind: &'static str, text: &str) -> Self {
        // Ids come from outside: keep a hostile one from filling a log.
        let text = text.chars().take(80).collect();
        Self { kind, text }
    }
}

/// One browser tab's session: Streamlit's session id, a UUID in its canonical lower-case form.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SessionId(Uuid);

impl SessionId {
    /// Draws a new random id.
    pub fn random() -> Self {
        Self(Uuid::new_v4())
    }

    /// Stands for the id where others than its browser may see it: the first twelve of its 32 digits. Nobody can have the session by
    /// it, and hardly two sessions share one.
    pub fn public_id(&self) -> String {
        let mut text = self.0.as_simple().to_string();
        text.truncate(12);
        text
    }

    /// The 128 bits of the id, for placement.
    pub fn as_bytes(&self) -> &[u8; 16] {
        self.0.as_bytes()
    }
}

impl FromStr for SessionId {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        canonical_uuid("session id", text).map(Self)
    }
}

/// Reads a UUID in its canonical spelling, lower case with hyphens.
///
/// `Uuid` also takes braces, URNs and bare hex. Streamlit makes none of those, and two spellings of one thing would be two
/// keys.
fn canonical_uuid(kind: &'static str, text: &str) -> Result<Uuid, IdError> {
    let id = Uuid::parse_str(text).map_err(|_| IdError::new(kind, text))?;
    if id.as_hyphenated().to_string() == text { Ok(id) } else { Err(IdError::new(kind, text)) }
}

impl fmt::Display for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.as_hyphenated().fmt(f)
    }
}

/// Shows the public id: whoever knows a whole session id may ask to have the session, so whole ids stay out of logs.
impl fmt::Debug for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.public_id())
    }
}

/// A file that a user has uploaded: Streamlit's file id, a UUID in its canonical lower-case form.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FileId(Uuid);

impl FileId {
    /// Draws a new random id.
    pub fn random() -> Self {
        Self(Uuid::new_v4())
    }
}

impl FromStr for FileId {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        canonical_uuid("file id", text).map(Self)
    }
}

impl fmt::Display for FileId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.as_hyphenated().fmt(f)
    }
}

/// A runner's name in the cluster: 1 to 63 letters, digits, `-`, `_` or `.`, starting with a
/// letter or digit, as host names and Kubernetes labels have it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RunnerId(String);

impl RunnerId {
    /// The id's text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for RunnerId {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let valid = (1..=63).contains(&text.len())
            && text.starts_with(|c: char| c.is_ascii_alphanumeric())
            && text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.'));
        if valid { Ok(Self(text.to_owned())) } else { Err(IdError::new("runner id", text)) }
    }
}

impl fmt::Display for RunnerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A media file's name without its extension: a content hash in hexadecimal digits, of at most 128.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct MediaId(String);

impl MediaId {
    /// The id's text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for MediaId {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let valid = (1..=128).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        if valid { Ok(Self(text.to_owned())) } else { Err(IdError::new("media file id", text)) }
    }
}

impl fmt::Display for MediaId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn session_ids_have_one_spelling() {
        let id = SessionId::random();
        assert_eq!(id.to_string().parse(), Ok(id));
        let upper = id.to_string().to_uppercase();
        if upper != id.to_string() {
            assert!(upper.parse::<SessionId>().is_err());
        }
        for bad in ["", "x", "00000000000000000000000000000000", "../../etc/passwd"] {
            assert!(bad.parse::<SessionId>().is_err(), "{bad}");
        }
    }

    #[test]
    fn file_ids_are_no_paths() {
        let id = FileId::random();
        assert_eq!(id.to_string().parse(), Ok(id));
        for bad in ["", "..", "../../etc/passwd", "a/b", "{00000000-0000-4000-8000-000000000000}"] {
            assert!(bad.parse::<FileId>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_logged_session_id_is_no_key() {
        let id = SessionId::random();
        assert!(!format!("{id:?}").contains(&id.to_string()));
    }

    #[test]
    fn media_ids_are_hashes() {
        let longest = "f".repeat(128);
        for good in ["0", "9a3f", longest.as_str()] {
            assert!(good.parse::<MediaId>().is_ok(), "{good}");
        }
        let long = "f".repeat(129);
        for bad in ["", "g", "a b", "a}b", "../a", long.as_str()] {
            assert!(bad.parse::<MediaId>().is_err(), "{bad}");
        }
    }

    #[test]
    fn runner_ids_are_names() {
        for good in ["local", "i-0abc", "node_1.eu", "9"] {
            assert!(good.parse::<RunnerId>().is_ok(), "{good}");
        }
        let long = "x".repeat(64);
        for bad in ["", "-a", "a b", "a/b", long.as_str()] {
            assert!(bad.parse::<RunnerId>().is_err(), "{bad}");
        }
    }
}
