//! The journal of a roll: what an operator's command has done of it, kept where its successor finds it.
//!
//! One roll is under way at a time. Whoever carries it out holds a lock, which is a lease: it ends [`ROLL_LEASE`] after it was
//! renewed last. The lock has a generation that only grows, and nothing is written with an older one: an operator that was
//! replaced without noticing does no harm. What the roll has come to and which runners new sessions go to change together.

use std::time::Duration;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use super::RegistryError;
use crate::target::Target;

/// How long a roll is its operator's after that last said so.
pub const ROLL_LEASE: Duration = Duration::from_secs(10);

/// A roll of all runners to a revision.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Roll {
    /// What is rolled out.
    pub revision: String,
    /// What new sessions went to before; what is gone back to.
    pub former: Option<String>,
    /// How many runners are replaced at once.
    pub at_once: u32,
    /// When it began, in milliseconds since 1970.
    pub began_ms: u64,
    /// Where it is.
    pub course: Course,
    /// Why it went back or stopped; empty if it didn't.
    pub reason: String,
    /// The runners to be replaced, in order.
    pub steps: Vec<Step>,
}

/// Where a roll is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Course {
    /// Runners are being replaced.
    Forward,
    /// It failed, and those that were replaced come back.
    Back,
    /// It failed, and stays as it is until somebody decides.
    Stopped,
    /// All runners have been replaced.
    Done,
    /// All is as before.
    Undone,
}

/// One runner that is replaced.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Step {
    /// The runner that leaves.
    pub runner: String,
    /// What it serves of the app.
    pub revision: String,
    /// The one that takes its place, once it is known.
    pub successor: Option<String>,
    /// How far it is.
    pub stage: Stage,
}

/// How far the replacement of a runner is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stage {
    /// Not begun.
    Waiting,
    /// Its successor is waited for.
    Starting,
    /// The successor's app is tried.
    Probing,
    /// New sessions go to the successor, and the runner hands over those that it has.
    HandingOver,
    /// It has left.
    Done,
}

impl Roll {
    /// Whether there is nothing left to be done of it.
    pub fn is_over(&self) -> bool {
        matches!(self.course, Course::Done | Course::Undone)
    }
}

/// The right to carry out a roll.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RollLock {
    /// Grows with each operator.
    pub generation: u64,
    /// Who has it, for people.
    pub holder: String,
}

/// What comes of asking for the lock.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Taken {
    /// It is the caller's.
    Held {
        /// The lock.
        lock: RollLock,
        /// The last roll, whatever came of it.
        roll: Option<Roll>,
    },
    /// Somebody else has it.
    Busy {
        /// Who.
        holder: String,
        /// What they are doing.
        roll: Option<Roll>,
    },
}

/// Where the journal is kept.
#[async_trait]
pub trait Rolls: Send + Sync + 'static {
    /// Takes the lock, if nobody else has it.
    async fn take(&self, holder: &str) -> Result<Taken, RegistryError>;

    /// Keeps the lock for another [`ROLL_LEASE`]. False when somebody else has taken it: then the roll is theirs.
    async fn renew(&self, lock: &RollLock) -> Result<bool, RegistryError>;

    /// Writes down what the roll has come to, and which runners new sessions go to from now on. Renews the lock; false and
    /// nothing is written when somebody else has it.
    async fn record(&self, lock: &RollLock, roll: &Roll, target: &Target) -> Result<bool, RegistryError>;

    /// Gives the lock back, if it is still the caller's.
    async fn release(&self, lock: &RollLock) -> Result<(), RegistryError>;
}
