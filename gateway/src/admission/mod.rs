//! Whether a visitor is let in. Where runners have limits (`max_sessions`, `memory_high`) and all of them are full, who comes anew
//! waits, in the one [line](streamfleet_cluster::Line) of the cluster: a browser on a page that says its place and lets it in by
//! itself, everybody else with a 503 and `Retry-After`.
//!
//! Sessions that are there already are never asked: one that comes back, whose owner was lost or is handed over goes on. Where no
//! runner has a limit, nothing of this happens.

mod visitor;
mod waiting;

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use axum::{body::Body, extract::Request, response::Response};
use http::{HeaderMap, HeaderValue, Method, header};
use streamfleet_cluster::{INSIDE, Turn, VisitorId};
use tokio::{
    runtime::Handle,
    time::{MissedTickBehavior, interval},
};
use tracing::debug;

use crate::{head::Ends, upstream::Upstream};

/// How often it is said who is inside: often enough that one failure loses nobody.
const RENEWAL: Duration = Duration::from_secs(INSIDE.as_secs() / 3);

/// Decides who is let in.
pub(crate) struct Admission {
    upstream: Arc<Upstream>,
    /// The visitors who are connected to this gateway, and with how many sessions.
    inside: Mutex<HashMap<VisitorId, u32>>,
}

/// What becomes of a request.
pub(crate) enum Entry {
    /// The app answers it. A browser that isn't known yet gets this cookie.
    In(Option<HeaderValue>),
    /// There is no room. This is the answer.
    Out(Response),
}

impl Admission {
    pub(crate) fn new(upstream: Arc<Upstream>) -> Arc<Self> {
        Arc::new(Self { upstream, inside: Mutex::default() })
    }

    /// Whether a browser may load the app's page, which is to be followed by a new session.
    pub(crate) async fn page(&self, client: Ends, headers: &HeaderMap) -> Entry {
        if !self.upstream.is_limited() {
            return Entry::In(None);
        }
        let known = visitor::of(headers);
        let visitor = known.unwrap_or_else(VisitorId::random);
        let cookie = known.is_none().then(|| visitor::cookie(visitor, client.scheme)).flatten();
        let turn = match self.upstream.room() {
            None => Turn::In,
            Some(free) => self.upstream.registry().ask(visitor, free).await.unwrap_or_else(|error| {
                debug!("the line can't be asked: {error}");
                if free > 0 { Turn::In } else { Turn::Wait { place: 0, waiting: 0 } }
            }),
        };
        let is_asking = waiting::is_asking(headers);
        match turn {
            Turn::In if is_asking => Entry::Out(waiting::let_in(cookie)),
            Turn::In => Entry::In(cookie),
            Turn::Wait { place, waiting } => {
                let metrics = &self.upstream.observer.metrics;
                metrics.waiting(waiting);
                if !is_asking {
                    metrics.turned_away("page");
                }
                Entry::Out(waiting::wait(place, waiting, is_asking, cookie))
            }
        }
    }

    /// Whether a new session may begin. Returns what says that its visitor is inside, for as long as it lives; or the answer if there
    /// is no room.
    pub(crate) async fn session(
        self: &Arc<Self>,
        headers: &HeaderMap,
        resumes: bool,
    ) -> Result<Option<Inside>, Response> {
        if !self.upstream.is_limited() {
            return Ok(None);
        }
        let known = visitor::of(headers);
        let visitor = known.unwrap_or_else(VisitorId::random);
        let registry = self.upstream.registry();
        let free = self.upstream.room().filter(|_| !resumes);
        let entered = match free {
            // Whoever can't be told apart will not come back as the same.
            None if known.is_none() => return Ok(None),
            None => registry.stay(&[visitor]).await.map(|()| true),
            Some(free) => registry.enter(visitor, free).await,
        };
        let entered = entered.unwrap_or_else(|error| {
            debug!("the line can't be asked: {error}");
            free.is_none_or(|free| free > 0)
        });
        if entered {
            return Ok(Some(self.come_in(visitor)));
        }
        self.upstream.observer.metrics.turned_away("session");
        Err(waiting::refuse())
    }

    /// Says who is inside, over and over, until dropped.
    pub(crate) async fn keep_up(self: Arc<Self>) {
        let mut renewals = interval(RENEWAL);
        renewals.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            renewals.tick().await;
            let visitors: Vec<_> = self.inside().keys().copied().collect();
            if !visitors.is_empty()
                && let Err(error) = self.upstream.registry().stay(&visitors).await
            {
                debug!("cannot say who is inside: {error}");
            }
        }
    }

    fn come_in(self: &Arc<Self>, visitor: VisitorId) -> Inside {
        *self.inside().entry(visitor).or_default() += 1;
        Inside { admission: Arc::clone(self), visitor }
    }

    fn inside(&self) -> MutexGuard<'_, HashMap<VisitorId, u32>> {
        self.inside.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A visitor's session is here.
pub(crate) struct Inside {
    admission: Arc<Admission>,
    visitor: VisitorId,
}

impl Drop for Inside {
    fn drop(&mut self) {
        let Self { admission, visitor } = self;
        let visitor = *visitor;
        {
            let mut inside = admission.inside();
            if let Some(sessions) = inside.get_mut(&visitor) {
                *sessions -= 1;
                if *sessions > 0 {
                    return;
                }
            }
            inside.remove(&visitor);
        }
        let admission = Arc::clone(admission);
        // Where the process is ending, others will find out by themselves.
        if let Ok(runtime) = Handle::try_current() {
            runtime.spawn(async move {
                if let Err(error) = admission.upstream.registry().leave(visitor).await {
                    debug!("cannot say that a visitor has left: {error}");
                }
            });
        }
    }
}

/// Whether this asks for the app's page, in which a new session begins. Streamlit answers every path with it that is nothing else.
pub(crate) fn is_page(request: &Request<Body>) -> bool {
    const OTHERS: [&str; 6] = ["/_stcore/", "/static/", "/component/", "/media/", "/auth/", "/oauth2callback"];
    let path = request.uri().path();
    let accept = request.headers().get_all(header::ACCEPT).iter();
    let wants_html = accept.into_iter().any(|value| value.as_bytes().windows(9).any(|part| part == b"text/html"));
    let is_known_other = OTHERS.iter().any(|other| path.contains(other));
    matches!(*request.method(), Method::GET | Method::HEAD) && wants_html && !is_known_other
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_pages_have_to_wait() {
        const BROWSER: &str = "text/html,application/xhtml+xml,*/*;q=0.8";
        for (method, path, accept, expected) in [
            ("GET", "/", BROWSER, true),
            ("GET", "/some/page?a=b", BROWSER, true),
            ("HEAD", "/", BROWSER, true),
            ("POST", "/", BROWSER, false),
            ("GET", "/", "*/*", false),
            ("GET", "/_stcore/health", BROWSER, false),
            ("GET", "/base/static/js/index.js", BROWSER, false),
            ("GET", "/oauth2callback", BROWSER, false),
        ] {
            let request = Request::builder().method(method).uri(path).header(header::ACCEPT, accept);
            assert_eq!(is_page(&request.body(Body::empty()).unwrap()), expected, "{method} {path} {accept}");
        }
    }
}
