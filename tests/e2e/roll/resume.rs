//! Rolls whose command dies.

use std::time::{Duration, Instant};

use rustix::process::Signal;
use streamfleet_testkit::process::Server;

use super::stage::{Stage, event, told};
use super::users::{Users, courses, crowd};
use crate::cluster::ledger;
use crate::server::LIMIT;

/// Somebody who has the lock keeps it for so long after they were heard of last.
const LEASE: Duration = Duration::from_secs(10);

/// Asks to go on until nobody has the lock any more.
async fn resumed(stage: &mut Stage) -> Server {
    let deadline = Instant::now() + LEASE + LIMIT;
    loop {
        let mut operator = stage.roll(&["--resume"]);
        let mut is_refused = false;
        stage
            .serve_until("a roll to begin or to be refused", || {
                is_refused = operator.exit_status().unwrap().is_some();
                is_refused || told(&operator, "started") == 1
            })
            .await;
        if !is_refused {
            return operator;
        }
        assert!(operator.output().contains("is under way, carried out by"), "{}", operator.output());
        assert!(Instant::now() < deadline, "the lock never ended");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_roll_is_gone_on_with_when_its_command_has_died() {
    let mut stage = Stage::start(3).await;
    let users = Users::start(&stage.fleet.endpoint(), crowd()).await;
    let mut operator = stage.roll(&["--revision", "two"]);
    stage.serve_until("the second runner to hand over", || told(&operator, "healthy") == 2).await;
    operator.quiet();
    operator.signal(Signal::KILL).unwrap();
    operator.wait(LIMIT).await.unwrap();

    let mut successor = resumed(&mut stage).await;
    let status = stage.serve(&mut successor).await;
    assert!(status.success(), "{status}");
    let started = event(&successor, "started");
    assert_eq!((&started["resumed"], &started["revision"]), (&true.into(), &"two".into()));
    // Of three runners, the second may have left while nobody was looking.
    assert!((1..=2).contains(&started["replaced"].as_u64().unwrap()), "{started}");
    assert_eq!(stage.started, ["two"; 3], "a runner was started twice");
    assert_eq!(stage.revisions().await, ["two"; 3]);
    stage.all_others_ended().await;
    let accounts = users.finish("a roll whose command died").await;
    assert_eq!(courses(&accounts).iter().map(String::as_str).collect::<Vec<_>>(), ["one two"]);
    let tries = told(&operator, "healthy") + told(&successor, "healthy");
    ledger::check_with_tries(&stage.fleet, tries);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_roll_at_a_time() {
    let mut stage = Stage::start(1).await;
    let mut first = stage.command(&["roll", "--json", "--revision", "two"]);
    stage.serve_until("a runner to be asked for", || told(&first, "waiting") == 1).await;
    for arguments in [&["--revision", "two"][..], &["--resume"], &["--back"]] {
        let mut second = stage.roll(arguments);
        assert_eq!(stage.serve(&mut second).await.code(), Some(1));
        let said = second.output();
        assert!(said.contains("a roll to two of the cluster \"default\" is under way"), "{said}");
    }
    // Told to end, it says how to go on, and lets others do so at once.
    first.signal(Signal::TERM).unwrap();
    assert_eq!(first.wait(LIMIT).await.unwrap().code(), Some(5));
    assert!(first.output().contains("streamfleet roll --resume"), "{}", first.output());
    let mut second = stage.roll(&["--resume"]);
    assert!(stage.serve(&mut second).await.success());
    assert_eq!(stage.revisions().await, ["two"]);
    let mut third = stage.roll(&["--resume"]);
    assert_eq!(stage.serve(&mut third).await.code(), Some(1));
    assert!(third.output().contains("no roll is under way"), "{}", third.output());
}
