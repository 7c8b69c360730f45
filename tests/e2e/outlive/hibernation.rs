//! Sessions of idle users are put to sleep, and wake up when they are needed.

use std::time::Duration;

use serde_json::Value;
use streamfleet_testkit::browser::Browser;

use super::page::count;
use crate::cluster::fleet::{Fleet, FleetLaunch};
use crate::server::LIMIT;

const SESSIONS: usize = 20;

/// Waits until the runners have so many sessions in their workers, as they tell everybody.
async fn until_awake(fleet: &Fleet, expected: u64) {
    streamfleet_testkit::wait::until("sessions to be awake or asleep", LIMIT, async || {
        let loads: Vec<String> = fleet.redis.command(&["HVALS", "streamfleet:default:{members}:loads"]).await?;
        let mut sessions = 0;
        for load in &loads {
            sessions += serde_json::from_str::<Value>(load)?["sessions"].as_u64().unwrap_or(0);
        }
        anyhow::ensure!(sessions == expected, "{sessions} are awake: {loads:?}");
        Ok(())
    })
    .await
    .unwrap();
}

async fn idle_crowd(hibernate_after: Duration) -> (Fleet, Vec<Browser>) {
    let mut launch = FleetLaunch::new("ledger");
    (launch.runners, launch.gateways) = (2, 1);
    launch.env = vec![("STREAMFLEET_HIBERNATE_AFTER", hibernate_after.as_secs().to_string())];
    let fleet = launch.start().await;
    let mut browsers = Vec::new();
    for _ in 0..SESSIONS {
        let mut browser = Browser::open(&fleet.endpoint()).await.unwrap();
        count(&mut browser, 1).await;
        browsers.push(browser);
    }
    (fleet, browsers)
}

#[tokio::test]
async fn idle_sessions_sleep_until_a_click() {
    let (mut fleet, mut browsers) = idle_crowd(Duration::from_secs(2)).await;
    until_awake(&fleet, 0).await;
    for browser in &mut browsers {
        count(browser, 2).await;
    }
    // Nothing is lost with those who had put them to sleep.
    until_awake(&fleet, 0).await;
    for number in 0..fleet.runners.len() {
        fleet.kill_runner(number).await;
        fleet.until_ready().await;
    }
    for browser in &mut browsers {
        count(browser, 3).await;
        // One after the other, so that some sleep again while others wake up.
        count(browser, 4).await;
    }
}

/// The control: it is the setting that puts them to sleep.
#[tokio::test]
async fn sessions_stay_awake_unless_told_otherwise() {
    let (fleet, browsers) = idle_crowd(Duration::from_hours(1)).await;
    until_awake(&fleet, SESSIONS as u64).await;
    drop(browsers);
}
