//! Runners: which of them a request goes to, and the connections to them.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use streamfleet_cluster::{Member, Registry, Ring, RunnerPhase};
use streamfleet_proto::{
    MAX_CHUNK_BYTES, RunnerId, SessionId,
    common::AppSettings,
    runner::{StatusRequest, runner_client::RunnerClient},
};
use tokio::sync::OnceCell;
use tonic::transport::Channel;

use crate::error::GatewayError;

/// Makes connections to runners.
pub trait Connector: Send + Sync + 'static {
    /// A channel to this runner, which connects when it is first used.
    fn connect(&self, member: &Member) -> Channel;
}

/// A runner with a connection to it.
#[derive(Clone)]
pub(crate) struct Runner {
    pub(crate) id: RunnerId,
    pub(crate) client: RunnerClient<Channel>,
    settings: Arc<OnceCell<AppSettings>>,
}

impl Runner {
    /// Those of the app's settings that a gateway must obey, asked for once.
    pub(crate) async fn settings(&self) -> Result<&AppSettings, GatewayError> {
        let ask = || async {
            let status = self.client.clone().status(StatusRequest {}).await;
            let status = status.map_err(|status| GatewayError::runner(&self.id, status))?;
            Ok(status.into_inner().settings.unwrap_or_default())
        };
        self.settings.get_or_try_init(ask).await
    }
}

/// All runners, as far as the registry knows them.
pub struct Upstream {
    registry: Arc<dyn Registry>,
    connector: Arc<dyn Connector>,
    runners: Mutex<HashMap<RunnerId, Runner>>,
}

impl Upstream {
    /// Finds runners in `registry` and connects to them with `connector`.
    pub fn new(registry: Arc<dyn Registry>, connector: Arc<dyn Connector>) -> Self {
        Self { registry, connector, runners: Mutex::default() }
    }

    /// The runner for a WebSocket: the one that has the session to resume, else the one where a
    /// session with the fresh id belongs.
    pub(crate) async fn for_session(
        &self,
        fresh: SessionId,
        resume: Option<SessionId>,
    ) -> Result<Runner, GatewayError> {
        let members = self.registry.members().await?;
        if let Some(resume) = resume
            && let Some(pin) = self.registry.pinned(resume).await?
            && let Some(runner) = self.runner(&members, &pin.runner)
        {
            return Ok(runner);
        }
        let ring = Ring::new(&members, None);
        let choice = ring.place(&fresh).ok_or(GatewayError::NoRunner)?;
        let pin = self.registry.pin(fresh, choice).await?;
        self.runner(&members, &pin.runner).ok_or(GatewayError::NoRunner)
    }

    /// Makes sure that a session can be found again where it turned out to be.
    pub(crate) async fn bound(&self, session: SessionId, runner: &RunnerId) -> Result<(), GatewayError> {
        self.registry.pin(session, runner).await?;
        Ok(())
    }

    /// The runner for a plain HTTP request: the owner of the session that its path names, or any.
    pub(crate) async fn for_request(&self, session: Option<SessionId>) -> Result<Runner, GatewayError> {
        let members = self.registry.members().await?;
        if let Some(session) = session
            && let Some(pin) = self.registry.pinned(session).await?
            && let Some(runner) = self.runner(&members, &pin.runner)
        {
            return Ok(runner);
        }
        let ready = |member: &&Member| member.phase == RunnerPhase::Ready;
        let member = members.iter().find(ready).ok_or(GatewayError::NoRunner)?;
        self.runner(&members, &member.runner).ok_or(GatewayError::NoRunner)
    }

    fn runner(&self, members: &[Member], id: &RunnerId) -> Option<Runner> {
        let member = members.iter().find(|member| member.runner == *id)?;
        let mut runners = self.runners.lock().unwrap_or_else(PoisonError::into_inner);
        let connect = || Runner {
            id: id.clone(),
            client: RunnerClient::new(self.connector.connect(member)).max_decoding_message_size(2 * MAX_CHUNK_BYTES),
            settings: Arc::default(),
        };
        Some(runners.entry(id.clone()).or_insert_with(connect).clone())
    }
}
