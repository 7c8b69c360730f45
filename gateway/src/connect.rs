//! Ways to runners: connections to other machines, and the short way to the one in the same process.

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use http::{Request, Response, Uri};
use hyper_util::rt::TokioIo;
use streamfleet_cluster::{Member, Peers};
use tokio::{net::TcpStream, time::timeout};
use tonic::{Status, body::Body, transport::Endpoint};
use tower::{BoxError, Service, ServiceExt as _, service_fn, util::BoxCloneSyncService};
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

/// Finds ways to runners.
pub trait Connector: Send + Sync + 'static {
    /// A way to this runner, which connects when it is first used. `None` if its address is none.
    fn connect(&self, member: &Member) -> Option<Way>;
}

/// What carries gRPC to a runner: a connection, or its service itself where that is in the same process. Then what a message takes is
/// written and read once, and neither cut into frames nor handed to another task.
pub type Way = BoxCloneSyncService<Request<Body>, Response<Body>, Status>;

/// The way by a connection or a service.
pub fn way<S>(service: S) -> Way
where
    S: Service<Request<Body>, Response = Response<Body>, Error: Into<BoxError>, Future: Send + 'static>
        + Clone
        + Send
        + Sync
        + 'static,
{
    Way::new(service.map_err(|error| Status::from_error(error.into())))
}

/// Connects to runners by the addresses that they announce.
#[derive(Debug, Clone, Default)]
pub struct TcpConnector {
    /// What both sides show; without it nothing is encrypted.
    pub peers: Option<Arc<Peers>>,
    /// Whether that may be so beyond this machine.
    pub allow_plaintext: bool,
}

impl Connector for TcpConnector {
    fn connect(&self, member: &Member) -> Option<Way> {
        // Also where it is encrypted: the library's own TLS can't change its certificates.
        let endpoint = match Endpoint::from_shared(format!("http://{}", member.address)) {
            Ok(endpoint) => configure(endpoint),
            Err(error) => {
                warn!(runner = %member.runner, address = member.address, "its address is none: {error}");
                return None;
            }
        };
        let Some(peers) = &self.peers else {
            if self.allow_plaintext || is_loopback(&member.address) {
                return Some(way(endpoint.connect_lazy()));
            }
            warn!(
                runner = %member.runner,
                address = member.address,
                "not connecting without encryption: set peer_cert_file, peer_key_file and peer_ca_file, or allow_plaintext"
            );
            return None;
        };
        let (peers, member) = (Arc::clone(peers), member.clone());
        let connect = move |_: Uri| {
            let (peers, member) = (Arc::clone(&peers), member.clone());
            async move {
                let connecting = async {
                    let stream = TcpStream::connect(&member.address).await?;
                    stream.set_nodelay(true)?;
                    Ok(TokioIo::new(peers.connect(stream).await?))
                };
                let connected = timeout(CONNECT_LIMIT, connecting).await;
                let connected = connected.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()));
                connected.inspect_err(|error: &io::Error| {
                    if error.kind() == io::ErrorKind::InvalidData {
                        warn!(runner = %member.runner, address = member.address, "not believed: {error}");
                    }
                })
            }
        };
        Some(way(endpoint.connect_with_connector_lazy(service_fn(connect))))
    }
}

/// Whether what is sent there stays on this machine.
fn is_loopback(address: &str) -> bool {
    match address.parse::<SocketAddr>() {
        Ok(address) => address.ip().is_loopback(),
        Err(_) => address.rsplit_once(':').is_some_and(|(host, _)| host.eq_ignore_ascii_case("localhost")),
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_is_told_from_elsewhere() {
        for address in ["127.0.0.1:1", "127.3.2.1:1", "[::1]:1", "localhost:8601", "LocalHost:1"] {
            assert!(is_loopback(address), "{address}");
        }
        for address in ["10.0.0.1:1", "0.0.0.0:1", "[2001:db8::1]:1", "localhost.example:1", "runner-1:8601", ""] {
            assert!(!is_loopback(address), "{address}");
        }
    }
}
