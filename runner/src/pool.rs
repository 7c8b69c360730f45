//! The workers of one app on this machine.

use std::{fmt, sync::Arc, time::Duration};

use crate::{
    cache::CacheCounts,
    failure::WorkerFailure,
    options::PoolOptions,
    ownership::Ownership,
    process::Spawner,
    saver::Saver,
    shared::Shared,
    slot::{ConnectionLease, Phase, ReadyWorker, Slot},
};
use futures_util::future::{BoxFuture, join_all};
use streamfleet_cluster::{Load, Pin, SnapshotStore};
use streamfleet_proto::{
    MediaId, SessionId,
    runner::{DrainProgress, SessionStatus, WorkerPhase, WorkerStatus},
    worker::{Ready, control_request},
};
use tokio::{sync::watch, time::timeout};

/// How long a request waits for a worker while none is ready, as when all have just died.
const PICK_LIMIT: Duration = Duration::from_secs(30);
/// How long what sessions did last may take to be stored when the pool is stopped.
const STORE_LIMIT: Duration = Duration::from_secs(3);

/// The workers of one app on this machine, kept running.
#[derive(Clone)]
pub struct Pool {
    inner: Arc<Inner>,
}

impl fmt::Debug for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pool").finish_non_exhaustive()
    }
}

struct Inner {
    shared: Arc<Shared>,
    /// What the first worker that came to serve said of the app.
    app: Ready,
}

impl Pool {
    /// Starts the workers, and returns when one of them serves. What their sessions do is kept in `snapshots`.
    pub fn start(
        options: PoolOptions,
        spawner: Arc<dyn Spawner>,
        ownership: Arc<Ownership>,
        snapshots: Arc<dyn SnapshotStore>,
    ) -> BoxFuture<'static, Result<Self, Arc<WorkerFailure>>> {
        // Boxed, so that all that workers take is compiled here, and not once more for every program.
        Box::pin(Self::start_with(options, spawner, ownership, snapshots))
    }

    async fn start_with(
        options: PoolOptions,
        spawner: Arc<dyn Spawner>,
        ownership: Arc<Ownership>,
        snapshots: Arc<dyn SnapshotStore>,
    ) -> Result<Self, Arc<WorkerFailure>> {
        let workers = options.workers.max(1);
        let saver = Saver::new(snapshots, options.revision.clone());
        let shared = Shared::new(options, spawner, ownership, saver);
        let mut changes = shared.changes.subscribe();
        let slots: Vec<_> = (0..workers).map(|_| shared.add_slot()).collect();

        // Whoever drops this future while it waits wants no workers left.
        let cancel_on_drop = shared.stop.clone().drop_guard();
        let outcome = loop {
            if let Some(outcome) = slots.iter().find_map(|slot| match slot.phase() {
                Phase::Ready(worker) => Some(Ok(worker.ready.clone())),
                Phase::BackingOff(failure) => Some(Err(failure)),
                Phase::Starting | Phase::Stopped => None,
            }) {
                break outcome;
            }
            // The sender lives in `shared`, which is ours.
            let _ = changes.changed().await;
        };
        match outcome {
            Ok(app) => {
                let _stop = cancel_on_drop.disarm();
                let house = Arc::clone(&shared).keep_house(shared.stop.clone());
                shared.tasks.spawn(house);
                let (files, ownership) = (Arc::clone(&shared.files), Arc::clone(&shared.ownership));
                // Nothing is lost by stopping it at any point.
                let keep_up = async move { files.keep_up(&ownership).await };
                shared.tasks.spawn(shared.stop.clone().run_until_cancelled_owned(keep_up));
                Ok(Self { inner: Arc::new(Inner { shared, app }) })
            }
            Err(failure) => {
                drop(cancel_on_drop);
                shared.tasks.close();
                shared.tasks.wait().await;
                Err(failure)
            }
        }
    }

    /// What the first worker that came to serve said of itself and the app.
    pub fn app(&self) -> &Ready {
        &self.inner.app
    }

    /// Tells all workers, also those yet to start, the port on which browsers reach the app.
    pub fn set_public_port(&self, port: u16) {
        self.shared().public_port.send_replace(port);
    }

    /// Ends all workers, in order if they let it happen in time.
    pub async fn stop(&self) {
        let shared = self.shared();
        shared.stop.cancel();
        shared.tasks.close();
        shared.tasks.wait().await;
        // What they have sent last is still to be kept.
        let sessions = shared.saver.list();
        join_all(sessions.iter().map(|(_, entry)| entry.settled(STORE_LIMIT))).await;
        if let Some(cache) = &shared.options.cache {
            cache.leave(STORE_LIMIT).await;
        }
    }

    /// The sessions that are owned here.
    pub(crate) fn ownership(&self) -> &Ownership {
        &self.shared().ownership
    }

    /// What the parts of the pool share.
    pub(crate) fn shared(&self) -> &Arc<Shared> {
        &self.inner.shared
    }

    /// Ends a session here that has another owner.
    pub(crate) fn give_up(&self, session: SessionId, holder: &Pin) {
        self.shared().give_up(session, holder);
    }

    /// Whether a worker that serves has the session.
    pub(crate) fn has(&self, session: SessionId) -> bool {
        self.shared().directory.owner(session).is_some_and(|index| self.placed(index).is_some())
    }

    /// Takes no more sessions, and hands those that are here over to other runners. Returns when none is left or, at the latest, soon
    /// after the limit.
    pub async fn drain(&self, limit: Duration, progress: &watch::Sender<DrainProgress>) {
        self.shared().drain(limit, progress).await;
    }

    /// Ends a session here that is pinned here anew, with a greater epoch than the one it has here: somebody else may have had it
    /// in between.
    pub(crate) fn give_up_older(&self, session: SessionId, epoch: u64) {
        if self.ownership().epoch(session).is_some_and(|held| held < epoch) {
            let holder = Pin { runner: self.ownership().runner().clone(), epoch };
            self.give_up(session, &holder);
        }
    }

    /// Waits until another number of workers serves.
    pub(crate) async fn workers_changed(&self) {
        let mut changes = self.shared().changes.subscribe();
        let before = self.load().workers;
        // The sender is ours.
        while self.load().workers == before && changes.changed().await.is_ok() {}
    }

    /// Whether any worker serves now.
    pub fn is_serving(&self) -> bool {
        self.shared().slots().iter().any(|slot| slot.ready().is_some())
    }

    /// How busy the workers are; the number of sessions is left out.
    pub fn load(&self) -> Load {
        let mut sum = Load::default();
        for slot in self.shared().slots() {
            let load = slot.load();
            sum.workers += u32::from(slot.ready().is_some());
            sum.connected += load.connected_sessions;
            sum.running += load.running_scripts;
            sum.resident_bytes += load.resident_bytes;
        }
        sum
    }

    /// How each worker is.
    pub fn status(&self) -> Vec<WorkerStatus> {
        self.shared().slots().iter().map(|slot| status(slot)).collect()
    }

    /// What is to be seen of the sessions that are here: of so many of them, those whose scripts run and those with something to tell
    /// first; and how many there are.
    pub(crate) fn sessions(&self, limit: usize) -> (Vec<SessionStatus>, usize) {
        let shared = self.shared();
        let mut sessions: Vec<_> = shared
            .saver
            .list()
            .into_iter()
            .filter_map(|(session, entry)| {
                let worker = shared.directory.owner(session)?;
                Some(entry.status(worker))
            })
            .collect();
        let total = sessions.len();
        sessions.sort_by_key(|session| (!session.running, session.unsaved.is_empty(), session.age_ms));
        sessions.truncate(limit);
        (sessions, total)
    }

    /// The session that this stands for, if it is here.
    pub(crate) fn session_of(&self, public_id: &str) -> Option<SessionId> {
        let sessions = self.shared().saver.list();
        sessions.into_iter().map(|(session, _)| session).find(|session| session.public_id() == public_id)
    }

    /// How many values of sessions can't be kept.
    pub(crate) fn unsaved_values(&self) -> u64 {
        self.shared().saver.list().iter().map(|(_, entry)| entry.unsaved_count()).sum()
    }

    /// How many workers are about to be replaced.
    pub(crate) fn retiring_workers(&self) -> u32 {
        let retiring = self.shared().slots().iter().filter(|slot| slot.is_retiring()).count();
        u32::try_from(retiring).unwrap_or(u32::MAX)
    }

    /// What the shared cache has done, and how many bytes it has in memory; `None` if there is none.
    pub(crate) fn cache_figures(&self) -> Option<(CacheCounts, u64)> {
        let cache = self.shared().options.cache.as_ref()?;
        Some((cache.counts(), cache.memory_bytes()))
    }

    /// How long messages wait for their runs, of late.
    pub fn queue_wait(&self) -> Duration {
        self.shared().runs.queue_wait()
    }

    /// The worker that has this session, with the least loaded one in its stead if none has it.
    ///
    /// Waits a while for a worker when none is ready; `None` when that was in vain.
    pub(crate) async fn for_session(&self, session: Option<SessionId>) -> Option<Placed> {
        let owner = session.and_then(|session| self.shared().directory.owner(session));
        if let Some(placed) = owner.and_then(|index| self.placed(index)) {
            return Some(placed);
        }
        self.when_ready(Self::least_loaded).await
    }

    /// The least loaded worker, to answer a request that any of them can answer.
    pub(crate) async fn any(&self) -> Option<Placed> {
        self.when_ready(Self::least_loaded).await
    }

    /// Always the same worker as long as it lives, for routes that keep sessions of their own.
    pub(crate) async fn first(&self) -> Option<Placed> {
        let first = |pool: &Self| {
            let slots = pool.shared().slots();
            slots.iter().find_map(Placed::on)
        };
        self.when_ready(first).await
    }

    /// The worker that has this media file, if that is known.
    pub(crate) fn for_media(&self, file_id: &MediaId) -> Option<Placed> {
        let holder = self.shared().directory.media_holder(file_id)?;
        self.placed(holder)
    }

    /// A worker whose process is none of these, which may have to be waited for: one that has just died counts as
    /// ready until that is noticed.
    pub(crate) async fn next_other_than(&self, pids: &[u32]) -> Option<Placed> {
        self.when_ready(|pool| pool.other_than(pids)).await
    }

    /// A worker that is ready now and whose process is none of these.
    pub(crate) fn other_than(&self, pids: &[u32]) -> Option<Placed> {
        let slots = self.shared().slots();
        slots.iter().filter_map(Placed::on).find(|placed| !pids.contains(&placed.worker.pid))
    }

    /// How many workers are ready now.
    #[cfg(test)]
    fn ready_count(&self) -> usize {
        self.shared().slots().iter().filter(|slot| slot.ready().is_some()).count()
    }

    fn placed(&self, index: u32) -> Option<Placed> {
        self.shared().slot(index).as_ref().and_then(Placed::on)
    }

    fn least_loaded(&self) -> Option<Placed> {
        let slots = self.shared().slots();
        let ready = slots.iter().filter(|slot| slot.ready().is_some());
        // Of equally loaded ones the one with fewer sessions waiting for their browsers to return; one that is about to be replaced only
        // if there is no other.
        let best = ready.min_by_key(|slot| (slot.is_retiring(), slot.connections(), slot.load().disconnected_sessions));
        best.and_then(Placed::on)
    }

    async fn when_ready(&self, pick: impl Fn(&Self) -> Option<Placed>) -> Option<Placed> {
        let mut changes = self.shared().changes.subscribe();
        let wait = async {
            loop {
                if let Some(placed) = pick(self) {
                    return Some(placed);
                }
                changes.changed().await.ok()?;
            }
        };
        tokio::select! {
            placed = timeout(PICK_LIMIT, wait) => placed.ok().flatten(),
            () = self.shared().stop.cancelled() => None,
        }
    }
}

/// A worker chosen for a request. The request counts towards its load while this lives.
pub(crate) struct Placed {
    pub(crate) worker: Arc<ReadyWorker>,
    slot: Arc<Slot>,
    _lease: ConnectionLease,
}

impl Placed {
    fn on(slot: &Arc<Slot>) -> Option<Self> {
        let worker = slot.ready()?;
        Some(Self { worker, slot: Arc::clone(slot), _lease: slot.lease() })
    }

    /// Tells the worker something, soon.
    pub(crate) fn order(&self, order: control_request::Kind) {
        self.slot.order(order);
    }

    /// Waits until it is known that the worker's process has ended; false if it hasn't by then.
    pub(crate) async fn has_died(&self, limit: Duration) -> bool {
        self.slot.has_died(self.worker.pid, limit).await
    }
}

fn status(slot: &Slot) -> WorkerStatus {
    let (phase, pid) = match slot.phase() {
        Phase::Starting => (WorkerPhase::Starting, 0),
        Phase::Ready(worker) => (WorkerPhase::Ready, worker.pid),
        Phase::BackingOff(_) => (WorkerPhase::BackingOff, 0),
        Phase::Stopped => (WorkerPhase::Stopped, 0),
    };
    let load = slot.load();
    WorkerStatus {
        index: slot.index,
        phase: phase.into(),
        pid,
        restarts: slot.restarts(),
        connected_sessions: load.connected_sessions,
        disconnected_sessions: load.disconnected_sessions,
        running_scripts: load.running_scripts,
        resident_bytes: load.resident_bytes,
        loop_lag_us: load.loop_lag_us,
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use std::path::Path;

    use streamfleet_cluster::{Blobs, MemorySnapshots, Signer, SnapshotOptions};
    use streamfleet_proto::worker::Snapshot;

    use super::*;
    use crate::{
        fake::{Behaviour, FakeSpawner},
        observe::Observer,
        options::Limits,
        saver::Entry,
    };

    fn options(workers: u32, folder: &Path) -> PoolOptions {
        PoolOptions {
            script: Some("/app.py".into()),
            script_args: Vec::new(),
            streamlit_flags: Vec::new(),
            workers,
            socket_folder: folder.to_owned(),
            cookie_secret: "secret".to_owned(),
            watch_sources: false,
            packages: None,
            revision: String::new(),
            blobs: Blobs::memory(),
            cache: None,
            observer: Observer::none(),
            forward_output: false,
            limits: Limits::default(),
        }
    }

    pub(crate) async fn start_with(
        workers: u32,
        spawner: &Arc<FakeSpawner>,
        limits: Limits,
    ) -> Result<Pool, Arc<WorkerFailure>> {
        let options = PoolOptions { limits, ..options(workers, spawner.folder.path()) };
        let spawner = Arc::clone(spawner);
        let ownership = Ownership::new("here".parse().unwrap());
        let signer = Signer::new("test", ["a key"]).unwrap();
        let snapshots = MemorySnapshots::new(SnapshotOptions::new(signer));
        Pool::start(options, spawner, Arc::new(ownership), Arc::new(snapshots)).await
    }

    async fn start(workers: u32, spawner: &Arc<FakeSpawner>) -> Result<Pool, Arc<WorkerFailure>> {
        start_with(workers, spawner, Limits::default()).await
    }

    pub(crate) async fn until_ready(pool: &Pool, workers: usize) {
        let mut changes = pool.shared().changes.subscribe();
        while pool.ready_count() != workers {
            changes.changed().await.unwrap();
        }
    }

    // With the clock paused, time passes as soon as nothing else can happen: pauses cost nothing.

    #[tokio::test(start_paused = true)]
    async fn a_refusal_ends_the_start_with_the_worker_s_words() {
        let spawner = FakeSpawner::new([Behaviour::Refuse("no such option")]);
        let failure = start(2, &spawner).await.err().unwrap();
        assert_eq!(failure.to_string(), "no such option");
    }

    #[tokio::test(start_paused = true)]
    async fn a_start_that_fails_is_reported() {
        let spawner = FakeSpawner::new([Behaviour::FailToStart]);
        let failure = start(1, &spawner).await.err().unwrap();
        assert!(matches!(*failure, WorkerFailure::Spawn(_)));

        let spawner = FakeSpawner::new([Behaviour::Die]);
        let failure = start(1, &spawner).await.err().unwrap();
        assert!(matches!(*failure, WorkerFailure::Exited(_)));
    }

    #[tokio::test(start_paused = true)]
    async fn a_dead_worker_is_replaced_and_its_sessions_are_forgotten() {
        let spawner = FakeSpawner::new([Behaviour::Serve]);
        let pool = start(1, &spawner).await.unwrap();
        let session = SessionId::random();
        pool.shared().directory.bind(session, 0);
        spawner.end(0);
        until_ready(&pool, 0).await;
        until_ready(&pool, 1).await;
        assert_eq!(spawner.started(), 2);
        assert_eq!(pool.shared().directory.owner(session), None);
        assert_eq!(pool.status()[0].restarts, 1);
        pool.stop().await;
    }

    #[tokio::test(start_paused = true)]
    async fn pauses_between_restarts_grow() {
        let spawner = FakeSpawner::new([Behaviour::Serve, Behaviour::Die]);
        let pool = start(1, &spawner).await.unwrap();
        spawner.end(0);
        tokio::time::sleep(Duration::from_mins(1)).await;
        // 0.1, 0.2, 0.4, … 6.4 s, then every 10 s.
        let started = spawner.started();
        assert!((11..=13).contains(&started), "{started} starts in a minute");
        pool.stop().await;
    }

    #[tokio::test(start_paused = true)]
    async fn workers_are_told_the_port_whenever_they_start() {
        let spawner = FakeSpawner::new([Behaviour::Serve]);
        let pool = start(1, &spawner).await.unwrap();
        pool.set_public_port(8501);
        let ports = || {
            let heard = spawner.heard.lock().unwrap();
            let ports = heard.iter().filter_map(|kind| match kind {
                control_request::Kind::Listening(listening) => Some(listening.port),
                _ => None,
            });
            ports.collect::<Vec<_>>()
        };
        while ports() != [8501] {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        spawner.end(0);
        while ports() != [8501, 8501] {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        pool.stop().await;
    }

    #[tokio::test(start_paused = true)]
    async fn sessions_go_home_and_newcomers_to_the_least_loaded() {
        let spawner = FakeSpawner::new([Behaviour::Serve]);
        let pool = start(3, &spawner).await.unwrap();
        until_ready(&pool, 3).await;
        let mut placed = Vec::new();
        for _ in 0..6 {
            placed.push(pool.for_session(None).await.unwrap());
        }
        let mut indices: Vec<_> = placed.iter().map(|placed| placed.worker.index).collect();
        indices.sort_unstable();
        assert_eq!(indices, [0, 0, 1, 1, 2, 2]);

        let session = SessionId::random();
        pool.shared().directory.bind(session, 2);
        let home = pool.for_session(Some(session)).await.unwrap();
        assert_eq!(home.worker.index, 2);

        // Who leaves makes room.
        placed.retain(|placed| placed.worker.index != 1);
        assert_eq!(pool.any().await.unwrap().worker.index, 1);
        pool.stop().await;
    }

    #[tokio::test(start_paused = true)]
    async fn a_worker_is_told_to_end_what_another_runner_owns() {
        let spawner = FakeSpawner::new([Behaviour::Serve]);
        let pool = start(1, &spawner).await.unwrap();
        let session = SessionId::random();
        let fence = pool.ownership().own(session, 1);
        pool.shared().directory.bind(session, 0);
        pool.give_up(session, &Pin { runner: "there".parse().unwrap(), epoch: 2 });
        assert!(fence.is_cancelled());
        let told = || {
            let heard = spawner.heard.lock().unwrap();
            heard.iter().any(|kind| matches!(kind, control_request::Kind::EndSession(order) if order.session_id == session.to_string()))
        };
        while !told() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        assert_eq!(pool.shared().directory.owner(session), None);
        pool.stop().await;
    }

    #[tokio::test(start_paused = true)]
    async fn a_worker_whose_event_loop_stands_still_is_replaced() {
        let spawner = FakeSpawner::new([Behaviour::Hang, Behaviour::Serve]);
        let pool = start(1, &spawner).await.unwrap();
        until_ready(&pool, 0).await;
        until_ready(&pool, 1).await;
        // Its successor answers, and stays.
        tokio::time::sleep(Duration::from_mins(5)).await;
        assert_eq!((spawner.started(), pool.ready_count()), (2, 1));
        pool.stop().await;
    }

    #[tokio::test(start_paused = true)]
    async fn what_a_worker_says_last_is_kept() {
        let session = SessionId::random();
        let spawner = FakeSpawner::new([Behaviour::ServeAndSayLast(session, 7)]);
        let pool = start(1, &spawner).await.unwrap();
        let shared = pool.shared();
        shared.directory.bind(session, 0);
        shared.ownership.own(session, 1);
        let entry = shared.saver.enter(session, None);
        pool.stop().await;
        assert_eq!(entry.applied().of(1), 7);
    }

    /// A session of worker 0, which has just said what it is; nothing has been written yet, until something is waited for.
    fn with_a_snapshot_to_write(shared: &Arc<Shared>) -> (SessionId, Arc<Entry>) {
        let session = SessionId::random();
        shared.directory.bind(session, 0);
        shared.ownership.own(session, 5);
        let entry = shared.saver.enter(session, None);
        let core = b"core".as_slice().into();
        let session_id = session.to_string();
        let snapshot = Snapshot { session_id, full: true, core, connection: 1, applied_seq: 7, ..Snapshot::default() };
        shared.save(snapshot);
        (session, entry)
    }

    #[tokio::test(start_paused = true)]
    async fn what_a_worker_said_is_kept_though_it_died_before_it_was_written() {
        let spawner = FakeSpawner::new([Behaviour::Serve]);
        let pool = start(1, &spawner).await.unwrap();
        let shared = pool.shared();
        let (session, entry) = with_a_snapshot_to_write(shared);
        assert_eq!(shared.forget_worker(0), 1);
        assert!(!shared.ownership.owns(session));
        assert!(entry.settled(STORE_LIMIT).await);
        assert_eq!(entry.applied().of(1), 7);
        // Whoever has the session next goes on from there.
        let loaded = shared.saver.load(session, 6).await.unwrap();
        assert_eq!(loaded.unwrap().applied_seq, 7);
        pool.stop().await;
    }

    #[tokio::test(start_paused = true)]
    async fn what_a_worker_said_of_a_session_that_has_ended_is_not_kept() {
        let spawner = FakeSpawner::new([Behaviour::Serve]);
        let pool = start(1, &spawner).await.unwrap();
        let shared = pool.shared();
        let (session, entry) = with_a_snapshot_to_write(shared);
        shared.ended(session, 0);
        assert!(entry.settled(STORE_LIMIT).await);
        assert!(shared.saver.load(session, 6).await.unwrap().is_none());
        pool.stop().await;
    }

    #[tokio::test(start_paused = true)]
    async fn stopping_does_not_wait_for_ever() {
        let spawner = FakeSpawner::new([Behaviour::ServeStubbornly]);
        let pool = start(2, &spawner).await.unwrap();
        pool.stop().await;
        assert_eq!(pool.ready_count(), 0);
        assert!(pool.any().await.is_none());
    }
}
