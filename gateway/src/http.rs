//! Plain HTTP: one gRPC call per request, both bodies streamed.

use std::sync::Arc;

use axum::body::Body;
use bytes::{Buf as _, Bytes};
use futures_util::{Stream, StreamExt as _, stream};
use http::{HeaderValue, Method, Request, Response, StatusCode, header, request::Parts};
use http_body::Body as _;
use http_body_util::BodyExt as _;
use streamfleet_cluster::Route;
use streamfleet_proto::{
    MAX_CHUNK_BYTES,
    common::RequestHead,
    runner::{HttpRequest, HttpResponse, http_request, http_response},
};
use tokio_util::sync::CancellationToken;
use tonic::{Status, Streaming};
use tracing::debug;

use crate::{
    assets::{self, Assets},
    error::GatewayError,
    head::{Ends, request_head, response},
    observe::{Direction, Traffic},
    upstream::{Runner, Upstream},
};

/// Answers the request with what is kept, or has a runner answer it.
pub(crate) async fn handle(
    upstream: &Upstream,
    assets: &Arc<Assets>,
    ends: Ends,
    request: Request<Body>,
) -> Result<Response<Body>, GatewayError> {
    let (parts, body) = request.into_parts();
    let may_be_kept = assets::may_be_kept(&parts, &body);
    // Before a runner is asked for where the app is mounted: there may be none.
    if may_be_kept && let Some(answer) = assets.find(&parts) {
        return Ok(answer);
    }
    let route = route(upstream, parts.uri.path()).await?;
    if may_be_kept && route == Route::Asset {
        return assets.fetch(parts, |parts| forward(upstream, ends, &route, parts, Body::empty())).await;
    }
    forward(upstream, ends, &route, parts, body).await
}

/// Has a runner answer the request.
async fn forward(
    upstream: &Upstream,
    ends: Ends,
    route: &Route,
    parts: Parts,
    body: Body,
) -> Result<Response<Body>, GatewayError> {
    let head = request_head(&parts, ends, false);
    let runners = upstream.for_request(route).await?;
    if !asks_only(&parts, &body) {
        let Some(runner) = runners.into_iter().next() else { return Err(GatewayError::NoRunner) };
        let observer = Arc::clone(&upstream.observer);
        let body = Body::new(body.map_frame(move |frame| {
            let bytes = frame.data_ref().map_or(0, Bytes::len);
            observer.transferred(Traffic::Http, Direction::Received, bytes as u64);
            frame
        }));
        let broken = CancellationToken::new();
        let requests = requests(head, body, broken.clone());
        return tokio::select! {
            answer = ask(&runner, requests) => answer,
            // Nobody is there to be answered any more, and the call ends with this.
            () = broken.cancelled() => Ok(incomplete()),
        };
    }
    let mut outcome = Err(GatewayError::NoRunner);
    for runner in runners {
        match ask(&runner, requests(head.clone(), Body::empty(), CancellationToken::new())).await {
            Ok(answer) => {
                let missing = is_missing(route, &answer);
                if let (Route::Component(name), false) = (route, missing) {
                    upstream.found_component(name, &runner.id);
                }
                outcome = Ok(answer);
                if !missing {
                    break;
                }
            }
            // That somebody doesn't have it is a better answer than that somebody can't be reached.
            Err(error) if error.is_unreachable() => outcome = outcome.or(Err(error)),
            Err(error) => return Err(error),
        }
    }
    outcome
}

/// Who can answer. The app's base path decides what a path means.
async fn route(upstream: &Upstream, path: &str) -> Result<Route, GatewayError> {
    let mut outcome = Err(GatewayError::NoRunner);
    for runner in upstream.for_request(&Route::Any).await? {
        match runner.settings().await {
            Ok(settings) => return Ok(Route::of(path.as_bytes(), &settings.base_url_path)),
            Err(error) => outcome = Err(error),
        }
    }
    outcome
}

/// Whether this says that the runner doesn't have what another may have. For a file of the front end that it doesn't have, Streamlit sends
/// its page.
fn is_missing(route: &Route, answer: &Response<Body>) -> bool {
    let is_page = |kind: &HeaderValue| kind.as_bytes().starts_with(b"text/html");
    match route {
        Route::Asset => answer.headers().get(header::CONTENT_TYPE).is_some_and(is_page),
        _ => route.may_be_elsewhere() && answer.status() == StatusCode::NOT_FOUND,
    }
}

/// Whether a request changes nothing and brings nothing, so that it can be asked again elsewhere.
fn asks_only(parts: &Parts, body: &Body) -> bool {
    matches!(parts.method, Method::GET | Method::HEAD | Method::OPTIONS) && body.is_end_stream()
}

async fn ask(
    runner: &Runner,
    requests: impl Stream<Item = HttpRequest> + Send + 'static,
) -> Result<Response<Body>, GatewayError> {
    let failed = |status| GatewayError::runner(&runner.id, status);
    let mut answer = runner.http.clone().http(requests).await.map_err(failed)?.into_inner();
    let head = loop {
        match answer.message().await.map_err(failed)?.map(|part| part.kind) {
            Some(Some(http_response::Kind::Head(head))) => break head,
            Some(_) => {}
            None => return Err(failed(Status::unavailable("an answer without a head"))),
        }
    };
    response(head, Body::from_stream(body_of(answer))).map_err(|error| GatewayError::bad_header(&runner.id, &error))
}

/// What is answered to a request that broke off.
fn incomplete() -> Response<Body> {
    let mut response = Response::new(Body::from("The request broke off.\n"));
    *response.status_mut() = StatusCode::BAD_REQUEST;
    response
}

/// The request as a stream of messages. Says when it has broken off.
fn requests(
    head: RequestHead,
    body: Body,
    broken: CancellationToken,
) -> impl Stream<Item = HttpRequest> + Send + 'static {
    let message = |kind| HttpRequest { kind: Some(kind) };
    let head = stream::once(async move { message(http_request::Kind::Head(head)) });
    let parts = body.into_data_stream().flat_map(move |part| match part {
        Ok(part) => stream::iter(pieces(part)).left_stream(),
        Err(error) => {
            // A body that breaks off must not look like one that ended: the stream stays open until the call is dropped.
            debug!("a request body broke off: {error}");
            broken.cancel();
            stream::pending().right_stream()
        }
    });
    head.chain(parts.map(move |part| message(http_request::Kind::Body(part))))
}

fn pieces(mut part: Bytes) -> impl Iterator<Item = Bytes> {
    std::iter::from_fn(move || part.has_remaining().then(|| part.split_to(part.len().min(MAX_CHUNK_BYTES))))
}

/// The answer's body. An error in it breaks the browser's connection off, as it should.
fn body_of(answer: Streaming<HttpResponse>) -> impl Stream<Item = Result<Bytes, Status>> {
    answer.filter_map(|part| async {
        match part {
            Ok(part) => match part.kind {
                Some(http_response::Kind::Body(body)) => Some(Ok(body)),
                Some(http_response::Kind::Head(_)) | None => None,
            },
            Err(status) => Some(Err(status)),
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn large_parts_are_cut() {
        let part = Bytes::from(vec![7; 2 * MAX_CHUNK_BYTES + 1]);
        let sizes: Vec<_> = pieces(part).map(|piece| piece.len()).collect();
        assert_eq!(sizes, [MAX_CHUNK_BYTES, MAX_CHUNK_BYTES, 1]);
    }
}
