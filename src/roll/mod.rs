//! `streamfleet roll`: replaces the runners of a cluster by ones of another revision, a few at a time, so that users don't notice.
//!
//! What it has done is in Redis ([`journal`]), so that another machine can go on when this one dies. How it goes about it is in
//! [`operator`], what that does to the world in [`hands`], and what people and programs are told in [`report`].

mod args;
mod hands;
mod journal;
mod operator;
mod report;
#[cfg(test)]
mod tests;

use std::{process::ExitCode, sync::Arc};

use anyhow::{Context as _, Result, bail};
use streamfleet_cluster::{RedisRegistry, Registry, Roll, Rolls, Taken};

pub(crate) use self::{args::RollArgs, report::bar};
use self::{
    hands::RealHands,
    journal::{Journal, Lost},
    operator::{Operator, Outcome, plan},
    report::Reporter,
};
use crate::{settings::Settings, shutdown::Shutdown, telemetry};

/// The new revision did not work, and all is as before.
const WENT_BACK: u8 = 3;
/// It did not work, and the cluster stays between two revisions.
const STOPPED: u8 = 4;
/// Somebody ended the command; the roll can be gone on with.
const INTERRUPTED: u8 = 5;

/// Carries out a roll, or goes on with one.
pub(crate) async fn run(args: RollArgs, shutdown: Shutdown) -> Result<ExitCode> {
    let settings = Settings::load(&args)?;
    telemetry::start(&settings.log, "error")?;
    let redis = settings.redis("roll").await?;
    let shown = redis.address.to_string();
    let wanted = args.wanted()?;
    let registry = RedisRegistry::connect(redis).await.with_context(|| format!("cannot use {shown}"))?;
    let registry = Arc::new(registry);
    let hands = RealHands::start(Arc::clone(&registry) as Arc<dyn Registry>, &args, &settings).await?;
    let reporter = Reporter::new(args.json);

    let rolls: Arc<dyn Rolls> = registry;
    let (lock, last) = match rolls.take(&holder()).await? {
        Taken::Held { lock, roll } => (lock, roll),
        Taken::Busy { holder, roll } => {
            let what =
                roll.filter(|roll| !roll.is_over()).map_or_else(String::new, |roll| format!(" to {}", roll.revision));
            bail!(
                "a roll{what} of the cluster {:?} is under way, carried out by {holder}; when that is gone, go on with \
                 `streamfleet roll --resume` ten seconds later",
                settings.cluster()
            );
        }
    };
    let unfinished = last.filter(|roll| !roll.is_over());
    let (roll, is_resumed) = match (unfinished, wanted) {
        (Some(roll), None) => (roll, true),
        (None, Some(revision)) => {
            let planned = plan(&hands, &revision, args.max_unavailable).await;
            match planned {
                Ok(roll) => (roll, false),
                Err(error) => {
                    let _ = rolls.release(&lock).await;
                    return Err(error);
                }
            }
        }
        (unfinished, _) => {
            let _ = rolls.release(&lock).await;
            return Err(refusal(unfinished.as_ref()));
        }
    };
    let journal = Journal::open(Arc::clone(&rolls), lock, roll, &hands);
    let operator = Operator::new(&hands, &journal, &reporter, !args.no_rollback);
    let interrupted = shutdown.token();
    let outcome = tokio::select! {
        outcome = operator.carry_out(is_resumed, args.back) => outcome?,
        () = journal.lost() => return Err(Lost.into()),
        () = interrupted.cancelled() => {
            journal.close().await;
            reporter.note("interrupted; go on with `streamfleet roll --resume`, or go back with `streamfleet roll --back`");
            return Ok(ExitCode::from(INTERRUPTED));
        }
    };
    journal.close().await;
    Ok(match outcome {
        Outcome::Done => ExitCode::SUCCESS,
        Outcome::WentBack => ExitCode::from(WENT_BACK),
        Outcome::Stopped => ExitCode::from(STOPPED),
    })
}

fn refusal(unfinished: Option<&Roll>) -> anyhow::Error {
    match unfinished {
        Some(roll) => anyhow::anyhow!(
            "a roll to {} has not come to its end{}; go on with `streamfleet roll --resume`, or go back with `streamfleet roll \
             --back`",
            roll.revision,
            if roll.reason.is_empty() { String::new() } else { format!(" ({})", roll.reason) },
        ),
        None => anyhow::anyhow!("no roll is under way: begin one with `streamfleet roll --revision TEXT`"),
    }
}

/// Who carries out the roll, for people.
fn holder() -> String {
    let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
    let user = std::env::var("USER").map_or_else(|_| String::new(), |user| user + "@");
    format!("{user}{host} (process {})", std::process::id())
}
