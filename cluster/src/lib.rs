//! What gateways and runners must agree on: who is there, where a new session goes, and who owns
//! which session.

mod blobs;
mod member;
pub mod membership;
mod pins;
mod redis;
mod registry;
mod ring;
mod route;
mod snapshots;

pub use self::redis::{AddressError, LinkError, RedisAddress, RedisOptions};
pub use blobs::{BlobError, Blobs, BlobsAddress, BlobsAddressError, Content, FILE_TTL, FileHead};
pub use member::{Load, Member, RunnerPhase};
pub use pins::PinCache;
pub use registry::{
    Announced, Event, LEASE, Members, MemoryRegistry, PIN_TTL, Pin, RedisRegistry, Registry, RegistryError,
};
pub use ring::Ring;
pub use route::Route;
pub use snapshots::{
    Change, FileSnapshots, FolderError, KeyError, LoadError, Loaded, MemorySnapshots, RedisSnapshots, SNAPSHOT_TTL,
    SaveError, SavedState, Signer, SnapshotOptions, SnapshotStore, Unsaved, Write,
};
