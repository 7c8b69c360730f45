//! What browsers that do nothing cost a gateway in memory, and their neighbours in time.

use std::fmt;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use anyhow::{Result, ensure};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use streamfleet_testkit::Endpoint;
use streamfleet_testkit::client::{Client, ClientError, ConnectOptions};
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::app::App;
use crate::cluster::Cluster;
use crate::load::{self, Times, Until, millis};
use crate::usage::{self, in_units};

/// Users who click meanwhile, and how often each means to.
const ACTIVE: usize = 100;
const INTERVAL: Duration = Duration::from_millis(500);
/// Connections that are being made at once.
const CONNECTING: usize = 20;
/// How long it takes for everything to calm down.
const CALM: Duration = Duration::from_secs(3);

/// What so many idle browsers cost.
#[derive(Debug)]
pub(crate) struct Idle {
    pub(crate) connections: usize,
    /// How long it took to make them.
    connecting: Duration,
    /// What the gateway needs for each of them, in bytes.
    pub(crate) bytes: u64,
    /// How long those wait who click, without them and beside them.
    alone: Times,
    beside: Times,
}

impl fmt::Display for Idle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} idle browsers on one gateway in front of two runners came in {:.0} s and cost it {:.1} KiB each; {ACTIVE} users who \
             click twice a second beside them wait",
            self.connections,
            self.connecting.as_secs_f64(),
            in_units(self.bytes, 1 << 10),
        )?;
        for (name, quantile) in [("p50", 0.5), ("p95", 0.95), ("p99", 0.99)] {
            let (alone, beside) = (millis(&self.alone, quantile), millis(&self.beside, quantile));
            write!(f, " {beside:.1} ms ({name}, {:.2} × without them)", beside / alone)?;
        }
        Ok(())
    }
}

/// Opens so many WebSockets on one gateway before two runners, and tells what that costs.
pub(crate) async fn measure(binary: &Path, connections: usize, watched: Duration) -> Result<Idle> {
    let limit = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit })?;
    // Streamlit opens four files for each session, and systems allow a process some ten thousand: so there are two runners.
    let cluster = Cluster::start(binary, App::Counter, &[]).await?;
    let gateway = &cluster.gateway;
    let mut users = Vec::new();
    load::open(&mut users, ACTIVE, gateway.endpoint(), App::Counter).await?;
    let alone = load::at_random(&mut users, INTERVAL, Until::Time(watched)).await?;
    let before = usage::memory_of_tree(gateway.pid());
    let began = Instant::now();
    let mut idle = open_idle(gateway.endpoint().authority.parse()?, connections).await?;
    let connecting = began.elapsed();
    tokio::time::sleep(CALM).await;
    let memory = usage::memory_of_tree(gateway.pid()).saturating_sub(before);
    let beside = load::at_random(&mut users, INTERVAL, Until::Time(watched)).await?;
    ensure!(idle.len() == connections, "a connection ended");
    ensure!(idle.try_join_next().is_none(), "a connection ended meanwhile");
    Ok(Idle { connections, connecting, bytes: memory / u64::try_from(connections.max(1))?, alone, beside })
}

/// Browsers that have loaded the page and opened their WebSocket, and ask for no run.
///
/// They answer pings, so somebody has to read for them: that is what the tasks do.
async fn open_idle(address: SocketAddr, count: usize) -> Result<JoinSet<()>> {
    let mut idle = JoinSet::new();
    while idle.len() < count {
        let batch = CONNECTING.min(count - idle.len());
        let tasks: Vec<_> = (0..batch)
            .map(|_| {
                let options = ConnectOptions { xsrf: Some("none".to_owned()), ..ConnectOptions::default() };
                tokio::spawn(async move { Client::connect_with(&Endpoint::local(address.port()), options).await })
            })
            .collect();
        for task in tasks {
            idle.spawn(read(task.await??));
        }
    }
    Ok(idle)
}

/// Reads until the connection ends.
async fn read(mut client: Client) {
    loop {
        match client.next().await {
            Ok(_) | Err(ClientError::TimedOut { .. }) => {}
            Err(_) => return,
        }
    }
}
