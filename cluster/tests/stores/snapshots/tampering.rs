//! Somebody else who can write the Redis.

use redis::aio::MultiplexedConnection;
use streamfleet_cluster::{LoadError, SaveError, SnapshotOptions, SnapshotStore};
use streamfleet_proto::SessionId;
use streamfleet_testkit::redis::{Redis, RedisLaunch, Version};

use super::stores::{CLUSTER, Content, KEY, change, connect, connect_plainly, signer};

struct Tampering {
    redis: Redis,
    raw: MultiplexedConnection,
    store: Box<dyn SnapshotStore>,
    /// Has a value more than the other.
    session: SessionId,
    other: SessionId,
}

fn key(session: SessionId) -> String {
    format!("streamfleet:{CLUSTER}:snapshot:{{{session}}}")
}

impl Tampering {
    async fn begin() -> Self {
        let redis = RedisLaunch::new(Version::V7).start().await.unwrap();
        let (store, raw) = (connect_plainly(&redis.url()).await, redis.connection().await.unwrap());
        let (session, other) = (SessionId::random(), SessionId::random());
        store
            .save(&store.begin(session, 1).prepare(change(true, &[("a", Some("one")), ("b", Some("2"))])))
            .await
            .unwrap();
        store.save(&store.begin(other, 1).prepare(change(true, &[("a", Some("two"))]))).await.unwrap();
        Self { redis, raw, store: Box::new(store), session, other }
    }

    async fn get(&mut self, session: SessionId, field: &str) -> Vec<u8> {
        redis::cmd("HGET").arg(key(session)).arg(field).query_async(&mut self.raw).await.unwrap()
    }

    async fn set(&mut self, field: &str, data: &[u8]) {
        let mut command = redis::cmd("HSET");
        command.arg(key(self.session)).arg(field).arg(data).query_async::<()>(&mut self.raw).await.unwrap();
    }

    async fn delete(&mut self, field: &str) {
        let mut command = redis::cmd("HDEL");
        command.arg(key(self.session)).arg(field).query_async::<()>(&mut self.raw).await.unwrap();
    }

    async fn refused(&self, what: &str) -> String {
        match self.store.load(self.session, 1).await {
            Err(LoadError::Refused { reason }) => reason,
            outcome => panic!("{what}: {outcome:?}"),
        }
    }

    async fn accepted(&self) {
        assert!(self.store.load(self.session, 1).await.unwrap().is_some());
    }
}

const SIGNED: [&str; 5] = ["manifest", "signature", "core", "v:a", "v:b"];

#[tokio::test]
async fn every_byte_counts() {
    let mut it = Tampering::begin().await;
    for field in SIGNED {
        let right = it.get(it.session, field).await;
        for at in 0..right.len() {
            let mut wrong = right.clone();
            wrong[at] ^= 1;
            it.set(field, &wrong).await;
            it.refused(&format!("byte {at} of {field} altered")).await;
        }
        for length in 0..right.len() {
            it.set(field, &right[..length]).await;
            it.refused(&format!("{field} cut off at {length}")).await;
        }
        it.set(field, &[&right[..], b"x"].concat()).await;
        it.refused(&format!("{field} made longer")).await;
        it.set(field, &right).await;
        it.accepted().await;
    }
}

#[tokio::test]
async fn pieces_are_neither_lost_nor_added_nor_swapped() {
    let mut it = Tampering::begin().await;
    for field in SIGNED {
        let right = it.get(it.session, field).await;
        it.delete(field).await;
        it.refused(&format!("{field} deleted")).await;
        it.set(field, &right).await;
        it.accepted().await;
    }
    for field in ["v:c", "v:", "v:\u{fffd}"] {
        it.set(field, b"evil").await;
        it.refused(&format!("{field} added")).await;
        it.delete(field).await;
    }
    let (a, b) = (it.get(it.session, "v:a").await, it.get(it.session, "v:b").await);
    it.set("v:a", &b).await;
    it.set("v:b", &a).await;
    it.refused("values swapped").await;
    it.set("v:a", &a).await;
    it.set("v:b", &b).await;
    it.accepted().await;
    // What is of nobody's business is passed over.
    it.set("w", b"of a newer version").await;
    it.accepted().await;
}

#[tokio::test]
async fn what_is_of_another_session_is_refused() {
    let mut it = Tampering::begin().await;
    for field in ["manifest", "signature", "v:a"] {
        let (right, others) = (it.get(it.session, field).await, it.get(it.other, field).await);
        it.set(field, &others).await;
        it.refused(&format!("{field} of another session")).await;
        it.set(field, &right).await;
    }
    it.accepted().await;
    // All of it: everything fits, but for the name.
    let (from, to) = (key(it.other), key(it.session));
    let copied: bool = it.redis.command(&["COPY", &from, &to, "REPLACE"]).await.unwrap();
    assert!(copied);
    assert_eq!(it.refused("another session's").await, "it is of another session");
}

#[tokio::test]
async fn who_was_refused_can_begin_anew() {
    let mut it = Tampering::begin().await;
    it.set("v:a", b"evil").await;
    assert!(matches!(it.store.load(it.session, 2).await, Err(LoadError::Refused { .. })));
    // The owner before is shut out all the same.
    let (session, full) = (it.session, change(true, &[("c", Some("3"))]));
    let late = it.store.begin(session, 1).prepare(full.clone());
    assert_eq!(it.store.save(&late).await, Err(SaveError::Fenced { epoch: 2 }));
    it.store.save(&it.store.begin(session, 2).prepare(full.clone())).await.unwrap();
    let loaded = it.store.load(session, 2).await.unwrap().unwrap();
    assert_eq!(Content::from(&loaded), Content::after([&full]));
}

#[tokio::test]
async fn only_the_clusters_keys_are_good() {
    let it = Tampering::begin().await;
    let open = async |cluster: &str, keys: &[&str]| {
        let store = connect(&it.redis.url(), SnapshotOptions::new(signer(cluster, keys))).await;
        store.load(it.session, 1).await
    };
    for (cluster, keys) in [(CLUSTER, &["another"][..]), ("another", &[KEY]), (CLUSTER, &["one", "another"])] {
        let outcome = open(cluster, keys).await;
        assert!(matches!(outcome, Err(LoadError::Refused { .. })), "{cluster}, {keys:?}");
    }
    // An old key is good for as long as it is named.
    assert!(open(CLUSTER, &["new", KEY]).await.unwrap().is_some());
}

#[tokio::test]
async fn nonsense_beside_the_manifest_costs_one_full_save() {
    let mut it = Tampering::begin().await;
    let mut state = it.store.load(it.session, 1).await.unwrap().unwrap().state;
    for (field, nonsense) in [("version", "x"), ("by", ""), ("epoch", "-"), ("version", "1")] {
        it.set(field, nonsense.as_bytes()).await;
        it.accepted().await;
        // It may take this or not, but says so.
        let saved = it.store.save(&state.prepare(change(false, &[("a", Some("1"))]))).await;
        assert!(matches!(saved, Ok(()) | Err(SaveError::Gone)), "{field}: {saved:?}");
        it.store.save(&state.prepare(change(true, &[("a", Some("2"))]))).await.unwrap();
        it.accepted().await;
    }
}
