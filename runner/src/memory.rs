//! How short of memory this machine is.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::atomic::{AtomicBool, Ordering},
};

use tracing::{info, warn};

/// So much must have become free again before memory is no longer short, in percent of all: else it would be short every other second.
const SLACK: f64 = 5.0;

/// Whether this machine is short of memory.
#[derive(Debug, Default)]
pub(crate) struct Pressure {
    is_short: AtomicBool,
}

impl Pressure {
    /// Looks how much is in use; from `high` percent on it is short. Zero is for never.
    pub(crate) fn look(&self, high: u32) -> bool {
        let Some(used) = (high != 0).then(|| used_percent(Path::new("/"))).flatten() else { return false };
        self.note(used, high)
    }

    fn note(&self, used: f64, high: u32) -> bool {
        let was_short = self.is_short.load(Ordering::Relaxed);
        let limit = if was_short { f64::from(high) - SLACK } else { f64::from(high) };
        let is_short = used >= limit.max(0.0);
        self.is_short.store(is_short, Ordering::Relaxed);
        match (was_short, is_short) {
            (false, true) => {
                warn!(used_percent = used, memory_high = high, "short of memory: new sessions go elsewhere, or wait");
            }
            (true, false) => info!(used_percent = used, memory_high = high, "no longer short of memory"),
            _ => {}
        }
        is_short
    }

    /// As of the last look.
    pub(crate) fn is_short(&self) -> bool {
        self.is_short.load(Ordering::Relaxed)
    }
}

/// How much of the memory is in use that this process may have: the machine's, or that of a control group that it is in, whichever
/// is the fuller; in percent. What the kernel can take back at once counts as free. `None` where the kernel doesn't tell.
fn used_percent(root: &Path) -> Option<f64> {
    let machine = of_machine(&fs::read_to_string(root.join("proc/meminfo")).ok()?);
    groups(root).iter().filter_map(|group| of_group(group)).chain(machine).reduce(f64::max)
}

fn of_machine(meminfo: &str) -> Option<f64> {
    let field = |name: &str| -> Option<f64> {
        let line = meminfo.lines().find_map(|line| line.strip_prefix(name))?;
        line.trim().split(' ').next()?.parse().ok()
    };
    percent(field("MemTotal:")? - field("MemAvailable:")?, field("MemTotal:")?)
}

/// The folders of the control groups (version 2) that this process is in, from its own upwards.
fn groups(root: &Path) -> Vec<PathBuf> {
    let own = fs::read_to_string(root.join("proc/self/cgroup")).unwrap_or_default();
    let Some(own) = own.lines().find_map(|line| line.strip_prefix("0::/")) else { return Vec::new() };
    let all = root.join("sys/fs/cgroup");
    all.join(own).ancestors().take_while(|folder| folder.starts_with(&all)).map(Path::to_owned).collect()
}

fn of_group(folder: &Path) -> Option<f64> {
    let read = |file: &str| fs::read_to_string(folder.join(file)).ok();
    // "max" if it has no limit.
    let most: f64 = read("memory.max")?.trim().parse().ok()?;
    let current: f64 = read("memory.current")?.trim().parse().ok()?;
    let stat = read("memory.stat").unwrap_or_default();
    let inactive = stat.lines().find_map(|line| line.strip_prefix("inactive_file ")).and_then(|text| text.parse().ok());
    percent(current - inactive.unwrap_or(0.0), most)
}

fn percent(used: f64, all: f64) -> Option<f64> {
    (all > 0.0).then(|| 100.0 * used / all)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(root: &Path, file: &str, text: &str) {
        let path = root.join(file);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    fn about(found: Option<f64>, expected: f64) {
        assert!(found.is_some_and(|found| (found - expected).abs() < 0.01), "{found:?}, not {expected}");
    }

    #[test]
    fn the_fullest_limit_counts() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        assert_eq!(used_percent(root), None);
        write(root, "proc/meminfo", "MemTotal:       1000 kB\nMemFree:  10 kB\nMemAvailable:    600 kB\n");
        about(used_percent(root), 40.0);
        write(root, "proc/self/cgroup", "0::/system.slice/streamfleet-runner.service\n");
        let unit = "sys/fs/cgroup/system.slice/streamfleet-runner.service";
        write(root, &format!("{unit}/memory.max"), "max\n");
        about(used_percent(root), 40.0);
        write(root, &format!("{unit}/memory.max"), "2000\n");
        write(root, &format!("{unit}/memory.current"), "1900\n");
        write(root, &format!("{unit}/memory.stat"), "anon 5\ninactive_file 300\nactive_file 7\n");
        about(used_percent(root), 80.0);
        // One further up may be the narrower.
        write(root, "sys/fs/cgroup/system.slice/memory.max", "4000\n");
        write(root, "sys/fs/cgroup/system.slice/memory.current", "3600\n");
        about(used_percent(root), 90.0);
    }

    #[test]
    fn this_machine_tells() {
        assert!(used_percent(Path::new("/")).is_some_and(|used| (0.0..=100.0).contains(&used)));
    }

    #[test]
    fn short_is_short_until_there_is_some_slack() {
        let pressure = Pressure::default();
        let looks = [94.9, 95.0, 92.0, 90.1, 89.9, 94.0];
        assert_eq!(looks.map(|used| pressure.note(used, 95)), [false, true, true, true, false, false]);
        assert!(!pressure.is_short());
        assert!(!Pressure::default().look(0));
    }
}
