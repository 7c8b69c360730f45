//! Asks an interpreter, in one short process, for everything that is to be known about it.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use serde::Deserialize;
use tokio::process::Command;

use super::process::{self, RunError};

/// An interpreter answers in tens of milliseconds; a network disk that nobody has touched yet may take seconds.
const LIMIT: Duration = Duration::from_secs(30);

const PROGRAM: &str = include_str!("probe.py");

/// What an interpreter says of itself. All but the version is absent when it is too old to be of use.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(super) struct Probed {
    pub(super) version: String,
    #[serde(default)]
    pub(super) executable: Option<PathBuf>,
    /// What a virtual environment was made from; the executable itself outside of one.
    #[serde(default)]
    pub(super) base_executable: Option<PathBuf>,
    /// Differs where compiled packages do, such as `cpython-311-x86_64-linux-gnu.so-x86_64`.
    #[serde(default)]
    pub(super) tag: String,
    /// Those of the modules we care for that can be imported.
    #[serde(default)]
    pub(super) modules: Vec<String>,
    #[serde(default)]
    pub(super) streamlit: Option<String>,
    #[serde(default)]
    pub(super) streamlit_file: Option<PathBuf>,
}

impl Probed {
    pub(super) fn has(&self, module: &str) -> bool {
        self.modules.iter().any(|known| known == module)
    }
}

/// Which of the user's environment variables the interpreter is to see.
#[derive(Debug, Clone, Copy)]
pub(super) enum Surroundings<'a> {
    /// All, as a worker will: `PYTHONPATH` may be where Streamlit is.
    OfTheUser,
    /// None that bring in packages from elsewhere, and with the app's folder as the working directory, where version
    /// managers look for the Python that the app wants.
    OfTheApp(&'a Path),
    /// None that bring in packages from elsewhere.
    Own,
}

#[derive(Debug, thiserror::Error)]
pub(super) enum ProbeError {
    #[error(transparent)]
    Run(#[from] RunError),
    #[error("ended with {status}{}", said(.complaint))]
    Failed { status: String, complaint: String },
    #[error("gave an answer that Streamfleet does not understand{}", said(.0))]
    Answer(String),
}

fn said(line: &str) -> String {
    if line.is_empty() { String::new() } else { format!(", saying: {line}") }
}

/// Probes `executable`.
pub(super) async fn run(executable: &Path, surroundings: Surroundings<'_>) -> Result<Probed, ProbeError> {
    let mut command = Command::new(executable);
    command.arg("-c").arg(PROGRAM);
    match surroundings {
        Surroundings::OfTheUser => {}
        Surroundings::OfTheApp(folder) => {
            forget_other_packages(&mut command).current_dir(folder);
        }
        Surroundings::Own => {
            forget_other_packages(&mut command);
        }
    }
    let finished = process::run(command, LIMIT, |_| {}).await?;
    if !finished.status.success() {
        return Err(ProbeError::Failed { status: finished.status.to_string(), complaint: complaint(&finished.stderr) });
    }
    // A site customization may print lines of its own before ours.
    let answer = last_line(&finished.stdout);
    serde_json::from_str(&answer).map_err(|_| ProbeError::Answer(answer))
}

/// Takes away the variables that would make packages outside of an environment look as if they were in it.
pub(super) fn forget_other_packages(command: &mut Command) -> &mut Command {
    command.env_remove("PYTHONPATH").env_remove("PYTHONHOME")
}

/// The line that says what is wrong: Python ends with it, other programs begin with it.
fn complaint(lines: &[String]) -> String {
    match lines.first() {
        Some(first) if !first.starts_with("Traceback") => first.clone(),
        _ => last_line(lines),
    }
}

fn last_line(lines: &[String]) -> String {
    lines.iter().rev().find(|line| !line.is_empty()).cloned().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::interpreter::{fake::script, supported::python_is_supported};

    async fn probe(body: &str) -> Result<Probed, ProbeError> {
        let folder = tempfile::tempdir().unwrap();
        let python = script(&folder.path().join("python"), body);
        run(&python, Surroundings::OfTheUser).await
    }

    #[tokio::test]
    async fn the_last_line_is_the_answer() {
        let probed = probe("echo 'Welcome!'; echo '{\"version\": \"3.9.1\"}'").await.unwrap();
        assert_eq!(probed.version, "3.9.1");
        assert!(!probed.has("venv"));
    }

    #[tokio::test]
    async fn what_is_no_python_is_quoted() {
        let error = probe("echo 'pyenv: not installed' >&2; echo 'See its manual' >&2; exit 127").await.unwrap_err();
        assert_eq!(error.to_string(), "ended with exit status: 127, saying: pyenv: not installed");
        let error =
            probe("echo 'Traceback (most recent call last):' >&2; echo 'KeyError: 1' >&2; exit 1").await.unwrap_err();
        assert!(error.to_string().ends_with("saying: KeyError: 1"), "{error}");
        let error = probe("echo hello").await.unwrap_err();
        assert!(error.to_string().ends_with("saying: hello"), "{error}");
    }

    /// With a real Python: the program itself works, and the app's own files do not get in its way.
    #[tokio::test]
    async fn a_real_python_answers() {
        let app = tempfile::tempdir().unwrap();
        fs::write(app.path().join("json.py"), "raise SystemExit('not me')").unwrap();
        let probed = run(Path::new("python3"), Surroundings::OfTheApp(app.path())).await.unwrap();
        assert!(python_is_supported(&probed.version), "{probed:?}");
        assert!(probed.executable.unwrap().is_file());
        assert!(probed.tag.len() > 4);
    }
}
