//! A Redis that stops, is cut off, or comes back empty.

use std::time::{Duration, Instant};

use streamfleet_cluster::{Event, Registry, RegistryError};
use streamfleet_proto::SessionId;
use streamfleet_testkit::faults::FaultProxy;
use streamfleet_testkit::redis::{RedisLaunch, Version};
use tokio::time::{sleep, timeout};

use super::stores::{LIMIT, connect, member};

/// How long the first call that gets no answer may take, and how long those that follow.
const CALL_LIMIT: Duration = Duration::from_secs(5);

/// Calls fail soon, and once it is known that nobody answers, at once.
async fn fails_fast(registry: &dyn Registry) {
    let began = Instant::now();
    let error = registry.members().await.unwrap_err();
    assert!(matches!(error, RegistryError::Unavailable(_)), "{error}");
    assert!(began.elapsed() < CALL_LIMIT);
    let began = Instant::now();
    for _ in 0..20 {
        registry.members().await.unwrap_err();
    }
    assert!(began.elapsed() < CALL_LIMIT, "twenty calls took {:?}", began.elapsed());
}

async fn works_again(registry: &dyn Registry) {
    let began = Instant::now();
    while registry.members().await.is_err() {
        assert!(began.elapsed() < LIMIT, "it does not come back");
        sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test]
async fn a_server_that_stops_is_missed_at_once() {
    let mut redis = RedisLaunch::new(Version::V7).start().await.unwrap();
    let registry = connect(&redis.url(), "away").await.unwrap();
    registry.members().await.unwrap();
    redis.pause().unwrap();
    fails_fast(&*registry).await;
    redis.resume().unwrap();
    works_again(&*registry).await;
}

#[tokio::test]
async fn a_network_that_swallows_everything_is_noticed() {
    let redis = RedisLaunch::new(Version::V7).start().await.unwrap();
    let proxy = FaultProxy::start(redis.address()).await.unwrap();
    let registry = connect(&format!("redis://{}", proxy.address()), "away").await.unwrap();
    let mut events = registry.subscribe();
    registry.members().await.unwrap();
    proxy.blackhole();
    fails_fast(&*registry).await;
    // The subscription, too, must find out that it hears nothing any more.
    sleep(Duration::from_secs(5)).await;
    while events.try_recv().is_ok() {}
    proxy.heal();
    works_again(&*registry).await;
    let gap = async { while !matches!(events.recv().await, Ok(Event::Gap)) {} };
    timeout(LIMIT, gap).await.expect("nobody is told that events may have been lost");
}

#[tokio::test]
async fn an_empty_server_is_not_taken_at_its_word() {
    let mut redis = RedisLaunch::new(Version::V7).start().await.unwrap();
    let registry = connect(&redis.url(), "away").await.unwrap();
    let session = SessionId::random();
    registry.announce(&member("a", 0)).await.unwrap();
    let pin = registry.pin(session, &"a".parse().unwrap()).await.unwrap();
    redis.restart_empty().await.unwrap();
    works_again(&*registry).await;
    let members = registry.members().await.unwrap();
    assert!(members.settling && members.list.is_empty(), "{members:?}");
    assert!(registry.announce(&member("a", 0)).await.unwrap().joined);
    assert_eq!(registry.claim(session, &pin).await.unwrap(), pin);
    // What comes later is greater, though the server remembers nothing.
    let moved = registry.move_pin(session, &pin, &"b".parse().unwrap()).await.unwrap();
    assert!(moved.epoch > pin.epoch);
}

#[tokio::test]
async fn a_replica_is_no_registry() {
    let redis = RedisLaunch::new(Version::V7).start().await.unwrap();
    let registry = connect(&redis.url(), "away").await.unwrap();
    registry.announce(&member("a", 0)).await.unwrap();
    let _: String = redis.command(&["REPLICAOF", "127.0.0.1", "1"]).await.unwrap();
    let error = registry.announce(&member("a", 0)).await.unwrap_err();
    assert!(matches!(error, RegistryError::Unavailable(_)), "{error}");
    let _: String = redis.command(&["REPLICAOF", "NO", "ONE"]).await.unwrap();
    works_again(&*registry).await;
}
