//! What nodes know of each other.

use std::time::Duration;

use streamfleet_cluster::{CacheOptions, CacheStore, Scope};
use streamfleet_testkit::faults::FaultProxy;
use streamfleet_testkit::redis::{Redis, RedisLaunch, Version};
use tokio::time::{Instant, sleep, timeout};

use super::stores::{
    Ear, Heard, KEY, PAUSE, PLENTY, compute, connect, connect_plainly, function, get, key, noise, signer,
};
use crate::registry::stores::LIMIT;

async fn nodes(redis: &Redis) -> Vec<String> {
    redis.command(&["ZRANGE", "streamfleet:cache:cache:{r1}:nodes", "0", "-1"]).await.unwrap()
}

/// Clears, and says after how long it returned.
async fn clears(store: &dyn CacheStore) -> Duration {
    let began = Instant::now();
    timeout(LIMIT, store.clear(&Scope::Everything)).await.expect("it never returns").unwrap();
    began.elapsed()
}

#[tokio::test]
async fn all_have_heard_when_a_clear_returns() {
    let redis = RedisLaunch::new(Version::V7).start().await.unwrap();
    let (one, own) = connect_plainly(&redis.url()).await;
    let mut others = Vec::new();
    for _ in 0..8 {
        others.push(connect_plainly(&redis.url()).await);
    }
    for number in 0..20 {
        let scope = Scope::Function(number.to_string().into());
        one.clear(&scope).await.unwrap();
        for ear in others.iter().map(|(_, ear)| ear).chain([&own]) {
            assert!(ear.heard().contains(&Heard::Cleared(scope.clone())), "{:?}", ear.heard());
        }
    }
    // The node itself has heard each of them once, whichever way.
    let scope = Scope::Function("last".into());
    others[0].0.clear(&scope).await.unwrap();
    own.hears(&Heard::Cleared(scope)).await;
    assert_eq!(own.heard().iter().filter(|heard| matches!(heard, Heard::Cleared(_))).count(), 21);
}

#[tokio::test]
async fn nobody_waits_long_for_who_is_gone() {
    let redis = RedisLaunch::new(Version::V7).start().await.unwrap();
    let proxy = FaultProxy::start(redis.address()).await.unwrap();
    let (one, _) = connect_plainly(&redis.url()).await;
    let (deaf, ear) = connect_plainly(&format!("redis://{}", proxy.address())).await;
    let (gone, _) = connect_plainly(&redis.url()).await;
    assert_eq!(nodes(&redis).await.len(), 3);
    compute(&one, &function("f"), "call", b"x").await;
    drop(gone);
    proxy.blackhole();
    ear.forget();
    clears(&one).await;
    assert_eq!(get(&one, &key("f", "call")).await, None);
    // After a while it isn't even asked.
    let began = Instant::now();
    while nodes(&redis).await.len() > 1 {
        assert!(began.elapsed() < LIMIT, "they stay for ever");
        sleep(PAUSE).await;
    }
    // Who was deaf knows when it comes back.
    proxy.heal();
    ear.hears(&Heard::Gap).await;
    drop(deaf);
}

#[tokio::test]
async fn who_leaves_is_not_waited_for() {
    let redis = RedisLaunch::new(Version::V7).start().await.unwrap();
    let (one, _) = connect_plainly(&redis.url()).await;
    let (other, ear) = connect_plainly(&redis.url()).await;
    let there = nodes(&redis).await;
    other.leave().await;
    let left = nodes(&redis).await;
    assert!(left.len() == 1 && there.contains(&left[0]));
    ear.forget();
    clears(&one).await;
    // It can still give back what it has.
    other.release(&super::stores::lease(&other, &key("f", "call")).await).await.unwrap();
    sleep(Duration::from_millis(1500)).await;
    assert_eq!((nodes(&redis).await, ear.heard()), (left, Vec::new()));
}

#[tokio::test]
async fn revisions_are_kept_apart() {
    let redis = RedisLaunch::new(Version::V7).start().await.unwrap();
    let mut stores = Vec::new();
    for revision in ["r1", "r2", "{r1}", "", "r1 r1"] {
        let options = CacheOptions { revision: revision.to_owned(), max_bytes: PLENTY };
        let ear = std::sync::Arc::<Ear>::default();
        stores.push((revision, connect(&redis.url(), "cache", options, signer(&[KEY]), &ear).await));
    }
    for (revision, store) in &stores {
        assert_eq!(get(store, &key("f", "call")).await, None);
        compute(store, &function("f"), "call", revision.as_bytes()).await;
    }
    for (revision, store) in &stores {
        assert_eq!(get(store, &key("f", "call")).await.unwrap(), revision.as_bytes());
    }
    stores[0].1.clear(&Scope::Everything).await.unwrap();
    for (number, (_, store)) in stores.iter().enumerate() {
        assert_eq!(get(store, &key("f", "call")).await.is_some(), number > 0);
    }
}

#[tokio::test]
async fn every_key_has_a_time_to_live_and_blobs_are_deleted() {
    let redis = RedisLaunch::new(Version::V7).start().await.unwrap();
    let (store, _) = connect_plainly(&redis.url()).await;
    let large = noise(100_000);
    let ttl = streamfleet_cluster::CachedFunction { ttl: Some(Duration::from_mins(5)), ..function("ttl") };
    let limited = streamfleet_cluster::CachedFunction { max_entries: Some(1), ..function("limited") };
    compute(&store, &function("f"), "small", b"x").await;
    for (f, call) in
        [(&ttl, "a"), (&ttl, "b"), (&ttl, "b"), (&limited, "a"), (&limited, "b"), (&function("f"), "large")]
    {
        compute(&store, f, call, &large).await;
    }
    super::stores::lease(&store, &key("f", "other")).await;
    store.waits("owner", &key("f", "other")).await.unwrap();
    let blobs = async || -> usize {
        redis.command::<Vec<String>>(&["KEYS", "streamfleet:cache:cache-value:*"]).await.unwrap().len()
    };
    let wait_for = async |count: usize| {
        let began = Instant::now();
        while blobs().await != count {
            assert!(began.elapsed() < LIMIT, "there are {} blobs", blobs().await);
            sleep(PAUSE).await;
        }
    };
    // What was replaced and evicted is not among them.
    wait_for(4).await;
    let keys: Vec<String> = redis.command(&["KEYS", "*"]).await.unwrap();
    for key in &keys {
        assert!(redis.command::<i64>(&["PTTL", key]).await.unwrap() > 0, "{key}");
    }
    assert_eq!(keys.len(), 4 + 8 + 3, "{keys:?}");
    // A large value is kept for as long as it is used.
    let (used, unused) = (key("f", "large"), key("limited", "b"));
    for blob in keys.iter().filter(|key| key.contains("cache-value")) {
        redis.command::<()>(&["PEXPIRE", blob, "200000"]).await.unwrap();
    }
    store.touch(&[used, unused, key("ttl", "a")]).await.unwrap();
    let lives = async || {
        let mut lives = Vec::new();
        for blob in keys.iter().filter(|key| key.contains("cache-value")) {
            lives.push(redis.command::<i64>(&["PTTL", blob]).await.unwrap() > 200_000);
        }
        lives.into_iter().filter(|longer| *longer).count()
    };
    let began = Instant::now();
    while lives().await != 2 {
        assert!(began.elapsed() < LIMIT, "{} blobs are kept", lives().await);
        sleep(PAUSE).await;
    }
    store.clear(&Scope::Function("ttl".into())).await.unwrap();
    wait_for(2).await;
    store.clear(&Scope::Everything).await.unwrap();
    wait_for(0).await;
}
