//! Carries one browser WebSocket between a gateway and the worker that has its session.

mod cut;
mod down;
mod restore;
mod up;

use std::{
    pin::Pin,
    sync::{Arc, OnceLock},
};

use futures_util::{Stream, stream};
use streamfleet_proto::{
    SessionId,
    runner::{SessionOpen, SessionRequest, SessionResponse},
    worker::Open,
};
use tokio_util::sync::CancellationToken;
use tonic::{Status, Streaming};
use tracing::debug;

use self::{
    down::Down,
    restore::{Origin, find},
    up::Up,
};
use crate::{
    observe::context_of,
    pool::{Placed, Pool},
    saver::Entry,
    stream::{StreamReceiver, StreamSender, open_stream},
};

/// What a gateway gets of a session.
pub(crate) type Responses = Pin<Box<dyn Stream<Item = Result<SessionResponse, Status>> + Send>>;

/// Opens a session's WebSocket: on the worker that has it; or from its snapshot, or afresh, on the least loaded one.
pub(crate) async fn open(
    pool: Pool,
    open: SessionOpen,
    requests: Streaming<SessionRequest>,
) -> Result<Responses, Status> {
    let fresh: SessionId = parse(&open.session_id)?;
    // The browser may ask for anything; what is no session id is nobody's.
    let resume: Option<SessionId> = open.resume_session_id.parse().ok();
    if !pool.ownership().lease.admit().await {
        return Err(Status::unavailable("it is not known who owns the session"));
    }
    // One at a time comes back of those that may be the death of their worker, and of everybody else in it.
    let quarantine = match open.deaths {
        0 => None,
        _ => Some(pool.shared().quarantine.clone().lock_owned().await),
    };
    let mut span = pool.shared().options.observer.span("open session", &open.trace);
    let origin = find(&pool, resume, &open).await?;
    let stream_open = Open {
        head: open.head.clone(),
        websocket: true,
        session_id: fresh.to_string(),
        end_of_body: true,
        resume_session_id: resume.filter(|_| origin.is_known()).map(|id| id.to_string()).unwrap_or_default(),
        connection: open.connection,
        refresh: origin.needs_refresh(&open),
        replay_until: open.replay_until,
        notice: origin.notice(&open),
        restore: None,
        trace: context_of(&span),
    };
    let (placed, (sender, receiver), mut origin) = connect(&pool, resume, stream_open, origin).await?;
    debug!(?resume, worker = placed.worker.index, origin = origin.name(), "opened");
    span.set("streamfleet.session", resume.filter(|_| origin.is_known()).unwrap_or(fresh).public_id());
    span.set("streamfleet.worker", u64::from(placed.worker.index));
    span.set("streamfleet.session.origin", origin.name());

    let done = CancellationToken::new();
    let bound = Arc::new(OnceLock::new());
    let up = Up { pool: pool.clone(), requests, sender, connection: open.connection, bound: Arc::clone(&bound) };
    tokio::spawn(done.clone().run_until_cancelled_owned(up.run()));
    let epochs = Epochs { fresh: (fresh, open.epoch), resume: resume.map(|session| (session, open.resume_epoch)) };
    let restored = origin.take_restored();
    let down = Down::new(pool, placed, receiver, &open, epochs, restored, bound, quarantine, done.drop_guard());
    Ok(Box::pin(stream::unfold(Some(down), Down::step)))
}

/// The epochs of the sessions that a WebSocket may turn out to carry; 0 where there is no pin.
#[derive(Debug, Clone, Copy)]
struct Epochs {
    fresh: (SessionId, u64),
    resume: Option<(SessionId, u64)>,
}

impl Epochs {
    fn of(&self, session: SessionId) -> u64 {
        let known = [Some(self.fresh), self.resume].into_iter().flatten();
        known.into_iter().find(|(known, _)| *known == session).map_or(0, |(_, epoch)| epoch)
    }
}

/// What a WebSocket turned out to carry.
#[derive(Clone)]
struct Bound {
    /// Cancelled when another runner owns the session.
    fence: CancellationToken,
    entry: Arc<Entry>,
}

/// Empty while it is not known what the WebSocket carries.
type BoundCell = Arc<OnceLock<Bound>>;

/// Connects to the worker that has the session. One that turns out to be dead has it no longer: then it is had from its snapshot.
async fn connect(
    pool: &Pool,
    resume: Option<SessionId>,
    open: Open,
    mut origin: Origin,
) -> Result<(Placed, (StreamSender, StreamReceiver), Origin), Status> {
    let none_ready = || Status::unavailable("no worker is ready");
    let live = resume.filter(|_| origin.is_live());
    let placed = pool.for_session(live).await.ok_or_else(none_ready)?;
    let request = Open { restore: origin.take_restore(), ..open };
    let error = match open_stream(&placed.worker.listen_path, request).await {
        Ok(stream) => return Ok((placed, stream, origin)),
        Err(error) => error,
    };
    debug!(worker = placed.worker.index, "cannot reach a worker: {error}");
    // Asked again, the gateway finds whatever is left of it: it has everything that is needed.
    Err(Status::unavailable(format!("worker {} is gone", placed.worker.index)))
}

fn parse(id: &str) -> Result<SessionId, Status> {
    id.parse().map_err(|error| Status::invalid_argument(format!("{error}")))
}
