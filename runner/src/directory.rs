//! Which worker has which session and which media file.

use std::{
    collections::HashMap,
    sync::{PoisonError, RwLock},
};

use streamfleet_proto::{MediaId, SessionId};

/// Which worker has which session and which media file. Workers go by their number.
#[derive(Debug, Default)]
pub(crate) struct Directory {
    inner: RwLock<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    sessions: HashMap<SessionId, u32>,
    // Media ids are content hashes, so several workers may have made the same file.
    media: HashMap<MediaId, Vec<u32>>,
}

impl Directory {
    pub(crate) fn bind(&self, session: SessionId, worker: u32) {
        self.write(|inner| inner.sessions.insert(session, worker));
    }

    /// Forgets the session, unless another worker has taken it meanwhile. True if it was this worker's.
    pub(crate) fn end(&self, session: SessionId, worker: u32) -> bool {
        self.write(|inner| {
            let ends = inner.sessions.get(&session) == Some(&worker);
            if ends {
                inner.sessions.remove(&session);
            }
            ends
        })
    }

    pub(crate) fn owner(&self, session: SessionId) -> Option<u32> {
        let inner = self.inner.read().unwrap_or_else(PoisonError::into_inner);
        inner.sessions.get(&session).copied()
    }

    pub(crate) fn add_media(&self, file_id: MediaId, worker: u32) {
        self.write(|inner| {
            let workers = inner.media.entry(file_id).or_default();
            if !workers.contains(&worker) {
                workers.push(worker);
            }
        });
    }

    /// Forgets that a worker has the file. True if it was the last that had it.
    pub(crate) fn remove_media(&self, file_id: &MediaId, worker: u32) -> bool {
        self.write(|inner| {
            let Some(workers) = inner.media.get_mut(file_id) else { return false };
            workers.retain(|&other| other != worker);
            let gone = workers.is_empty();
            if gone {
                inner.media.remove(file_id);
            }
            gone
        })
    }

    /// The worker to get a media file from.
    pub(crate) fn media_holder(&self, file_id: &MediaId) -> Option<u32> {
        let inner = self.inner.read().unwrap_or_else(PoisonError::into_inner);
        inner.media.get(file_id)?.first().copied()
    }

    /// Forgets everything that a worker had. Returns the sessions, and the files that nobody else has.
    pub(crate) fn forget_worker(&self, worker: u32) -> (Vec<SessionId>, Vec<MediaId>) {
        self.write(|inner| {
            let sessions = inner.sessions.extract_if(|_, owner| *owner == worker).map(|(session, _)| session).collect();
            for workers in inner.media.values_mut() {
                workers.retain(|&other| other != worker);
            }
            let media = inner.media.extract_if(|_, workers| workers.is_empty()).map(|(file, _)| file).collect();
            (sessions, media)
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
        let file: MediaId = "a".parse().unwrap();
        directory.add_media(file.clone(), 0);
        directory.add_media(file.clone(), 1);
        directory.add_media(file.clone(), 1);
        assert!(!directory.remove_media(&file, 0));
        assert_eq!(directory.media_holder(&file), Some(1));
        assert!(directory.remove_media(&file, 1));
        assert_eq!(directory.media_holder(&file), None);
    }

    #[test]
    fn a_dead_worker_leaves_nothing_behind() {
        let directory = Directory::default();
        let (lost, kept) = (SessionId::random(), SessionId::random());
        directory.bind(lost, 0);
        directory.bind(kept, 1);
        let file: MediaId = "a".parse().unwrap();
        directory.add_media(file.clone(), 0);
        assert_eq!(directory.forget_worker(0), (vec![lost], vec![file.clone()]));
        assert_eq!(directory.owner(lost), None);
        assert_eq!(directory.owner(kept), Some(1));
        assert_eq!(directory.media_holder(&file), None);
    }
}
