//! Machines that come and go, and those that are about to be taken away.

use std::time::Duration;

use streamfleet_testkit::aws::State;
use streamfleet_testkit::browser::Browser;

use super::stage::StageLaunch;
use crate::outlive::page::{count, press, until_counted};
use crate::server::{LIMIT, app, shown, until};

/// Sessions of a runner that is to go.
const SESSIONS: usize = 8;

async fn sessions(stage: &super::stage::Stage) -> Vec<Browser> {
    let mut browsers = Vec::new();
    for _ in 0..SESSIONS {
        let mut browser = Browser::open(&stage.fleet.endpoint()).await.unwrap();
        count(&mut browser, 1).await;
        browsers.push(browser);
    }
    browsers
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_machine_is_kept_until_its_last_session_has_left() {
    let gate = tempfile::tempdir().unwrap();
    let mut launch = StageLaunch::new(app("gated"), 2);
    launch.fleet.env = vec![("GATE", gate.path().join("open").display().to_string())];
    // Without heartbeats the machine would be gone after this.
    launch.terminating = Duration::from_secs(6);
    let mut stage = launch.start().await;
    let mut browsers = sessions(&stage).await;
    let busy = browsers.iter_mut().find(|browser| shown(browser, "runner").as_deref() == Some("r0")).unwrap();
    press(busy, "wait").await;
    busy.wait_for("waiting;").await.unwrap();

    stage.aws.terminate(&stage.instances[0].clone());
    let heartbeats = stage.calls("RecordLifecycleActionHeartbeat");
    // Each is good for six seconds, and they come every two.
    stage.aws.until_called("RecordLifecycleActionHeartbeat", heartbeats + 5).await.unwrap();
    assert_eq!(stage.aws.state(&stage.instances[0]), Some(State::TerminatingWait));
    std::fs::write(gate.path().join("open"), "").unwrap();
    until_counted(busy, "count", 2).await;
    stage.has_gone(0).await;
    for browser in &mut browsers {
        let next = crate::server::shown_number(browser, "count") + 1;
        count(browser, next).await;
        assert_eq!(shown(browser, "runner").as_deref(), Some("r1"));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn throttling_delays_and_loses_nothing() {
    let aws = streamfleet_testkit::aws::Aws::start().await.unwrap();
    for action in ["DescribeAutoScalingInstances", "DescribeLifecycleHooks", "CompleteLifecycleAction"] {
        aws.fail(action, "Throttling", 3);
    }
    let mut stage = StageLaunch::new(app("ledger"), 2).start_on(aws).await;
    let mut browsers = sessions(&stage).await;
    for action in ["RecordLifecycleActionHeartbeat", "CompleteLifecycleAction"] {
        stage.aws.fail(action, "Throttling", 3);
    }
    stage.aws.fail("DescribeLifecycleHooks", "ServiceUnavailable", 3);
    stage.aws.terminate(&stage.instances[0].clone());
    stage.has_gone(0).await;
    for browser in &mut browsers {
        count(browser, 2).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sessions_leave_a_spot_machine_at_once_and_the_runner_stays_until_it_is_told_to_go() {
    for is_notice in [true, false] {
        let mut stage = StageLaunch::new(app("ledger"), 2).start().await;
        let mut browsers = sessions(&stage).await;
        let spot = stage.instances[0].clone();
        if is_notice {
            stage.aws.spot_notice(&spot, Duration::from_mins(2));
        } else {
            stage.aws.recommend_rebalance(&spot);
        }
        let server = &mut stage.fleet.runners[0].server;
        until("sessions to have left", || server.output().contains("about to be taken away")).await;
        for browser in &mut browsers {
            let mut number = 1;
            loop {
                number += 1;
                count(browser, number).await;
                if shown(browser, "runner").as_deref() == Some("r1") {
                    break;
                }
            }
        }
        assert!(stage.fleet.runners[0].server.exit_status().unwrap().is_none(), "it ended");
        assert_eq!(stage.aws.state(&spot), Some(State::InService));
        // What the group does when a new machine serves in its place.
        stage.aws.terminate(&spot);
        stage.has_gone(0).await;
        assert_eq!(stage.fleet.runners[1].server.exit_status().unwrap(), None);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_is_stopped_by_hand_completes_nothing() {
    let mut stage = StageLaunch::new(app("clicks"), 1).start().await;
    let before = stage.aws.calls();
    stage.fleet.runners[0].server.signal(rustix::process::Signal::TERM).unwrap();
    let status = stage.fleet.runners[0].server.wait(LIMIT).await.unwrap();
    assert!(status.success(), "{status}");
    assert_eq!(stage.aws.calls(), before);
    assert_eq!(stage.aws.state(&stage.instances[0]), Some(State::InService));
}
