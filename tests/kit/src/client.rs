//! One WebSocket connection to a Streamlit app: sends [`BackMsg`]s, receives [`ForwardMsg`]s.
//!
//! **When is a run over?** `script_finished` alone does not say so: a run that was cut short by `st.rerun`, a callback or
//! a newer request ends with [`Finish::EarlyForRerun`], and its successor follows. After the last `script_finished` the
//! server still sends what belongs to it (a compile error, say) and then `session_status_changed` with
//! `script_is_running = false`. So a session is *settled* when that status arrives after any other finish. This holds
//! for one request at a time; a client that sends several reruns without waiting can't tell how many runs they become,
//! and must count for itself with [`Client::next`].

use std::time::Duration;

use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use prost::Message as _;
use tokio::net::TcpStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::{
    self, Message, client::IntoClientRequest, error::Error as WebSocketError, protocol::WebSocketConfig,
};

use crate::Endpoint;
use crate::http::{self as plain_http, HttpError};
use crate::wire::{
    Back, BackMsg, ClientState, FileUrls, FileUrlsRequest, FileUrlsResponse, Finish, Forward, ForwardMsg, Metadata,
    NewSession, SessionStatus,
};

/// A WebSocket frame as it is, for [`Client::send_frame`].
pub type RawFrame = Message;

/// The cookie that carries Streamlit's XSRF token.
pub const XSRF_COOKIE: &str = "_streamlit_xsrf";
/// How long to wait for a message, unless [`ConnectOptions::limit`] says otherwise.
pub const LIMIT: Duration = Duration::from_mins(1);

/// What ends a wait without the awaited message.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The server answered the upgrade with a plain response.
    #[error("the WebSocket was refused with {status}: {body}")]
    Refused {
        /// Its status.
        status: StatusCode,
        /// The start of its body.
        body: String,
    },
    /// The server closed the connection, or it broke.
    #[error("the connection was closed (code {code:?}, reason {reason:?})")]
    Closed {
        /// The close code; `None` if there was no close frame.
        code: Option<u16>,
        /// The close frame's text.
        reason: String,
    },
    /// Nothing came for too long.
    #[error("{awaited} did not come within {limit:?}")]
    TimedOut {
        /// What was waited for.
        awaited: &'static str,
        /// For how long.
        limit: Duration,
    },
    /// The server sent something that is no [`ForwardMsg`].
    #[error("not a ForwardMsg: {0}")]
    Garbled(String),
    /// A plain HTTP request failed.
    #[error(transparent)]
    Http(#[from] HttpError),
    /// The WebSocket layer failed.
    #[error(transparent)]
    WebSocket(#[from] Box<WebSocketError>),
}

impl From<WebSocketError> for ClientError {
    fn from(error: WebSocketError) -> Self {
        match error {
            WebSocketError::Http(response) => Self::Refused {
                status: response.status(),
                body: String::from_utf8_lossy(response.body().as_deref().unwrap_or_default()).into_owned(),
            },
            WebSocketError::ConnectionClosed
            | WebSocketError::AlreadyClosed
            | WebSocketError::Io(_)
            | WebSocketError::Protocol(tungstenite::error::ProtocolError::ResetWithoutClosingHandshake) => {
                Self::Closed { code: None, reason: error.to_string() }
            }
            other => Self::WebSocket(Box::new(other)),
        }
    }
}

/// Is shown messages, and can end the wait for more.
pub trait Observe: FnMut(&ForwardMsg) -> Result<(), ClientError> {}

impl<F: FnMut(&ForwardMsg) -> Result<(), ClientError>> Observe for F {}

/// How to connect; the default is what a browser does on a first visit.
#[derive(Debug, Clone)]
pub struct ConnectOptions {
    /// Put on the WebSocket request and on the client's HTTP requests. They replace those made here (`Origin`, …), but
    /// for `Cookie`, which is sent beside the XSRF cookie.
    pub headers: HeaderMap,
    /// The id of a session to go on with.
    pub session_id: Option<String>,
    /// The XSRF token to use; `None` asks the server's health route for one first.
    pub xsrf: Option<String>,
    /// How long to wait for any message.
    pub limit: Duration,
}

impl Default for ConnectOptions {
    fn default() -> Self {
        Self { headers: HeaderMap::new(), session_id: None, xsrf: None, limit: LIMIT }
    }
}

impl ConnectOptions {
    /// Adds a header.
    #[must_use]
    pub fn header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.insert(name, value);
        self
    }

    /// Goes on with an earlier session.
    #[must_use]
    pub fn session(mut self, session_id: impl Into<String>) -> Self {
        self.session_id = Some(session_id.into());
        self
    }
}

/// A connected client. Dropping it drops the TCP connection without a closing handshake, as a lost network would.
#[derive(Debug)]
pub struct Client {
    socket: WebSocketStream<TcpStream>,
    endpoint: Endpoint,
    options: ConnectOptions,
    session_id: String,
    requests: u64,
}

impl Client {
    /// Connects as a browser does on a first visit.
    pub async fn connect(endpoint: &Endpoint) -> Result<Self, ClientError> {
        Self::connect_with(endpoint, ConnectOptions::default()).await
    }

    /// Connects with given headers or an earlier session's id.
    pub async fn connect_with(endpoint: &Endpoint, mut options: ConnectOptions) -> Result<Self, ClientError> {
        if options.xsrf.is_none() {
            let health = plain_http::get(endpoint, &endpoint.path("/_stcore/health"), options.headers.clone()).await?;
            options.xsrf = health.cookie(XSRF_COOKIE).map(ToOwned::to_owned);
        }
        let opened = tokio::time::timeout(options.limit, open(endpoint, &options));
        let socket =
            opened.await.map_err(|_| ClientError::TimedOut { awaited: "the WebSocket", limit: options.limit })??;
        let session_id = options.session_id.clone().unwrap_or_default();
        Ok(Self { socket, endpoint: endpoint.clone(), options, session_id, requests: 0 })
    }

    /// The session's id; empty until the first `new_session` came.
    pub fn session_id(&self) -> &str {
        &self.session_id
    }

    /// What it is connected to.
    pub fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// The options for connecting to the same session again.
    pub fn reconnect_options(&self) -> ConnectOptions {
        self.options.clone().session(self.session_id.clone())
    }

    /// Headers for HTTP requests beside the WebSocket: the XSRF cookie and token, and the given ones.
    pub fn http_headers(&self) -> HeaderMap {
        let mut headers = HeaderMap::new();
        if let Some(token) = self.options.xsrf.as_deref().and_then(|token| HeaderValue::from_str(token).ok()) {
            headers.insert(HeaderName::from_static("x-xsrftoken"), token);
        }
        add_common(&mut headers, &self.options);
        headers
    }

    /// Sends a message.
    pub async fn send(&mut self, message: impl Into<BackMsg>) -> Result<(), ClientError> {
        let frame = message.into().encode_to_vec();
        self.send_frame(Message::binary(frame)).await
    }

    /// Asks for a run.
    pub async fn rerun(&mut self, state: ClientState) -> Result<(), ClientError> {
        self.send(Back::RerunScript(state)).await
    }

    /// Sends a frame as it is, however wrong.
    pub async fn send_frame(&mut self, frame: Message) -> Result<(), ClientError> {
        Ok(self.socket.send(frame).await?)
    }

    /// The next message. Notes the session's id in passing.
    pub async fn next(&mut self) -> Result<ForwardMsg, ClientError> {
        let limit = self.options.limit;
        let message = tokio::time::timeout(limit, self.receive())
            .await
            .map_err(|_| ClientError::TimedOut { awaited: "a message", limit })??;
        if let Some(Forward::NewSession(encoded)) = &message.kind
            && let Some(initialize) = decode::<NewSession>(encoded)?.initialize
        {
            self.session_id = initialize.session_id;
        }
        Ok(message)
    }

    async fn receive(&mut self) -> Result<ForwardMsg, ClientError> {
        loop {
            let Some(frame) = self.socket.next().await else {
                return Err(ClientError::Closed { code: None, reason: String::new() });
            };
            match frame? {
                Message::Binary(payload) => return decode(&payload),
                Message::Close(close) => {
                    let (code, reason) = close
                        .map_or((None, String::new()), |frame| (Some(frame.code.into()), frame.reason.to_string()));
                    return Err(ClientError::Closed { code, reason });
                }
                Message::Text(text) => return Err(ClientError::Garbled(format!("a text frame: {text}"))),
                Message::Ping(_) | Message::Pong(_) | Message::Frame(_) => {}
            }
        }
    }

    /// Receives until the last run of a chain has finished, and says how. What remains of the run may still follow.
    pub async fn finished(&mut self) -> Result<Finish, ClientError> {
        loop {
            if let Some(finish) = last_finish(&self.next().await?) {
                return Ok(finish);
            }
        }
    }

    /// Receives until the session is settled (see the top of this file), showing every message to `observe`.
    pub async fn settle(&mut self, mut observe: impl Observe) -> Result<Finish, ClientError> {
        let mut finished = None;
        loop {
            let message = self.next().await?;
            observe(&message)?;
            match &message.kind {
                Some(Forward::ScriptFinished(_)) => finished = last_finish(&message),
                Some(Forward::NewSession(_)) => finished = None,
                Some(Forward::SessionStatusChanged(encoded)) => {
                    let status: SessionStatus = decode(encoded)?;
                    if let (Some(finish), false) = (finished, status.script_is_running) {
                        return Ok(finish);
                    }
                }
                _ => {}
            }
        }
    }

    /// Receives up to the answer to a heartbeat, showing every other message to `observe`. Proves that the server is
    /// alive and that it has sent what it had to say so far.
    pub async fn heartbeat(&mut self, mut observe: impl Observe) -> Result<(), ClientError> {
        self.send(Back::AppHeartbeat(true)).await?;
        loop {
            let message = self.next().await?;
            if matches!(message.kind, Some(Forward::HeartbeatAck(_))) {
                return Ok(());
            }
            observe(&message)?;
        }
    }

    /// Asks where to upload files to, showing every message but the answer to `observe`.
    pub async fn file_urls(&mut self, names: &[&str], mut observe: impl Observe) -> Result<Vec<FileUrls>, ClientError> {
        let request_id = self.request_id();
        let request = FileUrlsRequest {
            request_id: request_id.clone(),
            file_names: names.iter().map(ToString::to_string).collect(),
            session_id: self.session_id.clone(),
        };
        self.send(Back::FileUrlsRequest(request)).await?;
        loop {
            let message = self.next().await?;
            if let Some(Forward::FileUrlsResponse(encoded)) = &message.kind {
                let response: FileUrlsResponse = decode(encoded)?;
                if response.response_id == request_id {
                    return Ok(response.file_urls);
                }
            }
            observe(&message)?;
        }
    }

    /// Uploads a file as the browser does: one multipart `PUT` to the URL that the server gave.
    pub async fn upload(
        &self,
        upload_url: &str,
        name: &str,
        mime: &str,
        content: &[u8],
    ) -> Result<plain_http::Response, HttpError> {
        self.upload_through(&self.endpoint, upload_url, name, mime, content).await
    }

    /// The same through another server, as when a load balancer sends each request elsewhere.
    pub async fn upload_through(
        &self,
        endpoint: &Endpoint,
        upload_url: &str,
        name: &str,
        mime: &str,
        content: &[u8],
    ) -> Result<plain_http::Response, HttpError> {
        const BOUNDARY: &str = "----streamfleet-testkit";
        let mut headers = self.http_headers();
        let kind = HeaderValue::from_static("multipart/form-data; boundary=----streamfleet-testkit");
        headers.insert(header::CONTENT_TYPE, kind);
        let head = format!(
            "--{BOUNDARY}\r\nContent-Disposition: form-data; name=\"{name}\"; filename=\"{name}\"\r\n\
             Content-Type: {mime}\r\n\r\n"
        );
        let body = [head.as_bytes(), content, format!("\r\n--{BOUNDARY}--\r\n").as_bytes()].concat();
        let path = endpoint.path(upload_url);
        plain_http::request(endpoint, http::Method::PUT, &path, headers, body.into()).await
    }

    /// Gets a path under the app, with the session's cookies and some more headers.
    pub async fn get(&self, path: &str, more: HeaderMap) -> Result<plain_http::Response, HttpError> {
        let mut headers = self.http_headers();
        headers.extend(more);
        plain_http::get(&self.endpoint, &self.endpoint.path(path), headers).await
    }

    /// An id for a request, new for this connection.
    pub fn request_id(&mut self) -> String {
        self.requests += 1;
        format!("request-{}", self.requests)
    }

    /// Closes with a handshake, as a browser does when its tab is closed.
    pub async fn close(mut self) -> Result<(), ClientError> {
        Ok(self.socket.close(None).await?)
    }
}

/// How a chain of runs ended, if this message ends one.
pub fn last_finish(message: &ForwardMsg) -> Option<Finish> {
    match message.kind {
        Some(Forward::ScriptFinished(status)) => {
            Finish::try_from(status).ok().filter(|finish| *finish != Finish::EarlyForRerun)
        }
        _ => None,
    }
}

/// The metadata of a message.
pub fn metadata(message: &ForwardMsg) -> Result<Metadata, ClientError> {
    decode(&message.metadata)
}

/// Decodes a part of a message that was left encoded.
pub fn decode<M: prost::Message + Default>(encoded: &Bytes) -> Result<M, ClientError> {
    M::decode(encoded.clone()).map_err(|error| ClientError::Garbled(error.to_string()))
}

async fn open(endpoint: &Endpoint, options: &ConnectOptions) -> Result<WebSocketStream<TcpStream>, ClientError> {
    let uri = format!("ws://{}{}", endpoint.authority, endpoint.path("/_stcore/stream"));
    let mut request = uri.into_client_request()?;
    let mut protocols = vec!["streamlit", options.xsrf.as_deref().unwrap_or("PLACEHOLDER_AUTH_TOKEN")];
    protocols.extend(options.session_id.as_deref());
    let headers = request.headers_mut();
    let made = [(header::SEC_WEBSOCKET_PROTOCOL, protocols.join(", ")), (header::ORIGIN, endpoint.origin())];
    for (name, value) in made {
        headers.insert(name, HeaderValue::from_str(&value).map_err(http_error)?);
    }
    add_common(headers, options);
    let stream = plain_http::connect(endpoint)
        .await
        .map_err(|source| HttpError::Io { authority: endpoint.authority.clone(), source })?;
    let config = WebSocketConfig::default().read_buffer_size(16 * 1024).max_message_size(None).max_frame_size(None);
    let (socket, _) = tokio_tungstenite::client_async_with_config(request, stream, Some(config)).await?;
    Ok(socket)
}

/// Adds the given headers and the XSRF cookie; a given `Cookie` is sent beside it.
fn add_common(headers: &mut HeaderMap, options: &ConnectOptions) {
    for (name, value) in &options.headers {
        headers.insert(name, value.clone());
    }
    let given = options.headers.get(header::COOKIE).and_then(|value| value.to_str().ok());
    let xsrf = options.xsrf.as_deref().map(|token| format!("{XSRF_COOKIE}={token}"));
    let cookies: Vec<&str> = xsrf.as_deref().into_iter().chain(given).collect();
    if let Ok(value) = HeaderValue::from_str(&cookies.join("; "))
        && !cookies.is_empty()
    {
        headers.insert(header::COOKIE, value);
    }
}

fn http_error(error: header::InvalidHeaderValue) -> ClientError {
    ClientError::Http(HttpError::Request(error.into()))
}
