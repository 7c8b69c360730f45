//! What is counted.

use std::time::Duration;

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram},
    registry::{Registry, Unit},
};
use streamfleet_cluster::RunnerPhase;
use streamfleet_telemetry::duration_histogram;

use super::{Direction, Traffic};

/// Close codes that have a label of their own (RFC 6455, section 7.4).
const CODES: [u16; 12] = [1000, 1001, 1002, 1003, 1005, 1006, 1007, 1008, 1009, 1011, 1012, 1013];
const PHASES: [(&str, RunnerPhase); 4] = [
    ("starting", RunnerPhase::Starting),
    ("ready", RunnerPhase::Ready),
    ("draining", RunnerPhase::Draining),
    ("stopped", RunnerPhase::Stopped),
];

/// What is counted.
#[derive(Debug)]
pub(crate) struct Metrics {
    websockets: Gauge,
    closes: Family<Code, Counter>,
    http_requests: Family<Request, Counter>,
    received: Family<Kind, Counter>,
    sent: Family<Kind, Counter>,
    /// The same counters, as they are counted with each message: of what is received and sent, by WebSocket and by HTTP.
    bytes: [[Counter; 2]; 2],
    click_first_message: Histogram,
    click_finished: Histogram,
    placements: Family<Reason, Counter>,
    reattachments: Family<Reason, Counter>,
    replayed: Counter,
    runners: Family<Phase, Gauge>,
    waiting: Gauge,
    turned_away: Family<Reason, Counter>,
    asset_hits: Counter,
    asset_misses: Counter,
    asset_memory: Gauge,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Code {
    code: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Request {
    kind: &'static str,
    code: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Kind {
    kind: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Reason {
    reason: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Phase {
    phase: &'static str,
}

impl Default for Metrics {
    fn default() -> Self {
        let (received, sent) = (Family::<Kind, Counter>::default(), Family::<Kind, Counter>::default());
        let bytes = [&received, &sent]
            .map(|family| [Traffic::WebSocket, Traffic::Http].map(|kind| family.get_or_create_owned(&Kind::of(kind))));
        let metrics = Self {
            bytes,
            websockets: Gauge::default(),
            closes: Family::default(),
            http_requests: Family::default(),
            received,
            sent,
            click_first_message: duration_histogram(),
            click_finished: duration_histogram(),
            placements: Family::default(),
            reattachments: Family::default(),
            replayed: Counter::default(),
            runners: Family::default(),
            waiting: Gauge::default(),
            turned_away: Family::default(),
            asset_hits: Counter::default(),
            asset_misses: Counter::default(),
            asset_memory: Gauge::default(),
        };
        // Told from the start, so that the first of each is an increase.
        for code in CODES {
            drop(metrics.closes.get_or_create(&Code { code: code.to_string() }));
        }
        for kind in ["page", "asset", "media", "upload", "component", "health", "other"] {
            for code in ["2xx", "3xx", "4xx", "5xx"] {
                drop(metrics.http_requests.get_or_create(&Request { kind, code }));
            }
        }
        for reason in ["new", "reconnect", "moved", "failure"] {
            drop(metrics.placements.get_or_create(&Reason { reason }));
        }
        for reason in ["handoff", "failure", "wakeup", "returned"] {
            drop(metrics.reattachments.get_or_create(&Reason { reason }));
        }
        for reason in ["page", "session"] {
            drop(metrics.turned_away.get_or_create(&Reason { reason }));
        }
        metrics.runners([].into_iter());
        metrics
    }
}

impl Metrics {
    pub(super) fn register(&self, registry: &mut Registry) {
        let gateway = registry.sub_registry_with_prefix("gateway");
        gateway.register("websockets", "Browsers that are connected", self.websockets.clone());
        gateway.register("websocket_closes", "Connections that ended, by close code", self.closes.clone());
        gateway.register("http_requests", "Plain HTTP requests", self.http_requests.clone());
        gateway.register_with_unit("received", "From browsers", Unit::Bytes, self.received.clone());
        gateway.register_with_unit("sent", "To browsers", Unit::Bytes, self.sent.clone());
        let help = "From a click to the first message of its answer";
        gateway.register_with_unit("click_first_message", help, Unit::Seconds, self.click_first_message.clone());
        let help = "From a click to the end of its run";
        gateway.register_with_unit("click_finished", help, Unit::Seconds, self.click_finished.clone());
        gateway.register("placements", "Browsers that were given a runner", self.placements.clone());
        gateway.register("reattachments", "Sessions that went on elsewhere", self.reattachments.clone());
        gateway.register("replayed_messages", "Messages that were sent again", self.replayed.clone());
        gateway.register("runners", "Runners that are known", self.runners.clone());
        let help = "Visitors who stand in the cluster's line, as last heard";
        gateway.register("waiting_visitors", help, self.waiting.clone());
        gateway.register("turned_away", "Visitors for whom there was no room", self.turned_away.clone());
        gateway.register("asset_hits", "Files of the front end sent without a worker", self.asset_hits.clone());
        gateway.register("asset_misses", "Files of the front end asked of a worker", self.asset_misses.clone());
        let help = "Files of the front end that are kept";
        gateway.register_with_unit("asset_memory", help, Unit::Bytes, self.asset_memory.clone());
    }

    pub(super) fn websockets(&self) -> u64 {
        u64::try_from(self.websockets.get()).unwrap_or_default()
    }

    /// A browser has connected.
    pub(crate) fn connected(&self) {
        self.websockets.inc();
    }

    /// A browser's connection has ended.
    pub(crate) fn closed(&self, code: u16) {
        self.websockets.dec();
        let code = if CODES.contains(&code) { code.to_string() } else { "other".to_owned() };
        self.closes.get_or_create(&Code { code }).inc();
    }

    pub(super) fn transferred(&self, kind: Traffic, direction: Direction, bytes: u64) {
        let [received, sent] = &self.bytes;
        let [websocket, http] = match direction {
            Direction::Received => received,
            Direction::Sent => sent,
        };
        match kind {
            Traffic::WebSocket => websocket.inc_by(bytes),
            Traffic::Http => http.inc_by(bytes),
        };
    }

    /// Bytes received and sent in all.
    pub(super) fn traffic(&self) -> [u64; 2] {
        self.bytes.each_ref().map(|kinds| kinds.iter().map(Counter::get).sum())
    }

    pub(super) fn clicked(&self, first: Option<Duration>, finished: Duration) {
        if let Some(first) = first {
            self.click_first_message.observe(first.as_secs_f64());
        }
        self.click_finished.observe(finished.as_secs_f64());
    }

    pub(super) fn requested(&self, kind: &'static str, status: u16) {
        let code = match status {
            0..300 => "2xx",
            300..400 => "3xx",
            400..500 => "4xx",
            _ => "5xx",
        };
        self.http_requests.get_or_create(&Request { kind, code }).inc();
    }

    /// A browser was given a runner, because it is `new`, its session is there (`reconnect`), went there (`moved`), or lost its owner
    /// (`failure`).
    pub(crate) fn placed(&self, reason: &'static str) {
        self.placements.get_or_create(&Reason { reason }).inc();
    }

    /// So many visitors stand in line.
    pub(crate) fn waiting(&self, visitors: u64) {
        self.waiting.set(i64::try_from(visitors).unwrap_or(i64::MAX));
    }

    /// There was no room for somebody who wanted a `page`, or a `session` without one.
    pub(crate) fn turned_away(&self, reason: &'static str) {
        self.turned_away.get_or_create(&Reason { reason }).inc();
    }

    /// A file of the front end was kept here.
    pub(crate) fn asset_hit(&self) {
        self.asset_hits.inc();
    }

    /// A worker was asked for a file of the front end.
    pub(crate) fn asset_missed(&self) {
        self.asset_misses.inc();
    }

    /// The front end's files take so much memory.
    pub(crate) fn asset_memory(&self, bytes: u64) {
        self.asset_memory.set(i64::try_from(bytes).unwrap_or(i64::MAX));
    }

    /// A session goes on elsewhere after a `handoff`, a `failure` or a `wakeup`, or `returned` as its state could not be read.
    pub(crate) fn reattached(&self, reason: &'static str) {
        self.reattachments.get_or_create(&Reason { reason }).inc();
    }

    /// A message was sent again.
    pub(crate) fn replayed(&self) {
        self.replayed.inc();
    }

    pub(super) fn runners(&self, phases: impl Iterator<Item = RunnerPhase>) {
        let known: Vec<_> = phases.collect();
        for (name, phase) in PHASES {
            let count = known.iter().filter(|known| **known == phase).count();
            self.runners.get_or_create(&Phase { phase: name }).set(i64::try_from(count).unwrap_or(i64::MAX));
        }
    }
}

impl Kind {
    fn of(traffic: Traffic) -> Self {
        let kind = match traffic {
            Traffic::WebSocket => "websocket",
            Traffic::Http => "http",
        };
        Self { kind }
    }
}
