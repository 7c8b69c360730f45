//! A plain HTTP/1.1 client: one connection per request, the whole body in memory, nothing retried or followed.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Method, Request, StatusCode, header};
use http_body_util::{BodyExt, Full};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use crate::Endpoint;

/// How long a request may take before it counts as hung.
pub const LIMIT: Duration = Duration::from_mins(1);

/// A complete answer.
#[derive(Debug, Clone)]
pub struct Response {
    /// Its status.
    pub status: StatusCode,
    /// Its headers.
    pub headers: HeaderMap,
    /// Its body, decoded from chunks but not from any content encoding.
    pub body: Bytes,
}

impl Response {
    /// A header's value, if it is there and is text.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// The value of a cookie that the response sets.
    pub fn cookie(&self, name: &str) -> Option<&str> {
        self.headers
            .get_all(header::SET_COOKIE)
            .iter()
            .filter_map(|value| value.to_str().ok()?.split(';').next()?.trim().split_once('='))
            .find_map(|(key, value)| (key == name).then_some(value))
    }
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum HttpError {
    /// Nobody listens, or the connection broke.
    #[error("{authority}: {source}")]
    Io {
        /// Who was asked.
        authority: String,
        /// What the system said.
        source: std::io::Error,
    },
    /// The answer is not HTTP, or ended early.
    #[error(transparent)]
    Protocol(#[from] hyper::Error),
    /// The request can't be written.
    #[error(transparent)]
    Request(#[from] http::Error),
    /// No answer within [`LIMIT`].
    #[error("no answer from {0} within {LIMIT:?}")]
    TimedOut(String),
}

/// Gets `path`, which must be absolute and include the base path.
pub async fn get(endpoint: &Endpoint, path: &str, headers: HeaderMap) -> Result<Response, HttpError> {
    request(endpoint, Method::GET, path, headers, Bytes::new()).await
}

/// Sends one request and reads the whole answer.
pub async fn request(
    endpoint: &Endpoint,
    method: Method,
    path: &str,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, HttpError> {
    tokio::time::timeout(LIMIT, exchange(endpoint, method, path, headers, body))
        .await
        .map_err(|_| HttpError::TimedOut(endpoint.authority.clone()))?
}

async fn exchange(
    endpoint: &Endpoint,
    method: Method,
    path: &str,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, HttpError> {
    let stream =
        connect(endpoint).await.map_err(|source| HttpError::Io { authority: endpoint.authority.clone(), source })?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    let connection = tokio::spawn(connection);
    let mut request = Request::builder().method(method).uri(path).body(Full::new(body))?;
    *request.headers_mut() = headers;
    request.headers_mut().entry(header::HOST).or_insert(endpoint.authority.parse().map_err(http::Error::from)?);
    let answer = sender.send_request(request).await?;
    let (head, body) = answer.into_parts();
    let body = body.collect().await?.to_bytes();
    connection.abort();
    Ok(Response { status: head.status, headers: head.headers, body })
}

/// Opens a connection with `TCP_NODELAY`, as browsers do.
pub(crate) async fn connect(endpoint: &Endpoint) -> std::io::Result<TcpStream> {
    let stream = TcpStream::connect(&endpoint.authority).await?;
    stream.set_nodelay(true)?;
    Ok(stream)
}
