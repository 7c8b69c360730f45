//! How the runners are: all asked at once, and what they answer in the words in which operators are told.
//!
//! The cluster page and the `streamfleet status` and `streamfleet sessions` commands show the same, with the same names.

use std::{collections::HashSet, time::Duration};

use futures_util::future::join_all;
use serde::Serialize;
use streamfleet_cluster::{Member, RunnerPhase};
use streamfleet_proto::runner::{
    CacheStatus, SessionPhase, SessionStatus, StatusRequest, StatusResponse, WorkerPhase, WorkerStatus,
    runner_client::RunnerClient,
};
use tokio::time::timeout;
use tracing::debug;

use crate::connect::Way;

/// Longest answer taken, in bytes: some ten thousand sessions with all there is to tell of them.
const MAX_ANSWER: usize = 16 << 20;

/// What is known of a runner.
#[derive(Debug, Clone)]
pub struct Report {
    /// What the registry knows.
    pub member: Member,
    /// What the runner itself says; `None` if it said nothing in time.
    pub status: Option<StatusResponse>,
}

/// A runner, as operators are told of it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct RunnerView {
    /// Its name.
    pub id: String,
    /// Where gateways reach it.
    pub address: String,
    /// Where it is in its life.
    pub phase: RunnerPhase,
    /// What it serves of the app.
    pub revision: String,
    /// Sessions it owns, with and without a browser.
    pub sessions: u32,
    /// New sessions that it has room for; nothing for any number.
    pub room: Option<u64>,
    /// Scripts that run at this moment.
    pub running: u32,
    /// How long messages wait for their script to start.
    pub queue_wait_ms: Option<f64>,
    /// Of all cores together, from 0 to 1.
    pub cpu: Option<f64>,
    /// Of the runner and its workers.
    pub memory_bytes: u64,
    /// It has answered; otherwise all of this is what the registry knows.
    pub reachable: bool,
    /// Its Python workers.
    pub workers: Vec<WorkerView>,
    /// How its cache does.
    pub cache: Option<CacheView>,
}

/// A worker, as operators are told of it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct WorkerView {
    /// Its number.
    pub index: u32,
    /// `starting`, `ready`, `backing_off` (it failed, and is started again in a while) or `leaving`.
    pub state: &'static str,
    /// With and without a browser.
    pub sessions: u32,
    /// Scripts that run at this moment.
    pub running: u32,
    /// Of its process.
    pub memory_bytes: u64,
    /// How late its event loop is.
    pub lag_ms: f64,
    /// How often its process has been replaced.
    pub restarts: u32,
}

/// What a runner's cache has done since the runner started.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct CacheView {
    /// Found in the worker's own memory.
    pub worker_hits: u64,
    /// Found in the runner's.
    pub node_hits: u64,
    /// Found in Redis.
    pub cluster_hits: u64,
    /// Found nowhere.
    pub misses: u64,
    /// Functions that were called for want of a value.
    pub computations: u64,
}

/// A session, as operators are told of it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct SessionView {
    /// Stands for the session's id, which is for its browser alone.
    pub id: String,
    /// The runner that has it.
    pub runner: String,
    /// The number of the worker that has it, or had it last.
    pub worker: u32,
    /// `connected`, `disconnected` or `hibernated`.
    pub state: &'static str,
    /// Its script is being executed.
    pub running: bool,
    /// The page that its browser shows.
    pub page: Option<String>,
    /// Since it was made there, or has come there.
    pub age_seconds: u64,
    /// How often its script was run there.
    pub runs: u64,
    /// How long that took the last time.
    pub last_run_ms: Option<f64>,
    /// Keys of its state that can't be kept.
    pub unsaved: Vec<String>,
}

/// Asks all of these how they are, for so many sessions in all and no longer than the limit.
pub async fn ask_all(
    runners: impl IntoIterator<Item = (Member, Option<RunnerClient<Way>>)>,
    sessions: u32,
    limit: Duration,
) -> Vec<Report> {
    let runners: Vec<_> = runners.into_iter().collect();
    let each = share(runners.iter().map(|(member, _)| member.load.sessions), sessions);
    join_all(runners.into_iter().map(|(member, client)| ask(member, client, each, limit))).await
}

async fn ask(member: Member, client: Option<RunnerClient<Way>>, sessions: u32, limit: Duration) -> Report {
    let Some(client) = client else {
        return Report { member, status: None };
    };
    let mut client = client.max_decoding_message_size(MAX_ANSWER);
    let status = match timeout(limit, client.status(StatusRequest { sessions })).await {
        Ok(Ok(answer)) => Some(answer.into_inner()),
        Ok(Err(status)) => {
            debug!(runner = %member.runner, "it doesn't say how it is: {status}");
            None
        }
        Err(_) => None,
    };
    Report { member, status }
}

/// How many sessions each runner may tell of, so that together they tell of `total`: those that have few tell of all of them, and
/// the others share what is left.
fn share(loads: impl IntoIterator<Item = u32>, total: u32) -> u32 {
    let mut loads: Vec<_> = loads.into_iter().collect();
    loads.sort_unstable();
    let (mut left, mut runners) = (total, u32::try_from(loads.len()).unwrap_or(u32::MAX));
    for load in loads {
        let even = left / runners;
        if load > even {
            return even;
        }
        left -= load;
        runners -= 1;
    }
    // The registry is a little behind: more may have come since.
    total
}

/// Sessions of all runners, at most `limit` of them: those that run or have something that can't be kept, then the others. Which ones
/// stays the same as long as that does. Says too how many there are.
pub fn sessions(reports: &[Report], limit: usize) -> (Vec<SessionView>, u64) {
    let mut all: Vec<_> = reports
        .iter()
        .flat_map(|report| {
            let told = report.status.iter().flat_map(|status| &status.sessions);
            told.map(|session| SessionView::new(report, session))
        })
        .collect();
    let listed = all.len();
    all.sort_by_cached_key(|session| {
        (!session.running && session.unsaved.is_empty(), session.id.clone(), session.state)
    });
    // One that moves may be told of by both.
    let mut seen = HashSet::new();
    all.retain(|session| seen.insert(session.id.clone()));
    let twice = (listed - all.len()) as u64;
    all.truncate(limit);
    let total: u64 = reports.iter().map(|report| u64::from(report.sessions())).sum();
    (all, total.saturating_sub(twice))
}

impl Report {
    /// Whether it takes sessions, and has answered.
    pub fn is_ready(&self) -> bool {
        self.status.is_some() && self.member.takes_sessions()
    }

    fn sessions(&self) -> u32 {
        self.status.as_ref().map_or(self.member.load.sessions, |status| status.sessions_total)
    }
}

impl From<&Report> for RunnerView {
    fn from(report: &Report) -> Self {
        let Report { member, status } = report;
        let workers = status.iter().flat_map(|status| &status.workers);
        let running = status.as_ref().map(|_| workers.clone().map(|worker| worker.running_scripts).sum());
        Self {
            id: member.runner.to_string(),
            address: member.address.clone(),
            phase: member.phase,
            revision: member.revision.clone(),
            sessions: report.sessions(),
            room: member.load.room(),
            running: running.unwrap_or(member.load.running),
            queue_wait_ms: status.as_ref().map(|status| milliseconds(status.queue_wait_us)),
            cpu: status.as_ref().map(|status| status.cpu),
            memory_bytes: status.as_ref().map_or(member.load.resident_bytes, |status| status.memory_bytes),
            reachable: status.is_some(),
            workers: workers.map(WorkerView::from).collect(),
            cache: status.as_ref().and_then(|status| status.cache.as_ref()).map(CacheView::from),
        }
    }
}

impl From<&WorkerStatus> for WorkerView {
    fn from(worker: &WorkerStatus) -> Self {
        Self {
            index: worker.index,
            state: match worker.phase() {
                WorkerPhase::Unspecified | WorkerPhase::Starting => "starting",
                WorkerPhase::Ready => "ready",
                WorkerPhase::BackingOff => "backing_off",
                WorkerPhase::Stopped => "leaving",
            },
            sessions: worker.connected_sessions.saturating_add(worker.disconnected_sessions),
            running: worker.running_scripts,
            memory_bytes: worker.resident_bytes,
            lag_ms: milliseconds(worker.loop_lag_us),
            restarts: worker.restarts,
        }
    }
}

impl From<&CacheStatus> for CacheView {
    fn from(cache: &CacheStatus) -> Self {
        Self {
            worker_hits: cache.worker_hits,
            node_hits: cache.node_hits,
            cluster_hits: cache.cluster_hits,
            misses: cache.misses,
            computations: cache.computations,
        }
    }
}

impl SessionView {
    fn new(report: &Report, session: &SessionStatus) -> Self {
        Self {
            id: session.public_id.clone(),
            runner: report.member.runner.to_string(),
            worker: session.worker,
            state: match session.phase() {
                SessionPhase::Unspecified | SessionPhase::Connected => "connected",
                SessionPhase::Disconnected => "disconnected",
                SessionPhase::Hibernated => "hibernated",
            },
            running: session.running,
            page: Some(session.page.clone()).filter(|page| !page.is_empty()),
            age_seconds: session.age_ms / 1000,
            runs: session.runs,
            last_run_ms: (session.last_run_us != 0).then(|| milliseconds(session.last_run_us)),
            unsaved: session.unsaved.clone(),
        }
    }
}

fn milliseconds(micros: u64) -> f64 {
    // To the microsecond: whatever is behind that was not measured.
    (Duration::from_micros(micros).as_secs_f64() * 1e6).round() / 1e3
}

#[cfg(test)]
mod tests {
    use streamfleet_cluster::Load;

    use super::*;

    fn report(runner: &str, status: Option<StatusResponse>) -> Report {
        let load =
            Load { workers: 2, sessions: 7, connected: 5, running: 1, resident_bytes: 1 << 20, ..Load::default() };
        let member = Member {
            runner: runner.parse().unwrap(),
            address: "10.0.0.1:8601".to_owned(),
            revision: "r1".to_owned(),
            phase: RunnerPhase::Ready,
            load,
        };
        Report { member, status }
    }

    fn session(id: &str, running: bool) -> SessionStatus {
        SessionStatus { public_id: id.to_owned(), running, phase: SessionPhase::Connected.into(), ..Default::default() }
    }

    #[test]
    fn few_sessions_are_all_told_of_and_many_share() {
        assert_eq!(share([], 1000), 1000);
        assert_eq!(share([5, 7], 1000), 1000);
        assert_eq!(share([5, 2000], 1000), 995);
        assert_eq!(share([4000, 10, 2000], 1000), 495);
        assert_eq!(share([10, 10], 0), 0);
    }

    #[test]
    fn who_does_not_answer_is_shown_as_the_registry_knows_it() {
        let view = RunnerView::from(&report("a", None));
        assert!(!view.reachable);
        assert_eq!((view.sessions, view.running, view.memory_bytes), (7, 1, 1 << 20));
        assert_eq!((view.cpu, view.queue_wait_ms, view.cache), (None, None, None));
        assert!(!report("a", None).is_ready());
        assert!(report("a", Some(StatusResponse::default())).is_ready());
    }

    #[test]
    fn what_needs_a_look_is_listed_first_and_none_twice() {
        let mut unsaved = session("c", false);
        unsaved.unsaved = vec!["lock".to_owned()];
        let one = StatusResponse {
            sessions: vec![session("b", false), session("a", false), unsaved],
            sessions_total: 3,
            ..Default::default()
        };
        let other = StatusResponse {
            sessions: vec![session("z", true), session("b", true)],
            sessions_total: 4,
            ..Default::default()
        };
        let reports = [report("one", Some(one)), report("other", Some(other)), report("away", None)];
        let (listed, total) = sessions(&reports, 3);
        let names: Vec<_> = listed.iter().map(|session| (&*session.id, &*session.runner)).collect();
        assert_eq!(names, [("b", "other"), ("c", "one"), ("z", "other")]);
        assert_eq!(total, 3 + 4 + 7 - 1);
    }

    #[test]
    fn times_are_told_in_milliseconds() {
        assert!((milliseconds(1_234_567) - 1234.567).abs() < 1e-9);
        assert_eq!(serde_json::to_string(&milliseconds(12_300)).unwrap(), "12.3");
    }
}
