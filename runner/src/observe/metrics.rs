//! What is counted as it happens.

use std::time::Duration;

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, histogram::Histogram},
    registry::{Registry, Unit},
};
use streamfleet_proto::worker::{RunOutcome, RunReason, RunReport};
use streamfleet_telemetry::{DurationFamily, duration_family, duration_histogram};

use super::runs::outcome;

/// What is counted as it happens.
#[derive(Debug)]
pub(crate) struct Metrics {
    runs: Family<Run, Counter>,
    run_duration: DurationFamily<Kind>,
    queue_wait: Histogram,
    snapshots: Family<Outcome, Counter>,
    snapshot_bytes: Counter,
    snapshot_lag: Histogram,
    handoffs: Family<Handoff, Counter>,
    unloadable: Family<Outcome, Counter>,
    restarts: Family<Reason, Counter>,
    lease_wait: Histogram,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Run {
    kind: &'static str,
    outcome: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Kind {
    kind: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Outcome {
    outcome: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Handoff {
    reason: &'static str,
    outcome: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Reason {
    reason: &'static str,
}

const KINDS: [&str; 2] = ["page", "fragment"];
const UNLOADABLE_OUTCOMES: [&str; 2] = ["returned", "afresh"];
const SNAPSHOT_OUTCOMES: [&str; 3] = ["saved", "failed", "refused"];

impl Default for Metrics {
    fn default() -> Self {
        let metrics = Self {
            runs: Family::default(),
            run_duration: duration_family(),
            queue_wait: duration_histogram(),
            snapshots: Family::default(),
            snapshot_bytes: Counter::default(),
            snapshot_lag: duration_histogram(),
            handoffs: Family::default(),
            unloadable: Family::default(),
            restarts: Family::default(),
            lease_wait: duration_histogram(),
        };
        // Told from the start, so that the first of each is an increase.
        for kind in KINDS {
            drop(metrics.run_duration.get_or_create(&Kind { kind }));
            for run in [
                RunOutcome::Finished,
                RunOutcome::Exception,
                RunOutcome::CompileError,
                RunOutcome::Stopped,
                RunOutcome::Rerun,
            ] {
                drop(metrics.runs.get_or_create(&Run { kind, outcome: outcome(run) }));
            }
        }
        for outcome in SNAPSHOT_OUTCOMES {
            drop(metrics.snapshots.get_or_create(&Outcome { outcome }));
        }
        for reason in ["drain", "recycle", "hibernate"] {
            for outcome in ["released", "cut"] {
                drop(metrics.handoffs.get_or_create(&Handoff { reason, outcome }));
            }
        }
        for outcome in UNLOADABLE_OUTCOMES {
            drop(metrics.unloadable.get_or_create(&Outcome { outcome }));
        }
        for reason in ["died", "stuck", "age", "memory"] {
            drop(metrics.restarts.get_or_create(&Reason { reason }));
        }
        metrics
    }
}

impl Metrics {
    pub(super) fn register(&self, registry: &mut Registry) {
        let Self {
            runs,
            run_duration,
            queue_wait,
            snapshots,
            snapshot_bytes,
            snapshot_lag,
            handoffs,
            unloadable,
            restarts,
            lease_wait,
        } = self;
        registry.register("script_runs", "Runs of scripts", runs.clone());
        registry.register_with_unit("script_run_duration", "How long runs took", Unit::Seconds, run_duration.clone());
        let help = "How long messages waited for their run";
        registry.register_with_unit("script_queue_wait", help, Unit::Seconds, queue_wait.clone());
        registry.register("snapshots", "Snapshots of sessions", snapshots.clone());
        registry.register_with_unit("snapshot", "What was stored of them", Unit::Bytes, snapshot_bytes.clone());
        let help = "From a run's end to its snapshot's being stored";
        registry.register_with_unit("snapshot_lag", help, Unit::Seconds, snapshot_lag.clone());
        registry.register("handoffs", "Sessions that went elsewhere as planned", handoffs.clone());
        let help = "Sessions whose state another revision of the app has written, and this one can't read";
        registry.register("sessions_unloadable", help, unloadable.clone());
        registry.register("worker_restarts", "Workers that were replaced", restarts.clone());
        let help = "How long calls of cached functions waited for somebody who computed the value";
        registry.register_with_unit("cache_lease_wait", help, Unit::Seconds, lease_wait.clone());
    }

    pub(super) fn ran(&self, report: &RunReport, duration: Duration, wait: Option<Duration>) {
        let kind = if report.reason() == RunReason::Fragment { "fragment" } else { "page" };
        self.runs.get_or_create(&Run { kind, outcome: outcome(report.outcome()) }).inc();
        self.run_duration.get_or_create(&Kind { kind }).observe(duration.as_secs_f64());
        if let Some(wait) = wait {
            self.queue_wait.observe(wait.as_secs_f64());
        }
    }

    pub(super) fn snapshot_stored(&self, bytes: u64, lag: Duration) {
        self.snapshot_bytes.inc_by(bytes);
        self.snapshot_lag.observe(lag.as_secs_f64());
        self.snapshot("saved");
    }

    /// What has become of a snapshot: `saved`, `failed`, or `refused` as the session has another owner.
    pub(crate) fn snapshot(&self, outcome: &'static str) {
        self.snapshots.get_or_create(&Outcome { outcome }).inc();
    }

    /// A session went elsewhere, because of a `drain`, `recycle` or `hibernate`; `released`, or `cut` as its script could not be waited for.
    pub(crate) fn handoff(&self, reason: &'static str, outcome: &'static str) {
        self.handoffs.get_or_create(&Handoff { reason, outcome }).inc();
    }

    /// A session came from another revision, and its state can't be read by this one: it goes back, or starts `afresh`.
    pub(crate) fn unloadable(&self, afresh: bool) {
        let outcome = UNLOADABLE_OUTCOMES[usize::from(afresh)];
        self.unloadable.get_or_create(&Outcome { outcome }).inc();
    }

    /// How many went back, and how many started afresh.
    pub(crate) fn unloadable_counts(&self) -> (u64, u64) {
        let [returned, afresh] =
            UNLOADABLE_OUTCOMES.map(|outcome| self.unloadable.get_or_create(&Outcome { outcome }).get());
        (returned, afresh)
    }

    /// A worker was replaced: it `died`, was `stuck`, or because of its `age` or `memory`.
    pub(crate) fn restart(&self, reason: &'static str) {
        self.restarts.get_or_create(&Reason { reason }).inc();
    }

    pub(crate) fn lease_waited(&self, wait: Duration) {
        self.lease_wait.observe(wait.as_secs_f64());
    }
}
