//! Every kind of disturbance in every step of a long course: each shows what it shows when nothing happens.
//!
//! Six users take the course at once, each five steps ahead of the next, so that five blows meet all thirty steps. In the
//! long version there is one user, and a blow in each step.

use rustix::process::{Signal, kill_process};
use streamfleet_testkit::process::Launch;

use super::acts::{ACTS, Course, Walker};
use crate::cluster::fleet::{Fleet, FleetLaunch};
use crate::server::{LIMIT, app, until, wait_for_workers, workers};

/// What happens to those who have the users' sessions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Blow {
    /// Nothing, as a control.
    Nothing,
    /// The runner is killed, and its worker with it.
    KillRunner,
    /// Only the worker is killed.
    KillWorker,
    /// The runner is asked to end.
    Drain,
}

/// When it happens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Moment {
    /// When everybody rests; and the users go on at once.
    Before,
    /// When the users' messages are on their way.
    During,
    /// As soon as the users have their answers; and they go on when all is well again.
    After,
}

async fn start() -> (Fleet, Course) {
    let mut launch = FleetLaunch::new("everything/app");
    (launch.runners, launch.gateways) = (2, 1);
    let fleet = launch.start().await;
    let course = Course::undisturbed(&fleet.endpoint()).await;
    (fleet, course)
}

async fn take_course(blow: Blow, moment: Moment) {
    let (mut fleet, course) = start().await;
    let users = if super::soak() { 1 } else { 6 };
    let rounds = ACTS.len() / users;
    let mut walkers = Vec::new();
    for number in 0..users {
        let mut walker = Walker::start(&fleet.endpoint()).await;
        walker.walk(number * rounds, &course).await;
        walkers.push(walker);
    }
    for _ in 0..rounds {
        if blow != Blow::Nothing {
            gather(&mut fleet, &mut walkers, &course).await;
        }
        if moment == Moment::Before {
            strike(blow, &mut fleet, &walkers).await;
        }
        for walker in &mut walkers {
            walker.begin().await;
        }
        if moment == Moment::During {
            strike(blow, &mut fleet, &walkers).await;
        }
        for walker in &mut walkers {
            walker.arrive(&course).await;
        }
        if moment == Moment::After {
            strike(blow, &mut fleet, &walkers).await;
        }
        for walker in &mut walkers {
            walker.look_again(&course).await;
        }
    }
}

/// Brings all sessions to one runner, with another one ready to take them.
async fn gather(fleet: &mut Fleet, walkers: &mut [Walker], course: &Course) {
    fleet.until_ready().await;
    while owners(fleet, walkers).await.len() > 1 {
        fleet.kill_runner(1).await;
        for walker in &mut *walkers {
            walker.look_again(course).await;
        }
        fleet.until_ready().await;
    }
    for runner in &fleet.runners {
        wait_for_workers(&runner.server, 1).await;
    }
}

/// The runners that have the users' sessions.
async fn owners(fleet: &Fleet, walkers: &[Walker]) -> Vec<usize> {
    let mut owners = Vec::new();
    for walker in walkers {
        owners.push(fleet.owner(walker.browser.client.session_id()).await);
    }
    owners.sort_unstable();
    owners.dedup();
    owners
}

async fn strike(blow: Blow, fleet: &mut Fleet, walkers: &[Walker]) {
    let owners = owners(fleet, walkers).await;
    let (&owner, rest) = owners.split_first().unwrap();
    assert!(rest.is_empty() || blow == Blow::Nothing, "several runners have the users' sessions: {owners:?}");
    match blow {
        Blow::Nothing => {}
        Blow::KillRunner => fleet.kill_runner(owner).await,
        Blow::KillWorker => {
            let server = &fleet.runners[owner].server;
            let victim = workers(server)[0];
            kill_process(victim, Signal::KILL).unwrap();
            until("the worker to be gone", || !workers(server).contains(&victim)).await;
        }
        Blow::Drain => {
            let server = &mut fleet.runners[owner].server;
            server.signal(Signal::TERM).unwrap();
            let status = server.wait(LIMIT).await.unwrap();
            assert!(status.success(), "{status}");
            fleet.succeed(owner).await;
        }
    }
}

macro_rules! every_step {
    ($($name:ident: $blow:ident, $moment:ident;)+) => {
        $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() {
                take_course(Blow::$blow, Moment::$moment).await;
            }
        )+
    };
}

every_step! {
    every_step_is_the_same_in_peace: Nothing, During;
    every_step_survives_a_runner_killed_before_it: KillRunner, Before;
    every_step_survives_a_runner_killed_in_it: KillRunner, During;
    every_step_survives_a_runner_killed_after_it: KillRunner, After;
    every_step_survives_a_worker_killed_before_it: KillWorker, Before;
    every_step_survives_a_worker_killed_in_it: KillWorker, During;
    every_step_survives_a_worker_killed_after_it: KillWorker, After;
    every_step_survives_a_handoff: Drain, During;
}

/// What all of the above compare with.
#[tokio::test]
async fn the_undisturbed_course_is_plain_streamlits() {
    let plain = Launch::plain_streamlit(&app("everything/app"));
    let (plain, (_fleet, course)) = tokio::join!(plain.start(), start());
    Course::undisturbed(plain.unwrap().endpoint()).await.assert_same(&course);
}
