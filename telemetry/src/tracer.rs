//! Makes spans, decides which are exported, and hands those on.

use std::{
    borrow::Cow,
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use opentelemetry::{
    InstrumentationScope, KeyValue,
    trace::{Event, Link, SpanContext, SpanId, SpanKind, Status, TraceFlags, TraceId, TraceState},
};
use opentelemetry_sdk::trace::{SpanData, SpanEvents, SpanLinks};
use prometheus_client::{metrics::counter::Counter, registry::Registry};
use tokio::{task::JoinHandle, time::Instant};
use tokio_util::sync::CancellationToken;
use tracing::info;

use crate::{
    FinishedSpan, Span, TraceContext, TraceError, TraceOptions, Value,
    batch::{Batcher, Export},
    exporter::Otlp,
    options::{Config, SpanLimits},
    queue::Queue,
    sampler::Sampler,
    tail::Tail,
};

/// Makes spans. Clones are the same tracer.
#[derive(Clone, Default)]
pub struct Tracer(Option<Arc<Shared>>);

/// What has become of the spans that were to be exported.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct TraceStats {
    /// Those that the collector has taken.
    pub exported: u64,
    /// Those that were given up: the queue was full, or the collector away for too long.
    pub dropped: u64,
}

/// Counts what becomes of spans.
#[derive(Debug, Clone, Default)]
pub(crate) struct Counts {
    pub(crate) exported: Counter,
    pub(crate) dropped: Counter,
}

/// What all clones of a tracer and all its spans share.
pub(crate) struct Shared {
    sampler: Sampler,
    slow_after: Option<Duration>,
    limits: SpanLimits,
    scope: InstrumentationScope,
    tail: Mutex<Tail>,
    queue: Arc<Queue>,
    counts: Counts,
    stop: CancellationToken,
    /// The task that exports; none when it has been shut down.
    task: Mutex<Option<JoinHandle<()>>>,
}

impl Tracer {
    /// A tracer that does nothing.
    pub fn disabled() -> Self {
        Self(None)
    }

    /// Starts exporting, if there is somewhere to export to; otherwise the tracer is disabled. Must be called within a Tokio
    /// runtime. No connection is made before there is something to export, and a collector that is away is no error.
    pub fn start(options: TraceOptions) -> Result<Self, TraceError> {
        let Some(config) = options.configure()? else { return Ok(Self::disabled()) };
        let otlp = Otlp::new(&config)?;
        info!(endpoint = config.endpoint.shown(), protocol = config.protocol.name(), "exporting traces");
        Ok(Self::with_exporter(&config, otlp))
    }

    pub(crate) fn with_exporter(config: &Config, exporter: impl Export) -> Self {
        let counts = Counts::default();
        let stop = CancellationToken::new();
        let queue = Arc::new(Queue::new(config.batch.queue, config.batch.batch));
        let batcher = Batcher::new(exporter, config.batch, Arc::clone(&queue), counts.clone(), stop.clone());
        Self(Some(Arc::new(Shared {
            sampler: config.sampler,
            slow_after: config.slow_after,
            limits: config.limits,
            scope: InstrumentationScope::builder("streamfleet").with_version(env!("CARGO_PKG_VERSION")).build(),
            tail: Mutex::default(),
            queue,
            counts,
            stop,
            task: Mutex::new(Some(tokio::spawn(batcher.run()))),
        })))
    }

    /// Whether spans go anywhere. Where they don't, whatever is only for them needn't be done.
    pub fn is_enabled(&self) -> bool {
        self.0.is_some()
    }

    /// Begins a span. Without a parent it is the first of a new trace, and whether that is exported is decided now; with one,
    /// it is part of the parent's trace, and exported if that is (unless the sampler was told not to ask parents).
    pub fn span(&self, name: impl Into<Cow<'static, str>>, parent: Option<TraceContext>) -> Span {
        let Some(shared) = &self.0 else { return Span::disabled(parent) };
        let trace = parent.map_or_else(|| TraceId::from(fastrand::u128(1..)), |parent| parent.trace);
        let context = TraceContext {
            trace,
            span: SpanId::from(fastrand::u64(1..)),
            sampled: shared.sampler.samples(trace, parent),
        };
        Span::start(Arc::clone(shared), context, parent.map(|parent| parent.span), name.into())
    }

    /// Takes a span that is over, as a worker reports it. It is exported or held as one that was made here.
    pub fn record(&self, finished: FinishedSpan) {
        if let Some(shared) = &self.0 {
            shared.finish(finished);
        }
    }

    /// Keeps a trace: exports what is still here of it, and all that is to come of it in the next minute, sampled or not.
    pub fn keep(&self, trace: TraceId) {
        if let Some(shared) = &self.0 {
            let spans = shared.tail().keep(Instant::now(), trace);
            spans.for_each(|span| shared.export(span));
        }
    }

    /// Whether a trace was kept in the last minute.
    pub fn is_kept(&self, trace: TraceId) -> bool {
        self.0.as_ref().is_some_and(|shared| shared.is_kept(trace))
    }

    /// Whether something that takes this long is slow, so that its trace should be kept.
    pub fn is_slow(&self, duration: Duration) -> bool {
        self.0.as_ref().and_then(|shared| shared.slow_after).is_some_and(|limit| duration >= limit)
    }

    /// Exports what is queued, for as long as `limit` at most, and ends. Spans that end later are dropped.
    pub async fn shutdown(&self, limit: Duration) {
        let Some(shared) = &self.0 else { return };
        shared.stop.cancel();
        let task = shared.task.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(mut task) = task else { return };
        if tokio::time::timeout(limit, &mut task).await.is_err() {
            // What it had in hand is counted where its batch is dropped.
            task.abort();
            let _ = task.await;
        }
    }

    /// What has become of spans so far.
    pub fn stats(&self) -> TraceStats {
        self.0.as_ref().map_or_else(TraceStats::default, |shared| TraceStats {
            exported: shared.counts.exported.get(),
            dropped: shared.counts.dropped.get(),
        })
    }

    /// Has these numbers told as metrics.
    pub fn register(&self, registry: &mut Registry) {
        let counts = self.0.as_ref().map(|shared| shared.counts.clone()).unwrap_or_default();
        registry.register("trace_spans_exported", "Spans that were exported", counts.exported);
        registry.register("trace_spans_dropped", "Spans that were given up instead of being exported", counts.dropped);
    }
}

impl fmt::Debug for Tracer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.is_enabled() { "Tracer(enabled)" } else { "Tracer(disabled)" })
    }
}

impl Shared {
    pub(crate) fn is_kept(&self, trace: TraceId) -> bool {
        self.tail().is_kept(Instant::now(), trace)
    }

    /// Exports a span that is over, or holds it.
    pub(crate) fn finish(&self, span: FinishedSpan) {
        let sampled = span.context.sampled;
        let data = self.data(span);
        if sampled {
            self.export(data);
            return;
        }
        let kept = self.tail().take(Instant::now(), data);
        if let Some(data) = kept {
            self.export(data);
        }
    }

    fn export(&self, span: SpanData) {
        if !self.queue.push(span) {
            self.counts.dropped.inc();
        }
    }

    fn tail(&self) -> MutexGuard<'_, Tail> {
        self.tail.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A span as it is exported, with the limits applied.
    fn data(&self, span: FinishedSpan) -> SpanData {
        let limits = &self.limits;
        let (attributes, dropped_attributes_count) = limits.attributes(span.attributes, limits.attributes);
        let mut events = SpanEvents::default();
        events.dropped_count = excess(span.events.len(), limits.events);
        events.events = span
            .events
            .into_iter()
            .take(limits.events)
            .map(|event| {
                let (attributes, dropped) = limits.attributes(event.attributes, limits.event_attributes);
                Event::new(event.name, event.at, attributes, dropped)
            })
            .collect();
        let mut links = SpanLinks::default();
        links.dropped_count = excess(span.links.len(), limits.links);
        links.links = span
            .links
            .into_iter()
            .take(limits.links)
            .map(|to| Link::with_context(span_context(to, to.sampled)))
            .collect();
        SpanData {
            // Only what is exported is seen by anybody, and what is exported is sampled, whenever that was decided.
            span_context: span_context(span.context, true),
            parent_span_id: span.parent.unwrap_or(SpanId::INVALID),
            parent_span_is_remote: span.parent.is_some() && matches!(span.kind, SpanKind::Server | SpanKind::Consumer),
            span_kind: span.kind,
            name: span.name,
            start_time: span.start,
            end_time: span.end,
            attributes,
            dropped_attributes_count,
            events,
            links,
            status: span.error.map_or(Status::Unset, Status::error),
            instrumentation_scope: self.scope.clone(),
        }
    }
}

impl SpanLimits {
    fn attributes(&self, attributes: Vec<(Cow<'static, str>, Value)>, limit: usize) -> (Vec<KeyValue>, u32) {
        let dropped = excess(attributes.len(), limit);
        let kept = attributes.into_iter().take(limit).map(|(key, value)| KeyValue::new(key, self.value(value)));
        (kept.collect(), dropped)
    }

    fn value(&self, value: Value) -> Value {
        match (value, self.value_length) {
            (Value::Text(text), Some(limit)) if text.len() > limit => {
                Value::Text(text.chars().take(limit).collect::<String>().into())
            }
            (value, _) => value,
        }
    }
}

/// By how many there are more than allowed.
fn excess(count: usize, limit: usize) -> u32 {
    u32::try_from(count.saturating_sub(limit)).unwrap_or(u32::MAX)
}

fn span_context(context: TraceContext, sampled: bool) -> SpanContext {
    let flags = if sampled { TraceFlags::SAMPLED } else { TraceFlags::NOT_SAMPLED };
    SpanContext::new(context.trace, context.span, flags, false, TraceState::NONE)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use std::time::SystemTime;

    /// A span about which nothing is special.
    pub(crate) fn span_data(trace: u128, span: u64) -> SpanData {
        let context = TraceContext { trace: trace.into(), span: span.into(), sampled: false };
        SpanData {
            span_context: span_context(context, true),
            parent_span_id: SpanId::INVALID,
            parent_span_is_remote: false,
            span_kind: SpanKind::Internal,
            name: "test".into(),
            start_time: SystemTime::UNIX_EPOCH,
            end_time: SystemTime::UNIX_EPOCH,
            attributes: Vec::new(),
            dropped_attributes_count: 0,
            events: SpanEvents::default(),
            links: SpanLinks::default(),
            status: Status::Unset,
            instrumentation_scope: InstrumentationScope::default(),
        }
    }
}
