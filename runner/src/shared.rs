//! What the parts of a pool share.

use std::{
    sync::{
        Arc, PoisonError, RwLock,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use streamfleet_cluster::Pin;
use streamfleet_proto::{
    SessionId,
    runner::RunFinished,
    worker::{EndSession, RunReport, control_request},
};
use tokio::sync::{Mutex as AsyncMutex, watch};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    calls::Calls, directory::Directory, files::Files, memory::Pressure, observe::RunNotes, options::PoolOptions,
    ownership::Ownership, probe::Probes, process::Spawner, saver::Saver, slot::Slot,
};

/// What the parts of a pool share.
pub(crate) struct Shared {
    pub(crate) options: PoolOptions,
    pub(crate) spawner: Arc<dyn Spawner>,
    pub(crate) directory: Directory,
    pub(crate) ownership: Arc<Ownership>,
    pub(crate) saver: Saver,
    pub(crate) files: Arc<Files>,
    pub(crate) runs: RunNotes,
    pub(crate) probes: Probes,
    pub(crate) memory: Pressure,
    /// The port on which browsers reach the app; 0 while unknown.
    pub(crate) public_port: watch::Sender<u16>,
    /// Counts changes of any slot's phase.
    pub(crate) changes: watch::Sender<u64>,
    /// Ends all workers.
    pub(crate) stop: CancellationToken,
    pub(crate) tasks: TaskTracker,
    /// Sessions over which a worker has died come back one at a time, lest they take each other along.
    pub(crate) quarantine: Arc<AsyncMutex<()>>,
    slots: RwLock<Vec<Arc<Slot>>>,
    draining: AtomicBool,
}

impl Shared {
    pub(crate) fn new(
        options: PoolOptions,
        spawner: Arc<dyn Spawner>,
        ownership: Arc<Ownership>,
        saver: Saver,
    ) -> Arc<Self> {
        Arc::new(Self {
            files: Arc::new(Files::new(options.blobs.clone())),
            options,
            spawner,
            directory: Directory::default(),
            ownership,
            saver,
            runs: RunNotes::default(),
            probes: Probes::default(),
            memory: Pressure::default(),
            public_port: watch::Sender::new(0),
            changes: watch::Sender::new(0),
            stop: CancellationToken::new(),
            tasks: TaskTracker::new(),
            quarantine: Arc::default(),
            slots: RwLock::default(),
            draining: AtomicBool::new(false),
        })
    }

    /// Adds a worker, which is started.
    pub(crate) fn add_slot(self: &Arc<Self>) -> Arc<Slot> {
        let slot = {
            let mut slots = self.slots.write().unwrap_or_else(PoisonError::into_inner);
            // Numbers are never used twice, so that what is known of a worker is never taken to be its successor's.
            let index = slots.iter().map(|slot| slot.index + 1).max().unwrap_or(0);
            let slot = Arc::new(Slot::new(index, self.stop.child_token()));
            slots.push(Arc::clone(&slot));
            slot
        };
        self.tasks.spawn(Arc::clone(&slot).supervise(Arc::clone(self)));
        slot
    }

    /// What answers the calls of a worker.
    pub(crate) fn calls(self: &Arc<Self>, worker: u32) -> Calls {
        let shared = Arc::clone(self);
        let has = move |session| shared.directory.owner(session) == Some(worker);
        let cache = self.options.cache.clone();
        let observer = self.options.observer.clone();
        Calls { observer, files: Arc::clone(&self.files), cache, claims: Calls::room_for_claims(), has: Box::new(has) }
    }

    /// A worker tells what a run was. Returns what the gateway is to know of it.
    pub(crate) fn ran(&self, worker: u32, report: &RunReport) -> Option<RunFinished> {
        let session = report.session_id.parse::<SessionId>().ok()?;
        if let Some(entry) = self.saver.find(session) {
            entry.ran(report);
        }
        Some(self.options.observer.ran(session, worker, report, &self.runs))
    }

    /// Forgets a worker that has been stopped.
    pub(crate) fn remove_slot(&self, index: u32) {
        self.slots.write().unwrap_or_else(PoisonError::into_inner).retain(|slot| slot.index != index);
        self.changes.send_modify(|changes| *changes += 1);
    }

    /// All workers.
    pub(crate) fn slots(&self) -> Vec<Arc<Slot>> {
        self.slots.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The worker of this number.
    pub(crate) fn slot(&self, index: u32) -> Option<Arc<Slot>> {
        let slots = self.slots.read().unwrap_or_else(PoisonError::into_inner);
        slots.iter().find(|slot| slot.index == index).cloned()
    }

    /// Whether the runner takes no sessions any more.
    pub(crate) fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Relaxed)
    }

    /// Takes no sessions any more.
    pub(crate) fn set_draining(&self) {
        self.draining.store(true, Ordering::Relaxed);
    }

    /// Tells the worker that has the session something about it. False if none has it.
    pub(crate) fn order(&self, session: SessionId, order: control_request::Kind) -> bool {
        let slot = self.directory.owner(session).and_then(|index| self.slot(index));
        slot.is_some_and(|slot| {
            slot.order(order);
            true
        })
    }

    /// Ends a session here that has another owner.
    pub(crate) fn give_up(&self, session: SessionId, holder: &Pin) {
        if self.ownership.fence(session, holder) {
            self.end_here(session);
        }
    }

    /// The store says that a session has an owner with a greater epoch.
    pub(crate) fn fenced(&self, session: SessionId, epoch: u64) {
        if self.ownership.fence_by_epoch(session, epoch) {
            self.end_here(session);
        }
    }

    fn end_here(&self, session: SessionId) {
        self.saver.forget(session);
        self.files.leave(session);
        let order = EndSession { session_id: session.to_string() };
        if self.order(session, control_request::Kind::EndSession(order))
            && let Some(worker) = self.directory.owner(session)
        {
            self.directory.end(session, worker);
        }
    }

    /// A worker says that a session of its own has ended for good.
    pub(crate) fn ended(&self, session: SessionId, worker: u32) {
        if self.directory.end(session, worker) {
            // First of all: a session that is owned no longer, but not known to be gone, has lost its worker, and is still written.
            self.discard(session);
            self.ownership.ended(session);
            self.files.end(session);
        }
    }

    /// Forgets what a worker had that has died, and tells how many sessions that were. They may be had again from their snapshots.
    pub(crate) fn forget_worker(self: &Arc<Self>, worker: u32) -> usize {
        let (sessions, media) = self.directory.forget_worker(worker);
        for &session in &sessions {
            self.ownership.lose(session);
            self.files.leave(session);
            if let Some(entry) = self.saver.find(session) {
                let shared = Arc::clone(self);
                tokio::spawn(async move { shared.saver.forget_when_settled(&entry).await });
            }
        }
        for file in &media {
            self.ownership.remove_media(file);
        }
        sessions.len()
    }

    /// Waits until another number of workers serves, or the like.
    pub(crate) async fn changed(&self, limit: Duration) {
        let mut changes = self.changes.subscribe();
        let _ = tokio::time::timeout(limit, changes.changed()).await;
    }
}
