//! What was cleared while the store was away.

use std::sync::{
    Mutex, PoisonError,
    atomic::{AtomicBool, Ordering},
};

use streamfleet_cluster::Scope;
use tokio::sync::{Mutex as AsyncMutex, MutexGuard};

/// More than this are cleared as one: everything.
const MOST: usize = 1000;

/// What was cleared while the store was away, and is still to be cleared there.
#[derive(Debug, Default)]
pub(super) struct PendingClears {
    scopes: Mutex<Vec<Scope>>,
    any: AtomicBool,
    /// One tries at a time.
    trying: AsyncMutex<()>,
}

/// Something that is to be cleared, which nobody else tries meanwhile.
pub(super) struct Pending<'a> {
    all: &'a PendingClears,
    pub(super) scope: Scope,
    _trying: MutexGuard<'a, ()>,
}

impl PendingClears {
    pub(super) fn is_empty(&self) -> bool {
        !self.any.load(Ordering::SeqCst)
    }

    pub(super) fn add(&self, scope: &Scope) {
        let mut scopes = self.scopes.lock().unwrap_or_else(PoisonError::into_inner);
        if scopes.len() >= MOST || *scope == Scope::Everything {
            scopes.clear();
            scopes.push(Scope::Everything);
        } else if !scopes.contains(scope) {
            scopes.push(scope.clone());
        }
        self.any.store(true, Ordering::SeqCst);
    }

    /// The first that is to be cleared, for one that tries at a time.
    pub(super) fn first(&self) -> Option<Pending<'_>> {
        if self.is_empty() {
            return None;
        }
        let trying = self.trying.try_lock().ok()?;
        let scope = self.scopes.lock().unwrap_or_else(PoisonError::into_inner).first().cloned()?;
        Some(Pending { all: self, scope, _trying: trying })
    }
}

impl Pending<'_> {
    /// It has been cleared.
    pub(super) fn done(self) {
        let mut scopes = self.all.scopes.lock().unwrap_or_else(PoisonError::into_inner);
        scopes.retain(|other| *other != self.scope);
        self.all.any.store(!scopes.is_empty(), Ordering::SeqCst);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn function(id: &str) -> Scope {
        Scope::Function(id.into())
    }

    #[test]
    fn what_could_not_be_cleared_is_cleared_later() {
        let pending = PendingClears::default();
        assert!(pending.first().is_none());
        for id in ["a", "b", "a"] {
            pending.add(&function(id));
        }
        let first = pending.first().unwrap();
        assert!(pending.first().is_none(), "two try at once");
        drop(first);
        for id in ["a", "b"] {
            assert!(!pending.is_empty());
            let first = pending.first().unwrap();
            assert_eq!(first.scope, function(id));
            first.done();
        }
        assert!(pending.is_empty());
    }

    #[test]
    fn very_many_are_everything() {
        let pending = PendingClears::default();
        for index in 0..=MOST {
            pending.add(&function(&index.to_string()));
        }
        assert_eq!(pending.first().unwrap().scope, Scope::Everything);
        assert_eq!(pending.scopes.lock().unwrap().len(), 1);
    }
}
