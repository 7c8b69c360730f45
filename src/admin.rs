//! The admin listener of a gateway or runner: how it is, for load balancers and service managers; its metrics, and a gateway's
//! cluster page, for those who show the admin token. Never on the public port.

use std::{future::Future, sync::Arc};

use anyhow::{Context as _, Result};
use axum::{
    Router,
    extract::{Request, State},
    middleware::{self, Next},
    response::{IntoResponse, Response},
    routing::get,
};
use http::{HeaderMap, StatusCode, header};
use streamfleet_gateway::page;
use streamfleet_telemetry::MetricsPage;
use tokio::net::TcpListener;
use tracing::{debug, warn};

use crate::secret::AdminToken;

/// Why a process should not be sent any work now; `None` if it may.
pub(crate) type Readiness = Arc<dyn Fn() -> Option<&'static str> + Send + Sync>;

/// What an admin listener serves.
pub(crate) struct AdminParts {
    /// Whether the process may be sent work.
    pub(crate) ready: Readiness,
    /// What `/metrics` tells.
    pub(crate) metrics: Arc<MetricsPage>,
    /// What operators show. Without one they are shown nothing.
    pub(crate) token: Option<AdminToken>,
    /// A gateway's page.
    pub(crate) page: Option<Router>,
}

/// Serves `/livez` (the process is alive), `/readyz` (it may be sent work), `/metrics` and the page until `stop`.
pub(crate) async fn serve(listener: TcpListener, parts: AdminParts, stop: impl Future<Output = ()> + Send + 'static) {
    tokio::select! {
        served = axum::serve(listener, router(parts)).into_future() => {
            if let Err(error) = served {
                debug!("the admin listener ended: {error}");
            }
        }
        () = stop => {}
    }
}

/// Binds a listener on `ADDRESS:PORT`.
pub(crate) async fn bind(address: &str, setting: &str) -> Result<TcpListener> {
    let listener = TcpListener::bind(address).await;
    listener.with_context(|| format!("cannot serve on {address} (see the setting {setting})"))
}

fn router(parts: AdminParts) -> Router {
    let AdminParts { ready, metrics, token, page } = parts;
    let readyz = move || async move {
        match ready() {
            None => (StatusCode::OK, "ok\n".to_owned()),
            Some(reason) => (StatusCode::SERVICE_UNAVAILABLE, format!("{reason}\n")),
        }
    };
    let guarded = page.unwrap_or_default().route("/metrics", get(move || async move { tell(&metrics) }));
    Router::new()
        .merge(guarded.layer(middleware::from_fn_with_state(Arc::new(token), guard)))
        .route("/livez", get(|| async { "ok\n" }))
        .route("/readyz", get(readyz))
}

fn tell(metrics: &MetricsPage) -> Response {
    match metrics.encode() {
        Ok(text) => ([(header::CONTENT_TYPE, MetricsPage::CONTENT_TYPE)], text).into_response(),
        Err(error) => {
            warn!("cannot tell the metrics: {error}");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
}

/// Lets those through who show the token, and everybody to the page's files, in which there is nothing to be seen.
async fn guard(State(token): State<Arc<Option<AdminToken>>>, request: Request, next: Next) -> Response {
    if page::is_file(request.uri().path()) {
        return next.run(request).await;
    }
    match &*token {
        None => {
            let text = "This is shown to those who have the admin token, and there is none: set admin_token or \
                        admin_token_file.\n";
            (StatusCode::FORBIDDEN, text).into_response()
        }
        Some(token) if shown(request.headers()).is_some_and(|shown| token.is(shown)) => next.run(request).await,
        Some(_) => {
            let text = "Show the admin token: Authorization: Bearer TOKEN\n";
            (StatusCode::UNAUTHORIZED, [(header::WWW_AUTHENTICATE, "Bearer")], text).into_response()
        }
    }
}

/// The token in a request (RFC 6750, section 2.1).
fn shown(headers: &HeaderMap) -> Option<&[u8]> {
    let (scheme, token) = headers.get(header::AUTHORIZATION)?.as_bytes().split_at_checked("Bearer ".len())?;
    scheme.eq_ignore_ascii_case(b"Bearer ").then_some(token)
}

#[cfg(test)]
mod tests {
    use axum::{
        body::{Body, to_bytes},
        routing::post,
    };
    use tower::ServiceExt as _;

    use super::*;

    const TOKEN: &str = "correct horse battery staple";

    fn admin(token: Option<&str>) -> Router {
        let page = Router::new()
            .route("/", get(|| async { "a file" }))
            .route("/api/events", get(|| async { "events" }))
            .route("/api/runners/{id}/drain", post(|| async { StatusCode::ACCEPTED }));
        router(AdminParts {
            ready: Arc::new(|| Some("leaving")),
            metrics: Arc::new(MetricsPage::new("1.2.3", "gateway", "r")),
            token: token.map(|token| AdminToken::load(Some(token), None).unwrap().unwrap()),
            page: Some(page),
        })
    }

    async fn ask(admin: &Router, request: &str, authorization: Option<&str>) -> Response {
        let (method, path) = request.split_once(' ').unwrap();
        let mut request = Request::builder().method(method).uri(path);
        if let Some(value) = authorization {
            request = request.header(header::AUTHORIZATION, value);
        }
        admin.clone().oneshot(request.body(Body::empty()).unwrap()).await.unwrap()
    }

    const GUARDED: [&str; 3] = ["GET /metrics", "GET /api/events", "POST /api/runners/a/drain"];

    #[tokio::test]
    async fn who_shows_the_token_is_let_in() {
        let admin = admin(Some(TOKEN));
        for request in GUARDED {
            for scheme in ["Bearer", "bearer"] {
                let answer = ask(&admin, request, Some(&format!("{scheme} {TOKEN}"))).await;
                assert!(answer.status().is_success(), "{request}: {}", answer.status());
            }
        }
        let answer = ask(&admin, "GET /metrics", Some(&format!("Bearer {TOKEN}"))).await;
        assert_eq!(answer.headers()[header::CONTENT_TYPE], MetricsPage::CONTENT_TYPE);
        let text = to_bytes(answer.into_body(), 1 << 20).await.unwrap();
        assert!(text.ends_with(b"# EOF\n"));
    }

    #[tokio::test]
    async fn nobody_else_is() {
        let admin = admin(Some(TOKEN));
        let wrong = [
            None,
            Some(String::new()),
            Some("Bearer".to_owned()),
            Some("Bearer ".to_owned()),
            Some(TOKEN.to_owned()),
            Some(format!("Basic {TOKEN}")),
            Some(format!("Bearer {TOKEN}r")),
            Some(format!("Bearer {}", &TOKEN[1..])),
        ];
        for request in GUARDED.into_iter().chain(["GET /api/", "GET //metrics", "GET /api/runners/a/drain"]) {
            for authorization in &wrong {
                let answer = ask(&admin, request, authorization.as_deref()).await;
                assert_eq!(answer.status(), StatusCode::UNAUTHORIZED, "{request}, {authorization:?}");
                assert_eq!(answer.headers()[header::WWW_AUTHENTICATE], "Bearer");
            }
        }
    }

    #[tokio::test]
    async fn without_a_token_it_is_said_what_to_set() {
        let admin = admin(None);
        for request in GUARDED {
            for authorization in [None, Some("Bearer "), Some("Bearer x")] {
                let answer = ask(&admin, request, authorization).await;
                assert_eq!(answer.status(), StatusCode::FORBIDDEN, "{request}");
                let text = to_bytes(answer.into_body(), 1 << 20).await.unwrap();
                assert!(String::from_utf8_lossy(&text).contains("set admin_token or admin_token_file"));
            }
        }
    }

    #[tokio::test]
    async fn probes_and_files_are_for_everybody() {
        for token in [None, Some(TOKEN)] {
            let admin = admin(token);
            assert_eq!(ask(&admin, "GET /livez", None).await.status(), StatusCode::OK);
            assert_eq!(ask(&admin, "GET /readyz", None).await.status(), StatusCode::SERVICE_UNAVAILABLE);
            assert_eq!(ask(&admin, "GET /", None).await.status(), StatusCode::OK);
        }
    }
}
