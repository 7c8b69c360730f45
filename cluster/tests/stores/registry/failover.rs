//! Sentinels and clusters whose primaries die.

use std::sync::Arc;
use std::time::{Duration, Instant};

use streamfleet_cluster::Registry;
use streamfleet_proto::SessionId;
use streamfleet_testkit::redis::{Cluster, RedisLaunch, Sentinels, Version};
use tokio::time::sleep;

use super::stores::{LIMIT, cluster_url, connect, member};

/// How long a single call may take while nobody answers.
const CALL_LIMIT: Duration = Duration::from_secs(5);
/// Time for what was written to reach the replica, which happens within milliseconds.
const REPLICATION: Duration = Duration::from_millis(500);

/// Waits until the registry works again, and checks that it knows what it knew, and takes nobody for dead.
async fn comes_back(what: &str, registry: &Arc<dyn Registry>, session: SessionId) {
    let began = Instant::now();
    let mut failures = 0;
    let members = loop {
        let call = Instant::now();
        let answer = registry.members().await;
        assert!(call.elapsed() < CALL_LIMIT, "a call hung");
        match answer {
            // A primary that has just died may not be missed yet.
            Ok(members) if failures > 0 => break members,
            Ok(_) => {}
            Err(_) => failures += 1,
        }
        assert!(began.elapsed() < LIMIT, "it does not come back");
        sleep(Duration::from_millis(50)).await;
    };
    eprintln!("{what}: away for {:?}, {failures} calls failed", began.elapsed());
    assert!(members.settling, "who could not renew a lease must not be taken for dead");
    assert_eq!(members.list.len(), 1);
    while registry.pinned(session).await.is_err() {
        assert!(began.elapsed() < LIMIT, "pins do not come back");
        sleep(Duration::from_millis(50)).await;
    }
    assert!(registry.pinned(session).await.unwrap().is_some(), "a pin was lost");
    registry.pin(SessionId::random(), &"b".parse().unwrap()).await.unwrap();
}

async fn sentinels_fail_over(version: Version) {
    let mut sentinels = Sentinels::start(RedisLaunch::new(version), 1).await.unwrap();
    let hosts: Vec<_> = sentinels.sentinel_addresses().iter().map(ToString::to_string).collect();
    let url = format!("redis-sentinel://{}/{}", hosts.join(","), sentinels.master_name());
    let registry = connect(&url, "failover").await.unwrap();
    let session = SessionId::random();
    registry.announce(&member("a", 0)).await.unwrap();
    registry.pin(session, &"a".parse().unwrap()).await.unwrap();
    sleep(REPLICATION).await;
    sentinels.kill_primary().await.unwrap();
    comes_back(&format!("Sentinels, {version:?}"), &registry, session).await;
}

async fn cluster_fails_over(version: Version) {
    let mut cluster = Cluster::start(RedisLaunch::new(version)).await.unwrap();
    let registry = connect(&cluster_url(&cluster), "failover").await.unwrap();
    let session = SessionId::random();
    registry.announce(&member("a", 0)).await.unwrap();
    registry.pin(session, &"a".parse().unwrap()).await.unwrap();
    sleep(REPLICATION).await;
    cluster.kill_primary_of("streamfleet:failover:{members}").await.unwrap();
    comes_back(&format!("Cluster, {version:?}"), &registry, session).await;
}

#[tokio::test]
async fn sentinels_of_redis_7() {
    sentinels_fail_over(Version::V7).await;
}

#[tokio::test]
async fn sentinels_of_redis_8() {
    sentinels_fail_over(Version::V8).await;
}

#[tokio::test]
async fn a_cluster_of_redis_7() {
    cluster_fails_over(Version::V7).await;
}

#[tokio::test]
async fn a_cluster_of_redis_8() {
    cluster_fails_over(Version::V8).await;
}
