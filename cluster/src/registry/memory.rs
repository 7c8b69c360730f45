//! The registry of a cluster that is one process.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use async_trait::async_trait;
use streamfleet_proto::{RunnerId, SessionId};

use crate::{
    member::Member,
    registry::{Pin, Registry, RegistryError},
};

/// The registry of a cluster that is one process.
#[derive(Debug)]
pub struct MemoryRegistry {
    pin_ttl: Duration,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    members: BTreeMap<RunnerId, Member>,
    pins: HashMap<SessionId, TimedPin>,
    // Epochs come from one counter, so that a session pinned anew never gets an old one again.
    last_epoch: u64,
    last_sweep: Instant,
}

#[derive(Debug)]
struct TimedPin {
    pin: Pin,
    last_use: Instant,
}

impl State {
    fn sweep(&mut self, ttl: Duration) {
        // Often enough that the table is never much larger than what is alive in it.
        if self.last_sweep.elapsed() >= ttl / 4 {
            self.pins.retain(|_, timed| timed.last_use.elapsed() < ttl);
            self.last_sweep = Instant::now();
        }
    }

    fn get(&mut self, session: &SessionId) -> Option<&Pin> {
        let timed = self.pins.get_mut(session)?;
        timed.last_use = Instant::now();
        Some(&timed.pin)
    }

    fn new_pin(&mut self, session: SessionId, runner: &RunnerId) -> Pin {
        self.last_epoch += 1;
        let pin = Pin { runner: runner.clone(), epoch: self.last_epoch };
        let timed = TimedPin { pin: pin.clone(), last_use: Instant::now() };
        self.pins.insert(session, timed);
        pin
    }
}

impl MemoryRegistry {
    /// An empty registry, that forgets a pin which nobody has used for `pin_ttl`.
    pub fn new(pin_ttl: Duration) -> Self {
        let state = State { members: BTreeMap::new(), pins: HashMap::new(), last_epoch: 0, last_sweep: Instant::now() };
        Self { pin_ttl, state: Mutex::new(state) }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // No operation leaves the state half changed, so a poisoned lock is as good as any.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl Registry for MemoryRegistry {
    async fn announce(&self, member: Member) -> Result<(), RegistryError> {
        self.state().members.insert(member.runner.clone(), member);
        Ok(())
    }

    async fn withdraw(&self, runner: &RunnerId) -> Result<(), RegistryError> {
        self.state().members.remove(runner);
        Ok(())
    }

    async fn members(&self) -> Result<Vec<Member>, RegistryError> {
        Ok(self.state().members.values().cloned().collect())
    }

    async fn pin(&self, session: SessionId, runner: &RunnerId) -> Result<Pin, RegistryError> {
        let mut state = self.state();
        state.sweep(self.pin_ttl);
        if let Some(pin) = state.get(&session) {
            return Ok(pin.clone());
        }
        Ok(state.new_pin(session, runner))
    }

    async fn pinned(&self, session: SessionId) -> Result<Option<Pin>, RegistryError> {
        Ok(self.state().get(&session).cloned())
    }

    async fn move_pin(&self, session: SessionId, current: &Pin, runner: &RunnerId) -> Result<Pin, RegistryError> {
        let mut state = self.state();
        match state.get(&session) {
            Some(pin) if pin != current => Ok(pin.clone()),
            _ => Ok(state.new_pin(session, runner)),
        }
    }

    async fn unpin(&self, session: SessionId, current: &Pin) -> Result<(), RegistryError> {
        let mut state = self.state();
        if state.get(&session) == Some(current) {
            state.pins.remove(&session);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn runner(name: &str) -> RunnerId {
        name.parse().unwrap()
    }

    #[tokio::test]
    async fn the_first_pin_wins() {
        let registry = MemoryRegistry::new(Duration::from_mins(1));
        let session = SessionId::random();
        let won = registry.pin(session, &runner("a")).await.unwrap();
        let lost = registry.pin(session, &runner("b")).await.unwrap();
        assert_eq!(won, lost);
        assert_eq!(won.runner, runner("a"));
    }

    #[tokio::test]
    async fn epochs_only_grow() {
        let registry = MemoryRegistry::new(Duration::from_mins(1));
        let session = SessionId::random();
        let first = registry.pin(session, &runner("a")).await.unwrap();
        let second = registry.move_pin(session, &first, &runner("b")).await.unwrap();
        assert!(second.epoch > first.epoch);

        // Who still holds the old pin can neither move nor remove the session.
        let refused = registry.move_pin(session, &first, &runner("c")).await.unwrap();
        assert_eq!(refused, second);
        registry.unpin(session, &first).await.unwrap();
        assert_eq!(registry.pinned(session).await.unwrap(), Some(second.clone()));

        registry.unpin(session, &second).await.unwrap();
        let again = registry.pin(session, &runner("a")).await.unwrap();
        assert!(again.epoch > second.epoch);
    }

    #[tokio::test]
    async fn unused_pins_are_forgotten() {
        let registry = MemoryRegistry::new(Duration::ZERO);
        let session = SessionId::random();
        registry.pin(session, &runner("a")).await.unwrap();
        registry.pin(SessionId::random(), &runner("a")).await.unwrap();
        assert_eq!(registry.pinned(session).await.unwrap(), None);
    }
}
