//! What happens in the cluster, for pages to list: what this gateway sees happen to sessions, and who comes and goes.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{SystemTime, UNIX_EPOCH},
};

use serde::Serialize;
use streamfleet_cluster::{Member, RunnerPhase, membership::View};
use streamfleet_proto::RunnerId;
use tokio::sync::{
    broadcast::{self, error::RecvError},
    watch,
};
use tokio_util::sync::{CancellationToken, DropGuard};
use tracing::warn;

use crate::{observe::Happened, upstream::Upstream};

/// The latest ones, which a page that is opened is told first.
const REMEMBERED: usize = 100;
/// How many a slow page may be behind by before it misses some.
const QUEUE: usize = 256;

/// Follows what happens until dropped, whether a page is open or not: it is afterwards that somebody looks.
pub(super) struct Happenings {
    log: Arc<Log>,
    _stop: DropGuard,
}

/// As JSON.
struct Log {
    latest: Mutex<VecDeque<Arc<str>>>,
    told: broadcast::Sender<Arc<str>>,
}

/// A happening, as the page is told.
#[derive(Serialize)]
struct Told<'a> {
    time: u64,
    kind: &'a str,
    session: Option<&'a str>,
    runner: Option<&'a str>,
    text: &'a str,
}

impl Happenings {
    pub(super) fn follow(upstream: &Upstream) -> Self {
        let log = Arc::new(Log { latest: Mutex::default(), told: broadcast::Sender::new(QUEUE) });
        let stop = CancellationToken::new();
        let follow = follow(Arc::clone(&log), upstream.members(), upstream.observer.happened());
        tokio::spawn(stop.clone().run_until_cancelled_owned(follow));
        Self { log, _stop: stop.drop_guard() }
    }

    /// The latest ones, oldest first, and all that follow.
    pub(super) fn subscribe(&self) -> (Vec<Arc<str>>, broadcast::Receiver<Arc<str>>) {
        let latest = self.log.lock();
        (latest.iter().cloned().collect(), self.log.told.subscribe())
    }
}

impl Log {
    fn add(&self, happened: &Happened) {
        let told = Told {
            time: epoch_millis(happened.at),
            kind: happened.kind,
            session: happened.session.as_deref(),
            runner: happened.runner.as_ref().map(RunnerId::as_str),
            text: &happened.text,
        };
        let told: Arc<str> = match serde_json::to_string(&told) {
            Ok(told) => told.into(),
            Err(error) => return warn!("cannot tell what happened: {error}"),
        };
        // Locked until it is sent, so that nobody who subscribes meanwhile gets it twice or never.
        let mut latest = self.lock();
        if latest.len() == REMEMBERED {
            latest.pop_front();
        }
        latest.push_back(Arc::clone(&told));
        // Nobody may be there to hear.
        let _ = self.told.send(told);
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<Arc<str>>> {
        self.latest.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn follow(log: Arc<Log>, mut members: watch::Receiver<Arc<View>>, mut happened: broadcast::Receiver<Happened>) {
    let mut known = Arc::clone(&members.borrow_and_update());
    loop {
        tokio::select! {
            changed = members.changed() => {
                if changed.is_err() {
                    return; // The gateway is gone.
                }
                let now = Arc::clone(&members.borrow_and_update());
                for change in changes(&known.members, &now.members) {
                    log.add(&change);
                }
                known = now;
            }
            happened = happened.recv() => match happened {
                Ok(happened) => log.add(&happened),
                Err(RecvError::Lagged(_)) => {}
                Err(RecvError::Closed) => return,
            },
        }
    }
}

/// What has happened between two looks at the members.
fn changes(before: &BTreeMap<RunnerId, Member>, now: &BTreeMap<RunnerId, Member>) -> Vec<Happened> {
    let mut changes = Vec::new();
    let mut add = |kind, runner: &RunnerId, text: String| {
        changes.push(Happened { at: SystemTime::now(), kind, session: None, runner: Some(runner.clone()), text });
    };
    for (runner, member) in before {
        if !now.contains_key(runner) {
            let how = if member.phase >= RunnerPhase::Draining { "has left" } else { "is gone" };
            add("runner_left", runner, format!("{runner} {how}"));
        }
    }
    for (runner, member) in now {
        let Member { address, revision, load, .. } = member;
        match before.get(runner) {
            None => add("runner_joined", runner, format!("{runner} has joined at {address} with revision {revision}")),
            Some(was) if was.phase < RunnerPhase::Draining && member.phase == RunnerPhase::Draining => {
                let sessions = if load.sessions == 1 { "session" } else { "sessions" };
                add("drain", runner, format!("{runner} hands over its {} {sessions}", load.sessions));
            }
            Some(_) => {}
        }
    }
    changes
}

/// Milliseconds since 1970.
pub(super) fn epoch_millis(time: SystemTime) -> u64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use streamfleet_cluster::Load;

    use super::*;

    fn members(list: &[(&str, RunnerPhase, u32)]) -> BTreeMap<RunnerId, Member> {
        let member = |&(name, phase, sessions): &(&str, RunnerPhase, u32)| {
            let runner: RunnerId = name.parse().unwrap();
            let load = Load { sessions, ..Load::default() };
            (runner.clone(), Member { runner, address: "h:1".to_owned(), revision: "r".to_owned(), phase, load })
        };
        list.iter().map(member).collect()
    }

    #[test]
    fn who_comes_and_goes_is_told_once() {
        use RunnerPhase::{Draining, Ready, Starting};
        let before = members(&[("a", Ready, 3), ("b", Draining, 0), ("c", Ready, 2), ("d", Ready, 1)]);
        let now = members(&[("c", Draining, 2), ("d", Ready, 5), ("e", Starting, 0)]);
        let told: Vec<_> = changes(&before, &now).into_iter().map(|change| (change.kind, change.text)).collect();
        let expected = [
            ("runner_left", "a is gone"),
            ("runner_left", "b has left"),
            ("drain", "c hands over its 2 sessions"),
            ("runner_joined", "e has joined at h:1 with revision r"),
        ];
        assert_eq!(told, expected.map(|(kind, text)| (kind, text.to_owned())));
        assert!(changes(&now, &now).is_empty());
    }

    #[test]
    fn a_page_that_is_opened_hears_the_latest_and_what_follows() {
        let log = Arc::new(Log { latest: Mutex::default(), told: broadcast::Sender::new(QUEUE) });
        let happenings = Happenings { log, _stop: CancellationToken::new().drop_guard() };
        let add = |text: &str| {
            let at = UNIX_EPOCH + std::time::Duration::from_millis(7);
            let (session, runner) = (Some("0123456789ab".to_owned()), None);
            happenings.log.add(&Happened { at, kind: "handoff", session, runner, text: text.to_owned() });
        };
        for number in 0..=REMEMBERED {
            add(&number.to_string());
        }
        let (latest, mut told) = happenings.subscribe();
        assert_eq!(latest.len(), REMEMBERED);
        assert_eq!(&*latest[0], r#"{"time":7,"kind":"handoff","session":"0123456789ab","runner":null,"text":"1"}"#);
        add("next\nline");
        assert!(told.try_recv().unwrap().ends_with(r#""text":"next\nline"}"#));
        assert!(told.try_recv().is_err());
    }
}
