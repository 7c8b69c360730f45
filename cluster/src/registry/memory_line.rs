//! The line of visitors in memory.

use std::{
    collections::{BTreeMap, HashMap},
    time::Duration,
};

use async_trait::async_trait;
use tokio::time::Instant;

use super::{
    MemoryRegistry, RegistryError,
    line::{ACTIVE, ARRIVING, INSIDE, Line, PATIENCE, RESERVED, RETURN, Turn, VisitorId},
};

/// Who waits, who has been let in, who is inside. `line.lua` says the same for Redis; one suite of tests holds both to it.
#[derive(Debug, Default)]
pub(super) struct LineState {
    /// By the order of their coming.
    waiting: BTreeMap<u64, VisitorId>,
    seen: HashMap<VisitorId, (u64, Instant)>,
    /// Until when a place is kept for them.
    reserved: HashMap<VisitorId, Instant>,
    /// Until when places that have just been taken are counted.
    arriving: HashMap<VisitorId, Instant>,
    inside: HashMap<VisitorId, Instant>,
    last: u64,
}

impl LineState {
    fn forget(&mut self, now: Instant) {
        self.reserved.retain(|_, until| now < *until);
        self.arriving.retain(|_, until| now < *until);
        self.inside.retain(|_, until| now < *until);
        let (waiting, seen) = (&mut self.waiting, &mut self.seen);
        seen.retain(|_, (number, at)| {
            let stays = now.duration_since(*at) < PATIENCE;
            if !stays {
                waiting.remove(number);
            }
            stays
        });
    }

    /// Places that nobody has yet.
    fn room(&self, free: u64) -> u64 {
        free.saturating_sub(count(self.reserved.len() + self.arriving.len()))
    }

    /// How many of those that came before this number would take their turn if it were theirs, up to a number of them.
    fn active_before(&self, number: u64, now: Instant, most: u64) -> u64 {
        let is_active =
            |visitor: &VisitorId| self.seen.get(visitor).is_some_and(|(_, at)| now.duration_since(*at) < ACTIVE);
        let before = self.waiting.range(..number).filter(|(_, visitor)| is_active(visitor));
        count(before.take(usize::try_from(most).unwrap_or(usize::MAX)).count())
    }

    fn leave_line(&mut self, visitor: VisitorId) {
        if let Some((number, _)) = self.seen.remove(&visitor) {
            self.waiting.remove(&number);
        }
    }

    fn ask(&mut self, visitor: VisitorId, free: u64, now: Instant) -> Turn {
        self.forget(now);
        if self.inside.contains_key(&visitor) {
            return Turn::In;
        }
        if let Some(until) = self.reserved.get_mut(&visitor) {
            *until = now + RESERVED;
            return Turn::In;
        }
        let (number, at) = self.seen.entry(visitor).or_insert_with(|| {
            self.last += 1;
            self.waiting.insert(self.last, visitor);
            (self.last, now)
        });
        *at = now;
        let number = *number;
        let room = self.room(free);
        if self.active_before(number, now, room) < room {
            self.leave_line(visitor);
            self.reserved.insert(visitor, now + RESERVED);
            return Turn::In;
        }
        Turn::Wait { place: count(self.waiting.range(..=number).count()), waiting: count(self.waiting.len()) }
    }

    fn enter(&mut self, visitor: VisitorId, free: u64, now: Instant) -> bool {
        self.forget(now);
        if self.reserved.remove(&visitor).is_none() && !self.inside.contains_key(&visitor) {
            let (room, number) = (self.room(free), self.seen.get(&visitor).map_or(u64::MAX, |(number, _)| *number));
            if self.active_before(number, now, room) >= room {
                return false;
            }
        }
        self.leave_line(visitor);
        self.arriving.insert(visitor, now + ARRIVING);
        self.inside.insert(visitor, now + INSIDE);
        true
    }

    fn stay(&mut self, visitors: &[VisitorId], inside: Duration, now: Instant) {
        self.forget(now);
        let until = now + inside;
        self.inside.extend(visitors.iter().map(|visitor| (*visitor, until)));
    }
}

#[async_trait]
impl Line for MemoryRegistry {
    async fn ask(&self, visitor: VisitorId, free: u64) -> Result<Turn, RegistryError> {
        Ok(self.state().line.ask(visitor, free, Instant::now()))
    }

    async fn enter(&self, visitor: VisitorId, free: u64) -> Result<bool, RegistryError> {
        Ok(self.state().line.enter(visitor, free, Instant::now()))
    }

    async fn stay(&self, visitors: &[VisitorId]) -> Result<(), RegistryError> {
        self.state().line.stay(visitors, INSIDE, Instant::now());
        Ok(())
    }

    async fn leave(&self, visitor: VisitorId) -> Result<(), RegistryError> {
        let mut state = self.state();
        state.line.arriving.remove(&visitor);
        state.line.stay(&[visitor], RETURN, Instant::now());
        Ok(())
    }
}

fn count(number: usize) -> u64 {
    u64::try_from(number).unwrap_or(u64::MAX)
}
