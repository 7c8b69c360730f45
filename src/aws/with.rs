//! The machine that this process is on, as EC2 has it, and secrets from Secrets Manager.

use std::{sync::Arc, time::Duration};

use anyhow::Result;
use streamfleet_aws::{Departure, Following, LifeCycle, Load, Pace, Sdk, publish};
use streamfleet_runner::{Pool, Registrar};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::{notify::Notifier, settings::Settings};

/// How long the service manager has to wait for Auto Scaling to be told that nothing is left.
const END_LIMIT: Duration = Duration::from_mins(2);

/// The machine that this process is on, if its life is followed.
#[derive(Debug)]
pub(crate) struct Machine {
    following: Option<Following>,
}

impl Machine {
    /// A runner's, which serves. When the machine is to go, `stop` is cancelled as by a signal. When it may be taken away, sessions are
    /// handed over, and the runner stays until it is told more, as after `streamfleet drain`.
    pub(crate) fn of_runner(
        settings: &Settings,
        stop: &CancellationToken,
        registrar: &Arc<Registrar>,
        pool: &Pool,
    ) -> Self {
        let sdk = Sdk::default();
        // Who is leaving is no measure of what the others have to do.
        let leaving = stop.child_token();
        if settings.aws_metrics() {
            let pool = pool.clone();
            let look = move || Load { sessions: pool.load().connected, queue_wait: pool.queue_wait() };
            tokio::spawn(publish(sdk.load_sink(settings.cluster()), look, leaving.clone()));
        }
        let (stop, registrar, limit) = (stop.clone(), Arc::clone(registrar), settings.drain_limit());
        Self::follow(settings, &sdk, move |departure| match departure {
            Departure::Terminating => stop.cancel(),
            Departure::Reclaimed { within } => {
                leaving.cancel();
                let registrar = Arc::clone(&registrar);
                tokio::spawn(async move { registrar.drain(limit.min(within), &watch::Sender::default()).await });
            }
        })
    }

    /// A gateway's, which serves. One that is taken away without a word loses connections and nothing else, so it goes on until its
    /// machine is to go.
    pub(crate) fn of_gateway(settings: &Settings, stop: &CancellationToken) -> Self {
        let stop = stop.clone();
        Self::follow(settings, &Sdk::default(), move |departure| {
            if departure == Departure::Terminating {
                stop.cancel();
            }
        })
    }

    fn follow(settings: &Settings, sdk: &Sdk, leave: impl Fn(Departure) + Send + Sync + 'static) -> Self {
        let life = settings.aws_lifecycle().then(|| LifeCycle::new(Sdk::metadata(), sdk.group(), Pace::default()));
        Self { following: life.map(|life| Following::start(|gone| life.follow(leave, gone))) }
    }

    /// Nothing is left of the process. Returns when Auto Scaling knows, if it waits for that.
    pub(crate) async fn end(self, notifier: &Notifier) {
        if let Some(following) = self.following {
            notifier.stopping(END_LIMIT, "telling Auto Scaling");
            following.end().await;
        }
    }
}

/// A secret's newest versions, as many as there are and not more than that: 1 or 2.
pub(crate) async fn secret(id: &str, versions: usize) -> Result<Vec<String>> {
    let sdk = Sdk::default();
    Ok(if versions == 1 { vec![sdk.secret(id).await?] } else { sdk.secrets(id).await? })
}
