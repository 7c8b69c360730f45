//! `max_concurrent_runs`.

use futures_util::future::join_all;
use streamfleet_testkit::browser::Browser;

use crate::server::{launch, shown_number};

const AT_A_TIME: usize = 2;
const USERS: usize = 6;
const CLICKS: usize = 4;

#[tokio::test]
async fn so_many_scripts_run_at_a_time_and_all_have_their_turn() {
    let folder = tempfile::tempdir().unwrap();
    let ledger = folder.path().join("ledger");
    let server = launch("turns", 1)
        .env("STREAMFLEET_MAX_CONCURRENT_RUNS", AT_A_TIME.to_string())
        .env("LEDGER", &ledger)
        .start()
        .await
        .unwrap();
    let users = (0..USERS).map(async |_| {
        let mut browser = Browser::open(server.endpoint()).await.unwrap();
        let button = browser.widget("click").unwrap();
        for _ in 0..CLICKS {
            browser.click(&button).await.unwrap();
        }
        shown_number(&browser, "runs")
    });
    let runs = join_all(users).await;
    assert_eq!(runs, [i64::try_from(CLICKS + 1).unwrap(); USERS]);

    let ledger = std::fs::read_to_string(ledger).unwrap();
    let (mut running, mut most, mut total) = (0, 0, 0);
    for line in ledger.lines() {
        match line {
            "begin" => (running, total) = (running + 1, total + 1),
            _ => running -= 1,
        }
        most = most.max(running);
    }
    assert_eq!((running, most, total), (0, AT_A_TIME, USERS * (CLICKS + 1)));
}
