//! Several gateways and runners as one.

mod anywhere;
mod faults;
mod fleet;
mod leaving;
mod ledger;
mod load_balancers;
mod login;
mod users;
