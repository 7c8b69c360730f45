//! What is kept of each session, so that it can go on when its worker or its whole machine is gone.
//!
//! One trait, three stores: [`MemorySnapshots`] for a cluster that is one process, [`FileSnapshots`] for one that is to remember
//! its sessions when it is started again, [`RedisSnapshots`] for all others. They behave alike; one suite of tests runs against
//! all of them.
//!
//! **What is stored.** Of each session one snapshot, in pieces: the *core*, which is what its worker keeps of Streamlit's own
//! state, and one piece for each user value, so that a click only moves what it has changed. A *manifest* names the session, the
//! owner's epoch, a version, and each piece by its SHA-256.
//!
//! **What is trusted.** Values are pickles, and whoever unpickles one runs what is in it. So the manifest is signed with a key
//! that only the cluster's runners have, for this purpose and this cluster, and a snapshot is handed out whole or not at all: one
//! with a byte altered, a piece missing, swapped or added, of another session or of another secret is
//! [refused](LoadError::Refused). Whoever can write the store can still put back an older snapshot of the same session, or
//! remove it.
//!
//! **Who may write.** Snapshots carry the epoch of the session's pin. Loading one lets the new owner in and shuts out all before
//! it, also where there is nothing to load yet. Versions order what one owner writes, so that a write that was long on its way
//! undoes nothing. A write that brings changes only is taken only on top of the very snapshot that it builds on.
//!
//! A snapshot is forgotten [a day](SNAPSHOT_TTL) after it was last saved, loaded or touched.

mod change;
mod fence;
mod file;
mod memory;
mod redis;
mod signer;
mod state;
mod stored;

use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use bytes::Bytes;
use streamfleet_proto::SessionId;

pub use self::{
    change::{Change, Unsaved},
    file::{FileSnapshots, FolderError},
    memory::MemorySnapshots,
    redis::RedisSnapshots,
    signer::Signer,
    state::{SavedState, Write},
};
use crate::redis::LinkError;

/// How long a snapshot is kept after it was last saved, loaded or touched, unless the store is told otherwise.
pub const SNAPSHOT_TTL: Duration = Duration::from_hours(24);

/// What every store must know.
#[derive(Debug, Clone)]
pub struct SnapshotOptions {
    /// Signs what goes in, and checks what comes out.
    pub signer: Signer,
    /// How long a snapshot is kept after it was last saved, loaded or touched.
    pub ttl: Duration,
}

impl SnapshotOptions {
    /// With the usual time to live.
    pub fn new(signer: Signer) -> Self {
        Self { signer, ttl: SNAPSHOT_TTL }
    }
}

/// A session's last snapshot, checked.
#[derive(Debug, Clone)]
pub struct Loaded {
    /// What the worker keeps of Streamlit's own state, opaque.
    pub core: Bytes,
    /// User values, pickled, in the order of their keys.
    pub values: Vec<(String, Bytes)>,
    /// The browser's connection that `applied_seq` counts the messages of.
    pub connection: u64,
    /// All messages up to this one have had their effect.
    pub applied_seq: u64,
    /// What of the app wrote it.
    pub revision: String,
    /// All that the session had and the snapshot doesn't.
    pub unsaved: Vec<Unsaved>,
    /// When it was written, by its writer's clock.
    pub written_at: SystemTime,
    /// For making the next.
    pub state: SavedState,
}

/// A snapshot was not saved.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SaveError {
    /// The session has another owner, and its snapshots are that one's to write.
    #[error("the session has another owner, of epoch {epoch}")]
    Fenced {
        /// The other's.
        epoch: u64,
    },
    /// What this builds on is not there: everything must be sent.
    #[error("what the snapshot builds on is not stored any more")]
    Gone,
    /// The store can't be reached now, or has no room; trying again may help.
    #[error("the snapshot store is unavailable: {0}")]
    Unavailable(String),
    /// The store refuses, or answers what it should not. Trying again won't help.
    #[error("the snapshot store failed: {0}")]
    Failed(String),
}

/// A snapshot was not loaded.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LoadError {
    /// The session has another owner.
    #[error("the session has another owner, of epoch {epoch}")]
    Fenced {
        /// The other's.
        epoch: u64,
    },
    /// What is stored can't be trusted, and none of it is handed out. Trying again won't help; saving everything anew does.
    #[error("the snapshot is refused: {reason}")]
    Refused {
        /// What is wrong with it.
        reason: String,
    },
    /// The store can't be reached now; trying again may help.
    #[error("the snapshot store is unavailable: {0}")]
    Unavailable(String),
    /// The store refuses, or answers what it should not. Trying again won't help.
    #[error("the snapshot store failed: {0}")]
    Failed(String),
}

impl From<LinkError> for SaveError {
    fn from(error: LinkError) -> Self {
        match error {
            LinkError::Unavailable(text) => Self::Unavailable(text),
            LinkError::Failed(text) => Self::Failed(text),
        }
    }
}

impl From<LinkError> for LoadError {
    fn from(error: LinkError) -> Self {
        match error {
            LinkError::Unavailable(text) => Self::Unavailable(text),
            LinkError::Failed(text) => Self::Failed(text),
        }
    }
}

/// What is kept of each session. Every operation is one atomic step.
#[async_trait]
pub trait SnapshotStore: Send + Sync + 'static {
    /// For a session that has no snapshot, or none that could be loaded. Its first change must be a full one.
    fn begin(&self, session: SessionId, epoch: u64) -> SavedState;

    /// Stores a snapshot. Saving the same one again does no harm, so that it may be tried until there is an answer.
    async fn save(&self, write: &Write) -> Result<(), SaveError>;

    /// A session's snapshot, for its owner by this epoch. From here on all owners before it are refused, whatever comes of this
    /// but [`LoadError::Unavailable`].
    async fn load(&self, session: SessionId, epoch: u64) -> Result<Option<Loaded>, LoadError>;

    /// Renews a snapshot's time to live. [`SaveError::Gone`] says that there is none: everything must be sent.
    async fn touch(&self, session: SessionId, epoch: u64) -> Result<(), SaveError>;

    /// Forgets a session's snapshot. Those made before this are not taken any more; a full one made later is.
    async fn remove(&self, session: SessionId, epoch: u64) -> Result<(), SaveError>;
}
