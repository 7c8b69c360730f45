//! A Redis that stops, comes back empty, loses keys or has no memory left.

use std::time::{Duration, Instant};

use streamfleet_cluster::{Acquired, CacheError, CacheStore, Packed, Scope, Stored};
use streamfleet_testkit::redis::{Redis, RedisLaunch, Version};
use tokio::time::sleep;

use super::stores::{Heard, PAUSE, compute, connect_plainly, function, get, key, lease, noise};
use crate::registry::stores::LIMIT;

/// How long the first call that gets no answer may take, and how long those that follow.
const CALL_LIMIT: Duration = Duration::from_secs(10);

async fn works_again(store: &dyn CacheStore) {
    let began = Instant::now();
    while let Err(error) = store.get(&key("f", "call")).await {
        assert!(matches!(error, CacheError::Unavailable(_)), "{error}");
        assert!(began.elapsed() < LIMIT, "it does not come back");
        sleep(PAUSE).await;
    }
}

fn unavailable<T: std::fmt::Debug>(outcome: Result<T, CacheError>) -> String {
    match outcome {
        Err(CacheError::Unavailable(text)) => text,
        outcome => panic!("{outcome:?}"),
    }
}

#[tokio::test]
async fn a_server_that_stops_is_missed_at_once() {
    let mut redis = RedisLaunch::new(Version::V7).start().await.unwrap();
    let (store, ear) = connect_plainly(&redis.url()).await;
    let (f, key) = (function("f"), key("f", "call"));
    compute(&store, &f, "large", &noise(3 << 20)).await;
    let lease = lease(&store, &key).await;
    redis.pause().unwrap();
    ear.forget();
    for _ in 0..2 {
        let began = Instant::now();
        unavailable(store.get(&key).await);
        unavailable(store.acquire(&key, "o", None).await);
        unavailable(store.acquire(&key, "o", Some(Duration::ZERO)).await);
        unavailable(store.renew(&lease).await);
        unavailable(store.put(&lease, &f, &Packed::of(b"small")).await);
        unavailable(store.put(&lease, &f, &Packed::of(&noise(20 << 20))).await);
        unavailable(store.touch(std::slice::from_ref(&key)).await);
        unavailable(store.waits("o", &key).await);
        unavailable(store.waits_no_more("o").await);
        unavailable(store.clear(&Scope::Everything).await);
        unavailable(store.release(&lease).await);
        assert!(began.elapsed() < CALL_LIMIT, "the calls took {:?}", began.elapsed());
    }
    // At least here it is cleared.
    assert!(ear.heard().contains(&Heard::Cleared(Scope::Everything)));
    redis.resume().unwrap();
    works_again(&store).await;
    store.clear(&Scope::Everything).await.unwrap();
    compute(&store, &f, "call", b"x").await;
}

#[tokio::test]
async fn an_empty_server_is_filled_again() {
    let mut redis = RedisLaunch::new(Version::V7).start().await.unwrap();
    let ((one, ear), (other, _)) = (connect_plainly(&redis.url()).await, connect_plainly(&redis.url()).await);
    ear.hears(&Heard::Gap).await;
    ear.forget();
    compute(&one, &function("f"), "call", b"before").await;
    let lease = lease(&one, &key("f", "other")).await;
    redis.restart_empty().await.unwrap();
    works_again(&one).await;
    works_again(&other).await;
    assert_eq!(get(&other, &key("f", "call")).await, None);
    assert!(!one.renew(&lease).await.unwrap());
    assert_eq!(one.put(&lease, &function("f"), &Packed::of(b"x")).await.unwrap(), Stored::NotAnyMore);
    compute(&other, &function("f"), "call", b"after").await;
    assert_eq!(get(&one, &key("f", "call")).await.unwrap(), b"after");
    // Something may have been missed, and from then on nothing is.
    ear.hears(&Heard::Gap).await;
    other.clear(&Scope::Everything).await.unwrap();
    ear.hears(&Heard::Cleared(Scope::Everything)).await;
}

async fn index_keys(redis: &Redis) -> Vec<String> {
    redis.command(&["KEYS", "streamfleet:cache:cache:{r1}:*"]).await.unwrap()
}

#[tokio::test]
async fn a_key_that_is_thrown_out_costs_values_only() {
    let redis = RedisLaunch::new(Version::V7).start().await.unwrap();
    let (store, _) = connect_plainly(&redis.url()).await;
    let limited = streamfleet_cluster::CachedFunction { ttl: Some(LIMIT * 10), max_entries: Some(2), ..function("f") };
    let fill = async || {
        for (call, length) in [("a", 10), ("b", 100_000)] {
            compute(&store, &limited, call, &noise(length)).await;
            compute(&store, &function("g"), call, &noise(length)).await;
        }
    };
    fill().await;
    for key_lost in index_keys(&redis).await {
        fill().await;
        redis.command::<()>(&["DEL", &key_lost]).await.unwrap();
        // What was there may be gone now, but never comes back once it is cleared,
        for function in ["f", "g"] {
            store.clear(&Scope::Function(function.into())).await.unwrap();
        }
        let used = [("f", "a"), ("f", "b"), ("g", "a"), ("g", "b")].map(|(function, call)| key(function, call));
        store.touch(&used).await.unwrap();
        for key in &used {
            assert_eq!(get(&store, key).await, None, "without {key_lost}");
        }
        // nor does it matter for what is stored then: of each function there is what should be.
        fill().await;
        redis.command::<()>(&["DEL", &key_lost]).await.unwrap();
        fill().await;
        compute(&store, &limited, "c", b"x").await;
        let mut there = Vec::new();
        for call in ["a", "b", "c"] {
            there.push(get(&store, &key("f", call)).await.is_some());
        }
        assert_eq!(there, [false, true, true], "without {key_lost}");
        store.clear(&Scope::Everything).await.unwrap();
    }
    // So is a large value whose bytes are gone.
    fill().await;
    for blob in redis.command::<Vec<String>>(&["KEYS", "streamfleet:cache:cache-value:*"]).await.unwrap() {
        redis.command::<()>(&["DEL", &blob]).await.unwrap();
    }
    assert_eq!(get(&store, &key("f", "b")).await, None);
    assert!(matches!(store.acquire(&key("g", "b"), "o", None).await.unwrap(), Acquired::Lease(_)));
    assert!(get(&store, &key("f", "a")).await.is_some());
}

#[tokio::test]
async fn a_server_without_memory_still_gives_what_it_has() {
    for version in Version::ALL {
        let redis = RedisLaunch::new(version).start().await.unwrap();
        let (store, ear) = connect_plainly(&redis.url()).await;
        let f = function("f");
        for (call, length) in [("small", 10), ("large", 100_000)] {
            compute(&store, &f, call, &noise(length)).await;
        }
        let held = [lease(&store, &key("f", "one")).await, lease(&store, &key("f", "other")).await];
        redis.command::<()>(&["CONFIG", "SET", "maxmemory", "1"]).await.unwrap();
        for length in [10, 100_000] {
            let text = unavailable(store.put(&held[0], &f, &Packed::of(&noise(length))).await);
            assert!(text.contains("OOM"), "{version:?}: {text}");
        }
        unavailable(store.acquire(&key("f", "new"), "o", None).await);
        for (call, length) in [("small", 10), ("large", 100_000)] {
            assert_eq!(get(&store, &key("f", call)).await.unwrap(), noise(length));
            assert!(matches!(store.acquire(&key("f", call), "o", None).await.unwrap(), Acquired::Present(_)));
        }
        store.touch(&[key("f", "small"), key("f", "large")]).await.unwrap();
        assert!(matches!(store.acquire(&key("f", "one"), "o", None).await.unwrap(), Acquired::Held { .. }));
        assert!(store.renew(&held[0]).await.unwrap());
        assert!(!store.waits("owner", &key("f", "one")).await.unwrap());
        store.waits_no_more("owner").await.unwrap();
        store.release(&held[0]).await.unwrap();
        ear.hears(&Heard::Settled(key("f", "one"))).await;
        store.clear(&Scope::Everything).await.unwrap();
        assert_eq!(get(&store, &key("f", "small")).await, None);
        redis.command::<()>(&["CONFIG", "SET", "maxmemory", "0"]).await.unwrap();
        assert_eq!(store.put(&held[1], &f, &Packed::of(b"x")).await.unwrap(), Stored::NotAnyMore);
        compute(&store, &f, "one", b"x").await;
    }
}
