//! The line of visitors in Redis: four sorted sets in one slot, and one script.

use std::time::Duration;

use async_trait::async_trait;

use super::{RedisRegistry, scripts};
use crate::{
    redis::millis,
    registry::{
        RegistryError,
        line::{ACTIVE, ARRIVING, INSIDE, Line, PATIENCE, RESERVED, RETURN, Turn, VisitorId},
    },
};

/// Visitors that one call names: a script should take well under a millisecond.
const MOST_AT_ONCE: usize = 500;

impl RedisRegistry {
    /// Returns what the script answers: 0 for in, below for out, else the place in the line; and how many wait.
    async fn line(
        &self,
        action: &str,
        inside: Duration,
        free: u64,
        visitors: &[VisitorId],
    ) -> Result<(i64, u64), RegistryError> {
        let mut call = scripts::LINE.prepare_invoke();
        for suffix in ["", ":seen", ":places", ":inside"] {
            call.key(format!("{}{{line}}{suffix}", self.prefix));
        }
        call.arg(action);
        for time in [RESERVED, ARRIVING, ACTIVE, PATIENCE, inside] {
            call.arg(millis(time));
        }
        call.arg(free);
        for visitor in visitors {
            call.arg(visitor.to_string());
        }
        Ok(self.link.call(async |connection| call.invoke_async(connection).await).await?)
    }
}

#[async_trait]
impl Line for RedisRegistry {
    async fn ask(&self, visitor: VisitorId, free: u64) -> Result<Turn, RegistryError> {
        let (place, waiting) = self.line("ask", INSIDE, free, &[visitor]).await?;
        let place = u64::try_from(place).unwrap_or_default();
        Ok(if place == 0 { Turn::In } else { Turn::Wait { place, waiting } })
    }

    async fn enter(&self, visitor: VisitorId, free: u64) -> Result<bool, RegistryError> {
        let (answer, _) = self.line("enter", INSIDE, free, &[visitor]).await?;
        Ok(answer == 0)
    }

    async fn stay(&self, visitors: &[VisitorId]) -> Result<(), RegistryError> {
        for some in visitors.chunks(MOST_AT_ONCE) {
            self.line("stay", INSIDE, 0, some).await?;
        }
        Ok(())
    }

    async fn leave(&self, visitor: VisitorId) -> Result<(), RegistryError> {
        self.line("leave", RETURN, 0, &[visitor]).await.map(drop)
    }
}
