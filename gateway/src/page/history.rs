//! The clicks of the last five minutes, for a page that is opened now to begin its plots with: it is afterwards that somebody looks.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, SystemTime},
};

use serde::Serialize;
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::{CancellationToken, DropGuard};

use super::{feed::ClicksView, happenings::epoch_millis};
use crate::upstream::Upstream;

/// How often clicks are looked at.
const PERIOD: Duration = Duration::from_secs(1);
/// The page draws five minutes.
const REMEMBERED: usize = 300;

/// Looks at the clicks until dropped, whether a page is open or not.
pub(super) struct History {
    samples: Arc<Samples>,
    _stop: DropGuard,
}

#[derive(Default)]
struct Samples(Mutex<VecDeque<Sample>>);

#[derive(Clone, Serialize)]
struct Sample {
    time: u64,
    #[serde(flatten)]
    clicks: ClicksView,
}

/// The event's data.
#[derive(Serialize)]
struct HistoryView<'a> {
    clicks: &'a VecDeque<Sample>,
}

impl History {
    pub(super) fn follow(upstream: &Arc<Upstream>) -> Self {
        let samples = Arc::new(Samples::default());
        let stop = CancellationToken::new();
        let follow = follow(Arc::clone(&samples), Arc::clone(upstream));
        tokio::spawn(stop.clone().run_until_cancelled_owned(follow));
        Self { samples, _stop: stop.drop_guard() }
    }

    /// The event's data, as JSON.
    pub(super) fn tell(&self) -> serde_json::Result<String> {
        serde_json::to_string(&HistoryView { clicks: &self.samples.lock() })
    }
}

impl Samples {
    fn add(&self, time: u64, clicks: ClicksView) {
        let mut samples = self.lock();
        // The page draws by it, so it has to grow whatever is done to the clock.
        let time = samples.back().map_or(time, |last| time.max(last.time + 1));
        if samples.len() == REMEMBERED {
            samples.pop_front();
        }
        samples.push_back(Sample { time, clicks });
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<Sample>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn follow(samples: Arc<Samples>, upstream: Arc<Upstream>) {
    let mut ticks = interval(PERIOD);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        samples.add(epoch_millis(SystemTime::now()), ClicksView::from(&upstream.observer.live()));
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::observe::LiveFigures;

    #[test]
    fn five_minutes_are_kept_in_order_whatever_the_clock_does() {
        let samples = Arc::new(Samples::default());
        let history = History { samples, _stop: CancellationToken::new().drop_guard() };
        let live =
            LiveFigures { clicks_per_second: 2.5, click_p50: Some(Duration::from_millis(7)), ..LiveFigures::default() };
        for time in 0..=300 {
            history.samples.add(time * 1000, ClicksView::from(&live));
        }
        history.samples.add(5, ClicksView::from(&live));
        let told: Value = serde_json::from_str(&history.tell().unwrap()).unwrap();
        let clicks = told["clicks"].as_array().unwrap();
        assert_eq!(clicks.len(), REMEMBERED);
        assert_eq!(clicks[0], json!({"time": 2000, "per_second": 2.5, "p50_ms": 7.0, "p95_ms": null, "p99_ms": null}));
        assert_eq!(clicks[REMEMBERED - 1]["time"], 300_001);
    }
}
