//! The whole comparison, from the apps to the pictures.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result};
use futures_util::future::try_join_all;
use tokio::time::Instant;

use crate::app::App;
use crate::candidate::Candidate;
use crate::cold_start;
use crate::growth::{self, Step};
use crate::idle::{self, Idle};
use crate::matrix::{self, Extent, Row};
use crate::outages::{self, Outages};
use crate::page_load::{self, PageLoad};
use crate::profile::{self, Profile};
use crate::report;
use crate::sizes::{self, Sizes};
use crate::spread::Spread;

/// Browsers that are connected to one gateway, and how long those beside them are watched.
const IDLE: usize = 10_000;
const WATCHED: Duration = Duration::from_secs(4);
/// How long each step of growth is watched.
pub(crate) const STEP: Duration = Duration::from_millis(1500);
/// Page loads of each candidate, and starts.
const LOADS: page_load::Turns = page_load::Turns { here: 5, far: 3 };
const STARTS: usize = 3;

/// All that was measured.
#[derive(Debug)]
pub(crate) struct Findings {
    pub(crate) rows: Vec<Row>,
    /// Users who didn't pause while runs were counted.
    pub(crate) saturating: usize,
    pub(crate) servers: Vec<Server>,
    /// What a sleeping session takes, in processes and in Redis.
    pub(crate) sleeping: (u64, u64),
    pub(crate) pages: Vec<PageLoad>,
    pub(crate) idle: Idle,
    pub(crate) outages: Outages,
    pub(crate) sessions: Vec<Step>,
    pub(crate) runners: Vec<Step>,
    pub(crate) profile: Profile,
}

/// What a candidate takes before anybody clicks.
#[derive(Debug)]
pub(crate) struct Server {
    pub(crate) candidate: Candidate,
    pub(crate) sizes: Sizes,
    /// Seconds from the command until it is healthy, and until the first dashboard is there.
    pub(crate) healthy: Spread,
    pub(crate) first_page: Spread,
}

/// Measures everything, and writes the pages.
pub(crate) async fn compare(binary: &Path, apps: &[App], extent: Extent, docs: &Path) -> Result<()> {
    let began = Instant::now();
    let say = |what: &str| eprintln!("after {:.0} s: {what}", began.elapsed().as_secs_f64());
    let mut rows = Vec::new();
    for app in apps {
        say(&app.to_string());
        rows.push(matrix::measure(binary, *app, extent).await?);
    }
    say("memory of sessions, and starting");
    let (servers, sleeping) = servers(binary).await?;
    say("loading pages");
    let pages = page_load::measure(binary, &[Candidate::Tuned, Candidate::Streamfleet], LOADS).await?;
    say("killing and draining runners");
    let outages = outages::measure(binary).await.context("killing and draining runners")?;
    say("growing");
    let sessions = growth::sessions_of_a_worker(binary, STEP).await.context("many sessions")?;
    let runners = growth::runners_of_a_cluster(binary, STEP).await.context("many runners")?;
    say("profile");
    let profile = profile::measure(binary).await.context("profile")?;
    say("idle browsers");
    let idle = idle::measure(binary, IDLE, WATCHED).await.context("idle browsers")?;
    let saturating = extent.saturating;
    let findings = Findings { rows, saturating, servers, sleeping, pages, idle, outages, sessions, runners, profile };
    report::write(docs, &findings)?;
    say("done");
    Ok(())
}

/// What each candidate takes before anybody clicks; and a sleeping session, in processes and in Redis.
async fn servers(binary: &Path) -> Result<(Vec<Server>, (u64, u64))> {
    const CANDIDATES: [Candidate; 3] = [Candidate::Default, Candidate::Tuned, Candidate::Streamfleet];
    let mut starts = CANDIDATES.map(|_| (Vec::new(), Vec::new()));
    for _ in 0..STARTS {
        for (candidate, (healthy, first_page)) in CANDIDATES.into_iter().zip(&mut starts) {
            let start = cold_start::measure(candidate, binary).await.context("starting")?;
            healthy.push(start.healthy.as_secs_f64());
            first_page.push(start.first_page.as_secs_f64());
        }
    }
    let sizes = CANDIDATES.map(|candidate| sizes::of_candidate(candidate, binary));
    // Memory is the same however fast it is taken.
    let (sizes, sleeping) =
        tokio::try_join!(try_join_all(sizes), sizes::of_sleeping(binary)).context("memory of sessions")?;
    let found = CANDIDATES.into_iter().zip(starts).zip(sizes);
    let servers = found.map(|((candidate, (healthy, first_page)), sizes)| Server {
        candidate,
        sizes,
        healthy: Spread::of(healthy),
        first_page: Spread::of(first_page),
    });
    Ok((servers.collect(), sleeping))
}
