//! What can go wrong between a browser and a runner, and what the browser is told.

use std::io;

use axum::{
    body::Body,
    response::{IntoResponse, Response},
};
use http::{HeaderValue, StatusCode, header};
use streamfleet_cluster::RegistryError;
use streamfleet_proto::{HeaderError, RunnerId};
use tonic::{Code, Status};
use tracing::{debug, warn};

/// Seconds after which a browser or API client may try again what failed for want of a runner.
const RETRY_AFTER_SECONDS: u16 = 2;

/// RFC 6455's close code for a server that restarts: clients come back at once.
pub(crate) const SERVICE_RESTART: u16 = 1012;

/// What can go wrong between a browser and a runner.
#[derive(Debug, thiserror::Error)]
pub enum GatewayError {
    /// No runner takes sessions. Trying again later helps.
    #[error("no runner is ready")]
    NoRunner,
    /// The store that knows the runners can't be asked. Trying again helps.
    #[error(transparent)]
    Registry(#[from] RegistryError),
    /// The runner refused, or can't be reached. Trying again may help.
    #[error("runner {runner}: {} ({:?})", .status.message(), .status.code())]
    Runner {
        /// Which one.
        runner: RunnerId,
        /// What it or the connection to it said.
        status: Box<Status>,
    },
    /// The runner did not answer in time.
    #[error("runner {0} did not answer in time")]
    Timeout(RunnerId),
    /// The runner left the cluster, or was lost, before it answered. Trying again helps.
    #[error("runner {0} is gone")]
    Gone(RunnerId),
    /// The runner's answer is not HTTP. Trying again won't help.
    #[error("runner {runner} sent an unusable answer: {reason}")]
    BadAnswer {
        /// Which one.
        runner: RunnerId,
        /// What is wrong with it.
        reason: String,
    },
    /// A runner's answer broke off. Trying again helps.
    #[error("an answer broke off")]
    BrokenOff,
}

impl GatewayError {
    pub(crate) fn bad_header(runner: &RunnerId, error: &HeaderError) -> Self {
        Self::BadAnswer { runner: runner.clone(), reason: error.to_string() }
    }

    pub(crate) fn runner(runner: &RunnerId, status: Status) -> Self {
        Self::Runner { runner: runner.clone(), status: Box::new(status) }
    }

    /// Whether the runner may never have heard the question, so that somebody else can be asked. Runners themselves
    /// answer with none of these codes for another reason.
    pub(crate) fn is_unreachable(&self) -> bool {
        match self {
            Self::Runner { status, .. } => {
                let gone = [Code::Unavailable, Code::Cancelled, Code::Aborted, Code::Unknown, Code::Internal];
                gone.contains(&status.code()) || status.code() == Code::DeadlineExceeded
            }
            Self::Timeout(_) | Self::Gone(_) => true,
            Self::NoRunner | Self::Registry(_) | Self::BadAnswer { .. } | Self::BrokenOff => false,
        }
    }

    /// Whether the runner's process is known to be gone, or says itself that the session isn't there: waiting for it is in vain.
    pub(crate) fn is_gone_for_good(&self) -> bool {
        match self {
            Self::Runner { status, .. } => status.code() == Code::Aborted || is_refused(status),
            Self::Gone(_) => true,
            _ => false,
        }
    }

    /// Whether it was the connection to the runner that failed, and not the runner that answered.
    pub(crate) fn is_connection_failure(&self) -> bool {
        // Only what did not come over the wire has a source.
        matches!(self, Self::Runner { status, .. } if std::error::Error::source(&**status).is_some())
    }

    /// The one place where errors become HTTP statuses.
    pub(crate) fn status(&self) -> StatusCode {
        match self {
            Self::NoRunner | Self::Registry(_) | Self::Gone(_) => StatusCode::SERVICE_UNAVAILABLE,
            Self::Runner { status, .. } => match status.code() {
                Code::Unavailable | Code::Cancelled => StatusCode::SERVICE_UNAVAILABLE,
                Code::DeadlineExceeded => StatusCode::GATEWAY_TIMEOUT,
                Code::ResourceExhausted => StatusCode::PAYLOAD_TOO_LARGE,
                _ => StatusCode::BAD_GATEWAY,
            },
            Self::Timeout(_) => StatusCode::GATEWAY_TIMEOUT,
            Self::BadAnswer { .. } | Self::BrokenOff => StatusCode::BAD_GATEWAY,
        }
    }
}

/// Whether nobody listens where the runner was: its host is there, and its process is not.
fn is_refused(status: &Status) -> bool {
    let mut source = std::error::Error::source(status);
    while let Some(error) = source {
        if error.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::ConnectionRefused) {
            return true;
        }
        source = error.source();
    }
    false
}

impl IntoResponse for GatewayError {
    fn into_response(self) -> Response {
        let status = self.status();
        if status == StatusCode::SERVICE_UNAVAILABLE {
            debug!("{self}");
        } else {
            warn!("{self}");
        }
        // What went wrong inside is for the log; the browser learns what to do.
        let text = match status {
            StatusCode::SERVICE_UNAVAILABLE => "The app is starting or busy. Try again shortly.\n",
            StatusCode::PAYLOAD_TOO_LARGE => "Too large.\n",
            _ => "The app could not be reached.\n",
        };
        let mut response = (status, Body::from(text)).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if status == StatusCode::SERVICE_UNAVAILABLE {
            headers.insert(header::RETRY_AFTER, RETRY_AFTER_SECONDS.into());
        }
        response
    }
}
