//! A stand-in for a gateway, which says who it is and what it was asked.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use anyhow::{Result, bail};
use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use http::{Method, Request, Response, StatusCode, header};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;
use tokio::sync::{Notify, watch};
use tokio::task::JoinSet;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::Role;

type Body = BoxBody<Bytes, Infallible>;

/// Serves `/readyz`, `/_stcore/health`, `/upload`, `/drip`, `/vanish` and WebSockets; answers all else with what it heard.
pub struct Gateway {
    pub public: SocketAddr,
    pub admin: SocketAddr,
    pub state: Arc<State>,
    tasks: JoinSet<()>,
}

pub struct State {
    name: &'static str,
    /// Whether the health routes answer 200.
    ready: AtomicBool,
    /// How many bytes of uploads came in.
    pub uploaded: watch::Sender<usize>,
    /// Lets `/drip` go on to its second half.
    pub drip: Notify,
    /// How often `/vanish` was asked for.
    pub vanished: AtomicUsize,
}

impl Gateway {
    pub async fn start(name: &'static str) -> Self {
        let state = Arc::new(State {
            name,
            ready: true.into(),
            uploaded: watch::Sender::new(0),
            drip: Notify::new(),
            vanished: 0.into(),
        });
        let mut tasks = JoinSet::new();
        let mut addresses = Vec::new();
        for _ in 0..2 {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            addresses.push(listener.local_addr().unwrap());
            tasks.spawn(serve(listener, Arc::clone(&state)));
        }
        Self { public: addresses[0], admin: addresses[1], state, tasks }
    }

    /// Says that it is about to stop.
    pub fn drain(&self) {
        self.state.ready.store(false, Ordering::Relaxed);
    }

    /// Is gone, as after a crash.
    pub async fn crash(&mut self) {
        self.tasks.shutdown().await;
    }
}

async fn serve(listener: TcpListener, state: Arc<State>) {
    let mut connections = JoinSet::new();
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        let state = Arc::clone(&state);
        let service = service_fn(move |request| answer(request, Arc::clone(&state)));
        let connection = http1::Builder::new().serve_connection(TokioIo::new(stream), service).with_upgrades();
        connections.spawn(async move { drop(connection.await) });
    }
}

async fn answer(mut request: Request<Incoming>, state: Arc<State>) -> Result<Response<Body>> {
    if let Some(key) = request.headers().get(header::SEC_WEBSOCKET_KEY) {
        let accept = derive_accept_key(key.as_bytes());
        tokio::spawn(echo(hyper::upgrade::on(&mut request), state));
        let answer = Response::builder().status(StatusCode::SWITCHING_PROTOCOLS);
        let answer = answer.header(header::CONNECTION, "upgrade").header(header::UPGRADE, "websocket");
        return Ok(answer.header(header::SEC_WEBSOCKET_ACCEPT, accept).body(text(String::new()))?);
    }
    let answer = Response::builder().header("x-gateway", state.name);
    match request.uri().path() {
        "/readyz" | "/base/_stcore/health" => {
            let ready = state.ready.load(Ordering::Relaxed);
            Ok(answer.status(if ready { 200 } else { 503 }).body(text(String::new()))?)
        }
        "/upload" => {
            let mut body = request.into_body();
            while let Some(frame) = body.frame().await {
                let length = frame?.data_ref().map_or(0, Bytes::len);
                state.uploaded.send_modify(|total| *total += length);
            }
            Ok(answer.body(text(state.uploaded.borrow().to_string()))?)
        }
        "/drip" => {
            let halves = futures_util::stream::unfold(0, move |half| {
                let state = Arc::clone(&state);
                async move {
                    if half == 1 {
                        state.drip.notified().await;
                    }
                    (half < 2).then(|| (Ok(Frame::data(Bytes::from_static(b"drip"))), half + 1))
                }
            });
            Ok(answer.body(BodyExt::boxed(StreamBody::new(halves)))?)
        }
        "/vanish" => {
            state.vanished.fetch_add(1, Ordering::Relaxed);
            bail!("closes the connection without an answer")
        }
        _ => {
            let heard = request.headers().iter().map(|(name, value)| format!("{name}: {}\n", value.to_str().unwrap()));
            let answer = if request.method() == Method::POST { answer.status(201) } else { answer };
            Ok(answer.body(text(heard.collect()))?)
        }
    }
}

/// Greets with its name, and then returns every message.
async fn echo(upgrade: hyper::upgrade::OnUpgrade, state: Arc<State>) {
    let Ok(upgraded) = upgrade.await else { return };
    let mut socket = WebSocketStream::from_raw_socket(TokioIo::new(upgraded), Role::Server, None).await;
    let mut next = Some(Ok(state.name.into()));
    while let Some(Ok(message)) = next {
        if socket.send(message).await.is_err() {
            return;
        }
        next = socket.next().await;
    }
}

fn text(text: String) -> Body {
    Full::from(text).boxed()
}
