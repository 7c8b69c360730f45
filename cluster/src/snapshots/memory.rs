//! The snapshots of a cluster that is one process.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use streamfleet_proto::SessionId;
use tokio::time::Instant;

use super::{
    LoadError, Loaded, SaveError, SavedState, SnapshotOptions, SnapshotStore, Write,
    fence::{Admitted, Fence},
    signer::Signer,
    state::micros,
    stored::Stored,
};

/// The snapshots of a cluster that is one process. They are checked like all others when they come out.
#[derive(Debug)]
pub struct MemorySnapshots {
    signer: Signer,
    ttl: Duration,
    table: Mutex<Table>,
}

#[derive(Debug)]
struct Table {
    entries: HashMap<SessionId, Entry>,
    last_sweep: Instant,
}

#[derive(Debug, Default)]
struct Entry {
    fence: Fence,
    stored: Stored,
    expires: Option<Instant>,
}

impl Entry {
    fn is_live(&self, now: Instant) -> bool {
        self.expires.is_some_and(|expires| now < expires)
    }
}

impl MemorySnapshots {
    /// A store with nothing in it.
    pub fn new(options: SnapshotOptions) -> Self {
        let table = Table { entries: HashMap::new(), last_sweep: Instant::now() };
        Self { signer: options.signer, ttl: options.ttl, table: Mutex::new(table) }
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        // No operation leaves an entry half changed, so a poisoned lock is as good as any.
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Does something with a session's entry, a new one if need be, and renews it if that goes well.
    fn with<T, E>(&self, session: SessionId, operation: impl FnOnce(&mut Entry) -> Result<T, E>) -> Result<T, E> {
        let now = Instant::now();
        let mut table = self.table();
        if now.duration_since(table.last_sweep) >= self.ttl / 4 {
            table.entries.retain(|_, entry| entry.is_live(now));
            table.last_sweep = now;
        }
        let entry = table.entries.entry(session).or_default();
        if !entry.is_live(now) {
            *entry = Entry::default();
        }
        let done = operation(entry)?;
        entry.expires = Some(now + self.ttl);
        Ok(done)
    }
}

#[async_trait]
impl SnapshotStore for MemorySnapshots {
    fn begin(&self, session: SessionId, epoch: u64) -> SavedState {
        SavedState::new(self.signer.clone(), session, epoch)
    }

    async fn save(&self, write: &Write) -> Result<(), SaveError> {
        self.with(write.session, |entry| {
            if entry.fence.admit(write)? == Admitted::New {
                entry.stored.apply(write);
                entry.fence.wrote(write);
            }
            Ok(())
        })
    }

    async fn load(&self, session: SessionId, epoch: u64) -> Result<Option<Loaded>, LoadError> {
        let stored = self.with(session, |entry| {
            entry.fence.raise(epoch).map(|()| entry.stored.clone()).map_err(|epoch| LoadError::Fenced { epoch })
        })?;
        stored.open_if_any(&self.signer, session, epoch).await
    }

    async fn touch(&self, session: SessionId, epoch: u64) -> Result<(), SaveError> {
        self.with(session, |entry| entry.fence.touch(epoch))
    }

    async fn remove(&self, session: SessionId, epoch: u64) -> Result<(), SaveError> {
        self.with(session, |entry| {
            entry.fence.remove(epoch, micros())?;
            entry.stored = Stored::default();
            Ok(())
        })
    }
}
