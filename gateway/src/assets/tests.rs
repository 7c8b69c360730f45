//! What is kept, for whom, and how often workers are asked.

use std::{
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

use http::{HeaderValue, Request, StatusCode};
use tokio::{
    sync::Notify,
    time::{sleep, timeout},
};

use super::*;

const LASTING: &str = "public, immutable, max-age=31536000";

/// A worker that counts how often it is asked.
struct Worker {
    asked: AtomicUsize,
    cache_control: &'static str,
    body: Bytes,
    /// Answers wait for this, if it is there.
    gate: Option<Notify>,
}

impl Worker {
    fn new(cache_control: &'static str, bytes: usize) -> Self {
        Self { asked: AtomicUsize::new(0), cache_control, body: Bytes::from(vec![b'x'; bytes]), gate: None }
    }

    fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }

    async fn answer(&self, request: request::Parts) -> Result<Response<Body>, GatewayError> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        if let Some(gate) = &self.gate {
            gate.notified().await;
        }
        if self.cache_control == LASTING && request.method == Method::GET {
            assert!(!OWN_AFFAIRS.iter().any(|name| request.headers.contains_key(name)));
        }
        let mut answer = Response::new(Body::from(self.body.clone()));
        let headers = answer.headers_mut();
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static(self.cache_control));
        headers.insert(header::CONTENT_LENGTH, self.body.len().into());
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/javascript"));
        headers.insert(header::ETAG, HeaderValue::from_static("\"abc\""));
        Ok(answer)
    }
}

fn request(method: Method, target: &str, headers: &[(HeaderName, &'static str)]) -> request::Parts {
    let mut request = Request::builder().method(method).uri(target).body(()).unwrap();
    for (name, value) in headers {
        request.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    request.into_parts().0
}

async fn get(assets: &Arc<Assets>, worker: &Worker, path: &str, accepted: &'static str) -> Response<Body> {
    let request = request(Method::GET, path, &[(header::ACCEPT_ENCODING, accepted)]);
    match assets.find(&request) {
        Some(answer) => answer,
        None => assets.fetch(request, |request| worker.answer(request)).await.unwrap(),
    }
}

#[test]
fn only_plain_requests_for_files_are_looked_at() {
    let may = |method, target: &str, headers: &[_]| may_be_kept(&request(method, target, headers), &Body::empty());
    for (target, expected) in [
        ("/static/js/index.DormvYxC.js", true),
        ("/base/path/static/css/a-b_c.css", true),
        ("/static/js/index.js?v=1", false),
        ("/static/", false),
        ("/static//index.js", false),
        ("/static//static/index.js", false),
        ("//static/index.js", false),
        ("/base//static/index.js", false),
        ("/static/js/../index.js", false),
        ("/static/js/%69ndex.js", false),
        ("/", false),
        ("/media/abc.png", false),
        ("/statics/index.js", false),
    ] {
        assert_eq!(may(Method::GET, target, &[]), expected, "{target}");
    }
    let path = "/static/js/index.js";
    assert!(may(Method::HEAD, path, &[(header::IF_NONE_MATCH, "\"a\"")]));
    assert!(!may(Method::POST, path, &[]));
    assert!(!may(Method::GET, path, &[(header::RANGE, "bytes=0-1")]));
    assert!(!may_be_kept(&request(Method::GET, path, &[]), &Body::from("something")));
}

#[tokio::test]
async fn a_file_is_fetched_once_and_then_sent_compressed() {
    let (assets, worker) = (Assets::new(Observer::none()), Worker::new(LASTING, 100_000));
    let first = get(&assets, &worker, "/static/a.js", "br").await;
    assert_eq!(first.headers().get(header::CONTENT_ENCODING), None);
    let compressed = async {
        while !get(&assets, &worker, "/static/a.js", "br").await.headers().contains_key(header::CONTENT_ENCODING) {
            sleep(Duration::from_millis(1)).await;
        }
    };
    timeout(Duration::from_mins(1), compressed).await.unwrap();
    let plain = get(&assets, &worker, "/static/a.js", "").await;
    assert_eq!(to_bytes(plain.into_body(), usize::MAX).await.unwrap(), worker.body);
    assert_eq!(worker.asked(), 1);
    assert!(assets.kept.weight() > 100_000);
}

#[tokio::test]
async fn who_has_a_file_is_told_so_when_it_is_not_kept_yet() {
    let (assets, worker) = (Assets::new(Observer::none()), Worker::new(LASTING, 1000));
    let request = request(Method::GET, "/static/a.js", &[(header::IF_NONE_MATCH, "\"abc-br\"")]);
    let answer = assets.fetch(request, |request| worker.answer(request)).await.unwrap();
    assert_eq!(answer.status(), StatusCode::NOT_MODIFIED);
}

#[tokio::test]
async fn all_who_come_at_once_share_a_fetch() {
    let assets = Assets::new(Observer::none());
    let worker = Worker { gate: Some(Notify::new()), ..Worker::new(LASTING, 1000) };
    let gets = || get(&assets, &worker, "/static/a.js", "");
    let open = async { worker.gate.as_ref().unwrap().notify_one() };
    let (a, b, c, ()) = tokio::join!(gets(), gets(), gets(), open);
    for answer in [a, b, c] {
        assert_eq!(to_bytes(answer.into_body(), usize::MAX).await.unwrap().len(), 1000);
    }
    assert_eq!(worker.asked(), 1);
}

#[tokio::test]
async fn who_leaves_while_fetching_does_not_take_the_others_along() {
    let assets = Assets::new(Observer::none());
    let worker = Worker { gate: Some(Notify::new()), ..Worker::new(LASTING, 1000) };
    let leaving = timeout(Duration::from_millis(20), get(&assets, &worker, "/static/a.js", ""));
    let staying = async {
        while worker.asked() < 2 {
            sleep(Duration::from_millis(1)).await;
        }
        worker.gate.as_ref().unwrap().notify_one();
    };
    let (left, stayed, ()) = tokio::join!(leaving, get(&assets, &worker, "/static/a.js", ""), staying);
    assert!(left.is_err());
    assert_eq!(stayed.status(), StatusCode::OK);
}

#[tokio::test]
async fn what_may_change_is_asked_for_each_time() {
    let (assets, worker) = (Assets::new(Observer::none()), Worker::new("no-cache", 1000));
    let gets = || get(&assets, &worker, "/static/unknown.js", "br");
    let (a, b) = tokio::join!(gets(), gets());
    for answer in [a, b, gets().await] {
        assert_eq!(to_bytes(answer.into_body(), usize::MAX).await.unwrap().len(), 1000);
    }
    assert_eq!((worker.asked(), assets.kept.weight()), (3, 0));
}

#[tokio::test]
async fn a_head_is_answered_by_what_is_kept_and_keeps_nothing() {
    let (assets, worker) = (Assets::new(Observer::none()), Worker::new(LASTING, 1000));
    let head = || request(Method::HEAD, "/static/a.js", &[]);
    assets.fetch(head(), |request| worker.answer(request)).await.unwrap();
    assert!(assets.find(&head()).is_none());
    get(&assets, &worker, "/static/a.js", "").await;
    assert_eq!(assets.find(&head()).unwrap().headers()[header::CONTENT_LENGTH], "1000");
}

#[tokio::test]
async fn an_answer_that_breaks_off_is_not_kept() {
    let assets = Assets::new(Observer::none());
    let broken = async |_: request::Parts| {
        let mut answer = Response::new(Body::from("half"));
        answer.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static(LASTING));
        answer.headers_mut().insert(header::CONTENT_LENGTH, HeaderValue::from_static("8"));
        Ok(answer)
    };
    let outcome = assets.fetch(request(Method::GET, "/static/a.js", &[]), broken).await;
    assert!(matches!(outcome, Err(GatewayError::BrokenOff)));
    assert_eq!(assets.kept.len(), 0);
}

#[tokio::test]
async fn there_is_an_end_to_what_is_kept() {
    let (assets, worker) = (Assets::new(Observer::none()), Worker::new(LASTING, asset::MAX_BYTES));
    for number in 0..12 {
        let answer = get(&assets, &worker, &format!("/static/{number}.js"), "").await;
        assert_eq!(answer.status(), StatusCode::OK);
    }
    assert!((MAX_KEPT_BYTES / 2..=MAX_KEPT_BYTES).contains(&assets.kept.weight()));
}
