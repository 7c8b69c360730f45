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
const WARM_UP_TIME: Duration = Duration::from_millis(700);
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

/// One user's clicks before anything is counted: fewer where they take long.
pub(crate) async fn warm_up(user: &mut User) -> Result<()> {
    let end = Instant::now() + WARM_UP_TIME;
    for _ in 0..WARM_UP {
        user.click().await?;
        if Instant::now() > end {
            break;
        }
    }
    Ok(())
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

/// For how long users click at random.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Until {
    /// So long; what was meant by then is still answered.
    Time(Duration),
    /// They have meant to so often, together.
    Clicks(u64),
}

/// Clicks of users who each mean to click so often, at random times.
pub(crate) async fn at_random(users: &mut [User], interval: Duration, until: Until) -> Result<Times> {
    let meant = arrivals(users.len(), interval, until);
    let clicking = users.iter_mut().zip(meant).map(async |(user, meant)| {
        let mut waited = times()?;
        for moment in meant {
            sleep_until(moment).await;
            user.click().await?;
            record(&mut waited, moment)?;
        }
        anyhow::Ok(waited)
    });
    let mut all = times()?;
    for waited in try_join_all(clicking).await? {
        all.add(waited)?;
    }
    Ok(all)
}

/// When each of so many users means to click: all of them together at random, and whose click each is, too, which is the same as
/// each by itself.
fn arrivals(users: usize, interval: Duration, until: Until) -> Vec<Vec<Instant>> {
    let mut meant = vec![Vec::new(); users];
    let gap = interval.div_f64(as_f64(users.max(1)));
    let start = Instant::now();
    let (mut moment, mut count) = (start + exponential(gap), 0);
    while match until {
        Until::Time(time) => moment < start + time,
        Until::Clicks(clicks) => count < clicks,
    } {
        if let Some(user) = fastrand::choice(&mut meant) {
            user.push(moment);
        }
        moment += exponential(gap);
        count += 1;
    }
    meant
}

fn record(times: &mut Times, since: Instant) -> Result<()> {
    times.record(u64::try_from(since.elapsed().as_micros())?).context("a wait of more than the histogram has room for")
}

/// The time to the next of events that happen at random, on average so far apart.
fn exponential(mean: Duration) -> Duration {
    mean.mul_f64(-(1.0 - fastrand::f64()).ln())
}
