//! What those are told for whom there is no room.

use axum::{body::Body, response::Response};
use http::{HeaderMap, HeaderValue, StatusCode, header};
use serde::Serialize;

/// The header with which the waiting page asks, at its own address, whether it is its visitor's turn.
const ASKING: &str = "streamfleet-line";
/// Who can't stand in line is to try again after so many seconds.
const RETRY_AFTER: u64 = 10;
/// How often those ask who may be next; and everybody else at the latest: well within what an active visitor is waited for.
const PAUSES_MS: (u64, u64) = (2_000, 10_000);
/// How many may be next.
const NEXT: u64 = 20;

const PAGE: &str = include_str!("waiting.html");
/// Everything that the page needs is in it.
const POLICY: &str = "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; connect-src 'self'";

/// What the page is told.
#[derive(Serialize)]
struct News {
    /// From 1; 0 if nobody knows.
    place: u64,
    waiting: u64,
    ask_again_ms: u64,
}

/// Whether it is the waiting page that asks.
pub(super) fn is_asking(headers: &HeaderMap) -> bool {
    headers.contains_key(ASKING)
}

/// Tells the waiting page to load the app.
pub(super) fn let_in(cookie: Option<HeaderValue>) -> Response {
    answer(StatusCode::NO_CONTENT, Body::empty(), None, cookie)
}

/// The waiting page, or its news.
pub(super) fn wait(place: u64, waiting: u64, is_asking: bool, cookie: Option<HeaderValue>) -> Response {
    let ask_again_ms = pause_ms(place);
    let news = serde_json::to_string(&News { place, waiting, ask_again_ms }).unwrap_or_default();
    let (body, kind) = if is_asking {
        (news, "application/json")
    } else {
        (
            PAGE.replace("{news}", &news).replace("{seconds}", &(ask_again_ms / 1000).to_string()),
            "text/html; charset=utf-8",
        )
    };
    let mut response = answer(StatusCode::SERVICE_UNAVAILABLE, body.into(), Some(ask_again_ms / 1000), cookie);
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    headers.insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY));
    response
}

/// Tells somebody to come back later who does not show pages.
pub(super) fn refuse() -> Response {
    let text = "There is no room for another session at the moment. Try again later.\n";
    answer(StatusCode::SERVICE_UNAVAILABLE, text.into(), Some(RETRY_AFTER), None)
}

/// Those further back ask less often.
fn pause_ms(place: u64) -> u64 {
    let (shortest, longest) = PAUSES_MS;
    (shortest + place.saturating_sub(NEXT) * 100).min(longest)
}

fn answer(status: StatusCode, body: Body, retry_after: Option<u64>, cookie: Option<HeaderValue>) -> Response {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    if let Some(seconds) = retry_after {
        headers.insert(header::RETRY_AFTER, seconds.into());
    }
    if let Some(cookie) = cookie {
        headers.insert(header::SET_COOKIE, cookie);
    }
    response
}

#[cfg(test)]
mod tests {
    use streamfleet_cluster::ACTIVE;

    use super::*;

    #[test]
    fn those_further_back_ask_less_often_and_often_enough() {
        assert_eq!(pause_ms(1), 2_000);
        assert!(pause_ms(50) > pause_ms(1));
        // The page adds up to a fifth.
        assert!(u128::from(pause_ms(u64::MAX)) * 6 / 5 <= ACTIVE.as_millis());
    }

    #[test]
    fn the_page_has_its_news_in_it() {
        for part in ["{news}", "{seconds}"] {
            assert!(PAGE.contains(part), "{part}");
        }
        let response = wait(3, 5, false, None);
        assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(response.headers()[header::RETRY_AFTER], "2");
    }
}
