//! A way for clients that speak plain TCP to a server that wants TLS.

use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::{Context as _, Result};
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::copy_bidirectional;
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::tcp;

/// Trusts one authority, and offers protocols.
#[derive(Clone)]
pub struct TlsClient(TlsConnector);

impl TlsClient {
    /// Believes what this authority (PEM) has signed, and offers these protocols (ALPN).
    pub fn new(authority: &str, protocols: &[&str]) -> Result<Self> {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(authority.as_bytes()).context("the authority")?)?;
        let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()));
        let mut config =
            config.with_safe_default_protocol_versions()?.with_root_certificates(roots).with_no_client_auth();
        config.alpn_protocols = protocols.iter().map(|protocol| protocol.as_bytes().to_vec()).collect();
        Ok(Self(Arc::new(config).into()))
    }

    /// Connects, as to `localhost`.
    pub async fn connect(&self, server: SocketAddr) -> Result<TlsStream<TcpStream>> {
        let stream = TcpStream::connect(server).await?;
        stream.set_nodelay(true)?;
        Ok(self.0.connect(ServerName::try_from("localhost")?, stream).await?)
    }

    /// What the server chooses of the protocols.
    pub async fn protocol(&self, server: SocketAddr) -> Result<Option<String>> {
        let stream = self.connect(server).await?;
        Ok(stream.get_ref().1.alpn_protocol().map(|protocol| String::from_utf8_lossy(protocol).into_owned()))
    }
}

/// Takes plain connections on this machine, and carries them to a server over TLS. Ends when it is dropped.
pub struct TlsTunnel {
    address: SocketAddr,
    _tasks: JoinSet<()>,
}

impl TlsTunnel {
    /// Begins to listen.
    pub async fn start(client: TlsClient, server: SocketAddr) -> Result<Self> {
        let listener = tcp::listen().await?;
        let address = listener.local_addr()?;
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok(mut plain) = tcp::accept(&listener).await {
                let client = client.clone();
                connections.spawn(async move {
                    if let Ok(mut encrypted) = client.connect(server).await {
                        // Whichever side ends, the other sees it.
                        let _ = copy_bidirectional(&mut plain, &mut encrypted).await;
                    }
                });
            }
        });
        Ok(Self { address, _tasks: tasks })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}
