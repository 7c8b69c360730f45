//! How the cluster is, once a second: asked for once however many pages are open, and not at all while none is.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, SystemTime},
};

use serde::Serialize;
use tokio::{
    sync::watch,
    task::JoinHandle,
    time::{MissedTickBehavior, interval},
};
use tracing::warn;

use super::{PageOptions, happenings::epoch_millis};
use crate::{
    observe::LiveFigures,
    status::{self, RunnerView, SessionView},
    upstream::Upstream,
};

/// How often pages are told.
const PERIOD: Duration = Duration::from_secs(1);
/// How long a runner may take to say how it is.
const STATUS_LIMIT: Duration = Duration::from_secs(1);
/// How many sessions are listed.
const MAX_SESSIONS: u32 = 1000;

/// What pages are told; `None` while none is open.
pub(super) type Latest = Option<Arc<str>>;

pub(super) struct Feed {
    shared: Arc<Shared>,
}

struct Shared {
    upstream: Arc<Upstream>,
    options: PageOptions,
    latest: watch::Sender<Latest>,
    task: Mutex<Option<JoinHandle<()>>>,
}

#[derive(Serialize)]
struct ClusterView<'a> {
    time: u64,
    version: &'a str,
    cluster: &'a str,
    revision: Option<&'a str>,
    traces_url: Option<&'a str>,
    gateway: GatewayView<'a>,
    clicks: ClicksView,
    runners: Vec<RunnerView>,
    sessions: Vec<SessionView>,
    sessions_total: u64,
}

#[derive(Serialize)]
struct GatewayView<'a> {
    id: &'a str,
    websockets: u64,
    received_bytes_per_second: f64,
    sent_bytes_per_second: f64,
}

#[derive(Clone, Serialize)]
pub(super) struct ClicksView {
    per_second: f64,
    p50_ms: Option<f64>,
    p95_ms: Option<f64>,
    p99_ms: Option<f64>,
}

impl Feed {
    pub(super) fn new(upstream: Arc<Upstream>, options: PageOptions) -> Self {
        let (latest, task) = (watch::Sender::default(), Mutex::default());
        Self { shared: Arc::new(Shared { upstream, options, latest, task }) }
    }

    /// The latest event's data, as JSON, over and over as long as the receiver lives.
    pub(super) fn subscribe(&self) -> watch::Receiver<Latest> {
        let mut task = self.shared.task();
        let latest = self.shared.latest.subscribe();
        if task.as_ref().is_none_or(JoinHandle::is_finished) {
            *task = Some(tokio::spawn(Arc::clone(&self.shared).run()));
        }
        latest
    }

    #[cfg(test)]
    pub(super) fn is_running(&self) -> bool {
        self.shared.task().is_some()
    }
}

impl Shared {
    async fn run(self: Arc<Self>) {
        let mut ticks = interval(PERIOD);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut last = 0;
        loop {
            tokio::select! {
                _ = ticks.tick() => {}
                () = self.latest.closed() => {}
            }
            if self.may_rest() {
                return;
            }
            // The page draws by it, so it has to grow whatever is done to the clock.
            last = epoch_millis(SystemTime::now()).max(last + 1);
            match self.look(last).await {
                Ok(text) => _ = self.latest.send_replace(Some(text.into())),
                Err(error) => warn!("cannot tell how the cluster is: {error}"),
            }
        }
    }

    /// Whether nobody listens. Whoever comes after that has another task started.
    fn may_rest(&self) -> bool {
        let mut task = self.task();
        if self.latest.receiver_count() > 0 {
            return false;
        }
        // The next page should not begin with what was long ago.
        self.latest.send_replace(None);
        *task = None;
        true
    }

    async fn look(&self, time: u64) -> serde_json::Result<String> {
        let view = Arc::clone(&self.upstream.members().borrow());
        let runners = view.members.values().map(|member| {
            let runner = self.upstream.runner(&member.runner);
            (member.clone(), runner.map(|runner| runner.client))
        });
        let reports = status::ask_all(runners, MAX_SESSIONS, STATUS_LIMIT).await;
        let (sessions, sessions_total) = status::sessions(&reports, MAX_SESSIONS as usize);
        let live = self.upstream.observer.live();
        serde_json::to_string(&ClusterView {
            time,
            version: &self.options.version,
            cluster: &self.options.cluster,
            revision: view.target.revision.as_deref(),
            traces_url: self.options.traces_url.as_deref(),
            gateway: GatewayView {
                id: &self.options.gateway_id,
                websockets: live.websockets,
                received_bytes_per_second: live.received_bytes_per_second,
                sent_bytes_per_second: live.sent_bytes_per_second,
            },
            clicks: ClicksView::from(&live),
            runners: reports.iter().map(RunnerView::from).collect(),
            sessions,
            sessions_total,
        })
    }

    fn task(&self) -> MutexGuard<'_, Option<JoinHandle<()>>> {
        self.task.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl From<&LiveFigures> for ClicksView {
    fn from(live: &LiveFigures) -> Self {
        let milliseconds = |duration: Option<Duration>| duration.map(|duration| duration.as_secs_f64() * 1e3);
        Self {
            per_second: live.clicks_per_second,
            p50_ms: milliseconds(live.click_p50),
            p95_ms: milliseconds(live.click_p95),
            p99_ms: milliseconds(live.click_p99),
        }
    }
}
