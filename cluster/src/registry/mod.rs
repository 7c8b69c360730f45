//! Who is in the cluster, which runner owns which session, and which of them has which media file; and who waits to be let in.
//!
//! One trait, two stores: [`MemoryRegistry`] for a cluster that is one process, [`RedisRegistry`] for all others. They behave
//! alike; one suite of tests runs against both.
//!
//! **Leases.** A runner is a member for [`LEASE`] after its last announcement. A registry that was empty, or could not be written
//! by anybody for a while, doesn't know whether those who are missing are gone or just could not say that they are there:
//! for one lease it is [*settling*](Members::settling), ends nobody's membership, and should not be taken at its word.
//!
//! **Epochs.** Each change of a session's owner has a greater epoch than all before, also when the registry has forgotten what was
//! before: an epoch is the store's clock in microseconds, or one more than the last where the clock has not moved on.

mod events;
mod line;
mod memory;
mod memory_line;
mod memory_rolls;
mod redis;
mod rolls;

use std::time::Duration;

use async_trait::async_trait;
use streamfleet_proto::{MediaId, RunnerId, SessionId};
use tokio::sync::broadcast;

use crate::{member::Member, target::Target};

pub use self::{
    events::Event,
    line::{ACTIVE, ARRIVING, INSIDE, Line, PATIENCE, RESERVED, RETURN, Turn, VisitorId, VisitorIdError},
    memory::MemoryRegistry,
    redis::RedisRegistry,
    rolls::{Course, ROLL_LEASE, Roll, RollLock, Rolls, Stage, Step, Taken},
};

/// How long a runner is a member after it last said so.
pub const LEASE: Duration = Duration::from_secs(5);
/// How long a pin or a file's place is remembered after its runner last said so. Runners renew them well before.
pub const PIN_TTL: Duration = Duration::from_mins(5);
/// How long the registry may go unwritten before it is taken to have been away. Every runner and gateway writes
/// it each second.
const AWAY_AFTER: Duration = Duration::from_secs(2);

/// A session's owner.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pin {
    /// The one runner that may run the session's script and write its state.
    pub runner: RunnerId,
    /// Grows with each change of owner. Whoever acts on an older one is refused.
    pub epoch: u64,
}

/// The registry could not be asked.
#[derive(Debug, Clone, thiserror::Error)]
pub enum RegistryError {
    /// The store can't be reached now; trying again may help.
    #[error("the registry is unavailable: {0}")]
    Unavailable(String),
    /// The store refuses, or answers what it should not. Trying again won't help.
    #[error("the registry failed: {0}")]
    Failed(String),
}

/// All members, at one moment.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Members {
    /// Those with a lease, by name.
    pub list: Vec<Member>,
    /// Which of them new sessions should go to.
    pub target: Target,
    /// The registry was empty or away a moment ago, and may not know everybody yet.
    pub settling: bool,
}

/// What a runner learns from its announcement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Announced {
    /// It was no member just before: this is its first announcement, or its lease had ended, and what it owned may have been
    /// given to others.
    pub joined: bool,
}

/// Who is in the cluster, which runner owns which session, and which of them has which media file.
#[async_trait]
pub trait Registry: Line {
    /// Makes a runner a member for the next [`LEASE`], or renews what is known of it.
    async fn announce(&self, member: &Member) -> Result<Announced, RegistryError>;

    /// Ends a runner's membership.
    async fn withdraw(&self, runner: &RunnerId) -> Result<(), RegistryError>;

    /// All members.
    async fn members(&self) -> Result<Members, RegistryError>;

    /// Says which revision new sessions should go to; `None` for any. All of its runners take them.
    async fn set_revision(&self, revision: Option<&str>) -> Result<(), RegistryError>;

    /// Pins a session to a runner unless it is pinned already. Either way returns the pin that
    /// holds: of several callers one wins, and the others use the winner's.
    async fn pin(&self, session: SessionId, runner: &RunnerId) -> Result<Pin, RegistryError>;

    /// Where a session is pinned.
    async fn pinned(&self, session: SessionId) -> Result<Option<Pin>, RegistryError>;

    /// Gives a session to another runner, if `current` still holds or nothing does. Returns the pin that holds.
    async fn move_pin(&self, session: SessionId, current: &Pin, runner: &RunnerId) -> Result<Pin, RegistryError>;

    /// Renews a pin that the caller goes by, or puts it back where the registry knows none or an older one. Returns the pin that
    /// holds: another one than `pin` says that the caller is no longer the owner.
    async fn claim(&self, session: SessionId, pin: &Pin) -> Result<Pin, RegistryError>;

    /// Forgets a session that has ended, if `current` still holds.
    async fn unpin(&self, session: SessionId, current: &Pin) -> Result<(), RegistryError>;

    /// Says that a runner has a media file; anew before [`PIN_TTL`] is over.
    async fn add_media(&self, file: &MediaId, runner: &RunnerId) -> Result<(), RegistryError>;

    /// Says that a runner has a media file no longer.
    async fn remove_media(&self, file: &MediaId, runner: &RunnerId) -> Result<(), RegistryError>;

    /// The runners that have a media file. Some may have left.
    async fn media(&self, file: &MediaId) -> Result<Vec<RunnerId>, RegistryError>;

    /// Follows what others change. Events may get lost while the store is away, which [`Event::Gap`] tells afterwards.
    fn subscribe(&self) -> broadcast::Receiver<Event>;
}
