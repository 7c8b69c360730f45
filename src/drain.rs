//! `streamfleet drain`: has one runner hand its sessions over to the others.

use std::{
    io::{self, IsTerminal as _, Write as _},
    path::Path,
    process::ExitCode,
    time::Duration,
};

use anyhow::{Context as _, Result, bail};
use clap::Args;
use config::Value;
use streamfleet_cluster::{Member, RedisRegistry, Registry as _};
use streamfleet_proto::runner::{DrainProgress, DrainRequest};

use crate::{
    cli::{ConfigArgs, RegistryArgs},
    fleet::{Client, Clients, is_named, no_way_to},
    roll::bar,
    settings::{Flags, Settings},
    shutdown::Shutdown,
    table::plural,
    telemetry,
};

/// How much longer than its limit a drain may be silent: scripts that are stopped take a moment.
const SILENCE: Duration = Duration::from_mins(1);

#[derive(Debug, Args)]
#[command(
    after_help = "Ends with 0 when nothing is left on the runner, 1 otherwise. It goes on when the command is interrupted."
)]
pub(crate) struct DrainArgs {
    /// The runner: its full name, or what it was given as --name.
    runner: String,

    /// Have it end as well, once it has nothing left.
    #[arg(long)]
    stop: bool,

    /// Seconds after which scripts that still run are stopped [default: the setting `drain_limit`, 120].
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..=86_400))]
    limit: Option<u64>,

    /// Print JSON, one object a line.
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    registry: RegistryArgs,

    #[command(flatten)]
    config: ConfigArgs,
}

impl Flags for DrainArgs {
    fn file(&self) -> Option<&Path> {
        self.config.config.as_deref()
    }

    fn values(&self) -> Vec<(&'static str, Option<Value>)> {
        [self.registry.values(), vec![("drain_limit", self.limit.map(Value::from))]].concat()
    }
}

/// How a runner is drained.
#[derive(Debug, Clone, Copy)]
pub(crate) struct DrainOptions {
    /// After this, scripts that still run are stopped.
    pub(crate) limit: Duration,
    /// It ends afterwards.
    pub(crate) stop: bool,
}

/// Drains a runner.
pub(crate) async fn run(args: DrainArgs, shutdown: Shutdown) -> Result<ExitCode> {
    let settings = Settings::load(&args)?;
    telemetry::start(&settings.log, "error")?;
    let redis = settings.redis("drain").await?;
    let shown = redis.address.to_string();
    let registry = RedisRegistry::connect(redis).await.with_context(|| format!("cannot use {shown}"))?;
    let member = find(&registry.members().await?.list, &args.runner, settings.cluster())?.clone();
    let client = Clients::new(&settings)?.of(&member).with_context(|| no_way_to(&member))?;
    let options = DrainOptions { limit: settings.drain_limit(), stop: args.stop };
    let shows_bar = !args.json && io::stdout().is_terminal();
    let told = |progress: DrainProgress| {
        let DrainProgress { total, moved, left, incomplete } = progress;
        let mut out = io::stdout().lock();
        // Nobody may be reading any more; it goes on.
        let _ = if args.json {
            let runner = member.runner.as_str();
            let event = serde_json::json!({
                "runner": runner, "total": total, "moved": moved, "left": left, "incomplete": incomplete
            });
            writeln!(out, "{event}")
        } else if shows_bar {
            write!(out, "\r\x1b[K{} {moved} of {}", bar(moved, total), plural(u64::from(total), "session"))
        } else {
            Ok(())
        };
        let _ = out.flush();
    };
    let Some(last) = shutdown.token().run_until_cancelled(follow(client, options, &told)).await else {
        bail!("{} goes on draining; `streamfleet status` shows how far it is", member.runner);
    };
    let DrainProgress { moved, left, incomplete, .. } = last?;
    if !args.json {
        let whole = if incomplete == 0 { String::new() } else { format!(" ({incomplete} not whole)") };
        let left = if left == 0 { String::new() } else { format!(", {left} left") };
        let clear = if shows_bar { "\r\x1b[K" } else { "" };
        let moved = plural(u64::from(moved), "session");
        // The exit code says it too.
        let _ = writeln!(io::stdout(), "{clear}{}: {moved} moved{whole}{left}", member.runner);
    }
    Ok(if left == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The one runner of this name.
fn find<'a>(members: &'a [Member], name: &str, cluster: &str) -> Result<&'a Member> {
    let named: Vec<_> = members.iter().filter(|member| is_named(member, name)).collect();
    match named[..] {
        [member] => Ok(member),
        [] => bail!("no runner {name} is in the cluster {cluster:?}; `streamfleet status` shows which ones are"),
        _ => {
            let all: Vec<_> = named.iter().map(|member| member.runner.as_str()).collect();
            bail!("several runners have this name; say which one: {}", all.join(", "))
        }
    }
}

/// Has a runner drained, and follows how far it is. Returns the last that it said.
pub(crate) async fn follow(
    mut client: Client,
    options: DrainOptions,
    told: &(dyn Fn(DrainProgress) + Send + Sync),
) -> Result<DrainProgress> {
    let DrainOptions { limit, stop } = options;
    let deadline_ms = u64::try_from(limit.as_millis()).unwrap_or(u64::MAX);
    let mut last = DrainProgress::default();
    let following = async {
        let mut answer = client.drain(DrainRequest { deadline_ms, stop }).await?.into_inner();
        while let Some(progress) = answer.message().await? {
            last = progress;
            told(progress);
        }
        Ok::<_, tonic::Status>(())
    };
    let followed = tokio::time::timeout(limit + SILENCE, following).await;
    followed.context("the runner does not come to an end")?.context("the runner does not say how far it is")?;
    Ok(last)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fleet::tests::look;

    #[test]
    fn a_runner_is_found_by_either_name() {
        let members: Vec<_> = look().runners.into_iter().map(|report| report.member).collect();
        let found = |name| find(&members, name, "main").map(|member| member.runner.to_string());
        assert_eq!(found("a-1").unwrap(), "a-1");
        assert_eq!(found("b").unwrap(), "b-1");
        let error = found("x").unwrap_err().to_string();
        assert!(
            error.contains("no runner x is in the cluster \"main\"") && error.contains("streamfleet status"),
            "{error}"
        );
        let twice = [members.clone(), members.clone()].concat();
        assert!(find(&twice, "a", "main").unwrap_err().to_string().contains("a-1, a-1"));
    }
}
