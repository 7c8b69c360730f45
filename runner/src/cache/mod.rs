//! What `st.cache_data` functions have returned, for a runner's workers: from this node's memory, from the cluster's store, or to be
//! computed, by one worker of all.
//!
//! The store may be away at any time. Then workers share what this node has, and an app is slower, not broken.

mod counts;
mod flights;
mod grant;
mod node;
mod pending;
mod stamps;
#[cfg(test)]
mod tests;

use std::{
    collections::HashMap,
    fmt,
    path::Path,
    sync::{
        Arc, Mutex, PoisonError, Weak,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use futures_util::{
    FutureExt as _,
    future::{BoxFuture, Shared},
};
use streamfleet_cluster::{Acquired, CacheError, CacheListener as _, CacheStore, Entry, Scope, ValueKey};
use tokio::{
    sync::{Mutex as AsyncMutex, Semaphore},
    time::{interval, timeout},
};
use tokio_util::task::{AbortOnDropHandle, TaskTracker};
use tracing::{debug, warn};

pub(crate) use self::grant::Grant;
pub use self::{counts::CacheCounts, node::CacheNode};
use self::{
    flights::{Joined, Lead},
    grant::Permit,
    node::Found,
    pending::PendingClears,
    stamps::Stamp,
};

/// How often it is told to the store what has been used here.
const TOUCH_INTERVAL: Duration = Duration::from_millis(200);
/// How many values that is told of at once. Of more that are used in this time the rest counts as unused.
const MAX_TOUCHED: usize = 10_000;
/// KiB of values on their way to the store, beyond which workers wait until there is room.
const MOST_UNDER_WAY: u32 = 128 * 1024;
/// How long after the end of somebody else's lease it is looked at again.
const LEASE_MARGIN: Duration = Duration::from_millis(50);

/// What is asked of the store once for all who ask at the time.
type Fetch = Shared<BoxFuture<'static, Option<Found>>>;

/// What `st.cache_data` functions have returned.
pub struct SharedCache {
    node: Arc<CacheNode>,
    store: Arc<dyn CacheStore>,
    /// Larger values stay in the worker that has them.
    max_value_bytes: u64,
    fetches: Mutex<HashMap<ValueKey, Fetch>>,
    /// With the number of the last use of each.
    touched: Mutex<HashMap<ValueKey, usize>>,
    uses: AtomicUsize,
    /// One tells the store of uses at a time: who waits for it knows that all uses before have been told.
    telling: AsyncMutex<()>,
    /// What was cleared while the store was away, and is still to be cleared there.
    pending: PendingClears,
    under_way: Arc<Semaphore>,
    tasks: TaskTracker,
    _upkeep: AbortOnDropHandle<()>,
}

/// Where a value was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Level {
    /// In this node's memory, or from a worker of this node that was computing it.
    Node,
    /// In the store.
    Cluster,
}

impl Level {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Node => "node",
            Self::Cluster => "cluster",
        }
    }
}

/// Who wants a value, or else the right to compute it.
#[derive(Debug, Clone)]
pub(crate) struct Claim {
    pub(crate) key: ValueKey,
    /// Who computes: the same for all that depends on each other.
    pub(crate) owner: String,
    /// Whether the owner holds another right, so that waiting could be for itself.
    pub(crate) nested: bool,
    /// Whether to wait for somebody who computes it.
    pub(crate) wait: bool,
    /// To compute it although there is a value, unless that may be used for longer than this.
    pub(crate) anew: Option<Duration>,
}

/// What comes of a claim.
#[derive(Debug)]
pub(crate) enum Claimed {
    Value(Entry),
    Granted(Grant),
    Busy,
}

impl SharedCache {
    /// Of what this node knows and the store that tells it of changes.
    pub fn new(node: Arc<CacheNode>, store: Arc<dyn CacheStore>, max_value_bytes: u64) -> Arc<Self> {
        Arc::new_cyclic(|this: &Weak<Self>| {
            let this = this.clone();
            let upkeep = async move {
                let mut ticks = interval(TOUCH_INTERVAL);
                loop {
                    ticks.tick().await;
                    let Some(this) = this.upgrade() else { return };
                    this.clear_pending().await;
                    this.touch().await;
                }
            };
            Self {
                node,
                store,
                max_value_bytes,
                fetches: Mutex::default(),
                touched: Mutex::default(),
                uses: AtomicUsize::new(0),
                telling: AsyncMutex::default(),
                pending: PendingClears::default(),
                under_way: Arc::new(Semaphore::new(MOST_UNDER_WAY as usize)),
                tasks: TaskTracker::new(),
                _upkeep: AbortOnDropHandle::new(tokio::spawn(upkeep)),
            }
        })
    }

    /// What it has done.
    pub fn counts(&self) -> CacheCounts {
        self.node.counters.read()
    }

    /// What this node has in memory, in bytes.
    pub(crate) fn memory_bytes(&self) -> u64 {
        self.node.memory_bytes()
    }

    /// The file that workers look in for what is still good.
    pub(crate) fn stamps_path(&self) -> &Path {
        self.node.stamps_path()
    }

    /// Larger values stay in the worker that has them.
    pub(crate) fn max_value_bytes(&self) -> u64 {
        self.max_value_bytes
    }

    /// Gets a value from this node or the cluster.
    pub(crate) async fn get(self: &Arc<Self>, key: &ValueKey) -> Option<(Entry, Level)> {
        let found = match self.node.get(key) {
            Some(found) => Some((found, Level::Node)),
            None => self.fetch(key).await.map(|found| (found, self.store_level())),
        };
        self.count(key, found.as_ref().map(|(_, level)| *level));
        found.map(|(found, level)| (entry(found), level))
    }

    /// The store of a single process is this node's memory.
    fn store_level(&self) -> Level {
        if self.node.has_memory() { Level::Cluster } else { Level::Node }
    }

    fn count(&self, key: &ValueKey, level: Option<Level>) {
        let counters = &self.node.counters;
        match level {
            Some(Level::Node) => {
                counters.node_hits.add(1);
                self.use_of(key);
            }
            Some(Level::Cluster) => counters.cluster_hits.add(1),
            None => counters.misses.add(1),
        }
    }

    /// Gets a value from the store, together with all others here that want it.
    async fn fetch(self: &Arc<Self>, key: &ValueKey) -> Option<Found> {
        loop {
            let fetch = {
                let mut fetches = self.fetches.lock().unwrap_or_else(PoisonError::into_inner);
                let begin = || {
                    let (this, key) = (Arc::clone(self), key.clone());
                    async move {
                        let found = this.fetch_alone(&key).await;
                        this.fetches.lock().unwrap_or_else(PoisonError::into_inner).remove(&key);
                        found
                    }
                };
                // In a task of its own: whoever asked first may be gone before it is done.
                let run = |fetch| async move { tokio::spawn(fetch).await.ok().flatten() };
                fetches.entry(key.clone()).or_insert_with(|| run(begin()).boxed().shared()).clone()
            };
            let found = fetch.await?;
            // It may have been asked for before something was cleared, which happened before we were asked.
            if self.node.is_good(key, &found) {
                return Some(found);
            }
        }
    }

    async fn fetch_alone(&self, key: &ValueKey) -> Option<Found> {
        let stamp = self.node.stamps.of(key);
        self.clear_pending().await;
        if !self.pending.is_empty() {
            return None;
        }
        let entry = self.checked(self.store.get(key).await)??;
        let found = Found::new(entry, stamp);
        self.node.keep(key, &found);
        Some(found)
    }

    /// Gets a value, or the right to compute it.
    pub(crate) async fn claim(self: &Arc<Self>, claim: &Claim) -> Claimed {
        let mut waited = false;
        loop {
            if let Some(found) = self.at_hand(claim) {
                return Claimed::Value(found);
            }
            let follower = match self.node.flights.join(&claim.key) {
                Joined::Lead(lead) => return self.lead(claim, lead).await,
                Joined::Follow(follower) => follower,
            };
            if !claim.wait {
                return Claimed::Busy;
            }
            if !std::mem::replace(&mut waited, true) {
                self.node.counters.waits.add(1);
            }
            let Some(found) = self.wait_unless_for_itself(claim, follower.ended()).await else {
                return Claimed::Granted(self.grant_alone(claim));
            };
            if let Some(found) = found.filter(|found| self.node.is_good(&claim.key, found)) {
                self.count(&claim.key, Some(Level::Node));
                return Claimed::Value(entry(found));
            }
        }
    }

    /// What needs no claim. Whether a value has been replaced elsewhere, the store says where it is claimed.
    fn at_hand(&self, claim: &Claim) -> Option<Entry> {
        let found = self.node.get(&claim.key).map(entry)?;
        claim.anew.is_none_or(|fresh| found.outlasts(fresh)).then_some(found)
    }

    async fn lead(self: &Arc<Self>, claim: &Claim, lead: Lead) -> Claimed {
        let mut waited = false;
        loop {
            let stamp = self.node.stamps.of(&claim.key);
            self.clear_pending().await;
            let acquired = if self.pending.is_empty() {
                self.checked(self.store.acquire(&claim.key, &claim.owner, claim.anew).await)
            } else {
                None
            };
            match acquired {
                Some(Acquired::Lease(lease)) => {
                    return Claimed::Granted(self.grant(claim, stamp, Some(Permit { lead, lease: Some(lease) })));
                }
                Some(Acquired::Present(present)) => {
                    self.count(&claim.key, Some(self.store_level()));
                    let found = Found::new(present, stamp);
                    self.node.keep(&claim.key, &found);
                    lead.land(found.clone());
                    return Claimed::Value(entry(found));
                }
                Some(Acquired::Held { ends_in }) => {
                    if !claim.wait {
                        return Claimed::Busy;
                    }
                    if !std::mem::replace(&mut waited, true) {
                        self.node.counters.waits.add(1);
                    }
                    let settled = async { drop(timeout(ends_in + LEASE_MARGIN, lead.settled()).await) };
                    if self.wait_unless_for_itself(claim, settled).await.is_none() {
                        drop(lead);
                        return Claimed::Granted(self.grant_alone(claim));
                    }
                }
                // Without the store it is computed once on this node.
                None => return Claimed::Granted(self.grant(claim, stamp, Some(Permit { lead, lease: None }))),
            }
        }
    }

    /// Waits for somebody else who computes, unless that one waits for this owner: then it is `None` at once.
    async fn wait_unless_for_itself<T>(&self, claim: &Claim, end: impl Future<Output = T>) -> Option<T> {
        if !claim.nested {
            return Some(end.await);
        }
        // Nobody waits whom the store can't tell that it is safe.
        if self.checked(self.store.waits(&claim.owner, &claim.key).await).unwrap_or(true) {
            debug!(function = &*claim.key.function, "functions wait for each other: one of them is computed twice");
            return None;
        }
        let waiting = Waiting { store: Arc::clone(&self.store), owner: claim.owner.clone() };
        let outcome = end.await;
        waiting.end().await;
        Some(outcome)
    }

    /// The right to compute a value for oneself alone.
    fn grant_alone(self: &Arc<Self>, claim: &Claim) -> Grant {
        self.grant(claim, self.node.stamps.of(&claim.key), None)
    }

    fn grant(self: &Arc<Self>, claim: &Claim, stamp: Stamp, permit: Option<Permit>) -> Grant {
        self.node.counters.computations.add(1);
        Grant::new(Arc::clone(self), claim.key.clone(), stamp, permit)
    }

    /// Forgets values. Nobody in the cluster uses any of them when this returns, but for those that the store can't tell.
    pub(crate) async fn clear(&self, scope: &Scope) {
        self.clear_pending().await;
        let cleared = if self.pending.is_empty() { self.store.clear(scope).await } else { Err(away()) };
        if let Err(error) = cleared {
            warn!("cached values are cleared on this runner now, and on others when it can be told: {error}");
            self.node.counters.store_errors.add(1);
            self.pending.add(scope);
            self.node.cleared(scope);
        }
    }

    /// Clears in the store what could not be cleared there before.
    async fn clear_pending(&self) {
        while let Some(pending) = self.pending.first() {
            if self.store.clear(&pending.scope).await.is_err() {
                return;
            }
            pending.done();
        }
    }

    /// A worker has used values that it has in its own memory.
    pub(crate) fn used(&self, values: impl IntoIterator<Item = (ValueKey, u64)>) {
        for (key, times) in values {
            self.node.counters.worker_hits.add(times);
            self.use_of(&key);
        }
    }

    fn use_of(&self, key: &ValueKey) {
        let mut touched = self.touched.lock().unwrap_or_else(PoisonError::into_inner);
        if touched.len() < MAX_TOUCHED || touched.contains_key(key) {
            touched.insert(key.clone(), self.uses.fetch_add(1, Ordering::Relaxed));
        }
    }

    /// Tells the store what has been used. When this is done, it knows of all uses before.
    async fn touch(&self) {
        let _telling = self.telling.lock().await;
        let touched = std::mem::take(&mut *self.touched.lock().unwrap_or_else(PoisonError::into_inner));
        if !touched.is_empty() {
            // In their order: it decides what is forgotten first.
            let mut touched: Vec<_> = touched.into_iter().collect();
            touched.sort_unstable_by_key(|(_, number)| *number);
            let touched: Vec<_> = touched.into_iter().map(|(key, _)| key).collect();
            let _ = self.checked(self.store.touch(&touched).await);
        }
    }

    /// Waits until what has been computed is stored, or can't be.
    pub(crate) async fn settle(&self, limit: Duration) {
        self.tasks.close();
        let _ = timeout(limit, self.tasks.wait()).await;
    }

    /// Leaves the cluster, as nobody uses values here any more.
    pub(crate) async fn leave(&self, limit: Duration) {
        let end = async {
            self.settle(limit).await;
            self.store.leave().await;
        };
        let _ = timeout(limit, end).await;
    }

    fn checked<T>(&self, outcome: Result<T, CacheError>) -> Option<T> {
        outcome
            .inspect_err(|error| {
                self.node.counters.store_errors.add(1);
                debug!("{error}");
            })
            .ok()
    }
}

/// While it lives, an owner waits for somebody.
struct Waiting {
    store: Arc<dyn CacheStore>,
    owner: String,
}

impl Waiting {
    /// Not left to `drop`, as the owner may soon wait again.
    async fn end(mut self) {
        let _ = self.store.waits_no_more(&std::mem::take(&mut self.owner)).await;
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        if self.owner.is_empty() {
            return;
        }
        // Whoever waited is gone.
        let (store, owner) = (Arc::clone(&self.store), std::mem::take(&mut self.owner));
        tokio::spawn(async move {
            let _ = store.waits_no_more(&owner).await;
        });
    }
}

fn entry(found: Found) -> Entry {
    Entry { value: found.value, expires_at: found.expires_at }
}

fn away() -> CacheError {
    CacheError::Unavailable("what was cleared before is still to be cleared there".to_owned())
}

impl fmt::Debug for SharedCache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SharedCache").field("node", &self.node).finish_non_exhaustive()
    }
}
