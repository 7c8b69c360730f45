//! The registry of a cluster that is one process.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::{Mutex, MutexGuard, PoisonError},
    time::{SystemTime, UNIX_EPOCH},
};

use async_trait::async_trait;
use streamfleet_proto::{MediaId, RunnerId, SessionId};
use tokio::{sync::broadcast, time::Instant};

use crate::{
    member::Member,
    registry::{
        Announced, Event, LEASE, Members, PIN_TTL, Pin, Registry, RegistryError, events, memory_line::LineState,
        memory_rolls::RollState,
    },
    target::Target,
};

/// The registry of a cluster that is one process.
#[derive(Debug)]
pub struct MemoryRegistry {
    state: Mutex<State>,
    events: broadcast::Sender<Event>,
}

#[derive(Debug)]
pub(super) struct State {
    members: BTreeMap<RunnerId, Timed<Member>>,
    pub(super) target: Target,
    pub(super) roll: RollState,
    pub(super) line: LineState,
    pins: HashMap<SessionId, Timed<Pin>>,
    media: HashMap<MediaId, Timed<BTreeSet<RunnerId>>>,
    last_epoch: u64,
    last_sweep: Instant,
}

#[derive(Debug)]
struct Timed<T> {
    value: T,
    expires: Instant,
}

impl<T> Timed<T> {
    fn is_live(&self, now: Instant) -> bool {
        now < self.expires
    }
}

impl State {
    fn new() -> Self {
        Self {
            members: BTreeMap::new(),
            target: Target::default(),
            roll: RollState::default(),
            line: LineState::default(),
            pins: HashMap::new(),
            media: HashMap::new(),
            last_epoch: 0,
            last_sweep: Instant::now(),
        }
    }

    /// Forgets what has expired, often enough that the tables are never much larger than what is alive in them.
    fn sweep(&mut self) {
        let now = Instant::now();
        if now.duration_since(self.last_sweep) >= PIN_TTL / 4 {
            self.pins.retain(|_, timed| timed.is_live(now));
            self.media.retain(|_, timed| timed.is_live(now));
            self.last_sweep = now;
        }
    }

    fn pin(&self, session: SessionId) -> Option<&Pin> {
        self.pins.get(&session).filter(|timed| timed.is_live(Instant::now())).map(|timed| &timed.value)
    }

    fn set_pin(&mut self, session: SessionId, pin: Pin) {
        self.sweep();
        self.pins.insert(session, Timed { value: pin, expires: Instant::now() + PIN_TTL });
    }

    pub(super) fn next_epoch(&mut self, after: u64) -> u64 {
        let micros = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_micros());
        let now = u64::try_from(micros).unwrap_or(u64::MAX);
        self.last_epoch = now.max(after + 1).max(self.last_epoch + 1);
        self.last_epoch
    }
}

impl Default for MemoryRegistry {
    fn default() -> Self {
        Self { state: Mutex::new(State::new()), events: broadcast::Sender::new(events::QUEUE) }
    }
}

impl MemoryRegistry {
    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        // No operation leaves the state half changed, so a poisoned lock is as good as any.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn tell(&self, event: Event) {
        // Nobody may be following.
        let _ = self.events.send(event);
    }

    fn tell_pin(&self, session: SessionId, pin: Option<Pin>) {
        self.tell(Event::Pin { session, pin });
    }
}

#[async_trait]
impl Registry for MemoryRegistry {
    async fn announce(&self, member: &Member) -> Result<Announced, RegistryError> {
        let now = Instant::now();
        let timed = Timed { value: member.clone(), expires: now + LEASE };
        let before = self.state().members.insert(member.runner.clone(), timed).filter(|timed| timed.is_live(now));
        let changed =
            before.as_ref().is_none_or(|before| Member { load: member.load, ..before.value.clone() } != *member);
        if changed {
            self.tell(Event::Members);
        }
        Ok(Announced { joined: before.is_none() })
    }

    async fn withdraw(&self, runner: &RunnerId) -> Result<(), RegistryError> {
        if self.state().members.remove(runner).is_some() {
            self.tell(Event::Members);
        }
        Ok(())
    }

    async fn members(&self) -> Result<Members, RegistryError> {
        let now = Instant::now();
        let mut state = self.state();
        let before = state.members.len();
        state.members.retain(|_, timed| timed.is_live(now));
        if state.members.len() < before {
            self.tell(Event::Members);
        }
        let list = state.members.values().map(|timed| timed.value.clone()).collect();
        Ok(Members { list, target: state.target.clone(), settling: false })
    }

    async fn set_revision(&self, revision: Option<&str>) -> Result<(), RegistryError> {
        self.state().target = Target::revision(revision);
        self.tell(Event::Members);
        Ok(())
    }

    async fn pin(&self, session: SessionId, runner: &RunnerId) -> Result<Pin, RegistryError> {
        let mut state = self.state();
        let pin = match state.pin(session) {
            Some(pin) => pin.clone(),
            None => Pin { runner: runner.clone(), epoch: state.next_epoch(0) },
        };
        state.set_pin(session, pin.clone());
        Ok(pin)
    }

    async fn pinned(&self, session: SessionId) -> Result<Option<Pin>, RegistryError> {
        Ok(self.state().pin(session).cloned())
    }

    async fn move_pin(&self, session: SessionId, current: &Pin, runner: &RunnerId) -> Result<Pin, RegistryError> {
        let mut state = self.state();
        if let Some(pin) = state.pin(session).filter(|pin| *pin != current) {
            return Ok(pin.clone());
        }
        let pin = Pin { runner: runner.clone(), epoch: state.next_epoch(current.epoch) };
        state.set_pin(session, pin.clone());
        self.tell_pin(session, Some(pin.clone()));
        Ok(pin)
    }

    async fn claim(&self, session: SessionId, pin: &Pin) -> Result<Pin, RegistryError> {
        let mut state = self.state();
        let held = match state.pin(session) {
            Some(held) if held.epoch >= pin.epoch => held.clone(),
            Some(_) => {
                self.tell_pin(session, Some(pin.clone()));
                pin.clone()
            }
            None => pin.clone(),
        };
        if held == *pin {
            state.set_pin(session, held.clone());
        }
        Ok(held)
    }

    async fn unpin(&self, session: SessionId, current: &Pin) -> Result<(), RegistryError> {
        let mut state = self.state();
        if state.pin(session) == Some(current) {
            state.pins.remove(&session);
            self.tell_pin(session, None);
        }
        Ok(())
    }

    async fn add_media(&self, file: &MediaId, runner: &RunnerId) -> Result<(), RegistryError> {
        let mut state = self.state();
        state.sweep();
        let now = Instant::now();
        let empty = || Timed { value: BTreeSet::new(), expires: now };
        let timed = state.media.entry(file.clone()).or_insert_with(empty);
        if !timed.is_live(now) {
            timed.value.clear();
        }
        timed.value.insert(runner.clone());
        timed.expires = now + PIN_TTL;
        Ok(())
    }

    async fn remove_media(&self, file: &MediaId, runner: &RunnerId) -> Result<(), RegistryError> {
        let mut state = self.state();
        if let Some(timed) = state.media.get_mut(file) {
            timed.value.remove(runner);
            if timed.value.is_empty() {
                state.media.remove(file);
            }
        }
        Ok(())
    }

    async fn media(&self, file: &MediaId) -> Result<Vec<RunnerId>, RegistryError> {
        let now = Instant::now();
        let state = self.state();
        let live = state.media.get(file).filter(|timed| timed.is_live(now));
        Ok(live.map(|timed| timed.value.iter().cloned().collect()).unwrap_or_default())
    }

    fn subscribe(&self) -> broadcast::Receiver<Event> {
        self.events.subscribe()
    }
}
