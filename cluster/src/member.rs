//! Runners as the cluster sees them.

use serde::{Deserialize, Serialize};
use streamfleet_proto::RunnerId;

/// A runner, as it announced itself last.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// Its name, which no other process has had before.
    pub runner: RunnerId,
    /// Where gateways reach its gRPC service, as `host:port`; empty where there is only one process.
    pub address: String,
    /// What it serves of the app.
    pub revision: String,
    /// Whether it takes sessions.
    pub phase: RunnerPhase,
    /// How busy it is.
    pub load: Load,
}

/// Where a runner is in its life. It only ever goes forward.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
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
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Load {
    /// Workers that serve.
    pub workers: u32,
    /// Sessions it owns, with and without a browser.
    pub sessions: u32,
    /// Those of them with a browser.
    pub connected: u32,
    /// Scripts that run at this moment.
    pub running: u32,
    /// Memory of its workers, in bytes.
    pub resident_bytes: u64,
    /// Sessions with a browser that it is to have at most; 0 for any number.
    pub max_connected: u32,
    /// Its machine runs out of memory: it should get no new sessions.
    pub short_of_memory: bool,
}

impl Load {
    /// New sessions that it has room for; `None` for any number.
    pub fn room(&self) -> Option<u64> {
        if self.short_of_memory {
            return Some(0);
        }
        (self.max_connected != 0).then(|| u64::from(self.max_connected.saturating_sub(self.connected)))
    }
}

impl Member {
    /// Whether new sessions may go there.
    pub fn takes_sessions(&self) -> bool {
        self.phase == RunnerPhase::Ready && self.load.workers > 0
    }

    /// Whether it answers for the sessions that it owns.
    pub fn serves(&self) -> bool {
        matches!(self.phase, RunnerPhase::Ready | RunnerPhase::Draining)
    }
}
