//! Connections of gateways, as a runner takes them.

use std::{io, sync::Arc, time::Duration};

use futures_util::{Stream, stream};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{Semaphore, mpsc},
    time::sleep,
};
use tokio_rustls::server::TlsStream;
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use super::Peers;

/// Handshakes that go on at once, and connections that wait to be served.
const MOST: usize = 64;
/// Pause after a failed accept, as when the process is out of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

impl Peers {
    /// The connections of those that are let in, until cancelled.
    pub fn incoming(
        self: Arc<Self>,
        listener: TcpListener,
        stop: CancellationToken,
    ) -> impl Stream<Item = io::Result<TlsStream<TcpStream>>> + Send {
        let (accepted, connections) = mpsc::channel(MOST);
        tokio::spawn(async move { stop.run_until_cancelled(self.accept_all(listener, accepted)).await });
        stream::unfold(connections, |mut connections| async { Some((Ok(connections.recv().await?), connections)) })
    }

    async fn accept_all(self: Arc<Self>, listener: TcpListener, accepted: mpsc::Sender<TlsStream<TcpStream>>) {
        let shares = Arc::new(Semaphore::new(MOST));
        // Never closed.
        while let Ok(share) = Arc::clone(&shares).acquire_owned().await {
            let (stream, address) = match listener.accept().await {
                Ok(connection) => connection,
                Err(error) => {
                    warn!("cannot accept a connection: {error}");
                    sleep(ACCEPT_PAUSE).await;
                    continue;
                }
            };
            let (peers, accepted) = (Arc::clone(&self), accepted.clone());
            tokio::spawn(async move {
                let _share = share;
                // Clicks are small and their answers are awaited.
                if let Err(error) = stream.set_nodelay(true) {
                    debug!(%address, "gone already: {error}");
                    return;
                }
                match peers.accept(stream).await {
                    // The server may have ended.
                    Ok(stream) => drop(accepted.send(stream).await),
                    Err(error) => warn!(%address, "not let in: {error}"),
                }
            });
        }
    }
}
