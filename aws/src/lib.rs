//! What a process does for AWS: the life cycle of its machine, its load as metrics, secrets from where AWS keeps them.
//!
//! [`LifeCycle`] is a state machine over two traits, [`Metadata`] (what the machine is told) and [`Group`] (what the auto-scaling group is
//! asked and told); [`publish`] feeds a [`LoadSink`]. `Sdk` (feature `sdk`) has all three from AWS' own client, and secrets. It knows
//! nothing of gateways, runners or sessions.

mod backoff;
#[cfg(feature = "sdk")]
mod cloudwatch;
mod error;
#[cfg(feature = "sdk")]
mod group;
mod lifecycle;
mod load;
#[cfg(feature = "sdk")]
mod metadata;
#[cfg(feature = "sdk")]
mod sdk;
#[cfg(feature = "sdk")]
mod secrets;

pub use error::AwsError;
pub use lifecycle::{Departure, Following, Group, HOOK_PREFIX, Hook, LifeCycle, Metadata, Pace, Place, Transition};
pub use load::{Batch, Load, LoadSink, Statistics, publish};
#[cfg(feature = "sdk")]
pub use sdk::Sdk;
