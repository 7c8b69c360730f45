//! SIGINT and SIGTERM: the first asks for an orderly end, the second ends at once.

use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tracing::info;

/// Follows the signals that ask the process to end.
#[derive(Debug, Clone)]
pub(crate) struct Shutdown {
    requested: CancellationToken,
}

impl Shutdown {
    /// Takes the signals over from the system's default, which is to end at once.
    pub(crate) fn install() -> io::Result<Self> {
        let signals = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
        let requested = CancellationToken::new();
        tokio::spawn(watch(signals, requested.clone()));
        Ok(Self { requested })
    }

    /// Cancelled by the first signal.
    pub(crate) fn token(&self) -> CancellationToken {
        self.requested.clone()
    }
}

async fn watch((mut interrupt, mut terminate): (Signal, Signal), requested: CancellationToken) {
    let mut next = async || {
        tokio::select! {
            _ = interrupt.recv() => SignalKind::interrupt(),
            _ = terminate.recv() => SignalKind::terminate(),
        }
    };
    next().await;
    info!("stopping");
    requested.cancel();
    let second = next().await;
    // The kernel and the workers' own watch on their control connection see to the workers.
    #[expect(clippy::disallowed_methods, reason = "a second signal ends at once")]
    std::process::exit(128 + second.as_raw_value());
}
