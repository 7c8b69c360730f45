//! Which runners new sessions should go to, as a roll changes it.

use std::collections::BTreeSet;

use streamfleet_proto::RunnerId;

use crate::member::Member;

/// Which runners new sessions should go to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Target {
    /// Those of this revision; of any, if none is set.
    pub revision: Option<String>,
    /// Of that revision only these: the others have not been found to be healthy yet. `None` while no roll is under way.
    pub admitted: Option<BTreeSet<RunnerId>>,
}

impl Target {
    /// All runners of a revision, or of any.
    pub fn revision(revision: Option<&str>) -> Self {
        Self { revision: revision.map(str::to_owned), admitted: None }
    }

    /// Whether new sessions should go there.
    pub fn wants(&self, member: &Member) -> bool {
        self.is_of_it(member) && self.is_admitted(member)
    }

    /// Whether new sessions should rather go anywhere else: the runner is of the revision that is being rolled out, and
    /// nobody knows yet whether it works.
    pub fn holds(&self, member: &Member) -> bool {
        self.is_of_it(member) && !self.is_admitted(member)
    }

    fn is_of_it(&self, member: &Member) -> bool {
        self.revision.as_ref().is_none_or(|revision| member.revision == *revision)
    }

    fn is_admitted(&self, member: &Member) -> bool {
        self.admitted.as_ref().is_none_or(|admitted| admitted.contains(&member.runner))
    }
}
