//! What can't be kept, and workers that are replaced because of their age or size.

use streamfleet_testkit::browser::Browser;

use super::page::{count, press, until_counted};
use crate::cluster::fleet::FleetLaunch;
use crate::server::{launch, shown, shown_number, wait_for_workers};

#[tokio::test]
async fn what_cannot_be_kept_is_named_and_the_rest_survives() {
    let mut launch = FleetLaunch::new("unpicklable");
    (launch.runners, launch.gateways) = (2, 1);
    let mut fleet = launch.start().await;
    let mut browser = Browser::open(&fleet.endpoint()).await.unwrap();
    count(&mut browser, 1).await;
    assert_eq!(shown(&browser, "gone").as_deref(), Some(""));
    let owner = fleet.owner(browser.client.session_id()).await;
    let server = &mut fleet.runners[owner].server;
    for name in ["lock", "_thread.lock", "numbers", "generator", "socket.socket"] {
        server.wait_for_output(name, crate::server::LIMIT).await.unwrap();
    }
    // What is killed before has nothing to come back from, and is done again instead.
    let key = format!("streamfleet:default:snapshot:{{{}}}", browser.client.session_id());
    let stored = async || {
        anyhow::ensure!(fleet.redis.command::<bool>(&["HEXISTS", &key, "manifest"]).await?, "there is none");
        Ok(())
    };
    streamfleet_testkit::wait::until("the snapshot", crate::server::LIMIT, stored).await.unwrap();
    fleet.kill_runner(owner).await;
    count(&mut browser, 2).await;
    let runner = shown(&browser, "runner").unwrap();
    assert!(runner.starts_with(&format!("r{}", 1 - owner)), "it went to {runner}");
    // A function without a name of its own can be kept.
    assert_eq!(shown_number(&browser, "doubled"), 4);
    assert_eq!(shown(&browser, "gone").as_deref(), Some("lock numbers socket"));
}

#[tokio::test]
async fn an_old_worker_is_replaced_under_its_users() {
    let server = launch("clicks", 2)
        .env("STREAMFLEET_LOG_LEVEL", "info")
        .env("STREAMFLEET_WORKER_MAX_AGE", "3")
        .start()
        .await
        .unwrap();
    wait_for_workers(&server, 2).await;
    let mut browsers = Vec::new();
    for _ in 0..6 {
        let browser = Browser::open(server.endpoint()).await.unwrap();
        let first = shown_number(&browser, "pid");
        browsers.push((browser, first));
    }
    let began = std::time::Instant::now();
    let mut clicks = 0;
    while browsers.iter().any(|(browser, first)| shown_number(browser, "pid") == *first) {
        assert!(began.elapsed() < crate::server::LIMIT, "somebody is still in their first worker");
        clicks += 1;
        for (browser, _) in &mut browsers {
            count(browser, clicks).await;
        }
    }
    eprintln!("everybody was in another worker after {:.1?} and {clicks} clicks", began.elapsed());
    for (browser, _) in &mut browsers {
        count(browser, clicks + 1).await;
    }
}

#[tokio::test]
async fn a_worker_that_has_grown_is_replaced_under_its_users() {
    // Without the hoard, of 300 MB, a worker has less than half of it.
    let launch =
        launch("runaway", 2).env("STREAMFLEET_LOG_LEVEL", "info").env("STREAMFLEET_WORKER_MAX_MEMORY", "250MiB");
    let server = launch.start().await.unwrap();
    wait_for_workers(&server, 2).await;
    let mut browser = Browser::open(server.endpoint()).await.unwrap();
    count(&mut browser, 1).await;
    let first = shown_number(&browser, "pid");
    press(&mut browser, "hoard").await;
    until_counted(&mut browser, "count", 1).await;
    let began = std::time::Instant::now();
    let mut clicks = 1;
    while shown_number(&browser, "pid") == first {
        assert!(began.elapsed() < crate::server::LIMIT, "the worker is still there");
        clicks += 1;
        count(&mut browser, clicks).await;
    }
    count(&mut browser, clicks + 1).await;
}
