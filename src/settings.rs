//! Settings: defaults, then `streamfleet.toml`, then `STREAMFLEET_*`, then flags.
//!
//! All roles read the same ones and use those that concern them, so that one file can serve a whole cluster.

use std::{
    collections::HashMap,
    env, fmt,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context as _, Result, bail};
use config::{Config, Environment, File, FileFormat, Value};
use serde::Deserialize;
use streamfleet_cluster::{BlobsAddress, RedisAddress, RedisOptions};

use streamfleet_runner::Limits;

use crate::{
    aws,
    secret::{AdminToken, ClusterSecret},
    security::{self, SecuritySettings},
    size::Size,
    telemetry::LogSettings,
};

/// The settings file that is read when none is named.
const DEFAULT_FILE: &str = "streamfleet.toml";
const PREFIX: &str = "STREAMFLEET";
/// What the value of a setting begins with that is kept in Secrets Manager; its name or ARN follows.
const SECRETS_MANAGER: &str = "aws-secretsmanager:";
/// More workers than this are a typing error, not a machine.
const MAX_WORKERS: u32 = 1024;
/// Longest time that any setting may name.
const MAX_SECONDS: f64 = 86_400.0;

/// All settings, of all roles.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Settings {
    /// Port to serve on (`run`); Streamlit's configuration has the say when it is not set.
    pub(crate) port: Option<u16>,
    /// Address to serve on (`run`); Streamlit's configuration has the say when it is not set.
    pub(crate) host: Option<String>,
    /// Where a gateway serves browsers, and a runner gateways.
    pub(crate) listen: Option<String>,
    /// Where gateways reach a runner.
    pub(crate) advertise: Option<String>,
    /// Where a gateway or runner says how it is.
    pub(crate) admin_listen: Option<String>,
    /// What operators show there to see more than whether it is well.
    admin_token: Option<Hidden>,
    /// A file with it.
    admin_token_file: Option<PathBuf>,
    /// Where the cluster page finds a session's traces, with `{session}` in the place of its public id.
    pub(crate) traces_url: Option<String>,
    /// Where the registry is.
    redis: Option<Hidden>,
    /// PEM file of the certificates to trust there.
    redis_ca_file: Option<PathBuf>,
    /// Tells several clusters in one Redis apart.
    cluster: String,
    /// A runner's name; its host's when it is not set.
    pub(crate) name: Option<String>,
    /// What is deployed of the app; a hash of its files when it is not set.
    pub(crate) revision: Option<String>,
    /// What all runners share and nobody else may know.
    secret: Option<Hidden>,
    /// A file with it.
    secret_file: Option<PathBuf>,
    /// Where uploaded files are kept; in Redis, or in memory, when it is not set.
    blobs: Option<String>,
    /// Number of Python workers; one per core when it is not set.
    pub(crate) workers: Option<u32>,
    /// Interpreter or virtual environment to run the app with.
    pub(crate) python: Option<PathBuf>,
    /// Where managed Python environments are kept.
    pub(crate) cache_dir: Option<PathBuf>,
    /// Seconds for which a gateway that was told to end goes on as before.
    shutdown_notice: f64,
    /// Seconds over which it then closes its browsers' connections.
    shutdown_spread: f64,
    /// Seconds that a runner takes at most to hand its sessions over when it is told to end.
    drain_limit: f64,
    /// Folder where `run` keeps its sessions' state over a restart.
    pub(crate) state: Option<PathBuf>,
    /// Seconds after which the memory of an idle session is freed; 0 for never.
    hibernate_after: f64,
    /// Seconds that a script may run; 0 for any time.
    run_timeout: f64,
    /// Seconds for which a worker may stand still before it is replaced; 0 for any time.
    worker_stuck_after: f64,
    /// Seconds after which a worker is replaced; 0 for never.
    worker_max_age: f64,
    /// Memory past which a worker is replaced, like `2GiB`.
    worker_max_memory: Option<Size>,
    /// State that is kept of one session at most, like `16MiB`.
    max_session_state: Option<Size>,
    /// Sessions with a browser that each worker is to have; 0 for any number.
    max_sessions: u32,
    /// Scripts that a worker runs at a time; 0 for any number.
    max_concurrent_runs: u32,
    /// Percent of the machine's memory from which on no new sessions are taken; 0 for never.
    memory_high: u32,
    /// Whether workers share what `st.cache_data` functions return.
    cache: Switch,
    /// How much of it a runner has in its memory, like `256MiB`.
    cache_memory: Size,
    /// How much of it the cluster keeps in Redis.
    cache_size: Size,
    /// What one call may return at most to be shared.
    cache_max_value: Size,
    /// Where traces go, if the standard variables don't say so.
    pub(crate) otlp_endpoint: Option<String>,
    /// Seconds from which on an interaction is slow, and its trace kept whether it was sampled or not.
    pub(crate) trace_slow_after: f64,
    /// Whether gateways and runners may speak unencrypted beyond one machine.
    pub(crate) allow_plaintext: bool,
    /// Connections that one address may have at a time; 0 for any number.
    pub(crate) max_connections_per_address: u32,
    /// Uploads that one address may have under way; 0 for any number.
    pub(crate) max_uploads_per_address: u32,
    /// Whether this machine is EC2's, in an auto-scaling group that is told when the process serves and when it has left.
    aws_lifecycle: Switch,
    /// Whether a runner tells CloudWatch its load.
    aws_metrics: Switch,
    /// Certificates, and proxies that are believed.
    #[serde(flatten)]
    pub(crate) security: SecuritySettings,
    /// Logging.
    #[serde(flatten)]
    pub(crate) log: LogSettings,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            port: None,
            host: None,
            listen: None,
            advertise: None,
            admin_listen: None,
            admin_token: None,
            admin_token_file: None,
            traces_url: None,
            redis: None,
            redis_ca_file: None,
            cluster: "default".to_owned(),
            name: None,
            revision: None,
            secret: None,
            secret_file: None,
            blobs: None,
            workers: None,
            python: None,
            cache_dir: None,
            // Load balancers look every few seconds, and want to see it fail more than once.
            shutdown_notice: 15.0,
            shutdown_spread: 10.0,
            drain_limit: 120.0,
            state: None,
            hibernate_after: 900.0,
            run_timeout: 0.0,
            worker_stuck_after: 30.0,
            worker_max_age: 0.0,
            worker_max_memory: None,
            max_session_state: None,
            max_sessions: 0,
            max_concurrent_runs: 0,
            memory_high: 95,
            cache: Switch::On,
            cache_memory: Size(256 << 20),
            cache_size: Size(1 << 30),
            cache_max_value: Size(256 << 20),
            otlp_endpoint: None,
            trace_slow_after: 1.0,
            allow_plaintext: false,
            max_connections_per_address: 0,
            max_uploads_per_address: 0,
            aws_lifecycle: Switch::Off,
            aws_metrics: Switch::Off,
            security: SecuritySettings::default(),
            log: LogSettings::default(),
        }
    }
}

/// Something that can be switched off.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Switch {
    On,
    Off,
}

/// How much is kept of what `st.cache_data` functions return, in bytes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct CacheLimits {
    /// In a runner's memory.
    pub(crate) memory: u64,
    /// In Redis.
    pub(crate) size: u64,
    /// Of one call.
    pub(crate) max_value: u64,
}

/// A text that is never shown, as there may be a password in it.
#[derive(Deserialize)]
#[serde(transparent)]
struct Hidden(String);

impl Hidden {
    /// What it is called in Secrets Manager, if it is there.
    fn secret_id(&self) -> Option<&str> {
        self.0.strip_prefix(SECRETS_MANAGER)
    }
}

impl fmt::Debug for Hidden {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// The names under which settings are found in the file and, in capitals, in the environment.
const NAMES: [&str; 45] = [
    "port",
    "host",
    "listen",
    "advertise",
    "admin_listen",
    "admin_token",
    "admin_token_file",
    "traces_url",
    "redis",
    "redis_ca_file",
    "cluster",
    "name",
    "revision",
    "secret",
    "secret_file",
    "blobs",
    "workers",
    "python",
    "cache_dir",
    "shutdown_notice",
    "shutdown_spread",
    "drain_limit",
    "state",
    "hibernate_after",
    "run_timeout",
    "worker_stuck_after",
    "worker_max_age",
    "worker_max_memory",
    "max_session_state",
    "max_sessions",
    "max_concurrent_runs",
    "memory_high",
    "cache",
    "cache_memory",
    "cache_size",
    "cache_max_value",
    "otlp_endpoint",
    "trace_slow_after",
    "allow_plaintext",
    "max_connections_per_address",
    "max_uploads_per_address",
    "aws_lifecycle",
    "aws_metrics",
    "log_level",
    "log_format",
];

fn names() -> impl Iterator<Item = &'static str> {
    NAMES.into_iter().chain(security::NAMES)
}

/// What a command line says about settings.
pub(crate) trait Flags {
    /// The settings file, if one is named.
    fn file(&self) -> Option<&Path>;

    /// Settings by name; `None` for those that are not given.
    fn values(&self) -> Vec<(&'static str, Option<Value>)>;
}

impl Settings {
    /// Loads the settings for a command line, and checks them.
    pub(crate) fn load(flags: &impl Flags) -> Result<Self> {
        let known = env::vars().filter(|(name, value)| {
            let setting = name.strip_prefix(PREFIX).and_then(|rest| rest.strip_prefix('_'));
            let setting = setting.map(str::to_ascii_lowercase);
            !value.is_empty() && setting.is_some_and(|setting| names().any(|name| name == setting))
        });
        Self::from_sources(flags, Path::new(DEFAULT_FILE), known.collect())
    }

    fn from_sources(flags: &impl Flags, default_file: &Path, environment: HashMap<String, String>) -> Result<Self> {
        let (path, required) = match flags.file() {
            Some(path) => (path, true),
            None => (default_file, false),
        };
        let mut sources = Config::builder();
        if required || path.exists() {
            let text = std::fs::read_to_string(path)
                .with_context(|| format!("cannot read the settings file {}", path.display()))?;
            check_names(path, &text)?;
            sources = sources.add_source(File::from_str(&text, FileFormat::Toml));
        }
        sources = sources.add_source(Environment::with_prefix(PREFIX).source(Some(environment)));
        for (name, value) in flags.values() {
            sources = sources.set_override_option(name, value)?;
        }
        let settings: Self = sources.build()?.try_deserialize().context("invalid settings")?;
        settings.check()?;
        Ok(settings)
    }

    fn check(&self) -> Result<()> {
        if let Some(workers) = self.workers
            && !(1..=MAX_WORKERS).contains(&workers)
        {
            bail!("workers = {workers}: give a number from 1 to {MAX_WORKERS}");
        }
        for (name, seconds) in [
            ("shutdown_notice", self.shutdown_notice),
            ("shutdown_spread", self.shutdown_spread),
            ("drain_limit", self.drain_limit),
            ("hibernate_after", self.hibernate_after),
            ("run_timeout", self.run_timeout),
            ("worker_stuck_after", self.worker_stuck_after),
            ("worker_max_age", self.worker_max_age),
            ("trace_slow_after", self.trace_slow_after),
        ] {
            if !(0.0..=MAX_SECONDS).contains(&seconds) {
                bail!("{name} = {seconds}: give a number of seconds from 0 to {MAX_SECONDS}");
            }
        }
        if self.memory_high > 100 {
            bail!("memory_high = {}: give a percentage from 1 to 100, or 0 for no limit", self.memory_high);
        }
        let is_name = |text: &str| !text.is_empty() && text.len() <= 40 && text.chars().all(is_name_character);
        if !is_name(&self.cluster) {
            bail!("cluster = {:?}: give a name of at most 40 letters, digits, `-`, `_` or `.`", self.cluster);
        }
        if let Some(name) = self.name.as_deref().filter(|name| !is_name(name)) {
            bail!("name = {name:?}: give a name of at most 40 letters, digits, `-`, `_` or `.`");
        }
        for (name, switch) in [("aws_lifecycle", self.aws_lifecycle), ("aws_metrics", self.aws_metrics)] {
            if switch == Switch::On && !cfg!(feature = "aws") {
                bail!("{name} = \"on\": {}", aws::MISSING);
            }
        }
        if let Some(Hidden(redis)) = self.redis.as_ref().filter(|redis| redis.secret_id().is_none()) {
            redis.parse::<RedisAddress>().context("redis")?;
        }
        for (name, Size(bytes)) in [
            ("cache_memory", self.cache_memory),
            ("cache_size", self.cache_size),
            ("cache_max_value", self.cache_max_value),
        ] {
            if bytes == 0 {
                bail!("{name} = 0: give an amount of memory, or set cache = \"off\"");
            }
        }
        if let Some(Hidden(token)) = self.admin_token.as_ref().filter(|token| token.secret_id().is_none()) {
            AdminToken::load(Some(token), None)?;
        }
        if let Some(url) = self.traces_url.as_deref().filter(|url| !is_traces_url(url)) {
            bail!("traces_url = {url:?}: give an http or https address with {{session}} in it");
        }
        self.blobs()?;
        self.security.check()
    }

    /// Where the registry is. A role that needs it says so.
    pub(crate) async fn redis(&self, role: &str) -> Result<RedisOptions> {
        let Some(redis) = text_of("redis", self.redis.as_ref(), 1).await? else {
            bail!(
                "a {role} needs a Redis to find the others with: name it with --redis redis://HOST:PORT, \
                 STREAMFLEET_REDIS or `redis` in {DEFAULT_FILE}"
            );
        };
        let read = |path: &PathBuf| {
            std::fs::read(path).with_context(|| format!("cannot read redis_ca_file {}", path.display()))
        };
        let ca = self.redis_ca_file.as_ref().map(read).transpose()?;
        Ok(RedisOptions::new(redis.parse().context("redis")?, ca, &self.cluster))
    }

    /// Where uploaded files are kept, if that is set.
    pub(crate) fn blobs(&self) -> Result<Option<BlobsAddress>> {
        self.blobs.as_deref().map(str::parse).transpose().context("blobs")
    }

    /// How much is kept of what `st.cache_data` functions return; `None` if that is for each worker to do.
    pub(crate) fn cache(&self) -> Option<CacheLimits> {
        let Self { cache_memory: Size(memory), cache_size: Size(size), cache_max_value: Size(max_value), .. } = *self;
        (self.cache == Switch::On).then_some(CacheLimits { memory, size, max_value })
    }

    /// Whether a Redis is named.
    pub(crate) fn has_redis(&self) -> bool {
        self.redis.is_some()
    }

    /// The name that tells several clusters in one Redis apart.
    pub(crate) fn cluster(&self) -> &str {
        &self.cluster
    }

    /// The cluster's secret, if one is set.
    pub(crate) async fn secret(&self) -> Result<Option<ClusterSecret>> {
        // What was signed with the one before is still believed.
        let secret = text_of("secret", self.secret.as_ref(), 2).await?;
        ClusterSecret::load(secret.as_deref(), self.secret_file.as_deref())
    }

    /// What operators show to the admin listener, if that is set.
    pub(crate) async fn admin_token(&self) -> Result<Option<AdminToken>> {
        let token = text_of("admin_token", self.admin_token.as_ref(), 1).await?;
        AdminToken::load(token.as_deref(), self.admin_token_file.as_deref())
    }

    /// Whether the machine's auto-scaling group is told when the process serves and when it has left.
    #[cfg(feature = "aws")]
    pub(crate) fn aws_lifecycle(&self) -> bool {
        self.aws_lifecycle == Switch::On
    }

    /// Whether a runner tells CloudWatch its load.
    #[cfg(feature = "aws")]
    pub(crate) fn aws_metrics(&self) -> bool {
        self.aws_metrics == Switch::On
    }

    /// How much of what a session or worker may take.
    pub(crate) fn limits(&self) -> Limits {
        let seconds = Duration::from_secs_f64;
        let defaults = Limits::default();
        Limits {
            max_session_bytes: self.max_session_state.map_or(defaults.max_session_bytes, |Size(bytes)| bytes),
            run_timeout: seconds(self.run_timeout),
            stuck_after: seconds(self.worker_stuck_after),
            hibernate_after: seconds(self.hibernate_after),
            worker_max_age: seconds(self.worker_max_age),
            worker_max_bytes: self.worker_max_memory.map_or(defaults.worker_max_bytes, |Size(bytes)| bytes),
            max_sessions: self.max_sessions,
            max_concurrent_runs: self.max_concurrent_runs,
            memory_high: self.memory_high,
        }
    }

    /// How long a runner may take to hand its sessions over when it is told to end.
    pub(crate) fn drain_limit(&self) -> Duration {
        Duration::from_secs_f64(self.drain_limit)
    }

    /// How long a gateway goes on as before after being told to end.
    pub(crate) fn shutdown_notice(&self) -> Duration {
        Duration::from_secs_f64(self.shutdown_notice)
    }

    /// Over how long a time it then closes its browsers' connections.
    pub(crate) fn shutdown_spread(&self) -> Duration {
        Duration::from_secs_f64(self.shutdown_spread)
    }
}

/// What a setting says, or what is kept where it says: so many versions at most, the newest first, one a line. Not looked up before it is
/// wanted, as not every role may read everything.
async fn text_of(name: &str, setting: Option<&Hidden>, versions: usize) -> Result<Option<String>> {
    let Some(hidden) = setting else { return Ok(None) };
    let Some(id) = hidden.secret_id() else { return Ok(Some(hidden.0.clone())) };
    // Boxed, as it is big, and hardly ever there.
    let texts = Box::pin(aws::secret(id, versions)).await;
    Ok(Some(texts.with_context(|| format!("{name} = \"{SECRETS_MANAGER}{id}\""))?.join("\n")))
}

/// What names are made of.
pub(crate) fn is_name_character(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.')
}

fn is_traces_url(url: &str) -> bool {
    let rest = url.strip_prefix("https://").or_else(|| url.strip_prefix("http://"));
    rest.is_some_and(|rest| !rest.starts_with('/') && rest.contains("{session}") && !rest.contains(char::is_whitespace))
}

fn check_names(path: &Path, text: &str) -> Result<()> {
    let table: toml::Table = text.parse().with_context(|| format!("{} is not valid TOML", path.display()))?;
    if let Some(unknown) = table.keys().find(|given| !names().any(|name| name == given.as_str())) {
        let known: Vec<_> = names().collect();
        bail!("{}: unknown setting {unknown:?}; the settings are {}", path.display(), known.join(", "));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::ServeArgs;

    fn load(file: &str, environment: &[(&str, &str)], args: &ServeArgs) -> Result<Settings> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(DEFAULT_FILE);
        std::fs::write(&path, file).unwrap();
        let environment = environment.iter().map(|&(name, value)| (name.to_owned(), value.to_owned())).collect();
        Settings::from_sources(args, &path, environment)
    }

    #[test]
    fn flags_win_over_environment_over_file() {
        let file = "port = 1\nworkers = 1\nhost = \"a\"";
        let environment = [("STREAMFLEET_PORT", "2"), ("STREAMFLEET_WORKERS", "2")];
        let args = ServeArgs { port: Some(3), ..ServeArgs::default() };
        let settings = load(file, &environment, &args).unwrap();
        assert_eq!(settings.port, Some(3));
        assert_eq!(settings.workers, Some(2));
        assert_eq!(settings.host.as_deref(), Some("a"));
    }

    #[test]
    fn wrong_settings_are_named() {
        let none = ServeArgs::default();
        for (file, expected) in [
            ("prot = 1", "prot"),
            ("workers = 0", "workers = 0"),
            ("port = \"x\"", "port"),
            ("port = ", "TOML"),
            ("redis = \"localhost\"", "redis"),
            ("cluster = \"a{b}\"", "cluster"),
            ("name = \"\"", "name"),
            ("shutdown_spread = -1", "shutdown_spread"),
            ("hibernate_after = -1", "hibernate_after"),
            ("worker_max_memory = \"much\"", "much"),
            ("blobs = \"ftp://a\"", "blobs"),
            ("cache = \"no\"", "cache"),
            ("cache_memory = 0", "cache_memory"),
            ("admin_token = \"short\"", "admin_token"),
            ("traces_url = \"javascript:{session}\"", "traces_url"),
            ("traces_url = \"https://traces/\"", "{session}"),
            ("peer_cert_file = \"a\"", "peer_ca_file"),
            ("tls_key_file = \"a\"", "tls_cert_file"),
            ("redirect_listen = \"0.0.0.0:80\"", "HTTPS"),
            ("trusted_proxies = \"10.0.0.0/33\"", "10.0.0.0/33"),
            ("max_connections_per_address = -1", "max_connections_per_address"),
            ("allow_plaintext = \"perhaps\"", "allow_plaintext"),
            ("aws_lifecycle = \"yes\"", "aws_lifecycle"),
        ] {
            let error = format!("{:#}", load(file, &[], &none).unwrap_err());
            assert!(error.contains(expected), "{file}: {error}");
        }
    }

    #[tokio::test]
    async fn a_secret_of_digits_is_still_a_text() {
        let digits = "1".repeat(40);
        let settings = load("", &[("STREAMFLEET_SECRET", &digits)], &ServeArgs::default()).unwrap();
        assert!(settings.secret().await.unwrap().is_some());
        assert!(!format!("{settings:?}").contains(&digits), "the secret is shown");
    }

    #[tokio::test]
    async fn the_admin_token_is_in_one_place_and_hidden() {
        let none = ServeArgs::default();
        let token = "0123456789abcdef";
        let settings = load("", &[("STREAMFLEET_ADMIN_TOKEN", token)], &none).unwrap();
        assert!(settings.admin_token().await.unwrap().unwrap().is(token.as_bytes()));
        assert!(!format!("{settings:?}").contains(token), "the token is shown");
        let file = format!("admin_token = \"{token}\"\nadmin_token_file = \"/x\"");
        let error = load(&file, &[], &none).unwrap().admin_token().await.unwrap_err().to_string();
        assert!(error.contains("admin_token_file"), "{error}");
        assert!(load("", &[], &none).unwrap().admin_token().await.unwrap().is_none());
    }

    #[test]
    fn secrets_may_be_named_instead_of_given() {
        let named = "redis = \"aws-secretsmanager:redis\"\nadmin_token = \"aws-secretsmanager:t\"";
        let settings = load(named, &[], &ServeArgs::default()).unwrap();
        assert_eq!(settings.redis.as_ref().unwrap().secret_id(), Some("redis"));
        let switched = load("aws_lifecycle = \"on\"\naws_metrics = \"on\"", &[], &ServeArgs::default());
        if cfg!(feature = "aws") {
            assert_eq!(switched.unwrap().aws_lifecycle, Switch::On);
        } else {
            let error = switched.unwrap_err().to_string();
            assert!(error.contains("aws_lifecycle") && error.contains("--features aws"), "{error}");
        }
    }

    #[tokio::test]
    async fn a_role_says_that_it_needs_redis() {
        let error = load("", &[], &ServeArgs::default()).unwrap().redis("gateway").await.unwrap_err();
        assert!(error.to_string().contains("--redis"), "{error}");
    }

    #[test]
    fn a_named_file_must_exist() {
        let config = crate::cli::ConfigArgs { config: Some("/nowhere/x.toml".into()) };
        let args = ServeArgs { config, ..ServeArgs::default() };
        let error = format!("{:#}", load("", &[], &args).unwrap_err());
        assert!(error.contains("/nowhere/x.toml"), "{error}");
    }
}
