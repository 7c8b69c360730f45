//! What this process does for AWS, where the program was built for it (feature `aws`) and settings ask for it: the life cycle of its
//! machine, its load, and secrets.

#[cfg(feature = "aws")]
mod with;
#[cfg(not(feature = "aws"))]
mod without;

#[cfg(feature = "aws")]
pub(crate) use with::{Machine, secret};
#[cfg(not(feature = "aws"))]
pub(crate) use without::{Machine, secret};

/// Why it can't be asked for.
pub(crate) const MISSING: &str = "this program was built without AWS (cargo build --features aws)";
