//! What an operator can do from the page: have a runner drained, and a script stopped.

use std::time::Duration;

use axum::{
    extract::{Path, State},
    response::{IntoResponse, Response},
};
use futures_util::{StreamExt as _, stream::FuturesUnordered};
use http::{StatusCode, header};
use streamfleet_proto::runner::{DrainRequest, StopRunRequest};
use tokio::time::timeout;
use tracing::info;

use super::Page;
use crate::{error::GatewayError, upstream::Runner};

/// How long a runner may take to hear what it is told. The page waits for 15 seconds.
const LIMIT: Duration = Duration::from_secs(5);
/// How long scripts may go on in a runner that is drained, as when it is told to end: the default of the setting `drain_limit`.
const DRAIN_LIMIT_MS: u64 = 120_000;
/// Digits of a session's public id.
const PUBLIC_ID: usize = 12;

/// What was asked for was not done: what, why, and what to do.
#[derive(Debug)]
pub(super) struct Refusal {
    status: StatusCode,
    error: String,
}

/// Has a runner take no more sessions and hand over those that it has.
pub(super) async fn drain(State(page): State<Page>, Path(id): Path<String>) -> Result<StatusCode, Refusal> {
    let runner = id.parse().ok().and_then(|id| page.upstream.runner(&id));
    let Some(Runner { id, mut client, .. }) = runner else {
        return Err(Refusal {
            status: StatusCode::NOT_FOUND,
            error: format!("There is no runner {id} in this cluster. It may have left."),
        });
    };
    let told = timeout(LIMIT, client.drain(DrainRequest { deadline_ms: DRAIN_LIMIT_MS, stop: false })).await;
    told.map_err(|_| GatewayError::Timeout(id.clone()))
        .and_then(|told| told.map_err(|status| GatewayError::runner(&id, status)))
        .map_err(|error| Refusal::new("The runner could not be told to drain", &error))?;
    // It goes on without anybody following how far it is.
    info!(runner = %id, "an operator has a runner drained");
    Ok(StatusCode::ACCEPTED)
}

/// Stops the script that a session runs, wherever that is.
pub(super) async fn stop(State(page): State<Page>, Path(id): Path<String>) -> Result<StatusCode, Refusal> {
    let is_public_id = id.len() == PUBLIC_ID && id.bytes().all(|byte| byte.is_ascii_hexdigit());
    let members = page.upstream.members().borrow().clone();
    let runners = members.members.keys().filter(|_| is_public_id).filter_map(|runner| page.upstream.runner(runner));
    let mut answers: FuturesUnordered<_> = runners.map(|runner| stop_on(runner, id.clone())).collect();
    let mut unheard = None;
    while let Some(answer) = answers.next().await {
        match answer {
            Ok(true) => {
                info!(session = id, "an operator has a script stopped");
                return Ok(StatusCode::ACCEPTED);
            }
            Ok(false) => {}
            Err(error) => unheard = Some(error),
        }
    }
    Err(match unheard {
        // It may be there.
        Some(error) => Refusal::new("None of the runners that answer has this session", &error),
        None => Refusal {
            status: StatusCode::NOT_FOUND,
            error: format!("No runner has a session {id}. It may have ended."),
        },
    })
}

/// Whether the runner has the session.
async fn stop_on(Runner { id, mut client, .. }: Runner, public_id: String) -> Result<bool, GatewayError> {
    let answer = timeout(LIMIT, client.stop_run(StopRunRequest { public_id })).await;
    let answer = answer.map_err(|_| GatewayError::Timeout(id.clone()))?;
    Ok(answer.map_err(|status| GatewayError::runner(&id, status))?.into_inner().found)
}

impl Refusal {
    fn new(what: &str, error: &GatewayError) -> Self {
        let text = format!("{what}: {error}. Look whether that runner is well, and try again.");
        Self { status: error.status(), error: text }
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let body = serde_json::json!({ "error": self.error }).to_string();
        (self.status, [(header::CONTENT_TYPE, "application/json")], body).into_response()
    }
}
