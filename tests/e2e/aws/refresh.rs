//! An instance refresh: Auto Scaling replaces one machine after the other, and no script helps.

use std::time::Duration;

use streamfleet_testkit::aws::{HookSpec, Outcome, State};

use super::stage::{GROUP, LAUNCHING, StageLaunch, TERMINATING, settings};
use crate::cluster::ledger;
use crate::roll::{
    stage::put,
    users::{Users, courses},
};
use crate::server::LIMIT;

const RUNNERS: usize = 3;

/// How many users click meanwhile.
fn crowd() -> usize {
    if crate::outlive::soak() { 300 } else { 100 }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refresh_replaces_all_machines_and_nobody_notices() {
    let link = tempfile::tempdir().unwrap();
    let link = link.path().join("app");
    let mut launch = StageLaunch::new(put("one", &link), RUNNERS);
    launch.fleet.revision = Some("one".to_owned());
    let mut stage = launch.start().await;
    let mut users = Users::start(&stage.fleet.endpoint(), crowd()).await;

    let (fleet, mut number) = (&mut stage.fleet, 0);
    let new = stage.aws.refresh(GROUP, async |aws, instance| {
        for (name, value) in settings(aws, instance) {
            fleet.set_env(name, &value);
        }
        fleet.begin(number, &put("two", &link), "two").await;
        number += 1;
    });
    assert!(new.await.unwrap(), "a new machine didn't come to serve");

    let done = |hook: &str| (hook.to_owned(), Outcome::Continued);
    for instance in &stage.instances {
        assert_eq!(stage.aws.outcomes(instance), [done(LAUNCHING), done(TERMINATING)]);
    }
    for runner in stage.fleet.past_runners() {
        let status = runner.server.wait(LIMIT).await.unwrap();
        assert!(status.success(), "{}: {status}", runner.name);
    }
    users.click_on(1).await;
    let accounts = users.finish("an instance refresh").await;
    for course in courses(&accounts) {
        // A new machine serves beside old ones, so a session may come to it late, and from it to an old one.
        assert!(course.starts_with("one") && course.ends_with("two"), "somebody was left behind: {course}");
    }
    ledger::check(&stage.fleet);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_machine_that_does_not_come_to_serve_is_given_up_and_the_old_ones_stay() {
    let mut stage = StageLaunch::new(crate::server::app("clicks"), 2).start().await;
    let impatient = HookSpec::launching(LAUNCHING, Duration::from_secs(2));
    stage.aws.make_group(GROUP, vec![impatient, HookSpec::terminating(TERMINATING, Duration::from_secs(2))]);
    let mut given_up = String::new();
    let new = stage.aws.refresh(GROUP, async |_, instance| instance.clone_into(&mut given_up)).await.unwrap();
    assert!(!new);
    let outcome = |hook: &str| (hook.to_owned(), Outcome::TimedOut);
    assert_eq!(stage.aws.outcomes(&given_up), [outcome(LAUNCHING), outcome(TERMINATING)]);
    for number in 0..2 {
        assert_eq!(stage.aws.state(&stage.instances[number]), Some(State::InService));
        assert!(stage.fleet.runners[number].server.exit_status().unwrap().is_none());
    }
}
