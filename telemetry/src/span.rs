//! Spans: something that is being done, and something that was done.

use std::{
    borrow::Cow,
    fmt,
    sync::Arc,
    time::{Instant, SystemTime},
};

use opentelemetry::trace::{SpanId, SpanKind};

use crate::{TraceContext, Value, tracer::Shared};

/// A span that is over, with its own ids and times.
#[derive(Debug, Clone, PartialEq)]
pub struct FinishedSpan {
    /// Its own ids, and whether its trace was sampled.
    pub context: TraceContext,
    /// The span that it is part of, in the same trace.
    pub parent: Option<SpanId>,
    /// What was done.
    pub name: Cow<'static, str>,
    /// Which side of a call it is.
    pub kind: SpanKind,
    /// When it began.
    pub start: SystemTime,
    /// When it ended.
    pub end: SystemTime,
    /// What it was about.
    pub attributes: Vec<(Cow<'static, str>, Value)>,
    /// What happened meanwhile.
    pub events: Vec<SpanEvent>,
    /// Spans that it has to do with, in whichever trace.
    pub links: Vec<TraceContext>,
    /// Why it failed, if it did.
    pub error: Option<String>,
}

/// Something that happened within a span.
#[derive(Debug, Clone, PartialEq)]
pub struct SpanEvent {
    /// What it was.
    pub name: Cow<'static, str>,
    /// When it was.
    pub at: SystemTime,
    /// What it was about.
    pub attributes: Vec<(Cow<'static, str>, Value)>,
}

impl FinishedSpan {
    /// A span of which no more is known than this.
    pub fn new(
        context: TraceContext,
        parent: Option<SpanId>,
        name: impl Into<Cow<'static, str>>,
        start: SystemTime,
        end: SystemTime,
    ) -> Self {
        Self {
            context,
            parent,
            name: name.into(),
            kind: SpanKind::Internal,
            start,
            end,
            attributes: Vec::new(),
            events: Vec::new(),
            links: Vec::new(),
            error: None,
        }
    }
}

/// A span that goes on until it is dropped. In a disabled tracer it does nothing.
#[must_use = "a span ends when it is dropped"]
pub struct Span {
    live: Option<Box<Live>>,
    /// What a disabled span has instead of a context of its own: its parent's, so that it doesn't stand between the two.
    passed: Option<TraceContext>,
}

struct Live {
    tracer: Arc<Shared>,
    span: FinishedSpan,
    /// When it was made, by both clocks. Times are told by the one that isn't set.
    made: (SystemTime, Instant),
    ended: Option<SystemTime>,
}

impl Span {
    pub(crate) fn disabled(parent: Option<TraceContext>) -> Self {
        Self { live: None, passed: parent }
    }

    pub(crate) fn start(
        tracer: Arc<Shared>,
        context: TraceContext,
        parent: Option<SpanId>,
        name: Cow<'static, str>,
    ) -> Self {
        let now = SystemTime::now();
        let span = FinishedSpan::new(context, parent, name, now, now);
        Self { live: Some(Box::new(Live { tracer, span, made: (now, Instant::now()), ended: None })), passed: None }
    }

    /// What those are told who go on with it. Where tracing is off, it is what [`Tracer::span`](crate::Tracer::span) was
    /// given.
    pub fn context(&self) -> Option<TraceContext> {
        let Some(live) = &self.live else { return self.passed };
        let context = live.span.context;
        Some(TraceContext { sampled: context.sampled || live.tracer.is_kept(context.trace), ..context })
    }

    /// Whether what is noted on it may be of use. It is not where tracing is off.
    pub fn is_recording(&self) -> bool {
        self.live.is_some()
    }

    /// Sets an attribute, in place of what it was before.
    pub fn set(&mut self, key: &'static str, value: impl Into<Value>) {
        let Some(live) = &mut self.live else { return };
        let value = value.into();
        match live.span.attributes.iter_mut().find(|(known, _)| known == key) {
            Some((_, old)) => *old = value,
            None => live.span.attributes.push((key.into(), value)),
        }
    }

    /// Notes that something happens now.
    pub fn event(
        &mut self,
        name: impl Into<Cow<'static, str>>,
        attributes: impl IntoIterator<Item = (&'static str, Value)>,
    ) {
        if let Some(at) = self.live.as_ref().map(|live| live.now()) {
            self.event_at(at, name, attributes);
        }
    }

    /// Notes that something has happened, and when.
    pub fn event_at(
        &mut self,
        at: SystemTime,
        name: impl Into<Cow<'static, str>>,
        attributes: impl IntoIterator<Item = (&'static str, Value)>,
    ) {
        let Some(live) = &mut self.live else { return };
        let attributes = attributes.into_iter().map(|(key, value)| (key.into(), value)).collect();
        live.span.events.push(SpanEvent { name: name.into(), at, attributes });
    }

    /// Notes a span that this one has to do with and isn't part of.
    pub fn link(&mut self, to: TraceContext) {
        if let Some(live) = &mut self.live {
            live.span.links.push(to);
        }
    }

    /// Notes that it failed, and why. Of several reasons the first stays.
    pub fn fail(&mut self, message: impl Into<String>) {
        if let Some(live) = &mut self.live {
            live.span.error.get_or_insert_with(|| message.into());
        }
    }

    /// Says which side of a call it is; none, unless said.
    pub fn kind(&mut self, kind: SpanKind) {
        if let Some(live) = &mut self.live {
            live.span.kind = kind;
        }
    }

    /// Gives it another name.
    pub fn rename(&mut self, name: impl Into<Cow<'static, str>>) {
        if let Some(live) = &mut self.live {
            live.span.name = name.into();
        }
    }

    /// Says that it began earlier than it was made.
    pub fn started_at(&mut self, start: SystemTime) {
        if let Some(live) = &mut self.live {
            live.span.start = start;
        }
    }

    /// Ends it with a time other than now.
    pub fn end_at(mut self, end: SystemTime) {
        if let Some(live) = &mut self.live {
            live.ended = Some(end);
        }
    }

    /// Ends it, as dropping it does.
    pub fn end(self) {
        drop(self);
    }
}

impl Live {
    fn now(&self) -> SystemTime {
        let (system, clock) = self.made;
        system + clock.elapsed()
    }
}

impl Drop for Span {
    fn drop(&mut self) {
        if let Some(mut live) = self.live.take() {
            live.span.end = live.ended.unwrap_or_else(|| live.now()).max(live.span.start);
            live.tracer.finish(live.span);
        }
    }
}

impl fmt::Debug for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.live {
            Some(live) => live.span.fmt(f),
            None => f.write_str("Span(disabled)"),
        }
    }
}
