//! What is told of a gateway's work: spans, metrics, and what goes on at this moment.

mod http;
mod interactions;
mod live;
mod metrics;

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use bytes::Bytes;
use streamfleet_cluster::RunnerPhase;
use streamfleet_proto::{RunnerId, SessionId};
use streamfleet_telemetry::{MetricsPage, Span, SpanKind, TraceContext, Tracer};
use tokio::sync::broadcast;

pub use self::live::LiveFigures;
pub(crate) use self::{http::Exchange, interactions::Interactions};
use self::{live::Live, metrics::Metrics};

/// Happenings that a slow listener may be behind.
const HAPPENINGS: usize = 256;

/// What is told of a gateway's work.
#[derive(Debug)]
pub struct Observer {
    tracer: Tracer,
    pub(crate) metrics: Metrics,
    live: Live,
    happenings: broadcast::Sender<Happened>,
}

/// Something that operators want to know of at once.
#[derive(Debug, Clone)]
pub struct Happened {
    /// When.
    pub at: SystemTime,
    /// `handoff`, `failover`, `wakeup`, `replay`, `drain`, `runner_joined`, `runner_left`.
    pub kind: &'static str,
    /// The public id of the session that it happened to.
    pub session: Option<String>,
    /// The runner that it happened to, or where the session is now.
    pub runner: Option<RunnerId>,
    /// In one line.
    pub text: String,
}

impl Observer {
    /// Tells of this gateway.
    pub fn new(tracer: Tracer) -> Arc<Self> {
        Arc::new(Self {
            tracer,
            metrics: Metrics::default(),
            live: Live::default(),
            happenings: broadcast::Sender::new(HAPPENINGS),
        })
    }

    /// Tells nobody.
    pub fn none() -> Arc<Self> {
        Self::new(Tracer::disabled())
    }

    /// Shows on a page what is told.
    pub fn register(&self, page: &MetricsPage) {
        page.register(|registry| self.metrics.register(registry));
    }

    /// What goes on at this moment.
    pub fn live(&self) -> LiveFigures {
        self.live.figures(self.metrics.websockets(), self.metrics.traffic())
    }

    /// Follows what happens.
    pub fn happened(&self) -> broadcast::Receiver<Happened> {
        self.happenings.subscribe()
    }

    /// Tells all who listen.
    pub(crate) fn tell(&self, kind: &'static str, session: Option<SessionId>, runner: Option<RunnerId>, text: String) {
        let session = session.map(|session| session.public_id());
        // Nobody may be listening.
        let _ = self.happenings.send(Happened { at: SystemTime::now(), kind, session, runner, text });
    }

    /// A span of something that a browser has asked for.
    pub(crate) fn server_span(&self, name: &'static str, parent: Option<TraceContext>) -> Span {
        let mut span = self.tracer.span(name, parent);
        span.kind(SpanKind::Server);
        span
    }

    /// A span of a part of something.
    pub(crate) fn span(&self, name: &'static str, parent: Option<TraceContext>) -> Span {
        if parent.is_some() { self.tracer.span(name, parent) } else { Tracer::disabled().span(name, None) }
    }

    /// The trace is kept, as something in it failed.
    pub(crate) fn keep(&self, span: &Span) {
        if let Some(context) = span.context() {
            self.tracer.keep(context.trace);
        }
    }

    /// How many runners there are in each phase.
    pub(crate) fn runners(&self, phases: impl Iterator<Item = RunnerPhase>) {
        self.metrics.runners(phases);
    }

    /// Bytes of a browser's, or for one.
    pub(crate) fn transferred(&self, kind: Traffic, direction: Direction, bytes: u64) {
        self.metrics.transferred(kind, direction, bytes);
    }

    /// A click has been answered.
    fn clicked(&self, first: Option<Duration>, finished: Duration) {
        self.metrics.clicked(first, finished);
        self.live.clicked(finished);
    }
}

/// How bytes travel.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Traffic {
    WebSocket,
    Http,
}

/// Where bytes go.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Direction {
    Received,
    Sent,
}

/// The bytes that stand for a context where it is sent to somebody.
pub(crate) fn context_bytes(context: Option<TraceContext>) -> Bytes {
    context.map(|context| Bytes::copy_from_slice(&context.to_bytes())).unwrap_or_default()
}

/// The context that a request brings along (W3C Trace Context).
pub(crate) fn context_in(headers: &::http::HeaderMap) -> Option<TraceContext> {
    TraceContext::from_traceparent(headers.get("traceparent")?.to_str().ok()?)
}
