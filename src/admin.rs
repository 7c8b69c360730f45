//! The admin listener of a gateway or runner: how it is, for load balancers and service managers. Never on the public port.

use std::{future::Future, sync::Arc};

use anyhow::{Context as _, Result};
use axum::{Router, http::StatusCode, routing::get};
use tokio::net::TcpListener;
use tracing::debug;

/// Why a process should not be sent any work now; `None` if it may.
pub(crate) type Readiness = Arc<dyn Fn() -> Option<&'static str> + Send + Sync>;

/// Serves `/livez` (the process is alive) and `/readyz` (it may be sent work) until `stop`.
pub(crate) async fn serve(listener: TcpListener, ready: Readiness, stop: impl Future<Output = ()> + Send + 'static) {
    let readyz = move || async move {
        match ready() {
            None => (StatusCode::OK, "ok\n".to_owned()),
            Some(reason) => (StatusCode::SERVICE_UNAVAILABLE, format!("{reason}\n")),
        }
    };
    let router = Router::new().route("/livez", get(|| async { "ok\n" })).route("/readyz", get(readyz));
    tokio::select! {
        served = axum::serve(listener, router).into_future() => {
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
