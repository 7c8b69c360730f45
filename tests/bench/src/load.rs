//! Ways in which users arrive, and how long they wait.
//!
//! *Spaced*: one user who clicks, reads, and clicks again. *Saturating*: users who click the moment they have their answer (a closed
//! loop), so that the server is the limit. *Open*: each user means to click at random times, whether or not the answer before has
//! come. There a click's time counts from when it was meant to be: who waits for an answer also waits with what they would have
//! clicked meanwhile, and a server that stalls can't hide it by having fewer clicks measured (coordinated omission).

use std::time::Duration;

use anyhow::{Context as _, Result};
use futures_util::future::try_join_all;
use hdrhistogram::Histogram;
use streamfleet_testkit::Endpoint;
use tokio::time::{Instant, sleep, sleep_until};

use crate::app::App;
use crate::user::User;

/// What the one user does between clicks. Without a pause a delayed acknowledgement of TCP would be measured instead.
pub(crate) const PAUSE: Duration = Duration::from_millis(20);
/// Clicks before anything is counted: caches fill, and the first runs of a process are slow.
pub(crate) const WARM_UP: usize = 10;
/// Pages that are being opened at once: users come one after the other, not in one instant.
const OPENING: usize = 10;

/// Times in microseconds.
pub(crate) type Times = Histogram<u64>;

/// An empty histogram: three digits of microseconds.
pub(crate) fn times() -> Result<Times> {
    Ok(Times::new(3)?)
}

/// A quantile in milliseconds.
pub(crate) fn millis(times: &Times, quantile: f64) -> f64 {
    Duration::from_micros(times.value_at_quantile(quantile)).as_secs_f64() * 1e3
}

/// A count of users, sessions or runners.
#[expect(clippy::cast_precision_loss, reason = "a few hundred")]
pub(crate) fn as_f64(count: usize) -> f64 {
    count as f64
}

/// Has users come until there are so many.
pub(crate) async fn open(users: &mut Vec<User>, count: usize, endpoint: &Endpoint, app: App) -> Result<()> {
    while users.len() < count {
        let batch = OPENING.min(count - users.len());
        let opening: Vec<_> = (users.len()..users.len() + batch)
            .map(|number| {
                let endpoint = endpoint.clone();
                tokio::spawn(async move { User::open(&endpoint, app, number).await })
            })
            .collect();
        for opened in opening {
            users.push(opened.await??);
        }
    }
    Ok(())
}

/// One user's clicks with pauses, for so long, but at least so many.
pub(crate) async fn spaced(user: &mut User, time: Duration, least: u64) -> Result<Times> {
    let mut waited = times()?;
    let end = Instant::now() + time;
    while Instant::now() < end || waited.len() < least {
        let start = Instant::now();
        user.click().await?;
        record(&mut waited, start)?;
        sleep(PAUSE).await;
    }
    Ok(waited)
}

/// Runs of users who don't pause, and how long they took together.
pub(crate) async fn saturate(users: &mut [User], time: Duration) -> Result<(u64, Duration)> {
    let start = Instant::now();
    let end = start + time;
    let clicking = users.iter_mut().map(async |user| {
        let mut runs = 0;
        while Instant::now() < end {
            user.click().await?;
            runs += 1;
        }
        anyhow::Ok(runs)
    });
    let runs: Vec<u64> = try_join_all(clicking).await?;
    Ok((runs.into_iter().sum(), start.elapsed()))
}

/// Clicks of users who each mean to click so often, at random times.
pub(crate) async fn at_random(users: &mut [User], interval: Duration, time: Duration) -> Result<Times> {
    let start = Instant::now();
    let clicking = users.iter_mut().map(async |user| {
        let mut waited = times()?;
        let mut meant = start + exponential(interval);
        while meant < start + time {
            sleep_until(meant).await;
            user.click().await?;
            record(&mut waited, meant)?;
            meant += exponential(interval);
        }
        anyhow::Ok(waited)
    });
    let mut all = times()?;
    for waited in try_join_all(clicking).await? {
        all.add(waited)?;
    }
    Ok(all)
}

fn record(times: &mut Times, since: Instant) -> Result<()> {
    times.record(u64::try_from(since.elapsed().as_micros())?).context("a wait of more than the histogram has room for")
}

/// The time to the next of events that happen at random, on average so far apart.
fn exponential(mean: Duration) -> Duration {
    mean.mul_f64(-(1.0 - fastrand::f64()).ln())
}
