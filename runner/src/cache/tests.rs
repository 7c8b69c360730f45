use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use async_trait::async_trait;
use futures_util::future::join_all;
use streamfleet_cluster::{CacheOptions, CachedFunction, ComputeLease, MemoryCache, Packed, Stored};
use tokio::{task::yield_now, time::sleep};

use super::*;

/// A store that can be away.
struct Flaky {
    inner: MemoryCache,
    away: AtomicBool,
    /// Is slow to take note of uses.
    slow: AtomicBool,
    /// How often it has been told of uses.
    touches: AtomicUsize,
}

impl Flaky {
    fn check(&self) -> Result<(), CacheError> {
        if self.away.load(Ordering::SeqCst) { Err(CacheError::Unavailable("away".to_owned())) } else { Ok(()) }
    }
}

#[async_trait]
impl CacheStore for Flaky {
    async fn get(&self, key: &ValueKey) -> Result<Option<Entry>, CacheError> {
        self.check()?;
        self.inner.get(key).await
    }

    async fn acquire(&self, key: &ValueKey, owner: &str, fresh: Option<Duration>) -> Result<Acquired, CacheError> {
        self.check()?;
        self.inner.acquire(key, owner, fresh).await
    }

    async fn renew(&self, lease: &ComputeLease) -> Result<bool, CacheError> {
        self.check()?;
        self.inner.renew(lease).await
    }

    async fn release(&self, lease: &ComputeLease) -> Result<(), CacheError> {
        self.check()?;
        self.inner.release(lease).await
    }

    async fn put(&self, lease: &ComputeLease, function: &CachedFunction, value: &Packed) -> Result<Stored, CacheError> {
        self.check()?;
        self.inner.put(lease, function, value).await
    }

    async fn clear(&self, scope: &Scope) -> Result<(), CacheError> {
        self.check()?;
        self.inner.clear(scope).await
    }

    async fn touch(&self, used: &[ValueKey]) -> Result<(), CacheError> {
        self.check()?;
        self.touches.fetch_add(1, Ordering::SeqCst);
        if self.slow.load(Ordering::SeqCst) {
            sleep(Duration::from_millis(200)).await;
        }
        self.inner.touch(used).await
    }

    async fn waits(&self, owner: &str, key: &ValueKey) -> Result<bool, CacheError> {
        self.check()?;
        self.inner.waits(owner, key).await
    }

    async fn waits_no_more(&self, owner: &str) -> Result<(), CacheError> {
        self.check()?;
        self.inner.waits_no_more(owner).await
    }
}

struct Host {
    cache: Arc<SharedCache>,
    store: Arc<Flaky>,
}

impl Host {
    fn new() -> Self {
        let node = CacheNode::new(1 << 20).unwrap();
        let options = CacheOptions { revision: String::new(), max_bytes: 1 << 20 };
        let inner = MemoryCache::new(options, Arc::<CacheNode>::clone(&node));
        let store = Arc::new(Flaky {
            inner,
            away: AtomicBool::new(false),
            slow: AtomicBool::new(false),
            touches: AtomicUsize::new(0),
        });
        let cache = SharedCache::new(node, Arc::<Flaky>::clone(&store), 1 << 20);
        Self { cache, store }
    }

    fn set_away(&self, away: bool) {
        self.store.away.store(away, Ordering::SeqCst);
    }

    async fn grant(&self, claim: &Claim) -> Grant {
        match self.cache.claim(claim).await {
            Claimed::Granted(grant) => grant,
            other => panic!("{other:?}"),
        }
    }

    async fn value(&self, claim: &Claim) -> Packed {
        match self.cache.claim(claim).await {
            Claimed::Value(entry) => entry.value,
            other => panic!("{other:?}"),
        }
    }

    async fn compute(&self, claim: &Claim, value: &[u8]) {
        self.grant(claim).await.fulfil(function(), Packed::of(value)).await;
    }

    async fn get(&self, claim: &Claim) -> Option<Bytes> {
        Some(bytes(&self.cache.get(&claim.key).await?.0.value))
    }
}

type Bytes = bytes::Bytes;

fn bytes(value: &Packed) -> Bytes {
    value.unpack(0).unwrap()
}

fn function() -> CachedFunction {
    CachedFunction { id: "f".into(), ttl: None, max_entries: None, max_bytes: None }
}

fn claim(call: &str) -> Claim {
    let key = ValueKey { function: "f".into(), call: call.into() };
    Claim { key, owner: "a".to_owned(), nested: false, wait: true, anew: None }
}

#[tokio::test]
async fn one_computes_and_all_have_it() {
    let host = Host::new();
    let claim = claim("1");
    assert_eq!(host.get(&claim).await, None);
    let grant = host.grant(&claim).await;
    assert!(grant.is_shared());
    assert!(matches!(host.cache.claim(&Claim { wait: false, ..claim.clone() }).await, Claimed::Busy));
    let waiting = join_all((0..20).map(|_| host.value(&claim)));
    let computing = async {
        while host.cache.counts().waits < 20 {
            yield_now().await;
        }
        grant.fulfil(function(), Packed::of(b"value")).await;
    };
    let (values, ()) = tokio::join!(waiting, computing);
    assert!(values.iter().all(|value| bytes(value) == "value"));
    assert_eq!(host.get(&claim).await.unwrap(), "value");
    let counts = host.cache.counts();
    assert_eq!((counts.computations, counts.misses, counts.node_hits), (1, 1, 21));
}

#[tokio::test]
async fn who_gives_up_frees_those_that_wait() {
    let host = Host::new();
    let claim = claim("1");
    let grant = host.grant(&claim).await;
    let second = tokio::spawn({
        let (cache, claim) = (Arc::clone(&host.cache), claim.clone());
        async move { cache.claim(&claim).await }
    });
    while host.cache.counts().waits == 0 {
        yield_now().await;
    }
    drop(grant);
    let Claimed::Granted(grant) = second.await.unwrap() else { panic!("it is not free") };
    grant.fulfil(function(), Packed::of(b"2")).await;
    assert_eq!(host.get(&claim).await.unwrap(), "2");
}

#[tokio::test]
async fn what_is_cleared_is_computed_again() {
    let host = Host::new();
    let claim = claim("1");
    for scope in [Scope::Everything, Scope::Function("f".into()), Scope::Value(claim.key.clone())] {
        host.compute(&claim, b"old").await;
        assert_eq!(host.get(&claim).await.unwrap(), "old");
        host.cache.clear(&scope).await;
        assert_eq!(host.get(&claim).await, None, "{scope:?}");

        // What is being computed from before is no use either, but to whoever computes it.
        let grant = host.grant(&claim).await;
        host.cache.clear(&scope).await;
        grant.fulfil(function(), Packed::of(b"old")).await;
        host.cache.settle(Duration::from_secs(10)).await;
        assert_eq!(host.get(&claim).await, None, "{scope:?}");
    }
}

#[tokio::test]
async fn a_value_is_replaced_while_it_is_used() {
    let host = Host::new();
    let claim = claim("1");
    host.compute(&claim, b"old").await;
    let anew = Claim { anew: Some(Duration::ZERO), wait: false, ..claim.clone() };
    let until_stored = async {
        loop {
            if let Claimed::Granted(grant) = host.cache.claim(&anew).await {
                return grant;
            }
            yield_now().await;
        }
    };
    let grant = until_stored.await;
    assert!(matches!(host.cache.claim(&anew).await, Claimed::Busy));
    assert_eq!(host.get(&claim).await.unwrap(), "old");
    assert_eq!(bytes(&host.value(&claim).await), "old");
    grant.fulfil(function(), Packed::of(b"new")).await;
    host.cache.settle(Duration::from_secs(10)).await;
    assert_eq!(host.get(&claim).await.unwrap(), "new");
}

#[tokio::test]
async fn without_the_store_a_node_shares_what_it_has() {
    let host = Host::new();
    let (one, other) = (claim("1"), claim("2"));
    host.compute(&one, b"1").await;
    host.cache.settle(Duration::from_secs(10)).await;
    host.set_away(true);
    assert_eq!(host.get(&one).await.unwrap(), "1");
    assert_eq!(host.get(&other).await, None);
    let grant = host.grant(&other).await;
    assert!(matches!(host.cache.claim(&Claim { wait: false, ..other.clone() }).await, Claimed::Busy));
    grant.fulfil(function(), Packed::of(b"2")).await;
    assert_eq!(bytes(&host.value(&other).await), "2");

    host.cache.clear(&Scope::Value(one.key.clone())).await;
    assert_eq!(host.get(&one).await, None);
    host.set_away(false);
    assert_eq!(host.get(&one).await, None, "the store still has what was cleared");
    assert!(host.cache.counts().store_errors > 0);
}

#[tokio::test]
async fn functions_that_wait_for_each_other_do_not_wait_for_ever() {
    let host = Host::new();
    let (f, g) = (claim("f"), claim("g"));
    let b = "b".to_owned();
    let (by_a, by_b) = (host.grant(&f).await, host.grant(&Claim { owner: b.clone(), ..g.clone() }).await);
    let a_wants_g = Claim { nested: true, ..g.clone() };
    let b_wants_f = Claim { nested: true, owner: b, ..f.clone() };
    let a = async {
        let outcome = host.cache.claim(&a_wants_g).await;
        drop(by_a);
        outcome
    };
    let b = async {
        let outcome = host.cache.claim(&b_wants_f).await;
        drop(by_b);
        outcome
    };
    let outcomes = tokio::join!(a, b);
    let alone = |claimed: &Claimed| matches!(claimed, Claimed::Granted(grant) if !grant.is_shared());
    assert!(alone(&outcomes.0) || alone(&outcomes.1), "{outcomes:?}");
}

#[tokio::test]
async fn one_that_waits_for_a_stranger_waits() {
    let host = Host::new();
    let (f, g) = (claim("f"), claim("g"));
    let _by_a = host.grant(&f).await;
    let by_b = host.grant(&Claim { owner: "b".to_owned(), ..g.clone() }).await;
    let nested = Claim { nested: true, ..g };
    let value = host.value(&nested);
    let computing = async {
        while host.cache.counts().waits == 0 {
            yield_now().await;
        }
        sleep(Duration::from_millis(20)).await;
        by_b.fulfil(function(), Packed::of(b"g")).await;
    };
    assert_eq!(bytes(&tokio::join!(value, computing).0), "g");
}

#[tokio::test]
async fn a_large_value_is_asked_for_once() {
    let host = Host::new();
    let claim = claim("1");
    host.compute(&claim, b"1").await;
    host.cache.settle(Duration::from_secs(10)).await;
    host.cache.node.gap();
    let values = join_all((0..10).map(|_| host.get(&claim))).await;
    assert!(values.into_iter().all(|value| value.unwrap() == "1"));
    assert!(host.cache.fetches.lock().unwrap().is_empty());
}

impl Host {
    /// Computes a value of a function that has room for three.
    async fn put_of_three(&self, call: &str) {
        let three = CachedFunction { max_entries: Some(3), ..function() };
        self.grant(&claim(call)).await.fulfil(three, Packed::of(b"v")).await;
        self.cache.settle(Duration::from_secs(10)).await;
    }

    async fn has(&self, call: &str) -> bool {
        self.get(&claim(call)).await.is_some()
    }
}

#[tokio::test]
async fn what_was_used_last_is_forgotten_last() {
    let host = Host::new();
    for call in ["1", "2", "3"] {
        host.put_of_three(call).await;
    }
    // Told of together, as a worker does.
    host.cache.used(["3", "1", "2", "1"].map(|call| (claim(call).key, 1)));
    host.put_of_three("4").await;
    assert_eq!([host.has("1").await, host.has("2").await, host.has("3").await], [true, true, false]);
}

#[tokio::test]
async fn a_value_is_stored_after_the_uses_before_it() {
    let host = Host::new();
    for call in ["1", "2", "3"] {
        host.put_of_three(call).await;
    }
    host.store.slow.store(true, Ordering::SeqCst);
    let before = host.store.touches.load(Ordering::SeqCst);
    host.cache.used([(claim("1").key, 1)]);
    while host.store.touches.load(Ordering::SeqCst) == before {
        sleep(Duration::from_millis(1)).await;
    }
    // The store is being told, and doesn't know yet.
    host.put_of_three("4").await;
    assert_eq!([host.has("1").await, host.has("2").await], [true, false]);
}
