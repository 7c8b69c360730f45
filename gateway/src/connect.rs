//! Connections to runners on other machines.

use std::time::Duration;

use streamfleet_cluster::Member;
use tonic::transport::{Channel, Endpoint};
use tracing::warn;

/// How long a connection may take to be made.
const CONNECT_LIMIT: Duration = Duration::from_secs(1);
/// How often a runner is asked whether it is still there, and how long it may take to say so: together less than a lease,
/// so that whoever waits for it knows that it is gone by the time it may be replaced.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(1);
const KEEPALIVE_LIMIT: Duration = Duration::from_secs(3);
/// What one stream may have on its way unread, in bytes: this times the slow browsers is what
/// they cost in memory.
pub const STREAM_WINDOW: u32 = 512 * 1024;
/// What all streams of a connection may have together: no limit, lest slow ones starve others.
pub const CONNECTION_WINDOW: u32 = (1 << 31) - 1;

/// Makes connections to runners.
pub trait Connector: Send + Sync + 'static {
    /// A channel to this runner, which connects when it is first used. `None` if its address is none.
    fn connect(&self, member: &Member) -> Option<Channel>;
}

/// Connects to runners by the addresses that they announce.
#[derive(Debug, Clone, Copy, Default)]
pub struct TcpConnector;

impl Connector for TcpConnector {
    fn connect(&self, member: &Member) -> Option<Channel> {
        match Endpoint::from_shared(format!("http://{}", member.address)) {
            Ok(endpoint) => Some(configure(endpoint).connect_lazy()),
            Err(error) => {
                warn!(runner = %member.runner, address = member.address, "its address is none: {error}");
                None
            }
        }
    }
}

fn configure(endpoint: Endpoint) -> Endpoint {
    endpoint
        .connect_timeout(CONNECT_LIMIT)
        .tcp_nodelay(true)
        .http2_keep_alive_interval(KEEPALIVE_INTERVAL)
        .keep_alive_timeout(KEEPALIVE_LIMIT)
        .keep_alive_while_idle(true)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
}
