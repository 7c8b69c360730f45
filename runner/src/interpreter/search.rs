//! Finds the Python on `PATH` that managed environments are made from.

use std::{collections::HashSet, ffi::OsStr, fs, path::Path};

use super::{
    InterpreterError, InterpreterOptions, locate,
    probe::{self, Probed, Surroundings},
    supported::{minor_of, python_is_supported, python_names},
};

/// The first Python on `PATH` that we support and that can make environments: the default one if it will do, since that
/// is the one the user knows, else the newest.
pub(super) async fn base_python(options: &InterpreterOptions) -> Result<Probed, InterpreterError> {
    let names = python_names();
    let mut tried = HashSet::new();
    let mut found = Vec::new();
    let mut without_venv = None;
    for name in &names {
        let Some(path) = locate::on_path(OsStr::new(name), options.search_path.as_deref()) else {
            continue;
        };
        if !tried.insert(fs::canonicalize(&path).unwrap_or_else(|_| path.clone())) {
            continue;
        }
        match probe::run(&path, Surroundings::OfTheApp(&options.app_dir)).await {
            Err(cause) => found.push(format!("{} {cause}", path.display())),
            Ok(probed) if !python_is_supported(&probed.version) => {
                found.push(format!("{} is Python {}", path.display(), probed.version));
            }
            Ok(probed) if !(probed.has("venv") && probed.has("ensurepip")) => {
                without_venv.get_or_insert((path, probed.version));
            }
            Ok(probed) => return Ok(with_executable(probed, &path)),
        }
    }
    if let Some((executable, version)) = without_venv {
        return Err(InterpreterError::VenvMissing { package: venv_package(&version), executable, version });
    }
    if found.is_empty() {
        found.push(format!("there is no {}", names.join(", ")));
    }
    Err(InterpreterError::NoPython { found: found.join("; ") })
}

/// The Debian package with the `venv` and `ensurepip` of this Python.
pub(super) fn venv_package(version: &str) -> String {
    format!("python{}-venv", minor_of(version))
}

/// What was found may be a version manager's shim; the interpreter behind it is quicker, and does not change its mind.
fn with_executable(mut probed: Probed, path: &Path) -> Probed {
    probed.executable = probed.executable.filter(|executable| executable.is_file()).or_else(|| Some(path.to_owned()));
    probed
}
