//! What arrives, and what becomes of spans when nothing does.

use std::time::{Duration, Instant, SystemTime};

use streamfleet_telemetry::{FinishedSpan, SpanId, SpanKind, TraceContext, TraceId, TraceStats, Value};
use streamfleet_testkit::{certificates::Certificates, otlp::OtlpReceiver};
use tokio::net::TcpListener;

use crate::{MINUTE, PROTOCOLS, options, start, stats};

#[tokio::test]
async fn all_of_a_span_arrives() {
    for protocol in PROTOCOLS {
        let collector = OtlpReceiver::start().await.unwrap();
        let tracer = start(&collector.endpoint(), protocol, &[]);
        let mut root = tracer.span("click", None);
        root.kind(SpanKind::Server);
        root.set("replaced", "before");
        root.set("replaced", "after");
        root.set("bytes", 12_usize);
        root.set("fraction", 0.5);
        root.set("replayed", true);
        let context = root.context().unwrap();
        assert!(context.sampled);
        let mut child = tracer.span("load", root.context());
        child.rename("run");
        child.event("rerun", [("reason", Value::from("widget"))]);
        child.link(TraceContext { trace: TraceId::from(1), span: SpanId::from(2), sampled: true });
        child.fail("the script raised");
        child.fail("and then something else");
        child.end();
        root.end();

        let spans = collector.wait_for("both spans", |spans| spans.len() == 2).await.unwrap();
        let [child, root] = &spans[..] else { panic!("{spans:?}") };
        assert_eq!((root.name.as_str(), root.kind.as_str(), root.service.as_str()), ("click", "Server", "test"));
        assert_eq!((&root.trace, &root.span), (&context.trace.to_string(), &context.span.to_string()));
        assert_eq!((&root.parent, &root.error), (&None, &None));
        let attributes: Vec<_> = root.attributes.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
        assert_eq!(attributes, [("bytes", "12"), ("fraction", "0.5"), ("replaced", "after"), ("replayed", "true")]);
        assert!(root.sampled);
        assert_eq!((child.name.as_str(), child.kind.as_str()), ("run", "Internal"));
        assert_eq!((child.trace.as_str(), child.parent.as_ref()), (root.trace.as_str(), Some(&root.span)));
        assert_eq!(child.error.as_deref(), Some("the script raised"));
        assert_eq!(child.events[0].name, "rerun");
        assert_eq!(child.events[0].attributes["reason"], "widget");
        assert!(child.events[0].at >= child.start && child.events[0].at <= child.end);
        assert_eq!(child.links, [(format!("{:032x}", 1), format!("{:016x}", 2))]);
        assert!(root.start <= child.start && child.end <= root.end);
        assert_eq!(stats(&tracer, |stats| stats.exported == 2).await.dropped, 0);
    }
}

#[tokio::test]
async fn times_can_be_told() {
    let collector = OtlpReceiver::start().await.unwrap();
    let tracer = start(&collector.endpoint(), "grpc", &[]);
    let start = SystemTime::UNIX_EPOCH + Duration::from_nanos(1_700_000_000_123_456_789);
    let mut span = tracer.span("past", None);
    span.started_at(start);
    span.end_at(start + Duration::from_millis(5));
    let mut span = tracer.span("backwards", None);
    span.started_at(start);
    span.end_at(start - Duration::from_secs(5));
    let context = TraceContext { trace: TraceId::from(7), span: SpanId::from(8), sampled: true };
    let mut finished = FinishedSpan::new(context, Some(SpanId::from(9)), "reported", start, start);
    finished.attributes.push((String::from("from.elsewhere").into(), Value::from("yes".to_owned())));
    finished.error = Some("it failed".to_owned());
    tracer.record(finished);

    let spans = collector.wait_for("three spans", |spans| spans.len() == 3).await.unwrap();
    assert_eq!((spans[0].start, spans[0].duration()), (start, Duration::from_millis(5)));
    assert_eq!((spans[1].start, spans[1].duration()), (start, Duration::ZERO));
    assert_eq!((spans[2].span.as_str(), spans[2].parent.as_deref()), ("0000000000000008", Some("0000000000000009")));
    assert_eq!(spans[2].attributes["from.elsewhere"], "yes");
    assert_eq!(spans[2].error.as_deref(), Some("it failed"));
}

#[tokio::test]
async fn tls_is_checked_with_the_certificates_that_are_named() {
    let certificates = Certificates::generate().unwrap();
    let folder = tempfile::tempdir().unwrap();
    certificates.write_to(folder.path()).unwrap();
    let trusted = folder.path().join("ca.pem");
    let strangers = folder.path().join("strangers.pem");
    std::fs::write(&strangers, Certificates::generate().unwrap().authority).unwrap();
    for protocol in PROTOCOLS {
        let collector = OtlpReceiver::start_tls(&certificates).await.unwrap();
        let variables = [("OTEL_EXPORTER_OTLP_CERTIFICATE", trusted.to_str().unwrap())];
        let tracer = start(&collector.endpoint(), protocol, &variables);
        tracer.span("secret", None).end();
        collector.wait_for("the span", |spans| spans.len() == 1).await.unwrap();

        let variables =
            [("OTEL_EXPORTER_OTLP_CERTIFICATE", strangers.to_str().unwrap()), ("OTEL_BSP_EXPORT_TIMEOUT", "0")];
        let tracer = start(&collector.endpoint(), protocol, &variables);
        tracer.span("betrayed", None).end();
        stats(&tracer, |stats| stats.dropped == 1).await;
        assert_eq!(collector.spans().len(), 1);
    }
}

#[tokio::test]
async fn a_full_queue_drops_and_counts() {
    // Takes connections and never says a word.
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}", silent.local_addr().unwrap());
    for protocol in PROTOCOLS {
        let variables = [("OTEL_BSP_MAX_QUEUE_SIZE", "16"), ("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "8")];
        let tracer = start(&endpoint, protocol, &variables);
        let began = Instant::now();
        for _ in 0..10_000 {
            tracer.span("lost", None).end();
        }
        assert!(began.elapsed() < Duration::from_secs(2), "spans wait for the collector: {:?}", began.elapsed());
        let dropped = tracer.stats().dropped;
        assert!((10_000 - 16 - 8..10_000).contains(&dropped), "{dropped}");
        // What is still there is lost when there is no more time for it.
        tracer.shutdown(Duration::from_millis(100)).await;
        assert_eq!(tracer.stats(), TraceStats { exported: 0, dropped: 10_000 });
        tracer.span("late", None).end();
        assert_eq!(tracer.stats().dropped, 10_001);
    }
}

#[tokio::test]
async fn a_collector_that_comes_back_misses_nothing() {
    for protocol in PROTOCOLS {
        let collector = OtlpReceiver::start().await.unwrap();
        let (address, endpoint) = (collector.address(), collector.endpoint());
        let tracer = start(&endpoint, protocol, &[]);
        tracer.span("before", None).end();
        collector.wait_for("the span", |spans| spans.len() == 1).await.unwrap();
        drop(collector);
        for _ in 0..10 {
            tracer.span("meanwhile", None).end();
        }
        // Long enough for an attempt to fail.
        tokio::time::sleep(Duration::from_millis(200)).await;
        let collector = OtlpReceiver::start_at(address).await.unwrap();
        tracer.span("after", None).end();
        let spans = collector.wait_for("all spans", |spans| spans.len() == 11).await.unwrap();
        assert_eq!(spans.iter().filter(|span| span.name == "meanwhile").count(), 10);
        assert_eq!(stats(&tracer, |stats| stats.exported == 12).await.dropped, 0);
    }
}

#[tokio::test]
async fn a_collector_that_stays_away_costs_spans() {
    for protocol in PROTOCOLS {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        drop(listener);
        let tracer = start(&endpoint, protocol, &[("OTEL_BSP_EXPORT_TIMEOUT", "100")]);
        tracer.span("lost", None).end();
        assert_eq!(stats(&tracer, |stats| stats.dropped == 1).await.exported, 0);
    }
}

#[tokio::test]
async fn what_is_queued_is_exported_at_the_end() {
    for protocol in PROTOCOLS {
        let collector = OtlpReceiver::start().await.unwrap();
        let tracer = start(
            &collector.endpoint(),
            protocol,
            &[("OTEL_BSP_SCHEDULE_DELAY", "3600000"), ("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "64")],
        );
        let clone = tracer.clone();
        for _ in 0..1000 {
            tracer.span("queued", None).end();
        }
        clone.shutdown(MINUTE).await;
        assert_eq!(tracer.stats(), TraceStats { exported: 1000, dropped: 0 });
        assert_eq!(collector.spans().len(), 1000);
        tracer.shutdown(MINUTE).await;
    }
}

#[tokio::test]
async fn requests_carry_headers_and_resource() {
    for protocol in PROTOCOLS {
        let collector = OtlpReceiver::start().await.unwrap();
        let mut options = options(
            &collector.endpoint(),
            protocol,
            &[
                ("OTEL_EXPORTER_OTLP_HEADERS", "authorization=Bearer%20abc=,x-tenant=blue"),
                ("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment.name=test%2C1,service.version=9"),
                ("OTEL_SERVICE_NAME", "named"),
            ],
        );
        options.resource = [("service.instance.id", "runner-1"), ("service.version", "1")]
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
            .to_vec();
        let tracer = streamfleet_telemetry::Tracer::start(options).unwrap();
        tracer.span("x", None).end();
        let spans = collector.wait_for("the span", |spans| spans.len() == 1).await.unwrap();
        let span = &spans[0];
        assert_eq!(span.headers["authorization"], "Bearer abc=");
        assert_eq!(span.headers["x-tenant"], "blue");
        assert_eq!(span.service, "named");
        for (key, value) in [
            ("service.instance.id", "runner-1"),
            ("service.version", "9"),
            ("deployment.environment.name", "test,1"),
            ("telemetry.sdk.language", "rust"),
        ] {
            assert_eq!(span.resource[key], value, "{key}");
        }
    }
}
