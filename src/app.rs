//! An app on this machine: its script, its Python, its workers.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    thread::available_parallelism,
};

use anyhow::{Context as _, Result, anyhow, bail};
use streamfleet_cluster::{Blobs, SnapshotStore};
use streamfleet_runner::{
    Observer, Ownership, Pool, PoolOptions, PythonSpawner, SharedCache, WorkerPackage,
    interpreter::{self, Interpreter, InterpreterOptions},
};

use crate::{banner, progress::StderrProgress, settings::Settings, telemetry::LogFormat};

const DEFAULT_SCRIPT: &str = "streamlit_app.py";

/// What is to be run.
#[derive(Debug)]
pub(crate) struct App {
    /// Where its requirements are looked for.
    pub(crate) folder: PathBuf,
    /// `None` for Streamlit's demo.
    pub(crate) script: Option<PathBuf>,
    pub(crate) args: Vec<String>,
    pub(crate) streamlit_flags: Vec<String>,
    /// Whether somebody is working on it, so that changed source files should be noticed.
    pub(crate) watch_sources: bool,
}

/// What an app needs of the cluster, or of what stands for one.
pub(crate) struct AppParts {
    pub(crate) cookie_secret: String,
    pub(crate) revision: String,
    pub(crate) ownership: Arc<Ownership>,
    /// Where its sessions' state is kept.
    pub(crate) snapshots: Arc<dyn SnapshotStore>,
    /// Where uploaded files are kept.
    pub(crate) blobs: Blobs,
    /// What `st.cache_data` functions return; `None` if each worker caches for itself.
    pub(crate) cache: Option<Arc<SharedCache>>,
    /// What is told of the work.
    pub(crate) observer: Observer,
}

/// An app whose workers run.
pub(crate) struct RunningApp {
    pub(crate) pool: Pool,
    /// Held so that nobody cleans its environment up.
    _interpreter: Interpreter,
    _package: WorkerPackage,
}

impl App {
    /// The app that a user named, by the rules of `streamlit run`.
    pub(crate) fn find(given: &Path, args: Vec<String>, streamlit_flags: Vec<String>) -> Result<Self> {
        let script = find_script(given)?;
        let folder = script.parent().map(Path::to_owned).unwrap_or_default();
        Ok(Self { folder, script: Some(script), args, streamlit_flags, watch_sources: true })
    }

    /// Streamlit's demo.
    pub(crate) fn hello(streamlit_flags: Vec<String>) -> Self {
        // The demo's own requirements are Streamlit's; nobody else's should get in.
        Self { folder: PathBuf::from("/"), script: None, args: Vec::new(), streamlit_flags, watch_sources: true }
    }

    /// Starts the workers, and returns when one of them serves.
    pub(crate) async fn start(self, settings: &Settings, parts: AppParts) -> Result<RunningApp> {
        let interpreter = find_interpreter(&self.folder, settings).await?;
        let package =
            WorkerPackage::write().context("cannot write the worker's files to the temporary folder (see $TMPDIR)")?;
        let options = PoolOptions {
            script: self.script,
            script_args: self.args,
            streamlit_flags: self.streamlit_flags,
            workers: settings.workers.unwrap_or_else(one_per_core),
            socket_folder: package.path().to_owned(),
            cookie_secret: parts.cookie_secret,
            watch_sources: self.watch_sources,
            packages: interpreter.packages_path.clone(),
            revision: parts.revision,
            limits: settings.limits(),
            blobs: parts.blobs,
            cache: parts.cache,
            observer: parts.observer,
            forward_output: settings.log.log_format == Some(LogFormat::Json),
        };
        let spawner = PythonSpawner { executable: interpreter.executable.clone(), python_path: package.python_path() };
        let pool = Pool::start(options, Arc::new(spawner), parts.ownership, parts.snapshots).await;
        let pool = pool.map_err(|failure| anyhow!("{failure}"))?;
        for notice in &pool.app().notices {
            banner::notice(notice);
        }
        Ok(RunningApp { pool, _interpreter: interpreter, _package: package })
    }
}

/// The script's absolute path, by the rules of `streamlit run`.
fn find_script(given: &Path) -> Result<PathBuf> {
    let path = if given.is_dir() {
        let inside = given.join(DEFAULT_SCRIPT);
        if !inside.exists() {
            bail!("{} is a folder without a {DEFAULT_SCRIPT}; name the script to run", given.display());
        }
        inside
    } else {
        given.to_owned()
    };
    if !path.exists() {
        bail!("File does not exist: {}", path.display());
    }
    if path.extension().is_none_or(|extension| extension != "py") {
        bail!("{} is not a Python script (.py)", path.display());
    }
    std::fs::File::open(&path).with_context(|| format!("cannot read {}", path.display()))?;
    // Not resolved through links: the app's neighbours are beside the name that was given.
    std::path::absolute(&path).with_context(|| format!("cannot locate {}", path.display()))
}

async fn find_interpreter(folder: &Path, settings: &Settings) -> Result<Interpreter> {
    let mut options = InterpreterOptions::from_environment(folder.to_owned());
    options.python.clone_from(&settings.python);
    if let Some(folder) = &settings.cache_dir {
        options.cache_dir = Some(folder.clone());
    }
    let progress = StderrProgress::default();
    let found = interpreter::resolve(&options, &progress).await;
    progress.finish();
    let found = found?;
    for notice in &found.notices {
        banner::notice(notice);
    }
    Ok(found)
}

fn one_per_core() -> u32 {
    let cores = available_parallelism().map_or(1, std::num::NonZero::get);
    u32::try_from(cores).unwrap_or(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scripts_are_found_by_streamlits_rules() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        let error = |path: &Path| find_script(path).unwrap_err().to_string();

        assert!(error(&path("none.py")).contains("does not exist"));
        assert!(error(folder.path()).contains(DEFAULT_SCRIPT));
        std::fs::write(path("notes.txt"), "").unwrap();
        assert!(error(&path("notes.txt")).contains(".py"));

        std::fs::write(path(DEFAULT_SCRIPT), "").unwrap();
        assert_eq!(find_script(folder.path()).unwrap(), path(DEFAULT_SCRIPT));
    }
}
