//! Traces that were not sampled where they began.

use streamfleet_telemetry::TraceContext;
use streamfleet_testkit::otlp::OtlpReceiver;

use crate::{start, stats};

const NEVER: [(&str, &str); 1] = [("OTEL_TRACES_SAMPLER", "parentbased_always_off")];

#[tokio::test]
async fn what_is_kept_after_the_fact_is_exported_with_what_follows() {
    let collector = OtlpReceiver::start().await.unwrap();
    let tracer = start(&collector.endpoint(), "grpc", &NEVER);
    let other = tracer.span("of another trace", None);
    let root = tracer.span("click", None);
    let context = root.context().unwrap();
    assert!(!context.sampled);
    tracer.span("before", Some(context)).end();
    tracer.keep(context.trace);
    assert!(tracer.is_kept(context.trace));
    // Who is told of the trace from now on exports it as well.
    assert!(root.context().unwrap().sampled);
    let child = tracer.span("after", root.context());
    assert!(child.context().unwrap().sampled);
    child.end();
    root.end();
    assert!(!other.context().unwrap().sampled);
    other.end();
    tracer.span("sentinel", Some(TraceContext { sampled: true, ..context })).end();

    let spans =
        collector.wait_for("the sentinel", |spans| spans.iter().any(|span| span.name == "sentinel")).await.unwrap();
    let names: Vec<_> = spans.iter().map(|span| span.name.as_str()).collect();
    assert_eq!(names, ["before", "after", "click", "sentinel"]);
    for span in &spans {
        assert!(span.sampled, "{span:?}");
        assert_eq!(span.trace, context.trace.to_string());
    }
    assert_eq!(stats(&tracer, |stats| stats.exported == 4).await.dropped, 0);
}

#[tokio::test]
async fn a_parent_elsewhere_decides() {
    let collector = OtlpReceiver::start().await.unwrap();
    let tracer = start(&collector.endpoint(), "grpc", &NEVER);
    let remote = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-0";
    let context = |flag| TraceContext::from_traceparent(&format!("{remote}{flag}"));
    tracer.span("not sampled", context('0')).end();
    tracer.span("sampled", context('1')).end();
    let spans = collector.wait_for("a span", |spans| !spans.is_empty()).await.unwrap();
    assert_eq!(spans.len(), 1);
    assert_eq!(spans[0].name, "sampled");
    assert_eq!(spans[0].trace, "4bf92f3577b34da6a3ce929d0e0e4736");
    assert_eq!(spans[0].parent.as_deref(), Some("00f067aa0ba902b7"));
    tracer.keep(context('0').unwrap().trace);
    collector.wait_for("the other", |spans| spans.len() == 2).await.unwrap();
}
