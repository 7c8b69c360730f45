//! Several gateways and runners as one.

mod faults;
mod fleet;
mod ledger;
mod users;
