//! Keeps a connection to Redis, and fails fast while there is none.
//!
//! Those who ask must not queue up behind a store that is away: sessions go on without it. So a connection that fails once is
//! given up, everybody is told at once that the store is unavailable, and one task tries to connect anew.

use std::{sync::Arc, time::Duration};

use redis::{ErrorKind, RedisError, ServerErrorKind};
use tokio::{
    sync::watch,
    time::{Instant, sleep, timeout},
};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use streamfleet_telemetry::RedisMetrics;

use super::connect::{Connection, Connector};

/// First and longest pause between two attempts to connect.
const RETRY_MIN: Duration = Duration::from_millis(50);
const RETRY_MAX: Duration = Duration::from_secs(1);
/// How long an attempt to connect may take in all, look-ups and logging in included.
const ATTEMPT_LIMIT: Duration = Duration::from_secs(3);
/// An outage shorter than this is waited out, so that a failover that takes no time costs nobody an error.
const GLITCH: Duration = Duration::from_millis(300);
/// What a server answers that has no memory left for what is to be written. It may have some later.
const NO_ROOM: &str = "OOM";
/// How long the first connection may take.
const START_LIMIT: Duration = Duration::from_secs(10);

/// Redis could not be asked.
#[derive(Debug, Clone, thiserror::Error)]
pub enum LinkError {
    /// It can't be reached now, or has no room; trying again may help.
    #[error("Redis is unavailable: {0}")]
    Unavailable(String),
    /// It refuses, or answers what it should not. Trying again won't help.
    #[error("Redis failed: {0}")]
    Failed(String),
}

/// A connection that is made anew whenever it fails.
pub(crate) struct Link {
    /// What it is for, in the log.
    purpose: &'static str,
    /// How long an operation may take.
    limit: Duration,
    metrics: RedisMetrics,
    state: watch::Sender<State>,
}

#[derive(Clone)]
enum State {
    Up { connection: Connection, generation: u64 },
    Down { since: Instant, reason: Arc<str> },
}

impl Link {
    /// A link that is kept up until `stop`. Fails when there is no connection after ten seconds.
    pub(crate) async fn start(
        purpose: &'static str,
        connector: Arc<Connector>,
        stop: CancellationToken,
    ) -> Result<Arc<Self>, LinkError> {
        let state = State::Down { since: Instant::now(), reason: "not connected yet".into() };
        let link = Arc::new(Self {
            purpose,
            limit: connector.limits.operation,
            metrics: connector.metrics.clone(),
            state: watch::Sender::new(state),
        });
        link.metrics.expect(purpose);
        let kept = Arc::clone(&link);
        tokio::spawn(async move { stop.run_until_cancelled(kept.keep_up(&connector)).await });
        let mut state = link.state.subscribe();
        let up = timeout(START_LIMIT, state.wait_for(|state| matches!(state, State::Up { .. }))).await;
        if up.is_ok() { Ok(link) } else { Err(link.unavailable()) }
    }

    /// Connects, and connects again whenever that is needed, until dropped.
    async fn keep_up(&self, connector: &Connector) {
        let mut generation = 0;
        let mut pause = RETRY_MIN;
        let mut warned = false;
        loop {
            let attempt = timeout(ATTEMPT_LIMIT, connector.connect()).await;
            match attempt.unwrap_or_else(|_| Err((ErrorKind::Io, "it does not answer").into())) {
                Ok(connection) => {
                    if warned {
                        info!(purpose = self.purpose, "connected to Redis");
                    }
                    (generation, pause, warned) = (generation + 1, RETRY_MIN, false);
                    self.state.send_replace(State::Up { connection, generation });
                    // The sender is ours, so this ends with the connection.
                    let _ = self.state.subscribe().wait_for(|state| matches!(state, State::Down { .. })).await;
                }
                Err(error) => {
                    if !warned {
                        warn!(purpose = self.purpose, "cannot connect to Redis: {error}");
                        warned = true;
                    }
                    let text: Arc<str> = error.to_string().into();
                    self.state.send_modify(|state| {
                        if let State::Down { reason, .. } = state {
                            *reason = text;
                        }
                    });
                    sleep(pause).await;
                    pause = (pause * 2).min(RETRY_MAX);
                }
            }
        }
    }

    /// Does something with the connection, within a limit.
    pub(crate) async fn call<T>(
        &self,
        operation: impl AsyncFnOnce(&mut Connection) -> Result<T, RedisError>,
    ) -> Result<T, LinkError> {
        let began = Instant::now();
        let current = self.current().await;
        if current.is_err() {
            self.metrics.observe(self.purpose, began.elapsed(), false);
        }
        let (mut connection, generation) = current?;
        let done = timeout(self.limit, operation(&mut connection)).await;
        self.metrics.observe(self.purpose, began.elapsed(), matches!(done, Ok(Ok(_))));
        let error = match done {
            Ok(Ok(value)) => return Ok(value),
            Ok(Err(error)) => error,
            Err(_) => RedisError::from((ErrorKind::Io, "it does not answer")),
        };
        if has_no_room(&error) {
            return Err(LinkError::Unavailable(error.to_string()));
        }
        if is_refusal(&error) {
            return Err(LinkError::Failed(error.to_string()));
        }
        self.give_up(generation, &error);
        Err(LinkError::Unavailable(error.to_string()))
    }

    async fn current(&self) -> Result<(Connection, u64), LinkError> {
        let mut state = self.state.subscribe();
        let glitch_over = match &*state.borrow() {
            State::Up { connection, generation } => return Ok((connection.clone(), *generation)),
            State::Down { since, .. } => GLITCH.saturating_sub(since.elapsed()),
        };
        let up = timeout(glitch_over, state.wait_for(|state| matches!(state, State::Up { .. }))).await;
        match up {
            Ok(Ok(state)) => match &*state {
                State::Up { connection, generation } => Ok((connection.clone(), *generation)),
                State::Down { .. } => Err(self.unavailable()),
            },
            _ => Err(self.unavailable()),
        }
    }

    /// Has a failed connection replaced, unless that has happened already.
    fn give_up(&self, failed: u64, error: &RedisError) {
        self.state.send_if_modified(|state| match state {
            State::Up { generation, .. } if *generation == failed => {
                warn!(purpose = self.purpose, "lost the connection to Redis: {error}");
                *state = State::Down { since: Instant::now(), reason: error.to_string().into() };
                true
            }
            _ => false,
        });
    }

    fn unavailable(&self) -> LinkError {
        match &*self.state.borrow() {
            State::Down { reason, .. } => LinkError::Unavailable(reason.to_string()),
            State::Up { .. } => LinkError::Unavailable("the connection comes and goes".to_owned()),
        }
    }
}

/// Whether the server has no room for what a command, or one of several, was to write.
fn has_no_room(error: &RedisError) -> bool {
    error.clone().into_server_errors().is_some_and(|errors| errors.iter().any(|(_, error)| error.code() == NO_ROOM))
}

/// Whether the server understood and said no: another connection would hear the same.
fn is_refusal(error: &RedisError) -> bool {
    match error.kind() {
        ErrorKind::Extension | ErrorKind::UnexpectedReturnType | ErrorKind::Client => true,
        ErrorKind::Server(kind) => !matches!(
            kind,
            ServerErrorKind::BusyLoading
                | ServerErrorKind::ClusterDown
                | ServerErrorKind::MasterDown
                | ServerErrorKind::Moved
                | ServerErrorKind::Ask
                | ServerErrorKind::ReadOnly
                | ServerErrorKind::TryAgain
        ),
        _ => false,
    }
}
