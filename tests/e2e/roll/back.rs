//! Rolls to a revision that doesn't work.

use super::stage::{Stage, different, event, told};
use super::users::{Users, courses, crowd};
use crate::cluster::ledger;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_script_that_raises_stops_the_roll_and_nobody_notices() {
    let mut stage = Stage::start(3).await;
    let users = Users::start(&stage.fleet.endpoint(), crowd()).await;
    let mut operator = stage.roll(&["--revision", "raises"]);
    let status = stage.serve(&mut operator).await;
    assert_eq!(status.code(), Some(3));
    assert_eq!(told(&operator, "replaced"), 0);
    let reason = event(&operator, "failed")["reason"].as_str().unwrap().to_owned();
    assert!(reason.contains("ValueError: the new revision is broken"), "{reason}");
    assert_eq!(event(&operator, "finished")["outcome"], "went_back");

    // What was started for it has ended, and the others are as they were.
    let status = stage.fleet.runners[0].server.wait(crate::server::LIMIT).await.unwrap();
    assert!(status.success(), "{status}");
    assert_eq!(stage.revisions().await, ["one"; 3]);
    assert_eq!(stage.target().await, "one");
    let accounts = users.finish("a roll to a script that raises").await;
    assert_eq!(courses(&accounts).iter().map(String::as_str).collect::<Vec<_>>(), ["one"]);
    ledger::check(&stage.fleet);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_fails_half_way_goes_back_to_what_there_was() {
    let mut stage = Stage::start(3).await;
    let mut users = Users::start(&stage.fleet.endpoint(), 20).await;
    stage.spoil = Some((2, "BROKEN"));
    let mut operator = stage.roll(&["--revision", "two"]);
    let status = stage.serve(&mut operator).await;
    assert_eq!(status.code(), Some(3));
    assert_eq!(told(&operator, "replaced"), 1);
    let reason = event(&operator, "failed")["reason"].as_str().unwrap().to_owned();
    assert!(reason.contains("RuntimeError: this machine has no database"), "{reason}");
    // One is started again for the one that had left.
    assert_eq!(stage.started, ["two", "two", "one"]);
    assert_eq!(stage.revisions().await, ["one"; 3]);
    users.click_on(2).await;
    let accounts = users.finish("a roll that fails half-way").await;
    for course in courses(&accounts) {
        assert!(course.ends_with("one"), "somebody was left behind: {course}");
    }
    // The second raised before it had written anything.
    ledger::check_with_tries(&stage.fleet, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_roll_that_may_not_go_back_stays_until_somebody_decides() {
    let mut stage = Stage::start(2).await;
    let mut operator = stage.roll(&["--revision", "raises", "--no-rollback"]);
    assert_eq!(stage.serve(&mut operator).await.code(), Some(4));
    assert_eq!(event(&operator, "finished")["outcome"], "stopped");
    let mut revisions = stage.revisions().await;
    revisions.sort();
    assert_eq!(revisions, ["one", "one", "raises"]);

    let mut another = stage.roll(&["--revision", "two"]);
    assert_eq!(stage.serve(&mut another).await.code(), Some(1));
    let said = another.output();
    assert!(said.contains("a roll to raises has not come to its end") && said.contains("--back"), "{said}");

    let mut back = stage.roll(&["--back"]);
    assert_eq!(stage.serve(&mut back).await.code(), Some(3));
    assert_eq!(different(&stage.revisions().await), ["one"].into());
    let mut another = stage.roll(&["--revision", "two"]);
    assert!(stage.serve(&mut another).await.success());
    assert_eq!(stage.revisions().await, ["two"; 2]);
}
