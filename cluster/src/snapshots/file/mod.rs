//! The snapshots of one process in a folder, for it to find them there when it is started again.
//!
//! Each session has one file, which is replaced whole: a crash leaves the old one or the new one. Only one process uses a folder
//! at a time, and holds a lock on it. So what shuts out older owners need not be in the files: those of the process before are
//! gone with it.

mod folder;
mod format;

use std::{
    collections::HashMap,
    io, iter,
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use async_trait::async_trait;
use streamfleet_proto::SessionId;
use tokio::task::spawn_blocking;

pub use self::folder::FolderError;
use self::folder::{Folder, Name, ReadError};
use super::{
    LoadError, Loaded, SaveError, SavedState, SnapshotOptions, SnapshotStore, Write,
    fence::{Admitted, Fence},
    signer::Signer,
    state::micros,
    stored::Stored,
};

/// Parts of the table. Whatever is done with a file is done with its part locked, so that the others' go on meanwhile.
const SHARDS: usize = 64;

/// The snapshots of one process in a folder, for it to find them there when it is started again.
#[derive(Debug)]
pub struct FileSnapshots {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    folder: Folder,
    signer: Signer,
    ttl: Duration,
    shards: Vec<Mutex<Shard>>,
    last_sweep: Mutex<Instant>,
}

/// What is known of each file, and when it was last used.
type Shard = HashMap<Name, (Fence, Instant)>;

impl FileSnapshots {
    /// Takes a folder for its own, and makes it if there is none.
    pub async fn open(folder: impl Into<PathBuf>, options: SnapshotOptions) -> Result<Self, FolderError> {
        let (path, SnapshotOptions { signer, ttl }) = (folder.into(), options);
        let open = move || {
            let shards = iter::repeat_with(Mutex::default).take(SHARDS).collect();
            let folder = Folder::open(path, ttl)?;
            let inner = Inner { folder, signer, ttl, shards, last_sweep: Mutex::new(Instant::now()) };
            inner.sweep();
            Ok(Self { inner: Arc::new(inner) })
        };
        spawn_blocking(open).await.unwrap_or_else(|error| Err(FolderError::Stopped(error.to_string())))
    }

    /// Does something with a session's file where waiting for the disk holds up nobody.
    async fn with<T, E>(
        &self,
        session: SessionId,
        failed: impl FnOnce(String) -> E,
        operation: impl FnOnce(&Inner, &Name, &mut Fence) -> Result<T, E> + Send + 'static,
    ) -> Result<T, E>
    where
        T: Send + 'static,
        E: Send + 'static,
    {
        let inner = Arc::clone(&self.inner);
        let run = move || {
            let done = inner.with(&Name::of(session), |name, fence| operation(&inner, name, fence));
            inner.sweep_now_and_then();
            done
        };
        spawn_blocking(run).await.unwrap_or_else(|error| Err(failed(error.to_string())))
    }
}

impl Inner {
    fn shard(&self, name: &Name) -> MutexGuard<'_, Shard> {
        // What a panic left of a fence is no worse than what a crash would leave.
        self.shards[name.number() % SHARDS].lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn with<T>(&self, name: &Name, operation: impl FnOnce(&Name, &mut Fence) -> T) -> T {
        let mut shard = self.shard(name);
        let now = Instant::now();
        let fence_on_disk = || self.folder.read(name).ok().flatten().and_then(|stored| stored.fence());
        let (fence, used) = shard.entry(name.clone()).or_insert_with(|| (fence_on_disk().unwrap_or_default(), now));
        if !self.folder.is_live(name) {
            fence.signature = None;
        }
        *used = now;
        operation(name, fence)
    }

    fn save(&self, name: &Name, fence: &mut Fence, write: &Write) -> Result<(), SaveError> {
        if fence.admit(write)? == Admitted::Again {
            return Ok(self.folder.renew(name)?);
        }
        let mut stored = match self.folder.read(name) {
            _ if write.is_full() => Stored::default(),
            Ok(Some(stored)) => stored,
            // What can't be read must be written anew.
            Ok(None) | Err(ReadError::Malformed(_)) => return Err(SaveError::Gone),
            Err(ReadError::Io(error)) => return Err(error.into()),
        };
        stored.apply(write);
        self.folder.write(name, &stored)?;
        fence.wrote(write);
        Ok(())
    }

    fn load(
        &self,
        name: &Name,
        fence: &mut Fence,
        session: SessionId,
        epoch: u64,
    ) -> Result<Option<Loaded>, LoadError> {
        fence.raise(epoch).map_err(|epoch| LoadError::Fenced { epoch })?;
        let refused =
            |reason: String| LoadError::Refused { reason: format!("{}: {reason}", self.folder.file(name).display()) };
        let stored = match self.folder.read(name) {
            Ok(Some(stored)) => stored,
            Ok(None) => return Ok(None),
            Err(ReadError::Malformed(reason)) => return Err(refused(reason)),
            Err(ReadError::Io(error)) => return Err(error.into()),
        };
        let loaded = stored.open(&self.signer, session, epoch).map_err(refused)?;
        self.folder.renew(name)?;
        Ok(Some(loaded))
    }

    fn sweep_now_and_then(&self) {
        let mut last = self.last_sweep.lock().unwrap_or_else(PoisonError::into_inner);
        if last.elapsed() >= self.ttl / 4 {
            *last = Instant::now();
            drop(last);
            self.sweep();
        }
    }

    /// Removes what has not been used for its time to live.
    fn sweep(&self) {
        for name in self.folder.names() {
            let _shard = self.shard(&name);
            self.folder.sweep(&name);
        }
        for shard in &self.shards {
            let mut shard = shard.lock().unwrap_or_else(PoisonError::into_inner);
            shard.retain(|_, (_, used)| used.elapsed() < self.ttl);
        }
    }
}

impl Stored {
    /// What is known of a snapshot that was found, before anybody has asked for it. It is not checked yet: what a wrong file can
    /// do here is to be overwritten, or not before everything is sent.
    fn fence(&self) -> Option<Fence> {
        let (epoch, version) = self.written()?;
        let signature = self.signature.as_deref().and_then(|signature| signature.try_into().ok());
        Some(Fence { epoch, by: epoch, version, signature })
    }
}

/// A file could not be read or written.
#[derive(Debug, thiserror::Error)]
#[error("{}: {source}", path.display())]
struct IoError {
    path: PathBuf,
    source: io::Error,
}

impl IoError {
    /// Whether there may be room later.
    fn is_passing(&self) -> bool {
        use io::ErrorKind::{Interrupted, QuotaExceeded, StorageFull};
        matches!(self.source.kind(), Interrupted | QuotaExceeded | StorageFull)
    }
}

impl From<IoError> for SaveError {
    fn from(error: IoError) -> Self {
        let text = error.to_string();
        if error.is_passing() { Self::Unavailable(text) } else { Self::Failed(text) }
    }
}

impl From<IoError> for LoadError {
    fn from(error: IoError) -> Self {
        let text = error.to_string();
        if error.is_passing() { Self::Unavailable(text) } else { Self::Failed(text) }
    }
}

#[async_trait]
impl SnapshotStore for FileSnapshots {
    fn begin(&self, session: SessionId, epoch: u64) -> SavedState {
        SavedState::new(self.inner.signer.clone(), session, epoch)
    }

    async fn save(&self, write: &Write) -> Result<(), SaveError> {
        let (session, write) = (write.session, write.clone());
        let operation = move |inner: &Inner, name: &Name, fence: &mut Fence| inner.save(name, fence, &write);
        self.with(session, SaveError::Failed, operation).await
    }

    async fn load(&self, session: SessionId, epoch: u64) -> Result<Option<Loaded>, LoadError> {
        let operation = move |inner: &Inner, name: &Name, fence: &mut Fence| inner.load(name, fence, session, epoch);
        self.with(session, LoadError::Failed, operation).await
    }

    async fn touch(&self, session: SessionId, epoch: u64) -> Result<(), SaveError> {
        let operation = move |inner: &Inner, name: &Name, fence: &mut Fence| {
            fence.touch(epoch)?;
            Ok(inner.folder.renew(name)?)
        };
        self.with(session, SaveError::Failed, operation).await
    }

    async fn remove(&self, session: SessionId, epoch: u64) -> Result<(), SaveError> {
        let operation = move |inner: &Inner, name: &Name, fence: &mut Fence| {
            let mut after = fence.clone();
            after.remove(epoch, micros())?;
            inner.folder.remove(name)?;
            *fence = after;
            Ok(())
        };
        self.with(session, SaveError::Failed, operation).await
    }
}
