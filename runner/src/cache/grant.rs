//! The right to compute a value, and what becomes of it.

use std::{sync::Arc, time::Duration};

use streamfleet_cluster::{
    CACHE_LEASE, CacheListener as _, CacheStore, CachedFunction, ComputeLease, Packed, Scope, Stored, ValueKey,
};
use tokio::time::{Instant, interval, timeout};
use tokio_util::sync::{CancellationToken, DropGuard};
use tracing::debug;

use super::{SharedCache, flights::Lead, node::Found, stamps::Stamp};

/// How often a lease is renewed.
const RENEW_INTERVAL: Duration = Duration::from_secs(1);
/// How long a value may wait for its turn to be stored. It is not stored after that.
const ROOM_LIMIT: Duration = Duration::from_secs(10);

/// The right to compute a value. Dropping it gives the right up.
#[derive(Debug)]
pub(crate) struct Grant {
    cache: Arc<SharedCache>,
    key: ValueKey,
    stamp: Stamp,
    /// `None` if the value is for whoever computes it alone.
    permit: Option<Permit>,
    /// Ends the renewing.
    renewing: Option<DropGuard>,
}

/// What keeps all others from computing it.
#[derive(Debug)]
pub(super) struct Permit {
    /// On this node.
    pub(super) lead: Lead,
    /// In the cluster; `None` while the store is away.
    pub(super) lease: Option<ComputeLease>,
}

impl Grant {
    pub(super) fn new(cache: Arc<SharedCache>, key: ValueKey, stamp: Stamp, permit: Option<Permit>) -> Self {
        let lease = permit.as_ref().and_then(|permit| permit.lease.clone());
        let renewing = lease.map(|lease| {
            let stop = CancellationToken::new();
            tokio::spawn(stop.clone().run_until_cancelled_owned(renew(Arc::clone(&cache.store), lease)));
            stop.drop_guard()
        });
        Self { cache, key, stamp, permit, renewing }
    }

    /// Whether what is computed reaches others.
    pub(crate) fn is_shared(&self) -> bool {
        self.permit.is_some()
    }

    /// The value has been computed: this node's workers have it at once, the cluster's when it is stored. Until then nobody else
    /// computes it.
    pub(crate) async fn fulfil(mut self, function: CachedFunction, value: Packed) {
        let Some(Permit { lead, lease }) = self.permit.take() else { return };
        let expires_at = function.ttl.and_then(|ttl| Instant::now().checked_add(ttl));
        let found = Found { value: value.clone(), expires_at, stamp: self.stamp };
        self.cache.node.keep(&self.key, &found);
        lead.land(found);
        let Some(lease) = lease else { return };

        let cache = Arc::clone(&self.cache);
        let size =
            u32::try_from(value.packed_bytes().div_ceil(1024)).unwrap_or(u32::MAX).clamp(1, super::MOST_UNDER_WAY);
        let room = timeout(ROOM_LIMIT, Arc::clone(&cache.under_way).acquire_many_owned(size)).await;
        let Ok(Ok(room)) = room else {
            debug!("the store takes too long for another value");
            let _ = cache.checked(cache.store.release(&lease).await);
            return;
        };
        let (renewing, key) = (self.renewing.take(), self.key.clone());
        cache.tasks.clone().spawn(async move {
            // What was used before is used before.
            cache.touch().await;
            match cache.checked(cache.store.put(&lease, &function, &value).await) {
                Some(Stored::Yes | Stored::NotAnyMore) => {}
                // As in one process, it is not kept anywhere then.
                Some(Stored::TooLarge) => cache.node.cleared(&Scope::Value(key)),
                None => drop(cache.store.release(&lease).await),
            }
            drop((renewing, room));
        });
    }
}

impl Drop for Grant {
    fn drop(&mut self) {
        // The lease first: who leads next on this node should not find it held.
        let Some(Permit { lead, lease }) = self.permit.take() else { return };
        self.renewing = None;
        let Some(lease) = lease else { return };
        let cache = Arc::clone(&self.cache);
        tokio::spawn(async move {
            let _ = cache.checked(cache.store.release(&lease).await);
            drop(lead);
        });
    }
}

/// Renews a lease until it is lost.
async fn renew(store: Arc<dyn CacheStore>, lease: ComputeLease) {
    debug_assert!(RENEW_INTERVAL * 2 < CACHE_LEASE);
    let mut ticks = interval(RENEW_INTERVAL);
    ticks.tick().await;
    loop {
        ticks.tick().await;
        match store.renew(&lease).await {
            Ok(true) => {}
            Ok(false) => return,
            // It lasts a while without.
            Err(error) => debug!("{error}"),
        }
    }
}
