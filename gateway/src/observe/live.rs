//! What goes on at this moment, for whoever watches.

use std::{
    collections::VecDeque,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

/// What a look back covers.
const WINDOW: Duration = Duration::from_secs(5);
/// Clicks remembered; of more in this time only the last are looked at.
const MAX_CLICKS: usize = 4096;

/// What goes on at this moment.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct LiveFigures {
    /// Browsers that are connected.
    pub websockets: u64,
    /// From browsers.
    pub received_bytes_per_second: f64,
    /// To browsers.
    pub sent_bytes_per_second: f64,
    /// Clicks whose runs have ended.
    pub clicks_per_second: f64,
    /// Median time from a click to the end of its run; `None` if there was none.
    pub click_p50: Option<Duration>,
    /// The same, of the slowest twentieth.
    pub click_p95: Option<Duration>,
    /// The same, of the slowest hundredth.
    pub click_p99: Option<Duration>,
}

/// Remembers the last few seconds.
#[derive(Debug, Default)]
pub(super) struct Live(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    clicks: VecDeque<(Instant, Duration)>,
    /// Bytes received and sent in all, when they were looked at.
    traffic: VecDeque<(Instant, [u64; 2])>,
}

impl Live {
    pub(super) fn clicked(&self, took: Duration) {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if state.clicks.len() == MAX_CLICKS {
            state.clicks.pop_front();
        }
        state.clicks.push_back((Instant::now(), took));
    }

    /// What goes on, with so many browsers and so many bytes received and sent in all. Bytes per second are those since this was asked
    /// last, or in the last few seconds.
    pub(super) fn figures(&self, websockets: u64, traffic: [u64; 2]) -> LiveFigures {
        let now = Instant::now();
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        state.forget(now);
        let (since, before) = state.traffic.front().copied().unwrap_or((now, traffic));
        state.traffic.push_back((now, traffic));
        let [received, sent] = [0, 1].map(|direction: usize| {
            let [before, after] = [before, traffic].map(|bytes| bytes.get(direction).copied().unwrap_or_default());
            rate(after.saturating_sub(before), now - since)
        });
        let mut times: Vec<Duration> = state.clicks.iter().map(|(_, took)| *took).collect();
        times.sort_unstable();
        let quantile = |percent: usize| times.get((times.len() * percent / 100).min(times.len().saturating_sub(1)));
        LiveFigures {
            websockets,
            received_bytes_per_second: received,
            sent_bytes_per_second: sent,
            clicks_per_second: rate(times.len() as u64, WINDOW),
            click_p50: quantile(50).copied(),
            click_p95: quantile(95).copied(),
            click_p99: quantile(99).copied(),
        }
    }
}

impl State {
    fn forget(&mut self, now: Instant) {
        while self.clicks.front().is_some_and(|(at, _)| now - *at > WINDOW) {
            self.clicks.pop_front();
        }
        while self.traffic.front().is_some_and(|(at, _)| now - *at > WINDOW) {
            self.traffic.pop_front();
        }
    }
}

#[expect(clippy::cast_precision_loss, reason = "for people to look at")]
fn rate(count: u64, time: Duration) -> f64 {
    if time.is_zero() { 0.0 } else { count as f64 / time.as_secs_f64() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn only_the_last_seconds_count() {
        let live = Live::default();
        assert_eq!(live.figures(3, [10, 10]), LiveFigures { websockets: 3, ..LiveFigures::default() });
        for millis in 1..=100 {
            live.clicked(Duration::from_millis(millis));
        }
        tokio::time::advance(Duration::from_secs(2)).await;
        let figures = live.figures(0, [20, 1010]);
        assert_eq!(figures.click_p50, Some(Duration::from_millis(51)));
        assert_eq!(figures.click_p99, Some(Duration::from_millis(100)));
        assert!((figures.clicks_per_second - 20.0).abs() < 1e-9);
        assert!((figures.received_bytes_per_second - 5.0).abs() < 1e-9);
        assert!((figures.sent_bytes_per_second - 500.0).abs() < 1e-9);
        tokio::time::advance(WINDOW + Duration::from_secs(1)).await;
        assert_eq!(live.figures(0, [20, 1010]), LiveFigures::default());
    }
}
