//! The public listener: accepts connections, serves them, and lets them end in order.

use std::{io, sync::Arc, time::Duration};

use axum::{
    Extension, Router,
    body::Body,
    extract::{Request, State},
    response::{IntoResponse, Response},
};
use http::header;
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::conn::auto,
    service::TowerToHyperService,
};
use tokio::{
    net::{TcpListener, TcpStream},
    time::{sleep, timeout},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing::{debug, warn};

use crate::{head::Ends, http as plain, upstream::Upstream, websocket};

/// How long a client may take to send a request's headers.
const HEADER_LIMIT: Duration = Duration::from_secs(30);
/// Longest header section taken, in bytes; as long as uvicorn takes for Streamlit.
const MAX_HEADER_BYTES: usize = 64 * 1024;
/// Pause after a failed accept, as when the process is out of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Settings of a gateway.
#[derive(Debug, Clone)]
pub struct GatewayOptions {
    /// How long connections may take to end once the gateway is told to.
    pub shutdown_limit: Duration,
}

impl Default for GatewayOptions {
    fn default() -> Self {
        Self { shutdown_limit: Duration::from_secs(2) }
    }
}

/// Serves browsers.
pub struct Gateway {
    options: GatewayOptions,
    upstream: Arc<Upstream>,
}

/// What each request handler gets.
#[derive(Clone)]
struct Shared {
    upstream: Arc<Upstream>,
    /// Cancelled when WebSockets are to be closed.
    closing: CancellationToken,
    /// WebSockets live on after their connection's task has handed them over.
    websockets: TaskTracker,
}

impl Gateway {
    /// A gateway to these runners.
    pub fn new(options: GatewayOptions, upstream: Upstream) -> Self {
        Self { options, upstream: Arc::new(upstream) }
    }

    /// Serves connections until cancelled; then ends those that are left and returns.
    pub async fn run(self, listener: TcpListener, shutdown: CancellationToken) {
        let shared = Shared { upstream: self.upstream, closing: shutdown.clone(), websockets: TaskTracker::new() };
        let connections = TaskTracker::new();
        let router = Router::new().fallback(handle).with_state(shared.clone());
        loop {
            let accepted = tokio::select! {
                accepted = listener.accept() => accepted,
                () = shutdown.cancelled() => break,
            };
            match accepted {
                Ok((stream, _)) => {
                    connections.spawn(serve(stream, router.clone(), shutdown.clone()));
                }
                Err(error) => {
                    warn!("cannot accept a connection: {error}");
                    sleep(ACCEPT_PAUSE).await;
                }
            }
        }
        drop(listener);
        connections.close();
        shared.websockets.close();
        let ended = async {
            shared.websockets.wait().await;
            connections.wait().await;
        };
        if timeout(self.options.shutdown_limit, ended).await.is_err() {
            debug!("some connections did not end in time");
        }
    }
}

async fn serve(stream: TcpStream, router: Router, shutdown: CancellationToken) {
    let Ok(ends) = ends_of(&stream) else {
        return; // Gone already.
    };
    let service = TowerToHyperService::new(router.layer(Extension(ends)));
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new()).header_read_timeout(HEADER_LIMIT).max_buf_size(MAX_HEADER_BYTES);
    builder.http2().timer(TokioTimer::new()).enable_connect_protocol();
    let connection = builder.serve_connection_with_upgrades(TokioIo::new(stream), service);
    tokio::pin!(connection);
    let outcome = tokio::select! {
        outcome = connection.as_mut() => outcome,
        () = shutdown.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = outcome {
        debug!("a connection failed: {error}");
    }
}

fn ends_of(stream: &TcpStream) -> io::Result<Ends> {
    // Clicks are small and their answers are awaited.
    stream.set_nodelay(true)?;
    Ok(Ends { peer: stream.peer_addr()?, local: stream.local_addr()? })
}

async fn handle(State(shared): State<Shared>, Extension(ends): Extension<Ends>, request: Request<Body>) -> Response {
    let answer = if is_websocket(&request) {
        let (parts, _) = request.into_parts();
        let lifetime = websocket::Lifetime { closing: shared.closing, tracker: shared.websockets };
        websocket::handle(&shared.upstream, ends, parts, lifetime).await
    } else {
        plain::handle(&shared.upstream, ends, request).await
    };
    answer.unwrap_or_else(IntoResponse::into_response)
}

fn is_websocket(request: &Request<Body>) -> bool {
    let upgrade = request.headers().get(header::UPGRADE);
    let asks = upgrade.is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"websocket"));
    asks || request.extensions().get::<hyper::ext::Protocol>().is_some()
}
