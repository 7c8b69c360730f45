//! What a hit costs at each level of the shared cache, as an app's script sees it: against a hit in plain Streamlit's own cache, and
//! against computing the value anew on a second plain replica.

use std::collections::HashMap;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use streamfleet_testkit::browser::Browser;
use streamfleet_testkit::process::Server;
use streamfleet_testkit::wire::WidgetValue;

use crate::app::App;
use crate::candidate::Candidate;
use crate::cluster::Cluster;
use crate::spread::Spread;

/// Kinds of values, and how many calls the median is taken over.
const KINDS: [(&str, usize); 3] = [("1 KB", 200), ("1 MB", 30), ("50 MB", 5)];
/// Room for all values at each level.
const ROOM: &[(&str, &str)] = &[("STREAMFLEET_CACHE_MEMORY", "4GiB"), ("STREAMFLEET_CACHE_SIZE", "4GiB")];
/// After this time all values are in Redis.
const STORED_AFTER: Duration = Duration::from_secs(2);
/// So many sessions have been on every worker.
const MAX_SESSIONS: usize = 64;
/// Where the text of a code block is, as field numbers from `Element`.
const CODE_TEXT: [u64; 2] = [48, 1];

/// Medians of one turn, in microseconds.
#[derive(Debug, Clone, Copy)]
struct Medians {
    plain: f64,
    worker: f64,
    node: f64,
    cluster: f64,
    computed: f64,
}

/// What the columns of the table show.
const COLUMNS: [fn(&Medians) -> f64; 5] = [|m| m.plain, |m| m.worker, |m| m.node, |m| m.cluster, |m| m.computed];

/// A session and the processes that it is in: the runner's id, the worker's.
struct Session {
    browser: Browser,
    input: String,
    place: (u32, u32),
}

/// Prints what hits cost, by kind of value and turn.
pub(crate) async fn measure(binary: &Path, turns: usize) -> Result<()> {
    let mut all: Vec<(&str, Medians)> = Vec::new();
    for turn in 0..turns {
        for (kind, medians) in measure_turn(binary).await? {
            eprintln!("{kind}, turn {}: {medians:.1?}", turn + 1);
            all.push((kind, medians));
        }
    }
    println!("| value | plain hit | worker | node | cluster | computed |");
    println!("|---|---|---|---|---|---|");
    for (kind, _) in KINDS {
        let column = |read: fn(&Medians) -> f64| {
            let of_kind = all.iter().filter(|(other, _)| *other == kind);
            let times: Vec<f64> = of_kind.clone().map(|(_, medians)| read(medians)).collect();
            let ratios: Vec<f64> = of_kind.map(|(_, medians)| read(medians) / medians.plain).collect();
            format!("{:.3} ms, {} ×", Spread::of(times).median / 1e3, Spread::of(ratios))
        };
        let columns = COLUMNS.map(column);
        println!("| {kind} | {} |", columns.join(" | "));
    }
    println!(
        "\nMedians of {turns} turns; ratios to a hit in plain Streamlit's own cache within a turn, with their spread."
    );
    Ok(())
}

async fn measure_turn(binary: &Path) -> Result<Vec<(&'static str, Medians)>> {
    let plain = Candidate::Tuned.launch(binary, App::Cached).start().await?;
    let replica = Candidate::Tuned.launch(binary, App::Cached).start().await?;
    let cluster = Cluster::start(binary, App::Cached, ROOM).await?;
    let (mut plain, mut replica) = (Session::open(&plain).await?, Session::open(&replica).await?);
    let [mut first, mut beside, mut elsewhere] = sessions(&cluster.gateway).await?;
    let mut medians = Vec::new();
    for (number, (kind, count)) in KINDS.into_iter().enumerate() {
        // Once for whatever happens but once.
        for session in [&mut plain, &mut first, &mut beside, &mut elsewhere] {
            session.call(kind, 1, 10 + number).await?;
        }
        plain.call(kind, count, number).await?;
        first.call(kind, count, number).await?;
        tokio::time::sleep(STORED_AFTER).await;
        medians.push((
            kind,
            Medians {
                plain: plain.call(kind, count, number).await?,
                worker: first.call(kind, count, number).await?,
                node: beside.call(kind, count, number).await?,
                cluster: elsewhere.call(kind, count, number).await?,
                computed: replica.call(kind, count, number).await?,
            },
        ));
    }
    Ok(medians)
}

/// A session on one worker, one on another of the same runner, and one on another runner.
async fn sessions(gateway: &Server) -> Result<[Session; 3]> {
    let mut found: HashMap<(u32, u32), Session> = HashMap::new();
    for _ in 0..MAX_SESSIONS {
        let session = Session::open(gateway).await?;
        found.entry(session.place).or_insert(session);
        let places: Vec<_> = found.keys().copied().collect();
        for (runner, worker) in places.iter().copied() {
            let beside = places.iter().copied().find(|other| other.0 == runner && other.1 != worker);
            let elsewhere = places.iter().copied().find(|other| other.0 != runner);
            if let (Some(beside), Some(elsewhere)) = (beside, elsewhere) {
                let mut take = |place| found.remove(&place).context("a session is gone");
                return Ok([take((runner, worker))?, take(beside)?, take(elsewhere)?]);
            }
        }
    }
    anyhow::bail!("{MAX_SESSIONS} sessions came together on too few workers")
}

impl Session {
    async fn open(server: &Server) -> Result<Self> {
        let browser = Browser::open(server.endpoint()).await?;
        let input = browser.widget("order").context("the app has no input with the key \"order\"")?;
        let shown = shown(&browser, "process ").context("the app does not say where it is")?;
        let (runner, worker) = shown.split_once(' ').context("the app does not say where it is")?;
        let place = (runner.parse()?, worker.parse()?);
        Ok(Self { browser, input, place })
    }

    /// Calls the function so many times, each with another argument, and returns the median time in microseconds.
    async fn call(&mut self, kind: &str, count: usize, turn: usize) -> Result<f64> {
        // Once more the same would be no change.
        let nothing = WidgetValue::Text(String::new());
        self.browser.set(&self.input, nothing).await?;
        let order = format!("[\"{kind}\", {count}, {turn}]");
        self.browser.set(&self.input, WidgetValue::Text(order.clone())).await?;
        let text = shown(&self.browser, &format!("done {order} ")).context("the app has not done as it was told")?;
        let median: f64 = text.parse()?;
        ensure!(median > 0.0, "a call took no time");
        Ok(median)
    }
}

/// What a code block shows that begins so.
fn shown(browser: &Browser, beginning: &str) -> Option<String> {
    let texts = browser.page.tree.element_strings(&CODE_TEXT);
    texts.iter().find_map(|text| text.strip_prefix(beginning).map(str::to_owned))
}
