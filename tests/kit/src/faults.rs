//! A TCP proxy that can be told to misbehave as networks do: to hold everything back, to reset connections, to be slow.
//!
//! Holding back means not reading, so what it holds is bounded by the buffers of sockets and by a queue of 1 MiB a
//! direction; when the network heals the bytes flow, as retransmission would make them.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use socket2::SockRef;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::tcp::{CONNECT_LIMIT, accept, listen, reset};

/// The most that is read at once.
const CHUNK: usize = 16 * 1024;
/// How many chunks may be under way in one direction while latency is simulated.
const QUEUE: usize = 64;

/// A running proxy. Dropping it ends it and all connections through it.
#[derive(Debug)]
pub struct FaultProxy {
    address: SocketAddr,
    network: watch::Sender<Network>,
    tasks: JoinSet<()>,
}

/// What the network is like now.
#[derive(Debug, Clone, Copy)]
struct Network {
    state: State,
    latency: Duration,
    /// Counts the times when all open connections were reset.
    resets: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Passing,
    Blackhole,
    Cut,
}

impl FaultProxy {
    /// Starts one before this server, on a port of 127.0.0.1 that the system picks.
    pub async fn start(target: SocketAddr) -> io::Result<Self> {
        let listener = listen().await?;
        let address = listener.local_addr()?;
        let (network, state) = watch::channel(Network { state: State::Passing, latency: Duration::ZERO, resets: 0 });
        let mut tasks = JoinSet::new();
        tasks.spawn(serve(listener, target, state));
        Ok(Self { address, network, tasks })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Lets everything through, also what was held back.
    pub fn pass(&self) {
        self.network.send_modify(|network| network.state = State::Passing);
    }

    /// The same as [`pass`](Self::pass): ends whatever fault there was.
    pub fn heal(&self) {
        self.pass();
    }

    /// Holds everything back. Connections stay open, and new ones can be made, but nothing flows on any of them.
    pub fn blackhole(&self) {
        self.network.send_modify(|network| network.state = State::Blackhole);
    }

    /// Resets all connections, and each new one as soon as it is made.
    pub fn cut(&self) {
        self.network.send_modify(|network| {
            network.state = State::Cut;
            network.resets += 1;
        });
    }

    /// Resets the connections that there are; new ones are served as before.
    pub fn reset_connections(&self) {
        self.network.send_modify(|network| network.resets += 1);
    }

    /// Ends all connections and refuses new ones, as the system does for a process that has ended.
    pub async fn close(&mut self) {
        self.tasks.shutdown().await;
    }

    /// Delays what is read from now on by this much in each direction.
    pub fn set_latency(&self, latency: Duration) {
        self.network.send_modify(|network| network.latency = latency);
    }
}

async fn serve(listener: TcpListener, target: SocketAddr, mut network: watch::Receiver<Network>) {
    // Ends with this task, and so does every connection.
    let mut connections = JoinSet::new();
    loop {
        // Meanwhile the kernel completes connections for as long as its queue has room.
        if network.wait_for(|network| network.state != State::Blackhole).await.is_err() {
            return;
        }
        let Ok(client) = accept(&listener).await else { return };
        while connections.try_join_next().is_some() {}
        connections.spawn(connection(client, target, network.clone()));
    }
}

async fn connection(mut client: TcpStream, target: SocketAddr, mut network: watch::Receiver<Network>) {
    let start = *network.borrow_and_update();
    if start.state == State::Cut {
        return reset(client);
    }
    let mut guard = network.clone();
    let mut reached = None;
    let ended_well = tokio::select! {
        // Either the proxy is gone, or all connections are to be.
        _ = guard.wait_for(|network| network.resets != start.resets) => false,
        done = relay(&mut client, &mut reached, target, &network) => done.is_ok(),
    };
    if !ended_well {
        reset(client);
        if let Some(server) = reached {
            reset(server);
        }
    }
}

/// Copies both ways until both have ended. The connection to the server is left to the caller, who may have to reset it.
async fn relay(
    client: &mut TcpStream,
    reached: &mut Option<TcpStream>,
    target: SocketAddr,
    network: &watch::Receiver<Network>,
) -> io::Result<()> {
    passing(&mut network.clone()).await?;
    let server = reached.insert(tokio::time::timeout(CONNECT_LIMIT, connect(target)).await??);
    server.set_nodelay(true)?;
    let ((from_client, to_client), (from_server, to_server)) = (client.split(), server.split());
    tokio::try_join!(pump(from_client, to_server, network), pump(from_server, to_client, network))?;
    Ok(())
}

/// Connects such that the server is reset, too, when this is abandoned just after it has accepted.
async fn connect(target: SocketAddr) -> io::Result<TcpStream> {
    let socket = if target.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    SockRef::from(&socket).set_linger(Some(Duration::ZERO))?;
    let stream = socket.connect(target).await?;
    SockRef::from(&stream).set_linger(None)?;
    Ok(stream)
}

/// Copies one way, through a queue in which each chunk waits until it is due.
async fn pump(from: ReadHalf<'_>, to: WriteHalf<'_>, network: &watch::Receiver<Network>) -> io::Result<()> {
    let (queue, queued) = mpsc::channel(QUEUE);
    tokio::try_join!(read(from, queue, network.clone()), write(to, queued, network.clone()))?;
    Ok(())
}

async fn read(
    mut from: ReadHalf<'_>,
    queue: mpsc::Sender<(Instant, Vec<u8>)>,
    mut network: watch::Receiver<Network>,
) -> io::Result<()> {
    loop {
        passing(&mut network).await?;
        // Room first, so that nothing is read that can't be kept.
        let Ok(room) = queue.reserve().await else { return Ok(()) };
        let mut chunk = vec![0; CHUNK];
        let length = tokio::select! {
            length = from.read(&mut chunk) => length?,
            held = held(&mut network) => { held?; continue }
        };
        if length == 0 {
            return Ok(());
        }
        chunk.truncate(length);
        let latency = network.borrow().latency;
        room.send((Instant::now() + latency, chunk));
    }
}

async fn write(
    mut to: WriteHalf<'_>,
    mut queue: mpsc::Receiver<(Instant, Vec<u8>)>,
    mut network: watch::Receiver<Network>,
) -> io::Result<()> {
    while let Some((due, chunk)) = queue.recv().await {
        tokio::time::sleep_until(due).await;
        let mut rest = chunk.as_slice();
        while !rest.is_empty() {
            passing(&mut network).await?;
            tokio::select! {
                written = to.write(rest) => rest = &rest[written?..],
                held = held(&mut network) => held?,
            }
        }
    }
    passing(&mut network).await?;
    to.shutdown().await
}

/// Waits while everything is held back.
async fn passing(network: &mut watch::Receiver<Network>) -> io::Result<()> {
    wait_for(network, |state| state != State::Blackhole).await
}

/// Waits until everything is held back.
async fn held(network: &mut watch::Receiver<Network>) -> io::Result<()> {
    wait_for(network, |state| state == State::Blackhole).await
}

/// Fails when the proxy is gone.
async fn wait_for(network: &mut watch::Receiver<Network>, is: impl Fn(State) -> bool) -> io::Result<()> {
    network.wait_for(|network| is(network.state)).await.map(|_| ()).map_err(io::Error::other)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How long nothing has to happen to count as nothing.
    const QUIET: Duration = Duration::from_millis(150);

    /// A proxy, its target, and a connection through it: the client's end and the server's.
    async fn connected() -> (FaultProxy, TcpListener, TcpStream, TcpStream) {
        let listener = listen().await.unwrap();
        let proxy = FaultProxy::start(listener.local_addr().unwrap()).await.unwrap();
        let (client, server) = visit(&proxy, &listener).await;
        (proxy, listener, client, server)
    }

    async fn visit(proxy: &FaultProxy, listener: &TcpListener) -> (TcpStream, TcpStream) {
        let client = TcpStream::connect(proxy.address()).await.unwrap();
        (client, accept(listener).await.unwrap())
    }

    async fn passes(from: &mut TcpStream, to: &mut TcpStream) {
        from.write_all(b"ping").await.unwrap();
        receives(to).await;
    }

    async fn receives(to: &mut TcpStream) {
        let mut received = [0; 4];
        to.read_exact(&mut received).await.unwrap();
        assert_eq!(&received, b"ping");
    }

    async fn stays_silent(stream: &mut TcpStream) {
        tokio::time::timeout(QUIET, stream.read(&mut [0])).await.expect_err("something came, or the connection ended");
    }

    async fn is_reset(stream: &mut TcpStream) {
        assert_eq!(stream.read(&mut [0]).await.unwrap_err().kind(), io::ErrorKind::ConnectionReset);
    }

    #[tokio::test]
    async fn passes_bytes_and_ends_both_ways() {
        let (_proxy, _listener, mut client, mut server) = connected().await;
        passes(&mut client, &mut server).await;
        passes(&mut server, &mut client).await;
        client.shutdown().await.unwrap();
        assert_eq!(server.read(&mut [0]).await.unwrap(), 0);
        passes(&mut server, &mut client).await;
        drop(server);
        assert_eq!(client.read(&mut [0]).await.unwrap(), 0);
    }

    #[tokio::test]
    async fn a_reset_is_passed_on() {
        let (proxy, listener, client, mut server) = connected().await;
        reset(client);
        is_reset(&mut server).await;
        let (mut client, server) = visit(&proxy, &listener).await;
        reset(server);
        is_reset(&mut client).await;
    }

    #[tokio::test]
    async fn a_blackhole_holds_back_what_flows_when_it_is_gone() {
        let (proxy, listener, mut client, mut server) = connected().await;
        passes(&mut client, &mut server).await;
        proxy.blackhole();
        client.write_all(b"ping").await.unwrap();
        server.write_all(b"ping").await.unwrap();
        stays_silent(&mut server).await;
        stays_silent(&mut client).await;
        // Not even that one side is gone gets through.
        server.shutdown().await.unwrap();
        let mut late = TcpStream::connect(proxy.address()).await.unwrap();
        late.write_all(b"ping").await.unwrap();
        stays_silent(&mut late).await;
        stays_silent(&mut client).await;

        proxy.heal();
        receives(&mut server).await;
        receives(&mut client).await;
        assert_eq!(client.read(&mut [0]).await.unwrap(), 0);
        receives(&mut accept(&listener).await.unwrap()).await;
    }

    #[tokio::test]
    async fn a_blackhole_takes_no_more_than_buffers_hold() {
        let (proxy, _listener, mut client, mut server) = connected().await;
        proxy.blackhole();
        let (mut chunk, mut sent) = (vec![7; 1 << 20], 0);
        while let Ok(written) = tokio::time::timeout(QUIET, client.write(&chunk)).await {
            sent += written.unwrap();
            assert!(sent < 64 << 20, "it takes everything");
        }
        proxy.pass();
        client.shutdown().await.unwrap();
        let mut received = 0;
        loop {
            match server.read(&mut chunk).await.unwrap() {
                0 => break,
                length => received += length,
            }
        }
        assert_eq!(received, sent);
    }

    #[tokio::test]
    async fn a_cut_resets_what_there_is_and_what_comes() {
        let (proxy, listener, mut client, mut server) = connected().await;
        proxy.cut();
        is_reset(&mut client).await;
        is_reset(&mut server).await;
        is_reset(&mut TcpStream::connect(proxy.address()).await.unwrap()).await;
        proxy.pass();
        let (mut client, mut server) = visit(&proxy, &listener).await;
        passes(&mut client, &mut server).await;
    }

    #[tokio::test]
    async fn a_cut_ends_a_blackhole_and_a_single_reset_ends_neither() {
        let (proxy, _listener, mut client, mut server) = connected().await;
        proxy.blackhole();
        proxy.reset_connections();
        is_reset(&mut client).await;
        is_reset(&mut server).await;
        let mut late = TcpStream::connect(proxy.address()).await.unwrap();
        stays_silent(&mut late).await;
        proxy.cut();
        is_reset(&mut late).await;
    }

    #[tokio::test]
    async fn a_closed_proxy_refuses() {
        let (mut proxy, _listener, mut client, _server) = connected().await;
        proxy.close().await;
        assert!(client.read(&mut [0]).await.is_ok_and(|length| length == 0));
        let refused = TcpStream::connect(proxy.address()).await.unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::ConnectionRefused);
    }

    #[tokio::test]
    async fn latency_delays_without_limiting_how_much_is_under_way() {
        let (proxy, _listener, mut client, mut server) = connected().await;
        let latency = Duration::from_millis(100);
        proxy.set_latency(latency);
        // So that the reading that is under way is not the one that is timed.
        passes(&mut client, &mut server).await;
        let start = Instant::now();
        let chunks = 200;
        let (bytes, mut read) = (vec![1; chunks * CHUNK], vec![0; chunks * CHUNK]);
        let (written, received) = tokio::join!(client.write_all(&bytes), server.read_exact(&mut read));
        written.unwrap();
        received.unwrap();
        let took = start.elapsed();
        // One chunk after the other would take twenty seconds.
        assert!(took >= latency && took < 100 * latency, "{took:?}");
    }

    #[tokio::test]
    async fn without_a_server_connections_are_reset() {
        let gone = listen().await.unwrap().local_addr().unwrap();
        let proxy = FaultProxy::start(gone).await.unwrap();
        is_reset(&mut TcpStream::connect(proxy.address()).await.unwrap()).await;
    }
}
