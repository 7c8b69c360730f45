//! The cache.

mod away;
mod behaviour;
mod model;
mod nodes;
pub mod stores;
mod tampering;
