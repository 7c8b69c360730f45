//! Several gateways and runners as one.

mod anywhere;
mod faults;
pub mod fleet;
mod leaving;
pub mod ledger;
mod load_balancers;
mod login;
mod users;
