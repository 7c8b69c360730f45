//! From the browser to the worker.

use bytes::BytesMut;
use streamfleet_proto::{
    runner::{SessionRequest, session_request},
    worker::{Frame, stream_request},
};
use tonic::Streaming;

use super::BoundCell;
use crate::{pool::Pool, saver::Mark, stream::StreamSender};

/// Takes what the browser sends to the worker. Its end closes the worker's side.
pub(super) struct Up {
    pub(super) pool: Pool,
    pub(super) requests: Streaming<SessionRequest>,
    pub(super) sender: StreamSender,
    pub(super) connection: u64,
    pub(super) bound: BoundCell,
}

impl Up {
    pub(super) async fn run(mut self) {
        let mut partial = BytesMut::new();
        while let Ok(Some(request)) = self.requests.message().await {
            let (kind, seq) = match request.kind {
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
                    let frame = Frame { payload, text: frame.text, seq: frame.seq, trace: frame.trace };
                    let seq = frame.seq;
                    (stream_request::Kind::Frame(frame), seq)
                }
                Some(session_request::Kind::Close(close)) => (stream_request::Kind::Close(close), 0),
                Some(session_request::Kind::KeepTrace(trace)) => {
                    self.pool.shared().options.observer.keep(&trace);
                    continue;
                }
                Some(session_request::Kind::Open(_)) | None => continue,
            };
            // Nothing is done to a session that may be another runner's by now.
            if !self.pool.ownership().lease.admit().await || self.is_fenced() {
                return;
            }
            if self.sender.send(kind).await.is_err() {
                // The receiving side notices as well, and tells the gateway.
                return;
            }
            if let Some(bound) = self.bound.get().filter(|_| seq != 0) {
                bound.entry.receive(Mark { connection: self.connection, seq });
            }
        }
    }

    fn is_fenced(&self) -> bool {
        self.bound.get().is_some_and(|bound| bound.fence.is_cancelled())
    }
}
