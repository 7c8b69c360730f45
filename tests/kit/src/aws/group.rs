//! Machines of an auto-scaling group, and what holds them on their way: as AWS documents the states of an instance and the life-cycle
//! hooks.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::{Duration, SystemTime};

use tokio::time::Instant;

use super::metadata::{Manner, Tokens};

/// A hook's global limit is so many heartbeats, or this, whichever is less.
const GLOBAL_HEARTBEATS: u32 = 100;
const GLOBAL_LIMIT: Duration = Duration::from_hours(48);

/// Where a machine is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// It has been started.
    Pending,
    /// It waits for its launch hooks.
    PendingWait,
    /// They have been completed.
    PendingProceed,
    /// It counts.
    InService,
    /// It is to go.
    Terminating,
    /// It waits for its termination hooks.
    TerminatingWait,
    /// They have been completed.
    TerminatingProceed,
    /// It is no more.
    Terminated,
}

impl State {
    /// As it is called in answers.
    pub fn name(self) -> &'static str {
        match self {
            Self::Pending => "Pending",
            Self::PendingWait => "Pending:Wait",
            Self::PendingProceed => "Pending:Proceed",
            Self::InService => "InService",
            Self::Terminating => "Terminating",
            Self::TerminatingWait => "Terminating:Wait",
            Self::TerminatingProceed => "Terminating:Proceed",
            Self::Terminated => "Terminated",
        }
    }

    /// What a machine is told to be on its way to.
    pub(super) fn target(self) -> &'static str {
        match self {
            Self::Pending | Self::PendingWait | Self::PendingProceed | Self::InService => "InService",
            Self::Terminating | Self::TerminatingWait | Self::TerminatingProceed | Self::Terminated => "Terminated",
        }
    }
}

/// When a hook applies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Transition {
    Launching,
    Terminating,
}

/// A hook of a group.
#[derive(Debug, Clone)]
pub struct HookSpec {
    pub(super) name: String,
    pub(super) transition: Transition,
    pub(super) heartbeat_timeout: Duration,
    pub(super) default_result: &'static str,
    global_timeout: Option<Duration>,
}

impl HookSpec {
    /// One that abandons machines that don't come to serve in time, as those of `terraform/` do.
    pub fn launching(name: &str, heartbeat_timeout: Duration) -> Self {
        Self {
            name: name.to_owned(),
            transition: Transition::Launching,
            heartbeat_timeout,
            default_result: "ABANDON",
            global_timeout: None,
        }
    }

    /// One that lets machines go that don't say that they may.
    pub fn terminating(name: &str, heartbeat_timeout: Duration) -> Self {
        Self {
            transition: Transition::Terminating,
            default_result: "CONTINUE",
            ..Self::launching(name, heartbeat_timeout)
        }
    }

    /// No heartbeats help after this time.
    #[must_use]
    pub fn global_timeout(mut self, limit: Duration) -> Self {
        self.global_timeout = Some(limit);
        self
    }

    pub(super) fn global_limit(&self) -> Duration {
        self.global_timeout.unwrap_or_else(|| (self.heartbeat_timeout * GLOBAL_HEARTBEATS).min(GLOBAL_LIMIT))
    }

    pub(super) fn transition_name(&self) -> &'static str {
        match self.transition {
            Transition::Launching => "autoscaling:EC2_INSTANCE_LAUNCHING",
            Transition::Terminating => "autoscaling:EC2_INSTANCE_TERMINATING",
        }
    }
}

/// What became of a hook.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// It was completed, with `CONTINUE`.
    Continued,
    /// It was completed, with `ABANDON`.
    Abandoned,
    /// Nobody said anything in time.
    TimedOut,
    /// Its global limit is over.
    GloballyTimedOut,
}

/// A hook that a machine waits for.
#[derive(Debug)]
struct Action {
    hook: HookSpec,
    heartbeat_due: Instant,
    ends: Instant,
}

/// A machine.
#[derive(Debug)]
pub(super) struct Machine {
    pub(super) id: String,
    pub(super) group: String,
    pub(super) state: State,
    pub(super) outcomes: Vec<(String, Outcome)>,
    pub(super) spot_notice: Option<SystemTime>,
    pub(super) is_rebalance_recommended: bool,
    pub(super) manner: Manner,
    pub(super) tokens: Tokens,
    actions: Vec<Action>,
    metadata: SocketAddr,
}

impl Machine {
    pub(super) fn new(id: &str, group: &str, metadata: SocketAddr) -> Self {
        Self {
            id: id.to_owned(),
            group: group.to_owned(),
            state: State::Pending,
            outcomes: Vec::new(),
            spot_notice: None,
            is_rebalance_recommended: false,
            manner: Manner::Well,
            tokens: Tokens::default(),
            actions: Vec::new(),
            metadata,
        }
    }

    /// Where its metadata are.
    pub(super) fn metadata(&self) -> String {
        format!("http://{}", self.metadata)
    }

    pub(super) fn terminate(&mut self) {
        self.actions.clear();
        self.state = State::Terminating;
    }

    pub(super) fn spot_notice(&mut self, left: Duration) {
        self.spot_notice = Some(SystemTime::now() + left);
    }

    /// Goes on by one step, if nothing holds it. Whether it did.
    pub(super) fn tick(&mut self, hooks: &BTreeMap<String, Vec<HookSpec>>) -> bool {
        let before = self.state;
        match before {
            State::Pending => self.wait(hooks, Transition::Launching),
            State::Terminating => self.wait(hooks, Transition::Terminating),
            State::PendingProceed => self.state = State::InService,
            State::TerminatingProceed => self.state = State::Terminated,
            State::PendingWait | State::TerminatingWait => self.time_out(),
            State::InService | State::Terminated => {}
        }
        self.state != before
    }

    fn wait(&mut self, hooks: &BTreeMap<String, Vec<HookSpec>>, transition: Transition) {
        let now = Instant::now();
        let hooks = hooks.get(&self.group).into_iter().flatten().filter(|hook| hook.transition == transition);
        self.actions = hooks
            .map(|hook| Action {
                heartbeat_due: now + hook.heartbeat_timeout,
                ends: now + hook.global_limit(),
                hook: hook.clone(),
            })
            .collect();
        self.state = match transition {
            Transition::Launching => State::PendingWait,
            Transition::Terminating => State::TerminatingWait,
        };
        self.proceed();
    }

    fn time_out(&mut self) {
        let now = Instant::now();
        let late = self.actions.iter().find(|action| now >= action.heartbeat_due.min(action.ends));
        if let Some(action) = late {
            let outcome = if now >= action.ends { Outcome::GloballyTimedOut } else { Outcome::TimedOut };
            let (name, result) = (action.hook.name.clone(), action.hook.default_result);
            self.end(&name, outcome, result);
        }
    }

    /// Extends the time of a hook, but not beyond its global limit. False if nothing waits for it.
    pub(super) fn heartbeat(&mut self, hook: &str) -> bool {
        let action = self.actions.iter_mut().find(|action| action.hook.name == hook);
        action.is_some_and(|action| {
            action.heartbeat_due = Instant::now() + action.hook.heartbeat_timeout;
            true
        })
    }

    /// Completes a hook. False if nothing waits for it.
    pub(super) fn complete(&mut self, hook: &str, result: &str) -> bool {
        if !self.actions.iter().any(|action| action.hook.name == hook) {
            return false;
        }
        let outcome = if result == "CONTINUE" { Outcome::Continued } else { Outcome::Abandoned };
        self.end(hook, outcome, result);
        true
    }

    fn end(&mut self, hook: &str, outcome: Outcome, result: &str) {
        self.outcomes.push((hook.to_owned(), outcome));
        self.actions.retain(|action| action.hook.name != hook);
        if result == "CONTINUE" {
            self.proceed();
            return;
        }
        // A machine that is given up before it serves goes through its termination hooks; one that goes anyway waits for no others.
        self.actions.clear();
        if self.state == State::PendingWait {
            self.state = State::Terminating;
        } else {
            self.proceed();
        }
    }

    fn proceed(&mut self) {
        if self.actions.is_empty() {
            self.state = match self.state {
                State::PendingWait => State::PendingProceed,
                State::TerminatingWait => State::TerminatingProceed,
                other => other,
            };
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::sleep;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn hooks() -> BTreeMap<String, Vec<HookSpec>> {
        let hooks = vec![
            HookSpec::launching("in", 10 * SECOND),
            HookSpec::terminating("out", 10 * SECOND).global_timeout(25 * SECOND),
            HookSpec::terminating("other", 10 * SECOND),
        ];
        [("group".to_owned(), hooks)].into()
    }

    /// Goes on until nothing happens any more.
    fn settle(machine: &mut Machine) -> State {
        while machine.tick(&hooks()) {}
        machine.state
    }

    fn machine() -> Machine {
        Machine::new("i-1", "group", SocketAddr::from(([127, 0, 0, 1], 1)))
    }

    fn serving() -> Machine {
        let mut machine = machine();
        assert_eq!(settle(&mut machine), State::PendingWait);
        assert!(machine.complete("in", "CONTINUE"));
        assert_eq!(settle(&mut machine), State::InService);
        machine
    }

    #[tokio::test(start_paused = true)]
    async fn a_machine_waits_for_all_hooks_of_its_way() {
        let mut machine = serving();
        assert!(!machine.complete("in", "CONTINUE") && !machine.heartbeat("in"), "it is done");
        machine.terminate();
        assert_eq!(settle(&mut machine), State::TerminatingWait);
        assert!(machine.complete("out", "CONTINUE") && !machine.complete("out", "CONTINUE"));
        assert_eq!(settle(&mut machine), State::TerminatingWait);
        assert!(machine.complete("other", "CONTINUE"));
        assert_eq!(settle(&mut machine), State::Terminated);
    }

    #[tokio::test(start_paused = true)]
    async fn what_nobody_completes_ends_with_its_default_result() {
        let mut machine = machine();
        settle(&mut machine);
        sleep(10 * SECOND).await;
        // It goes through its termination hooks, too.
        assert_eq!(settle(&mut machine), State::TerminatingWait);
        sleep(10 * SECOND).await;
        assert_eq!(settle(&mut machine), State::TerminatingWait, "one at a time");
        machine.tick(&hooks());
        assert_eq!(settle(&mut machine), State::Terminated);
        let timed_out = |hook: &str| (hook.to_owned(), Outcome::TimedOut);
        assert_eq!(machine.outcomes, ["in", "out", "other"].map(timed_out));
    }

    #[tokio::test(start_paused = true)]
    async fn heartbeats_extend_a_wait_up_to_the_global_limit() {
        let mut machine = serving();
        machine.terminate();
        settle(&mut machine);
        for _ in 0..3 {
            sleep(8 * SECOND).await;
            assert!(machine.heartbeat("out") && machine.heartbeat("other"));
            assert_eq!(settle(&mut machine), State::TerminatingWait);
        }
        sleep(2 * SECOND).await;
        machine.tick(&hooks());
        assert_eq!(machine.outcomes.last(), Some(&("out".to_owned(), Outcome::GloballyTimedOut)));
        // Giving one up lets it go, whatever else there is.
        assert!(machine.complete("other", "ABANDON"));
        assert_eq!(settle(&mut machine), State::Terminated);
    }
}
