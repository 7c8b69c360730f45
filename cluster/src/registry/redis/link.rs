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
use tracing::{info, warn};

use super::connect::{ANSWER_LIMIT, Connection, Connector};
use crate::registry::RegistryError;

/// First and longest pause between two attempts to connect.
const RETRY_MIN: Duration = Duration::from_millis(50);
const RETRY_MAX: Duration = Duration::from_secs(1);
/// How long an attempt to connect may take in all, look-ups and logging in included.
const ATTEMPT_LIMIT: Duration = Duration::from_secs(3);
/// An outage shorter than this is waited out, so that a failover that takes no time costs nobody an error.
const GLITCH: Duration = Duration::from_millis(300);
/// How long an operation may take: a cluster's may be sent to three nodes in turn.
const OPERATION_LIMIT: Duration = Duration::from_secs(2);

/// A connection that is made anew whenever it fails.
pub(super) struct Link {
    state: watch::Sender<State>,
}

#[derive(Clone)]
enum State {
    Up { connection: Connection, generation: u64 },
    Down { since: Instant, reason: Arc<str> },
}

impl Link {
    pub(super) fn new() -> Self {
        let reason = "not connected yet".into();
        Self { state: watch::Sender::new(State::Down { since: Instant::now(), reason }) }
    }

    /// Connects, and connects again whenever that is needed, until dropped.
    pub(super) async fn keep_up(&self, connector: &Connector) {
        let mut generation = 0;
        let mut pause = RETRY_MIN;
        let mut warned = false;
        loop {
            let attempt = timeout(ATTEMPT_LIMIT, connector.connect()).await;
            match attempt.unwrap_or_else(|_| Err((ErrorKind::Io, "it does not answer").into())) {
                Ok(connection) => {
                    if warned {
                        info!("connected to Redis");
                    }
                    (generation, pause, warned) = (generation + 1, RETRY_MIN, false);
                    self.state.send_replace(State::Up { connection, generation });
                    // The sender is ours, so this ends with the connection.
                    let _ = self.state.subscribe().wait_for(|state| matches!(state, State::Down { .. })).await;
                }
                Err(error) => {
                    if !warned {
                        warn!("cannot connect to Redis: {error}");
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

    /// Waits for the first connection.
    pub(super) async fn connected(&self, limit: Duration) -> Result<(), RegistryError> {
        let mut state = self.state.subscribe();
        let up = timeout(limit, state.wait_for(|state| matches!(state, State::Up { .. }))).await;
        if up.is_ok() { Ok(()) } else { Err(self.unavailable()) }
    }

    /// Does something with the connection, within a limit.
    pub(super) async fn call<T>(
        &self,
        operation: impl AsyncFnOnce(&mut Connection) -> Result<T, RedisError>,
    ) -> Result<T, RegistryError> {
        let (mut connection, generation) = self.current().await?;
        let done = timeout(OPERATION_LIMIT, operation(&mut connection)).await;
        let error = match done {
            Ok(Ok(value)) => return Ok(value),
            Ok(Err(error)) => error,
            Err(_) => RedisError::from((ErrorKind::Io, "it does not answer")),
        };
        if is_refusal(&error) {
            return Err(RegistryError::Failed(error.to_string()));
        }
        self.give_up(generation, &error);
        Err(RegistryError::Unavailable(error.to_string()))
    }

    async fn current(&self) -> Result<(Connection, u64), RegistryError> {
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
                warn!("lost the connection to Redis: {error}");
                *state = State::Down { since: Instant::now(), reason: error.to_string().into() };
                true
            }
            _ => false,
        });
    }

    fn unavailable(&self) -> RegistryError {
        match &*self.state.borrow() {
            State::Down { reason, .. } => RegistryError::Unavailable(reason.to_string()),
            State::Up { .. } => RegistryError::Unavailable("the connection comes and goes".to_owned()),
        }
    }
}

/// Whether the server understood and said no: another connection would hear the same.
fn is_refusal(error: &RedisError) -> bool {
    match error.kind() {
        ErrorKind::UnexpectedReturnType | ErrorKind::Client | ErrorKind::Extension => true,
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

/// Longer than any operation's own limits, so that those come first.
const _: () = assert!(ANSWER_LIMIT.as_millis() < OPERATION_LIMIT.as_millis());
