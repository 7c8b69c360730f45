//! `streamfleet run --state DIR`: sessions outlive all processes of a single machine.

use std::path::Path;

use rustix::process::Signal;
use streamfleet_testkit::browser::Browser;
use streamfleet_testkit::process::{Launch, Server};

use super::page::count;
use crate::server::{LIMIT, launch, public_id, shown_number, wait_for_workers};

const COUNTED: i64 = 5;

fn with_state(folder: &Path) -> Launch {
    launch("clicks", 2).option("--state", folder.to_str().unwrap())
}

/// Starts the app, and counts.
async fn counted(launch: &Launch) -> (Server, Browser) {
    let server = launch.start().await.unwrap();
    wait_for_workers(&server, 2).await;
    let mut browser = Browser::open(server.endpoint()).await.unwrap();
    for number in 1..=COUNTED {
        count(&mut browser, number).await;
    }
    (server, browser)
}

#[tokio::test]
async fn a_session_outlives_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let launch = with_state(folder.path());
    let (mut server, mut browser) = counted(&launch).await;
    let session = browser.client.session_id().to_owned();
    let status = server.stop().await.unwrap();
    assert!(status.success(), "{status}");
    drop(server);

    let _server = launch.start().await.unwrap();
    browser.reconnect().await.unwrap();
    assert_eq!(browser.client.session_id(), session);
    assert_eq!(shown_number(&browser, "count"), COUNTED);
    count(&mut browser, COUNTED + 1).await;
}

#[tokio::test]
async fn a_session_outlives_a_crash() {
    let folder = tempfile::tempdir().unwrap();
    let launch = with_state(folder.path())
        .env("STREAMFLEET_LOG_LEVEL", "warn,streamfleet_runner=debug")
        .env("STREAMFLEET_LOG_FORMAT", "json");
    let (mut server, mut browser) = counted(&launch).await;
    let session = browser.client.session_id().to_owned();
    // What is not on disk yet is lost: gateway and runner are one process here, and end at once. The first message opened the page.
    let stored = format!("\"message\":\"stored\",\"session\":\"{}\",\"seq\":{}", public_id(&session), COUNTED + 1);
    server.wait_for_output(&stored, LIMIT).await.unwrap();
    server.quiet();
    server.signal(Signal::KILL).unwrap();
    server.wait(LIMIT).await.unwrap();
    drop(server);

    let _server = launch.start().await.unwrap();
    browser.reconnect().await.unwrap();
    assert_eq!(browser.client.session_id(), session);
    assert_eq!(shown_number(&browser, "count"), COUNTED);
    count(&mut browser, COUNTED + 1).await;
}

/// The control: without the folder nothing is kept.
#[tokio::test]
async fn without_a_folder_nothing_outlives_a_restart() {
    let launch = launch("clicks", 1);
    let server = launch.start().await.unwrap();
    let mut browser = Browser::open(server.endpoint()).await.unwrap();
    count(&mut browser, 1).await;
    drop(server);
    let _server = launch.start().await.unwrap();
    browser.reconnect().await.unwrap();
    assert_eq!(shown_number(&browser, "count"), 0);
}
