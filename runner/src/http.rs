//! Carries one plain HTTP request to the worker that can answer it, and the answer back.

use std::{collections::VecDeque, io, pin::Pin};

use bytes::Bytes;
use futures_util::{Stream, stream};
use streamfleet_cluster::Route;
use streamfleet_proto::{
    common::{Header, RequestHead, ResponseHead},
    runner::{HttpRequest, HttpResponse, http_request, http_response},
    worker::{Open, stream_event, stream_request},
};
use tokio_util::sync::{CancellationToken, DropGuard};
use tonic::{Status, Streaming};
use tracing::debug;

use crate::{
    pool::{Placed, Pool},
    stream::{StreamReceiver, StreamSender, open_stream},
};

/// What a gateway gets of an answer.
pub(crate) type Responses = Pin<Box<dyn Stream<Item = Result<HttpResponse, Status>> + Send>>;

const NOT_FOUND: u32 = 404;
/// Answers up to this length, in bytes, are read whole before any of it is passed on.
const MAX_SHORT_BYTES: u64 = 256 * 1024;
/// How many workers are asked the same at most; there may be many.
const MAX_ATTEMPTS: usize = 64;

/// Answers a request whose head has been read from `body` already.
pub(crate) async fn answer(pool: Pool, head: RequestHead, body: Streaming<HttpRequest>) -> Result<Responses, Status> {
    let base_url_path = pool.app().settings.as_ref().map_or("", |settings| settings.base_url_path.as_str());
    let route = Route::of(&head.raw_path, base_url_path);
    let first = match &route {
        Route::Session(session) => {
            if !pool.ownership().lease.admit().await {
                return Err(Status::unavailable("it is not known who owns the session"));
            }
            pool.for_session(Some(*session)).await
        }
        Route::Agent => pool.first().await,
        Route::Media(file) => pool.for_media(file),
        Route::Component(_) | Route::Asset | Route::Any => pool.any().await,
    };
    if asks_only(&head) {
        return ask_around(&pool, &head, first, route.may_be_elsewhere()).await;
    }
    let placed = match first {
        Some(placed) => placed,
        None => pool.any().await.ok_or_else(none_ready)?,
    };
    let mut exchange = Exchange::open(placed, head, false).await?;
    exchange.forward(body);
    Ok(exchange.responses(VecDeque::new()))
}

/// Whether a request changes nothing and brings nothing, so that it can be asked again elsewhere.
fn asks_only(head: &RequestHead) -> bool {
    let has_body = |header: &Header| {
        header.name.eq_ignore_ascii_case(b"content-length") && *header.value != *b"0"
            || header.name.eq_ignore_ascii_case(b"transfer-encoding")
    };
    matches!(head.method.as_str(), "GET" | "HEAD" | "OPTIONS") && !head.headers.iter().any(has_body)
}

/// Asks one worker after the other until one answers; where the thing `may_be_elsewhere`, until one has it.
async fn ask_around(
    pool: &Pool,
    head: &RequestHead,
    first: Option<Placed>,
    may_be_elsewhere: bool,
) -> Result<Responses, Status> {
    let mut asked = Vec::new();
    let mut outcome = Err(none_ready());
    let mut next = first;
    while asked.len() < MAX_ATTEMPTS {
        let Some(placed) = next.take().or_else(|| pool.other_than(&asked)) else { break };
        asked.push(placed.worker.pid);
        match Exchange::ask(placed, head).await {
            Ok((exchange, answer)) => {
                let found =
                    !matches!(answer.front(), Some(http_response::Kind::Head(head)) if head.status == NOT_FOUND);
                outcome = Ok(exchange.responses(answer));
                if found || !may_be_elsewhere {
                    break;
                }
            }
            // That somebody doesn't have it is a better answer than that somebody has died.
            Err(status) if outcome.is_err() => outcome = Err(status),
            Err(_) => {}
        }
    }
    if outcome.is_err() {
        // All have failed, as when the only one has just died: its successor gets a try.
        let placed = pool.next_other_than(&asked).await.ok_or_else(none_ready)?;
        let (exchange, answer) = Exchange::ask(placed, head).await?;
        outcome = Ok(exchange.responses(answer));
    }
    outcome
}

fn none_ready() -> Status {
    Status::unavailable("no worker is ready")
}

/// One request that a worker has been given.
struct Exchange {
    placed: Placed,
    /// Also tells the worker that its client is still there: dropping it is hanging up.
    sender: Option<StreamSender>,
    receiver: StreamReceiver,
    /// Ends the forwarding of the body, if there is one, with the answer.
    forwarding: Option<DropGuard>,
    /// The answer has been read to its end.
    complete: bool,
}

impl Exchange {
    async fn open(placed: Placed, head: RequestHead, end_of_body: bool) -> Result<Self, Status> {
        let open = Open { head: Some(head), end_of_body, ..Open::default() };
        match open_stream(&placed.worker.listen_path, open).await {
            Ok((sender, receiver)) => {
                Ok(Self { placed, sender: Some(sender), receiver, forwarding: None, complete: false })
            }
            Err(error) => Err(worker_gone(&placed, &error)),
        }
    }

    /// Asks what has no body, and waits for the answer: for all of it where it is short, so that it can still be asked
    /// elsewhere when the worker dies over it, else for its head.
    async fn ask(placed: Placed, head: &RequestHead) -> Result<(Self, VecDeque<http_response::Kind>), Status> {
        let mut exchange = Self::open(placed, head.clone(), true).await?;
        let head = exchange.head().await?;
        let is_short = content_length(&head).is_some_and(|length| length <= MAX_SHORT_BYTES);
        let mut answer = VecDeque::from([http_response::Kind::Head(head)]);
        while is_short && let Some(part) = exchange.next().await {
            answer.push_back(part?);
        }
        exchange.complete = is_short;
        Ok((exchange, answer))
    }

    /// Waits for the answer's head.
    async fn head(&mut self) -> Result<ResponseHead, Status> {
        match self.next().await {
            Some(Ok(http_response::Kind::Head(head))) => Ok(head),
            Some(Err(status)) => Err(status),
            Some(Ok(http_response::Kind::Body(_))) | None => {
                Err(worker_gone(&self.placed, &io::Error::other("an answer without a head")))
            }
        }
    }

    /// The next part of the answer; `None` at its proper end.
    async fn next(&mut self) -> Option<Result<http_response::Kind, Status>> {
        loop {
            let kind = match self.receiver.receive().await {
                Some(Ok(event)) => event.kind,
                Some(Err(error)) => return Some(Err(worker_gone(&self.placed, &error))),
                None => {
                    let error = io::ErrorKind::UnexpectedEof.into();
                    return Some(Err(worker_gone(&self.placed, &error)));
                }
            };
            match kind {
                Some(stream_event::Kind::Head(head)) => {
                    return Some(Ok(http_response::Kind::Head(head)));
                }
                Some(stream_event::Kind::Body(body)) => {
                    return Some(Ok(http_response::Kind::Body(body)));
                }
                Some(stream_event::Kind::End(_)) => return None,
                // The rest belongs to WebSockets.
                _ => {}
            }
        }
    }

    /// Sends the request's body to the worker while the answer is awaited.
    fn forward(&mut self, body: Streaming<HttpRequest>) {
        if let Some(sender) = self.sender.take() {
            let done = CancellationToken::new();
            self.forwarding = Some(done.clone().drop_guard());
            tokio::spawn(done.run_until_cancelled_owned(forward(body, sender)));
        }
    }

    /// The answer, of which some may have been read already.
    fn responses(self, read: VecDeque<http_response::Kind>) -> Responses {
        Box::pin(stream::unfold((Some(self), read), |(exchange, mut read)| async move {
            let mut exchange = exchange?;
            let next = match read.pop_front() {
                Some(kind) => Ok(kind),
                None if exchange.complete => return None,
                None => exchange.next().await?,
            };
            match next {
                Ok(kind) => Some((Ok(HttpResponse { kind: Some(kind) }), (Some(exchange), read))),
                Err(status) => Some((Err(status), (None, read))),
            }
        }))
    }
}

/// The length that an answer's head promises.
fn content_length(head: &ResponseHead) -> Option<u64> {
    let header = head.headers.iter().find(|header| header.name.eq_ignore_ascii_case(b"content-length"))?;
    std::str::from_utf8(&header.value).ok()?.trim().parse().ok()
}

/// Sends a request's body on. A body that breaks off hangs up on the worker.
async fn forward(mut body: Streaming<HttpRequest>, mut sender: StreamSender) {
    loop {
        let part = match body.message().await {
            Ok(Some(HttpRequest { kind: Some(http_request::Kind::Body(part)) })) if !part.is_empty() => part,
            Ok(Some(_)) => continue,
            Ok(None) => break,
            Err(_) => return,
        };
        if sender.send(stream_request::Kind::Body(part)).await.is_err() {
            return;
        }
    }
    if sender.send(stream_request::Kind::Body(Bytes::new())).await.is_ok() {
        // Hold the connection: closing it would tell the worker that its client has left.
        std::future::pending::<()>().await;
    }
}

fn worker_gone(placed: &Placed, error: &io::Error) -> Status {
    debug!(worker = placed.worker.index, "a request broke off: {error}");
    Status::unavailable(format!("worker {} is gone", placed.worker.index))
}
