//! What a runner is to run.

use std::{path::PathBuf, sync::Arc, time::Duration};

use streamfleet_cluster::Blobs;

use crate::{cache::SharedCache, observe::Observer};

/// What to run, and on how many workers.
#[derive(Debug, Clone)]
pub struct PoolOptions {
    /// Absolute path of the main script; `None` for Streamlit's demo.
    pub script: Option<PathBuf>,
    /// The script's own arguments.
    pub script_args: Vec<String>,
    /// Streamlit's flags, as `streamlit run` takes them.
    pub streamlit_flags: Vec<String>,
    /// How many workers; at least one.
    pub workers: u32,
    /// A folder, closed to other users, for the workers' sockets.
    pub socket_folder: PathBuf,
    /// Signs cookies, unless the user's configuration names a secret.
    pub cookie_secret: String,
    /// Whether to notice changed source files, as for an app that is being worked on.
    pub watch_sources: bool,
    /// A folder with the worker's own optional packages.
    pub packages: Option<PathBuf>,
    /// Where files are kept that users upload.
    pub blobs: Blobs,
    /// What `st.cache_data` functions return, for all workers; `None` if each caches for itself.
    pub cache: Option<Arc<SharedCache>>,
    /// What is told of the work.
    pub observer: Observer,
    /// Whether what the app prints goes to the log, line by line.
    pub forward_output: bool,
    /// What is deployed of the app.
    pub revision: String,
    /// How much of what a session or worker may take.
    pub limits: Limits,
}

/// How much of what a session or worker may take. Zero is for no limit, but for [`max_session_bytes`](Self::max_session_bytes).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Pickled state that is kept of one session, in bytes.
    pub max_session_bytes: u64,
    /// How long a script may run.
    pub run_timeout: Duration,
    /// How long a worker's event loop may stand still before the worker is replaced.
    pub stuck_after: Duration,
    /// How long a session may be idle before its memory is freed.
    pub hibernate_after: Duration,
    /// Age at which a worker is replaced.
    pub worker_max_age: Duration,
    /// Memory past which a worker is replaced, in bytes.
    pub worker_max_bytes: u64,
    /// Sessions with a browser that each worker is to have; more are let in only where they belong to somebody who is there.
    pub max_sessions: u32,
    /// Scripts that a worker runs at a time.
    pub max_concurrent_runs: u32,
    /// Percent of the machine's memory from which on no new sessions are taken.
    pub memory_high: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_session_bytes: 16 * 1024 * 1024,
            run_timeout: Duration::ZERO,
            stuck_after: Duration::from_secs(30),
            hibernate_after: Duration::from_mins(15),
            worker_max_age: Duration::ZERO,
            worker_max_bytes: 0,
            max_sessions: 0,
            max_concurrent_runs: 0,
            memory_high: 95,
        }
    }
}
