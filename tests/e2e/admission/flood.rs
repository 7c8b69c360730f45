//! Ten times more visitors than there are places.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use http::StatusCode;
use tokio::task::JoinSet;
use tokio::time::sleep;

use super::visitor::Visitor;
use crate::cluster::fleet::{Fleet, FleetLaunch};
use crate::outlive::clickers::Clickers;
use crate::outlive::soak;
use crate::server::click;

const RUNNERS: usize = 2;

/// How many are there.
#[derive(Default)]
struct Inside {
    now: AtomicUsize,
    most: AtomicUsize,
    /// How many have been there.
    all: AtomicUsize,
}

/// Stands in line, clicks a few times, and makes room for others. Returns how long it stood in line.
async fn visit(mut visitor: Visitor, inside: Arc<Inside>) -> Duration {
    let began = Instant::now();
    while let Some((_, pause)) = visitor.ask_politely().await {
        sleep(pause).await;
    }
    let waited = began.elapsed();
    assert_eq!(visitor.load().await.status, StatusCode::OK);
    // Who has been let in has a place, and needs no second try.
    let mut browser = visitor.open().await.unwrap();
    inside.most.fetch_max(inside.now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
    for expected in 1..=3 {
        assert_eq!(click(&mut browser).await.unwrap(), expected);
    }
    // Its place is free no sooner than the connection ends.
    inside.now.fetch_sub(1, Ordering::SeqCst);
    drop(browser);
    inside.all.fetch_add(1, Ordering::SeqCst);
    waited
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn those_inside_go_on_and_those_outside_get_in_in_turn() {
    // Places, of which some are taken for good; and visitors.
    let (places, regulars, crowd) = if soak() { (40, 20, 400) } else { (8, 4, 40) };
    let mut launch = FleetLaunch::new("clicks");
    (launch.runners, launch.gateways) = (RUNNERS, 2);
    launch.env = vec![("STREAMFLEET_MAX_SESSIONS", (places / RUNNERS).to_string())];
    let fleet = launch.start().await;

    let first = Instant::now();
    let mut clickers = Clickers::start(&fleet.endpoint(), regulars).await;
    clickers.click_on(if soak() { 30 } else { 2 }).await;
    let (quiet, began) = (memory(&fleet), Instant::now());

    let inside = Arc::new(Inside::default());
    let mut visits = JoinSet::new();
    for _ in 0..crowd {
        visits.spawn(visit(Visitor::new(&fleet.endpoint()), Arc::clone(&inside)));
    }
    let mut waits = Vec::new();
    let mut most_memory = quiet;
    while let Some(waited) = visits.join_next().await {
        waits.push(waited.unwrap());
        most_memory = most_memory.max(memory(&fleet));
    }
    let ended = Instant::now();
    clickers.click_on(1).await;
    let times = clickers.finish().await;

    let (most, all) = (inside.most.load(Ordering::SeqCst), inside.all.load(Ordering::SeqCst));
    assert_eq!(all, crowd);
    assert!(most <= places - regulars, "{most} were inside at a time");
    waits.sort_unstable();
    eprintln!(
        "{crowd} visitors for {} places were all served in {:.1?}; they waited {:.1?} (median) and {:.1?} (longest); a gateway \
         had {} KiB before, {} KiB at most",
        places - regulars,
        began.elapsed(),
        waits[waits.len() / 2],
        waits.last().unwrap(),
        quiet,
        most_memory,
    );
    times.during(&[(first, began)]).report("clicks before");
    times.during(&[(began, ended)]).report("clicks in the flood");
}

/// What the larger gateway has in memory, in KiB.
fn memory(fleet: &Fleet) -> u64 {
    let of = |pid: i32| {
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:").map(str::to_owned));
        line.and_then(|line| line.trim().trim_end_matches(" kB").parse().ok()).unwrap_or(0)
    };
    fleet.gateways.iter().map(|gateway| of(gateway.server.pid().as_raw_nonzero().get())).max().unwrap_or(0)
}
