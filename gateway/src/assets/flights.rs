//! One fetch for all who want the same at the same time.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::sync::OnceCell;

use super::asset::Asset;

/// What a fetch has come to: something to be kept, or nothing that others could be given.
pub(super) type Outcome = OnceCell<Option<Arc<Asset>>>;

/// The fetches under way, by path, with how many wait for each.
#[derive(Default)]
pub(super) struct Flights(Mutex<HashMap<String, (usize, Arc<Outcome>)>>);

/// A place among those who wait for a fetch.
pub(super) struct Flight<'a> {
    flights: &'a Flights,
    path: &'a str,
    pub(super) outcome: Arc<Outcome>,
}

impl Flights {
    /// Waits with all others who want this.
    pub(super) fn join<'a>(&'a self, path: &'a str) -> Flight<'a> {
        let mut flights = self.lock();
        let (waiting, outcome) = flights.entry(path.to_owned()).or_default();
        *waiting += 1;
        Flight { flights: self, path, outcome: Arc::clone(outcome) }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, (usize, Arc<Outcome>)>> {
        // Each change leaves what is in there whole, so a panic elsewhere does no harm.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Flight<'_> {
    fn drop(&mut self) {
        let mut flights = self.flights.lock();
        if let Some((waiting, _)) = flights.get_mut(self.path) {
            *waiting -= 1;
            if *waiting == 0 {
                flights.remove(self.path);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn those_who_wait_share_an_outcome_and_leave_nothing_behind() {
        let flights = Flights::default();
        let (first, second, other) = (flights.join("/a"), flights.join("/a"), flights.join("/b"));
        assert!(Arc::ptr_eq(&first.outcome, &second.outcome));
        assert!(!Arc::ptr_eq(&first.outcome, &other.outcome));
        first.outcome.get_or_init(async || None).await;
        drop(first);
        assert!(second.outcome.initialized());
        drop(second);
        assert!(!flights.join("/a").outcome.initialized());
        drop(other);
        assert!(flights.lock().is_empty());
    }
}
