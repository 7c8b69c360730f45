//! TLS, users with few rights, and what is said to those who may not enter.

use streamfleet_cluster::{Blobs, Registry, SnapshotStore, VisitorId};
use streamfleet_proto::{FileId, MediaId, SessionId};
use streamfleet_testkit::certificates::Certificates;
use streamfleet_testkit::redis::{RedisLaunch, Version};

use super::stores::{connect, connect_with, member};
use crate::blobs::{bytes, open, put, read};
use crate::snapshots::stores::{change, connect_plainly};

/// All that gateways and runners do, and nothing else. `docs/cluster.md` tells operators to use it.
const RULES: &str = "on resetchannels ~streamfleet:* &streamfleet:* -@all +ping +evalsha +script|load +subscribe \
                     +publish +time +hget +hgetall +hset +hdel +hmget +zadd +zrem +zscore +zcard +zrank +zrange \
                     +zrangebyscore +pexpire +del +sadd +srem +smembers +hlen +rename";

async fn works(registry: &dyn Registry) {
    let (runner, session) = ("a".parse().unwrap(), SessionId::random());
    let file: MediaId = "ab".parse().unwrap();
    registry.announce(&member("a", 0)).await.unwrap();
    assert_eq!(registry.members().await.unwrap().list.len(), 1);
    let pin = registry.pin(session, &runner).await.unwrap();
    assert_eq!(registry.pinned(session).await.unwrap(), Some(pin.clone()));
    let pin = registry.move_pin(session, &pin, &runner).await.unwrap();
    registry.claim(session, &pin).await.unwrap();
    registry.unpin(session, &pin).await.unwrap();
    registry.add_media(&file, &runner).await.unwrap();
    assert_eq!(registry.media(&file).await.unwrap().len(), 1);
    registry.remove_media(&file, &runner).await.unwrap();
    registry.set_revision(Some("b")).await.unwrap();
    registry.withdraw(&runner).await.unwrap();
    let (inside, waiting) = (VisitorId::random(), VisitorId::random());
    assert!(registry.enter(inside, 1).await.unwrap());
    for _ in 0..2 {
        registry.ask(waiting, 1).await.unwrap();
        registry.ask(VisitorId::random(), 1).await.unwrap();
    }
    registry.leave(inside).await.unwrap();
}

async fn snapshots_work(store: &dyn SnapshotStore) {
    let mut state = store.begin(SessionId::random(), 1);
    for full in [true, false] {
        store.save(&state.prepare(change(full, &[("a", Some("1")), ("b", None)]))).await.unwrap();
    }
    let mut state = store.load(state.session(), 2).await.unwrap().unwrap().state;
    store.save(&state.prepare(change(false, &[("a", None)]))).await.unwrap();
    store.touch(state.session(), 2).await.unwrap();
    store.remove(state.session(), 2).await.unwrap();
}

async fn files_work(blobs: &Blobs) {
    let (session, file) = (SessionId::random(), FileId::random());
    put(blobs, session, file, 3 << 20).await.unwrap();
    assert!(read(blobs, session, file).await.unwrap() == bytes(3 << 20));
    blobs.renew(session).await.unwrap();
    blobs.delete(session, &[file]).await.unwrap();
    blobs.delete_session(session).await.unwrap();
}

#[tokio::test]
async fn a_user_with_few_rights_is_enough() {
    let redis = RedisLaunch::new(Version::V7).user("fleet", "pass@word", RULES).start().await.unwrap();
    let address = redis.address();
    works(&*connect(&format!("redis://fleet:pass%40word@{address}"), "acl").await.unwrap()).await;
    snapshots_work(&connect_plainly(&format!("redis://fleet:pass%40word@{address}")).await).await;
    files_work(&open(&format!("redis://fleet:pass%40word@{address}")).await).await;
    let refused = connect(&format!("redis://fleet:wrongword@{address}"), "acl").await.err().unwrap().to_string();
    assert!(!refused.contains("wrongword"), "{refused}");
    assert!(refused.to_lowercase().contains("auth") || refused.contains("WRONGPASS"), "{refused}");
}

#[tokio::test]
async fn tls_is_used_with_the_right_authority_only() {
    let (ours, others) = (Certificates::generate().unwrap(), Certificates::generate().unwrap());
    let redis = RedisLaunch::new(Version::V7).password("secret").tls(&ours).start().await.unwrap();
    let url = format!("rediss://:secret@{}", redis.address());
    works(&*connect_with(&url, "tls", Some(&ours.authority)).await.unwrap()).await;
    let clear = format!("redis://:secret@{}", redis.address());
    // Each is tried for a while.
    let (unknown, other, in_the_clear) = tokio::join!(
        connect_with(&url, "tls", None),
        connect_with(&url, "tls", Some(&others.authority)),
        connect(&clear, "tls"),
    );
    assert!(unknown.is_err() && other.is_err(), "an unknown authority was trusted");
    assert!(in_the_clear.is_err(), "somebody was there in the clear");
}
