//! How a roll goes about it: one runner after the other, and back when the new revision doesn't work.
//!
//! For each runner a successor is waited for and tried; then new sessions go to it, the runner hands over those that it has, and ends.
//! Each of these is written down before it is done, and can be done again: whoever goes on with a roll begins where it was.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use anyhow::{Result, bail};
use futures_util::{StreamExt as _, stream};
use streamfleet_cluster::{Course, LEASE, Member, Roll, RunnerPhase, Stage, Step, Target, membership::View};
use streamfleet_proto::{
    RunnerId,
    runner::{DrainProgress, ProbeOutcome, ProbeResponse},
};
use tokio::time::{Instant, sleep, timeout};

use super::{
    hands::Hands,
    journal::Journal,
    report::{Event, Reporter},
};

/// How much longer than handing over may take until a runner has left.
const LEAVE_LIMIT: Duration = Duration::from_secs(30);
/// How long a registry that was just emptied may take to know everybody.
const SETTLING_LIMIT: Duration = Duration::from_secs(LEASE.as_secs() + 2);

/// How long sessions that have left may take to arrive, and for how long none may have arrived for all to be there.
const ARRIVAL_LIMIT: Duration = Duration::from_secs(10);
const ARRIVAL_PAUSE: Duration = Duration::from_secs(2);

/// What a roll has come to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outcome {
    Done,
    WentBack,
    Stopped,
}

/// Why a step was not taken to its end.
#[derive(Debug)]
enum Failure {
    /// The new revision doesn't work.
    Unhealthy(String),
    /// The roll can't be gone on with from here.
    Fatal(anyhow::Error),
}

impl From<anyhow::Error> for Failure {
    fn from(error: anyhow::Error) -> Self {
        Self::Fatal(error)
    }
}

/// Carries out a roll.
pub(super) struct Operator<'a> {
    hands: &'a dyn Hands,
    journal: &'a Journal,
    reporter: &'a Reporter,
    goes_back: bool,
    began: Instant,
    /// Of the steps that this command has taken.
    taken: Mutex<Taken>,
}

#[derive(Debug, Default)]
struct Taken {
    steps: u32,
    moved: u64,
    incomplete: u64,
}

/// What is to be done to get all runners to a revision.
pub(super) async fn plan(hands: &dyn Hands, revision: &str, at_once: u32) -> Result<Roll> {
    let mut view = hands.view();
    // Somebody may be missing.
    let settled = timeout(SETTLING_LIMIT, view.wait_for(|view| !view.settling && !view.stale)).await;
    if !matches!(settled, Ok(Ok(_))) {
        bail!("the registry does not know all runners yet; try again in a few seconds");
    }
    let view = Arc::clone(&hands.view().borrow());
    if view.members.is_empty() {
        bail!("no runner is in the cluster; start some with: streamfleet runner --revision {revision} APP");
    }
    let former = view.members.values().filter(|member| is_former(member, revision));
    let steps: Vec<_> = former
        .map(|member| Step {
            runner: member.runner.to_string(),
            revision: member.revision.clone(),
            successor: None,
            stage: Stage::Waiting,
        })
        .collect();
    let before = view.target.revision.clone().filter(|before| before != revision);
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Ok(Roll {
        revision: revision.to_owned(),
        former: before.or_else(|| most_common(&steps)),
        at_once,
        began_ms: u64::try_from(now.as_millis()).unwrap_or(u64::MAX),
        course: Course::Forward,
        reason: String::new(),
        steps,
    })
}

/// Whether a runner is to be replaced. One that leaves anyway is not.
fn is_former(member: &Member, revision: &str) -> bool {
    member.revision != revision && matches!(member.phase, RunnerPhase::Starting | RunnerPhase::Ready)
}

fn most_common(steps: &[Step]) -> Option<String> {
    let mut counts = BTreeMap::new();
    for step in steps {
        *counts.entry(&step.revision).or_insert(0_u32) += 1;
    }
    counts.into_iter().max_by_key(|(_, count)| *count).map(|(revision, _)| revision.clone())
}

impl<'a> Operator<'a> {
    pub(super) fn new(hands: &'a dyn Hands, journal: &'a Journal, reporter: &'a Reporter, goes_back: bool) -> Self {
        Self { hands, journal, reporter, goes_back, began: Instant::now(), taken: Mutex::default() }
    }

    /// Carries it out to its end, from wherever it is; or `back`.
    pub(super) async fn carry_out(&self, resumed: bool, back: bool) -> Result<Outcome> {
        let roll = self.journal.roll();
        let replaced = roll.steps.iter().filter(|step| step.stage == Stage::Done).count();
        self.reporter.tell(&Event::Started {
            revision: roll.revision.clone(),
            former: roll.former.clone(),
            runners: roll.steps.len(),
            replaced,
            resumed,
        });
        if back || roll.course == Course::Back {
            let reason = if roll.reason.is_empty() { "an operator wants it so" } else { &roll.reason };
            return self.go_back(reason).await;
        }
        self.journal.turn(Course::Forward, Some(""), None).await?;
        let Some(reason) = self.go_forward(&roll).await? else {
            self.journal.turn(Course::Done, None, Some(Target::revision(Some(&roll.revision)))).await?;
            self.finish(Outcome::Done).await;
            return Ok(Outcome::Done);
        };
        self.reporter.tell(&Event::Failed { reason: reason.clone() });
        if self.goes_back {
            return self.go_back(&reason).await;
        }
        self.stop(&reason).await
    }

    /// Takes all steps that are left. Returns why the new revision doesn't work, if it doesn't.
    async fn go_forward(&self, roll: &Roll) -> Result<Option<String>> {
        let has_failed = AtomicBool::new(false);
        let steps = (0..roll.steps.len()).map(async |number| {
            if has_failed.load(Ordering::Relaxed) {
                return Ok(());
            }
            let outcome = self.take_step(number).await;
            has_failed.fetch_or(outcome.is_err(), Ordering::Relaxed);
            outcome
        });
        let outcomes: Vec<_> = stream::iter(steps).buffer_unordered(roll.at_once.max(1) as usize).collect().await;
        let mut reasons = Vec::new();
        for outcome in outcomes {
            match outcome {
                Ok(()) => {}
                Err(Failure::Unhealthy(reason)) => reasons.push(reason),
                Err(Failure::Fatal(error)) => return Err(error),
            }
        }
        Ok((!reasons.is_empty()).then(|| reasons.join("; ")))
    }

    async fn take_step(&self, number: usize) -> Result<(), Failure> {
        let began = Instant::now();
        let Some(step) = self.journal.step(number).filter(|step| step.stage != Stage::Done) else { return Ok(()) };
        let mut stage = step.stage;
        let mut successor = step.successor.as_deref().and_then(|name| self.member(name));
        if successor.is_none() && stage > Stage::Starting {
            // It has gone since.
            self.journal.start_again(number).await?;
            stage = Stage::Starting;
        }
        if stage <= Stage::Starting {
            self.journal.reached(number, Stage::Starting).await?;
            successor = Some(self.successor_for(number, &step).await?);
            self.journal.reached(number, Stage::Probing).await?;
            stage = Stage::Probing;
        }
        let Some(successor) = successor else { return Ok(()) };
        if stage == Stage::Probing {
            self.try_out(&successor).await?;
            self.journal.admit(number, &successor.runner).await?;
        }
        let progress = self.have_leave(&step.runner).await?;
        if self.member(successor.runner.as_str()).is_none() {
            return Err(Failure::Unhealthy(format!("{} is gone, just after it had taken over", successor.runner)));
        }
        self.journal.reached(number, Stage::Done).await?;
        self.count(&step, &successor, began.elapsed(), progress);
        Ok(())
    }

    /// Waits for a runner of the new revision that takes the place of another.
    async fn successor_for(&self, number: usize, step: &Step) -> Result<Member, Failure> {
        let revision = self.journal.roll().revision;
        let pick = |view: &View| {
            let ready = view.members.values().filter(|member| member.revision == revision && member.takes_sessions());
            let ready: Vec<_> = ready.collect();
            let choice = self.journal.pick(number, &ready)?;
            view.members.get(&choice).cloned()
        };
        let mut view = self.hands.view();
        if let Some(member) = pick(&Arc::clone(&view.borrow_and_update())) {
            return Ok(member);
        }
        let command = self.hands.can_start();
        if command && let Err(error) = self.hands.start(&revision, &step.runner).await {
            return Err(Failure::Unhealthy(format!("no runner could be started: {error:#}")));
        }
        self.reporter.tell(&Event::Waiting { runner: step.runner.clone(), revision: revision.clone(), command });
        let appears = async {
            loop {
                if let Some(member) = pick(&Arc::clone(&view.borrow_and_update())) {
                    return Some(member);
                }
                view.changed().await.ok()?;
            }
        };
        let limit = self.hands.limits().start;
        let appeared = timeout(limit, appears).await.ok().flatten();
        appeared.ok_or_else(|| {
            Failure::Unhealthy(format!("no runner of {revision} has become ready within {} s", limit.as_secs()))
        })
    }

    /// Has the new runner run its script once.
    async fn try_out(&self, successor: &Member) -> Result<(), Failure> {
        let runner = &successor.runner;
        self.reporter.tell(&Event::Probing { runner: runner.to_string() });
        let answer = match self.hands.probe(successor).await {
            Ok(answer) => answer,
            Err(error) => return Err(Failure::Unhealthy(format!("{error:#}"))),
        };
        let ProbeResponse { exception_type, message, run_us, .. } = &answer;
        let reason = match answer.outcome() {
            ProbeOutcome::Healthy => {
                self.reporter.tell(&Event::Healthy { runner: runner.to_string(), run_ms: run_us / 1000 });
                return Ok(());
            }
            ProbeOutcome::Exception => format!("on {runner} its script raises {exception_type}: {message}"),
            ProbeOutcome::TimedOut => {
                format!("on {runner} its script has not ended after {} s", self.hands.limits().probe.as_secs())
            }
            ProbeOutcome::NoAnswer | ProbeOutcome::Unspecified => format!("{runner} could not try its app: {message}"),
        };
        Err(Failure::Unhealthy(reason))
    }

    /// Has a runner hand its sessions over and end, and waits until it has.
    async fn have_leave(&self, name: &str) -> Result<DrainProgress, Failure> {
        let Some(member) = self.member(name) else { return Ok(DrainProgress::default()) };
        let tell = |progress: DrainProgress| {
            let DrainProgress { total, moved, left, .. } = progress;
            self.reporter.tell(&Event::HandingOver { runner: name.to_owned(), total, moved, left });
        };
        let progress = self.hands.drain(&member, &tell).await;
        let progress = progress.map_err(|error| {
            Failure::Unhealthy(format!("{name} can't be told to hand its sessions over: {error:#}"))
        })?;
        let mut view = self.hands.view();
        let gone = view.wait_for(|view| !view.members.contains_key(&member.runner));
        if timeout(LEAVE_LIMIT, gone).await.is_err() {
            self.reporter.note(&format!("{name} has handed everything over, and does not end; end it by hand"));
        }
        Ok(progress)
    }

    /// Makes all as it was.
    async fn go_back(&self, reason: &str) -> Result<Outcome> {
        let roll = self.journal.roll();
        self.reporter.tell(&Event::GoingBack { revision: roll.former.clone() });
        let missing: Vec<_> = roll.steps.iter().filter(|step| self.member(&step.runner).is_none()).collect();
        let left = self.former_runners(&roll.revision);
        if left == 0 && !self.hands.can_start() {
            self.reporter.note("no runner of the former revision is left to go back to");
            return self.stop(reason).await;
        }
        // Nobody goes to the new revision any more.
        let nobody = Target { admitted: Some(BTreeSet::new()), ..Target::revision(Some(&roll.revision)) };
        self.journal.turn(Course::Back, Some(reason), Some(nobody)).await?;
        self.bring_back(&roll, &missing).await;
        if self.former_runners(&roll.revision) == 0 {
            self.reporter.note("no runner of the former revision came back");
            return self.stop(reason).await;
        }
        // Nobody is kept on a revision that doesn't work for the sake of a number.
        let returned = self.count_unloadable().await;
        let new: Vec<_> =
            self.members(|member| member.revision == roll.revision && member.phase != RunnerPhase::Stopped);
        let leaving = new.iter().map(async |member| match self.have_leave(member.runner.as_str()).await {
            Ok(progress) => self.add(progress),
            Err(Failure::Unhealthy(reason)) => self.reporter.note(&reason),
            Err(Failure::Fatal(error)) => self.reporter.note(&format!("{error:#}")),
        });
        stream::iter(leaving).buffer_unordered(roll.at_once.max(1) as usize).collect::<Vec<()>>().await;
        let former = Target::revision(roll.former.as_deref());
        self.journal.turn(Course::Undone, None, Some(former)).await?;
        self.finish_with(Outcome::WentBack, returned);
        Ok(Outcome::WentBack)
    }

    /// Has runners of the former revision started for those that have left.
    async fn bring_back(&self, roll: &Roll, missing: &[&Step]) {
        if missing.is_empty() {
            return;
        }
        if !self.hands.can_start() {
            let names: Vec<_> = missing.iter().map(|step| step.runner.as_str()).collect();
            let revision = roll.former.as_deref().unwrap_or("the former revision");
            self.reporter.note(&format!("start runners of {revision} in the place of {}", names.join(", ")));
            return;
        }
        let there = self.former_runners(&roll.revision);
        for step in missing.iter().take(roll.steps.len().saturating_sub(there)) {
            match self.hands.start(&step.revision, &step.runner).await {
                Ok(()) => self.reporter.tell(&Event::Waiting {
                    runner: step.runner.clone(),
                    revision: step.revision.clone(),
                    command: true,
                }),
                Err(error) => self.reporter.note(&format!("no runner could be started: {error:#}")),
            }
        }
        let mut view = self.hands.view();
        let back = view.wait_for(|view| count_former(view, &roll.revision) >= roll.steps.len());
        if timeout(self.hands.limits().start, back).await.is_err() {
            self.reporter.note("not all runners of the former revision came back; start the others by hand");
        }
    }

    /// Leaves all as it is, until somebody decides.
    async fn stop(&self, reason: &str) -> Result<Outcome> {
        self.journal.turn(Course::Stopped, Some(reason), None).await?;
        self.finish(Outcome::Stopped).await;
        Ok(Outcome::Stopped)
    }

    fn count(&self, step: &Step, successor: &Member, took: Duration, progress: DrainProgress) {
        self.add(progress);
        let roll = self.journal.roll();
        let replaced = roll.steps.iter().filter(|step| step.stage == Stage::Done).count();
        let steps = {
            let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
            taken.steps += 1;
            taken.steps
        };
        let left = u32::try_from(roll.steps.len() - replaced).unwrap_or(u32::MAX);
        self.reporter.tell(&Event::Replaced {
            runner: step.runner.clone(),
            successor: successor.runner.to_string(),
            seconds: took.as_secs_f64(),
            moved: progress.moved,
            incomplete: progress.incomplete,
            replaced,
            runners: roll.steps.len(),
            left_seconds: (left > 0).then(|| (self.began.elapsed() / steps * left).as_secs()),
        });
    }

    fn add(&self, progress: DrainProgress) {
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        taken.moved += u64::from(progress.moved);
        taken.incomplete += u64::from(progress.incomplete);
    }

    async fn finish(&self, outcome: Outcome) {
        let unloadable = self.unloadable().await;
        self.finish_with(outcome, unloadable);
    }

    fn finish_with(&self, outcome: Outcome, (returned, afresh): (u64, u64)) {
        let taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        let replaced = self.journal.roll().steps.iter().filter(|step| step.stage == Stage::Done).count();
        self.reporter.tell(&Event::Finished {
            outcome: match outcome {
                Outcome::Done => "done",
                Outcome::WentBack => "went_back",
                Outcome::Stopped => "stopped",
            },
            seconds: self.began.elapsed().as_secs_f64(),
            replaced,
            moved: taken.moved,
            incomplete: taken.incomplete,
            returned,
            afresh,
        });
    }

    /// How many sessions the new runners could not read: those that went back, and those that started afresh.
    async fn unloadable(&self) -> (u64, u64) {
        let moved = self.taken.lock().unwrap_or_else(PoisonError::into_inner).moved;
        let mut counts = self.count_unloadable().await;
        if moved == 0 {
            return counts;
        }
        // Those that have left last are still on their way.
        let deadline = Instant::now() + ARRIVAL_LIMIT;
        while Instant::now() < deadline {
            sleep(ARRIVAL_PAUSE).await;
            let before = std::mem::replace(&mut counts, self.count_unloadable().await);
            if counts == before {
                break;
            }
        }
        counts
    }

    async fn count_unloadable(&self) -> (u64, u64) {
        let revision = self.journal.roll().revision;
        let mut sum = (0, 0);
        for member in self.members(|member| member.revision == revision) {
            let (returned, afresh) = self.hands.unloadable(&member).await;
            sum = (sum.0 + returned, sum.1 + afresh);
        }
        sum
    }

    fn members(&self, which: impl Fn(&Member) -> bool) -> Vec<Member> {
        self.hands.view().borrow().members.values().filter(|member| which(member)).cloned().collect()
    }

    fn member(&self, name: &str) -> Option<Member> {
        let runner: RunnerId = name.parse().ok()?;
        self.hands.view().borrow().members.get(&runner).cloned()
    }

    fn former_runners(&self, revision: &str) -> usize {
        count_former(&self.hands.view().borrow(), revision)
    }
}

fn count_former(view: &View, revision: &str) -> usize {
    view.members.values().filter(|member| member.revision != revision && member.takes_sessions()).count()
}
