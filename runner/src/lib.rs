//! A runner: supervises an app's Python workers and serves their sessions to gateways over gRPC.
//!
//! - [`interpreter`] finds or makes the Python that the app runs on.
//! - [`Pool`] keeps one worker per core alive and knows which of them owns which session.
//! - [`RunnerService`] is the gRPC face of a pool.

mod directory;
mod failure;
#[cfg(test)]
mod fake;
mod http;
pub mod interpreter;
mod options;
mod package;
mod pool;
mod process;
mod service;
mod session;
mod slot;
mod stream;

pub use failure::WorkerFailure;
pub use options::PoolOptions;
pub use package::WorkerPackage;
pub use pool::Pool;
pub use process::{Process, PythonSpawner, Spawner};
pub use service::RunnerService;
