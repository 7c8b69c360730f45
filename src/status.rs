//! `streamfleet status`: the runners of a cluster and how they are.

use std::process::ExitCode;

use anyhow::Result;
use serde::Serialize;
use streamfleet_cluster::{Member, RunnerPhase};
use streamfleet_gateway::status::{CacheView, RunnerView};

use crate::{
    cli::StatusArgs,
    fleet::{self, Look, View},
    shutdown::Shutdown,
    table::{NOTHING, Side, Table, bytes, milliseconds, percent, plural, shortened},
};

/// A longer revision is cut off.
const REVISION: usize = 20;

/// Shows the runners. Ends with 1 if none is ready.
pub(crate) async fn run(args: StatusArgs, shutdown: Shutdown) -> Result<ExitCode> {
    let is_ready = fleet::watch(&args.look, &Runners, &shutdown).await?;
    Ok(if is_ready == Some(true) { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

struct Runners;

impl View for Runners {
    /// Whether any runner is ready.
    type Outcome = bool;

    fn sessions(&self) -> u32 {
        0
    }

    fn wants(&self, _: &Member) -> bool {
        true
    }

    fn show(&self, look: &Look, json: bool) -> Result<(String, bool)> {
        let shown = Shown::new(look);
        let text = if json { serde_json::to_string(&shown)? + "\n" } else { shown.text() + fleet::remark(look) };
        Ok((text, shown.totals.ready > 0))
    }
}

/// What is shown; as JSON, just this.
#[derive(Debug, Serialize)]
struct Shown<'a> {
    time: u64,
    cluster: &'a str,
    revision: Option<&'a str>,
    settling: bool,
    runners: Vec<RunnerView>,
    totals: Totals,
}

#[derive(Debug, Default, Serialize)]
struct Totals {
    runners: u64,
    /// Take sessions, and have answered.
    ready: u64,
    unreachable: u64,
    sessions: u64,
    running: u64,
    memory_bytes: u64,
    cache: CacheView,
    /// Of all looks into the cache, those that found something; nothing before the first.
    cache_hit_rate: Option<f64>,
}

impl<'a> Shown<'a> {
    fn new(look: &'a Look) -> Self {
        let runners: Vec<_> = look.runners.iter().map(RunnerView::from).collect();
        let ready = look.runners.iter().filter(|runner| runner.is_ready()).count() as u64;
        Self {
            time: look.time,
            cluster: &look.cluster,
            revision: look.revision.as_deref(),
            settling: look.settling,
            totals: Totals { ready, ..Totals::of(&runners) },
            runners,
        }
    }

    fn text(&self) -> String {
        if self.runners.is_empty() {
            return format!("No runner is in the cluster {:?}. Start one with: streamfleet runner APP\n", self.cluster);
        }
        let mut table = Table::new([
            ("RUNNER", Side::Left),
            ("PHASE", Side::Left),
            ("REVISION", Side::Left),
            ("ADDRESS", Side::Left),
            ("SESSIONS", Side::Right),
            ("RUNNING", Side::Right),
            ("QUEUE", Side::Right),
            ("CPU", Side::Right),
            ("MEMORY", Side::Right),
            ("WORKERS", Side::Right),
        ]);
        for runner in &self.runners {
            let nothing = || NOTHING.to_owned();
            let full = runner.phase == RunnerPhase::Ready && runner.room == Some(0);
            let ready = runner.workers.iter().filter(|worker| worker.state == "ready").count();
            table.row([
                runner.id.clone(),
                format!(
                    "{}{}{}",
                    phase(runner.phase),
                    if full { ", full" } else { "" },
                    if runner.reachable { "" } else { ", unreachable" }
                ),
                shortened(&runner.revision, REVISION),
                runner.address.clone(),
                runner.sessions.to_string(),
                runner.running.to_string(),
                runner.queue_wait_ms.map_or_else(nothing, milliseconds),
                runner.cpu.map_or_else(nothing, percent),
                bytes(runner.memory_bytes),
                if runner.reachable { format!("{ready}/{}", runner.workers.len()) } else { nothing() },
            ]);
        }
        format!("{}\n{}", table.render(), self.totals.text())
    }
}

impl Totals {
    fn of(runners: &[RunnerView]) -> Self {
        let sum = |value: fn(&RunnerView) -> u64| runners.iter().map(value).sum();
        let cache =
            runners.iter().filter_map(|runner| runner.cache).fold(CacheView::default(), |sum, cache| CacheView {
                worker_hits: sum.worker_hits + cache.worker_hits,
                node_hits: sum.node_hits + cache.node_hits,
                cluster_hits: sum.cluster_hits + cache.cluster_hits,
                misses: sum.misses + cache.misses,
                computations: sum.computations + cache.computations,
            });
        let hits = cache.worker_hits + cache.node_hits + cache.cluster_hits;
        Self {
            runners: runners.len() as u64,
            ready: 0,
            unreachable: sum(|runner| u64::from(!runner.reachable)),
            sessions: sum(|runner| runner.sessions.into()),
            running: sum(|runner| runner.running.into()),
            memory_bytes: sum(|runner| runner.memory_bytes),
            cache,
            cache_hit_rate: share(hits, hits + cache.misses),
        }
    }

    fn text(&self) -> String {
        let unreachable = match self.unreachable {
            0 => String::new(),
            number => format!(", {number} unreachable"),
        };
        let cluster = format!(
            "{}, {} ready{unreachable}; {}, {} running; {}\n",
            plural(self.runners, "runner"),
            self.ready,
            plural(self.sessions, "session"),
            self.running,
            bytes(self.memory_bytes),
        );
        cluster + &self.cache_text()
    }

    fn cache_text(&self) -> String {
        let Some(rate) = self.cache_hit_rate else { return String::new() };
        let cache = &self.cache;
        let looks = cache.worker_hits + cache.node_hits + cache.cluster_hits + cache.misses;
        let of_looks = |hits| share(hits, looks).map_or_else(|| NOTHING.to_owned(), percent);
        format!(
            "cache: {} of {} hit (worker {}, runner {}, cluster {}); {}\n",
            percent(rate),
            plural(looks, "look"),
            of_looks(cache.worker_hits),
            of_looks(cache.node_hits),
            of_looks(cache.cluster_hits),
            plural(cache.computations, "computation"),
        )
    }
}

#[expect(clippy::cast_precision_loss, reason = "two digits of it are shown")]
fn share(part: u64, whole: u64) -> Option<f64> {
    (whole > 0).then(|| part as f64 / whole as f64)
}

fn phase(phase: RunnerPhase) -> &'static str {
    match phase {
        RunnerPhase::Starting => "starting",
        RunnerPhase::Ready => "ready",
        RunnerPhase::Draining => "draining",
        RunnerPhase::Stopped => "stopped",
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::fleet::tests::look;

    #[test]
    fn runners_are_drawn_as_a_table() {
        let (text, is_ready) = Runners.show(&look(), false).unwrap();
        let expected = "\
RUNNER  PHASE                     REVISION      ADDRESS        SESSIONS  RUNNING   QUEUE   CPU  MEMORY  WORKERS
a-1     ready                     0123456789ab  10.0.0.1:8601         2        2  1.5 ms  25 %   1 GiB      1/2
b-1     draining                  0123456789ab  10.0.0.1:8601         0        1    0 ms   0 %     0 B      1/1
c-1     ready, full, unreachable  0123456789ab  10.0.0.1:8601        40        1       –     –   3 GiB        –

3 runners, 1 ready, 1 unreachable; 42 sessions, 4 running; 4 GiB
cache: 90 % of 100 looks hit (worker 70 %, runner 15 %, cluster 5 %); 9 computations
";
        assert_eq!(text, expected);
        assert!(is_ready);
    }

    #[test]
    fn nobody_ready_is_told_apart() {
        let mut look = look();
        look.runners.remove(0);
        assert!(!Runners.show(&look, true).unwrap().1, "a runner that can't be reached counts as ready");
        look.runners.clear();
        let (text, is_ready) = Runners.show(&look, false).unwrap();
        assert!(text.contains("No runner is in the cluster \"main\""), "{text}");
        assert!(!is_ready);
    }

    #[test]
    fn json_is_one_line_with_the_names_that_are_documented() {
        let (text, _) = Runners.show(&look(), true).unwrap();
        assert_eq!(text.find('\n'), Some(text.len() - 1));
        let shown: serde_json::Value = serde_json::from_str(&text).unwrap();
        let cache = json!({
            "worker_hits": 70, "node_hits": 15, "cluster_hits": 5, "misses": 10, "computations": 9
        });
        assert_eq!(
            shown["totals"],
            json!({
                "runners": 3, "ready": 1, "unreachable": 1, "sessions": 42, "running": 4, "memory_bytes": 4_u64 << 30,
                "cache": cache, "cache_hit_rate": 0.9
            })
        );
        assert_eq!((&shown["time"], &shown["cluster"]), (&json!(1_700_000_000_000_u64), &json!("main")));
        assert_eq!((&shown["revision"], &shown["settling"]), (&json!(null), &json!(false)));
        let workers = json!([
            { "index": 0, "state": "ready", "sessions": 0, "running": 1, "memory_bytes": 0, "lag_ms": 0.0, "restarts": 0 },
            { "index": 1, "state": "backing_off", "sessions": 0, "running": 1, "memory_bytes": 0, "lag_ms": 0.0, "restarts": 0 }
        ]);
        assert_eq!(
            shown["runners"][0],
            json!({
                "id": "a-1", "address": "10.0.0.1:8601", "phase": "ready", "revision": "0123456789ab", "sessions": 2,
                "room": null, "running": 2, "queue_wait_ms": 1.5, "cpu": 0.25, "memory_bytes": 1_u64 << 30, "reachable": true,
                "workers": workers, "cache": cache
            })
        );
        assert_eq!(shown["runners"][2]["reachable"], json!(false));
        assert_eq!(shown["runners"][2]["room"], json!(0));
    }
}
