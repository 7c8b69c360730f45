//! A gateway: takes browsers' HTTP requests and WebSockets and carries them to runners.
//!
//! It holds nothing that isn't also elsewhere: killed at any moment, it loses TCP connections.

mod error;
mod head;
mod http;
mod server;
mod upstream;
mod websocket;

pub use error::GatewayError;
pub use server::{Gateway, GatewayOptions};
pub use upstream::{Connector, Upstream};
