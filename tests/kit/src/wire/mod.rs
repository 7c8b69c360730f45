//! The part of Streamlit's protobuf protocol that a client needs, with Streamlit's public field numbers.
//!
//! Message-typed fields whose content nobody here looks into are declared `bytes`, which is the same on the wire. So a
//! [`ForwardMsg`] decodes without copying or understanding its payload, and elements stay comparable byte by byte.

mod back;
mod forward;
mod widgets;

pub use back::*;
pub use forward::*;
pub use widgets::*;
