//! Runners that give their sessions away: for good, or while their scripts run.

use rustix::process::Signal;
use streamfleet_proto::runner::{DrainProgress, DrainRequest, runner_client::RunnerClient};
use streamfleet_testkit::browser::Browser;
use tempfile::TempDir;
use tonic::transport::Endpoint;

use super::page::{count, press, until_counted};
use crate::cluster::fleet::{Fleet, FleetLaunch};
use crate::server::{LIMIT, shown, until};

const SESSIONS: usize = 10;

/// A cluster whose app waits for a file, and the folder in which that is to be.
async fn start(env: &[(&'static str, &str)]) -> (Fleet, TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let mut launch = FleetLaunch::new("gated");
    (launch.runners, launch.gateways) = (2, 1);
    launch.env = vec![("GATE", folder.path().join("gate").to_str().unwrap().to_owned())];
    launch.env.extend(env.iter().map(|(name, value)| (*name, (*value).to_owned())));
    (launch.start().await, folder)
}

fn open_gate(folder: &TempDir) {
    std::fs::write(folder.path().join("gate"), "").unwrap();
}

/// A user whose script waits, and the number of the runner where it does.
async fn waiting_user(fleet: &Fleet) -> (Browser, usize) {
    let mut browser = Browser::open(&fleet.endpoint()).await.unwrap();
    count(&mut browser, 1).await;
    press(&mut browser, "wait").await;
    browser.wait_for("waiting;").await.unwrap();
    let owner = fleet.owner(browser.client.session_id()).await;
    (browser, owner)
}

async fn ended_well(fleet: &mut Fleet, number: usize) {
    let status = fleet.runners[number].server.wait(LIMIT).await.unwrap();
    assert!(status.success(), "{status}");
}

#[tokio::test]
async fn a_drain_says_how_far_it_is() {
    let (fleet, _folder) = start(&[]).await;
    let mut browsers = Vec::new();
    for _ in 0..SESSIONS {
        let mut browser = Browser::open(&fleet.endpoint()).await.unwrap();
        count(&mut browser, 1).await;
        browsers.push(browser);
    }
    let mut there = 0;
    for browser in &browsers {
        there += u32::from(fleet.owner(browser.client.session_id()).await == 0);
    }
    assert!(there > 0, "nobody is there to be moved");

    let uri = format!("http://{}", fleet.runners[0].from_gateways.address());
    let channel = Endpoint::from_shared(uri).unwrap().connect().await.unwrap();
    let request = DrainRequest { deadline_ms: 60_000, stop: false };
    let mut answer = RunnerClient::new(channel).drain(request).await.unwrap().into_inner();
    let mut last = DrainProgress::default();
    while let Some(progress) = answer.message().await.unwrap() {
        assert!(progress.moved >= last.moved, "{last:?}, then {progress:?}");
        last = progress;
    }
    assert_eq!(last, DrainProgress { total: there, moved: there, left: 0, incomplete: 0 });
    for browser in &mut browsers {
        count(browser, 2).await;
        assert_eq!(fleet.owner(browser.client.session_id()).await, 1);
        assert_eq!(shown(browser, "runner").as_deref(), Some("r1"));
    }
    // Nobody comes any more.
    for _ in 0..SESSIONS {
        let browser = Browser::open(&fleet.endpoint()).await.unwrap();
        assert_eq!(shown(&browser, "runner").as_deref(), Some("r1"));
    }
}

#[tokio::test]
async fn a_script_that_runs_is_waited_for() {
    let (mut fleet, folder) = start(&[]).await;
    let (mut browser, owner) = waiting_user(&fleet).await;
    let (mut idle, mut moved) = (Browser::open(&fleet.endpoint()).await.unwrap(), 0);
    fleet.runners[owner].server.signal(Signal::TERM).unwrap();
    // Those who rest go at once.
    loop {
        moved += 1;
        count(&mut idle, moved).await;
        if fleet.owner(idle.client.session_id()).await != owner {
            break;
        }
    }
    assert_eq!(fleet.owner(browser.client.session_id()).await, owner);
    open_gate(&folder);
    until_counted(&mut browser, "count", 2).await;
    assert_eq!(shown(&browser, "runner"), Some(format!("r{owner}")), "the run has not been waited for");
    ended_well(&mut fleet, owner).await;
    count(&mut browser, 3).await;
    assert_eq!(shown(&browser, "runner"), Some(format!("r{}", 1 - owner)));
}

#[tokio::test]
async fn a_script_is_not_waited_for_beyond_the_limit() {
    let (mut fleet, folder) = start(&[("STREAMFLEET_DRAIN_LIMIT", "2")]).await;
    let (mut browser, owner) = waiting_user(&fleet).await;
    fleet.runners[owner].server.signal(Signal::TERM).unwrap();
    ended_well(&mut fleet, owner).await;
    // The press was not lost with the run that was stopped.
    open_gate(&folder);
    until_counted(&mut browser, "count", 2).await;
    assert_eq!(shown(&browser, "runner"), Some(format!("r{}", 1 - owner)));
    count(&mut browser, 3).await;
}

#[tokio::test]
async fn a_second_signal_does_not_wait() {
    let (mut fleet, folder) = start(&[]).await;
    let (mut browser, owner) = waiting_user(&fleet).await;
    let server = &mut fleet.runners[owner].server;
    server.signal(Signal::TERM).unwrap();
    // Two signals at once would be one.
    until("the runner to drain", || server.output().contains("stopping")).await;
    server.signal(Signal::TERM).unwrap();
    server.wait(LIMIT).await.unwrap();
    open_gate(&folder);
    until_counted(&mut browser, "count", 2).await;
    count(&mut browser, 3).await;
}

#[tokio::test]
async fn a_lone_runner_keeps_its_sessions_for_its_successor() {
    let mut launch = FleetLaunch::new("clicks");
    (launch.runners, launch.gateways) = (1, 1);
    let mut fleet = launch.start().await;
    let mut browser = Browser::open(&fleet.endpoint()).await.unwrap();
    count(&mut browser, 1).await;
    fleet.runners[0].server.signal(Signal::TERM).unwrap();
    press(&mut browser, "click").await;
    ended_well(&mut fleet, 0).await;
    fleet.succeed(0).await;
    until_counted(&mut browser, "count", 2).await;
    count(&mut browser, 3).await;
}
