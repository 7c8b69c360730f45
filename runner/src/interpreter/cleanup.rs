//! Removes from the cache what nobody will use again: environments of long ago, and what interrupted starts left.

use std::{
    collections::HashSet,
    fs, io,
    path::Path,
    time::{Duration, SystemTime},
};

use super::slot::{Lease, Record, Slot};

/// How long an environment is kept after its last use.
const KEPT_UNUSED: Duration = Duration::from_hours(30 * 24);

/// How long a folder that no record names is left alone: its maker may not have had the time to lock it.
const GRACE: Duration = Duration::from_hours(1);

/// Cleans up around `slot`, whose lock the caller holds and which has nothing to be used any more. What cannot be removed
/// now is left for the next time.
pub(super) fn sweep(slot: &Slot) {
    if let Err(error) = try_to_sweep(slot) {
        tracing::debug!(%error, folder = %slot.environments.display(), "could not clean up the cache");
    }
}

fn try_to_sweep(slot: &Slot) -> io::Result<()> {
    remove_file(&slot.record_path())?;
    let mut recorded = HashSet::new();
    let mut folders = Vec::new();
    for entry in fs::read_dir(&slot.environments)? {
        let entry = entry?;
        let path = entry.path();
        if entry.file_type()?.is_dir() {
            folders.push(path);
        } else if has_extension(&path, "lock") && age(&path) > KEPT_UNUSED {
            // Made again when it is needed again.
            remove_file(&path)?;
        } else if has_extension(&path, "json")
            && let Some(record) = Record::read(&path)
        {
            let folder = slot.environments.join(&record.folder);
            if age(&path) > KEPT_UNUSED && !is_in_use(&folder) {
                remove_file(&path)?;
                remove_unused(&folder);
            } else {
                recorded.insert(folder);
            }
        }
    }
    let own = format!("{}-", slot.key);
    for folder in folders.iter().filter(|folder| !recorded.contains(*folder)) {
        let is_own = folder.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(own.as_bytes()));
        if is_own || age(folder) > GRACE {
            remove_unused(folder);
        }
    }
    Ok(())
}

fn remove_unused(folder: &Path) {
    // Held until the folder is gone. One without a lease was interrupted at its very beginning, or at its very end.
    let lease = match Lease::take_over(folder) {
        Ok(None) => return,
        Ok(lease) => lease,
        Err(_) => None,
    };
    if let Err(error) = fs::remove_dir_all(folder) {
        tracing::debug!(%error, folder = %folder.display(), "could not remove an unused environment");
    }
    drop(lease);
}

fn is_in_use(folder: &Path) -> bool {
    matches!(Lease::take_over(folder), Ok(None))
}

fn has_extension(path: &Path, extension: &str) -> bool {
    path.extension().is_some_and(|known| known == extension)
}

fn age(path: &Path) -> Duration {
    fs::symlink_metadata(path)
        .and_then(|file| file.modified())
        .ok()
        .and_then(|time| SystemTime::now().duration_since(time).ok())
        .unwrap_or_default()
}

fn remove_file(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use std::{fs::File, path::PathBuf};

    use super::*;
    use crate::interpreter::slot::python_of;

    struct Cache(tempfile::TempDir);

    impl Cache {
        fn new() -> Self {
            Self(tempfile::tempdir().unwrap())
        }

        fn slot(&self, key: &str) -> Slot {
            Slot { environments: self.0.path().to_owned(), key: key.to_owned() }
        }

        fn finished(&self, key: &str) -> PathBuf {
            let slot = self.slot(key);
            let (folder, _lease) = slot.begin().unwrap();
            fs::create_dir(folder.path().join("bin")).unwrap();
            fs::write(python_of(folder.path()), "").unwrap();
            let record = Record {
                folder: folder.path().file_name().unwrap().to_str().unwrap().to_owned(),
                streamlit_version: String::new(),
                streamlit_file: "bin/python".into(),
                importable: vec![],
            };
            slot.publish(&record).unwrap();
            File::create(slot.lock_path()).unwrap();
            folder.keep()
        }
    }

    fn make_old(path: &Path, age: Duration) {
        File::open(path).unwrap().set_modified(SystemTime::now() - age).unwrap();
    }

    #[test]
    fn the_old_go_and_the_recent_stay() {
        let cache = Cache::new();
        let (old, recent) = (cache.finished("old"), cache.finished("recent"));
        make_old(&cache.slot("old").record_path(), KEPT_UNUSED * 2);
        make_old(&cache.slot("old").lock_path(), KEPT_UNUSED * 2);
        make_old(&cache.slot("recent").record_path(), KEPT_UNUSED / 2);
        sweep(&cache.slot("own"));
        assert!(!old.exists() && cache.slot("old").open().is_none());
        assert!(!cache.slot("old").lock_path().exists());
        assert!(recent.exists() && cache.slot("recent").open().is_some());
    }

    #[test]
    fn what_is_in_use_stays_however_old() {
        let cache = Cache::new();
        cache.finished("old");
        let used = cache.slot("old").open().unwrap();
        make_old(&cache.slot("old").record_path(), KEPT_UNUSED * 2);
        sweep(&cache.slot("own"));
        assert!(used.0.exists() && cache.slot("old").record_path().exists());
    }

    #[test]
    fn using_an_environment_keeps_it() {
        let cache = Cache::new();
        let folder = cache.finished("old");
        make_old(&cache.slot("old").record_path(), KEPT_UNUSED * 2);
        drop(cache.slot("old").open().unwrap());
        sweep(&cache.slot("own"));
        assert!(folder.exists());
    }

    #[test]
    fn leftovers_go_unless_somebody_is_at_work_there() {
        let cache = Cache::new();
        let own_leftover = cache.slot("own").begin().unwrap().0.keep();
        let replaced = cache.finished("own");
        let recent_leftover = cache.slot("other").begin().unwrap().0.keep();
        let old_leftover = cache.slot("other").begin().unwrap().0.keep();
        make_old(&old_leftover, GRACE * 2);
        let (at_work, _lease) = cache.slot("other").begin().unwrap();
        make_old(at_work.path(), GRACE * 2);
        sweep(&cache.slot("own"));
        assert!(!own_leftover.exists() && !replaced.exists() && !old_leftover.exists());
        assert!(recent_leftover.exists() && at_work.path().exists());
    }
}
