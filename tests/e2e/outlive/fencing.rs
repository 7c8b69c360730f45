//! An owner that sleeps past its lease, and wakes up with old news.

use rustix::process::{Pid, Signal, kill_process};
use streamfleet_testkit::browser::Browser;

use super::page::{count, press, until_counted};
use crate::cluster::fleet::FleetLaunch;
use crate::server::{shown, until, workers};

/// Who is stopped.
#[derive(Debug, Clone, Copy)]
enum Sleeper {
    /// Only the runner: its worker ends the run, and has the snapshot ready for when the runner wakes up.
    Runner,
    /// Its worker as well: the run goes on after they have woken up.
    Both,
}

async fn wakes_up_too_late(sleeper: Sleeper) {
    let folder = tempfile::tempdir().unwrap();
    let gate = folder.path().join("gate");
    let mut launch = FleetLaunch::new("gated");
    (launch.runners, launch.gateways) = (2, 1);
    launch.env = vec![("GATE", gate.to_str().unwrap().to_owned())];
    let mut fleet = launch.start().await;
    let mut browser = Browser::open(&fleet.endpoint()).await.unwrap();
    count(&mut browser, 1).await;
    let session = browser.client.session_id().to_owned();
    let old = fleet.owner(&session).await;
    let new = 1 - old;

    press(&mut browser, "wait").await;
    browser.wait_for("waiting;").await.unwrap();
    let mut stopped: Vec<Pid> = vec![fleet.runners[old].server.pid()];
    if let Sleeper::Both = sleeper {
        stopped.extend(workers(&fleet.runners[old].server));
    }
    for &pid in &stopped {
        kill_process(pid, Signal::STOP).unwrap();
    }
    until("the gateway to give it up", || fleet.gateways[0].server.output().contains("moved a session's pin")).await;
    std::fs::write(&gate, "").unwrap();
    // What was under way is done again by the new owner, once.
    until_counted(&mut browser, "count", 2).await;
    assert_eq!(shown(&browser, "runner"), Some(format!("r{new}")));
    count(&mut browser, 3).await;
    count(&mut browser, 4).await;

    for &pid in &stopped {
        kill_process(pid, Signal::CONT).unwrap();
    }
    until("the old owner to be fenced", || fleet.runners[old].server.output().contains("fenced")).await;
    count(&mut browser, 5).await;
    assert_eq!(fleet.owner(&session).await, new);
    // What was kept is the new owner's: the old one goes on from there.
    fleet.until_ready().await;
    fleet.kill_runner(new).await;
    count(&mut browser, 6).await;
    assert_eq!(shown(&browser, "runner"), Some(format!("r{old}")));
}

#[tokio::test]
async fn a_runner_that_slept_cannot_store_what_its_worker_did_meanwhile() {
    wakes_up_too_late(Sleeper::Runner).await;
}

#[tokio::test]
async fn a_runner_and_a_worker_that_slept_cannot_store_what_they_do_then() {
    wakes_up_too_late(Sleeper::Both).await;
}
