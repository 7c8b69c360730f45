//! TLS, with certificates that may change while it is in use.
//!
//! - [`Peers`]: gateways and runners know each other by certificates of one authority, that nobody else has. Both sides show one (mTLS), and
//!   each is held to its role by the name in it.
//! - [`PublicTls`]: what browsers are shown.
//!
//! Both read their files again every few seconds. Connections that stand go on with what they began with.

mod files;
mod incoming;
mod peers;
mod public;

use std::{path::PathBuf, time::Duration};

use thiserror::Error;

pub use self::{
    peers::{GATEWAY_NAME, PeerFiles, Peers, RUNNER_NAME},
    public::{PublicFiles, PublicTls},
};

/// How often files are looked at again.
const RELOAD_INTERVAL: Duration = Duration::from_secs(5);
/// How long a handshake may take.
const HANDSHAKE_LIMIT: Duration = Duration::from_secs(5);

/// Why certificates can't be used.
#[derive(Debug, Error)]
pub enum TlsError {
    /// A file can't be read.
    #[error("cannot read {}: {source}", path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A file is not what it should be.
    #[error("{} holds no {wanted} in PEM form", path.display())]
    Missing {
        /// Which.
        path: PathBuf,
        /// What should be in it.
        wanted: &'static str,
    },
    /// Its content can't be used.
    #[error("cannot use {}: {reason}", path.display())]
    Unusable {
        /// Which.
        path: PathBuf,
        /// Why.
        reason: String,
    },
}

/// Why somebody was not let in, or could not be reached.
#[derive(Debug, Error)]
pub enum HandshakeError {
    /// It took too long.
    #[error("no TLS handshake within {} s", HANDSHAKE_LIMIT.as_secs())]
    Timeout,
    /// It failed; for one as the other side's certificate is expired, or of another authority.
    #[error("{0}")]
    Failed(#[from] std::io::Error),
    /// The other side's certificate is another role's.
    #[error("its certificate is not for {expected}")]
    WrongName {
        /// The name that should be in it.
        expected: &'static str,
    },
}

impl From<HandshakeError> for std::io::Error {
    fn from(error: HandshakeError) -> Self {
        match error {
            HandshakeError::Failed(error) => error,
            other => Self::new(std::io::ErrorKind::PermissionDenied, other),
        }
    }
}
