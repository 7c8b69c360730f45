//! Logs, to standard error, for people or as JSON; and traces, over OTLP.

use std::{
    env,
    io::{self, IsTerminal as _},
    time::Duration,
};

use anyhow::{Context as _, Result};
use serde::Deserialize;
use streamfleet_telemetry::{TraceOptions, Tracer};
use tracing_subscriber::{EnvFilter, fmt, layer::SubscriberExt as _, util::SubscriberInitExt as _};

use crate::settings::Settings;

/// What is logged, and how.
#[derive(Debug, Default, Deserialize)]
pub(crate) struct LogSettings {
    /// A level, or directives such as `warn,streamfleet_runner=debug`.
    pub(crate) log_level: Option<String>,
    /// How log lines look; when it is not set, the role decides.
    pub(crate) log_format: Option<LogFormat>,
}

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum LogFormat {
    /// For people.
    Human,
    /// For machines, one object a line.
    Json,
}

impl LogSettings {
    /// Of a role that somebody runs on their own machine: for people, unless set.
    pub(crate) fn for_people(&mut self) {
        self.log_format.get_or_insert(LogFormat::Human);
    }

    /// Of a role that is one of many: for machines, unless set or read on a terminal.
    pub(crate) fn for_machines(&mut self) {
        let on_terminal = io::stderr().is_terminal();
        self.log_format.get_or_insert(if on_terminal { LogFormat::Human } else { LogFormat::Json });
    }
}

/// Traces of a role of this name, on what it is described by. They go nowhere unless an endpoint is set.
pub(crate) fn tracer(settings: &Settings, service: &str, about: &[(&str, &str)]) -> Result<Tracer> {
    let resource = about.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    let options = TraceOptions {
        service_name: service.to_owned(),
        resource: [("service.version".to_owned(), env!("CARGO_PKG_VERSION").to_owned())]
            .into_iter()
            .chain(resource)
            .collect(),
        endpoint: settings.otlp_endpoint.clone(),
        slow_after: Some(Duration::from_secs_f64(settings.trace_slow_after)),
        environment: env::vars().collect(),
    };
    Tracer::start(options).context("traces")
}

/// Starts logging. `default_level` is for those who set none.
pub(crate) fn start(settings: &LogSettings, default_level: &str) -> Result<()> {
    let level = settings.log_level.as_deref().unwrap_or(default_level);
    let filter = EnvFilter::try_new(level).with_context(|| format!("log_level = {level:?}"))?;
    let terminal = io::stderr().is_terminal();
    let registry = tracing_subscriber::registry().with(filter);
    match settings.log_format.unwrap_or(LogFormat::Human) {
        LogFormat::Human => {
            let layer = fmt::layer().with_writer(io::stderr).with_ansi(terminal);
            registry.with(layer).try_init()?;
        }
        LogFormat::Json => {
            registry.with(fmt::layer().json().with_writer(io::stderr)).try_init()?;
        }
    }
    Ok(())
}
