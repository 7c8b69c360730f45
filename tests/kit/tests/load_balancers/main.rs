//! The load-balancer examples of `infra/load-balancers`, each before two stand-ins for gateways.
#![allow(clippy::unwrap_used)] // In a test, a panic is the report.
#![allow(unreachable_pub)] // Nothing outside sees any of it.

mod gateway;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::Ordering;
use std::time::Duration;

use anyhow::ensure;
use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use http::{HeaderMap, Method};
use streamfleet_testkit::http::{Response, get, request};
use streamfleet_testkit::process::free_port;
use streamfleet_testkit::proxy::ReverseProxy;
use streamfleet_testkit::wait::until;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_tungstenite::WebSocketStream;

use gateway::Gateway;

const LIMIT: Duration = Duration::from_secs(30);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Nginx,
    HaProxy,
}

/// A load balancer with its two gateways.
struct Fleet {
    proxy: ReverseProxy,
    gateways: [Gateway; 2],
}

impl Fleet {
    async fn start(kind: Kind) -> Self {
        let gateways = [Gateway::start("one").await, Gateway::start("two").await];
        let addresses = gateways.each_ref().map(|gateway| (gateway.public, gateway.admin));
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../infra/load-balancers");
        let proxy = match kind {
            Kind::Nginx => ReverseProxy::nginx(&folder.join("nginx.conf"), free_port(), &addresses).await,
            Kind::HaProxy => ReverseProxy::haproxy(&folder.join("haproxy.cfg"), free_port(), &addresses).await,
        };
        Self { proxy: proxy.unwrap(), gateways }
    }

    async fn get(&self, path: &str) -> Response {
        get(self.proxy.endpoint(), path, HeaderMap::new()).await.unwrap()
    }

    /// Who answers a plain request.
    async fn answers(&self) -> String {
        let answer = self.get("/who").await;
        assert_eq!(answer.status, 200);
        answer.header("x-gateway").unwrap().to_owned()
    }

    /// Opens a WebSocket and says who is at its other end.
    async fn socket(&self) -> (WebSocketStream<TcpStream>, String) {
        let authority = &self.proxy.endpoint().authority;
        let stream = TcpStream::connect(authority).await.unwrap();
        let url = format!("ws://{authority}/base/_stcore/stream");
        let (mut socket, _) = tokio_tungstenite::client_async(url, stream).await.unwrap();
        let name = socket.next().await.unwrap().unwrap().into_text().unwrap().to_string();
        (socket, name)
    }

    async fn stream(&self, head: &str) -> TcpStream {
        let mut stream = TcpStream::connect(&self.proxy.endpoint().authority).await.unwrap();
        stream.write_all(head.as_bytes()).await.unwrap();
        stream
    }
}

async fn echoes(socket: &mut WebSocketStream<TcpStream>) {
    socket.send("hello".into()).await.unwrap();
    assert_eq!(socket.next().await.unwrap().unwrap().into_text().unwrap(), "hello");
}

async fn reads_until(stream: &mut TcpStream, end: &str) {
    let mut read = Vec::new();
    while !String::from_utf8_lossy(&read).ends_with(end) {
        let mut chunk = [0; 4096];
        let length = tokio::time::timeout(LIMIT, stream.read(&mut chunk)).await.unwrap().unwrap();
        assert_ne!(length, 0, "ended after {}", String::from_utf8_lossy(&read));
        read.extend_from_slice(&chunk[..length]);
    }
}

async fn balances_and_says_who_asks(kind: Kind) {
    let fleet = Fleet::start(kind).await;
    let (mut sockets, mut counts) = (Vec::new(), BTreeMap::new());
    for _ in 0..6 {
        let (mut socket, name) = fleet.socket().await;
        echoes(&mut socket).await;
        sockets.push(socket);
        *counts.entry(name).or_insert(0) += 1;
    }
    assert_eq!(counts.into_values().collect::<Vec<_>>(), [3, 3], "WebSockets on each gateway");

    let mut headers = HeaderMap::new();
    headers.insert("x-forwarded-for", "203.0.113.9".parse().unwrap());
    let answer = get(fleet.proxy.endpoint(), "/base/who", headers).await.unwrap();
    let heard = String::from_utf8_lossy(&answer.body);
    let authority = &fleet.proxy.endpoint().authority;
    for line in [
        format!("host: {authority}\n"),
        format!("x-forwarded-host: {authority}\n"),
        "x-forwarded-for: 127.0.0.1\n".to_owned(),
        "x-forwarded-proto: http\n".to_owned(),
    ] {
        assert!(heard.contains(&line), "{line} is not in:\n{heard}");
    }
    assert!(!heard.contains("203.0.113.9"), "a client's claim gets through:\n{heard}");
}

async fn streams_both_ways(kind: Kind) {
    const SIZE: usize = 20 << 20;
    let fleet = Fleet::start(kind).await;
    let mut upload =
        fleet.stream(&format!("PUT /upload HTTP/1.1\r\nHost: app\r\nContent-Length: {SIZE}\r\n\r\n")).await;
    upload.write_all(&vec![1; SIZE / 2]).await.unwrap();
    // All of the first half arrives before there is a second.
    until("half of the upload", LIMIT, async || {
        let uploaded: usize = fleet.gateways.iter().map(|gateway| *gateway.state.uploaded.borrow()).sum();
        ensure!(uploaded == SIZE / 2, "{uploaded} bytes");
        Ok(())
    })
    .await
    .unwrap();
    upload.write_all(&vec![1; SIZE / 2]).await.unwrap();
    reads_until(&mut upload, &SIZE.to_string()).await;

    let mut download = fleet.stream("GET /drip HTTP/1.1\r\nHost: app\r\n\r\n").await;
    reads_until(&mut download, "drip\r\n").await;
    fleet.gateways.iter().for_each(|gateway| gateway.state.drip.notify_one());
    reads_until(&mut download, "drip\r\n0\r\n\r\n").await;
}

async fn goes_on_after_a_crash(kind: Kind) {
    let mut fleet = Fleet::start(kind).await;
    // Leave idle connections to both, which a crash breaks.
    for _ in 0..4 {
        fleet.answers().await;
    }
    fleet.gateways[0].crash().await;
    for _ in 0..6 {
        assert_eq!(fleet.answers().await, "two");
        let created =
            request(fleet.proxy.endpoint(), Method::POST, "/new", HeaderMap::new(), Bytes::new()).await.unwrap();
        assert_eq!((created.status.as_u16(), created.header("x-gateway")), (201, Some("two")));
        let (mut socket, name) = fleet.socket().await;
        assert_eq!(name, "two");
        echoes(&mut socket).await;
    }
}

async fn leaves_a_gateway_that_drains(kind: Kind) {
    let fleet = Fleet::start(kind).await;
    let (mut first, mut second) = (fleet.socket().await, fleet.socket().await);
    if first.1 == "two" {
        std::mem::swap(&mut first, &mut second);
    }
    fleet.gateways[0].drain();
    match kind {
        // It doesn't look for itself; but what a browser asks first is answered by another gateway.
        Kind::Nginx => {
            for _ in 0..6 {
                assert_eq!(fleet.get("/base/_stcore/health").await.status, 200);
            }
        }
        Kind::HaProxy => {
            until("the load balancer to notice", LIMIT, async || {
                for _ in 0..6 {
                    ensure!(fleet.answers().await == "two");
                }
                Ok(())
            })
            .await
            .unwrap();
            assert_eq!(fleet.socket().await.1, "two");
        }
    }
    // Whoever is connected stays connected.
    echoes(&mut first.0).await;
}

async fn repeats_only_what_changes_nothing(kind: Kind) {
    let fleet = Fleet::start(kind).await;
    let asked = || fleet.gateways.iter().map(|gateway| gateway.state.vanished.load(Ordering::Relaxed)).sum::<usize>();
    let post =
        request(fleet.proxy.endpoint(), Method::POST, "/vanish", HeaderMap::new(), Bytes::from("x")).await.unwrap();
    assert_eq!((post.status.as_u16(), asked()), (502, 1));
    let fleet = Fleet::start(kind).await;
    let asked =
        || fleet.gateways.iter().map(|gateway| gateway.state.vanished.load(Ordering::Relaxed)).collect::<Vec<_>>();
    assert_eq!(fleet.get("/vanish").await.status, 502);
    assert!(asked().iter().all(|asked| *asked > 0), "{:?}", asked());
}

macro_rules! for_each_kind {
    ($($test:ident),* $(,)?) => {
        mod nginx {
            $(#[tokio::test]
            async fn $test() {
                super::$test(super::Kind::Nginx).await;
            })*
        }
        mod haproxy {
            $(#[tokio::test]
            async fn $test() {
                super::$test(super::Kind::HaProxy).await;
            })*
        }
    };
}

for_each_kind!(
    balances_and_says_who_asks,
    streams_both_ways,
    goes_on_after_a_crash,
    leaves_a_gateway_that_drains,
    repeats_only_what_changes_nothing,
);
