//! A cluster to be rolled, somebody who starts runners when the roll asks for them, and the command that carries it out.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::time::{Duration, Instant};

use serde_json::Value;
use streamfleet_testkit::process::{Launch, Server, free_port};
use tempfile::TempDir;

use crate::cluster::fleet::{Fleet, FleetLaunch};
use crate::server::{LIMIT, binary};

/// How long a roll may take, with 200 users on two cores.
const ROLL_LIMIT: Duration = Duration::from_mins(5);
/// How often the operator is looked at.
const LOOK: Duration = Duration::from_millis(20);

/// A cluster to be rolled.
pub struct Stage {
    pub fleet: Fleet,
    /// Where the app is.
    link: TempDir,
    requests: PathBuf,
    served: usize,
    /// How many runners were asked for of each revision, in order.
    pub started: Vec<String>,
    /// Before so many-th start, this is set in the environment.
    pub spoil: Option<(usize, &'static str)>,
}

/// Puts a revision where the app is, as deploys behind a link do, and returns its script: widgets' ids follow from its path. A
/// worker that has run the script before keeps the one that it has read.
pub fn put(revision: &str, link: &Path) -> PathBuf {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/e2e/apps/rolled").join(revision);
    let _ = std::fs::remove_file(link);
    std::os::unix::fs::symlink(folder, link).unwrap();
    link.join("app.py")
}

impl Stage {
    pub async fn start(runners: usize) -> Self {
        let mut launch = FleetLaunch::new("rolled");
        let link = tempfile::tempdir().unwrap();
        (launch.path, launch.revision) = (put("one", &link.path().join("app")), Some("one".to_owned()));
        (launch.runners, launch.gateways) = (runners, 2);
        let fleet = launch.start().await;
        let requests = fleet.folder().join("requests");
        Self { fleet, link, requests, served: 0, started: Vec::new(), spoil: None }
    }

    /// Starts a command with this cluster's Redis.
    pub fn command(&self, arguments: &[&str]) -> Server {
        let command = Launch::program(binary(), Path::new("/"), free_port()).args(arguments.iter().copied());
        command.args(["--redis", &self.fleet.redis.url()]).spawn().unwrap()
    }

    /// Starts a roll that has runners started by writing down which.
    pub fn roll(&self, arguments: &[&str]) -> Server {
        let hook = format!("echo $STREAMFLEET_ROLL_REVISION $STREAMFLEET_ROLL_RUNNER >> {}", self.requests.display());
        let all = [&["roll", "--json", "--start", &hook], arguments].concat();
        self.command(&all)
    }

    /// Starts the runners that have been asked for since.
    pub async fn serve_requests(&mut self) {
        let text = std::fs::read_to_string(&self.requests).unwrap_or_default();
        let lines: Vec<_> = text.lines().skip(self.served).map(str::to_owned).collect();
        for line in lines {
            self.served += 1;
            let (revision, runner) = line.split_once(' ').unwrap();
            let number = runner[1..runner.find('-').unwrap()].parse().unwrap();
            if let Some((start, name)) = self.spoil {
                self.fleet.set_env(name, if start == self.served { "1" } else { "0" });
            }
            self.started.push(revision.to_owned());
            self.begin(number, revision).await;
        }
    }

    /// Starts a runner of a revision in the place of another.
    pub async fn begin(&mut self, number: usize, revision: &str) {
        let script = put(revision, &self.link.path().join("app"));
        self.fleet.begin(number, &script, revision).await;
    }

    /// Starts whatever is asked for until this has come to pass.
    pub async fn serve_until(&mut self, what: &str, mut holds: impl FnMut() -> bool) {
        let deadline = Instant::now() + ROLL_LIMIT;
        while !holds() {
            assert!(Instant::now() < deadline, "waited in vain for {what}");
            self.serve_requests().await;
            tokio::time::sleep(LOOK).await;
        }
    }

    /// Starts whatever is asked for until the command has ended.
    pub async fn serve(&mut self, operator: &mut Server) -> ExitStatus {
        let mut status = None;
        self.serve_until("the roll to end", || {
            status = operator.exit_status().unwrap();
            status.is_some()
        })
        .await;
        eprintln!("{}", operator.output());
        status.unwrap()
    }

    /// The revisions of the runners that are members.
    pub async fn revisions(&self) -> Vec<String> {
        let records: Vec<String> = self.fleet.redis.command(&["HVALS", "streamfleet:default:{members}"]).await.unwrap();
        let revision =
            |record: String| serde_json::from_str::<Value>(&record).unwrap()["revision"].as_str().unwrap().to_owned();
        records.into_iter().map(revision).collect()
    }

    /// Where new sessions go.
    pub async fn target(&self) -> String {
        self.fleet.redis.command(&["HGET", "streamfleet:default:{members}:state", "revision"]).await.unwrap()
    }

    /// Waits until all runners that were replaced have ended, and asserts that they did so in peace.
    pub async fn all_others_ended(&mut self) {
        for runner in self.fleet.past_runners() {
            let status = runner.server.wait(LIMIT).await.unwrap();
            assert!(status.success(), "{}: {status}", runner.name);
        }
    }
}

/// What a roll has told so far.
pub fn events(operator: &Server) -> Vec<Value> {
    operator.output().lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
}

/// How often it has told of this.
pub fn told(operator: &Server, name: &str) -> usize {
    events(operator).iter().filter(|event| event["event"] == name).count()
}

/// The one event of this name.
pub fn event(operator: &Server, name: &str) -> Value {
    let mut all = events(operator);
    all.retain(|event| event["event"] == name);
    assert_eq!(all.len(), 1, "{name}: {all:?}");
    all.remove(0)
}

/// All different ones.
pub fn different(list: &[String]) -> HashSet<&str> {
    list.iter().map(String::as_str).collect()
}
