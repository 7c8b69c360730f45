//! A gateway: takes browsers' HTTP requests and WebSockets and carries them to runners.
//!
//! It holds nothing that isn't also elsewhere: killed at any moment, it loses TCP connections.

mod attach;
mod attached;
mod browser;
mod closing;
mod connect;
mod error;
mod head;
mod http;
mod replay;
mod server;
mod upstream;
mod websocket;

pub use connect::{CONNECTION_WINDOW, Connector, STREAM_WINDOW, TcpConnector};
pub use error::GatewayError;
pub use server::{Gateway, GatewayOptions};
pub use upstream::Upstream;
