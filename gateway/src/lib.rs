//! A gateway: takes browsers' HTTP requests and WebSockets and carries them to runners.
//!
//! It holds nothing that isn't also elsewhere: killed at any moment, it loses TCP connections.

mod addresses;
mod admission;
mod assets;
mod attach;
mod attached;
mod browser;
mod closing;
mod connect;
mod error;
mod head;
mod http;
mod observe;
pub mod page;
mod proxies;
mod redirect;
mod replay;
mod server;
pub mod status;
mod upstream;
mod websocket;

pub use connect::{CONNECTION_WINDOW, Connector, STREAM_WINDOW, TcpConnector, Way, way};
pub use error::GatewayError;
pub use observe::{Happened, LiveFigures, Observer};
pub use proxies::TrustedProxies;
pub use redirect::redirect;
pub use server::{Gateway, GatewayOptions};
pub use upstream::Upstream;
