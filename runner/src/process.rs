//! Worker processes, behind a trait so that the supervisor is tested without Python.

use std::{
    io,
    os::fd::OwnedFd,
    path::PathBuf,
    process::{ExitStatus, Stdio},
};

use async_trait::async_trait;
use rustix::process::{Pid, Signal, kill_process_group};
use tokio::process::{Child, Command};

/// Starts worker processes.
#[async_trait]
pub trait Spawner: Send + Sync + 'static {
    /// Starts one with `control` as its standard input.
    async fn spawn(&self, control: OwnedFd) -> io::Result<Box<dyn Process>>;
}

/// A running worker process. Killed when dropped.
#[async_trait]
pub trait Process: Send + Sync {
    /// Its process id.
    fn pid(&self) -> u32;
    /// Waits for its end. May be called again after being cancelled.
    async fn wait(&mut self) -> io::Result<ExitStatus>;
    /// Kills it and whatever it has started.
    fn kill(&mut self);
}

/// Starts Python workers.
#[derive(Debug, Clone)]
pub struct PythonSpawner {
    /// The Python interpreter.
    pub executable: PathBuf,
    /// The folder that has the worker package in it.
    pub python_path: PathBuf,
}

/// Imports the worker package without leaving the current folder on `sys.path`, where
/// `streamlit run` doesn't have it either, and without environment variables, which the app's own
/// subprocesses would inherit.
const BOOTSTRAP: &str = "import sys; del sys.path[0]; sys.path.append(sys.argv.pop(1)); \
     from streamfleet_worker.__main__ import main; main()";

#[async_trait]
impl Spawner for PythonSpawner {
    async fn spawn(&self, control: OwnedFd) -> io::Result<Box<dyn Process>> {
        // The kernel kills the worker when the thread that started it ends (see the worker's
        // `__main__`), so workers are started from the runtime's own threads only, which live as
        // long as the process: never from `spawn_blocking`.
        let child = Command::new(&self.executable)
            .arg("-c")
            .arg(BOOTSTRAP)
            .arg(&self.python_path)
            .stdin(Stdio::from(control))
            // What the app prints should be seen when it happens, also when it is piped.
            .env("PYTHONUNBUFFERED", "1")
            // A group of its own: Ctrl-C in a terminal is for the supervisor, who then stops the
            // workers in order, and killing the group takes the app's own subprocesses along.
            .process_group(0)
            .kill_on_drop(true)
            .spawn()?;
        let pid = child.id().ok_or_else(|| io::Error::other("the process ended at once"))?;
        let group = i32::try_from(pid).ok().and_then(Pid::from_raw);
        Ok(Box::new(PythonProcess { child, pid, group }))
    }
}

struct PythonProcess {
    child: Child,
    pid: u32,
    /// Its process group, until it has been killed: afterwards the number may become somebody else's.
    group: Option<Pid>,
}

#[async_trait]
impl Process for PythonProcess {
    fn pid(&self) -> u32 {
        self.pid
    }

    async fn wait(&mut self) -> io::Result<ExitStatus> {
        self.child.wait().await
    }

    fn kill(&mut self) {
        if let Some(group) = self.group.take() {
            // Fails only if nobody is left in the group, which is what is wanted.
            let _ = kill_process_group(group, Signal::KILL);
        }
    }
}

impl Drop for PythonProcess {
    fn drop(&mut self) {
        self.kill();
    }
}
