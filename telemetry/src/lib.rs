//! What a process tells of its work: traces over OTLP, and metrics in OpenMetrics text.
//!
//! Telling never holds the work up. A span that ends is put into a bounded queue, from which one task exports; where the
//! queue is full, or the collector away, spans are dropped and counted ([`TraceStats`]). A [`Tracer`] that is disabled costs a
//! comparison for each call.
//!
//! Which traces are exported is decided twice: where a trace begins, by the sampler, and again when it turns out to be worth
//! keeping ([`Tracer::keep`]). For that the spans of traces that were not sampled are held for a few seconds.

mod batch;
mod context;
mod environment;
mod exporter;
mod metrics;
mod options;
mod queue;
mod redis;
mod sampler;
mod span;
mod tail;
mod tracer;
mod value;

pub use context::TraceContext;
pub use metrics::{DURATION_BUCKETS, DurationFamily, MetricsPage, duration_family, duration_histogram};
pub use opentelemetry::trace::{SpanId, SpanKind, TraceId};
pub use options::{TraceError, TraceOptions};
pub use prometheus_client;
pub use redis::RedisMetrics;
pub use span::{FinishedSpan, Span, SpanEvent};
pub use tracer::{TraceStats, Tracer};
pub use value::Value;
