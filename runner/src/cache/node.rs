//! What a node knows of the cluster's cached values: those that it has in its memory, and whether they are still good.

use std::{fmt, io, path::Path, sync::Arc};

use quick_cache::{Weighter, sync::Cache};
use streamfleet_cluster::{CacheListener, Entry, Packed, Scope, ValueKey};
use tokio::time::Instant;
use tracing::error;

use super::{
    counts::Counters,
    flights::Flights,
    stamps::{Stamp, Stamps},
};

/// How large a value is that there is room for many of. Decides nothing but how much is set aside for the table.
const USUAL_BYTES: u64 = 64 * 1024;

/// A value, and what makes it good.
#[derive(Debug, Clone)]
pub(super) struct Found {
    pub(super) value: Packed,
    pub(super) expires_at: Option<Instant>,
    /// As it was before the value was asked for or computed.
    pub(super) stamp: Stamp,
}

impl Found {
    pub(super) fn new(entry: Entry, stamp: Stamp) -> Self {
        Self { value: entry.value, expires_at: entry.expires_at, stamp }
    }
}

/// What a node knows of the cluster's cached values. Made before the store, which tells it what changes.
pub struct CacheNode {
    /// `None` where the store itself is in this process's memory.
    memory: Option<Cache<ValueKey, Found, Bytes>>,
    pub(super) stamps: Stamps,
    pub(super) flights: Arc<Flights>,
    pub(super) counters: Counters,
}

/// Weighs values by the memory they take.
#[derive(Clone)]
struct Bytes;

impl Weighter<ValueKey, Found> for Bytes {
    fn weight(&self, key: &ValueKey, found: &Found) -> u64 {
        (key.function.len() + key.call.len()) as u64 + found.value.packed_bytes() + 128
    }
}

impl CacheNode {
    /// Keeps values of so many bytes together in memory; 0 for a store that does that itself.
    pub fn new(memory_bytes: u64) -> io::Result<Arc<Self>> {
        let memory = (memory_bytes > 0).then(|| {
            let items = usize::try_from(memory_bytes / USUAL_BYTES).unwrap_or(usize::MAX).clamp(64, 1 << 20);
            Cache::with_weighter(items, memory_bytes, Bytes)
        });
        Ok(Arc::new(Self { memory, stamps: Stamps::create()?, flights: Arc::default(), counters: Counters::default() }))
    }

    /// The file that workers look in for what is still good.
    pub(super) fn stamps_path(&self) -> &Path {
        self.stamps.path()
    }

    /// Whether there is a memory here beside the store.
    pub(super) fn has_memory(&self) -> bool {
        self.memory.is_some()
    }

    /// What is in memory here, in bytes.
    pub(super) fn memory_bytes(&self) -> u64 {
        self.memory.as_ref().map_or(0, Cache::weight)
    }

    /// Whether a value is still good.
    pub(super) fn is_good(&self, key: &ValueKey, found: &Found) -> bool {
        found.expires_at.is_none_or(|end| Instant::now() < end) && found.stamp == self.stamps.of(key)
    }

    /// A good value that is in memory.
    pub(super) fn get(&self, key: &ValueKey) -> Option<Found> {
        let memory = self.memory.as_ref()?;
        let found = memory.get(key)?;
        if self.is_good(key, &found) {
            return Some(found);
        }
        memory.remove(key);
        None
    }

    /// Keeps a value in memory, if there is room.
    pub(super) fn keep(&self, key: &ValueKey, found: &Found) {
        if let Some(memory) = &self.memory {
            memory.insert(key.clone(), found.clone());
        }
    }
}

impl CacheListener for CacheNode {
    fn cleared(&self, scope: &Scope) {
        if let Err(error) = self.stamps.advance(scope) {
            error!("workers can't be told that cached values were cleared: {error}");
        }
        if let (Some(memory), Scope::Value(key)) = (&self.memory, scope) {
            memory.remove(key);
        }
    }

    fn settled(&self, key: &ValueKey) {
        self.flights.settled(key);
    }

    fn gap(&self) {
        self.cleared(&Scope::Everything);
        self.flights.settled_perhaps();
    }
}

impl fmt::Debug for CacheNode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CacheNode").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn key(call: &str) -> ValueKey {
        ValueKey { function: "f".into(), call: call.into() }
    }

    fn found(node: &CacheNode, key: &ValueKey, size: usize) -> Found {
        Found { value: Packed::of(&vec![0; size]), expires_at: None, stamp: node.stamps.of(key) }
    }

    #[tokio::test(start_paused = true)]
    async fn values_are_had_while_they_are_good() {
        let node = CacheNode::new(1 << 20).unwrap();
        let (a, b) = (key("a"), key("b"));
        node.keep(&a, &found(&node, &a, 10));
        node.keep(&b, &Found { expires_at: Some(Instant::now() + Duration::from_secs(1)), ..found(&node, &b, 10) });
        assert!(node.get(&a).is_some() && node.get(&b).is_some());
        tokio::time::advance(Duration::from_secs(1)).await;
        assert!(node.get(&a).is_some() && node.get(&b).is_none());
        let before = found(&node, &a, 10);
        node.cleared(&Scope::Value(a.clone()));
        assert!(node.get(&a).is_none());
        node.keep(&a, &before);
        assert!(node.get(&a).is_none(), "it was asked for before the clearing");
        node.keep(&a, &found(&node, &a, 10));
        node.gap();
        assert!(node.get(&a).is_none());
    }

    #[test]
    fn memory_is_bounded() {
        let node = CacheNode::new(1 << 20).unwrap();
        for index in 0..1000 {
            let key = key(&index.to_string());
            let value: Vec<u8> = (0..10_000_u32).map(|at| at.wrapping_mul(2_654_435_761).to_le_bytes()[2]).collect();
            let found = Found { value: Packed::of(&value), ..found(&node, &key, 0) };
            node.keep(&key, &found);
        }
        let memory = node.memory.as_ref().unwrap();
        assert!(memory.weight() <= 1 << 20, "{}", memory.weight());
        assert!(memory.len() > 20);
    }
}
