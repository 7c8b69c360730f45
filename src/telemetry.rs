//! Logs: to standard error, for people or as JSON.

use std::io::{self, IsTerminal as _};

use anyhow::{Context as _, Result};
use serde::Deserialize;
use tracing_subscriber::{EnvFilter, fmt, layer::SubscriberExt as _, util::SubscriberInitExt as _};

/// What is logged, and how.
#[derive(Debug, Default, Deserialize)]
pub(crate) struct LogSettings {
    /// A level, or directives such as `warn,streamfleet_runner=debug`.
    pub(crate) log_level: Option<String>,
    /// How log lines look; for people unless set.
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
