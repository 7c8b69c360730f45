//! The roll as it is written down, and the lock on it.

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use anyhow::Result;
use streamfleet_cluster::{Course, Member, RegistryError, Roll, RollLock, Rolls, Stage, Step, Target};
use streamfleet_proto::RunnerId;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep};
use tokio_util::{sync::CancellationToken, task::AbortOnDropHandle};
use tracing::debug;

use super::hands::Hands;

/// How often the lock is renewed; it lasts for three times as long.
const RENEWAL: Duration = Duration::from_secs(3);
/// How long a Redis that is away is waited for, and the pause before it is asked again.
const AWAY_LIMIT: Duration = Duration::from_mins(2);
const AWAY_PAUSE: Duration = Duration::from_millis(500);

/// Somebody else carries the roll out now.
#[derive(Debug, thiserror::Error)]
#[error(
    "another command has taken the roll over, as this one was not heard of for ten seconds; `streamfleet status` shows how it goes"
)]
pub(super) struct Lost;

/// The roll as it is written down.
pub(super) struct Journal {
    rolls: Arc<dyn Rolls>,
    lock: RollLock,
    state: Mutex<State>,
    /// Writes come one after the other, each with all that has changed.
    writing: tokio::sync::Mutex<()>,
    lost: CancellationToken,
    _renewing: AbortOnDropHandle<()>,
}

struct State {
    roll: Roll,
    target: Target,
}

impl Journal {
    /// Keeps the lock until dropped.
    pub(super) fn open(rolls: Arc<dyn Rolls>, lock: RollLock, roll: Roll, hands: &dyn Hands) -> Self {
        let target = Target { admitted: Some(admitted(&roll, hands)), ..Target::revision(Some(&roll.revision)) };
        let lost = CancellationToken::new();
        let renewing = tokio::spawn(renew(Arc::clone(&rolls), lock.clone(), lost.clone()));
        let renewing = AbortOnDropHandle::new(renewing);
        let state = Mutex::new(State { roll, target });
        Self { rolls, lock, state, writing: tokio::sync::Mutex::default(), lost, _renewing: renewing }
    }

    /// Waits until somebody else carries the roll out.
    pub(super) async fn lost(&self) {
        self.lost.cancelled().await;
    }

    /// Gives the lock back.
    pub(super) async fn close(&self) {
        if let Err(error) = self.rolls.release(&self.lock).await {
            debug!("the lock ends by itself: {error}");
        }
    }

    /// The roll as it is now.
    pub(super) fn roll(&self) -> Roll {
        self.state().roll.clone()
    }

    pub(super) fn step(&self, number: usize) -> Option<Step> {
        self.state().roll.steps.get(number).cloned()
    }

    /// Picks a runner for a step that nobody else has picked; the first of these.
    pub(super) fn pick(&self, number: usize, candidates: &[&Member]) -> Option<RunnerId> {
        let mut state = self.state();
        let steps = &mut state.roll.steps;
        let is_free = |runner: &RunnerId| !steps.iter().any(|step| step.successor.as_deref() == Some(runner.as_str()));
        let choice = candidates.iter().map(|member| &member.runner).find(|runner| is_free(runner))?.clone();
        steps.get_mut(number)?.successor = Some(choice.to_string());
        Some(choice)
    }

    /// Writes down how far a step is.
    pub(super) async fn reached(&self, number: usize, stage: Stage) -> Result<()> {
        self.write(|state| {
            if let Some(step) = state.roll.steps.get_mut(number) {
                step.stage = stage;
            }
        })
        .await
    }

    /// Forgets the successor of a step, which is gone.
    pub(super) async fn start_again(&self, number: usize) -> Result<()> {
        self.write(|state| {
            if let Some(step) = state.roll.steps.get_mut(number) {
                (step.stage, step.successor) = (Stage::Starting, None);
            }
        })
        .await
    }

    /// Sends new sessions to a runner that has been tried, from now on.
    pub(super) async fn admit(&self, number: usize, runner: &RunnerId) -> Result<()> {
        self.write(|state| {
            state.target.admitted.get_or_insert_default().insert(runner.clone());
            if let Some(step) = state.roll.steps.get_mut(number) {
                step.stage = Stage::HandingOver;
            }
        })
        .await
    }

    /// Writes down what has become of the whole, and where new sessions go from now on.
    pub(super) async fn turn(&self, course: Course, reason: Option<&str>, target: Option<Target>) -> Result<()> {
        self.write(|state| {
            state.roll.course = course;
            if let Some(reason) = reason {
                reason.clone_into(&mut state.roll.reason);
            }
            if let Some(target) = target {
                state.target = target;
            }
        })
        .await
    }

    async fn write(&self, change: impl FnOnce(&mut State)) -> Result<()> {
        let _turn = self.writing.lock().await;
        let (roll, target) = {
            let mut state = self.state();
            change(&mut state);
            (state.roll.clone(), state.target.clone())
        };
        let began = Instant::now();
        loop {
            match self.rolls.record(&self.lock, &roll, &target).await {
                Ok(true) => return Ok(()),
                Ok(false) => {
                    self.lost.cancel();
                    return Err(Lost.into());
                }
                Err(RegistryError::Unavailable(reason)) if began.elapsed() < AWAY_LIMIT => {
                    debug!("waiting for the registry: {reason}");
                    sleep(AWAY_PAUSE).await;
                }
                Err(error) => return Err(error.into()),
            }
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Each change leaves it whole, so a panic elsewhere does no harm.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The runners that had been tried before this command came, and are still there.
fn admitted(roll: &Roll, hands: &dyn Hands) -> BTreeSet<RunnerId> {
    let view = hands.view();
    let view = view.borrow();
    let tried = roll.steps.iter().filter(|step| step.stage >= Stage::HandingOver);
    let tried = tried.filter_map(|step| step.successor.as_ref()?.parse().ok());
    tried.filter(|runner| view.members.contains_key(runner)).collect()
}

async fn renew(rolls: Arc<dyn Rolls>, lock: RollLock, lost: CancellationToken) {
    let mut ticks = interval(RENEWAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        match rolls.renew(&lock).await {
            Ok(true) => {}
            Ok(false) => {
                lost.cancel();
                return;
            }
            // Nobody else can take it either.
            Err(error) => debug!("cannot renew the lock: {error}"),
        }
    }
}
