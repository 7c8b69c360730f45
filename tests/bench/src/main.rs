//! Measures Streamfleet: against plain Streamlit, and by itself.
//!
//! Every answer is checked: a count that isn't the number of clicks ends the benchmark. Figures that are compared come from turns that
//! alternate, so that a machine whose speed drifts is unfair to nobody; ratios are taken within a turn.
#![allow(clippy::print_stdout, clippy::print_stderr)] // Its report is what it is for.

mod app;
mod cache;
mod candidate;
mod cluster;
mod cold_start;
mod compare;
mod growth;
mod idle;
mod instructions;
mod load;
mod matrix;
mod outages;
mod page_load;
mod plot;
mod profile;
mod report;
mod sizes;
mod spread;
mod stand_in;
mod tracing;
mod usage;
mod user;

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, Result};
use clap::{Parser, Subcommand};

use crate::app::App;
use crate::matrix::Extent;

/// Measures Streamfleet on this machine.
#[derive(Debug, Parser)]
struct Options {
    /// The program to measure; else the one beside this.
    #[arg(long, global = true)]
    binary: Option<PathBuf>,

    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Compares it with plain Streamlit, and writes docs/benchmark.md, its pictures, and the profile in docs/performance.md.
    Compare {
        /// Where the documentation is.
        #[arg(long, default_value = "docs")]
        docs: PathBuf,
        #[command(flatten)]
        size: Size,
    },
    /// The part of it that is about apps, printed while it goes on.
    Apps(Size),
    /// How long clicks take with more and more sessions, and runners.
    Growth,
    /// What idle WebSockets on one gateway cost.
    Idle {
        #[arg(default_value_t = 10_000)]
        connections: usize,
    },
    /// What a hit costs at each level of the shared cache.
    Cache {
        #[arg(long, default_value_t = 5)]
        turns: usize,
    },
    /// What tracing adds to a click.
    Tracing {
        #[arg(long, value_delimiter = ',', default_value = "counter")]
        apps: Vec<App>,
        #[arg(long, default_value_t = 5)]
        turns: usize,
        #[arg(long, default_value_t = 60)]
        clicks: usize,
    },
    /// Where the time of a click goes.
    Profile,
    /// Compares the instructions of a click in gateway and runner with the committed ones.
    Instructions {
        /// Commit to what is counted now.
        #[arg(long)]
        write: bool,
    },
    /// Records what stand-ins answer with anew.
    Record,
    /// Is some runners without Python, for the measurements that need them.
    #[command(hide = true)]
    StandIn {
        #[arg(long)]
        runners: usize,
        #[arg(long)]
        redis: String,
        /// How long workers rest between an answer and what they say of the run, in milliseconds.
        #[arg(long, default_value_t = 0)]
        rest_ms: u64,
    },
}

/// How much of a comparison.
#[derive(Debug, clap::Args)]
struct Size {
    /// The apps to run, by their names in tests/bench/apps.
    #[arg(long, value_delimiter = ',', default_values_t = App::ALL)]
    apps: Vec<App>,
    /// How many turns each candidate gets.
    #[arg(long, default_value_t = 5)]
    turns: usize,
    /// Users who click without thinking, when runs per second are counted.
    #[arg(long, default_value_t = 6)]
    users: usize,
    /// How long each measurement of a turn takes, in milliseconds.
    #[arg(long, default_value_t = 250)]
    millis: u64,
}

impl Size {
    fn extent(&self) -> Extent {
        Extent { turns: self.turns, saturating: self.users, time: Duration::from_millis(self.millis) }
    }
}

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() -> Result<()> {
    let options = Options::parse();
    if let What::StandIn { runners, redis, rest_ms } = &options.what {
        return stand_in::serve(*runners, redis, Duration::from_millis(*rest_ms)).await;
    }
    let binary = match options.binary {
        Some(binary) => binary,
        None => std::env::current_exe().context("finding this program")?.with_file_name("streamfleet"),
    };
    // Servers are started in their app's folder.
    let binary =
        binary.canonicalize().with_context(|| format!("no program at {}: build it first", binary.display()))?;
    match options.what {
        What::Compare { docs, size } => compare::compare(&binary, &size.apps, size.extent(), &docs).await,
        What::Apps(size) => {
            for app in &size.apps {
                let row = matrix::measure(&binary, *app, size.extent()).await?;
                println!("{}", report::brief(&row));
            }
            Ok(())
        }
        What::Growth => {
            let sessions = growth::sessions_of_a_worker(&binary, compare::STEP).await?;
            let runners = growth::runners_of_a_cluster(&binary, compare::STEP).await?;
            println!("{}", report::growth_text(&sessions, &runners));
            Ok(())
        }
        What::Idle { connections } => {
            println!("{}", idle::measure(&binary, connections, Duration::from_secs(15)).await?);
            Ok(())
        }
        What::Cache { turns } => cache::measure(&binary, turns).await,
        What::Tracing { apps, turns, clicks } => {
            for app in apps {
                tracing::measure(&binary, app, turns, clicks).await?;
            }
            Ok(())
        }
        What::Profile => {
            println!("{:#?}", profile::measure(&binary).await?);
            Ok(())
        }
        What::Instructions { write } => instructions::guard(&binary, write).await,
        What::Record => stand_in::record().await,
        What::StandIn { .. } => Ok(()),
    }
}
