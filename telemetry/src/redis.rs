//! How Redis does, as metrics.

use std::time::Duration;

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family},
    registry::{Registry, Unit},
};

use crate::{DurationFamily, duration_family};

/// How long operations in Redis take, and how many fail, by what they are for. Clones count together.
#[derive(Debug, Clone)]
pub struct RedisMetrics {
    durations: DurationFamily<Purpose>,
    errors: Family<Purpose, Counter>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Purpose {
    purpose: &'static str,
}

impl RedisMetrics {
    /// Metrics that nobody sees, until they are [registered](Self::register).
    pub fn unregistered() -> Self {
        Self { durations: duration_family(), errors: Family::default() }
    }

    /// Has them told.
    pub fn register(&self, registry: &mut Registry) {
        let name = "redis_operation_duration";
        registry.register_with_unit(name, "How long operations in Redis took", Unit::Seconds, self.durations.clone());
        registry.register("redis_errors", "Operations in Redis that failed", self.errors.clone());
    }

    /// There will be operations for this purpose: their series are there from the start.
    pub fn expect(&self, purpose: &'static str) {
        drop(self.durations.get_or_create(&Purpose { purpose }));
        drop(self.errors.get_or_create(&Purpose { purpose }));
    }

    /// Counts an operation. The purpose is a word from the code, as each has its own time series.
    pub fn observe(&self, purpose: &'static str, duration: Duration, ok: bool) {
        let purpose = Purpose { purpose };
        self.durations.get_or_create(&purpose).observe(duration.as_secs_f64());
        // So that the series is there from the start, and its first error is seen as an increase.
        self.errors.get_or_create(&purpose).inc_by(u64::from(!ok));
    }
}

impl Default for RedisMetrics {
    fn default() -> Self {
        Self::unregistered()
    }
}
