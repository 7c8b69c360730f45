//! Opens the cache that all workers of an app share.

use std::sync::Arc;

use anyhow::{Context as _, Result};
use streamfleet_cluster::{CacheOptions, CacheSigner, MemoryCache, RedisCache, RedisOptions};
use streamfleet_runner::{CacheNode, SharedCache};

use crate::{
    secret::{CACHE, ClusterSecret},
    settings::{CacheLimits, Settings},
};

/// The cache of an app that runs in one process; `None` if it is switched off.
pub(crate) fn alone(settings: &Settings) -> Result<Option<Arc<SharedCache>>> {
    let Some(CacheLimits { memory, max_value, .. }) = settings.cache() else { return Ok(None) };
    // The store is this process's memory.
    let node = node(0)?;
    let options = CacheOptions { revision: String::new(), max_bytes: memory };
    let store = MemoryCache::new(options, Arc::<CacheNode>::clone(&node));
    Ok(Some(SharedCache::new(node, Arc::new(store), max_value)))
}

/// The cache of an app that runs on several machines; `None` if it is switched off.
pub(crate) async fn of_cluster(
    settings: &Settings,
    redis: RedisOptions,
    secret: &ClusterSecret,
    revision: &str,
) -> Result<Option<Arc<SharedCache>>> {
    let Some(CacheLimits { memory, size, max_value }) = settings.cache() else { return Ok(None) };
    let node = node(memory)?;
    let options = CacheOptions { revision: revision.to_owned(), max_bytes: size };
    let signer = CacheSigner::new(settings.cluster(), secret.derive_all(CACHE)?)?;
    let store = RedisCache::connect(redis, options, signer, Arc::<CacheNode>::clone(&node)).await?;
    Ok(Some(SharedCache::new(node, Arc::new(store), max_value)))
}

fn node(memory_bytes: u64) -> Result<Arc<CacheNode>> {
    CacheNode::new(memory_bytes).context("cannot write the cache's stamps to the temporary folder (see $TMPDIR)")
}
