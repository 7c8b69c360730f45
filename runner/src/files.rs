//! The files of this runner's sessions: which are being stored, and which could not be.

use std::{
    collections::{BTreeSet, HashMap},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use streamfleet_cluster::{BlobError, Blobs, Content, FileHead};
use streamfleet_proto::{FileId, SessionId};
use tokio::{sync::watch, time::interval};
use tracing::{debug, warn};

use crate::ownership::Ownership;

/// How often the files of sessions that are here are renewed, and those that nobody renews are looked for. Well within the time
/// for which files are kept.
const UPKEEP_INTERVAL: Duration = Duration::from_hours(1);

/// The files of this runner's sessions.
#[derive(Debug)]
pub struct Files {
    blobs: Blobs,
    sessions: Mutex<HashMap<SessionId, SessionFiles>>,
    next: AtomicU64,
    /// Counts the files that have been stored, or not.
    outcomes: watch::Sender<u64>,
}

/// What is known of one session's files.
#[derive(Debug, Default)]
struct SessionFiles {
    /// The numbers of the puts in progress.
    pending: BTreeSet<u64>,
    /// Name and reason of those that could not be kept.
    unkept: HashMap<FileId, (String, String)>,
    /// Some may be in the store.
    stored: bool,
}

impl SessionFiles {
    fn is_empty(&self) -> bool {
        self.pending.is_empty() && self.unkept.is_empty() && !self.stored
    }
}

impl Files {
    pub(crate) fn new(blobs: Blobs) -> Self {
        Self { blobs, sessions: Mutex::default(), next: AtomicU64::new(0), outcomes: watch::Sender::new(0) }
    }

    /// Waits until all files of the session that were begun to be stored by now are stored, or have failed to be. Each step of
    /// storing has a limit, so this ends.
    pub async fn settled(&self, session: SessionId) {
        let until = self.next.load(Ordering::SeqCst);
        let is_settled = || {
            self.with(|sessions| {
                let first = sessions.get(&session).and_then(|files| files.pending.first().copied());
                first.is_none_or(|first| first >= until)
            })
        };
        // The sender is ours.
        let _ = self.outcomes.subscribe().wait_for(|_| is_settled()).await;
    }

    /// Names of the session's files that could not be kept, and why.
    pub fn unkept(&self, session: SessionId) -> Vec<(String, String)> {
        self.with(|sessions| {
            let files = sessions.get(&session);
            files.map(|files| files.unkept.values().cloned().collect()).unwrap_or_default()
        })
    }

    /// Takes a session on that may have files from elsewhere: they are renewed while it is here, and deleted when it ends.
    pub fn adopt(&self, session: SessionId) {
        self.with(|sessions| sessions.entry(session).or_default().stored = true);
    }

    /// Forgets a session that goes on elsewhere.
    pub fn leave(&self, session: SessionId) {
        self.change(session, |files| {
            files.unkept.clear();
            files.stored = false;
        });
    }

    /// Deletes the files of a session that has ended for good.
    pub fn end(self: &Arc<Self>, session: SessionId) {
        let had_any = self.with(|sessions| sessions.get(&session).is_some_and(|files| !files.is_empty()));
        self.leave(session);
        if had_any {
            let this = Arc::clone(self);
            // On its own: nobody waits for it, and if it is cut short or fails, the files expire.
            tokio::spawn(async move {
                // Not before what is still on its way.
                this.settled(session).await;
                this.leave(session);
                if let Err(error) = this.blobs.delete_session(session).await {
                    debug!(?session, "cannot delete its files: {error}");
                }
            });
        }
    }

    /// Stores a file.
    pub(crate) async fn put(
        &self,
        session: SessionId,
        file: FileId,
        head: &FileHead,
        content: Content,
    ) -> Result<(), BlobError> {
        let put = self.begin(session, file, head);
        let outcome = self.blobs.put(session, file, head, content).await;
        put.end(outcome.clone());
        outcome
    }

    /// A file from the store.
    pub(crate) async fn get(&self, session: SessionId, file: FileId) -> Result<Option<(FileHead, Content)>, BlobError> {
        self.adopt(session);
        self.blobs.get(session, file).await
    }

    /// Deletes files.
    pub(crate) async fn delete(&self, session: SessionId, files: &[FileId]) -> Result<(), BlobError> {
        self.change(session, |known| known.unkept.retain(|file, _| !files.contains(file)));
        self.blobs.delete(session, files).await
    }

    /// Renews what the runner's sessions have, and deletes what nobody has, for ever.
    pub(crate) async fn keep_up(&self, ownership: &Ownership) {
        let mut ticks = interval(UPKEEP_INTERVAL);
        loop {
            ticks.tick().await;
            let sessions: Vec<_> = self.with(|sessions| sessions.keys().copied().collect());
            for session in sessions {
                if ownership.epoch(session).is_none() {
                    self.leave(session);
                } else if let Err(error) = self.blobs.renew(session).await {
                    warn!(?session, "cannot renew its files: {error}");
                }
            }
            self.blobs.sweep().await;
        }
    }

    fn begin(&self, session: SessionId, file: FileId, head: &FileHead) -> Put<'_> {
        let number = self.with(|sessions| {
            let number = self.next.fetch_add(1, Ordering::SeqCst);
            sessions.entry(session).or_default().pending.insert(number);
            number
        });
        Put { files: self, session, file, number, name: head.name.clone(), outcome: Err(BlobError::Incomplete) }
    }

    fn change(&self, session: SessionId, change: impl FnOnce(&mut SessionFiles)) {
        self.with(|sessions| {
            if let Some(files) = sessions.get_mut(&session) {
                change(files);
                if files.is_empty() {
                    sessions.remove(&session);
                }
            }
        });
    }

    fn with<T>(&self, change: impl FnOnce(&mut HashMap<SessionId, SessionFiles>) -> T) -> T {
        // Each change leaves the table whole, so a panic in another one does no harm.
        change(&mut self.sessions.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// A file being stored. Dropped before its end, as when its worker dies, it has failed.
struct Put<'a> {
    files: &'a Files,
    session: SessionId,
    file: FileId,
    number: u64,
    name: String,
    outcome: Result<(), BlobError>,
}

impl Put<'_> {
    fn end(mut self, outcome: Result<(), BlobError>) {
        self.outcome = outcome;
    }
}

impl Drop for Put<'_> {
    fn drop(&mut self) {
        let Self { session, file, .. } = *self;
        self.files.with(|sessions| {
            let files = sessions.entry(session).or_default();
            files.pending.remove(&self.number);
            match &self.outcome {
                Ok(()) => {
                    files.unkept.remove(&file);
                    files.stored = true;
                }
                Err(error) => {
                    warn!(?session, file = self.name, "an uploaded file is not kept: {error}");
                    files.unkept.insert(file, (self.name.clone(), error.to_string()));
                }
            }
        });
        self.files.outcomes.send_modify(|count| *count += 1);
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use futures_util::{StreamExt as _, stream};

    use super::*;

    fn head(size: u64) -> FileHead {
        FileHead { name: "a.csv".to_owned(), mime_type: "text/csv".to_owned(), size }
    }

    fn content(text: &'static str) -> Content {
        stream::iter([Ok(Bytes::from_static(text.as_bytes()))]).boxed()
    }

    fn files() -> Arc<Files> {
        Arc::new(Files::new(Blobs::memory()))
    }

    #[tokio::test(start_paused = true)]
    async fn what_has_begun_is_waited_for_and_nothing_else() {
        let files = files();
        let (session, other) = (SessionId::random(), SessionId::random());
        files.settled(session).await;
        let first = files.begin(session, FileId::random(), &head(1));
        let _never = files.begin(other, FileId::random(), &head(1));
        let waiting = tokio::spawn({
            let files = Arc::clone(&files);
            async move { files.settled(session).await }
        });
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert!(!waiting.is_finished());
        // What begins later is not waited for.
        let _later = files.begin(session, FileId::random(), &head(1));
        first.end(Ok(()));
        waiting.await.unwrap();
    }

    #[tokio::test]
    async fn what_is_not_kept_is_named_until_it_is_kept_or_deleted() {
        let files = files();
        let (session, file) = (SessionId::random(), FileId::random());
        let too_long = head(1 << 30);
        files.put(session, file, &too_long, content("x")).await.unwrap_err();
        drop(files.begin(session, FileId::random(), &head(1)));
        let mut unkept = files.unkept(session);
        unkept.sort_unstable();
        assert_eq!(unkept[0].0, "a.csv");
        assert!(unkept[0].1.contains("larger than 32 MiB"), "{unkept:?}");
        assert_eq!(unkept[1].1, "the upload broke off");
        files.settled(session).await;

        files.put(session, file, &head(1), content("x")).await.unwrap();
        assert_eq!(files.unkept(session).len(), 1);
        files.leave(session);
        assert_eq!(files.unkept(session), []);
        assert!(files.with(|sessions| sessions.is_empty()));
    }

    #[tokio::test]
    async fn files_go_with_a_session_that_has_ended_and_stay_with_one_that_has_left() {
        let files = files();
        let (session, file) = (SessionId::random(), FileId::random());
        files.put(session, file, &head(1), content("x")).await.unwrap();
        files.leave(session);
        assert!(files.get(session, file).await.unwrap().is_some());
        files.end(session);
        while files.blobs.get(session, file).await.unwrap().is_some() {
            tokio::task::yield_now().await;
        }
    }
}
