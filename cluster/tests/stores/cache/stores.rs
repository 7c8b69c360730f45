//! The stores that the tests run on, and who listens to them.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use streamfleet_cluster::{
    Acquired, CacheListener, CacheOptions, CacheSigner, CacheStore, CachedFunction, ComputeLease, MemoryCache, Packed,
    RedisCache, RedisOptions, Scope, Stored, ValueKey,
};
use streamfleet_testkit::redis::{Cluster, Redis, RedisLaunch, Version};
use tokio::sync::watch;
use tokio::time::timeout;

use crate::registry::stores::{LIMIT, cluster_url};

/// The key that signs.
pub const KEY: &str = "1e1e1e1e1e1e1e1e1e1e1e1e1e1e1e1e1e1e1e1e1e1e1e1e1e1e1e1e1e1e1e1e";
/// More than any test keeps.
pub const PLENTY: u64 = 1 << 30;

/// What a listener may be told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Heard {
    Cleared(Scope),
    Settled(ValueKey),
    Gap,
}

/// A listener that remembers.
#[derive(Default)]
pub struct Ear(watch::Sender<Vec<Heard>>);

impl CacheListener for Ear {
    fn cleared(&self, scope: &Scope) {
        self.0.send_modify(|heard| heard.push(Heard::Cleared(scope.clone())));
    }

    fn settled(&self, key: &ValueKey) {
        self.0.send_modify(|heard| heard.push(Heard::Settled(key.clone())));
    }

    fn gap(&self) {
        self.0.send_modify(|heard| heard.push(Heard::Gap));
    }
}

impl Ear {
    /// All that it has heard until now.
    pub fn heard(&self) -> Vec<Heard> {
        self.0.borrow().clone()
    }

    /// Forgets what it has heard.
    pub fn forget(&self) {
        self.0.send_modify(Vec::clear);
    }

    /// Waits until it has heard something, if it hasn't already.
    pub async fn hears(&self, what: &Heard) {
        let mut heard = self.0.subscribe();
        let waited = timeout(LIMIT, heard.wait_for(|heard| heard.contains(what))).await.map(|_| ());
        assert!(waited.is_ok(), "{what:?} is not heard, but {:?}", self.heard());
    }
}

/// A way to a store, and who listens there.
#[derive(Clone)]
pub struct Node {
    pub store: Arc<dyn CacheStore>,
    pub ear: Arc<Ear>,
}

/// A store with nothing in it.
pub struct Store {
    place: Place,
    /// Those that are one process's, by name.
    made: Mutex<HashMap<String, Node>>,
}

enum Place {
    Memory,
    Redis(Box<Redis>),
    Cluster(Cluster),
}

impl Store {
    fn at(place: Place) -> Self {
        Self { place, made: Mutex::default() }
    }

    pub fn memory() -> Self {
        Self::at(Place::Memory)
    }

    pub async fn redis(version: Version) -> Self {
        Self::at(Place::Redis(Box::new(RedisLaunch::new(version).start().await.unwrap())))
    }

    pub async fn cluster(version: Version) -> Self {
        Self::at(Place::Cluster(Cluster::start(RedisLaunch::new(version)).await.unwrap()))
    }

    /// A node of the cluster of this name, where there can be several as another process would be one.
    pub async fn node(&self, case: &str, max_bytes: u64) -> Node {
        let options = CacheOptions { revision: "r1".to_owned(), max_bytes };
        match &self.place {
            Place::Memory => {
                let mut made = self.made.lock().unwrap();
                let new = || {
                    let ear = Arc::<Ear>::default();
                    Node { store: Arc::new(MemoryCache::new(options, ear.clone())), ear }
                };
                made.entry(case.to_owned()).or_insert_with(new).clone()
            }
            Place::Redis(redis) => node(&redis.url(), case, options).await,
            Place::Cluster(cluster) => node(&cluster_url(cluster), case, options).await,
        }
    }
}

async fn node(url: &str, case: &str, options: CacheOptions) -> Node {
    let ear = Arc::<Ear>::default();
    Node { store: Arc::new(connect(url, case, options, signer(&[KEY]), &ear).await), ear }
}

pub fn signer(keys: &[&str]) -> CacheSigner {
    CacheSigner::new("cache", keys).unwrap()
}

/// Connects to the Redis at this address.
pub async fn connect(url: &str, case: &str, options: CacheOptions, signer: CacheSigner, ear: &Arc<Ear>) -> RedisCache {
    let redis = RedisOptions::new(url.parse().unwrap(), None, case);
    RedisCache::connect(redis, options, signer, ear.clone()).await.unwrap()
}

/// Connects as everybody does.
pub async fn connect_plainly(url: &str) -> (RedisCache, Arc<Ear>) {
    let ear = Arc::<Ear>::default();
    let options = CacheOptions { revision: "r1".to_owned(), max_bytes: PLENTY };
    (connect(url, "cache", options, signer(&[KEY]), &ear).await, ear)
}

pub fn key(function: &str, call: &str) -> ValueKey {
    ValueKey { function: function.into(), call: call.into() }
}

/// A function without limits.
pub fn function(id: &str) -> CachedFunction {
    CachedFunction { id: id.into(), ttl: None, max_entries: None, max_bytes: None }
}

/// The right to compute a value, which must be free.
pub async fn lease(store: &dyn CacheStore, key: &ValueKey) -> ComputeLease {
    match store.acquire(key, "somebody", Some(Duration::MAX)).await.unwrap() {
        Acquired::Lease(lease) => lease,
        other => panic!("{key:?}: {other:?}"),
    }
}

/// Computes a value of this function, however it is.
pub async fn compute(store: &dyn CacheStore, function: &CachedFunction, call: &str, value: &[u8]) -> Stored {
    let lease = lease(store, &key(&function.id, call)).await;
    store.put(&lease, function, &Packed::of(value)).await.unwrap()
}

/// Bytes of a value.
pub fn bytes(value: &Packed) -> Vec<u8> {
    (0..value.part_count()).flat_map(|part| value.unpack(part).unwrap()).collect()
}

/// A value's bytes, if it is there.
pub async fn get(store: &dyn CacheStore, key: &ValueKey) -> Option<Vec<u8>> {
    store.get(key).await.unwrap().map(|entry| bytes(&entry.value))
}

/// Bytes that can't be packed.
pub fn noise(length: usize) -> Vec<u8> {
    let mut state = 1_u32;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        state.to_be_bytes()[0]
    };
    (0..length).map(|_| next()).collect()
}

/// How often to look again.
pub const PAUSE: Duration = Duration::from_millis(20);
