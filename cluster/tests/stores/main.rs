//! The registry, the snapshots, the uploaded files and the cache on every store that there is: for each one list of behaviours, one model, and what only real
//! servers can do: fail over, go away, be restarted empty, want a login, be written by somebody else.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stderr)] // In a test, a panic is the report.
#![allow(unreachable_pub)] // Nothing outside sees any of it.

mod blobs;
mod cache;
mod line;
mod registry;
mod rolls;
mod snapshots;
