//! Snapshots that somebody has changed, or that somebody else has written: nothing of them is used, and the user is told.

use std::path::Path;

use streamfleet_testkit::browser::Browser;

use super::page::{count, press, toast, until_counted};
use crate::cluster::fleet::{Fleet, FleetLaunch};
use crate::server::{LIMIT, shown_number};

/// What the user has counted to before. A fresh session can't have got there.
const COUNTED: i64 = 3;
/// What the session that others are copied from has counted to.
const DONOR_COUNTED: i64 = 5;
/// What a press of the button "Add" adds to the total.
const ADDED: i64 = 6;
/// Digits of a session's id that logs show.
const SHOWN_DIGITS: usize = 8;

/// What somebody does to a session's snapshot.
#[derive(Debug, Clone, Copy)]
enum Alteration {
    /// Nothing: the control.
    Nothing,
    /// One byte in the middle of a field is another.
    Flip(&'static str),
    /// A field has lost its last byte.
    Truncate(&'static str),
    /// A field is gone.
    Remove(&'static str),
    /// Two fields have each other's content.
    Swap(&'static str, &'static str),
    /// A field is another session's.
    Copy(&'static str),
    /// All fields are another session's.
    CopyAll,
    /// A field is a pickle that writes a file.
    Payload(&'static str),
}

const ALTERATIONS: [Alteration; 15] = [
    Alteration::Nothing,
    Alteration::Flip("core"),
    Alteration::Flip("manifest"),
    Alteration::Flip("signature"),
    Alteration::Flip("v:count"),
    Alteration::Truncate("core"),
    Alteration::Truncate("manifest"),
    Alteration::Truncate("signature"),
    Alteration::Truncate("v:count"),
    Alteration::Remove("v:count"),
    Alteration::Swap("v:count", "v:total"),
    Alteration::Copy("v:count"),
    Alteration::CopyAll,
    Alteration::Payload("core"),
    Alteration::Payload("v:count"),
];

impl Alteration {
    async fn apply(self, fleet: &Fleet, key: &str, donor: &str, trace: &Path) {
        let fields = fleet.redis.fields(key).await.unwrap();
        let set = async |field: &str, value: &[u8]| fleet.redis.set_field(key, field, value).await.unwrap();
        match self {
            Self::Nothing => {}
            Self::Flip(field) => {
                let mut value = fields[field].clone();
                let middle = value.len() / 2;
                value[middle] ^= 1;
                set(field, &value).await;
            }
            Self::Truncate(field) => set(field, &fields[field][..fields[field].len() - 1]).await,
            Self::Remove(field) => {
                assert_eq!(fleet.redis.command::<u32>(&["HDEL", key, field]).await.unwrap(), 1);
            }
            Self::Swap(one, other) => {
                assert_ne!(fields[one], fields[other]);
                set(one, &fields[other]).await;
                set(other, &fields[one]).await;
            }
            Self::Copy(field) => {
                let donated = fleet.redis.fields(donor).await.unwrap();
                assert_ne!(fields[field], donated[field]);
                set(field, &donated[field]).await;
            }
            Self::CopyAll => {
                for (field, value) in fleet.redis.fields(donor).await.unwrap() {
                    set(&field, &value).await;
                }
            }
            Self::Payload(field) => set(field, &payload(trace)).await,
        }
    }
}

/// A pickle that makes a file when it is loaded.
fn payload(trace: &Path) -> Vec<u8> {
    format!("cos\nsystem\n(S'touch {}'\ntR.", trace.display()).into_bytes()
}

fn snapshot_key(browser: &Browser) -> String {
    format!("streamfleet:default:snapshot:{{{}}}", browser.client.session_id())
}

/// Opens the app, on runner 0, and counts up to a number that is in the snapshot then.
async fn session_on_first(fleet: &Fleet, counted: i64) -> Browser {
    let mut browser = Browser::open(&fleet.endpoint()).await.unwrap();
    while fleet.owner(browser.client.session_id()).await != 0 {
        browser = Browser::open(&fleet.endpoint()).await.unwrap();
    }
    let mut value = None;
    for number in 0..=counted {
        if number > 0 {
            count(&mut browser, number).await;
        }
        value = Some(stored_count(fleet, &browser, value).await);
    }
    browser
}

/// Waits until the count is in the snapshot, and is another than `before`.
async fn stored_count(fleet: &Fleet, browser: &Browser, before: Option<Vec<u8>>) -> Vec<u8> {
    let key = snapshot_key(browser);
    let stored = async || {
        let value = fleet.redis.fields(&key).await?.remove("v:count");
        let value = value.filter(|value| Some(value) != before.as_ref());
        value.ok_or_else(|| anyhow::anyhow!("{key} has no new count"))
    };
    streamfleet_testkit::wait::until("the snapshot", LIMIT, stored).await.unwrap()
}

/// Clicks in a session whose snapshot must not be used: the runner's log names it, the user is told, and a fresh session has
/// counted the click or not.
async fn assert_refused(what: &str, fleet: &Fleet, number: usize, browser: &mut Browser) {
    let refused = browser.client.session_id()[..SHOWN_DIGITS].to_owned();
    press(browser, "click").await;
    eprintln!("{what}: {}", toast(browser).await);
    // What was pressed before has had its effect, if it was to have any, when this one has.
    press(browser, "add").await;
    until_counted(browser, "total", ADDED).await;
    let fresh = shown_number(browser, "count");
    assert!((0..=1).contains(&fresh), "{what}: the count is {fresh}");
    count(browser, fresh + 1).await;
    let output = fleet.runners[number].server.output();
    assert!(output.lines().any(|line| line.contains("refused") && line.contains(&refused)), "{what}: not in the log");
}

#[tokio::test]
async fn an_altered_snapshot_is_refused() {
    let mut launch = FleetLaunch::new("everything/app");
    (launch.runners, launch.gateways) = (2, 1);
    let mut fleet = launch.start().await;
    let folder = tempfile::tempdir().unwrap();
    let trace = folder.path().join("trace");

    let donor = session_on_first(&fleet, DONOR_COUNTED).await;
    let mut browsers = Vec::new();
    for alteration in ALTERATIONS {
        let browser = session_on_first(&fleet, COUNTED).await;
        alteration.apply(&fleet, &snapshot_key(&browser), &snapshot_key(&donor), &trace).await;
        browsers.push(browser);
    }
    fleet.kill_runner(0).await;
    for (alteration, browser) in ALTERATIONS.iter().zip(&mut browsers) {
        if let Alteration::Nothing = alteration {
            count(browser, COUNTED + 1).await;
            continue;
        }
        assert_refused(&format!("{alteration:?}"), &fleet, 1, browser).await;
    }
    assert!(!trace.exists(), "somebody loaded the payload");
}

/// The payload does what is feared, where it is loaded.
#[test]
fn the_payload_works() {
    let folder = tempfile::tempdir().unwrap();
    let (trace, pickle) = (folder.path().join("trace"), folder.path().join("pickle"));
    std::fs::write(&pickle, payload(&trace)).unwrap();
    let load = "import pickle, sys; pickle.load(open(sys.argv[1], 'rb'))";
    let python = streamfleet_testkit::process::python();
    assert!(std::process::Command::new(python).args(["-c", load]).arg(&pickle).status().unwrap().success());
    assert!(trace.exists());
}

#[tokio::test]
async fn a_snapshot_written_under_another_secret_is_refused() {
    let mut launch = FleetLaunch::new("everything/app");
    (launch.runners, launch.gateways, launch.stranger) = (2, 1, Some(1));
    let mut fleet = launch.start().await;
    let mut browser = session_on_first(&fleet, COUNTED).await;
    fleet.kill_runner(0).await;
    assert_refused("another secret", &fleet, 1, &mut browser).await;
}
