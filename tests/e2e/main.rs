//! End-to-end tests: real servers, real Streamlit, and a client that speaks its protocol. One binary, to link once.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stderr)] // In a test, a panic is the report.
#![allow(unreachable_pub)] // Nothing outside sees any of it.

mod admission;
mod assets;
// What it tests is in programs that are built for AWS.
#[cfg(feature = "aws")]
mod aws;
mod cache;
mod cluster;
mod faults;
mod input;
mod observe;
mod outlive;
mod roll;
mod security;
mod server;
mod sessions;
mod startup;
mod wire;
