//! A runner: supervises an app's Python workers and serves their sessions to gateways over gRPC.
//!
//! - [`interpreter`] finds or makes the Python that the app runs on.
//! - [`Pool`] keeps one worker per core alive and knows which of them owns which session.
//! - [`Ownership`] knows which sessions are this runner's, and [`Registrar`] keeps the registry's word on it.
//! - [`RunnerService`] is the gRPC face of a pool.

mod cache;
mod calls;
mod directory;
mod failure;
#[cfg(test)]
mod fake;
mod files;
mod handoff;
mod http;
pub mod interpreter;
mod lease;
mod memory;
mod observe;
mod options;
mod ownership;
mod package;
mod pool;
mod probe;
mod process;
mod registrar;
mod saver;
mod service;
mod session;
mod shared;
mod slot;
mod stream;

pub use cache::{CacheCounts, CacheNode, SharedCache};
pub use failure::WorkerFailure;
pub use files::Files;
pub use observe::Observer;
pub use options::{Limits, PoolOptions};
pub use ownership::Ownership;
pub use package::WorkerPackage;
pub use pool::Pool;
pub use process::{Process, PythonSpawner, Spawner};
pub use registrar::{Announcement, Registrar};
pub use service::RunnerService;
