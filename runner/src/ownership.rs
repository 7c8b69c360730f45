//! The sessions that this runner owns, and with which epochs.
//!
//! What changes here is told to the registry by the [`Registrar`](crate::Registrar), in the background: a click waits for it
//! only when the runner may have lost its sessions without noticing (see [`lease`](crate::lease)).

use std::{
    collections::{HashMap, HashSet},
    sync::{Mutex, MutexGuard, PoisonError},
};

use streamfleet_cluster::Pin;
use streamfleet_proto::{MediaId, RunnerId, SessionId};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use crate::lease::Lease;

/// Sessions and files that the registry is still to be told the end of. What doesn't fit, it forgets by itself after a while.
const MAX_ENDED: usize = 10_000;

/// The epoch of a session that the registry doesn't know of yet.
const UNPINNED: u64 = 0;

/// The sessions that this runner owns.
#[derive(Debug)]
pub struct Ownership {
    runner: RunnerId,
    pub(crate) lease: Lease,
    state: Mutex<State>,
    /// Something is there to be told.
    pub(crate) untold: Notify,
}

#[derive(Debug, Default)]
struct State {
    sessions: HashMap<SessionId, Owned>,
    media: HashSet<MediaId>,
    news: News,
}

#[derive(Debug)]
struct Owned {
    epoch: u64,
    fence: CancellationToken,
}

/// What the registry has not been told yet.
#[derive(Debug, Default)]
pub(crate) struct News {
    /// Sessions that are not pinned.
    pub(crate) unpinned: HashSet<SessionId>,
    /// Sessions that have ended, with the pins they had.
    pub(crate) ended: HashMap<SessionId, Pin>,
    pub(crate) media_added: HashSet<MediaId>,
    pub(crate) media_removed: HashSet<MediaId>,
}

impl News {
    pub(crate) fn is_empty(&self) -> bool {
        self.unpinned.is_empty()
            && self.ended.is_empty()
            && self.media_added.is_empty()
            && self.media_removed.is_empty()
    }
}

impl Ownership {
    /// Nothing is owned at first, and nothing may be done until the registry knows this runner.
    pub fn new(runner: RunnerId) -> Self {
        Self { runner, lease: Lease::new(), state: Mutex::default(), untold: Notify::new() }
    }

    /// The runner's name.
    pub fn runner(&self) -> &RunnerId {
        &self.runner
    }

    /// A session runs here, with the epoch of its pin; 0 if it has none. The token is cancelled when another runner
    /// turns out to own it.
    pub(crate) fn own(&self, session: SessionId, epoch: u64) -> CancellationToken {
        let mut state = self.state();
        let owned =
            state.sessions.entry(session).or_insert_with(|| Owned { epoch: UNPINNED, fence: CancellationToken::new() });
        if epoch > owned.epoch {
            debug!(?session, epoch, "owned");
            owned.epoch = epoch;
        }
        let (fence, unpinned) = (owned.fence.clone(), owned.epoch == UNPINNED);
        state.news.ended.remove(&session);
        if unpinned {
            state.news.unpinned.insert(session);
            self.untold.notify_one();
        }
        fence
    }

    /// A session that wasn't pinned is now.
    pub(crate) fn pinned(&self, session: SessionId, pin: &Pin) {
        if pin.runner == self.runner {
            if let Some(owned) = self.state().sessions.get_mut(&session) {
                debug!(?session, epoch = pin.epoch, "owned");
                owned.epoch = pin.epoch;
            }
        } else {
            self.fence(session, pin);
        }
    }

    /// Another runner owns the session. True if that is news.
    pub(crate) fn fence(&self, session: SessionId, pin: &Pin) -> bool {
        let Some(owned) = self.state().sessions.remove(&session) else { return false };
        warn!(
            ?session,
            epoch = owned.epoch,
            new_owner = %pin.runner,
            new_epoch = pin.epoch,
            "fenced: the session has another owner"
        );
        owned.fence.cancel();
        true
    }

    /// The same, where the new owner's name isn't known.
    pub(crate) fn fence_by_epoch(&self, session: SessionId, epoch: u64) -> bool {
        let Some(owned) = self.state().sessions.remove(&session) else { return false };
        warn!(?session, epoch = owned.epoch, new_epoch = epoch, "fenced: the session's state has another owner");
        owned.fence.cancel();
        true
    }

    /// A session's worker has died. It stays pinned here for a while, as it may be had again from its snapshot.
    pub(crate) fn lose(&self, session: SessionId) {
        let mut state = self.state();
        state.news.unpinned.remove(&session);
        state.sessions.remove(&session);
    }

    /// A pin that was made for a session that isn't here after all.
    pub(crate) fn disown(&self, session: SessionId, epoch: u64) {
        let mut state = self.state();
        if epoch != UNPINNED && !state.sessions.contains_key(&session) && state.news.ended.len() < MAX_ENDED {
            state.news.ended.insert(session, Pin { runner: self.runner.clone(), epoch });
            self.untold.notify_one();
        }
    }

    /// Whether a session is owned here, pinned or not.
    pub(crate) fn owns(&self, session: SessionId) -> bool {
        self.state().sessions.contains_key(&session)
    }

    /// A session has ended here, or goes on elsewhere.
    pub(crate) fn ended(&self, session: SessionId) {
        let mut state = self.state();
        state.news.unpinned.remove(&session);
        if let Some(Owned { epoch, .. }) = state.sessions.remove(&session)
            && epoch != UNPINNED
            && state.news.ended.len() < MAX_ENDED
        {
            debug!(?session, epoch, "ended");
            state.news.ended.insert(session, Pin { runner: self.runner.clone(), epoch });
            self.untold.notify_one();
        }
    }

    /// A media file can be had here.
    pub(crate) fn add_media(&self, file: MediaId) {
        let mut state = self.state();
        state.news.media_removed.remove(&file);
        state.news.media_added.insert(file.clone());
        state.media.insert(file);
        self.untold.notify_one();
    }

    /// A media file can no longer be had here.
    pub(crate) fn remove_media(&self, file: &MediaId) {
        let mut state = self.state();
        state.news.media_added.remove(file);
        if state.media.remove(file) && state.news.media_removed.len() < MAX_ENDED {
            state.news.media_removed.insert(file.clone());
            self.untold.notify_one();
        }
    }

    /// The epoch with which a session is owned here; `None` if it isn't, or has no pin yet.
    pub(crate) fn epoch(&self, session: SessionId) -> Option<u64> {
        self.state().sessions.get(&session).map(|owned| owned.epoch).filter(|&epoch| epoch != UNPINNED)
    }

    /// How many sessions are owned.
    pub(crate) fn count(&self) -> usize {
        self.state().sessions.len()
    }

    /// The pins that this runner goes by.
    pub(crate) fn pins(&self) -> Vec<(SessionId, Pin)> {
        let state = self.state();
        let pinned = state.sessions.iter().filter(|(_, owned)| owned.epoch != UNPINNED);
        pinned.map(|(&session, owned)| (session, Pin { runner: self.runner.clone(), epoch: owned.epoch })).collect()
    }

    /// All media files that can be had here.
    pub(crate) fn media(&self) -> Vec<MediaId> {
        self.state().media.iter().cloned().collect()
    }

    /// Takes what is there to be told.
    pub(crate) fn take_news(&self) -> News {
        std::mem::take(&mut self.state().news)
    }

    /// Puts back what could not be told, but for what has changed meanwhile.
    pub(crate) fn put_back(&self, news: News) {
        let mut guard = self.state();
        let state = &mut *guard;
        let News { unpinned, ended, media_added, media_removed } = news;
        state.news.unpinned.extend(unpinned.into_iter().filter(|session| state.sessions.contains_key(session)));
        let gone = ended.into_iter().filter(|(session, _)| !state.sessions.contains_key(session));
        state.news.ended.extend(gone.take(MAX_ENDED));
        state.news.media_added.extend(media_added.into_iter().filter(|file| state.media.contains(file)));
        let removed = media_removed.into_iter().filter(|file| !state.media.contains(file));
        state.news.media_removed.extend(removed.take(MAX_ENDED));
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // No change leaves the tables half done, so a panic elsewhere does no harm.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ownership() -> Ownership {
        Ownership::new("a".parse().unwrap())
    }

    fn pin(runner: &str, epoch: u64) -> Pin {
        Pin { runner: runner.parse().unwrap(), epoch }
    }

    #[test]
    fn a_fenced_session_is_nobodys_here() {
        let ownership = ownership();
        let session = SessionId::random();
        let fence = ownership.own(session, 5);
        assert!(ownership.fence(session, &pin("b", 6)));
        assert!(fence.is_cancelled());
        assert!(!ownership.fence(session, &pin("b", 6)));
        assert!(ownership.pins().is_empty());
        // The pin is the new owner's: not ours to remove.
        ownership.ended(session);
        assert!(ownership.take_news().is_empty());
    }

    #[test]
    fn epochs_never_go_back() {
        let ownership = ownership();
        let session = SessionId::random();
        ownership.own(session, 7);
        ownership.own(session, 3);
        ownership.own(session, 0);
        assert_eq!(ownership.pins(), [(session, pin("a", 7))]);
        assert!(ownership.take_news().is_empty());
    }

    #[test]
    fn what_is_not_pinned_yet_is_news_until_it_is_told() {
        let ownership = ownership();
        let (kept, gone) = (SessionId::random(), SessionId::random());
        ownership.own(kept, 0);
        ownership.own(gone, 0);
        assert!(ownership.pins().is_empty());
        let news = ownership.take_news();
        assert_eq!(news.unpinned.len(), 2);
        ownership.ended(gone);
        ownership.put_back(news);
        let news = ownership.take_news();
        assert_eq!(news.unpinned, HashSet::from([kept]));
        ownership.pinned(kept, &pin("a", 9));
        ownership.ended(kept);
        assert_eq!(ownership.take_news().ended, HashMap::from([(kept, pin("a", 9))]));
    }

    #[test]
    fn a_file_that_comes_and_goes_is_told_as_it_is() {
        let ownership = ownership();
        let file: MediaId = "abc".parse().unwrap();
        ownership.add_media(file.clone());
        ownership.remove_media(&file);
        let news = ownership.take_news();
        assert!(news.media_added.is_empty());
        assert!(news.media_removed.contains(&file));
        ownership.add_media(file.clone());
        ownership.put_back(news);
        let news = ownership.take_news();
        assert!(news.media_added.contains(&file) && news.media_removed.is_empty());
        assert_eq!(ownership.media(), [file]);
    }
}
