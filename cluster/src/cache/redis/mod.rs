//! The cache of a cluster of several processes, in Redis.
//!
//! | key (after `streamfleet:CLUSTER:`) | type | what is there |
//! |---|---|---|
//! | `cache:{REVISION}:values` | hash | value → its bytes, packed and not, when it expires, and its blob, if it is large |
//! | `cache:{REVISION}:content` | hash | value → signature, and its parts, or what those in the blob are |
//! | `cache:{REVISION}:used` | sorted set | value → when it was last used, in µs of the server's clock |
//! | `cache:{REVISION}:used:FUNCTION` | sorted set | the same for the calls of a function |
//! | `cache:{REVISION}:expiring` | sorted set | value → when it expires, in ms of the server's clock |
//! | `cache:{REVISION}:totals` | hash | `packed` → bytes of all values; `size:FUNCTION`, `count:FUNCTION` → a function's bytes and values |
//! | `cache:{REVISION}:leases` | hash | value → token, end (in ms of the server's clock) and owner of the right to compute it |
//! | `cache:{REVISION}:waits` | hash | owner → since when (in ms of the server's clock) it waits for which value |
//! | `cache:{REVISION}:nodes` | sorted set | node → until when it counts as there, in ms of the server's clock |
//! | `cache:{REVISION}:events` | channel | what becomes of values |
//! | `cache-node:NODE` | channel | who has heard of what the node has cleared |
//! | `cache-value:{BLOB}` | hash | a large value's parts, counted from 0 |
//!
//! A value is named by its function's length, a colon, the function, and the call. What is in braces decides the slot in a Redis
//! Cluster: all that must happen at once is in one, and each large value in another. A large value is written first and then named
//! in the index; one that isn't named expires. All keys have a time to live.
//!
//! **What is trusted.** Values are pickles, and whoever unpickles one runs what is in it. So they are signed with a key that only the
//! cluster's runners have, for their revision, function and call, and one that doesn't fit is never handed out. Whoever can write
//! the store can still put back an older value of the same call, or remove it. What scripts go by is not trusted.
//!
//! Redis may throw out any key when it has no room. Where that leaves the index with a part of what belongs together, all values are
//! forgotten.

mod blobs;
mod index;
mod news;
mod record;
mod scripts;

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use tokio::{
    sync::watch,
    task::spawn_blocking,
    time::{Instant, timeout},
};
use tokio_util::sync::{CancellationToken, DropGuard};
use tracing::warn;

use self::{
    blobs::{BlobError, Blobs},
    index::{Asked, Index, Unneeded},
    news::{News, Node},
    record::{Found, Place, Record, Stored as Located},
};
use super::{
    Acquired, CacheError, CacheListener, CacheOptions, CacheSigner, CacheStore, CachedFunction, ComputeLease, Entry,
    Packed, Scope, Stored, ValueKey, signer::PartDigest,
};
use crate::redis::{Connector, Limits, Link, LinkError, RedisOptions, follow};

/// How long things about the index may take. Scripts wait for it.
const INDEX_LIMITS: Limits = Limits { answer: Duration::from_secs(1), operation: Duration::from_secs(2) };
/// How long a part of a large value may take: all that are on their way go through a network of 100 Mbit/s in this time. They have
/// a connection of their own, so that nothing small waits for them.
const BLOB_LIMITS: Limits = Limits { answer: Duration::from_secs(3), operation: Duration::from_secs(4) };
/// How long the first subscription may take.
const SUBSCRIBE_LIMIT: Duration = Duration::from_secs(10);
/// Packed bytes up to which a value is in the index itself.
const INLINE: u64 = 8 * 1024;
/// Bytes from which on a value is signed on a thread of its own. Fewer take less than a millisecond.
const LARGE: u64 = 256 * 1024;
/// How often somebody may find a value that is no good where it asks for the right to compute it.
const ACQUIRE_ATTEMPTS: usize = 4;

/// The cache of a cluster of several processes, in Redis.
pub struct RedisCache {
    index: Arc<Index>,
    blobs: Arc<Blobs>,
    node: Arc<Node>,
    signer: CacheSigner,
    options: CacheOptions,
    /// Ends what makes other nodes wait for this one.
    presence: CancellationToken,
    _stop: DropGuard,
}

impl RedisCache {
    /// Connects and listens. Fails when that takes longer than ten seconds.
    pub async fn connect(
        redis: RedisOptions,
        options: CacheOptions,
        signer: CacheSigner,
        listener: Arc<dyn CacheListener>,
    ) -> Result<Self, LinkError> {
        let prefix = redis.prefix();
        let stop = CancellationToken::new();
        let guard = stop.clone().drop_guard();
        let blob_connector = Arc::new(Connector::new(&redis, BLOB_LIMITS));
        let connector = Arc::new(Connector::new(&redis, INDEX_LIMITS));
        let link = Link::start("cache", Arc::clone(&connector), stop.clone()).await?;
        let blob_link = Link::start("cache_values", blob_connector, stop.clone()).await?;

        let index = Arc::new(Index::new(link, &prefix, &options.revision));
        let node = Arc::new(Node::new(listener));
        let (blobs, chores) = Blobs::new(blob_link, &prefix);
        let presence = stop.child_token();
        spawn_until(&stop, chores);
        let (acknowledgements, waiting) = news::acknowledgements();
        spawn_until(&stop, news::acknowledge(Arc::clone(&index), prefix.clone(), Arc::clone(&node), waiting));
        let (ears, mut hears) = watch::channel(false);
        spawn_until(&presence, news::attend(Arc::clone(&index), Arc::clone(&node), hears.clone()));
        let channels = [index.channel.clone(), news::own_channel(&prefix, &node.id)];
        let mut news = News { node: Arc::clone(&node), index: Arc::clone(&index), ears, acknowledgements };
        spawn_until(&presence, async move { follow(&connector, &channels, &mut news).await });

        let cache = Self { index, blobs, node, signer, options, presence, _stop: guard };
        // Before that, others would not wait for this node to hear of what they clear.
        match timeout(SUBSCRIBE_LIMIT, hears.wait_for(|hears| *hears)).await {
            Ok(Ok(_)) => Ok(cache),
            _ => Err(LinkError::Unavailable("there is no subscription".to_owned())),
        }
    }

    fn place(&self) -> Place<'_> {
        Place { signer: &self.signer, revision: &self.options.revision, max_bytes: self.options.max_bytes }
    }

    /// The value that was found, when it was asked for then. If it is no good it is forgotten, and `None`.
    async fn open(&self, key: &ValueKey, found: Found, asked: Instant) -> Result<Option<Entry>, CacheError> {
        let read = match found.read(&self.place(), key) {
            Ok(Located::Inline(value)) => Ok(value),
            Ok(Located::Blob { name, size, parts }) => self.blobs.read(&name, size, parts).await,
            Err(reason) => Err(BlobError::Bad(reason)),
        };
        match read {
            Ok(value) => {
                self.blobs.keep_later(found.lasting_blob());
                Ok(Some(Entry { value, expires_at: found.expires_at(asked) }))
            }
            Err(BlobError::Link(error)) => Err(error.into()),
            Err(BlobError::Bad(reason)) => {
                warn!("forgetting a cached value of {} that is no good: {reason}", key.function);
                self.delete(self.index.remove(key, &found).await?);
                Ok(None)
            }
        }
    }

    fn delete(&self, unneeded: Unneeded) {
        self.blobs.delete_later(unneeded);
    }

    /// Makes a value's entry in the index. A large value itself is written first.
    async fn record(&self, key: &ValueKey, value: &Packed) -> Result<Record, CacheError> {
        let digests = digests(value).await?;
        let blob = if value.packed_bytes() <= INLINE { None } else { Some(self.blobs.write(value).await?) };
        Ok(Record::new(&self.place(), key, value, &digests, blob))
    }
}

/// Does something in the background, until it is to end. What that leaves undone expires.
fn spawn_until(end: &CancellationToken, task: impl Future<Output = ()> + Send + 'static) {
    let end = end.clone();
    tokio::spawn(async move { end.run_until_cancelled(task).await });
}

async fn digests(value: &Packed) -> Result<Vec<PartDigest>, CacheError> {
    let digests = |value: &Packed| value.parts().iter().map(PartDigest::of).collect();
    if value.packed_bytes() < LARGE {
        return Ok(digests(value));
    }
    let value = value.clone();
    spawn_blocking(move || digests(&value)).await.map_err(|error| CacheError::Failed(error.to_string()))
}

impl From<LinkError> for CacheError {
    fn from(error: LinkError) -> Self {
        match error {
            LinkError::Unavailable(text) => Self::Unavailable(text),
            LinkError::Failed(text) => Self::Failed(text),
        }
    }
}

#[async_trait]
impl CacheStore for RedisCache {
    async fn get(&self, key: &ValueKey) -> Result<Option<Entry>, CacheError> {
        let asked = Instant::now();
        let (found, unneeded) = self.index.get(key).await?;
        self.delete(unneeded);
        match found {
            Some(found) => self.open(key, found, asked).await,
            None => Ok(None),
        }
    }

    async fn acquire(&self, key: &ValueKey, owner: &str, fresh: Option<Duration>) -> Result<Acquired, CacheError> {
        for _ in 0..ACQUIRE_ATTEMPTS {
            let asked = Instant::now();
            let (answer, unneeded) = self.index.acquire(key, owner, fresh).await?;
            self.delete(unneeded);
            match answer {
                Asked::Lease(lease) => return Ok(Acquired::Lease(lease)),
                Asked::Held { ends_in } => return Ok(Acquired::Held { ends_in }),
                Asked::Present(found) => {
                    if let Some(entry) = self.open(key, found, asked).await? {
                        return Ok(Acquired::Present(entry));
                    }
                }
            }
        }
        Err(CacheError::Failed("what is stored is never any good".to_owned()))
    }

    async fn renew(&self, lease: &ComputeLease) -> Result<bool, CacheError> {
        Ok(self.index.renew(lease).await?)
    }

    async fn release(&self, lease: &ComputeLease) -> Result<(), CacheError> {
        self.index.release(lease).await?;
        Ok(())
    }

    async fn put(&self, lease: &ComputeLease, function: &CachedFunction, value: &Packed) -> Result<Stored, CacheError> {
        if !function.has_room_for(value, &self.options) {
            let held = self.index.release(lease).await?;
            return Ok(if held { Stored::TooLarge } else { Stored::NotAnyMore });
        }
        let record = self.record(&lease.key, value).await?;
        let blob = record.blob().map(str::to_owned);
        match self.index.put(lease, function, value, &record, self.options.max_bytes).await {
            Ok((true, unneeded)) => {
                if let Some(blob) = blob
                    && let Err(error) = self.blobs.keep(&blob, function.ttl).await
                {
                    warn!("a cached value of {} will soon be gone: {error}", function.id);
                }
                self.delete(unneeded);
                Ok(Stored::Yes)
            }
            Ok((false, _)) => {
                self.blobs.delete_later(blob);
                Ok(Stored::NotAnyMore)
            }
            Err(error) => {
                // If it is in the index all the same, it will be found to be gone.
                self.blobs.delete_later(blob);
                Err(error.into())
            }
        }
    }

    async fn clear(&self, scope: &Scope) -> Result<(), CacheError> {
        let clear = self.node.clear(scope);
        let message = clear.message().map_err(|error| CacheError::Failed(error.to_string()))?;
        let cleared = self.index.clear(scope, &message).await;
        // Whatever has become of it: it may have been done.
        clear.tell();
        let (nodes, unneeded) = cleared?;
        self.delete(unneeded);
        clear.heard_by(&nodes).await;
        Ok(())
    }

    async fn touch(&self, used: &[ValueKey]) -> Result<(), CacheError> {
        self.blobs.keep_later(self.index.touch(used).await?);
        Ok(())
    }

    async fn waits(&self, owner: &str, key: &ValueKey) -> Result<bool, CacheError> {
        Ok(self.index.waits(owner, key).await?)
    }

    async fn waits_no_more(&self, owner: &str) -> Result<(), CacheError> {
        Ok(self.index.waits_no_more(owner).await?)
    }

    /// Ends listening. Best effort: after three seconds without this nobody waits for it either.
    async fn leave(&self) {
        self.presence.cancel();
        let _ = self.index.leave(&self.node.id).await;
    }
}
