//! End-to-end tests: real servers, real Streamlit, and a client that speaks its protocol. One binary, to link once.
#![allow(clippy::unwrap_used, clippy::expect_used)] // In a test, a panic is the report.

mod wire;
