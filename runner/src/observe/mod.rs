//! What is told of a runner's work: spans for its part of each trace, and metrics.
//!
//! The worker has no tracing of its own. It reports what each run of a script was, and the spans are made here.

mod collector;
mod cpu;
mod metrics;
mod runs;

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use bytes::Bytes;
use streamfleet_proto::SessionId;
use streamfleet_telemetry::{MetricsPage, Span, SpanKind, TraceContext, TraceId, Tracer};

use self::{collector::PoolCollector, metrics::Metrics};
pub(crate) use self::{
    cpu::Cpu,
    runs::{RunNote, RunNotes},
};
use crate::pool::Pool;

/// What is told of a runner's work. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Observer {
    tracer: Tracer,
    pub(crate) metrics: Arc<Metrics>,
    /// On each span.
    runner: Arc<str>,
    revision: Arc<str>,
}

/// The trace of this context, for a log line; empty if it belongs to none.
pub(crate) fn trace_id(context: &[u8]) -> String {
    TraceContext::from_bytes(context).map(|context| context.trace.to_string()).unwrap_or_default()
}

impl Observer {
    /// Tells of the runner of this name, and what it serves of the app.
    pub fn new(tracer: Tracer, runner: &str, revision: &str) -> Self {
        Self { tracer, metrics: Arc::default(), runner: runner.into(), revision: revision.into() }
    }

    /// Tells nobody.
    pub fn none() -> Self {
        Self::new(Tracer::disabled(), "", "")
    }

    /// Shows on a page what is told of the runner and its workers.
    pub fn register(&self, page: &MetricsPage, pool: &Pool) {
        page.register(|registry| {
            self.metrics.register(registry);
            registry.register_collector(Box::new(PoolCollector::new(pool)));
        });
    }

    /// A span of what is done for whoever sent this context; one that tells nothing if nobody traces.
    pub(crate) fn span(&self, name: &'static str, context: &Bytes) -> Span {
        let Some(context) = TraceContext::from_bytes(context) else { return Tracer::disabled().span(name, None) };
        let mut span = self.tracer.span(name, Some(context));
        if span.is_recording() {
            if context.sampled {
                // The gateway's word goes for all of the trace, whatever sampler this process has.
                self.tracer.keep(context.trace);
            }
            span.kind(SpanKind::Server);
            span.set("streamfleet.runner", self.runner.to_string());
            span.set("streamfleet.revision", self.revision.to_string());
        }
        span
    }

    /// The gateway keeps a trace, sampled or not.
    pub(crate) fn keep(&self, trace: &Bytes) {
        if let Ok(trace) = <[u8; 16]>::try_from(&**trace) {
            self.tracer.keep(TraceId::from_bytes(trace));
        }
    }

    /// A session's snapshot has been stored, whose run had this context.
    pub(crate) fn stored(&self, session: SessionId, snapshot: &SnapshotNote) {
        let lag = snapshot.at.elapsed().unwrap_or_default();
        self.metrics.snapshot_stored(snapshot.bytes, lag);
        let mut span = self.span("snapshot", &snapshot.trace);
        if span.is_recording() {
            span.kind(SpanKind::Internal);
            span.started_at(snapshot.at);
            span.set("streamfleet.session", session.public_id());
            span.set("streamfleet.snapshot.bytes", snapshot.bytes);
            span.set("streamfleet.snapshot.values", snapshot.values);
        }
    }
}

/// The bytes that stand for a span where it is sent to somebody.
pub(crate) fn context_of(span: &Span) -> Bytes {
    span.context().map(|context| Bytes::copy_from_slice(&context.to_bytes())).unwrap_or_default()
}

/// A snapshot that is on its way to the store.
#[derive(Debug, Clone)]
pub(crate) struct SnapshotNote {
    pub(crate) trace: Bytes,
    /// When it came from the worker.
    pub(crate) at: SystemTime,
    pub(crate) bytes: u64,
    pub(crate) values: u64,
}

/// Microseconds since 1970, as workers tell times.
fn time(micros: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_micros(micros)
}
