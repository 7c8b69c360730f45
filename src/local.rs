//! Gateway and runner in one process: the same gRPC service, over an in-memory transport.

use std::{convert::Infallible, io};

use hyper_util::rt::TokioIo;
use streamfleet_cluster::Member;
use streamfleet_gateway::{CONNECTION_WINDOW, Connector, STREAM_WINDOW};
use streamfleet_runner::RunnerService;
use tokio::{
    io::{DuplexStream, duplex},
    sync::mpsc,
};
use tokio_stream::{StreamExt as _, wrappers::ReceiverStream};
use tokio_util::sync::CancellationToken;
use tonic::transport::{Channel, Endpoint, Server, Uri};
use tower::service_fn;

/// Connections made and not yet taken by the runner. The one gateway here makes one.
const PENDING_CONNECTIONS: usize = 16;
/// Bytes on their way in each direction of a connection.
const PIPE_BYTES: usize = 256 * 1024;

/// Connects the gateway to the runner in the same process.
pub(crate) struct LocalConnector {
    connections: mpsc::Sender<DuplexStream>,
}

/// A connector, and the runner's end of it.
pub(crate) fn transport() -> (LocalConnector, mpsc::Receiver<DuplexStream>) {
    let (connections, incoming) = mpsc::channel(PENDING_CONNECTIONS);
    (LocalConnector { connections }, incoming)
}

impl Connector for LocalConnector {
    fn connect(&self, _member: &Member) -> Option<Channel> {
        let connections = self.connections.clone();
        let connect = move |_: Uri| {
            let (ours, theirs) = duplex(PIPE_BYTES);
            let sent = connections.try_send(theirs);
            let connected = sent.map(|()| TokioIo::new(ours));
            std::future::ready(connected.map_err(|_| io::Error::other("the runner has stopped")))
        };
        let endpoint = Endpoint::from_static("http://runner.local")
            .initial_stream_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW);
        Some(endpoint.connect_with_connector_lazy(service_fn(connect)))
    }
}

/// Serves the runner's end until cancelled.
pub(crate) async fn serve(
    service: RunnerService,
    incoming: mpsc::Receiver<DuplexStream>,
    stop: CancellationToken,
) -> Result<(), tonic::transport::Error> {
    let incoming = ReceiverStream::new(incoming).map(Ok::<_, Infallible>);
    Server::builder()
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .add_routes(service.into_routes())
        .serve_with_incoming_shutdown(incoming, stop.cancelled_owned())
        .await
}
