//! The snapshots.

mod away;
mod behaviour;
mod model;
pub mod stores;
mod tampering;
