//! Who is let in, and what is believed of them.

mod addresses;
mod peers;
mod public;
mod secret;
