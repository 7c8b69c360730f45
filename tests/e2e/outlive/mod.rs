//! Sessions outlive the worker, the runner and the machine they run on, and users notice nothing of it.
//!
//! With `STREAMFLEET_SOAK=1` (and nextest's profile `soak`, which gives it the time) the long versions are run.

mod acts;
pub mod clickers;
mod crowd;
mod edges;
mod fencing;
mod handoff;
mod hibernation;
mod matrix;
pub mod page;
mod restart;
mod runaway;
mod tampering;

/// Whether the long versions are to be run.
pub fn soak() -> bool {
    std::env::var_os("STREAMFLEET_SOAK").is_some_and(|value| value == "1")
}
