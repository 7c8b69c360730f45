//! How a managed environment lies in the cache.
//!
//! ```text
//! environments/KEY.json            the record: which folder is the finished one, and what is in it
//! environments/KEY.lock            held by whoever is making an environment for KEY
//! environments/KEY-random/         an environment, finished only if the record names it
//! environments/KEY-random/streamfleet.lease   locked, shared, by everyone who makes or uses the folder
//! ```
//!
//! Every attempt gets a folder of its own, since environments cannot be moved, and the record is renamed into place when
//! all else is on the disk. So a folder that an interrupted start left behind, or that an orphaned pip still writes to, is
//! in nobody's way, and no folder ever changes under a worker that uses it.

use std::{
    fs::{self, File, Permissions},
    io::{self, Write},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    time::SystemTime,
};

use serde::{Deserialize, Serialize};
use tempfile::TempDir;

const LEASE: &str = "streamfleet.lease";

/// Keeps a folder from being cleaned up.
#[derive(Debug)]
pub(super) struct Lease(#[expect(dead_code, reason = "held for its lock")] File);

/// What is known about a finished environment.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Record {
    /// The name of its folder.
    pub(super) folder: String,
    pub(super) streamlit_version: String,
    /// Streamlit's own file, from the folder where it is inside; when it is gone, so is the environment.
    pub(super) streamlit_file: PathBuf,
    /// Modules of interest that can be imported.
    pub(super) importable: Vec<String>,
}

/// The place of one key.
#[derive(Debug, Clone)]
pub(super) struct Slot {
    pub(super) environments: PathBuf,
    pub(super) key: String,
}

impl Slot {
    pub(super) fn lock_path(&self) -> PathBuf {
        self.environments.join(format!("{}.lock", self.key))
    }

    pub(super) fn record_path(&self) -> PathBuf {
        self.environments.join(format!("{}.json", self.key))
    }

    /// The finished environment, if there is one and it is still whole. Marks it as used now.
    pub(super) fn open(&self) -> Option<(PathBuf, Record, Lease)> {
        let record = Record::read(&self.record_path())?;
        let folder = self.environments.join(&record.folder);
        // Locked before looking, so that it cannot be cleaned up in between.
        let lease = Lease::share(&folder).ok()?;
        if !python_of(&folder).exists() || !folder.join(&record.streamlit_file).exists() {
            return None;
        }
        // In a read-only cache the time stays as it is; nor is anything cleaned up there.
        let _ = File::open(self.record_path()).and_then(|file| file.set_modified(SystemTime::now()));
        Some((folder, record, lease))
    }

    /// A new folder to make an environment in; gone when dropped.
    pub(super) fn begin(&self) -> io::Result<(TempDir, Lease)> {
        let folder = tempfile::Builder::new()
            .prefix(&format!("{}-", self.key))
            // Less the umask, as for any folder: a cache may be made by one user for others.
            .permissions(Permissions::from_mode(0o777))
            .tempdir_in(&self.environments)?;
        File::create(folder.path().join(LEASE))?;
        let lease = Lease::share(folder.path())?;
        Ok((folder, lease))
    }

    /// Makes `record` the one that counts. Everything in its folder has to be on the disk already.
    pub(super) fn publish(&self, record: &Record) -> io::Result<()> {
        let mut file =
            tempfile::Builder::new().permissions(Permissions::from_mode(0o666)).tempfile_in(&self.environments)?;
        file.write_all(&serde_json::to_vec_pretty(record)?)?;
        file.as_file().sync_all()?;
        file.persist(self.record_path())?;
        File::open(&self.environments)?.sync_all()
    }
}

impl Record {
    pub(super) fn read(path: &Path) -> Option<Self> {
        serde_json::from_slice(&fs::read(path).ok()?).ok()
    }
}

impl Lease {
    fn share(folder: &Path) -> io::Result<Self> {
        let file = File::open(folder.join(LEASE))?;
        file.try_lock_shared()?;
        Ok(Self(file))
    }

    /// The lease of a folder that nobody makes or uses, taken so that nobody can begin to. `None` if somebody does.
    pub(super) fn take_over(folder: &Path) -> io::Result<Option<Self>> {
        let file = File::open(folder.join(LEASE))?;
        Ok(file.try_lock().is_ok().then_some(Self(file)))
    }
}

/// Where a virtual environment has its interpreter.
pub(super) fn python_of(folder: &Path) -> PathBuf {
    folder.join("bin/python")
}

/// Puts all that was written to the file system of `folder` on the disk. Without this, a power cut might keep the record
/// and lose what it stands for. A system that cannot do it for a whole file system at once goes without.
pub(super) fn flush(folder: &Path) -> io::Result<()> {
    #[cfg(target_os = "linux")]
    rustix::fs::syncfs(File::open(folder)?)?;
    #[cfg(not(target_os = "linux"))]
    let _ = folder;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn slot(environments: &Path) -> Slot {
        Slot { environments: environments.to_owned(), key: "abc".to_owned() }
    }

    /// An environment as far as this file is concerned.
    fn finish(slot: &Slot) -> PathBuf {
        let (folder, _lease) = slot.begin().unwrap();
        fs::create_dir(folder.path().join("bin")).unwrap();
        fs::write(python_of(folder.path()), "").unwrap();
        fs::write(folder.path().join("streamlit.py"), "").unwrap();
        flush(folder.path()).unwrap();
        let name = folder.path().file_name().unwrap().to_str().unwrap().to_owned();
        slot.publish(&Record {
            folder: name,
            streamlit_version: "1.67.0".to_owned(),
            streamlit_file: "streamlit.py".into(),
            importable: vec![],
        })
        .unwrap();
        folder.keep()
    }

    #[test]
    fn what_was_published_is_opened() {
        let cache = tempfile::tempdir().unwrap();
        let slot = slot(cache.path());
        assert!(slot.open().is_none());
        let made = finish(&slot);
        let (folder, record, _lease) = slot.open().unwrap();
        assert_eq!(folder, made);
        assert_eq!(record.streamlit_version, "1.67.0");
    }

    #[test]
    fn what_was_not_published_is_removed_and_never_opened() {
        let cache = tempfile::tempdir().unwrap();
        let slot = slot(cache.path());
        let (folder, _lease) = slot.begin().unwrap();
        assert!(slot.open().is_none());
        drop(folder);
        assert_eq!(fs::read_dir(cache.path()).unwrap().count(), 0);
    }

    #[test]
    fn damage_is_noticed() {
        let cache = tempfile::tempdir().unwrap();
        let slot = slot(cache.path());
        for lost in ["bin/python", "streamlit.py", LEASE] {
            fs::remove_file(finish(&slot).join(lost)).unwrap();
            assert!(slot.open().is_none(), "without {lost}");
        }
        finish(&slot);
        fs::write(slot.record_path(), "{").unwrap();
        assert!(slot.open().is_none());
    }

    #[test]
    fn a_folder_in_use_cannot_be_taken_over() {
        let cache = tempfile::tempdir().unwrap();
        let slot = slot(cache.path());
        let folder = finish(&slot);
        let (_, _, lease) = slot.open().unwrap();
        assert!(Lease::take_over(&folder).unwrap().is_none());
        drop(lease);
        let taken = Lease::take_over(&folder).unwrap();
        assert!(taken.is_some());
        assert!(slot.open().is_none(), "it may be on its way out");
    }
}
