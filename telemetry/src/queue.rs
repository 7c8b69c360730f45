//! The bounded queue between those who end spans and the task that exports them.
//!
//! Spans end in the middle of somebody's click, so putting one here wakes nobody, but for the first of a batch and the one that fills it.

use std::{
    collections::VecDeque,
    sync::{Mutex, MutexGuard, PoisonError},
};

use opentelemetry_sdk::trace::SpanData;
use tokio::sync::Notify;

/// Spans that wait. It has one consumer.
pub(crate) struct Queue {
    state: Mutex<State>,
    /// How many may wait.
    capacity: usize,
    /// How many make a batch.
    batch: usize,
    first: Notify,
    full: Notify,
}

#[derive(Default)]
struct State {
    spans: VecDeque<SpanData>,
    closed: bool,
}

impl Queue {
    /// An empty queue for `capacity` spans, that are taken `batch` at a time.
    pub(crate) fn new(capacity: usize, batch: usize) -> Self {
        Self { state: Mutex::default(), capacity, batch, first: Notify::new(), full: Notify::new() }
    }

    /// Adds a span; false if there is no room for it, or nobody to take it.
    pub(crate) fn push(&self, span: SpanData) -> bool {
        let mut state = self.state();
        if state.closed || state.spans.len() >= self.capacity {
            return false;
        }
        state.spans.push_back(span);
        let waiting = state.spans.len();
        drop(state);
        if waiting == 1 {
            self.first.notify_one();
        }
        if waiting == self.batch {
            self.full.notify_one();
        }
        true
    }

    /// Waits until there is a span.
    pub(crate) async fn has_some(&self) {
        while self.state().spans.is_empty() {
            self.first.notified().await;
        }
    }

    /// Waits until there is a batch.
    pub(crate) async fn has_batch(&self) {
        while self.state().spans.len() < self.batch {
            self.full.notified().await;
        }
    }

    /// Takes a batch, or what there is of one.
    pub(crate) fn take(&self) -> Vec<SpanData> {
        let mut state = self.state();
        let count = state.spans.len().min(self.batch);
        state.spans.drain(..count).collect()
    }

    /// Refuses whatever comes from now on. What is here may still be taken.
    pub(crate) fn close(&self) {
        self.state().closed = true;
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // No change leaves it half done, so a panic elsewhere does no harm.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
