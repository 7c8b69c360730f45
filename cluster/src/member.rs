//! Runners as the cluster sees them.

use streamfleet_proto::RunnerId;

/// A runner, as it announced itself last.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// Its name.
    pub runner: RunnerId,
    /// Where gateways reach its gRPC service; empty where there is only one process.
    pub address: String,
    /// What it serves of the app.
    pub revision: String,
    /// Whether it takes sessions.
    pub phase: RunnerPhase,
    /// How busy it is.
    pub load: Load,
}

/// Where a runner is in its life. It only ever goes forward.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum RunnerPhase {
    /// No worker serves yet.
    Starting,
    /// Takes sessions.
    Ready,
    /// Keeps its sessions until they have been handed over, and takes no new ones.
    Draining,
    /// Serves nothing any more.
    Stopped,
}

/// How busy a runner is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Load {
    /// Sessions it owns, with and without a browser.
    pub sessions: u32,
}
