//! Random interleavings of all operations by three nodes, each answer compared with a model.

use std::collections::BTreeMap;
use std::time::Duration;

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::strategy::ValueTree as _;
use proptest::test_runner::TestRunner;
use streamfleet_cluster::{
    Acquired, CACHE_LEASE, CacheStore, CachedFunction, ComputeLease, Packed, Scope, Stored, ValueKey,
};
use streamfleet_testkit::redis::Version;
use tokio::time::{Instant, sleep};

use super::stores::{Heard, Node, Store, bytes, get, key};

const NODES: usize = 3;
const KEYS: usize = 6;
const OWNERS: usize = 3;
const OPERATIONS: usize = 300;
/// Of all values in a case, packed: each has one byte more.
const MAX_BYTES: u64 = 60;

#[derive(Debug, Clone)]
enum Operation {
    Get(usize),
    Acquire {
        key: usize,
        owner: usize,
        anew: bool,
    },
    /// With the last lease for the key, or the one before it.
    Put {
        key: usize,
        stale: bool,
        length: usize,
        expires: bool,
    },
    Renew {
        key: usize,
        stale: bool,
    },
    Release {
        key: usize,
        stale: bool,
    },
    Touch(Vec<usize>),
    Clear(Scope),
    Waits(usize, usize),
    WaitsNoMore(usize),
}

/// Three calls of each of two functions, of which one is limited.
fn name(number: usize) -> ValueKey {
    key(["plain", "limited"][number % 2], &(number / 2).to_string())
}

fn function(key: &ValueKey, expires: bool) -> CachedFunction {
    let limited = &*key.function == "limited";
    CachedFunction {
        id: key.function.clone(),
        ttl: expires.then_some(Duration::from_millis(1)),
        max_entries: limited.then_some(2),
        max_bytes: limited.then_some(30),
    }
}

fn operation() -> impl Strategy<Value = Operation> {
    let keys = || 0..KEYS;
    let scope = prop_oneof![
        1 => Just(Scope::Everything),
        2 => prop_oneof![Just("plain"), Just("limited")].prop_map(|function| Scope::Function(function.into())),
        4 => keys().prop_map(|key| Scope::Value(name(key))),
    ];
    let lease = || (keys(), prop::bool::weighted(0.2));
    prop_oneof![
        4 => keys().prop_map(Operation::Get),
        8 => (keys(), 0..OWNERS, prop::bool::weighted(0.3))
            .prop_map(|(key, owner, anew)| Operation::Acquire { key, owner, anew }),
        8 => (lease(), 0..35_usize, prop::bool::weighted(0.1))
            .prop_map(|((key, stale), length, expires)| Operation::Put { key, stale, length, expires }),
        1 => lease().prop_map(|(key, stale)| Operation::Renew { key, stale }),
        2 => lease().prop_map(|(key, stale)| Operation::Release { key, stale }),
        1 => vec(keys(), 0..4).prop_map(Operation::Touch),
        1 => scope.prop_map(Operation::Clear),
        2 => (0..OWNERS, keys()).prop_map(|(owner, key)| Operation::Waits(owner, key)),
        1 => (0..OWNERS).prop_map(Operation::WaitsNoMore),
    ]
}

struct Held {
    token: String,
    owner: usize,
    /// When it was had or renewed last, at the latest.
    since: Instant,
}

/// What should be stored.
#[derive(Default)]
struct Model {
    /// The least recently used first.
    values: Vec<(ValueKey, Vec<u8>)>,
    held: BTreeMap<usize, Held>,
    waits: BTreeMap<usize, usize>,
}

impl Model {
    fn uses(&mut self, key: &ValueKey) -> Option<Vec<u8>> {
        let at = self.values.iter().position(|(there, _)| there == key)?;
        let found = self.values.remove(at);
        self.values.push(found.clone());
        Some(found.1)
    }

    fn holds(&self, key: usize, lease: &ComputeLease) -> bool {
        self.held.get(&key).is_some_and(|held| *held.token == *lease.token)
    }

    fn put(&mut self, function: &CachedFunction, key: &ValueKey, value: Vec<u8>) {
        self.values.retain(|(there, _)| there != key);
        self.values.push((key.clone(), value));
        loop {
            let own = || self.values.iter().filter(|(there, _)| there.function == function.id);
            let (count, bytes) = (own().count(), own().map(|(_, value)| value.len()).sum::<usize>());
            let over = function.max_entries.is_some_and(|most| count as u64 > most)
                || function.max_bytes.is_some_and(|most| bytes as u64 > most);
            let oldest = own().next().map(|(there, _)| there.clone());
            match oldest {
                // What was just stored stays, be it as large as it may.
                Some(oldest) if over && count > 1 => self.values.retain(|(there, _)| *there != oldest),
                _ => break,
            }
        }
        while self.values.iter().map(|(_, value)| packed(value)).sum::<u64>() > MAX_BYTES {
            self.values.remove(0);
        }
    }

    fn in_a_circle(&self, owner: usize, key: usize) -> bool {
        let mut key = key;
        for _ in 0..=OWNERS {
            match self.held.get(&key) {
                Some(held) if held.owner == owner => return true,
                Some(held) if self.waits.contains_key(&held.owner) => key = self.waits[&held.owner],
                _ => return false,
            }
        }
        false
    }
}

fn packed(value: &[u8]) -> u64 {
    Packed::of(value).packed_bytes()
}

struct Case {
    nodes: Vec<Node>,
    model: Model,
    /// The last lease for each key, and the one before it.
    last: BTreeMap<usize, ComputeLease>,
    stale: BTreeMap<usize, ComputeLease>,
    /// For values that differ.
    puts: u8,
}

impl Case {
    fn lease(&self, key: usize, stale: bool) -> Option<ComputeLease> {
        let map = if stale { &self.stale } else { &self.last };
        map.get(&key).cloned()
    }

    /// Nobody asks for seconds: a lease may have ended that the model takes to be held.
    fn may_have_ended(&self) -> bool {
        self.model.held.values().any(|held| held.since.elapsed() >= CACHE_LEASE)
    }

    async fn apply(&mut self, node: usize, operation: Operation) {
        let node = self.nodes[node].clone();
        let store = &*node.store;
        match operation {
            Operation::Get(number) => {
                assert_eq!(get(store, &name(number)).await, self.model.uses(&name(number)));
            }
            Operation::Acquire { key, owner, anew } => self.acquire(store, key, owner, anew).await,
            Operation::Put { key, stale, length, expires } => {
                let Some(lease) = self.lease(key, stale) else { return };
                self.puts = self.puts.wrapping_add(1);
                let value = vec![self.puts; length];
                let function = function(&lease.key, expires);
                let stored = store.put(&lease, &function, &Packed::of(&value)).await.unwrap();
                if !self.model.holds(key, &lease) {
                    assert_eq!(stored, Stored::NotAnyMore);
                    return;
                }
                self.model.held.remove(&key);
                assert_eq!(stored, Stored::Yes);
                self.model.put(&function, &lease.key, value);
                if expires {
                    sleep(Duration::from_millis(5)).await;
                    self.model.values.retain(|(there, _)| *there != lease.key);
                }
            }
            Operation::Renew { key, stale } => {
                let Some(lease) = self.lease(key, stale) else { return };
                let renewed = store.renew(&lease).await.unwrap();
                assert_eq!(renewed, self.model.holds(key, &lease));
                if let Some(held) = self.model.held.get_mut(&key).filter(|_| renewed) {
                    held.since = Instant::now();
                }
            }
            Operation::Release { key, stale } => {
                let Some(lease) = self.lease(key, stale) else { return };
                store.release(&lease).await.unwrap();
                if self.model.holds(key, &lease) {
                    self.model.held.remove(&key);
                }
            }
            Operation::Touch(keys) => {
                let keys: Vec<_> = keys.into_iter().map(name).collect();
                store.touch(&keys).await.unwrap();
                for key in &keys {
                    self.model.uses(key);
                }
            }
            Operation::Clear(scope) => {
                for node in &self.nodes {
                    node.ear.forget();
                }
                store.clear(&scope).await.unwrap();
                for node in &self.nodes {
                    assert!(node.ear.heard().contains(&Heard::Cleared(scope.clone())), "a node does not know");
                }
                self.model.values.retain(|(key, _)| !scope.includes(key));
                self.model.held.retain(|key, _| !scope.includes(&name(*key)));
            }
            Operation::Waits(owner, key) => {
                let expected = self.model.in_a_circle(owner, key);
                let waits = store.waits(&owner.to_string(), &name(key)).await.unwrap();
                assert!(waits == expected || (expected && self.may_have_ended()));
                if waits {
                    self.model.waits.remove(&owner);
                } else {
                    self.model.waits.insert(owner, key);
                }
            }
            Operation::WaitsNoMore(owner) => {
                store.waits_no_more(&owner.to_string()).await.unwrap();
                self.model.waits.remove(&owner);
            }
        }
    }

    async fn acquire(&mut self, store: &dyn CacheStore, number: usize, owner: usize, anew: bool) {
        let (key, by) = (name(number), owner.to_string());
        let answer = store.acquire(&key, &by, anew.then_some(Duration::MAX)).await;
        let there = if anew { None } else { self.model.uses(&key) };
        match answer.unwrap() {
            Acquired::Present(entry) => assert_eq!(Some(bytes(&entry.value)), there),
            Acquired::Held { .. } => assert!(there.is_none() && self.model.held.contains_key(&number)),
            Acquired::Lease(lease) => {
                assert_eq!(there, None);
                let before = self.model.held.get(&number);
                assert!(before.is_none_or(|held| held.since.elapsed() >= CACHE_LEASE), "it was held");
                let token = lease.token.to_string();
                self.model.held.insert(number, Held { token, owner, since: Instant::now() });
                if let Some(last) = self.last.insert(number, lease) {
                    self.stale.insert(number, last);
                }
            }
        }
    }
}

async fn agrees(store: &Store, cases: usize) {
    let strategy = vec((0..NODES, operation()), OPERATIONS);
    let mut random = TestRunner::default();
    for case in 0..cases {
        let course = strategy.new_tree(&mut random).unwrap().current();
        let mut nodes = Vec::new();
        for _ in 0..NODES {
            nodes.push(store.node(&format!("case-{case}"), MAX_BYTES).await);
        }
        let mut case = Case { nodes, model: Model::default(), last: BTreeMap::new(), stale: BTreeMap::new(), puts: 0 };
        let mut done = Vec::new();
        for (node, operation) in course {
            done.push((node, operation.clone()));
            let step = case.apply(node, operation);
            let outcome = futures_util::FutureExt::catch_unwind(std::panic::AssertUnwindSafe(step)).await;
            assert!(outcome.is_ok(), "after {:?}", &done[done.len().saturating_sub(12)..]);
        }
    }
}

#[tokio::test]
async fn in_memory() {
    agrees(&Store::memory(), 100).await;
}

#[tokio::test]
async fn on_redis_7() {
    agrees(&Store::redis(Version::V7).await, 15).await;
}

#[tokio::test]
async fn on_redis_8() {
    agrees(&Store::redis(Version::V8).await, 15).await;
}

#[tokio::test]
async fn on_a_cluster() {
    agrees(&Store::cluster(Version::V7).await, 8).await;
}
