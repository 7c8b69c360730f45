//! Compares Streamfleet with plain Streamlit on this machine: what a click costs one user, and how many runs per second
//! many users get. Servers take turns, so that a machine whose speed drifts is unfair to nobody; ratios are taken within
//! a turn. Every answer is checked: a count that isn't the number of clicks ends the benchmark.
#![allow(clippy::print_stdout, clippy::print_stderr)] // Its report is what it is for.

mod cache;
mod candidate;
mod cluster;
mod cpu;
mod idle;
mod load;
mod report;
mod tracing;

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, Result};
use clap::Parser;

use crate::candidate::Candidate;
use crate::load::Figures;
use crate::report::Report;

/// Compares Streamfleet with plain Streamlit on this machine.
#[derive(Debug, Parser)]
struct Options {
    /// The program to measure.
    #[arg(long, default_value = "target/release/streamfleet")]
    binary: PathBuf,

    /// The apps to run, by their names in tests/bench/apps.
    #[arg(long, value_delimiter = ',', default_value = "counter,dashboard,cpu")]
    apps: Vec<String>,

    /// How many turns each server gets.
    #[arg(long, default_value_t = 3)]
    turns: usize,

    /// Users who click without thinking, when runs per second are counted.
    #[arg(long, default_value_t = 20)]
    users: usize,

    /// How long runs are counted in each turn, in seconds.
    #[arg(long, default_value_t = 5)]
    seconds: u64,

    /// Clicks of the one user whose waiting is measured in each turn.
    #[arg(long, default_value_t = 60)]
    clicks: usize,

    /// Instead of all that: open this many WebSockets on one gateway, and tell what they cost.
    #[arg(long, value_name = "CONNECTIONS")]
    idle: Option<usize>,

    /// Instead of all that: tell what a hit costs at each level of the shared cache.
    #[arg(long)]
    cache: bool,

    /// Instead of all that: tell what tracing adds to a click of each app.
    #[arg(long)]
    tracing: bool,
}

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() -> Result<()> {
    let mut options = Options::parse();
    // Servers are started in their app's folder.
    options.binary = options
        .binary
        .canonicalize()
        .with_context(|| format!("no program at {}: build it first", options.binary.display()))?;
    if let Some(connections) = options.idle {
        return idle::measure(&options.binary, connections).await;
    }
    if options.cache {
        return cache::measure(&options.binary, options.turns).await;
    }
    if options.tracing {
        for app in &options.apps {
            tracing::measure(&options.binary, app, options.turns, options.clicks).await?;
        }
        return Ok(());
    }
    for app in &options.apps {
        let mut report = Report::new(app, options.users);
        for turn in 0..options.turns {
            for candidate in Candidate::ALL {
                let figures = measure(&options, app, candidate).await?;
                eprintln!("{app}, turn {}: {candidate}: {figures}", turn + 1);
                report.add(candidate, figures);
            }
        }
        println!("{report}");
    }
    Ok(())
}

async fn measure(options: &Options, app: &str, candidate: Candidate) -> Result<Figures> {
    let server = candidate.launch(&options.binary, app).start().await?;
    let click = load::one_user(&server, options.clicks).await?;
    let (runs_per_second, cpu_per_run, client_share) =
        load::many_users(&server, options.users, Duration::from_secs(options.seconds)).await?;
    Ok(Figures { click, runs_per_second, cpu_per_run, client_share })
}
