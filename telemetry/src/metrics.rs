//! The page of metrics that a process shows, in OpenMetrics text.

use std::{
    fmt,
    hash::Hash,
    sync::{Mutex, MutexGuard, PoisonError},
};

use prometheus_client::{
    encoding::text,
    metrics::{family::Family, histogram::Histogram, info::Info},
    registry::Registry,
};

/// Upper bounds of durations in seconds: from what a store in the next rack takes to what a user no longer waits for.
pub const DURATION_BUCKETS: [f64; 15] =
    [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0];

/// What all names begin with.
const PREFIX: &str = "streamfleet";

/// Durations in seconds, by labels.
pub type DurationFamily<L> = Family<L, Histogram, fn() -> Histogram>;

/// A histogram of durations in seconds. Register it with the unit `Unit::Seconds`.
pub fn duration_histogram() -> Histogram {
    Histogram::new(DURATION_BUCKETS)
}

/// Histograms of durations in seconds, by labels.
pub fn duration_family<L: Clone + Hash + Eq>() -> DurationFamily<L> {
    Family::new_with_constructor(duration_histogram)
}

/// All metrics of a process.
#[derive(Debug)]
pub struct MetricsPage {
    registry: Mutex<Registry>,
}

impl MetricsPage {
    /// What the page's text is, as a `Content-Type`.
    pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

    /// A page that says what runs here: the program's version, the role (`gateway`, `runner`, `run`), and the app's revision.
    pub fn new(version: &str, role: &str, revision: &str) -> Self {
        let labels = [("version", version), ("role", role), ("revision", revision)];
        let mut registry = Registry::with_prefix(PREFIX);
        registry.register(
            "build",
            "What runs here",
            Info::new(labels.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec()),
        );
        Self { registry: Mutex::new(registry) }
    }

    /// Adds metrics. Their names get `streamfleet_` in front, their unit behind, and those of counters `_total`.
    pub fn register<T>(&self, metrics: impl FnOnce(&mut Registry) -> T) -> T {
        metrics(&mut self.lock())
    }

    /// The page as it is now.
    pub fn encode(&self) -> Result<String, fmt::Error> {
        let mut page = String::new();
        text::encode(&mut page, &self.lock())?;
        Ok(page)
    }

    fn lock(&self) -> MutexGuard<'_, Registry> {
        self.registry.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{
        collections::{HashMap, HashSet},
        time::Duration,
    };

    use prometheus_client::metrics::gauge::Gauge;

    use crate::{RedisMetrics, Tracer};

    fn page() -> String {
        let page = MetricsPage::new("1.2.3", "gateway", "a\"b\\c\nd");
        let redis = RedisMetrics::default();
        page.register(|registry| {
            redis.register(registry);
            Tracer::disabled().register(registry);
            registry.register("sessions", "Sessions", Gauge::<i64>::default());
        });
        redis.observe("registry", Duration::from_millis(3), true);
        redis.clone().observe("registry", Duration::from_secs(100), false);
        redis.observe("snapshots", Duration::ZERO, true);
        page.encode().unwrap()
    }

    #[test]
    fn names_and_labels_are_as_promised() {
        let page = page();
        for line in [
            r#"streamfleet_build_info{version="1.2.3",role="gateway",revision="a\"b\\c\nd"} 1"#,
            r#"streamfleet_redis_errors_total{purpose="registry"} 1"#,
            r#"streamfleet_redis_errors_total{purpose="snapshots"} 0"#,
            r#"streamfleet_redis_operation_duration_seconds_count{purpose="registry"} 2"#,
            r#"streamfleet_redis_operation_duration_seconds_sum{purpose="registry"} 100.003"#,
            r#"streamfleet_redis_operation_duration_seconds_bucket{le="0.0025",purpose="registry"} 0"#,
            r#"streamfleet_redis_operation_duration_seconds_bucket{le="0.005",purpose="registry"} 1"#,
            r#"streamfleet_redis_operation_duration_seconds_bucket{le="60.0",purpose="registry"} 1"#,
            r#"streamfleet_redis_operation_duration_seconds_bucket{le="+Inf",purpose="registry"} 2"#,
            "streamfleet_trace_spans_exported_total 0",
            "streamfleet_trace_spans_dropped_total 0",
            "streamfleet_sessions 0",
        ] {
            assert!(page.lines().any(|found| found == line), "{line} is not in\n{page}");
        }
    }

    /// What a strict reader of OpenMetrics insists on.
    #[test]
    fn the_page_is_open_metrics() {
        let page = page();
        assert!(page.ends_with("\n# EOF\n"), "{page}");
        let mut types: HashMap<&str, &str> = HashMap::new();
        let mut described = HashSet::new();
        let mut seen = HashSet::new();
        let mut family = "";
        for line in page.lines().take_while(|&line| line != "# EOF") {
            if let Some(description) = line.strip_prefix("# ") {
                let mut parts = description.splitn(3, ' ');
                let (what, name, text) = (parts.next().unwrap(), parts.next().unwrap(), parts.next().unwrap());
                assert!(described.insert((what, name)), "twice: {line}");
                match what {
                    "TYPE" => _ = types.insert(name, text),
                    "UNIT" => assert!(name.ends_with(&format!("_{text}")), "{line}"),
                    "HELP" => assert!(!text.is_empty()),
                    _ => panic!("{line}"),
                }
                family = name;
                continue;
            }
            let (sample, value) = line.rsplit_once(' ').unwrap();
            assert!(value.parse::<f64>().unwrap() >= 0.0, "{line}");
            assert!(seen.insert(sample), "twice: {line}");
            let name = sample.split('{').next().unwrap();
            let suffix = name.strip_prefix(family).unwrap_or_else(|| panic!("{line} is not of {family}"));
            let suffixes: &[&str] = match types[family] {
                "counter" => &["_total", "_created"],
                "gauge" => &[""],
                "info" => &["_info"],
                "histogram" => &["_bucket", "_count", "_sum", "_created"],
                other => panic!("{other}"),
            };
            assert!(suffixes.contains(&suffix), "{line}");
        }
        assert_eq!(types["streamfleet_redis_operation_duration_seconds"], "histogram");
        assert_eq!(types.len(), 6, "{types:?}");
    }
}
