//! Checks, after all is over, that no session ever had two owners.
//!
//! Runners write to their logs with which epoch they own which session, and when they are fenced; gateways, when they move a
//! pin; and the app writes down each of its runs.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use serde_json::Value;

use crate::cluster::fleet::Fleet;

/// Digits of a session's id that logs show.
const SHOWN_DIGITS: usize = 8;

/// A run of the script.
#[derive(Debug)]
struct Run {
    nanos: i128,
    session: String,
    runner: String,
    count: i64,
}

/// What the logs tell of owners.
#[derive(Debug, Default)]
pub struct Owners {
    /// Session and epoch → the runner that acted on it, and since when, in nanoseconds since 1970.
    by_epoch: BTreeMap<(String, u64), (String, i128)>,
    /// Session → when its pin was moved, in nanoseconds since 1970.
    pub moved: HashMap<String, i128>,
    /// Sessions that a runner gave up.
    pub fenced: Vec<String>,
}

/// Asserts that at no time anybody but the owner ran a session's script. Returns what the logs tell.
pub fn check(fleet: &Fleet) -> Owners {
    check_with_tries(fleet, 0)
}

/// The same where the app has been tried so often: each is one run of its own, in a session that nobody owns.
pub fn check_with_tries(fleet: &Fleet, tries: usize) -> Owners {
    let mut owners = Owners::default();
    for runner in fleet.all_runners() {
        for entry in entries(&runner.server.output()) {
            read_runner(&entry, &runner.name, &mut owners);
        }
    }
    for gateway in &fleet.gateways {
        for entry in entries(&gateway.server.output()) {
            if message(&entry) == "moved a session's pin" {
                let session = shown_digits(&entry["fields"]["session"]);
                let moved = nanos(entry["timestamp"].as_str().unwrap());
                owners.moved.entry(session).or_insert(moved);
            }
        }
    }
    check_runs(&fleet.ledger(), &owners, tries);
    owners
}

fn read_runner(entry: &Value, runner: &str, owners: &mut Owners) {
    let fields = &entry["fields"];
    match message(entry) {
        "owned" => {
            let key = (shown_digits(&fields["session"]), fields["epoch"].as_u64().unwrap());
            let since = nanos(entry["timestamp"].as_str().unwrap());
            let (owner, _) = owners.by_epoch.entry(key.clone()).or_insert((runner.to_owned(), since));
            assert_eq!(owner, runner, "{key:?}");
        }
        // By its pin, or by its snapshot.
        said if said.starts_with("fenced: ") => {
            assert!(fields["new_epoch"].as_u64() > fields["epoch"].as_u64(), "fenced by an older epoch: {fields}");
            owners.fenced.push(shown_digits(&fields["session"]));
        }
        _ => {}
    }
}

fn check_runs(ledger: &Path, owners: &Owners, tries: usize) {
    let mut found = 0;
    let text = std::fs::read_to_string(ledger).unwrap();
    let mut sessions: BTreeMap<String, Vec<Run>> = BTreeMap::new();
    for run in text.lines().map(parse) {
        sessions.entry(run.session.clone()).or_default().push(run);
    }
    for (session, mut runs) in sessions {
        runs.sort_by_key(|run| run.nanos);
        for pair in runs.windows(2) {
            let step = pair[1].count - pair[0].count;
            // What an owner did that was lost with it, the next one does again.
            let again = pair[0].runner != pair[1].runner;
            assert!(step <= 1 && (step >= 0 || again), "session {session} went from {:?} to {:?}", pair[0], pair[1]);
        }
        let epochs = (session[..SHOWN_DIGITS].to_owned(), 0)..(session[..SHOWN_DIGITS].to_owned(), u64::MAX);
        let owners: Vec<_> = owners.by_epoch.range(epochs).map(|(_, owner)| owner).collect();
        if owners.is_empty() && runs.len() == 1 && found < tries {
            found += 1;
            continue;
        }
        for run in &runs {
            // Of those who owned it by then, the one with the greatest epoch; or somebody who is about to log that they do.
            let current = owners.iter().rposition(|(_, since)| *since <= run.nanos).unwrap_or(0);
            let entitled = owners.get(current..).is_none_or(|rest| rest.iter().any(|(owner, _)| *owner == run.runner));
            assert!(entitled, "session {session} was run by {} when it was another's: {owners:?}", run.runner);
        }
    }
    assert_eq!(found, tries, "the app was not tried as often as was told");
}

fn parse(line: &str) -> Run {
    let mut words = line.split(' ');
    let mut next = || words.next().unwrap();
    Run {
        nanos: next().parse().unwrap(),
        session: next().to_owned(),
        runner: next().to_owned(),
        count: next().parse().unwrap(),
    }
}

/// The log lines among what a process printed.
fn entries(output: &str) -> impl Iterator<Item = Value> {
    output.lines().filter_map(|line| serde_json::from_str(line).ok()).filter(|entry: &Value| entry.is_object())
}

fn message(entry: &Value) -> &str {
    entry["fields"]["message"].as_str().unwrap_or_default()
}

fn shown_digits(session: &Value) -> String {
    session.as_str().unwrap().chars().take(SHOWN_DIGITS).collect()
}

/// A log's time stamp (RFC 3339, UTC) in nanoseconds since 1970.
fn nanos(stamp: &str) -> i128 {
    let number = |range: std::ops::Range<usize>| stamp[range].parse::<i128>().unwrap();
    let (year, month, day) = (number(0..4), number(5..7), number(8..10));
    // Days since 1970, by counting years from March, so that leap days come last.
    let (y, m) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let days = 365 * y + y / 4 - y / 100 + y / 400 + (153 * m + 2) / 5 + day - 1 - 719_468;
    let seconds = days * 86_400 + number(11..13) * 3600 + number(14..16) * 60 + number(17..19);
    let fraction = stamp[20..].trim_end_matches('Z');
    let scale = 10_i128.pow(u32::try_from(9 - fraction.len()).unwrap());
    seconds * 1_000_000_000 + fraction.parse::<i128>().unwrap() * scale
}

#[test]
fn time_stamps_are_read() {
    assert_eq!(nanos("1970-01-01T00:00:01.000001Z"), 1_000_001_000);
    assert_eq!(nanos("2026-11-23T00:32:34.046595Z"), 1_795_393_954_046_595_000);
    assert_eq!(nanos("2024-02-29T12:00:00.5Z"), 1_709_208_000_500_000_000);
}
