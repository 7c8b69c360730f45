//! A browser's WebSocket: the handshake, and its messages in both directions.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use axum::{
    body::Body,
    extract::{
        FromRequestParts as _,
        ws::{CloseFrame, Message, WebSocket, WebSocketUpgrade},
    },
    response::{IntoResponse as _, Response},
};
use bytes::{Bytes, BytesMut};
use futures_util::{
    SinkExt as _, StreamExt as _,
    stream::{SplitSink, SplitStream},
};
use http::{HeaderMap, HeaderValue, header, request::Parts};
use streamfleet_cluster::LEASE;
use streamfleet_proto::{
    MAX_CHUNK_BYTES, RunnerId, SessionId,
    common::{Accepted, AppSettings, Close, RequestHead, ResponseHead},
    runner::{BrowserFrame, SessionOpen, SessionRequest, SessionResponse, session_request, session_response},
};
use tokio::{
    sync::mpsc,
    time::{Instant, MissedTickBehavior, interval_at, sleep, timeout},
};
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::task::TaskTracker;
use tonic::{Status, Streaming};
use tracing::debug;

use crate::{
    attached::Attachment,
    closing::Closing,
    error::{GatewayError, SERVICE_RESTART},
    head::{Ends, request_head, response},
    upstream::{Runner, Upstream},
};

/// How long a runner may take to accept a WebSocket, including the wait for a worker.
const ACCEPT_LIMIT: Duration = Duration::from_secs(40);
/// How long to look for a runner that accepts a WebSocket: browsers give up a little later.
const CONNECT_LIMIT: Duration = Duration::from_secs(15);
/// How long to try and reach the runner that has a session. By then its lease has ended, if it is gone and the registry can
/// be asked; if it can't, a new session is better than none.
const HOME_LIMIT: Duration = Duration::from_secs(LEASE.as_secs() + 2);
/// Pause before the same runner is tried again.
const RETRY_PAUSE: Duration = Duration::from_millis(200);
/// Messages on their way from one browser; past it the browser's connection isn't read.
const UP_QUEUE: usize = 16;
/// How often a quiet browser is pinged where the app's settings don't say.
const DEFAULT_PING: Duration = Duration::from_secs(30);
/// Bytes kept for reading from one connection. Browsers send little, and idle ones are many.
const READ_BUFFER: usize = 2 * 1024;

/// How long a browser is given to take the closing handshake.
const FAREWELL_LIMIT: Duration = Duration::from_secs(1);

pub(crate) const GOING_AWAY: u16 = 1001;
const NO_STATUS: u32 = 1005;
const MESSAGE_TOO_BIG: u16 = 1009;

/// What ends a WebSocket from outside, and who waits for its end.
pub(crate) struct Lifetime {
    pub(crate) closing: Closing,
    pub(crate) tracker: TaskTracker,
}

/// Answers a WebSocket handshake.
pub(crate) async fn handle(
    upstream: &Arc<Upstream>,
    ends: Ends,
    mut parts: Parts,
    lifetime: Lifetime,
) -> Result<Response, GatewayError> {
    let head = request_head(&parts, ends, true);
    let resume = session_to_resume(&parts.headers);
    let upgrade = match WebSocketUpgrade::from_request_parts(&mut parts, &()).await {
        Ok(upgrade) => upgrade,
        Err(rejection) => return Ok(rejection.into_response()),
    };

    let (link, opening, settings) = connect(upstream, head, resume).await?;
    let accepted = match opening {
        Opening::Accepted(accepted) => accepted,
        Opening::Refused(head) => return link.refusal(head).await,
    };

    let limit = usize::try_from(settings.max_message_bytes).unwrap_or(usize::MAX);
    let mut upgrade = upgrade.read_buffer_size(READ_BUFFER).max_message_size(limit).max_frame_size(limit);
    if let Ok(protocol) = HeaderValue::from_str(&accepted.subprotocol)
        && !protocol.is_empty()
    {
        upgrade.set_selected_protocol(protocol);
    }
    let mut answer = upgrade.on_upgrade(move |socket| async move {
        let Lifetime { closing, tracker } = lifetime;
        tracker.track_future(link.run(socket, &settings, closing)).await;
    });
    let extra = streamfleet_proto::headers_from_wire(accepted.headers);
    answer.headers_mut().extend(extra.unwrap_or_default());
    Ok(answer)
}

/// The third entry of the subprotocol list is the session that the browser had before.
fn session_to_resume(headers: &HeaderMap) -> Option<SessionId> {
    let list = headers.get(header::SEC_WEBSOCKET_PROTOCOL)?.to_str().ok()?;
    list.split(',').nth(2)?.trim().parse().ok()
}

/// Opens a stream to the runner where the WebSocket belongs. As long as time allows, one that can't be reached isn't the end:
/// a session's home is tried again until it is there or has lost the session, and for a new session others will do.
async fn connect(
    upstream: &Arc<Upstream>,
    head: RequestHead,
    resume: Option<SessionId>,
) -> Result<(Link, Opening, AppSettings), GatewayError> {
    let began = Instant::now();
    let mut excluded = Vec::new();
    loop {
        let fresh = SessionId::random();
        let placement = match upstream.place(fresh, resume, &excluded).await {
            Err(GatewayError::NoRunner) if !excluded.is_empty() && began.elapsed() < CONNECT_LIMIT => {
                excluded.clear();
                sleep(RETRY_PAUSE).await;
                continue;
            }
            placement => placement?,
        };
        let (runner, is_home) = (placement.runner.id.clone(), placement.is_home);
        let open = SessionOpen {
            session_id: fresh.to_string(),
            resume_session_id: resume.map(|id| id.to_string()).unwrap_or_default(),
            head: Some(head.clone()),
            epoch: placement.epoch,
            resume_epoch: placement.resume_epoch,
            ..SessionOpen::default()
        };
        let epochs = [Some((fresh, placement.epoch)), resume.map(|session| (session, placement.resume_epoch))];
        let attempt = async {
            let settings = placement.runner.settings().await?.clone();
            let (link, opening) = Link::open(Arc::clone(upstream), placement.runner, open, epochs).await?;
            Ok((link, opening, settings))
        };
        let outcome = tokio::select! {
            outcome = attempt => outcome,
            () = upstream.gone(&runner) => Err(GatewayError::Gone(runner.clone())),
        };
        match outcome {
            Err(error) if error.is_unreachable() && began.elapsed() < CONNECT_LIMIT => {
                debug!("trying again: {error}");
                if is_home && began.elapsed() < HOME_LIMIT {
                    sleep(RETRY_PAUSE).await;
                } else {
                    excluded.push(runner);
                }
            }
            outcome => return outcome,
        }
    }
}

/// What a runner answers a handshake with.
enum Opening {
    Accepted(Accepted),
    Refused(ResponseHead),
}

/// A session's stream to its runner.
struct Link {
    upstream: Arc<Upstream>,
    runner: RunnerId,
    /// The epochs of the sessions that it may turn out to carry.
    epochs: Epochs,
    up: mpsc::Sender<SessionRequest>,
    down: Streaming<SessionResponse>,
}

/// Sessions with the epochs of their pins; 0 for none.
type Epochs = [Option<(SessionId, u64)>; 2];

impl Link {
    async fn open(
        upstream: Arc<Upstream>,
        runner: Runner,
        open: SessionOpen,
        epochs: Epochs,
    ) -> Result<(Self, Opening), GatewayError> {
        let Runner { id, mut client, .. } = runner;
        let (up, requests) = mpsc::channel(UP_QUEUE);
        let open = request(session_request::Kind::Open(Box::new(open)));
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
                    Some(_) => {}
                    None => return Err(failed(Status::unavailable("no answer"))),
                }
            }
        };
        let (down, opening) =
            timeout(ACCEPT_LIMIT, handshake).await.map_err(|_| GatewayError::Timeout(id.clone()))??;
        let link = Self { upstream, runner: id, epochs, up, down };
        Ok((link, opening))
    }

    /// The refusal as the app worded it.
    async fn refusal(mut self, head: ResponseHead) -> Result<Response, GatewayError> {
        let mut body = BytesMut::new();
        while let Ok(Some(part)) = self.down.message().await {
            if let Some(session_response::Kind::Body(part)) = part.kind {
                body.extend_from_slice(&part);
            }
        }
        response(head, Body::from(body.freeze())).map_err(|error| GatewayError::bad_header(&self.runner, &error))
    }

    /// Carries messages until either side ends.
    async fn run(self, socket: WebSocket, settings: &AppSettings, closing: Closing) {
        let ping = match settings.websocket_ping_seconds {
            0 => DEFAULT_PING,
            seconds => Duration::from_secs(seconds.into()),
        };
        let (sink, source) = socket.split();
        let last_heard = LastHeard::now();
        let mut down = Down {
            upstream: self.upstream,
            runner: self.runner,
            epochs: self.epochs,
            attachment: None,
            responses: self.down,
            sink,
            partial: BytesMut::new(),
            ping,
            last_heard: &last_heard,
        };
        let up = Up { requests: self.up, source, last_heard: &last_heard };
        // Whichever direction ends takes the other along. The browser's half tells the runner
        // before it ends; the runner's half says farewell to the browser here.
        let farewell = tokio::select! {
            farewell = up.run() => farewell,
            farewell = down.run() => farewell,
            code = closing.due() => Some(close_frame(code, "")),
        };
        let end = async {
            // Whoever can't be written to any more needs no farewell.
            if let Some(frame) = farewell {
                let _ = down.sink.send(Message::Close(Some(frame))).await;
            }
            let _ = down.sink.close().await;
        };
        let _ = timeout(FAREWELL_LIMIT, end).await;
    }
}

fn request(kind: session_request::Kind) -> SessionRequest {
    SessionRequest { kind: Some(kind) }
}

/// From the browser to the runner.
struct Up<'a> {
    requests: mpsc::Sender<SessionRequest>,
    source: SplitStream<WebSocket>,
    last_heard: &'a LastHeard,
}

impl Up<'_> {
    async fn run(mut self) -> Option<CloseFrame> {
        let mut seq = 0;
        loop {
            let message = match self.source.next().await {
                Some(Ok(message)) => message,
                Some(Err(error)) => {
                    debug!("a browser's connection failed: {error}");
                    return is_too_big(&error).then(|| close_frame(MESSAGE_TOO_BIG, ""));
                }
                None => return None,
            };
            self.last_heard.touch();
            let (payload, text) = match message {
                Message::Binary(payload) => (payload, false),
                Message::Text(text) => (Bytes::from(text), true),
                Message::Close(frame) => {
                    let close = Close {
                        code: frame.as_ref().map_or(NO_STATUS, |frame| frame.code.into()),
                        reason: frame.map(|frame| frame.reason.to_string()).unwrap_or_default(),
                    };
                    // If the runner is gone, nobody needs to know.
                    let _ = self.requests.send(request(session_request::Kind::Close(close))).await;
                    return None;
                }
                // Answered by the WebSocket itself.
                Message::Ping(_) | Message::Pong(_) => continue,
            };
            seq += 1;
            if self.forward(seq, payload, text).await.is_err() {
                return Some(close_frame(SERVICE_RESTART, ""));
            }
        }
    }

    async fn forward(
        &self,
        seq: u64,
        mut payload: Bytes,
        text: bool,
    ) -> Result<(), mpsc::error::SendError<SessionRequest>> {
        loop {
            let piece = payload.split_to(payload.len().min(MAX_CHUNK_BYTES));
            let more = !payload.is_empty();
            let frame = BrowserFrame { seq, payload: piece, text, more };
            self.requests.send(request(session_request::Kind::Frame(frame))).await?;
            if !more {
                return Ok(());
            }
        }
    }
}

fn is_too_big(error: &axum::Error) -> bool {
    // axum hides the WebSocket library's error type; its source's text is all there is.
    std::error::Error::source(error).is_some_and(|source| source.to_string().contains("too long"))
}

/// From the runner to the browser.
struct Down<'a> {
    upstream: Arc<Upstream>,
    runner: RunnerId,
    epochs: Epochs,
    /// Known once the session is.
    attachment: Option<Attachment>,
    responses: Streaming<SessionResponse>,
    sink: SplitSink<WebSocket, Message>,
    partial: BytesMut,
    ping: Duration,
    last_heard: &'a LastHeard,
}

impl Down<'_> {
    async fn run(&mut self) -> Option<CloseFrame> {
        let mut pings = interval_at(Instant::now() + self.ping, self.ping);
        pings.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let sent = tokio::select! {
                () = moved(self.attachment.as_ref()) => {
                    debug!(runner = %self.runner, "a session has another owner");
                    return Some(close_frame(SERVICE_RESTART, ""));
                }
                response = self.responses.message() => match response {
                    Ok(Some(SessionResponse { kind: Some(kind) })) => match self.deliver(kind).await {
                        Ok(None) => Ok(()),
                        Ok(Some(frame)) => return Some(frame),
                        Err(error) => Err(error),
                    },
                    Ok(Some(_)) => Ok(()),
                    Ok(None) => return Some(close_frame(GOING_AWAY, "")),
                    Err(status) => {
                        debug!(runner = %self.runner, "a session's stream ended: {status}");
                        return Some(close_frame(SERVICE_RESTART, ""));
                    }
                },
                _ = pings.tick() => {
                    // One interval to be pinged in, one to answer: silent for longer is dead.
                    if self.last_heard.elapsed() > 2 * self.ping {
                        debug!("a browser has not answered a ping");
                        return None;
                    }
                    self.send(Message::Ping(Bytes::new())).await
                }
            };
            if let Err(error) = sent {
                debug!("a browser can't be written to: {error}");
                return None;
            }
        }
    }

    /// Writes what came to the browser; returns the close frame if it was the last.
    async fn deliver(&mut self, kind: session_response::Kind) -> Result<Option<CloseFrame>, Unsent> {
        match kind {
            session_response::Kind::Batch(batch) => {
                let Some((last, others)) = batch.messages.split_last() else {
                    return Ok(None);
                };
                // Together into one buffer, and one system call where they fit.
                for message in others {
                    self.feed(Message::Binary(message.clone())).await?;
                }
                self.send(Message::Binary(last.clone())).await?;
            }
            session_response::Kind::Chunk(chunk) => {
                self.partial.extend_from_slice(&chunk.data);
                if !chunk.more {
                    let message = self.partial.split().freeze();
                    self.send(Message::Binary(message)).await?;
                    self.partial = BytesMut::new();
                }
            }
            session_response::Kind::Text(text) => self.send(Message::Text(text.into())).await?,
            session_response::Kind::Bound(bound) => {
                if let Ok(session) = bound.session_id.parse() {
                    let mut known = self.epochs.into_iter().flatten();
                    let epoch = known.find(|(known, _)| *known == session).map_or(0, |(_, epoch)| epoch);
                    self.upstream.bound(session, &self.runner, epoch);
                    self.attachment = Some(self.upstream.attached.attach(session, self.runner.clone()));
                }
            }
            session_response::Kind::Close(close) => {
                let code = u16::try_from(close.code).unwrap_or(GOING_AWAY);
                return Ok(Some(close_frame(code, &close.reason)));
            }
            session_response::Kind::Accepted(_)
            | session_response::Kind::Head(_)
            | session_response::Kind::Body(_)
            | session_response::Kind::AppliedSeq(_)
            | session_response::Kind::Detached(_)
            | session_response::Kind::Position(_) => {}
        }
        Ok(None)
    }

    async fn feed(&mut self, message: Message) -> Result<(), Unsent> {
        self.bounded(|sink| sink.feed(message)).await
    }

    async fn send(&mut self, message: Message) -> Result<(), Unsent> {
        self.bounded(|sink| sink.send(message)).await
    }

    async fn bounded<'s, F>(
        &'s mut self,
        write: impl FnOnce(&'s mut SplitSink<WebSocket, Message>) -> F,
    ) -> Result<(), Unsent>
    where
        F: Future<Output = Result<(), axum::Error>>,
    {
        match timeout(2 * self.ping, write(&mut self.sink)).await {
            Ok(written) => written.map_err(Unsent::Failed),
            Err(_) => Err(Unsent::Stuck),
        }
    }
}

/// Waits until the session has another owner.
async fn moved(attachment: Option<&Attachment>) {
    match attachment {
        Some(attachment) => attachment.moved.cancelled().await,
        None => std::future::pending().await,
    }
}

/// When the browser was last heard of, shared by the two directions.
struct LastHeard {
    start: Instant,
    millis: AtomicU64,
}

impl LastHeard {
    fn now() -> Self {
        Self { start: Instant::now(), millis: AtomicU64::new(0) }
    }

    fn touch(&self) {
        let millis = u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.millis.store(millis, Ordering::Relaxed);
    }

    fn elapsed(&self) -> Duration {
        let heard = Duration::from_millis(self.millis.load(Ordering::Relaxed));
        self.start.elapsed().saturating_sub(heard)
    }
}

/// Why a browser could not be written to.
#[derive(Debug, thiserror::Error)]
enum Unsent {
    #[error(transparent)]
    Failed(axum::Error),
    #[error("it takes nothing any more")]
    Stuck,
}

fn close_frame(code: u16, reason: &str) -> CloseFrame {
    CloseFrame { code, reason: reason.into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_third_subprotocol_is_the_old_session() {
        let session = SessionId::random();
        let parse = |list: String| {
            let mut headers = HeaderMap::new();
            headers.insert(header::SEC_WEBSOCKET_PROTOCOL, list.parse().unwrap());
            session_to_resume(&headers)
        };
        assert_eq!(parse(format!("streamlit, token, {session}")), Some(session));
        assert_eq!(parse(format!("streamlit, , {session}")), Some(session));
        assert_eq!(parse("streamlit, token".to_owned()), None);
        assert_eq!(parse("streamlit, token, nonsense".to_owned()), None);
    }
}
