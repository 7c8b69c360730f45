//! Placement: which runner a new session goes to.
//!
//! Consistent hashing with bounded loads: each session has its own order of preference among the
//! runners, which hardly changes when one comes or goes, and takes the first that is not much
//! busier than the mean. (Mirrokni, Thorup, Zadimoghaddam: "Consistent Hashing with Bounded
//! Loads", 2016.)

use std::collections::HashMap;

use consistent_hash::{DefaultHash, Node, StaticHashRing};
use streamfleet_proto::{RunnerId, SessionId};

use crate::member::{Member, RunnerPhase};

/// Points that each runner has on the ring. More make the shares more even and the ring larger;
/// with 100 the shares of unbounded hashing differ by about a tenth, which the bound then cuts off.
const POINTS_PER_RUNNER: usize = 100;

/// A runner takes a new session only while it has at most this multiple of the mean, as a
/// fraction: 1.25.
const BOUND: (u64, u64) = (5, 4);

/// The runners that take new sessions, in every session's order of preference.
#[derive(Debug)]
pub struct Ring {
    ring: StaticHashRing<'static, RunnerId, (), DefaultHash>,
    sessions: HashMap<RunnerId, u32>,
}

impl Ring {
    /// A ring of those members that are ready and serve this revision; `None` takes any revision.
    pub fn new<'a>(members: impl IntoIterator<Item = &'a Member>, revision: Option<&str>) -> Self {
        let sessions: HashMap<_, _> = members
            .into_iter()
            .filter(|member| member.phase == RunnerPhase::Ready)
            .filter(|member| revision.is_none_or(|revision| member.revision == revision))
            .map(|member| (member.runner.clone(), member.load.sessions))
            .collect();
        let nodes = sessions.keys().map(|runner| Node::new(runner.clone()).quantity(POINTS_PER_RUNNER));
        Self { ring: StaticHashRing::new(DefaultHash, nodes), sessions }
    }

    /// The runner for a new session. `None` when there is no runner.
    pub fn place(&self, session: &SessionId) -> Option<&RunnerId> {
        let limit = self.limit();
        let mut candidates = self.ring.calc_candidates(session.as_bytes());
        candidates.find(|node| u64::from(self.load(&node.key)) < limit).map(|node| &node.key)
    }

    /// Counts a session that has been placed, until the members announce new loads.
    pub fn add(&mut self, runner: &RunnerId) {
        if let Some(sessions) = self.sessions.get_mut(runner) {
            *sessions = sessions.saturating_add(1);
        }
    }

    fn load(&self, runner: &RunnerId) -> u32 {
        self.sessions.get(runner).copied().unwrap_or_default()
    }

    /// Sessions at which a runner is full: the bound times what the mean will be with one more,
    /// rounded up. Some runner is always below it, since not all can be above the mean.
    fn limit(&self) -> u64 {
        let total: u64 = self.sessions.values().map(|&count| u64::from(count)).sum();
        let runners = u64::try_from(self.sessions.len()).unwrap_or(u64::MAX).max(1);
        ((total + 1) * BOUND.0).div_ceil(runners * BOUND.1)
    }
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*};

    use super::*;
    use crate::member::Load;

    fn member(number: usize, phase: RunnerPhase, revision: &str, sessions: u32) -> Member {
        Member {
            runner: format!("r{number}").parse().unwrap(),
            address: String::new(),
            revision: revision.to_owned(),
            phase,
            load: Load { sessions },
        }
    }

    fn ready(loads: &[u32]) -> Vec<Member> {
        let members = loads.iter().enumerate();
        members.map(|(number, &load)| member(number, RunnerPhase::Ready, "a", load)).collect()
    }

    fn fill(ring: &mut Ring, count: usize) -> HashMap<RunnerId, u32> {
        let mut shares = HashMap::new();
        for _ in 0..count {
            let runner = ring.place(&SessionId::random()).unwrap().clone();
            ring.add(&runner);
            *shares.entry(runner).or_default() += 1;
        }
        shares
    }

    proptest! {
        #[test]
        fn no_runner_passes_the_bound(runners in 1..40_usize, sessions in 1..2000_usize) {
            let mut ring = Ring::new(&ready(&vec![0; runners]), None);
            let shares = fill(&mut ring, sessions);
            let bound = (sessions * 5).div_ceil(runners * 4);
            let largest = shares.values().max().map_or(0, |&share: &u32| share as usize);
            prop_assert!(largest <= bound, "{shares:?} > {bound}");
        }

        #[test]
        fn there_is_always_room(loads in vec(0..1000_u32, 1..30)) {
            let ring = Ring::new(&ready(&loads), None);
            prop_assert!(ring.place(&SessionId::random()).is_some());
        }

        #[test]
        fn placement_is_a_function_of_its_input(loads in vec(0..50_u32, 1..30)) {
            let session = SessionId::random();
            let (one, other) = (Ring::new(&ready(&loads), None), Ring::new(&ready(&loads), None));
            prop_assert_eq!(one.place(&session), other.place(&session));
        }
    }

    #[test]
    fn few_sessions_move_when_a_runner_leaves() {
        let sessions: Vec<_> = (0..5000).map(|_| SessionId::random()).collect();
        let all = Ring::new(&ready(&[0; 20]), None);
        let fewer = Ring::new(&ready(&[0; 19]), None);
        let moved = sessions.iter().filter(|session| all.place(session) != fewer.place(session)).count();
        // A twentieth is the least; the allowance is 5 % on top.
        assert!(moved * 10 <= sessions.len(), "{moved} of {}", sessions.len());
    }

    #[test]
    fn only_ready_runners_of_the_revision_are_taken() {
        let members = [
            member(0, RunnerPhase::Draining, "b", 0),
            member(1, RunnerPhase::Ready, "a", 0),
            member(2, RunnerPhase::Ready, "b", 9),
            member(3, RunnerPhase::Starting, "b", 0),
        ];
        let ring = Ring::new(&members, Some("b"));
        for _ in 0..100 {
            let placed = ring.place(&SessionId::random());
            assert_eq!(placed.map(RunnerId::as_str), Some("r2"));
        }
        assert_eq!(Ring::new(&members, Some("c")).place(&SessionId::random()), None);
    }
}
