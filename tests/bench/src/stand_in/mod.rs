//! Runners whose workers need no Python: what the machinery around Streamlit costs is measured with them, and clusters are made of
//! them that are larger than this machine could be with real ones.
//!
//! Everything but the workers is what ships: the gRPC service, leases, pins and snapshots in Redis. A worker answers every click with
//! the same messages, those of a recording, and with the state that a small session has.

mod recording;
mod worker;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow};
use streamfleet_cluster::{Blobs, RedisOptions, RedisRegistry, RedisSnapshots, Registry, Signer, SnapshotOptions};
use streamfleet_runner::{Announcement, Limits, Observer, Ownership, Pool, PoolOptions, Registrar, RunnerService};
use streamfleet_telemetry::Tracer;
use streamfleet_testkit::process::{Launch, Server, free_port};
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tonic::transport::{Server as GrpcServer, server::TcpIncoming};

use self::recording::Recording;
pub(crate) use self::recording::record;
use self::worker::{Answers, StandInSpawner};

/// What a process of stand-ins says once all of them can be found.
const SERVING: &str = "stand-ins are serving";
const START_LIMIT: Duration = Duration::from_mins(2);
const REVISION: &str = "stand-in";
const KEY: &str = "a key that signs what nobody else reads";

/// Starts a process of so many runners.
pub(crate) async fn start(runners: usize, redis: &str) -> Result<Server> {
    let program = std::env::current_exe().context("finding this program")?;
    launch(&program, runners, redis).spawn_until_serving().await
}

/// How a process of so many runners is started, by this program or by one that runs it.
pub(crate) fn launch(program: &Path, runners: usize, redis: &str) -> StandIns {
    let launch = Launch::program(program, Path::new("/"), free_port());
    StandIns(launch.args(["stand-in", "--runners", &runners.to_string(), "--redis", redis]))
}

/// A process of stand-ins that is to be started.
pub(crate) struct StandIns(Launch);

impl StandIns {
    /// Has workers rest so long after an answer, and after what they say of the run.
    pub(crate) fn rest(self, rest: Duration) -> Self {
        Self(self.0.args(["--rest-ms", &rest.as_millis().to_string()]))
    }

    /// Starts it, and waits until it serves.
    pub(crate) async fn spawn_until_serving(self) -> Result<Server> {
        let mut server = self.0.spawn()?;
        server.wait_for_output(SERVING, START_LIMIT).await?;
        Ok(server)
    }
}

/// Is a process of so many runners, until it is told to end.
pub(crate) async fn serve(runners: usize, redis: &str, rest: Duration) -> Result<()> {
    let answers = Answers { recording: Arc::new(Recording::load()?), rest };
    let mut running = Vec::new();
    for number in 0..runners {
        running.push(StandIn::start(number, redis, &answers).await?);
    }
    println!("{SERVING}");
    let mut end = signal(SignalKind::terminate())?;
    end.recv().await;
    for runner in running {
        runner.stop().await;
    }
    Ok(())
}

/// One runner.
struct StandIn {
    pool: Pool,
    registrar: Arc<Registrar>,
    stop: CancellationToken,
    _folder: TempDir,
}

impl StandIn {
    async fn start(number: usize, redis: &str, answers: &Answers) -> Result<Self> {
        let redis = RedisOptions::new(redis.parse()?, None, "default");
        let signer = Signer::new("default", [KEY])?;
        let registry: Arc<dyn Registry> = Arc::new(RedisRegistry::connect(redis.clone()).await?);
        let snapshots = Arc::new(RedisSnapshots::connect(redis, SnapshotOptions::new(signer)).await?);
        let name = format!("stand-in-{number}");
        let ownership = Arc::new(Ownership::new(name.parse()?));
        let folder = tempfile::tempdir()?;
        let spawner = Arc::new(StandInSpawner::new(answers.clone()));
        let options = options(folder.path().to_owned(), &name);
        let pool = Pool::start(options, spawner, ownership, snapshots).await.map_err(|failure| anyhow!("{failure}"))?;
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let announcement = Announcement { address: listener.local_addr()?.to_string(), revision: REVISION.to_owned() };
        let registrar = Arc::new(Registrar::new(registry, announcement, pool.clone()));
        let stop = CancellationToken::new();
        let service = RunnerService::new(REVISION.to_owned(), pool.clone(), Arc::clone(&registrar), stop.clone());
        let server = GrpcServer::builder().add_routes(service.into_routes());
        let incoming = TcpIncoming::from(listener).with_nodelay(Some(true));
        tokio::spawn(server.serve_with_incoming_shutdown(incoming, stop.clone().cancelled_owned()));
        registrar.join().await?;
        tokio::spawn(Arc::clone(&registrar).run(stop.clone()));
        Ok(Self { pool, registrar, stop, _folder: folder })
    }

    async fn stop(self) {
        self.registrar.leave().await;
        self.pool.stop().await;
        self.stop.cancel();
    }
}

fn options(socket_folder: PathBuf, name: &str) -> PoolOptions {
    PoolOptions {
        script: Some(PathBuf::from("/stand-in.py")),
        script_args: Vec::new(),
        streamlit_flags: Vec::new(),
        workers: 1,
        socket_folder,
        cookie_secret: KEY.to_owned(),
        watch_sources: false,
        packages: None,
        blobs: Blobs::memory(),
        cache: None,
        observer: Observer::new(Tracer::disabled(), name, REVISION),
        forward_output: false,
        revision: REVISION.to_owned(),
        limits: Limits::default(),
    }
}
