//! The managed environment: opened when it is there, made when it is not.

use std::path::{Path, PathBuf};

use tokio::task::spawn_blocking;

use super::{
    InterpreterError, Progress,
    cache::{self, Cache},
    cleanup,
    fingerprint::Fingerprint,
    lock, pip,
    probe::{self, Probed, Surroundings},
    process,
    requirements::Requirements,
    search::venv_package,
    slot::{self, Lease, Record, Slot, python_of},
    supported::minor_of,
};

/// Part of every key: raise it when environments come to be made differently.
const FORMAT: u32 = 1;

/// An environment that is ours and ready.
#[derive(Debug)]
pub(super) struct Environment {
    pub(super) python: PathBuf,
    pub(super) streamlit_version: String,
    pub(super) importable: Vec<String>,
    pub(super) lease: Lease,
}

/// The environment for these requirements on this Python. Of several starts at once, one makes it and the others wait.
pub(super) async fn obtain(
    cache: &Cache,
    base: &Probed,
    requirements: &Requirements,
    progress: &dyn Progress,
) -> Result<Environment, InterpreterError> {
    let slot = Slot { environments: cache.environments(), key: key(base, requirements) };
    if let Some(opened) = slot.open() {
        return Ok(opened.into());
    }
    cache::create(&slot.environments)?;
    let lock_path = slot.lock_path();
    let _lock = lock::acquire(&lock_path, |holder| {
        progress.step(&format!("Waiting for {holder}, which is creating the Python environment …"));
    })
    .await
    .map_err(InterpreterError::cache(&lock_path))?;
    if let Some(opened) = slot.open() {
        return Ok(opened.into());
    }
    let swept = slot.clone();
    // It only fails by panicking, and then what it left is for the next time.
    let _ = spawn_blocking(move || cleanup::sweep(&swept)).await;
    make(&slot, base, requirements, progress).await
}

impl From<(PathBuf, Record, Lease)> for Environment {
    fn from((folder, record, lease): (PathBuf, Record, Lease)) -> Self {
        Self {
            python: python_of(&folder),
            streamlit_version: record.streamlit_version,
            importable: record.importable,
            lease,
        }
    }
}

/// Names the environment by everything it depends on. Of the Python's version only the minor one counts: environments
/// survive updates within it, and a fleet should not reinstall everything after a security fix.
fn key(base: &Probed, requirements: &Requirements) -> String {
    let mut fingerprint = Fingerprint::default();
    fingerprint.add(&FORMAT.to_le_bytes());
    fingerprint.add(minor_of(&base.version).as_bytes());
    fingerprint.add(base.tag.as_bytes());
    fingerprint.add(executable_of(base).as_os_str().as_encoded_bytes());
    fingerprint.add(requirements.fingerprint().hex(32).as_bytes());
    fingerprint.hex(10)
}

fn executable_of(base: &Probed) -> &Path {
    base.executable.as_deref().unwrap_or(Path::new("python3"))
}

async fn make(
    slot: &Slot,
    base: &Probed,
    requirements: &Requirements,
    progress: &dyn Progress,
) -> Result<Environment, InterpreterError> {
    let (folder, lease) = slot.begin().map_err(InterpreterError::cache(&slot.environments))?;
    progress.step("Creating a Python environment (first start only) …");
    create_empty(executable_of(base), &base.version, folder.path()).await?;
    progress.step(&format!("Installing {} …", requirements.summary()));
    let python = python_of(folder.path());
    pip::install(&python, requirements.app_dir(), requirements.pip_arguments(), progress)
        .await
        .map_err(|failure| install_failed(requirements, &slot.environments, failure))?;
    let record = record(folder.path(), &python, requirements).await?;

    let publishing = slot.clone();
    let published = spawn_blocking(move || {
        slot::flush(folder.path())?;
        publishing.publish(&record)?;
        Ok((folder.keep(), record))
    });
    let (folder, record) = published
        .await
        .unwrap_or_else(|panic| Err(std::io::Error::other(panic)))
        .map_err(InterpreterError::cache(&slot.environments))?;
    Ok((folder, record, lease).into())
}

async fn create_empty(python: &Path, version: &str, folder: &Path) -> Result<(), InterpreterError> {
    let mut command = process::module(python, "venv");
    command.arg(folder);
    probe::forget_other_packages(&mut command).current_dir(folder);
    let failed = |output: String| InterpreterError::VenvFailed { executable: python.to_owned(), output };
    let finished =
        process::run(command, pip::LIMIT, |_| {}).await.map_err(|error| failed(format!("python -m venv {error}")))?;
    if finished.status.success() {
        return Ok(());
    }
    let said: Vec<_> = finished.stdout.into_iter().chain(finished.stderr).collect();
    if said.iter().any(|line| line.contains("ensurepip is not available")) {
        return Err(InterpreterError::VenvMissing {
            executable: python.to_owned(),
            version: version.to_owned(),
            package: venv_package(version),
        });
    }
    if said.iter().any(|line| line.contains("No space left on device")) {
        return Err(InterpreterError::DiskFull {
            what: "a Python environment".to_owned(),
            path: folder.parent().unwrap_or(folder).to_owned(),
        });
    }
    Err(failed(said[said.len().saturating_sub(10)..].join("\n")))
}

/// Looks at what has come of the installation, with the eyes of nobody's `PYTHONPATH`.
async fn record(folder: &Path, python: &Path, requirements: &Requirements) -> Result<Record, InterpreterError> {
    let failed = |output: String| InterpreterError::InstallFailed {
        what: requirements.described(),
        output,
        next_step: next_step(requirements, false),
    };
    let probed = probe::run(python, Surroundings::Own)
        .await
        .map_err(|cause| failed(format!("nothing, but the new environment {cause}")))?;
    let (Some(streamlit_version), Some(streamlit_file)) = (probed.streamlit, probed.streamlit_file) else {
        return Err(failed("nothing, but Streamlit is not among what it installed".to_owned()));
    };
    Ok(Record {
        folder: folder.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default(),
        streamlit_version,
        streamlit_file: streamlit_file.strip_prefix(folder).map(Path::to_owned).unwrap_or(streamlit_file),
        importable: probed.modules,
    })
}

fn install_failed(requirements: &Requirements, environments: &Path, failure: pip::Failure) -> InterpreterError {
    let what = requirements.described();
    if failure.disk_full {
        return InterpreterError::DiskFull { what, path: environments.to_owned() };
    }
    InterpreterError::InstallFailed {
        what,
        next_step: next_step(requirements, failure.index_unreachable),
        output: failure.output,
    }
}

fn next_step(requirements: &Requirements, index_unreachable: bool) -> String {
    match requirements.source() {
        _ if index_unreachable => "The package index could not be reached: check the network and pip's settings \
             (pip config list), then start again"
            .to_owned(),
        Some(file) => format!("Correct {}, then start again", file.display()),
        None => "Start again, or name an environment that has Streamlit with --python".to_owned(),
    }
}
