//! Connections to Redis, for whatever is kept there.

mod address;
mod connect;
mod follow;
mod link;
mod script;

use std::time::Duration;

use streamfleet_telemetry::RedisMetrics;

pub use self::{
    address::{AddressError, RedisAddress},
    link::LinkError,
};
pub(crate) use self::{
    connect::{Connection, Connector, Limits},
    follow::{Follower, follow},
    link::Link,
    script::{run, script_call},
};

/// Where Redis is.
#[derive(Debug, Clone)]
pub struct RedisOptions {
    /// The server or servers.
    pub address: RedisAddress,
    /// PEM text of the certificates to trust with TLS; `None` for those that the system trusts.
    pub ca: Option<Vec<u8>>,
    /// Tells several clusters in one Redis apart.
    pub cluster: String,
    /// Where it is counted how long operations take.
    pub metrics: RedisMetrics,
}

impl RedisOptions {
    /// Without counting.
    pub fn new(address: RedisAddress, ca: Option<Vec<u8>>, cluster: &str) -> Self {
        Self { address, ca, cluster: cluster.to_owned(), metrics: RedisMetrics::unregistered() }
    }

    /// What all keys and channels of the cluster begin with.
    pub(crate) fn prefix(&self) -> String {
        format!("streamfleet:{}:", self.cluster)
    }
}

/// A duration as Redis takes it.
pub(crate) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
