//! A Redis that stops, comes back empty, loses a key or has no memory left.

use std::time::{Duration, Instant};

use streamfleet_cluster::{SaveError, SnapshotStore, Write};
use streamfleet_proto::SessionId;
use streamfleet_testkit::redis::{RedisLaunch, Version};
use tokio::time::sleep;

use super::stores::{CLUSTER, Content, change, connect_plainly};
use crate::registry::stores::LIMIT;

/// How long the first call that gets no answer may take, and how long those that follow.
const CALL_LIMIT: Duration = Duration::from_secs(6);

async fn is_saved_at_last(store: &dyn SnapshotStore, write: &Write) {
    let began = Instant::now();
    while let Err(error) = store.save(write).await {
        assert!(matches!(error, SaveError::Unavailable(_)), "{error}");
        assert!(began.elapsed() < LIMIT, "it does not come back");
        sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test]
async fn a_server_that_stops_is_missed_at_once() {
    let mut redis = RedisLaunch::new(Version::V7).start().await.unwrap();
    let store = connect_plainly(&redis.url()).await;
    let mut state = store.begin(SessionId::random(), 1);
    let mut changes = vec![change(true, &[("x", Some("1"))])];
    store.save(&state.prepare(changes[0].clone())).await.unwrap();
    redis.pause().unwrap();
    let next = change(false, &[("x", Some("2"))]);
    let write = state.prepare(next.clone());
    for calls in [1, 20] {
        let began = Instant::now();
        for _ in 0..calls {
            let error = store.save(&write).await.unwrap_err();
            assert!(matches!(error, SaveError::Unavailable(_)), "{error}");
        }
        assert!(began.elapsed() < CALL_LIMIT, "{calls} calls took {:?}", began.elapsed());
    }
    redis.resume().unwrap();
    // The server may have it already, from a connection that nobody waits at any more.
    is_saved_at_last(&store, &write).await;
    changes.push(next);
    let loaded = store.load(state.session(), 2).await.unwrap().unwrap();
    assert_eq!(Content::from(&loaded), Content::after(&changes));
}

#[tokio::test]
async fn an_empty_server_is_filled_again() {
    let mut redis = RedisLaunch::new(Version::V7).start().await.unwrap();
    let store = connect_plainly(&redis.url()).await;
    let mut state = store.begin(SessionId::random(), 1);
    store.save(&state.prepare(change(true, &[("x", Some("1"))]))).await.unwrap();
    redis.restart_empty().await.unwrap();
    let write = state.prepare(change(false, &[("x", Some("2"))]));
    let began = Instant::now();
    let outcome = loop {
        match store.save(&write).await {
            Err(SaveError::Unavailable(_)) if began.elapsed() < LIMIT => sleep(Duration::from_millis(50)).await,
            outcome => break outcome,
        }
    };
    assert_eq!(outcome, Err(SaveError::Gone));
    assert_eq!(store.touch(state.session(), 1).await, Err(SaveError::Gone));
    let full = change(true, &[("x", Some("2"))]);
    store.save(&state.prepare(full.clone())).await.unwrap();
    let loaded = store.load(state.session(), 1).await.unwrap().unwrap();
    assert_eq!(Content::from(&loaded), Content::after([&full]));
    // So is one that has thrown the key out.
    let key = format!("streamfleet:{CLUSTER}:snapshot:{{{}}}", state.session());
    assert_eq!(redis.command::<u32>(&["DEL", &key]).await.unwrap(), 1);
    assert_eq!(store.save(&state.prepare(change(false, &[]))).await, Err(SaveError::Gone));
    store.save(&state.prepare(full)).await.unwrap();
}

#[tokio::test]
async fn a_server_without_memory_still_gives_what_it_has() {
    for version in Version::ALL {
        let redis = RedisLaunch::new(version).start().await.unwrap();
        let store = connect_plainly(&redis.url()).await;
        let mut state = store.begin(SessionId::random(), 1);
        let first = change(true, &[("x", Some("1"))]);
        store.save(&state.prepare(first.clone())).await.unwrap();
        redis.command::<()>(&["CONFIG", "SET", "maxmemory", "1"]).await.unwrap();
        for full in [true, false] {
            let error = store.save(&state.clone().prepare(change(full, &[("x", Some("2"))]))).await.unwrap_err();
            assert!(matches!(&error, SaveError::Unavailable(text) if text.contains("OOM")), "{version:?}: {error}");
        }
        // As it was, and for a new owner, too.
        let loaded = store.load(state.session(), 2).await.unwrap().unwrap();
        assert_eq!(Content::from(&loaded), Content::after([&first]));
        store.touch(state.session(), 2).await.unwrap();
        redis.command::<()>(&["CONFIG", "SET", "maxmemory", "0"]).await.unwrap();
        let mut state = loaded.state;
        store.save(&state.prepare(change(false, &[("x", Some("2"))]))).await.unwrap();
        redis.command::<()>(&["CONFIG", "SET", "maxmemory", "1"]).await.unwrap();
        store.remove(state.session(), 2).await.unwrap();
    }
}
