//! What every store does alike.

use std::time::Duration;

use futures_util::future::join_all;
use streamfleet_cluster::{
    Acquired, CACHE_LEASE, CacheStore, CachedFunction, ComputeLease, Packed, Scope, Stored, ValueKey,
};
use streamfleet_testkit::redis::Version;
use tokio::time::{Instant, sleep};

use super::stores::{Heard, Node, PAUSE, PLENTY, Store, bytes, compute, function, get, key, lease, noise};
use crate::registry::stores::LIMIT;

/// Runs everything on a store.
async fn behaves(store: &Store) {
    let (one, other) = (store.node("plain", PLENTY).await, store.node("plain", PLENTY).await);
    what_one_computes_all_have(&one, &other).await;
    leases_are_for_one(&*one.store, &*other.store).await;
    leases_end(&one, &other).await;
    values_are_replaced(&one, &other).await;
    only_what_is_old_is_replaced(&*one.store, &*other.store).await;
    what_is_cleared_is_gone(&one, &other).await;
    values_expire(&*one.store, &*other.store).await;
    functions_keep_to_their_limits(&one, &other).await;
    what_is_too_many_is_not_kept(&one, &other).await;
    the_store_keeps_to_its_limit(store).await;
    nobody_waits_in_a_circle(&*one.store, &*other.store).await;
    odd_names_are_kept(&one, &other).await;
    large_values_are_kept(&*one.store, &*other.store).await;
    many_at_once(&*one.store).await;
}

fn forget(nodes: [&Node; 2]) {
    for node in nodes {
        node.ear.forget();
    }
}

async fn held(store: &dyn CacheStore, key: &ValueKey) -> Duration {
    match store.acquire(key, "another", None).await.unwrap() {
        Acquired::Held { ends_in } => ends_in,
        outcome => panic!("{outcome:?}"),
    }
}

async fn present(store: &dyn CacheStore, key: &ValueKey) -> Vec<u8> {
    match store.acquire(key, "another", None).await.unwrap() {
        Acquired::Present(entry) => bytes(&entry.value),
        outcome => panic!("{outcome:?}"),
    }
}

async fn what_one_computes_all_have(one: &Node, other: &Node) {
    let (f, key) = (function("f"), key("f", "plain"));
    assert_eq!(get(&*one.store, &key).await, None);
    let lease = lease(&*one.store, &key).await;
    let ends_in = held(&*other.store, &key).await;
    assert!(ends_in > Duration::ZERO && ends_in <= CACHE_LEASE);
    assert_eq!(get(&*other.store, &key).await, None);
    assert!(one.store.renew(&lease).await.unwrap());
    assert_eq!(one.store.put(&lease, &f, &Packed::of(b"value")).await.unwrap(), Stored::Yes);
    for node in [one, other] {
        node.ear.hears(&Heard::Settled(key.clone())).await;
        let entry = node.store.get(&key).await.unwrap().unwrap();
        assert_eq!((bytes(&entry.value), entry.expires_at), (b"value".to_vec(), None));
        assert_eq!(present(&*node.store, &key).await, b"value");
        // The lease is used up.
        assert!(!node.store.renew(&lease).await.unwrap());
        assert_eq!(node.store.put(&lease, &f, &Packed::of(b"late")).await.unwrap(), Stored::NotAnyMore);
    }
    // Nothing is something, too.
    assert_eq!(compute(&*one.store, &f, "nothing", b"").await, Stored::Yes);
    assert_eq!(get(&*other.store, &super::stores::key("f", "nothing")).await, Some(Vec::new()));
}

async fn leases_are_for_one(one: &dyn CacheStore, other: &dyn CacheStore) {
    for anew in [false, true] {
        let key = key("f", &format!("raced {anew}"));
        let stores: Vec<_> = [one, other].into_iter().cycle().take(20).collect();
        let acquire = async |store: &&dyn CacheStore| store.acquire(&key, "o", anew.then_some(Duration::MAX)).await;
        let answers = join_all(stores.iter().map(acquire)).await;
        let leases: Vec<_> =
            answers.iter().filter(|answer| matches!(answer.as_ref().unwrap(), Acquired::Lease(_))).collect();
        assert_eq!(leases.len(), 1);
    }
}

async fn leases_end(one: &Node, other: &Node) {
    // Given up.
    let key = key("f", "released");
    let (first, f) = (lease(&*one.store, &key).await, function("f"));
    one.store.release(&first).await.unwrap();
    other.ear.hears(&Heard::Settled(key.clone())).await;
    let second = lease(&*other.store, &key).await;
    assert_ne!(first.token, second.token);
    // Who has had it before has no say in it.
    one.store.release(&first).await.unwrap();
    assert!(!one.store.renew(&first).await.unwrap());
    assert_eq!(one.store.put(&first, &f, &Packed::of(b"first")).await.unwrap(), Stored::NotAnyMore);
    held(&*one.store, &key).await;

    // Not renewed, but nobody else has asked.
    sleep(CACHE_LEASE).await;
    assert!(other.store.renew(&second).await.unwrap());
    held(&*one.store, &key).await;

    // Not renewed, and somebody else has.
    let began = Instant::now();
    let third = loop {
        match one.store.acquire(&key, "o", None).await.unwrap() {
            Acquired::Lease(lease) => break lease,
            Acquired::Held { ends_in } => sleep(ends_in.max(PAUSE)).await,
            Acquired::Present(entry) => panic!("{entry:?}"),
        }
        assert!(began.elapsed() < LIMIT, "the lease does not end");
    };
    assert!(!other.store.renew(&second).await.unwrap());
    assert_eq!(other.store.put(&second, &f, &Packed::of(b"second")).await.unwrap(), Stored::NotAnyMore);
    assert_eq!(one.store.put(&third, &f, &Packed::of(b"third")).await.unwrap(), Stored::Yes);
    assert_eq!(get(&*other.store, &key).await.unwrap(), b"third");
}

async fn values_are_replaced(one: &Node, other: &Node) {
    let (f, key) = (function("f"), key("f", "replaced"));
    for large in [false, true] {
        let value = |text: &str| if large { [text.as_bytes(), &noise(100_000)].concat() } else { text.into() };
        compute(&*one.store, &f, "replaced", &value("old")).await;
        let lease = lease(&*one.store, &key).await;
        assert!(matches!(other.store.acquire(&key, "o", Some(Duration::MAX)).await.unwrap(), Acquired::Held { .. }));
        assert_eq!(present(&*other.store, &key).await, value("old"));
        forget([one, other]);
        assert_eq!(one.store.put(&lease, &f, &Packed::of(&value("new"))).await.unwrap(), Stored::Yes);
        assert_eq!(get(&*other.store, &key).await, Some(value("new")));
        for node in [one, other] {
            node.ear.hears(&Heard::Settled(key.clone())).await;
            assert!(node.ear.heard().contains(&Heard::Cleared(Scope::Value(key.clone()))));
        }
    }
}

async fn only_what_is_old_is_replaced(one: &dyn CacheStore, other: &dyn CacheStore) {
    let short = CachedFunction { ttl: Some(Duration::from_mins(1)), ..function("refreshed") };
    let key = key("refreshed", "call");
    let first = lease(one, &key).await;
    assert_eq!(one.put(&first, &short, &Packed::of(b"new")).await.unwrap(), Stored::Yes);
    // Somebody has looked before that, and comes with what was seen then.
    for fresh in [Duration::ZERO, Duration::from_secs(30)] {
        match other.acquire(&key, "o", Some(fresh)).await.unwrap() {
            Acquired::Present(entry) => assert_eq!(bytes(&entry.value), b"new"),
            answer => panic!("{answer:?}"),
        }
    }
    let Acquired::Lease(second) = other.acquire(&key, "o", Some(Duration::from_secs(90))).await.unwrap() else {
        panic!("it is not fresh enough")
    };
    assert_eq!(present(one, &key).await, b"new");
    // What doesn't expire isn't fresh either: it was stored by somebody with other ideas.
    assert_eq!(other.put(&second, &function("refreshed"), &Packed::of(b"lasting")).await.unwrap(), Stored::Yes);
    assert!(matches!(one.acquire(&key, "o", Some(Duration::ZERO)).await.unwrap(), Acquired::Lease(_)));
}

async fn what_is_cleared_is_gone(one: &Node, other: &Node) {
    let keys = [key("f", "a"), key("f", "b"), key("g", "a"), key("ff", "a")];
    for (scope, gone) in [
        (Scope::Value(keys[0].clone()), [true, false, false, false]),
        (Scope::Function("f".into()), [true, true, false, false]),
        (Scope::Everything, [true; 4]),
        (Scope::Value(key("none", "none")), [false; 4]),
    ] {
        let mut leases: Vec<ComputeLease> = Vec::new();
        for key in &keys {
            one.store.clear(&Scope::Value(key.clone())).await.unwrap();
            compute(&*one.store, &function(&key.function), &key.call, b"old").await;
            leases.push(lease(&*one.store, key).await);
        }
        forget([one, other]);
        other.store.clear(&scope).await.unwrap();
        for node in [one, other] {
            let heard = node.ear.heard();
            assert!(heard.contains(&Heard::Cleared(scope.clone())), "{scope:?}: {heard:?}");
        }
        for ((key, gone), lease) in keys.iter().zip(gone).zip(leases) {
            assert_eq!(scope.includes(key), gone);
            assert_eq!(get(&*one.store, key).await.is_none(), gone, "{scope:?}, {key:?}");
            assert_eq!(one.store.renew(&lease).await.unwrap(), !gone);
            if gone {
                one.ear.hears(&Heard::Settled(key.clone())).await;
            }
            // What was computed from before doesn't come back.
            let stored = one.store.put(&lease, &function(&key.function), &Packed::of(b"late")).await.unwrap();
            assert_eq!(stored == Stored::NotAnyMore, gone, "{scope:?}, {key:?}");
            assert_eq!(compute(&*one.store, &function(&key.function), &key.call, b"new").await, Stored::Yes);
            assert_eq!(get(&*other.store, key).await.unwrap(), b"new");
        }
    }
}

async fn values_expire(one: &dyn CacheStore, other: &dyn CacheStore) {
    for length in [3, 100_000] {
        let ttl = Duration::from_millis(1500);
        let f = CachedFunction { ttl: Some(ttl), ..function("short") };
        let key = key("short", "call");
        let began = Instant::now();
        compute(one, &f, "call", &noise(length)).await;
        let stored = Instant::now();
        // A machine that is busy with something else for so long sees nothing of it.
        if let Some(entry) = other.get(&key).await.unwrap() {
            let expires = entry.expires_at.unwrap();
            assert!(began <= expires && expires <= stored + ttl + PAUSE, "in {:?}", expires - began);
        }
        while get(other, &key).await.is_some() {
            assert!(stored.elapsed() < LIMIT, "it does not expire");
            sleep(PAUSE).await;
        }
        assert!(began.elapsed() + PAUSE >= ttl);
        let Acquired::Lease(lease) = one.acquire(&key, "o", None).await.unwrap() else { panic!("it is still there") };
        one.release(&lease).await.unwrap();
        // What lives very long lives.
        let f = CachedFunction { ttl: Some(Duration::MAX), ..function("long") };
        assert_eq!(compute(one, &f, "call", &noise(length)).await, Stored::Yes);
        assert!(get(other, &super::stores::key("long", "call")).await.is_some());
    }
}

/// Which of a function's calls are there, without using them.
async fn is_there(store: &dyn CacheStore, function: &str, calls: &[&str]) -> Vec<bool> {
    let mut list = Vec::new();
    for call in calls {
        list.push(get(store, &key(function, call)).await.is_some());
    }
    list
}

async fn functions_keep_to_their_limits(one: &Node, other: &Node) {
    let three = CachedFunction { max_entries: Some(3), ..function("three") };
    for call in ["a", "b", "c"] {
        compute(&*one.store, &three, call, b"x").await;
    }
    // Each of these is a use: `c` is left.
    get(&*other.store, &key("three", "b")).await.unwrap();
    one.store.touch(&[key("three", "a"), key("three", "unknown")]).await.unwrap();
    forget([one, other]);
    compute(&*one.store, &three, "d", b"x").await;
    let evicted = Heard::Cleared(Scope::Value(key("three", "c")));
    for node in [one, other] {
        node.ear.hears(&evicted).await;
        assert_eq!(node.ear.heard().iter().filter(|heard| matches!(heard, Heard::Cleared(_))).count(), 1);
    }
    assert_eq!(is_there(&*one.store, "three", &["a", "b", "c", "d"]).await, [true, true, false, true]);
    assert!(matches!(one.store.acquire(&key("three", "a"), "o", None).await.unwrap(), Acquired::Present(_)));

    // Bytes count as they are before packing.
    let bytes = CachedFunction { max_bytes: Some(10_000), ..function("bytes") };
    for call in ["a", "b", "c"] {
        assert_eq!(compute(&*one.store, &bytes, call, &[0; 4000]).await, Stored::Yes);
    }
    assert_eq!(is_there(&*other.store, "bytes", &["a", "b", "c"]).await, [false, true, true]);
    assert_eq!(compute(&*one.store, &bytes, "d", &[0; 10_000]).await, Stored::Yes);
    assert_eq!(is_there(&*other.store, "bytes", &["b", "c", "d"]).await, [false, false, true]);
    // One that is larger by itself is kept alone, until the next.
    assert_eq!(compute(&*one.store, &bytes, "e", &[0; 10_001]).await, Stored::Yes);
    assert_eq!(is_there(&*other.store, "bytes", &["d", "e"]).await, [false, true]);
    assert_eq!(compute(&*one.store, &bytes, "f", &[0]).await, Stored::Yes);
    assert_eq!(is_there(&*other.store, "bytes", &["e", "f"]).await, [false, true]);
    // Another function's are none of its business.
    assert_eq!(is_there(&*other.store, "three", &["a", "b", "d"]).await, [true; 3]);
}

async fn what_is_too_many_is_not_kept(one: &Node, other: &Node) {
    let none = CachedFunction { max_entries: Some(0), ..function("small") };
    let key = key("small", "call");
    assert_eq!(compute(&*one.store, &function("small"), "call", &[0; 10]).await, Stored::Yes);
    let lease = lease(&*one.store, &key).await;
    other.ear.forget();
    let value = Packed::of(&[0]);
    assert_eq!(one.store.put(&lease, &none, &value).await.unwrap(), Stored::TooLarge);
    other.ear.hears(&Heard::Settled(key.clone())).await;
    assert_eq!(one.store.put(&lease, &none, &value).await.unwrap(), Stored::NotAnyMore);
    // What was there before is still there.
    assert_eq!(get(&*other.store, &key).await.unwrap(), [0; 10]);
}

async fn the_store_keeps_to_its_limit(store: &Store) {
    let (one, other) = (store.node("full", 250_000).await, store.node("full", 250_000).await);
    let (f, g) = (function("f"), function("g"));
    let value = noise(100_000);
    compute(&*one.store, &f, "a", &value).await;
    compute(&*one.store, &g, "a", &value).await;
    assert!(get(&*other.store, &key("f", "a")).await.is_some());
    forget([&one, &other]);
    compute(&*one.store, &g, "b", &value).await;
    assert_eq!(is_there(&*other.store, "f", &["a"]).await, [true]);
    assert_eq!(is_there(&*other.store, "g", &["a", "b"]).await, [false, true]);
    // Bytes count as they are packed, and nobody is told of what goes.
    compute(&*one.store, &f, "zeros", &vec![0; 10 << 20]).await;
    assert_eq!(is_there(&*other.store, "f", &["a", "zeros"]).await, [true, true]);
    assert_eq!(compute(&*one.store, &f, "noise", &noise(300_000)).await, Stored::TooLarge);
    other.ear.hears(&Heard::Settled(key("f", "noise"))).await;
    assert!(!other.ear.heard().iter().any(|heard| matches!(heard, Heard::Cleared(_))));
}

async fn nobody_waits_in_a_circle(one: &dyn CacheStore, other: &dyn CacheStore) {
    let take = async |call: &str, owner: &str| match one.acquire(&key("waits", call), owner, None).await.unwrap() {
        Acquired::Lease(lease) => lease,
        outcome => panic!("{outcome:?}"),
    };
    let leases = [take("a", "A").await, take("b", "B").await, take("c", "C").await];
    let waits = async |owner: &str, call: &str| other.waits(owner, &key("waits", call)).await.unwrap();
    // For oneself, and for nobody.
    assert!(waits("A", "a").await);
    assert!(!waits("A", "free").await);
    one.waits_no_more("A").await.unwrap();
    // A → B → C → A.
    assert!(!waits("A", "b").await);
    assert!(!waits("B", "c").await);
    assert!(waits("C", "a").await);
    // Who is told so doesn't wait.
    assert!(!waits("D", "c").await);
    assert!(waits("C", "b").await);
    // Nor does who has said so, or whose lease has ended.
    one.waits_no_more("B").await.unwrap();
    assert!(!waits("C", "a").await);
    one.waits_no_more("C").await.unwrap();
    assert!(!waits("B", "c").await);
    one.release(&leases[0]).await.unwrap();
    assert!(!waits("C", "a").await);
    for owner in ["A", "B", "C", "D"] {
        one.waits_no_more(owner).await.unwrap();
    }
    for lease in &leases {
        one.release(lease).await.unwrap();
    }
}

async fn odd_names_are_kept(one: &Node, other: &Node) {
    let names = ["", ":", "1:", "{a}", "a\nb", "ä\"\\/", "a b c", "\0", "-1:x"];
    for (number, name) in names.iter().enumerate() {
        let key = key(name, names[names.len() - 1 - number]);
        let lease = lease(&*one.store, &key).await;
        let owner = format!("owner of {name}");
        assert!(!other.store.waits(&owner, &key).await.unwrap());
        other.store.waits_no_more(&owner).await.unwrap();
        one.store.put(&lease, &function(name), &Packed::of(name.as_bytes())).await.unwrap();
        other.ear.hears(&Heard::Settled(key.clone())).await;
        assert_eq!(get(&*other.store, &key).await.unwrap(), name.as_bytes());
    }
    for name in names {
        let scope = Scope::Function(name.into());
        one.store.clear(&scope).await.unwrap();
        other.ear.hears(&Heard::Cleared(scope)).await;
    }
    for (number, name) in names.iter().enumerate() {
        assert_eq!(get(&*other.store, &key(name, names[names.len() - 1 - number])).await, None);
    }
}

async fn large_values_are_kept(one: &dyn CacheStore, other: &dyn CacheStore) {
    for length in [8000, 8191, 8192, 9000, 1 << 20, (1 << 20) + 1, 50 << 20] {
        let value = [noise(length / 2), vec![0; length - length / 2]].concat();
        assert_eq!(compute(one, &function("large"), "call", &value).await, Stored::Yes);
        assert!(get(other, &key("large", "call")).await.unwrap() == value, "{length} bytes");
    }
}

async fn many_at_once(store: &dyn CacheStore) {
    let value = noise(3 << 20);
    let calls: Vec<_> = (0..30).map(|number| number.to_string()).collect();
    let f = &function("many");
    let stored = join_all(calls.iter().map(|call| compute(store, f, call, &value))).await;
    assert!(stored.iter().all(|stored| *stored == Stored::Yes));
    let keys: Vec<_> = calls.iter().map(|call| key("many", call)).collect();
    let found = join_all(keys.iter().map(|key| get(store, key))).await;
    assert!(found.into_iter().all(|found| found.unwrap() == value));
    store.clear(&Scope::Function("many".into())).await.unwrap();
    // More than are touched at once.
    let keys: Vec<_> = (0..1000).map(|number| key("many", &number.to_string())).collect();
    store.touch(&keys).await.unwrap();
}

#[tokio::test]
async fn in_memory() {
    behaves(&Store::memory()).await;
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

#[tokio::test(start_paused = true)]
async fn what_is_not_used_for_a_week_is_forgotten() {
    let node = Store::memory().node("unused", PLENTY).await;
    for call in ["used", "unused"] {
        compute(&*node.store, &function("f"), call, b"x").await;
    }
    sleep(Duration::from_hours(24 * 6)).await;
    assert!(get(&*node.store, &key("f", "used")).await.is_some());
    sleep(Duration::from_hours(24 * 2)).await;
    assert_eq!(is_there(&*node.store, "f", &["used", "unused"]).await, [true, false]);
}
