//! What a Redis server shall be like, and how it gets its configuration file.

use std::fmt::Write as _;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};

use super::{Redis, Version};
use crate::certificates::Certificates;
use crate::process::free_port;

/// How often a drawn port may turn out to be taken after all, by another test that drew it in the same moment.
const DRAWS: u32 = 4;

/// What of its data a server keeps when it is started again.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Persistence {
    /// Nothing.
    #[default]
    Off,
    /// Everything that it answered to, even when it was killed (`appendonly`).
    AppendOnly,
    /// What the last snapshot holds. One is made a second after a change, and at an orderly end.
    Snapshots,
}

/// A Redis server to be started.
#[derive(Debug, Clone)]
pub struct RedisLaunch {
    pub(super) version: Version,
    pub(super) port: Option<u16>,
    pub(super) password: Option<String>,
    pub(super) certificates: Option<Certificates>,
    pub(super) sentinel: bool,
    users: Vec<String>,
    persistence: Persistence,
    cluster_node_timeout: Option<Duration>,
    settings: Vec<(String, String)>,
}

impl RedisLaunch {
    /// A server without password, TLS or persistence, on a drawn port.
    pub fn new(version: Version) -> Self {
        Self {
            version,
            port: None,
            password: None,
            certificates: None,
            sentinel: false,
            users: Vec::new(),
            persistence: Persistence::Off,
            cluster_node_timeout: None,
            settings: Vec::new(),
        }
    }

    /// On this port instead of a drawn one.
    #[must_use]
    pub fn port(mut self, port: u16) -> Self {
        self.port = Some(port);
        self
    }

    /// The default user's password (`requirepass`), which the server's replicas get to know as well.
    #[must_use]
    pub fn password(mut self, password: &str) -> Self {
        self.password = Some(password.to_owned());
        self
    }

    /// One more user, with ACL rules such as `~app:* +@read`. See [`Redis::url_as`].
    #[must_use]
    pub fn user(mut self, name: &str, password: &str, rules: &str) -> Self {
        self.users.push(format!("{name} on >{password} {rules}"));
        self
    }

    /// TLS only, with these certificates, which takes [`Version::V7`]. It takes clients without one, unless `tls-auth-clients` is set.
    #[must_use]
    pub fn tls(mut self, certificates: &Certificates) -> Self {
        self.certificates = Some(certificates.clone());
        self
    }

    /// What it keeps when it is started again.
    #[must_use]
    pub fn persistence(mut self, persistence: Persistence) -> Self {
        self.persistence = persistence;
        self
    }

    /// A line of the configuration file, behind those made here, so that it may overrule them.
    #[must_use]
    pub fn setting(mut self, name: &str, value: impl Into<String>) -> Self {
        self.settings.push((name.to_owned(), value.into()));
        self
    }

    /// A node of a Cluster, with a drawn port for the bus.
    pub(super) fn cluster(mut self, node_timeout: Duration) -> Self {
        self.cluster_node_timeout = Some(node_timeout);
        self
    }

    /// A Sentinel instead of a server.
    pub(super) fn sentinel(version: Version) -> Self {
        Self { sentinel: true, ..Self::new(version) }
    }

    /// Starts it and waits until it answers.
    pub async fn start(&self) -> Result<Redis> {
        let mut draw = 1;
        loop {
            let folder = tempfile::tempdir().context("making a folder for a Redis server")?;
            let port = self.port.unwrap_or_else(free_port);
            self.configure(folder.path(), port)?;
            let mut redis = Redis::new(self.clone(), port, folder);
            match redis.start_again().await {
                Err(error) if self.port.is_none() && draw < DRAWS && taken(&error) => draw += 1,
                result => return result.map(|()| redis),
            }
        }
    }

    /// Writes the configuration file, which servers may rewrite later, and whatever files it names.
    fn configure(&self, folder: &Path, port: u16) -> Result<()> {
        let mut lines = vec!["bind 127.0.0.1".to_owned(), format!("dir {}", folder.display())];
        if let Some(certificates) = &self.certificates {
            let tls = folder.join("tls");
            certificates.write_to(&tls)?;
            lines.extend([
                "port 0".to_owned(),
                format!("tls-port {port}"),
                format!("tls-ca-cert-file {}", tls.join("ca.pem").display()),
                format!("tls-cert-file {}", tls.join("cert.pem").display()),
                format!("tls-key-file {}", tls.join("key.pem").display()),
                "tls-auth-clients optional".to_owned(),
                "tls-replication yes".to_owned(),
            ]);
        } else {
            lines.push(format!("port {port}"));
        }
        if let Some(password) = &self.password {
            lines.push(format!("requirepass {password}"));
        }
        if !self.sentinel {
            lines.extend(self.server_lines());
        }
        let mut text = String::new();
        let settings = self.settings.iter().map(|(name, value)| format!("{name} {value}"));
        for line in lines.into_iter().chain(settings) {
            writeln!(text, "{line}")?;
        }
        std::fs::write(folder.join("redis.conf"), text).context("writing redis.conf")
    }

    fn server_lines(&self) -> Vec<String> {
        // A primary that ends waits for lagging replicas, 10 s unless told otherwise; the tests pause replicas.
        let mut lines = vec!["shutdown-timeout 2".to_owned(), "repl-diskless-sync-delay 0".to_owned()];
        let (append, save) = match self.persistence {
            Persistence::Off => ("no", "\"\""),
            Persistence::AppendOnly => ("yes", "\"\""),
            Persistence::Snapshots => ("no", "1 1"),
        };
        lines.extend([format!("appendonly {append}"), format!("save {save}")]);
        lines.extend(self.password.iter().map(|password| format!("masterauth {password}")));
        lines.extend(self.users.iter().map(|user| format!("user {user}")));
        if let Some(node_timeout) = self.cluster_node_timeout {
            lines.extend([
                "cluster-enabled yes".to_owned(),
                format!("cluster-port {}", free_port()),
                format!("cluster-node-timeout {}", node_timeout.as_millis()),
                "cluster-announce-ip 127.0.0.1".to_owned(),
            ]);
            lines.extend(self.certificates.iter().map(|_| "tls-cluster yes".to_owned()));
        }
        lines
    }
}

/// Whether a server ended because somebody has its port, by what it printed.
fn taken(error: &anyhow::Error) -> bool {
    format!("{error:#}").contains("Address already in use")
}
