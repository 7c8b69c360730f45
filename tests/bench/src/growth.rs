//! How long a click takes as work grows: with the sessions that a worker has, and with the runners that a cluster has. In both the
//! clicks of all together stay the same, so that what is seen is the cost of there being more, not of doing more.

use std::path::Path;
use std::time::Duration;

use anyhow::Result;
use streamfleet_testkit::redis::{RedisLaunch, Version};

use crate::app::App;
use crate::candidate::Candidate;
use crate::load::{self, Times, as_f64};
use crate::{cluster, stand_in};

/// Sessions on one worker, and runners of one cluster.
const SESSIONS: [usize; 7] = [1, 25, 50, 100, 200, 350, 500];
const RUNNERS: [usize; 7] = [1, 2, 5, 10, 20, 35, 50];
/// Clicks a second of all sessions of the worker together, and of all users of the cluster.
const WORKER_RATE: f64 = 20.0;
const CLUSTER_RATE: f64 = 100.0;
/// Users of the cluster.
const USERS: usize = 100;

/// How long clicks take with so many of what grows.
#[derive(Debug)]
pub(crate) struct Step {
    pub(crate) size: usize,
    pub(crate) times: Times,
}

/// One worker that has more and more sessions.
pub(crate) async fn sessions_of_a_worker(binary: &Path, time: Duration) -> Result<Vec<Step>> {
    let server = Candidate::Streamfleet.launch(binary, App::Counter).option("--workers", "1").start().await?;
    let mut users = Vec::new();
    let mut steps = Vec::new();
    for size in SESSIONS {
        load::open(&mut users, size, server.endpoint(), App::Counter).await?;
        let interval = Duration::from_secs_f64(as_f64(size) / WORKER_RATE);
        // Longer than a worker puts off what it does when it is idle.
        load::at_random(&mut users, interval, time / 4).await?;
        let times = load::at_random(&mut users, interval, time).await?;
        steps.push(Step { size, times });
    }
    Ok(steps)
}

/// A cluster of more and more runners, whose workers are stand-ins.
pub(crate) async fn runners_of_a_cluster(binary: &Path, time: Duration) -> Result<Vec<Step>> {
    let mut steps = Vec::new();
    for size in RUNNERS {
        let redis = RedisLaunch::new(Version::V7).start().await?;
        let runners = stand_in::start(size, &redis.url()).await?;
        let gateway = cluster::gateway(binary, &redis).start().await?;
        let mut users = Vec::new();
        load::open(&mut users, USERS, gateway.endpoint(), App::Counter).await?;
        let interval = Duration::from_secs_f64(as_f64(USERS) / CLUSTER_RATE);
        load::at_random(&mut users, interval, time / 4).await?;
        let times = load::at_random(&mut users, interval, time).await?;
        steps.push(Step { size, times });
        drop((gateway, runners));
    }
    Ok(steps)
}
