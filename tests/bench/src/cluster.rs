//! Starts clusters on this machine.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result};
use streamfleet_testkit::process::{Launch, Server, free_port, python};
use streamfleet_testkit::redis::{Redis, RedisLaunch, Version};

use crate::app::App;

const START_LIMIT: Duration = Duration::from_mins(1);
/// Workers of each runner.
const WORKERS: &str = "2";

/// A gateway, some runners of two workers each, and Redis. All end with it.
pub(crate) struct Cluster {
    pub(crate) gateway: Server,
    pub(crate) redis: Redis,
    /// In the order in which they were started; `None` once one is taken away.
    pub(crate) runners: Vec<Option<Server>>,
    binary: PathBuf,
    app: PathBuf,
    variables: Vec<(&'static str, String)>,
}

impl Cluster {
    /// Starts a cluster of two runners that serves an app, with these variables set for its runners.
    pub(crate) async fn start(binary: &Path, app: App, variables: &[(&'static str, &str)]) -> Result<Self> {
        let redis = RedisLaunch::new(Version::V7).start().await?;
        let gateway = gateway(binary, &redis).spawn()?;
        let variables = variables.iter().map(|(name, value)| (*name, (*value).to_owned())).collect();
        let mut cluster =
            Self { gateway, redis, runners: Vec::new(), binary: binary.to_owned(), app: app.script(), variables };
        cluster.add_runner().await?;
        cluster.add_runner().await?;
        cluster.gateway.wait_until_healthy(START_LIMIT).await?;
        Ok(cluster)
    }

    /// Starts one more runner.
    pub(crate) async fn add_runner(&mut self) -> Result<()> {
        let (port, admin) = (free_port(), free_port());
        let folder = self.app.parent().context("the app is nowhere")?;
        let name = format!("r{}", self.runners.len());
        let mut launch = Launch::program(&self.binary, folder, port)
            .arg("runner")
            .arg(&self.app)
            .arg("--python")
            .arg(python())
            .args(["--workers", WORKERS, "--name", &name, "--redis", &self.redis.url()])
            .args(["--listen", &format!("127.0.0.1:{port}"), "--admin-listen", &format!("127.0.0.1:{admin}")])
            .args(["--server.headless", "true", "--browser.gatherUsageStats", "false"])
            .env("STREAMFLEET_SECRET", "a secret for measuring that is long enough");
        for (name, value) in &self.variables {
            launch = launch.env(name, value);
        }
        let mut server = launch.spawn()?;
        server.wait_for_output("runner is serving", START_LIMIT).await?;
        self.runners.push(Some(server));
        Ok(())
    }

    /// All of its processes but Redis.
    pub(crate) fn servers(&self) -> impl Iterator<Item = &Server> {
        self.runners.iter().flatten().chain([&self.gateway])
    }
}

/// How a gateway is started that finds its runners in this Redis.
pub(crate) fn gateway(binary: &Path, redis: &Redis) -> Launch {
    let (port, admin) = (free_port(), free_port());
    Launch::program(binary, Path::new("/"), port)
        .args(["gateway", "--redis", &redis.url(), "--listen", &format!("127.0.0.1:{port}")])
        .args(["--admin-listen", &format!("127.0.0.1:{admin}"), "--shutdown-notice", "0"])
}
