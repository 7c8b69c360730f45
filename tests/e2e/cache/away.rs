//! Redis is stopped, full, or has forgotten everything: values are computed where they are needed, and no user notices.

use std::time::{Duration, Instant};

use super::stage::{Stage, USERS};
use crate::server::LIMIT;

/// Each user has a known value and a new one, and clears: with Redis or without.
async fn go_on(stage: &mut Stage, known: usize, new: usize) {
    for number in [known, new, known] {
        stage.expect_everywhere(&format!("square({number})"), &(number * number).to_string()).await;
    }
    for user in 0..USERS {
        // Who clears has it cleared, in any case.
        let what = format!("square {new}");
        let before = stage.runs(&what).len();
        stage.expect(user, &format!("square.clear({new})"), "None").await;
        stage.expect(user, &format!("square({new})"), &(new * new).to_string()).await;
        assert!(stage.runs(&what).len() > before, "user {user} has what it has cleared");
    }
}

/// Waits until what one runner computes is there for the other. Uses numbers from `first` on.
async fn until_shared(stage: &mut Stage, first: usize) {
    let began = Instant::now();
    for number in first.. {
        stage.expect_everywhere(&format!("square({number})"), &(number * number).to_string()).await;
        if stage.runs(&format!("square {number}")).len() == 1 {
            eprintln!("values are shared again after {:.1?}", began.elapsed());
            return;
        }
        assert!(began.elapsed() < LIMIT, "values are not shared");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// That all is as it should be, to begin with or again.
async fn all_is_well(stage: &mut Stage, first: usize) {
    until_shared(stage, first).await;
    let cleared = first + 1000;
    for user in 0..USERS {
        stage.expect_everywhere(&format!("square({cleared})"), &(cleared * cleared).to_string()).await;
        stage.assert_ran(&format!("square {cleared}"), user + 1);
        stage.expect(user, &format!("square.clear({cleared})"), "None").await;
    }
}

#[tokio::test]
async fn a_stopped_redis_is_not_missed() {
    let mut stage = Stage::fleet("values").await;
    all_is_well(&mut stage, 10_000).await;
    stage.expect_everywhere("square(1)", "1").await;
    stage.cluster().redis.pause().unwrap();
    go_on(&mut stage, 1, 2).await;
    stage.cluster().redis.resume().unwrap();
    all_is_well(&mut stage, 20_000).await;
}

#[tokio::test]
async fn a_killed_redis_is_not_missed() {
    let mut stage = Stage::fleet("values").await;
    all_is_well(&mut stage, 10_000).await;
    stage.expect_everywhere("square(1)", "1").await;
    stage.cluster().redis.kill().await.unwrap();
    go_on(&mut stage, 1, 2).await;
    stage.cluster().redis.start_again().await.unwrap();
    all_is_well(&mut stage, 20_000).await;
}

#[tokio::test]
async fn a_full_redis_is_not_missed() {
    let mut stage = Stage::fleet("values").await;
    all_is_well(&mut stage, 10_000).await;
    stage.expect_everywhere("square(1)", "1").await;
    let settings = [("maxmemory-policy", "noeviction"), ("maxmemory", "1")];
    for (name, value) in settings {
        stage.cluster().redis.command::<()>(&["CONFIG", "SET", name, value]).await.unwrap();
    }
    stage.cluster().redis.command::<()>(&["SET", "key", "value"]).await.unwrap_err();
    go_on(&mut stage, 1, 2).await;
    stage.cluster().redis.command::<()>(&["CONFIG", "SET", "maxmemory", "0"]).await.unwrap();
    all_is_well(&mut stage, 20_000).await;
}

#[tokio::test]
async fn an_empty_redis_is_filled_again() {
    let mut stage = Stage::fleet("values").await;
    all_is_well(&mut stage, 10_000).await;
    stage.expect_everywhere("square(1)", "1").await;
    stage.cluster().redis.restart_empty().await.unwrap();
    go_on(&mut stage, 1, 2).await;
    all_is_well(&mut stage, 20_000).await;
    let keys: Vec<String> = stage.cluster().redis.command(&["KEYS", "*cache*"]).await.unwrap();
    assert!(!keys.is_empty(), "nothing is kept");
}

/// A runner that is cut off from Redis computes for itself, and has seen nothing cleared meanwhile when it is back.
#[tokio::test]
async fn a_runner_that_was_cut_off_has_no_old_values() {
    let mut stage = Stage::fleet("values").await;
    all_is_well(&mut stage, 10_000).await;
    stage.expect_everywhere("square(1)", "1").await;
    stage.assert_ran("square 1", 1);
    let runner = &stage.cluster().runners[0];
    runner.to_redis.blackhole();
    stage.expect(2, "square.clear(1)", "None").await;
    stage.expect(2, "square(1)", "1").await;
    stage.assert_ran("square 1", 2);
    stage.expect(0, "square(2)", "4").await;
    stage.cluster().runners[0].to_redis.heal();
    until_shared(&mut stage, 30_000).await;
    stage.expect(2, "square.clear(1)", "None").await;
    let before = stage.runs("square 1").len();
    stage.expect_everywhere("square(1)", "1").await;
    stage.assert_ran("square 1", before + 1);
}
