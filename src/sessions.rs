//! `streamfleet sessions`: the sessions of a cluster.

use std::{process::ExitCode, time::Duration};

use anyhow::{Result, bail};
use serde::Serialize;
use streamfleet_cluster::Member;
use streamfleet_gateway::status::{self, SessionView};

use crate::{
    cli::SessionsArgs,
    fleet::{self, Look, View},
    shutdown::Shutdown,
    table::{NOTHING, Side, Table, age, harmless, milliseconds, plural, shortened},
};

/// A longer list of keys is cut off.
const KEYS: usize = 40;

/// Shows the sessions.
pub(crate) async fn run(args: SessionsArgs, shutdown: Shutdown) -> Result<ExitCode> {
    let view = Sessions { runner: args.runner, limit: args.limit };
    fleet::watch(&args.look, &view, &shutdown).await?;
    Ok(ExitCode::SUCCESS)
}

struct Sessions {
    runner: Option<String>,
    limit: u32,
}

impl View for Sessions {
    type Outcome = ();

    fn sessions(&self) -> u32 {
        self.limit
    }

    fn wants(&self, member: &Member) -> bool {
        self.runner.as_ref().is_none_or(|name| fleet::is_named(member, name))
    }

    fn show(&self, look: &Look, json: bool) -> Result<(String, ())> {
        if let (Some(name), true) = (&self.runner, look.runners.is_empty()) {
            bail!("no runner {name} is in the cluster {:?}; `streamfleet status` shows which ones are", look.cluster);
        }
        let shown = Shown::new(look, self.limit);
        let text = if json { serde_json::to_string(&shown)? + "\n" } else { shown.text() + fleet::remark(look) };
        Ok((text, ()))
    }
}

/// What is shown; as JSON, just this.
#[derive(Debug, Serialize)]
struct Shown<'a> {
    time: u64,
    cluster: &'a str,
    sessions: Vec<SessionView>,
    sessions_total: u64,
    /// The runners that did not answer.
    unreachable: Vec<&'a str>,
    #[serde(skip)]
    limit: usize,
}

impl<'a> Shown<'a> {
    fn new(look: &'a Look, limit: u32) -> Self {
        let limit = limit as usize;
        let (sessions, sessions_total) = status::sessions(&look.runners, limit);
        let unheard = look.runners.iter().filter(|report| report.status.is_none());
        let unreachable = unheard.map(|report| report.member.runner.as_str()).collect();
        Self { time: look.time, cluster: &look.cluster, sessions, sessions_total, unreachable, limit }
    }

    fn text(&self) -> String {
        let listed = self.sessions.len();
        let total = plural(self.sessions_total, "session");
        let mut lines = vec![if (listed as u64) < self.sessions_total {
            let more = if listed == self.limit { "; --limit shows more" } else { "" };
            format!("{listed} of {total} are listed{more}")
        } else {
            total
        }];
        let unheard = self.unreachable.iter();
        lines.extend(unheard.map(|runner| format!("{runner} does not answer; its sessions are not listed")));
        let table = if self.sessions.is_empty() { String::new() } else { self.table() + "\n" };
        table + &lines.join("\n") + "\n"
    }

    fn table(&self) -> String {
        let mut table = Table::new([
            ("SESSION", Side::Left),
            ("RUNNER", Side::Left),
            ("WORKER", Side::Right),
            ("STATE", Side::Left),
            ("PAGE", Side::Left),
            ("AGE", Side::Right),
            ("RUNS", Side::Right),
            ("LAST RUN", Side::Right),
            ("UNSAVED", Side::Left),
        ]);
        for session in &self.sessions {
            let nothing = || NOTHING.to_owned();
            table.row([
                session.id.clone(),
                session.runner.clone(),
                session.worker.to_string(),
                format!("{}{}", session.state, if session.running { ", running" } else { "" }),
                session.page.as_deref().map_or_else(nothing, harmless),
                age(Duration::from_secs(session.age_seconds)),
                session.runs.to_string(),
                session.last_run_ms.map_or_else(nothing, milliseconds),
                shortened(&session.unsaved.join(", "), KEYS),
            ]);
        }
        table.render()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::fleet::tests::look;

    fn sessions(runner: Option<&str>, limit: u32) -> Sessions {
        Sessions { runner: runner.map(str::to_owned), limit }
    }

    #[test]
    fn sessions_are_drawn_as_a_table() {
        let (text, ()) = sessions(None, 100).show(&look(), false).unwrap();
        let expected = "\
SESSION       RUNNER  WORKER  STATE                  PAGE           AGE  RUNS  LAST RUN  UNSAVED
aaaaaaaaaaaa  a-1          1  disconnected, running  /charts  2 min 5 s    12         –
bbbbbbbbbbbb  a-1          1  disconnected           –        2 min 5 s    12    340 ms  lock, file\u{fffd}

2 of 42 sessions are listed
c-1 does not answer; its sessions are not listed
";
        assert_eq!(text, expected);
    }

    #[test]
    fn no_more_are_listed_than_wanted() {
        let (text, ()) = sessions(None, 1).show(&look(), false).unwrap();
        assert!(text.contains("\n1 of 42 sessions are listed; --limit shows more\n"), "{text}");
        let (text, ()) = sessions(None, 1).show(&look(), true).unwrap();
        assert_eq!(text.find('\n'), Some(text.len() - 1));
        let shown: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(
            shown,
            json!({
                "time": 1_700_000_000_000_u64, "cluster": "main", "sessions_total": 42, "unreachable": ["c-1"],
                "sessions": [{
                    "id": "aaaaaaaaaaaa", "runner": "a-1", "worker": 1, "state": "disconnected", "running": true,
                    "page": "/charts", "age_seconds": 125, "runs": 12, "last_run_ms": null, "unsaved": []
                }]
            })
        );
    }

    #[test]
    fn a_runner_is_named_in_full_or_as_it_was_given() {
        let look = look();
        let wanted = |name: &str| {
            let view = sessions(Some(name), 1);
            look.runners.iter().filter(|report| view.wants(&report.member)).count()
        };
        assert_eq!((wanted("a-1"), wanted("a"), wanted("a-"), wanted("-1"), wanted("")), (1, 1, 0, 0, 0));
        let error = sessions(Some("x"), 1).show(&Look { runners: Vec::new(), ..look }, false).unwrap_err();
        assert!(error.to_string().contains("no runner x"), "{error}");
    }
}
