//! One browser's WebSocket for as long as it lasts, whoever has its session meanwhile.
//!
//! What the browser sends is numbered and kept until it is in a snapshot. When the stream to the session's owner ends before the
//! browser does, the session is looked for elsewhere, and what it may not have had is sent again: the browser notices nothing.

use std::{
    collections::VecDeque,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use axum::extract::ws::{CloseFrame, Message, WebSocket};
use bytes::{Bytes, BytesMut};
use futures_util::{
    SinkExt as _, StreamExt as _,
    stream::{SplitSink, SplitStream},
};
use streamfleet_proto::{
    MAX_CHUNK_BYTES,
    common::{AppSettings, Close},
    runner::{
        BrowserFrame, DetachReason, Detached, Position, SessionRequest, SessionResponse, session_request,
        session_response,
    },
};
use tokio::{
    sync::mpsc,
    time::{Instant, Interval, MissedTickBehavior, interval_at, sleep, timeout},
};
use tracing::{debug, info, warn};

use crate::{
    attach::{self, Handshake, Opening, Reattach, Stream},
    attached::Attachment,
    closing::Closing,
    error::{GatewayError, SERVICE_RESTART},
    observe::{Direction, Interactions, Observer, Traffic},
    replay::{Frame, ReplayBuffer},
    upstream::Upstream,
};

/// How often a quiet browser is pinged where the app's settings don't say.
const DEFAULT_PING: Duration = Duration::from_secs(30);
/// How long a browser is given to take the closing handshake.
const FAREWELL_LIMIT: Duration = Duration::from_secs(1);
/// A stream that ends sooner is followed by the next only after as long again, lest a session that is just leaving be asked for over and
/// over.
const SHORT_STREAM: Duration = Duration::from_millis(100);
/// After so many workers have died over the same message it is given up. Where there is none to blame, it takes one more: a worker's
/// end is nobody's fault as a rule.
const MAX_DEATHS: u32 = 2;
/// After so many revisions in a row that could not read a session's state it goes back no more.
const MAX_RETURNS: u32 = 3;

/// For how much of a message that is still to come room is made at once, in bytes: for all of what Streamlit sends by default.
const MAX_RESERVED: u64 = 200 << 20;

pub(crate) const GOING_AWAY: u16 = 1001;
const NO_STATUS: u32 = 1005;
/// What stands for an end without a word.
const ABNORMAL: u16 = 1006;
const MESSAGE_TOO_BIG: u16 = 1009;

/// A browser that is connected, or about to be.
pub(crate) struct Browser {
    upstream: Arc<Upstream>,
    handshake: Handshake,
    ping: Duration,
}

impl Browser {
    pub(crate) fn new(upstream: Arc<Upstream>, handshake: Handshake, settings: &AppSettings) -> Self {
        let ping = match settings.websocket_ping_seconds {
            0 => DEFAULT_PING,
            seconds => Duration::from_secs(seconds.into()),
        };
        Self { upstream, handshake, ping }
    }

    /// Carries messages until the browser leaves, or its session has ended.
    pub(crate) async fn serve(self, socket: WebSocket, stream: Stream, closing: Closing) {
        let (sink, source) = socket.split();
        let observer = Arc::clone(&self.upstream.observer);
        observer.metrics.connected();
        let (buffer, last_heard) = (ReplayBuffer::default(), LastHeard::now());
        let mut down = Down {
            upstream: self.upstream,
            handshake: self.handshake,
            stream,
            buffer: &buffer,
            // The app may have WebSockets of its own, whose runners tell nothing of positions.
            cursor: Some(0),
            outbox: VecDeque::new(),
            attachment: None,
            suspect: Suspect::default(),
            returns: 0,
            interactions: Interactions::new(Arc::clone(&observer)),
            sink: BrowserSink::new(sink, self.ping, &last_heard),
            partial: BytesMut::new(),
        };
        let up = Up { observer: &observer, buffer: &buffer, source, last_heard: &last_heard };
        let mut told = ABNORMAL;
        // Whichever direction ends takes the other along.
        let farewell = tokio::select! {
            end = up.run() => match end {
                BrowserEnd::Closed(close) => {
                    told = u16::try_from(close.code).unwrap_or(ABNORMAL);
                    down.pass_on_end(close);
                    None
                }
                BrowserEnd::Lost => None,
                BrowserEnd::Offended(code) => Some(close_frame(code, "")),
            },
            farewell = down.run() => farewell,
            code = closing.due() => Some(close_frame(code, "")),
        };
        observer.metrics.closed(farewell.as_ref().map_or(told, |farewell| farewell.code));
        down.sink.farewell(farewell).await;
    }
}

/// From the browser into the buffer.
struct Up<'a> {
    observer: &'a Observer,
    buffer: &'a ReplayBuffer,
    source: SplitStream<WebSocket>,
    last_heard: &'a LastHeard,
}

/// How a browser's connection ended from its side.
enum BrowserEnd {
    Closed(Close),
    Lost,
    /// It sent what it must not; the close code says what.
    Offended(u16),
}

impl Up<'_> {
    async fn run(mut self) -> BrowserEnd {
        loop {
            let message = match self.source.next().await {
                Some(Ok(message)) => message,
                Some(Err(error)) => {
                    debug!("a browser's connection failed: {error}");
                    return if is_too_big(&error) { BrowserEnd::Offended(MESSAGE_TOO_BIG) } else { BrowserEnd::Lost };
                }
                None => return BrowserEnd::Lost,
            };
            self.last_heard.touch();
            if let Message::Binary(payload) = &message {
                self.observer.transferred(Traffic::WebSocket, Direction::Received, payload.len() as u64);
            }
            match message {
                Message::Binary(payload) => self.buffer.push(payload, false).await,
                Message::Text(text) => self.buffer.push(Bytes::from(text), true).await,
                Message::Close(frame) => {
                    return BrowserEnd::Closed(Close {
                        code: frame.as_ref().map_or(NO_STATUS, |frame| frame.code.into()),
                        reason: frame.map(|frame| frame.reason.to_string()).unwrap_or_default(),
                    });
                }
                // Answered by the WebSocket itself.
                Message::Ping(_) | Message::Pong(_) => {}
            }
        }
    }
}

fn is_too_big(error: &axum::Error) -> bool {
    // axum hides the WebSocket library's error type; its source's text is all there is.
    std::error::Error::source(error).is_some_and(|source| source.to_string().contains("too long"))
}

/// What ends the stream to a session's owner.
enum End {
    /// The browser's connection is to end as well.
    Farewell(Option<CloseFrame>),
    /// The session may be had elsewhere.
    Detached(Detached),
    /// The owner can't be reached any more.
    Lost,
}

/// From the buffer to the session's owner, and from there to the browser.
struct Down<'a> {
    upstream: Arc<Upstream>,
    handshake: Handshake,
    stream: Stream,
    buffer: &'a ReplayBuffer,
    /// The last message that has been put into the outbox; `None` while it isn't known which the session has had.
    cursor: Option<u64>,
    /// Pieces of a message on its way.
    outbox: VecDeque<SessionRequest>,
    /// Known once the session is.
    attachment: Option<Attachment>,
    suspect: Suspect,
    /// How often in a row the session's state could not be read.
    returns: u32,
    interactions: Interactions,
    sink: BrowserSink<'a>,
    partial: BytesMut,
}

impl Down<'_> {
    /// Returns what to tell the browser, if it is to be told anything.
    async fn run(&mut self) -> Option<CloseFrame> {
        loop {
            let began = Instant::now();
            let detached = match self.carry().await {
                End::Farewell(farewell) => return farewell,
                End::Detached(detached) => detached,
                End::Lost => Detached::default(),
            };
            if began.elapsed() < SHORT_STREAM {
                sleep(SHORT_STREAM).await;
            }
            self.returns = if detached.reason() == DetachReason::Unloadable { self.returns + 1 } else { 0 };
            let session = self.attachment.take().map(|attachment| attachment.session);
            if session.is_none() && self.handshake.resume.is_none() {
                // Nothing that could be had elsewhere.
                return Some(close_frame(SERVICE_RESTART, ""));
            }
            self.handshake.resume = session.or(self.handshake.resume);
            let notice = self.account_for(&detached);
            if detached.reason() == DetachReason::Hibernated {
                debug!(session = ?self.handshake.resume, "hibernated");
                tokio::select! {
                    _ = self.buffer.after(0) => {}
                    unsent = self.sink.keep_alive() => return unsent.report(),
                }
            }
            match self.reattach(notice, &detached).await {
                Ok(true) => {}
                Ok(false) => return None,
                Err(error) => {
                    warn!(session = ?self.handshake.resume, "a browser is sent away: {error}");
                    return Some(close_frame(SERVICE_RESTART, ""));
                }
            }
        }
    }

    /// Carries messages in both directions.
    async fn carry(&mut self) -> End {
        let mut is_open = true;
        loop {
            let Self { stream, buffer, outbox, attachment, sink, .. } = self;
            let (cursor, is_sending) = (self.cursor.unwrap_or_default(), self.cursor.is_some() && is_open);
            tokio::select! {
                () = moved(attachment.as_ref()) => {
                    debug!(runner = %self.stream.runner, "a session has another owner");
                    return End::Lost;
                }
                response = stream.down.message() => match response {
                    Ok(Some(SessionResponse { kind: Some(kind) })) => match self.deliver(kind).await {
                        Ok(None) => {}
                        Ok(Some(end)) => return end,
                        Err(unsent) => return End::Farewell(unsent.report()),
                    },
                    Ok(Some(_)) => {}
                    Ok(None) => return End::Farewell(Some(close_frame(GOING_AWAY, ""))),
                    Err(status) => {
                        debug!(runner = %self.stream.runner, "a session's stream ended: {status}");
                        return End::Lost;
                    }
                },
                // When it takes nothing any more, what it says last will tell why.
                sent = send_first(&stream.up, outbox), if is_open && !outbox.is_empty() => is_open = sent.is_ok(),
                frame = buffer.after(cursor), if is_sending && outbox.is_empty() => {
                    self.cursor = Some(frame.seq);
                    let session = self.attachment.as_ref().map(|attachment| attachment.session);
                    let trace = self.interactions.send(&frame, session, &self.stream.runner);
                    self.outbox.extend(pieces(frame, trace));
                }
                unsent = sink.keep_alive() => return End::Farewell(unsent.report()),
            }
        }
    }

    /// Writes what came to the browser; returns the end if it was the last.
    async fn deliver(&mut self, kind: session_response::Kind) -> Result<Option<End>, Unsent> {
        match kind {
            session_response::Kind::Batch(batch) => {
                let Some((last, others)) = batch.messages.split_last() else {
                    return Ok(None);
                };
                let bytes = batch.messages.iter().map(Bytes::len).sum::<usize>() as u64;
                self.interactions.delivered(batch.messages.len() as u64, bytes);
                self.upstream.observer.transferred(Traffic::WebSocket, Direction::Sent, bytes);
                // Together into one buffer, and one system call where they fit.
                for message in others {
                    self.sink.feed(Message::Binary(message.clone())).await?;
                }
                self.sink.send(Message::Binary(last.clone())).await?;
            }
            session_response::Kind::Chunk(chunk) => {
                if self.partial.is_empty() {
                    let whole = chunk.data.len() as u64 + chunk.remaining.min(MAX_RESERVED);
                    self.partial.reserve(usize::try_from(whole).unwrap_or_default());
                }
                self.partial.extend_from_slice(&chunk.data);
                if chunk.remaining == 0 {
                    let message = self.partial.split().freeze();
                    self.interactions.delivered(1, message.len() as u64);
                    self.upstream.observer.transferred(Traffic::WebSocket, Direction::Sent, message.len() as u64);
                    self.sink.send(Message::Binary(message)).await?;
                    self.partial = BytesMut::new();
                }
            }
            session_response::Kind::Text(text) => self.sink.send(Message::Text(text.into())).await?,
            session_response::Kind::Bound(bound) => {
                if let Ok(session) = bound.session_id.parse() {
                    let runner = &self.stream.runner;
                    self.upstream.bound(session, runner, self.stream.epoch(session));
                    self.attachment = Some(self.upstream.attached.attach(session, runner.clone()));
                }
            }
            session_response::Kind::Position(Position { applied_seq, received_seq }) => {
                self.buffer.acknowledge(applied_seq);
                self.cursor = Some(self.cursor.unwrap_or_default().max(applied_seq).max(received_seq));
            }
            session_response::Kind::AppliedSeq(seq) => {
                self.suspect.acquit(seq);
                self.interactions.applied(seq);
                self.buffer.acknowledge(seq);
            }
            session_response::Kind::RunFinished(finished) => {
                let session = self.attachment.as_ref().map(|attachment| attachment.session);
                if let Some(trace) = self.interactions.finished(&finished, session) {
                    let kind = session_request::Kind::KeepTrace(Bytes::copy_from_slice(&trace.to_bytes()));
                    self.outbox.push_back(SessionRequest { kind: Some(kind) });
                }
            }
            session_response::Kind::Detached(detached) => return Ok(Some(End::Detached(detached))),
            session_response::Kind::Close(close) => {
                let code = u16::try_from(close.code).unwrap_or(GOING_AWAY);
                return Ok(Some(End::Farewell(Some(close_frame(code, &close.reason)))));
            }
            session_response::Kind::Accepted(_) | session_response::Kind::Head(_) | session_response::Kind::Body(_) => {
            }
        }
        Ok(None)
    }

    /// Decides what isn't sent again, and what the user is told of it.
    fn account_for(&mut self, detached: &Detached) -> String {
        let first = self.buffer.unacknowledged();
        match detached.reason() {
            DetachReason::Runaway => {
                self.buffer.give_up(self.buffer.sent_seq());
                detached.notice.clone()
            }
            DetachReason::WorkerDied if self.suspect.blame(first) => {
                warn!(session = ?self.handshake.resume, "given up: workers die over it");
                if let Some(first) = first {
                    self.buffer.give_up(first);
                }
                self.suspect = Suspect::default();
                "The app's process died twice over your last action, so it was given up. Try something else, or tell \
                 whoever runs this app."
                    .to_owned()
            }
            _ => detached.notice.clone(),
        }
    }

    /// Opens a stream to whoever has the session now. False when the browser has gone meanwhile.
    async fn reattach(&mut self, notice: String, detached: &Detached) -> Result<bool, GatewayError> {
        let began = Instant::now();
        let (reason, kind) = match detached.reason() {
            DetachReason::Released => ("handoff", "handoff"),
            DetachReason::Hibernated => ("wakeup", "wakeup"),
            DetachReason::Unloadable => ("returned", "handoff"),
            DetachReason::WorkerDied | DetachReason::Runaway | DetachReason::Unspecified => ("failure", "failover"),
        };
        let is_returned = detached.reason() == DetachReason::Unloadable;
        let avoid = if is_returned { self.upstream.alike(&self.stream.runner) } else { Vec::new() };
        let observer = Arc::clone(&self.upstream.observer);
        let mut span = observer.server_span("reattach", self.interactions.lost(reason));
        span.set("streamfleet.reattach.reason", reason);
        span.set("streamfleet.reattach.from", self.stream.runner.to_string());
        if reason == "failure" {
            observer.keep(&span);
        }
        let reattach = Reattach {
            acked_seq: self.buffer.acked_seq(),
            replay_until: self.buffer.unacknowledged().map_or(0, |_| self.buffer.sent_seq()),
            deaths: self.suspect.deaths_to_tell(),
            notice,
            avoid,
            settle: self.returns >= MAX_RETURNS,
        };
        // Boxed, lest every idle browser keep the room that this takes.
        let connecting = Box::pin(attach::connect(&self.upstream, &self.handshake, Some(&reattach), span.context()));
        let (stream, opening, _) = tokio::select! {
            connected = connecting => connected.inspect_err(|error| span.fail(error.to_string()))?,
            unsent = self.sink.keep_alive() => {
                unsent.report();
                return Ok(false);
            }
        };
        let runner = stream.runner.clone();
        if let Opening::Refused(head) = opening {
            return Err(GatewayError::BadAnswer { runner, reason: format!("status {} to a session", head.status) });
        }
        let replaying = reattach.replay_until.saturating_sub(reattach.acked_seq);
        span.set("streamfleet.session", self.handshake.resume.map(|session| session.public_id()).unwrap_or_default());
        span.set("streamfleet.reattach.to", runner.to_string());
        span.set("streamfleet.reattach.replayed", replaying);
        observer.metrics.reattached(reason);
        let again = match replaying {
            0 => String::new(),
            1 => ", 1 message again".to_owned(),
            _ => format!(", {replaying} messages again"),
        };
        let text = format!("from {} in {} ms{again}", self.stream.runner, began.elapsed().as_millis());
        observer.tell(kind, self.handshake.resume, Some(runner.clone()), text);
        info!(
            session = ?self.handshake.resume,
            from = %self.stream.runner,
            to = %runner,
            replaying,
            ms = began.elapsed().as_millis(),
            trace = span.context().map(|context| tracing::field::display(context.trace)),
            "reattached a browser"
        );
        self.stream = stream;
        self.cursor = None;
        self.outbox.clear();
        self.partial = BytesMut::new();
        Ok(true)
    }

    /// Tells the session's owner, as far as it can be told at once, what the browser sent last and how it ended.
    fn pass_on_end(&mut self, close: Close) {
        while let Some(cursor) = self.cursor
            && let Some(frame) = self.buffer.try_after(cursor)
        {
            self.cursor = Some(frame.seq);
            self.outbox.extend(pieces(frame, Bytes::new()));
        }
        self.outbox.push_back(SessionRequest { kind: Some(session_request::Kind::Close(close)) });
        for request in self.outbox.drain(..) {
            // If the owner is gone or stuck, nobody needs to know.
            if self.stream.up.try_send(request).is_err() {
                return;
            }
        }
    }
}

/// What is suspected of killing workers.
#[derive(Debug, Default)]
struct Suspect {
    /// The first message that a dead worker had been given; `None` for the session's return itself.
    first: Option<u64>,
    deaths: u32,
    last: Option<Instant>,
}

impl Suspect {
    /// A worker has died over a message. True if that is enough.
    fn blame(&mut self, first: Option<u64>) -> bool {
        /// Without a message to blame, deaths further apart than this have nothing to do with each other.
        const MEMORY: Duration = Duration::from_mins(1);
        let is_same = self.first == first && (first.is_some() || self.last.is_some_and(|last| last.elapsed() < MEMORY));
        self.deaths = if is_same { self.deaths + 1 } else { 1 };
        self.first = first;
        self.last = Some(Instant::now());
        self.deaths_to_tell() >= MAX_DEATHS
    }

    /// A session has dealt with all messages up to this one.
    fn acquit(&mut self, seq: u64) {
        if self.first.is_none_or(|first| first <= seq) {
            *self = Self::default();
        }
    }

    /// How many deaths count.
    fn deaths_to_tell(&self) -> u32 {
        if self.first.is_some() { self.deaths } else { self.deaths.saturating_sub(1) }
    }
}

/// A message as the wire takes it.
fn pieces(frame: Frame, trace: Bytes) -> impl Iterator<Item = SessionRequest> {
    let Frame { seq, mut payload, text, .. } = frame;
    let mut is_done = false;
    std::iter::from_fn(move || {
        if is_done {
            return None;
        }
        let piece = payload.split_to(payload.len().min(MAX_CHUNK_BYTES));
        let more = !payload.is_empty();
        is_done = !more;
        let frame = BrowserFrame { seq, payload: piece, text, more, trace: trace.clone() };
        Some(SessionRequest { kind: Some(session_request::Kind::Frame(frame)) })
    })
}

/// Sends the first of these. If the wait is given up, it stays the first.
async fn send_first(
    up: &mpsc::Sender<SessionRequest>,
    outbox: &mut VecDeque<SessionRequest>,
) -> Result<(), mpsc::error::SendError<()>> {
    let permit = up.reserve().await?;
    if let Some(request) = outbox.pop_front() {
        permit.send(request);
    }
    Ok(())
}

/// Waits until the session has another owner.
async fn moved(attachment: Option<&Attachment>) {
    match attachment {
        Some(attachment) => attachment.moved.cancelled().await,
        None => std::future::pending().await,
    }
}

/// Where messages for the browser go.
struct BrowserSink<'a> {
    sink: SplitSink<WebSocket, Message>,
    pings: Interval,
    ping: Duration,
    last_heard: &'a LastHeard,
}

impl<'a> BrowserSink<'a> {
    fn new(sink: SplitSink<WebSocket, Message>, ping: Duration, last_heard: &'a LastHeard) -> Self {
        let mut pings = interval_at(Instant::now() + ping, ping);
        pings.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Self { sink, pings, ping, last_heard }
    }

    /// Pings the browser for ever; returns when it is gone.
    async fn keep_alive(&mut self) -> Unsent {
        loop {
            self.pings.tick().await;
            // One interval to be pinged in, one to answer: silent for longer is dead.
            if self.last_heard.elapsed() > 2 * self.ping {
                return Unsent::Silent;
            }
            if let Err(unsent) = self.send(Message::Ping(Bytes::new())).await {
                return unsent;
            }
        }
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

    /// Closes the browser's connection, with a code where there is one to tell.
    async fn farewell(&mut self, farewell: Option<CloseFrame>) {
        let end = async {
            // Whoever can't be written to any more needs no farewell.
            if let Some(frame) = farewell {
                let _ = self.sink.send(Message::Close(Some(frame))).await;
            }
            let _ = self.sink.close().await;
        };
        let _ = timeout(FAREWELL_LIMIT, end).await;
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
    #[error("{0}")]
    Failed(#[source] axum::Error),
    #[error("it takes nothing any more")]
    Stuck,
    #[error("it has not answered a ping")]
    Silent,
}

impl Unsent {
    /// Notes it, and that there is no farewell for whoever can't be reached.
    fn report(&self) -> Option<CloseFrame> {
        debug!("a browser is gone: {self}");
        None
    }
}

fn close_frame(code: u16, reason: &str) -> CloseFrame {
    CloseFrame { code, reason: reason.into() }
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::*;

    #[test]
    fn long_messages_are_cut_and_short_ones_are_not() {
        let sizes = |length: usize| {
            let frame = Frame { seq: 7, payload: vec![1; length].into(), text: false, received: SystemTime::now() };
            let size = |request: SessionRequest| match request.kind {
                Some(session_request::Kind::Frame(piece)) => (piece.seq, piece.payload.len(), piece.more),
                other => panic!("{other:?}"),
            };
            pieces(frame, Bytes::new()).map(size).collect::<Vec<_>>()
        };
        assert_eq!(sizes(0), [(7, 0, false)]);
        assert_eq!(sizes(5), [(7, 5, false)]);
        assert_eq!(sizes(MAX_CHUNK_BYTES), [(7, MAX_CHUNK_BYTES, false)]);
        assert_eq!(sizes(MAX_CHUNK_BYTES + 1), [(7, MAX_CHUNK_BYTES, true), (7, 1, false)]);
    }

    #[tokio::test(start_paused = true)]
    async fn only_the_same_message_is_blamed_again() {
        let mut suspect = Suspect::default();
        assert!(!suspect.blame(Some(4)) && !suspect.blame(Some(5)));
        assert_eq!(suspect.deaths_to_tell(), 1);
        tokio::time::advance(Duration::from_hours(1)).await;
        // That it has done what came before is no excuse.
        suspect.acquit(4);
        assert!(suspect.blame(Some(5)));
        suspect.acquit(5);
        // A session that can't even come back is blamed for that, unless it lived in between.
        assert!(!suspect.blame(None));
        assert_eq!(suspect.deaths_to_tell(), 0);
        assert!(!suspect.blame(None) && suspect.blame(None));
        tokio::time::advance(Duration::from_mins(2)).await;
        assert!(!suspect.blame(None));
    }
}
