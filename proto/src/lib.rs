//! The words Streamfleet's processes speak: generated messages and services, validated ids,
//! and the conversions between wire messages and `http` types.

mod codec;
mod http_convert;
mod ids;
mod pb;

pub use codec::SmallBuffers;
pub use http_convert::{HeaderError, headers_from_wire, headers_to_wire, status_from_wire};
pub use ids::{FileId, IdError, MediaId, RunnerId, SessionId};
pub use pb::{WORKER_DESCRIPTORS, cluster, common, runner, worker};

/// Longest piece of a browser message or body carried by one gRPC message, in bytes. Longer ones
/// are cut up, so that one chart can't hold up another session's click on the same connection.
pub const MAX_CHUNK_BYTES: usize = 1 << 20;
