//! Who is in the cluster, and which runner owns which session.

mod memory;

use async_trait::async_trait;
use streamfleet_proto::{RunnerId, SessionId};

use crate::member::Member;

pub use memory::MemoryRegistry;

/// A session's owner.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pin {
    /// The one runner that may run the session's script and write its state.
    pub runner: RunnerId,
    /// Grows with each change of owner. Whoever acts on an older one is refused.
    pub epoch: u64,
}

/// The registry could not be asked.
#[derive(Debug, thiserror::Error)]
pub enum RegistryError {
    /// The store can't be reached now; trying again may help.
    #[error("the registry is unavailable: {0}")]
    Unavailable(String),
}

/// Who is in the cluster, and which runner owns which session.
#[async_trait]
pub trait Registry: Send + Sync + 'static {
    /// Adds a runner, or renews what is known of it.
    async fn announce(&self, member: Member) -> Result<(), RegistryError>;

    /// Removes a runner.
    async fn withdraw(&self, runner: &RunnerId) -> Result<(), RegistryError>;

    /// All runners there are.
    async fn members(&self) -> Result<Vec<Member>, RegistryError>;

    /// Pins a session to a runner unless it is pinned already. Either way returns the pin that
    /// holds: of several callers one wins, and the others use the winner's.
    async fn pin(&self, session: SessionId, runner: &RunnerId) -> Result<Pin, RegistryError>;

    /// Where a session is pinned.
    async fn pinned(&self, session: SessionId) -> Result<Option<Pin>, RegistryError>;

    /// Gives a session to another runner, if `current` still holds. Returns the pin that holds.
    async fn move_pin(&self, session: SessionId, current: &Pin, runner: &RunnerId) -> Result<Pin, RegistryError>;

    /// Forgets a session that has ended, if `current` still holds.
    async fn unpin(&self, session: SessionId, current: &Pin) -> Result<(), RegistryError>;
}
