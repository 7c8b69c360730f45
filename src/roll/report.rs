//! What people and programs are told of a roll.

use std::{
    fmt::Write as _,
    io::{self, IsTerminal as _, Write as _},
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use serde::Serialize;

use crate::table::{age, harmless, plural};

/// Characters of a progress bar.
const BAR: usize = 24;
/// Takes away what is shown in place.
const CLEAR: &str = "\r\x1b[K";

/// One thing that has happened. As JSON, just this with the time, in milliseconds since 1970.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub(super) enum Event {
    /// The roll begins, or is gone on with.
    Started { revision: String, former: Option<String>, runners: usize, replaced: usize, resumed: bool },
    /// A new runner is waited for; `command` says whether one was started.
    Waiting { runner: String, revision: String, command: bool },
    /// The app of a new runner is tried.
    Probing { runner: String },
    /// It works; new sessions go there.
    Healthy { runner: String, run_ms: u64 },
    /// A runner hands its sessions over.
    HandingOver { runner: String, total: u32, moved: u32, left: u32 },
    /// A runner has left.
    Replaced {
        runner: String,
        successor: String,
        seconds: f64,
        moved: u32,
        incomplete: u32,
        replaced: usize,
        runners: usize,
        left_seconds: Option<u64>,
    },
    /// Something that whoever watches should know.
    Note { text: String },
    /// The new revision doesn't work.
    Failed { reason: String },
    /// All is made as it was.
    GoingBack { revision: Option<String> },
    /// The end: `done`, `went_back` or `stopped`.
    Finished {
        outcome: &'static str,
        seconds: f64,
        replaced: usize,
        moved: u64,
        incomplete: u64,
        returned: u64,
        afresh: u64,
    },
}

impl Event {
    /// The same for people; `None` where a bar says it.
    fn text(&self) -> Option<String> {
        Some(match self {
            Self::Started { revision, former, runners, replaced, resumed } => {
                let from = former.as_ref().map_or_else(String::new, |former| format!(" from {former}"));
                let done = if *resumed { format!(", {replaced} of them done") } else { String::new() };
                format!("Rolling{from} to {revision}: {} to replace{done}.", plural(*runners as u64, "runner"))
            }
            Self::Waiting { runner, revision, command: true } => {
                format!("{runner}: started a runner of {revision} in its place, and wait for it")
            }
            Self::Waiting { runner, revision, command: false } => format!(
                "{runner}: waiting for a runner of {revision} to take its place. Start one: streamfleet runner --revision \
                 {revision} APP"
            ),
            Self::Probing { runner } => format!("{runner}: is ready; trying its app"),
            Self::Healthy { runner, run_ms } => {
                format!("{runner}: its app works ({run_ms} ms); new sessions go there")
            }
            Self::HandingOver { .. } => return None,
            Self::Replaced { runner, successor, seconds, moved, incomplete, replaced, runners, left_seconds } => {
                let lost = if *incomplete == 0 { String::new() } else { format!(" ({incomplete} not whole)") };
                let left = left_seconds
                    .map_or_else(String::new, |left| format!("; about {} left", age(Duration::from_secs(left))));
                let moved = plural(u64::from(*moved), "session");
                format!(
                    "{runner}: replaced by {successor} in {seconds:.1} s, {moved} moved{lost}. {replaced} of {runners}{left}"
                )
            }
            Self::Note { text } => text.clone(),
            Self::Failed { reason } => format!("The new revision does not work: {reason}"),
            Self::GoingBack { revision } => {
                let to = revision.as_ref().map_or_else(String::new, |revision| format!(" to {revision}"));
                format!("Going back{to}.")
            }
            Self::Finished { outcome, seconds, replaced, moved, incomplete, returned, afresh } => {
                let what = match *outcome {
                    "done" => format!("Done: {} replaced", plural(*replaced as u64, "runner")),
                    "went_back" => "All is as before".to_owned(),
                    _ => "Stopped between two revisions; go on with `streamfleet roll --resume`, or back with `streamfleet roll \
                          --back`"
                        .to_owned(),
                };
                let mut text = format!(
                    "{what}, after {}; {} moved",
                    age(Duration::from_secs_f64(*seconds)),
                    plural(*moved, "session")
                );
                for (number, of) in [
                    (incomplete, "without what could not be kept"),
                    (returned, "back, as the new revision could not read their state"),
                    (afresh, "started afresh, as it could not be read"),
                ] {
                    if *number > 0 {
                        // Writing into a text can't fail.
                        let _ = write!(text, ", {number} {of}");
                    }
                }
                text + "."
            }
        })
    }
}

/// Tells what happens, as it happens.
#[derive(Debug)]
pub(super) struct Reporter {
    json: bool,
    terminal: bool,
    out: Mutex<()>,
    has_bar: AtomicBool,
}

impl Reporter {
    pub(super) fn new(json: bool) -> Self {
        let terminal = !json && io::stdout().is_terminal();
        Self { json, terminal, out: Mutex::default(), has_bar: AtomicBool::new(false) }
    }

    pub(super) fn note(&self, text: &str) {
        self.tell(&Event::Note { text: text.to_owned() });
    }

    pub(super) fn tell(&self, event: &Event) {
        let _turn = self.out.lock().unwrap_or_else(PoisonError::into_inner);
        let mut out = io::stdout().lock();
        // Nobody may be reading any more; the roll goes on.
        let _ = if self.json {
            writeln!(out, "{}", json(event))
        } else if let Some(text) = event.text() {
            let clear = if self.has_bar.swap(false, Ordering::Relaxed) { CLEAR } else { "" };
            writeln!(out, "{clear}{}", harmless(&text))
        } else if let Event::HandingOver { runner, total, moved, .. } = event
            && self.terminal
        {
            self.has_bar.store(true, Ordering::Relaxed);
            write!(out, "{CLEAR}{} {moved} of {total} sessions of {}", bar(*moved, *total), harmless(runner))
        } else {
            Ok(())
        };
        let _ = out.flush();
    }
}

fn json(event: &Event) -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let mut value = serde_json::json!({ "time": u64::try_from(now.as_millis()).unwrap_or(u64::MAX) });
    if let (Some(fields), Ok(serde_json::Value::Object(event))) = (value.as_object_mut(), serde_json::to_value(event)) {
        fields.extend(event);
    }
    value.to_string()
}

/// So much of a whole, drawn.
pub(crate) fn bar(part: u32, whole: u32) -> String {
    let full = if whole == 0 { BAR } else { BAR * part.min(whole) as usize / whole as usize };
    format!("[{}{}]", "#".repeat(full), "-".repeat(BAR - full))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bar_is_as_full_as_it_should_be() {
        assert_eq!(bar(0, 10), "[------------------------]");
        assert_eq!(bar(5, 10), "[############------------]");
        assert_eq!(bar(20, 10), "[########################]");
        assert_eq!(bar(0, 0), "[########################]");
    }

    #[test]
    fn events_are_told_to_programs_and_people() {
        let event = Event::Replaced {
            runner: "a-1".to_owned(),
            successor: "b-1".to_owned(),
            seconds: 2.5,
            moved: 1,
            incomplete: 0,
            replaced: 1,
            runners: 3,
            left_seconds: Some(65),
        };
        let value: serde_json::Value = serde_json::from_str(&json(&event)).unwrap();
        assert_eq!((&value["event"], &value["successor"]), (&"replaced".into(), &"b-1".into()));
        assert!(value["time"].as_u64().unwrap() > 1_700_000_000_000);
        let text = event.text().unwrap();
        assert_eq!(text, "a-1: replaced by b-1 in 2.5 s, 1 session moved. 1 of 3; about 1 min 5 s left");
        let finished = Event::Finished {
            outcome: "done",
            seconds: 60.0,
            replaced: 3,
            moved: 200,
            incomplete: 0,
            returned: 0,
            afresh: 2,
        };
        let text = finished.text().unwrap();
        assert!(
            text.starts_with("Done: 3 runners replaced")
                && text.ends_with("2 started afresh, as it could not be read."),
            "{text}"
        );
    }
}
