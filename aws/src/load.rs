//! What a runner tells of its load, for Auto Scaling to follow: looked at every few seconds, told once a minute in one call.
//!
//! What can't be told is dropped: a figure of minutes ago scales nothing.

use std::{iter, sync::Arc, time::Duration};

use async_trait::async_trait;
use tokio::time::{Instant, MissedTickBehavior, interval_at};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use crate::AwsError;

/// Between two looks at the load.
const LOOK: Duration = Duration::from_secs(5);
/// Looks that are told of together: a minute, as CloudWatch counts.
const LOOKS: u32 = 12;

/// How busy a runner is.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Load {
    /// Sessions with a browser.
    pub sessions: u32,
    /// How long messages have waited for their runs of late.
    pub queue_wait: Duration,
}

/// Several looks at one figure.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Statistics {
    /// How many looks.
    pub count: f64,
    /// Their sum.
    pub sum: f64,
    /// The least of them.
    pub least: f64,
    /// The greatest of them.
    pub greatest: f64,
}

/// What is told at once.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Batch {
    /// Sessions with a browser.
    pub sessions: Statistics,
    /// Milliseconds that messages have waited for their runs.
    pub queue_wait_ms: Statistics,
}

impl Statistics {
    fn of(figure: f64) -> Self {
        Self { count: 1.0, sum: figure, least: figure, greatest: figure }
    }

    fn add(&mut self, figure: f64) {
        self.count += 1.0;
        self.sum += figure;
        self.least = self.least.min(figure);
        self.greatest = self.greatest.max(figure);
    }
}

/// Who is told.
#[async_trait]
pub trait LoadSink: Send + Sync {
    /// Takes a batch.
    async fn put(&self, batch: &Batch) -> Result<(), AwsError>;
}

/// Tells the load until stopped.
pub async fn publish(sink: Arc<dyn LoadSink>, look: impl Fn() -> Load + Send, stop: CancellationToken) {
    stop.run_until_cancelled(tell(&*sink, look)).await;
}

async fn tell(sink: &dyn LoadSink, look: impl Fn() -> Load + Send) {
    let mut looks = interval_at(Instant::now() + LOOK, LOOK);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut is_away = false;
    // A new runner counts at once.
    for wanted in iter::once(1).chain(iter::repeat(LOOKS)) {
        let mut batch: Option<Batch> = None;
        for _ in 0..wanted {
            looks.tick().await;
            let load = look();
            let (sessions, wait) = (f64::from(load.sessions), load.queue_wait.as_secs_f64() * 1000.0);
            match &mut batch {
                Some(batch) => {
                    batch.sessions.add(sessions);
                    batch.queue_wait_ms.add(wait);
                }
                None => {
                    batch = Some(Batch { sessions: Statistics::of(sessions), queue_wait_ms: Statistics::of(wait) });
                }
            }
        }
        let Some(batch) = batch else { continue };
        match sink.put(&batch).await {
            Ok(()) if is_away => info!("CloudWatch can be told the load again"),
            Err(error) if !is_away => warn!("{error}; the load is not told until that works again"),
            Err(error) => debug!("{error}"),
            Ok(()) => is_away = false,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{
        Mutex,
        atomic::{AtomicU32, Ordering},
    };

    use super::*;

    /// Takes every other batch.
    #[derive(Default)]
    struct Moody {
        taken: Mutex<Vec<Batch>>,
        asked: AtomicU32,
    }

    #[async_trait]
    impl LoadSink for Moody {
        async fn put(&self, batch: &Batch) -> Result<(), AwsError> {
            if self.asked.fetch_add(1, Ordering::SeqCst) % 2 == 1 {
                return Err(AwsError::Failed { what: "test", reason: "moody".to_owned() });
            }
            self.taken.lock().unwrap().push(*batch);
            Ok(())
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_minute_is_told_at_once_and_what_fails_is_dropped() {
        let (sink, stop) = (Arc::new(Moody::default()), CancellationToken::new());
        let looks = AtomicU32::new(0);
        let look = move || {
            let number = looks.fetch_add(1, Ordering::SeqCst);
            Load { sessions: number, queue_wait: Duration::from_millis(u64::from(number) * 2) }
        };
        let publishing = tokio::spawn(publish(Arc::<Moody>::clone(&sink), look, stop.clone()));
        while sink.asked.load(Ordering::SeqCst) < 3 {
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        stop.cancel();
        publishing.await.unwrap();
        let batches = sink.taken.lock().unwrap().clone();
        let third = Batch {
            sessions: Statistics { count: 12.0, sum: 222.0, least: 13.0, greatest: 24.0 },
            queue_wait_ms: Statistics { count: 12.0, sum: 444.0, least: 26.0, greatest: 48.0 },
        };
        assert_eq!((batches.len(), batches[0].sessions.count), (2, 1.0));
        assert_eq!(batches[1], third);
    }
}
