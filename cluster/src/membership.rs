//! What a gateway knows of the members: asked for each second and whenever something has changed.
//!
//! A registry that is away leaves the last answer standing, and one that is settling takes nobody away from it.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use streamfleet_proto::RunnerId;
use tokio::{
    sync::{broadcast::error::RecvError, watch},
    time::{MissedTickBehavior, interval},
};
use tracing::{info, warn};

use crate::{
    member::Member,
    registry::{Event, Members, Registry, RegistryError},
    target::Target,
};

/// How often members are asked for when nothing is heard of changes.
const REFRESH: Duration = Duration::from_secs(1);

/// All members as last heard.
#[derive(Debug, Clone, Default)]
pub struct View {
    /// By name.
    pub members: BTreeMap<RunnerId, Member>,
    /// Which of them new sessions should go to.
    pub target: Target,
    /// Whoever is missing may just not have been heard of yet.
    pub settling: bool,
    /// The registry could not be asked the last time.
    pub stale: bool,
}

impl View {
    fn take(&mut self, answer: Members) {
        let mut members: BTreeMap<_, _> =
            answer.list.into_iter().map(|member| (member.runner.clone(), member)).collect();
        if answer.settling {
            for (runner, member) in std::mem::take(&mut self.members) {
                members.entry(runner).or_insert(member);
            }
        }
        *self = Self { members, target: answer.target, settling: answer.settling, stale: false };
    }
}

/// Asks the registry for the members over and over, and passes on what changes, until dropped. `on_event` hears of every
/// event first.
pub async fn follow(registry: Arc<dyn Registry>, view: watch::Sender<Arc<View>>, mut on_event: impl FnMut(&Event)) {
    let mut events = registry.subscribe();
    let mut refresh = interval(REFRESH);
    refresh.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let event = tokio::select! {
            _ = refresh.tick() => None,
            event = events.recv() => Some(match event {
                Ok(event) => event,
                Err(RecvError::Lagged(_)) => Event::Gap,
                // The registry lives as long as we hold it.
                Err(RecvError::Closed) => return,
            }),
        };
        if let Some(event) = &event {
            on_event(event);
        }
        if !matches!(event, Some(Event::Pin { .. })) {
            ask(&*registry, &view).await;
        }
    }
}

/// Asks the registry for the members once.
pub async fn ask(registry: &dyn Registry, view: &watch::Sender<Arc<View>>) {
    match registry.members().await {
        Ok(answer) => {
            if view.borrow().stale {
                info!(members = answer.list.len(), "the registry is back");
            }
            view.send_modify(|view| Arc::make_mut(view).take(answer));
        }
        Err(error) => {
            if !view.borrow().stale {
                warn_once(&error);
            }
            view.send_modify(|view| Arc::make_mut(view).stale = true);
        }
    }
}

fn warn_once(error: &RegistryError) {
    warn!("{error}; going by the members last known");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::member::{Load, RunnerPhase};

    fn member(name: &str) -> Member {
        Member {
            runner: name.parse().unwrap(),
            address: String::new(),
            revision: String::new(),
            phase: RunnerPhase::Ready,
            load: Load::default(),
        }
    }

    fn names(view: &View) -> Vec<&str> {
        view.members.keys().map(RunnerId::as_str).collect()
    }

    #[test]
    fn a_settling_registry_takes_nobody_away() {
        let mut view = View::default();
        let answer = |list: &[&str], settling| Members {
            list: list.iter().map(|name| member(name)).collect(),
            target: Target::default(),
            settling,
        };
        view.take(answer(&["a", "b"], false));
        view.take(answer(&["c"], true));
        assert_eq!(names(&view), ["a", "b", "c"]);
        view.take(answer(&["a", "c"], false));
        assert_eq!(names(&view), ["a", "c"]);
    }
}
