//! What it takes to load a page in a real Chromium, from each candidate.

use std::path::Path;
use std::process::Stdio;

use anyhow::{Context as _, Result, ensure};
use futures_util::future::try_join_all;
use serde_json::Value;
use tokio::process::Command;

use crate::app::App;
use crate::candidate::Candidate;
use crate::spread::Spread;

/// A slow line: 10 Mbit/s and 40 ms there and back. Chromium's developer tools pretend it.
const SLOW_BYTES_PER_SECOND: u32 = 1_250_000;
const SLOW_LATENCY_MS: u32 = 40;

/// What one candidate's page takes.
#[derive(Debug)]
pub(crate) struct PageLoad {
    pub(crate) candidate: Candidate,
    /// Milliseconds until the app's text is there: as fast as the machine is, and over the slow line.
    pub(crate) here: Spread,
    pub(crate) far: Spread,
    pub(crate) bytes: u64,
    pub(crate) requests: u64,
}

/// How often each page is loaded.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Turns {
    pub(crate) here: usize,
    pub(crate) far: usize,
}

/// Loads the page of each of these candidates, in turns, with an empty cache each time.
pub(crate) async fn measure(binary: &Path, candidates: &[Candidate], turns: Turns) -> Result<Vec<PageLoad>> {
    let servers = try_join_all(candidates.iter().map(|candidate| candidate.start(binary, App::Counter))).await?;
    let urls: Vec<_> = servers.iter().map(|server| format!("http://{}/", server.endpoint.authority)).collect();
    let here = load(&urls, turns.here, 0, 0).await?;
    let far = load(&urls, turns.far, SLOW_BYTES_PER_SECOND, SLOW_LATENCY_MS).await?;
    let mut found = Vec::new();
    for (place, candidate) in candidates.iter().enumerate() {
        let of = |loads: &[Value], figure: &str| -> Vec<f64> {
            let own = loads.iter().filter(|load| load["place"] == place);
            own.filter_map(|load| load[figure].as_f64()).collect()
        };
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "counts")]
        let last = |figure: &str| of(&here, figure).last().map_or(0, |&count| count as u64);
        found.push(PageLoad {
            candidate: *candidate,
            here: Spread::of(of(&here, "ms")),
            far: Spread::of(of(&far, "ms")),
            bytes: last("bytes"),
            requests: last("requests"),
        });
    }
    Ok(found)
}

async fn load(urls: &[String], turns: usize, speed: u32, latency: u32) -> Result<Vec<Value>> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../browser/measure/page_load.js");
    let output = Command::new("node")
        .arg(script)
        .args([turns.to_string(), speed.to_string(), latency.to_string()])
        .args(urls)
        .stderr(Stdio::inherit())
        .kill_on_drop(true)
        .output()
        .await
        .context("node has to be installed, and tests/setup to have been run")?;
    ensure!(output.status.success(), "pages could not be loaded: {}", output.status);
    let text = String::from_utf8(output.stdout)?;
    text.lines().map(|line| serde_json::from_str(line).context("reading what Chromium has measured")).collect()
}
