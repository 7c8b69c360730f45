//! Plain HTTP: one gRPC call per request, both bodies streamed.

use axum::body::Body;
use bytes::{Buf as _, Bytes};
use futures_util::{Stream, StreamExt as _, stream};
use http::{Request, Response};
use streamfleet_proto::{
    MAX_CHUNK_BYTES, SessionId,
    common::RequestHead,
    runner::{HttpRequest, HttpResponse, http_request, http_response},
};
use tonic::{Status, Streaming};
use tracing::debug;

use crate::{
    error::GatewayError,
    head::{Ends, request_head, response},
    upstream::Upstream,
};

/// Has a runner answer the request.
pub(crate) async fn handle(
    upstream: &Upstream,
    ends: Ends,
    request: Request<Body>,
) -> Result<Response<Body>, GatewayError> {
    let (parts, body) = request.into_parts();
    let head = request_head(&parts, ends, false);
    let runner = upstream.for_request(session_in(parts.uri.path())).await?;
    let answer = runner.client.clone().http(requests(head, body)).await;
    let failed = |status| GatewayError::runner(&runner.id, status);
    let mut answer = answer.map_err(failed)?.into_inner();
    let head = loop {
        match answer.message().await.map_err(failed)?.map(|part| part.kind) {
            Some(Some(http_response::Kind::Head(head))) => break head,
            Some(_) => {}
            None => return Err(failed(Status::unavailable("an answer without a head"))),
        }
    };
    response(head, Body::from_stream(body_of(answer))).map_err(|error| GatewayError::bad_header(&runner.id, &error))
}

/// The session whose upload a path names.
fn session_in(path: &str) -> Option<SessionId> {
    let (_, rest) = path.split_once("/_stcore/upload_file/")?;
    rest.split('/').next()?.parse().ok()
}

/// The request as a stream of messages.
fn requests(head: RequestHead, body: Body) -> impl Stream<Item = HttpRequest> + Send + 'static {
    let message = |kind| HttpRequest { kind: Some(kind) };
    let head = stream::once(async move { message(http_request::Kind::Head(head)) });
    let parts = body.into_data_stream().flat_map(|part| match part {
        Ok(part) => stream::iter(pieces(part)).left_stream(),
        Err(error) => {
            // A body that breaks off must not look like one that ended: the stream stays open
            // until the call is dropped, which follows, since the browser is gone.
            debug!("a request body broke off: {error}");
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
    fn upload_paths_name_their_session() {
        let session = SessionId::random();
        for path in
            [format!("/_stcore/upload_file/{session}/file"), format!("/some/base/_stcore/upload_file/{session}/file")]
        {
            assert_eq!(session_in(&path), Some(session));
        }
        assert_eq!(session_in("/_stcore/upload_file/x/file"), None);
        assert_eq!(session_in("/_stcore/health"), None);
    }

    #[test]
    fn large_parts_are_cut() {
        let part = Bytes::from(vec![7; 2 * MAX_CHUNK_BYTES + 1]);
        let sizes: Vec<_> = pieces(part).map(|piece| piece.len()).collect();
        assert_eq!(sizes, [MAX_CHUNK_BYTES, MAX_CHUNK_BYTES, 1]);
    }
}
