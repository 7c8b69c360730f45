//! A visitor: a browser that loads the page, stands in line if it has to, and then opens the app.

use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use streamfleet_testkit::Endpoint;
use streamfleet_testkit::browser::Browser;
use streamfleet_testkit::client::{ClientError, ConnectOptions};
use streamfleet_testkit::http::{self as plain_http, Response};

use crate::server::LIMIT;

const COOKIE: &str = "streamfleet_visit";

/// What a browser asks for pages with.
const ACCEPT: &str = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8";

/// Where a visitor stands.
#[derive(Debug, PartialEq, Eq)]
pub struct Standing {
    pub place: u64,
    pub waiting: u64,
}

pub struct Visitor {
    endpoint: Endpoint,
    headers: HeaderMap,
}

impl Visitor {
    pub fn new(endpoint: &Endpoint) -> Self {
        Self { endpoint: endpoint.clone(), headers: HeaderMap::new() }
    }

    /// Loads the app's page.
    pub async fn load(&mut self) -> Response {
        self.get(None).await
    }

    /// Asks as the waiting page does: nothing if it is the visitor's turn.
    pub async fn ask(&mut self) -> Option<Standing> {
        self.ask_politely().await.map(|(place, _)| place)
    }

    /// The same, with how long the page would wait before it asks again.
    pub async fn ask_politely(&mut self) -> Option<(Standing, Duration)> {
        let answer = self.get(Some("ask")).await;
        if answer.status == StatusCode::NO_CONTENT {
            return None;
        }
        assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE);
        let news: serde_json::Value = serde_json::from_slice(&answer.body).unwrap();
        let number = |name: &str| news[name].as_u64().unwrap_or_else(|| panic!("no {name} in {news}"));
        let place = Standing { place: number("place"), waiting: number("waiting") };
        Some((place, Duration::from_millis(number("ask_again_ms"))))
    }

    /// Opens a session.
    pub async fn open(&self) -> Result<Browser, ClientError> {
        let options = ConnectOptions { headers: self.headers.clone(), ..ConnectOptions::default() };
        Browser::open_with(&self.endpoint, options, "", "").await
    }

    /// Loads the page and opens a session, for which there is room.
    pub async fn come_in(&mut self) -> Browser {
        let page = self.load().await;
        assert_eq!(page.status, StatusCode::OK, "{}", String::from_utf8_lossy(&page.body));
        self.open().await.unwrap()
    }

    /// Waits for its turn, however often it has to ask.
    pub async fn wait(&mut self) {
        let its_turn = async || {
            let place = self.ask().await;
            anyhow::ensure!(place.is_none(), "{place:?}");
            Ok(())
        };
        streamfleet_testkit::wait::until("a visitor's turn", LIMIT, its_turn).await.unwrap();
    }

    async fn get(&mut self, asking: Option<&'static str>) -> Response {
        let mut headers = self.headers.clone();
        headers.insert(header::ACCEPT, HeaderValue::from_static(ACCEPT));
        if let Some(asking) = asking {
            headers.insert(HeaderName::from_static("streamfleet-line"), HeaderValue::from_static(asking));
        }
        let answer = plain_http::get(&self.endpoint, "/", headers).await.unwrap();
        if let Some(cookie) = answer.cookie(COOKIE) {
            self.headers.insert(header::COOKIE, format!("{COOKIE}={cookie}").parse().unwrap());
        }
        answer
    }
}

/// Whether somebody was sent away for want of room.
pub fn is_refused(opened: &Result<Browser, ClientError>) -> bool {
    match opened {
        Err(ClientError::Refused { status, body }) if *status == StatusCode::SERVICE_UNAVAILABLE => {
            assert!(body.contains("no room"), "{body}");
            true
        }
        Err(error) => panic!("{error}"),
        Ok(_) => false,
    }
}
