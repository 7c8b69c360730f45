//! The public address: what the user's settings say, and what is free.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket},
};

use anyhow::{Context as _, Result, bail};
use socket2::{Domain, Protocol, Socket, Type};
use streamfleet_proto::worker::ListenSettings;
use tokio::net::{TcpListener, lookup_host};

/// How many ports after the default one are tried, as in Streamlit.
const PORT_ATTEMPTS: u16 = 100;
/// Connections that the kernel keeps until they are accepted.
const BACKLOG: i32 = 2048;

/// Binds what the settings ask for. When the port is only Streamlit's default, a taken one is
/// passed over for the next that is free.
pub(crate) async fn bind(settings: &ListenSettings) -> Result<TcpListener> {
    let first = u16::try_from(settings.port).context("server.port")?;
    let hosts = hosts(&settings.address).await?;
    let last = if settings.port_chosen || first == 0 { first } else { first.saturating_add(PORT_ATTEMPTS) };
    for port in first..=last {
        match bind_first(&hosts, port) {
            Ok(listener) => return Ok(listener),
            Err(error) if error.kind() == io::ErrorKind::AddrInUse && port < last => {}
            Err(error) if error.kind() == io::ErrorKind::AddrInUse && settings.port_chosen => {
                bail!("Port {port} is not available: another program serves on it");
            }
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
                bail!("ports {first} to {last} are all taken; choose one with --port");
            }
            Err(error) => return Err(error).with_context(|| format!("cannot serve on port {port}")),
        }
    }
    bail!("no port to serve on");
}

/// The addresses to try, in order. Of all that are given for "everywhere", the first that can be
/// bound will do: the IPv6 one takes IPv4 connections too, where there is IPv6.
async fn hosts(address: &str) -> Result<Vec<IpAddr>> {
    match address {
        "" => Ok(vec![Ipv6Addr::UNSPECIFIED.into(), Ipv4Addr::UNSPECIFIED.into()]),
        unix if unix.starts_with("unix://") => {
            bail!("server.address = {unix:?}: Unix sockets are not supported");
        }
        name => {
            let found = lookup_host((name.trim_matches(['[', ']']), 0)).await;
            let found = found.with_context(|| format!("cannot resolve the address {name:?}"))?;
            Ok(found.map(|address| address.ip()).take(1).collect())
        }
    }
}

fn bind_first(hosts: &[IpAddr], port: u16) -> io::Result<TcpListener> {
    let mut last = io::Error::from(io::ErrorKind::AddrNotAvailable);
    for &host in hosts {
        match bind_one(SocketAddr::new(host, port)) {
            Ok(listener) => return Ok(listener),
            // Taken is taken: another address family would hide the other program.
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => return Err(error),
            Err(error) => last = error,
        }
    }
    Err(last)
}

fn bind_one(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    if address.is_ipv6() {
        socket.set_only_v6(false)?;
    }
    socket.set_reuse_address(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    socket.set_nonblocking(true)?;
    TcpListener::from_std(socket.into())
}

/// This machine's address towards other machines, if it has one.
pub(crate) fn outward_ip() -> Option<IpAddr> {
    // Connecting a UDP socket sends nothing; it only makes the kernel choose a source address.
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).ok()?;
    socket.connect((Ipv4Addr::new(8, 8, 8, 8), 1)).ok()?;
    let ip = socket.local_addr().ok()?.ip();
    (!ip.is_loopback() && !ip.is_unspecified()).then_some(ip)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(port: u16, port_chosen: bool) -> ListenSettings {
        ListenSettings { port: port.into(), port_chosen, address: "127.0.0.1".to_owned(), ..ListenSettings::default() }
    }

    #[tokio::test]
    async fn a_taken_port_is_an_error_only_if_it_was_chosen() {
        let taken = bind(&settings(0, true)).await.unwrap();
        let port = taken.local_addr().unwrap().port();
        let error = bind(&settings(port, true)).await.unwrap_err().to_string();
        assert!(error.contains(&port.to_string()), "{error}");
        let other = bind(&settings(port, false)).await.unwrap();
        assert!(other.local_addr().unwrap().port() > port);
    }

    #[tokio::test]
    async fn what_cannot_be_bound_is_named() {
        for address in ["unix:///tmp/x", "no.such.host.invalid"] {
            let settings = ListenSettings { address: address.to_owned(), ..settings(0, true) };
            let error = format!("{:#}", bind(&settings).await.unwrap_err());
            assert!(error.contains(address), "{error}");
        }
    }
}
