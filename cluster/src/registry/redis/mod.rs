//! The registry of a cluster of several processes, in Redis.
//!
//! | key (after `streamfleet:CLUSTER:`) | type | what is there |
//! |---|---|---|
//! | `{members}` | hash | runner → address, revision and phase, as JSON |
//! | `{members}:loads` | hash | runner → its load, as JSON |
//! | `{members}:leases` | sorted set | runner → when its lease ends, in ms of the server's clock |
//! | `{members}:state` | hash | when the registry was written last and is settled again; where new sessions go |
//! | `{members}:roll` | hash | the last roll, and who carries it out until when |
//! | `{line}` | sorted set | visitor who waits → when it came, in µs |
//! | `{line}:seen` | sorted set | the same → when it asked last, in ms |
//! | `{line}:places` | sorted set | visitor who has been let in, or place that was just taken → until when it counts, in ms |
//! | `{line}:inside` | sorted set | visitor who is inside → until when, in ms |
//! | `pin:{SESSION}` | hash | the session's owner and epoch |
//! | `media:{FILE}` | set | the runners that have the file |
//! | `events` | channel | what follows from changes |
//!
//! What is in braces decides the slot in a Redis Cluster, so that each script touches one slot only. All keys have a time to
//! live.

mod line;
mod news;
mod rolls;
mod scripts;

use std::{collections::HashMap, sync::Arc, time::Duration};

use async_trait::async_trait;
use futures_util::future::BoxFuture;
use redis::{FromRedisValue, RedisError, Script, ScriptInvocation};
use serde::{Deserialize, Serialize};
use streamfleet_proto::{MediaId, RunnerId, SessionId};
use tokio::sync::broadcast;
use tokio_util::sync::{CancellationToken, DropGuard};
use tracing::warn;

use crate::{
    member::{Load, Member, RunnerPhase},
    redis::{Connector, Limits, Link, LinkError, RedisOptions, follow, millis},
    registry::{AWAY_AFTER, Announced, Event, LEASE, Members, PIN_TTL, Pin, Registry, RegistryError, events},
};

/// How long what is known of members outlives the last of them.
const MEMBERS_TTL: Duration = Duration::from_hours(24);
/// How long things may take. Sessions wait for the registry to place them.
const LIMITS: Limits = Limits { answer: Duration::from_secs(1), operation: Duration::from_secs(2) };

/// The registry of a cluster of several processes, in Redis.
pub struct RedisRegistry {
    link: Arc<Link>,
    prefix: String,
    channel: String,
    events: broadcast::Sender<Event>,
    _stop: DropGuard,
}

/// What changes seldom of a member, as it is stored.
#[derive(Serialize, Deserialize)]
struct Record {
    address: String,
    revision: String,
    phase: RunnerPhase,
}

impl RedisRegistry {
    /// Connects. Fails when there is no connection after ten seconds.
    pub fn connect(options: RedisOptions) -> BoxFuture<'static, Result<Self, RegistryError>> {
        // Boxed, so that it is compiled here, and not once more for every program.
        Box::pin(Self::connect_to(options))
    }

    async fn connect_to(options: RedisOptions) -> Result<Self, RegistryError> {
        let prefix = options.prefix();
        let channel = format!("{prefix}events");
        let connector = Arc::new(Connector::new(&options, LIMITS));
        let events = broadcast::Sender::new(events::QUEUE);
        let stop = CancellationToken::new();
        {
            let (stop, connector) = (stop.clone(), Arc::clone(&connector));
            let (channels, mut news) = ([channel.clone()], news::News { events: events.clone() });
            tokio::spawn(async move { stop.run_until_cancelled(follow(&connector, &channels, &mut news)).await });
        }
        let guard = stop.clone().drop_guard();
        let link = Link::start("registry", connector, stop).await?;
        Ok(Self { link, prefix, channel, events, _stop: guard })
    }

    async fn members_script<T: FromRedisValue>(
        &self,
        script: &Script,
        arguments: impl FnOnce(&mut ScriptInvocation<'_>),
    ) -> Result<T, RegistryError> {
        self.script_with(script, &["", ":loads", ":leases", ":state"], arguments).await
    }

    /// The same with the roll.
    async fn rolls_script<T: FromRedisValue>(
        &self,
        script: &Script,
        arguments: impl FnOnce(&mut ScriptInvocation<'_>),
    ) -> Result<T, RegistryError> {
        self.script_with(script, &["", ":loads", ":leases", ":state", ":roll"], arguments).await
    }

    async fn script_with<T: FromRedisValue>(
        &self,
        script: &Script,
        keys: &[&str],
        arguments: impl FnOnce(&mut ScriptInvocation<'_>),
    ) -> Result<T, RegistryError> {
        let mut call = script.prepare_invoke();
        for suffix in keys {
            call.key(format!("{}{{members}}{suffix}", self.prefix));
        }
        call.arg(millis(LEASE)).arg(millis(AWAY_AFTER)).arg(millis(MEMBERS_TTL)).arg(&self.channel);
        arguments(&mut call);
        Ok(self.link.call(async |connection| call.invoke_async(connection).await).await?)
    }

    async fn pin_script<T: FromRedisValue>(
        &self,
        script: &Script,
        session: SessionId,
        arguments: impl FnOnce(&mut ScriptInvocation<'_>),
    ) -> Result<T, RegistryError> {
        let mut call = script.key(self.pin_key(session));
        call.arg(millis(PIN_TTL)).arg(&self.channel).arg(session.to_string());
        arguments(&mut call);
        Ok(self.link.call(async |connection| call.invoke_async(connection).await).await?)
    }

    fn pin_key(&self, session: SessionId) -> String {
        format!("{}pin:{{{session}}}", self.prefix)
    }

    fn media_key(&self, file: &MediaId) -> String {
        format!("{}media:{{{file}}}", self.prefix)
    }
}

impl From<LinkError> for RegistryError {
    fn from(error: LinkError) -> Self {
        match error {
            LinkError::Unavailable(text) => Self::Unavailable(text),
            LinkError::Failed(text) => Self::Failed(text),
        }
    }
}

fn read_pin((runner, epoch): (String, u64)) -> Result<Pin, RegistryError> {
    let runner = runner.parse().map_err(|error| RegistryError::Failed(format!("a pin's {error}")))?;
    Ok(Pin { runner, epoch })
}

/// A member from its parts; `None`, with a warning, for what a newer or broken version has written.
fn read_member(runner: &str, record: &str, load: Option<&String>) -> Option<Member> {
    let read = || -> Result<Member, String> {
        let runner: RunnerId = runner.parse().map_err(|error| format!("{error}"))?;
        let Record { address, revision, phase } = serde_json::from_str(record).map_err(|error| format!("{error}"))?;
        let load =
            load.map(|load| serde_json::from_str::<Load>(load)).transpose().map_err(|error| format!("{error}"))?;
        Ok(Member { runner, address, revision, phase, load: load.unwrap_or_default() })
    };
    match read() {
        Ok(member) => Some(member),
        Err(error) => {
            warn!("ignoring the member {runner:?}, which can't be read: {error}");
            None
        }
    }
}

fn json(value: &impl Serialize) -> Result<String, RegistryError> {
    serde_json::to_string(value).map_err(|error| RegistryError::Failed(error.to_string()))
}

#[async_trait]
impl Registry for RedisRegistry {
    async fn announce(&self, member: &Member) -> Result<Announced, RegistryError> {
        let Member { runner, address, revision, phase, load } = member.clone();
        let (record, load) = (json(&Record { address, revision, phase })?, json(&load)?);
        let arguments = |call: &mut ScriptInvocation<'_>| {
            call.arg(runner.as_str()).arg(record).arg(load);
        };
        let joined: bool = self.members_script(&scripts::ANNOUNCE, arguments).await?;
        Ok(Announced { joined })
    }

    async fn withdraw(&self, runner: &RunnerId) -> Result<(), RegistryError> {
        let arguments = |call: &mut ScriptInvocation<'_>| {
            call.arg(runner.as_str());
        };
        self.members_script(&scripts::WITHDRAW, arguments).await
    }

    async fn members(&self) -> Result<Members, RegistryError> {
        type Answer = (bool, String, String, HashMap<String, String>, HashMap<String, String>);
        let (settling, revision, admitted, records, loads): Answer =
            self.members_script(&scripts::MEMBERS, |_| ()).await?;
        let mut list: Vec<_> =
            records.iter().filter_map(|(runner, record)| read_member(runner, record, loads.get(runner))).collect();
        list.sort_unstable_by(|a, b| a.runner.cmp(&b.runner));
        Ok(Members { list, target: rolls::read_target(revision, &admitted), settling })
    }

    async fn set_revision(&self, revision: Option<&str>) -> Result<(), RegistryError> {
        let arguments = |call: &mut ScriptInvocation<'_>| {
            call.arg(revision.unwrap_or_default());
        };
        self.members_script(&scripts::REVISION, arguments).await
    }

    async fn pin(&self, session: SessionId, runner: &RunnerId) -> Result<Pin, RegistryError> {
        let arguments = |call: &mut ScriptInvocation<'_>| {
            call.arg(runner.as_str());
        };
        read_pin(self.pin_script(&scripts::PIN, session, arguments).await?)
    }

    async fn pinned(&self, session: SessionId) -> Result<Option<Pin>, RegistryError> {
        let key = self.pin_key(session);
        let read = async |connection: &mut _| -> Result<(Option<String>, Option<u64>), RedisError> {
            redis::cmd("HMGET").arg(&key).arg("runner").arg("epoch").query_async(connection).await
        };
        let (runner, epoch) = self.link.call(read).await?;
        runner.zip(epoch).map(read_pin).transpose()
    }

    async fn move_pin(&self, session: SessionId, current: &Pin, runner: &RunnerId) -> Result<Pin, RegistryError> {
        let arguments = |call: &mut ScriptInvocation<'_>| {
            call.arg(current.runner.as_str()).arg(current.epoch).arg(runner.as_str());
        };
        read_pin(self.pin_script(&scripts::MOVE_PIN, session, arguments).await?)
    }

    async fn claim(&self, session: SessionId, pin: &Pin) -> Result<Pin, RegistryError> {
        let arguments = |call: &mut ScriptInvocation<'_>| {
            call.arg(pin.runner.as_str()).arg(pin.epoch);
        };
        read_pin(self.pin_script(&scripts::CLAIM, session, arguments).await?)
    }

    async fn unpin(&self, session: SessionId, current: &Pin) -> Result<(), RegistryError> {
        let arguments = |call: &mut ScriptInvocation<'_>| {
            call.arg(current.runner.as_str()).arg(current.epoch);
        };
        self.pin_script(&scripts::UNPIN, session, arguments).await
    }

    async fn add_media(&self, file: &MediaId, runner: &RunnerId) -> Result<(), RegistryError> {
        let mut call = scripts::ADD_MEDIA.key(self.media_key(file));
        call.arg(millis(PIN_TTL)).arg(runner.as_str());
        Ok(self.link.call(async |connection| call.invoke_async(connection).await).await?)
    }

    async fn remove_media(&self, file: &MediaId, runner: &RunnerId) -> Result<(), RegistryError> {
        let key = self.media_key(file);
        let remove =
            async |connection: &mut _| redis::cmd("SREM").arg(&key).arg(runner.as_str()).query_async(connection).await;
        Ok(self.link.call(remove).await?)
    }

    async fn media(&self, file: &MediaId) -> Result<Vec<RunnerId>, RegistryError> {
        let key = self.media_key(file);
        let read = async |connection: &mut _| -> Result<Vec<String>, RedisError> {
            redis::cmd("SMEMBERS").arg(&key).query_async(connection).await
        };
        let runners = self.link.call(read).await?;
        Ok(runners.iter().filter_map(|runner| runner.parse().ok()).collect())
    }

    fn subscribe(&self) -> broadcast::Receiver<Event> {
        self.events.subscribe()
    }
}
