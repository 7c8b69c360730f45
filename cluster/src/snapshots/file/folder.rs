//! A folder of snapshots: nobody else's to read, and one process's to write.

use std::{
    fmt,
    fs::{self, DirBuilder, File, OpenOptions, TryLockError},
    io::{self, Write as _},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use bytes::Bytes;
use sha2::{Digest as _, Sha256};
use streamfleet_proto::SessionId;

use super::{IoError, format};
use crate::snapshots::stored::Stored;

/// The file that whoever uses the folder holds a lock on.
const LOCK: &str = "lock";
const EXTENSION: &str = "snapshot";
/// Of a file that is not written to its end yet.
const UNFINISHED: &str = "unfinished";

/// A folder can't be used for snapshots.
#[derive(Debug, thiserror::Error)]
pub enum FolderError {
    /// It can't be made, read or written.
    #[error("cannot keep snapshots in {}: {source}", folder.display())]
    Unusable {
        /// Which folder.
        folder: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Others may look into it, and into all sessions with it.
    #[error("cannot keep snapshots in {}: others may enter it; close it with chmod 700", .0.display())]
    OpenToOthers(PathBuf),
    /// Another process uses it.
    #[error("cannot keep snapshots in {}: another process does", .0.display())]
    InUse(PathBuf),
    /// The process is ending.
    #[error("cannot open the folder of snapshots: {0}")]
    Stopped(String),
}

/// A file's name without its extension: a hash of its session's id, since names get into logs, and whoever knows a session's id
/// may ask to have the session.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Name([u8; 16]);

impl Name {
    pub(super) fn of(session: SessionId) -> Self {
        let mut name = [0; 16];
        name.copy_from_slice(&Sha256::digest(session.as_bytes())[..16]);
        Self(name)
    }

    fn parse(text: &str) -> Option<Self> {
        let name = Self(u128::from_str_radix(text, 16).ok()?.to_be_bytes());
        (name.to_string() == text).then_some(name)
    }

    /// A number by which names are spread evenly.
    pub(super) fn number(&self) -> usize {
        usize::from(self.0[0])
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", u128::from_be_bytes(self.0))
    }
}

/// A file was not read.
pub(super) enum ReadError {
    /// It is no snapshot.
    Malformed(String),
    Io(IoError),
}

/// A folder of snapshots, locked.
#[derive(Debug)]
pub(super) struct Folder {
    path: PathBuf,
    /// How long a file counts after it was last used.
    ttl: Duration,
    /// Keeps the lock.
    _lock: File,
}

impl Folder {
    /// Takes a folder, and makes it if there is none.
    pub(super) fn open(path: PathBuf, ttl: Duration) -> Result<Self, FolderError> {
        let unusable = |source| FolderError::Unusable { folder: path.clone(), source };
        if path.exists() {
            let found = fs::metadata(&path).map_err(unusable)?;
            if !found.is_dir() {
                return Err(unusable(io::ErrorKind::NotADirectory.into()));
            }
            // Not ours to close: it may be there for something else as well.
            if found.permissions().mode() & 0o077 != 0 {
                return Err(FolderError::OpenToOthers(path));
            }
        } else {
            DirBuilder::new().recursive(true).mode(0o700).create(&path).map_err(unusable)?;
        }
        let lock = create(&path.join(LOCK)).map_err(unusable)?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(FolderError::InUse(path)),
            Err(TryLockError::Error(error)) => return Err(unusable(error)),
        }
        for file in files(&path, UNFINISHED).map_err(unusable)? {
            fs::remove_file(path.join(format!("{file}.{UNFINISHED}"))).map_err(unusable)?;
        }
        Ok(Self { path, ttl, _lock: lock })
    }

    /// A session's file.
    pub(super) fn file(&self, name: &Name) -> PathBuf {
        self.path.join(format!("{name}.{EXTENSION}"))
    }

    /// All that there are.
    pub(super) fn names(&self) -> Vec<Name> {
        // One that can't be read now is swept another time.
        files(&self.path, EXTENSION).unwrap_or_default()
    }

    /// Whether there is a file that has been used within its time to live.
    pub(super) fn is_live(&self, name: &Name) -> bool {
        self.age(name).is_some_and(|age| age < self.ttl)
    }

    fn age(&self, name: &Name) -> Option<Duration> {
        let used = fs::metadata(self.file(name)).and_then(|found| found.modified()).ok()?;
        // A clock that was set back makes nothing old.
        Some(used.elapsed().unwrap_or_default())
    }

    /// Removes a file that has not been used for its time to live.
    pub(super) fn sweep(&self, name: &Name) {
        if self.age(name).is_some_and(|age| age >= self.ttl) {
            // If this fails it is tried again, and until then the file counts as none.
            let _ = self.remove(name);
        }
    }

    /// Makes a file count as used now.
    pub(super) fn renew(&self, name: &Name) -> Result<(), IoError> {
        let path = self.file(name);
        let renewed = File::open(&path).and_then(|file| file.set_modified(SystemTime::now()));
        renewed.map_err(|source| IoError { path, source })
    }

    /// What is in a file that has been used within its time to live.
    pub(super) fn read(&self, name: &Name) -> Result<Option<Stored>, ReadError> {
        let path = self.file(name);
        if !self.is_live(name) {
            return Ok(None);
        }
        match fs::read(&path) {
            Ok(data) => format::decode(Bytes::from(data)).map(Some).map_err(ReadError::Malformed),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(ReadError::Io(IoError { path, source })),
        }
    }

    /// Replaces a file. What was in it is there until the new one is on the disk.
    pub(super) fn write(&self, name: &Name, stored: &Stored) -> Result<(), IoError> {
        let (path, unfinished) = (self.file(name), self.path.join(format!("{name}.{UNFINISHED}")));
        let replace = || {
            let mut file = create(&unfinished)?;
            file.set_len(0)?;
            file.write_all(&format::encode(stored))?;
            file.sync_all()?;
            fs::rename(&unfinished, &path)?;
            // The new name, too, must be on the disk.
            File::open(&self.path)?.sync_all()
        };
        let replaced = replace();
        if replaced.is_err() {
            // A full disk is no place for halves of files.
            let _ = fs::remove_file(&unfinished);
        }
        replaced.map_err(|source| IoError { path, source })
    }

    /// Removes a file, if there is one.
    pub(super) fn remove(&self, name: &Name) -> Result<(), IoError> {
        let path = self.file(name);
        match fs::remove_file(&path) {
            Err(source) if source.kind() != io::ErrorKind::NotFound => Err(IoError { path, source }),
            _ => Ok(()),
        }
    }
}

/// Opens a file that only its owner may read, a new one if need be.
fn create(path: &Path) -> io::Result<File> {
    OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(path)
}

/// The names of a session's file with this extension.
fn files(folder: &Path, extension: &str) -> io::Result<Vec<Name>> {
    let names = fs::read_dir(folder)?.filter_map(|entry| {
        let name = entry.ok()?.file_name();
        let stem = name.to_str()?.strip_suffix(extension)?.strip_suffix('.')?;
        Name::parse(stem)
    });
    Ok(names.collect())
}
