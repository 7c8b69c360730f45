//! What `st.cache_data` functions have returned, for a whole cluster: each value is computed once, and every runner has it.
//!
//! | store | for |
//! |---|---|
//! | [`MemoryCache`] | one process, which may have many workers |
//! | [`RedisCache`] | a cluster |
//!
//! Who doesn't find a value [acquires](CacheStore::acquire) the right to compute it, as a lease that must be renewed. Clearing ends
//! leases too, so that what was computed from before is not stored after.

mod memory;
mod redis;
mod signer;
mod value;

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use tokio::time::Instant;

pub use self::{
    memory::MemoryCache,
    redis::RedisCache,
    signer::CacheSigner,
    value::{Corrupt, PART_BYTES, Packed, Packer},
};

/// How long the right to compute a value lasts without being renewed.
pub const CACHE_LEASE: Duration = Duration::from_secs(3);
/// How long anything is kept that is never used.
pub const UNUSED_TTL: Duration = Duration::from_hours(24 * 7);

/// How long a lease that has ended, but that nobody else has asked for since, can still be renewed and used: its owner, or the store,
/// may only have been away for a moment.
const LAPSED_KEPT: Duration = Duration::from_hours(1);
/// How long it is remembered that an owner waits which never says that it does no more.
const WAIT_KEPT: Duration = Duration::from_hours(24);
/// How many owners may wait for each other in a row.
const WAIT_STEPS: usize = 64;

/// A function that `st.cache_data` decorates, as it was declared.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CachedFunction {
    /// The same in every worker, and another one if anything of the declaration is.
    pub id: Arc<str>,
    /// How long a value is good.
    pub ttl: Option<Duration>,
    /// How many values are kept; the least recently used goes first.
    pub max_entries: Option<u64>,
    /// How many bytes of values are kept, before packing; the least recently used goes first. As in Streamlit, a value that is larger
    /// by itself is kept alone, until the next.
    pub max_bytes: Option<u64>,
}

/// One call of a function.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ValueKey {
    /// The function's id.
    pub function: Arc<str>,
    /// A hash of the arguments.
    pub call: Arc<str>,
}

/// What is to be forgotten.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Scope {
    /// All values.
    Everything,
    /// All values of the function with this id.
    Function(Arc<str>),
    /// One call's value.
    Value(ValueKey),
}

/// A value that was found.
#[derive(Debug, Clone)]
pub struct Entry {
    /// The value.
    pub value: Packed,
    /// Until when it may be used.
    pub expires_at: Option<Instant>,
}

impl Entry {
    /// Whether it expires, but not within this time. What never does was stored by somebody who has another idea of its life.
    pub fn outlasts(&self, time: Duration) -> bool {
        self.expires_at.is_some_and(|end| end.saturating_duration_since(Instant::now()) > time)
    }
}

/// The right to compute a value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ComputeLease {
    /// Of what.
    pub key: ValueKey,
    /// No other lease has the same.
    pub token: Arc<str>,
}

/// The answer to asking for the right to compute a value.
#[derive(Debug, Clone)]
pub enum Acquired {
    /// Nobody else computes it.
    Lease(ComputeLease),
    /// It is there already.
    Present(Entry),
    /// Somebody computes it. [`CacheListener::settled`] tells when that has ended, unless whoever it is dies: then the lease has
    /// ended after this time.
    Held {
        /// What is left of the other's lease.
        ends_in: Duration,
    },
}

/// What becomes of a value that was computed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stored {
    /// Whoever asks has it now.
    Yes,
    /// The lease has been lost, or what it was for has been cleared.
    NotAnyMore,
    /// It is larger than all that may be kept.
    TooLarge,
}

/// The store could not do it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CacheError {
    /// It can't be reached now, or has no room; trying again later may help.
    #[error("the cache is unavailable: {0}")]
    Unavailable(String),
    /// It refuses, or answers what it should not.
    #[error("the cache failed: {0}")]
    Failed(String),
}

/// Is told, in the order in which things happen, of what other runners do. Must return at once.
pub trait CacheListener: Send + Sync + 'static {
    /// This is not good any more. Told before [`CacheStore::clear`] returns, wherever in the cluster that was called.
    fn cleared(&self, scope: &Scope);

    /// A value's computing has ended, with or without a value.
    fn settled(&self, key: &ValueKey);

    /// Something may have been missed: nothing that was had from the store before this is good without asking again.
    fn gap(&self);
}

impl Scope {
    /// Whether what is to be forgotten includes this.
    pub fn includes(&self, key: &ValueKey) -> bool {
        match self {
            Self::Everything => true,
            Self::Function(function) => *function == key.function,
            Self::Value(value) => value == key,
        }
    }
}

impl CachedFunction {
    /// Whether a value is small enough to be kept, be there nothing else.
    fn has_room_for(&self, value: &Packed, options: &CacheOptions) -> bool {
        self.max_entries != Some(0) && value.packed_bytes() <= options.max_bytes
    }
}

/// What every store must know.
#[derive(Debug, Clone)]
pub struct CacheOptions {
    /// What of the app runs: another revision finds none of its values.
    pub revision: String,
    /// How many bytes of values are kept in all, as they are packed; the least recently used go first.
    pub max_bytes: u64,
}

/// What `st.cache_data` functions have returned.
#[async_trait]
pub trait CacheStore: Send + Sync + 'static {
    /// Gets a value, which counts as a use of it.
    async fn get(&self, key: &ValueKey) -> Result<Option<Entry>, CacheError>;

    /// Gets a value, or else the right to compute it. Of two that ask at once only one has it.
    ///
    /// `owner` is who will compute: leases of one owner may depend on each other (see [`waits`](Self::waits)).
    ///
    /// With `fresh` a value is to be replaced unless it [outlasts](Entry::outlasts) this time. It is had by all others who ask until
    /// the new one has been put.
    async fn acquire(&self, key: &ValueKey, owner: &str, fresh: Option<Duration>) -> Result<Acquired, CacheError>;

    /// Renews a lease for [`CACHE_LEASE`]. False if somebody else has got it meanwhile, or what it was for has been cleared.
    async fn renew(&self, lease: &ComputeLease) -> Result<bool, CacheError>;

    /// Gives a lease up. One that has been lost already is none of our business.
    async fn release(&self, lease: &ComputeLease) -> Result<(), CacheError>;

    /// Stores a value and ends the lease.
    ///
    /// A value that was there already is replaced, and what the function's limits leave no room for is forgotten. All listeners are
    /// told that these are cleared, and then that the lease has ended, but not necessarily before this returns.
    async fn put(&self, lease: &ComputeLease, function: &CachedFunction, value: &Packed) -> Result<Stored, CacheError>;

    /// Forgets values, and ends the leases for them. Every listener in the cluster has been told when this returns, but for those that
    /// don't answer within a second: they are told of a [gap](CacheListener::gap) when they do.
    async fn clear(&self, scope: &Scope) -> Result<(), CacheError>;

    /// Counts uses of values that were had without asking.
    async fn touch(&self, used: &[ValueKey]) -> Result<(), CacheError>;

    /// Says that an owner, who holds leases, is about to wait for somebody else's. True if that one waits for this owner, be it in
    /// a roundabout way: then this one must not, and nothing is remembered of it.
    async fn waits(&self, owner: &str, key: &ValueKey) -> Result<bool, CacheError>;

    /// The owner waits no more.
    async fn waits_no_more(&self, owner: &str) -> Result<(), CacheError>;

    /// This process ends: nobody need wait for it any more when something is cleared.
    async fn leave(&self) {}
}
