//! The journal of a roll in Redis: a hash beside the members, in the same slot, so that one script changes both.

use async_trait::async_trait;
use redis::ScriptInvocation;
use streamfleet_proto::RunnerId;

use super::{RedisRegistry, json, scripts};
use crate::{
    redis::millis,
    registry::{ROLL_LEASE, RegistryError, Roll, RollLock, Rolls, Taken},
    target::Target,
};

impl RedisRegistry {
    async fn hold(
        &self,
        lock: &RollLock,
        lease_ms: u64,
        arguments: impl FnOnce(&mut ScriptInvocation<'_>),
    ) -> Result<bool, RegistryError> {
        let all = |call: &mut ScriptInvocation<'_>| {
            call.arg(lock.generation).arg(lease_ms).arg(&lock.holder);
            arguments(call);
        };
        self.rolls_script(&scripts::HOLD_ROLL, all).await
    }
}

#[async_trait]
impl Rolls for RedisRegistry {
    async fn take(&self, holder: &str) -> Result<Taken, RegistryError> {
        let arguments = |call: &mut ScriptInvocation<'_>| {
            call.arg(holder).arg(millis(ROLL_LEASE));
        };
        let (held, generation, holder, roll): (bool, u64, String, String) =
            self.rolls_script(&scripts::TAKE_ROLL, arguments).await?;
        let roll = read_roll(&roll)?;
        Ok(if held {
            Taken::Held { lock: RollLock { generation, holder }, roll }
        } else {
            Taken::Busy { holder, roll }
        })
    }

    async fn renew(&self, lock: &RollLock) -> Result<bool, RegistryError> {
        self.hold(lock, millis(ROLL_LEASE), |_| ()).await
    }

    async fn record(&self, lock: &RollLock, roll: &Roll, target: &Target) -> Result<bool, RegistryError> {
        let roll = json(roll)?;
        let admitted = match &target.admitted {
            Some(admitted) => json(&admitted.iter().map(RunnerId::as_str).collect::<Vec<_>>())?,
            None => String::new(),
        };
        let arguments = |call: &mut ScriptInvocation<'_>| {
            call.arg(roll).arg(target.revision.as_deref().unwrap_or_default()).arg(admitted);
        };
        self.hold(lock, millis(ROLL_LEASE), arguments).await
    }

    async fn release(&self, lock: &RollLock) -> Result<(), RegistryError> {
        self.hold(lock, 0, |_| ()).await.map(drop)
    }
}

fn read_roll(text: &str) -> Result<Option<Roll>, RegistryError> {
    if text.is_empty() {
        return Ok(None);
    }
    let roll = serde_json::from_str(text);
    roll.map(Some)
        .map_err(|error| RegistryError::Failed(format!("the journal of the last roll can't be read: {error}")))
}

/// The target as the registry keeps it. What can't be read of the admitted is nobody, lest sessions go to runners that nobody has tried.
pub(super) fn read_target(revision: String, admitted: &str) -> Target {
    let read = || serde_json::from_str::<Vec<String>>(admitted).unwrap_or_default();
    let parse = |list: Vec<String>| list.iter().filter_map(|runner| runner.parse().ok()).collect();
    Target {
        revision: Some(revision).filter(|revision| !revision.is_empty()),
        admitted: (!admitted.is_empty()).then(|| parse(read())),
    }
}
