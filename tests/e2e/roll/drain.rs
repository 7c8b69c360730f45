//! `streamfleet drain`.

use streamfleet_testkit::browser::Browser;

use super::stage::{Stage, events};
use crate::outlive::page::count;
use crate::server::{LIMIT, shown};

const SESSIONS: usize = 8;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_runner_is_drained_and_ends() {
    let mut stage = Stage::start(2).await;
    let mut browsers = Vec::new();
    for _ in 0..SESSIONS {
        let mut browser = Browser::open(&stage.fleet.endpoint()).await.unwrap();
        count(&mut browser, 1).await;
        browsers.push(browser);
    }
    let mut nobody = stage.command(&["drain", "r7"]);
    assert_eq!(nobody.wait(LIMIT).await.unwrap().code(), Some(1));
    assert!(nobody.output().contains("no runner r7 is in the cluster"), "{}", nobody.output());

    let mut drain = stage.command(&["drain", "r0", "--stop", "--json"]);
    assert!(drain.wait(LIMIT).await.unwrap().success(), "{}", drain.output());
    let last = events(&drain).pop().unwrap();
    assert_eq!((&last["left"], &last["moved"]), (&0.into(), &last["total"]));
    let status = stage.fleet.runners[0].server.wait(LIMIT).await.unwrap();
    assert!(status.success(), "{status}");
    for browser in &mut browsers {
        count(browser, 2).await;
        assert_eq!(shown(browser, "runner").as_deref(), Some("r1"));
    }

    // For people, and without its end: it has nowhere to hand over to, so all stays until the limit.
    let mut drain = stage.command(&["drain", "r1", "--limit", "1"]);
    assert!(drain.wait(LIMIT).await.unwrap().success(), "{}", drain.output());
    assert!(drain.output().contains(&format!("{SESSIONS} sessions moved")), "{}", drain.output());
    assert!(stage.fleet.runners[1].server.exit_status().unwrap().is_none());
}
