//! Redis servers for tests: one alone, a primary watched by Sentinels, or a Cluster.
//!
//! Every server has a folder and a port of its own, and ends with the value that stands for it. A [`RedisLaunch`] says
//! what a server shall be like; [`Sentinels`] and [`Cluster`] take one as the pattern for each of their nodes.

mod cluster;
mod launch;
mod sentinels;
mod server;
mod version;

use anyhow::{Context, Result};

pub use cluster::Cluster;
pub use launch::{Persistence, RedisLaunch};
pub use sentinels::Sentinels;
pub use server::Redis;
pub use version::Version;

/// A field of what `INFO` or `CLUSTER INFO` answered.
fn field<'a>(info: &'a str, name: &str) -> Result<&'a str> {
    info.lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))
        .map(str::trim)
        .with_context(|| format!("no {name} in:\n{info}"))
}
