//! Planned moves: of one session, of all that a worker has, of all that the runner has.
//!
//! A session is moved when its script rests. The worker sends its last snapshot and ends it; once that is stored, the gateway is told to
//! look for it elsewhere, and whoever has it next goes on from there. What the browser has sent meanwhile the gateway still has.

use std::{sync::Arc, time::Duration};

use futures_util::{StreamExt as _, stream::FuturesUnordered};
use streamfleet_proto::{
    SessionId,
    runner::{DetachReason, DrainProgress},
    worker::{Release, control_request},
};
use tokio::{
    sync::{Semaphore, watch},
    time::{Instant, interval, sleep_until, timeout},
};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use crate::{saver::Entry, shared::Shared, slot::Slot};

/// Sessions that are moved at once.
const CONCURRENCY: usize = 8;
/// How often one leaves, unless the time is too short for so many: where they arrive each has its script run, and all at once they would
/// keep each other waiting, and everybody else there. 200 sessions take 5 s.
const PACE: Duration = Duration::from_millis(25);
/// How long a session counts among those; a script that runs for longer is waited for beside them.
const SHARE: Duration = Duration::from_secs(1);
/// How long the last snapshot may take to be stored before the session is moved.
const STORE_LIMIT: Duration = Duration::from_mins(2);
/// How long a script that is stopped may take to rest.
const STOP_LIMIT: Duration = Duration::from_secs(10);
/// How long a session that rests may take to leave.
const HIBERNATION_LIMIT: Duration = Duration::from_secs(5);
/// How often idle sessions and old workers are looked for.
const HOUSEKEEPING: Duration = Duration::from_secs(1);
/// How long a worker's sessions may take to leave it before it is replaced.
const RECYCLE_LIMIT: Duration = Duration::from_mins(5);
/// How long the neighbours of a script that can't be stopped may take to leave.
const EVACUATION_LIMIT: Duration = Duration::from_secs(15);
/// How long a new worker may take to come to serve in the place of one that is to be replaced.
const REPLACEMENT_LIMIT: Duration = Duration::from_mins(2);

impl Shared {
    /// The worker has sent all that it had of a session, and ended it.
    pub(crate) async fn released(&self, session: SessionId, worker: u32) {
        let Some(entry) = self.saver.find(session) else { return };
        if !entry.settled(STORE_LIMIT).await {
            warn!(?session, "its last snapshot could not be stored in time");
        }
        self.directory.end(session, worker);
        // Within the runner it stays pinned.
        if self.is_draining() || entry.leaving() == DetachReason::Hibernated {
            self.ownership.ended(session);
        } else {
            self.ownership.lose(session);
        }
        self.files.leave(session);
        self.saver.forget(session);
    }

    /// Has a session leave its worker when its script rests, or `now`. Returns when it has, or after the limit.
    async fn hand_over(&self, session: SessionId, entry: &Entry, reason: DetachReason, now: bool, limit: Duration) {
        entry.leave(reason);
        let only_at_rest = reason == DetachReason::Hibernated;
        let order = Release { session_id: session.to_string(), now, only_at_rest };
        if !self.order(session, control_request::Kind::Release(order)) {
            return;
        }
        if timeout(limit, entry.gone.cancelled()).await.is_ok() {
            let why = match reason {
                DetachReason::Hibernated => "hibernate",
                _ if self.is_draining() => "drain",
                _ => "recycle",
            };
            self.options.observer.metrics.handoff(why, if now { "cut" } else { "released" });
        }
    }

    /// Has sessions leave, some at once. Those that can't be moved whole go last, when the deadline comes; then nothing that still runs
    /// is waited for any longer.
    async fn hand_over_all(
        &self,
        sessions: impl Fn() -> Vec<(SessionId, Arc<Entry>)>,
        deadline: Instant,
        progress: &watch::Sender<DrainProgress>,
    ) {
        let all = sessions();
        let (complete, incomplete): (Vec<_>, Vec<_>) =
            all.into_iter().partition(|(session, entry)| self.is_complete(*session, entry));
        let total = count(complete.len() + incomplete.len());
        progress.send_replace(DrainProgress { total, moved: 0, left: total, incomplete: 0 });
        if !incomplete.is_empty() {
            info!(
                sessions = incomplete.len(),
                "some sessions have state that can't be moved; they stay until the deadline"
            );
        }
        let shares = Semaphore::new(CONCURRENCY);
        let (began, half) = (Instant::now(), deadline.saturating_duration_since(Instant::now()) / 2);
        let pace = PACE.min(half / total.max(1));
        let moving = (0..).zip(&complete).map(async |(place, (session, entry))| {
            sleep_until(began + pace * place).await;
            // Never closed.
            let share = shares.acquire().await;
            let limit = deadline.saturating_duration_since(Instant::now());
            let move_on = self.hand_over(*session, entry, DetachReason::Released, false, limit);
            tokio::pin!(move_on);
            if timeout(SHARE, &mut move_on).await.is_err() {
                drop(share);
                move_on.await;
            }
            entry.gone.is_cancelled()
        });
        let mut moving: FuturesUnordered<_> = moving.collect();
        while let Some(moved) = moving.next().await {
            progress.send_modify(|progress| {
                progress.moved += u32::from(moved);
                progress.left -= u32::from(moved);
            });
        }
        drop(moving);
        if sessions().is_empty() {
            return;
        }
        sleep_until(deadline).await;
        let left = sessions();
        let forced = left.iter().map(async |(session, entry)| {
            let complete = self.is_complete(*session, entry);
            self.hand_over(*session, entry, DetachReason::Released, true, STOP_LIMIT).await;
            (entry.gone.is_cancelled(), complete)
        });
        let mut forced: FuturesUnordered<_> = forced.collect();
        while let Some((moved, complete)) = forced.next().await {
            progress.send_modify(|progress| {
                progress.moved += u32::from(moved);
                progress.left = progress.left.saturating_sub(u32::from(moved));
                progress.incomplete += u32::from(moved && !complete);
            });
        }
    }

    /// Hands all sessions over to other runners.
    pub(crate) async fn drain(&self, limit: Duration, progress: &watch::Sender<DrainProgress>) {
        self.set_draining();
        let began = Instant::now();
        info!(sessions = self.here().len(), limit_s = limit.as_secs(), "draining: handing all sessions over");
        // Some may have been on their way here.
        while !self.here().is_empty() {
            self.hand_over_all(|| self.here(), began + limit, progress).await;
            if began.elapsed() >= limit {
                break;
            }
        }
        let DrainProgress { total, moved, left, incomplete } = *progress.borrow();
        info!(total, moved, left, incomplete, ms = began.elapsed().as_millis(), "drained");
    }

    /// Whether all that the session has can be had elsewhere.
    fn is_complete(&self, session: SessionId, entry: &Entry) -> bool {
        entry.is_complete() && self.files.unkept(session).is_empty()
    }

    /// The sessions that workers have.
    fn here(&self) -> Vec<(SessionId, Arc<Entry>)> {
        let mut list = self.saver.list();
        list.retain(|(session, _)| self.directory.owner(*session).is_some());
        list
    }

    fn on(&self, worker: u32) -> Vec<(SessionId, Arc<Entry>)> {
        let mut list = self.saver.list();
        list.retain(|(session, _)| self.directory.owner(*session) == Some(worker));
        list
    }

    /// A session's script can't be stopped: its neighbours leave, and its worker is ended with it.
    pub(crate) fn run_away(self: &Arc<Self>, worker: u32, session: SessionId, run: Duration) {
        let (Some(slot), Some(entry)) = (self.slot(worker), self.saver.find(session)) else { return };
        let seconds = run.as_secs();
        warn!(?session, worker, seconds, "a script can't be stopped; its worker is replaced");
        entry.run_away(format!(
            "The app was stopped after {seconds} s: it ran for longer than allowed, and did not react to being stopped. \
             Your last action has not been completed."
        ));
        let shared = Arc::clone(self);
        tokio::spawn(async move {
            shared.replace(&slot, Some(session), EVACUATION_LIMIT).await;
        });
    }

    /// Starts another worker, has the sessions of this one leave, and ends it.
    async fn replace(self: &Arc<Self>, slot: &Arc<Slot>, except: Option<SessionId>, limit: Duration) {
        if slot.is_retiring() {
            return;
        }
        slot.retire();
        let successor = self.add_slot();
        let deadline = Instant::now() + REPLACEMENT_LIMIT;
        while successor.ready().is_none() {
            if Instant::now() >= deadline || self.stop.is_cancelled() {
                warn!(worker = slot.index, "no other worker came to serve in its place; it stays");
                successor.stop();
                self.remove_slot(successor.index);
                slot.unretire();
                return;
            }
            self.changed(deadline - Instant::now()).await;
        }
        let sessions = || {
            let mut sessions = self.on(slot.index);
            sessions.retain(|(session, _)| Some(*session) != except);
            sessions
        };
        let progress = watch::Sender::default();
        self.hand_over_all(sessions, Instant::now() + limit, &progress).await;
        slot.stop();
        let _ = timeout(STOP_LIMIT, slot.stopped()).await;
        self.remove_slot(slot.index);
        info!(worker = slot.index, successor = successor.index, moved = progress.borrow().moved, "replaced a worker");
    }

    /// Frees the memory of sessions that have long been idle, and replaces workers that are old or large, until cancelled.
    pub(crate) async fn keep_house(self: Arc<Self>, stop: CancellationToken) {
        let mut ticks = interval(HOUSEKEEPING);
        let house = async {
            loop {
                ticks.tick().await;
                self.hibernate_idle().await;
                self.recycle();
            }
        };
        stop.run_until_cancelled(house).await;
    }

    async fn hibernate_idle(&self) {
        let after = self.options.limits.hibernate_after;
        if after.is_zero() || self.is_draining() {
            return;
        }
        let idle = self.here().into_iter().filter(|(session, entry)| {
            entry.idle() >= after && entry.is_connected() && !entry.is_leaving() && self.is_complete(*session, entry)
        });
        let shares = Semaphore::new(CONCURRENCY);
        let hibernating = idle.map(async |(session, entry)| {
            let _share = shares.acquire().await;
            debug!(?session, "hibernating");
            self.hand_over(session, &entry, DetachReason::Hibernated, false, HIBERNATION_LIMIT).await;
            if !entry.gone.is_cancelled() {
                // Its script runs: as some do for as long as somebody looks.
                entry.stay();
            }
        });
        hibernating.collect::<FuturesUnordered<_>>().collect::<Vec<()>>().await;
    }

    /// One at a time, so that there is always room for what has to move.
    fn recycle(self: &Arc<Self>) {
        let limits = self.options.limits;
        let slots = self.slots();
        if self.is_draining() || slots.iter().any(|slot| slot.is_retiring()) {
            return;
        }
        for slot in slots {
            let Some(age) = slot.age() else { continue };
            let bytes = slot.load().resident_bytes;
            let is_old = !limits.worker_max_age.is_zero() && age >= limits.worker_max_age;
            let is_large = limits.worker_max_bytes != 0 && bytes >= limits.worker_max_bytes;
            if is_old || is_large {
                self.options.observer.metrics.restart(if is_old { "age" } else { "memory" });
                info!(worker = slot.index, age_s = age.as_secs(), resident_bytes = bytes, "recycling a worker");
                let shared = Arc::clone(self);
                tokio::spawn(async move { shared.replace(&slot, None, RECYCLE_LIMIT).await });
                return;
            }
        }
    }
}

fn count(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        fake::{Behaviour, FakeSpawner},
        options::Limits,
        pool::{
            Pool,
            tests::{start_with, until_ready},
        },
    };

    /// Sessions with a browser, on one worker.
    fn populate(pool: &Pool, worker: u32, count: usize) -> Vec<SessionId> {
        let sessions: Vec<_> = (0..count).map(|_| SessionId::random()).collect();
        for &session in &sessions {
            pool.shared().ownership.own(session, 1);
            pool.shared().directory.bind(session, worker);
            pool.shared().saver.enter(session, None).connect(true);
        }
        sessions
    }

    #[tokio::test(start_paused = true)]
    async fn a_drain_hands_everybody_over() {
        let spawner = FakeSpawner::new([Behaviour::Serve]);
        let pool = start_with(1, &spawner, Limits::default()).await.unwrap();
        populate(&pool, 0, 100);
        let progress = watch::Sender::default();
        pool.drain(Duration::from_mins(1), &progress).await;
        let DrainProgress { total, moved, left, incomplete } = *progress.borrow();
        assert_eq!((total, moved, left, incomplete), (100, 100, 0, 0));
        assert!(pool.shared().here().is_empty() && pool.shared().is_draining());
        // Their pins are to be removed, so that others can have them.
        assert_eq!(pool.ownership().take_news().ended.len(), 100);
        pool.stop().await;
    }

    #[tokio::test(start_paused = true)]
    async fn what_can_t_be_moved_whole_stays_until_the_deadline() {
        let spawner = FakeSpawner::new([Behaviour::Serve]);
        let pool = start_with(1, &spawner, Limits::default()).await.unwrap();
        let sessions = populate(&pool, 0, 3);
        let incomplete = pool.shared().saver.find(sessions[0]).unwrap();
        incomplete.mark_incomplete();
        let began = Instant::now();
        let progress = watch::Sender::default();
        let draining = {
            let (pool, progress) = (pool.clone(), progress.clone());
            tokio::spawn(async move { pool.drain(Duration::from_mins(1), &progress).await })
        };
        let mut followed = progress.subscribe();
        followed.wait_for(|progress| progress.moved == 2).await.unwrap();
        assert!(began.elapsed() < Duration::from_secs(5));
        draining.await.unwrap();
        assert!(began.elapsed() >= Duration::from_mins(1));
        let DrainProgress { moved, left, incomplete, .. } = *progress.borrow();
        assert_eq!((moved, left, incomplete), (3, 0, 1));
        pool.stop().await;
    }

    #[tokio::test(start_paused = true)]
    async fn idle_sessions_hibernate_and_busy_ones_do_not() {
        let spawner = FakeSpawner::new([Behaviour::Serve]);
        let limits = Limits { hibernate_after: Duration::from_secs(10), ..Limits::default() };
        let pool = start_with(1, &spawner, limits).await.unwrap();
        let sessions = populate(&pool, 0, 3);
        let find = |session| pool.shared().saver.find(session);
        let busy = find(sessions[1]).unwrap();
        find(sessions[2]).unwrap().connect(false); // waits for its browser, by Streamlit's rules
        for seq in 1..15 {
            tokio::time::sleep(Duration::from_secs(1)).await;
            busy.receive(crate::saver::Mark { connection: 1, seq });
        }
        assert!(find(sessions[0]).is_none());
        assert!(find(sessions[1]).is_some() && find(sessions[2]).is_some());
        pool.stop().await;
    }

    #[tokio::test(start_paused = true)]
    async fn old_workers_are_replaced_one_by_one() {
        let spawner = FakeSpawner::new([Behaviour::Serve]);
        let limits = Limits { worker_max_age: Duration::from_mins(10), ..Limits::default() };
        let pool = start_with(2, &spawner, limits).await.unwrap();
        until_ready(&pool, 2).await;
        let sessions = populate(&pool, 0, 5);
        for _ in 0..15 * 60 {
            tokio::time::sleep(Duration::from_secs(1)).await;
            assert!(pool.load().workers >= 2, "there is less to serve with than before");
        }
        let indices: Vec<_> = pool.shared().slots().iter().map(|slot| slot.index).collect();
        assert_eq!(indices, [2, 3]);
        // They stay pinned here, where the gateway finds them again.
        assert!(pool.ownership().take_news().ended.is_empty());
        assert!(sessions.iter().all(|session| !pool.has(*session)));
        pool.stop().await;
    }

    #[tokio::test(start_paused = true)]
    async fn a_runaway_s_neighbours_leave_before_its_worker_ends() {
        let spawner = FakeSpawner::new([Behaviour::Serve]);
        let pool = start_with(1, &spawner, Limits::default()).await.unwrap();
        let sessions = populate(&pool, 0, 3);
        let runaway = pool.shared().saver.find(sessions[0]).unwrap();
        pool.shared().run_away(0, sessions[0], Duration::from_secs(77));
        while pool.shared().slot(0).is_some() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        assert!(runaway.runaway().unwrap().contains("77 s"));
        assert!(pool.shared().saver.find(sessions[1]).is_none() && pool.shared().saver.find(sessions[2]).is_none());
        assert_eq!(spawner.started(), 2);
        pool.stop().await;
    }
}
