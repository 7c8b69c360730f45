//! The life of a machine in an auto-scaling group, as a process on it sees it.
//!
//! ```text
//! Pending:Wait ──complete, once the process serves──▶ InService ──target "Terminated"──▶ Terminating:Wait
//!                                                         │                                   │ the process leaves; heartbeats meanwhile
//!                                             Spot notice: leave, stay up                     ▼ complete, when nothing is left of it
//! ```
//!
//! What is to become of the machine stands in its metadata, which is asked every two seconds and costs nothing. Auto Scaling itself is
//! asked when that changes, so a machine that has nothing to do but serve calls nobody. Only hooks whose names begin with
//! [`HOOK_PREFIX`] are completed: others are somebody else's to complete.

use std::{convert::Infallible, future, sync::Arc, time::Duration};

use async_trait::async_trait;
use tokio::{
    sync::watch,
    task::JoinHandle,
    time::{sleep, timeout},
};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use crate::{AwsError, backoff::Backoff};

/// What the names of those life-cycle hooks begin with that this program completes.
pub const HOOK_PREFIX: &str = "streamfleet-";

/// How long a machine is left alone that may be taken away, whoever says so: AWS' two minutes, less what saying so takes.
const RECLAIM_LIMIT: Duration = Duration::from_secs(100);
/// Heartbeats are sent this often within the time that each is good for, so that two may fail in a row.
const HEARTBEATS: u32 = 3;
/// Bounds of the pause between two heartbeats.
const HEARTBEAT_PAUSES: (Duration, Duration) = (Duration::from_secs(1), Duration::from_mins(5));

/// What the machine is told by its metadata. `None` where it says nothing of the kind.
#[async_trait]
pub trait Metadata: Send + Sync {
    /// The machine's id.
    async fn instance_id(&self) -> Result<String, AwsError>;
    /// The state that Auto Scaling means to bring it to, such as `InService` or `Terminated`.
    async fn target_state(&self) -> Result<Option<String>, AwsError>;
    /// How long a Spot machine that is about to be taken away is left.
    async fn spot_notice(&self) -> Result<Option<Duration>, AwsError>;
    /// Whether it is likely to be taken away.
    async fn is_rebalance_recommended(&self) -> Result<bool, AwsError>;
}

/// What the auto-scaling group is asked and told. Calls are limited in time, and have been tried more than once when they fail.
#[async_trait]
pub trait Group: Send + Sync {
    /// Where a machine is, if it is in a group.
    async fn place(&self, instance: &str) -> Result<Option<Place>, AwsError>;
    /// All hooks of a group.
    async fn hooks(&self, group: &str) -> Result<Vec<Hook>, AwsError>;
    /// The action goes on.
    async fn heartbeat(&self, instance: &str, hook: &Hook) -> Result<(), AwsError>;
    /// The action is done, and well.
    async fn complete(&self, instance: &str, hook: &Hook) -> Result<(), AwsError>;
}

/// Where a machine is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// Its group's name.
    pub group: String,
    /// Its state there, such as `Pending:Wait`.
    pub state: String,
}

impl Place {
    /// On its way into the group, or into its warm pool.
    fn is_arriving(&self) -> bool {
        self.state.trim_start_matches("Warmed:").starts_with("Pending") && !self.state.ends_with(":Proceed")
    }

    fn is_waiting(&self) -> bool {
        self.state.ends_with(":Wait")
    }

    /// Nobody waits for it any more.
    fn is_let_go(&self) -> bool {
        [":Proceed", "Terminated", "Detached"].iter().any(|end| self.state.ends_with(end))
    }
}

/// A life-cycle hook.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hook {
    /// The group that has it.
    pub group: String,
    /// Its name.
    pub name: String,
    /// When it applies.
    pub transition: Transition,
    /// How long it waits for a heartbeat.
    pub heartbeat_timeout: Duration,
}

/// When a hook applies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transition {
    /// A machine comes.
    Launching,
    /// A machine goes.
    Terminating,
}

/// What the process is to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Departure {
    /// Leave and end: the machine waits for that.
    Terminating,
    /// Hand over whatever can be within this time, and stay: the machine is likely to be taken away, and nobody waits.
    Reclaimed {
        /// After this there may be no machine.
        within: Duration,
    },
}

/// What is known of the state that the machine is to come to.
#[derive(Debug, PartialEq, Eq)]
enum Target {
    /// The metadata have not been seen yet.
    Unknown,
    /// What they say, if anything.
    Told(Option<String>),
}

/// How often and how long.
#[derive(Debug, Clone, Copy)]
pub struct Pace {
    /// Between two looks at the metadata.
    pub look: Duration,
    /// The longest pause after a failure; the first is one second.
    pub pause: Duration,
    /// How long Auto Scaling is tried to be told that the machine may go.
    pub completing: Duration,
}

impl Default for Pace {
    fn default() -> Self {
        Self { look: Duration::from_secs(2), pause: Duration::from_secs(20), completing: Duration::from_mins(1) }
    }
}

/// The life of this machine.
pub struct LifeCycle {
    metadata: Arc<dyn Metadata>,
    group: Arc<dyn Group>,
    pace: Pace,
}

/// A life that is followed.
#[derive(Debug)]
pub struct Following {
    gone: CancellationToken,
    task: JoinHandle<()>,
}

impl Following {
    /// Starts a task that follows whatever life this gives. `gone` is cancelled when nothing is left of the process.
    pub fn start<F: Future<Output = ()> + Send + 'static>(follow: impl FnOnce(CancellationToken) -> F) -> Self {
        let gone = CancellationToken::new();
        Self { task: tokio::spawn(follow(gone.clone())), gone }
    }

    /// Nothing is left of the process. Returns when Auto Scaling knows, if it waits for that, or can't be told within the limit.
    pub async fn end(self) {
        self.gone.cancel();
        if let Err(error) = self.task.await {
            warn!("the machine's life cycle was lost sight of: {error}");
        }
    }
}

impl LifeCycle {
    /// The life that these two tell of.
    pub fn new(metadata: Arc<dyn Metadata>, group: Arc<dyn Group>, pace: Pace) -> Self {
        Self { metadata, group, pace }
    }

    /// Lets the machine into service, for the process serves, and follows what becomes of it. Returns when `gone` is cancelled; if the
    /// machine waits for that, when Auto Scaling has been told so.
    pub async fn follow(self, leave: impl Fn(Departure) + Send + Sync, gone: CancellationToken) {
        let serving = async {
            let instance = self.identity().await;
            self.serve(&instance, &leave).await;
            instance
        };
        // Ended for another reason.
        let Some(instance) = gone.run_until_cancelled(serving).await else { return };
        info!(instance, "Auto Scaling has told this machine to go");
        leave(Departure::Terminating);
        gone.run_until_cancelled(self.hold(&instance)).await;
        match timeout(self.pace.completing, self.let_go(&instance)).await {
            Ok(()) => info!(instance, "Auto Scaling knows that this machine may go"),
            Err(_) => {
                warn!(instance, "Auto Scaling can't be told that this machine may go: it waits for its hook's end");
            }
        }
    }

    fn backoff(&self) -> Backoff {
        Backoff::new(Duration::from_secs(1), self.pace.pause)
    }

    async fn identity(&self) -> String {
        let (mut link, mut backoff) = (Link::default(), self.backoff());
        loop {
            match self.metadata.instance_id().await {
                Ok(instance) => return instance,
                Err(error) => link.is_away(&error),
            }
            sleep(backoff.pause()).await;
        }
    }

    /// Returns when the machine is to go.
    async fn serve(&self, instance: &str, leave: &(impl Fn(Departure) + Sync)) {
        let target = watch::Sender::new(Target::Unknown);
        let admission = self.admit(instance, target.subscribe());
        tokio::select! {
            () = self.look_out(&target, leave) => {}
            never = admission => match never {},
        }
    }

    /// Looks at the metadata again and again, and returns when they say that the machine is to go.
    async fn look_out(&self, target: &watch::Sender<Target>, leave: &impl Fn(Departure)) {
        let (mut link, mut backoff) = (Link::default(), self.backoff());
        let mut is_reclaimed = false;
        loop {
            // Each for itself: that one can't be had doesn't make the others untrue.
            let (state, reclaim) = tokio::join!(self.metadata.target_state(), self.reclaim());
            let trouble = [state.as_ref().err(), reclaim.as_ref().err()].into_iter().flatten().next().cloned();
            if let Ok(state) = state {
                // Also `Warmed:Terminated`.
                if state.as_deref().is_some_and(|state| state.ends_with("Terminated")) {
                    return;
                }
                target.send_if_modified(|known| {
                    let before = std::mem::replace(known, Target::Told(state));
                    before != *known
                });
            }
            if let Ok(Some(within)) = reclaim
                && !is_reclaimed
            {
                is_reclaimed = true;
                warn!(?within, "this machine is about to be taken away");
                leave(Departure::Reclaimed { within });
            }
            if let Some(error) = trouble {
                link.is_away(&error);
                sleep(backoff.pause()).await;
            } else {
                link.is_there();
                backoff.reset();
                sleep(self.pace.look).await;
            }
        }
    }

    /// How long the machine is left, if it may be taken away.
    async fn reclaim(&self) -> Result<Option<Duration>, AwsError> {
        if let Some(left) = self.metadata.spot_notice().await? {
            return Ok(Some(left.min(RECLAIM_LIMIT)));
        }
        Ok(self.metadata.is_rebalance_recommended().await?.then_some(RECLAIM_LIMIT))
    }

    /// Completes the launch hooks whenever the machine is on its way to somewhere else than before.
    async fn admit(&self, instance: &str, mut target: watch::Receiver<Target>) -> Infallible {
        loop {
            if target.changed().await.is_err() {
                future::pending::<()>().await;
            }
            let (mut link, mut backoff) = (Link::default(), self.backoff());
            loop {
                match self.arrive(instance).await {
                    Ok(true) => break,
                    Ok(false) => sleep(self.pace.look).await,
                    Err(error) => {
                        link.is_away(&error);
                        sleep(backoff.pause()).await;
                    }
                }
            }
        }
    }

    /// Completes the launch hooks if Auto Scaling waits for that. Whether there is nothing more to do.
    async fn arrive(&self, instance: &str) -> Result<bool, AwsError> {
        let Some(place) = self.group.place(instance).await? else {
            debug!(instance, "this machine is in no auto-scaling group");
            return Ok(true);
        };
        if !place.is_arriving() {
            return Ok(true);
        }
        if !place.is_waiting() {
            return Ok(false);
        }
        for hook in self.hooks(&place.group, Transition::Launching).await? {
            match self.group.complete(instance, &hook).await {
                Ok(()) => info!(instance, hook = hook.name, "Auto Scaling knows that this machine serves"),
                // An answer that got lost, and it was done already.
                Err(error) if error.is_refusal() => debug!("{error}"),
                Err(error) => return Err(error),
            }
        }
        Ok(true)
    }

    /// Our hooks for one transition.
    async fn hooks(&self, group: &str, transition: Transition) -> Result<Vec<Hook>, AwsError> {
        let mut hooks = self.group.hooks(group).await?;
        hooks.retain(|hook| hook.transition == transition && hook.name.starts_with(HOOK_PREFIX));
        Ok(hooks)
    }

    async fn termination_hooks(&self, instance: &str) -> Result<Vec<Hook>, AwsError> {
        match self.group.place(instance).await? {
            Some(place) => self.hooks(&place.group, Transition::Terminating).await,
            None => Ok(Vec::new()),
        }
    }

    /// Keeps the machine by heartbeats.
    async fn hold(&self, instance: &str) -> Infallible {
        let (mut link, mut backoff) = (Link::default(), self.backoff());
        let mut hooks = None;
        loop {
            let pause = match self.beat(instance, &mut hooks).await {
                Ok(pause) => {
                    link.is_there();
                    backoff.reset();
                    pause
                }
                Err(error) => {
                    link.is_away(&error);
                    backoff.pause()
                }
            };
            sleep(pause).await;
        }
    }

    /// Sends a heartbeat for each hook. Returns how long they are good for, with a margin.
    async fn beat(&self, instance: &str, known: &mut Option<Vec<Hook>>) -> Result<Duration, AwsError> {
        let hooks = match known {
            Some(hooks) => hooks,
            None => known.insert(self.termination_hooks(instance).await?),
        };
        let (shortest, mut pause) = HEARTBEAT_PAUSES;
        for hook in hooks {
            self.group.heartbeat(instance, hook).await?;
            pause = pause.min(hook.heartbeat_timeout / HEARTBEATS).max(shortest);
        }
        Ok(pause)
    }

    /// Completes the termination hooks, however often that takes.
    async fn let_go(&self, instance: &str) {
        let (mut link, mut backoff) = (Link::default(), self.backoff());
        while let Err(error) = self.complete(instance).await {
            link.is_away(&error);
            sleep(backoff.pause()).await;
        }
    }

    async fn complete(&self, instance: &str) -> Result<(), AwsError> {
        for hook in self.termination_hooks(instance).await? {
            match self.group.complete(instance, &hook).await {
                // It was done already, or Auto Scaling doesn't wait yet.
                Err(error) if error.is_refusal() => {
                    if self.group.place(instance).await?.is_some_and(|place| !place.is_let_go()) {
                        return Err(error);
                    }
                }
                outcome => outcome?,
            }
        }
        Ok(())
    }
}

/// Whether somebody answers. Says so when that changes, and not each time.
#[derive(Debug, Default)]
struct Link {
    is_away: bool,
}

impl Link {
    fn is_away(&mut self, error: &AwsError) {
        if std::mem::replace(&mut self.is_away, true) {
            debug!("{error}");
        } else {
            warn!("{error}; all goes on without it, and it is asked again");
        }
    }

    fn is_there(&mut self) {
        if std::mem::take(&mut self.is_away) {
            info!("AWS answers again");
        }
    }
}

#[cfg(test)]
mod tests;
