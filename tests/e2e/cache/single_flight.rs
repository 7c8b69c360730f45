//! Many want a value that is not there: one computes it, and all have it, whatever becomes of that one.

use std::time::{Duration, Instant};

use rustix::process::{Signal, kill_process};
use streamfleet_testkit::browser::Browser;
use tokio::task::JoinSet;

use super::stage::{Mark, Stage, USERS, answered, compare};
use crate::cluster::fleet::Fleet;
use crate::outlive::page::put;
use crate::server::workers;
use streamfleet_testkit::wire::WidgetValue;

/// Sessions that want the same value.
const CROWD: usize = 100;
/// What nobody waits longer than. Unless the machine is very busy it is a tenth of that.
const LIMIT: Duration = Duration::from_secs(30);
const CALL: &str = "slow('x')";
const VALUE: &str = "'the value of x'";

/// Users who have made a call at once, and what each was shown after how long.
struct Crowd(JoinSet<(String, Duration)>);

impl Crowd {
    /// Opens so many sessions, and then has all of them make the call.
    async fn call(stage: &Stage, size: usize, call: &'static str) -> Self {
        let mut browsers = Vec::new();
        for _ in 0..size {
            browsers.push(Browser::open(&stage.endpoint()).await.unwrap());
        }
        Self::call_with(browsers, call).await
    }

    async fn call_with(browsers: Vec<Browser>, call: &'static str) -> Self {
        let mut waiting = JoinSet::new();
        for mut browser in browsers {
            put(&mut browser, "call", WidgetValue::Text(call.to_owned())).await;
            let began = Instant::now();
            waiting.spawn(async move {
                let answer = answered(&mut browser, call).await;
                (answer, began.elapsed())
            });
        }
        Self(waiting)
    }

    /// Asserts that all were shown the same.
    async fn expect(self, what: &str, expected: &str) {
        let answers = self.0.join_all().await;
        let longest = answers.iter().map(|(_, wait)| *wait).max().unwrap();
        eprintln!("{what}: {} sessions have been answered after {longest:.1?} at most", answers.len());
        for (answer, wait) in answers {
            assert_eq!(answer, expected);
            assert!(wait < LIMIT, "somebody waited for {wait:?}");
        }
    }
}

/// The number of the runner that a function runs on.
fn runner_of(fleet: &Fleet, mark: &Mark) -> usize {
    fleet.runners.iter().position(|runner| workers(&runner.server).contains(&mark.pid)).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crowd_has_a_value_computed_once() {
    let stage = Stage::fleet("crowd").await;
    let crowd = Crowd::call(&stage, CROWD, CALL).await;
    crowd.expect("in peace", VALUE).await;
    stage.assert_ran("slow x", 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crowd_of_one_process_has_a_value_computed_once() {
    let stage = Stage::plain("crowd").await;
    let crowd = Crowd::call(&stage, CROWD, CALL).await;
    crowd.expect("on plain Streamlit", VALUE).await;
    stage.assert_ran("slow x", 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_worker_has_its_value_computed_by_another() {
    let stage = Stage::fleet("crowd").await;
    let crowd = Crowd::call(&stage, CROWD, CALL).await;
    stage.until_ran("slow x", 1).await;
    kill_process(stage.runs("slow x")[0].pid, Signal::KILL).unwrap();
    crowd.expect("with the computing worker killed", VALUE).await;
    stage.assert_ran("slow x", 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_runner_has_its_value_computed_by_another() {
    let mut stage = Stage::fleet("crowd").await;
    let crowd = Crowd::call(&stage, CROWD, CALL).await;
    stage.until_ran("slow x", 1).await;
    let computing = stage.runs("slow x").remove(0);
    let victim = runner_of(stage.cluster(), &computing);
    stage.cluster().kill_runner(victim).await;
    crowd.expect("with the computing runner killed", VALUE).await;
    let runs = stage.runs("slow x");
    assert_eq!(runs.len(), 2, "{runs:#?}");
    assert_ne!(runs[0].pid, runs[1].pid);
}

/// Somebody else is computing, and closes the page: that run goes on, or another one is made.
#[tokio::test]
async fn who_computes_may_leave() {
    compare("crowd", async |stage| {
        stage.begin(0, "gated('a')").await;
        stage.until_ran("gated a", 1).await;
        stage.begin(2, "gated('a')").await;
        stage.users[2].wait_for("Running `gated(...)`.").await.unwrap();
        let endpoint = stage.endpoint();
        stage.users[0] = Browser::open(&endpoint).await.unwrap();
        stage.open_gate("a");
        assert_eq!(stage.finish(2, "gated('a')").await, "'passed a'");
        stage.expect_everywhere("gated('a')", "'passed a'").await;
    })
    .await;
}

/// Somebody who waits for another's value does something else instead.
#[tokio::test]
async fn who_waits_may_think_better_of_it() {
    compare("crowd", async |stage| {
        stage.begin(0, "gated('b')").await;
        stage.until_ran("gated b", 1).await;
        for user in [1, 2] {
            stage.begin(user, "gated('b')").await;
            stage.users[user].wait_for("Running `gated(...)`.").await.unwrap();
            stage.expect(user, "1 + 1", "2").await;
        }
        stage.open_gate("b");
        assert_eq!(stage.finish(0, "gated('b')").await, "'passed b'");
        stage.expect_everywhere("gated('b')", "'passed b'").await;
        stage.assert_ran("gated b", 1);
    })
    .await;
}

/// What is computed when it is cleared may be shown to whoever has it computed, but is not kept.
#[tokio::test]
async fn clearing_reaches_what_is_being_computed() {
    let mut stage = Stage::fleet("crowd").await;
    for (clear, gate) in [("gated.clear('c')", "c"), ("gated.clear()", "d"), ("st.cache_data.clear()", "e")] {
        let (call, value) = (format!("gated('{gate}')"), format!("'passed {gate}'"));
        let what = format!("gated {gate}");
        stage.begin(0, &call).await;
        stage.until_ran(&what, 1).await;
        stage.expect(3, clear, "None").await;
        // Who comes later has to do without it.
        stage.begin(2, &call).await;
        stage.until_ran(&what, 2).await;
        stage.open_gate(gate);
        for user in [0, 2] {
            assert_eq!(stage.finish(user, &call).await, value);
        }
        stage.expect_everywhere(&call, &value).await;
        stage.assert_ran(&what, 2);
    }
}

/// Everybody's own call raises, as it does where only one process is.
#[tokio::test]
async fn who_waits_for_an_exception_has_one_of_its_own() {
    const SIZE: usize = 12;
    let raised = "ValueError: failed after f";
    for own in [true, false] {
        let stage = if own { Stage::plain("crowd").await } else { Stage::fleet("crowd").await };
        let crowd = Crowd::call(&stage, SIZE, "failing('f')").await;
        stage.until_ran("failing f", 1).await;
        stage.open_gate("f");
        crowd.expect("with an exception", raised).await;
        stage.assert_ran("failing f", SIZE);
    }
}

/// Either side holds what the other wants next. In one process of plain Streamlit that is the end of both.
#[tokio::test]
async fn nobody_waits_in_a_circle() {
    let mut stage = Stage::fleet("crowd").await;
    // Whoever closes the circle computes the other value for itself; the other one may then have waited for what that one made of it.
    let calls = [
        (0, "left('left first')", ["'left(right)'", "'left(right(left))'"]),
        (2, "right('right first')", ["'right(left)'", "'right(left(right))'"]),
    ];
    for (user, call, _) in calls {
        stage.begin(user, call).await;
    }
    let mut waited = 0;
    for (user, call, values) in calls {
        let value = stage.finish(user, call).await;
        assert!(values.contains(&value.as_str()), "{value}");
        waited += usize::from(value == values[1]);
    }
    assert!(waited <= 1, "each has waited for the other");
    for what in ["left", "right"] {
        let runs = stage.runs(what).len();
        assert!((1..=2).contains(&runs), "{what} ran {runs} times");
    }
    // What has been computed is there for others.
    let (lefts, rights) = (stage.runs("left").len(), stage.runs("right").len());
    for user in 0..USERS {
        stage.call(user, "left('alone')").await;
        stage.call(user, "right('alone')").await;
    }
    stage.assert_ran("left", lefts);
    stage.assert_ran("right", rights);
}
