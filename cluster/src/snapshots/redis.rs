//! The snapshots of a cluster of several processes, in Redis.
//!
//! `streamfleet:CLUSTER:snapshot:{SESSION}` is a hash:
//!
//! | field | what is there |
//! |---|---|
//! | `epoch` | the owner's: who comes with less is refused |
//! | `by`, `version` | the owner that wrote or removed the snapshot last, and which version that was |
//! | `manifest`, `signature` | what belongs to the snapshot, and that a runner of this cluster has said so |
//! | `core` | what the worker keeps of Streamlit's own state |
//! | `v:KEY` | a user value |
//!
//! What stands beside the manifest is for the scripts and is not trusted. Snapshots have a connection of their own: a large one
//! must not hold up a lease.

use std::{
    sync::{Arc, LazyLock},
    time::Duration,
};

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::future::BoxFuture;
use redis::{Cmd, Script, Value};
use streamfleet_proto::SessionId;
use tokio::sync::Semaphore;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::{
    LoadError, Loaded, SaveError, SavedState, SnapshotOptions, SnapshotStore, Write, signer::Signer, state::micros,
    stored::Stored,
};
use crate::redis::{Connector, Limits, Link, LinkError, RedisOptions, millis, run, script_call};

/// How long things may take: [`MOST_AT_ONCE`] goes through a network of 100 Mbit/s in this time.
const LIMITS: Limits = Limits { answer: Duration::from_secs(3), operation: Duration::from_secs(4) };
/// KiB on their way at once, beyond which others wait, so that no answer is late only for what was asked before it.
const MOST_AT_ONCE: u32 = 32 * 1024;
/// What a snapshot counts as that is being loaded, in KiB: nobody knows how large it is. So eight are loaded at once.
const LOAD: u32 = 4 * 1024;
/// What the names of user values begin with.
const VALUE: &str = "v:";

/// A script, with what is common to all of them.
fn script(text: &str) -> Script {
    Script::new(&format!("{}{text}", include_str!("scripts/fence.lua")))
}

static SAVE: LazyLock<Script> = LazyLock::new(|| script(include_str!("scripts/save.lua")));
static LOAD_SCRIPT: LazyLock<Script> = LazyLock::new(|| script(include_str!("scripts/load.lua")));
static TOUCH: LazyLock<Script> = LazyLock::new(|| script(include_str!("scripts/touch.lua")));
static REMOVE: LazyLock<Script> = LazyLock::new(|| script(include_str!("scripts/remove.lua")));

/// The snapshots of a cluster of several processes, in Redis.
pub struct RedisSnapshots {
    link: Arc<Link>,
    prefix: String,
    signer: Signer,
    ttl: Duration,
    under_way: Semaphore,
    _stop: DropGuard,
}

/// What a script answers.
enum Answer {
    Done(Value),
    Fenced(u64),
    Gone,
}

impl RedisSnapshots {
    /// Connects. Fails when there is no connection after ten seconds.
    pub fn connect(redis: RedisOptions, options: SnapshotOptions) -> BoxFuture<'static, Result<Self, LinkError>> {
        // Boxed, so that it is compiled here, and not once more for every program.
        Box::pin(Self::connect_to(redis, options))
    }

    async fn connect_to(redis: RedisOptions, options: SnapshotOptions) -> Result<Self, LinkError> {
        let prefix = redis.prefix();
        let stop = CancellationToken::new();
        let guard = stop.clone().drop_guard();
        let connector = Arc::new(Connector::new(&redis, LIMITS));
        let link = Link::start("snapshots", connector, stop).await?;
        let under_way = Semaphore::new(usize::try_from(MOST_AT_ONCE).unwrap_or(usize::MAX));
        Ok(Self { link, prefix, signer: options.signer, ttl: options.ttl, under_way, _stop: guard })
    }

    /// Calls a script about a session's snapshot, where up to `size` KiB go either way.
    async fn call(
        &self,
        script: &Script,
        session: SessionId,
        epoch: u64,
        size: u32,
        arguments: impl FnOnce(&mut Cmd),
    ) -> Result<Answer, LinkError> {
        // Never closed.
        let _permit = self.under_way.acquire_many(size.clamp(1, MOST_AT_ONCE)).await;
        let mut command = script_call(script, &[format!("{}snapshot:{{{session}}}", self.prefix)]);
        command.arg(millis(self.ttl)).arg(epoch);
        arguments(&mut command);
        let (word, value): (String, Value) =
            self.link.call(async |connection| run(script, &command, connection).await).await?;
        read_answer(&word, value).ok_or_else(|| LinkError::Failed(format!("a script answers {word:?}")))
    }
}

fn read_answer(word: &str, value: Value) -> Option<Answer> {
    match word {
        "ok" => Some(Answer::Done(value)),
        "gone" => Some(Answer::Gone),
        "fenced" => redis::from_redis_value(value).ok().map(Answer::Fenced),
        _ => None,
    }
}

/// A snapshot from the fields of its hash. Those of another version's making are passed over.
fn read_fields(fields: Value) -> Result<Stored, LoadError> {
    let malformed = || LoadError::Failed("a snapshot is no list of fields".to_owned());
    let Value::Array(list) = fields else { return Err(malformed()) };
    let mut stored = Stored::default();
    let mut list = list.into_iter();
    while let Some(name) = list.next() {
        let (Value::BulkString(name), Some(Value::BulkString(data))) = (name, list.next()) else {
            return Err(malformed());
        };
        let data = Bytes::from(data);
        match name.as_slice() {
            b"manifest" => stored.manifest = Some(data),
            b"signature" => stored.signature = Some(data),
            b"core" => stored.core = Some(data),
            name => {
                if let Some(key) = name.strip_prefix(VALUE.as_bytes()) {
                    // One that was none before is in no manifest.
                    stored.values.insert(String::from_utf8_lossy(key).into_owned(), data);
                }
            }
        }
    }
    Ok(stored)
}

/// What a write counts as, in KiB.
fn size(write: &Write) -> u32 {
    u32::try_from(write.size().div_ceil(1024)).unwrap_or(u32::MAX)
}

fn saved(answer: &Answer) -> Result<(), SaveError> {
    match answer {
        Answer::Done(_) => Ok(()),
        Answer::Fenced(epoch) => Err(SaveError::Fenced { epoch: *epoch }),
        Answer::Gone => Err(SaveError::Gone),
    }
}

#[async_trait]
impl SnapshotStore for RedisSnapshots {
    fn begin(&self, session: SessionId, epoch: u64) -> SavedState {
        SavedState::new(self.signer.clone(), session, epoch)
    }

    async fn save(&self, write: &Write) -> Result<(), SaveError> {
        let arguments = |command: &mut Cmd| {
            command.arg(write.version);
            command.arg(write.base.as_ref().map_or(&[][..], |base| base.as_slice()));
            command.arg(write.manifest.as_ref()).arg(write.signature.as_slice());
            command.arg(write.changed.len() + usize::from(write.core.is_some()));
            if let Some(core) = &write.core {
                command.arg("core").arg(core.as_ref());
            }
            for (key, data) in &write.changed {
                command.arg(format!("{VALUE}{key}")).arg(data.as_ref());
            }
            for key in &write.removed {
                command.arg(format!("{VALUE}{key}"));
            }
        };
        saved(&self.call(&SAVE, write.session, write.epoch, size(write), arguments).await?)
    }

    async fn load(&self, session: SessionId, epoch: u64) -> Result<Option<Loaded>, LoadError> {
        match self.call(&LOAD_SCRIPT, session, epoch, LOAD, |_| ()).await? {
            Answer::Done(fields) => read_fields(fields)?.open_if_any(&self.signer, session, epoch).await,
            Answer::Fenced(epoch) => Err(LoadError::Fenced { epoch }),
            Answer::Gone => Ok(None),
        }
    }

    async fn touch(&self, session: SessionId, epoch: u64) -> Result<(), SaveError> {
        saved(&self.call(&TOUCH, session, epoch, 1, |_| ()).await?)
    }

    async fn remove(&self, session: SessionId, epoch: u64) -> Result<(), SaveError> {
        let arguments = |command: &mut Cmd| {
            command.arg(micros());
        };
        saved(&self.call(&REMOVE, session, epoch, 1, arguments).await?)
    }
}
