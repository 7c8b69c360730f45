//! `streamfleet runner`: an app's workers on one machine of a cluster.

use std::{
    net::{IpAddr, SocketAddr, UdpSocket},
    sync::Arc,
    time::Duration,
};

use anyhow::{Context as _, Result, anyhow};
use streamfleet_cluster::{
    Blobs, Peers, RedisAddress, RedisRegistry, RedisSnapshots, Registry, Signer, SnapshotOptions, SnapshotStore,
};
use streamfleet_gateway::{CONNECTION_WINDOW, STREAM_WINDOW};
use streamfleet_proto::RunnerId;
use streamfleet_runner::{Announcement, Observer, Ownership, Pool, Registrar, RunnerService};
use streamfleet_telemetry::{MetricsPage, RedisMetrics};
use tokio::{net::TcpListener, sync::watch, time::timeout};
use tokio_util::sync::CancellationToken;
use tonic::transport::{Server, server::TcpIncoming};
use tracing::{debug, info};
use uuid::Uuid;

use crate::{
    admin::{self, AdminParts, Readiness},
    app::{App, AppParts},
    aws::Machine,
    cache,
    cli::RunnerArgs,
    notify::Notifier,
    revision,
    secret::{COOKIES, ClusterSecret, SNAPSHOTS},
    settings::{Settings, is_name_character},
    shutdown::Shutdown,
    telemetry,
};

const DEFAULT_LISTEN: &str = "0.0.0.0:8601";
const DEFAULT_ADMIN_LISTEN: &str = "127.0.0.1:8602";
/// How often a gateway is asked whether it is still there, and how long it may take to say so: together less than a lease, so that
/// what a gateway sent before it was cut off doesn't arrive when its session has another owner.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(1);
const KEEPALIVE_LIMIT: Duration = Duration::from_secs(3);
/// How long gateways' connections may take to end once no session is left.
const CLOSE_LIMIT: Duration = Duration::from_secs(2);
/// How long everything but handing sessions over may take at the end.
const LEAVE_LIMIT: Duration = Duration::from_secs(30);
/// How long the last spans may take to go out.
const TRACES_LIMIT: Duration = Duration::from_secs(2);
/// Characters of the host's name that make a runner's.
const MAX_NAME: usize = 40;

/// Runs a runner until a signal comes.
pub(crate) async fn run(args: RunnerArgs, shutdown: Shutdown) -> Result<()> {
    let mut settings = Settings::load(&args)?;
    settings.log.for_machines();
    telemetry::start(&settings.log, "info")?;
    // What is deployed doesn't change under a running process: its successor gets another revision.
    let app = App { watch_sources: false, ..App::find(&args.app, args.args, args.streamlit_flags)? };
    let mut redis = settings.redis("runner").await?;
    redis.metrics = RedisMetrics::default();
    let secret = required_secret(&settings).await?;
    let token = settings.admin_token().await?;
    let revision = match &settings.revision {
        Some(revision) => revision.clone(),
        None => revision::of_folder(&app.folder)?,
    };
    let id = runner_id(settings.name.as_deref())?;
    let listener = admin::bind(settings.listen.as_deref().unwrap_or(DEFAULT_LISTEN), "listen").await?;
    let admin_address = settings.admin_listen.as_deref().unwrap_or(DEFAULT_ADMIN_LISTEN);
    let admin_listener = admin::bind(admin_address, "admin_listen").await?;
    let peers = settings.security.peers_of_listener(listener.local_addr()?, settings.allow_plaintext)?;
    let address = advertised(settings.advertise.as_deref(), listener.local_addr()?, &redis.address)?;

    let stop = shutdown.token();
    let shown = redis.address.to_string();
    let ownership = Arc::new(Ownership::new(id.clone()));
    let cookie_secret = secret.derive(COOKIES)?;
    let signer = Signer::new(settings.cluster(), secret.derive_all(SNAPSHOTS)?)?;
    let about = [
        ("service.instance.id", id.as_str()),
        ("streamfleet.cluster", settings.cluster()),
        ("streamfleet.revision", &revision),
    ];
    let tracer = telemetry::tracer(&settings, "streamfleet-runner", &about)?;
    let observer = Observer::new(tracer.clone(), id.as_str(), &revision);
    let metrics = MetricsPage::new(env!("CARGO_PKG_VERSION"), "runner", &revision);
    metrics.register(|registry| redis.metrics.register(registry));
    let starting = async {
        let unusable = || format!("cannot use {shown}");
        let registry = RedisRegistry::connect(redis.clone()).await.with_context(unusable)?;
        let snapshots =
            RedisSnapshots::connect(redis.clone(), SnapshotOptions::new(signer)).await.with_context(unusable)?;
        let snapshots: Arc<dyn SnapshotStore> = Arc::new(snapshots);
        let cache = cache::of_cluster(&settings, redis.clone(), &secret, &revision).await.with_context(unusable)?;
        let blobs = Blobs::open(settings.blobs()?.as_ref(), Some(redis)).await.context("blobs")?;
        let parts = AppParts {
            cookie_secret,
            revision: revision.clone(),
            ownership,
            snapshots,
            blobs,
            cache,
            observer: observer.clone(),
        };
        let app = app.start(&settings, parts).await?;
        Ok::<_, anyhow::Error>((Arc::new(registry) as Arc<dyn Registry>, app))
    };
    // Whatever has been started by then is ended by dropping it.
    let Some(started) = stop.run_until_cancelled(starting).await else {
        return Ok(());
    };
    let (registry, app) = started?;

    let server_stop = CancellationToken::new();
    let registrar = Arc::new(Registrar::new(
        registry,
        Announcement { address: address.clone(), revision: revision.clone() },
        app.pool.clone(),
    ));
    let service = RunnerService::new(revision.clone(), app.pool.clone(), Arc::clone(&registrar), stop.clone());
    let mut server = tokio::spawn(serve(listener, peers, service, server_stop.clone()));
    registrar.join().await.context("cannot join the cluster")?;
    let registrar_stop = CancellationToken::new();
    let keeper = tokio::spawn(Arc::clone(&registrar).run(registrar_stop.clone()));
    let ready = readiness(stop.clone(), app.pool.clone());
    observer.register(&metrics, &app.pool);
    metrics.register(|registry| tracer.register(registry));
    let parts = AdminParts { ready, metrics: Arc::new(metrics), token, page: None };
    info!(runner = %id, address, revision, admin = %admin_listener.local_addr()?, redis = shown, "runner is serving");
    let admin = tokio::spawn(admin::serve(admin_listener, parts, server_stop.clone().cancelled_owned()));
    let notifier = Notifier::from_environment();
    let _watch = notifier.keep_watch();
    notifier.ready("serving gateways");
    let machine = Machine::of_runner(&settings, &stop, &registrar, &app.pool);

    let outcome = tokio::select! {
        () = stop.cancelled() => Ok(()),
        ended = &mut server => Err(anyhow!("the gRPC server ended: {ended:?}")),
    };
    notifier.stopping(settings.drain_limit() + LEAVE_LIMIT, "handing sessions over");
    registrar.drain(settings.drain_limit(), &watch::Sender::default()).await;
    registrar_stop.cancel();
    keeper.await.context("the registrar failed")?;
    registrar.leave().await;
    app.pool.stop().await;
    server_stop.cancel();
    if outcome.is_ok() && timeout(CLOSE_LIMIT, server).await.is_err() {
        debug!("some connections did not end in time");
    }
    admin.await.context("the admin listener failed")?;
    tracer.shutdown(TRACES_LIMIT).await;
    machine.end(&notifier).await;
    outcome
}

async fn required_secret(settings: &Settings) -> Result<ClusterSecret> {
    settings.secret().await?.context(
        "a runner needs the cluster's secret, the same on each of them: set STREAMFLEET_SECRET or secret_file; make one with: \
         openssl rand -hex 32",
    )
}

fn readiness(leaving: CancellationToken, pool: Pool) -> Readiness {
    Arc::new(move || {
        if leaving.is_cancelled() {
            Some("leaving")
        } else if !pool.is_serving() {
            Some("no worker serves")
        } else {
            None
        }
    })
}

async fn serve(
    listener: TcpListener,
    peers: Option<Arc<Peers>>,
    service: RunnerService,
    stop: CancellationToken,
) -> Result<(), tonic::transport::Error> {
    let server = Server::builder()
        .http2_keepalive_interval(Some(KEEPALIVE_INTERVAL))
        .http2_keepalive_timeout(Some(KEEPALIVE_LIMIT))
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .add_routes(service.into_routes());
    let stopped = stop.clone().cancelled_owned();
    if let Some(peers) = peers {
        tokio::spawn(Arc::clone(&peers).keep_fresh(stop.clone()));
        return server.serve_with_incoming_shutdown(peers.incoming(listener, stop), stopped).await;
    }
    // Said here, as the server's own setting is not for connections that it is given. Without it clicks wait 40 ms for an
    // acknowledgement that is put off.
    let incoming = TcpIncoming::from(listener).with_nodelay(Some(true));
    server.serve_with_incoming_shutdown(incoming, stopped).await
}

/// Sessions die with the process, so its successor must not pass for it.
fn runner_id(name: Option<&str>) -> Result<RunnerId> {
    Ok(unique_name(name).parse()?)
}

/// A name that no other process has had.
pub(crate) fn unique_name(name: Option<&str>) -> String {
    let name = match name {
        Some(name) => name.to_owned(),
        None => host_name(),
    };
    let unique = Uuid::new_v4().simple().to_string();
    format!("{name}-{}", &unique[..8])
}

fn host_name() -> String {
    let name = rustix::system::uname().nodename().to_string_lossy().into_owned();
    let name: String = name.chars().filter(|&c| is_name_character(c)).take(MAX_NAME).collect();
    if name.starts_with(|c: char| c.is_ascii_alphanumeric()) { name } else { "runner".to_owned() }
}

/// Where gateways reach this runner: what the user says, else where it listens, else this machine's address towards Redis.
fn advertised(setting: Option<&str>, listen: SocketAddr, redis: &RedisAddress) -> Result<String> {
    if let Some(address) = setting {
        let named = address.rsplit_once(':').filter(|(host, port)| !host.is_empty() && port.parse::<u16>().is_ok());
        let (host, port) = named.with_context(|| format!("advertise = {address:?}: give ADDRESS:PORT"))?;
        // Port 0 stands for the one that was drawn.
        let port = if port == "0" { listen.port().to_string() } else { port.to_owned() };
        return Ok(format!("{host}:{port}"));
    }
    if !listen.ip().is_unspecified() {
        return Ok(listen.to_string());
    }
    let ip = address_towards(redis).with_context(|| {
        format!("cannot tell this machine's address from the way to {redis}; name it with --advertise ADDRESS:PORT")
    })?;
    Ok(SocketAddr::new(ip, listen.port()).to_string())
}

fn address_towards(redis: &RedisAddress) -> Result<IpAddr> {
    use std::net::ToSocketAddrs as _;

    let target = redis.first_host().to_socket_addrs()?.next().context("its name has no address")?;
    let any: IpAddr = if target.is_ipv6() { [0_u16; 8].into() } else { [0_u8; 4].into() };
    // Connecting a UDP socket sends nothing; it only looks up the route.
    let socket = UdpSocket::bind((any, 0))?;
    socket.connect(target)?;
    Ok(socket.local_addr()?.ip())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_never_used_twice() {
        let (one, other) = (runner_id(Some("a")).unwrap(), runner_id(Some("a")).unwrap());
        assert_ne!(one, other);
        assert!(one.as_str().starts_with("a-"));
        assert!(runner_id(None).is_ok());
    }

    #[test]
    fn gateways_are_told_an_address_that_leads_here() {
        let redis: RedisAddress = "redis://127.0.0.1:6379".parse().unwrap();
        let at = |setting, listen: &str| advertised(setting, listen.parse().unwrap(), &redis);
        assert_eq!(at(None, "10.0.0.1:8601").unwrap(), "10.0.0.1:8601");
        assert_eq!(at(None, "0.0.0.0:8601").unwrap(), "127.0.0.1:8601");
        assert_eq!(at(Some("host.example:0"), "0.0.0.0:8601").unwrap(), "host.example:8601");
        assert_eq!(at(Some("[::1]:5"), "0.0.0.0:8601").unwrap(), "[::1]:5");
        assert!(at(Some("host"), "0.0.0.0:8601").is_err());
    }
}
