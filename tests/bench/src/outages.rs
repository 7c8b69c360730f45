//! What users see when a runner is killed, and when one hands its sessions over.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use rustix::process::{Signal, kill_process_group};
use tokio::time::{Instant, sleep};

use crate::app::App;
use crate::cluster::Cluster;
use crate::load::{self, Times, Until};

/// Users, and how often each means to click.
const USERS: usize = 100;
const INTERVAL: Duration = Duration::from_millis(500);
/// How long they click before anything happens, and in all.
const BEFORE: Duration = Duration::from_secs(1);
const IN_ALL: Duration = Duration::from_secs(7);
/// How long a runner may take to hand everything over and end.
const DRAIN_LIMIT: Duration = Duration::from_mins(1);

/// How long clicks took to be answered rightly.
#[derive(Debug)]
pub(crate) struct Outages {
    /// Nothing happened.
    pub(crate) in_peace: Times,
    /// One of two runners was killed.
    pub(crate) killed: Times,
    /// One of two runners handed its sessions over to the other, and ended.
    pub(crate) drained: Times,
    /// How long that took from its being told to its end.
    pub(crate) drain: Duration,
}

/// Kills a runner, and drains one, under users who click. A wrong count or a closed connection is an error.
pub(crate) async fn measure(binary: &Path) -> Result<Outages> {
    let mut cluster = Cluster::start(binary, App::Counter, &[]).await?;
    let mut users = Vec::new();
    load::open(&mut users, USERS, cluster.gateway.endpoint(), App::Counter).await?;
    for user in &mut users {
        user.is_patient = true;
    }
    let in_peace = load::at_random(&mut users, INTERVAL, Until::Time(IN_ALL / 2)).await?;

    let mut victim = cluster.runners[0].take().context("no runner to kill")?;
    let (killed, ()) = tokio::try_join!(load::at_random(&mut users, INTERVAL, Until::Time(IN_ALL)), async {
        sleep(BEFORE).await;
        kill_process_group(victim.pid(), Signal::KILL).context("killing a runner")
    })?;
    victim.quiet();
    drop(victim);

    cluster.add_runner().await?;
    let mut leaving = cluster.runners[1].take().context("no runner to drain")?;
    let (drained, drain) = tokio::try_join!(load::at_random(&mut users, INTERVAL, Until::Time(IN_ALL)), async {
        sleep(BEFORE).await;
        let began = Instant::now();
        leaving.signal(Signal::TERM)?;
        let status = leaving.wait(DRAIN_LIMIT).await?;
        ensure!(status.success(), "the runner ended with {status}");
        Ok(began.elapsed())
    })?;
    Ok(Outages { in_peace, killed, drained, drain })
}
