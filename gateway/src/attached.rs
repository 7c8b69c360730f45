//! The sessions whose browsers are connected to this gateway, so that they can be sent to another owner.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use streamfleet_proto::{RunnerId, SessionId};
use tokio_util::sync::CancellationToken;

/// The sessions whose browsers are connected here.
#[derive(Debug, Default, Clone)]
pub(crate) struct Attached {
    inner: Arc<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    // Seldom more than one for a session: a browser that is back before its old connection is known to be dead.
    sessions: Mutex<HashMap<SessionId, Vec<Entry>>>,
    last_key: AtomicU64,
}

#[derive(Debug)]
struct Entry {
    key: u64,
    runner: RunnerId,
    moved: CancellationToken,
}

/// A browser's connection. Dropping it ends the entry.
#[derive(Debug)]
pub(crate) struct Attachment {
    inner: Arc<Inner>,
    pub(crate) session: SessionId,
    key: u64,
    /// Cancelled when the session has another owner than the runner to which this connection leads.
    pub(crate) moved: CancellationToken,
}

impl Attached {
    /// A browser's connection leads to a session on this runner.
    pub(crate) fn attach(&self, session: SessionId, runner: RunnerId) -> Attachment {
        let key = self.inner.last_key.fetch_add(1, Ordering::Relaxed);
        let moved = CancellationToken::new();
        let entry = Entry { key, runner, moved: moved.clone() };
        self.inner.sessions().entry(session).or_default().push(entry);
        Attachment { inner: Arc::clone(&self.inner), session, key, moved }
    }

    /// A session has this owner now.
    pub(crate) fn moved(&self, session: SessionId, owner: &RunnerId) {
        for entry in self.inner.sessions().get(&session).into_iter().flatten() {
            if entry.runner != *owner {
                entry.moved.cancel();
            }
        }
    }
}

impl Inner {
    fn sessions(&self) -> MutexGuard<'_, HashMap<SessionId, Vec<Entry>>> {
        self.sessions.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Attachment {
    fn drop(&mut self) {
        let mut sessions = self.inner.sessions();
        if let Some(entries) = sessions.get_mut(&self.session) {
            entries.retain(|entry| entry.key != self.key);
            if entries.is_empty() {
                sessions.remove(&self.session);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_to_an_old_owner_are_told() {
        let attached = Attached::default();
        let session = SessionId::random();
        let (old, new): (RunnerId, RunnerId) = ("a".parse().unwrap(), "b".parse().unwrap());
        let stale = attached.attach(session, old.clone());
        let current = attached.attach(session, new.clone());
        let other = attached.attach(SessionId::random(), old);
        attached.moved(session, &new);
        assert!(stale.moved.is_cancelled());
        assert!(!current.moved.is_cancelled() && !other.moved.is_cancelled());
        drop((stale, current, other));
        assert!(attached.inner.sessions().is_empty());
    }
}
