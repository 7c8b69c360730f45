//! What can go wrong between an app and its Python, each with its cause and the next step.

use std::{
    io,
    path::{Path, PathBuf},
};

use super::{
    cache::CACHE_DIR_SETTING,
    locate::Origin,
    supported::{PYTHON_RANGE, STREAMLIT_RANGE},
};

/// Why there is no Python to run the app with.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum InterpreterError {
    /// What the user named does not exist.
    #[error("{origin} names {}, but {cause}. {}", .path.display(), .origin.next_step())]
    NotFound {
        /// Who named it.
        origin: Origin,
        /// What was named.
        path: PathBuf,
        /// What is the matter with it.
        cause: &'static str,
    },

    /// What the user named does not answer as a Python does.
    #[error("{origin} names {}, which is no working Python: it {cause}. {}", .executable.display(), .origin.next_step())]
    NotAPython {
        /// Who named it.
        origin: Origin,
        /// What was started.
        executable: PathBuf,
        /// What happened instead of an answer.
        cause: String,
    },

    /// The user's Python is too old or too new.
    #[error("Python {version} at {} (from {origin}) is not supported; Streamfleet needs Python {PYTHON_RANGE}. {}", .executable.display(), .origin.next_step())]
    UnsupportedPython {
        /// Who named it.
        origin: Origin,
        /// The interpreter.
        executable: PathBuf,
        /// Its version.
        version: String,
    },

    /// The user's environment has no Streamlit, and it is not ours to change.
    #[error("Streamlit is not installed for {} (Python {version}, from {origin}). Install it with: {install}", .executable.display())]
    StreamlitMissing {
        /// Who named the interpreter.
        origin: Origin,
        /// The interpreter.
        executable: PathBuf,
        /// Its version.
        version: String,
        /// The command that installs Streamlit.
        install: String,
    },

    /// There is a Streamlit, but not one we know how to host.
    #[error(
        "Streamlit {version} (from {place}) is not supported; Streamfleet needs Streamlit {STREAMLIT_RANGE}. {next_step}"
    )]
    UnsupportedStreamlit {
        /// Its version.
        version: String,
        /// The interpreter or requirements file it comes from.
        place: String,
        /// How to get a supported one.
        next_step: String,
    },

    /// No Python on `PATH` can make an environment.
    #[error(
        "no Python that can be used was found on PATH: {found}. Install Python {PYTHON_RANGE} (on Debian and Ubuntu: apt install python3 python3-venv), or name one with --python"
    )]
    NoPython {
        /// What was looked for, and why none of it will do.
        found: String,
    },

    /// There is a good Python, but its distribution ships `venv` separately.
    #[error("Python {version} at {} cannot create environments, because its venv and ensurepip modules are not installed. On Debian and Ubuntu run: apt install {package}; or name another Python with --python", .executable.display())]
    VenvMissing {
        /// The interpreter.
        executable: PathBuf,
        /// Its version.
        version: String,
        /// The Debian package that holds the rest.
        package: String,
    },

    /// `python -m venv` failed for a reason of its own.
    #[error("{} could not create an environment for the app:\n{output}\nName another Python with --python, or a virtual environment that has Streamlit", .executable.display())]
    VenvFailed {
        /// The interpreter.
        executable: PathBuf,
        /// Its last words.
        output: String,
    },

    /// A requirements file cannot be read or understood.
    #[error("cannot read the app's requirements from {}: {cause}", .path.display())]
    Requirements {
        /// The file.
        path: PathBuf,
        /// What is the matter with it, and the next step where there is one.
        cause: String,
    },

    /// pip could not install what the app needs.
    #[error("could not install {what}. pip says:\n{output}\n{next_step}")]
    InstallFailed {
        /// The requirements, or the file they are in.
        what: String,
        /// pip's last lines.
        output: String,
        /// What to do about it.
        next_step: String,
    },

    /// The disk filled up on the way.
    #[error("no space left while installing {what} into {}. Free some there and in the folder for temporary files, or set {CACHE_DIR_SETTING} to a folder on another disk", .path.display())]
    DiskFull {
        /// The requirements, or the file they are in.
        what: String,
        /// Where the environment was to be.
        path: PathBuf,
    },

    /// The cache folder cannot be used.
    #[error("cannot use the cache folder {}: {cause}. Make it writable, or set {CACHE_DIR_SETTING} to a folder that is", .path.display())]
    Cache {
        /// The file or folder in question.
        path: PathBuf,
        /// What the system says.
        cause: io::Error,
    },

    /// There is no home folder to keep a cache in.
    #[error(
        "no cache folder is known, because HOME is not set. Set {CACHE_DIR_SETTING} to a folder that can be written"
    )]
    NoCacheFolder,
}

impl InterpreterError {
    /// Turns an I/O error at `path` in the cache into one that says so.
    pub(super) fn cache(path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |cause| Self::Cache { path, cause }
    }
}
