//! Traces through a collector that is not ours, by both of OTLP's ways.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use streamfleet_testkit::browser::Browser;
use streamfleet_testkit::otlp::{OtlpReceiver, ReceivedSpan};
use streamfleet_testkit::process::{Launch, Server, free_port, python};
use streamfleet_testkit::wait;
use tokio::net::TcpStream;

use crate::cluster::fleet::FleetLaunch;
use crate::server::{LIMIT, click};

/// Rotel, which takes spans apart and puts them together again on their way to a receiver.
struct Rotel {
    _server: Server,
    grpc: u16,
    http: u16,
}

impl Rotel {
    async fn start(receiver: &OtlpReceiver) -> Self {
        let (grpc, http) = (free_port(), free_port());
        let server = Launch::program(program(), Path::new("/"), http)
            .args(["start", "--exporter", "otlp", "--otlp-exporter-protocol", "http"])
            .args(["--otlp-exporter-endpoint", &receiver.endpoint()])
            .args(["--otlp-grpc-endpoint", &format!("127.0.0.1:{grpc}")])
            .args(["--otlp-http-endpoint", &format!("127.0.0.1:{http}")])
            .args(["--batch-timeout", "100ms"])
            .spawn()
            .unwrap();
        for port in [grpc, http] {
            let connect = async || Ok(TcpStream::connect(("127.0.0.1", port)).await?);
            wait::until("the collector to listen", LIMIT, connect).await.unwrap();
        }
        Self { _server: server, grpc, http }
    }
}

/// It comes as a Python package.
fn program() -> PathBuf {
    let find = "import os, rotel; print(os.path.dirname(rotel.__file__))";
    let output = std::process::Command::new(python()).args(["-c", find]).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Path::new(String::from_utf8(output.stdout).unwrap().trim()).join("rotel-agent")
}

/// Whether each span's parent has come too, and each trace has one beginning.
fn is_whole(spans: &[ReceivedSpan]) -> bool {
    let known: HashSet<_> = spans.iter().map(|span| (&span.trace, &span.span)).collect();
    let traces: HashSet<_> = spans.iter().map(|span| &span.trace).collect();
    let roots = spans.iter().filter(|span| span.parent.is_none()).count();
    roots == traces.len()
        && spans.iter().all(|span| span.parent.as_ref().is_none_or(|parent| known.contains(&(&span.trace, parent))))
}

async fn through_rotel(protocol: &'static str) {
    const CLICKS: usize = 20;
    let receiver = OtlpReceiver::start().await.unwrap();
    let rotel = Rotel::start(&receiver).await;
    let port = if protocol == "grpc" { rotel.grpc } else { rotel.http };
    let mut launch = FleetLaunch::new("clicks");
    (launch.runners, launch.gateways) = (2, 2);
    launch.everywhere = vec![
        ("OTEL_EXPORTER_OTLP_ENDPOINT", format!("http://127.0.0.1:{port}")),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", protocol.to_owned()),
        ("OTEL_BSP_SCHEDULE_DELAY", "200".to_owned()),
    ];
    let fleet = launch.start().await;
    let mut browser = Browser::open(&fleet.endpoint()).await.unwrap();
    for _ in 0..CLICKS {
        click(&mut browser).await.unwrap();
    }
    let named = |spans: &[ReceivedSpan], name: &str| spans.iter().filter(|span| span.name == name).count();
    let spans = receiver
        .wait_for("all clicks", |spans| {
            // The opening of the page is a message as well.
            named(spans, "interaction") == CLICKS + 1 && named(spans, "snapshot") == CLICKS + 1 && is_whole(spans)
        })
        .await
        .unwrap();
    assert_eq!(named(&spans, "run /"), CLICKS + 1);
    for span in &spans {
        assert!(span.resource.contains_key("service.instance.id"), "{span:?}");
        let kind = match span.name.as_str() {
            "interaction" | "run /" => "Server",
            "attach" => "Client",
            _ => continue,
        };
        assert_eq!(span.kind, kind, "{span:?}");
    }
    let services: HashSet<_> = spans.iter().map(|span| span.service.as_str()).collect();
    assert_eq!(services, HashSet::from(["streamfleet-gateway", "streamfleet-runner"]));
}

#[tokio::test]
async fn another_collector_understands_all_of_it_by_grpc() {
    through_rotel("grpc").await;
}

#[tokio::test]
async fn another_collector_understands_all_of_it_by_http() {
    through_rotel("http/protobuf").await;
}
