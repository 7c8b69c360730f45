//! Nothing is done for AWS. Settings that ask for it have been refused.

use std::sync::Arc;

use anyhow::{Result, bail};
use streamfleet_runner::{Pool, Registrar};
use tokio_util::sync::CancellationToken;

use super::MISSING;
use crate::{notify::Notifier, settings::Settings};

/// A machine that nobody follows.
#[derive(Debug)]
pub(crate) struct Machine;

impl Machine {
    pub(crate) fn of_runner(_: &Settings, _: &CancellationToken, _: &Arc<Registrar>, _: &Pool) -> Self {
        Self
    }

    pub(crate) fn of_gateway(_: &Settings, _: &CancellationToken) -> Self {
        Self
    }

    #[expect(clippy::unused_async, reason = "as where there is something to wait for")]
    pub(crate) async fn end(self, _: &Notifier) {}
}

pub(crate) async fn secret(_: &str, _: usize) -> Result<Vec<String>> {
    bail!(MISSING)
}
