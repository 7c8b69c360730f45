//! The stores that the tests run on, and what they put into them.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use streamfleet_cluster::{
    Change, FileSnapshots, Loaded, MemorySnapshots, RedisOptions, RedisSnapshots, SNAPSHOT_TTL, Signer,
    SnapshotOptions, SnapshotStore, Unsaved,
};
use streamfleet_testkit::redis::{Cluster, Redis, RedisLaunch, Version};
use tempfile::TempDir;

use crate::registry::stores::cluster_url;

/// The cluster's name.
pub const CLUSTER: &str = "snapshots";
/// The key that signs.
pub const KEY: &str = "0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f";

/// A store with nothing in it.
pub struct Store {
    place: Place,
    /// Those that are one process's, by the time to live that they were made with.
    made: Mutex<HashMap<Duration, Arc<dyn SnapshotStore>>>,
}

enum Place {
    Memory,
    Files(TempDir),
    Redis(Box<Redis>),
    Cluster(Cluster),
}

impl Store {
    fn at(place: Place) -> Self {
        Self { place, made: Mutex::default() }
    }

    pub fn memory() -> Self {
        Self::at(Place::Memory)
    }

    pub fn files() -> Self {
        Self::at(Place::Files(tempfile::tempdir().unwrap()))
    }

    pub async fn redis(version: Version) -> Self {
        Self::at(Place::Redis(Box::new(RedisLaunch::new(version).start().await.unwrap())))
    }

    pub async fn cluster(version: Version) -> Self {
        Self::at(Place::Cluster(Cluster::start(RedisLaunch::new(version)).await.unwrap()))
    }

    /// A way to the store, where there can be several one of its own, as another process would have.
    pub async fn handle(&self) -> Arc<dyn SnapshotStore> {
        self.handle_with(SNAPSHOT_TTL).await
    }

    /// The same with another time to live.
    pub async fn handle_with(&self, ttl: Duration) -> Arc<dyn SnapshotStore> {
        let options = SnapshotOptions { signer: signer(CLUSTER, &[KEY]), ttl };
        match &self.place {
            Place::Memory => {
                let mut made = self.made.lock().unwrap();
                Arc::clone(made.entry(ttl).or_insert_with(|| Arc::new(MemorySnapshots::new(options))))
            }
            Place::Files(folder) => {
                let made = self.made.lock().unwrap().get(&ttl).cloned();
                if let Some(store) = made {
                    return store;
                }
                let folder = folder.path().join(format!("{ttl:?}"));
                let store: Arc<dyn SnapshotStore> = Arc::new(FileSnapshots::open(folder, options).await.unwrap());
                self.made.lock().unwrap().insert(ttl, Arc::clone(&store));
                store
            }
            Place::Redis(redis) => Arc::new(connect(&redis.url(), options).await),
            Place::Cluster(cluster) => Arc::new(connect(&cluster_url(cluster), options).await),
        }
    }
}

pub fn signer(cluster: &str, keys: &[&str]) -> Signer {
    Signer::new(cluster, keys).unwrap()
}

/// Connects to the Redis at this address.
pub async fn connect(url: &str, options: SnapshotOptions) -> RedisSnapshots {
    let redis = RedisOptions::new(url.parse().unwrap(), None, CLUSTER);
    RedisSnapshots::connect(redis, options).await.unwrap()
}

/// What everybody uses.
pub fn plain_options() -> SnapshotOptions {
    SnapshotOptions::new(signer(CLUSTER, &[KEY]))
}

/// Connects as everybody does.
pub async fn connect_plainly(url: &str) -> RedisSnapshots {
    connect(url, plain_options()).await
}

/// A change of these values, `None` for those that are gone.
pub fn change(full: bool, values: &[(&str, Option<&str>)]) -> Change {
    let values = values.iter().map(|(key, value)| ((*key).to_owned(), value.map(|value| value.to_owned().into())));
    Change { full, core: full.then(|| "core".into()), values: values.collect(), ..Change::default() }
}

/// What a session's state is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Content {
    pub core: Bytes,
    pub values: BTreeMap<String, Bytes>,
    pub applied: (u64, u64),
    pub revision: String,
    pub unsaved: Vec<Unsaved>,
}

impl Content {
    /// What it is after a change.
    pub fn apply(&mut self, change: &Change) {
        if change.full {
            *self = Self::default();
        }
        self.core = change.core.clone().unwrap_or_else(|| self.core.clone());
        for (key, value) in &change.values {
            match value {
                Some(value) => self.values.insert(key.clone(), value.clone()),
                None => self.values.remove(key),
            };
        }
        self.applied = (change.connection, change.applied_seq);
        (self.revision, self.unsaved) = (change.revision.clone(), change.unsaved.clone());
    }

    /// What it is after all these.
    pub fn after<'a>(changes: impl IntoIterator<Item = &'a Change>) -> Self {
        let mut content = Self::default();
        changes.into_iter().for_each(|change| content.apply(change));
        content
    }
}

impl From<&Loaded> for Content {
    fn from(loaded: &Loaded) -> Self {
        Self {
            core: loaded.core.clone(),
            values: loaded.values.iter().cloned().collect(),
            applied: (loaded.connection, loaded.applied_seq),
            revision: loaded.revision.clone(),
            unsaved: loaded.unsaved.clone(),
        }
    }
}
