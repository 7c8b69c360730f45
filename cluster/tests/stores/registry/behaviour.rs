//! What every store does alike.

use std::collections::HashSet;
use std::sync::Arc;

use futures_util::future::join_all;
use streamfleet_cluster::{Event, LEASE, Pin, Registry, RunnerPhase, Target};
use streamfleet_proto::{MediaId, RunnerId, SessionId};
use streamfleet_testkit::redis::Version;
use tokio::sync::broadcast::Receiver;
use tokio::time::{sleep, timeout};

use super::stores::{LIMIT, Store, member};

fn runner(name: &str) -> RunnerId {
    name.parse().unwrap()
}

/// Runs everything on a store.
async fn behaves(store: &Store) {
    let (one, other) = (store.handle("pins").await, store.handle("pins").await);
    the_first_pin_wins(&one, &other).await;
    epochs_only_grow(&*one, &*other).await;
    claims(&*one, &*other).await;
    media(&*one, &*other).await;
    events(&*one, &*other).await;
    members(&*store.handle("members").await, &*store.handle("members").await).await;
}

async fn the_first_pin_wins(one: &Arc<dyn Registry>, other: &Arc<dyn Registry>) {
    let session = SessionId::random();
    let callers = (0..50).map(|number| {
        let registry = Arc::clone(if number % 2 == 0 { one } else { other });
        tokio::spawn(async move { registry.pin(session, &runner(&format!("r.{number}_x"))).await.unwrap() })
    });
    let pins: Vec<_> = join_all(callers).await.into_iter().map(Result::unwrap).collect();
    assert!(pins.iter().all(|pin| *pin == pins[0]), "{pins:?}");
    assert_eq!(other.pinned(session).await.unwrap().as_ref(), Some(&pins[0]));
    assert_eq!(one.pinned(SessionId::random()).await.unwrap(), None);
}

async fn epochs_only_grow(one: &dyn Registry, other: &dyn Registry) {
    let session = SessionId::random();
    let first = one.pin(session, &runner("a")).await.unwrap();
    let second = other.move_pin(session, &first, &runner("b")).await.unwrap();
    assert!(second.epoch > first.epoch && second.runner == runner("b"));
    // Who still holds the old pin can neither move nor remove the session.
    assert_eq!(one.move_pin(session, &first, &runner("c")).await.unwrap(), second);
    one.unpin(session, &first).await.unwrap();
    assert_eq!(one.pinned(session).await.unwrap(), Some(second.clone()));
    other.unpin(session, &second).await.unwrap();
    assert_eq!(one.pinned(session).await.unwrap(), None);
    let third = one.pin(session, &runner("a")).await.unwrap();
    assert!(third.epoch > second.epoch);
    // A pin that is gone can be moved: that puts it back.
    one.unpin(session, &third).await.unwrap();
    let fourth = other.move_pin(session, &third, &runner("d")).await.unwrap();
    assert!(fourth.epoch > third.epoch);
}

async fn claims(one: &dyn Registry, other: &dyn Registry) {
    let session = SessionId::random();
    let pin = one.pin(session, &runner("a")).await.unwrap();
    assert_eq!(one.claim(session, &pin).await.unwrap(), pin);
    one.unpin(session, &pin).await.unwrap();
    // Forgotten: put back as it was.
    assert_eq!(other.claim(session, &pin).await.unwrap(), pin);
    assert_eq!(one.pinned(session).await.unwrap(), Some(pin.clone()));
    let older = Pin { epoch: pin.epoch - 1, ..pin.clone() };
    let of_another = Pin { runner: runner("b"), ..pin.clone() };
    for refused in [older, of_another] {
        assert_eq!(other.claim(session, &refused).await.unwrap(), pin);
    }
    let newer = Pin { runner: runner("b"), epoch: pin.epoch + 1 };
    assert_eq!(other.claim(session, &newer).await.unwrap(), newer);
    assert_eq!(one.claim(session, &pin).await.unwrap(), newer);
}

async fn media(one: &dyn Registry, other: &dyn Registry) {
    let file: MediaId = "ab12".parse().unwrap();
    assert!(one.media(&file).await.unwrap().is_empty());
    for name in ["a", "b", "a"] {
        one.add_media(&file, &runner(name)).await.unwrap();
    }
    let holders: HashSet<_> = other.media(&file).await.unwrap().into_iter().collect();
    assert_eq!(holders, HashSet::from([runner("a"), runner("b")]));
    other.remove_media(&file, &runner("a")).await.unwrap();
    assert_eq!(one.media(&file).await.unwrap(), [runner("b")]);
    one.remove_media(&file, &runner("b")).await.unwrap();
    assert!(other.media(&file).await.unwrap().is_empty());
}

async fn next(events: &mut Receiver<Event>) -> Event {
    loop {
        // Each subscription begins with the news that what was before is unknown.
        let event = timeout(LIMIT, events.recv()).await.expect("no event").unwrap();
        if event != Event::Gap {
            return event;
        }
    }
}

async fn events(one: &dyn Registry, other: &dyn Registry) {
    let mut events = other.subscribe();
    // The subscription itself may still be on its way.
    let session = SessionId::random();
    let mut pin = one.pin(session, &runner("a")).await.unwrap();
    let heard = async {
        loop {
            pin = one.move_pin(session, &pin, &runner("b")).await.unwrap();
            if timeout(LEASE / 50, next(&mut events)).await.is_ok() {
                return;
            }
        }
    };
    timeout(LIMIT, heard).await.expect("nothing is heard");
    while timeout(LEASE / 10, next(&mut events)).await.is_ok() {}

    pin = one.move_pin(session, &pin, &runner("c")).await.unwrap();
    assert_eq!(next(&mut events).await, Event::Pin { session, pin: Some(pin.clone()) });
    one.unpin(session, &pin).await.unwrap();
    assert_eq!(next(&mut events).await, Event::Pin { session, pin: None });
    one.announce(&member("e", 0)).await.unwrap();
    assert_eq!(next(&mut events).await, Event::Members);
    one.announce(&member("e", 7)).await.unwrap();
    let mut draining = member("e", 7);
    draining.phase = RunnerPhase::Draining;
    one.announce(&draining).await.unwrap();
    // One for the phase, none for the load.
    assert_eq!(next(&mut events).await, Event::Members);
    assert!(timeout(LEASE / 10, next(&mut events)).await.is_err());
    one.withdraw(&draining.runner).await.unwrap();
    assert_eq!(next(&mut events).await, Event::Members);
}

async fn members(one: &dyn Registry, other: &dyn Registry) {
    let (lasting, short) = (member("a-1", 3), member("b-2", 0));
    assert!(one.announce(&lasting).await.unwrap().joined);
    assert!(one.announce(&short).await.unwrap().joined);
    assert!(!other.announce(&lasting).await.unwrap().joined);
    let seen = other.members().await.unwrap();
    assert_eq!(seen.list, [lasting.clone(), short.clone()]);
    assert_eq!(seen.target, Target::default());
    one.set_revision(Some("b")).await.unwrap();
    assert_eq!(other.members().await.unwrap().target, Target::revision(Some("b")));
    one.set_revision(None).await.unwrap();

    // One is renewed past the other's lease, and past the time in which a new registry takes nobody away.
    let ended = async {
        while other.members().await.unwrap().list.len() > 1 {
            assert!(!one.announce(&lasting).await.unwrap().joined);
            sleep(LEASE / 10).await;
        }
    };
    timeout(LIMIT, ended).await.expect("a lease never ended");
    assert_eq!(other.members().await.unwrap().list, std::slice::from_ref(&lasting));
    assert!(one.announce(&short).await.unwrap().joined, "its lease had ended");
    one.withdraw(&lasting.runner).await.unwrap();
    assert_eq!(other.members().await.unwrap().list, [short]);
    assert!(one.announce(&lasting).await.unwrap().joined);
}

#[tokio::test]
async fn in_memory() {
    behaves(&Store::memory()).await;
}

#[tokio::test]
async fn on_redis_7() {
    behaves(&Store::redis(Version::V7).await).await;
}

#[tokio::test]
async fn on_redis_8() {
    behaves(&Store::redis(Version::V8).await).await;
}

#[tokio::test]
async fn on_a_cluster_of_redis_7() {
    behaves(&Store::cluster(Version::V7).await).await;
}

#[tokio::test]
async fn on_a_cluster_of_redis_8() {
    behaves(&Store::cluster(Version::V8).await).await;
}
