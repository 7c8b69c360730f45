//! Where a session is to come from: a worker that has it, its snapshot, or nothing.

use std::time::Duration;

use streamfleet_cluster::{LoadError, Loaded};
use streamfleet_proto::{
    SessionId,
    runner::SessionOpen,
    worker::{Restore, Value},
};
use tonic::Status;
use tracing::{info, warn};

use crate::{
    observe::trace_id,
    pool::Pool,
    saver::{Mark, Restored},
};

/// How long what a dead worker sent last may take to be stored, before the session is loaded.
const SETTLE_LIMIT: Duration = Duration::from_secs(10);
/// What users are told whose state can't be used.
const STATE_REFUSED: &str = "Your session could not be brought back, so it starts afresh.";

/// Where a session is to come from.
pub(super) enum Origin {
    /// A worker has it.
    Live { received: Mark },
    /// Its snapshot.
    Snapshot { restore: Option<Restore>, restored: Option<Box<Restored>> },
    /// Nothing: it is new, or nothing is left of it.
    Nothing { notice: &'static str },
}

impl Origin {
    pub(super) fn name(&self) -> &'static str {
        match self {
            Self::Live { .. } => "live",
            Self::Snapshot { .. } => "snapshot",
            Self::Nothing { .. } => "new",
        }
    }

    pub(super) fn is_live(&self) -> bool {
        matches!(self, Self::Live { .. })
    }

    /// Whether there is a session to resume.
    pub(super) fn is_known(&self) -> bool {
        !matches!(self, Self::Nothing { .. })
    }

    /// Whether the browser may show something else than the session's last word.
    pub(super) fn needs_refresh(&self, open: &SessionOpen) -> bool {
        match self {
            // Streamlit keeps for a browser that comes back what it has missed.
            Self::Live { received } => open.reattach && received.of(open.connection) > open.acked_seq,
            // An acknowledgement comes after everything that led to it.
            Self::Snapshot { restored, .. } => {
                let applied = restored.as_ref().map_or(0, |restored| restored.mark.of(open.connection));
                !open.reattach || applied > open.acked_seq
            }
            Self::Nothing { .. } => open.reattach,
        }
    }

    /// What the user is told.
    pub(super) fn notice(&self, open: &SessionOpen) -> String {
        match self {
            Self::Nothing { notice } if !notice.is_empty() => (*notice).to_owned(),
            _ => open.notice.clone(),
        }
    }

    pub(super) fn take_restore(&mut self) -> Option<Restore> {
        match self {
            Self::Snapshot { restore, .. } => restore.take(),
            _ => None,
        }
    }

    pub(super) fn take_restored(&mut self) -> Option<Restored> {
        match self {
            Self::Snapshot { restored, .. } => restored.take().map(|restored| *restored),
            _ => None,
        }
    }
}

/// Finds out where the session is to come from that the browser asks to have back.
pub(super) async fn find(pool: &Pool, resume: Option<SessionId>, open: &SessionOpen) -> Result<Origin, Status> {
    let draining = || Status::aborted("this runner is draining");
    let Some(session) = resume else {
        return if pool.shared().is_draining() { Err(draining()) } else { Ok(Origin::Nothing { notice: "" }) };
    };
    pool.give_up_older(session, open.resume_epoch);
    let entry = pool.shared().saver.find(session);
    // One that is about to leave is still there until it has: its worker says so if it is too late.
    if pool.has(session)
        && let Some(entry) = &entry
    {
        return Ok(Origin::Live { received: entry.received() });
    }
    if pool.shared().is_draining() {
        return Err(draining());
    }
    if let Some(entry) = entry
        && !entry.settled(SETTLE_LIMIT).await
    {
        return Err(Status::unavailable("the session's last snapshot is not stored yet"));
    }
    if open.resume_epoch == 0 {
        // The registry could not be asked whose it is, so its state can't be taken from anybody either.
        return if open.reattach {
            Err(Status::unavailable("it is not known who owns the session"))
        } else {
            Ok(Origin::Nothing { notice: "" })
        };
    }
    let trace = trace_id(&open.trace);
    match pool.shared().saver.load(session, open.resume_epoch).await {
        Ok(Some(loaded)) => {
            let foreign = loaded.revision != pool.shared().options.revision;
            let whose = Whose { foreign, may_return: open.may_return };
            Ok(from_snapshot(session, loaded, whose, &trace))
        }
        Ok(None) => {
            if open.reattach {
                info!(?session, trace, "nothing is kept of a session; it starts afresh");
            }
            Ok(Origin::Nothing { notice: "" })
        }
        Err(LoadError::Fenced { .. }) => Err(Status::aborted("the session has another owner")),
        Err(LoadError::Unavailable(reason)) => {
            Err(Status::unavailable(format!("the session's state can't be read now: {reason}")))
        }
        Err(LoadError::Refused { reason }) => {
            warn!(?session, trace, "refused a session's snapshot: {reason}; it starts afresh");
            Ok(Origin::Nothing { notice: STATE_REFUSED })
        }
        Err(LoadError::Failed(reason)) => {
            warn!(?session, trace, "cannot read a session's snapshot: {reason}; it starts afresh");
            Ok(Origin::Nothing { notice: STATE_REFUSED })
        }
    }
}

/// Whether another revision has written a snapshot, and whether a runner of that is left.
#[derive(Clone, Copy)]
struct Whose {
    foreign: bool,
    may_return: bool,
}

fn from_snapshot(session: SessionId, loaded: Loaded, whose: Whose, trace: &str) -> Origin {
    let Loaded { core, values, connection, applied_seq, unsaved, state, .. } = loaded;
    for entry in &unsaved {
        info!(?session, trace, key = entry.key, r#type = entry.kind, "a session comes without what could not be kept");
    }
    let Whose { foreign, may_return } = whose;
    let values = values.into_iter().map(|(key, pickle)| Value { key, pickle }).collect();
    let mark = Mark { connection, seq: applied_seq };
    Origin::Snapshot {
        restore: Some(Restore { core, values, foreign, may_return }),
        restored: Some(Box::new(Restored { mark, saved: state, unsaved })),
    }
}
