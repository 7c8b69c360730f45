//! Small files in memory, for a cluster that is one process.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use async_trait::async_trait;
use bytes::Bytes;
use streamfleet_proto::{FileId, SessionId};
use tokio::time::Instant;

use super::{
    BlobError, FILE_TTL, FileHead,
    parts::{Parts, UnfinishedFile},
};

/// All files together may have this many bytes, as each is in its worker's memory too.
const MAX_BYTES: u64 = 512 << 20;

/// Small files in memory.
#[derive(Clone, Default)]
pub(super) struct MemoryParts {
    inner: Arc<Mutex<Inner>>,
}

#[derive(Default)]
struct Inner {
    files: HashMap<SessionId, HashMap<FileId, File>>,
    /// Bytes of all files, unfinished ones included.
    total: u64,
}

struct File {
    head: FileHead,
    parts: Vec<Bytes>,
    expires: Instant,
}

impl Inner {
    fn remove(&mut self, session: SessionId, is_meant: impl Fn(FileId, &File) -> bool) {
        let Some(files) = self.files.get_mut(&session) else { return };
        let gone: u64 = files.extract_if(|&id, file| is_meant(id, file)).map(|(_, file)| file.head.size).sum();
        self.total -= gone;
        if files.is_empty() {
            self.files.remove(&session);
        }
    }
}

impl MemoryParts {
    fn with<T>(&self, change: impl FnOnce(&mut Inner) -> T) -> T {
        // Each change leaves the tables whole, so a panic in another one does no harm.
        change(&mut self.inner.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

#[async_trait]
impl Parts for MemoryParts {
    async fn begin(
        &self,
        session: SessionId,
        file: FileId,
        head: &FileHead,
    ) -> Result<Box<dyn UnfinishedFile>, BlobError> {
        let fits = self.with(|inner| {
            let total = inner.total + head.size;
            let fits = total <= MAX_BYTES;
            if fits {
                inner.total = total;
            }
            fits
        });
        if !fits {
            return Err(BlobError::Full(MAX_BYTES));
        }
        let content = File { head: head.clone(), parts: Vec::new(), expires: Instant::now() };
        Ok(Box::new(Unfinished { place: self.clone(), session, file, content: Some(content) }))
    }

    async fn head(&self, session: SessionId, file: FileId) -> Result<Option<FileHead>, BlobError> {
        Ok(self.with(|inner| inner.files.get(&session)?.get(&file).map(|file| file.head.clone())))
    }

    async fn part(&self, session: SessionId, file: FileId, number: u64) -> Result<Option<Bytes>, BlobError> {
        let number = usize::try_from(number).unwrap_or(usize::MAX);
        Ok(self.with(|inner| inner.files.get(&session)?.get(&file)?.parts.get(number).cloned()))
    }

    async fn delete(&self, session: SessionId, files: &[FileId]) -> Result<(), BlobError> {
        self.with(|inner| inner.remove(session, |id, _| files.contains(&id)));
        Ok(())
    }

    async fn delete_session(&self, session: SessionId) -> Result<(), BlobError> {
        self.with(|inner| inner.remove(session, |_, _| true));
        Ok(())
    }

    async fn renew(&self, session: SessionId) -> Result<(), BlobError> {
        let expires = Instant::now() + FILE_TTL;
        self.with(|inner| {
            for file in inner.files.get_mut(&session).into_iter().flat_map(HashMap::values_mut) {
                file.expires = expires;
            }
        });
        Ok(())
    }

    fn sweep(&self) {
        let now = Instant::now();
        self.with(|inner| {
            let sessions: Vec<_> = inner.files.keys().copied().collect();
            for session in sessions {
                inner.remove(session, |_, file| file.expires <= now);
            }
        });
    }
}

struct Unfinished {
    place: MemoryParts,
    session: SessionId,
    file: FileId,
    /// `None` once it is finished.
    content: Option<File>,
}

#[async_trait]
impl UnfinishedFile for Unfinished {
    async fn add(&mut self, part: Bytes) -> Result<(), BlobError> {
        if let Some(file) = &mut self.content {
            file.parts.push(part);
        }
        Ok(())
    }

    async fn finish(mut self: Box<Self>) -> Result<(), BlobError> {
        if let Some(mut content) = self.content.take() {
            content.expires = Instant::now() + FILE_TTL;
            self.place.with(|inner| {
                inner.remove(self.session, |id, _| id == self.file);
                inner.files.entry(self.session).or_default().insert(self.file, content);
            });
        }
        Ok(())
    }
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        if let Some(content) = self.content.take() {
            self.place.with(|inner| inner.total -= content.head.size);
        }
    }
}
