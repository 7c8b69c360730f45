//! `streamfleet gateway`: serves browsers from the runners of a cluster.

use std::{sync::Arc, time::Duration};

use anyhow::{Context as _, Result};
use streamfleet_cluster::{RedisRegistry, Registry};
use streamfleet_gateway::{
    Gateway, GatewayOptions, Observer, TcpConnector, Upstream,
    page::{self, PageOptions},
    redirect,
};
use streamfleet_telemetry::{MetricsPage, RedisMetrics};
use tokio_util::sync::CancellationToken;
use tracing::info;

use crate::{
    admin::{self, AdminParts, Readiness},
    aws::Machine,
    cli::GatewayArgs,
    notify::Notifier,
    runner::unique_name,
    settings::Settings,
    shutdown::Shutdown,
    telemetry,
};

const DEFAULT_LISTEN: &str = "0.0.0.0:8501";
const DEFAULT_ADMIN_LISTEN: &str = "127.0.0.1:8502";
/// How long the last spans may take to go out.
const TRACES_LIMIT: Duration = Duration::from_secs(2);

/// Runs a gateway until a signal comes.
pub(crate) async fn run(args: GatewayArgs, shutdown: Shutdown) -> Result<()> {
    let mut settings = Settings::load(&args)?;
    settings.log.for_machines();
    telemetry::start(&settings.log, "info")?;
    let mut redis = settings.redis("gateway").await?;
    redis.metrics = RedisMetrics::default();
    // Gateways serve whatever revision the runners have.
    let metrics = MetricsPage::new(env!("CARGO_PKG_VERSION"), "gateway", "");
    metrics.register(|registry| redis.metrics.register(registry));
    let token = settings.admin_token().await?;
    let listener = admin::bind(settings.listen.as_deref().unwrap_or(DEFAULT_LISTEN), "listen").await?;
    let admin_address = settings.admin_listen.as_deref().unwrap_or(DEFAULT_ADMIN_LISTEN);
    let admin_listener = admin::bind(admin_address, "admin_listen").await?;

    let redirect_from = match &settings.security.redirect_listen {
        Some(address) => Some(admin::bind(address, "redirect_listen").await?),
        None => None,
    };

    let stop = shutdown.token();
    let shown = redis.address.to_string();
    let Some(registry) = stop.run_until_cancelled(RedisRegistry::connect(redis)).await else {
        return Ok(());
    };
    let registry: Arc<dyn Registry> = Arc::new(registry.with_context(|| format!("cannot use {shown}"))?);
    let id = unique_name(settings.name.as_deref());
    let about = [("service.instance.id", id.as_str()), ("streamfleet.cluster", settings.cluster())];
    let tracer = telemetry::tracer(&settings, "streamfleet-gateway", &about)?;
    let observer = Observer::new(tracer.clone());
    observer.register(&metrics);
    metrics.register(|registry| tracer.register(registry));
    let connector = TcpConnector { peers: settings.security.peers()?, allow_plaintext: settings.allow_plaintext };
    if let Some(peers) = &connector.peers {
        tokio::spawn(Arc::clone(peers).keep_fresh(stop.clone()));
    }
    let upstream = Upstream::start(registry, Arc::new(connector), observer).await;

    let page_options = PageOptions {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        cluster: settings.cluster().to_owned(),
        gateway_id: id,
        traces_url: settings.traces_url.clone(),
    };
    let parts = AdminParts {
        ready: readiness(Arc::clone(&upstream), stop.clone()),
        metrics: Arc::new(metrics),
        token,
        page: Some(page::router(Arc::clone(&upstream), page_options)),
    };
    let security = &settings.security;
    let options = GatewayOptions {
        tls: security.public_tls()?,
        proxies: Some(security.proxies()?),
        max_connections_per_address: settings.max_connections_per_address,
        max_uploads_per_address: settings.max_uploads_per_address,
        ..GatewayOptions::replicated(settings.shutdown_notice(), settings.shutdown_spread())
    };
    let admin_stop = CancellationToken::new();
    info!(address = %listener.local_addr()?, admin = %admin_listener.local_addr()?, redis = shown, "gateway is serving");
    let admin = tokio::spawn(admin::serve(admin_listener, parts, admin_stop.clone().cancelled_owned()));
    if let Some(tls) = &options.tls {
        tokio::spawn(Arc::clone(tls).keep_fresh(stop.clone()));
    }
    if let Some(from) = redirect_from {
        tokio::spawn(redirect(from, listener.local_addr()?.port(), stop.clone().cancelled_owned()));
    }
    let notifier = Notifier::from_environment();
    let _watch = notifier.keep_watch();
    notifier.ready("serving browsers");
    let machine = Machine::of_gateway(&settings, &stop);
    let end = options.notice + options.spread + options.shutdown_limit;
    let told = async {
        stop.cancelled().await;
        notifier.stopping(end, "sending browsers elsewhere");
    };
    tokio::join!(Gateway::new(options, upstream).run(listener, stop.clone()), told);
    tracer.shutdown(TRACES_LIMIT).await;
    admin_stop.cancel();
    machine.end(&notifier).await;
    admin.await.context("the admin listener failed")
}

fn readiness(upstream: Arc<Upstream>, leaving: CancellationToken) -> Readiness {
    Arc::new(move || {
        if leaving.is_cancelled() {
            Some("leaving")
        } else if !upstream.has_runners() {
            Some("no runner is known")
        } else {
            None
        }
    })
}
