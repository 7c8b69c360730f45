//! What every store does alike.

use std::time::Duration;

use bytes::Bytes;
use streamfleet_cluster::{Change, LoadError, SaveError, SnapshotStore, Unsaved};
use streamfleet_proto::SessionId;
use streamfleet_testkit::redis::Version;
use tokio::time::{sleep, timeout};

use super::stores::{Content, Store, change};
use crate::registry::stores::LIMIT;

/// The largest snapshot that a worker makes.
const LARGEST: usize = 16 << 20;

/// Runs everything on a store.
async fn behaves(store: &Store) {
    let (one, other) = (store.handle().await, store.handle().await);
    what_is_saved_is_loaded(&*one, &*other).await;
    a_newer_owner_shuts_out_older_ones(&*one, &*other).await;
    changes_need_what_they_build_on(&*one, &*other).await;
    a_write_counts_once_however_often_it_comes(&*one, &*other).await;
    what_is_removed_stays_away(&*one, &*other).await;
    odd_keys_are_kept(&*one).await;
    large_values_are_kept(&*one).await;
    many_at_once(&*one).await;
    snapshots_are_forgotten(store).await;
}

async fn content(store: &dyn SnapshotStore, session: SessionId, epoch: u64) -> Option<Content> {
    store.load(session, epoch).await.unwrap().as_ref().map(Content::from)
}

async fn what_is_saved_is_loaded(one: &dyn SnapshotStore, other: &dyn SnapshotStore) {
    let session = SessionId::random();
    assert_eq!(content(one, session, 1).await, None);
    let mut state = one.begin(session, 1);
    let unsaved = Unsaved { key: "lock".to_owned(), kind: "_thread.lock".to_owned(), reason: "a lock".to_owned() };
    let first = Change {
        connection: 3,
        applied_seq: 7,
        revision: "a".to_owned(),
        unsaved: vec![unsaved],
        ..change(true, &[("x", Some("1")), ("y", Some("2"))])
    };
    one.save(&state.prepare(first.clone())).await.unwrap();
    let loaded = other.load(session, 2).await.unwrap().unwrap();
    assert_eq!(Content::from(&loaded), Content::after([&first]));
    assert!(loaded.written_at.elapsed().unwrap() < LIMIT);

    // Whoever has loaded goes on from there.
    let mut state = loaded.state;
    assert_eq!((state.session(), state.epoch()), (session, 2));
    let second = Change { core: Some("new".into()), ..change(false, &[("x", None), ("z", Some("3"))]) };
    let third = Change { applied_seq: 9, ..change(false, &[("y", Some("4"))]) };
    for change in [&second, &third] {
        other.save(&state.prepare(change.clone())).await.unwrap();
    }
    assert_eq!(content(one, session, 2).await, Some(Content::after([&first, &second, &third])));

    // A full one leaves nothing of what was before.
    let full = change(true, &[("w", Some("5"))]);
    other.save(&state.prepare(full.clone())).await.unwrap();
    assert_eq!(content(one, session, 3).await, Some(Content::after([&full])));
}

async fn a_newer_owner_shuts_out_older_ones(one: &dyn SnapshotStore, other: &dyn SnapshotStore) {
    for stored in [false, true] {
        let session = SessionId::random();
        let mut state = one.begin(session, 5);
        if stored {
            one.save(&state.prepare(change(true, &[("x", Some("1"))]))).await.unwrap();
        }
        assert_eq!(other.load(session, 6).await.unwrap().is_some(), stored);
        for full in [false, true] {
            let late = state.prepare(change(full, &[("x", Some("2"))]));
            assert_eq!(one.save(&late).await, Err(SaveError::Fenced { epoch: 6 }));
        }
        assert_eq!(one.touch(session, 5).await, Err(SaveError::Fenced { epoch: 6 }));
        assert_eq!(one.remove(session, 5).await, Err(SaveError::Fenced { epoch: 6 }));
        assert_eq!(one.load(session, 5).await.unwrap_err(), LoadError::Fenced { epoch: 6 });
        let kept = content(other, session, 6).await;
        assert_eq!(kept, stored.then(|| Content::after([&change(true, &[("x", Some("1"))])])));
    }
    // One that comes without having loaded, too.
    let session = SessionId::random();
    let (mut older, mut newer) = (one.begin(session, 1), other.begin(session, 2));
    one.save(&older.prepare(change(true, &[("x", Some("1"))]))).await.unwrap();
    let full = change(true, &[("y", Some("2"))]);
    other.save(&newer.prepare(full.clone())).await.unwrap();
    let late = older.prepare(change(true, &[]));
    assert_eq!(one.save(&late).await, Err(SaveError::Fenced { epoch: 2 }));
    assert_eq!(content(one, session, 2).await, Some(Content::after([&full])));
}

async fn changes_need_what_they_build_on(one: &dyn SnapshotStore, other: &dyn SnapshotStore) {
    let session = SessionId::random();
    let mut state = one.begin(session, 1);
    // Nothing is there.
    assert_eq!(one.save(&state.prepare(change(false, &[("x", Some("1"))]))).await, Err(SaveError::Gone));
    assert_eq!(one.touch(session, 1).await, Err(SaveError::Gone));
    let full = change(true, &[("x", Some("1"))]);
    one.save(&state.prepare(full.clone())).await.unwrap();
    one.touch(session, 1).await.unwrap();
    // One that never came.
    let _lost = state.prepare(change(false, &[("x", Some("2"))]));
    assert_eq!(one.save(&state.prepare(change(false, &[("y", Some("3"))]))).await, Err(SaveError::Gone));
    assert_eq!(content(other, session, 1).await, Some(Content::after([&full])));
    // Everything mends it.
    let full = change(true, &[("x", Some("2")), ("y", Some("3"))]);
    one.save(&state.prepare(full.clone())).await.unwrap();
    let more = change(false, &[("x", None)]);
    one.save(&state.prepare(more.clone())).await.unwrap();
    assert_eq!(content(other, session, 2).await, Some(Content::after([&full, &more])));
}

async fn a_write_counts_once_however_often_it_comes(one: &dyn SnapshotStore, other: &dyn SnapshotStore) {
    let session = SessionId::random();
    let mut state = one.begin(session, 1);
    let changes = [change(true, &[("x", Some("1"))]), change(false, &[("x", Some("2"))]), change(true, &[])];
    let mut late = Vec::new();
    for (number, change) in changes.iter().enumerate() {
        let write = state.prepare(change.clone());
        for store in [one, other, one] {
            store.save(&write).await.unwrap();
        }
        late.push(write);
        // Those before it come too late to undo it.
        for write in &late[..number] {
            assert_eq!(one.save(write).await, Err(SaveError::Gone));
        }
        assert_eq!(content(other, session, 1).await, Some(Content::after(&changes[..=number])));
    }
}

async fn what_is_removed_stays_away(one: &dyn SnapshotStore, other: &dyn SnapshotStore) {
    let session = SessionId::random();
    let mut old = one.begin(session, 1);
    one.save(&old.prepare(change(true, &[("x", Some("1"))]))).await.unwrap();
    let mut state = other.load(session, 2).await.unwrap().unwrap().state;
    let (under_way, all_under_way) = (state.prepare(change(false, &[])), state.prepare(change(true, &[])));
    for _ in 0..2 {
        other.remove(session, 2).await.unwrap();
        assert_eq!(content(one, session, 2).await, None);
    }
    for late in [&under_way, &all_under_way, &state.prepare(change(false, &[]))] {
        assert_eq!(other.save(late).await, Err(SaveError::Gone));
    }
    assert_eq!(one.save(&old.prepare(change(true, &[]))).await, Err(SaveError::Fenced { epoch: 2 }));
    assert_eq!(other.touch(session, 2).await, Err(SaveError::Gone));
    // Who wants one again must send everything.
    let again = change(true, &[("x", Some("2"))]);
    other.save(&state.prepare(again.clone())).await.unwrap();
    assert_eq!(content(one, session, 3).await, Some(Content::after([&again])));
    // What was never there can be removed, too.
    one.remove(SessionId::random(), 1).await.unwrap();
}

async fn odd_keys_are_kept(store: &dyn SnapshotStore) {
    let session = SessionId::random();
    let mut state = store.begin(session, 1);
    let values = ["", "v:", "core", "epoch", "manifest", "ключ", "a b\nc\0d", "{x}"];
    let values: Vec<_> = values.iter().map(|key| (*key, Some(*key))).collect();
    let full = change(true, &values);
    store.save(&state.prepare(full.clone())).await.unwrap();
    assert_eq!(content(store, session, 1).await, Some(Content::after([&full])));
    let without: Vec<_> = values[1..].iter().map(|(key, _)| (*key, None)).collect();
    let without = change(false, &without);
    store.save(&state.prepare(without.clone())).await.unwrap();
    assert_eq!(content(store, session, 1).await, Some(Content::after([&full, &without])));
}

async fn large_values_are_kept(store: &dyn SnapshotStore) {
    let session = SessionId::random();
    let mut state = store.begin(session, 1);
    let large: Bytes = (0..LARGEST).map(|at| u8::try_from(at % 251).unwrap()).collect::<Vec<_>>().into();
    let mut full = change(true, &[("small", Some("1"))]);
    full.values.insert("large".to_owned(), Some(large));
    let write = state.prepare(full.clone());
    assert!(write.size() > LARGEST);
    store.save(&write).await.unwrap();
    let small = change(false, &[("small", Some("2"))]);
    let write = state.prepare(small.clone());
    assert!(write.size() < 1024, "{}", write.size());
    store.save(&write).await.unwrap();
    assert!(content(store, session, 1).await == Some(Content::after([&full, &small])));
}

async fn many_at_once(store: &dyn SnapshotStore) {
    let text = "x".repeat(1 << 20);
    let saves = (0..40).map(|_| async {
        let mut state = store.begin(SessionId::random(), 1);
        let full = change(true, &[("x", Some(&text))]);
        store.save(&state.prepare(full.clone())).await.unwrap();
        assert!(content(store, state.session(), 2).await == Some(Content::after([&full])));
        store.remove(state.session(), 2).await.unwrap();
    });
    timeout(LIMIT, futures_util::future::join_all(saves)).await.expect("they hold each other up");
}

async fn snapshots_are_forgotten(store: &Store) {
    const TTL: Duration = Duration::from_secs(2);
    let store = store.handle_with(TTL).await;
    let [left, touched, loaded] = [(); 3].map(|()| SessionId::random());
    for session in [left, touched, loaded] {
        store.save(&store.begin(session, 1).prepare(change(true, &[]))).await.unwrap();
    }
    // Past the time to live, and never that long without the two being asked for.
    for _ in 0..4 {
        sleep(TTL / 3).await;
        store.touch(touched, 1).await.unwrap();
        assert!(content(&*store, loaded, 1).await.is_some());
    }
    assert_eq!(store.touch(left, 1).await, Err(SaveError::Gone));
    assert_eq!(content(&*store, left, 1).await, None);
    assert!(content(&*store, touched, 1).await.is_some());
}

#[tokio::test]
async fn in_memory() {
    behaves(&Store::memory()).await;
}

#[tokio::test]
async fn in_files() {
    behaves(&Store::files()).await;
}

#[tokio::test]
async fn on_redis_7() {
    behaves(&Store::redis(Version::V7).await).await;
}

#[tokio::test]
async fn on_redis_8() {
    behaves(&Store::redis(Version::V8).await).await;
}

#[tokio::test]
async fn on_a_cluster_of_redis_7() {
    behaves(&Store::cluster(Version::V7).await).await;
}

#[tokio::test]
async fn on_a_cluster_of_redis_8() {
    behaves(&Store::cluster(Version::V8).await).await;
}
