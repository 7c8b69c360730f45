//! Users who click through whatever happens, and check each count.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use streamfleet_testkit::Endpoint;
use streamfleet_testkit::browser::Browser;
use streamfleet_testkit::client::ClientError;
use streamfleet_testkit::wire::WidgetValue;
use tokio::task::JoinSet;

use crate::server::{LIMIT, click, shown, shown_number, until};

/// Pause between a user's clicks.
const THINK_TIME: Duration = Duration::from_millis(500);
/// Pause between attempts to connect.
const RETRY_PAUSE: Duration = Duration::from_millis(100);

/// A crowd of users.
pub struct Users {
    tasks: JoinSet<Report>,
    enough: Arc<AtomicBool>,
    clicks: Arc<AtomicUsize>,
}

/// What a user went through.
#[derive(Debug, Default)]
pub struct Report {
    /// Longest time from a click to an answer, being disconnected included.
    pub longest_wait: Duration,
    /// How often the connection was lost.
    pub disconnects: usize,
    /// The runners whose death or absence cost the user a session.
    pub lost_on: Vec<String>,
}

impl Users {
    /// So many users open the app one after the other, and click from then on.
    pub async fn start(endpoint: &Endpoint, count: usize) -> Self {
        let (enough, clicks) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let mut tasks = JoinSet::new();
        for _ in 0..count {
            let browser = Browser::open(endpoint).await.unwrap();
            tasks.spawn(user(browser, Arc::clone(&enough), Arc::clone(&clicks)));
        }
        let users = Self { tasks, enough, clicks };
        users.keep_clicking(2 * count).await;
        users
    }

    /// Waits until so many more clicks have been answered.
    pub async fn keep_clicking(&self, more: usize) {
        let goal = self.clicks.load(Ordering::SeqCst) + more;
        until("users to click on", || self.clicks.load(Ordering::SeqCst) >= goal).await;
    }

    /// Lets everybody click once more, and go home.
    pub async fn finish(self) -> Vec<Report> {
        self.enough.store(true, Ordering::SeqCst);
        self.tasks.join_all().await
    }
}

async fn user(mut browser: Browser, enough: Arc<AtomicBool>, clicks: Arc<AtomicUsize>) -> Report {
    let mut report = Report::default();
    let mut expected = 0;
    loop {
        let last = enough.load(Ordering::SeqCst);
        let before = Instant::now();
        match count_to(&mut browser, expected + 1).await {
            Ok(()) => expected += 1,
            Err(ClientError::Closed { .. }) => {
                expected = come_back(&mut browser, expected, &mut report).await;
            }
            Err(error) => panic!("{error}"),
        }
        report.longest_wait = report.longest_wait.max(before.elapsed());
        clicks.fetch_add(1, Ordering::SeqCst);
        if last {
            return report;
        }
        tokio::time::sleep(THINK_TIME).await;
    }
}

/// Clicks once, and waits for the count that has to follow. Where the session moves just then, the one before may be shown
/// once more.
async fn count_to(browser: &mut Browser, expected: i64) -> Result<(), ClientError> {
    let mut count = click(browser).await?;
    while count < expected {
        browser.settle().await?;
        count = shown_number(browser, "count");
    }
    assert_eq!(count, expected, "a wrong count, in session {}", browser.client.session_id());
    Ok(())
}

/// Connects again, as a browser does: until it works. Returns the count that is shown then.
async fn come_back(browser: &mut Browser, expected: i64, report: &mut Report) -> i64 {
    let session = browser.client.session_id().to_owned();
    let runner = shown(browser, "runner").unwrap();
    let lost = Instant::now();
    report.disconnects += 1;
    // The run that the lost click had started may be seen to end first: the text tells whose end it is.
    let text = browser.widget("text").unwrap();
    let typed = format!("back {} times", report.disconnects);
    browser.put(text, WidgetValue::Text(typed.clone()));
    while let Err(error) = browser.reconnect().await {
        assert!(lost.elapsed() < LIMIT, "cannot come back: {error}");
        tokio::time::sleep(RETRY_PAUSE).await;
    }
    while shown(browser, "text").as_ref() != Some(&typed) {
        browser.settle().await.unwrap();
    }
    let count = shown_number(browser, "count");
    if browser.client.session_id() == session {
        // Whether the click got through before the connection broke, nobody has told the user.
        assert!(count == expected || count == expected + 1, "{count} after {expected}, in session {session}");
    } else {
        assert_eq!(count, 0, "a new session with an old count");
        report.lost_on.push(runner);
    }
    count
}

/// Prints what users went through.
pub fn summary(reports: &[Report]) -> String {
    let mut waits: Vec<_> = reports.iter().map(|report| report.longest_wait).collect();
    waits.sort_unstable();
    let disconnects: usize = reports.iter().map(|report| report.disconnects).sum();
    let lost: usize = reports.iter().map(|report| report.lost_on.len()).sum();
    format!(
        "{} users, {disconnects} disconnects, {lost} lost sessions; longest wait: median {:?}, greatest {:?}",
        reports.len(),
        waits[waits.len() / 2],
        waits[waits.len() - 1]
    )
}
