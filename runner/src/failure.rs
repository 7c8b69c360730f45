//! Why a worker process ended or never came to serve.

use std::{io, process::ExitStatus, time::Duration};

/// Why a worker process ended or never came to serve.
#[derive(Debug, thiserror::Error)]
pub enum WorkerFailure {
    /// The worker said that it can't serve this app, and why.
    #[error("{0}")]
    Refused(String),
    /// The process could not be started at all.
    #[error("cannot start Python: {0}")]
    Spawn(#[source] io::Error),
    /// The process ended by itself.
    #[error("the Python worker ended with {0}; what it printed above says why")]
    Exited(ExitStatus),
    /// The process did not come to serve in time.
    #[error("the Python worker was not ready within {} s; does the app's module-level code wait for something?", .0.as_secs())]
    StartTimeout(Duration),
    /// Its event loop stood still.
    #[error("the Python worker did nothing for {} s (worker_stuck_after): native code holds the interpreter", .0.as_secs())]
    Stuck(Duration),
    /// The control connection failed or carried something unintelligible.
    #[error("lost the control connection to the Python worker: {0}")]
    Control(#[source] io::Error),
}
