//! The line of visitors who wait until there is room: one for the whole cluster, whichever gateway they ask.
//!
//! How many places are free follows from what the runners announce, and whoever asks says it. What has been given away since is
//! counted here: a place is *reserved* for a visitor who has been let in and whose browser has not connected yet
//! ([`RESERVED`]), and for a moment longer, until its runner's load shows it ([`ARRIVING`]).
//!
//! Visitors are let in in the order in which they came. One who doesn't ask for its turn for a while ([`ACTIVE`]) is passed over,
//! but keeps its place in the line until it has been gone for [`PATIENCE`]: browsers hardly run what is in the background. Who
//! is inside may reload the page, or open it once more, without standing in line again.

use std::{fmt, str::FromStr, time::Duration};

use async_trait::async_trait;
use uuid::Uuid;

use super::RegistryError;

/// How long a place is kept for a visitor who has been let in, until its browser connects.
pub const RESERVED: Duration = Duration::from_secs(30);
/// How long a place that has been taken is counted here, until a runner's load shows it: two seconds later as a rule, which a machine that
/// is busy with a flood may well double. Meanwhile it may count twice, which only delays others.
pub const ARRIVING: Duration = Duration::from_secs(6);
/// How long a visitor who asks no more is waited for. The page has them ask every two to ten seconds.
pub const ACTIVE: Duration = Duration::from_secs(12);
/// How long a visitor who asks no more keeps its place. Browsers run a page that is in the background once a minute.
pub const PATIENCE: Duration = Duration::from_secs(150);
/// How long a visitor is inside after a gateway last said so.
pub const INSIDE: Duration = Duration::from_mins(1);
/// How long a visitor who has left may come back without standing in line, as when it loads the page anew, or signs in elsewhere.
pub const RETURN: Duration = Duration::from_mins(1);

/// Somebody's browser. Who knows it can take its place in the line.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct VisitorId(Uuid);

impl VisitorId {
    /// One that nobody has had.
    pub fn random() -> Self {
        Self(Uuid::new_v4())
    }
}

impl fmt::Display for VisitorId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.simple().fmt(f)
    }
}

impl fmt::Debug for VisitorId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Enough to follow it through a log, and not enough to be it.
        write!(f, "{}…", &self.0.simple().to_string()[..8])
    }
}

/// It is no visitor's id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a visitor's id has 32 hexadecimal digits")]
pub struct VisitorIdError;

impl FromStr for VisitorId {
    type Err = VisitorIdError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let is_simple = text.len() == 32 && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        Uuid::try_parse(text).ok().filter(|_| is_simple).map(Self).ok_or(VisitorIdError)
    }
}

/// What a visitor who asks is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Turn {
    /// There is a place, and it is kept for [`RESERVED`].
    In,
    /// There is none yet.
    Wait {
        /// Where the visitor stands in the line, from 1.
        place: u64,
        /// How many stand in it.
        waiting: u64,
    },
}

/// The line of visitors.
#[async_trait]
pub trait Line: Send + Sync + 'static {
    /// A visitor asks for its turn, where so many places are free.
    async fn ask(&self, visitor: VisitorId, free: u64) -> Result<Turn, RegistryError>;

    /// A visitor takes its place with a session; false if it has none and must stand in line.
    async fn enter(&self, visitor: VisitorId, free: u64) -> Result<bool, RegistryError>;

    /// Says that visitors are inside; anew before [`INSIDE`] is over.
    async fn stay(&self, visitors: &[VisitorId]) -> Result<(), RegistryError>;

    /// A visitor has left, and may [come back](RETURN).
    async fn leave(&self, visitor: VisitorId) -> Result<(), RegistryError>;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_read_back_and_not_shown() {
        let id = VisitorId::random();
        let text = id.to_string();
        assert_eq!(text.parse(), Ok(id));
        assert!(!format!("{id:?}").contains(&text));
        let upper = text.to_uppercase().replace(|c: char| c.is_ascii_digit(), "A");
        for wrong in ["", "none", &text[1..], &format!("{text}0"), &upper, &Uuid::new_v4().to_string()] {
            assert_eq!(wrong.parse::<VisitorId>(), Err(VisitorIdError), "{wrong}");
        }
    }
}
