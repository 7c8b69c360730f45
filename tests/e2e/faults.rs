//! What happens when processes die, and what is left when everything ends.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use http::HeaderMap;
use rustix::process::{Pid, Signal, kill_process, test_kill_process};
use streamfleet_testkit::browser::{Browser, Page};
use streamfleet_testkit::client::{Client, ClientError};
use streamfleet_testkit::http as plain_http;
use streamfleet_testkit::process::Server;
use streamfleet_testkit::wire::ClientState;

use crate::outlive::clickers::Clickers;
use crate::server::{LIMIT, click, launch, start, until, wait_for_workers, workers};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_worker_is_replaced_and_its_users_stay() {
    let server = start("clicks", 2).await;
    let mut clickers = Clickers::start(server.endpoint(), 20).await;
    let victim = workers(&server)[0];
    kill_process(victim, Signal::KILL).unwrap();
    let start = Instant::now();
    until("the worker to be gone", || !workers(&server).contains(&victim)).await;
    wait_for_workers(&server, 2).await;
    eprintln!("the worker was replaced after {:?}", start.elapsed());
    clickers.click_on(2).await;
    clickers.finish().await.report("with a worker killed");
}

#[tokio::test]
async fn a_worker_that_keeps_dying_does_not_make_a_storm() {
    let server = start("clicks", 1).await;
    let mut seen = BTreeSet::new();
    let start = Instant::now();
    while start.elapsed() < Duration::from_secs(6) {
        for pid in workers(&server) {
            if seen.insert(pid.as_raw_nonzero()) {
                let _ = kill_process(pid, Signal::KILL);
            }
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    // Pauses of 0.1, 0.2, 0.4, 0.8, 1.6, 3.2 s leave room for seven in six seconds.
    assert!((3..=8).contains(&seen.len()), "{} starts in six seconds", seen.len());
    wait_for_workers(&server, 1).await;
    Browser::open(server.endpoint()).await.unwrap();
}

async fn all_gone(pids: &[Pid]) {
    until("the workers to be gone", || pids.iter().all(|&pid| is_gone(pid))).await;
}

fn is_gone(pid: Pid) -> bool {
    // Killed, and reaped by whoever adopted it, or at least a zombie.
    test_kill_process(pid).is_err()
        || std::fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_nonzero()))
            .is_ok_and(|stat| stat.rsplit(')').next().is_some_and(|rest| rest.trim_start().starts_with('Z')))
}

async fn busy_server() -> (Server, Vec<Pid>, Browser) {
    let server = start("clicks", 2).await;
    let mut browser = Browser::open(server.endpoint()).await.unwrap();
    click(&mut browser).await.unwrap();
    let pids = workers(&server);
    (server, pids, browser)
}

#[tokio::test]
async fn the_first_signal_ends_in_order() {
    for signal in [Signal::TERM, Signal::INT] {
        let (mut server, pids, mut browser) = busy_server().await;
        let start = Instant::now();
        server.signal(signal).unwrap();
        let status = server.wait(LIMIT).await.unwrap();
        eprintln!("{signal:?}: ended after {:?}", start.elapsed());
        assert!(status.success(), "{signal:?}: {status}");
        all_gone(&pids).await;
        // The browser was told, not cut off.
        let farewell = browser.client.next().await;
        assert!(matches!(farewell, Err(ClientError::Closed { code: Some(1001), .. })), "{farewell:?}");
    }
}

#[tokio::test]
async fn a_running_script_does_not_hold_up_the_end() {
    let mut server = start("slow", 1).await;
    let mut client = Client::connect(server.endpoint()).await.unwrap();
    client.rerun(ClientState::default()).await.unwrap();
    let mut page = Page::default();
    while !page.tree.contains("running;") {
        page.absorb(&client.next().await.unwrap()).unwrap();
    }
    let pids = workers(&server);
    let start = Instant::now();
    server.signal(Signal::TERM).unwrap();
    let status = server.wait(LIMIT).await.unwrap();
    eprintln!("with a script running: ended after {:?}", start.elapsed());
    assert!(status.success(), "{status}");
    all_gone(&pids).await;
}

#[tokio::test]
async fn a_second_signal_ends_at_once() {
    let mut server = start("slow", 1).await;
    let pids = workers(&server);
    // A worker that can't react would be waited for.
    for &pid in &pids {
        kill_process(pid, Signal::STOP).unwrap();
    }
    server.signal(Signal::INT).unwrap();
    tokio::time::sleep(Duration::from_millis(100)).await; // two signals at once would be one
    server.signal(Signal::INT).unwrap();
    let status = server.wait(LIMIT).await.unwrap();
    assert_eq!(status.code(), Some(130));
    all_gone(&pids).await;
}

#[tokio::test]
async fn no_python_is_left_when_the_parent_is_killed() {
    let (mut server, pids, _browser) = busy_server().await;
    server.quiet();
    server.signal(Signal::KILL).unwrap();
    all_gone(&pids).await;
}

#[tokio::test]
async fn a_worker_killed_while_nobody_is_there_is_replaced() {
    let server = launch("clicks", 1).start().await.unwrap();
    let before = workers(&server);
    kill_process(before[0], Signal::KILL).unwrap();
    until("a new worker", || workers(&server).first().is_some_and(|pid| *pid != before[0])).await;
    wait_for_workers(&server, 1).await;
    let mut browser = Browser::open(server.endpoint()).await.unwrap();
    assert_eq!(click(&mut browser).await.unwrap(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_page_load_survives_the_death_of_the_worker_that_answers_it() {
    let server = start("clicks", 2).await;
    let done = Arc::new(AtomicBool::new(false));
    let visitors: Vec<_> = (0..10)
        .map(|_| {
            let (endpoint, done) = (server.endpoint().clone(), Arc::clone(&done));
            tokio::spawn(async move {
                while !done.load(Ordering::SeqCst) {
                    let answer = plain_http::get(&endpoint, "/_stcore/host-config", HeaderMap::new()).await.unwrap();
                    assert_eq!(answer.status, 200);
                }
            })
        })
        .collect();
    for _ in 0..3 {
        let victim = workers(&server)[0];
        kill_process(victim, Signal::KILL).unwrap();
        until("the victim to be replaced", || !workers(&server).contains(&victim)).await;
        wait_for_workers(&server, 2).await;
    }
    done.store(true, Ordering::SeqCst);
    for visitor in visitors {
        visitor.await.unwrap();
    }
}
