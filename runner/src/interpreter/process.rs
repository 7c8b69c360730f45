//! Runs one helper process to its end, and never leaves it or its children behind.
//!
//! Each gets a process group of its own, so that Ctrl-C in the terminal reaches us alone and we decide; the group is
//! killed when the time is up or the future is dropped. For the case that we are killed ourselves, [`module`] starts
//! Python modules through `guard.py`, which watches its standard input for our end.

use std::{collections::VecDeque, io, path::Path, process::ExitStatus, process::Stdio, time::Duration};

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::{
    io::{AsyncBufReadExt, AsyncRead, BufReader},
    process::Command,
    time::timeout,
};

/// How many of the last lines of each stream are kept.
const KEPT_LINES: usize = 400;

const GUARD: &str = include_str!("guard.py");

/// What a process that ran to its end left behind.
#[derive(Debug)]
pub(super) struct Finished {
    pub(super) status: ExitStatus,
    pub(super) stdout: Vec<String>,
    pub(super) stderr: Vec<String>,
}

#[derive(Debug, thiserror::Error)]
pub(super) enum RunError {
    #[error("could not be started: {0}")]
    Start(io::Error),
    #[error("could not be waited for: {0}")]
    Wait(io::Error),
    #[error("was still running after {} seconds", .0.as_secs())]
    TimedOut(Duration),
}

/// `python -m module`, but without the working directory on `sys.path`, where an app's `queue.py` would hide the
/// standard library's, and ending when we do.
pub(super) fn module(python: &Path, module: &str) -> Command {
    let mut command = Command::new(python);
    command.arg("-c").arg(GUARD).arg(module);
    command
}

/// Runs `command` for at most `limit`, and hands every line of its standard output to `on_line` as it comes.
pub(super) async fn run(
    mut command: Command,
    limit: Duration,
    on_line: impl FnMut(&str) + Send,
) -> Result<Finished, RunError> {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .kill_on_drop(true)
        .spawn()
        .map_err(RunError::Start)?;
    let group = Group::of(child.id());
    // Open for as long as the child may run: the guard takes its end for ours.
    let lifeline = child.stdin.take();
    let stdout = child.stdout.take();
    let stderr = child.stderr.take();
    let all = async { tokio::try_join!(lines(stdout, on_line), lines(stderr, |_| {}), child.wait()) };
    let (stdout, stderr, status) =
        timeout(limit, all).await.map_err(|_| RunError::TimedOut(limit))?.map_err(RunError::Wait)?;
    group.has_ended();
    drop(lifeline);
    Ok(Finished { status, stdout, stderr })
}

/// The last lines of `stream`, whatever their encoding.
async fn lines(
    stream: Option<impl AsyncRead + Unpin>,
    mut on_line: impl FnMut(&str) + Send,
) -> io::Result<Vec<String>> {
    let mut kept = VecDeque::new();
    let Some(stream) = stream else {
        return Ok(Vec::new());
    };
    let mut reader = BufReader::new(stream);
    let mut bytes = Vec::new();
    while reader.read_until(b'\n', &mut bytes).await? > 0 {
        let line = String::from_utf8_lossy(&bytes).trim_end().to_owned();
        bytes.clear();
        on_line(&line);
        if kept.len() == KEPT_LINES {
            kept.pop_front();
        }
        kept.push_back(line);
    }
    Ok(kept.into())
}

/// Kills a process group when dropped, unless its leader has been seen to end.
struct Group(Option<Pid>);

impl Group {
    fn of(leader: Option<u32>) -> Self {
        Self(leader.and_then(|id| Pid::from_raw(id.try_into().ok()?)))
    }

    /// From here on the number may belong to somebody else.
    fn has_ended(mut self) {
        self.0 = None;
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(group) = self.0 {
            // The only error is that there is nobody left to kill.
            let _ = kill_process_group(group, Signal::KILL);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::process::ExitStatusExt, time::Instant};

    use super::*;

    fn shell(script: &str) -> Command {
        let mut command = Command::new("sh");
        command.arg("-c").arg(script);
        command
    }

    #[tokio::test]
    async fn both_streams_and_the_status_come_back() {
        let mut seen = Vec::new();
        let script = "echo one; echo two >&2; printf 'caf\\351'; exit 3";
        let finished = run(shell(script), Duration::from_secs(20), |line| seen.push(line.to_owned())).await.unwrap();
        assert_eq!(finished.status.code(), Some(3));
        assert_eq!(finished.stdout, ["one", "caf\u{fffd}"]);
        assert_eq!(finished.stderr, ["two"]);
        assert_eq!(seen, finished.stdout);
    }

    #[tokio::test]
    async fn only_the_last_lines_are_kept() {
        let finished = run(shell("seq 1000"), Duration::from_secs(20), |_| {}).await.unwrap();
        assert_eq!(finished.stdout.len(), KEPT_LINES);
        assert_eq!(finished.stdout.last().map(String::as_str), Some("1000"));
    }

    #[tokio::test]
    async fn what_takes_too_long_dies_with_its_children() {
        let folder = tempfile::tempdir().unwrap();
        let pipe = folder.path().join("pipe");
        rustix::fs::mkfifoat(rustix::fs::CWD, &pipe, rustix::fs::Mode::RWXU).unwrap();
        // The grandchild alone holds the pipe open, so the reader below returns when it is gone.
        let script = format!("(echo up; exec sleep 600) > '{}' & wait", pipe.display());
        let reader = tokio::task::spawn_blocking(move || fs::read_to_string(pipe));
        let started = Instant::now();
        let error = run(shell(&script), Duration::from_secs(1), |_| {}).await.unwrap_err();
        assert_eq!(error.to_string(), "was still running after 1 seconds");
        assert_eq!(reader.await.unwrap().unwrap(), "up\n");
        assert!(started.elapsed() < Duration::from_mins(1));
    }

    #[tokio::test]
    async fn what_cannot_be_started_says_so() {
        let error = run(Command::new("/no/such/program"), Duration::from_secs(1), |_| {}).await.unwrap_err();
        assert!(error.to_string().starts_with("could not be started"), "{error}");
    }

    /// With a real Python: the guard runs a module as `-m` would, and kills it when the other end of its input closes.
    #[tokio::test]
    async fn a_guarded_module_ends_with_its_parent() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(
            folder.path().join("napping.py"),
            "import sys, time\nprint(__name__, sys.argv[1:], '' in sys.path, flush=True)\ntime.sleep(600)\n",
        )
        .unwrap();
        let mut child = module(Path::new("python3"), "napping")
            .arg("--for=long")
            .env("PYTHONPATH", folder.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let mut first_line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut first_line).await.unwrap();
        assert_eq!(first_line, "__main__ ['--for=long'] False\n");
        drop(child.stdin.take());
        let status = timeout(Duration::from_secs(20), child.wait()).await.unwrap().unwrap();
        assert_eq!(status.signal(), Some(9));
    }
}
