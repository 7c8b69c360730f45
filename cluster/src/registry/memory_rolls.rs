//! The journal of a roll in memory.

use async_trait::async_trait;
use tokio::time::Instant;

use super::{Event, MemoryRegistry, ROLL_LEASE, RegistryError, Roll, RollLock, Rolls, Taken, memory::State};
use crate::target::Target;

/// The last roll, and who carries it out until when.
#[derive(Debug, Default)]
pub(super) struct RollState {
    lock: Option<(RollLock, Instant)>,
    roll: Option<Roll>,
}

impl State {
    /// Keeps the lock until then, unless somebody else has had it since.
    fn hold(&mut self, lock: &RollLock, until: Instant) -> bool {
        if self.roll.lock.as_ref().is_some_and(|(held, _)| held.generation > lock.generation) {
            return false;
        }
        self.roll.lock = Some((lock.clone(), until));
        true
    }
}

#[async_trait]
impl Rolls for MemoryRegistry {
    async fn take(&self, holder: &str) -> Result<Taken, RegistryError> {
        let mut state = self.state();
        let roll = state.roll.roll.clone();
        if let Some((held, until)) = &state.roll.lock
            && Instant::now() < *until
        {
            return Ok(Taken::Busy { holder: held.holder.clone(), roll });
        }
        let last = state.roll.lock.as_ref().map_or(0, |(held, _)| held.generation);
        let lock = RollLock { generation: state.next_epoch(last), holder: holder.to_owned() };
        state.roll.lock = Some((lock.clone(), Instant::now() + ROLL_LEASE));
        Ok(Taken::Held { lock, roll })
    }

    async fn renew(&self, lock: &RollLock) -> Result<bool, RegistryError> {
        Ok(self.state().hold(lock, Instant::now() + ROLL_LEASE))
    }

    async fn record(&self, lock: &RollLock, roll: &Roll, target: &Target) -> Result<bool, RegistryError> {
        {
            let mut state = self.state();
            if !state.hold(lock, Instant::now() + ROLL_LEASE) {
                return Ok(false);
            }
            state.roll.roll = Some(roll.clone());
            state.target = target.clone();
        }
        self.tell(Event::Members);
        Ok(true)
    }

    async fn release(&self, lock: &RollLock) -> Result<(), RegistryError> {
        self.state().hold(lock, Instant::now());
        Ok(())
    }
}
