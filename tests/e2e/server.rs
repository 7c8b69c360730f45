//! Streamfleet under test: starting it with an app of `tests/e2e/apps`, and looking at its processes.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::process::Pid;
use streamfleet_testkit::browser::Browser;
use streamfleet_testkit::process::{Launch, Server};

/// What a test waits for at most, on a machine that is busy with other tests.
pub const LIMIT: Duration = Duration::from_mins(1);

/// The program under test.
pub fn binary() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_streamfleet"))
}

/// The path of one of the apps of these tests.
pub fn app(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/e2e/apps").join(name).with_extension("py")
}

/// An app on this many workers, to be started.
pub fn launch(name: &str, workers: u32) -> Launch {
    Launch::streamfleet(binary(), &app(name)).option("--workers", workers.to_string())
}

/// An app on this many workers, all of them ready.
pub async fn start(name: &str, workers: usize) -> Server {
    let server = launch(name, u32::try_from(workers).unwrap()).start().await.unwrap();
    wait_for_workers(&server, workers).await;
    server
}

/// Waits until this many workers serve.
pub async fn wait_for_workers(server: &Server, workers: usize) {
    until("all workers to listen", || listening_workers(server).len() == workers).await;
}

/// Waits until something holds.
pub async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + LIMIT;
    while !holds() {
        assert!(Instant::now() < deadline, "waited in vain for {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// The Python processes of a server.
pub fn workers(server: &Server) -> Vec<Pid> {
    let own = server.pid().as_raw_nonzero();
    // Children belong to the thread that started them.
    let threads = std::fs::read_dir(format!("/proc/{own}/task")).into_iter().flatten().flatten();
    let lists = threads.filter_map(|thread| std::fs::read_to_string(thread.path().join("children")).ok());
    let pids = lists.flat_map(|list| list.split_whitespace().map(str::to_owned).collect::<Vec<_>>());
    let python = |pid: &String| {
        std::fs::read_to_string(format!("/proc/{pid}/cmdline")).is_ok_and(|line| line.contains("streamfleet_worker"))
    };
    pids.filter(python).filter_map(|pid| pid.parse().ok()).filter_map(Pid::from_raw).collect()
}

/// Those workers that have bound their socket, which they do last.
fn listening_workers(server: &Server) -> Vec<Pid> {
    let sockets = std::fs::read_to_string("/proc/net/unix").unwrap_or_default();
    let inodes: Vec<&str> = sockets
        .lines()
        .filter(|line| line.contains("/streamfleet-") && line.split_whitespace().nth(3) == Some("00010000"))
        .filter_map(|line| line.split_whitespace().nth(6))
        .collect();
    let listens = |pid: &Pid| {
        let handles = std::fs::read_dir(format!("/proc/{}/fd", pid.as_raw_nonzero())).into_iter().flatten().flatten();
        handles
            .filter_map(|handle| std::fs::read_link(handle.path()).ok())
            .any(|target| inodes.iter().any(|inode| target == Path::new(&format!("socket:[{inode}]"))))
    };
    workers(server).into_iter().filter(listens).collect()
}

/// The value that an app of these tests shows as `name=value;`.
pub fn shown(browser: &Browser, name: &str) -> Option<String> {
    let prefix = format!("{name}=");
    browser.page.tree.contents().into_iter().find_map(|content| {
        let text = String::from_utf8_lossy(content);
        let start = text.find(&prefix)? + prefix.len();
        let end = start + text[start..].find(';')?;
        Some(text[start..end].to_owned())
    })
}

/// The number that an app of these tests shows as `name=number;`.
pub fn shown_number(browser: &Browser, name: &str) -> i64 {
    let text = shown(browser, name).unwrap_or_else(|| panic!("the page shows no {name}"));
    text.parse().unwrap()
}

/// What stands for a session in logs and traces.
pub fn public_id(session: &str) -> String {
    session.chars().filter(|c| *c != '-').take(12).collect()
}

/// Clicks the button of `clicks.py` and returns the count that follows.
pub async fn click(browser: &mut Browser) -> Result<i64, streamfleet_testkit::client::ClientError> {
    let id = browser.widget("click").expect("the page has no button");
    browser.click(&id).await?;
    Ok(shown_number(browser, "count"))
}
