//! Spans on their way to a collector: over each protocol, with and without TLS, past one that is away, and what is kept of traces
//! that were not sampled.
#![allow(clippy::unwrap_used, clippy::expect_used)] // In a test, a panic is the report.

mod delivery;
mod keeping;
mod variables;

use std::time::Duration;

use streamfleet_telemetry::{TraceOptions, TraceStats, Tracer};

/// Longer than anything takes.
const MINUTE: Duration = Duration::from_mins(1);

/// Both protocols, as they are named in the variables.
const PROTOCOLS: [&str; 2] = ["grpc", "http/protobuf"];

/// Options with these variables. Spans don't wait for others.
fn options(endpoint: &str, protocol: &str, variables: &[(&str, &str)]) -> TraceOptions {
    let mut environment = vec![("OTEL_EXPORTER_OTLP_PROTOCOL", protocol), ("OTEL_BSP_SCHEDULE_DELAY", "0")];
    environment.extend(variables);
    TraceOptions {
        service_name: "test".to_owned(),
        endpoint: Some(endpoint.to_owned()),
        environment: environment.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect(),
        ..TraceOptions::default()
    }
}

fn start(endpoint: &str, protocol: &str, variables: &[(&str, &str)]) -> Tracer {
    Tracer::start(options(endpoint, protocol, variables)).unwrap()
}

/// Waits until this is true of what has become of spans.
async fn stats(tracer: &Tracer, awaited: impl Fn(TraceStats) -> bool) -> TraceStats {
    let probe = async || {
        let stats = tracer.stats();
        anyhow::ensure!(awaited(stats), "{stats:?}");
        Ok(stats)
    };
    streamfleet_testkit::wait::until("the spans' fate", MINUTE, probe).await.unwrap()
}
