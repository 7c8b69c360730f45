//! The registry on every store that there is: one list of behaviours, one model, and what only real servers can do: fail over, go
//! away, be restarted empty, want a login.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stderr)] // In a test, a panic is the report.
#![allow(unreachable_pub)] // Nothing outside sees any of it.

mod access;
mod away;
mod behaviour;
mod failover;
mod model;
mod stores;
