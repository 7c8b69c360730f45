//! Source that changes while the app is open: the page is told, and the next run is of the new source.

use std::path::Path;

use streamfleet_testkit::browser::Browser;
use streamfleet_testkit::process::Launch;
use streamfleet_testkit::wire::{Back, Forward};

use super::candidate;

const SCRIPT: &str = "import streamlit as st\nimport words\n\nst.write('script one', words.WORD)\n";
const MODULE: &str = "WORD = 'module one'\n";

#[tokio::test]
async fn plain_streamlit_notices_changed_source() {
    notices_changed_source(Launch::plain_streamlit).await;
}

#[tokio::test]
async fn streamfleet_notices_changed_source() {
    notices_changed_source(candidate).await;
}

/// Changes the script with "rerun on save" off, then a module of it with "rerun on save" on.
async fn notices_changed_source(launch: fn(&Path) -> Launch) {
    // Modules in hidden folders, as temporary ones are by default, are not watched.
    let folder = tempfile::Builder::new().prefix("reload-").tempdir().unwrap();
    let (script, module) = (folder.path().join("app.py"), folder.path().join("words.py"));
    std::fs::write(&script, SCRIPT).unwrap();
    std::fs::write(&module, MODULE).unwrap();
    let server = launch(&script).option("--server.fileWatcherType", "poll").start().await.unwrap();
    let mut browser = Browser::open(server.endpoint()).await.unwrap();
    assert!(browser.page.tree.contains("script one module one"));

    std::fs::write(&script, SCRIPT.replace("script one", "script number two")).unwrap();
    while !matches!(browser.client.next().await.unwrap().kind, Some(Forward::SessionEvent(_))) {}
    browser.rerun().await.unwrap();
    assert!(browser.page.tree.contains("script number two module one"));

    browser.client.send(Back::SetRunOnSave(true)).await.unwrap();
    std::fs::write(&module, MODULE.replace("one", "number two")).unwrap();
    browser.wait_for("script number two module number two").await.unwrap();
}
