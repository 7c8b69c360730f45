//! The stores that the tests run on.

use std::sync::Arc;
use std::time::Duration;

use streamfleet_cluster::{
    Load, Member, MemoryRegistry, RedisOptions, RedisRegistry, Registry, RegistryError, RunnerPhase,
};
use streamfleet_testkit::redis::{Cluster, Redis, RedisLaunch, Version};

/// How long anything may take to happen.
pub const LIMIT: Duration = Duration::from_secs(30);

/// A store with nothing in it.
pub enum Store {
    Memory(Arc<MemoryRegistry>),
    Redis(Box<Redis>),
    Cluster(Cluster),
}

impl Store {
    pub fn memory() -> Self {
        Self::Memory(Arc::default())
    }

    pub async fn redis(version: Version) -> Self {
        Self::Redis(Box::new(RedisLaunch::new(version).start().await.unwrap()))
    }

    pub async fn cluster(version: Version) -> Self {
        Self::Cluster(Cluster::start(RedisLaunch::new(version)).await.unwrap())
    }

    /// A way to the store of its own, as another process would have, under a name that keeps cases apart.
    pub async fn handle(&self, case: &str) -> Arc<dyn Registry> {
        match self {
            Self::Memory(registry) => Arc::clone(registry) as Arc<dyn Registry>,
            Self::Redis(redis) => connect(&redis.url(), case).await.unwrap(),
            Self::Cluster(cluster) => connect(&cluster_url(cluster), case).await.unwrap(),
        }
    }
}

/// The address of a cluster by all its nodes.
pub fn cluster_url(cluster: &Cluster) -> String {
    let nodes: Vec<_> = cluster.addresses().iter().map(ToString::to_string).collect();
    format!("redis-cluster://{}", nodes.join(","))
}

/// Connects to the Redis at this address.
pub async fn connect(url: &str, case: &str) -> Result<Arc<dyn Registry>, RegistryError> {
    connect_with(url, case, None).await
}

/// The same, trusting certificates of this authority.
pub async fn connect_with(url: &str, case: &str, ca: Option<&str>) -> Result<Arc<dyn Registry>, RegistryError> {
    let ca = ca.map(|pem| pem.as_bytes().to_vec());
    let options = RedisOptions::new(url.parse().unwrap(), ca, case);
    Ok(Arc::new(RedisRegistry::connect(options).await?))
}

/// A runner as it may announce itself.
pub fn member(name: &str, sessions: u32) -> Member {
    Member {
        runner: name.parse().unwrap(),
        address: format!("{name}:1"),
        revision: "a".to_owned(),
        phase: RunnerPhase::Ready,
        load: Load { workers: 2, sessions, ..Load::default() },
    }
}
