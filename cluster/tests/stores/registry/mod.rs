//! The registry.

mod access;
mod away;
mod behaviour;
mod failover;
mod model;
pub mod stores;
