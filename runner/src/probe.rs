//! Tries the app: has a worker run the script once, for nobody.

use std::{
    collections::HashMap,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use streamfleet_proto::{
    runner::{ProbeOutcome, ProbeResponse},
    worker::{Probe, Probed, control_request},
};
use tokio::{sync::oneshot, time::timeout};
use tracing::info;

use crate::pool::Pool;

/// How much longer than its script a worker may take to answer: a script is stopped at its next statement.
const ANSWER_LIMIT: Duration = Duration::from_secs(5);
/// Longest time that a script may run.
const MAX_LIMIT: Duration = Duration::from_mins(30);

/// The probes that are under way.
#[derive(Debug, Default)]
pub(crate) struct Probes {
    last: AtomicU64,
    waiting: Mutex<HashMap<u64, oneshot::Sender<Probed>>>,
}

impl Probes {
    /// Expects an answer to a probe of this number.
    fn expect(&self) -> (u64, oneshot::Receiver<Probed>) {
        let number = self.last.fetch_add(1, Ordering::Relaxed) + 1;
        let (sender, receiver) = oneshot::channel();
        self.waiting().insert(number, sender);
        (number, receiver)
    }

    /// A worker answers.
    pub(crate) fn answered(&self, probed: Probed) {
        if let Some(sender) = self.waiting().remove(&probed.number) {
            // Whoever asked may be gone.
            let _ = sender.send(probed);
        }
    }

    fn forget(&self, number: u64) {
        self.waiting().remove(&number);
    }

    fn waiting(&self) -> MutexGuard<'_, HashMap<u64, oneshot::Sender<Probed>>> {
        // Each change leaves the table whole, so a panic elsewhere does no harm.
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Has the least loaded worker run the script once.
pub(crate) async fn probe(pool: &Pool, limit: Duration) -> ProbeResponse {
    let limit = limit.min(MAX_LIMIT);
    let no_answer = |message: &str| ProbeResponse {
        outcome: ProbeOutcome::NoAnswer.into(),
        message: message.to_owned(),
        ..ProbeResponse::default()
    };
    let Some(placed) = pool.any().await else { return no_answer("no worker serves") };
    let probes = &pool.shared().probes;
    let (number, answer) = probes.expect();
    let limit_ms = u64::try_from(limit.as_millis()).unwrap_or(u64::MAX);
    placed.order(control_request::Kind::Probe(Probe { number, limit_ms }));
    let response = tokio::select! {
        answer = timeout(limit + ANSWER_LIMIT, answer) => match answer {
            Ok(Ok(answer)) => response(answer),
            _ => no_answer("the worker did not answer: its script holds it up"),
        },
        _ = placed.has_died(limit + ANSWER_LIMIT + ANSWER_LIMIT) => no_answer("the worker died over it"),
    };
    probes.forget(number);
    info!(outcome = ?response.outcome(), message = response.message, run_us = response.run_us, "the app was tried");
    response
}

fn response(probed: Probed) -> ProbeResponse {
    let Probed { number: _, exception_type, message, timed_out, run_us } = probed;
    let outcome = if timed_out {
        ProbeOutcome::TimedOut
    } else if exception_type.is_empty() {
        ProbeOutcome::Healthy
    } else {
        ProbeOutcome::Exception
    };
    ProbeResponse { outcome: outcome.into(), exception_type, message, run_us }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        fake::{Behaviour, FakeSpawner},
        options::Limits,
        pool::tests::start_with,
    };

    const LIMIT: Duration = Duration::from_secs(10);

    async fn outcome_of(behaviour: Behaviour) -> (ProbeOutcome, String) {
        let spawner = FakeSpawner::new([behaviour]);
        let pool = start_with(1, &spawner, Limits::default()).await.unwrap();
        let response = probe(&pool, LIMIT).await;
        assert!(pool.shared().probes.waiting().is_empty(), "it is still waited for");
        pool.stop().await;
        (response.outcome(), response.exception_type)
    }

    #[tokio::test(start_paused = true)]
    async fn what_the_worker_says_is_told() {
        assert_eq!(outcome_of(Behaviour::Serve).await, (ProbeOutcome::Healthy, String::new()));
        assert_eq!(
            outcome_of(Behaviour::Raise("ValueError")).await,
            (ProbeOutcome::Exception, "ValueError".to_owned())
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_worker_that_says_nothing_is_not_waited_for() {
        assert_eq!(outcome_of(Behaviour::Hang).await.0, ProbeOutcome::NoAnswer);
    }

    #[tokio::test]
    async fn a_worker_that_dies_of_it_is_not_waited_for() {
        assert_eq!(outcome_of(Behaviour::DieOfProbe).await.0, ProbeOutcome::NoAnswer);
    }

    #[test]
    fn an_answer_to_nobody_is_none() {
        let probes = Probes::default();
        let (number, answer) = probes.expect();
        probes.answered(Probed { number: number + 1, ..Probed::default() });
        drop(answer);
        probes.answered(Probed { number, ..Probed::default() });
        assert!(probes.waiting().is_empty());
    }
}
