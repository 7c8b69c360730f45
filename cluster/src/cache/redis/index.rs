//! The index: what values there are, who computes which, and who listens. All of it is in one slot.

use std::{sync::Arc, time::Duration};

use redis::{Cmd, FromRedisValue, Script, Value, from_redis_value};
use sha2::{Digest as _, Sha256};
use uuid::Uuid;

use super::{
    record::{Found, Record},
    scripts,
};
use crate::{
    cache::{
        CACHE_LEASE, CachedFunction, ComputeLease, LAPSED_KEPT, Packed, Scope, UNUSED_TTL, ValueKey, WAIT_KEPT,
        WAIT_STEPS,
    },
    redis::{Link, LinkError, millis, run, script_call},
};

/// The keys of the index, in the order in which the scripts want them.
const KEYS: [&str; 8] = ["values", "content", "used", "expiring", "totals", "leases", "waits", "nodes"];
/// How long a node is there without saying so again.
pub(super) const NODE_LEASE: Duration = Duration::from_secs(3);
/// How many uses are counted by one call.
const TOUCHED_AT_ONCE: usize = 256;

/// The index.
pub(super) struct Index {
    link: Arc<Link>,
    keys: [String; 8],
    /// Where it is published what becomes of values.
    pub(super) channel: String,
}

/// What the index says to who asks for a lease.
pub(super) enum Asked {
    Lease(ComputeLease),
    Present(Found),
    Held { ends_in: Duration },
}

/// Blobs that nobody needs any more, besides an answer.
pub(super) type Unneeded = Vec<String>;

impl Index {
    pub(super) fn new(link: Arc<Link>, prefix: &str, revision: &str) -> Self {
        let prefix = format!("{prefix}cache:{{{}}}:", tag(revision));
        Self { link, keys: KEYS.map(|name| format!("{prefix}{name}")), channel: format!("{prefix}events") }
    }

    async fn call<T: FromRedisValue>(&self, script: &Script, arguments: impl FnOnce(&mut Cmd)) -> Result<T, LinkError> {
        let mut command = script_call(script, &self.keys);
        command.arg(millis(UNUSED_TTL)).arg(&self.channel);
        arguments(&mut command);
        self.link.call(async |connection| run(script, &command, connection).await).await
    }

    pub(super) async fn get(&self, key: &ValueKey) -> Result<(Option<Found>, Unneeded), LinkError> {
        let arguments = |command: &mut Cmd| {
            command.arg(id(key));
        };
        self.call(&scripts::GET, arguments).await
    }

    pub(super) async fn acquire(
        &self,
        key: &ValueKey,
        owner: &str,
        fresh: Option<Duration>,
    ) -> Result<(Asked, Unneeded), LinkError> {
        let token = Uuid::new_v4().to_string();
        let fresh = fresh.map_or(-1, |fresh| i64::try_from(millis(fresh)).unwrap_or(i64::MAX));
        let arguments = |command: &mut Cmd| {
            command.arg(id(key)).arg(&token).arg(owner).arg(millis(CACHE_LEASE));
            command.arg(fresh).arg(millis(LAPSED_KEPT));
        };
        let (word, value, unneeded): (String, Value, _) = self.call(&scripts::ACQUIRE, arguments).await?;
        let read = || -> Result<Asked, String> {
            Ok(match word.as_str() {
                "present" => Asked::Present(from_redis_value(value).map_err(|error| error.to_string())?),
                "held" => {
                    let left = from_redis_value(value).map_err(|error| error.to_string())?;
                    Asked::Held { ends_in: Duration::from_millis(left) }
                }
                "lease" => Asked::Lease(ComputeLease { key: key.clone(), token: token.as_str().into() }),
                _ => return Err(format!("a script answers {word:?}")),
            })
        };
        Ok((read().map_err(LinkError::Failed)?, unneeded))
    }

    pub(super) async fn renew(&self, lease: &ComputeLease) -> Result<bool, LinkError> {
        let arguments = |command: &mut Cmd| {
            command.arg(id(&lease.key)).arg(&*lease.token).arg(millis(CACHE_LEASE));
        };
        self.call(&scripts::RENEW, arguments).await
    }

    /// Whether it was had until then.
    pub(super) async fn release(&self, lease: &ComputeLease) -> Result<bool, LinkError> {
        let arguments = |command: &mut Cmd| {
            command.arg(id(&lease.key)).arg(&*lease.token);
        };
        self.call(&scripts::RELEASE, arguments).await
    }

    /// Whether it was stored, and so the lease has ended.
    pub(super) async fn put(
        &self,
        lease: &ComputeLease,
        function: &CachedFunction,
        value: &Packed,
        record: &Record,
        max_bytes: u64,
    ) -> Result<(bool, Unneeded), LinkError> {
        let limit = |limit: Option<u64>| limit.map_or_else(String::new, |limit| limit.to_string());
        let arguments = |command: &mut Cmd| {
            command.arg(id(&lease.key)).arg(&*lease.token).arg(record.content());
            command.arg(value.size()).arg(value.packed_bytes());
            // What lives for less than that lives for that.
            command.arg(function.ttl.map_or(0, |ttl| millis(ttl).max(1)));
            command.arg(record.blob().unwrap_or_default());
            command.arg(limit(function.max_entries)).arg(limit(function.max_bytes)).arg(max_bytes);
        };
        self.call(&scripts::PUT, arguments).await
    }

    /// Forgets, tells everybody in these words, and says which nodes there are.
    pub(super) async fn clear(&self, scope: &Scope, message: &str) -> Result<(Vec<String>, Unneeded), LinkError> {
        let (kind, name) = match scope {
            Scope::Everything => ("everything", String::new()),
            Scope::Function(function) => ("function", function.to_string()),
            Scope::Value(key) => ("value", id(key)),
        };
        let arguments = |command: &mut Cmd| {
            command.arg(kind).arg(&name).arg(message);
        };
        self.call(&scripts::CLEAR, arguments).await
    }

    /// Counts uses, and says of which blobs.
    pub(super) async fn touch(&self, used: &[ValueKey]) -> Result<Vec<String>, LinkError> {
        let mut blobs = Vec::new();
        for some in used.chunks(TOUCHED_AT_ONCE) {
            let arguments = |command: &mut Cmd| {
                for key in some {
                    command.arg(id(key));
                }
            };
            blobs.extend(self.call::<Vec<String>>(&scripts::TOUCH, arguments).await?);
        }
        Ok(blobs)
    }

    /// Forgets a value, unless there is another by now.
    pub(super) async fn remove(&self, key: &ValueKey, found: &Found) -> Result<Unneeded, LinkError> {
        let arguments = |command: &mut Cmd| {
            command.arg(id(key)).arg(&found.head).arg(found.content.as_ref());
        };
        self.call(&scripts::REMOVE, arguments).await
    }

    pub(super) async fn waits(&self, owner: &str, key: &ValueKey) -> Result<bool, LinkError> {
        let arguments = |command: &mut Cmd| {
            command.arg(owner).arg(id(key)).arg(WAIT_STEPS).arg(millis(WAIT_KEPT));
        };
        self.call(&scripts::WAITS, arguments).await
    }

    pub(super) async fn waits_no_more(&self, owner: &str) -> Result<(), LinkError> {
        let [.., waits, _] = &self.keys;
        let mut command = redis::cmd("HDEL");
        command.arg(waits).arg(owner);
        self.link.call(async |connection| command.query_async(connection).await).await
    }

    /// Says that a node is there.
    pub(super) async fn attend(&self, node: &str) -> Result<(), LinkError> {
        let arguments = |command: &mut Cmd| {
            command.arg(node).arg(millis(NODE_LEASE));
        };
        self.call(&scripts::ATTEND, arguments).await
    }

    /// Says that a node is not there any more.
    pub(super) async fn leave(&self, node: &str) -> Result<(), LinkError> {
        let [.., nodes] = &self.keys;
        let mut command = redis::cmd("ZREM");
        command.arg(nodes).arg(node);
        self.link.call(async |connection| command.query_async(connection).await).await
    }

    /// Publishes something for one node only.
    pub(super) async fn publish(&self, channel: &str, message: &str) -> Result<(), LinkError> {
        let mut command = redis::cmd("PUBLISH");
        command.arg(channel).arg(message);
        self.link.call(async |connection| command.query_async(connection).await).await
    }
}

/// A value's name in the index: the function's length tells where the call begins.
fn id(ValueKey { function, call }: &ValueKey) -> String {
    format!("{}:{function}{call}", function.len())
}

/// A revision as it may stand in braces: what is odd or long is hashed. (Two that are confused are told apart by signatures.)
fn tag(revision: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_.+".contains(c);
    if !revision.is_empty() && revision.len() <= 64 && revision.chars().all(plain) {
        return revision.to_owned();
    }
    format!("{:x}", Sha256::digest(revision))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unambiguous() {
        let id = |function: &str, call: &str| id(&ValueKey { function: function.into(), call: call.into() });
        assert_eq!(id("f", "call"), "1:fcall");
        assert_ne!(id("fc", "all"), id("f", "call"));
        assert_eq!(tag("v1.2-3"), "v1.2-3");
        let odd = ["", "{", "a}b", "ä", &"a".repeat(65)].map(tag);
        assert!(odd.iter().all(|tag| tag.len() == 64 && !tag.contains(['{', '}'])));
        assert!(odd[1] != odd[2]);
    }
}
