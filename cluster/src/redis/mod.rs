//! Connections to Redis, for whatever is kept there.

mod address;
mod connect;
mod link;

use std::time::Duration;

pub use self::{
    address::{AddressError, RedisAddress},
    link::LinkError,
};
pub(crate) use self::{
    connect::{Connection, Connector, Limits},
    link::Link,
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
}

impl RedisOptions {
    /// What all keys and channels of the cluster begin with.
    pub(crate) fn prefix(&self) -> String {
        format!("streamfleet:{}:", self.cluster)
    }
}

/// A duration as Redis takes it.
pub(crate) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
