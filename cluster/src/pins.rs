//! A gateway's memory of pins: for finding a session's owner without asking each time, and at all while the registry is away.

use std::sync::atomic::{AtomicU64, Ordering};

use quick_cache::sync::Cache;
use streamfleet_proto::SessionId;

use crate::registry::{Event, Pin, Registry, RegistryError};

/// Pins remembered at most, of about 150 bytes each.
const CAPACITY: usize = 100_000;

/// Remembers pins, and forgets or corrects them as others change them.
#[derive(Debug)]
pub struct PinCache {
    pins: Cache<SessionId, Remembered>,
    /// Counts the times at which changes may have been missed.
    gaps: AtomicU64,
}

#[derive(Debug, Clone)]
struct Remembered {
    pin: Pin,
    gaps: u64,
}

impl Default for PinCache {
    fn default() -> Self {
        Self { pins: Cache::new(CAPACITY), gaps: AtomicU64::new(0) }
    }
}

impl PinCache {
    /// Where a session is pinned, from memory where nothing can have changed since, else from the registry. While that is
    /// away, what is remembered is the best guess there is; `None` if that is nothing.
    pub async fn find(&self, registry: &dyn Registry, session: SessionId) -> Result<Option<Pin>, RegistryError> {
        let remembered = self.pins.get(&session);
        if let Some(known) = &remembered
            && known.gaps == self.gaps.load(Ordering::Acquire)
        {
            return Ok(Some(known.pin.clone()));
        }
        match (self.ask(registry, session).await, remembered) {
            (Err(RegistryError::Unavailable(_)), Some(known)) => Ok(Some(known.pin)),
            (outcome, _) => outcome,
        }
    }

    /// Where a session is pinned, from the registry only.
    pub async fn ask(&self, registry: &dyn Registry, session: SessionId) -> Result<Option<Pin>, RegistryError> {
        let gaps = self.gaps.load(Ordering::Acquire);
        let pin = registry.pinned(session).await?;
        match &pin {
            Some(pin) => self.remember_as_of(session, pin, gaps),
            None => {
                self.pins.remove(&session);
            }
        }
        Ok(pin)
    }

    /// What is remembered, however old.
    pub fn remembered(&self, session: SessionId) -> Option<Pin> {
        self.pins.get(&session).map(|known| known.pin)
    }

    /// Remembers a pin that the registry has just told, or that the session's owner goes by.
    pub fn remember(&self, session: SessionId, pin: &Pin) {
        self.remember_as_of(session, pin, self.gaps.load(Ordering::Acquire));
    }

    fn remember_as_of(&self, session: SessionId, pin: &Pin, gaps: u64) {
        // An answer that was overtaken by an event must not undo it.
        if self.pins.get(&session).is_none_or(|known| known.pin.epoch <= pin.epoch) {
            self.pins.insert(session, Remembered { pin: pin.clone(), gaps });
        }
    }

    /// Takes over what has changed.
    pub fn apply(&self, event: &Event) {
        match event {
            Event::Members => {}
            Event::Pin { session, pin: Some(pin) } => self.remember(*session, pin),
            Event::Pin { session, pin: None } => {
                self.pins.remove(session);
            }
            Event::Gap => {
                self.gaps.fetch_add(1, Ordering::AcqRel);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry::MemoryRegistry;

    #[tokio::test]
    async fn pins_are_remembered_until_something_may_have_changed() {
        let (registry, cache, session) = (MemoryRegistry::default(), PinCache::default(), SessionId::random());
        let first = registry.pin(session, &"a".parse().unwrap()).await.unwrap();
        assert_eq!(cache.find(&registry, session).await.unwrap(), Some(first.clone()));

        // Changed, and the cache not told: it can't know.
        let second = registry.move_pin(session, &first, &"b".parse().unwrap()).await.unwrap();
        assert_eq!(cache.find(&registry, session).await.unwrap(), Some(first.clone()));
        cache.apply(&Event::Gap);
        assert_eq!(cache.find(&registry, session).await.unwrap(), Some(second.clone()));

        // What comes late undoes nothing.
        cache.apply(&Event::Pin { session, pin: Some(first) });
        assert_eq!(cache.remembered(session), Some(second));
        cache.apply(&Event::Pin { session, pin: None });
        assert_eq!(cache.remembered(session), None);
    }
}
