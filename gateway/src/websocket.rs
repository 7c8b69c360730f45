//! The handshake of a browser's WebSocket.

use std::sync::Arc;

use axum::{
    extract::{FromRequestParts as _, ws::WebSocketUpgrade},
    response::{IntoResponse as _, Response},
};
use http::{HeaderMap, HeaderValue, header, request::Parts};
use streamfleet_proto::SessionId;
use tokio_util::task::TaskTracker;

use crate::{
    addresses::Share,
    admission::Admission,
    attach::{self, Handshake, Opening},
    browser::Browser,
    closing::Closing,
    error::GatewayError,
    head::{Ends, request_head},
    observe::context_in,
    upstream::Upstream,
};

/// Bytes kept for reading from one connection. Browsers send little, and idle ones are many.
const READ_BUFFER: usize = 2 * 1024;

/// What ends a WebSocket from outside, and who waits for its end.
pub(crate) struct Lifetime {
    pub(crate) closing: Closing,
    pub(crate) tracker: TaskTracker,
    /// What it counts against its address.
    pub(crate) shares: Vec<Share>,
    /// Who says whether a session may begin.
    pub(crate) admission: Arc<Admission>,
}

/// Answers a WebSocket handshake.
pub(crate) async fn handle(
    upstream: &Arc<Upstream>,
    ends: Ends,
    mut parts: Parts,
    lifetime: Lifetime,
) -> Result<Response, GatewayError> {
    let head = request_head(&parts, ends, true);
    let resume = session_to_resume(&parts.headers);
    let upgrade = match WebSocketUpgrade::from_request_parts(&mut parts, &()).await {
        Ok(upgrade) => upgrade,
        Err(rejection) => return Ok(rejection.into_response()),
    };

    let inside = if is_session(&parts) {
        match lifetime.admission.session(&parts.headers, resume.is_some()).await {
            Ok(inside) => inside,
            Err(answer) => return Ok(answer),
        }
    } else {
        None
    };
    let handshake = Handshake { head, resume, connection: fastrand::u64(1..) };
    let mut span = upstream.observer.server_span("open session", context_in(&parts.headers));
    let connected = attach::connect(upstream, &handshake, None, span.context()).await;
    if let Err(error) = &connected {
        span.fail(error.to_string());
        upstream.observer.keep(&span);
    }
    let (stream, opening, settings) = connected?;
    span.set("streamfleet.runner", stream.runner.to_string());
    // The one that it comes back to, else the fresh one.
    if let Some((session, _)) = stream.epochs.iter().flatten().last() {
        span.set("streamfleet.session", session.public_id());
    }
    span.end();
    let accepted = match opening {
        Opening::Accepted(accepted) => accepted,
        Opening::Refused(head) => return stream.refusal(head).await,
    };

    let limit = usize::try_from(settings.max_message_bytes).unwrap_or(usize::MAX);
    let mut upgrade = upgrade.read_buffer_size(READ_BUFFER).max_message_size(limit).max_frame_size(limit);
    if let Ok(protocol) = HeaderValue::from_str(&accepted.subprotocol)
        && !protocol.is_empty()
    {
        upgrade.set_selected_protocol(protocol);
    }
    let browser = Browser::new(Arc::clone(upstream), handshake, &settings);
    let mut answer = upgrade.on_upgrade(move |socket| async move {
        let Lifetime { closing, tracker, shares: _shares, .. } = lifetime;
        let _inside = inside;
        tracker.track_future(browser.serve(socket, stream, closing)).await;
    });
    let extra = streamfleet_proto::headers_from_wire(accepted.headers);
    answer.headers_mut().extend(extra.unwrap_or_default());
    Ok(answer)
}

/// Whether a session comes with it: the app may have WebSockets of its own.
fn is_session(parts: &Parts) -> bool {
    parts.uri.path().ends_with("/_stcore/stream")
}

/// The third entry of the subprotocol list is the session that the browser had before.
fn session_to_resume(headers: &HeaderMap) -> Option<SessionId> {
    let list = headers.get(header::SEC_WEBSOCKET_PROTOCOL)?.to_str().ok()?;
    list.split(',').nth(2)?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_third_subprotocol_is_the_old_session() {
        let session = SessionId::random();
        let parse = |list: String| {
            let mut headers = HeaderMap::new();
            headers.insert(header::SEC_WEBSOCKET_PROTOCOL, list.parse().unwrap());
            session_to_resume(&headers)
        };
        assert_eq!(parse(format!("streamlit, token, {session}")), Some(session));
        assert_eq!(parse(format!("streamlit, , {session}")), Some(session));
        assert_eq!(parse("streamlit, token".to_owned()), None);
        assert_eq!(parse("streamlit, token, nonsense".to_owned()), None);
    }
}
