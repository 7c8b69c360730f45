//! One Redis process.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Client, ClientTlsConfig, FromRedisValue, TlsCertificates};
use rustix::process::Signal;
use tempfile::TempDir;

use super::RedisLaunch;
use crate::process::{Launch, STOP_LIMIT, Server};
use crate::wait::POLL;

/// How long one command of a test may take.
const COMMAND_LIMIT: Duration = Duration::from_secs(5);
/// How long it may take to answer first. It is there in a few milliseconds, unless it has much to load.
const READY_LIMIT: Duration = Duration::from_secs(30);

/// A Redis server, or a Sentinel. Dropping it kills the process and removes its folder.
#[derive(Debug)]
pub struct Redis {
    server: Option<Server>,
    paused: bool,
    launch: RedisLaunch,
    port: u16,
    folder: TempDir,
}

impl Redis {
    pub(super) fn new(launch: RedisLaunch, port: u16, folder: TempDir) -> Self {
        Self { server: None, paused: false, launch, port, folder }
    }

    /// Its port, the same whenever it is started again.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Its address.
    pub fn address(&self) -> SocketAddr {
        ([127, 0, 0, 1], self.port).into()
    }

    /// Its folder, with the configuration file and all data.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Its URL, with the default user's password.
    pub fn url(&self) -> String {
        let password = self.launch.password.as_ref().map(|password| format!(":{password}@")).unwrap_or_default();
        format!("{}://{password}{}/", self.scheme(), self.address())
    }

    /// Its URL for another user.
    pub fn url_as(&self, user: &str, password: &str) -> String {
        format!("{}://{user}:{password}@{}/", self.scheme(), self.address())
    }

    fn scheme(&self) -> &'static str {
        if self.launch.certificates.is_some() { "rediss" } else { "redis" }
    }

    /// Whether there is a process that isn't paused.
    pub fn is_running(&self) -> bool {
        self.server.is_some() && !self.paused
    }

    /// What it printed since it was last started; empty if it doesn't run.
    pub fn output(&self) -> String {
        self.server.as_ref().map(Server::output).unwrap_or_default()
    }

    /// A new connection, as the default user.
    pub async fn connection(&self) -> Result<MultiplexedConnection> {
        self.connect(&self.url()).await
    }

    /// A new connection, as another user.
    pub async fn connection_as(&self, user: &str, password: &str) -> Result<MultiplexedConnection> {
        self.connect(&self.url_as(user, password)).await
    }

    async fn connect(&self, url: &str) -> Result<MultiplexedConnection> {
        let client = match &self.launch.certificates {
            None => Client::open(url)?,
            Some(certificates) => {
                // A second call finds it done, by this module or by the program under test.
                let _ = rustls::crypto::ring::default_provider().install_default();
                let client_tls = Some(ClientTlsConfig {
                    client_cert: certificates.certificate.clone().into_bytes(),
                    client_key: certificates.key.clone().into_bytes(),
                });
                let root_cert = Some(certificates.authority.clone().into_bytes());
                Client::build_with_tls(url, TlsCertificates { client_tls, root_cert })?
            }
        };
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(COMMAND_LIMIT))
            .set_response_timeout(Some(COMMAND_LIMIT));
        client
            .get_multiplexed_async_connection_with_config(&config)
            .await
            .with_context(|| format!("connecting to {url}"))
    }

    /// Gives one command, over a connection of its own.
    pub async fn command<T: FromRedisValue>(&self, words: &[&str]) -> Result<T> {
        let (name, args) = words.split_first().context("an empty command")?;
        let mut connection = self.connection().await?;
        redis::cmd(name)
            .arg(args)
            .query_async(&mut connection)
            .await
            .with_context(|| format!("{} on {}", words.join(" "), self.port))
    }

    /// The fields of a hash, whose values may be any bytes.
    pub async fn fields(&self, key: &str) -> Result<BTreeMap<String, Vec<u8>>> {
        self.command(&["HGETALL", key]).await
    }

    /// Sets a field of a hash to any bytes.
    pub async fn set_field(&self, key: &str, field: &str, value: &[u8]) -> Result<()> {
        let mut connection = self.connection().await?;
        redis::cmd("HSET")
            .arg(key)
            .arg(field)
            .arg(value)
            .query_async(&mut connection)
            .await
            .with_context(|| format!("setting {field} of {key}"))
    }

    /// Waits until it answers to `PING`. Fails at once when it ends instead.
    pub async fn ready(&mut self) -> Result<()> {
        let deadline = Instant::now() + READY_LIMIT;
        loop {
            let server = self.server.as_mut().context("Redis is not running")?;
            if let Some(status) = server.exit_status()? {
                bail!("Redis on {} ended with {status} before it answered:\n{}", self.port, server.output());
            }
            // Redis takes connections before it has read its data; PING fails until then.
            match self.command::<String>(&["PING"]).await {
                Ok(_) => return Ok(()),
                Err(error) => ensure!(Instant::now() < deadline, "Redis doesn't answer: {error:#}\n{}", self.output()),
            }
            tokio::time::sleep(POLL).await;
        }
    }

    /// Asks it to end, and waits for it. What it is to persist is on disk then.
    pub async fn stop(&mut self) -> Result<()> {
        self.resume()?;
        if let Some(mut server) = self.server.take() {
            server.stop().await?;
        }
        Ok(())
    }

    /// Kills it, as a crash or the kernel would.
    pub async fn kill(&mut self) -> Result<()> {
        self.paused = false;
        if let Some(mut server) = self.server.take() {
            server.signal(Signal::KILL)?;
            server.wait(STOP_LIMIT).await?;
        }
        Ok(())
    }

    /// Starts it after [`stop`](Self::stop) or [`kill`](Self::kill), with its folder as they left it.
    pub async fn start_again(&mut self) -> Result<()> {
        ensure!(self.server.is_none(), "Redis on {} is already running", self.port);
        let mut launch =
            Launch::program(self.launch.version.program()?, self.folder.path(), self.port).arg("redis.conf");
        if self.launch.sentinel {
            launch = launch.arg("--sentinel");
        }
        self.server = Some(launch.spawn()?);
        let ready = self.ready().await;
        if ready.is_err() {
            self.server = None;
        }
        ready
    }

    /// Replaces it by one without any data on the same port.
    pub async fn restart_empty(&mut self) -> Result<()> {
        self.kill().await?;
        for entry in std::fs::read_dir(self.folder.path())? {
            let path = entry?.path();
            match path.file_name().and_then(|name| name.to_str()) {
                Some("redis.conf" | "tls") => {}
                _ if path.is_dir() => std::fs::remove_dir_all(&path)?,
                _ => std::fs::remove_file(&path)?,
            }
        }
        self.start_again().await
    }

    /// Stops it from doing anything, with its connections open.
    pub fn pause(&mut self) -> Result<()> {
        self.server.as_ref().context("Redis is not running")?.signal(Signal::STOP)?;
        self.paused = true;
        Ok(())
    }

    /// Lets it go on after [`pause`](Self::pause); does nothing else.
    pub fn resume(&mut self) -> Result<()> {
        if let Some(server) = self.server.as_ref().filter(|_| self.paused) {
            server.signal(Signal::CONT)?;
        }
        self.paused = false;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Persistence, Version};
    use super::*;
    use crate::certificates::Certificates;

    async fn set(redis: &Redis) {
        redis.command::<()>(&["SET", "key", "value"]).await.unwrap();
    }

    async fn get(redis: &Redis) -> Option<String> {
        redis.command(&["GET", "key"]).await.unwrap()
    }

    #[tokio::test]
    async fn both_versions_start_and_say_which_they_are() {
        for (version, expected) in [(Version::V7, "7."), (Version::V8, "8.")] {
            let redis = RedisLaunch::new(version).start().await.unwrap();
            let info: String = redis.command(&["INFO", "server"]).await.unwrap();
            let found = super::super::field(&info, "redis_version").unwrap();
            assert!(found.starts_with(expected), "{found}");
        }
    }

    #[tokio::test]
    async fn hashes_hold_any_bytes() {
        let redis = RedisLaunch::new(Version::V7).start().await.unwrap();
        let value = [0, 255, 13, 10];
        redis.set_field("hash", "field", &value).await.unwrap();
        assert_eq!(redis.fields("hash").await.unwrap(), BTreeMap::from([("field".to_owned(), value.to_vec())]));
    }

    #[tokio::test]
    async fn data_survive_as_far_as_they_are_persisted() {
        for (persistence, after_stop, after_kill) in [
            (Persistence::Off, false, false),
            (Persistence::Snapshots, true, true),
            (Persistence::AppendOnly, true, true),
        ] {
            let mut redis = RedisLaunch::new(Version::V7).persistence(persistence).start().await.unwrap();
            set(&redis).await;
            redis.stop().await.unwrap();
            redis.start_again().await.unwrap();
            assert_eq!(get(&redis).await.is_some(), after_stop, "{persistence:?}");
            redis.kill().await.unwrap();
            redis.start_again().await.unwrap();
            assert_eq!(get(&redis).await.is_some(), after_kill, "{persistence:?}");
            let port = redis.port();
            redis.restart_empty().await.unwrap();
            assert_eq!((get(&redis).await, redis.port()), (None, port), "{persistence:?}");
        }
    }

    #[tokio::test]
    async fn a_paused_server_answers_when_it_goes_on() {
        let mut redis = RedisLaunch::new(Version::V7).start().await.unwrap();
        let mut connection = redis.connection().await.unwrap();
        redis.pause().unwrap();
        let mut ping = tokio::spawn(async move { redis::cmd("PING").query_async::<String>(&mut connection).await });
        tokio::time::timeout(Duration::from_millis(200), &mut ping).await.unwrap_err();
        redis.resume().unwrap();
        assert_eq!(ping.await.unwrap().unwrap(), "PONG");
    }

    #[tokio::test]
    async fn passwords_and_users_are_asked_for() {
        let launch = RedisLaunch::new(Version::V8).password("open-sesame").user("reader", "book", "~app:* +@read");
        let redis = launch.start().await.unwrap();
        set(&redis).await;
        let mut anonymous = redis.connect(&format!("redis://{}/", redis.address())).await.unwrap();
        redis::cmd("GET").arg("key").query_async::<Option<String>>(&mut anonymous).await.unwrap_err();
        let mut reader = redis.connection_as("reader", "book").await.unwrap();
        let read: Option<String> = redis::cmd("GET").arg("app:1").query_async(&mut reader).await.unwrap();
        assert_eq!(read, None);
        redis::cmd("GET").arg("key").query_async::<Option<String>>(&mut reader).await.unwrap_err();
    }

    #[tokio::test]
    async fn tls_takes_only_those_who_trust_it_and_no_plain_text() {
        let certificates = Certificates::generate().unwrap();
        let redis = RedisLaunch::new(Version::V7).tls(&certificates).password("secret").start().await.unwrap();
        set(&redis).await;
        redis.connect(&redis.url().replace("rediss", "redis")).await.unwrap_err();
        let stranger = Client::open(redis.url()).unwrap();
        stranger.get_multiplexed_async_connection().await.unwrap_err();
    }
}
