//! Turns what the user said about Python into the path of an executable, without running anything.

use std::{
    ffi::OsStr,
    fmt,
    os::unix::fs::PermissionsExt,
    path::{self, Component, Path, PathBuf},
};

use super::{InterpreterError, InterpreterOptions};

/// Who named an interpreter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// `--python`.
    Flag,
    /// An activated virtual environment.
    VirtualEnv,
}

impl Origin {
    pub(super) fn next_step(self) -> &'static str {
        match self {
            Self::Flag => "Give --python an interpreter, the folder of a virtual environment, or a name on PATH",
            Self::VirtualEnv => {
                "Activate another virtual environment, name a Python with --python, \
                 or unset VIRTUAL_ENV to let Streamfleet make an environment"
            }
        }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Flag => "--python",
            Self::VirtualEnv => "VIRTUAL_ENV",
        })
    }
}

/// An interpreter that the user named.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Chosen {
    pub(super) origin: Origin,
    pub(super) executable: PathBuf,
}

/// The interpreter the user named, if they did.
pub(super) fn chosen(options: &InterpreterOptions) -> Result<Option<Chosen>, InterpreterError> {
    let (origin, located, path) = if let Some(python) = &options.python {
        (Origin::Flag, flag(python, options.search_path.as_deref()), python)
    } else if let Some(folder) = &options.virtual_env {
        (Origin::VirtualEnv, in_environment(folder), folder)
    } else {
        return Ok(None);
    };
    match located {
        Ok(executable) => Ok(Some(Chosen { origin, executable })),
        Err(cause) => Err(InterpreterError::NotFound { origin, path: path.clone(), cause }),
    }
}

/// The executable called `name` that a shell would start.
pub(super) fn on_path(name: &OsStr, search_path: Option<&OsStr>) -> Option<PathBuf> {
    std::env::split_paths(search_path?)
        .filter(|folder| !folder.as_os_str().is_empty())
        .map(|folder| folder.join(name))
        .find(|path| is_executable(path))
        .map(absolute)
}

fn flag(python: &Path, search_path: Option<&OsStr>) -> Result<PathBuf, &'static str> {
    let is_bare_name = matches!(python.components().collect::<Vec<_>>()[..], [Component::Normal(_)]);
    if is_bare_name && let Some(found) = on_path(python.as_os_str(), search_path) {
        return Ok(found);
    }
    if python.is_dir() {
        in_environment(python)
    } else if is_executable(python) {
        Ok(absolute(python.to_owned()))
    } else if python.exists() {
        Err("that file is not executable")
    } else if is_bare_name {
        Err("nothing of that name is on PATH or in the current folder")
    } else {
        Err("there is no such file")
    }
}

fn in_environment(folder: &Path) -> Result<PathBuf, &'static str> {
    let python = folder.join("bin/python");
    if is_executable(&python) {
        Ok(absolute(python))
    } else if folder.is_dir() {
        Err("that folder is no virtual environment: it has no bin/python that can be run")
    } else {
        Err("there is no such folder")
    }
}

/// Absolute, but with links kept: a virtual environment's Python is a link, and what it links to is outside of it.
fn absolute(path: PathBuf) -> PathBuf {
    path::absolute(&path).unwrap_or(path)
}

fn is_executable(path: &Path) -> bool {
    path.metadata().is_ok_and(|file| file.is_file() && file.permissions().mode() & 0o111 != 0)
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::symlink};

    use super::*;

    fn executable(path: &Path) -> PathBuf {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, "").unwrap();
        fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
        path.to_owned()
    }

    fn options(python: Option<&Path>, virtual_env: Option<&Path>, search_path: &Path) -> InterpreterOptions {
        InterpreterOptions {
            python: python.map(Path::to_owned),
            virtual_env: virtual_env.map(Path::to_owned),
            search_path: Some(search_path.as_os_str().to_owned()),
            ..InterpreterOptions::default()
        }
    }

    fn cause(options: &InterpreterOptions) -> String {
        chosen(options).unwrap_err().to_string()
    }

    #[test]
    fn nothing_said_means_nothing_chosen() {
        assert_eq!(chosen(&InterpreterOptions::default()).unwrap(), None);
    }

    #[test]
    fn the_flag_may_be_a_file_a_folder_or_a_name() {
        let folder = tempfile::tempdir().unwrap();
        let in_venv = executable(&folder.path().join("my venv/bin/python"));
        let venv = folder.path().join("my venv");
        let named = executable(&folder.path().join("on path/python3.12"));
        let search_path = folder.path().join("on path");
        for (said, meant) in [(in_venv.as_path(), &in_venv), (&venv, &in_venv), (Path::new("python3.12"), &named)] {
            let chosen = chosen(&options(Some(said), None, &search_path)).unwrap().unwrap();
            assert_eq!((chosen.origin, &chosen.executable), (Origin::Flag, meant));
        }
    }

    #[test]
    fn the_flag_wins_over_the_active_environment() {
        let folder = tempfile::tempdir().unwrap();
        let flagged = executable(&folder.path().join("flagged"));
        let active = executable(&folder.path().join("active/bin/python"));
        let active_folder = folder.path().join("active");
        let both = options(Some(&flagged), Some(&active_folder), folder.path());
        assert_eq!(chosen(&both).unwrap().unwrap().executable, flagged);
        let one = chosen(&options(None, Some(&active_folder), folder.path())).unwrap().unwrap();
        assert_eq!((one.origin, one.executable), (Origin::VirtualEnv, active));
    }

    #[test]
    fn links_are_kept() {
        let folder = tempfile::tempdir().unwrap();
        let real = executable(&folder.path().join("usr/python3"));
        let link = folder.path().join("venv/bin/python");
        fs::create_dir_all(link.parent().unwrap()).unwrap();
        symlink(real, &link).unwrap();
        let chosen = chosen(&options(Some(&link), None, folder.path())).unwrap().unwrap();
        assert_eq!(chosen.executable, link);
    }

    #[test]
    fn what_is_not_there_is_named_with_its_cause() {
        let folder = tempfile::tempdir().unwrap();
        let plain = folder.path().join("notes.txt");
        fs::write(&plain, "").unwrap();
        let missing = folder.path().join("missing");
        for (said, expected) in [
            (missing.as_path(), "there is no such file"),
            (&plain, "not executable"),
            (folder.path(), "no virtual environment"),
            (Path::new("python9"), "on PATH"),
        ] {
            let message = cause(&options(Some(said), None, folder.path()));
            assert!(message.starts_with("--python names "), "{message}");
            assert!(message.contains(expected), "{message}");
        }
        let message = cause(&options(None, Some(&missing), folder.path()));
        assert!(message.contains("unset VIRTUAL_ENV"), "{message}");
    }
}
