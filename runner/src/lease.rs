//! Whether this runner may act as the owner of its sessions.
//!
//! While it is a member, nobody takes its sessions away, and it needn't ask before each step. When its lease has ended without its
//! noticing (the process was stopped, or the machine slept), what it owned may have been given to others: then it waits until
//! it has asked. When the registry can't be asked, nobody can take anything away through it either, and sessions go on.

use std::time::Duration;

use streamfleet_cluster::LEASE;
use tokio::{
    sync::watch,
    time::{Instant, timeout},
};

/// How recent a failed attempt to renew must be to say that the registry is away now. Attempts are a second apart and take
/// two at most, so while it is away there is always one as recent as that; after a stop of the process there isn't.
const AWAY_WINDOW: Duration = Duration::from_secs(3);
/// How long to wait for an answer to whether this runner is still the owner.
const ADMIT_LIMIT: Duration = Duration::from_secs(5);

/// Whether this runner may act as the owner of its sessions.
#[derive(Debug)]
pub(crate) struct Lease {
    state: watch::Sender<State>,
}

#[derive(Debug, Clone, Copy)]
struct State {
    held_until: Option<Instant>,
    /// When the last attempt began, if it failed.
    failed: Option<Instant>,
}

impl State {
    fn is_held(&self, now: Instant) -> bool {
        self.held_until.is_some_and(|until| now < until)
    }

    fn admits(&self) -> bool {
        let now = Instant::now();
        self.is_held(now) || self.failed.is_some_and(|began| now.duration_since(began) < AWAY_WINDOW)
    }
}

impl Lease {
    pub(crate) fn new() -> Self {
        Self { state: watch::Sender::new(State { held_until: None, failed: None }) }
    }

    /// The registry has taken an announcement that was sent at `sent`, and everything owned has been checked.
    pub(crate) fn renewed(&self, sent: Instant) {
        self.state.send_replace(State { held_until: Some(sent + LEASE), failed: None });
    }

    /// The registry could not be asked, in an attempt that began at `began`.
    pub(crate) fn failed(&self, began: Instant) {
        self.state.send_modify(|state| state.failed = Some(began));
    }

    /// Whether nobody can have taken anything away, at this moment.
    pub(crate) fn is_held(&self, now: Instant) -> bool {
        self.state.borrow().is_held(now)
    }

    /// Whether to act at once.
    pub(crate) fn admits(&self) -> bool {
        self.state.borrow().admits()
    }

    /// Waits until it is known who owns what. False when that can't be found out in time.
    pub(crate) async fn admit(&self) -> bool {
        if self.admits() {
            return true;
        }
        let mut state = self.state.subscribe();
        timeout(ADMIT_LIMIT, state.wait_for(State::admits)).await.is_ok_and(|state| state.is_ok())
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::advance;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_lease_ends_unless_renewed() {
        let lease = Lease::new();
        assert!(!lease.admits());
        lease.renewed(Instant::now());
        advance(LEASE / 2).await;
        assert!(lease.admits());
        // It counts from when the renewal was sent: that is when the store's own count can have begun at the earliest.
        let sent = Instant::now();
        advance(LEASE / 4).await;
        lease.renewed(sent);
        advance(LEASE / 2).await;
        assert!(lease.admits());
        advance(LEASE / 4).await;
        assert!(!lease.admits());
        assert!(!lease.admit().await);
    }

    #[tokio::test(start_paused = true)]
    async fn a_registry_that_is_away_takes_nothing_from_anybody() {
        let lease = Lease::new();
        lease.renewed(Instant::now());
        for _ in 0..20 {
            advance(Duration::from_secs(1)).await;
            lease.failed(Instant::now());
            assert!(lease.admits());
        }
        // A failure from before the process was stopped says nothing of now.
        advance(Duration::from_secs(10)).await;
        assert!(!lease.admits());
        let waiting = async {
            assert!(lease.admit().await);
        };
        let renewing = async { lease.renewed(Instant::now()) };
        tokio::join!(waiting, renewing);
    }
}
