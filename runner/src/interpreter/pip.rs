//! Runs pip, shows what it is doing, and picks out of its output what a user needs when it fails.

use std::{ffi::OsStr, path::Path, time::Duration};

use super::{
    Progress,
    probe::{Probed, forget_other_packages},
    process::{self, Finished},
    supported::STREAMLIT_REQUIREMENT,
};

/// Long enough to compile a package or two on a slow machine.
pub(super) const LIMIT: Duration = Duration::from_mins(15);

const EXCERPT_LINES: usize = 20;
/// pip lists every version there has ever been on one line.
const LONGEST_LINE: usize = 400;

/// Why pip did not install what it was asked for.
#[derive(Debug)]
pub(super) struct Failure {
    /// Its last lines, cut to what matters.
    pub(super) output: String,
    /// The package index could not be reached.
    pub(super) index_unreachable: bool,
    pub(super) disk_full: bool,
}

/// Runs `pip install` with `arguments` for the Python given, in `folder`.
pub(super) async fn install<I>(
    python: &Path,
    folder: &Path,
    arguments: I,
    progress: &dyn Progress,
) -> Result<(), Failure>
where
    I: IntoIterator,
    I::Item: AsRef<OsStr>,
{
    let mut command = process::module(python, "pip");
    command
        .args(["install", "--progress-bar", "off", "--no-color", "--disable-pip-version-check"])
        .args(arguments)
        .current_dir(folder)
        // Lines are to come when they happen, and questions are not to come at all.
        .env("PYTHONUNBUFFERED", "1")
        .env("PIP_NO_INPUT", "1")
        .env("GIT_TERMINAL_PROMPT", "0")
        // Where packages go is ours to say; which index they come from stays the user's setting.
        .env("PIP_USER", "0")
        .env("PIP_REQUIRE_VIRTUALENV", "0")
        .env_remove("PIP_TARGET")
        .env_remove("PIP_PREFIX")
        .env_remove("PIP_ROOT");
    forget_other_packages(&mut command);
    let narrated = |line: &str| {
        if let Some(text) = narrate(line) {
            progress.detail(&text);
        }
    };
    match process::run(command, LIMIT, narrated).await {
        Ok(finished) if finished.status.success() => Ok(()),
        Ok(finished) => Err(explain(&finished)),
        Err(error) => Err(Failure { output: format!("pip {error}"), index_unreachable: false, disk_full: false }),
    }
}

/// The command with which the user can install Streamlit into an environment of theirs.
pub(super) fn advice(executable: &Path, probed: &Probed) -> String {
    let python = quoted(&executable.display().to_string());
    if probed.has("pip") {
        format!("{python} -m pip install '{STREAMLIT_REQUIREMENT}'")
    } else {
        format!("uv pip install --python {python} '{STREAMLIT_REQUIREMENT}'")
    }
}

/// `text` as one word for a shell.
fn quoted(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-+@%,:=".contains(c);
    if text.chars().all(plain) { text.to_owned() } else { format!("'{}'", text.replace('\'', r"'\''")) }
}

/// One line of pip's standard output in a few words, if it is worth showing.
fn narrate(line: &str) -> Option<String> {
    let line = line.trim();
    if let Some(packages) = line.strip_prefix("Installing collected packages: ") {
        return Some(match packages.split(", ").count() {
            1 => format!("Installing {packages}"),
            count => format!("Installing {count} packages"),
        });
    }
    if line.starts_with("Collecting ") {
        let end = line.find(" (from ").unwrap_or(line.len());
        return Some(line[..end].to_owned());
    }
    // Only what is measured in megabytes takes long enough to be seen.
    if line.starts_with("Downloading ") && line.contains(" MB)") {
        return Some(line.to_owned());
    }
    (line.starts_with("Building wheel for ") && !line.contains("finished"))
        .then(|| line.trim_end_matches(": started").to_owned())
}

fn explain(finished: &Finished) -> Failure {
    let mentions = |text: &str| {
        let mut lines = finished.stderr.iter().chain(&finished.stdout);
        lines.any(|line| line.contains(text))
    };
    Failure {
        output: excerpt(finished),
        index_unreachable: mentions("connection broken by") || mentions("Max retries exceeded"),
        disk_full: mentions("No space left on device"),
    }
}

/// pip's errors without the warnings and advertisements around them.
fn excerpt(finished: &Finished) -> String {
    let is_noise = |line: &&String| {
        let line = line.trim_start();
        let noise = ["WARNING:", "[notice]", "ERROR: Ignored the following"];
        line.is_empty() || noise.iter().any(|start| line.starts_with(start))
    };
    let stderr: Vec<_> = finished.stderr.iter().filter(|line| !is_noise(line)).collect();
    let first_error = stderr.iter().position(|line| line.trim_start().to_lowercase().starts_with("error")).unwrap_or(0);
    // Which requirements conflict is told on the other stream.
    let conflict = finished
        .stdout
        .iter()
        .skip_while(|line| !line.starts_with("The conflict is caused by"))
        .take_while(|line| !line.is_empty());
    let lines: Vec<_> = stderr[first_error..].iter().copied().chain(conflict).collect();
    let last = &lines[lines.len().saturating_sub(EXCERPT_LINES)..];
    if last.is_empty() {
        return format!("nothing, but it ended with {}", finished.status);
    }
    last.iter().map(|line| shortened(line)).collect::<Vec<_>>().join("\n")
}

/// Keeps both ends of a long line.
fn shortened(line: &str) -> String {
    let count = line.chars().count();
    if count <= LONGEST_LINE {
        return line.to_owned();
    }
    let half = LONGEST_LINE / 2;
    let head: String = line.chars().take(half).collect();
    let tail: String = line.chars().skip(count - half).collect();
    format!("{head} … {tail}")
}

#[cfg(test)]
mod tests {
    use std::process::ExitStatus;

    use super::*;

    fn failed(stdout: &str, stderr: &str) -> Failure {
        let lines = |text: &str| text.lines().map(str::to_owned).collect();
        explain(&Finished { status: ExitStatus::default(), stdout: lines(stdout), stderr: lines(stderr) })
    }

    #[test]
    fn an_unknown_package_is_told_in_pips_words() {
        let versions = (0..200).map(|n| format!("0.{n}")).collect::<Vec<_>>().join(", ");
        let failure = failed(
            "Collecting pandas",
            &format!(
                "WARNING: Ignoring invalid distribution\n\
                 ERROR: Ignored the following versions that require a different python version: 0.55.2\n\
                 ERROR: Could not find a version that satisfies the requirement pandas==99 (from versions: {versions})\n\
                 ERROR: No matching distribution found for pandas==99\n\
                 [notice] A new release of pip is available"
            ),
        );
        let lines: Vec<_> = failure.output.lines().collect();
        assert!(lines[0].starts_with("ERROR: Could not find"), "{lines:?}");
        assert!(lines[0].ends_with("0.198, 0.199)") && lines[0].len() < 420, "{lines:?}");
        assert_eq!(lines[1..], ["ERROR: No matching distribution found for pandas==99"]);
        assert!(!failure.index_unreachable && !failure.disk_full);
    }

    #[test]
    fn conflicts_say_who_wants_what() {
        let failure = failed(
            "Collecting a\n\nThe conflict is caused by:\n    The user requested protobuf==3.0\n    \
             streamlit 1.60.0 depends on protobuf<8 and >=3.20\n\nTo fix this you could try to:",
            "ERROR: Cannot install -r r.txt (line 1) and protobuf==3.0\nERROR: ResolutionImpossible: for help visit …",
        );
        assert!(failure.output.contains("depends on protobuf<8"), "{}", failure.output);
        assert!(!failure.output.contains("To fix this"), "{}", failure.output);
    }

    #[test]
    fn of_a_long_build_log_the_end_is_kept() {
        let log: Vec<_> = (0..100).map(|n| format!("      line {n}")).collect();
        let log = log.join("\n");
        let failure = failed("", &format!("  error: subprocess-exited-with-error\n{log}\nERROR: Failed to build x"));
        assert_eq!(failure.output.lines().count(), EXCERPT_LINES);
        assert!(failure.output.ends_with("ERROR: Failed to build x"));
    }

    #[test]
    fn the_network_and_the_disk_are_recognized() {
        let offline = "WARNING: Retrying (Retry(total=0)) after connection broken by 'NewConnectionError(…)'\n\
                       ERROR: No matching distribution found for uvloop";
        assert!(failed("", offline).index_unreachable);
        let full = "ERROR: Could not install packages due to an OSError: [Errno 28] No space left on device";
        assert!(failed("", full).disk_full);
    }

    #[test]
    fn silence_is_explained_by_the_status() {
        assert_eq!(failed("", "").output, "nothing, but it ended with exit status: 0");
    }

    #[test]
    fn progress_is_short() {
        for (line, told) in [
            ("Collecting pandas>=2 (from -r requirements.txt (line 3))", Some("Collecting pandas>=2")),
            ("Installing collected packages: a, b, c", Some("Installing 3 packages")),
            ("Installing collected packages: a", Some("Installing a")),
            ("  Downloading x-1.whl (42.3 MB)", Some("Downloading x-1.whl (42.3 MB)")),
            ("  Downloading x-1.whl (42 kB)", None),
            ("  Building wheel for x (pyproject.toml): started", Some("Building wheel for x (pyproject.toml)")),
            ("  Building wheel for x (pyproject.toml): finished with status 'done'", None),
            ("  Using cached x-1.whl (1 kB)", None),
        ] {
            assert_eq!(narrate(line).as_deref(), told, "{line}");
        }
    }

    #[test]
    fn shells_read_what_was_meant() {
        assert_eq!(quoted("/usr/bin/python3.11"), "/usr/bin/python3.11");
        assert_eq!(quoted("/my venv/bin/python"), "'/my venv/bin/python'");
        assert_eq!(quoted("it's"), r"'it'\''s'");
    }
}
