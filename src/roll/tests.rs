//! Rolls of a made-up cluster, with an operator that dies at any of the things that it does.

use std::{
    collections::{BTreeMap, HashSet},
    sync::{
        Arc, Mutex, MutexGuard,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use anyhow::Result;
use streamfleet_cluster::{
    Load, Member, MemoryRegistry, Registry, Rolls, RunnerPhase, Taken, Target,
    membership::{self, View},
};
use streamfleet_proto::{
    RunnerId,
    runner::{DrainProgress, ProbeOutcome, ProbeResponse},
};
use tokio::{sync::watch, time::interval};
use tokio_util::task::AbortOnDropHandle;
use tonic::async_trait;

use super::{
    hands::{Hands, Limits, Told},
    journal::Journal,
    operator::{Operator, Outcome, plan},
    report::Reporter,
};

/// A cluster of runners that do as they are told.
struct World {
    registry: Arc<MemoryRegistry>,
    view: watch::Receiver<Arc<View>>,
    runners: Arc<Mutex<BTreeMap<RunnerId, Member>>>,
    /// Those of these names don't work.
    sick: HashSet<&'static str>,
    can_start: bool,
    started: Mutex<Vec<String>>,
    /// The fewest that have served at once.
    fewest: AtomicUsize,
    /// What has been done so far, and what is not done any more.
    deeds: AtomicUsize,
    last_deed: AtomicUsize,
    _tasks: [AbortOnDropHandle<()>; 2],
}

fn member(name: &str, revision: &str) -> Member {
    Member {
        runner: name.parse().unwrap(),
        address: String::new(),
        revision: revision.to_owned(),
        phase: RunnerPhase::Ready,
        load: Load { workers: 1, sessions: 10, ..Load::default() },
    }
}

impl World {
    async fn new(runners: usize) -> Self {
        let registry = Arc::new(MemoryRegistry::default());
        let runners: BTreeMap<_, _> = (0..runners)
            .map(|number| member(&format!("r{number}-a"), "one"))
            .map(|member| (member.runner.clone(), member))
            .collect();
        let count = runners.len();
        let runners = Arc::new(Mutex::new(runners));
        let there = locked(&runners).clone();
        for member in there.into_values() {
            registry.announce(&member).await.unwrap();
        }
        let (sender, view) = watch::channel(Arc::default());
        membership::ask(&*registry, &sender).await;
        let dynamic: Arc<dyn Registry> = Arc::clone(&registry) as Arc<dyn Registry>;
        let follow = tokio::spawn(membership::follow(dynamic, sender, |_| ()));
        let announce = tokio::spawn({
            let (registry, runners) = (Arc::clone(&registry), Arc::clone(&runners));
            async move {
                let mut ticks = interval(Duration::from_secs(1));
                loop {
                    ticks.tick().await;
                    let there = locked(&runners).clone();
                    for member in there.into_values() {
                        registry.announce(&member).await.unwrap();
                    }
                }
            }
        });
        Self {
            registry,
            view,
            runners,
            sick: HashSet::new(),
            can_start: true,
            started: Mutex::default(),
            fewest: AtomicUsize::new(count),
            deeds: AtomicUsize::new(0),
            last_deed: AtomicUsize::new(usize::MAX),
            _tasks: [follow, announce].map(AbortOnDropHandle::new),
        }
    }

    /// Counts what is done; past the last there is nobody any more who could do it.
    async fn deed(&self) {
        if self.deeds.fetch_add(1, Ordering::SeqCst) >= self.last_deed.load(Ordering::SeqCst) {
            std::future::pending::<()>().await;
        }
    }

    fn revisions(&self) -> Vec<String> {
        locked(&self.runners).values().map(|member| member.revision.clone()).collect()
    }

    async fn target(&self) -> Target {
        self.registry.members().await.unwrap().target
    }

    fn started(&self) -> Vec<String> {
        locked(&self.started).clone()
    }

    /// Begins a roll, or goes on with one, and carries it out as far as it comes.
    async fn roll(&self, revision: Option<&str>, back: bool, goes_back: bool) -> Result<Outcome> {
        let rolls: Arc<dyn Rolls> = Arc::clone(&self.registry) as Arc<dyn Rolls>;
        let (lock, last) = loop {
            match rolls.take("somebody").await? {
                Taken::Held { lock, roll } => break (lock, roll),
                Taken::Busy { .. } => tokio::time::sleep(Duration::from_secs(1)).await,
            }
        };
        let unfinished = last.filter(|roll| !roll.is_over());
        let resumed = unfinished.is_some();
        let roll = match (unfinished, revision) {
            (Some(roll), _) => roll,
            (None, Some(revision)) => plan(self, revision, 1).await?,
            (None, None) => return Ok(Outcome::Done),
        };
        let journal = Journal::open(rolls, lock, roll, self);
        let reporter = Reporter::new(false);
        let outcome = Operator::new(self, &journal, &reporter, goes_back).carry_out(resumed, back).await;
        journal.close().await;
        outcome
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap()
}

#[async_trait]
impl Hands for World {
    fn limits(&self) -> Limits {
        let minute = Duration::from_mins(1);
        Limits { start: minute, probe: minute, drain: minute }
    }

    fn view(&self) -> watch::Receiver<Arc<View>> {
        self.view.clone()
    }

    fn can_start(&self) -> bool {
        self.can_start
    }

    async fn start(&self, revision: &str, in_place_of: &str) -> Result<()> {
        self.deed().await;
        let number = locked(&self.started).len();
        locked(&self.started).push(revision.to_owned());
        let place = in_place_of.split('-').next().unwrap();
        let member = member(&format!("{place}-{revision}.{number}"), revision);
        locked(&self.runners).insert(member.runner.clone(), member.clone());
        self.registry.announce(&member).await?;
        self.deed().await;
        Ok(())
    }

    async fn probe(&self, runner: &Member) -> Result<ProbeResponse> {
        self.deed().await;
        let outcome = match runner.runner.as_str().split('.').next() {
            Some(name) if self.sick.contains(name) => ProbeOutcome::Exception,
            _ => ProbeOutcome::Healthy,
        };
        Ok(ProbeResponse { outcome: outcome.into(), ..ProbeResponse::default() })
    }

    async fn drain(&self, runner: &Member, told: Told<'_>) -> Result<DrainProgress> {
        self.deed().await;
        locked(&self.runners).remove(&runner.runner);
        self.registry.withdraw(&runner.runner).await?;
        self.fewest.fetch_min(locked(&self.runners).len(), Ordering::SeqCst);
        let progress = DrainProgress { total: 10, moved: 10, ..DrainProgress::default() };
        told(progress);
        self.deed().await;
        Ok(progress)
    }

    async fn unloadable(&self, _: &Member) -> (u64, u64) {
        (0, 0)
    }
}

#[tokio::test(start_paused = true)]
async fn all_are_replaced_and_never_fewer_serve() {
    let world = World::new(5).await;
    assert_eq!(world.roll(Some("two"), false, true).await.unwrap(), Outcome::Done);
    assert_eq!(world.revisions(), ["two"; 5]);
    assert_eq!(world.started(), ["two"; 5]);
    assert_eq!(world.target().await, Target::revision(Some("two")));
    assert_eq!(world.fewest.load(Ordering::SeqCst), 5);
}

#[tokio::test(start_paused = true)]
async fn the_first_that_does_not_work_has_all_go_back() {
    for (sick, started) in [("r0-two", &["two"][..]), ("r2-two", &["two", "two", "two", "one", "one"])] {
        let mut world = World::new(3).await;
        world.sick = [sick].into();
        assert_eq!(world.roll(Some("two"), false, true).await.unwrap(), Outcome::WentBack);
        assert_eq!(world.revisions(), ["one"; 3]);
        assert_eq!(world.started(), started);
        assert_eq!(world.target().await, Target::revision(Some("one")));
        assert_eq!(world.fewest.load(Ordering::SeqCst), 3);
    }
}

#[tokio::test(start_paused = true)]
async fn where_nobody_can_start_any_the_old_ones_that_are_left_go_on() {
    let mut world = World::new(3).await;
    world.can_start = false;
    for (name, revision) in [("r0-two.x", "two"), ("r1-two.x", "two")] {
        let member = member(name, revision);
        locked(&world.runners).insert(member.runner.clone(), member.clone());
        world.registry.announce(&member).await.unwrap();
    }
    world.sick = ["r1-two"].into();
    assert_eq!(world.roll(Some("two"), false, true).await.unwrap(), Outcome::WentBack);
    assert_eq!(world.revisions(), ["one"; 2]);
    assert!(world.started().is_empty());
    assert_eq!(world.target().await, Target::revision(Some("one")));
}

#[tokio::test(start_paused = true)]
async fn who_may_not_go_back_stays_and_can_be_gone_on_with_or_back() {
    for (back, expected) in [(false, Outcome::Done), (true, Outcome::WentBack)] {
        let mut world = World::new(2).await;
        world.sick = ["r1-two"].into();
        assert_eq!(world.roll(Some("two"), false, false).await.unwrap(), Outcome::Stopped);
        let admitted = world.target().await.admitted.unwrap();
        assert_eq!(admitted.iter().map(RunnerId::as_str).collect::<Vec<_>>(), ["r0-two.0"]);
        // It works after all, when its database is there.
        world.sick.clear();
        assert_eq!(world.roll(None, back, false).await.unwrap(), expected);
        let revision = if back { "one" } else { "two" };
        assert_eq!(world.revisions(), [revision; 2]);
        assert_eq!(world.target().await, Target::revision(Some(revision)));
    }
}

/// Whatever the operator dies of, the next one brings the roll to the same end, and nobody is missing meanwhile.
#[tokio::test(start_paused = true)]
async fn an_operator_may_die_at_any_moment() {
    for (sick, expected, revision) in [(None, Outcome::Done, "two"), (Some("r2-two"), Outcome::WentBack, "one")] {
        let mut deaths = 0;
        loop {
            let mut world = World::new(3).await;
            world.sick.extend(sick);
            world.last_deed.store(deaths, Ordering::SeqCst);
            let first = tokio::time::timeout(Duration::from_hours(1), world.roll(Some("two"), false, true)).await;
            if let Ok(outcome) = first {
                // There is nothing left to die of.
                assert_eq!(outcome.unwrap(), expected);
                break;
            }
            world.last_deed.store(usize::MAX, Ordering::SeqCst);
            assert_eq!(world.roll(None, false, true).await.unwrap(), expected, "after {deaths} deeds");
            assert_eq!(world.revisions(), [revision; 3], "after {deaths} deeds");
            assert_eq!(world.target().await, Target::revision(Some(revision)), "after {deaths} deeds");
            assert!(world.fewest.load(Ordering::SeqCst) >= 3, "after {deaths} deeds");
            let expected = if sick.is_some() { 5 } else { 3 };
            assert!(world.started().len() <= expected + 1, "after {deaths} deeds: {:?}", world.started());
            deaths += 1;
        }
        assert!(deaths >= 12, "only {deaths} deeds");
    }
}

#[tokio::test(start_paused = true)]
async fn a_cluster_without_runners_is_not_rolled() {
    let error = World::new(0).await.roll(Some("two"), false, true).await.unwrap_err();
    assert!(error.to_string().contains("no runner is in the cluster"), "{error}");
}
