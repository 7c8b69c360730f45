//! A browser's messages and what comes of them: each is a trace of its own.

use std::{
    collections::VecDeque,
    sync::Arc,
    time::{Duration, SystemTime},
};

use bytes::Bytes;
use streamfleet_proto::{RunnerId, SessionId, runner::RunFinished};
use streamfleet_telemetry::{Span, TraceId};

use super::{Observer, context_bytes};
use crate::replay::Frame;

/// Messages that are followed at once; of more the oldest are not.
const MOST: usize = 64;

/// What a browser has sent and has no answer to yet.
pub(crate) struct Interactions {
    observer: Arc<Observer>,
    open: VecDeque<Interaction>,
}

struct Interaction {
    seq: u64,
    span: Span,
    received: SystemTime,
    first: Option<Duration>,
    last: Option<Duration>,
    messages: u64,
    bytes: u64,
}

impl Interactions {
    pub(crate) fn new(observer: Arc<Observer>) -> Self {
        Self { observer, open: VecDeque::new() }
    }

    /// A message goes to the session's owner. Returns the context to send along.
    pub(crate) fn send(&mut self, frame: &Frame, session: Option<SessionId>, runner: &RunnerId) -> Bytes {
        if let Some(known) = self.open.iter_mut().find(|interaction| interaction.seq == frame.seq) {
            self.observer.metrics.replayed();
            known.span.event("sent again", [("streamfleet.runner", runner.to_string().into())]);
            return context_bytes(known.span.context());
        }
        let mut span = self.observer.server_span("interaction", None);
        if span.is_recording() {
            span.started_at(frame.received);
            span.set("streamfleet.session", session.map(|session| session.public_id()).unwrap_or_default());
            span.set("streamfleet.runner", runner.to_string());
            span.set("streamfleet.message.seq", frame.seq);
            span.set("streamfleet.message.bytes", frame.payload.len() as u64);
        }
        let context = context_bytes(span.context());
        if self.open.len() == MOST {
            self.open.pop_front();
        }
        self.open.push_back(Interaction {
            seq: frame.seq,
            span,
            received: frame.received,
            first: None,
            last: None,
            messages: 0,
            bytes: 0,
        });
        context
    }

    /// Messages have been written to the browser.
    pub(crate) fn delivered(&mut self, messages: u64, bytes: u64) {
        let Some(current) = self.open.front_mut() else { return };
        let elapsed = current.received.elapsed().unwrap_or_default();
        current.first.get_or_insert(elapsed);
        current.last = Some(elapsed);
        current.messages += messages;
        current.bytes += bytes;
    }

    /// A run has ended. Returns the trace that the runner is to keep as well.
    pub(crate) fn finished(&mut self, finished: &RunFinished, session: Option<SessionId>) -> Option<TraceId> {
        let mut keep = None;
        while self.open.front().is_some_and(|interaction| interaction.seq <= finished.seq) {
            let Some(Interaction { seq, mut span, received, first, last, messages, bytes }) = self.open.pop_front()
            else {
                break;
            };
            let took = received.elapsed().unwrap_or_default();
            self.observer.clicked(first, took);
            if !span.is_recording() {
                continue;
            }
            for (name, after) in [("first message", first), ("last message", last)] {
                if let Some(after) = after {
                    span.event_at(received + after, name, []);
                }
            }
            // It may not have been known when the first message came.
            span.set("streamfleet.session", session.map(|session| session.public_id()).unwrap_or_default());
            span.set("streamfleet.messages", messages);
            span.set("streamfleet.bytes", bytes);
            if finished.failed && seq == finished.seq {
                span.fail("the user was shown an exception");
            }
            if !finished.keep_trace.is_empty() {
                self.observer.keep(&span);
            } else if self.observer.tracer.is_slow(took) {
                self.observer.keep(&span);
                keep = span.context().map(|context| context.trace);
            }
        }
        self.forget_capacity();
        keep
    }

    /// All messages up to this one are dealt with: what is open of them asked for no run.
    pub(crate) fn applied(&mut self, seq: u64) {
        while self.open.front().is_some_and(|interaction| interaction.seq <= seq) {
            if let Some(mut interaction) = self.open.pop_front() {
                interaction.span.rename("message");
            }
        }
        self.forget_capacity();
    }

    /// The session's owner has been lost, or the session is elsewhere by now. Returns the context of what was under way.
    pub(crate) fn lost(&mut self, why: &str) -> Option<streamfleet_telemetry::TraceContext> {
        for interaction in &mut self.open {
            interaction.span.event("owner lost", [("reason", why.to_owned().into())]);
        }
        self.open.front().and_then(|interaction| interaction.span.context())
    }

    /// Browsers are idle most of the time, and many.
    fn forget_capacity(&mut self) {
        if self.open.is_empty() {
            self.open = VecDeque::new();
        }
    }
}
