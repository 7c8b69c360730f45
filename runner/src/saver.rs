//! Sees to it that what sessions have done is kept where another worker or runner finds it.
//!
//! A worker sends a snapshot after each run of a session's script: what has changed. For each session one write is on its way at a time;
//! what comes meanwhile is merged into the next one. Only when a snapshot is stored are the browser's messages acknowledged that
//! led to it. Nobody waits for the store but those acknowledgements.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, SystemTime},
};

use futures_util::{StreamExt as _, stream};
use streamfleet_cluster::{Change, LoadError, Loaded, SaveError, SavedState, SnapshotStore, Unsaved};
use streamfleet_proto::{
    SessionId,
    runner::{DetachReason, SessionPhase, SessionStatus},
    worker::{RunReport, Snapshot, TakeSnapshot, control_request},
};
use tokio::{
    sync::watch,
    time::{Instant, sleep, timeout},
};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use crate::{
    observe::{RunNote, SnapshotNote},
    shared::Shared,
};

/// First and longest pause before a store that is away is tried again.
const RETRY_MIN: Duration = Duration::from_millis(50);
const RETRY_MAX: Duration = Duration::from_secs(1);
/// Pause after a session turned out not to be pinned yet.
const UNPINNED_PAUSE: Duration = Duration::from_millis(200);
/// For how long a session goes unsaved after the store has refused a write for a reason that trying again won't mend.
const FAILURE_PAUSE: Duration = Duration::from_secs(30);
/// What may wait for a store that is away, of all sessions together, in bytes. What doesn't fit is asked for again afterwards.
const MAX_PENDING_BYTES: usize = 512 * 1024 * 1024;
/// How long the last snapshot of a session whose worker has died may take to be stored.
const LAST_WRITE_LIMIT: Duration = Duration::from_mins(2);
/// Snapshots of one session on their way that are told of when they are stored.
const MAX_NOTES: usize = 16;
/// Snapshots whose time to live is renewed at once.
const TOUCH_CONCURRENCY: usize = 64;

/// How far a browser's messages have come.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Mark {
    /// Which connection of the browser's counts them.
    pub(crate) connection: u64,
    /// The last of them.
    pub(crate) seq: u64,
}

impl Mark {
    /// The last message of this connection; 0 for none.
    pub(crate) fn of(self, connection: u64) -> u64 {
        if self.connection == connection { self.seq } else { 0 }
    }

    /// What holds after this one: another connection's counts only once something of it has been handled.
    fn and_later(self, later: Self) -> Self {
        if later.seq == 0 || (later.connection == self.connection && later.seq < self.seq) { self } else { later }
    }
}

/// What is known of the snapshots of the sessions that are here.
pub(crate) struct Saver {
    store: Arc<dyn SnapshotStore>,
    revision: String,
    entries: Mutex<HashMap<SessionId, Arc<Entry>>>,
    pending_bytes: AtomicUsize,
}

/// What is known of one session's.
pub(crate) struct Entry {
    session: SessionId,
    since: Instant,
    state: Mutex<State>,
    /// What is stored.
    applied: watch::Sender<Mark>,
    /// Whether a write is on its way, or about to be.
    writing: watch::Sender<bool>,
    /// Cancelled when the session isn't here any more.
    pub(crate) gone: CancellationToken,
}

#[derive(Default)]
struct State {
    /// What has been prepared for the store so far; `None` where it has to be begun anew, with a full snapshot.
    saved: Option<SavedState>,
    /// With which epoch the session was owned here when its last snapshot came; `None` if it had no pin then.
    epoch: Option<u64>,
    /// Not on its way yet.
    pending: Option<Change>,
    /// A full snapshot has been asked for; what comes before it is of no use.
    awaits_full: bool,
    /// The store is not asked before.
    paused_until: Option<Instant>,
    unsaved: Vec<Unsaved>,
    received: Mark,
    /// As of the last snapshot that the worker has sent.
    saved_mark: Mark,
    active: Option<Instant>,
    connections: u32,
    leaving: Option<DetachReason>,
    runaway: Option<String>,
    runs: RunNote,
    /// Snapshots on their way to the store.
    notes: Vec<SnapshotNote>,
}

impl Entry {
    fn state(&self) -> MutexGuard<'_, State> {
        // No change leaves it half done, so a panic elsewhere does no harm.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whose it is.
    pub(crate) fn session(&self) -> SessionId {
        self.session
    }

    /// Follows what is stored.
    pub(crate) fn watch(&self) -> watch::Receiver<Mark> {
        self.applied.subscribe()
    }

    /// What is stored.
    pub(crate) fn applied(&self) -> Mark {
        *self.applied.borrow()
    }

    /// What the worker has been given.
    pub(crate) fn received(&self) -> Mark {
        self.state().received
    }

    /// The worker has been given a message.
    pub(crate) fn receive(&self, mark: Mark) {
        let mut state = self.state();
        state.received = mark;
        state.active = Some(Instant::now());
    }

    /// For how long the browser has sent nothing.
    pub(crate) fn idle(&self) -> Duration {
        self.state().active.map_or(Duration::ZERO, |active| active.elapsed())
    }

    /// Whether all that the session has is in its snapshot.
    pub(crate) fn is_complete(&self) -> bool {
        self.state().unsaved.is_empty()
    }

    /// How many values it has that can't be kept.
    pub(crate) fn unsaved_count(&self) -> u64 {
        u64::try_from(self.state().unsaved.len()).unwrap_or(u64::MAX)
    }

    /// One more run of its script has ended.
    pub(crate) fn ran(&self, report: &RunReport) {
        self.state().runs.add(report);
    }

    /// What is to be seen of it, on this worker.
    pub(crate) fn status(&self, worker: u32) -> SessionStatus {
        let state = self.state();
        let phase = if state.connections > 0 { SessionPhase::Connected } else { SessionPhase::Disconnected };
        SessionStatus {
            public_id: self.session.public_id(),
            worker,
            phase: phase.into(),
            // What it has been given beyond the last run, unless that was no request for one.
            running: state.received.seq > state.runs.seq.max(state.saved_mark.of(state.received.connection)),
            page: state.runs.page.clone(),
            age_ms: u64::try_from(self.since.elapsed().as_millis()).unwrap_or(u64::MAX),
            runs: state.runs.runs,
            last_run_us: u64::try_from(state.runs.last.as_micros()).unwrap_or(u64::MAX),
            unsaved: state.unsaved.iter().map(|unsaved| unsaved.key.clone()).collect(),
        }
    }

    /// As if something of it could not be kept.
    #[cfg(test)]
    pub(crate) fn mark_incomplete(&self) {
        let lock = Unsaved { key: "lock".to_owned(), kind: "_thread.lock".to_owned(), reason: "no".to_owned() };
        self.state().unsaved.push(lock);
    }

    /// Says why the session is about to go elsewhere.
    pub(crate) fn leave(&self, reason: DetachReason) {
        self.state().leaving = Some(reason);
    }

    /// Whether the session is about to go elsewhere already.
    pub(crate) fn is_leaving(&self) -> bool {
        self.state().leaving.is_some()
    }

    /// A browser's connection has come (true) or gone.
    pub(crate) fn connect(&self, is_connected: bool) {
        let mut state = self.state();
        if is_connected {
            state.connections += 1;
        } else {
            state.connections = state.connections.saturating_sub(1);
        }
    }

    /// Whether it has a browser.
    pub(crate) fn is_connected(&self) -> bool {
        self.state().connections > 0
    }

    /// The session stays after all.
    pub(crate) fn stay(&self) {
        let mut state = self.state();
        state.leaving = None;
        state.active = Some(Instant::now());
    }

    /// Why the session is about to go elsewhere.
    pub(crate) fn leaving(&self) -> DetachReason {
        self.state().leaving.unwrap_or(DetachReason::Released)
    }

    /// Its script can't be stopped, and its worker will be: the user is told so, and it isn't tried again.
    pub(crate) fn run_away(&self, notice: String) {
        self.state().runaway = Some(notice);
    }

    /// What the user is told, if the session's script could not be stopped.
    pub(crate) fn runaway(&self) -> Option<String> {
        self.state().runaway.clone()
    }

    /// Waits until nothing is on its way to the store.
    pub(crate) async fn settled(&self, limit: Duration) -> bool {
        let mut writing = self.writing.subscribe();
        timeout(limit, writing.wait_for(|writing| !writing)).await.is_ok_and(|waited| waited.is_ok())
    }
}

impl Saver {
    pub(crate) fn new(store: Arc<dyn SnapshotStore>, revision: String) -> Self {
        Self { store, revision, entries: Mutex::default(), pending_bytes: AtomicUsize::new(0) }
    }

    /// What is known of a session, if it is here.
    pub(crate) fn find(&self, session: SessionId) -> Option<Arc<Entry>> {
        self.entries().get(&session).cloned()
    }

    /// A session is here from now on, with what was loaded of it.
    pub(crate) fn enter(&self, session: SessionId, loaded: Option<Restored>) -> Arc<Entry> {
        let mut entries = self.entries();
        if loaded.is_none()
            && let Some(entry) = entries.get(&session)
        {
            return Arc::clone(entry);
        }
        let (mark, state) = match loaded {
            Some(Restored { mark, saved, unsaved }) => {
                let state = State { saved: Some(saved), unsaved, received: mark, saved_mark: mark, ..State::default() };
                (mark, state)
            }
            None => (Mark::default(), State::default()),
        };
        let entry = Arc::new(Entry {
            session,
            since: Instant::now(),
            state: Mutex::new(State { active: Some(Instant::now()), ..state }),
            applied: watch::Sender::new(mark),
            writing: watch::Sender::new(false),
            gone: CancellationToken::new(),
        });
        if let Some(former) = entries.insert(session, Arc::clone(&entry)) {
            former.gone.cancel();
        }
        entry
    }

    /// A session isn't here any more.
    pub(crate) fn forget(&self, session: SessionId) -> Option<Arc<Entry>> {
        let entry = self.entries().remove(&session)?;
        entry.gone.cancel();
        Some(entry)
    }

    /// Forgets a session whose worker has died, once what it had sent is stored; unless it is back by then.
    pub(crate) async fn forget_when_settled(&self, entry: &Arc<Entry>) {
        entry.settled(LAST_WRITE_LIMIT).await;
        let mut entries = self.entries();
        if entries.get(&entry.session).is_some_and(|current| Arc::ptr_eq(current, entry)) {
            entries.remove(&entry.session);
            entry.gone.cancel();
        }
    }

    /// All sessions that are here.
    pub(crate) fn list(&self) -> Vec<(SessionId, Arc<Entry>)> {
        self.entries().iter().map(|(&session, entry)| (session, Arc::clone(entry))).collect()
    }

    /// Loads a session's state, and takes it from whoever had it.
    pub(crate) async fn load(&self, session: SessionId, epoch: u64) -> Result<Option<Loaded>, LoadError> {
        self.store.load(session, epoch).await
    }

    fn entries(&self) -> MutexGuard<'_, HashMap<SessionId, Arc<Entry>>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self, snapshot: Snapshot) -> Change {
        let changed = snapshot.changed.into_iter().map(|value| (value.key, Some(value.pickle)));
        let removed = snapshot.removed.into_iter().map(|key| (key, None));
        Change {
            full: snapshot.full,
            core: (!snapshot.core.is_empty()).then_some(snapshot.core),
            values: changed.chain(removed).collect(),
            unsaved: unsaved(snapshot.unsaved),
            connection: snapshot.connection,
            applied_seq: snapshot.applied_seq,
            revision: self.revision.clone(),
        }
    }
}

/// What was loaded of a session, but for the values.
pub(crate) struct Restored {
    pub(crate) mark: Mark,
    pub(crate) saved: SavedState,
    pub(crate) unsaved: Vec<Unsaved>,
}

fn unsaved(list: Vec<streamfleet_proto::worker::Unsaved>) -> Vec<Unsaved> {
    let convert = |entry: streamfleet_proto::worker::Unsaved| Unsaved {
        key: entry.key,
        kind: entry.r#type,
        reason: entry.reason,
    };
    list.into_iter().map(convert).collect()
}

/// What became of a write.
enum Outcome {
    Stored,
    /// The store has lost what this builds on.
    Gone,
    /// The session is another runner's, or has ended.
    Over,
}

impl Shared {
    /// A worker has sent a snapshot.
    pub(crate) fn save(self: &Arc<Self>, snapshot: Snapshot) {
        let Ok(session) = snapshot.session_id.parse::<SessionId>() else { return };
        let Some(entry) = self.saver.find(session) else { return };
        if snapshot.forget {
            self.discard(session);
            return;
        }
        let trace = snapshot.trace.clone();
        let mut change = self.saver.change(snapshot);
        debug!(
            ?session,
            bytes = change.size(),
            values = change.values.len(),
            unsaved = change.unsaved.len(),
            seq = change.applied_seq,
            "snapshot"
        );
        {
            let mut state = entry.state();
            // A worker that has the session from its snapshot counts anew until something is handled.
            let mark = state.saved_mark.and_later(Mark { connection: change.connection, seq: change.applied_seq });
            state.saved_mark = mark;
            state.epoch = self.ownership.epoch(session).or(state.epoch);
            (change.connection, change.applied_seq) = (mark.connection, mark.seq);
            note_unsaved(session, &mut state, &change);
            if state.notes.len() < MAX_NOTES {
                let (bytes, values) = (change.size() as u64, change.values.len() as u64);
                state.notes.push(SnapshotNote { trace, at: SystemTime::now(), bytes, values });
            }
            if change.full {
                state.awaits_full = false;
            } else if state.awaits_full {
                return;
            }
        }
        self.write(&entry, change);
    }

    /// Messages have been dealt with that changed nothing.
    pub(crate) fn applied(self: &Arc<Self>, session: SessionId, mark: Mark) {
        let Some(entry) = self.saver.find(session) else { return };
        if *entry.writing.borrow() || entry.state().awaits_full {
            // Only after what is on its way.
            let change = Change {
                connection: mark.connection,
                applied_seq: mark.seq,
                unsaved: entry.state().unsaved.clone(),
                revision: self.saver.revision.clone(),
                ..Change::default()
            };
            if !entry.state().awaits_full {
                self.write(&entry, change);
            }
        } else {
            entry.applied.send_replace(mark);
        }
    }

    fn write(self: &Arc<Self>, entry: &Arc<Entry>, change: Change) {
        self.add_pending(entry, change);
        let is_first = entry.writing.send_if_modified(|writing| !std::mem::replace(writing, true));
        if is_first {
            let (shared, entry) = (Arc::clone(self), Arc::clone(entry));
            tokio::spawn(async move { shared.write_out(&entry).await });
        }
    }

    fn add_pending(self: &Arc<Self>, entry: &Entry, change: Change) {
        let (saver, added) = (&self.saver, change.size());
        if saver.pending_bytes.load(Ordering::Relaxed) + added > MAX_PENDING_BYTES {
            warn!(session = ?entry.session, "too much waits to be stored: a snapshot is put off");
            let mut state = entry.state();
            saver.drop_pending(&mut state);
            (state.saved, state.awaits_full) = (None, false);
            state.paused_until = Some(Instant::now() + RETRY_MAX);
            return;
        }
        saver.pending_bytes.fetch_add(added, Ordering::Relaxed);
        let mut state = entry.state();
        match &mut state.pending {
            Some(pending) => {
                let before = pending.size() + added;
                pending.merge(change);
                saver.pending_bytes.fetch_sub(before.saturating_sub(pending.size()), Ordering::Relaxed);
            }
            pending => *pending = Some(change),
        }
    }

    /// Writes what is pending until nothing is.
    async fn write_out(self: &Arc<Self>, entry: &Entry) {
        loop {
            let pending = entry.state().pending.take();
            let Some(change) = pending else {
                // Whoever adds something from here on sees that nobody writes.
                let is_done = entry.writing.send_if_modified(|writing| {
                    let is_done = entry.state().pending.is_none();
                    *writing = !is_done;
                    is_done
                });
                if is_done {
                    return;
                }
                continue;
            };
            let size = change.size();
            let notes = std::mem::take(&mut entry.state().notes);
            let outcome = self.store(entry, change).await;
            self.saver.pending_bytes.fetch_sub(size, Ordering::Relaxed);
            match outcome {
                (Outcome::Stored, mark) => {
                    debug!(session = ?entry.session, seq = mark.seq, "stored");
                    for note in &notes {
                        self.options.observer.stored(entry.session, note);
                    }
                    entry.applied.send_replace(mark);
                }
                (Outcome::Gone, _) => {
                    self.options.observer.metrics.snapshot("failed");
                    self.ask_for_all(entry);
                }
                (Outcome::Over, _) => {
                    self.options.observer.metrics.snapshot("refused");
                    self.saver.drop_pending(&mut entry.state());
                }
            }
        }
    }

    async fn store(self: &Arc<Self>, entry: &Entry, change: Change) -> (Outcome, Mark) {
        let session = entry.session;
        let mark = Mark { connection: change.connection, seq: change.applied_seq };
        let paused_until = entry.state().paused_until;
        if paused_until.is_some_and(|until| Instant::now() < until) {
            // Acknowledged as if it were stored: an app that nobody can use is worse than one that may forget.
            return (Outcome::Stored, mark);
        }
        let known = entry.state().saved.clone();
        let mut saved = match known {
            Some(saved) => saved,
            None if !change.full => return (Outcome::Gone, mark),
            None => match self.epoch_of(entry).await {
                Some(epoch) => self.saver.store.begin(session, epoch),
                None => return (Outcome::Over, mark),
            },
        };
        let write = saved.prepare(change);
        entry.state().saved = Some(saved);
        // Its files first: an acknowledgement says that all can be had elsewhere.
        self.files.settled(session).await;
        let mut pause = RETRY_MIN;
        loop {
            match self.saver.store.save(&write).await {
                Ok(()) => return (Outcome::Stored, mark),
                Err(SaveError::Fenced { epoch }) => {
                    self.fenced(session, epoch);
                    return (Outcome::Over, mark);
                }
                Err(SaveError::Gone) => {
                    info!(?session, "the store has lost a session's snapshot; sending all of it again");
                    return (Outcome::Gone, mark);
                }
                Err(SaveError::Unavailable(reason)) => {
                    debug!(?session, "cannot store a snapshot yet: {reason}");
                    if entry.gone.is_cancelled() {
                        return (Outcome::Over, mark);
                    }
                    sleep(pause).await;
                    pause = (pause * 2).min(RETRY_MAX);
                }
                Err(SaveError::Failed(reason)) => {
                    warn!(?session, "a session's state is not kept for a while: {reason}");
                    let mut state = entry.state();
                    state.saved = None;
                    state.paused_until = Some(Instant::now() + FAILURE_PAUSE);
                    return (Outcome::Stored, mark);
                }
            }
        }
    }

    /// The epoch with which the session is owned here; waits until it is pinned. `None` if it isn't here any more, and nothing of it
    /// is to be kept.
    async fn epoch_of(&self, entry: &Entry) -> Option<u64> {
        loop {
            if let Some(epoch) = self.ownership.epoch(entry.session) {
                return Some(epoch);
            }
            if entry.gone.is_cancelled() {
                return None;
            }
            if !self.ownership.owns(entry.session) {
                // Its worker has died, or was stopped, right after it sent this. If the session has gone on elsewhere since, the store
                // refuses the epoch.
                return entry.state().epoch;
            }
            sleep(UNPINNED_PAUSE).await;
        }
    }

    fn ask_for_all(&self, entry: &Entry) {
        {
            let mut state = entry.state();
            self.saver.drop_pending(&mut state);
            (state.saved, state.awaits_full) = (None, true);
        }
        let order = TakeSnapshot { session_id: entry.session.to_string() };
        self.order(entry.session, control_request::Kind::TakeSnapshot(order));
    }

    /// Renews the time to live of all snapshots, and has those made again that the store has lost.
    pub(crate) async fn touch_snapshots(&self) {
        let touch = async |(session, entry): (SessionId, Arc<Entry>)| {
            let Some(epoch) = entry.state().saved.as_ref().map(SavedState::epoch) else { return };
            match self.saver.store.touch(session, epoch).await {
                Err(SaveError::Gone) if !*entry.writing.borrow() => self.ask_for_all(&entry),
                Err(SaveError::Fenced { epoch }) => self.fenced(session, epoch),
                _ => {}
            }
        };
        stream::iter(self.saver.list()).map(touch).buffer_unordered(TOUCH_CONCURRENCY).collect::<Vec<()>>().await;
    }

    /// A session has ended for good: nobody is to have it back.
    pub(crate) fn discard(&self, session: SessionId) {
        let Some(entry) = self.saver.forget(session) else { return };
        let Some(epoch) = entry.state().saved.as_ref().map(SavedState::epoch) else { return };
        let store = Arc::clone(&self.saver.store);
        tokio::spawn(async move {
            // If it can't be told now, it expires by itself.
            if let Err(error) = store.remove(session, epoch).await {
                debug!(?session, "cannot remove a snapshot: {error}");
            }
        });
    }
}

impl Saver {
    fn drop_pending(&self, state: &mut State) {
        if let Some(pending) = state.pending.take() {
            self.pending_bytes.fetch_sub(pending.size(), Ordering::Relaxed);
        }
    }
}

fn note_unsaved(session: SessionId, state: &mut State, change: &Change) {
    for entry in &change.unsaved {
        if !state.unsaved.contains(entry) {
            let Unsaved { key, kind, reason } = entry;
            warn!(
                ?session,
                key,
                r#type = kind,
                "st.session_state[{key:?}] can't be kept: {reason}; the session moves without it"
            );
        }
    }
    state.unsaved.clone_from(&change.unsaved);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_never_go_back() {
        let mark = |connection, seq| Mark { connection, seq };
        assert_eq!(mark(1, 5).and_later(mark(1, 6)), mark(1, 6));
        assert_eq!(mark(1, 5).and_later(mark(1, 0)), mark(1, 5));
        assert_eq!(mark(1, 5).and_later(mark(1, 3)), mark(1, 5));
        assert_eq!(mark(1, 5).and_later(mark(2, 0)), mark(1, 5));
        assert_eq!(mark(1, 5).and_later(mark(2, 1)), mark(2, 1));
        assert_eq!(mark(2, 1).of(1), 0);
    }
}
