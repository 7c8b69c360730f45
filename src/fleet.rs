//! Looks at a cluster from outside: asks the registry who is there, and each runner how it is.

use std::{
    collections::HashMap,
    io::{self, ErrorKind, IsTerminal as _, Write as _},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use anyhow::{Context as _, Result};
use streamfleet_cluster::{Member, RedisRegistry, Registry as _};
use streamfleet_gateway::{
    Connector as _, TcpConnector, Way,
    status::{self, Report},
};
use streamfleet_proto::{RunnerId, runner::runner_client::RunnerClient};
use tokio::time::sleep;

use crate::{banner, cli::LookArgs, settings::Settings, shutdown::Shutdown, telemetry};

/// How long a runner may take to say how it is.
const STATUS_LIMIT: Duration = Duration::from_secs(2);
/// Puts the next look where the last one was.
const CLEAR: &str = "\x1b[H\x1b[2J\x1b[3J";

/// What was seen of a cluster.
#[derive(Debug)]
pub(crate) struct Look {
    /// When, in milliseconds since 1970.
    pub(crate) time: u64,
    /// The cluster's name.
    pub(crate) cluster: String,
    /// The revision that new sessions go to, if one has been set.
    pub(crate) revision: Option<String>,
    /// The registry may not know everybody yet.
    pub(crate) settling: bool,
    /// The runners, by name.
    pub(crate) runners: Vec<Report>,
}

/// What a command wants to see of a cluster.
pub(crate) trait View {
    /// What one look comes to, beside what is printed.
    type Outcome;

    /// How many sessions to ask for.
    fn sessions(&self) -> u32;

    /// Whether this runner is of interest.
    fn wants(&self, runner: &Member) -> bool;

    /// What to print, each line with its end.
    fn show(&self, look: &Look, json: bool) -> Result<(String, Self::Outcome)>;
}

/// Looks once, or again and again until a signal comes, and prints what is seen. Returns what the last look came to; `None` if there
/// was none.
pub(crate) async fn watch<V: View>(args: &LookArgs, view: &V, shutdown: &Shutdown) -> Result<Option<V::Outcome>> {
    let settings = Settings::load(args)?;
    telemetry::start(&settings.log, "error")?;
    let stop = shutdown.token();
    let mut last = None;
    let looking = async {
        let mut fleet = Fleet::connect(&settings).await?;
        loop {
            // Whoever watches wants to see it come back.
            match (fleet.look(view).await.and_then(|look| view.show(&look, args.json)), args.watch) {
                (Ok((text, outcome)), _) => {
                    last = Some(outcome);
                    if !print(&text, args)? {
                        return Ok(());
                    }
                }
                (Err(error), None) => return Err(error),
                (Err(error), Some(_)) => banner::notice(&format!("{error:#}; trying again")),
            }
            match args.watch {
                Some(pause) => sleep(pause).await,
                None => return Ok(()),
            }
        }
    };
    stop.run_until_cancelled(looking).await.transpose()?;
    Ok(last)
}

/// Prints a look; false if nobody reads any more.
fn print(text: &str, args: &LookArgs) -> Result<bool> {
    let mut out = io::stdout().lock();
    let clear = if args.watch.is_some() && !args.json && out.is_terminal() { CLEAR } else { "" };
    match write!(out, "{clear}{text}").and_then(|()| out.flush()) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(false),
        Err(error) => Err(error).context("cannot print"),
    }
}

/// A cluster, with connections to its runners.
struct Fleet {
    registry: RedisRegistry,
    cluster: String,
    clients: Clients,
}

/// What a runner is asked by.
pub(crate) type Client = RunnerClient<Way>;

/// Connections to runners.
pub(crate) struct Clients {
    connector: TcpConnector,
    known: HashMap<RunnerId, Client>,
}

impl Fleet {
    async fn connect(settings: &Settings) -> Result<Self> {
        let redis = settings.redis("look at a cluster").await?;
        let shown = redis.address.to_string();
        let registry = RedisRegistry::connect(redis).await.with_context(|| format!("cannot use {shown}"))?;
        Ok(Self { registry, cluster: settings.cluster().to_owned(), clients: Clients::new(settings)? })
    }

    async fn look(&mut self, view: &impl View) -> Result<Look> {
        let members = self.registry.members().await?;
        let time = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let list: Vec<_> = members.list.into_iter().filter(|member| view.wants(member)).collect();
        self.clients.known.retain(|runner, _| list.iter().any(|member| member.runner == *runner));
        let runners: Vec<_> = list
            .into_iter()
            .map(|member| {
                let client = self.clients.of(&member);
                (member, client)
            })
            .collect();
        Ok(Look {
            time: u64::try_from(time.as_millis()).unwrap_or(u64::MAX),
            cluster: self.cluster.clone(),
            revision: members.target.revision,
            settling: members.settling,
            runners: status::ask_all(runners, view.sessions(), STATUS_LIMIT).await,
        })
    }
}

impl Clients {
    /// None yet; they are made as the settings say.
    pub(crate) fn new(settings: &Settings) -> Result<Self> {
        let connector = TcpConnector { peers: settings.security.peers()?, allow_plaintext: settings.allow_plaintext };
        Ok(Self { connector, known: HashMap::new() })
    }

    /// The connection to a runner, which is made when it is first used. `None` if its address is none.
    pub(crate) fn of(&mut self, member: &Member) -> Option<Client> {
        if let Some(client) = self.known.get(&member.runner) {
            return Some(client.clone());
        }
        let client = RunnerClient::new(self.connector.connect(member)?);
        self.known.insert(member.runner.clone(), client.clone());
        Some(client)
    }
}

/// Why there is no connection to a runner, and what to do.
pub(crate) fn no_way_to(member: &Member) -> String {
    format!(
        "cannot connect to {} at {:?}: that is no address, or one beyond this machine, to which nothing is sent unencrypted; \
         set peer_cert_file, peer_key_file and peer_ca_file, or allow_plaintext",
        member.runner, member.address
    )
}

/// Whether a runner goes by this name: its full one, or what it was given as --name, which something random follows.
pub(crate) fn is_named(member: &Member, name: &str) -> bool {
    let rest = member.runner.as_str().strip_prefix(name);
    rest.is_some_and(|rest| rest.is_empty() || rest.strip_prefix('-').is_some_and(|random| !random.contains('-')))
}

/// What the registry has to say for itself, for people.
pub(crate) fn remark(look: &Look) -> &'static str {
    if look.settling {
        "Redis was empty or away a moment ago: there may be more runners than it knows of.\n"
    } else {
        ""
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use streamfleet_cluster::{Load, RunnerPhase};
    use streamfleet_proto::runner::{
        CacheStatus, SessionPhase, SessionStatus, StatusResponse, WorkerPhase, WorkerStatus,
    };

    use super::*;

    /// A cluster of a runner that is well, one that drains, and one that is full and doesn't answer.
    pub(crate) fn look() -> Look {
        let member = |name: &str, phase, sessions| Member {
            runner: name.parse().unwrap(),
            address: "10.0.0.1:8601".to_owned(),
            revision: "0123456789ab".to_owned(),
            phase,
            load: Load {
                workers: 2,
                sessions,
                connected: 1,
                running: 1,
                resident_bytes: 3 << 30,
                max_connected: u32::from(sessions > 10),
                ..Load::default()
            },
        };
        let worker = |index, phase: WorkerPhase| WorkerStatus {
            index,
            phase: phase.into(),
            running_scripts: 1,
            ..WorkerStatus::default()
        };
        let session = |id: &str, running, unsaved: &[&str]| SessionStatus {
            public_id: id.to_owned(),
            worker: 1,
            phase: SessionPhase::Disconnected.into(),
            running,
            page: if running { "/charts".to_owned() } else { String::new() },
            age_ms: 125_000,
            runs: 12,
            last_run_us: if running { 0 } else { 340_000 },
            unsaved: unsaved.iter().map(|&key| key.to_owned()).collect(),
        };
        let cache =
            CacheStatus { worker_hits: 70, node_hits: 15, cluster_hits: 5, misses: 10, ..CacheStatus::default() };
        let well = StatusResponse {
            sessions: vec![session("aaaaaaaaaaaa", true, &[]), session("bbbbbbbbbbbb", false, &["lock", "file\x1b"])],
            sessions_total: 2,
            workers: vec![worker(0, WorkerPhase::Ready), worker(1, WorkerPhase::BackingOff)],
            cache: Some(CacheStatus { computations: 9, ..cache }),
            queue_wait_us: 1_500,
            cpu: 0.25,
            memory_bytes: 1 << 30,
            ..StatusResponse::default()
        };
        let draining = StatusResponse { workers: vec![worker(0, WorkerPhase::Ready)], ..StatusResponse::default() };
        Look {
            time: 1_700_000_000_000,
            cluster: "main".to_owned(),
            revision: None,
            settling: false,
            runners: vec![
                Report { member: member("a-1", RunnerPhase::Ready, 1), status: Some(well) },
                Report { member: member("b-1", RunnerPhase::Draining, 0), status: Some(draining) },
                Report { member: member("c-1", RunnerPhase::Ready, 40), status: None },
            ],
        }
    }

    #[test]
    fn a_registry_that_may_not_know_everybody_says_so() {
        assert_eq!(remark(&look()), "");
        assert!(remark(&Look { settling: true, ..look() }).contains("more runners"));
    }
}
