//! A hundred users click while parts of the cluster die, stop or are cut off.

use std::time::Duration;

use rustix::process::Signal;

use crate::cluster::{
    fleet::{Fleet, FleetLaunch},
    ledger,
    users::{Report, Users, summary},
};
use crate::server::until;

const USERS: usize = 100;
/// How long a user may be without an answer. The product's promise is 10 s on a machine that isn't busy with other tests.
const WAIT_LIMIT: Duration = Duration::from_secs(40);

async fn start() -> (Fleet, Users) {
    let fleet = FleetLaunch::new("ledger").start().await;
    let users = Users::start(&fleet.endpoint(), USERS).await;
    (fleet, users)
}

/// Everybody was answered in time, and only those on `victims` lost their sessions.
fn check(what: &str, reports: &[Report], victims: &[&str]) {
    eprintln!("{what}: {}", summary(reports));
    assert!(reports.iter().all(|report| report.longest_wait < WAIT_LIMIT), "somebody waited for too long");
    for report in reports {
        let bystander = report.lost_on.iter().find(|runner| !victims.contains(&runner.as_str()));
        assert_eq!(bystander, None, "a session was lost for no reason");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_gateway_costs_nobody_a_session() {
    let (mut fleet, users) = start().await;
    fleet.gateways[0].kill().await;
    users.keep_clicking(2 * USERS).await;
    fleet.replace_gateway(0).await;
    users.keep_clicking(USERS).await;
    let reports = users.finish().await;
    check("a gateway was killed", &reports, &[]);
    assert!(reports.iter().any(|report| report.disconnects > 0), "nobody was connected to it");
    assert!(ledger::check(&fleet).moved.is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sessions_go_on_without_redis() {
    let (mut fleet, users) = start().await;
    fleet.redis.pause().unwrap();
    // The time itself is what is tested: four leases.
    tokio::time::sleep(Duration::from_secs(20)).await;
    // New sessions are still placed, and found again by the gateway that has placed them.
    let newcomers = Users::start(&fleet.gateways[0].endpoint(), 5).await;
    fleet.redis.resume().unwrap();
    users.keep_clicking(3 * USERS).await;
    let reports = users.finish().await;
    check("Redis was away for 20 s", &reports, &[]);
    assert!(reports.iter().all(|report| report.disconnects == 0), "somebody was disconnected");
    check("newcomers meanwhile", &newcomers.finish().await, &[]);
    assert!(ledger::check(&fleet).moved.is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_empty_redis_is_filled_again() {
    let (mut fleet, users) = start().await;
    fleet.redis.restart_empty().await.unwrap();
    // Just now, before it can know everything again.
    fleet.gateways[1].kill().await;
    users.keep_clicking(3 * USERS).await;
    fleet.replace_gateway(1).await;
    users.keep_clicking(2 * USERS).await;
    let keys: Vec<String> = fleet.redis.command(&["KEYS", "*:pin:*"]).await.unwrap();
    let reports = users.finish().await;
    check("Redis was emptied and a gateway killed", &reports, &[]);
    assert!(keys.len() >= USERS, "only {} sessions are pinned again", keys.len());
    assert!(ledger::check(&fleet).moved.is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_runner_that_is_cut_off_is_fenced() {
    let (fleet, users) = start().await;
    fleet.runners[0].cut_off();
    // Its users have found another place, and go on clicking there.
    until("the gateways to give it up", || {
        fleet.gateways.iter().any(|gateway| gateway.server.output().contains("moved a session's pin"))
    })
    .await;
    users.keep_clicking(3 * USERS).await;
    fleet.runners[0].heal();
    until("it to be fenced", || fleet.runners[0].server.output().contains("fenced")).await;
    users.keep_clicking(2 * USERS).await;
    let reports = users.finish().await;
    check("a runner was cut off", &reports, &[]);
    let owners = ledger::check(&fleet);
    assert!(!owners.moved.is_empty());
    // Each session that was given away has been given up.
    until("all to be given up", || ledger::check(&fleet).fenced.len() >= owners.moved.len()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_runner_that_was_stopped_is_fenced() {
    let (fleet, users) = start().await;
    fleet.runners[0].server.signal(Signal::STOP).unwrap();
    until("the gateways to give it up", || {
        fleet.gateways.iter().any(|gateway| gateway.server.output().contains("moved a session's pin"))
    })
    .await;
    users.keep_clicking(3 * USERS).await;
    fleet.runners[0].server.signal(Signal::CONT).unwrap();
    until("it to be fenced", || fleet.runners[0].server.output().contains("fenced")).await;
    users.keep_clicking(2 * USERS).await;
    let reports = users.finish().await;
    check("a runner was stopped past its lease", &reports, &[]);
    let owners = ledger::check(&fleet);
    assert!(!owners.moved.is_empty());
    until("all to be given up", || ledger::check(&fleet).fenced.len() >= owners.moved.len()).await;
}
