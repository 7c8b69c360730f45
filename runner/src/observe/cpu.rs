//! How busy this machine's processors are.

use std::fs;

/// Looks at the kernel's counters, and compares with when it looked last.
#[derive(Debug, Default)]
pub(crate) struct Cpu {
    busy: u64,
    total: u64,
    usage: f64,
}

impl Cpu {
    /// The share of all cores that has been busy since this was asked last, from 0 to 1. The last known share where the counters
    /// have not moved, and 0 where there are none.
    pub(crate) fn usage(&mut self) -> f64 {
        if let Some((busy, total)) = fs::read_to_string("/proc/stat").ok().as_deref().and_then(parse)
            && total > self.total
        {
            let (busy_since, since) = (busy.saturating_sub(self.busy), total - self.total);
            self.usage = ratio(busy_since, since);
            (self.busy, self.total) = (busy, total);
        }
        self.usage
    }
}

#[expect(clippy::cast_precision_loss, reason = "ticks since the last look are few")]
fn ratio(part: u64, whole: u64) -> f64 {
    part as f64 / whole as f64
}

/// Busy and all ticks of all cores together (proc(5)).
fn parse(stat: &str) -> Option<(u64, u64)> {
    let line = stat.lines().next()?.strip_prefix("cpu ")?;
    // user nice system idle iowait irq softirq steal; guests are in user already.
    let ticks: Vec<u64> = line.split_whitespace().take(8).filter_map(|ticks| ticks.parse().ok()).collect();
    let total: u64 = ticks.iter().sum();
    let idle = ticks.get(3)? + ticks.get(4)?;
    Some((total - idle, total))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_read() {
        assert_eq!(parse("cpu  10 1 5 80 4 0 0 0 3 0\ncpu0 1"), Some((16, 100)));
        assert_eq!(parse("intr 1"), None);
        let usage = Cpu::default().usage();
        assert!((0.0..=1.0).contains(&usage), "{usage}");
    }
}
