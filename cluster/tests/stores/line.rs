//! The line of visitors: what every store does alike.

use std::sync::Arc;
use std::time::Duration;

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::strategy::ValueTree as _;
use proptest::test_runner::TestRunner;
use streamfleet_cluster::{
    ACTIVE, ARRIVING, INSIDE, Line, MemoryRegistry, PATIENCE, RESERVED, RETURN, RedisOptions, RedisRegistry, Turn,
    VisitorId,
};
use streamfleet_testkit::redis::{Cluster, Redis, RedisLaunch, Version};
use tokio::time::advance;

use crate::registry::stores::cluster_url;

const CLUSTER: &str = "line";

/// A line, and a way to have time pass for it.
enum Stage {
    Memory(Arc<MemoryRegistry>),
    Redis(Box<Redis>, RedisRegistry),
}

impl Stage {
    async fn redis(version: Version) -> Self {
        let redis = RedisLaunch::new(version).start().await.unwrap();
        let line = connect(&redis.url()).await;
        Self::Redis(Box::new(redis), line)
    }

    fn line(&self) -> &dyn Line {
        match self {
            Self::Memory(registry) => &**registry,
            Self::Redis(_, registry) => registry,
        }
    }

    /// A moment more than this passes.
    async fn pass(&self, time: Duration) {
        let Self::Redis(redis, _) = self else { return advance(time + Duration::from_millis(1)).await };
        // All that is kept there with a time is from so much earlier.
        for suffix in ["seen", "places", "inside"] {
            let key = format!("streamfleet:{CLUSTER}:{{line}}:{suffix}");
            let members: Vec<(String, f64)> = redis.command(&["ZRANGE", &key, "0", "-1", "WITHSCORES"]).await.unwrap();
            for (member, at) in members {
                let earlier = (at - time.as_secs_f64() * 1000.0 - 1.0).to_string();
                redis.command::<()>(&["ZADD", &key, &earlier, &member]).await.unwrap();
            }
        }
    }
}

async fn connect(url: &str) -> RedisRegistry {
    RedisRegistry::connect(RedisOptions::new(url.parse().unwrap(), None, CLUSTER)).await.unwrap()
}

fn visitors<const N: usize>() -> [VisitorId; N] {
    std::array::from_fn(|_| VisitorId::random())
}

fn wait(place: u64, waiting: u64) -> Turn {
    Turn::Wait { place, waiting }
}

/// What needs no time to pass.
async fn behaves(line: &dyn Line) {
    let [a, b, c, d] = visitors();
    // Places are kept for those who have been let in, and nobody gets one that isn't there.
    assert_eq!(line.ask(a, 2).await.unwrap(), Turn::In);
    assert_eq!(line.ask(b, 2).await.unwrap(), Turn::In);
    assert_eq!(line.ask(c, 2).await.unwrap(), wait(1, 1));
    assert_eq!(line.ask(d, 2).await.unwrap(), wait(2, 2));
    assert_eq!(line.ask(a, 2).await.unwrap(), Turn::In);
    assert!(line.enter(a, 2).await.unwrap());
    // Its runner doesn't say so yet.
    assert_eq!(line.ask(c, 2).await.unwrap(), wait(1, 2));
    assert!(!line.enter(d, 2).await.unwrap());
    // There is one place more, and it is not for who asks first.
    assert_eq!(line.ask(d, 3).await.unwrap(), wait(2, 2));
    assert!(!line.enter(d, 3).await.unwrap());
    assert!(!line.enter(VisitorId::random(), 3).await.unwrap());
    assert_eq!(line.ask(c, 3).await.unwrap(), Turn::In);
    assert_eq!(line.ask(d, 3).await.unwrap(), wait(1, 1));
    // Nothing is free at all: who has been let in comes in all the same.
    assert!(line.enter(b, 0).await.unwrap());
    assert!(line.enter(c, 0).await.unwrap());
    assert!(!line.enter(d, 0).await.unwrap());
    // Who is inside opens the app once more, and so does who has just left, or came in elsewhere.
    assert_eq!(line.ask(a, 0).await.unwrap(), Turn::In);
    assert!(line.enter(a, 0).await.unwrap());
    line.leave(b).await.unwrap();
    assert_eq!(line.ask(b, 0).await.unwrap(), Turn::In);
    // Who is gone before its runner has said that it came takes no place any more: a and c do.
    assert_eq!(line.ask(d, 2).await.unwrap(), wait(1, 1));
    assert_eq!(line.ask(d, 3).await.unwrap(), Turn::In);
    assert_eq!(line.ask(VisitorId::random(), 3).await.unwrap(), wait(1, 1));
    let known = visitors::<3>();
    line.stay(&known).await.unwrap();
    for visitor in known {
        assert_eq!(line.ask(visitor, 0).await.unwrap(), Turn::In);
    }
    assert_eq!(line.ask(VisitorId::random(), 0).await.unwrap(), wait(2, 2));
}

/// What needs time.
async fn forgets(stage: Stage) {
    let line = stage.line();
    let [a, b, c, d] = visitors();
    // A place that nobody takes is somebody else's, and one that was taken is in its runner's load soon.
    assert_eq!(line.ask(a, 1).await.unwrap(), Turn::In);
    stage.pass(RESERVED / 2).await;
    assert_eq!(line.ask(b, 1).await.unwrap(), wait(1, 1));
    stage.pass(RESERVED / 2).await;
    assert_eq!(line.ask(b, 1).await.unwrap(), Turn::In);
    assert!(line.enter(b, 1).await.unwrap());
    assert_eq!(line.ask(c, 1).await.unwrap(), wait(1, 1));
    stage.pass(ARRIVING).await;
    assert_eq!(line.ask(c, 0).await.unwrap(), wait(1, 1));
    assert_eq!(line.ask(d, 0).await.unwrap(), wait(2, 2));

    // Who doesn't ask is passed over, and still has its place.
    stage.pass(ACTIVE).await;
    assert_eq!(line.ask(a, 0).await.unwrap(), wait(3, 3));
    assert_eq!(line.ask(d, 1).await.unwrap(), Turn::In);
    assert_eq!(line.ask(c, 1).await.unwrap(), wait(1, 2));
    assert_eq!(line.ask(c, 2).await.unwrap(), Turn::In);

    // Nobody is inside for ever who doesn't say so, and who has left is so for a while.
    assert_eq!(line.ask(b, 0).await.unwrap(), Turn::In);
    stage.pass(INSIDE).await;
    assert_eq!(line.ask(b, 0).await.unwrap(), wait(2, 2));
    line.stay(&[b]).await.unwrap();
    line.leave(b).await.unwrap();
    stage.pass(RETURN).await;
    assert_eq!(line.ask(b, 0).await.unwrap(), wait(2, 2));

    // At last who asks no more is forgotten.
    stage.pass(PATIENCE).await;
    assert_eq!(line.ask(d, 0).await.unwrap(), wait(1, 1));
}

#[derive(Debug, Clone)]
enum Step {
    Ask(usize, u64),
    Enter(usize, u64),
    Stay(Vec<usize>),
    Leave(usize),
}

fn step() -> impl Strategy<Value = Step> {
    let (visitor, free) = (0..8_usize, 0..5_u64);
    prop_oneof![
        6 => (visitor.clone(), free.clone()).prop_map(|(visitor, free)| Step::Ask(visitor, free)),
        4 => (visitor.clone(), free).prop_map(|(visitor, free)| Step::Enter(visitor, free)),
        1 => vec(visitor.clone(), 0..3).prop_map(Step::Stay),
        1 => visitor.prop_map(Step::Leave),
    ]
}

/// Redis answers what memory does, whatever is asked, as long as no time passes that counts.
#[tokio::test]
async fn redis_agrees_with_memory() {
    let strategy = vec(step(), 40);
    let mut random = TestRunner::default();
    let redis = RedisLaunch::new(Version::V8).start().await.unwrap();
    let line = connect(&redis.url()).await;
    for _ in 0..20 {
        redis.command::<()>(&["FLUSHALL"]).await.unwrap();
        let course = strategy.new_tree(&mut random).unwrap().current();
        let (memory, everybody) = (MemoryRegistry::default(), visitors::<8>());
        for (number, step) in course.iter().enumerate() {
            let so_far = || &course[..=number];
            match step {
                Step::Ask(visitor, free) => {
                    let turns = [&line as &dyn Line, &memory].map(|line| line.ask(everybody[*visitor], *free));
                    let [found, expected] = turns;
                    assert_eq!(found.await.unwrap(), expected.await.unwrap(), "{:?}", so_far());
                }
                Step::Enter(visitor, free) => {
                    let entered = [&line as &dyn Line, &memory].map(|line| line.enter(everybody[*visitor], *free));
                    let [found, expected] = entered;
                    assert_eq!(found.await.unwrap(), expected.await.unwrap(), "{:?}", so_far());
                }
                Step::Stay(some) => {
                    let some: Vec<_> = some.iter().map(|visitor| everybody[*visitor]).collect();
                    line.stay(&some).await.unwrap();
                    memory.stay(&some).await.unwrap();
                }
                Step::Leave(visitor) => {
                    line.leave(everybody[*visitor]).await.unwrap();
                    memory.leave(everybody[*visitor]).await.unwrap();
                }
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn in_memory() {
    behaves(&MemoryRegistry::default()).await;
    forgets(Stage::Memory(Arc::default())).await;
}

#[tokio::test]
async fn on_redis_7() {
    let stage = Stage::redis(Version::V7).await;
    behaves(stage.line()).await;
    forgets(Stage::redis(Version::V7).await).await;
}

#[tokio::test]
async fn on_a_cluster_of_redis_8() {
    let cluster = Cluster::start(RedisLaunch::new(Version::V8)).await.unwrap();
    behaves(&connect(&cluster_url(&cluster)).await).await;
}
