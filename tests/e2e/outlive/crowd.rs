//! Crowds of users click while one runner after the other is killed, or asked to end.

use std::time::Duration;

use tokio::time::{Instant, sleep_until};

use super::clickers::Clickers;
use super::soak;
use crate::cluster::{
    fleet::{Fleet, FleetLaunch},
    ledger,
};

/// Time between two killings, in the long version.
const PERIOD: Duration = Duration::from_secs(10);

async fn start() -> (Fleet, Clickers) {
    let fleet = FleetLaunch::new("ledger").start().await;
    let clickers = Clickers::start(&fleet.endpoint(), if soak() { 200 } else { 60 }).await;
    (fleet, clickers)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn runners_are_killed_and_nobody_notices() {
    let (mut fleet, mut clickers) = start().await;
    // Two minutes, or once each.
    let kills = if soak() { 12 } else { 3 };
    let mut next = Instant::now();
    for kill in 0..kills {
        let victim = kill % fleet.runners.len();
        fleet.kill_runner(victim).await;
        clickers.click_on(2).await;
        fleet.until_ready().await;
        next += PERIOD;
        if soak() {
            sleep_until(next).await; // the pace is what is asked for
        }
    }
    clickers.click_on(1).await;
    clickers.finish().await.report("with runners killed");
    let owners = ledger::check(&fleet);
    assert!(!owners.moved.is_empty(), "nobody had a session on any of the killed runners");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn runners_are_replaced_and_nobody_notices() {
    let (mut fleet, mut clickers) = start().await;
    let rounds = if soak() { 4 } else { 1 };
    let mut drains = Vec::new();
    for number in (0..fleet.runners.len()).cycle().take(rounds * fleet.runners.len()) {
        let (told, ended) = fleet.replace(number).await;
        eprintln!("r{number} had handed everything over after {:.1?}", ended - told);
        drains.push((told, ended));
        clickers.click_on(2).await;
    }
    let times = clickers.finish().await;
    times.report("with runners replaced");
    times.during(&drains).report("of those, while a runner was handing over");
    ledger::check(&fleet);
}

/// What the two above are to be compared with, and the control of the crowd itself.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crowd_in_peace() {
    let (fleet, mut clickers) = start().await;
    clickers.click_on(3).await;
    clickers.finish().await.report("in peace");
    assert!(ledger::check(&fleet).moved.is_empty());
}
