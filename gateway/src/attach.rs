//! Opens the stream to whoever has a session: for a browser that has just connected, and again for one that stays connected while
//! its session moves.

use std::{sync::Arc, time::Duration};

use axum::{body::Body, response::Response};
use bytes::BytesMut;
use streamfleet_cluster::LEASE;
use streamfleet_proto::{
    RunnerId, SessionId,
    common::{Accepted, AppSettings, RequestHead, ResponseHead},
    runner::{SessionOpen, SessionRequest, SessionResponse, session_request, session_response},
};
use streamfleet_telemetry::{SpanKind, TraceContext};
use tokio::{
    sync::mpsc,
    time::{Instant, sleep, timeout},
};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Status, Streaming};
use tracing::debug;

use crate::{
    error::GatewayError,
    head::response,
    observe::context_bytes,
    upstream::{Runner, Upstream},
};

/// How long a runner may take to accept a WebSocket, including the wait for a worker.
const ACCEPT_LIMIT: Duration = Duration::from_secs(40);
/// How long to look for a runner that accepts a new WebSocket: browsers give up a little later.
const CONNECT_LIMIT: Duration = Duration::from_secs(15);
/// The same for one that is open already. The registry and the sessions' state may be away for a minute.
const REATTACH_LIMIT: Duration = Duration::from_mins(2);
/// How long to try and reach the runner that has a session. By then its lease has ended, if it is gone and the registry can
/// be asked; if it can't be reached from here alone, the session is taken away from it.
const HOME_LIMIT: Duration = Duration::from_secs(LEASE.as_secs() + 2);
/// The same where each attempt fails at once: somebody answers for the runner's host, and has nothing but refusals. Taking a session
/// from a runner that lives after all does it no harm, as it is fenced.
const CLOSED_LIMIT: Duration = Duration::from_millis(500);
/// An attempt that took no longer has failed at once.
const AT_ONCE: Duration = Duration::from_millis(200);
/// Pause before the same runner is tried again.
const RETRY_PAUSE: Duration = Duration::from_millis(100);
/// Messages on their way from one browser; past it they wait in its replay buffer.
const UP_QUEUE: usize = 16;

/// What a runner needs to know of a browser to give it its session.
#[derive(Debug)]
pub(crate) struct Handshake {
    pub(crate) head: RequestHead,
    /// The session that it is to have back.
    pub(crate) resume: Option<SessionId>,
    /// Tells the browser's connection from all others.
    pub(crate) connection: u64,
}

/// What it needs to know besides of one that is connected already.
#[derive(Debug, Clone, Default)]
pub(crate) struct Reattach {
    /// All messages up to this one are in a snapshot.
    pub(crate) acked_seq: u64,
    /// The last message that was sent to whoever had the session.
    pub(crate) replay_until: u64,
    /// How often a worker has died over the first of them.
    pub(crate) deaths: u32,
    /// What the user is to be told.
    pub(crate) notice: String,
    /// Runners that can't read the session's state.
    pub(crate) avoid: Vec<RunnerId>,
    /// It has gone back and forth between revisions: from now on it stays, whatever is lost of it.
    pub(crate) settle: bool,
}

/// What a runner answers a handshake with.
pub(crate) enum Opening {
    Accepted(Accepted),
    Refused(ResponseHead),
}

/// A session's stream to its runner.
pub(crate) struct Stream {
    pub(crate) runner: RunnerId,
    /// The epochs of the sessions that it may turn out to carry.
    pub(crate) epochs: Epochs,
    pub(crate) up: mpsc::Sender<SessionRequest>,
    pub(crate) down: Streaming<SessionResponse>,
}

/// Sessions with the epochs of their pins; 0 for none.
type Epochs = [Option<(SessionId, u64)>; 2];

/// Opens a stream to the runner where the WebSocket belongs. As long as time allows, one that can't be reached isn't the end:
/// a session's home is tried again until it is there or has lost the session, and for a new session others will do.
pub(crate) async fn connect(
    upstream: &Arc<Upstream>,
    handshake: &Handshake,
    reattach: Option<&Reattach>,
    parent: Option<TraceContext>,
) -> Result<(Stream, Opening, AppSettings), GatewayError> {
    let observer = &upstream.observer;
    let limit = if reattach.is_some() { REATTACH_LIMIT } else { CONNECT_LIMIT };
    let began = Instant::now();
    let mut excluded = reattach.map(|reattach| reattach.avoid.clone()).unwrap_or_default();
    let mut home_failed: Option<(RunnerId, Instant)> = None;
    loop {
        let fresh = SessionId::random();
        let mut span = observer.span("place", parent);
        let placement = match upstream.place(fresh, handshake.resume, &excluded).await {
            // All have been tried, or none is there yet.
            Err(GatewayError::NoRunner) if began.elapsed() < limit && (!excluded.is_empty() || reattach.is_some()) => {
                excluded.clear();
                sleep(RETRY_PAUSE).await;
                continue;
            }
            placement => placement?,
        };
        let (runner, is_home) = (placement.runner.id.clone(), placement.is_home);
        let reason = match (handshake.resume, reattach) {
            (None, _) => "new",
            (Some(_), None) if is_home => "reconnect",
            (Some(_), Some(_)) if is_home => "moved",
            (Some(_), _) => "failure",
        };
        observer.metrics.placed(reason);
        span.set("streamfleet.runner", runner.to_string());
        span.set("streamfleet.placement.reason", reason);
        span.end();
        let mut span = observer.span("attach", parent);
        span.kind(SpanKind::Client);
        span.set("streamfleet.runner", runner.to_string());
        let mut open = SessionOpen {
            session_id: fresh.to_string(),
            resume_session_id: handshake.resume.map(|id| id.to_string()).unwrap_or_default(),
            head: Some(handshake.head.clone()),
            epoch: placement.epoch,
            resume_epoch: placement.resume_epoch,
            connection: handshake.connection,
            trace: context_bytes(span.context()),
            may_return: !reattach.is_some_and(|reattach| reattach.settle) && upstream.has_other_revision(&runner),
            ..SessionOpen::default()
        };
        if let Some(Reattach { acked_seq, replay_until, deaths, notice, .. }) = reattach.cloned() {
            open = SessionOpen { reattach: true, acked_seq, replay_until, deaths, notice, ..open };
        }
        let epochs = [Some((fresh, placement.epoch)), handshake.resume.map(|id| (id, placement.resume_epoch))];
        let attempt = async {
            let settings = placement.runner.settings().await?.clone();
            let (stream, opening) = open_stream(placement.runner, open, epochs).await?;
            Ok((stream, opening, settings))
        };
        let attempted = Instant::now();
        let outcome = tokio::select! {
            outcome = attempt => outcome,
            () = upstream.gone(&runner) => Err(GatewayError::Gone(runner.clone())),
        };
        if let Err(error) = &outcome {
            span.fail(error.to_string());
        }
        span.end();
        match outcome {
            Err(error) if error.is_unreachable() && began.elapsed() < limit => {
                debug!("trying again: {error}");
                let failing_since = match &home_failed {
                    Some((failing, since)) if *failing == runner => *since,
                    _ => Instant::now(),
                };
                home_failed = Some((runner.clone(), failing_since));
                let is_closed = error.is_connection_failure() && attempted.elapsed() < AT_ONCE;
                let patience = if is_closed { CLOSED_LIMIT } else { HOME_LIMIT };
                if is_home && !error.is_gone_for_good() && failing_since.elapsed() < patience {
                    sleep(RETRY_PAUSE).await;
                } else {
                    excluded.push(runner);
                }
            }
            outcome => return outcome,
        }
    }
}

async fn open_stream(runner: Runner, open: SessionOpen, epochs: Epochs) -> Result<(Stream, Opening), GatewayError> {
    let Runner { id, mut client, .. } = runner;
    let (up, requests) = mpsc::channel(UP_QUEUE);
    let open = SessionRequest { kind: Some(session_request::Kind::Open(Box::new(open))) };
    let handshake = async {
        let failed = |status| GatewayError::runner(&id, status);
        // The queue is empty and its receiver is right here.
        let _ = up.send(open).await;
        let down = client.session(ReceiverStream::new(requests)).await;
        let mut down = down.map_err(failed)?.into_inner();
        loop {
            match down.message().await.map_err(failed)?.map(|first| first.kind) {
                Some(Some(session_response::Kind::Accepted(accepted))) => {
                    return Ok((down, Opening::Accepted(accepted)));
                }
                Some(Some(session_response::Kind::Head(head))) => {
                    return Ok((down, Opening::Refused(head)));
                }
                // A worker that dies over the handshake, or a session that moves on at once.
                Some(Some(session_response::Kind::Detached(_))) => {
                    return Err(failed(Status::unavailable("the session has moved on")));
                }
                Some(_) => {}
                None => return Err(failed(Status::unavailable("no answer"))),
            }
        }
    };
    let (down, opening) = timeout(ACCEPT_LIMIT, handshake).await.map_err(|_| GatewayError::Timeout(id.clone()))??;
    Ok((Stream { runner: id, epochs, up, down }, opening))
}

impl Stream {
    /// The refusal as the app worded it.
    pub(crate) async fn refusal(mut self, head: ResponseHead) -> Result<Response, GatewayError> {
        let mut body = BytesMut::new();
        while let Ok(Some(part)) = self.down.message().await {
            if let Some(session_response::Kind::Body(part)) = part.kind {
                body.extend_from_slice(&part);
            }
        }
        response(head, Body::from(body.freeze())).map_err(|error| GatewayError::bad_header(&self.runner, &error))
    }

    /// The epoch of the pin of a session that it carries; 0 without one.
    pub(crate) fn epoch(&self, session: SessionId) -> u64 {
        let mut known = self.epochs.into_iter().flatten();
        known.find(|(known, _)| *known == session).map_or(0, |(_, epoch)| epoch)
    }
}
