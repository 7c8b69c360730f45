//! Counts what the cache does.

use std::sync::atomic::{AtomicU64, Ordering};

/// What the cache has done since the runner started.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct CacheCounts {
    /// Values that workers had in their own memory.
    pub worker_hits: u64,
    /// Values that workers had from this node's memory.
    pub node_hits: u64,
    /// Values that this node had from the cluster.
    pub cluster_hits: u64,
    /// Values that nobody had.
    pub misses: u64,
    /// Rights to compute a value.
    pub computations: u64,
    /// Times that somebody waited for a value that somebody else computed.
    pub waits: u64,
    /// What could not be asked of the store, or told to it.
    pub store_errors: u64,
}

macro_rules! counters {
    ($($name:ident),*) => {
        /// Counts as it goes.
        #[derive(Debug, Default)]
        pub(super) struct Counters { $(pub(super) $name: Counter),* }

        impl Counters {
            pub(super) fn read(&self) -> CacheCounts {
                CacheCounts { $($name: self.$name.0.load(Ordering::Relaxed)),* }
            }
        }
    };
}

counters!(worker_hits, node_hits, cluster_hits, misses, computations, waits, store_errors);

/// A number that only grows.
#[derive(Debug, Default)]
pub(super) struct Counter(AtomicU64);

impl Counter {
    pub(super) fn add(&self, count: u64) {
        self.0.fetch_add(count, Ordering::Relaxed);
    }
}
