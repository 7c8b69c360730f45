//! A primary, its replicas, and three Sentinels that watch them.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use futures_util::future::try_join_all;

use super::{Redis, RedisLaunch, field};
use crate::wait::until;

/// What the Sentinels call the primary.
const NAME: &str = "streamfleet";
const SENTINELS: usize = 3;
/// How long a primary may be silent before its Sentinels replace it. What they do then takes two seconds more.
const DOWN_AFTER: Duration = Duration::from_millis(1500);
/// Sentinels learn of a new replica when they next ask the primary, which is every ten seconds at worst.
const LIMIT: Duration = Duration::from_secs(40);

/// A primary with replicas under three Sentinels.
#[derive(Debug)]
pub struct Sentinels {
    nodes: Vec<Redis>,
    watchers: Vec<Redis>,
    primary: SocketAddr,
}

impl Sentinels {
    /// Starts nodes like `node`, the first of them as the primary, and waits until the Sentinels are able to fail over.
    pub async fn start(node: RedisLaunch, replicas: usize) -> Result<Self> {
        ensure!(node.certificates.is_none(), "Sentinels with TLS are not provided for");
        let mut nodes = vec![node.start().await?];
        let primary = nodes[0].address();
        let replica = node.clone().setting("replicaof", spaced(primary));
        nodes.extend(try_join_all((0..replicas).map(|_| replica.start())).await?);

        let mut sentinel = RedisLaunch::sentinel(node.version)
            .setting("sentinel monitor", format!("{NAME} {} 2", spaced(primary)))
            .setting("sentinel down-after-milliseconds", format!("{NAME} {}", DOWN_AFTER.as_millis()))
            .setting("sentinel failover-timeout", format!("{NAME} 10000"));
        if let Some(password) = &node.password {
            sentinel = sentinel.setting("sentinel auth-pass", format!("{NAME} {password}"));
        }
        // Sentinels know a replica from the primary's answer, so it should be there before they first ask.
        let started = Self { nodes, watchers: Vec::new(), primary };
        started.wait_until_linked().await?;
        let watchers = try_join_all((0..SENTINELS).map(|_| sentinel.start())).await?;
        let started = Self { watchers, ..started };
        started.wait_until_known(replicas).await?;
        Ok(started)
    }

    async fn wait_until_linked(&self) -> Result<()> {
        until("the replicas to be linked", LIMIT, async || {
            for replica in &self.nodes[1..] {
                let info: String = replica.command(&["INFO", "replication"]).await?;
                ensure!(field(&info, "master_link_status")? == "up", "{info}");
            }
            Ok(())
        })
        .await
    }

    async fn wait_until_known(&self, replicas: usize) -> Result<()> {
        until("the Sentinels to know each other and the replicas", LIMIT, async || {
            for sentinel in &self.watchers {
                let state: HashMap<String, String> = sentinel.command(&["SENTINEL", "MASTER", NAME]).await?;
                let number = |name: &str| state.get(name).and_then(|value| value.parse::<usize>().ok());
                let known = (number("num-slaves"), number("num-other-sentinels"));
                ensure!(
                    known == (Some(replicas), Some(SENTINELS - 1)),
                    "replicas and other Sentinels known: {known:?}"
                );
            }
            Ok(())
        })
        .await
    }

    /// What the Sentinels call the primary.
    #[expect(clippy::unused_self, reason = "which name it is, is this value's to say")]
    pub fn master_name(&self) -> &'static str {
        NAME
    }

    /// Where the Sentinels are.
    pub fn sentinel_addresses(&self) -> Vec<SocketAddr> {
        self.watchers.iter().map(Redis::address).collect()
    }

    /// The Sentinels, to stop or to question.
    pub fn sentinels(&mut self) -> &mut [Redis] {
        &mut self.watchers
    }

    /// The servers, in the order they were started in.
    pub fn nodes(&mut self) -> &mut [Redis] {
        &mut self.nodes
    }

    /// The primary as of the start, or of the last [`wait_for_failover`](Self::wait_for_failover).
    pub fn primary(&mut self) -> &mut Redis {
        let primary = self.primary;
        let at = self.nodes.iter().position(|node| node.address() == primary).unwrap_or_default();
        &mut self.nodes[at]
    }

    /// Kills the primary and says where it was.
    pub async fn kill_primary(&mut self) -> Result<SocketAddr> {
        self.primary().kill().await?;
        Ok(self.primary)
    }

    /// Waits until there is another primary than before, and all Sentinels that run say so. Returns its address.
    pub async fn wait_for_failover(&mut self) -> Result<SocketAddr> {
        let old = self.primary;
        self.primary = until("another primary", LIMIT, async || {
            let mut found = None;
            for sentinel in self.watchers.iter().filter(|sentinel| sentinel.is_running()) {
                let words = ["SENTINEL", "GET-MASTER-ADDR-BY-NAME", NAME];
                let (host, port): (String, u16) = sentinel.command(&words).await?;
                let named = SocketAddr::new(host.parse()?, port);
                ensure!(named != old, "a Sentinel names the old one");
                ensure!(found.is_none_or(|found| found == named), "the Sentinels don't agree");
                found = Some(named);
            }
            let new = found.context("no Sentinel runs")?;
            let node = self.nodes.iter().find(|node| node.address() == new).context("a primary of somebody else")?;
            let info: String = node.command(&["INFO", "replication"]).await?;
            ensure!(field(&info, "role")? == "master", "{info}");
            Ok(new)
        })
        .await?;
        Ok(self.primary)
    }
}

/// An address as Redis has it in its settings.
fn spaced(address: SocketAddr) -> String {
    format!("{} {}", address.ip(), address.port())
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::super::Version;
    use super::*;

    async fn fails_over(version: Version) {
        let started = Instant::now();
        let mut sentinels = Sentinels::start(RedisLaunch::new(version).password("secret"), 1).await.unwrap();
        eprintln!("{version:?}: started in {:?}", started.elapsed());
        assert_eq!(sentinels.sentinel_addresses().len(), 3);
        sentinels.primary().command::<()>(&["SET", "key", "value"]).await.unwrap();
        sentinels.primary().command::<i64>(&["WAIT", "1", "5000"]).await.unwrap();

        let killed = Instant::now();
        let old = sentinels.kill_primary().await.unwrap();
        let new = sentinels.wait_for_failover().await.unwrap();
        eprintln!("{version:?}: failed over in {:?}", killed.elapsed());
        assert_ne!(old, new);
        let value: String = sentinels.primary().command(&["GET", "key"]).await.unwrap();
        assert_eq!(value, "value");
    }

    #[tokio::test]
    async fn a_killed_primary_is_replaced_in_redis_7() {
        fails_over(Version::V7).await;
    }

    #[tokio::test]
    async fn a_killed_primary_is_replaced_in_redis_8() {
        fails_over(Version::V8).await;
    }
}
