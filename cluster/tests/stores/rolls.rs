//! The journal of a roll: what every store does alike.

use std::collections::BTreeSet;
use std::sync::Arc;

use streamfleet_cluster::{
    Course, MemoryRegistry, ROLL_LEASE, RedisOptions, RedisRegistry, Registry, Roll, RollLock, Rolls, Stage, Step,
    Taken, Target,
};
use streamfleet_proto::RunnerId;
use streamfleet_testkit::redis::{Cluster, RedisLaunch, Version};
use tokio::time::{sleep, timeout};

use crate::registry::stores::{LIMIT, cluster_url};

fn roll(stage: Stage) -> Roll {
    let steps =
        vec![Step { runner: "a-1".to_owned(), revision: "one".to_owned(), successor: Some("b-1".to_owned()), stage }];
    Roll {
        revision: "two".to_owned(),
        former: Some("one".to_owned()),
        at_once: 1,
        began_ms: 1_700_000_000_000,
        course: Course::Forward,
        reason: String::new(),
        steps,
    }
}

fn admitted(runners: &[&str]) -> Target {
    let admitted: BTreeSet<RunnerId> = runners.iter().map(|runner| runner.parse().unwrap()).collect();
    Target { admitted: Some(admitted), ..Target::revision(Some("two")) }
}

async fn held(rolls: &impl Rolls, holder: &str) -> (RollLock, Option<Roll>) {
    match rolls.take(holder).await.unwrap() {
        Taken::Held { lock, roll } => (lock, roll),
        busy @ Taken::Busy { .. } => panic!("{busy:?}"),
    }
}

/// Runs everything on a store, by two ways to it.
async fn behaves<T: Rolls + Registry>(one: &T, other: &T) {
    let (lock, none) = held(one, "ann").await;
    assert_eq!(none, None);
    assert_eq!(other.take("bob").await.unwrap(), Taken::Busy { holder: "ann".to_owned(), roll: None });

    // What is written and where sessions go change together, and everybody sees it.
    for runners in [&[][..], &["b-1"], &["b-1", "c.2_x"]] {
        assert!(one.record(&lock, &roll(Stage::Probing), &admitted(runners)).await.unwrap());
        assert_eq!(other.members().await.unwrap().target, admitted(runners));
    }
    assert!(one.renew(&lock).await.unwrap());
    let busy = Taken::Busy { holder: "ann".to_owned(), roll: Some(roll(Stage::Probing)) };
    assert_eq!(other.take("bob").await.unwrap(), busy);

    // Given back, it is somebody else's, and who had it before can write nothing any more.
    one.release(&lock).await.unwrap();
    let (next, left) = held(other, "bob").await;
    assert_eq!(left, Some(roll(Stage::Probing)));
    assert!(next.generation > lock.generation);
    assert!(!one.renew(&lock).await.unwrap());
    assert!(!one.record(&lock, &roll(Stage::Done), &Target::default()).await.unwrap());
    one.release(&lock).await.unwrap();
    assert_eq!(one.take("cid").await.unwrap(), Taken::Busy { holder: "bob".to_owned(), roll: left });
    assert_eq!(one.members().await.unwrap().target, admitted(&["b-1", "c.2_x"]));

    // Who says nothing for long loses it, and only then.
    let last = async {
        loop {
            if let Taken::Held { lock, .. } = one.take("cid").await.unwrap() {
                return lock;
            }
            sleep(ROLL_LEASE / 50).await;
        }
    };
    let last = timeout(LIMIT, last).await.expect("the lock never ended");
    assert!(!other.record(&next, &roll(Stage::Done), &Target::default()).await.unwrap());
    let finished = Roll { course: Course::Done, ..roll(Stage::Done) };
    assert!(one.record(&last, &finished, &Target::revision(Some("two"))).await.unwrap());
    assert_eq!(other.members().await.unwrap().target, Target::revision(Some("two")));
    one.release(&last).await.unwrap();
    assert_eq!(held(other, "bob").await.1, Some(finished));

    // Setting a revision by hand ends what a roll has said.
    one.set_revision(None).await.unwrap();
    assert_eq!(other.members().await.unwrap().target, Target::default());
}

async fn connect(url: &str) -> RedisRegistry {
    RedisRegistry::connect(RedisOptions::new(url.parse().unwrap(), None, "rolls")).await.unwrap()
}

#[tokio::test(start_paused = true)]
async fn in_memory() {
    let registry = Arc::new(MemoryRegistry::default());
    behaves(&*registry, &*registry).await;
}

#[tokio::test]
async fn on_redis_7() {
    let redis = RedisLaunch::new(Version::V7).start().await.unwrap();
    behaves(&connect(&redis.url()).await, &connect(&redis.url()).await).await;
}

#[tokio::test]
async fn on_a_cluster_of_redis_8() {
    let cluster = Cluster::start(RedisLaunch::new(Version::V8)).await.unwrap();
    let url = cluster_url(&cluster);
    behaves(&connect(&url).await, &connect(&url).await).await;
}

#[tokio::test]
async fn a_redis_that_was_emptied_takes_the_journal_again() {
    let redis = RedisLaunch::new(Version::V7).start().await.unwrap();
    let rolls = connect(&redis.url()).await;
    let (lock, _) = held(&rolls, "ann").await;
    redis.command::<()>(&["FLUSHALL"]).await.unwrap();
    assert!(rolls.record(&lock, &roll(Stage::Starting), &admitted(&[])).await.unwrap());
    let busy = Taken::Busy { holder: "ann".to_owned(), roll: Some(roll(Stage::Starting)) };
    assert_eq!(connect(&redis.url()).await.take("bob").await.unwrap(), busy);
}
