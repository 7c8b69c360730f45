//! A cluster under test: a Redis, runners and gateways as processes of their own, and a balancer in front that knows nothing of
//! sessions. Each runner's ways to Redis and to the gateways lead through proxies that can be cut.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Instant;

use http::HeaderMap;
use rustix::process::Signal;
use streamfleet_testkit::Endpoint;
use streamfleet_testkit::balancer::Balancer;
use streamfleet_testkit::faults::FaultProxy;
use streamfleet_testkit::http as plain_http;
use streamfleet_testkit::process::{Launch, Server, free_port, python};
use streamfleet_testkit::redis::{Persistence, Redis, RedisLaunch, Version};
use tempfile::TempDir;

use crate::server::{LIMIT, app, binary};

const SECRET: &str = "a secret that all runners of the tests share";
const OTHER_SECRET: &str = "a secret that a runner has for itself alone";

/// A cluster to be started.
pub struct FleetLaunch {
    /// The app's script.
    pub path: PathBuf,
    /// What the runners are told to be of; a hash of the app's folder otherwise.
    pub revision: Option<String>,
    /// What the runners' workers run in.
    pub python: PathBuf,
    pub runners: usize,
    pub gateways: usize,
    /// Workers of each runner.
    pub workers: usize,
    /// Settings of Streamlit's for the runners.
    pub streamlit: Vec<(&'static str, String)>,
    /// Environment variables of the runners.
    pub env: Vec<(&'static str, String)>,
    /// Environment variables of runners and gateways.
    pub everywhere: Vec<(&'static str, String)>,
    /// Environment variables of each of the runners that the cluster begins with.
    pub each: Vec<Vec<(&'static str, String)>>,
    /// A runner that has another secret than the rest.
    pub stranger: Option<usize>,
    /// How a gateway ends, in seconds.
    pub shutdown: (f64, f64),
}

impl FleetLaunch {
    pub fn new(name: &str) -> Self {
        Self {
            path: app(name),
            revision: None,
            python: python(),
            runners: 3,
            gateways: 3,
            workers: 1,
            streamlit: Vec::new(),
            env: Vec::new(),
            everywhere: Vec::new(),
            each: Vec::new(),
            stranger: None,
            shutdown: (0.0, 0.0),
        }
    }

    pub async fn start(self) -> Fleet {
        let redis = RedisLaunch::new(Version::V7).persistence(Persistence::AppendOnly).start().await.unwrap();
        let folder = tempfile::tempdir().unwrap();
        let (mut runners, mut gateways) = (Vec::new(), Vec::new());
        for number in 0..self.runners {
            runners.push(Runner::spawn(&self, number, 1, &redis, folder.path()).await);
        }
        for _ in 0..self.gateways {
            gateways.push(Gateway::spawn(&self, &redis, free_port(), free_port()));
        }
        for runner in &mut runners {
            runner.wait_until_ready().await;
        }
        for gateway in &mut gateways {
            gateway.wait_until_ready().await;
        }
        let balancer = Balancer::start(gateways.iter().map(|gateway| gateway.address).collect()).await.unwrap();
        Fleet { launch: self, redis, folder, runners, gateways, balancer, past: Vec::new() }
    }
}

/// A running cluster.
pub struct Fleet {
    launch: FleetLaunch,
    pub redis: Redis,
    folder: TempDir,
    pub runners: Vec<Runner>,
    pub gateways: Vec<Gateway>,
    pub balancer: Balancer,
    past: Vec<Runner>,
}

impl Fleet {
    /// Where browsers go: some gateway or other.
    pub fn endpoint(&self) -> Endpoint {
        Endpoint::local(self.balancer.address().port())
    }

    /// The file in which the app writes down its runs.
    pub fn ledger(&self) -> PathBuf {
        self.folder.path().join("ledger")
    }

    /// All runners that there are and were.
    pub fn all_runners(&self) -> impl Iterator<Item = &Runner> {
        self.past.iter().chain(&self.runners)
    }

    /// Ends a runner and its workers without a word, and has a successor start.
    pub async fn kill_runner(&mut self, number: usize) {
        let runner = &mut self.runners[number];
        runner.server.quiet();
        runner.server.signal(Signal::KILL).unwrap();
        runner.server.wait(LIMIT).await.unwrap();
        self.succeed(number).await;
    }

    /// Has a successor start for a runner that has ended. [`until_ready`](Self::until_ready) waits for it.
    pub async fn succeed(&mut self, number: usize) {
        // Nobody listens where it was.
        self.runners[number].from_gateways.close().await;
        let life = self.runners[number].life + 1;
        let successor = Runner::spawn(&self.launch, number, life, &self.redis, self.folder.path()).await;
        self.past.push(std::mem::replace(&mut self.runners[number], successor));
    }

    /// Has a successor serve, and then the runner end, as in a deploy. Returns when it was told so, and when it had ended.
    pub async fn replace(&mut self, number: usize) -> (Instant, Instant) {
        let life = self.runners[number].life + 1;
        let successor = Runner::spawn(&self.launch, number, life, &self.redis, self.folder.path()).await;
        let mut former = std::mem::replace(&mut self.runners[number], successor);
        self.runners[number].wait_until_ready().await;
        let told = Instant::now();
        former.server.signal(Signal::TERM).unwrap();
        let status = former.server.wait(LIMIT).await.unwrap();
        assert!(status.success(), "{status}");
        let ended = Instant::now();
        former.from_gateways.close().await;
        self.past.push(former);
        (told, ended)
    }

    /// Has a runner of a revision start beside another, in whose place it is counted from now on; that one goes on.
    pub async fn begin(&mut self, number: usize, path: &Path, revision: &str) {
        (self.launch.path, self.launch.revision) = (path.to_owned(), Some(revision.to_owned()));
        let life = self.runners[number].life + 1;
        let successor = Runner::spawn(&self.launch, number, life, &self.redis, self.folder.path()).await;
        self.past.push(std::mem::replace(&mut self.runners[number], successor));
    }

    /// Sets an environment variable for runners that start from now on.
    pub fn set_env(&mut self, name: &'static str, value: &str) {
        self.launch.env.push((name, value.to_owned()));
    }

    /// Has runners that start from now on run their workers in another environment.
    pub fn set_python(&mut self, python: PathBuf) {
        self.launch.python = python;
    }

    /// Runners in whose place others are counted.
    pub fn past_runners(&mut self) -> impl Iterator<Item = &mut Runner> {
        self.past.iter_mut()
    }

    /// A folder for whatever a test keeps beside its cluster.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Waits until all runners serve.
    pub async fn until_ready(&mut self) {
        for runner in &mut self.runners {
            runner.wait_until_ready().await;
        }
    }

    /// The number of the runner that a session is pinned to; one that is between two is waited for.
    pub async fn owner(&self, session: &str) -> usize {
        let key = format!("streamfleet:default:pin:{{{session}}}");
        let pinned = async || self.redis.command::<String>(&["HGET", &key, "runner"]).await;
        let pinned = streamfleet_testkit::wait::until("a session to be pinned", LIMIT, pinned).await.unwrap();
        let of = |number: &usize| pinned.starts_with(&format!("r{number}-"));
        (0..self.runners.len()).find(of).unwrap_or_else(|| panic!("{session} is pinned to {pinned}"))
    }

    /// The addresses of the gateways, for browsers and for load balancers' checks.
    pub fn gateway_addresses(&self) -> Vec<(SocketAddr, SocketAddr)> {
        self.gateways.iter().map(|gateway| (gateway.address, gateway.admin.authority.parse().unwrap())).collect()
    }

    /// A new gateway on the ports of one that was killed.
    pub async fn restart_gateway(&mut self, number: usize) {
        let (address, admin) = self.gateway_addresses()[number];
        let mut gateway = Gateway::spawn(&self.launch, &self.redis, address.port(), admin.port());
        gateway.wait_until_ready().await;
        self.gateways[number] = gateway;
    }

    /// A new gateway in the place of one that was killed.
    pub async fn replace_gateway(&mut self, number: usize) {
        let mut gateway = Gateway::spawn(&self.launch, &self.redis, free_port(), free_port());
        gateway.wait_until_ready().await;
        self.gateways[number] = gateway;
        self.balancer.set_backends(self.gateways.iter().map(|gateway| gateway.address).collect());
    }
}

/// A runner, and what can be cut between it and the others.
pub struct Runner {
    /// As the app knows it: its number, and, if it is a successor, how many were there before.
    pub name: String,
    /// 1 for those that the cluster began with.
    life: u32,
    pub server: Server,
    /// What gateways reach it through.
    pub from_gateways: FaultProxy,
    /// What it reaches Redis through.
    pub to_redis: FaultProxy,
    pub admin: Endpoint,
}

impl Runner {
    async fn spawn(launch: &FleetLaunch, number: usize, life: u32, redis: &Redis, folder: &Path) -> Self {
        let (port, admin_port) = (free_port(), free_port());
        let from_gateways = FaultProxy::start(SocketAddr::from(([127, 0, 0, 1], port))).await.unwrap();
        let to_redis = FaultProxy::start(redis.address()).await.unwrap();
        let name = if life == 1 { format!("r{number}") } else { format!("r{number}.{life}") };
        let secret = if launch.stranger == Some(number) { OTHER_SECRET } else { SECRET };
        let mut command = Launch::program(binary(), launch.path.parent().unwrap(), port)
            .arg("runner")
            .arg(&launch.path)
            .arg("--python")
            .arg(&launch.python)
            .args(["--workers", &launch.workers.to_string(), "--name", &format!("r{number}")])
            .args(["--listen", &format!("127.0.0.1:{port}"), "--admin-listen", &format!("127.0.0.1:{admin_port}")])
            .args(["--advertise", &from_gateways.address().to_string()])
            .args(["--redis", &format!("redis://{}", to_redis.address())])
            .args(["--server.headless", "true", "--server.fileWatcherType", "none"])
            .args(["--browser.gatherUsageStats", "false"])
            .env("STREAMFLEET_SECRET", secret)
            .env("STREAMFLEET_LOG_LEVEL", "info,streamfleet_runner=debug")
            .env("STREAMFLEET_LOG_FORMAT", "json")
            .env("RUNNER", &name)
            .env("LEDGER", folder.join("ledger"));
        if let Some(revision) = &launch.revision {
            command = command.args(["--revision", revision]);
        }
        for (option, value) in &launch.streamlit {
            command = command.args([*option, value.as_str()]);
        }
        let of_this = launch.each.get(number).filter(|_| life == 1).into_iter().flatten();
        for (name, value) in launch.everywhere.iter().chain(&launch.env).chain(of_this) {
            command = command.env(name, value);
        }
        let server = command.spawn().unwrap();
        Self { name, life, server, from_gateways, to_redis, admin: Endpoint::local(admin_port) }
    }

    async fn wait_until_ready(&mut self) {
        wait_until_ready(&mut self.server, &self.admin).await;
    }

    /// Cuts it off from everybody: nothing gets through, and nobody is told.
    pub fn cut_off(&self) {
        self.from_gateways.blackhole();
        self.to_redis.blackhole();
    }

    /// Mends what was cut.
    pub fn heal(&self) {
        self.from_gateways.heal();
        self.to_redis.heal();
    }
}

/// A gateway.
pub struct Gateway {
    pub server: Server,
    pub address: SocketAddr,
    pub admin: Endpoint,
}

impl Gateway {
    fn spawn(launch: &FleetLaunch, redis: &Redis, port: u16, admin_port: u16) -> Self {
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        let server = Launch::program(binary(), Path::new("/"), port)
            .args(["gateway", "--listen", &address.to_string()])
            .args(["--admin-listen", &format!("127.0.0.1:{admin_port}"), "--redis", &redis.url()])
            .args(["--shutdown-notice", &launch.shutdown.0.to_string()])
            .args(["--shutdown-spread", &launch.shutdown.1.to_string()])
            .env("STREAMFLEET_LOG_LEVEL", "info")
            .env("STREAMFLEET_LOG_FORMAT", "json");
        let server = launch.everywhere.iter().fold(server, |server, (name, value)| server.env(name, value));
        let server = server.spawn().unwrap();
        Self { server, address, admin: Endpoint::local(admin_port) }
    }

    async fn wait_until_ready(&mut self) {
        wait_until_ready(&mut self.server, &self.admin).await;
    }

    /// Where it serves browsers.
    pub fn endpoint(&self) -> Endpoint {
        Endpoint::local(self.address.port())
    }

    /// Ends it without a word.
    pub async fn kill(&mut self) {
        self.server.quiet();
        self.server.signal(Signal::KILL).unwrap();
        self.server.wait(LIMIT).await.unwrap();
    }
}

async fn wait_until_ready(server: &mut Server, admin: &Endpoint) {
    let ready = async || {
        if let Some(status) = server.exit_status()? {
            anyhow::bail!("it ended with {status}:\n{}", server.output());
        }
        let answer = plain_http::get(admin, "/readyz", HeaderMap::new()).await?;
        anyhow::ensure!(answer.status.is_success(), "{}", String::from_utf8_lossy(&answer.body));
        Ok(())
    };
    streamfleet_testkit::wait::until("a process to be ready", LIMIT, ready).await.unwrap();
}
