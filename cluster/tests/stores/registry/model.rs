//! Random interleavings of all operations by three clients, each answer compared with a model.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::strategy::ValueTree as _;
use proptest::test_runner::TestRunner;
use streamfleet_cluster::{Pin, Registry};
use streamfleet_proto::{MediaId, RunnerId, SessionId};
use streamfleet_testkit::redis::Version;

use super::stores::{Store, member};

const CLIENTS: usize = 3;
const SESSIONS: usize = 3;
const RUNNERS: usize = 3;
const FILES: usize = 2;
const OPERATIONS: usize = 400;

#[derive(Debug, Clone)]
enum Operation {
    Pin(usize, usize),
    Pinned(usize),
    /// With the pin that holds, or, if `stale`, with the one that held before.
    Move {
        session: usize,
        runner: usize,
        stale: bool,
    },
    Claim {
        session: usize,
        stale: bool,
    },
    Unpin {
        session: usize,
        stale: bool,
    },
    AddMedia(usize, usize),
    RemoveMedia(usize, usize),
    Media(usize),
    Announce(usize, u32),
    Withdraw(usize),
    Members,
}

fn operation() -> impl Strategy<Value = Operation> {
    let (session, runner, file) = (0..SESSIONS, 0..RUNNERS, 0..FILES);
    prop_oneof![
        (session.clone(), runner.clone()).prop_map(|(session, runner)| Operation::Pin(session, runner)),
        session.clone().prop_map(Operation::Pinned),
        (session.clone(), runner.clone(), any::<bool>()).prop_map(|(session, runner, stale)| Operation::Move {
            session,
            runner,
            stale
        }),
        (session.clone(), any::<bool>()).prop_map(|(session, stale)| Operation::Claim { session, stale }),
        (session, any::<bool>()).prop_map(|(session, stale)| Operation::Unpin { session, stale }),
        (file.clone(), runner.clone()).prop_map(|(file, runner)| Operation::AddMedia(file, runner)),
        (file.clone(), runner.clone()).prop_map(|(file, runner)| Operation::RemoveMedia(file, runner)),
        file.prop_map(Operation::Media),
        (runner.clone(), 0..5_u32).prop_map(|(runner, load)| Operation::Announce(runner, load)),
        runner.prop_map(Operation::Withdraw),
        Just(Operation::Members),
    ]
}

/// What the registry should know.
#[derive(Default)]
struct Model {
    pins: BTreeMap<usize, Pin>,
    /// The last pin that each session had, and the one before that: for acting on what is no longer so.
    last: BTreeMap<usize, Pin>,
    stale: BTreeMap<usize, Pin>,
    media: BTreeMap<usize, BTreeSet<RunnerId>>,
    members: BTreeMap<RunnerId, u32>,
}

impl Model {
    fn set(&mut self, session: usize, pin: &Pin) {
        if let Some(before) = self.last.insert(session, pin.clone())
            && before != *pin
        {
            self.stale.insert(session, before);
        }
        self.pins.insert(session, pin.clone());
    }

    /// A new pin must be greater than any before.
    fn take_new(&mut self, session: usize, pin: &Pin, runner: &RunnerId) {
        assert_eq!(pin.runner, *runner);
        assert!(self.last.get(&session).is_none_or(|last| last.epoch < pin.epoch), "epochs went back");
        self.set(session, pin);
    }

    fn known(&self, session: usize, stale: bool) -> Option<Pin> {
        let map = if stale { &self.stale } else { &self.last };
        map.get(&session).cloned()
    }
}

fn runner(number: usize) -> RunnerId {
    format!("r{number}").parse().unwrap()
}

async fn apply(model: &mut Model, registry: &dyn Registry, sessions: &[SessionId], operation: Operation) {
    let file = |number: usize| -> MediaId { format!("f{number}").parse().unwrap() };
    match operation {
        Operation::Pin(session, to) => {
            let pin = registry.pin(sessions[session], &runner(to)).await.unwrap();
            match model.pins.get(&session) {
                Some(held) => assert_eq!(pin, *held),
                None => model.take_new(session, &pin, &runner(to)),
            }
        }
        Operation::Pinned(session) => {
            assert_eq!(registry.pinned(sessions[session]).await.unwrap().as_ref(), model.pins.get(&session));
        }
        Operation::Move { session, runner: to, stale } => {
            let Some(current) = model.known(session, stale) else { return };
            let pin = registry.move_pin(sessions[session], &current, &runner(to)).await.unwrap();
            match model.pins.get(&session) {
                Some(held) if *held != current => assert_eq!(pin, *held),
                _ => model.take_new(session, &pin, &runner(to)),
            }
        }
        Operation::Claim { session, stale } => {
            let Some(claimed) = model.known(session, stale) else { return };
            let pin = registry.claim(sessions[session], &claimed).await.unwrap();
            match model.pins.get(&session) {
                Some(held) if held.epoch >= claimed.epoch => assert_eq!(pin, *held),
                _ => {
                    assert_eq!(pin, claimed);
                    model.pins.insert(session, pin);
                }
            }
        }
        Operation::Unpin { session, stale } => {
            let Some(current) = model.known(session, stale) else { return };
            registry.unpin(sessions[session], &current).await.unwrap();
            if model.pins.get(&session) == Some(&current) {
                model.pins.remove(&session);
            }
        }
        Operation::AddMedia(number, holder) => {
            registry.add_media(&file(number), &runner(holder)).await.unwrap();
            model.media.entry(number).or_default().insert(runner(holder));
        }
        Operation::RemoveMedia(number, holder) => {
            registry.remove_media(&file(number), &runner(holder)).await.unwrap();
            model.media.entry(number).or_default().remove(&runner(holder));
        }
        Operation::Media(number) => {
            let holders: BTreeSet<_> = registry.media(&file(number)).await.unwrap().into_iter().collect();
            assert_eq!(holders, model.media.get(&number).cloned().unwrap_or_default());
        }
        Operation::Announce(number, load) => {
            let joined = registry.announce(&member(&format!("r{number}"), load)).await.unwrap().joined;
            assert_eq!(joined, model.members.insert(runner(number), load).is_none());
        }
        Operation::Withdraw(number) => {
            registry.withdraw(&runner(number)).await.unwrap();
            model.members.remove(&runner(number));
        }
        Operation::Members => {
            let list = registry.members().await.unwrap().list;
            let seen: BTreeMap<_, _> = list.into_iter().map(|member| (member.runner, member.load.sessions)).collect();
            assert_eq!(seen, model.members);
        }
    }
}

async fn agrees(store: &Store, cases: usize) {
    let strategy = vec((0..CLIENTS, operation()), OPERATIONS);
    let mut random = TestRunner::default();
    for case in 0..cases {
        let course = strategy.new_tree(&mut random).unwrap().current();
        let fresh;
        // In memory each case has a store of its own; elsewhere, a name of its own.
        let store = if let Store::Memory(_) = store {
            fresh = Store::memory();
            &fresh
        } else {
            store
        };
        let mut clients: Vec<Arc<dyn Registry>> = Vec::new();
        for _ in 0..CLIENTS {
            clients.push(store.handle(&format!("case-{case}")).await);
        }
        let sessions: Vec<_> = (0..SESSIONS).map(|_| SessionId::random()).collect();
        let mut model = Model::default();
        let mut done = Vec::new();
        for (client, operation) in course {
            done.push((client, operation.clone()));
            let step = apply(&mut model, &*clients[client], &sessions, operation);
            let outcome = futures_util::FutureExt::catch_unwind(std::panic::AssertUnwindSafe(step)).await;
            assert!(outcome.is_ok(), "after {:?}", &done[done.len().saturating_sub(12)..]);
        }
    }
}

#[tokio::test]
async fn in_memory() {
    agrees(&Store::memory(), 200).await;
}

#[tokio::test]
async fn on_redis_7() {
    agrees(&Store::redis(Version::V7).await, 20).await;
}

#[tokio::test]
async fn on_redis_8() {
    agrees(&Store::redis(Version::V8).await, 20).await;
}

#[tokio::test]
async fn on_a_cluster() {
    agrees(&Store::cluster(Version::V7).await, 10).await;
}
