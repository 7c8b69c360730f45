//! What a runner is to run.

use std::path::PathBuf;

use streamfleet_cluster::Blobs;

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
}
