//! `streamfleet run` and `streamfleet hello`: the whole of Streamfleet in one process.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    thread::available_parallelism,
    time::Duration,
};

use anyhow::{Context as _, Result, anyhow, bail};
use streamfleet_cluster::{Load, Member, MemoryRegistry, Registry as _, RunnerPhase};
use streamfleet_gateway::{Gateway, GatewayOptions, Upstream};
use streamfleet_proto::{
    RunnerId,
    common::AppSettings,
    worker::{ListenSettings, Ready},
};
use streamfleet_runner::{
    Pool, PoolOptions, PythonSpawner, RunnerService, WorkerPackage,
    interpreter::{self, Interpreter, InterpreterOptions},
};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::{
    address, banner,
    cli::{RunArgs, ServeArgs},
    local,
    progress::StderrProgress,
    settings::Settings,
    shutdown::Shutdown,
    telemetry,
};

/// Seldom used pins of the one process are forgotten after this long.
const PIN_TTL: Duration = Duration::from_hours(24);
const DEFAULT_SCRIPT: &str = "streamlit_app.py";

/// Runs an app until a signal comes.
pub(crate) async fn run(args: RunArgs, shutdown: Shutdown) -> Result<()> {
    let settings = Settings::load(&args.serve)?;
    telemetry::start(&settings.log, "warn")?;
    let script = find_script(&args.app)?;
    let app = App {
        folder: script.parent().map(Path::to_owned).unwrap_or_default(),
        script: Some(script),
        args: args.args,
        streamlit_flags: streamlit_flags(&settings, args.serve),
    };
    serve(app, settings, shutdown).await
}

/// Runs Streamlit's demo until a signal comes.
pub(crate) async fn hello(args: ServeArgs, shutdown: Shutdown) -> Result<()> {
    let settings = Settings::load(&args)?;
    telemetry::start(&settings.log, "warn")?;
    let app = App {
        // The demo's own requirements are Streamlit's; nobody else's should get in.
        folder: PathBuf::from("/"),
        script: None,
        args: Vec::new(),
        streamlit_flags: streamlit_flags(&settings, args),
    };
    serve(app, settings, shutdown).await
}

/// What is to be run.
struct App {
    folder: PathBuf,
    script: Option<PathBuf>,
    args: Vec<String>,
    streamlit_flags: Vec<String>,
}

/// The script's absolute path, by the rules of `streamlit run`.
fn find_script(given: &Path) -> Result<PathBuf> {
    let path = if given.is_dir() {
        let inside = given.join(DEFAULT_SCRIPT);
        if !inside.exists() {
            bail!("{} is a folder without a {DEFAULT_SCRIPT}; name the script to run", given.display());
        }
        inside
    } else {
        given.to_owned()
    };
    if !path.exists() {
        bail!("File does not exist: {}", path.display());
    }
    if path.extension().is_none_or(|extension| extension != "py") {
        bail!("{} is not a Python script (.py)", path.display());
    }
    std::fs::File::open(&path).with_context(|| format!("cannot read {}", path.display()))?;
    // Not resolved through links: the app's neighbours are beside the name that was given.
    std::path::absolute(&path).with_context(|| format!("cannot locate {}", path.display()))
}

/// Streamlit's flags, with our own port and address among them: it should know what is served.
fn streamlit_flags(settings: &Settings, args: ServeArgs) -> Vec<String> {
    let mut flags = args.streamlit_flags;
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
    let starting = start(app, settings);
    // Whatever has been started by then is ended by dropping it.
    let Some(started) = stop.run_until_cancelled(starting).await else {
        return Ok(());
    };
    let Started { pool, listener, is_hello, _interpreter, _package } = started?;

    let Ready { settings: app, listen, .. } = pool.app().clone();
    let (app, listen) = (app.unwrap_or_default(), listen.unwrap_or_default());
    let port = listener.local_addr()?.port();
    pool.set_public_port(port);

    let runner: RunnerId = "local".parse()?;
    let registry = Arc::new(MemoryRegistry::new(PIN_TTL));
    let member = Member {
        runner: runner.clone(),
        address: String::new(),
        revision: String::new(),
        phase: RunnerPhase::Ready,
        load: Load::default(),
    };
    registry.announce(member).await?;

    let (connector, incoming) = local::transport();
    let upstream = Upstream::new(registry, Arc::new(connector));
    let gateway = Gateway::new(GatewayOptions::default(), upstream);
    let service = RunnerService::new(runner, String::new(), pool.clone());
    let runner_stop = CancellationToken::new();
    let runner = tokio::spawn(local::serve(service, incoming, runner_stop.clone()));
    let gateway = tokio::spawn(gateway.run(listener, stop.clone()));

    announce(&listen, &app, port, is_hello);
    stop.cancelled().await;

    // Browsers are told first; then the scripts, which nobody watches any more, are ended.
    gateway.await.context("the gateway failed")?;
    pool.stop().await;
    runner_stop.cancel();
    runner.await.context("the runner failed")??;
    Ok(())
}

/// An app that is ready to be shown to browsers.
struct Started {
    pool: Pool,
    listener: tokio::net::TcpListener,
    is_hello: bool,
    /// Held so that nobody cleans its environment up.
    _interpreter: Interpreter,
    _package: WorkerPackage,
}

async fn start(app: App, settings: Settings) -> Result<Started> {
    let interpreter = find_interpreter(&app, &settings).await?;
    let package =
        WorkerPackage::write().context("cannot write the worker's files to the temporary folder (see $TMPDIR)")?;
    let is_hello = app.script.is_none();
    let options = PoolOptions {
        script: app.script,
        script_args: app.args,
        streamlit_flags: app.streamlit_flags,
        workers: settings.workers.unwrap_or_else(one_per_core),
        socket_folder: package.path().to_owned(),
        cookie_secret: new_secret(),
        packages: interpreter.packages_path.clone(),
    };
    let spawner = PythonSpawner { executable: interpreter.executable.clone(), python_path: package.python_path() };
    let pool = Pool::start(options, Arc::new(spawner)).await;
    let pool = pool.map_err(|failure| anyhow!("{failure}"))?;
    for notice in &pool.app().notices {
        banner::notice(notice);
    }
    let listen = pool.app().listen.clone().unwrap_or_default();
    if !listen.ssl_cert_file.is_empty() {
        pool.stop().await;
        bail!(
            "server.sslCertFile is set, and this version serves plain HTTP only: unset it, and let \
             a proxy in front do TLS"
        );
    }
    let listener = match address::bind(&listen).await {
        Ok(listener) => listener,
        Err(error) => {
            pool.stop().await;
            return Err(error);
        }
    };
    Ok(Started { pool, listener, is_hello, _interpreter: interpreter, _package: package })
}

async fn find_interpreter(app: &App, settings: &Settings) -> Result<Interpreter> {
    let mut options = InterpreterOptions::from_environment(app.folder.clone());
    options.python.clone_from(&settings.python);
    if let Some(folder) = &settings.cache_dir {
        options.cache_dir = Some(folder.clone());
    }
    let progress = StderrProgress::default();
    let found = interpreter::resolve(&options, &progress).await;
    progress.finish();
    let found = found?;
    for notice in &found.notices {
        banner::notice(notice);
    }
    Ok(found)
}

fn announce(listen: &ListenSettings, app: &AppSettings, port: u16, is_hello: bool) {
    banner::urls(listen, app, port, is_hello);
    if !listen.headless {
        let url = banner::local_url(listen, app, port);
        // Best effort, as in Streamlit: the address is on the terminal.
        let _ = open::that_detached(url);
    }
}

fn one_per_core() -> u32 {
    let cores = available_parallelism().map_or(1, std::num::NonZero::get);
    u32::try_from(cores).unwrap_or(1)
}

/// 244 random bits, as text.
fn new_secret() -> String {
    format!("{}{}", Uuid::new_v4().simple(), Uuid::new_v4().simple())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scripts_are_found_by_streamlits_rules() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        let error = |path: &Path| find_script(path).unwrap_err().to_string();

        assert!(error(&path("none.py")).contains("does not exist"));
        assert!(error(folder.path()).contains(DEFAULT_SCRIPT));
        std::fs::write(path("notes.txt"), "").unwrap();
        assert!(error(&path("notes.txt")).contains(".py"));

        std::fs::write(path(DEFAULT_SCRIPT), "").unwrap();
        assert_eq!(find_script(folder.path()).unwrap(), path(DEFAULT_SCRIPT));
    }
}
