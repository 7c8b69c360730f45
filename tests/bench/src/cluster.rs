//! Starts a cluster on this machine.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result};
use streamfleet_testkit::process::{Launch, Server, free_port, python};
use streamfleet_testkit::redis::{Redis, RedisLaunch, Version};

use crate::candidate;

const START_LIMIT: Duration = Duration::from_mins(1);
const RUNNERS: usize = 2;

/// A gateway, two runners of two workers each, and Redis. All end with it.
pub(crate) struct Cluster {
    pub(crate) gateway: Server,
    _runners: Vec<Server>,
    _redis: Redis,
}

impl Cluster {
    /// Starts a cluster that serves an app of `tests/bench/apps`, with these variables set for its runners.
    pub(crate) async fn start(binary: &Path, app: &str, variables: &[(&str, &str)]) -> Result<Self> {
        let redis = RedisLaunch::new(Version::V7).start().await?;
        let app = candidate::script(app);
        let mut runners = Vec::new();
        for number in 0..RUNNERS {
            let (port, admin) = (free_port(), free_port());
            let mut launch = Launch::program(binary, app.parent().context("the app is nowhere")?, port)
                .arg("runner")
                .arg(&app)
                .arg("--python")
                .arg(python())
                .args(["--workers", "2", "--name", &format!("r{number}"), "--redis", &redis.url()])
                .args(["--listen", &format!("127.0.0.1:{port}"), "--admin-listen", &format!("127.0.0.1:{admin}")])
                .args(["--server.headless", "true", "--browser.gatherUsageStats", "false"])
                .env("STREAMFLEET_SECRET", "a secret for measuring that is long enough");
            for (name, value) in variables {
                launch = launch.env(name, value);
            }
            let mut server = launch.spawn()?;
            server.wait_for_output("runner is serving", START_LIMIT).await?;
            runners.push(server);
        }
        let (port, admin) = (free_port(), free_port());
        let gateway = Launch::program(binary, Path::new("/"), port)
            .args(["gateway", "--redis", &redis.url(), "--listen", &format!("127.0.0.1:{port}")])
            .args(["--admin-listen", &format!("127.0.0.1:{admin}"), "--shutdown-notice", "0"])
            .start()
            .await?;
        Ok(Self { gateway, _runners: runners, _redis: redis })
    }
}
