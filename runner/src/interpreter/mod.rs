//! Finds, or makes, the Python that runs the app.
//!
//! The order is what a Python user expects: the interpreter they name, else the virtual environment they are in, else an
//! environment of our own with Streamlit and the app's requirements. Nothing is ever installed into an environment that
//! is not ours.

mod cache;
mod cleanup;
mod environment;
mod error;
mod fingerprint;
mod locate;
mod lock;
mod packages;
mod pip;
mod probe;
mod process;
mod pyproject;
mod requirements;
mod search;
mod slot;
mod supported;

#[cfg(test)]
mod fake;
#[cfg(test)]
mod tests;

use std::{env, ffi::OsString, path::PathBuf, sync::Arc};

use self::{
    cache::Cache,
    locate::Chosen,
    packages::Packages,
    probe::{Probed, Surroundings},
    requirements::Requirements,
    slot::Lease,
    supported::{python_is_supported, streamlit_is_supported},
};

pub use self::error::InterpreterError;
pub use self::locate::Origin;
pub use self::supported::{PYTHON_RANGE, STREAMLIT_RANGE, STREAMLIT_REQUIREMENT};

/// What is known about the Python the user wants.
#[derive(Debug, Clone, Default)]
pub struct InterpreterOptions {
    /// `--python`: an interpreter, the folder of a virtual environment, or a name on `PATH`.
    pub python: Option<PathBuf>,
    /// `$VIRTUAL_ENV`: the virtual environment the user has activated.
    pub virtual_env: Option<PathBuf>,
    /// `$PATH`: where interpreters are looked for by name.
    pub search_path: Option<OsString>,
    /// The folder of the app's script, with its `requirements.txt` or `pyproject.toml`.
    pub app_dir: PathBuf,
    /// Where environments are kept between starts; needed only when there is something to keep.
    pub cache_dir: Option<PathBuf>,
}

impl InterpreterOptions {
    /// The options for the app in `app_dir`, as far as environment variables give them.
    pub fn from_environment(app_dir: PathBuf) -> Self {
        let variable = |name: &str| env::var_os(name).filter(|value| !value.is_empty());
        Self {
            python: None,
            virtual_env: variable("VIRTUAL_ENV").map(PathBuf::from),
            search_path: variable("PATH"),
            app_dir,
            cache_dir: cache::default_folder(variable),
        }
    }
}

/// A Python that can run the app.
///
/// Keep it for as long as workers run: a managed environment that nobody holds may be cleaned up by another start.
#[derive(Debug, Clone)]
pub struct Interpreter {
    /// What to start workers with.
    pub executable: PathBuf,
    /// Such as `3.11.7`.
    pub python_version: String,
    /// Such as `1.67.0`.
    pub streamlit_version: String,
    /// A folder with the worker's own packages, to be put last on `sys.path`.
    pub packages_path: Option<PathBuf>,
    /// What the user should hear about, in whole sentences.
    pub notices: Vec<String>,
    _lease: Option<Arc<Lease>>,
}

/// Hears what [`resolve`] is doing whenever that takes long enough to be seen.
pub trait Progress: Send + Sync {
    /// A step that is worth a line of its own.
    fn step(&self, text: &str);

    /// A detail of the running step, best shown in place of the one before.
    fn detail(&self, text: &str) {
        self.step(text);
    }
}

/// Finds the Python that `options` ask for, and makes it first where that is ours to do.
///
/// Dropping the future ends every process it has started.
pub async fn resolve(options: &InterpreterOptions, progress: &dyn Progress) -> Result<Interpreter, InterpreterError> {
    let found = match locate::chosen(options)? {
        Some(chosen) => users_own(chosen).await?,
        None => managed(options, progress).await?,
    };
    let packages = match Cache::of(options) {
        Ok(cache) => packages::obtain(&cache, &found.installer, &found.importable, progress).await,
        Err(error) => Packages::unavailable(&found.importable, &error.to_string()),
    };
    Ok(Interpreter {
        executable: found.executable,
        python_version: found.python_version,
        streamlit_version: found.streamlit_version,
        packages_path: packages.path,
        notices: packages.notices,
        _lease: found.lease.map(Arc::new),
    })
}

/// An interpreter with a Streamlit we support, whoever it belongs to.
struct Found {
    executable: PathBuf,
    python_version: String,
    streamlit_version: String,
    importable: Vec<String>,
    installer: packages::Installer,
    lease: Option<Lease>,
}

/// The interpreter the user pointed at, checked and otherwise left alone.
async fn users_own(chosen: Chosen) -> Result<Found, InterpreterError> {
    let Chosen { origin, executable } = chosen;
    let probed = probe::run(&executable, Surroundings::OfTheUser).await.map_err(|cause| {
        InterpreterError::NotAPython { origin, executable: executable.clone(), cause: cause.to_string() }
    })?;
    if !python_is_supported(&probed.version) {
        return Err(InterpreterError::UnsupportedPython { origin, executable, version: probed.version });
    }
    let Some(streamlit_version) = probed.streamlit.clone() else {
        return Err(InterpreterError::StreamlitMissing {
            install: pip::advice(&executable, &probed),
            origin,
            executable,
            version: probed.version,
        });
    };
    if !streamlit_is_supported(&streamlit_version) {
        return Err(InterpreterError::UnsupportedStreamlit {
            version: streamlit_version,
            place: executable.display().to_string(),
            next_step: format!("Change it with: {}", pip::advice(&executable, &probed)),
        });
    }
    Ok(Found {
        installer: packages::Installer::of(&executable, &probed),
        executable,
        python_version: probed.version,
        streamlit_version,
        importable: probed.modules,
        lease: None,
    })
}

/// The environment that is kept for this app's requirements, made now if this is the first time.
async fn managed(options: &InterpreterOptions, progress: &dyn Progress) -> Result<Found, InterpreterError> {
    let requirements = Requirements::of_app(&options.app_dir)?;
    let cache = Cache::of(options)?;
    let base: Probed = search::base_python(options).await?;
    let environment = environment::obtain(&cache, &base, &requirements, progress).await?;
    if !streamlit_is_supported(&environment.streamlit_version) {
        return Err(InterpreterError::UnsupportedStreamlit {
            version: environment.streamlit_version,
            place: requirements.described(),
            next_step: format!("Ask there for {STREAMLIT_REQUIREMENT}, then start again"),
        });
    }
    Ok(Found {
        installer: packages::Installer { python: environment.python.clone(), tag: base.tag },
        executable: environment.python,
        python_version: base.version,
        streamlit_version: environment.streamlit_version,
        importable: environment.importable,
        lease: Some(environment.lease),
    })
}
