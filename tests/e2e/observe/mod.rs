//! What processes tell of themselves: traces, metrics.

mod collectors;
mod metrics;
mod traces;
