//! A Redis Cluster of three primaries with a replica each.

use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use futures_util::future::try_join_all;

use super::{Redis, RedisLaunch, field};
use crate::wait::until;

const PRIMARIES: usize = 3;
const SLOTS: usize = 16_384;
/// How long a node may be silent before the others vote on its successor.
const NODE_TIMEOUT: Duration = Duration::from_secs(2);
const LIMIT: Duration = Duration::from_secs(40);

/// A Cluster of six nodes.
#[derive(Debug)]
pub struct Cluster {
    nodes: Vec<Redis>,
}

impl Cluster {
    /// Starts six nodes like `node` and makes a Cluster of them, ready to fail over.
    pub async fn start(node: RedisLaunch) -> Result<Self> {
        let node = node.cluster(NODE_TIMEOUT);
        let cluster = Self { nodes: try_join_all((0..2 * PRIMARIES).map(|_| node.start())).await? };
        cluster.join().await?;
        cluster.wait_until_replicated().await?;
        cluster.wait_until_ok().await?;
        Ok(cluster)
    }

    /// Introduces the nodes to each other and hands out slots and roles.
    async fn join(&self) -> Result<()> {
        for (index, node) in self.nodes.iter().enumerate() {
            // Distinct from the start: nodes that have to resolve a collision first are slow to agree on a successor.
            // Refused once a node knows another.
            node.command::<()>(&["CLUSTER", "SET-CONFIG-EPOCH", &(index + 1).to_string()]).await?;
            if index < PRIMARIES {
                let (first, end) = (SLOTS * index / PRIMARIES, SLOTS * (index + 1) / PRIMARIES);
                let range = [first.to_string(), (end - 1).to_string()];
                node.command::<()>(&["CLUSTER", "ADDSLOTSRANGE", &range[0], &range[1]]).await?;
            }
        }
        for (index, node) in self.nodes.iter().enumerate() {
            for other in &self.nodes[index + 1..] {
                let setting: (String, String) = other.command(&["CONFIG", "GET", "cluster-port"]).await?;
                let words = ["CLUSTER", "MEET", "127.0.0.1", &other.port().to_string(), &setting.1];
                node.command::<()>(&words).await?;
            }
        }
        for (index, replica) in self.nodes.iter().enumerate().skip(PRIMARIES) {
            let primary: String = self.nodes[index - PRIMARIES].command(&["CLUSTER", "MYID"]).await?;
            // Refused until the replica has heard of the primary.
            until("a replica to know its primary", LIMIT, async || {
                replica.command::<()>(&["CLUSTER", "REPLICATE", &primary]).await
            })
            .await?;
        }
        Ok(())
    }

    /// Waits until each node sees half of the Cluster as primaries and half as replicas, all well and linked.
    async fn wait_until_replicated(&self) -> Result<()> {
        until("every primary to have its replica", LIMIT, async || {
            for node in &self.nodes {
                let view = view(node).await?;
                let count = |flag: &str| view.iter().filter(|member| member.is_well() && member.has(flag)).count();
                let found = (view.len(), count("master"), count("slave"));
                ensure!(
                    found == (2 * PRIMARIES, PRIMARIES, PRIMARIES),
                    "nodes, primaries and replicas known: {found:?}"
                );
            }
            for replica in &self.nodes[PRIMARIES..] {
                let info: String = replica.command(&["INFO", "replication"]).await?;
                ensure!(field(&info, "master_link_status")? == "up", "{info}");
            }
            Ok(())
        })
        .await
    }

    /// Waits until all running nodes see all slots served, by nodes that run.
    pub async fn wait_until_ok(&self) -> Result<()> {
        until("the Cluster to be well", LIMIT, async || {
            for node in self.running() {
                let info: String = node.command(&["CLUSTER", "INFO"]).await?;
                ensure!(field(&info, "cluster_state")? == "ok", "{} sees:\n{info}", node.port());
                // The state is ok for a while after a primary has died, until the others have agreed that it is dead.
                let view = view(node).await?;
                let runs = |member: &&Member| self.running().any(|node| node.port() == member.port);
                let served: usize = view
                    .iter()
                    .filter(|member| member.is_well() && member.has("master"))
                    .filter(runs)
                    .map(Member::slots)
                    .sum();
                ensure!(served == SLOTS, "{} sees {served} slots served by running nodes", node.port());
            }
            Ok(())
        })
        .await
    }

    fn running(&self) -> impl Iterator<Item = &Redis> {
        self.nodes.iter().filter(|node| node.is_running())
    }

    /// Where the nodes are.
    pub fn addresses(&self) -> Vec<SocketAddr> {
        self.nodes.iter().map(Redis::address).collect()
    }

    /// The nodes' URLs, any of which will do to find the others.
    pub fn urls(&self) -> Vec<String> {
        self.nodes.iter().map(Redis::url).collect()
    }

    /// The nodes; the first half were the primaries at the start.
    pub fn nodes(&mut self) -> &mut [Redis] {
        &mut self.nodes
    }

    /// The primary that serves a key's slot, as far as the first running node knows.
    pub async fn primary_of(&mut self, key: &str) -> Result<&mut Redis> {
        let asked = self.running().next().context("no node runs")?;
        let slot: u16 = asked.command(&["CLUSTER", "KEYSLOT", key]).await?;
        let view = view(asked).await?;
        let owner = view.iter().find(|member| member.has("master") && member.serves(slot));
        let port = owner.with_context(|| format!("nobody serves slot {slot}"))?.port;
        self.nodes.iter_mut().find(|node| node.port() == port).context("a node of somebody else")
    }

    /// Kills the primary that serves a key's slot, and says where it was.
    pub async fn kill_primary_of(&mut self, key: &str) -> Result<SocketAddr> {
        let primary = self.primary_of(key).await?;
        primary.kill().await?;
        Ok(primary.address())
    }
}

/// A line of `CLUSTER NODES`.
#[derive(Debug, PartialEq, Eq)]
struct Member {
    port: u16,
    flags: Vec<String>,
    ranges: Vec<RangeInclusive<u16>>,
}

impl Member {
    /// Reads `ID IP:PORT@BUS FLAGS PRIMARY PING PONG EPOCH LINK SLOTS…`.
    fn parse(line: &str) -> Option<Self> {
        let words: Vec<&str> = line.split_whitespace().collect();
        let port = words.get(1)?.split_once('@')?.0.rsplit_once(':')?.1.parse().ok()?;
        let flags = words.get(2)?.split(',').map(str::to_owned).collect();
        // Slots that are on the move stand in brackets; they belong to one of the ranges too.
        let ranges = words.iter().skip(8).filter(|word| !word.starts_with('[')).map(|word| {
            let (first, last) = word.split_once('-').unwrap_or((word, word));
            Some(first.parse().ok()?..=last.parse().ok()?)
        });
        Some(Self { port, flags, ranges: ranges.collect::<Option<_>>()? })
    }

    fn has(&self, flag: &str) -> bool {
        self.flags.iter().any(|own| own == flag)
    }

    fn is_well(&self) -> bool {
        !["fail", "fail?", "handshake", "noaddr"].iter().any(|flag| self.has(flag))
    }

    fn serves(&self, slot: u16) -> bool {
        self.ranges.iter().any(|range| range.contains(&slot))
    }

    fn slots(&self) -> usize {
        self.ranges.iter().map(ExactSizeIterator::len).sum()
    }
}

/// The Cluster as one node sees it.
async fn view(node: &Redis) -> Result<Vec<Member>> {
    let text: String = node.command(&["CLUSTER", "NODES"]).await?;
    text.lines().map(|line| Member::parse(line).with_context(|| format!("not a Cluster node: {line}"))).collect()
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::super::Version;
    use super::*;
    use crate::certificates::Certificates;

    async fn fails_over(version: Version) {
        let started = Instant::now();
        let mut cluster = Cluster::start(RedisLaunch::new(version).password("secret")).await.unwrap();
        eprintln!("{version:?}: started in {:?}", started.elapsed());
        let first = cluster.primary_of("key").await.unwrap();
        first.command::<()>(&["SET", "key", "value"]).await.unwrap();
        first.command::<i64>(&["WAIT", "1", "5000"]).await.unwrap();

        let killed = Instant::now();
        let old = cluster.kill_primary_of("key").await.unwrap();
        cluster.wait_until_ok().await.unwrap();
        eprintln!("{version:?}: failed over in {:?}", killed.elapsed());
        let new = cluster.primary_of("key").await.unwrap();
        assert_ne!(new.address(), old);
        assert_eq!(new.command::<String>(&["GET", "key"]).await.unwrap(), "value");
    }

    #[tokio::test]
    async fn a_killed_primary_is_replaced_in_redis_7() {
        fails_over(Version::V7).await;
    }

    #[tokio::test]
    async fn a_killed_primary_is_replaced_in_redis_8() {
        fails_over(Version::V8).await;
    }

    #[tokio::test]
    async fn nodes_may_speak_tls() {
        let certificates = Certificates::generate().unwrap();
        let cluster = Cluster::start(RedisLaunch::new(Version::V7).tls(&certificates)).await.unwrap();
        assert!(cluster.urls().iter().all(|url| url.starts_with("rediss://")));
    }

    #[test]
    fn a_node_on_the_move_is_read() {
        let line = "07c3 127.0.0.1:30004@31004,host myself,master - 0 1426238317239 4 connected 0-9 12 [11->-67ed]";
        let member = Member::parse(line).unwrap();
        assert_eq!((member.port, member.slots()), (30004, 11));
        assert!(member.serves(12) && !member.serves(11) && member.is_well());
    }
}
