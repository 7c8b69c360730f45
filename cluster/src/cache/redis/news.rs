//! What nodes tell each other: what has become of values, and that they have heard of it.

use std::{
    collections::{HashMap, HashSet, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use serde::{Deserialize, Serialize};
use tokio::{
    sync::{mpsc, watch},
    time::{MissedTickBehavior, interval, timeout},
};
use tracing::debug;
use uuid::Uuid;

use super::index::Index;
use crate::{
    cache::{CacheListener, Scope, ValueKey},
    redis::Follower,
};

/// How often a node says that it is there.
const ATTEND_INTERVAL: Duration = Duration::from_secs(1);
/// How long those who clear wait for the other nodes.
const HEARD_LIMIT: Duration = Duration::from_secs(1);
/// How many acknowledgements may wait to be sent. One that is not sent costs whoever waits for it a second.
const ACKNOWLEDGEMENTS: usize = 1024;
/// How many of the node's own clears are remembered, until they are heard again.
const OWN: usize = 64;

/// What is published. Values are pairs of a function and a call.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Message {
    /// Somebody has asked for this.
    Clear { id: String, node: String, scope: Vec<String> },
    /// These have been replaced, or evicted because of their function's limits.
    Cleared(Vec<(String, String)>),
    /// Nobody computes these any more.
    Settled(Vec<(String, String)>),
}

/// A scope as it is published.
fn words(scope: &Scope) -> Vec<String> {
    match scope {
        Scope::Everything => Vec::new(),
        Scope::Function(function) => vec![function.to_string()],
        Scope::Value(key) => vec![key.function.to_string(), key.call.to_string()],
    }
}

fn scope(words: Vec<String>) -> Option<Scope> {
    let mut words = words.into_iter();
    match (words.next(), words.next(), words.next()) {
        (None, ..) => Some(Scope::Everything),
        (Some(function), None, _) => Some(Scope::Function(function.into())),
        (Some(function), Some(call), None) => Some(Scope::Value(key((function, call)))),
        _ => None,
    }
}

fn key((function, call): (String, String)) -> ValueKey {
    ValueKey { function: function.into(), call: call.into() }
}

/// This node: what it hears, and what it has asked for.
pub(super) struct Node {
    pub(super) id: String,
    listener: Arc<dyn CacheListener>,
    clears: Mutex<Clears>,
    /// Some node has acknowledged something.
    heard: watch::Sender<()>,
}

#[derive(Default)]
struct Clears {
    /// Who has heard of those that wait for that.
    waiting: HashMap<String, HashSet<String>>,
    /// Those that the listener has been told of.
    told: VecDeque<String>,
}

/// A clear of this node's.
pub(super) struct Clear<'a> {
    node: &'a Node,
    id: String,
    scope: &'a Scope,
}

impl Node {
    pub(super) fn new(listener: Arc<dyn CacheListener>) -> Self {
        Self { id: Uuid::new_v4().to_string(), listener, clears: Mutex::default(), heard: watch::Sender::default() }
    }

    fn clears(&self) -> MutexGuard<'_, Clears> {
        // Each change of it is one step.
        self.clears.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Begins to clear.
    pub(super) fn clear<'a>(&'a self, scope: &'a Scope) -> Clear<'a> {
        let id = Uuid::new_v4().to_string();
        self.clears().waiting.insert(id.clone(), HashSet::new());
        Clear { node: self, id, scope }
    }

    /// Tells the listener of a clear of this node's, unless it knows.
    fn tell(&self, id: &str, scope: &Scope) {
        let mut clears = self.clears();
        if !clears.told.iter().any(|told| told == id) {
            self.listener.cleared(scope);
            clears.told.push_back(id.to_owned());
            if clears.told.len() > OWN {
                clears.told.pop_front();
            }
        }
    }
}

impl Clear<'_> {
    /// What is to be published.
    pub(super) fn message(&self) -> Result<String, serde_json::Error> {
        let message = Message::Clear { id: self.id.clone(), node: self.node.id.clone(), scope: words(self.scope) };
        serde_json::to_string(&message)
    }

    /// Tells this node's listener: what it has asked for itself must not depend on its hearing.
    pub(super) fn tell(&self) {
        self.node.tell(&self.id, self.scope);
    }

    /// Waits until these nodes have heard of it, though not for long.
    pub(super) async fn heard_by(&self, nodes: &[String]) {
        let mut heard = self.node.heard.subscribe();
        let is_missing = || {
            let clears = self.node.clears();
            let by = clears.waiting.get(&self.id);
            nodes.iter().any(|node| *node != self.node.id && by.is_some_and(|by| !by.contains(node)))
        };
        let all = heard.wait_for(|()| !is_missing());
        if timeout(HEARD_LIMIT, all).await.is_err() {
            debug!("not all nodes have acknowledged that {:?} was cleared", self.scope);
        }
    }
}

impl Drop for Clear<'_> {
    fn drop(&mut self) {
        self.node.clears().waiting.remove(&self.id);
    }
}

/// Tells the listener what other nodes have published, and acknowledges what must be.
pub(super) struct News {
    pub(super) node: Arc<Node>,
    pub(super) index: Arc<Index>,
    pub(super) ears: Ears,
    pub(super) acknowledgements: mpsc::Sender<Acknowledgement>,
}

/// Whether the node hears what is published.
pub(super) type Ears = watch::Sender<bool>;

/// Where a node hears who has heard of what it has cleared.
pub(super) fn own_channel(prefix: &str, node: &str) -> String {
    format!("{prefix}cache-node:{node}")
}

impl Follower for News {
    async fn subscribed(&mut self) {
        // First it is among those that are waited for, so that nothing gets lost between that and the gap. If it can't be now,
        // it will be soon.
        if let Err(error) = self.index.attend(&self.node.id).await {
            debug!("other nodes don't know yet that this one is there: {error}");
        }
        self.node.listener.gap();
        self.ears.send_replace(true);
    }

    fn heard(&mut self, channel: &str, message: &str) {
        let known =
            if channel == self.index.channel { self.heard_from_all(message) } else { self.acknowledged(message) };
        if known.is_none() {
            debug!("an unknown message: {message}");
        }
    }

    fn lost(&mut self) {
        self.ears.send_replace(false);
    }
}

impl News {
    fn heard_from_all(&self, message: &str) -> Option<()> {
        let listener = &self.node.listener;
        match serde_json::from_str(message).ok()? {
            Message::Clear { id, node, scope: words } => {
                let scope = scope(words)?;
                if node == self.node.id {
                    self.node.tell(&id, &scope);
                } else {
                    listener.cleared(&scope);
                    // Whoever waits does so for a second only.
                    let _ = self.acknowledgements.try_send(Acknowledgement { to: node, id });
                }
            }
            Message::Cleared(pairs) => {
                for pair in pairs {
                    listener.cleared(&Scope::Value(key(pair)));
                }
            }
            Message::Settled(pairs) => {
                for pair in pairs {
                    listener.settled(&key(pair));
                }
            }
        }
        Some(())
    }

    /// Reads `ID NODE`.
    fn acknowledged(&self, message: &str) -> Option<()> {
        let (id, node) = message.split_once(' ')?;
        if let Some(by) = self.node.clears().waiting.get_mut(id) {
            by.insert(node.to_owned());
        }
        // Not before the lock is free: those who are told take it.
        self.node.heard.send_replace(());
        Some(())
    }
}

/// That this node has heard of something.
pub(super) struct Acknowledgement {
    /// The node that waits for it.
    to: String,
    /// What it has cleared.
    id: String,
}

/// Acknowledgements on their way.
pub(super) fn acknowledgements() -> (mpsc::Sender<Acknowledgement>, mpsc::Receiver<Acknowledgement>) {
    mpsc::channel(ACKNOWLEDGEMENTS)
}

/// Sends acknowledgements, for ever. Those that fail are missed by nobody who is still there.
pub(super) async fn acknowledge(
    index: Arc<Index>,
    prefix: String,
    node: Arc<Node>,
    mut waiting: mpsc::Receiver<Acknowledgement>,
) {
    while let Some(Acknowledgement { to, id }) = waiting.recv().await {
        if let Err(error) = index.publish(&own_channel(&prefix, &to), &format!("{id} {}", node.id)).await {
            debug!("cannot acknowledge that something was cleared: {error}");
        }
    }
}

/// Says again and again that the node is there, for as long as it hears what is published.
pub(super) async fn attend(index: Arc<Index>, node: Arc<Node>, ears: watch::Receiver<bool>) {
    let mut ticks = interval(ATTEND_INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        if *ears.borrow()
            && let Err(error) = index.attend(&node.id).await
        {
            debug!("cannot say that this node is there: {error}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_of_scripts_are_read() {
        let read = |text: &str| serde_json::from_str::<Message>(text).ok();
        let pairs = || vec![("f".to_owned(), "a/b".to_owned())];
        assert_eq!(read(r#"{"settled":[["f","a\/b"]]}"#), Some(Message::Settled(pairs())));
        assert_eq!(read(r#"{"cleared":[["f","a\/b"]]}"#), Some(Message::Cleared(pairs())));
        for bad in ["", "{}", r#"{"settled":{}}"#, r#"{"settled":[["f"]]}"#, r#"{"else":[]}"#] {
            assert_eq!(read(bad), None, "{bad}");
        }
    }

    #[test]
    fn scopes_survive_being_published() {
        let value = key(("f".to_owned(), "c".to_owned()));
        for one in [Scope::Everything, Scope::Function("f".into()), Scope::Value(value)] {
            assert_eq!(scope(words(&one)), Some(one));
        }
        assert_eq!(scope(vec![String::new(); 3]), None);
    }
}
