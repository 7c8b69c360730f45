//! How long a click takes as work grows: with the sessions that a worker has, and with the runners that a cluster has.
//!
//! Each is looked at twice. *Steady*: the clicks of all together stay the same, so that what is seen is the cost of there being more.
//! *Growing*: there are more clicks, too, until what answers them has no time left, which is where the line bends.

use std::path::Path;
use std::time::Duration;

use anyhow::Result;
use streamfleet_testkit::redis::{RedisLaunch, Version};
use tokio::time::Instant;

use crate::app::App;
use crate::candidate::Candidate;
use crate::load::{self, Times, Until, as_f64};
use crate::user::User;
use crate::{cluster, stand_in, usage};

/// Sessions on one worker, and runners of one cluster.
const SESSIONS: [usize; 5] = [1, 100, 200, 350, 500];
const RUNNERS: [usize; 5] = [1, 5, 20, 35, 50];
/// Clicks a second of all sessions of the worker together, and of all users of the cluster, where they are steady.
const WORKER_RATE: f64 = 20.0;
const CLUSTER_RATE: f64 = 100.0;
/// Users of the cluster where clicks are steady, and for each runner where they grow.
const USERS: usize = 100;
const USERS_OF_RUNNER: usize = 40;
/// How often each user means to click where clicks grow.
const INTERVAL: Duration = Duration::from_secs(1);

/// Clicks that are waited for however long it takes.
const LEAST_CLICKS: u32 = 5;

/// How long clicks take with so many of what grows.
#[derive(Debug)]
pub(crate) struct Step {
    pub(crate) size: usize,
    pub(crate) steady: Load,
    pub(crate) growing: Load,
}

/// Clicks, and what they left of what answers them.
#[derive(Debug)]
pub(crate) struct Load {
    pub(crate) times: Times,
    /// The share of the time in which it was busy: the worker, or the machine's processors.
    pub(crate) busy: f64,
}

impl Load {
    /// Has users click at random; `used` is the time for which something was busy so far, of which there is `capacity` in a second.
    async fn measure(
        users: &mut [User],
        interval: Duration,
        time: Duration,
        used: impl Fn() -> Duration,
        capacity: f64,
    ) -> Result<Self> {
        // Longer than a worker puts off what it does when it is idle.
        load::at_random(users, interval, Until::Time(time / 4)).await?;
        let before = (used(), Instant::now());
        let least = (interval * LEAST_CLICKS).div_f64(as_f64(users.len()));
        let until = if least > time { Until::Clicks(LEAST_CLICKS.into()) } else { Until::Time(time) };
        let times = load::at_random(users, interval, until).await?;
        let busy = used().saturating_sub(before.0).div_duration_f64(before.1.elapsed()) / capacity;
        Ok(Self { times, busy })
    }
}

/// One worker that has more and more sessions.
pub(crate) async fn sessions_of_a_worker(binary: &Path, time: Duration) -> Result<Vec<Step>> {
    let server = Candidate::Streamfleet.launch(binary, App::Counter).option("--workers", "1").start().await?;
    // Of its two processes the worker is the one that has more to do.
    let worker = || usage::most_time_in_tree(server.pid());
    let mut users = Vec::new();
    let mut steps = Vec::new();
    for size in SESSIONS {
        load::open(&mut users, size, server.endpoint(), App::Counter).await?;
        let interval = Duration::from_secs_f64(as_f64(size) / WORKER_RATE);
        let steady = Load::measure(&mut users, interval, time, worker, 1.0).await?;
        let growing = Load::measure(&mut users, INTERVAL, time, worker, 1.0).await?;
        steps.push(Step { size, steady, growing });
    }
    Ok(steps)
}

/// A cluster of more and more runners, whose workers are stand-ins.
pub(crate) async fn runners_of_a_cluster(binary: &Path, time: Duration) -> Result<Vec<Step>> {
    let processors = usage::processors();
    let mut steps = Vec::new();
    for size in RUNNERS {
        let redis = RedisLaunch::new(Version::V7).start().await?;
        let runners = stand_in::start(size, &redis.url()).await?;
        let gateway = cluster::gateway(binary, &redis).start().await?;
        let mut users = Vec::new();
        load::open(&mut users, USERS, gateway.endpoint(), App::Counter).await?;
        let interval = Duration::from_secs_f64(as_f64(USERS) / CLUSTER_RATE);
        let steady = Load::measure(&mut users, interval, time, usage::time_of_machine, processors).await?;
        let count = size * USERS_OF_RUNNER;
        load::open(&mut users, count, gateway.endpoint(), App::Counter).await?;
        users.truncate(count);
        let growing = Load::measure(&mut users, INTERVAL, time, usage::time_of_machine, processors).await?;
        steps.push(Step { size, steady, growing });
        drop((users, gateway, runners));
    }
    Ok(steps)
}
