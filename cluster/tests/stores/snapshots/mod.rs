//! The snapshots.

mod away;
mod behaviour;
mod files;
mod model;
pub mod stores;
mod tampering;
