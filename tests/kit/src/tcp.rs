//! What the two TCP proxies have in common.

use std::io;
use std::time::Duration;

use socket2::SockRef;
use tokio::net::{TcpListener, TcpStream};

/// How long a proxy tries to reach the server behind it.
pub(crate) const CONNECT_LIMIT: Duration = Duration::from_secs(1);

/// Listens on a port that the system picks.
pub(crate) async fn listen() -> io::Result<TcpListener> {
    TcpListener::bind(("127.0.0.1", 0)).await
}

/// Closes a connection with a reset, whatever is still to be sent.
pub(crate) fn reset(stream: TcpStream) {
    // Fails only where the connection is gone already.
    let _ = SockRef::from(&stream).set_linger(Some(Duration::ZERO));
    drop(stream);
}

/// The next connection. A connection that ended before it was taken is not an error of the listener.
pub(crate) async fn accept(listener: &TcpListener) -> io::Result<TcpStream> {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                stream.set_nodelay(true)?;
                return Ok(stream);
            }
            Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
            Err(error) => return Err(error),
        }
    }
}
