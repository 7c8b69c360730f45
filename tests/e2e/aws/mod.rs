//! Clusters on machines of a cloud that is a double (`streamfleet_testkit::aws`), with the client that is shipped.

mod gateways;
mod load;
mod machines;
mod metadata;
mod refresh;
mod reread;
mod secrets;
mod stage;
