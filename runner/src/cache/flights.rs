//! Of all workers of this node that want the same value at once, one leads: it gets the value, or the right to compute it, and the
//! others follow.

use std::{
    collections::{HashMap, hash_map},
    sync::{Arc, Mutex, PoisonError},
};

use streamfleet_cluster::ValueKey;
use tokio::sync::{Notify, watch};

use super::node::Found;

/// The values that are being waited for.
#[derive(Debug, Default)]
pub(super) struct Flights(Mutex<HashMap<ValueKey, Arc<State>>>);

#[derive(Debug)]
struct State {
    outcome: watch::Sender<Outcome>,
    /// Somebody elsewhere has got done with the value.
    settled: Notify,
}

#[derive(Debug, Clone)]
enum Outcome {
    None,
    Ended(Option<Found>),
}

/// The lead of a flight. Dropping it ends the flight without a value.
#[derive(Debug)]
pub(super) struct Lead {
    flights: Arc<Flights>,
    key: ValueKey,
    state: Arc<State>,
}

/// What joining a flight makes one.
pub(super) enum Joined {
    Lead(Lead),
    /// The future is the flight's end, with the value if that was had.
    Follow(Follower),
}

/// One that waits for a flight's end.
pub(super) struct Follower(watch::Receiver<Outcome>);

impl Flights {
    /// Joins the flight for this value, or begins it.
    pub(super) fn join(self: &Arc<Self>, key: &ValueKey) -> Joined {
        let mut flights = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match flights.entry(key.clone()) {
            hash_map::Entry::Occupied(entry) => Joined::Follow(Follower(entry.get().outcome.subscribe())),
            hash_map::Entry::Vacant(entry) => {
                let state = Arc::new(State { outcome: watch::Sender::new(Outcome::None), settled: Notify::new() });
                entry.insert(Arc::clone(&state));
                Joined::Lead(Lead { flights: Arc::clone(self), key: key.clone(), state })
            }
        }
    }

    /// Wakes the lead that waits for somebody elsewhere.
    pub(super) fn settled(&self, key: &ValueKey) {
        let flights = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(state) = flights.get(key) {
            state.settled.notify_one();
        }
    }

    /// Wakes all leads that wait for somebody elsewhere.
    pub(super) fn settled_perhaps(&self) {
        let flights = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for state in flights.values() {
            state.settled.notify_one();
        }
    }

    fn end(&self, key: &ValueKey, state: &State, found: Option<Found>) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(key);
        state.outcome.send_modify(|outcome| {
            if matches!(outcome, Outcome::None) {
                *outcome = Outcome::Ended(found);
            }
        });
    }
}

impl Lead {
    /// Ends the flight with a value for all that follow.
    pub(super) fn land(self, found: Found) {
        self.flights.end(&self.key, &self.state, Some(found));
        // Dropping it now changes nothing: there may be another flight for the value by then.
    }

    /// Somebody elsewhere has got done with the value since this was last waited for.
    pub(super) async fn settled(&self) {
        self.state.settled.notified().await;
    }
}

impl Drop for Lead {
    fn drop(&mut self) {
        if matches!(*self.state.outcome.borrow(), Outcome::None) {
            self.flights.end(&self.key, &self.state, None);
        }
    }
}

impl Follower {
    /// Waits for the flight's end. The value, if the lead has had it.
    pub(super) async fn ended(mut self) -> Option<Found> {
        let outcome = self.0.wait_for(|outcome| matches!(outcome, Outcome::Ended(_))).await;
        match outcome.as_deref() {
            Ok(Outcome::Ended(found)) => found.clone(),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use streamfleet_cluster::Packed;

    use super::*;
    use crate::cache::stamps::Stamps;

    fn key() -> ValueKey {
        ValueKey { function: "f".into(), call: "c".into() }
    }

    fn lead(flights: &Arc<Flights>) -> Lead {
        match flights.join(&key()) {
            Joined::Lead(lead) => lead,
            Joined::Follow(_) => panic!("there is a lead"),
        }
    }

    fn follow(flights: &Arc<Flights>) -> Follower {
        match flights.join(&key()) {
            Joined::Follow(follower) => follower,
            Joined::Lead(_) => panic!("there is no lead"),
        }
    }

    #[tokio::test]
    async fn followers_get_what_the_lead_gets() {
        let (flights, stamps) = (Arc::new(Flights::default()), Stamps::create().unwrap());
        let (one, follower) = (lead(&flights), follow(&flights));
        let found = Found { value: Packed::of(b"v"), expires_at: None, stamp: stamps.of(&key()) };
        one.land(found);
        assert_eq!(follower.ended().await.unwrap().value.size(), 1);
        drop(lead(&flights));
    }

    #[tokio::test]
    async fn a_lead_that_goes_away_leaves_room_for_another() {
        let flights = Arc::new(Flights::default());
        let (one, follower) = (lead(&flights), follow(&flights));
        drop(one);
        assert!(follower.ended().await.is_none());
        let other = lead(&flights);
        let _follower = follow(&flights);
        flights.settled(&key());
        other.settled().await;
        flights.settled_perhaps();
        other.settled().await;
    }
}
