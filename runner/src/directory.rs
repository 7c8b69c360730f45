//! Which worker has which session and which media file.

use std::{
    collections::HashMap,
    sync::{PoisonError, RwLock},
};

use streamfleet_proto::SessionId;

/// Which worker has which session and which media file. Workers go by their number.
#[derive(Debug, Default)]
pub(crate) struct Directory {
    inner: RwLock<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    sessions: HashMap<SessionId, u32>,
    // Media ids are content hashes, so several workers may have made the same file.
    media: HashMap<String, Vec<u32>>,
}

impl Directory {
    pub(crate) fn bind(&self, session: SessionId, worker: u32) {
        self.write(|inner| inner.sessions.insert(session, worker));
    }

    /// Forgets the session, unless another worker has taken it meanwhile.
    pub(crate) fn end(&self, session: SessionId, worker: u32) {
        self.write(|inner| {
            if inner.sessions.get(&session) == Some(&worker) {
                inner.sessions.remove(&session);
            }
        });
    }

    pub(crate) fn owner(&self, session: SessionId) -> Option<u32> {
        let inner = self.inner.read().unwrap_or_else(PoisonError::into_inner);
        inner.sessions.get(&session).copied()
    }

    pub(crate) fn add_media(&self, file_id: String, worker: u32) {
        self.write(|inner| {
            let workers = inner.media.entry(file_id).or_default();
            if !workers.contains(&worker) {
                workers.push(worker);
            }
        });
    }

    pub(crate) fn remove_media(&self, file_id: &str, worker: u32) {
        self.write(|inner| {
            if let Some(workers) = inner.media.get_mut(file_id) {
                workers.retain(|&other| other != worker);
                if workers.is_empty() {
                    inner.media.remove(file_id);
                }
            }
        });
    }

    /// The worker to get a media file from.
    pub(crate) fn media_holder(&self, file_id: &str) -> Option<u32> {
        let inner = self.inner.read().unwrap_or_else(PoisonError::into_inner);
        inner.media.get(file_id)?.first().copied()
    }

    /// Forgets everything that a worker had, and tells how many sessions that were.
    pub(crate) fn forget_worker(&self, worker: u32) -> usize {
        self.write(|inner| {
            let before = inner.sessions.len();
            inner.sessions.retain(|_, &mut owner| owner != worker);
            inner.media.retain(|_, workers| {
                workers.retain(|&other| other != worker);
                !workers.is_empty()
            });
            before - inner.sessions.len()
        })
    }

    fn write<T>(&self, change: impl FnOnce(&mut Inner) -> T) -> T {
        // Each change leaves the tables whole, so a panic in another one does no harm.
        change(&mut self.inner.write().unwrap_or_else(PoisonError::into_inner))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_ends_only_where_it_lives() {
        let directory = Directory::default();
        let session = SessionId::random();
        directory.bind(session, 0);
        directory.bind(session, 1);
        directory.end(session, 0);
        assert_eq!(directory.owner(session), Some(1));
        directory.end(session, 1);
        assert_eq!(directory.owner(session), None);
    }

    #[test]
    fn a_file_is_found_as_long_as_one_worker_has_it() {
        let directory = Directory::default();
        directory.add_media("a".into(), 0);
        directory.add_media("a".into(), 1);
        directory.add_media("a".into(), 1);
        directory.remove_media("a", 0);
        assert_eq!(directory.media_holder("a"), Some(1));
        directory.remove_media("a", 1);
        assert_eq!(directory.media_holder("a"), None);
    }

    #[test]
    fn a_dead_worker_leaves_nothing_behind() {
        let directory = Directory::default();
        let (lost, kept) = (SessionId::random(), SessionId::random());
        directory.bind(lost, 0);
        directory.bind(kept, 1);
        directory.add_media("a".into(), 0);
        assert_eq!(directory.forget_worker(0), 1);
        assert_eq!(directory.owner(lost), None);
        assert_eq!(directory.owner(kept), Some(1));
        assert_eq!(directory.media_holder("a"), None);
    }
}
