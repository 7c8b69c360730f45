//! One line, whichever gateway is asked; and who needn't stand in it.

use http::{HeaderMap, StatusCode};
use streamfleet_testkit::browser::Browser;
use streamfleet_testkit::http as plain_http;
use streamfleet_testkit::wait;

use super::visitor::{Standing, Visitor, is_refused};
use crate::cluster::fleet::{Fleet, FleetLaunch};
use crate::outlive::page;
use crate::server::{LIMIT, click, launch, shown_number, until};

async fn start(runners: usize, settings: &[(&'static str, &str)]) -> Fleet {
    let mut launch = FleetLaunch::new("clicks");
    (launch.runners, launch.gateways) = (runners, 2);
    launch.env = settings.iter().map(|&(name, value)| (name, value.to_owned())).collect();
    launch.start().await
}

/// Has visitors come in until all gateways say that there is no room, and one more who waits.
async fn fill(fleet: &Fleet, places: usize) -> (Vec<(Visitor, Browser)>, Visitor) {
    let mut inside = Vec::new();
    for _ in 0..places {
        let mut visitor = Visitor::new(&fleet.endpoint());
        // A place that has just been taken counts twice for a moment, when its runner says so too.
        visitor.wait().await;
        let browser = visitor.come_in().await;
        inside.push((visitor, browser));
    }
    let mut next = Visitor::new(&fleet.endpoint());
    for _ in &fleet.gateways {
        assert_eq!(next.ask().await, Some(Standing { place: 1, waiting: 1 }));
    }
    (inside, next)
}

#[tokio::test]
async fn who_comes_when_all_is_full_waits_for_a_place() {
    let fleet = start(2, &[("STREAMFLEET_MAX_SESSIONS", "2")]).await;
    let (mut inside, mut first) = fill(&fleet, 4).await;
    let mut second = Visitor::new(&fleet.endpoint());
    let page = second.load().await;
    assert_eq!(page.status, StatusCode::SERVICE_UNAVAILABLE);
    assert!(page.header("retry-after").is_some() && page.header("cache-control") == Some("no-store"));
    assert!(String::from_utf8_lossy(&page.body).contains(r#""place":2,"waiting":2"#));
    // Nobody gets round it, with or without standing in line.
    assert!(is_refused(&first.open().await));
    assert!(is_refused(&Browser::open(&fleet.endpoint()).await));
    // All that no session comes of is answered: balancers' checks, and what open pages ask for.
    for path in ["/_stcore/health", "/_stcore/host-config", "/static/favicon.png"] {
        let answer = plain_http::get(&fleet.endpoint(), path, HeaderMap::new()).await.unwrap();
        assert!(answer.status != StatusCode::SERVICE_UNAVAILABLE, "{path}");
    }

    // A place becomes free, and is the first one's.
    drop(inside.pop());
    first.wait().await;
    assert_eq!(second.ask().await, Some(Standing { place: 1, waiting: 1 }));
    let mut browser = first.come_in().await;
    assert_eq!(click(&mut browser).await.unwrap(), 1);
    for _ in &fleet.gateways {
        assert!(second.ask().await.is_some());
        assert!(is_refused(&second.open().await));
    }
    // Nobody has noticed anything.
    for (_, browser) in &mut inside {
        assert_eq!(click(browser).await.unwrap(), 1);
    }
}

#[tokio::test]
async fn who_is_inside_stays_inside() {
    let mut fleet = start(2, &[("STREAMFLEET_MAX_SESSIONS", "1")]).await;
    let (mut inside, mut next) = fill(&fleet, 2).await;
    let (mut visitor, mut browser) = inside.pop().unwrap();
    click(&mut browser).await.unwrap();
    // It loads the page anew, and has another session.
    assert_eq!(visitor.load().await.status, StatusCode::OK);
    drop(browser);
    let mut browser = visitor.open().await.unwrap();
    assert_eq!(shown_number(&browser, "count"), 0);
    // Its connection breaks, and it has the same session.
    click(&mut browser).await.unwrap();
    browser.reconnect().await.unwrap();
    assert_eq!(click(&mut browser).await.unwrap(), 2);
    // Its runner is lost, and there is no room where it goes on.
    let owner = fleet.owner(browser.client.session_id()).await;
    fleet.kill_runner(owner).await;
    page::count(&mut browser, 3).await;
    fleet.until_ready().await;
    // Meanwhile everybody else still waits, until there is room again.
    next.wait().await;
    next.come_in().await;
}

#[tokio::test]
async fn a_machine_short_of_memory_gets_nobody_new() {
    // Any machine is, by this measure.
    let mut fleet = start(1, &[("STREAMFLEET_MEMORY_HIGH", "1")]).await;
    let mut visitor = Visitor::new(&fleet.endpoint());
    assert_eq!(visitor.load().await.status, StatusCode::SERVICE_UNAVAILABLE);
    assert!(is_refused(&visitor.open().await));
    until("the reason to be told", || fleet.runners[0].server.output().contains("short of memory")).await;
    fleet.set_env("STREAMFLEET_MEMORY_HIGH", "0");
    fleet.kill_runner(0).await;
    fleet.until_ready().await;
    visitor.wait().await;
    visitor.come_in().await;
}

#[tokio::test]
async fn without_redis_there_is_no_line_but_there_are_places() {
    let mut fleet = start(1, &[("STREAMFLEET_MAX_SESSIONS", "1")]).await;
    let mut first = Visitor::new(&fleet.endpoint());
    assert_eq!(first.load().await.status, StatusCode::OK);
    fleet.redis.stop().await.unwrap();
    let browser = first.open().await.unwrap();
    let mut second = Visitor::new(&fleet.endpoint());
    assert_eq!(second.load().await.status, StatusCode::OK, "nobody knows that it is full");
    fleet.redis.start_again().await.unwrap();
    let full = async || {
        let place = second.ask().await;
        anyhow::ensure!(place.is_some(), "it is not full");
        Ok(())
    };
    wait::until("the line to be back", LIMIT, full).await.unwrap();
    drop(browser);
    second.wait().await;
}

#[tokio::test]
async fn one_process_has_a_line_too() {
    let server = launch("clicks", 1).env("STREAMFLEET_MAX_SESSIONS", "1").start().await.unwrap();
    let (mut one, mut other) = (Visitor::new(server.endpoint()), Visitor::new(server.endpoint()));
    let browser = one.come_in().await;
    assert_eq!(other.ask().await, Some(Standing { place: 1, waiting: 1 }));
    drop(browser);
    other.wait().await;
    let mut browser = other.come_in().await;
    assert_eq!(click(&mut browser).await.unwrap(), 1);
}

#[tokio::test]
async fn nobody_is_marked_where_there_is_no_limit() {
    let server = launch("clicks", 1).start().await.unwrap();
    let mut visitor = Visitor::new(server.endpoint());
    let page = visitor.load().await;
    assert_eq!((page.status, page.cookie("streamfleet_visit")), (StatusCode::OK, None));
}
