//! What browsers that do nothing cost a gateway in memory, and their neighbours in time.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use hdrhistogram::Histogram;
use rustix::process::{Pid, Resource, Rlimit, getrlimit, setrlimit};
use streamfleet_testkit::Endpoint;
use streamfleet_testkit::client::{Client, ClientError, ConnectOptions};
use streamfleet_testkit::process::Server;
use tokio::task::JoinSet;

use crate::cluster::Cluster;
use crate::load::User;

/// Users who click meanwhile, and their pause between clicks.
const ACTIVE: usize = 100;
const THINK_TIME: Duration = Duration::from_millis(500);
/// How long they are watched, before and after.
const WATCHED: Duration = Duration::from_secs(15);
/// Connections that are being made at once.
const CONNECTING: usize = 20;

/// Opens so many WebSockets on one gateway before two runners, and prints what that costs.
pub(crate) async fn measure(binary: &Path, connections: usize) -> Result<()> {
    let limit = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit })?;
    // Streamlit opens four files for each session, and systems allow a process some ten thousand: so there are two runners.
    let cluster = Cluster::start(binary, "counter", &[]).await?;
    let gateway = &cluster.gateway;

    let users = open_users(gateway).await?;
    let (users, before) = watch(users).await?;
    let memory_before = resident(gateway.pid())?;
    let began = Instant::now();
    let mut idle = open_idle(gateway.endpoint().authority.parse()?, connections).await?;
    println!("{connections} connections were made in {:.1} s", began.elapsed().as_secs_f64());
    tokio::time::sleep(Duration::from_secs(3)).await;
    let memory = resident(gateway.pid())?.saturating_sub(memory_before);
    println!("gateway: {} bytes for each idle connection", memory / u64::try_from(connections.max(1))?);
    let (_, after) = watch(users).await?;
    let millis =
        |times: &Histogram<u64>, quantile| Duration::from_micros(times.value_at_quantile(quantile)).as_secs_f64() * 1e3;
    for (name, quantile) in [("median", 0.5), ("p95", 0.95), ("p99", 0.99)] {
        let (alone, beside) = (millis(&before, quantile), millis(&after, quantile));
        println!(
            "{ACTIVE} active users, {name}: {alone:.2} ms alone, {beside:.2} ms beside them, {:.2} ×",
            beside / alone
        );
    }
    ensure!(idle.len() == connections, "a connection ended");
    ensure!(idle.try_join_next().is_none(), "a connection ended meanwhile");
    Ok(())
}

async fn open_users(gateway: &Server) -> Result<Vec<User>> {
    let mut users = Vec::new();
    for _ in 0..ACTIVE {
        users.push(User::open(gateway).await?);
    }
    Ok(users)
}

/// Has the users click for a while, and counts how long they wait.
async fn watch(users: Vec<User>) -> Result<(Vec<User>, Histogram<u64>)> {
    let end = Instant::now() + WATCHED;
    let tasks: Vec<_> = users
        .into_iter()
        .map(|mut user| {
            tokio::spawn(async move {
                let mut times = Histogram::<u64>::new(3)?;
                while Instant::now() < end {
                    let start = Instant::now();
                    user.click().await?;
                    times.record(u64::try_from(start.elapsed().as_micros())?)?;
                    tokio::time::sleep(THINK_TIME).await;
                }
                anyhow::Ok((user, times))
            })
        })
        .collect();
    let (mut users, mut all) = (Vec::new(), Histogram::<u64>::new(3)?);
    for task in tasks {
        let (user, times) = task.await??;
        users.push(user);
        all.add(times)?;
    }
    Ok((users, all))
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

/// What a process has resident, in bytes.
fn resident(pid: Pid) -> Result<u64> {
    let status = fs::read_to_string(format!("/proc/{}/status", pid.as_raw_nonzero()))?;
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).context("no VmRSS")?;
    let kib: u64 = line.split_whitespace().nth(1).context("no VmRSS")?.parse()?;
    Ok(kib * 1024)
}
