//! TLS towards browsers.

use std::{path::PathBuf, sync::Arc};

use arc_swap::ArcSwap;
use rustls::ServerConfig;
use tokio::{
    net::TcpStream,
    time::{interval, timeout},
};
use tokio_rustls::{TlsAcceptor, server::TlsStream};
use tokio_util::sync::CancellationToken;

use super::{
    HANDSHAKE_LIMIT, HandshakeError, RELOAD_INTERVAL, TlsError,
    files::{Content, Watched, provider},
};

/// PEM files of a public server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublicFiles {
    /// Its certificate, and those between it and an authority that browsers know.
    pub certificate: PathBuf,
    /// Its private key.
    pub key: PathBuf,
}

/// What browsers are shown: HTTP/2 and HTTP/1.1 over TLS 1.2 and 1.3.
pub struct PublicTls {
    files: Watched<2>,
    current: ArcSwap<ServerConfig>,
}

impl PublicTls {
    /// Reads the files.
    pub fn load(files: PublicFiles) -> Result<Arc<Self>, TlsError> {
        let (files, contents) = Watched::read([files.certificate, files.key])?;
        Ok(Arc::new(Self { files, current: ArcSwap::new(config(&contents)?) }))
    }

    /// Reads the files again every few seconds until cancelled.
    pub async fn keep_fresh(self: Arc<Self>, stop: CancellationToken) {
        let mut ticks = interval(RELOAD_INTERVAL);
        while stop.run_until_cancelled(ticks.tick()).await.is_some() {
            self.files.reread("the certificate for browsers", |contents| {
                self.current.store(config(contents)?);
                Ok(())
            });
        }
    }

    /// Lets a browser in.
    pub async fn accept(&self, stream: TcpStream) -> Result<TlsStream<TcpStream>, HandshakeError> {
        let acceptor = TlsAcceptor::from(self.current.load_full());
        Ok(timeout(HANDSHAKE_LIMIT, acceptor.accept(stream)).await.map_err(|_| HandshakeError::Timeout)??)
    }
}

impl std::fmt::Debug for PublicTls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("PublicTls")
    }
}

fn config([certificate, key]: &[Content; 2]) -> Result<Arc<ServerConfig>, TlsError> {
    let unusable = |error: rustls::Error| certificate.unusable(&error);
    let config = ServerConfig::builder_with_provider(provider()).with_safe_default_protocol_versions();
    let config = config.map_err(unusable)?.with_no_client_auth();
    let mut config = config.with_single_cert(certificate.certificates()?, key.key()?).map_err(unusable)?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}
