//! Request and response heads on their way between a browser and the wire.

use std::net::SocketAddr;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, Response, Version, header, request::Parts, uri::Authority};
use streamfleet_proto::{
    HeaderError,
    common::{RequestHead, ResponseHead},
    headers_from_wire, headers_to_wire, status_from_wire,
};

/// The two ends of a browser's connection, and how it is served.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ends {
    pub(crate) peer: SocketAddr,
    pub(crate) local: SocketAddr,
    /// `http` or `https`.
    pub(crate) scheme: &'static str,
}

/// Headers that speak of one connection only (RFC 9110, section 7.6.1).
const HOP_BY_HOP: [HeaderName; 7] = [
    header::CONNECTION,
    header::PROXY_AUTHENTICATE,
    header::PROXY_AUTHORIZATION,
    header::TE,
    header::TRAILER,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
];

fn strip_hop_by_hop(headers: &mut HeaderMap) {
    let named: Vec<HeaderName> = headers
        .get_all(header::CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|name| name.trim().parse().ok())
        .collect();
    for name in named.iter().chain(&HOP_BY_HOP) {
        headers.remove(name);
    }
    headers.remove("keep-alive");
}

/// The request's head as runners take it. A WebSocket handshake keeps its headers.
pub(crate) fn request_head(parts: &Parts, ends: Ends, websocket: bool) -> RequestHead {
    let mut headers = parts.headers.clone();
    if !websocket {
        strip_hop_by_hop(&mut headers);
    }
    if !headers.contains_key(header::HOST) {
        // HTTP/2 has it in the URI.
        let authority = parts.uri.authority().map(Authority::as_str);
        if let Some(host) = authority.and_then(|authority| authority.parse().ok()) {
            headers.insert(header::HOST, host);
        }
    }
    let copy = |text: &str| Bytes::copy_from_slice(text.as_bytes());
    RequestHead {
        method: parts.method.to_string(),
        raw_path: copy(parts.uri.path()),
        query: copy(parts.uri.query().unwrap_or_default()),
        headers: headers_to_wire(&headers),
        scheme: ends.scheme.to_owned(),
        http_version: match parts.version {
            Version::HTTP_2 => "2",
            Version::HTTP_10 => "1.0",
            _ => "1.1",
        }
        .to_owned(),
        client_host: ends.peer.ip().to_canonical().to_string(),
        client_port: ends.peer.port().into(),
        server_host: ends.local.ip().to_canonical().to_string(),
        server_port: ends.local.port().into(),
    }
}

/// An answer with this head.
pub(crate) fn response<B>(head: ResponseHead, body: B) -> Result<Response<B>, HeaderError> {
    let mut response = Response::new(body);
    *response.status_mut() = status_from_wire(head.status)?;
    let mut headers = headers_from_wire(head.headers)?;
    strip_hop_by_hop(&mut headers);
    *response.headers_mut() = headers;
    Ok(response)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connection_headers_stay_behind() {
        let mut headers = HeaderMap::new();
        for (name, value) in [
            ("connection", "close, X-Mine"),
            ("x-mine", "1"),
            ("keep-alive", "timeout=5"),
            ("transfer-encoding", "chunked"),
            ("cookie", "a=b"),
        ] {
            headers.insert(name, value.parse().unwrap());
        }
        strip_hop_by_hop(&mut headers);
        let left: Vec<_> = headers.keys().map(HeaderName::as_str).collect();
        assert_eq!(left, ["cookie"]);
    }
}
