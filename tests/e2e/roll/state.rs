//! Sessions whose state the new revision can't read.

use streamfleet_testkit::browser::Browser;

use super::stage::{Stage, event, told};
use crate::outlive::page::{count, press, toast};
use crate::server::shown;

/// Until the page shows this.
async fn until_shown(browser: &mut Browser, name: &str, value: &str) {
    while shown(browser, name).as_deref() != Some(value) {
        browser.settle().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_new_revision_can_t_read_goes_back_and_at_last_starts_afresh() {
    let mut stage = Stage::start(2).await;
    let mut browsers = Vec::new();
    for _ in 0..6 {
        let mut browser = Browser::open(&stage.fleet.endpoint()).await.unwrap();
        count(&mut browser, 1).await;
        press(&mut browser, "fill").await;
        until_shown(&mut browser, "basket", "full").await;
        browsers.push(browser);
    }
    let mut operator = stage.command(&["roll", "--json", "--revision", "two"]);
    stage.serve_until("a runner to be asked for", || told(&operator, "waiting") == 1).await;
    stage.begin(0, "two").await;
    // The first has left, the other is left: all are with the old revision still, with all that they had.
    stage.serve_until("another to be asked for", || told(&operator, "waiting") == 2).await;
    for browser in &mut browsers {
        count(browser, 2).await;
        assert_eq!(shown(browser, "version").as_deref(), Some("one"));
        assert_eq!(shown(browser, "basket").as_deref(), Some("full"));
    }
    stage.begin(1, "two").await;
    let status = stage.serve(&mut operator).await;
    assert!(status.success(), "{status}");
    let finished = event(&operator, "finished");
    assert!(finished["returned"].as_u64().unwrap() >= 1, "{finished}");
    assert_eq!(finished["afresh"], 6, "{finished}");
    for browser in &mut browsers {
        let text = toast(browser).await;
        assert!(text.contains("The app has been updated"), "{text}");
        until_shown(browser, "version", "two").await;
        assert_eq!(shown(browser, "basket").as_deref(), Some("none"));
        assert_eq!(shown(browser, "count").as_deref(), Some("0"));
        count(browser, 1).await;
    }
}
