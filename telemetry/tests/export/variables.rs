//! OpenTelemetry's environment variables.

use std::collections::HashMap;

use streamfleet_telemetry::{TraceContext, TraceOptions, Tracer};
use streamfleet_testkit::otlp::OtlpReceiver;

use crate::start;

fn from_variables(variables: &[(&str, &str)]) -> Result<Tracer, String> {
    let environment: HashMap<_, _> =
        variables.iter().map(|&(name, value)| (name.to_owned(), value.to_owned())).collect();
    let options = TraceOptions { service_name: "test".to_owned(), environment, ..TraceOptions::default() };
    Tracer::start(options).map_err(|error| error.to_string())
}

const ENDPOINT: (&str, &str) = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:9");

#[tokio::test]
async fn there_are_no_traces_unless_they_are_wanted() {
    for variables in [
        &[][..],
        &[("OTEL_EXPORTER_OTLP_ENDPOINT", "")],
        &[ENDPOINT, ("OTEL_SDK_DISABLED", "true")],
        &[ENDPOINT, ("OTEL_TRACES_EXPORTER", "none")],
        &[("OTEL_TRACES_SAMPLER", "always_on")],
    ] {
        assert!(!from_variables(variables).unwrap().is_enabled(), "{variables:?}");
    }
    for variables in [
        &[ENDPOINT][..],
        &[("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://127.0.0.1:9")],
        &[ENDPOINT, ("OTEL_SDK_DISABLED", "False"), ("OTEL_TRACES_EXPORTER", "otlp")],
    ] {
        assert!(from_variables(variables).unwrap().is_enabled(), "{variables:?}");
    }
}

#[tokio::test]
async fn a_value_that_can_not_be_is_named_with_what_can() {
    for (name, value, allowed) in [
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "collector:4317", "http://HOST:4317"),
        ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "ftp://collector", "http://HOST:4317"),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/json", "grpc or http/protobuf"),
        ("OTEL_EXPORTER_OTLP_TRACES_TIMEOUT", "10s", "a number of milliseconds"),
        ("OTEL_TRACES_EXPORTER", "zipkin", "otlp or none"),
        ("OTEL_TRACES_SAMPLER", "sometimes", "traceidratio"),
        ("OTEL_SDK_DISABLED", "perhaps", "true or false"),
        ("OTEL_BSP_MAX_QUEUE_SIZE", "0", "a number from 1"),
        ("OTEL_SPAN_EVENT_COUNT_LIMIT", "-1", "a number"),
        ("OTEL_RESOURCE_ATTRIBUTES", "a", "name=value"),
        ("OTEL_EXPORTER_OTLP_CERTIFICATE", "/nowhere/ca.pem", "/nowhere/ca.pem"),
    ] {
        let error = from_variables(&[ENDPOINT, (name, value)]).unwrap_err();
        assert!(error.contains(name) && error.contains(value) && error.contains(allowed), "{error}");
    }
    let ratio = [ENDPOINT, ("OTEL_TRACES_SAMPLER", "traceidratio"), ("OTEL_TRACES_SAMPLER_ARG", "2")];
    let error = from_variables(&ratio).unwrap_err();
    assert!(error.contains("OTEL_TRACES_SAMPLER_ARG") && error.contains("from 0 to 1"), "{error}");
    let error = from_variables(&[ENDPOINT, ("OTEL_EXPORTER_OTLP_HEADERS", "hunter2")]).unwrap_err();
    assert!(error.contains("OTEL_EXPORTER_OTLP_HEADERS") && !error.contains("hunter2"), "{error}");
}

#[tokio::test]
async fn a_file_without_certificates_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("empty.pem");
    std::fs::write(&file, "").unwrap();
    let variables = [
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "https://127.0.0.1:9"),
        ("OTEL_EXPORTER_OTLP_CERTIFICATE", file.to_str().unwrap()),
    ];
    let error = from_variables(&variables).unwrap_err();
    assert!(error.contains("no certificate"), "{error}");
}

#[tokio::test]
async fn an_endpoint_for_traces_alone_is_taken_as_it_is() {
    let collector = OtlpReceiver::start().await.unwrap();
    let endpoint = format!("{}/v1/traces", collector.endpoint());
    let variables = [
        ENDPOINT,
        ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", endpoint.as_str()),
        ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "http/protobuf"),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc"),
        ("OTEL_BSP_SCHEDULE_DELAY", "0"),
    ];
    let tracer = from_variables(&variables).unwrap();
    tracer.span("x", None).end();
    collector.wait_for("the span", |spans| spans.len() == 1).await.unwrap();
}

#[tokio::test]
async fn samplers_sample() {
    let parent = |sampled| TraceContext { trace: 1.into(), span: 2.into(), sampled };
    let collector = OtlpReceiver::start().await.unwrap();
    for (sampler, ratio, root, of_sampled, of_unsampled) in [
        ("always_on", "", true, true, true),
        ("always_off", "", false, false, false),
        ("traceidratio", "1", true, true, true),
        ("traceidratio", "0", false, false, false),
        ("parentbased_always_on", "", true, true, false),
        ("parentbased_always_off", "", false, true, false),
        ("parentbased_traceidratio", "0.0", false, true, false),
        ("parentbased_traceidratio", "", true, true, false),
    ] {
        let variables = [("OTEL_TRACES_SAMPLER", sampler), ("OTEL_TRACES_SAMPLER_ARG", ratio)];
        let tracer = start(&collector.endpoint(), "grpc", &variables);
        let sampled = |parent| tracer.span("x", parent).context().unwrap().sampled;
        let found = (sampled(None), sampled(Some(parent(true))), sampled(Some(parent(false))));
        assert_eq!(found, (root, of_sampled, of_unsampled), "{sampler} {ratio}");
    }
}

#[tokio::test]
async fn spans_have_their_limits() {
    let collector = OtlpReceiver::start().await.unwrap();
    let variables = [
        ("OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT", "2"),
        ("OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT", "3"),
        ("OTEL_SPAN_EVENT_COUNT_LIMIT", "1"),
        ("OTEL_SPAN_LINK_COUNT_LIMIT", "0"),
    ];
    let tracer = start(&collector.endpoint(), "grpc", &variables);
    let mut span = tracer.span("x", None);
    for key in ["a", "b", "c", "d"] {
        span.set(key, "äöüß");
        span.event(key, []);
    }
    span.link(span.context().unwrap());
    span.end();
    let spans = collector.wait_for("the span", |spans| spans.len() == 1).await.unwrap();
    let span = &spans[0];
    let attributes: Vec<_> = span.attributes.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
    assert_eq!(attributes, [("a", "äöü"), ("b", "äöü")]);
    assert_eq!((span.events.len(), span.links.len(), span.dropped), (1, 0, 2 + 3 + 1));
}

#[tokio::test]
async fn a_disabled_tracer_does_nothing_and_passes_contexts_on() {
    let tracer = Tracer::disabled();
    let parent = TraceContext { trace: 1.into(), span: 2.into(), sampled: true };
    assert_eq!(tracer.span("x", None).context(), None);
    let mut span = tracer.span("x", Some(parent));
    assert_eq!(span.context(), Some(parent));
    span.set("a", 1);
    span.fail("no");
    tracer.keep(parent.trace);
    assert!(!tracer.is_enabled() && !span.is_recording() && !tracer.is_kept(parent.trace));
    span.end();
    assert_eq!(tracer.stats(), streamfleet_telemetry::TraceStats::default());
    tracer.shutdown(crate::MINUTE).await;
}
