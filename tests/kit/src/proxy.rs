//! Runs the load-balancer examples of `infra/load-balancers` as they are, but for addresses and ports.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use tempfile::TempDir;
use tokio::net::TcpStream;

use crate::Endpoint;
use crate::process::{Launch, Server};
use crate::wait::until;

/// Both are there in a few milliseconds.
const START_LIMIT: Duration = Duration::from_secs(30);
/// Where the examples have the gateways: a public port, and an admin port on the same host.
const GATEWAYS: [(&str, &str); 2] = [("127.0.0.1:8501", "8502"), ("127.0.0.1:8511", "8512")];

/// A running nginx or `HAProxy`. Dropping it kills all its processes and removes its folder.
#[derive(Debug)]
pub struct ReverseProxy {
    server: Server,
    folder: TempDir,
}

impl ReverseProxy {
    /// Starts nginx with a configuration like `infra/load-balancers/nginx.conf`, before two gateways (the address that
    /// browsers use, the address with `/readyz`).
    pub async fn nginx(config: &Path, listen_port: u16, gateways: &[(SocketAddr, SocketAddr)]) -> Result<Self> {
        let mut changes = vec![("listen 8080;".to_owned(), format!("listen 127.0.0.1:{listen_port};"))];
        for ((public, _), (to, _)) in GATEWAYS.iter().zip(gateways) {
            changes.push((format!("server {public} "), format!("server {to} ")));
        }
        let folder = prepare(config, changes, gateways)?;
        let launch = Launch::program(find("nginx")?, folder.path(), listen_port).args([
            "-p",
            "./",
            "-c",
            "balancer.conf",
            "-e",
            "stderr",
            "-g",
            "daemon off;",
        ]);
        Self::start(launch, folder).await
    }

    /// Starts `HAProxy` with a configuration like `infra/load-balancers/haproxy.cfg`, before two gateways (the address
    /// that browsers use, the address with `/readyz`, which differs in the port only).
    pub async fn haproxy(config: &Path, listen_port: u16, gateways: &[(SocketAddr, SocketAddr)]) -> Result<Self> {
        let mut changes = vec![("bind :8080".to_owned(), format!("bind 127.0.0.1:{listen_port}"))];
        for ((public, admin), (to, to_admin)) in GATEWAYS.iter().zip(gateways) {
            ensure!(to.ip() == to_admin.ip(), "{to} and {to_admin} have to be on one host");
            changes.push((format!("{public} check port {admin}"), format!("{to} check port {}", to_admin.port())));
        }
        let folder = prepare(config, changes, gateways)?;
        let launch = Launch::program(find("haproxy")?, folder.path(), listen_port).args(["-db", "-f", "balancer.conf"]);
        Self::start(launch, folder).await
    }

    async fn start(launch: Launch, folder: TempDir) -> Result<Self> {
        let mut server = launch.spawn()?;
        let authority = launch.endpoint().authority;
        until("the load balancer to listen", START_LIMIT, async || {
            Ok(match server.exit_status()? {
                // There is nothing to wait for.
                Some(status) => Some(status),
                None => TcpStream::connect(&authority).await.map(|_| None)?,
            })
        })
        .await?
        .map_or(Ok(()), |status| bail!("the load balancer ended with {status}:\n{}", server.output()))?;
        Ok(Self { server, folder })
    }

    /// Where it listens.
    pub fn endpoint(&self) -> &Endpoint {
        self.server.endpoint()
    }

    /// Its folder, where nginx puts `access.log`.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// What it printed so far: errors, and requests in the case of `HAProxy`.
    pub fn output(&self) -> String {
        self.server.output()
    }

    /// Ends it at once, and waits for that.
    pub async fn stop(&mut self) -> Result<ExitStatus> {
        self.server.stop().await
    }
}

/// Makes a folder with the changed configuration as `balancer.conf`.
fn prepare(config: &Path, changes: Vec<(String, String)>, gateways: &[(SocketAddr, SocketAddr)]) -> Result<TempDir> {
    ensure!(gateways.len() == GATEWAYS.len(), "the examples are for {} gateways", GATEWAYS.len());
    let mut text = std::fs::read_to_string(config).with_context(|| format!("reading {}", config.display()))?;
    for (from, to) in changes {
        ensure!(text.matches(&from).count() == 1, "{from:?} is not in {} exactly once", config.display());
        text = text.replace(&from, &to);
    }
    let folder = tempfile::tempdir().context("making a folder for the load balancer")?;
    std::fs::write(folder.path().join("balancer.conf"), text).context("writing the load balancer's configuration")?;
    Ok(folder)
}

/// Debian installs both where only root's `PATH` leads.
fn find(program: &str) -> Result<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(["/usr/sbin".into(), "/usr/local/sbin".into()])
        .map(|folder| folder.join(program))
        .find(|path| path.is_file())
        .with_context(|| format!("{program} is not installed: run tests/setup"))
}
