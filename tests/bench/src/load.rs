//! Users who click, and what they get for it.

use std::fmt;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use hdrhistogram::Histogram;
use streamfleet_testkit::browser::Browser;
use streamfleet_testkit::client::last_finish;
use streamfleet_testkit::process::Server;
use streamfleet_testkit::wire::{Finish, Forward, WidgetState, WidgetStates, WidgetValue};

use crate::cpu;

/// What the one user does between clicks. Without a pause a delayed acknowledgement of TCP would be measured instead.
pub(crate) const PAUSE: Duration = Duration::from_millis(20);
/// Clicks before anything is counted: caches fill, and the first runs of a process are slow.
pub(crate) const WARM_UP: usize = 20;
/// The count is shown in a short message; longer ones are not searched for it.
const COUNT_MESSAGE_BYTES: usize = 2048;

/// What one turn of a server has shown.
#[derive(Debug, Clone)]
pub(crate) struct Figures {
    /// Median time from a click to the end of its run, of one user with pauses.
    pub(crate) click: Duration,
    /// Runs per second that many users without pauses got together.
    pub(crate) runs_per_second: f64,
    /// The server's processor time for each of these runs.
    pub(crate) cpu_per_run: Duration,
    /// The share of one core that this program used meanwhile.
    pub(crate) client_share: f64,
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "click {:.2} ms, {:.0} runs/s, {:.2} ms of CPU a run, client {:.0} % of a core",
            self.click.as_secs_f64() * 1e3,
            self.runs_per_second,
            self.cpu_per_run.as_secs_f64() * 1e3,
            self.client_share * 100.0,
        )
    }
}

/// A user who clicks one button, again and again.
pub(crate) struct User {
    browser: Browser,
    button: String,
    clicks: u64,
}

impl User {
    pub(crate) async fn open(server: &Server) -> Result<Self> {
        let browser = Browser::open(server.endpoint()).await?;
        let button = browser.widget("click").context("the app has no button with the key \"click\"")?;
        Ok(Self { browser, button, clicks: 0 })
    }

    /// Clicks, waits for the end of the run, and checks the count.
    pub(crate) async fn click(&mut self) -> Result<()> {
        let mut state = self.browser.state();
        state.cached_message_hashes.clear();
        let pressed = WidgetState { id: self.button.clone(), value: Some(WidgetValue::Trigger(true)) };
        state.widget_states = Some(WidgetStates { widgets: vec![pressed] });
        let client = &mut self.browser.client;
        client.rerun(state).await?;
        self.clicks += 1;
        let expected = format!("count={};", self.clicks);
        let mut counted = false;
        loop {
            let message = client.next().await?;
            match &message.kind {
                Some(Forward::Delta(delta)) if delta.len() < COUNT_MESSAGE_BYTES => {
                    counted |= delta.windows(expected.len()).any(|window| window == expected.as_bytes());
                }
                Some(Forward::ScriptFinished(_)) if last_finish(&message) == Some(Finish::Success) => break,
                _ => {}
            }
        }
        ensure!(counted, "the answer to click {} does not show {expected:?}", self.clicks);
        Ok(())
    }
}

/// The median time of a click, of one user who pauses between clicks.
pub(crate) async fn one_user(server: &Server, clicks: usize) -> Result<Duration> {
    let mut user = User::open(server).await?;
    let mut times = Histogram::<u64>::new(3)?;
    for number in 0..WARM_UP + clicks {
        let start = Instant::now();
        user.click().await?;
        if number >= WARM_UP {
            times.record(u64::try_from(start.elapsed().as_micros())?)?;
        }
        tokio::time::sleep(PAUSE).await;
    }
    Ok(Duration::from_micros(times.value_at_quantile(0.5)))
}

/// Runs per second of users who don't pause; the server's processor time for each; this program's share of a core.
pub(crate) async fn many_users(server: &Server, users: usize, time: Duration) -> Result<(f64, Duration, f64)> {
    let mut everybody = Vec::new();
    for _ in 0..users {
        everybody.push(User::open(server).await?);
    }
    // Everybody once more, all at the same time, before the clock starts.
    let everybody = click_for(everybody, Duration::from_millis(500)).await?.0;

    let before = (cpu::of_tree(server.pid()), cpu::of_this_program(), Instant::now());
    let (_, runs) = click_for(everybody, time).await?;
    let elapsed = before.2.elapsed().as_secs_f64();
    let server_time = cpu::of_tree(server.pid()).saturating_sub(before.0);
    let client_time = cpu::of_this_program().saturating_sub(before.1);
    let per_run = server_time / u32::try_from(runs)?.max(1);
    #[expect(clippy::cast_precision_loss, reason = "a few thousand runs")]
    let rate = runs as f64 / elapsed;
    Ok((rate, per_run, client_time.as_secs_f64() / elapsed))
}

async fn click_for(users: Vec<User>, time: Duration) -> Result<(Vec<User>, u64)> {
    let end = Instant::now() + time;
    let tasks: Vec<_> = users
        .into_iter()
        .map(|mut user| {
            tokio::spawn(async move {
                let mut runs = 0;
                while Instant::now() < end {
                    user.click().await?;
                    runs += 1;
                }
                anyhow::Ok((user, runs))
            })
        })
        .collect();
    let (mut users, mut total) = (Vec::new(), 0);
    for task in tasks {
        let (user, runs) = task.await??;
        users.push(user);
        total += runs;
    }
    Ok((users, total))
}
