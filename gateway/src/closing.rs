//! The end of a gateway's WebSockets: each at a moment of its own, so that its browsers don't all come back at once.

use std::time::Duration;

use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

/// When, and with what code, WebSockets are to be closed.
#[derive(Debug, Clone)]
pub(crate) struct Closing {
    begin: CancellationToken,
    spread: Duration,
    code: u16,
}

impl Closing {
    /// Closing starts when `begin` is called, takes `spread` in all, and tells browsers `code`.
    pub(crate) fn new(spread: Duration, code: u16) -> Self {
        Self { begin: CancellationToken::new(), spread, code }
    }

    pub(crate) fn begin(&self) {
        self.begin.cancel();
    }

    /// Waits until it is the caller's turn to close its WebSocket, and tells with which code.
    pub(crate) async fn due(&self) -> u16 {
        self.begin.cancelled().await;
        sleep(self.spread.mul_f64(fastrand::f64())).await;
        self.code
    }
}

#[cfg(test)]
mod tests {
    use futures_util::future::join_all;
    use tokio::time::Instant;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_end_is_spread_over_time() {
        let closing = Closing::new(Duration::from_secs(10), 1012);
        closing.begin();
        let begin = Instant::now();
        let due = (0..1000).map(async |_| {
            assert_eq!(closing.due().await, 1012);
            // The timer is up to a millisecond late: the last of them may come just after the tenth second.
            begin.elapsed().saturating_sub(Duration::from_millis(1)).as_secs()
        });
        let mut seconds = [0; 10];
        for second in join_all(due).await {
            seconds[usize::try_from(second).unwrap()] += 1;
        }
        assert!(seconds.iter().all(|&count| (50..150).contains(&count)), "{seconds:?}");
    }
}
