//! A revision of the app has nothing to do with what another one has cached.

use std::path::Path;

use streamfleet_testkit::browser::Browser;

use super::stage::{Stage, path};
use crate::server::shown;

/// The function itself does not change, but what it uses does.
const SCRIPT: &str = r#"
import streamlit as st
from console import answer, ran

FACTOR = 2


@st.cache_data
def scaled(number):
    ran(f"scaled by {FACTOR}")
    return FACTOR * number


answer(globals())
"#;

fn write(folder: &Path, factor: u32) {
    std::fs::copy(path("console"), folder.join("console.py")).unwrap();
    let script = SCRIPT.replace("FACTOR = 2", &format!("FACTOR = {factor}"));
    std::fs::write(folder.join("app.py"), script).unwrap();
}

/// A session in a runner of this name.
async fn session_on(stage: &Stage, runner: &str) -> Browser {
    for _ in 0..100 {
        let browser = Browser::open(&stage.endpoint()).await.unwrap();
        if shown(&browser, "runner").as_deref() == Some(runner) {
            return browser;
        }
    }
    panic!("nobody gets to {runner}");
}

#[tokio::test]
async fn another_revision_has_other_values() {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), 2);
    let mut stage = Stage::fleet_of(folder.path().join("app.py"), &[]).await;
    stage.expect_everywhere("scaled(10)", "20").await;
    stage.assert_ran("scaled by 2", 1);

    write(folder.path(), 3);
    stage.cluster().replace(0).await;
    stage.users[0] = session_on(&stage, "r0.2").await;
    stage.users[2] = session_on(&stage, "r1").await;
    for _ in 0..2 {
        stage.expect(0, "scaled(10)", "30").await;
        stage.expect(2, "scaled(10)", "20").await;
    }
    stage.assert_ran("scaled by 3", 1);
    stage.assert_ran("scaled by 2", 1);
    // Nor does the one clear the other's.
    stage.expect(0, "st.cache_data.clear()", "None").await;
    stage.expect(2, "scaled(10)", "20").await;
    stage.expect(0, "scaled(10)", "30").await;
    stage.assert_ran("scaled by 3", 2);
    stage.assert_ran("scaled by 2", 1);

    // The one that is left follows, and has the values of its own.
    stage.cluster().replace(1).await;
    stage.users[2] = session_on(&stage, "r1.2").await;
    stage.expect(2, "scaled(10)", "30").await;
    stage.assert_ran("scaled by 3", 2);
}
