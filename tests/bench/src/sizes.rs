//! What a session takes in memory: one whose browser is there, one that has been used, and one that has been put to sleep.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result};
use serde_json::Value;
use streamfleet_testkit::wait;

use crate::app::App;
use crate::candidate::Candidate;
use crate::cluster::Cluster;
use crate::load;
use crate::usage;

/// Sessions that are there already, that are opened, and clicks of each of these.
const BEFORE: usize = 30;
const SESSIONS: usize = 80;
const CLICKS: usize = 2;
const SLEEP_LIMIT: Duration = Duration::from_mins(1);

/// Memory in bytes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sizes {
    /// A server with one session, of which there is no telling what is the session's.
    pub(crate) with_one: u64,
    /// A session whose page was opened.
    pub(crate) opened: u64,
    /// A session that was clicked in.
    pub(crate) active: u64,
}

/// The memory of a candidate and of its sessions.
pub(crate) async fn of_candidate(candidate: Candidate, binary: &Path) -> Result<Sizes> {
    let server = candidate.start(binary, App::Counter).await?;
    let mut users = Vec::new();
    load::open(&mut users, 1, &server.endpoint, App::Counter).await?;
    let with_one = server.memory();
    // What is only there once is there then.
    load::open(&mut users, BEFORE, &server.endpoint, App::Counter).await?;
    let before = server.memory();
    load::open(&mut users, BEFORE + SESSIONS, &server.endpoint, App::Counter).await?;
    let opened = server.memory().saturating_sub(before) / SESSIONS as u64;
    for user in users.iter_mut().skip(BEFORE) {
        for _ in 0..CLICKS {
            user.click().await?;
        }
    }
    let active = server.memory().saturating_sub(before) / SESSIONS as u64;
    Ok(Sizes { with_one, opened, active })
}

/// What a session takes whose browser is there but whose user has gone, in the processes and in Redis, in bytes.
///
/// Python doesn't give all of its memory back, so it is measured what more such sessions take once some have come and gone.
pub(crate) async fn of_sleeping(binary: &Path) -> Result<(u64, u64)> {
    let cluster = Cluster::start(binary, App::Counter, &[("STREAMFLEET_HIBERNATE_AFTER", "1")]).await?;
    let (mut users, mut figures) = (Vec::new(), Vec::new());
    for round in 1..=2 {
        load::open(&mut users, round * SESSIONS, cluster.gateway.endpoint(), App::Counter).await?;
        until_all_sleep(&cluster).await?;
        let memory: u64 = cluster.servers().map(|server| usage::memory_of_tree(server.pid())).sum();
        figures.push((memory, used_by_redis(&cluster).await?));
    }
    let grown = |figure: fn(&(u64, u64)) -> u64| {
        let grown = figures.last().map_or(0, figure).saturating_sub(figures.first().map_or(0, figure));
        grown / SESSIONS as u64
    };
    Ok((grown(|figure| figure.0), grown(|figure| figure.1)))
}

async fn used_by_redis(cluster: &Cluster) -> Result<u64> {
    let info: String = cluster.redis.command(&["INFO", "memory"]).await?;
    let used = info.lines().find_map(|line| line.strip_prefix("used_memory:"));
    Ok(used.context("Redis doesn't tell its memory")?.trim().parse()?)
}

/// Waits until no session is in a worker, as the runners tell everybody.
async fn until_all_sleep(cluster: &Cluster) -> Result<()> {
    wait::until("sessions to sleep", SLEEP_LIMIT, async || {
        let loads: Vec<String> = cluster.redis.command(&["HVALS", "streamfleet:default:{members}:loads"]).await?;
        let mut awake = 0;
        for load in &loads {
            awake += serde_json::from_str::<Value>(load)?["sessions"].as_u64().unwrap_or(0);
        }
        anyhow::ensure!(awake == 0, "{awake} are awake");
        Ok(())
    })
    .await
}
