//! A TCP load balancer that does as little as one can: each connection to the next server in turn, nothing remembered.

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use crate::tcp::{CONNECT_LIMIT, accept, listen, reset};

/// A running balancer. Dropping it ends it and all connections through it.
#[derive(Debug)]
pub struct Balancer {
    address: SocketAddr,
    backends: Arc<Mutex<Backends>>,
    _tasks: JoinSet<()>,
}

/// The servers, and whose turn it is.
#[derive(Debug)]
struct Backends {
    addresses: Vec<SocketAddr>,
    turn: usize,
}

impl Backends {
    /// All servers, in the order in which the next connection tries them.
    fn in_turn(&mut self) -> Vec<SocketAddr> {
        let mut order = self.addresses.clone();
        if !order.is_empty() {
            order.rotate_left(self.turn % self.addresses.len());
        }
        self.turn = self.turn.wrapping_add(1);
        order
    }
}

impl Balancer {
    /// Starts one before these servers, on a port of 127.0.0.1 that the system picks.
    pub async fn start(backends: Vec<SocketAddr>) -> io::Result<Self> {
        let listener = listen().await?;
        let address = listener.local_addr()?;
        let backends = Arc::new(Mutex::new(Backends { addresses: backends, turn: 0 }));
        let mut tasks = JoinSet::new();
        tasks.spawn(serve(listener, Arc::clone(&backends)));
        Ok(Self { address, backends, _tasks: tasks })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Sends new connections to these servers; those that there are stay where they are.
    pub fn set_backends(&self, backends: Vec<SocketAddr>) {
        self.backends.lock().unwrap_or_else(PoisonError::into_inner).addresses = backends;
    }
}

async fn serve(listener: TcpListener, backends: Arc<Mutex<Backends>>) {
    // Ends with this task, and so does every connection.
    let mut connections = JoinSet::new();
    while let Ok(client) = accept(&listener).await {
        while connections.try_join_next().is_some() {}
        let order = backends.lock().unwrap_or_else(PoisonError::into_inner).in_turn();
        connections.spawn(connection(client, order));
    }
}

async fn connection(mut client: TcpStream, order: Vec<SocketAddr>) {
    let Some(mut server) = connect(&order).await else { return reset(client) };
    // Passes on the end of either direction. A reset ends the copying, and is passed on to the other side.
    if tokio::io::copy_bidirectional(&mut client, &mut server).await.is_err() {
        reset(client);
        reset(server);
    }
}

async fn connect(order: &[SocketAddr]) -> Option<TcpStream> {
    for address in order {
        if let Ok(Ok(stream)) = tokio::time::timeout(CONNECT_LIMIT, TcpStream::connect(address)).await
            && stream.set_nodelay(true).is_ok()
        {
            return Some(stream);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    /// Says its name to whoever connects, and then echoes until the end of what comes.
    async fn named(name: &'static str) -> (SocketAddr, JoinSet<()>) {
        let listener = listen().await.unwrap();
        let address = listener.local_addr().unwrap();
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let mut connections = JoinSet::new();
            loop {
                let mut stream = accept(&listener).await.unwrap();
                connections.spawn(async move {
                    stream.write_all(name.as_bytes()).await.unwrap();
                    let (mut read, mut write) = stream.split();
                    let _ = tokio::io::copy(&mut read, &mut write).await;
                    let _ = write.shutdown().await;
                });
            }
        });
        (address, tasks)
    }

    /// Connects, sends something, ends its own side and reads until the server ends the other.
    async fn visit(balancer: &Balancer) -> String {
        let mut stream = TcpStream::connect(balancer.address()).await.unwrap();
        stream.write_all(b" hears").await.unwrap();
        stream.shutdown().await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    }

    #[tokio::test]
    async fn servers_take_turns_and_half_closed_connections_go_on() {
        let ((a, _a), (b, _b), (c, _c)) = (named("a").await, named("b").await, named("c").await);
        let balancer = Balancer::start(vec![a, b]).await.unwrap();
        let mut answers = Vec::new();
        for _ in 0..4 {
            answers.push(visit(&balancer).await);
        }
        assert_eq!(answers, ["a hears", "b hears", "a hears", "b hears"]);
        balancer.set_backends(vec![c]);
        assert_eq!(visit(&balancer).await, "c hears");
    }

    #[tokio::test]
    async fn a_server_that_is_gone_is_passed_over() {
        let gone = listen().await.unwrap().local_addr().unwrap();
        let (there, _there) = named("there").await;
        let balancer = Balancer::start(vec![gone, there]).await.unwrap();
        for _ in 0..3 {
            assert_eq!(visit(&balancer).await, "there hears");
        }
    }

    #[tokio::test]
    async fn resets_are_passed_on_both_ways() {
        let listener = listen().await.unwrap();
        let balancer = Balancer::start(vec![listener.local_addr().unwrap()]).await.unwrap();

        let mut client = TcpStream::connect(balancer.address()).await.unwrap();
        reset(accept(&listener).await.unwrap());
        let error = client.read(&mut [0]).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);

        let client = TcpStream::connect(balancer.address()).await.unwrap();
        let mut server = accept(&listener).await.unwrap();
        reset(client);
        let error = server.read(&mut [0]).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
    }

    #[tokio::test]
    async fn with_no_server_at_all_connections_are_reset() {
        let gone = listen().await.unwrap().local_addr().unwrap();
        for backends in [vec![], vec![gone]] {
            let balancer = Balancer::start(backends).await.unwrap();
            let mut client = TcpStream::connect(balancer.address()).await.unwrap();
            let error = client.read(&mut [0]).await.unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
        }
    }
}
