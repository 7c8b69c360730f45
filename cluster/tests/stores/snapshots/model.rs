//! Runners that race for sessions, in random order and with writes that come late, twice or never: whatever happens, a load gives
//! exactly what the last save that was taken has left.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use proptest::collection::{btree_map, vec};
use proptest::option;
use proptest::prelude::*;
use proptest::strategy::ValueTree as _;
use proptest::test_runner::TestRunner;
use streamfleet_cluster::{Change, LoadError, SaveError, SavedState, SnapshotStore, Write};
use streamfleet_proto::SessionId;
use streamfleet_testkit::redis::Version;
use tokio::time::sleep;

use super::stores::{Content, Store};

const RUNNERS: usize = 3;
const SESSIONS: usize = 2;
const OPERATIONS: usize = 400;

#[derive(Debug, Clone)]
enum Operation {
    /// With a new epoch, greater than all before, or with the one that the runner has.
    Load {
        newer: bool,
    },
    /// With a new epoch, and without having looked what there is.
    Begin,
    Prepare(Change),
    /// One of the writes that the runner has made, counted from the last.
    Deliver(usize),
    Touch,
    Remove,
}

fn change() -> impl Strategy<Value = Change> {
    let piece = || "[a-c]{0,2}".prop_map(|text| bytes::Bytes::from(text.into_bytes()));
    let values = btree_map("[k-n]", option::weighted(0.7, piece()), 0..4);
    (prop::bool::weighted(0.2), option::of(piece()), values, any::<u64>(), any::<u64>()).prop_map(
        |(full, core, values, connection, applied_seq)| Change {
            full,
            core,
            values,
            connection,
            applied_seq,
            ..Change::default()
        },
    )
}

fn operation() -> impl Strategy<Value = Operation> {
    prop_oneof![
        2 => any::<bool>().prop_map(|newer| Operation::Load { newer }),
        1 => Just(Operation::Begin),
        8 => change().prop_map(Operation::Prepare),
        // Mostly the last one, once it is made.
        12 => prop_oneof![6 => Just(0), 1 => 0..6_usize].prop_map(Operation::Deliver),
        1 => Just(Operation::Touch),
        1 => Just(Operation::Remove),
    ]
}

/// A write, and what the session's state is with it.
#[derive(Clone)]
struct Made {
    write: Write,
    base: (u64, u64),
    content: Content,
}

/// What a runner goes by for one session.
#[derive(Default)]
struct Runner {
    epoch: u64,
    state: Option<SavedState>,
    /// The epoch and version of what the next write builds on.
    base: (u64, u64),
    content: Content,
    made: Vec<Made>,
}

/// What should be stored of one session.
#[derive(Default)]
struct Model {
    epoch: u64,
    /// Who wrote or removed it last, and which version that was, or which were too late then.
    by: u64,
    version: u64,
    content: Option<Content>,
}

impl Model {
    fn save(&mut self, made: &Made) -> Result<(), SaveError> {
        let (epoch, version) = (made.write.epoch(), made.write.version());
        if epoch < self.epoch {
            return Err(SaveError::Fenced { epoch: self.epoch });
        }
        if epoch == self.by && version <= self.version {
            let again = version == self.version && self.content.is_some();
            return if again { Ok(()) } else { Err(SaveError::Gone) };
        }
        if !made.write.is_full() && (self.content.is_none() || made.base != (self.by, self.version)) {
            return Err(SaveError::Gone);
        }
        *self = Self { epoch, by: epoch, version, content: Some(made.content.clone()) };
        Ok(())
    }

    fn fenced(&self, epoch: u64) -> Result<(), SaveError> {
        if epoch < self.epoch { Err(SaveError::Fenced { epoch: self.epoch }) } else { Ok(()) }
    }
}

struct Case {
    /// Each runner's way to the store.
    stores: Vec<Arc<dyn SnapshotStore>>,
    sessions: Vec<SessionId>,
    models: Vec<Model>,
    runners: BTreeMap<(usize, usize), Runner>,
    last_epoch: u64,
}

impl Case {
    async fn apply(&mut self, number: usize, about: usize, operation: Operation) {
        let (session, model) = (self.sessions[about], &mut self.models[about]);
        let runner = self.runners.entry((number, about)).or_default();
        let store = &self.stores[number];
        // No two runners ever have the same epoch.
        if runner.epoch == 0 || matches!(operation, Operation::Load { newer: true } | Operation::Begin) {
            self.last_epoch += 1;
            *runner = Runner { epoch: self.last_epoch, made: std::mem::take(&mut runner.made), ..Runner::default() };
        }
        match operation {
            Operation::Load { .. } => match store.load(session, runner.epoch).await {
                Ok(loaded) => {
                    assert!(runner.epoch >= model.epoch, "an old owner was let in");
                    model.epoch = runner.epoch;
                    let content = loaded.as_ref().map(Content::from);
                    assert_eq!(content, model.content);
                    runner.content = content.unwrap_or_default();
                    runner.base = (model.by, model.version);
                    let state = loaded.map(|loaded| loaded.state);
                    runner.state = Some(state.unwrap_or_else(|| store.begin(session, runner.epoch)));
                }
                Err(error) => {
                    assert_eq!(error, LoadError::Fenced { epoch: model.epoch });
                    assert!(runner.epoch < model.epoch);
                }
            },
            Operation::Begin => runner.state = Some(store.begin(session, runner.epoch)),
            Operation::Prepare(change) => {
                let Some(state) = &mut runner.state else { return };
                runner.content.apply(&change);
                let write = state.prepare(change);
                let base = std::mem::replace(&mut runner.base, (runner.epoch, write.version()));
                runner.made.push(Made { write, base, content: runner.content.clone() });
            }
            Operation::Deliver(which) => {
                let Some(made) = runner.made.iter().rev().nth(which) else { return };
                assert_eq!(store.save(&made.write).await, model.save(made));
            }
            Operation::Touch => {
                let is_there = if model.content.is_some() { Ok(()) } else { Err(SaveError::Gone) };
                let expected = model.fenced(runner.epoch).and(is_there);
                assert_eq!(store.touch(session, runner.epoch).await, expected);
                if expected.is_ok() {
                    model.epoch = runner.epoch;
                }
            }
            Operation::Remove => {
                let expected = model.fenced(runner.epoch);
                assert_eq!(store.remove(session, runner.epoch).await, expected);
                if expected.is_ok() {
                    // What is made in the same microsecond may count as made before.
                    sleep(Duration::from_millis(1)).await;
                    let made = runner.made.iter().map(|made| made.write.version());
                    let version = made.max().unwrap_or_default();
                    *model = Model { epoch: runner.epoch, by: runner.epoch, version, content: None };
                }
            }
        }
    }
}

async fn agrees(store: &Store, cases: usize) {
    let strategy = vec((0..RUNNERS, 0..SESSIONS, operation()), OPERATIONS);
    let mut random = TestRunner::default();
    let mut stores = Vec::new();
    for _ in 0..RUNNERS {
        stores.push(store.handle().await);
    }
    for _ in 0..cases {
        let course = strategy.new_tree(&mut random).unwrap().current();
        let mut case = Case {
            stores: stores.clone(),
            sessions: (0..SESSIONS).map(|_| SessionId::random()).collect(),
            models: (0..SESSIONS).map(|_| Model::default()).collect(),
            runners: BTreeMap::new(),
            last_epoch: 0,
        };
        let mut done = Vec::new();
        for (runner, session, operation) in course {
            done.push((runner, session, operation.clone()));
            let step = case.apply(runner, session, operation);
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
async fn in_files() {
    agrees(&Store::files(), 10).await;
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
