//! Carries one browser WebSocket between a gateway and the worker that has its session.

use std::{
    collections::VecDeque,
    io,
    pin::Pin,
    sync::{Arc, OnceLock},
};

use bytes::{Bytes, BytesMut};
use futures_util::{Stream, stream};
use streamfleet_proto::{
    MAX_CHUNK_BYTES, SessionId,
    common::MessageBatch,
    runner::{MessageChunk, SessionOpen, SessionRequest, SessionResponse, session_request, session_response},
    worker::{Frame, Open, stream_event, stream_request},
};
use tokio_util::sync::{CancellationToken, DropGuard};
use tonic::{Status, Streaming};
use tracing::debug;

use crate::{
    pool::{Placed, Pool},
    stream::{StreamReceiver, StreamSender, open_stream},
};

/// What a gateway gets of a session.
pub(crate) type Responses = Pin<Box<dyn Stream<Item = Result<SessionResponse, Status>> + Send>>;

/// Opens a session's WebSocket on the worker that has it, or on the least loaded one.
pub(crate) async fn open(
    pool: Pool,
    open: SessionOpen,
    requests: Streaming<SessionRequest>,
) -> Result<Responses, Status> {
    let fresh = parse(&open.session_id)?;
    let resume = match open.resume_session_id.as_str() {
        "" => None,
        // The browser may ask for anything; what is no session id is nobody's.
        text => text.parse().ok(),
    };
    if !pool.ownership().lease.admit().await {
        return Err(Status::unavailable("it is not known who owns the session"));
    }
    if let Some(session) = resume {
        pool.give_up_older(session, open.resume_epoch);
    }
    let stream_open =
        Open { head: open.head, websocket: true, session_id: fresh.to_string(), end_of_body: true, ..Open::default() };
    let (placed, (sender, receiver)) = connect(&pool, resume, stream_open).await?;

    let done = CancellationToken::new();
    let epochs = Epochs { fresh: (fresh, open.epoch), resume: resume.map(|session| (session, open.resume_epoch)) };
    let fence = Arc::new(OnceLock::new());
    let up = forward(pool.clone(), requests, sender, Arc::clone(&fence));
    tokio::spawn(done.clone().run_until_cancelled_owned(up));
    let down = Down { pool, placed, receiver, epochs, fence, queue: VecDeque::new(), _done: done.drop_guard() };
    Ok(Box::pin(stream::unfold(Some(down), Down::step)))
}

/// The epochs of the sessions that a WebSocket may turn out to carry; 0 where there is no pin.
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

/// Cancelled when another runner owns the session that a WebSocket carries; empty while it is not known which that is.
type Fence = Arc<OnceLock<CancellationToken>>;

fn is_fenced(fence: &Fence) -> bool {
    fence.get().is_some_and(CancellationToken::is_cancelled)
}

/// Connects to the worker that has the session. One that turns out to be dead has it no longer: then to another.
async fn connect(
    pool: &Pool,
    resume: Option<SessionId>,
    open: Open,
) -> Result<(Placed, (StreamSender, StreamReceiver)), Status> {
    let none_ready = || Status::unavailable("no worker is ready");
    let placed = pool.for_session(resume).await.ok_or_else(none_ready)?;
    if let Ok(stream) = open_stream(&placed.worker.listen_path, open.clone()).await {
        return Ok((placed, stream));
    }
    let placed = pool.next_other_than(&[placed.worker.pid]).await.ok_or_else(none_ready)?;
    match open_stream(&placed.worker.listen_path, open).await {
        Ok(stream) => Ok((placed, stream)),
        Err(error) => Err(worker_gone(&placed, &error)),
    }
}

fn parse(id: &str) -> Result<SessionId, Status> {
    id.parse().map_err(|error| Status::invalid_argument(format!("{error}")))
}

fn worker_gone(placed: &Placed, error: &io::Error) -> Status {
    debug!(worker = placed.worker.index, "a session's stream broke off: {error}");
    Status::unavailable(format!("worker {} is gone", placed.worker.index))
}

/// Takes what the browser sends to the worker. Its end closes the worker's side.
async fn forward(pool: Pool, mut requests: Streaming<SessionRequest>, mut sender: StreamSender, fence: Fence) {
    let mut partial = BytesMut::new();
    while let Ok(Some(request)) = requests.message().await {
        let kind = match request.kind {
            Some(session_request::Kind::Frame(frame)) => {
                // The gateway has bounded the whole message.
                let payload = if frame.more || !partial.is_empty() {
                    partial.extend_from_slice(&frame.payload);
                    if frame.more {
                        continue;
                    }
                    partial.split().freeze()
                } else {
                    frame.payload
                };
                stream_request::Kind::Frame(Frame { payload, text: frame.text, seq: frame.seq })
            }
            Some(session_request::Kind::Close(close)) => stream_request::Kind::Close(close),
            Some(session_request::Kind::Open(_)) | None => continue,
        };
        // Nothing is done to a session that may be another runner's by now.
        if !pool.ownership().lease.admit().await || is_fenced(&fence) {
            return;
        }
        if sender.send(kind).await.is_err() {
            // The receiving side notices as well, and tells the gateway.
            return;
        }
    }
}

/// Waits until another runner owns the session.
async fn fenced(fence: &Fence) {
    match fence.get() {
        Some(fence) => fence.cancelled().await,
        None => std::future::pending().await,
    }
}

/// What comes from the worker, on its way to the gateway.
struct Down {
    pool: Pool,
    placed: Placed,
    receiver: StreamReceiver,
    epochs: Epochs,
    fence: Fence,
    /// Pieces of the last event that are still to be sent.
    queue: VecDeque<session_response::Kind>,
    /// Ends the other direction with this one.
    _done: DropGuard,
}

impl Down {
    async fn step(state: Option<Self>) -> Option<(Result<SessionResponse, Status>, Option<Self>)> {
        let mut down = state?;
        loop {
            if let Some(kind) = down.queue.pop_front() {
                let last = matches!(kind, session_response::Kind::Close(_));
                let response = SessionResponse { kind: Some(kind) };
                return Some((Ok(response), (!last).then_some(down)));
            }
            let received = tokio::select! {
                biased;
                () = fenced(&down.fence) => {
                    return Some((Err(Status::aborted("the session has another owner")), None));
                }
                received = down.receiver.receive() => received,
            };
            let event = match received {
                Some(Ok(event)) => event,
                Some(Err(error)) => return Some((Err(worker_gone(&down.placed, &error)), None)),
                // Without a farewell: the worker died, or dropped a browser that was too slow.
                None => {
                    let error = io::ErrorKind::UnexpectedEof.into();
                    return Some((Err(worker_gone(&down.placed, &error)), None));
                }
            };
            match event.kind {
                Some(stream_event::Kind::End(_)) => return None,
                Some(kind) => down.take(kind),
                None => {}
            }
        }
    }

    fn take(&mut self, event: stream_event::Kind) {
        match event {
            stream_event::Kind::Accepted(accepted) => {
                self.queue.push_back(session_response::Kind::Accepted(accepted));
            }
            stream_event::Kind::Bound(bound) => {
                if let Ok(session) = bound.session_id.parse() {
                    self.pool.bind(session, self.placed.worker.index);
                    let fence = self.pool.ownership().own(session, self.epochs.of(session));
                    // A WebSocket is bound once.
                    let _ = self.fence.set(fence);
                }
                self.queue.push_back(session_response::Kind::Bound(bound));
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
            stream_event::Kind::End(_)
            | stream_event::Kind::Snapshot(_)
            | stream_event::Kind::AppliedSeq(_)
            | stream_event::Kind::Released(_) => {}
        }
    }
}

/// Makes gRPC messages of a batch: messages together up to the chunk size, longer ones in pieces.
fn cut(batch: MessageBatch, queue: &mut VecDeque<session_response::Kind>) {
    let mut together = Vec::new();
    let mut size = 0;
    let flush = |together: &mut Vec<Bytes>, queue: &mut VecDeque<_>| {
        if !together.is_empty() {
            let messages = std::mem::take(together);
            queue.push_back(session_response::Kind::Batch(MessageBatch { messages }));
        }
    };
    for mut message in batch.messages {
        if size + message.len() > MAX_CHUNK_BYTES {
            flush(&mut together, queue);
            size = 0;
        }
        if message.len() <= MAX_CHUNK_BYTES {
            size += message.len();
            together.push(message);
            continue;
        }
        while !message.is_empty() {
            let data = message.split_to(message.len().min(MAX_CHUNK_BYTES));
            let more = !message.is_empty();
            queue.push_back(session_response::Kind::Chunk(MessageChunk { data, more }));
        }
    }
    flush(&mut together, queue);
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*};

    use super::*;

    fn join(queue: VecDeque<session_response::Kind>) -> Vec<Bytes> {
        let mut messages = Vec::new();
        let mut partial = BytesMut::new();
        for kind in queue {
            match kind {
                session_response::Kind::Batch(batch) => {
                    let size: usize = batch.messages.iter().map(Bytes::len).sum();
                    assert!(size <= MAX_CHUNK_BYTES);
                    assert!(partial.is_empty());
                    messages.extend(batch.messages);
                }
                session_response::Kind::Chunk(chunk) => {
                    assert!(chunk.data.len() <= MAX_CHUNK_BYTES);
                    partial.extend_from_slice(&chunk.data);
                    if !chunk.more {
                        messages.push(partial.split().freeze());
                    }
                }
                other => panic!("{other:?}"),
            }
        }
        messages
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn cutting_loses_and_reorders_nothing(
            sizes in vec(prop_oneof![0..2000_usize, 0..(3 * MAX_CHUNK_BYTES)], 0..6)
        ) {
            let messages: Vec<Bytes> = sizes
                .iter()
                .enumerate()
                .map(|(number, &size)| Bytes::from(vec![u8::try_from(number).unwrap(); size]))
                .collect();
            let mut queue = VecDeque::new();
            cut(MessageBatch { messages: messages.clone() }, &mut queue);
            prop_assert_eq!(join(queue), messages);
        }
    }
}
