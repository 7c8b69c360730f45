//! Every app on every candidate: what a click costs one user, how many runs a second many get, and how long users wait as there are
//! more of them.
//!
//! All candidates are there at once and take turns, so that a machine whose speed drifts is unfair to nobody; who is not on turn has
//! nothing to do.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result};
use futures_util::future::try_join_all;
use tokio::time::Instant;

use crate::app::App;
use crate::candidate::{Candidate, Running};
use crate::load::{self, Times, Until, as_f64};
use crate::spread::Spread;
use crate::usage;
use crate::user::User;

/// Users who come and click at random, and how often each means to (the report says "once a second").
pub(crate) const CROWDS: [usize; 3] = [10, 50, 200];
const INTERVAL: Duration = Duration::from_secs(1);
/// A crowd isn't sent to a server that could just about answer it, or couldn't, as a share of what it can answer: it would only be
/// measured for how long.
const TOO_MUCH: f64 = 0.9;
/// Clicks of a crowd that are waited for: as many as a p99 takes, but of the smallest, to which that would be long, as many as a p95.
const CROWD_CLICKS: [u64; 3] = [21, 101, 101];
/// Clicks of the one user in a turn at least: five turns have as many as a p95 takes.
const LEAST_CLICKS: u64 = 4;

/// How much is measured.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Extent {
    pub(crate) turns: usize,
    /// Users who don't pause, when runs are counted.
    pub(crate) saturating: usize,
    /// How long each measurement takes.
    pub(crate) time: Duration,
}

/// What a candidate has shown with an app.
#[derive(Debug)]
pub(crate) struct Figures {
    /// Of each turn: the median click of one user in milliseconds, runs a second, and processor time of a run in milliseconds.
    pub(crate) clicks: Vec<f64>,
    pub(crate) rates: Vec<f64>,
    pub(crate) costs: Vec<f64>,
    /// The clicks of one user of all turns together, and of crowds by their size.
    pub(crate) alone: Times,
    pub(crate) crowds: BTreeMap<usize, Times>,
}

impl Figures {
    fn new() -> Result<Self> {
        let (clicks, rates, costs) = (Vec::new(), Vec::new(), Vec::new());
        Ok(Self { clicks, rates, costs, alone: load::times()?, crowds: BTreeMap::new() })
    }

    /// The waits of so many users; `None` if they were too many for the server.
    pub(crate) fn of_users(&self, count: usize) -> Option<&Times> {
        if count == 1 { Some(&self.alone) } else { self.crowds.get(&count) }
    }
}

/// What all candidates have shown with an app.
#[derive(Debug)]
pub(crate) struct Row {
    pub(crate) app: App,
    pub(crate) figures: BTreeMap<Candidate, Figures>,
    /// The greatest share of a core that the load generator used.
    pub(crate) generator: f64,
}

impl Row {
    /// Streamfleet's figures over another's, turn by turn.
    pub(crate) fn ratio(&self, other: Candidate, figure: impl Fn(&Figures) -> &Vec<f64>) -> Spread {
        let of = |candidate| self.figures.get(&candidate).map_or(&[][..], |figures| figure(figures));
        Spread::of(of(Candidate::Streamfleet).iter().zip(of(other)).map(|(ours, theirs)| ours / theirs).collect())
    }
}

/// A candidate on the stage.
struct Contestant {
    candidate: Candidate,
    server: Running,
    users: Vec<User>,
    figures: Figures,
}

/// Measures an app on all candidates.
pub(crate) async fn measure(binary: &Path, app: App, extent: Extent) -> Result<Row> {
    let mut contestants =
        try_join_all(Candidate::ALL.map(|candidate| Contestant::enter(candidate, binary, app))).await?;
    let mut generator: f64 = 0.0;
    for turn in 0..extent.turns {
        let first = turn % contestants.len();
        contestants.rotate_left(first);
        for contestant in &mut contestants {
            let share = contestant
                .take_turn(app, extent, turn)
                .await
                .with_context(|| format!("{app} on {}, turn {}", contestant.candidate, turn + 1))?;
            generator = generator.max(share);
        }
        contestants.rotate_right(first);
    }
    let figures = contestants.into_iter().map(|contestant| (contestant.candidate, contestant.figures)).collect();
    Ok(Row { app, figures, generator })
}

impl Contestant {
    async fn enter(candidate: Candidate, binary: &Path, app: App) -> Result<Self> {
        let server = candidate.start(binary, app).await.with_context(|| format!("starting {candidate}"))?;
        Ok(Self { candidate, server, users: Vec::new(), figures: Figures::new()? })
    }

    /// Returns the share of a core that the load generator used while the server was saturated.
    async fn take_turn(&mut self, app: App, extent: Extent, turn: usize) -> Result<f64> {
        let (users, server) = (&mut self.users, &self.server);
        load::open(users, extent.saturating, &server.endpoint, app).await?;
        if turn == 0 {
            load::warm_up(&mut users[0]).await?;
            load::saturate(&mut users[..extent.saturating], extent.time / 4).await?;
        }
        let alone = load::spaced(&mut users[0], extent.time, LEAST_CLICKS).await?;
        self.figures.clicks.push(load::millis(&alone, 0.5));
        self.figures.alone.add(alone)?;

        let before = (server.processor_time(), usage::time_of_this_program(), Instant::now());
        let (runs, took) = load::saturate(&mut users[..extent.saturating], extent.time).await?;
        let cost = server.processor_time().saturating_sub(before.0) / u32::try_from(runs)?.max(1);
        let generator =
            usage::time_of_this_program().saturating_sub(before.1).as_secs_f64() / before.2.elapsed().as_secs_f64();
        #[expect(clippy::cast_precision_loss, reason = "a few thousand runs")]
        let rate = runs as f64 / took.as_secs_f64();
        self.figures.rates.push(rate);
        self.figures.costs.push(cost.as_secs_f64() * 1e3);
        let click = self.figures.clicks.last().copied().unwrap_or_default();
        eprintln!(
            "{app}, turn {}: {}: click {click:.2} ms, {rate:.0} runs/s, {:.2} ms of CPU a run",
            turn + 1,
            self.candidate,
            cost.as_secs_f64() * 1e3
        );
        if turn == 0 {
            for (crowd, clicks) in CROWDS.into_iter().zip(CROWD_CLICKS) {
                if as_f64(crowd) / INTERVAL.as_secs_f64() > rate * TOO_MUCH {
                    break;
                }
                load::open(users, crowd, &server.endpoint, app).await?;
                let waited = load::at_random(&mut users[..crowd], INTERVAL, Until::Clicks(clicks)).await?;
                self.figures.crowds.insert(crowd, waited);
            }
        }
        Ok(generator)
    }
}
