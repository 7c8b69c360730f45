//! The servers that are compared.

use std::fmt;
use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result};
use rustix::process::Pid;
use streamfleet_testkit::Endpoint;
use streamfleet_testkit::process::{Launch, Server, free_port};
use tempfile::TempDir;

use crate::app::App;
use crate::usage;

/// A way to serve an app.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Candidate {
    /// `streamlit run` as it comes.
    Default,
    /// `streamlit run` without the garbage collection after every run and without watching files.
    Tuned,
    /// Two of those behind nginx, which has users stay where they are.
    Pair,
    /// `streamfleet run`, also without watching files.
    Streamfleet,
}

impl Candidate {
    /// All of them, in the order of the report.
    pub(crate) const ALL: [Self; 4] = [Self::Default, Self::Tuned, Self::Pair, Self::Streamfleet];
    /// Those that Streamfleet is compared with.
    pub(crate) const OTHERS: [Self; 3] = [Self::Default, Self::Tuned, Self::Pair];

    /// Starts it with an app.
    pub(crate) async fn start(self, binary: &Path, app: App) -> Result<Running> {
        match self {
            Self::Pair => Running::pair(app).await,
            _ => Ok(Running::one(self.launch(binary, app).start().await?)),
        }
    }

    /// How it is started; of the pair, how each of the two is.
    pub(crate) fn launch(self, binary: &Path, app: App) -> Launch {
        let path = app.script();
        let launch = match self {
            Self::Default => Launch::plain_streamlit(&path).option("--server.fileWatcherType", "auto"),
            Self::Tuned | Self::Pair => Launch::plain_streamlit(&path).option("--runner.postScriptGC", "false"),
            Self::Streamfleet => Launch::streamfleet(binary, &path),
        };
        // Users who wait for their turn don't read, so they would not answer.
        launch.option("--server.websocketPingInterval", "3600")
    }
}

impl fmt::Display for Candidate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Default => "plain",
            Self::Tuned => "tuned",
            Self::Pair => "2 × tuned, nginx",
            Self::Streamfleet => "Streamfleet",
        })
    }
}

/// A candidate that serves. Ends with this value.
#[derive(Debug)]
pub(crate) struct Running {
    pub(crate) endpoint: Endpoint,
    servers: Vec<Server>,
    _folder: Option<TempDir>,
}

impl Running {
    fn one(server: Server) -> Self {
        Self { endpoint: server.endpoint().clone(), servers: vec![server], _folder: None }
    }

    /// Two plain servers, and nginx in front of them.
    async fn pair(app: App) -> Result<Self> {
        // The launch is for plain Streamlit, so no program of ours is needed.
        let launch = || Candidate::Pair.launch(Path::new(""), app);
        let (one, other) = tokio::try_join!(async { launch().start().await }, async { launch().start().await })?;
        let folder = tempfile::tempdir().context("making a folder for nginx")?;
        let port = free_port();
        let configuration = folder.path().join("nginx.conf");
        fs::write(&configuration, nginx(folder.path(), port, [&one, &other]))?;
        let mut front = Launch::program("nginx", folder.path(), port)
            .arg("-p")
            .arg(folder.path())
            .arg("-c")
            .arg(&configuration)
            .spawn()
            .context("nginx has to be installed")?;
        front.wait_until_healthy(Duration::from_secs(20)).await?;
        Ok(Self { endpoint: front.endpoint().clone(), servers: vec![one, other, front], _folder: Some(folder) })
    }

    /// The processor time that all of its processes have used so far.
    pub(crate) fn processor_time(&self) -> Duration {
        self.pids().map(usage::time_of_tree).sum()
    }

    /// The memory that all of its processes have for themselves, in bytes; what they share counts once.
    pub(crate) fn memory(&self) -> u64 {
        self.pids().map(usage::memory_of_tree).sum()
    }

    fn pids(&self) -> impl Iterator<Item = Pid> {
        self.servers.iter().map(Server::pid)
    }
}

/// Users are told apart by a header here, as all come from one address: `ip_hash` would send all to one server.
fn nginx(folder: &Path, port: u16, servers: [&Server; 2]) -> String {
    let folder = folder.display();
    let [one, other] = servers.map(|server| &server.endpoint().authority);
    format!(
        "daemon off;\nworker_processes 1;\npid {folder}/nginx.pid;\nerror_log stderr;\nevents {{ worker_connections 4096; }}\n\
         http {{\n  access_log off;\n  client_body_temp_path {folder}/body;\n  proxy_temp_path {folder}/proxy;\n  \
         fastcgi_temp_path {folder}/fastcgi;\n  uwsgi_temp_path {folder}/uwsgi;\n  scgi_temp_path {folder}/scgi;\n  \
         upstream one {{ server {one}; }}\n  upstream other {{ server {other}; }}\n  \
         map $http_x_user $side {{ default one; ~[13579]$ other; }}\n  \
         map $http_upgrade $connection_upgrade {{ default upgrade; '' close; }}\n  \
         server {{\n    listen 127.0.0.1:{port};\n    location / {{\n      proxy_pass http://$side;\n      \
         proxy_http_version 1.1;\n      proxy_set_header Host $http_host;\n      proxy_set_header Upgrade $http_upgrade;\n      \
         proxy_set_header Connection $connection_upgrade;\n      proxy_read_timeout 1h;\n    }}\n  }}\n}}\n"
    )
}
