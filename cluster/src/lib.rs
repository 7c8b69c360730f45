//! What gateways and runners must agree on: who is there, where a new session goes, and who owns
//! which session.

mod blobs;
mod cache;
mod member;
pub mod membership;
mod pins;
mod redis;
mod registry;
mod ring;
mod route;
mod signing;
mod snapshots;
mod target;
mod tls;

pub use self::redis::{AddressError, LinkError, RedisAddress, RedisOptions};
pub use blobs::{BlobError, Blobs, BlobsAddress, BlobsAddressError, Content, FILE_TTL, FileHead};
pub use cache::{
    Acquired, CACHE_LEASE, CacheError, CacheListener, CacheOptions, CacheSigner, CacheStore, CachedFunction,
    ComputeLease, Corrupt, Entry, MemoryCache, PART_BYTES, Packed, Packer, RedisCache, Scope, Stored, UNUSED_TTL,
    ValueKey,
};
pub use member::{Load, Member, RunnerPhase};
pub use pins::PinCache;
pub use registry::{
    ACTIVE, ARRIVING, Announced, Course, Event, INSIDE, LEASE, Line, Members, MemoryRegistry, PATIENCE, PIN_TTL, Pin,
    RESERVED, RETURN, ROLL_LEASE, RedisRegistry, Registry, RegistryError, Roll, RollLock, Rolls, Stage, Step, Taken,
    Turn, VisitorId, VisitorIdError,
};
pub use ring::Ring;
pub use route::Route;
pub use signing::KeyError;
pub use snapshots::{
    Change, FileSnapshots, FolderError, LoadError, Loaded, MemorySnapshots, RedisSnapshots, SNAPSHOT_TTL, SaveError,
    SavedState, Signer, SnapshotOptions, SnapshotStore, Unsaved, Write,
};
pub use target::Target;
pub use tls::{GATEWAY_NAME, HandshakeError, PeerFiles, Peers, PublicFiles, PublicTls, RUNNER_NAME, TlsError};
