//! Connections to Redis in each of its forms.

use std::time::Duration;

use redis::{
    AsyncConnectionConfig, Client, Cmd, ConnectionAddr, ConnectionInfo, ErrorKind, IntoConnectionInfo as _, Pipeline,
    RedisConnectionInfo, RedisError, RedisFuture, RedisResult, TlsCertificates, TlsMode, Value,
    aio::{ConnectionLike, MultiplexedConnection, PubSub},
    cluster::ClusterClient,
    cluster_async::ClusterConnection,
    sentinel::{SentinelClient, SentinelClientBuilder, SentinelServerType},
};

use streamfleet_telemetry::RedisMetrics;

use super::{
    RedisOptions,
    address::{RedisAddress, Topology},
};

/// How long a connection may take to be made.
const CONNECT_LIMIT: Duration = Duration::from_secs(1);

/// How long things may take on a connection.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    /// One answer of a server.
    pub(crate) answer: Duration,
    /// An operation in all: a cluster's may be sent to three nodes in turn. Longer than one answer, so that the reason given is
    /// the server's.
    pub(crate) operation: Duration,
}

/// Makes connections to one Redis.
pub(crate) struct Connector {
    address: RedisAddress,
    certificates: Option<TlsCertificates>,
    pub(crate) limits: Limits,
    pub(super) metrics: RedisMetrics,
}

/// A connection that many use at once.
#[derive(Clone)]
pub(crate) enum Connection {
    Server(MultiplexedConnection),
    Cluster(ClusterConnection),
}

impl Connector {
    pub(crate) fn new(options: &RedisOptions, limits: Limits) -> Self {
        let RedisOptions { address, ca, metrics, .. } = options.clone();
        let certificates = ca.map(|root_cert| TlsCertificates { client_tls: None, root_cert: Some(root_cert) });
        Self { address, certificates, limits, metrics }
    }

    /// Connects, and finds out that the server answers.
    pub(crate) async fn connect(&self) -> RedisResult<Connection> {
        let mut connection = match &self.address.topology {
            Topology::Cluster => Connection::Cluster(self.cluster()?.get_async_connection().await?),
            Topology::Single | Topology::Sentinel { .. } => {
                let config = AsyncConnectionConfig::new()
                    .set_connection_timeout(Some(CONNECT_LIMIT))
                    .set_response_timeout(Some(self.limits.answer));
                let client = self.client().await?;
                Connection::Server(client.get_multiplexed_async_connection_with_config(&config).await?)
            }
        };
        redis::cmd("PING").query_async::<()>(&mut connection).await?;
        Ok(connection)
    }

    /// Connects for following what is published. In a cluster every node passes on what any of them is told.
    pub(crate) async fn follow(&self) -> RedisResult<PubSub> {
        if self.address.topology != Topology::Cluster {
            return self.client().await?.get_async_pubsub().await;
        }
        // Nodes that were named may have gone since.
        let mut outcome = Err(RedisError::from((ErrorKind::InvalidClientConfig, "no node is named")));
        for (host, port) in &self.address.hosts {
            outcome = self.open(self.info(host, *port)?)?.get_async_pubsub().await;
            if outcome.is_ok() {
                break;
            }
        }
        outcome
    }

    /// A client of the server that is the primary now.
    async fn client(&self) -> RedisResult<Client> {
        if let Topology::Sentinel { primary } = &self.address.topology {
            return self.sentinels(primary)?.async_get_client().await;
        }
        let (host, port) = self.address.first_host();
        self.open(self.info(host, port)?)
    }

    fn open(&self, info: ConnectionInfo) -> RedisResult<Client> {
        match self.certificates.clone().filter(|_| self.address.tls) {
            Some(certificates) => Client::build_with_tls(info, certificates),
            None => Client::open(info),
        }
    }

    fn sentinels(&self, primary: &str) -> RedisResult<SentinelClient> {
        // Sentinels are reached in the clear: few have TLS, and they are told nothing.
        let sentinels = self.address.hosts.iter().map(|(host, port)| ConnectionAddr::Tcp(host.clone(), *port));
        let mut builder = SentinelClientBuilder::new(sentinels, primary, SentinelServerType::Master)?
            .set_client_to_redis_db(self.address.database);
        if let Some(username) = &self.address.username {
            builder = builder.set_client_to_redis_username(username);
        }
        if let Some(password) = &self.address.password {
            builder = builder.set_client_to_redis_password(password);
        }
        if self.address.tls {
            builder = builder.set_client_to_redis_tls_mode(TlsMode::Secure);
            if let Some(certificates) = &self.certificates {
                builder = builder.set_client_to_redis_certificates(certificates.clone());
            }
        }
        builder.build()
    }

    fn cluster(&self) -> RedisResult<ClusterClient> {
        let nodes: Vec<_> =
            self.address.hosts.iter().map(|(host, port)| self.info(host, *port)).collect::<Result<_, _>>()?;
        let mut builder = ClusterClient::builder(nodes)
            .connection_timeout(CONNECT_LIMIT)
            .response_timeout(self.limits.answer)
            // Enough to follow a slot that has moved; an outage is for the caller to see.
            .retries(2);
        if let Some(certificates) = self.certificates.clone().filter(|_| self.address.tls) {
            builder = builder.certs(certificates);
        }
        builder.build()
    }

    fn info(&self, host: &str, port: u16) -> RedisResult<ConnectionInfo> {
        let host = host.to_owned();
        let address = if self.address.tls {
            ConnectionAddr::TcpTls { host, port, insecure: false, tls_params: None }
        } else {
            ConnectionAddr::Tcp(host, port)
        };
        let mut login = RedisConnectionInfo::default().set_db(self.address.database);
        if let Some(username) = &self.address.username {
            login = login.set_username(username);
        }
        if let Some(password) = &self.address.password {
            login = login.set_password(password);
        }
        Ok(address.into_connection_info()?.set_redis_settings(login))
    }
}

impl ConnectionLike for Connection {
    fn req_packed_command<'a>(&'a mut self, command: &'a Cmd) -> RedisFuture<'a, Value> {
        match self {
            Self::Server(connection) => connection.req_packed_command(command),
            Self::Cluster(connection) => connection.req_packed_command(command),
        }
    }

    fn req_packed_commands<'a>(
        &'a mut self,
        pipeline: &'a Pipeline,
        offset: usize,
        count: usize,
    ) -> RedisFuture<'a, Vec<Value>> {
        match self {
            Self::Server(connection) => connection.req_packed_commands(pipeline, offset, count),
            Self::Cluster(connection) => connection.req_packed_commands(pipeline, offset, count),
        }
    }

    fn get_db(&self) -> i64 {
        match self {
            Self::Server(connection) => connection.get_db(),
            Self::Cluster(connection) => connection.get_db(),
        }
    }
}
