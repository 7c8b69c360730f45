//! From the worker to the gateway.

use std::{collections::VecDeque, time::Duration};

use streamfleet_proto::{
    SessionId,
    runner::{DetachReason, Detached, Position, SessionOpen, SessionResponse, session_response},
    worker::{StreamEvent, Unloadable, stream_event},
};
use tokio::{
    runtime::Handle,
    sync::{OwnedMutexGuard, watch},
    time::{Instant, sleep_until, timeout},
};
use tokio_util::sync::DropGuard;
use tonic::Status;
use tracing::{debug, warn};

use super::{Bound, BoundCell, Epochs, cut::cut};
use crate::{
    pool::{Placed, Pool},
    saver::{Mark, Restored},
    stream::StreamReceiver,
};

/// How long it may take to notice that the worker has died whose stream broke off.
const DEATH_LIMIT: Duration = Duration::from_secs(1);
/// How long what a worker has said before its browser left may take to be read.
const REST_LIMIT: Duration = Duration::from_secs(1);
/// How long a session that may be the death of its worker keeps others of its kind waiting.
const QUARANTINE_LIMIT: Duration = Duration::from_secs(30);

/// What comes from the worker, on its way to the gateway.
pub(super) struct Down {
    pool: Pool,
    placed: Placed,
    /// Taken away at the end.
    receiver: Option<StreamReceiver>,
    connection: u64,
    replay_until: u64,
    epochs: Epochs,
    /// What was loaded of the session, until it is bound.
    restored: Option<Restored>,
    bound: BoundCell,
    /// What is stored of the session; told to the gateway.
    applied: Option<watch::Receiver<Mark>>,
    quarantine: Option<(OwnedMutexGuard<()>, Instant)>,
    /// Pieces of the last event that are still to be sent.
    queue: VecDeque<session_response::Kind>,
    /// Ends the other direction with this one.
    _done: DropGuard,
}

enum Input {
    Fenced,
    Applied(Mark),
    QuarantineOver,
    Received(Option<std::io::Result<StreamEvent>>),
}

impl Down {
    #[expect(clippy::too_many_arguments, reason = "what the opening has found out, in one place")]
    pub(super) fn new(
        pool: Pool,
        placed: Placed,
        receiver: StreamReceiver,
        open: &SessionOpen,
        epochs: Epochs,
        restored: Option<Restored>,
        bound: BoundCell,
        quarantine: Option<OwnedMutexGuard<()>>,
        done: DropGuard,
    ) -> Self {
        Self {
            pool,
            placed,
            receiver: Some(receiver),
            connection: open.connection,
            replay_until: open.replay_until,
            epochs,
            restored,
            bound,
            applied: None,
            quarantine: quarantine.map(|guard| (guard, Instant::now() + QUARANTINE_LIMIT)),
            queue: VecDeque::new(),
            _done: done,
        }
    }

    pub(super) async fn step(state: Option<Self>) -> Option<(Result<SessionResponse, Status>, Option<Self>)> {
        let mut down = state?;
        loop {
            if let Some(kind) = down.queue.pop_front() {
                let last = matches!(kind, session_response::Kind::Close(_) | session_response::Kind::Detached(_));
                let response = SessionResponse { kind: Some(kind) };
                return Some((Ok(response), (!last).then_some(down)));
            }
            match down.next().await {
                Input::Fenced => {
                    return Some((Err(Status::aborted("the session has another owner")), None));
                }
                Input::Applied(mark) => down.tell_applied(mark),
                Input::QuarantineOver => down.quarantine = None,
                Input::Received(Some(Ok(event))) => match event.kind {
                    Some(stream_event::Kind::End(_)) => return None,
                    Some(stream_event::Kind::Released(_)) => {
                        let detached = down.released().await;
                        down.queue.push_back(session_response::Kind::Detached(detached));
                    }
                    Some(stream_event::Kind::Unloadable(what)) if !what.afresh => {
                        down.unloadable(&what);
                        let detached = down.returned().await;
                        down.queue.push_back(session_response::Kind::Detached(detached));
                    }
                    Some(kind) => down.take(kind),
                    None => {}
                },
                Input::Received(Some(Err(error))) => {
                    debug!(worker = down.placed.worker.index, "a session's stream broke off: {error}");
                    return down.broken_off().await;
                }
                // Without a farewell: the worker died, or dropped a browser that was too slow.
                Input::Received(None) => return down.broken_off().await,
            }
        }
    }

    async fn next(&mut self) -> Input {
        let bound = self.bound.get();
        tokio::select! {
            biased;
            () = fenced(bound) => Input::Fenced,
            received = receive(self.receiver.as_mut()) => Input::Received(received),
            mark = next_mark(self.applied.as_mut()) => Input::Applied(mark),
            () = over(self.quarantine.as_ref()) => Input::QuarantineOver,
        }
    }

    fn take(&mut self, event: stream_event::Kind) {
        match event {
            stream_event::Kind::Accepted(accepted) => {
                self.queue.push_back(session_response::Kind::Accepted(accepted));
            }
            stream_event::Kind::Bound(bound) => {
                if let Ok(session) = bound.session_id.parse() {
                    self.queue.push_back(session_response::Kind::Bound(bound));
                    self.bind(session);
                }
            }
            stream_event::Kind::Batch(batch) => cut(batch, &mut self.queue),
            stream_event::Kind::Text(text) => {
                self.queue.push_back(session_response::Kind::Text(text));
            }
            stream_event::Kind::Head(head) => {
                self.queue.push_back(session_response::Kind::Head(head));
            }
            stream_event::Kind::Body(body) => {
                self.queue.push_back(session_response::Kind::Body(body));
            }
            stream_event::Kind::Close(close) => {
                self.queue.push_back(session_response::Kind::Close(close));
            }
            stream_event::Kind::Run(report) => {
                let finished = self.pool.shared().ran(self.placed.worker.index, &report);
                self.queue.extend(finished.map(session_response::Kind::RunFinished));
            }
            stream_event::Kind::Snapshot(snapshot) => {
                self.at_rest(snapshot.applied_seq);
                self.pool.shared().save(*snapshot);
            }
            stream_event::Kind::AppliedSeq(seq) => {
                self.at_rest(seq);
                if let Some(session) = self.session().filter(|_| seq != 0) {
                    self.pool.shared().applied(session, Mark { connection: self.connection, seq });
                }
            }
            stream_event::Kind::Unloadable(what) => self.unloadable(&what),
            stream_event::Kind::Released(_) | stream_event::Kind::End(_) => {}
        }
    }

    /// The worker has found or made the session.
    fn bind(&mut self, session: SessionId) {
        let shared = self.pool.shared();
        if let Some((resume, epoch)) = self.epochs.resume
            && resume != session
        {
            // Nothing is left of it, or it is somebody else's: whoever has a right to it finds it wherever there is room.
            self.restored = None;
            if !shared.ownership.owns(resume) {
                shared.ownership.disown(resume, epoch);
            }
        }
        let restored = self.restored.take();
        if restored.is_some() {
            shared.files.adopt(session);
        }
        let entry = shared.saver.enter(session, restored);
        entry.connect(true);
        shared.directory.bind(session, self.placed.worker.index);
        let fence = shared.ownership.own(session, self.epochs.of(session));
        let (applied, received) = (entry.applied().of(self.connection), entry.received().of(self.connection));
        if applied >= self.replay_until {
            // Nothing of it will come.
            self.replay_until = 0;
        }
        self.queue.push_back(session_response::Kind::Position(Position {
            applied_seq: applied,
            received_seq: received.max(applied),
        }));
        let mut marks = entry.watch();
        marks.mark_unchanged();
        self.applied = Some(marks);
        // A WebSocket is bound once.
        let _ = self.bound.set(Bound { fence, entry });
    }

    /// The session's script has come to rest, with all messages up to this one dealt with.
    fn at_rest(&mut self, seq: u64) {
        if seq >= self.replay_until {
            self.quarantine = None;
        }
    }

    fn tell_applied(&mut self, mark: Mark) {
        let seq = mark.of(self.connection);
        if seq == 0 {
            return;
        }
        self.queue.push_back(session_response::Kind::AppliedSeq(seq));
    }

    fn session(&self) -> Option<SessionId> {
        self.bound.get().map(|bound| bound.entry.session())
    }

    /// The worker has sent all that it has, and ended the session.
    async fn released(&self) -> Detached {
        let Some(bound) = self.bound.get() else { return Detached::default() };
        let reason = bound.entry.leaving();
        self.pool.shared().released(bound.entry.session(), self.placed.worker.index).await;
        Detached { reason: reason.into(), notice: String::new() }
    }

    /// What another revision has kept of the session can't be read by this one.
    fn unloadable(&self, what: &Unloadable) {
        let Unloadable { key, reason, afresh } = what;
        let session = self.session().or(self.epochs.resume.map(|(session, _)| session));
        warn!(?session, key, reason, afresh, "a session's state, of another revision, can't be read by this one");
        self.pool.shared().options.observer.metrics.unloadable(*afresh);
    }

    /// The worker has given the session up, as another revision may have it again.
    async fn returned(&self) -> Detached {
        let detached = Detached { reason: DetachReason::Unloadable.into(), notice: String::new() };
        match (self.session(), self.epochs.resume) {
            (Some(session), _) => self.pool.shared().released(session, self.placed.worker.index).await,
            // It has not even come to be.
            (None, Some((session, epoch))) => self.pool.shared().ownership.disown(session, epoch),
            (None, None) => {}
        }
        detached
    }

    /// The worker's stream has ended without a word.
    async fn broken_off(self) -> Option<(Result<SessionResponse, Status>, Option<Self>)> {
        let worker = &self.placed.worker;
        if !self.placed.has_died(DEATH_LIMIT).await {
            // It lives, and has had enough of this browser.
            return Some((Err(Status::resource_exhausted("the browser is too slow")), None));
        }
        let runaway = self.bound.get().and_then(|bound| bound.entry.runaway());
        let detached = match runaway {
            Some(notice) => Detached { reason: DetachReason::Runaway.into(), notice },
            None => Detached { reason: DetachReason::WorkerDied.into(), notice: String::new() },
        };
        debug!(worker = worker.index, reason = ?detached.reason(), "a session has lost its worker");
        let response = SessionResponse { kind: Some(session_response::Kind::Detached(detached)) };
        Some((Ok(response), None))
    }
}

impl Drop for Down {
    fn drop(&mut self) {
        if let Some(bound) = self.bound.get() {
            bound.entry.connect(false);
        }
        if let (Some(receiver), Ok(runtime)) = (self.receiver.take(), Handle::try_current()) {
            runtime.spawn(timeout(REST_LIMIT, read_rest(self.pool.clone(), self.placed.worker.index, receiver)));
        }
    }
}

/// Reads what the worker has said of runs and nobody has heard: a browser may leave the moment a run has ended. Snapshots that may be
/// among it the worker makes anew.
async fn read_rest(pool: Pool, worker: u32, mut receiver: StreamReceiver) {
    while let Some(Ok(event)) = receiver.receive().await {
        if let Some(stream_event::Kind::Run(report)) = event.kind {
            pool.shared().ran(worker, &report);
        }
    }
}

/// The worker's next event; none once there is nothing to read from.
async fn receive(receiver: Option<&mut StreamReceiver>) -> Option<std::io::Result<StreamEvent>> {
    receiver?.receive().await
}

/// Waits until another runner owns the session.
async fn fenced(bound: Option<&Bound>) {
    match bound {
        Some(bound) => bound.fence.cancelled().await,
        None => std::future::pending().await,
    }
}

/// Waits until more is stored.
async fn next_mark(applied: Option<&mut watch::Receiver<Mark>>) -> Mark {
    if let Some(applied) = applied
        && applied.changed().await.is_ok()
    {
        return *applied.borrow_and_update();
    }
    std::future::pending().await
}

async fn over(quarantine: Option<&(OwnedMutexGuard<()>, Instant)>) {
    match quarantine {
        Some((_, until)) => sleep_until(*until).await,
        None => std::future::pending().await,
    }
}
