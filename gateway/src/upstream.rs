//! Runners: which of them a request goes to, and the connections to them.

use std::{
    cmp::Reverse,
    collections::{HashMap, HashSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use quick_cache::sync::Cache;
use streamfleet_cluster::{
    Event, LEASE, Member, Pin, PinCache, Registry, RegistryError, Ring, Route, Target,
    membership::{self, View},
};
use streamfleet_proto::{
    MAX_CHUNK_BYTES, MediaId, RunnerId, SessionId,
    common::AppSettings,
    runner::{StatusRequest, runner_client::RunnerClient},
};
use tokio::{
    sync::{OnceCell, watch},
    time::{Instant, sleep, timeout},
};
use tokio_util::sync::{CancellationToken, DropGuard};
use tracing::{debug, info};

use crate::{
    attached::Attached,
    connect::{Connector, Way},
    error::GatewayError,
    observe::Observer,
};

/// How long a runner may take to tell its app's settings.
const SETTINGS_LIMIT: Duration = Duration::from_secs(5);
/// How long to wait for a registry that is settling to know a session: it has heard from everybody after a lease.
const SETTLING_LIMIT: Duration = Duration::from_secs(LEASE.as_secs() + 2);
/// How long the registry may be away before it is guessed where a session is that this gateway has never seen.
const GUESS_AFTER: Duration = Duration::from_secs(2);
/// Pause before the registry is asked for the same again.
const ASK_AGAIN: Duration = Duration::from_millis(250);
/// How long the registry may take to hear of a file whose address a browser has already.
const MEDIA_LAG: Duration = Duration::from_millis(100);
/// How many runners are asked for something that any of them may have.
const MAX_ASKED: usize = 16;
/// Components whose holders are remembered.
const COMPONENTS: usize = 1024;

/// A runner with connections to it.
#[derive(Clone)]
pub(crate) struct Runner {
    pub(crate) id: RunnerId,
    /// For sessions.
    pub(crate) client: RunnerClient<Way>,
    /// For plain HTTP, on a connection of its own, so that an upload doesn't hold up anybody's click.
    pub(crate) http: RunnerClient<Way>,
    settings: Arc<OnceCell<AppSettings>>,
}

impl Runner {
    fn new(connector: &dyn Connector, member: &Member) -> Option<Self> {
        let client = |way| RunnerClient::new(way).max_decoding_message_size(2 * MAX_CHUNK_BYTES);
        Some(Self {
            id: member.runner.clone(),
            client: client(connector.connect(member)?),
            http: client(connector.connect(member)?),
            settings: Arc::default(),
        })
    }

    /// Those of the app's settings that a gateway must obey, asked for once.
    pub(crate) async fn settings(&self) -> Result<&AppSettings, GatewayError> {
        let ask = || async {
            let status = timeout(SETTINGS_LIMIT, self.client.clone().status(StatusRequest::default())).await;
            let status = status.map_err(|_| GatewayError::Timeout(self.id.clone()))?;
            let status = status.map_err(|status| GatewayError::runner(&self.id, status))?;
            Ok(status.into_inner().settings.unwrap_or_default())
        };
        self.settings.get_or_try_init(ask).await
    }
}

/// Where a WebSocket goes.
pub(crate) struct Placement {
    pub(crate) runner: Runner,
    /// The epoch of the fresh session's pin; 0 without one.
    pub(crate) epoch: u64,
    /// The epoch of the pin of the session to resume; 0 without one.
    pub(crate) resume_epoch: u64,
    /// Where it goes because the session to resume is there.
    pub(crate) is_home: bool,
}

/// All runners, as far as the registry knows them.
pub struct Upstream {
    registry: Arc<dyn Registry>,
    connector: Arc<dyn Connector>,
    view: watch::Sender<Arc<View>>,
    pins: PinCache,
    /// The sessions whose browsers are connected to this gateway.
    pub(crate) attached: Attached,
    /// What is told of the work.
    pub(crate) observer: Arc<Observer>,
    ring: Mutex<Ring>,
    runners: Mutex<HashMap<RunnerId, Runner>>,
    components: Cache<String, RunnerId>,
    stop: Mutex<Option<DropGuard>>,
}

impl Upstream {
    /// Finds runners in `registry`, connects to them with `connector`, and follows what changes until dropped.
    pub async fn start(
        registry: Arc<dyn Registry>,
        connector: Arc<dyn Connector>,
        observer: Arc<Observer>,
    ) -> Arc<Self> {
        let upstream = Arc::new(Self {
            registry: Arc::clone(&registry),
            connector,
            view: watch::Sender::default(),
            pins: PinCache::default(),
            attached: Attached::default(),
            observer,
            ring: Mutex::new(Ring::new([], &Target::default())),
            runners: Mutex::default(),
            components: Cache::new(COMPONENTS),
            stop: Mutex::default(),
        });
        membership::ask(&*registry, &upstream.view).await;
        upstream.take_view();
        let stop = CancellationToken::new();
        // The tasks hold it weakly, lest it never be dropped.
        let weak = Arc::downgrade(&upstream);
        let follow = membership::follow(registry, upstream.view.clone(), move |event| {
            if let Some(upstream) = weak.upgrade() {
                upstream.apply(event);
            }
        });
        tokio::spawn(stop.clone().run_until_cancelled_owned(follow));
        let (weak, mut view) = (Arc::downgrade(&upstream), upstream.view.subscribe());
        tokio::spawn(stop.clone().run_until_cancelled_owned(async move {
            while view.changed().await.is_ok() {
                let Some(upstream) = weak.upgrade() else { return };
                upstream.take_view();
            }
        }));
        *lock(&upstream.stop) = Some(stop.drop_guard());
        upstream
    }

    /// Whether there is a runner to send anybody to.
    pub fn has_runners(&self) -> bool {
        self.view.borrow().members.values().any(Member::serves)
    }

    /// The store that all gateways and runners share.
    pub(crate) fn registry(&self) -> &dyn Registry {
        &*self.registry
    }

    /// Whether any runner says how many sessions it is to have.
    pub(crate) fn is_limited(&self) -> bool {
        self.view.borrow().members.values().any(|member| member.load.room().is_some())
    }

    /// New sessions that there is room for; `None` for any number.
    pub(crate) fn room(&self) -> Option<u64> {
        lock(&self.ring).room()
    }

    /// All members, as last heard; and whenever they are heard of again.
    pub(crate) fn members(&self) -> watch::Receiver<Arc<View>> {
        self.view.subscribe()
    }

    /// Waits until a runner is no member any more, or has changed.
    pub(crate) async fn gone(&self, runner: &RunnerId) {
        let mut view = self.view.subscribe();
        // The sender is ours.
        let _ = view.wait_for(|view| !view.members.get(runner).is_some_and(Member::serves)).await;
    }

    /// The place for a WebSocket: the runner that has the session to resume, else the one where a session with the fresh id
    /// belongs, but for the excluded ones.
    pub(crate) async fn place(
        &self,
        fresh: SessionId,
        resume: Option<SessionId>,
        excluded: &[RunnerId],
    ) -> Result<Placement, GatewayError> {
        if let Some(resume) = resume
            && let Some((runner, resume_epoch)) = self.home(resume, excluded).await
        {
            return Ok(Placement { runner, epoch: 0, resume_epoch, is_home: true });
        }
        let choice = self.choose(fresh, excluded).ok_or(GatewayError::NoRunner)?;
        let pin = match self.registry.pin(fresh, &choice).await {
            Ok(pin) => pin,
            Err(error) => {
                debug!("a session goes without a pin for now: {error}");
                Pin { runner: choice, epoch: 0 }
            }
        };
        let runner = self.runner(&pin.runner).ok_or(GatewayError::NoRunner)?;
        Ok(Placement { runner, epoch: pin.epoch, resume_epoch: 0, is_home: false })
    }

    /// The runner for a session that comes to it now.
    fn choose(&self, session: SessionId, excluded: &[RunnerId]) -> Option<RunnerId> {
        let mut ring = lock(&self.ring);
        if let Some(choice) = ring.place(&session, excluded).cloned() {
            ring.add(&choice);
            return Some(choice);
        }
        drop(ring);
        // Whoever isn't on the ring, as its revision is being replaced, is better than nobody.
        let view = self.view.borrow();
        let others = view.members.values().filter(|member| member.takes_sessions() && !view.target.holds(member));
        let others = others.filter(|member| !excluded.contains(&member.runner));
        others.min_by_key(|member| member.load.sessions).map(|member| member.runner.clone())
    }

    /// The runners that have the same revision of the app as this one.
    pub(crate) fn alike(&self, runner: &RunnerId) -> Vec<RunnerId> {
        let view = self.view.borrow();
        let Some(revision) = view.members.get(runner).map(|member| &member.revision) else {
            return vec![runner.clone()];
        };
        let alike = view.members.values().filter(|member| member.revision == *revision);
        alike.map(|member| member.runner.clone()).collect()
    }

    /// Whether a runner of another revision takes sessions, and is known to work.
    pub(crate) fn has_other_revision(&self, runner: &RunnerId) -> bool {
        let view = self.view.borrow();
        let own = view.members.get(runner).map(|member| &member.revision);
        let mut others = view.members.values().filter(|member| own.is_some_and(|own| member.revision != *own));
        others.any(|member| member.takes_sessions() && !view.target.holds(member))
    }

    /// A session's owner, with the epoch of its pin. Where the owner's lease has ended, or it is excluded, or there is none, it gets
    /// one.
    async fn home(&self, session: SessionId, excluded: &[RunnerId]) -> Option<(Runner, u64)> {
        let began = Instant::now();
        let deadline = began + SETTLING_LIMIT;
        loop {
            let pin = match self.pins.ask(&*self.registry, session).await {
                Ok(pin) => pin,
                // Nothing to guess by: a registry that is only being restarted is worth waiting for.
                Err(RegistryError::Unavailable(_))
                    if self.pins.remembered(session).is_none() && began.elapsed() < GUESS_AFTER =>
                {
                    sleep(ASK_AGAIN).await;
                    continue;
                }
                Err(error) => {
                    debug!(?session, "guessing where a session is: {error}");
                    return self.guess(session).filter(|(runner, _)| !excluded.contains(&runner.id));
                }
            };
            match pin {
                Some(pin) if excluded.contains(&pin.runner) => {
                    return self.give_new_home(session, &pin, excluded).await;
                }
                Some(pin) if self.serves(&pin.runner) => return Some((self.runner(&pin.runner)?, pin.epoch)),
                // Whoever is missing may be about to say that it is there.
                _ if self.is_settling().await && Instant::now() < deadline => sleep(ASK_AGAIN).await,
                Some(pin) => return self.give_new_home(session, &pin, excluded).await,
                None => return self.give_home(session, excluded).await,
            }
        }
    }

    /// A home for a session that has none: it has hibernated or was handed over, if it isn't forgotten altogether.
    async fn give_home(&self, session: SessionId, excluded: &[RunnerId]) -> Option<(Runner, u64)> {
        let choice = self.choose(session, excluded)?;
        match self.registry.pin(session, &choice).await {
            Ok(pin) => Some((self.runner(&pin.runner)?, pin.epoch)),
            Err(error) => {
                debug!(?session, "cannot pin a session: {error}");
                None
            }
        }
    }

    /// Another home for a session whose owner is gone.
    async fn give_new_home(&self, session: SessionId, pin: &Pin, excluded: &[RunnerId]) -> Option<(Runner, u64)> {
        let excluded: Vec<_> = excluded.iter().chain([&pin.runner]).cloned().collect();
        let choice = self.choose(session, &excluded)?;
        match self.registry.move_pin(session, pin, &choice).await {
            Ok(moved) => {
                info!(?session, old_owner = %pin.runner, owner = %moved.runner, epoch = moved.epoch, "moved a session's pin");
                self.pins.remember(session, &moved);
                Some((self.runner(&moved.runner)?, moved.epoch))
            }
            Err(error) => {
                debug!(?session, "cannot move a session's pin: {error}");
                None
            }
        }
    }

    /// Where a session is likely to be while the registry is away.
    fn guess(&self, session: SessionId) -> Option<(Runner, u64)> {
        if let Some(pin) = self.pins.remembered(session) {
            return Some((self.runner(&pin.runner)?, pin.epoch));
        }
        let choice = lock(&self.ring).first_choice(&session)?.clone();
        Some((self.runner(&choice)?, 0))
    }

    /// Remembers where a session turned out to be.
    pub(crate) fn bound(&self, session: SessionId, runner: &RunnerId, epoch: u64) {
        if epoch != 0 {
            self.pins.remember(session, &Pin { runner: runner.clone(), epoch });
        }
    }

    /// The runners that can answer a plain HTTP request, in the order in which to ask them. All but the first are for when it
    /// can't be reached, or for when it doesn't have what others may have.
    pub(crate) async fn for_request(&self, route: &Route) -> Result<Vec<Runner>, GatewayError> {
        let members: Vec<_> = match route {
            Route::Session(session) => self.owner(*session).await.into_iter().collect(),
            Route::Media(file) => self.media_holders(file).await,
            Route::Component(name) => self.component_holders(name),
            Route::Agent => self.agent().into_iter().collect(),
            Route::Asset => self.of_each_revision(),
            Route::Any => Vec::new(),
        };
        let members = if members.is_empty() { self.anybody() } else { members };
        let runners: Vec<_> = members.iter().filter_map(|runner| self.runner(runner)).collect();
        if runners.is_empty() { Err(GatewayError::NoRunner) } else { Ok(runners) }
    }

    /// Remembers who has a component.
    pub(crate) fn found_component(&self, name: &str, runner: &RunnerId) {
        self.components.insert(name.to_owned(), runner.clone());
    }

    async fn owner(&self, session: SessionId) -> Option<RunnerId> {
        let deadline = Instant::now() + SETTLING_LIMIT;
        loop {
            match self.pins.find(&*self.registry, session).await {
                Ok(Some(pin)) if self.serves(&pin.runner) => return Some(pin.runner),
                Ok(_) if self.is_settling().await && Instant::now() < deadline => sleep(ASK_AGAIN).await,
                Ok(_) => return None,
                Err(_) => return lock(&self.ring).first_choice(&session).cloned(),
            }
        }
    }

    /// Whether what the registry doesn't know now it may know in a moment. Asks it, as what was heard last may be from before it
    /// was emptied, or from before somebody joined.
    async fn is_settling(&self) -> bool {
        membership::ask(&*self.registry, &self.view).await;
        self.view.borrow().settling
    }

    async fn media_holders(&self, file: &MediaId) -> Vec<RunnerId> {
        let mut holders = Vec::new();
        for lag in [Duration::ZERO, MEDIA_LAG] {
            sleep(lag).await;
            match self.registry.media(file).await {
                Ok(runners) => holders = runners,
                Err(RegistryError::Unavailable(_)) => return self.everybody(),
                Err(error) => {
                    debug!("{error}");
                    return self.everybody();
                }
            }
            holders.retain(|runner| self.serves(runner));
            if !holders.is_empty() {
                return holders;
            }
        }
        if self.is_settling().await { self.everybody() } else { holders }
    }

    fn component_holders(&self, name: &String) -> Vec<RunnerId> {
        let mut holders = self.everybody();
        if let Some(known) = self.components.get(name)
            && let Some(place) = holders.iter().position(|runner| *runner == known)
        {
            holders[..=place].rotate_right(1);
        }
        holders
    }

    /// The one runner for routes that keep sessions of their own.
    fn agent(&self) -> Option<RunnerId> {
        let view = self.view.borrow();
        view.members.values().find(|member| member.serves()).map(|member| member.runner.clone())
    }

    /// Some runners, the busiest first: what scripts have made is where scripts have run.
    fn everybody(&self) -> Vec<RunnerId> {
        let view = self.view.borrow();
        let mut members: Vec<_> = view.members.values().filter(|member| member.serves()).collect();
        members.sort_by_key(|member| Reverse(member.load.sessions));
        members.into_iter().take(MAX_ASKED).map(|member| member.runner.clone()).collect()
    }

    /// Two runners by chance, the less busy one first. Always asking the least busy of all would have all gateways ask the
    /// same one until they hear of new loads.
    fn anybody(&self) -> Vec<RunnerId> {
        let view = self.view.borrow();
        let mut ready: Vec<_> = view.members.values().filter(|member| member.takes_sessions()).collect();
        if ready.is_empty() {
            ready = view.members.values().filter(|member| member.serves()).collect();
        }
        let mut chosen: Vec<_> =
            (0..ready.len().min(2)).map(|_| ready.swap_remove(fastrand::usize(..ready.len()))).collect();
        chosen.sort_by_key(|member| member.load.running);
        chosen.into_iter().map(|member| member.runner.clone()).collect()
    }

    /// Anybody, and one of each other revision: in a roll that brings another Streamlit, only those that a page is from have its
    /// scripts.
    fn of_each_revision(&self) -> Vec<RunnerId> {
        let mut chosen = self.anybody();
        let view = self.view.borrow();
        let mut revisions: HashSet<_> =
            chosen.iter().filter_map(|runner| view.members.get(runner)).map(|member| &member.revision).collect();
        for member in view.members.values().filter(|member| member.serves()) {
            if chosen.len() < MAX_ASKED && revisions.insert(&member.revision) {
                chosen.push(member.runner.clone());
            }
        }
        chosen
    }

    fn serves(&self, runner: &RunnerId) -> bool {
        self.view.borrow().members.get(runner).is_some_and(Member::serves)
    }

    /// A member, with connections to it.
    pub(crate) fn runner(&self, id: &RunnerId) -> Option<Runner> {
        let view = self.view.borrow();
        let member = view.members.get(id)?;
        let mut runners = lock(&self.runners);
        if let Some(runner) = runners.get(id) {
            return Some(runner.clone());
        }
        let runner = Runner::new(&*self.connector, member)?;
        runners.insert(id.clone(), runner.clone());
        Some(runner)
    }

    fn apply(&self, event: &Event) {
        self.pins.apply(event);
        if let Event::Pin { session, pin: Some(pin) } = event {
            self.attached.moved(*session, &pin.runner);
        }
    }

    /// Brings what follows from the members up to date.
    fn take_view(&self) {
        let view = Arc::clone(&self.view.borrow());
        self.observer.runners(view.members.values().map(|member| member.phase));
        lock(&self.ring).update(view.members.values(), &view.target);
        // Connections that are in use live on in those who use them.
        lock(&self.runners).retain(|runner, _| view.members.contains_key(runner));
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Each change leaves what is in there whole, so a panic elsewhere does no harm.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
