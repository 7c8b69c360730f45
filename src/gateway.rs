//! `streamfleet gateway`: serves browsers from the runners of a cluster.

use std::sync::Arc;

use anyhow::{Context as _, Result};
use streamfleet_cluster::{RedisRegistry, Registry};
use streamfleet_gateway::{Gateway, GatewayOptions, TcpConnector, Upstream};
use tokio_util::sync::CancellationToken;
use tracing::info;

use crate::{
    admin::{self, Readiness},
    cli::GatewayArgs,
    settings::Settings,
    shutdown::Shutdown,
    telemetry,
};

const DEFAULT_LISTEN: &str = "0.0.0.0:8501";
const DEFAULT_ADMIN_LISTEN: &str = "127.0.0.1:8502";

/// Runs a gateway until a signal comes.
pub(crate) async fn run(args: GatewayArgs, shutdown: Shutdown) -> Result<()> {
    let settings = Settings::load(&args)?;
    telemetry::start(&settings.log, "info")?;
    let redis = settings.redis("gateway")?;
    let listener = admin::bind(settings.listen.as_deref().unwrap_or(DEFAULT_LISTEN), "listen").await?;
    let admin_address = settings.admin_listen.as_deref().unwrap_or(DEFAULT_ADMIN_LISTEN);
    let admin_listener = admin::bind(admin_address, "admin_listen").await?;

    let stop = shutdown.token();
    let shown = redis.address.to_string();
    let Some(registry) = stop.run_until_cancelled(RedisRegistry::connect(redis)).await else {
        return Ok(());
    };
    let registry: Arc<dyn Registry> = Arc::new(registry.with_context(|| format!("cannot use {shown}"))?);
    let upstream = Upstream::start(registry, Arc::new(TcpConnector)).await;

    let ready = readiness(Arc::clone(&upstream), stop.clone());
    let admin_stop = CancellationToken::new();
    info!(address = %listener.local_addr()?, admin = %admin_listener.local_addr()?, redis = shown, "gateway is serving");
    let admin = tokio::spawn(admin::serve(admin_listener, ready, admin_stop.clone().cancelled_owned()));
    let options = GatewayOptions::replicated(settings.shutdown_notice(), settings.shutdown_spread());
    Gateway::new(options, upstream).run(listener, stop).await;
    admin_stop.cancel();
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
