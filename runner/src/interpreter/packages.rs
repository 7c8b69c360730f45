//! The worker's own packages, in a folder that comes last on `sys.path`, so that the app's versions win.
//!
//! The app runs without them, so whatever keeps them from being installed becomes a notice, and is not tried again at
//! every start. Each package is renamed into place by itself: one that is there is whole.

use std::{
    ffi::OsString,
    fs, io,
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use super::{
    Progress,
    cache::{self, Cache},
    fingerprint::Fingerprint,
    lock, pip,
    probe::Probed,
    slot,
};

/// A package the worker is better off with.
struct Package {
    name: &'static str,
    requirement: &'static str,
    without: &'static str,
}

const PACKAGES: [Package; 2] = [
    Package {
        name: "uvloop",
        requirement: "uvloop>=0.21,<1",
        without: "without uvloop every click takes longer and a core serves fewer users",
    },
    Package {
        name: "cloudpickle",
        requirement: "cloudpickle>=3,<4",
        without: "without cloudpickle, session state that holds classes or functions defined in \
                  the script cannot move to another process",
    },
];

/// How long a failure is believed in before the next attempt.
const RETRY_AFTER: Duration = Duration::from_hours(1);

/// Who installs them: a Python of the version and platform that they are for, with pip.
#[derive(Debug)]
pub(super) struct Installer {
    pub(super) python: PathBuf,
    pub(super) tag: String,
}

impl Installer {
    /// The interpreter itself, or the one it was made from: not every virtual environment has pip.
    pub(super) fn of(executable: &Path, probed: &Probed) -> Self {
        let python = match &probed.base_executable {
            Some(base) if !probed.has("pip") => base,
            _ => executable,
        };
        Self { python: python.to_owned(), tag: probed.tag.clone() }
    }
}

/// The folder, where there is one, and what the user should know about it.
#[derive(Debug, Default)]
pub(super) struct Packages {
    pub(super) path: Option<PathBuf>,
    pub(super) notices: Vec<String>,
}

impl Packages {
    /// When there is nowhere to put them.
    pub(super) fn unavailable(importable: &[String], cause: &str) -> Self {
        Self { path: None, notices: wanted(importable).map(|package| package.notice(cause, None)).collect() }
    }
}

impl Package {
    fn is_in(&self, folder: &Path) -> bool {
        folder.join(self.name).is_dir()
    }

    fn notice(&self, cause: &str, failure: Option<&Path>) -> String {
        let Self { name, without, .. } = self;
        let again = failure.map_or_else(String::new, |file| {
            format!(" It is tried again in an hour, or once {} is deleted.", file.display())
        });
        format!("{name} could not be installed: {without}. The cause: {cause}.{again}")
    }
}

/// The packages for a worker that can import `importable` without them.
pub(super) async fn obtain(
    cache: &Cache,
    installer: &Installer,
    importable: &[String],
    progress: &dyn Progress,
) -> Packages {
    let shelf = Shelf::of(cache, installer);
    if wanted(importable).next().is_none() {
        return Packages::default();
    }
    if shelf.missing(importable).is_empty() {
        return shelf.offer(Vec::new());
    }
    let failure = match shelf.recent_failure() {
        Some(cause) => Some(cause),
        None => shelf.fill(installer, importable, progress).await.err(),
    };
    let notices = shelf
        .missing(importable)
        .into_iter()
        .map(|package| {
            let cause = failure.as_deref().unwrap_or("it is gone again");
            package.notice(cause, Some(&shelf.failure_path()))
        })
        .collect();
    shelf.offer(notices)
}

fn wanted(importable: &[String]) -> impl Iterator<Item = &'static Package> {
    PACKAGES.iter().filter(|package| !importable.iter().any(|known| known == package.name))
}

/// The packages for one version of Python on one platform.
struct Shelf {
    packages: PathBuf,
    name: String,
}

impl Shelf {
    fn of(cache: &Cache, installer: &Installer) -> Self {
        let mut fingerprint = Fingerprint::default();
        for package in &PACKAGES {
            fingerprint.add(package.requirement.as_bytes());
        }
        let plain = |c: char| if c.is_ascii_alphanumeric() { c } else { '-' };
        let tag: String = installer.tag.chars().map(plain).collect();
        Self { packages: cache.packages(), name: format!("{tag}-{}", fingerprint.hex(4)) }
    }

    fn folder(&self) -> PathBuf {
        self.packages.join(&self.name)
    }

    fn failure_path(&self) -> PathBuf {
        self.packages.join(format!("{}.failed", self.name))
    }

    fn missing(&self, importable: &[String]) -> Vec<&'static Package> {
        let folder = self.folder();
        wanted(importable).filter(|package| !package.is_in(&folder)).collect()
    }

    fn offer(&self, notices: Vec<String>) -> Packages {
        let folder = self.folder();
        Packages { path: folder.is_dir().then_some(folder), notices }
    }

    fn recent_failure(&self) -> Option<String> {
        let path = self.failure_path();
        let failed = fs::metadata(&path).and_then(|file| file.modified()).ok()?;
        // A time to come is that of a clock since corrected.
        let age = SystemTime::now().duration_since(failed).ok()?;
        (age < RETRY_AFTER).then(|| fs::read_to_string(&path).unwrap_or_default())
    }

    /// Installs what is missing. An error is the cause in words, and is kept for the next starts.
    async fn fill(&self, installer: &Installer, importable: &[String], progress: &dyn Progress) -> Result<(), String> {
        cache::create(&self.packages).map_err(|error| error.to_string())?;
        let lock_path = self.packages.join(format!("{}.lock", self.name));
        let _lock = lock::acquire(&lock_path, |holder| {
            progress.step(&format!("Waiting for {holder}, which is installing the worker's packages …"));
        })
        .await
        .map_err(|error| format!("{}: {error}", lock_path.display()))?;
        let missing = self.missing(importable);
        if missing.is_empty() {
            return Ok(());
        }
        if let Some(cause) = self.recent_failure() {
            return Err(cause);
        }
        self.clear_leftovers();
        let filled = self.install(installer, missing, progress).await;
        match &filled {
            Ok(()) => drop(fs::remove_file(self.failure_path())),
            // Without the note, the next start tries again: slower, not wrong.
            Err(cause) => drop(fs::write(self.failure_path(), cause)),
        }
        filled
    }

    /// Removes what interrupted attempts left; the lock is ours, so nobody is at work there.
    fn clear_leftovers(&self) {
        let entries = fs::read_dir(&self.packages).into_iter().flatten().flatten();
        let prefix = self.fresh_prefix();
        for entry in entries {
            if entry.file_name().as_encoded_bytes().starts_with(prefix.as_bytes()) {
                drop(fs::remove_dir_all(entry.path()));
            }
        }
    }

    fn fresh_prefix(&self) -> String {
        format!(".{}-", self.name)
    }

    async fn install(
        &self,
        installer: &Installer,
        missing: Vec<&'static Package>,
        progress: &dyn Progress,
    ) -> Result<(), String> {
        let names: Vec<_> = missing.iter().map(|package| package.name).collect();
        progress.step(&format!("Installing {} for the workers …", names.join(" and ")));
        let failure = match self.install_together(installer, &missing, progress).await {
            Ok(()) => return Ok(()),
            Err(failure) => failure,
        };
        // One without a build for this platform must not keep the others away.
        if !failure.index_unreachable && missing.len() > 1 {
            for package in missing {
                let alone = self.install_together(installer, &[package], progress).await;
                drop(alone);
            }
        }
        Err(if failure.index_unreachable {
            "the package index could not be reached".to_owned()
        } else {
            failure.output.replace('\n', " ")
        })
    }

    async fn install_together(
        &self,
        installer: &Installer,
        packages: &[&'static Package],
        progress: &dyn Progress,
    ) -> Result<(), pip::Failure> {
        let broken = |error: io::Error| pip::Failure {
            output: format!("{}: {error}", self.packages.display()),
            index_unreachable: false,
            disk_full: false,
        };
        let fresh = tempfile::Builder::new().prefix(&self.fresh_prefix()).tempdir_in(&self.packages).map_err(broken)?;
        let mut arguments: Vec<OsString> = vec!["--target".into(), fresh.path().into()];
        // Quick to give up: the app is waiting, and can go on without.
        arguments.extend(["--no-deps", "--only-binary=:all:", "--retries=1", "--timeout=15"].map(OsString::from));
        arguments.extend(packages.iter().map(|package| package.requirement.into()));
        pip::install(&installer.python, &self.packages, arguments, progress).await?;
        self.put_in_place(fresh.path()).map_err(broken)
    }

    /// Moves what pip installed to where workers look for it, the packages themselves last.
    fn put_in_place(&self, fresh: &Path) -> io::Result<()> {
        slot::flush(fresh)?;
        let folder = self.folder();
        fs::create_dir_all(&folder)?;
        let mut entries: Vec<_> =
            fs::read_dir(fresh)?.map(|entry| entry.map(|entry| entry.file_name())).collect::<Result<_, _>>()?;
        entries.sort_by_key(|name| PACKAGES.iter().any(|package| package.name == name));
        for name in entries {
            match fs::rename(fresh.join(&name), folder.join(&name)) {
                // The records of an attempt that was interrupted right here; they say the same.
                Err(error) if error.kind() == io::ErrorKind::DirectoryNotEmpty => {}
                moved => moved?,
            }
        }
        Ok(())
    }
}
