//! What gateways and runners must agree on: who is there, where a new session goes, and who owns
//! which session.

mod blobs;
mod member;
pub mod membership;
mod pins;
mod registry;
mod ring;
mod route;

pub use blobs::{BlobError, Blobs, BlobsAddress, BlobsAddressError, Content, FILE_TTL, FileHead};
pub use member::{Load, Member, RunnerPhase};
pub use pins::PinCache;
pub use registry::{
    AddressError, Announced, Event, LEASE, Members, MemoryRegistry, PIN_TTL, Pin, RedisAddress, RedisOptions,
    RedisRegistry, Registry, RegistryError,
};
pub use ring::Ring;
pub use route::Route;
