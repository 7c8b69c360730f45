//! Sessions: where they go, and how their browsers find them again.

use std::collections::HashMap;

use http::{HeaderName, HeaderValue};
use streamfleet_testkit::browser::{Browser, LocalFile};
use streamfleet_testkit::client::ConnectOptions;

use crate::server::{click, shown_number, start, until, workers};

#[tokio::test]
async fn sessions_go_to_the_least_loaded_worker() {
    let server = start("clicks", 3).await;
    let mut browsers = Vec::new();
    for _ in 0..9 {
        browsers.push(Browser::open(server.endpoint()).await.unwrap());
    }
    let mut shares: HashMap<i64, u32> = HashMap::new();
    for browser in &browsers {
        *shares.entry(shown_number(browser, "pid")).or_default() += 1;
    }
    assert_eq!(shares.into_values().collect::<Vec<_>>(), [3, 3, 3]);

    // Three leave one worker; the next three go there.
    let left = shown_number(&browsers[0], "pid");
    browsers.retain(|browser| shown_number(browser, "pid") != left);
    for _ in 0..3 {
        let browser = Browser::open(server.endpoint()).await.unwrap();
        // The departures may still be on their way when the first comes.
        browsers.push(browser);
    }
    let returned = browsers.iter().filter(|browser| shown_number(browser, "pid") == left).count();
    assert!(returned >= 1, "nobody went to the worker that had become idle");
}

#[tokio::test]
async fn a_browser_that_comes_back_gets_its_session() {
    let server = start("clicks", 2).await;
    let mut browser = Browser::open(server.endpoint()).await.unwrap();
    let session = browser.client.session_id().to_owned();
    let pid = shown_number(&browser, "pid");
    assert_eq!(click(&mut browser).await.unwrap(), 1);
    for expected in 2..6 {
        browser.reconnect().await.unwrap();
        assert_eq!(browser.client.session_id(), session);
        assert_eq!(shown_number(&browser, "pid"), pid);
        assert_eq!(click(&mut browser).await.unwrap(), expected);
    }
}

#[tokio::test]
async fn an_unknown_session_id_is_not_adopted() {
    let server = start("clicks", 2).await;
    for id in ["6f1ed002-ab55-4bd3-9d0a-000000000000", "nonsense", "../../x"] {
        let options = ConnectOptions::default().session(id);
        let browser = Browser::open_with(server.endpoint(), options, "", "").await.unwrap();
        assert_ne!(browser.client.session_id(), id);
        assert_eq!(shown_number(&browser, "count"), 0);
    }
}

#[tokio::test]
async fn somebody_else_does_not_get_the_session() {
    let server = crate::server::launch("clicks", 1)
        .args(["--server.trustedUserHeaders", r#"{"X-User": "email"}"#])
        .start()
        .await
        .unwrap();
    let as_user = |name: &'static str| {
        ConnectOptions::default().header(HeaderName::from_static("x-user"), HeaderValue::from_static(name))
    };
    let mut owner = Browser::open_with(server.endpoint(), as_user("ann"), "", "").await.unwrap();
    assert_eq!(click(&mut owner).await.unwrap(), 1);
    let session = owner.client.session_id().to_owned();

    let thief = Browser::open_with(server.endpoint(), as_user("bob").session(&session), "", "").await.unwrap();
    assert_ne!(thief.client.session_id(), session);
    assert_eq!(shown_number(&thief, "count"), 0);
    // The owner has noticed nothing.
    assert_eq!(click(&mut owner).await.unwrap(), 2);

    let back = Browser::open_with(server.endpoint(), as_user("ann").session(&session), "", "").await.unwrap();
    assert_eq!(back.client.session_id(), session);
    assert_eq!(shown_number(&back, "count"), 2);
}

#[tokio::test]
async fn an_abandoned_session_is_given_up_after_its_time() {
    let server =
        crate::server::launch("clicks", 1).args(["--server.disconnectedSessionTTL", "1"]).start().await.unwrap();
    let mut browser = Browser::open(server.endpoint()).await.unwrap();
    assert_eq!(click(&mut browser).await.unwrap(), 1);
    let options = browser.client.reconnect_options();
    drop(browser);
    tokio::time::sleep(std::time::Duration::from_secs(3)).await; // the time itself is what is tested
    let late = Browser::open_with(server.endpoint(), options, "", "").await.unwrap();
    assert_eq!(shown_number(&late, "count"), 0);
    until("the worker to be there", || workers(&server).len() == 1).await;
}

#[tokio::test]
async fn an_uploaded_file_is_kept_as_long_as_its_session() {
    let folder = tempfile::tempdir().unwrap();
    let server = crate::server::launch("clicks", 1)
        .args(["--server.disconnectedSessionTTL", "1", "--blobs"])
        .arg(folder.path())
        .start()
        .await
        .unwrap();
    let mut browser = Browser::open(server.endpoint()).await.unwrap();
    let session = folder.path().join(browser.client.session_id());
    let file = LocalFile { name: "a.txt", mime: "text/plain", content: b"hello" };
    let uploaded = browser.upload(&[file]).await.unwrap();
    let stored = session.join(&uploaded.uploaded_file_info[0].file_id);
    until("the file to be stored", || stored.exists()).await;
    assert!(std::fs::read(&stored).unwrap().ends_with(b"hello"));
    drop(browser);
    until("the file to go with its session", || !session.exists()).await;
}
