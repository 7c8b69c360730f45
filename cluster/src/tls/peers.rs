//! mTLS between gateways and runners.

use std::{path::PathBuf, sync::Arc};

use arc_swap::ArcSwap;
use rustls::{
    ClientConfig, ServerConfig,
    client::verify_server_name,
    pki_types::ServerName,
    server::{ParsedCertificate, WebPkiClientVerifier},
};
use tokio::{
    net::TcpStream,
    time::{interval, timeout},
};
use tokio_rustls::{TlsAcceptor, TlsConnector, client, server};
use tokio_util::sync::CancellationToken;

use super::{
    HANDSHAKE_LIMIT, HandshakeError, RELOAD_INTERVAL, TlsError,
    files::{Content, Watched, provider},
};

/// The name in the certificates of gateways, and of operators, who ask runners what gateways ask.
pub const GATEWAY_NAME: &str = "gateway.streamfleet.internal";
/// The name in the certificates of runners.
pub const RUNNER_NAME: &str = "runner.streamfleet.internal";
/// What is spoken inside.
const PROTOCOL: &[u8] = b"h2";

/// PEM files of one side.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeerFiles {
    /// Its certificate, and those between it and the authority.
    pub certificate: PathBuf,
    /// Its private key.
    pub key: PathBuf,
    /// The authorities whose certificates the other side may show. More than one while they are rotated.
    pub authority: PathBuf,
}

/// One side of mTLS.
pub struct Peers {
    files: Watched<3>,
    current: ArcSwap<Configs>,
}

struct Configs {
    server: Arc<ServerConfig>,
    client: Arc<ClientConfig>,
}

impl Configs {
    fn new([certificate, key, authority]: &[Content; 3]) -> Result<Self, TlsError> {
        let (chain, roots) = (certificate.certificates()?, Arc::new(authority.roots()?));
        let verifier = WebPkiClientVerifier::builder_with_provider(Arc::clone(&roots), provider()).build();
        let verifier = verifier.map_err(|error| authority.unusable(&error))?;
        let unusable = |error: rustls::Error| certificate.unusable(&error);
        let server = ServerConfig::builder_with_provider(provider()).with_safe_default_protocol_versions();
        let server = server.map_err(unusable)?.with_client_cert_verifier(verifier);
        let mut server = server.with_single_cert(chain.clone(), key.key()?).map_err(unusable)?;
        server.alpn_protocols = vec![PROTOCOL.to_vec()];
        let client = ClientConfig::builder_with_provider(provider()).with_safe_default_protocol_versions();
        let client = client.map_err(unusable)?.with_root_certificates(roots);
        let mut client = client.with_client_auth_cert(chain, key.key()?).map_err(unusable)?;
        client.alpn_protocols = vec![PROTOCOL.to_vec()];
        Ok(Self { server: Arc::new(server), client: Arc::new(client) })
    }
}

impl Peers {
    /// Reads the files.
    pub fn load(files: PeerFiles) -> Result<Arc<Self>, TlsError> {
        let PeerFiles { certificate, key, authority } = files;
        let (files, contents) = Watched::read([certificate, key, authority])?;
        let current = ArcSwap::from_pointee(Configs::new(&contents)?);
        Ok(Arc::new(Self { files, current }))
    }

    /// Reads the files again every few seconds until cancelled.
    pub async fn keep_fresh(self: Arc<Self>, stop: CancellationToken) {
        let mut ticks = interval(RELOAD_INTERVAL);
        while stop.run_until_cancelled(ticks.tick()).await.is_some() {
            self.reload();
        }
    }

    fn reload(&self) {
        self.files.reread("the certificate for the cluster's inside", |contents| {
            self.current.store(Arc::new(Configs::new(contents)?));
            Ok(())
        });
    }

    /// Lets a gateway in. Anybody else is an error.
    pub async fn accept(&self, stream: TcpStream) -> Result<server::TlsStream<TcpStream>, HandshakeError> {
        let acceptor = TlsAcceptor::from(Arc::clone(&self.current.load().server));
        let stream = timeout(HANDSHAKE_LIMIT, acceptor.accept(stream)).await.map_err(|_| HandshakeError::Timeout)??;
        let shown = stream.get_ref().1.peer_certificates().and_then(<[_]>::first);
        let is_gateways = shown.is_some_and(|certificate| {
            ParsedCertificate::try_from(certificate)
                .is_ok_and(|certificate| verify_server_name(&certificate, &name(GATEWAY_NAME)).is_ok())
        });
        if is_gateways { Ok(stream) } else { Err(HandshakeError::WrongName { expected: GATEWAY_NAME }) }
    }

    /// Makes sure that a runner is at the other end, and shows what we are.
    pub async fn connect(&self, stream: TcpStream) -> Result<client::TlsStream<TcpStream>, HandshakeError> {
        let connector = TlsConnector::from(Arc::clone(&self.current.load().client));
        let connecting = connector.connect(name(RUNNER_NAME), stream);
        Ok(timeout(HANDSHAKE_LIMIT, connecting).await.map_err(|_| HandshakeError::Timeout)??)
    }
}

impl std::fmt::Debug for Peers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Peers")
    }
}

fn name(name: &'static str) -> ServerName<'static> {
    // Both are names.
    ServerName::try_from(name).unwrap_or_else(|_| unreachable!("{name} is a name"))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use streamfleet_testkit::certificates::{Authority, Validity};
    use tokio::{
        io::{AsyncReadExt as _, AsyncWriteExt as _},
        net::TcpListener,
    };

    use super::*;

    fn files(folder: &Path) -> PeerFiles {
        let [certificate, key, authority] = ["cert.pem", "key.pem", "ca.pem"].map(|name| folder.join(name));
        PeerFiles { certificate, key, authority }
    }

    /// One side, with a certificate for this name; the authority that it believes may be another.
    fn peer(folder: &Path, signed_by: &Authority, name: &str, validity: Validity, believes: &Authority) -> Arc<Peers> {
        signed_by.issue(&[name], validity).unwrap().write_to(folder).unwrap();
        std::fs::write(folder.join("ca.pem"), believes.pem()).unwrap();
        Peers::load(files(folder)).unwrap()
    }

    /// Has two sides meet. What each of them makes of it.
    async fn meet(gateway: &Peers, runner: &Peers) -> (Result<(), String>, Result<(), String>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let accepting = async {
            let (stream, _) = listener.accept().await.unwrap();
            let mut stream = runner.accept(stream).await.map_err(|error| error.to_string())?;
            stream.write_all(b"hello").await.map_err(|error| error.to_string())?;
            stream.shutdown().await.map_err(|error| error.to_string())
        };
        let connecting = async {
            let stream = TcpStream::connect(address).await.unwrap();
            let mut stream = gateway.connect(stream).await.map_err(|error| error.to_string())?;
            // With TLS 1.3 it is only now that one knows whether one was believed.
            let mut text = String::new();
            stream.read_to_string(&mut text).await.map_err(|error| error.to_string())?;
            if text == "hello" { Ok(()) } else { Err(format!("read {text:?}")) }
        };
        tokio::join!(connecting, accepting)
    }

    #[tokio::test]
    async fn only_a_gateway_and_a_runner_of_one_authority_speak() {
        let [ours, theirs] = [(); 2].map(|()| Authority::generate().unwrap());
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| {
            let path = folder.path().join(name);
            std::fs::create_dir_all(&path).unwrap();
            path
        };
        let gateway = peer(&path("gateway"), &ours, GATEWAY_NAME, Validity::Now, &ours);
        let runner = peer(&path("runner"), &ours, RUNNER_NAME, Validity::Now, &ours);
        let (there, here) = meet(&gateway, &runner).await;
        assert_eq!((there, here), (Ok(()), Ok(())));

        for (case, gateway) in [
            ("another authority", peer(&path("a"), &theirs, GATEWAY_NAME, Validity::Now, &ours)),
            ("expired", peer(&path("b"), &ours, GATEWAY_NAME, Validity::Past, &ours)),
            ("not yet", peer(&path("c"), &ours, GATEWAY_NAME, Validity::Future, &ours)),
            ("a runner's", peer(&path("d"), &ours, RUNNER_NAME, Validity::Now, &ours)),
        ] {
            let (there, here) = meet(&gateway, &runner).await;
            assert!(there.is_err() && here.is_err(), "{case}: {there:?} {here:?}");
        }
        for (case, runner) in [
            ("another authority", peer(&path("e"), &theirs, RUNNER_NAME, Validity::Now, &ours)),
            ("expired", peer(&path("f"), &ours, RUNNER_NAME, Validity::Past, &ours)),
            ("a gateway's", peer(&path("g"), &ours, GATEWAY_NAME, Validity::Now, &ours)),
        ] {
            let (there, here) = meet(&gateway, &runner).await;
            assert!(there.is_err() && here.is_err(), "{case}: {there:?} {here:?}");
        }
    }

    #[tokio::test]
    async fn who_shows_no_certificate_is_not_let_in() {
        let ours = Authority::generate().unwrap();
        let folder = tempfile::tempdir().unwrap();
        let runner = peer(folder.path(), &ours, RUNNER_NAME, Validity::Now, &ours);
        let roots = Content::read(&folder.path().join("ca.pem")).unwrap().roots().unwrap();
        let client = ClientConfig::builder_with_provider(provider()).with_safe_default_protocol_versions().unwrap();
        let client = client.with_root_certificates(roots).with_no_client_auth();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let connecting = async {
            let stream = TcpStream::connect(address).await.unwrap();
            let mut stream = TlsConnector::from(Arc::new(client)).connect(name(RUNNER_NAME), stream).await?;
            stream.read_u8().await
        };
        let accepting = async { runner.accept(listener.accept().await.unwrap().0).await.map(|_| ()) };
        let (there, here) = tokio::join!(connecting, accepting);
        assert!(there.is_err());
        assert!(matches!(here, Err(HandshakeError::Failed(_))), "{here:?}");
    }

    #[tokio::test]
    async fn files_are_read_again_and_what_is_wrong_with_them_changes_nothing() {
        let (old, new) = (Authority::generate().unwrap(), Authority::generate().unwrap());
        let folder = tempfile::tempdir().unwrap();
        let [ours, theirs] = ["ours", "theirs"].map(|name| folder.path().join(name));
        for path in [&ours, &theirs] {
            std::fs::create_dir_all(path).unwrap();
        }
        let gateway = peer(&ours, &old, GATEWAY_NAME, Validity::Now, &old);
        let runner = peer(&theirs, &old, RUNNER_NAME, Validity::Now, &old);

        std::fs::write(ours.join("key.pem"), "half a k").unwrap();
        gateway.reload();
        assert_eq!(meet(&gateway, &runner).await.0, Ok(()));

        // First both authorities are believed, then the new one's certificates are shown.
        for path in [&ours, &theirs] {
            std::fs::write(path.join("ca.pem"), format!("{}{}", old.pem(), new.pem())).unwrap();
        }
        let issued = new.issue(&[GATEWAY_NAME], Validity::Now).unwrap();
        std::fs::write(ours.join("cert.pem"), &issued.certificate).unwrap();
        // A certificate with another's key.
        gateway.reload();
        assert_eq!(meet(&gateway, &runner).await.0, Ok(()));
        std::fs::write(ours.join("key.pem"), &issued.key).unwrap();
        gateway.reload();
        assert!(meet(&gateway, &runner).await.0.is_err(), "the runner does not know of it yet");
        runner.reload();
        assert_eq!(meet(&gateway, &runner).await, (Ok(()), Ok(())));
    }

    #[test]
    fn what_cannot_be_used_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let ours = Authority::generate().unwrap();
        let load = || Peers::load(files(folder.path())).unwrap_err().to_string();
        assert!(load().contains("cert.pem"), "{}", load());
        ours.issue(&[GATEWAY_NAME], Validity::Now).unwrap().write_to(folder.path()).unwrap();
        std::fs::write(folder.path().join("ca.pem"), "nothing").unwrap();
        assert!(load().contains("ca.pem holds no certificate"), "{}", load());
        std::fs::write(folder.path().join("ca.pem"), ours.pem()).unwrap();
        std::fs::write(folder.path().join("key.pem"), ours.pem()).unwrap();
        assert!(load().contains("key.pem holds no private key"), "{}", load());
    }
}
