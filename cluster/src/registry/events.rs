//! What a registry tells those who follow it.

use streamfleet_proto::SessionId;

use crate::registry::Pin;

/// Events kept for a follower that is slow. One that falls further behind is told of a gap.
pub(super) const QUEUE: usize = 1024;

/// What a registry tells those who follow it. A hint to act soon: all of it can also be found by asking.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// A runner came, left or changed; changes of load alone are not told.
    Members,
    /// A session has another owner, or none any more.
    Pin {
        /// Which session.
        session: SessionId,
        /// The pin that holds now.
        pin: Option<Pin>,
    },
    /// Events may have been lost: what is remembered from before should be checked before it is used.
    Gap,
}
