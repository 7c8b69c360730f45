//! Traces that were not sampled, and turn out to be worth keeping after all.
//!
//! Their spans are held for a while: whoever finds out that a run failed, or was slow, finds it out when most of the trace is over. A
//! trace that is kept is remembered, so that what is still to come of it is exported too.

use std::{
    collections::{HashMap, VecDeque},
    time::Duration,
};

use opentelemetry::trace::TraceId;
use opentelemetry_sdk::trace::SpanData;
use tokio::time::Instant;

/// How many spans are held in all. At about half a KiB each this is 4 MiB.
const CAPACITY: usize = 8192;
/// How long a span is held.
const HELD: Duration = Duration::from_secs(10);
/// How long a kept trace is remembered, and how many are.
const REMEMBERED: Duration = Duration::from_mins(1);
const MAX_REMEMBERED: usize = 4096;

/// Spans that may yet be wanted, and traces that are.
#[derive(Debug, Default)]
pub(crate) struct Tail {
    /// Spans by trace, oldest first. No entry is empty.
    held: HashMap<TraceId, VecDeque<(Instant, SpanData)>>,
    count: usize,
    /// When each span came, oldest first. Those of traces that were kept since are in it still.
    order: VecDeque<(Instant, TraceId)>,
    kept: HashMap<TraceId, Instant>,
    /// When each trace was kept, oldest first. One that was kept again is in it more than once.
    kept_order: VecDeque<(Instant, TraceId)>,
}

impl Tail {
    /// Holds a span, or gives it back if its trace is kept.
    pub(crate) fn take(&mut self, now: Instant, span: SpanData) -> Option<SpanData> {
        let trace = span.span_context.trace_id();
        if self.is_kept(now, trace) {
            return Some(span);
        }
        self.held.entry(trace).or_default().push_back((now, span));
        self.order.push_back((now, trace));
        self.count += 1;
        self.forget(now);
        None
    }

    /// Keeps a trace. Gives what is there of it.
    pub(crate) fn keep(&mut self, now: Instant, trace: TraceId) -> impl Iterator<Item = SpanData> + use<> {
        if self.kept.insert(trace, now) != Some(now) {
            self.kept_order.push_back((now, trace));
        }
        while let Some(&(at, oldest)) = self.kept_order.front() {
            if self.kept_order.len() <= MAX_REMEMBERED && now.duration_since(at) < REMEMBERED {
                break;
            }
            self.kept_order.pop_front();
            if self.kept.get(&oldest) == Some(&at) {
                self.kept.remove(&oldest);
            }
        }
        let spans = self.held.remove(&trace).unwrap_or_default();
        self.count -= spans.len();
        spans.into_iter().filter(move |(at, _)| now.duration_since(*at) < HELD).map(|(_, span)| span)
    }

    /// Whether a trace was kept lately.
    pub(crate) fn is_kept(&self, now: Instant, trace: TraceId) -> bool {
        self.kept.get(&trace).is_some_and(|at| now.duration_since(*at) < REMEMBERED)
    }

    /// Forgets what is too old, and what is too much.
    fn forget(&mut self, now: Instant) {
        while let Some(&(at, trace)) = self.order.front() {
            let full = self.count > CAPACITY || self.order.len() > 2 * CAPACITY;
            if !full && now.duration_since(at) < HELD {
                break;
            }
            self.order.pop_front();
            if let Some(spans) = self.held.get_mut(&trace)
                && spans.front().is_some_and(|(came, _)| *came <= at)
            {
                spans.pop_front();
                self.count -= 1;
                if spans.is_empty() {
                    self.held.remove(&trace);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tracer::tests::span_data;

    const SECOND: Duration = Duration::from_secs(1);

    fn ids(spans: impl Iterator<Item = SpanData>) -> Vec<u64> {
        spans.map(|span| u64::from_be_bytes(span.span_context.span_id().to_bytes())).collect()
    }

    #[test]
    fn a_kept_trace_is_there_and_goes_on() {
        let (mut tail, now) = (Tail::default(), Instant::now());
        for span in 1..=3 {
            assert!(tail.take(now, span_data(7, span)).is_none());
        }
        tail.take(now, span_data(8, 4));
        assert_eq!(ids(tail.keep(now + SECOND, TraceId::from(7))), [1, 2, 3]);
        assert_eq!(ids(tail.take(now + 60 * SECOND, span_data(7, 5)).into_iter()), [5]);
        assert!(tail.take(now + 61 * SECOND, span_data(7, 6)).is_none(), "remembered for too long");
        assert_eq!(tail.count, 1, "what was held since has had its time");
    }

    #[test]
    fn a_span_is_held_for_ten_seconds() {
        let (mut tail, now) = (Tail::default(), Instant::now());
        tail.take(now, span_data(7, 1));
        tail.take(now + 5 * SECOND, span_data(7, 2));
        assert_eq!(ids(tail.keep(now + 11 * SECOND, TraceId::from(7))), [2]);
    }

    #[test]
    fn the_oldest_give_way() {
        let (mut tail, now) = (Tail::default(), Instant::now());
        for span in 0..CAPACITY as u64 + 100 {
            tail.take(now, span_data(u128::from(span / 100), span + 1));
        }
        assert_eq!(tail.count, CAPACITY);
        assert_eq!(tail.order.len(), CAPACITY);
        assert_eq!(ids(tail.keep(now, TraceId::from(0))).len(), 0);
        assert_eq!(ids(tail.keep(now, TraceId::from(1))).len(), 100);
    }

    #[test]
    fn keeping_often_takes_no_room() {
        let (mut tail, now) = (Tail::default(), Instant::now());
        for trace in 1..5 * CAPACITY as u64 {
            tail.take(now, span_data(trace.into(), trace));
            assert_eq!(ids(tail.keep(now, TraceId::from(u128::from(trace)))), [trace]);
        }
        assert_eq!((tail.count, tail.held.len()), (0, 0));
        assert!(tail.order.len() <= 2 * CAPACITY);
        assert_eq!((tail.kept.len(), tail.kept_order.len()), (MAX_REMEMBERED, MAX_REMEMBERED));
        // The same trace again and again.
        for count in 0..4 * MAX_REMEMBERED as u64 {
            let _ = tail.keep(now + Duration::from_millis(count / 2), TraceId::from(1));
        }
        assert_eq!(tail.kept_order.len(), MAX_REMEMBERED);
        assert!(tail.is_kept(now + 10 * SECOND, TraceId::from(1)));
    }
}
