//! Scripts that never end, that stop everything else in their process, or that end it.

use streamfleet_testkit::browser::Browser;
use streamfleet_testkit::process::Server;

use super::page::{count, press, toast};
use crate::server::{launch, shown_number, wait_for_workers};

const WORKERS: u32 = 2;

/// An app on two workers; somebody who is about to do something stupid, and neighbours in both.
async fn start(settings: &[(&str, &str)]) -> (Server, Browser, Vec<Browser>) {
    let mut launch = launch("runaway", WORKERS).env("STREAMFLEET_LOG_LEVEL", "info,streamfleet_runner=debug");
    for (name, value) in settings {
        launch = launch.env(name, value);
    }
    let server = launch.start().await.unwrap();
    wait_for_workers(&server, WORKERS as usize).await;
    let mut browsers = Vec::new();
    for _ in 0..2 * WORKERS {
        let mut browser = Browser::open(server.endpoint()).await.unwrap();
        count(&mut browser, 1).await;
        browsers.push(browser);
    }
    let culprit = browsers.remove(0);
    let with_culprit = |browser: &&Browser| shown_number(browser, "pid") == shown_number(&culprit, "pid");
    assert_eq!(browsers.iter().filter(with_culprit).count(), 1);
    (server, culprit, browsers)
}

/// Presses the fatal button, whose run can't be tried for ever: the user is told so by a toast, and all can go on.
async fn press_and_go_on(button: &str, mut culprit: Browser, neighbours: Vec<Browser>) {
    press(&mut culprit, button).await;
    eprintln!("{button}: {}", toast(&mut culprit).await);
    go_on(culprit, neighbours).await;
}

/// Everybody's counts are right, and everybody can go on.
async fn go_on(mut culprit: Browser, mut neighbours: Vec<Browser>) {
    for clicks in 2..=4 {
        count(&mut culprit, clicks).await;
        for neighbour in &mut neighbours {
            count(neighbour, clicks).await;
        }
    }
}

#[tokio::test]
async fn a_run_that_takes_too_long_is_given_up() {
    let (_server, mut culprit, neighbours) = start(&[("STREAMFLEET_RUN_TIMEOUT", "3")]).await;
    let worker = shown_number(&culprit, "pid");
    press(&mut culprit, "spin").await;
    // It has shown what it has, and the page says why there is no more.
    culprit.wait_for("This run was stopped").await.unwrap();
    go_on(culprit, neighbours).await;
    assert!(std::path::Path::new(&format!("/proc/{worker}")).exists(), "its worker had to go with it");
}

#[tokio::test]
async fn a_run_that_stops_its_whole_worker_is_given_up() {
    let (server, culprit, neighbours) = start(&[("STREAMFLEET_WORKER_STUCK_AFTER", "2")]).await;
    press_and_go_on("hang", culprit, neighbours).await;
    wait_for_workers(&server, WORKERS as usize).await;
}

#[tokio::test]
async fn a_run_that_kills_its_worker_is_tried_twice_and_given_up() {
    let (server, culprit, neighbours) = start(&[]).await;
    press_and_go_on("die", culprit, neighbours).await;
    wait_for_workers(&server, WORKERS as usize).await;
}
