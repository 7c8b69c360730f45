//! Wire equivalence: plain Streamlit and Streamfleet run the same app and get the same clicks, and have to answer alike.
//!
//! Each folder in `tests/apps` holds an app and its `steps.toml`. After each step the two pages are compared node by
//! node (run-specific ids masked), and so are the runs that a step caused, everything else the server said, and the
//! answers to plain HTTP requests.
//!
//! With `STREAMFLEET_WIRE_SELF=1` plain Streamlit takes both sides. Whatever differs then is not repeatable in itself:
//! run this after changing an app, or these files.

mod apps;
mod coverage;
mod diff;
mod play;
mod reload;
mod scenario;

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use streamfleet_testkit::process::Launch;

use diff::Differences;
use play::Observation;
use scenario::Scenario;

/// The folder of all apps.
fn apps_folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/apps")
}

/// Plays an app's steps on both servers, and panics if they differ.
fn compare(app: &str) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let differences = runtime.block_on(compare_servers(&apps_folder().join(app))).unwrap();
    assert!(differences.is_empty(), "{app}: the servers differ (- plain Streamlit, + Streamfleet)\n{differences}");
}

async fn compare_servers(folder: &Path) -> Result<Differences> {
    let scenario = Scenario::load(folder)?;
    let app = folder.join(&scenario.script);
    let plain = Launch::plain_streamlit(&app);
    let (plain, candidate) = tokio::join!(observe(plain, &scenario), observe(candidate(&app), &scenario));
    Ok(Differences::between(&scenario, &plain.context("plain Streamlit")?, &candidate.context("Streamfleet")?))
}

/// The server under test.
fn candidate(app: &Path) -> Launch {
    if std::env::var_os("STREAMFLEET_WIRE_SELF").is_some_and(|value| value == "1") {
        Launch::plain_streamlit(app)
    } else {
        Launch::streamfleet(Path::new(env!("CARGO_BIN_EXE_streamfleet")), app).option("--workers", "2")
    }
}

/// Starts a server and plays the steps on it.
async fn observe(launch: Launch, scenario: &Scenario) -> Result<Vec<Observation>> {
    let server = launch.args(&scenario.args).base_path(&scenario.base_path).start().await?;
    let played = play::all_steps(server.endpoint(), scenario).await;
    played.with_context(|| format!("the server printed:\n{}", server.output()))
}

/// The comparison can fail: a changed app is told from the original, at the place that was changed and nowhere else.
#[tokio::test]
async fn a_changed_app_is_noticed() {
    let folder = tempfile::tempdir().unwrap();
    let counter = apps_folder().join("counter");
    std::fs::copy(counter.join("steps.toml"), folder.path().join("steps.toml")).unwrap();
    let scenario = Scenario::load(folder.path()).unwrap();
    let app = folder.path().join(&scenario.script);
    let source = std::fs::read_to_string(counter.join(&scenario.script)).unwrap();

    std::fs::write(&app, &source).unwrap();
    let original = observe(Launch::plain_streamlit(&app), &scenario).await.unwrap();
    std::fs::write(&app, source.replace("count += 1", "count += 1 + (st.session_state.count == 1)")).unwrap();
    let changed = observe(Launch::plain_streamlit(&app), &scenario).await.unwrap();

    let differences = Differences::between(&scenario, &original, &changed);
    assert_eq!(differences.places(), ["step 2: Click { key: \"add\" }, Element at [0, 1]"]);
    let report = differences.to_string();
    let shows = |sign: char, count: u32| report.contains(&format!("  {sign}   body: \"count `{count}`\""));
    assert!(shows('-', 2) && shows('+', 3), "{report}");
    assert!(Differences::between(&scenario, &original, &original).is_empty());
}
