//! The cluster page: its files, the events that it draws, and what can be done from it. `gateway/page/README.md` says what is
//! agreed with it.
//!
//! Who may see it is for whoever serves this to decide: everything under `/api/` is for operators only.

mod actions;
mod events;
mod feed;
mod files;
mod happenings;
mod history;

use std::sync::Arc;

use axum::{
    Router,
    routing::{get, post},
};

use self::{feed::Feed, happenings::Happenings, history::History};
use crate::upstream::Upstream;

/// What the page says of the gateway that serves it.
#[derive(Debug, Clone)]
pub struct PageOptions {
    /// The program's version.
    pub version: String,
    /// The cluster's name.
    pub cluster: String,
    /// Tells this gateway from others.
    pub gateway_id: String,
    /// Where a session's traces are, with `{session}` in the place of its public id.
    pub traces_url: Option<String>,
}

/// What the page's handlers share.
#[derive(Clone)]
struct Page {
    upstream: Arc<Upstream>,
    feed: Arc<Feed>,
    happenings: Arc<Happenings>,
    history: Arc<History>,
}

/// Serves the page of this gateway's cluster.
pub fn router(upstream: Arc<Upstream>, options: PageOptions) -> Router {
    let page = Page {
        feed: Arc::new(Feed::new(Arc::clone(&upstream), options)),
        happenings: Arc::new(Happenings::follow(&upstream)),
        history: Arc::new(History::follow(&upstream)),
        upstream,
    };
    files::router()
        .route("/api/events", get(events::events))
        .route("/api/runners/{id}/drain", post(actions::drain))
        .route("/api/sessions/{id}/stop", post(actions::stop))
        .with_state(page)
}

/// Whether there is one of the page's files at this path. There is nothing secret in them.
pub fn is_file(path: &str) -> bool {
    files::is_file(path)
}

#[cfg(test)]
mod tests;
