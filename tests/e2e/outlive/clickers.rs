//! Users who click through whatever happens, are never disconnected, and take the time until each right answer.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use streamfleet_testkit::Endpoint;
use streamfleet_testkit::browser::Browser;
use tokio::task::JoinSet;

use super::page;
use crate::server::until;

/// Pause between a user's clicks.
const THINK_TIME: Duration = Duration::from_millis(500);

/// When a user clicked, and for how long they waited.
#[derive(Debug, Clone, Copy)]
pub struct Click {
    at: Instant,
    wait: Duration,
}

/// A crowd of users. Any closed connection, lost click or wrong count is a panic of theirs, and of whoever waits for them.
pub struct Clickers {
    tasks: JoinSet<Vec<Click>>,
    enough: Arc<AtomicBool>,
    clicks: Arc<AtomicUsize>,
    count: usize,
}

impl Clickers {
    /// So many users open the app one after the other, and click from then on.
    pub async fn start(endpoint: &Endpoint, count: usize) -> Self {
        let (enough, clicks) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let mut tasks = JoinSet::new();
        for _ in 0..count {
            let browser = Browser::open(endpoint).await.unwrap();
            tasks.spawn(clicker(browser, Arc::clone(&enough), Arc::clone(&clicks)));
        }
        let mut clickers = Self { tasks, enough, clicks, count };
        clickers.click_on(2).await;
        clickers
    }

    /// Waits until so many more clicks have been answered to each user, on average.
    pub async fn click_on(&mut self, more: usize) {
        let goal = self.clicks.load(Ordering::SeqCst) + more * self.count;
        until("users to click on", || {
            // Nobody goes home yet, but by a panic.
            if let Some(gone) = self.tasks.try_join_next() {
                panic!("a user gave up: {:?}", gone.map(|_| "without a word"));
            }
            self.clicks.load(Ordering::SeqCst) >= goal
        })
        .await;
    }

    /// Lets everybody click once more, and go home. Returns the times of all clicks.
    pub async fn finish(self) -> Times {
        self.enough.store(true, Ordering::SeqCst);
        Times::of(self.tasks.join_all().await.into_iter().flatten().collect())
    }
}

async fn clicker(mut browser: Browser, enough: Arc<AtomicBool>, clicks: Arc<AtomicUsize>) -> Vec<Click> {
    let mut times = Vec::new();
    for expected in 1.. {
        let last = enough.load(Ordering::SeqCst);
        let before = Instant::now();
        page::count(&mut browser, expected).await;
        times.push(Click { at: before, wait: before.elapsed() });
        clicks.fetch_add(1, Ordering::SeqCst);
        if last {
            break;
        }
        tokio::time::sleep(THINK_TIME).await;
    }
    times
}

/// How long clicks took to the right answer, the shortest first.
pub struct Times(Vec<Click>);

impl Times {
    fn of(mut clicks: Vec<Click>) -> Self {
        clicks.sort_unstable_by_key(|click| click.wait);
        Self(clicks)
    }

    /// Those that somebody was waiting for at one of these times.
    pub fn during(&self, times: &[(Instant, Instant)]) -> Self {
        let overlaps =
            |click: &&Click| times.iter().any(|(from, to)| click.at <= *to && click.at + click.wait >= *from);
        Self::of(self.0.iter().filter(overlaps).copied().collect())
    }

    /// Prints what a person wants to know of them.
    pub fn report(&self, what: &str) {
        let at = |permille: usize| self.0[(self.0.len() - 1) * permille / 1000].wait;
        let (clicks, median, p95, p99, most) = (self.0.len(), at(500), at(950), at(990), at(1000));
        eprintln!("{what}: {clicks} clicks, median {median:.1?}, p95 {p95:.1?}, p99 {p99:.1?}, longest {most:.1?}");
    }
}
