//! Users who click through a roll, and see which revision answers them.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use streamfleet_testkit::Endpoint;
use streamfleet_testkit::browser::Browser;
use tokio::task::JoinSet;

use crate::outlive::{page::count, soak};
use crate::server::{shown, until};

/// Pause between a user's clicks.
const THINK_TIME: Duration = Duration::from_millis(500);

/// How many users there are.
pub fn crowd() -> usize {
    if soak() { 200 } else { 30 }
}

/// A crowd of users. A closed connection, a lost click or a wrong count is a panic of theirs, and of whoever waits for them.
pub struct Users {
    tasks: JoinSet<Account>,
    enough: Arc<AtomicBool>,
    clicks: Arc<AtomicUsize>,
    count: usize,
}

/// What one user has seen.
#[derive(Debug)]
pub struct Account {
    pub clicks: i64,
    pub longest: Duration,
    /// The revisions that answered, in order, each once as long as it stays.
    pub versions: Vec<String>,
}

impl Users {
    pub async fn start(endpoint: &Endpoint, count: usize) -> Self {
        let (enough, clicks) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let mut tasks = JoinSet::new();
        for _ in 0..count {
            let browser = Browser::open(endpoint).await.unwrap();
            tasks.spawn(user(browser, Arc::clone(&enough), Arc::clone(&clicks)));
        }
        let mut users = Self { tasks, enough, clicks, count };
        users.click_on(2).await;
        users
    }

    /// Waits until so many more clicks have been answered to each user, on average.
    pub async fn click_on(&mut self, more: usize) {
        let goal = self.clicks.load(Ordering::SeqCst) + more * self.count;
        until("users to click on", || {
            if let Some(gone) = self.tasks.try_join_next() {
                panic!("a user gave up: {gone:?}");
            }
            self.clicks.load(Ordering::SeqCst) >= goal
        })
        .await;
    }

    /// Lets everybody click twice more, as one click may be under way, and go home.
    pub async fn finish(mut self, what: &str) -> Vec<Account> {
        self.click_on(1).await;
        self.enough.store(true, Ordering::SeqCst);
        let accounts = self.tasks.join_all().await;
        let mut longest: Vec<_> = accounts.iter().map(|account| account.longest).collect();
        longest.sort_unstable();
        let clicks: i64 = accounts.iter().map(|account| account.clicks).sum();
        eprintln!(
            "{what}: {} users, {clicks} clicks, 0 closed connections, 0 wrong counts; longest pause of a user: median {:.0?}, \
             longest {:.0?}",
            accounts.len(),
            longest[longest.len() / 2],
            longest[longest.len() - 1],
        );
        accounts
    }
}

async fn user(mut browser: Browser, enough: Arc<AtomicBool>, clicks: Arc<AtomicUsize>) -> Account {
    let mut account = Account { clicks: 0, longest: Duration::ZERO, versions: Vec::new() };
    for expected in 1.. {
        let last = enough.load(Ordering::SeqCst);
        let began = Instant::now();
        count(&mut browser, expected).await;
        account.longest = account.longest.max(began.elapsed());
        account.clicks = expected;
        let version = shown(&browser, "version").unwrap();
        if account.versions.last() != Some(&version) {
            account.versions.push(version);
        }
        clicks.fetch_add(1, Ordering::SeqCst);
        if last {
            break;
        }
        tokio::time::sleep(THINK_TIME).await;
    }
    account
}

/// The courses that users were taken along.
pub fn courses(accounts: &[Account]) -> BTreeSet<String> {
    accounts.iter().map(|account| account.versions.join(" ")).collect()
}
