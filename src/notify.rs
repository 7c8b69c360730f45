//! Tells the service manager how this process is, as `sd_notify(3)` has it: a datagram to the socket that `NOTIFY_SOCKET` names. Where nobody
//! asks, nobody is told.

use std::{
    env,
    ffi::OsStr,
    os::{
        linux::net::SocketAddrExt as _,
        unix::{
            ffi::OsStrExt as _,
            net::{SocketAddr, UnixDatagram},
        },
    },
    time::Duration,
};

use tokio::{task::JoinHandle, time::interval};
use tracing::{debug, warn};

/// Somebody who wants to know, or nobody.
#[derive(Debug, Default)]
pub(crate) struct Notifier {
    to: Option<(UnixDatagram, SocketAddr)>,
    /// How often it wants to hear that all is well.
    watchdog: Option<Duration>,
}

impl Notifier {
    /// As the environment says.
    pub(crate) fn from_environment() -> Self {
        let number = |name: &str| env::var(name).ok()?.parse::<u64>().ok();
        let is_ours = number("WATCHDOG_PID").is_none_or(|pid| pid == u64::from(std::process::id()));
        let watchdog = number("WATCHDOG_USEC").filter(|usec| is_ours && *usec > 0).map(Duration::from_micros);
        match env::var_os("NOTIFY_SOCKET") {
            Some(socket) if !socket.is_empty() => Self::to(&socket, watchdog),
            _ => Self::default(),
        }
    }

    fn to(socket: &OsStr, watchdog: Option<Duration>) -> Self {
        let address = match socket.as_bytes() {
            [b'@', name @ ..] => SocketAddr::from_abstract_name(name),
            _ => SocketAddr::from_pathname(socket),
        };
        match address.and_then(|address| Ok((UnixDatagram::unbound()?, address))) {
            Ok((from, address)) => {
                // It must not hold anybody up.
                if let Err(error) = from.set_nonblocking(true) {
                    debug!("NOTIFY_SOCKET: {error}");
                }
                Self { to: Some((from, address)), watchdog }
            }
            Err(error) => {
                warn!("cannot use NOTIFY_SOCKET {}: {error}", socket.display());
                Self::default()
            }
        }
    }

    /// This process serves.
    pub(crate) fn ready(&self, status: &str) {
        self.tell(&format!("READY=1\nSTATUS={status}"));
    }

    /// It is about to end, and that may take so long.
    pub(crate) fn stopping(&self, limit: Duration, status: &str) {
        self.tell(&format!("STOPPING=1\nEXTEND_TIMEOUT_USEC={}\nSTATUS={status}", limit.as_micros()));
    }

    /// Says that all is well, twice as often as is wanted, for as long as tasks get their turn. Ends when it is dropped.
    pub(crate) fn keep_watch(&self) -> Option<Watch> {
        let (socket, address) = self.to.as_ref()?;
        let (socket, address) = (socket.try_clone().ok()?, address.clone());
        let mut ticks = interval(self.watchdog? / 2);
        Some(Watch(tokio::spawn(async move {
            loop {
                ticks.tick().await;
                send(&socket, &address, "WATCHDOG=1");
            }
        })))
    }

    fn tell(&self, state: &str) {
        if let Some((socket, address)) = &self.to {
            send(socket, address, state);
        }
    }
}

/// Says that all is well until it is dropped.
#[derive(Debug)]
pub(crate) struct Watch(JoinHandle<()>);

impl Drop for Watch {
    fn drop(&mut self) {
        self.0.abort();
    }
}

fn send(socket: &UnixDatagram, address: &SocketAddr, state: &str) {
    if let Err(error) = socket.send_to_addr(state.as_bytes(), address) {
        debug!("the service manager could not be told: {error}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn heard(socket: &UnixDatagram) -> String {
        let mut buffer = [0; 1024];
        let length = socket.recv(&mut buffer).unwrap();
        String::from_utf8(buffer[..length].to_vec()).unwrap()
    }

    #[tokio::test]
    async fn the_service_manager_hears_of_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notify");
        let socket = UnixDatagram::bind(&path).unwrap();
        let notifier = Notifier::to(path.as_os_str(), Some(Duration::from_millis(2)));
        notifier.ready("serving");
        assert_eq!(heard(&socket), "READY=1\nSTATUS=serving");
        notifier.stopping(Duration::from_secs(2), "handing over");
        assert_eq!(heard(&socket), "STOPPING=1\nEXTEND_TIMEOUT_USEC=2000000\nSTATUS=handing over");
        let _watch = notifier.keep_watch().unwrap();
        for _ in 0..3 {
            let socket = socket.try_clone().unwrap();
            assert_eq!(tokio::task::spawn_blocking(move || heard(&socket)).await.unwrap(), "WATCHDOG=1");
        }
    }

    #[tokio::test]
    async fn an_abstract_socket_will_do() {
        let name = format!("streamfleet-notify-{}", std::process::id());
        let socket = UnixDatagram::bind_addr(&SocketAddr::from_abstract_name(&name).unwrap()).unwrap();
        Notifier::to(OsStr::new(&format!("@{name}")), None).ready("serving");
        assert_eq!(heard(&socket), "READY=1\nSTATUS=serving");
    }

    #[tokio::test]
    async fn nobody_need_listen() {
        let nowhere = Notifier::to(OsStr::new("/nowhere/notify"), Some(Duration::from_secs(1)));
        nowhere.ready("serving");
        assert!(Notifier::default().keep_watch().is_none());
        Notifier::default().ready("serving");
    }
}
