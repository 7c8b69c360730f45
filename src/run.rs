//! `streamfleet run` and `streamfleet hello`: the whole of Streamfleet in one process.

use std::{path::PathBuf, sync::Arc, time::Duration};

use anyhow::{Context as _, Result, bail};
use streamfleet_cluster::{
    Blobs, FileSnapshots, MemoryRegistry, MemorySnapshots, PublicFiles, PublicTls, Registry, Signer, SnapshotOptions,
    SnapshotStore,
};
use streamfleet_gateway::{Gateway, GatewayOptions, Upstream};
use streamfleet_proto::{
    common::AppSettings,
    worker::{ListenSettings, Ready},
};
use streamfleet_runner::{Announcement, Observer, Ownership, Registrar, RunnerService};
use streamfleet_telemetry::Tracer;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::{
    address,
    app::{App, AppParts, RunningApp},
    banner, cache,
    cli::{RunArgs, ServeArgs},
    local::LocalConnector,
    notify::Notifier,
    revision,
    secret::{COOKIES, ClusterSecret, SNAPSHOTS},
    settings::Settings,
    shutdown::Shutdown,
    telemetry,
};

/// How long everything may take to end.
const END_LIMIT: Duration = Duration::from_secs(10);
/// How long the last spans may take to go out.
const TRACES_LIMIT: Duration = Duration::from_secs(2);

/// Runs an app until a signal comes.
pub(crate) async fn run(args: RunArgs, shutdown: Shutdown) -> Result<()> {
    let mut settings = Settings::load(&args.serve)?;
    settings.log.for_people();
    telemetry::start(&settings.log, "warn")?;
    let flags = streamlit_flags(&settings, args.serve.streamlit_flags);
    serve(App::find(&args.app, args.args, flags)?, settings, shutdown).await
}

/// Runs Streamlit's demo until a signal comes.
pub(crate) async fn hello(args: ServeArgs, shutdown: Shutdown) -> Result<()> {
    let mut settings = Settings::load(&args)?;
    settings.log.for_people();
    telemetry::start(&settings.log, "warn")?;
    let flags = streamlit_flags(&settings, args.streamlit_flags);
    serve(App::hello(flags), settings, shutdown).await
}

/// Streamlit's flags, with our own port and address among them: it should know what is served.
fn streamlit_flags(settings: &Settings, mut flags: Vec<String>) -> Vec<String> {
    let mut add = |flag: &str, value: String| flags.extend([flag.to_owned(), value]);
    if let Some(port) = settings.port {
        add("--server.port", port.to_string());
    }
    if let Some(host) = &settings.host {
        add("--server.address", host.clone());
    }
    flags
}

async fn serve(app: App, settings: Settings, shutdown: Shutdown) -> Result<()> {
    let stop = shutdown.token();
    let is_hello = app.script.is_none();
    let runner_tracer = telemetry::tracer(&settings, "streamfleet-runner", &[])?;
    let starting = start(app, &settings, runner_tracer.clone());
    // Whatever has been started by then is ended by dropping it.
    let Some(started) = stop.run_until_cancelled(starting).await else {
        return Ok(());
    };
    let Started { app, tls, listener } = started?;
    let pool = &app.pool;

    let Ready { settings: app_settings, listen, .. } = pool.app().clone();
    let (app_settings, listen) = (app_settings.unwrap_or_default(), listen.unwrap_or_default());
    let port = listener.local_addr()?.port();
    pool.set_public_port(port);

    let registry: Arc<dyn Registry> = Arc::new(MemoryRegistry::default());
    let announcement = Announcement { address: String::new(), revision: String::new() };
    let registrar = Arc::new(Registrar::new(Arc::clone(&registry), announcement, pool.clone()));
    registrar.join().await?;
    let service = RunnerService::new(String::new(), pool.clone(), Arc::clone(&registrar), CancellationToken::new());
    let runner_stop = CancellationToken::new();
    let registrar = tokio::spawn(registrar.run(runner_stop.clone()));

    let connector = LocalConnector::new(service);
    let tracer = telemetry::tracer(&settings, "streamfleet-gateway", &[])?;
    let observer = streamfleet_gateway::Observer::new(tracer.clone());
    let upstream = Upstream::start(registry, Arc::new(connector), observer).await;
    if let Some(tls) = &tls {
        tokio::spawn(Arc::clone(tls).keep_fresh(stop.clone()));
    }
    let gateway = Gateway::new(GatewayOptions { tls, ..GatewayOptions::alone() }, upstream);
    let gateway = tokio::spawn(gateway.run(listener, stop.clone()));

    announce(&listen, &app_settings, port, is_hello);
    let notifier = Notifier::from_environment();
    let _watch = notifier.keep_watch();
    notifier.ready("serving browsers");
    stop.cancelled().await;
    notifier.stopping(END_LIMIT, "ending");

    // Browsers are told first; then the scripts, which nobody watches any more, are ended.
    gateway.await.context("the gateway failed")?;
    pool.stop().await;
    runner_stop.cancel();
    registrar.await.context("the registrar failed")?;
    tokio::join!(tracer.shutdown(TRACES_LIMIT), runner_tracer.shutdown(TRACES_LIMIT));
    Ok(())
}

/// What there is before anybody is served.
struct Started {
    app: RunningApp,
    tls: Option<Arc<PublicTls>>,
    listener: TcpListener,
}

/// Starts the workers, and takes the port that the app's configuration names.
async fn start(app: App, settings: &Settings, tracer: Tracer) -> Result<Started> {
    let secret = match (settings.secret().await?, &settings.state) {
        (Some(secret), _) => secret,
        (None, Some(folder)) => ClusterSecret::of_folder(folder)?,
        (None, None) => ClusterSecret::random(),
    };
    let signer = Signer::new(settings.cluster(), secret.derive_all(SNAPSHOTS)?)?;
    let snapshots: Arc<dyn SnapshotStore> = match &settings.state {
        Some(folder) => Arc::new(FileSnapshots::open(folder.join("sessions"), SnapshotOptions::new(signer)).await?),
        None => Arc::new(MemorySnapshots::new(SnapshotOptions::new(signer))),
    };
    let cache = if settings.has_redis() {
        let revision = match &app.script {
            Some(_) => revision::of_folder(&app.folder)?,
            None => "hello".to_owned(),
        };
        cache::of_cluster(settings, settings.redis("run").await?, &secret, &revision)
            .await
            .context("the shared cache")?
    } else {
        cache::alone(settings)?
    };
    let parts = AppParts {
        cookie_secret: secret.derive(COOKIES)?,
        revision: String::new(),
        ownership: Arc::new(Ownership::new("local".parse()?)),
        snapshots,
        blobs: Blobs::open(settings.blobs()?.as_ref(), None).await.context("blobs")?,
        cache,
        observer: Observer::new(tracer, "local", ""),
    };
    let app = app.start(settings, parts).await?;
    let listen = app.pool.app().listen.clone().unwrap_or_default();
    let bound = async {
        let tls = tls_of_app(&listen)?;
        Ok((tls, address::bind(&listen).await?))
    };
    match bound.await {
        Ok((tls, listener)) => Ok(Started { app, tls, listener }),
        Err(error) => {
            app.pool.stop().await;
            Err(error)
        }
    }
}

/// What Streamlit's configuration says of HTTPS.
fn tls_of_app(listen: &ListenSettings) -> Result<Option<Arc<PublicTls>>> {
    let files = [&listen.ssl_cert_file, &listen.ssl_key_file];
    match files.map(|file| (!file.is_empty()).then(|| PathBuf::from(file))) {
        [None, None] => Ok(None),
        [Some(certificate), Some(key)] => Ok(Some(
            PublicTls::load(PublicFiles { certificate, key }).context("server.sslCertFile, server.sslKeyFile")?,
        )),
        _ => bail!("set both server.sslCertFile and server.sslKeyFile, or neither"),
    }
}

fn announce(listen: &ListenSettings, app: &AppSettings, port: u16, is_hello: bool) {
    banner::urls(listen, app, port, is_hello);
    if !listen.headless {
        let url = banner::local_url(listen, app, port);
        // Best effort, as in Streamlit: the address is on the terminal.
        let _ = open::that_detached(url);
    }
}
