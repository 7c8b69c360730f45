//! Runs of scripts, as workers report them.

use std::{collections::VecDeque, sync::Mutex, sync::PoisonError, time::Duration};

use bytes::Bytes;
use streamfleet_proto::{
    SessionId,
    runner::RunFinished,
    worker::{RunOutcome, RunPhaseKind, RunReason, RunReport},
};
use streamfleet_telemetry::{FinishedSpan, SpanEvent, SpanId, SpanKind, TraceContext, Value};
use tokio::time::Instant;

use super::{Observer, time};

/// Queue waits that the current one is averaged over.
const WAITS: usize = 32;
/// How long each of them counts: where nobody clicks, nobody waits.
const WAITS_AGE: Duration = Duration::from_mins(1);

/// What is remembered of a session's runs.
#[derive(Debug, Clone, Default)]
pub(crate) struct RunNote {
    pub(crate) runs: u64,
    pub(crate) last: Duration,
    pub(crate) page: String,
    /// The last message whose run has ended.
    pub(crate) seq: u64,
}

/// How long messages have waited for their runs of late.
#[derive(Debug, Default)]
pub(crate) struct RunNotes(Mutex<VecDeque<(Instant, Duration)>>);

impl RunNotes {
    /// Their mean; zero if there were none.
    pub(crate) fn queue_wait(&self) -> Duration {
        let waits = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (mut sum, mut count) = (Duration::ZERO, 0);
        for (at, wait) in waits.iter() {
            if at.elapsed() < WAITS_AGE {
                sum += *wait;
                count += 1;
            }
        }
        sum.checked_div(count).unwrap_or_default()
    }

    fn waited(&self, wait: Duration) {
        let mut waits = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if waits.len() == WAITS {
            waits.pop_front();
        }
        waits.push_back((Instant::now(), wait));
    }
}

impl RunNote {
    /// One more run has ended.
    pub(crate) fn add(&mut self, report: &RunReport) {
        self.runs += 1;
        self.last = Duration::from_micros(report.ended_at_us.saturating_sub(report.started_at_us));
        self.page.clone_from(&report.page);
        self.seq = self.seq.max(report.seq);
    }
}

impl Observer {
    /// A run has ended. Returns what the gateway is to know of it.
    pub(crate) fn ran(&self, session: SessionId, worker: u32, report: &RunReport, notes: &RunNotes) -> RunFinished {
        let failed = matches!(report.outcome(), RunOutcome::Exception | RunOutcome::CompileError);
        let duration = Duration::from_micros(report.ended_at_us.saturating_sub(report.started_at_us));
        let wait = (report.asked_at_us > 0)
            .then(|| Duration::from_micros(report.started_at_us.saturating_sub(report.asked_at_us)));
        self.metrics.ran(report, duration, wait);
        if let Some(wait) = wait {
            notes.waited(wait);
        }
        let asked = TraceContext::from_bytes(&report.trace);
        let mut keep_trace = Bytes::new();
        if let Some(asked) = asked.filter(|_| self.tracer.is_enabled()) {
            if failed || self.tracer.is_slow(duration + wait.unwrap_or_default()) {
                self.tracer.keep(asked.trace);
            }
            if self.tracer.is_kept(asked.trace) {
                keep_trace = Bytes::copy_from_slice(&asked.trace.to_bytes());
            }
            self.record(session, worker, report, asked);
        }
        RunFinished { seq: report.seq, failed, keep_trace }
    }

    /// Makes the spans of a run.
    fn record(&self, session: SessionId, worker: u32, report: &RunReport, asked: TraceContext) {
        let Ok(span_id) = <[u8; 8]>::try_from(&*report.span_id) else { return };
        let run = TraceContext { span: SpanId::from_bytes(span_id), ..asked };
        if report.asked_at_us > 0 {
            let queue = TraceContext { span: fresh(), ..asked };
            let (from, to) = (time(report.asked_at_us), time(report.started_at_us));
            self.tracer.record(FinishedSpan::new(queue, Some(asked.span), "queue", from, to));
        }
        let (from, to) = (time(report.started_at_us), time(report.ended_at_us));
        let mut span = FinishedSpan::new(run, Some(asked.span), format!("run {}", report.page), from, to);
        span.kind = SpanKind::Server;
        let attributes: [(&'static str, Value); 11] = [
            ("streamfleet.session", session.public_id().into()),
            ("streamfleet.runner", self.runner.to_string().into()),
            ("streamfleet.revision", self.revision.to_string().into()),
            ("streamfleet.worker", u64::from(worker).into()),
            ("streamfleet.page", report.page.clone().into()),
            ("streamfleet.run.seq", report.seq.into()),
            ("streamfleet.run.reason", reason(report.reason()).to_owned().into()),
            ("streamfleet.run.outcome", outcome(report.outcome()).to_owned().into()),
            ("streamfleet.run.messages", u64::from(report.messages).into()),
            ("streamfleet.run.bytes", report.message_bytes.into()),
            ("streamfleet.cache.worker_hits", report.cache_hits.into()),
        ];
        span.attributes = attributes.into_iter().map(|(name, value)| (name.into(), value)).collect();
        for (name, at) in [("first message", report.first_message_at_us), ("last message", report.last_message_at_us)] {
            if at > 0 {
                span.events.push(SpanEvent { name: name.into(), at: time(at), attributes: Vec::new() });
            }
        }
        if !report.exception_type.is_empty() {
            span.attributes.push(("exception.type".into(), report.exception_type.clone().into()));
            span.error = Some(report.exception_type.clone());
        }
        self.tracer.record(span);
        for phase in &report.phases {
            let name = match phase.kind() {
                RunPhaseKind::Compile => "compile".into(),
                RunPhaseKind::Callbacks => "callbacks".into(),
                RunPhaseKind::Body => "body".into(),
                RunPhaseKind::Fragment => format!("fragment {}", phase.name),
                RunPhaseKind::Unspecified => continue,
            };
            let (from, to) = (time(phase.started_at_us), time(phase.ended_at_us));
            let context = TraceContext { span: fresh(), ..asked };
            self.tracer.record(FinishedSpan::new(context, Some(run.span), name, from, to));
        }
    }
}

fn fresh() -> SpanId {
    SpanId::from_bytes(fastrand::u64(1..).to_be_bytes())
}

pub(super) fn reason(reason: RunReason) -> &'static str {
    match reason {
        RunReason::Opened => "opened",
        RunReason::Interaction => "interaction",
        RunReason::Fragment => "fragment",
        RunReason::App => "app",
        RunReason::Restored => "restored",
        RunReason::Unspecified => "unknown",
    }
}

pub(super) fn outcome(outcome: RunOutcome) -> &'static str {
    match outcome {
        RunOutcome::Finished => "finished",
        RunOutcome::Exception => "exception",
        RunOutcome::CompileError => "compile_error",
        RunOutcome::Stopped => "stopped",
        RunOutcome::Rerun => "rerun",
        RunOutcome::Unspecified => "unknown",
    }
}
