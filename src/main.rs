//! The `streamfleet` command: settings, telemetry, signals, and the life of each role.

mod address;
mod admin;
mod app;
mod aws;
mod banner;
mod cache;
mod cli;
mod drain;
mod fleet;
mod gateway;
mod local;
mod notify;
mod progress;
mod revision;
mod roll;
mod run;
mod runner;
mod secret;
mod security;
mod sessions;
mod settings;
mod shutdown;
mod size;
mod status;
mod table;
mod telemetry;

use std::process::ExitCode;

use anyhow::Result;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::{
    cli::{Cli, Command},
    shutdown::Shutdown,
};

fn main() -> ExitCode {
    let cli = match Cli::from_args(std::env::args_os()) {
        Ok(cli) => cli,
        Err(error) => {
            // Help and version come this way too; clap knows the stream and the code.
            let _ = error.print();
            return ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2));
        }
    };
    match start(cli) {
        Ok(code) => code,
        Err(error) => {
            banner::error(&format!("{error:#}"));
            ExitCode::FAILURE
        }
    }
}

fn start(cli: Cli) -> Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let outcome = runtime.block_on(async {
        // Before anything that would have to be undone.
        let shutdown = Shutdown::install()?;
        allow_many_connections();
        let served = match cli.command {
            Command::Run(args) => run::run(args, shutdown).await,
            Command::Hello(args) => run::hello(args, shutdown).await,
            Command::Runner(args) => runner::run(args, shutdown).await,
            Command::Gateway(args) => gateway::run(args, shutdown).await,
            Command::Status(args) => return status::run(args, shutdown).await,
            Command::Sessions(args) => return sessions::run(args, shutdown).await,
            Command::Drain(args) => return drain::run(args, shutdown).await,
            Command::Roll(args) => return roll::run(args, shutdown).await,
        };
        served.map(|()| ExitCode::SUCCESS)
    });
    // Name look-ups and the like may still block a thread; nobody waits for them.
    runtime.shutdown_background();
    outcome
}

/// Raises the limit of open files as far as the system lets us: each browser is one or two.
fn allow_many_connections() {
    let limit = getrlimit(Resource::Nofile);
    if let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit }) {
        tracing::debug!("the limit of open files stays at {:?}: {error}", limit.current);
    }
}
