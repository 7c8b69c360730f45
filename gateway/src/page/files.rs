//! The page's files, as they are in `gateway/page/`.

use axum::{Router, routing::get};
use http::{HeaderName, header};

/// Nothing from elsewhere, nothing inline, nobody's frame.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; \
                      base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// What goes with each file.
const HEADERS: [(HeaderName, &str); 4] = [
    (header::CONTENT_SECURITY_POLICY, POLICY),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::REFERRER_POLICY, "no-referrer"),
    (header::CACHE_CONTROL, "no-cache"),
];

const HTML: &str = "text/html; charset=utf-8";
const CSS: &str = "text/css; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";

/// Path, content type, content.
type PageFile = (&'static str, &'static str, &'static str);

macro_rules! files {
    ($($path:literal, $type:ident, $name:literal;)*) => {
        [$(($path, $type, include_str!(concat!("../../page/", $name)))),*]
    };
}

const FILES: [PageFile; 15] = files! {
    "/", HTML, "index.html";
    "/page.css", CSS, "page.css";
    "/page.js", SCRIPT, "page.js";
    "/actions.js", SCRIPT, "actions.js";
    "/dom.js", SCRIPT, "dom.js";
    "/format.js", SCRIPT, "format.js";
    "/happened.js", SCRIPT, "happened.js";
    "/history.js", SCRIPT, "history.js";
    "/plot.js", SCRIPT, "plot.js";
    "/runners.js", SCRIPT, "runners.js";
    "/sessions.js", SCRIPT, "sessions.js";
    "/stream.js", SCRIPT, "stream.js";
    "/table.js", SCRIPT, "table.js";
    "/theme.js", SCRIPT, "theme.js";
    "/token.js", SCRIPT, "token.js";
};

/// Serves the files.
pub(super) fn router<S: Clone + Send + Sync + 'static>() -> Router<S> {
    FILES.into_iter().fold(Router::new(), |router, (path, content_type, content)| {
        let serve = move || async move { (HEADERS, [(header::CONTENT_TYPE, content_type)], content) };
        router.route(path, get(serve))
    })
}

/// Whether one of them is at this path.
pub(super) fn is_file(path: &str) -> bool {
    FILES.iter().any(|(known, ..)| *known == path)
}
