//! `GET /api/events`: the stream of events that a page draws.

use std::{convert::Infallible, future::ready};

use axum::{
    extract::State,
    response::{
        IntoResponse, Response,
        sse::{Event, Sse},
    },
};
use futures_util::{StreamExt as _, stream};
use http::{HeaderName, HeaderValue};
use tokio_stream::wrappers::{BroadcastStream, WatchStream};
use tracing::warn;

use super::Page;

/// Asks nginx, and proxies like it, to pass events on as they come.
const UNBUFFERED: (HeaderName, HeaderValue) =
    (HeaderName::from_static("x-accel-buffering"), HeaderValue::from_static("no"));

/// `history` first, then `cluster` once a second, and `happened` at once. A page that reads slowly misses some.
pub(super) async fn events(State(page): State<Page>) -> Response {
    let (latest, told) = page.happenings.subscribe();
    let told = BroadcastStream::new(told).filter_map(|told| ready(told.ok()));
    let happened = stream::iter(latest).chain(told).map(|data| event("happened", &data));
    let cluster = WatchStream::new(page.feed.subscribe()).filter_map(ready);
    let cluster = cluster.map(|data| event("cluster", &data));
    let history = page.history.tell().inspect_err(|error| warn!("cannot tell of past clicks: {error}"));
    let history = stream::iter(history.ok()).map(|data| event("history", &data));
    let events = history.chain(stream::select(happened, cluster)).map(Ok::<_, Infallible>);
    ([UNBUFFERED], Sse::new(events)).into_response()
}

fn event(name: &str, data: &str) -> Event {
    // JSON, as it is written here, has no line breaks.
    Event::default().event(name).data(data)
}
