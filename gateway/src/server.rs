//! The public listener: accepts connections, serves them, and lets them end in order.

use std::{io, net::IpAddr, sync::Arc, time::Duration};

use axum::{
    Extension, Router,
    body::Body,
    extract::{Request, State},
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use futures_util::future::BoxFuture;
use http::{Method, StatusCode, header};
use http_body_util::BodyExt as _;
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::conn::auto,
    service::TowerToHyperService,
};
use streamfleet_cluster::PublicTls;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream},
    time::{sleep, timeout},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing::{debug, info, warn};

use crate::{
    addresses::{PerAddress, Share},
    admission::{Admission, Entry, is_page},
    assets::Assets,
    browser::GOING_AWAY,
    closing::Closing,
    error::SERVICE_RESTART,
    head::Ends,
    http as plain,
    observe::Exchange,
    proxies::TrustedProxies,
    upstream::Upstream,
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
    /// Has browsers be served over TLS.
    pub tls: Option<Arc<PublicTls>>,
    /// Whose word on whom they speak for is believed. None where that is for the app's server to decide, as it does by itself.
    pub proxies: Option<Arc<TrustedProxies>>,
    /// Connections that one address may have at a time; for those behind a proxy, requests and WebSockets. 0 for any number.
    pub max_connections_per_address: u32,
    /// Uploads that one address may have under way; 0 for any number.
    pub max_uploads_per_address: u32,
}

impl GatewayOptions {
    /// For a gateway that is all there is: it ends at once.
    pub fn alone() -> Self {
        Self {
            notice: Duration::ZERO,
            spread: Duration::ZERO,
            close_code: GOING_AWAY,
            shutdown_limit: Duration::from_secs(2),
            tls: None,
            proxies: None,
            max_connections_per_address: 0,
            max_uploads_per_address: 0,
        }
    }

    /// For one of several: its browsers go to the others.
    pub fn replicated(notice: Duration, spread: Duration) -> Self {
        Self { notice, spread, close_code: SERVICE_RESTART, shutdown_limit: Duration::from_secs(30), ..Self::alone() }
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
    assets: Arc<Assets>,
    /// Cancelled when no more browsers should be sent here.
    leaving: CancellationToken,
    closing: Closing,
    /// WebSockets live on after their connection's task has handed them over.
    websockets: TaskTracker,
    admission: Arc<Admission>,
    proxies: Option<Arc<TrustedProxies>>,
    connections: PerAddress,
    uploads: PerAddress,
}

impl Gateway {
    /// A gateway to these runners.
    pub fn new(options: GatewayOptions, upstream: Arc<Upstream>) -> Self {
        Self { options, upstream }
    }

    /// Serves connections until cancelled; then gives notice, ends those that are left and returns.
    pub fn run(self, listener: TcpListener, shutdown: CancellationToken) -> BoxFuture<'static, ()> {
        // Boxed, so that all that serving takes is compiled here.
        Box::pin(self.run_until(listener, shutdown))
    }

    async fn run_until(self, listener: TcpListener, shutdown: CancellationToken) {
        let Self { options, upstream } = self;
        let closing = Closing::new(options.spread, options.close_code);
        let admission = Admission::new(Arc::clone(&upstream));
        let stop = CancellationToken::new();
        tokio::spawn(stop.clone().run_until_cancelled_owned(Arc::clone(&admission).keep_up()));
        let shared = Shared {
            assets: Assets::new(Arc::clone(&upstream.observer)),
            upstream,
            admission,
            leaving: shutdown.clone(),
            closing: closing.clone(),
            websockets: TaskTracker::new(),
            proxies: options.proxies,
            connections: PerAddress::new(options.max_connections_per_address),
            uploads: PerAddress::new(options.max_uploads_per_address),
        };
        let connections = TaskTracker::new();
        let router = Router::new().fallback(handle).with_state(shared.clone());
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
                Ok((stream, address)) => {
                    // Of a proxy's connections each may be somebody else's.
                    let Some(share) = shared.admit_connection(address.ip()) else { continue };
                    let (router, tls, stop) = (router.clone(), options.tls.clone(), stop.clone());
                    connections.spawn(async move {
                        let _share = share;
                        serve(stream, tls, router, stop).await;
                    });
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

impl Shared {
    /// A share of what one address may have, for a connection; `None` if it has as many as it may.
    fn admit_connection(&self, address: IpAddr) -> Option<Share> {
        let speaks_for_others = self.proxies.as_ref().is_some_and(|proxies| proxies.contains(address));
        if speaks_for_others { Some(Share::of_nobody()) } else { self.connections.take(address) }
    }

    /// Shares for what counts by itself: a WebSocket, which outlives its connection's task; a request that came through a proxy; an
    /// upload. `None` if that would be too many.
    fn admit_request(&self, ends: Ends, client: Ends, request: &Request<Body>) -> Option<Vec<Share>> {
        let by_proxy = self.proxies.as_ref().is_some_and(|proxies| proxies.contains(ends.peer.ip()));
        let mut shares = Vec::new();
        if by_proxy || is_websocket(request) {
            shares.push(self.connections.take(client.peer.ip())?);
        }
        if is_upload(request) {
            shares.push(self.uploads.take(client.peer.ip())?);
        }
        Some(shares)
    }
}

async fn serve(stream: TcpStream, tls: Option<Arc<PublicTls>>, router: Router, shutdown: CancellationToken) {
    let scheme = if tls.is_some() { "https" } else { "http" };
    let Ok(ends) = ends_of(&stream, scheme) else {
        return; // Gone already.
    };
    let Some(tls) = tls else { return serve_stream(stream, ends, router, shutdown).await };
    match tls.accept(stream).await {
        Ok(stream) => serve_stream(stream, ends, router, shutdown).await,
        Err(error) => debug!(peer = %ends.peer, "no TLS: {error}"),
    }
}

async fn serve_stream(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    ends: Ends,
    router: Router,
    shutdown: CancellationToken,
) {
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

fn ends_of(stream: &TcpStream, scheme: &'static str) -> io::Result<Ends> {
    // Clicks are small and their answers are awaited.
    stream.set_nodelay(true)?;
    Ok(Ends { peer: stream.peer_addr()?, local: stream.local_addr()?, scheme })
}

async fn handle(
    State(shared): State<Shared>,
    Extension(ends): Extension<Ends>,
    mut request: Request<Body>,
) -> Response {
    if shared.leaving.is_cancelled() && request.uri().path().ends_with("/_stcore/health") {
        // For load balancers that look no further than the port they use.
        return (StatusCode::SERVICE_UNAVAILABLE, "leaving\n").into_response();
    }
    let client = match &shared.proxies {
        Some(proxies) => proxies.see_through(ends, request.headers_mut()),
        None => ends,
    };
    let Some(held) = shared.admit_request(ends, client, &request) else { return too_many() };
    let ends = client;
    let answer = if is_websocket(&request) {
        let (parts, _) = request.into_parts();
        let Shared { closing, websockets: tracker, admission, .. } = shared;
        let lifetime = websocket::Lifetime { closing, tracker, shares: held, admission };
        websocket::handle(&shared.upstream, ends, parts, lifetime).await
    } else {
        let mut cookie = None;
        if is_page(&request) {
            match shared.admission.page(ends, request.headers()).await {
                Entry::In(new) => cookie = new,
                Entry::Out(answer) => return answer,
            }
        }
        let mut exchange = Exchange::begin(&shared.upstream.observer, &mut request);
        let answer = plain::handle(&shared.upstream, &shared.assets, ends, request).await;
        let mut answer = answer.unwrap_or_else(IntoResponse::into_response);
        if let Some(cookie) = cookie {
            answer.headers_mut().append(header::SET_COOKIE, cookie);
        }
        exchange.answered(answer.status());
        // It is over when its last byte is out.
        return answer.map(|body| {
            Body::new(body.map_frame(move |frame| {
                let _until_then = &held;
                exchange.sent(frame.data_ref().map_or(0, Bytes::len));
                frame
            }))
        });
    };
    answer.unwrap_or_else(IntoResponse::into_response)
}

/// Whether this brings a file of an `st.file_uploader`.
fn is_upload(request: &Request<Body>) -> bool {
    matches!(*request.method(), Method::PUT | Method::POST) && request.uri().path().contains("/_stcore/upload_file/")
}

fn too_many() -> Response {
    let text = "Too many at once from your address. Try again shortly.\n";
    (StatusCode::TOO_MANY_REQUESTS, [(header::RETRY_AFTER, "5"), (header::CACHE_CONTROL, "no-store")], text)
        .into_response()
}

fn is_websocket(request: &Request<Body>) -> bool {
    let upgrade = request.headers().get(header::UPGRADE);
    let asks = upgrade.is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"websocket"));
    asks || request.extensions().get::<hyper::ext::Protocol>().is_some()
}
