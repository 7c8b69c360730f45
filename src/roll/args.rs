//! The flags of `streamfleet roll`.

use std::path::{Path, PathBuf};

use anyhow::{Result, bail};
use clap::Args;
use config::Value;

use crate::{
    app::App,
    cli::{ConfigArgs, RegistryArgs},
    revision,
    settings::Flags,
};

/// How exit codes are told.
const AFTER_HELP: &str = "Ends with 0 when all runners have been replaced, 3 when the new revision did not work and all is as \
                          before, 4 when it did not work and the cluster is left between the two, 5 when it was interrupted, \
                          1 for all else.";

#[derive(Debug, Args)]
#[command(after_help = AFTER_HELP)]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag")]
pub(crate) struct RollArgs {
    /// The revision to roll to, as its runners are given it.
    #[arg(long, value_name = "TEXT", conflicts_with_all = ["app", "resume", "back"])]
    revision: Option<String>,

    /// Roll to the revision that this app has, a script or a folder as for `run`: a hash of its files.
    #[arg(long, value_name = "PATH", conflicts_with_all = ["resume", "back"])]
    app: Option<PathBuf>,

    /// Go on with a roll whose command was interrupted or has failed.
    #[arg(long, conflicts_with = "back")]
    resume: bool,

    /// Go back from a roll whose command was interrupted or has failed.
    #[arg(long)]
    pub(crate) back: bool,

    /// Shell command that starts a runner: `STREAMFLEET_ROLL_REVISION` says of which revision, `STREAMFLEET_ROLL_RUNNER` in
    /// place of which [default: whoever starts it is waited for].
    #[arg(long, value_name = "COMMAND")]
    pub(super) start: Option<String>,

    /// Runners that are replaced at once.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub(super) max_unavailable: u32,

    /// Seconds until a new runner must be ready.
    #[arg(long, value_name = "SECONDS", default_value_t = 600, value_parser = seconds())]
    pub(super) start_limit: u64,

    /// Seconds that the script may take when it is tried.
    #[arg(long, value_name = "SECONDS", default_value_t = 60, value_parser = seconds())]
    pub(super) probe_limit: u64,

    /// Seconds that a runner may take to hand its sessions over; then scripts that still run are stopped [default: the setting
    /// `drain_limit`, 120].
    #[arg(long, value_name = "SECONDS", value_parser = seconds())]
    pub(super) drain_limit: Option<u64>,

    /// Stay where it is when the new revision doesn't work, instead of going back.
    #[arg(long)]
    pub(crate) no_rollback: bool,

    /// Print JSON, one object a line.
    #[arg(long)]
    pub(crate) json: bool,

    #[command(flatten)]
    registry: RegistryArgs,

    #[command(flatten)]
    config: ConfigArgs,
}

/// Up to a day.
fn seconds() -> clap::builder::RangedU64ValueParser<u64> {
    clap::value_parser!(u64).range(1..=86_400)
}

impl RollArgs {
    /// The revision to begin a roll to; `None` to go on with, or back from, one that was begun.
    pub(super) fn wanted(&self) -> Result<Option<String>> {
        match (&self.revision, &self.app) {
            _ if self.resume || self.back => Ok(None),
            (Some(revision), _) => Ok(Some(revision.clone())),
            (None, Some(app)) => Ok(Some(revision::of_folder(&App::find(app, Vec::new(), Vec::new())?.folder)?)),
            (None, None) => bail!(
                "say what to roll to: --revision TEXT, or --app PATH for what is in that folder; --resume or --back where a roll \
                 was begun"
            ),
        }
    }
}

impl Flags for RollArgs {
    fn file(&self) -> Option<&Path> {
        self.config.config.as_deref()
    }

    fn values(&self) -> Vec<(&'static str, Option<Value>)> {
        let drain_limit = self.drain_limit.map(Value::from);
        [self.registry.values(), vec![("drain_limit", drain_limit)]].concat()
    }
}
