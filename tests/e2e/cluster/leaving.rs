//! Gateways and runners that are told to end.

use std::time::Duration;

use http::HeaderMap;
use rustix::process::Signal;
use streamfleet_testkit::browser::Browser;
use streamfleet_testkit::client::ClientError;
use streamfleet_testkit::http as plain_http;

use crate::cluster::{
    fleet::FleetLaunch,
    ledger,
    users::{Users, summary},
};
use crate::outlive::page::count;
use crate::server::{LIMIT, shown, until};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gateway_gives_notice_and_then_sends_its_browsers_elsewhere() {
    let mut launch = FleetLaunch::new("ledger");
    (launch.runners, launch.gateways, launch.shutdown) = (2, 3, (2.0, 2.0));
    let mut fleet = launch.start().await;
    let users = Users::start(&fleet.endpoint(), 30).await;
    let mut witness = Browser::open(&fleet.gateways[0].endpoint()).await.unwrap();

    fleet.gateways[0].server.signal(Signal::TERM).unwrap();
    // It stops being ready at once, but serves on: also those who come only now.
    let (admin, public) = (fleet.gateways[0].admin.clone(), fleet.gateways[0].endpoint());
    let leaving = async |endpoint: &_, path: &str| {
        let answer = plain_http::get(endpoint, path, HeaderMap::new()).await?;
        anyhow::ensure!(answer.status == 503, "{path} says {}", answer.status);
        Ok(())
    };
    for (endpoint, path) in [(&admin, "/readyz"), (&public, "/_stcore/health")] {
        streamfleet_testkit::wait::until("a gateway to say that it leaves", LIMIT, async || {
            leaving(endpoint, path).await
        })
        .await
        .unwrap();
    }
    let live = plain_http::get(&admin, "/livez", HeaderMap::new()).await.unwrap();
    assert_eq!(live.status, 200);
    let page = plain_http::get(&public, "/", HeaderMap::new()).await.unwrap();
    assert_eq!(page.status, 200);

    let farewell = witness.settle().await;
    assert!(matches!(farewell, Err(ClientError::Closed { code: Some(1012), .. })), "{farewell:?}");
    let status = fleet.gateways[0].server.wait(LIMIT).await.unwrap();
    assert!(status.success(), "{status}");
    users.keep_clicking(60).await;
    let reports = users.finish().await;
    eprintln!("a gateway left: {}", summary(&reports));
    assert!(reports.iter().all(|report| report.lost_on.is_empty()), "a session was lost");
    assert!(reports.iter().any(|report| report.disconnects > 0), "nobody was connected to it");
    ledger::check(&fleet);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_runner_that_leaves_has_nobody_wait_for_its_lease() {
    let mut launch = FleetLaunch::new("ledger");
    (launch.runners, launch.gateways) = (2, 1);
    let mut fleet = launch.start().await;
    let endpoint = fleet.gateways[0].endpoint();
    let mut browsers = Vec::new();
    for _ in 0..10 {
        browsers.push(Browser::open(&endpoint).await.unwrap());
    }
    fleet.runners[0].server.signal(Signal::TERM).unwrap();
    let status = fleet.runners[0].server.wait(LIMIT).await.unwrap();
    assert!(status.success(), "{status}");
    let members: Vec<String> = fleet.redis.command(&["HKEYS", "streamfleet:default:{members}"]).await.unwrap();
    assert_eq!(members.len(), 1, "{members:?}");
    for browser in &mut browsers {
        count(browser, 1).await;
        assert_eq!(shown(browser, "runner").as_deref(), Some("r1"));
    }
}

#[tokio::test]
async fn an_ended_session_leaves_no_pin_behind() {
    let mut launch = FleetLaunch::new("ledger");
    (launch.runners, launch.gateways) = (1, 1);
    launch.streamlit = vec![("--server.disconnectedSessionTTL", "1".to_owned())];
    let fleet = launch.start().await;
    let browser = Browser::open(&fleet.gateways[0].endpoint()).await.unwrap();
    let key = format!("streamfleet:default:pin:{{{}}}", browser.client.session_id());
    let exists = async || fleet.redis.command::<bool>(&["EXISTS", &key]).await.unwrap();
    assert!(exists().await);
    browser.client.close().await.unwrap();
    let mut left = true;
    let began = std::time::Instant::now();
    while left && began.elapsed() < LIMIT {
        tokio::time::sleep(Duration::from_millis(50)).await;
        left = exists().await;
    }
    assert!(!left, "the pin is still there");
    until("the runner to be there still", || fleet.runners[0].server.output().contains("ended")).await;
}
