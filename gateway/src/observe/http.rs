//! Plain HTTP requests.

use std::sync::Arc;

use http::{HeaderValue, Request, StatusCode};
use streamfleet_telemetry::Span;

use super::{Direction, Observer, Traffic, context_in};

/// A request that is being answered. Told of when it is dropped, which is when its answer has gone out.
pub(crate) struct Exchange {
    observer: Arc<Observer>,
    kind: &'static str,
    span: Span,
    status: u16,
}

impl Exchange {
    /// A request has come. From here on it is this gateway's context that it brings along.
    pub(crate) fn begin<B>(observer: &Arc<Observer>, request: &mut Request<B>) -> Self {
        let kind = kind_of(request.uri().path());
        let mut span = observer.server_span("HTTP", context_in(request.headers()));
        if span.is_recording() {
            span.rename(format!("HTTP {} {kind}", request.method()));
            span.set("http.request.method", request.method().to_string());
            span.set("url.path", request.uri().path().to_owned());
            if let Some(context) = span.context()
                && let Ok(value) = HeaderValue::from_str(&context.to_traceparent())
            {
                request.headers_mut().insert("traceparent", value);
            }
        }
        Self { observer: Arc::clone(observer), kind, span, status: 0 }
    }

    /// The answer begins.
    pub(crate) fn answered(&mut self, status: StatusCode) {
        self.status = status.as_u16();
        self.span.set("http.response.status_code", u64::from(self.status));
        if status.is_server_error() {
            self.span.fail(status.to_string());
            self.observer.keep(&self.span);
        }
    }

    /// A part of the answer has gone out.
    pub(crate) fn sent(&self, bytes: usize) {
        self.observer.transferred(Traffic::Http, Direction::Sent, bytes as u64);
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        self.observer.metrics.requested(self.kind, self.status);
    }
}

/// What a path asks for. The app may be mounted anywhere, and may have routes of its own.
fn kind_of(path: &str) -> &'static str {
    let contains = |part: &str| path.contains(part);
    if path.ends_with("/_stcore/health") || path.ends_with("/_stcore/script-health-check") {
        "health"
    } else if contains("/_stcore/upload_file") {
        "upload"
    } else if contains("/media/") {
        "media"
    } else if contains("/component/") || contains("/_stcore/bidi-components/") {
        "component"
    } else if contains("/static/") || path.ends_with("/favicon.png") || path.ends_with("/manifest.json") {
        "asset"
    } else if contains("/_stcore/") {
        "other"
    } else if path.rsplit('/').next().is_none_or(|last| !last.contains('.') || last == "index.html") {
        "page"
    } else {
        "other"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_have_kinds() {
        for (path, kind) in [
            ("/", "page"),
            ("/base/Settings", "page"),
            ("/base/index.html", "page"),
            ("/base/static/js/index.123.js", "asset"),
            ("/favicon.png", "asset"),
            ("/media/abc.png", "media"),
            ("/_stcore/upload_file/a/b", "upload"),
            ("/_stcore/health", "health"),
            ("/_stcore/host-config", "other"),
            ("/component/a.b/index.html", "component"),
            ("/app/data.csv", "other"),
        ] {
            assert_eq!(kind_of(path), kind, "{path}");
        }
    }
}
