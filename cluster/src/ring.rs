//! Placement: which runner a new session goes to.
//!
//! Consistent hashing with bounded loads: each session has its own order of preference among the
//! runners, which hardly changes when one comes or goes, and takes the first that is not much
//! busier than the mean. (Mirrokni, Thorup, Zadimoghaddam: "Consistent Hashing with Bounded
//! Loads", 2016.)

use std::collections::HashMap;

use consistent_hash::{DefaultHash, Node, StaticHashRing};
use streamfleet_proto::{RunnerId, SessionId};

use crate::{
    member::{Member, RunnerPhase},
    target::Target,
};

/// Points that each runner has on the ring. More make the shares more even and the ring larger;
/// with 100 the shares of unbounded hashing differ by about a tenth, which the bound then cuts off.
const POINTS_PER_RUNNER: usize = 100;

/// A runner takes a new session only while it has at most this multiple of the mean, as a
/// fraction: 1.25.
const BOUND: (u64, u64) = (5, 4);

/// The runners that take new sessions, in every session's order of preference, and how many each of them has.
#[derive(Debug)]
pub struct Ring {
    points: StaticHashRing<'static, RunnerId, (), DefaultHash>,
    runners: HashMap<RunnerId, Filling>,
    total: u64,
}

/// How full a runner is.
#[derive(Debug, Clone, Copy, Default)]
struct Filling {
    sessions: u64,
    /// New sessions that there is room for, by what it has announced; `None` for any number.
    announced: Option<u64>,
    /// The same without those that have been placed there since.
    room: Option<u64>,
}

impl Ring {
    /// A ring of those members that take new sessions, as far as any of them is of the target.
    pub fn new<'a>(members: impl IntoIterator<Item = &'a Member>, target: &Target) -> Self {
        let mut ring = Self { points: points([].iter()), runners: HashMap::new(), total: 0 };
        ring.update(members, target);
        ring
    }

    /// Takes the members' new loads over, and makes a new ring where others are on it now.
    pub fn update<'a>(&mut self, members: impl IntoIterator<Item = &'a Member>, target: &Target) {
        let mut ready: Vec<_> = members.into_iter().filter(|member| member.phase == RunnerPhase::Ready).collect();
        // Where all workers have died at once they will be back in a moment, and are worth waiting for if nobody else is there.
        if ready.iter().any(|member| member.takes_sessions()) {
            ready.retain(|member| member.takes_sessions());
        }
        // An old revision is better than none, and one that nobody has tried yet is better than nothing at all.
        if ready.iter().any(|member| target.wants(member)) {
            ready.retain(|member| target.wants(member));
        } else if ready.iter().any(|member| !target.holds(member)) {
            ready.retain(|member| !target.holds(member));
        }
        let filling = |member: &Member| {
            let (sessions, room) = (u64::from(member.load.sessions), member.load.room());
            Filling { sessions, announced: room, room }
        };
        let runners: HashMap<_, _> = ready.iter().map(|member| (member.runner.clone(), filling(member))).collect();
        let same = runners.len() == self.runners.len() && runners.keys().all(|key| self.runners.contains_key(key));
        if !same {
            self.points = points(runners.keys());
        }
        self.total = runners.values().map(|filling| filling.sessions).sum();
        self.runners = runners;
    }

    /// The runner for a new session, none of the `excluded` ones. `None` when there is no runner.
    pub fn place(&self, session: &SessionId, excluded: &[RunnerId]) -> Option<&RunnerId> {
        let limit = self.limit();
        let (mut busy, mut full) = (None, None);
        for node in self.candidates(session).filter(|runner| !excluded.contains(runner)) {
            let filling = self.runners.get(node).copied().unwrap_or_default();
            if filling.room == Some(0) {
                full = full.or(Some(node));
            } else if filling.sessions >= limit {
                busy = busy.or(Some(node));
            } else {
                return Some(node);
            }
        }
        // All that are below the bound are excluded, or full. Whether somebody is let in where all are full is decided before.
        busy.or(full)
    }

    /// New sessions that there is room for, by what runners have announced; `None` for any number, as far as anybody knows.
    pub fn room(&self) -> Option<u64> {
        if self.runners.is_empty() {
            return None;
        }
        self.runners.values().map(|filling| filling.announced).sum()
    }

    /// A session's first choice, however busy it is: where it is most likely to be when nobody can be asked.
    pub fn first_choice(&self, session: &SessionId) -> Option<&RunnerId> {
        self.candidates(session).next()
    }

    /// Counts a session that has been placed, until the members announce new loads.
    pub fn add(&mut self, runner: &RunnerId) {
        if let Some(filling) = self.runners.get_mut(runner) {
            filling.sessions += 1;
            filling.room = filling.room.map(|room| room.saturating_sub(1));
            self.total += 1;
        }
    }

    fn candidates(&self, session: &SessionId) -> impl Iterator<Item = &RunnerId> {
        self.points.calc_candidates(session.as_bytes()).map(|node| &node.key)
    }

    /// Sessions at which a runner is full: the bound times what the mean will be with one more,
    /// rounded up. Some runner is always below it, since not all can be above the mean.
    fn limit(&self) -> u64 {
        let runners = u64::try_from(self.runners.len()).unwrap_or(u64::MAX).max(1);
        ((self.total + 1) * BOUND.0).div_ceil(runners * BOUND.1)
    }
}

fn points<'a>(runners: impl Iterator<Item = &'a RunnerId>) -> StaticHashRing<'static, RunnerId, (), DefaultHash> {
    StaticHashRing::new(DefaultHash, runners.map(|runner| Node::new(runner.clone()).quantity(POINTS_PER_RUNNER)))
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeSet, HashSet};

    use proptest::{collection::vec, prelude::*};

    use super::*;
    use crate::member::Load;

    fn member(number: usize, phase: RunnerPhase, revision: &str, sessions: u32) -> Member {
        Member {
            runner: format!("r{number}").parse().unwrap(),
            address: String::new(),
            revision: revision.to_owned(),
            phase,
            load: Load { sessions, workers: 1, ..Load::default() },
        }
    }

    fn ready(loads: &[u32]) -> Vec<Member> {
        let members = loads.iter().enumerate();
        members.map(|(number, &load)| member(number, RunnerPhase::Ready, "a", load)).collect()
    }

    fn fill(ring: &mut Ring, count: usize) -> HashMap<RunnerId, u32> {
        let mut shares = HashMap::new();
        for _ in 0..count {
            let runner = ring.place(&SessionId::random(), &[]).unwrap().clone();
            ring.add(&runner);
            *shares.entry(runner).or_default() += 1;
        }
        shares
    }

    proptest! {
        #[test]
        fn no_runner_passes_the_bound(runners in 1..40_usize, sessions in 1..2000_usize) {
            let mut ring = Ring::new(&ready(&vec![0; runners]), &Target::default());
            let shares = fill(&mut ring, sessions);
            let bound = (sessions * 5).div_ceil(runners * 4);
            let largest = shares.values().max().map_or(0, |&share: &u32| share as usize);
            prop_assert!(largest <= bound, "{shares:?} > {bound}");
        }

        #[test]
        fn there_is_always_room(loads in vec(0..1000_u32, 1..30)) {
            let ring = Ring::new(&ready(&loads), &Target::default());
            prop_assert!(ring.place(&SessionId::random(), &[]).is_some());
        }

        #[test]
        fn placement_is_a_function_of_its_input(loads in vec(0..50_u32, 1..30)) {
            let session = SessionId::random();
            let (one, other) = (Ring::new(&ready(&loads), &Target::default()), Ring::new(&ready(&loads), &Target::default()));
            prop_assert_eq!(one.place(&session, &[]), other.place(&session, &[]));
        }
    }

    #[test]
    fn few_sessions_move_when_a_runner_leaves() {
        let sessions: Vec<_> = (0..5000).map(|_| SessionId::random()).collect();
        let all = Ring::new(&ready(&[0; 20]), &Target::default());
        let fewer = Ring::new(&ready(&[0; 19]), &Target::default());
        let moved = sessions.iter().filter(|session| all.place(session, &[]) != fewer.place(session, &[])).count();
        // A twentieth is the least; the allowance is 5 % on top.
        assert!(moved * 10 <= sessions.len(), "{moved} of {}", sessions.len());
    }

    /// Where a million sessions go that come one after the other.
    fn place_all(sessions: &[SessionId], runners: usize) -> (Vec<RunnerId>, u32) {
        let mut ring = Ring::new(&ready(&vec![0; runners]), &Target::default());
        let mut shares: HashMap<RunnerId, u32> = HashMap::new();
        let places = sessions.iter().map(|session| {
            let runner = ring.place(session, &[]).unwrap().clone();
            ring.add(&runner);
            *shares.entry(runner.clone()).or_default() += 1;
            runner
        });
        let places = places.collect();
        (places, shares.into_values().max().unwrap())
    }

    #[test]
    fn a_thousand_runners_share_a_million_sessions() {
        const RUNNERS: usize = 1000;
        const SESSIONS: usize = 1_000_000;
        let sessions: Vec<_> = (0..SESSIONS).map(|_| SessionId::random()).collect();
        let (places, largest) = place_all(&sessions, RUNNERS);
        let bound = u32::try_from((SESSIONS * 5).div_ceil(RUNNERS * 4)).unwrap();
        assert!(largest <= bound, "{largest} > {bound}");
        for other in [RUNNERS - 1, RUNNERS + 1] {
            let (others, _) = place_all(&sessions, other);
            let moved = places.iter().zip(others).filter(|(place, other)| *place != other).count();
            // The one runner's share must move; 5 % more may.
            let allowed = SESSIONS / RUNNERS + SESSIONS / 20;
            assert!(moved <= allowed, "{moved} of {SESSIONS} moved with {other} runners");
        }
    }

    #[test]
    fn only_ready_runners_of_the_revision_are_taken() {
        let members = [
            member(0, RunnerPhase::Draining, "b", 0),
            member(1, RunnerPhase::Ready, "a", 0),
            member(2, RunnerPhase::Ready, "b", 0),
            member(3, RunnerPhase::Starting, "b", 0),
        ];
        let ring = Ring::new(&members, &Target::revision(Some("b")));
        for _ in 0..100 {
            let placed = ring.place(&SessionId::random(), &[]);
            assert_eq!(placed.map(RunnerId::as_str), Some("r2"));
        }
        // Nobody serves this one: then whoever takes sessions.
        let ring = Ring::new(&members, &Target::revision(Some("c")));
        let placed: HashSet<_> = (0..100).filter_map(|_| ring.place(&SessionId::random(), &[])).collect();
        assert_eq!(placed.len(), 2);
        assert_eq!(Ring::new(&members[3..], &Target::default()).place(&SessionId::random(), &[]), None);
    }

    #[test]
    fn those_that_nobody_has_tried_are_held_back() {
        let members = [
            member(0, RunnerPhase::Ready, "a", 0),
            member(1, RunnerPhase::Ready, "b", 0),
            member(2, RunnerPhase::Ready, "b", 0),
        ];
        let placed = |members: &[Member], admitted: &[&str]| {
            let admitted = admitted.iter().map(|runner| runner.parse().unwrap()).collect();
            let target = Target { admitted: Some(admitted), ..Target::revision(Some("b")) };
            let ring = Ring::new(members, &target);
            let placed: BTreeSet<_> =
                (0..100).filter_map(|_| ring.place(&SessionId::random(), &[]).map(ToString::to_string)).collect();
            placed.into_iter().collect::<Vec<_>>()
        };
        assert_eq!(placed(&members, &[]), ["r0"]);
        assert_eq!(placed(&members, &["r2"]), ["r2"]);
        assert_eq!(placed(&members, &["r1", "r2"]), ["r1", "r2"]);
        // The one that was admitted has gone.
        assert_eq!(placed(&members, &["r9"]), ["r0"]);
        assert_eq!(placed(&members[1..], &[]), ["r1", "r2"]);
    }

    #[test]
    fn a_runner_without_workers_is_passed_over() {
        let mut members = ready(&[0, 5]);
        members[0].load.workers = 0;
        let ring = Ring::new(&members, &Target::default());
        for _ in 0..100 {
            assert_eq!(ring.place(&SessionId::random(), &[]), Some(&members[1].runner));
        }
        // But waited for, if there is no other.
        let ring = Ring::new(&members[..1], &Target::default());
        assert_eq!(ring.place(&SessionId::random(), &[]), Some(&members[0].runner));
    }

    #[test]
    fn the_excluded_are_passed_over() {
        let members = ready(&[0, 0, 0]);
        let ring = Ring::new(&members, &Target::default());
        let session = SessionId::random();
        let mut excluded = Vec::new();
        for _ in 0..3 {
            let next = ring.place(&session, &excluded).unwrap().clone();
            assert!(!excluded.contains(&next));
            excluded.push(next);
        }
        assert_eq!(ring.place(&session, &excluded), None);
        assert_eq!(ring.first_choice(&session), excluded.first());
        // Even past the bound, rather than nowhere.
        let ring = Ring::new(&ready(&[0, 100]), &Target::default());
        let full = ring.place(&session, &["r0".parse().unwrap()]);
        assert_eq!(full.map(RunnerId::as_str), Some("r1"));
    }

    #[test]
    fn full_runners_are_passed_over() {
        let mut members = ready(&[3, 100, 4]);
        for (member, connected) in members.iter_mut().zip([2, 4, 4]) {
            (member.load.connected, member.load.max_connected) = (connected, 4);
        }
        let mut ring = Ring::new(&members, &Target::default());
        assert_eq!(ring.room(), Some(2));
        for _ in 0..2 {
            let runner = ring.place(&SessionId::random(), &[]).unwrap().clone();
            assert_eq!(runner.as_str(), "r0");
            ring.add(&runner);
        }
        // Whoever comes all the same, as a session that moves does, goes somewhere.
        assert!(ring.place(&SessionId::random(), &[]).is_some());
        // That the places are taken is for the line to know until the runner says so.
        assert_eq!(ring.room(), Some(2));

        members[0].load.short_of_memory = true;
        assert_eq!(Ring::new(&members, &Target::default()).room(), Some(0));
        members[1].load.max_connected = 0;
        let ring = Ring::new(&members, &Target::default());
        assert_eq!((ring.room(), ring.place(&SessionId::random(), &[]).map(RunnerId::as_str)), (None, Some("r1")));
        assert_eq!(Ring::new([], &Target::default()).room(), None);
    }

    #[test]
    fn new_loads_count_at_once_and_old_guesses_no_longer() {
        let mut ring = Ring::new(&ready(&[0, 0]), &Target::default());
        fill(&mut ring, 100);
        ring.update(&ready(&[0, 1000]), &Target::default());
        for _ in 0..100 {
            let placed = ring.place(&SessionId::random(), &[]);
            assert_eq!(placed.map(RunnerId::as_str), Some("r0"));
        }
    }
}
