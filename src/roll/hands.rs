//! What a roll does to the world: starts runners, tries them, and has them hand over and end.

use std::{
    process::Stdio,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use anyhow::{Context as _, Result, bail};
use streamfleet_cluster::{
    Member, Registry,
    membership::{self, View},
};
use streamfleet_proto::runner::{DrainProgress, ProbeRequest, ProbeResponse};
use tokio::{
    process::Command,
    sync::watch,
    time::{sleep, timeout},
};
use tokio_util::task::AbortOnDropHandle;
use tonic::async_trait;

use super::args::RollArgs;
use crate::{
    drain::{self, DrainOptions},
    fleet::{Clients, no_way_to},
    settings::Settings,
};

/// How much longer than its script a runner may take to answer.
const PROBE_MARGIN: Duration = Duration::from_secs(45);
/// How often a runner is told to drain that can't be reached, and the pause before the next time.
const DRAIN_ATTEMPTS: u32 = 5;
const DRAIN_PAUSE: Duration = Duration::from_secs(1);

/// How long things may take.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    /// A new runner to be ready.
    pub(super) start: Duration,
    /// A script to run.
    pub(super) probe: Duration,
    /// A runner to hand its sessions over.
    pub(super) drain: Duration,
}

/// Is told how far a drain is.
pub(super) type Told<'a> = &'a (dyn Fn(DrainProgress) + Send + Sync);

/// What a roll does to the world.
#[async_trait]
pub(super) trait Hands: Send + Sync {
    /// How long things may take.
    fn limits(&self) -> Limits;

    /// The members of the cluster, and what becomes of them.
    fn view(&self) -> watch::Receiver<Arc<View>>;

    /// Whether runners can be started, or have to be waited for.
    fn can_start(&self) -> bool;

    /// Has a runner of a revision started, in the place of another.
    async fn start(&self, revision: &str, in_place_of: &str) -> Result<()>;

    /// Has a runner try its app.
    async fn probe(&self, runner: &Member) -> Result<ProbeResponse>;

    /// Has a runner hand its sessions over, and end.
    async fn drain(&self, runner: &Member, told: Told<'_>) -> Result<DrainProgress>;

    /// How many sessions of other revisions a runner could not read: those that went back, and those that started afresh.
    async fn unloadable(&self, runner: &Member) -> (u64, u64);
}

/// The real ones.
pub(super) struct RealHands {
    limits: Limits,
    start: Option<String>,
    view: watch::Receiver<Arc<View>>,
    clients: Mutex<Clients>,
    _follow: AbortOnDropHandle<()>,
}

impl RealHands {
    pub(super) async fn start(registry: Arc<dyn Registry>, args: &RollArgs, settings: &Settings) -> Result<Self> {
        let (sender, view) = watch::channel(Arc::default());
        membership::ask(&*registry, &sender).await;
        let follow = AbortOnDropHandle::new(tokio::spawn(membership::follow(registry, sender, |_| ())));
        let limits = Limits {
            start: Duration::from_secs(args.start_limit),
            probe: Duration::from_secs(args.probe_limit),
            drain: settings.drain_limit(),
        };
        Ok(Self {
            limits,
            start: args.start.clone(),
            view,
            clients: Mutex::new(Clients::new(settings)?),
            _follow: follow,
        })
    }

    fn client(&self, runner: &Member) -> Result<crate::fleet::Client> {
        let mut clients = self.clients.lock().unwrap_or_else(PoisonError::into_inner);
        clients.of(runner).with_context(|| no_way_to(runner))
    }
}

#[async_trait]
impl Hands for RealHands {
    fn limits(&self) -> Limits {
        self.limits
    }

    fn view(&self) -> watch::Receiver<Arc<View>> {
        self.view.clone()
    }

    fn can_start(&self) -> bool {
        self.start.is_some()
    }

    async fn start(&self, revision: &str, in_place_of: &str) -> Result<()> {
        let Some(command) = &self.start else { return Ok(()) };
        let running = Command::new("sh")
            .args(["-c", command])
            .env("STREAMFLEET_ROLL_REVISION", revision)
            .env("STREAMFLEET_ROLL_RUNNER", in_place_of)
            .stdin(Stdio::null())
            // What this prints may be read by a program.
            .stdout(Stdio::from(std::io::stderr()))
            .kill_on_drop(true)
            .status();
        let status = timeout(self.limits.start, running).await;
        let status =
            status.with_context(|| format!("`{command}` has not ended after {} s", self.limits.start.as_secs()))?;
        let status = status.with_context(|| format!("cannot run `{command}`"))?;
        if !status.success() {
            bail!("`{command}` ended with {status}");
        }
        Ok(())
    }

    async fn probe(&self, runner: &Member) -> Result<ProbeResponse> {
        let mut client = self.client(runner)?;
        let limit_ms = u64::try_from(self.limits.probe.as_millis()).unwrap_or(u64::MAX);
        let answer = timeout(self.limits.probe + PROBE_MARGIN, client.probe(ProbeRequest { limit_ms })).await;
        let answer = answer.with_context(|| format!("{} did not answer", runner.runner))?;
        Ok(answer.with_context(|| format!("{} can't be asked", runner.runner))?.into_inner())
    }

    async fn drain(&self, runner: &Member, told: Told<'_>) -> Result<DrainProgress> {
        let options = DrainOptions { limit: self.limits.drain, stop: true };
        for _ in 1..DRAIN_ATTEMPTS {
            if let Ok(progress) = drain::follow(self.client(runner)?, options, told).await {
                return Ok(progress);
            }
            if !self.view.borrow().members.contains_key(&runner.runner) {
                return Ok(DrainProgress::default());
            }
            sleep(DRAIN_PAUSE).await;
        }
        drain::follow(self.client(runner)?, options, told).await
    }

    async fn unloadable(&self, runner: &Member) -> (u64, u64) {
        let Ok(client) = self.client(runner) else { return (0, 0) };
        let client = Some(client);
        let report = streamfleet_gateway::status::ask_all([(runner.clone(), client)], 0, PROBE_MARGIN).await;
        let status = report.into_iter().find_map(|report| report.status).unwrap_or_default();
        (status.sessions_returned, status.sessions_afresh)
    }
}
