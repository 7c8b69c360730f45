//! What a process does for AWS: the life cycle of its machine, its load as metrics, secrets from where AWS keeps them.
//!
//! [`LifeCycle`] is a state machine over two traits, [`Metadata`] (what the machine is told) and [`Group`] (what the auto-scaling group is
//! asked and told); [`publish`] feeds a [`LoadSink`]. [`Sdk`] has all three from AWS' own client, and secrets. It knows nothing of
//! gateways, runners or sessions.

mod backoff;
mod cloudwatch;
mod error;
mod group;
mod lifecycle;
mod load;
mod metadata;
mod sdk;
mod secrets;

pub use error::AwsError;
pub use lifecycle::{Departure, Following, Group, HOOK_PREFIX, Hook, LifeCycle, Metadata, Pace, Place, Transition};
pub use load::{Batch, Load, LoadSink, Statistics, publish};
pub use sdk::Sdk;
