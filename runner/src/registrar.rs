//! Keeps the registry up to date on this runner: its lease and load, its pins, its media files.

use std::{sync::Arc, time::Duration};

use futures_util::{FutureExt as _, StreamExt as _, future::BoxFuture, stream};
use streamfleet_cluster::{Event, Load, Member, PIN_TTL, Pin, Registry, RegistryError, RunnerPhase};
use streamfleet_proto::runner::DrainProgress;
use tokio::{
    sync::{broadcast::error::RecvError, watch},
    time::{Instant, MissedTickBehavior, interval, sleep},
};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use crate::{
    ownership::{News, Ownership},
    pool::Pool,
};

/// How often the lease is renewed.
const RENEWAL: Duration = Duration::from_secs(1);
/// How often all pins and files are renewed: often enough that two failures in a row lose none.
const RECLAIM: Duration = Duration::from_secs(PIN_TTL.as_secs() / 3);
/// Pause after the registry could not be told something.
const RETRY_PAUSE: Duration = Duration::from_millis(500);
/// Questions to the registry at once. They share a connection.
const CONCURRENCY: usize = 64;
/// How long leaving may take; who can't say so is missed soon enough.
const LEAVE_LIMIT: Duration = Duration::from_secs(1);

/// Where a runner is reached, and what it serves.
#[derive(Debug, Clone)]
pub struct Announcement {
    /// Where gateways reach its gRPC service, as `host:port`; empty where there is only one process.
    pub address: String,
    /// What it serves of the app.
    pub revision: String,
}

/// Keeps the registry up to date on this runner.
pub struct Registrar {
    registry: Arc<dyn Registry>,
    announcement: Announcement,
    pool: Pool,
    phase: watch::Sender<RunnerPhase>,
}

impl Registrar {
    /// A registrar for the sessions of `pool`. The runner is no member before [`join`](Self::join).
    pub fn new(registry: Arc<dyn Registry>, announcement: Announcement, pool: Pool) -> Self {
        Self { registry, announcement, pool, phase: watch::Sender::new(RunnerPhase::Ready) }
    }

    /// Makes the runner a member.
    pub async fn join(&self) -> Result<(), RegistryError> {
        self.renew().await
    }

    /// Renews everything until cancelled.
    pub fn run(self: Arc<Self>, stop: CancellationToken) -> BoxFuture<'static, ()> {
        // Boxed, so that it is compiled here, and not once more for every program.
        Box::pin(async move {
            let keep = async { tokio::join!(self.keep_lease(), self.tell_news(), self.follow()) };
            stop.run_until_cancelled(keep).await;
        })
    }

    /// Takes no new sessions, and hands those that are here over to other runners. Returns when none is left or, at the latest, soon
    /// after the limit.
    pub async fn drain(&self, limit: Duration, progress: &watch::Sender<DrainProgress>) {
        self.phase.send_replace(RunnerPhase::Draining);
        if let Err(error) = self.renew().await {
            warn!("cannot say that this runner is draining: {error}");
        }
        self.pool.drain(limit, progress).await;
    }

    /// Ends the membership.
    pub async fn leave(&self) {
        self.phase.send_replace(RunnerPhase::Stopped);
        let withdraw = self.registry.withdraw(self.ownership().runner());
        match tokio::time::timeout(LEAVE_LIMIT, withdraw).await {
            Ok(Ok(())) => info!("left the cluster"),
            Ok(Err(error)) => warn!("cannot say that this runner has left: {error}"),
            Err(_) => warn!("cannot say in time that this runner has left"),
        }
    }

    fn ownership(&self) -> &Ownership {
        self.pool.ownership()
    }

    async fn keep_lease(&self) {
        let mut renewals = interval(RENEWAL);
        renewals.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut claimed = Instant::now();
        let mut away = false;
        loop {
            tokio::select! {
                _ = renewals.tick() => {}
                // Gateways should know soon that nobody serves here, or that somebody does again.
                () = self.pool.workers_changed() => {}
            }
            let renewed = match self.renew().await {
                Ok(()) if claimed.elapsed() >= RECLAIM => {
                    claimed = Instant::now();
                    self.claim_everything().await
                }
                renewed => renewed,
            };
            match &renewed {
                Ok(()) if away => info!("the registry is back"),
                Err(error) if !away => warn!("{error}; sessions go on without it"),
                _ => {}
            }
            away = renewed.is_err();
        }
    }

    /// Gives up at once what others are said to own.
    async fn follow(&self) {
        let mut events = self.registry.subscribe();
        loop {
            match events.recv().await {
                Ok(Event::Pin { session, pin: Some(pin) }) if pin.runner != *self.ownership().runner() => {
                    if self.ownership().epoch(session).is_some_and(|epoch| epoch < pin.epoch) {
                        self.pool.give_up(session, &pin);
                    }
                }
                Ok(_) | Err(RecvError::Lagged(_)) => {}
                // The registry lives as long as we do.
                Err(RecvError::Closed) => return,
            }
        }
    }

    /// Announces the runner. When it turns out to have been away, nothing goes on here before it is known what is still its own.
    async fn renew(&self) -> Result<(), RegistryError> {
        let began = Instant::now();
        let renewed = async {
            let announced = self.registry.announce(&self.member()).await?;
            // An announcement that was given up may still have arrived, and renewed the lease without our knowing: so our
            // own clock has a say too.
            if announced.joined || !self.ownership().lease.is_held(began) {
                self.claim_everything().await?;
            }
            Ok(())
        };
        let renewed = renewed.await;
        let lease = &self.ownership().lease;
        match &renewed {
            Ok(()) => lease.renewed(began),
            Err(_) => lease.failed(began),
        }
        renewed
    }

    fn member(&self) -> Member {
        let Announcement { address, revision } = self.announcement.clone();
        let options = &self.pool.shared().options;
        let load = Load {
            sessions: count(self.ownership().count()),
            max_connected: options.limits.max_sessions.saturating_mul(options.workers.max(1)),
            short_of_memory: self.pool.shared().memory.look(options.limits.memory_high),
            ..self.pool.load()
        };
        Member { runner: self.ownership().runner().clone(), address, revision, phase: *self.phase.borrow(), load }
    }

    /// Renews all pins and files, and gives up the sessions that have another owner.
    async fn claim_everything(&self) -> Result<(), RegistryError> {
        let pins = self.ownership().pins();
        if !pins.is_empty() {
            debug!(sessions = pins.len(), "claiming all sessions");
        }
        let claim = async |session, pin: Pin| {
            let held = self.registry.claim(session, &pin).await?;
            if held != pin {
                self.pool.give_up(session, &held);
            }
            Ok(())
        };
        all(pins.into_iter().map(|(session, pin)| claim(session, pin).boxed()).collect()).await?;
        self.pool.shared().touch_snapshots().await;
        let (media, runner) = (self.ownership().media(), self.ownership().runner());
        all(media.iter().map(|file| self.registry.add_media(file, runner)).collect()).await
    }

    /// Tells what has changed as soon as it has.
    async fn tell_news(&self) {
        loop {
            self.ownership().untold.notified().await;
            let mut news = self.ownership().take_news();
            while !news.is_empty() {
                if let Err(error) = self.tell(&mut news).await {
                    debug!("cannot tell the registry what is new: {error}");
                    self.ownership().put_back(news);
                    sleep(RETRY_PAUSE).await;
                }
                news = self.ownership().take_news();
            }
        }
    }

    /// Tells the news, and takes out what has been told.
    async fn tell(&self, news: &mut News) -> Result<(), RegistryError> {
        let (registry, runner) = (&*self.registry, self.ownership().runner());
        let pin = async |session| {
            let pin = registry.pin(session, runner).await?;
            if pin.runner == *runner {
                self.ownership().pinned(session, &pin);
            } else {
                self.pool.give_up(session, &pin);
            }
            Ok(())
        };
        all(news.unpinned.iter().map(|&session| pin(session).boxed()).collect()).await?;
        news.unpinned.clear();
        all(news.ended.iter().map(|(&session, pin)| registry.unpin(session, pin)).collect()).await?;
        news.ended.clear();
        all(news.media_added.iter().map(|file| registry.add_media(file, runner)).collect()).await?;
        news.media_added.clear();
        all(news.media_removed.iter().map(|file| registry.remove_media(file, runner)).collect()).await?;
        news.media_removed.clear();
        Ok(())
    }
}

/// Does all of it, much at once. Ends with the first failure to reach the registry; what it refuses is only logged.
async fn all(operations: Vec<BoxFuture<'_, Result<(), RegistryError>>>) -> Result<(), RegistryError> {
    let mut outcomes = stream::iter(operations).buffer_unordered(CONCURRENCY);
    while let Some(outcome) = outcomes.next().await {
        match outcome {
            Err(RegistryError::Failed(reason)) => warn!("the registry failed: {reason}"),
            other => other?,
        }
    }
    Ok(())
}

fn count(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}
