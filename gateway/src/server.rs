//! The public listener: accepts connections, serves them, and lets them end in order.

use std::{io, sync::Arc, time::Duration};

use axum::{
    Extension, Router,
    body::Body,
    extract::{Request, State},
    response::{IntoResponse, Response},
};
use http::{StatusCode, header};
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
use tracing::{debug, info, warn};

use crate::{
    browser::GOING_AWAY, closing::Closing, error::SERVICE_RESTART, head::Ends, http as plain, upstream::Upstream,
    websocket,
};

/// How long a client may take to send a request's headers.
const HEADER_LIMIT: Duration = Duration::from_secs(30);
/// Longest header section taken, in bytes; as long as uvicorn takes for Streamlit.
const MAX_HEADER_BYTES: usize = 64 * 1024;
/// Pause after a failed accept, as when the process is out of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Settings of a gateway.
#[derive(Debug, Clone)]
pub struct GatewayOptions {
    /// How long to go on as before after being told to stop, so that load balancers can notice that it is about to.
    pub notice: Duration,
    /// Over how long a time WebSockets are then closed.
    pub spread: Duration,
    /// What browsers are told then (RFC 6455, section 7.4).
    pub close_code: u16,
    /// How long everything else may take to end after that.
    pub shutdown_limit: Duration,
}

impl GatewayOptions {
    /// For a gateway that is all there is: it ends at once.
    pub fn alone() -> Self {
        Self {
            notice: Duration::ZERO,
            spread: Duration::ZERO,
            close_code: GOING_AWAY,
            shutdown_limit: Duration::from_secs(2),
        }
    }

    /// For one of several: its browsers go to the others.
    pub fn replicated(notice: Duration, spread: Duration) -> Self {
        Self { notice, spread, close_code: SERVICE_RESTART, shutdown_limit: Duration::from_secs(30) }
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
    /// Cancelled when no more browsers should be sent here.
    leaving: CancellationToken,
    closing: Closing,
    /// WebSockets live on after their connection's task has handed them over.
    websockets: TaskTracker,
}

impl Gateway {
    /// A gateway to these runners.
    pub fn new(options: GatewayOptions, upstream: Arc<Upstream>) -> Self {
        Self { options, upstream }
    }

    /// Serves connections until cancelled; then gives notice, ends those that are left and returns.
    pub async fn run(self, listener: TcpListener, shutdown: CancellationToken) {
        let Self { options, upstream } = self;
        let closing = Closing::new(options.spread, options.close_code);
        let shared =
            Shared { upstream, leaving: shutdown.clone(), closing: closing.clone(), websockets: TaskTracker::new() };
        let connections = TaskTracker::new();
        let router = Router::new().fallback(handle).with_state(shared.clone());
        let stop = CancellationToken::new();
        let end = async {
            shutdown.cancelled().await;
            if !options.notice.is_zero() {
                info!(notice_s = options.notice.as_secs_f64(), "leaving; still serving for a while");
                sleep(options.notice).await;
            }
        };
        tokio::pin!(end);
        loop {
            let accepted = tokio::select! {
                accepted = listener.accept() => accepted,
                () = &mut end => break,
            };
            match accepted {
                Ok((stream, _)) => {
                    connections.spawn(serve(stream, router.clone(), stop.clone()));
                }
                Err(error) => {
                    warn!("cannot accept a connection: {error}");
                    sleep(ACCEPT_PAUSE).await;
                }
            }
        }
        drop(listener);
        stop.cancel();
        closing.begin();
        connections.close();
        shared.websockets.close();
        let ended = async {
            shared.websockets.wait().await;
            connections.wait().await;
        };
        if timeout(options.spread + options.shutdown_limit, ended).await.is_err() {
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
    if shared.leaving.is_cancelled() && request.uri().path().ends_with("/_stcore/health") {
        // For load balancers that look no further than the port they use.
        return (StatusCode::SERVICE_UNAVAILABLE, "leaving\n").into_response();
    }
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
