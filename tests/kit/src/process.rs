//! Starts servers for tests, waits until they serve, and leaves nothing of them behind.
//!
//! Each server leads its own process group. A guard process in that group holds the reading end of a pipe whose other end
//! is in the test: when the test goes away, in whatever manner, the guard kills the group. Dropping a [`Server`] does the
//! same at once, and shows what the server printed if the test is failing.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::net::TcpListener;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, bail, ensure};
use http::HeaderMap;
use rustix::process::{Pid, Signal};

use crate::{Endpoint, http as plain_http};

/// How long a server may take to serve, on a machine that is busy with other tests.
pub const START_LIMIT: Duration = Duration::from_secs(90);
/// How long a server may take to end after `SIGTERM`.
pub const STOP_LIMIT: Duration = Duration::from_secs(10);
const POLL: Duration = Duration::from_millis(15);

/// Runs `"$@"` in the foreground and kills the group when standard input ends.
const GUARD: &str = "exec 3<&0 </dev/null; (read -r _ <&3; kill -9 0) & exec 3<&-; exec \"$@\"";

/// The Python interpreter to test with: `STREAMFLEET_TEST_PYTHON`, else the one that `tests/setup` makes.
///
/// # Panics
/// If there is neither.
pub fn python() -> PathBuf {
    if let Some(path) = std::env::var_os("STREAMFLEET_TEST_PYTHON") {
        return path.into();
    }
    let path = own_python();
    assert!(path.exists(), "{} does not exist: run tests/setup first, or set STREAMFLEET_TEST_PYTHON", path.display());
    path
}

/// The Python interpreter that `tests/setup` makes an environment for, whatever the tests use.
pub fn own_python() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/test-env/py/bin/python")
}

/// A port that nobody listens on, and that no other test is given while this process lives. It is drawn outside of the
/// range that the system hands to outgoing connections.
///
/// # Panics
/// If a thousand draws find none.
pub fn free_port() -> u16 {
    static DRAWS: AtomicU32 = AtomicU32::new(0);
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |elapsed| elapsed.subsec_nanos());
    let start = std::process::id().wrapping_mul(7919).wrapping_add(now / 1000);
    (0..1000)
        .map(|_| start.wrapping_add(DRAWS.fetch_add(1, Ordering::Relaxed).wrapping_mul(104_729)) % 12_000)
        .filter_map(|draw| u16::try_from(20_000 + draw).ok())
        .find(|port| reserve(*port) && TcpListener::bind(("127.0.0.1", *port)).is_ok())
        .unwrap_or_else(|| panic!("no free port among a thousand"))
}

/// Keeps other tests from being given this port before the server that it is for listens there. False if one has it.
fn reserve(port: u16) -> bool {
    // Locks end with their files, and those with the process.
    static RESERVED: Mutex<Vec<File>> = Mutex::new(Vec::new());
    let folder = std::env::temp_dir().join("streamfleet-test-ports");
    let file = std::fs::create_dir_all(&folder).and_then(|()| File::create(folder.join(port.to_string())));
    match (file, RESERVED.lock()) {
        (Ok(file), Ok(mut reserved)) if file.try_lock().is_ok() => {
            reserved.push(file);
            true
        }
        _ => false,
    }
}

/// A server to be started: plain Streamlit or Streamfleet, with one app.
#[derive(Debug, Clone)]
pub struct Launch {
    program: OsString,
    command: Vec<OsString>,
    options: BTreeMap<&'static str, String>,
    args: Vec<OsString>,
    port: u16,
    base_path: String,
    folder: PathBuf,
    env: Vec<(OsString, OsString)>,
}

impl Launch {
    /// `python -m streamlit run APP`, in the app's folder.
    pub fn plain_streamlit(app: &Path) -> Self {
        let mut launch = Self::program(python(), folder_of(app), free_port());
        launch.command = ["-m", "streamlit", "run"].map(Into::into).to_vec();
        launch.command.push(app.into());
        let port = launch.port;
        launch.option("--server.port", port.to_string()).quiet_options()
    }

    /// `streamfleet run APP` with the program at `binary`, in the app's folder.
    pub fn streamfleet(binary: &Path, app: &Path) -> Self {
        let mut launch = Self::program(binary, folder_of(app), free_port());
        launch.command = vec!["run".into(), app.into(), "--python".into(), python().into()];
        let port = launch.port;
        launch.option("--port", port.to_string()).quiet_options()
    }

    /// Any program, in a given folder; whoever calls this tells it to use `port`.
    pub fn program(program: impl Into<OsString>, folder: &Path, port: u16) -> Self {
        let (program, folder, base_path) = (program.into(), folder.to_path_buf(), String::new());
        let (command, options, args, env) = (Vec::new(), BTreeMap::new(), Vec::new(), Vec::new());
        Self { program, command, options, args, port, base_path, folder, env }
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .env("PYTHONHASHSEED", "0")
    }

    /// Options that make either server quiet and repeatable.
    fn quiet_options(self) -> Self {
        self.option("--server.headless", "true")
            .option("--server.address", "127.0.0.1")
            .option("--browser.gatherUsageStats", "false")
            .option("--server.fileWatcherType", "none")
    }

    /// Sets an option that takes a value; a later call replaces an earlier one.
    #[must_use]
    pub fn option(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.options.insert(name, value.into());
        self
    }

    /// Adds one argument behind the options.
    #[must_use]
    pub fn arg(mut self, arg: impl AsRef<OsStr>) -> Self {
        self.args.push(arg.as_ref().to_owned());
        self
    }

    /// Adds arguments behind the options.
    #[must_use]
    pub fn args<S: AsRef<OsStr>>(mut self, args: impl IntoIterator<Item = S>) -> Self {
        self.args.extend(args.into_iter().map(|arg| arg.as_ref().to_owned()));
        self
    }

    /// Sets an environment variable.
    #[must_use]
    pub fn env(mut self, name: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> Self {
        self.env.push((name.as_ref().to_owned(), value.as_ref().to_owned()));
        self
    }

    /// Says under which path the app is served, if its configuration sets `server.baseUrlPath`.
    #[must_use]
    pub fn base_path(mut self, base_path: &str) -> Self {
        base_path.clone_into(&mut self.base_path);
        self
    }

    /// Where it will serve.
    pub fn endpoint(&self) -> Endpoint {
        Endpoint::local(self.port).with_base_path(&self.base_path)
    }

    /// Starts it without waiting for anything.
    pub fn spawn(&self) -> Result<Server> {
        let log = tempfile::tempfile().context("making a file for the server's output")?;
        let mut command = Command::new("/bin/sh");
        command.args(["-c", GUARD, "guard"]).arg(&self.program).args(&self.command);
        command.args(self.options.iter().flat_map(|(name, value)| [*name, value.as_str()])).args(&self.args);
        command.current_dir(&self.folder).envs(self.env.iter().cloned());
        command.stdin(Stdio::piped()).stdout(log.try_clone()?).stderr(log.try_clone()?).process_group(0);
        let child = command.spawn().with_context(|| format!("starting {}", self.program.display()))?;
        let pid = Pid::from_child(&child);
        Ok(Server { child, pid, log, endpoint: self.endpoint(), name: self.program.clone(), quiet: false })
    }

    /// Starts it and waits until its health route says ok.
    pub async fn start(&self) -> Result<Server> {
        let mut server = self.spawn()?;
        server.wait_until_healthy(START_LIMIT).await?;
        Ok(server)
    }
}

/// A running server.
#[derive(Debug)]
pub struct Server {
    child: Child,
    pid: Pid,
    log: File,
    endpoint: Endpoint,
    name: OsString,
    quiet: bool,
}

impl Server {
    /// Where it serves.
    pub fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// Its process id, which is its process group's id too.
    pub fn pid(&self) -> Pid {
        self.pid
    }

    /// What it printed so far, standard output and error mixed.
    pub fn output(&self) -> String {
        let mut text = Vec::new();
        // The server writes at the position of our handle; reading through it would move it, so open another.
        let read = File::open(format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&self.log)))
            .and_then(|mut file| file.seek(SeekFrom::Start(0)).and_then(|_| file.read_to_end(&mut text)));
        match read {
            Ok(_) => String::from_utf8_lossy(&text).into_owned(),
            Err(error) => format!("(its output can't be read: {error})"),
        }
    }

    /// Does not show the output when the test fails; for servers that are meant to misbehave.
    pub fn quiet(&mut self) {
        self.quiet = true;
    }

    /// Its exit status, if it ended.
    pub fn exit_status(&mut self) -> Result<Option<ExitStatus>> {
        Ok(self.child.try_wait()?)
    }

    /// Waits until the health route answers 200. Fails at once when the server ends instead.
    pub async fn wait_until_healthy(&mut self, limit: Duration) -> Result<()> {
        let deadline = Instant::now() + limit;
        let path = self.endpoint.path("/_stcore/health");
        loop {
            if let Some(status) = self.exit_status()? {
                bail!("{} ended with {status} before it served:\n{}", self.name.display(), self.output());
            }
            let answer = plain_http::get(&self.endpoint, &path, HeaderMap::new()).await;
            if answer.is_ok_and(|answer| answer.status.is_success()) {
                return Ok(());
            }
            ensure!(Instant::now() < deadline, "{} does not serve within {limit:?}", self.name.display());
            tokio::time::sleep(POLL).await;
        }
    }

    /// Waits until the output contains `text`.
    pub async fn wait_for_output(&mut self, text: &str, limit: Duration) -> Result<()> {
        let deadline = Instant::now() + limit;
        while !self.output().contains(text) {
            ensure!(Instant::now() < deadline, "{} does not print {text:?} within {limit:?}", self.name.display());
            tokio::time::sleep(POLL).await;
        }
        Ok(())
    }

    /// Waits until the server's own process ends.
    pub async fn wait(&mut self, limit: Duration) -> Result<ExitStatus> {
        let deadline = Instant::now() + limit;
        loop {
            if let Some(status) = self.exit_status()? {
                return Ok(status);
            }
            ensure!(Instant::now() < deadline, "{} does not end within {limit:?}", self.name.display());
            tokio::time::sleep(POLL).await;
        }
    }

    /// Signals the server's own process, not its children.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        rustix::process::kill_process(self.pid, signal).context("signalling the server")
    }

    /// Asks the server to end, and waits for it.
    pub async fn stop(&mut self) -> Result<ExitStatus> {
        self.signal(Signal::TERM)?;
        self.wait(STOP_LIMIT).await
    }

    /// The processes whose parent it is, but for the guard.
    pub fn children(&self) -> Result<Vec<Pid>> {
        let own = self.pid.as_raw_nonzero();
        let children = std::fs::read_to_string(format!("/proc/{own}/task/{own}/children"))?;
        let guard = |pid: &i32| std::fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|comm| comm == "sh\n");
        let pids = children.split_whitespace().filter_map(|pid| pid.parse().ok()).filter(|pid| !guard(pid));
        Ok(pids.filter_map(Pid::from_raw).collect())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if std::thread::panicking() && !self.quiet {
            let output = self.output();
            let tail = output.len().saturating_sub(8_000);
            let tail = (tail..output.len()).find(|at| output.is_char_boundary(*at)).unwrap_or(output.len());
            eprintln!("--- {} on {} printed:\n{}---", self.name.display(), self.endpoint.authority, &output[tail..]);
        }
        // The guard keeps the group's id from being given to anyone else until now.
        let _ = rustix::process::kill_process_group(self.pid, Signal::KILL);
        let _ = self.child.wait();
    }
}

fn folder_of(app: &Path) -> &Path {
    app.parent().unwrap_or(Path::new("."))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A program with a child of its own.
    fn family() -> Server {
        let script = "echo ready; sleep 1000 & sleep 1000";
        Launch::program("/bin/sh", Path::new("/"), free_port()).args(["-c", script]).spawn().unwrap()
    }

    async fn wait_until_gone(group: Pid) {
        let deadline = Instant::now() + STOP_LIMIT;
        while rustix::process::test_kill_process_group(group).is_ok() {
            assert!(Instant::now() < deadline, "the process group is still there");
            tokio::time::sleep(POLL).await;
        }
    }

    #[test]
    fn a_port_is_given_once() {
        let ports: std::collections::BTreeSet<u16> = (0..100).map(|_| free_port()).collect();
        assert_eq!(ports.len(), 100);
        assert!(ports.into_iter().all(|port| !reserve(port)));
    }

    #[tokio::test]
    async fn dropping_a_server_ends_its_whole_group() {
        let mut server = family();
        server.wait_for_output("ready", START_LIMIT).await.unwrap();
        let group = server.pid();
        drop(server);
        wait_until_gone(group).await;
    }

    #[tokio::test]
    async fn the_group_ends_with_the_test_process() {
        let mut server = family();
        server.wait_for_output("ready", START_LIMIT).await.unwrap();
        // What the system does for a process that is killed.
        drop(server.child.stdin.take());
        server.wait(STOP_LIMIT).await.unwrap();
        wait_until_gone(server.pid()).await;
    }
}
