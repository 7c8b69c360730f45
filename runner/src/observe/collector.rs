//! What is looked up when the page of metrics is asked for.

use std::fmt;

use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric as _},
    metrics::{counter::ConstCounter, gauge::ConstGauge},
    registry::Unit,
};
use streamfleet_proto::runner::WorkerPhase;

use crate::{cache::CacheCounts, pool::Pool};

/// Looks at a pool.
#[derive(Debug)]
pub(super) struct PoolCollector {
    pool: Pool,
}

impl PoolCollector {
    pub(super) fn new(pool: &Pool) -> Self {
        Self { pool: pool.clone() }
    }

    fn sessions(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let workers = self.pool.status();
        let (mut connected, mut disconnected, mut running) = (0_u64, 0_u64, 0_u64);
        for worker in &workers {
            connected += u64::from(worker.connected_sessions);
            disconnected += u64::from(worker.disconnected_sessions);
            running += u64::from(worker.running_scripts);
        }
        let sessions = [("connected", connected), ("disconnected", disconnected)];
        gauges(encoder, "sessions", "Sessions that are here", None, "state", sessions)?;
        gauge(encoder, "scripts_running", "Scripts that are being run", None, running)?;
        let unsaved = self.pool.unsaved_values();
        gauge(encoder, "unsaved_values", "Values of sessions that can't be kept", None, unsaved)?;
        let help = "Whether this machine is short of memory, so that it gets no new sessions";
        let is_short = self.pool.shared().memory.is_short();
        gauge(encoder, "short_of_memory", help, None, u64::from(is_short))?;

        let count = |phases: &[WorkerPhase]| {
            let matching = workers.iter().filter(|worker| phases.contains(&worker.phase()));
            u64::try_from(matching.count()).unwrap_or(u64::MAX)
        };
        let leaving = u64::from(self.pool.retiring_workers());
        let states = [
            ("starting", count(&[WorkerPhase::Starting, WorkerPhase::BackingOff])),
            ("ready", count(&[WorkerPhase::Ready]).saturating_sub(leaving)),
            ("leaving", leaving),
        ];
        gauges(encoder, "workers", "Python workers", None, "state", states)?;
        let names: Vec<_> = workers.iter().map(|worker| worker.index.to_string()).collect();
        let memory = names.iter().zip(&workers).map(|(name, worker)| (name.as_str(), worker.resident_bytes));
        let help = "Resident memory of each worker";
        gauges(encoder, "worker_resident_memory", help, Some(&Unit::Bytes), "worker", memory)?;
        let help = "How late each worker's event loop was at worst";
        let mut family = encoder.encode_descriptor(
            "worker_event_loop_lag",
            help,
            Some(&Unit::Seconds),
            ConstGauge::new(0.0).metric_type(),
        )?;
        for (name, worker) in names.iter().zip(&workers) {
            let lag = ConstGauge::new(micros(worker.loop_lag_us));
            lag.encode(family.encode_family(&[("worker", name.as_str())])?)?;
        }
        Ok(())
    }

    fn cache(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let Some((counts, memory_bytes)) = self.pool.cache_figures() else { return Ok(()) };
        let CacheCounts { worker_hits, node_hits, cluster_hits, misses, computations, waits, store_errors } = counts;
        let levels = [("worker", worker_hits), ("node", node_hits), ("cluster", cluster_hits)];
        let help = "Calls of cached functions whose value was there";
        let hits = ConstCounter::new(0_u64);
        let mut family = encoder.encode_descriptor("cache_hits", help, None, hits.metric_type())?;
        for (level, count) in levels {
            ConstCounter::new(count).encode(family.encode_family(&[("level", level)])?)?;
        }
        for (name, help, count) in [
            ("cache_misses", "Calls whose value nobody had", misses),
            ("cache_computations", "Rights to compute a value", computations),
            ("cache_waits", "Calls that waited for somebody who computed the value", waits),
            ("cache_store_errors", "What the cache in Redis could not be asked or told", store_errors),
        ] {
            let counter = ConstCounter::new(count);
            counter.encode(encoder.encode_descriptor(name, help, None, counter.metric_type())?)?;
        }
        let help = "Cached values in the runner's memory";
        gauge(encoder, "cache_memory", help, Some(&Unit::Bytes), memory_bytes)
    }
}

impl Collector for PoolCollector {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        self.sessions(&mut encoder)?;
        self.cache(&mut encoder)
    }
}

fn gauge(encoder: &mut DescriptorEncoder<'_>, name: &str, help: &str, unit: Option<&Unit>, value: u64) -> fmt::Result {
    let gauge = ConstGauge::new(value);
    gauge.encode(encoder.encode_descriptor(name, help, unit, gauge.metric_type())?)
}

fn gauges<'a>(
    encoder: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    unit: Option<&Unit>,
    label: &str,
    values: impl IntoIterator<Item = (&'a str, u64)>,
) -> fmt::Result {
    let mut family = encoder.encode_descriptor(name, help, unit, ConstGauge::new(0_u64).metric_type())?;
    for (value, count) in values {
        ConstGauge::new(count).encode(family.encode_family(&[(label, value)])?)?;
    }
    Ok(())
}

fn micros(micros: u64) -> f64 {
    std::time::Duration::from_micros(micros).as_secs_f64()
}
