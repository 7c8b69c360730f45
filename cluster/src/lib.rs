//! What gateways and runners must agree on: who is there, and who owns which session.
//!
//! - [`Ring`] says where a session should go, as a pure function of the members.
//! - [`Registry`] remembers members and pins; [`MemoryRegistry`] keeps them in this process.

mod member;
mod registry;
mod ring;

pub use member::{Load, Member, RunnerPhase};
pub use registry::{MemoryRegistry, Pin, Registry, RegistryError};
pub use ring::Ring;
