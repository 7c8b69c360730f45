//! Rolls from one revision of an app to another, with users who click through them.
//!
//! With `STREAMFLEET_SOAK=1` (and nextest's profile `soak`) there are 200 of them.

mod back;
mod crowd;
mod drain;
mod resume;
pub mod stage;
mod state;
pub mod users;
