//! A Streamlit wire-protocol client and helpers that start servers, for the end-to-end tests and the benchmark.
#![allow(clippy::print_stderr)] // A failing test shows what its servers printed.
//!
//! From the bottom up: [`wire`] holds the messages, [`http`] and [`client`] move them, [`tree`] is the page that they
//! add up to, [`browser`] puts these together into something that clicks and types, and [`process`] starts the servers
//! that it talks to. [`redis`], [`proxy`] and [`balancer`] start what stands around these, [`faults`] comes between them.
//! [`otlp`] takes what they tell of their work, and [`aws`] stands in for the machine and the cloud that they run on.
//! Nothing here depends on the crates under test.

pub mod aws;
pub mod balancer;
pub mod browser;
pub mod certificates;
pub mod client;
pub mod faults;
pub mod http;
pub mod mask;
pub mod otlp;
pub mod process;
pub mod proxy;
pub mod redis;
mod tcp;
pub mod tls;
pub mod tree;
pub mod wait;
pub mod wire;

/// Where a server answers: an address, and the path that its app is mounted under.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    /// `host:port`, as it appears in `Host` and `Origin`.
    pub authority: String,
    /// Empty, or a path like `/base` (Streamlit's `server.baseUrlPath`).
    pub base_path: String,
}

impl Endpoint {
    /// An app at the root of a server on this machine.
    pub fn local(port: u16) -> Self {
        Self { authority: format!("127.0.0.1:{port}"), base_path: String::new() }
    }

    /// The same server with the app mounted under `base_path`.
    #[must_use]
    pub fn with_base_path(mut self, base_path: &str) -> Self {
        let trimmed = base_path.trim_matches('/');
        self.base_path = if trimmed.is_empty() { String::new() } else { format!("/{trimmed}") };
        self
    }

    /// `path` (absolute, without the base path) as it goes into a request line.
    pub fn path(&self, path: &str) -> String {
        format!("{}{path}", self.base_path)
    }

    /// What a browser that loaded the page from here sends as `Origin`.
    pub fn origin(&self) -> String {
        format!("http://{}", self.authority)
    }
}
