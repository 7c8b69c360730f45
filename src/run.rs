//! `streamfleet run` and `streamfleet hello`: the whole of Streamfleet in one process.

use std::sync::Arc;

use anyhow::{Context as _, Result, anyhow};
use streamfleet_cluster::{
    Blobs, FileSnapshots, MemoryRegistry, MemorySnapshots, Registry, Signer, SnapshotOptions, SnapshotStore,
};
use streamfleet_gateway::{Gateway, GatewayOptions, Upstream};
use streamfleet_proto::{
    common::AppSettings,
    worker::{ListenSettings, Ready},
};
use streamfleet_runner::{Announcement, Ownership, Registrar, RunnerService};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::{
    address,
    app::{App, AppParts, RunningApp},
    banner,
    cli::{RunArgs, ServeArgs},
    local,
    secret::{COOKIES, ClusterSecret, SNAPSHOTS},
    settings::Settings,
    shutdown::Shutdown,
    telemetry,
};

/// Runs an app until a signal comes.
pub(crate) async fn run(args: RunArgs, shutdown: Shutdown) -> Result<()> {
    let settings = Settings::load(&args.serve)?;
    telemetry::start(&settings.log, "warn")?;
    let flags = streamlit_flags(&settings, args.serve.streamlit_flags);
    serve(App::find(&args.app, args.args, flags)?, settings, shutdown).await
}

/// Runs Streamlit's demo until a signal comes.
pub(crate) async fn hello(args: ServeArgs, shutdown: Shutdown) -> Result<()> {
    let settings = Settings::load(&args)?;
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
    let starting = start(app, &settings);
    // Whatever has been started by then is ended by dropping it.
    let Some(started) = stop.run_until_cancelled(starting).await else {
        return Ok(());
    };
    let (app, listener) = started?;
    let pool = &app.pool;

    let Ready { settings: app_settings, listen, .. } = pool.app().clone();
    let (app_settings, listen) = (app_settings.unwrap_or_default(), listen.unwrap_or_default());
    let port = listener.local_addr()?.port();
    pool.set_public_port(port);

    let registry: Arc<dyn Registry> = Arc::new(MemoryRegistry::default());
    let announcement = Announcement { address: String::new(), revision: String::new() };
    let registrar = Arc::new(Registrar::new(Arc::clone(&registry), announcement, pool.clone()));
    registrar.join().await?;
    let service = RunnerService::new(String::new(), pool.clone(), Arc::clone(&registrar));
    let runner_stop = CancellationToken::new();
    let registrar_stop = runner_stop.clone();
    let registrar = tokio::spawn(async move { registrar.run(registrar_stop).await });

    let (connector, incoming) = local::transport();
    let upstream = Upstream::start(registry, Arc::new(connector)).await;
    let gateway = Gateway::new(GatewayOptions::alone(), upstream);
    let runner = tokio::spawn(local::serve(service, incoming, runner_stop.clone()));
    let gateway = tokio::spawn(gateway.run(listener, stop.clone()));

    announce(&listen, &app_settings, port, is_hello);
    stop.cancelled().await;

    // Browsers are told first; then the scripts, which nobody watches any more, are ended.
    gateway.await.context("the gateway failed")?;
    pool.stop().await;
    runner_stop.cancel();
    registrar.await.context("the registrar failed")?;
    runner.await.context("the runner failed")??;
    Ok(())
}

/// Starts the workers, and takes the port that the app's configuration names.
async fn start(app: App, settings: &Settings) -> Result<(RunningApp, TcpListener)> {
    let secret = match (settings.secret()?, &settings.state) {
        (Some(secret), _) => secret,
        (None, Some(folder)) => ClusterSecret::of_folder(folder)?,
        (None, None) => ClusterSecret::random(),
    };
    let signer = Signer::new(settings.cluster(), [secret.derive(SNAPSHOTS)?])?;
    let snapshots: Arc<dyn SnapshotStore> = match &settings.state {
        Some(folder) => Arc::new(FileSnapshots::open(folder.join("sessions"), SnapshotOptions::new(signer)).await?),
        None => Arc::new(MemorySnapshots::new(SnapshotOptions::new(signer))),
    };
    let parts = AppParts {
        cookie_secret: secret.derive(COOKIES)?,
        revision: String::new(),
        ownership: Arc::new(Ownership::new("local".parse()?)),
        snapshots,
        blobs: Blobs::open(settings.blobs()?.as_ref(), None).await.context("blobs")?,
    };
    let app = app.start(settings, parts).await?;
    let listen = app.pool.app().listen.clone().unwrap_or_default();
    let bound = if listen.ssl_cert_file.is_empty() {
        address::bind(&listen).await
    } else {
        Err(anyhow!(
            "server.sslCertFile is set, and this version serves plain HTTP only: unset it, and let \
             a proxy in front do TLS"
        ))
    };
    match bound {
        Ok(listener) => Ok((app, listener)),
        Err(error) => {
            app.pool.stop().await;
            Err(error)
        }
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
