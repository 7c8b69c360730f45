//! What processes use, from `/proc`: processor time and memory, of a server with all its processes and of this program.

use std::collections::HashMap;
use std::fs;
use std::time::Duration;

use rustix::param::clock_ticks_per_second;
use rustix::process::Pid;

use crate::load::as_f64;

/// The processor time that a process and its living descendants have used so far.
pub(crate) fn time_of_tree(root: Pid) -> Duration {
    duration(tree(root).iter().filter_map(|&pid| stat(pid)).map(|(_, used)| used).sum())
}

/// That of the one of them that has used most.
pub(crate) fn most_time_in_tree(root: Pid) -> Duration {
    duration(tree(root).iter().filter_map(|&pid| stat(pid)).map(|(_, used)| used).max().unwrap_or_default())
}

/// The processor time that all processes of the machine have used so far.
pub(crate) fn time_of_machine() -> Duration {
    let text = fs::read_to_string("/proc/stat").unwrap_or_default();
    let all = text.lines().next().unwrap_or_default();
    let ticks: Vec<u64> = all.split_whitespace().skip(1).filter_map(|field| field.parse().ok()).collect();
    // After `user`, `nice` and `system` come two kinds of idleness, then interrupts of two kinds, and more that isn't time of ours.
    duration([0, 1, 2, 5, 6].iter().filter_map(|&index| ticks.get(index)).sum())
}

/// How many processors the machine has.
pub(crate) fn processors() -> f64 {
    as_f64(std::thread::available_parallelism().map_or(1, std::num::NonZero::get))
}

/// The processor time that this program has used so far.
pub(crate) fn time_of_this_program() -> Duration {
    let own = i32::try_from(std::process::id()).ok().and_then(stat);
    duration(own.map_or(0, |(_, used)| used))
}

/// The memory of a process and its descendants, in bytes. What several share is divided among them (the kernel's `Pss`).
pub(crate) fn memory_of_tree(root: Pid) -> u64 {
    tree(root).into_iter().filter_map(proportional_share).sum()
}

/// A process and its living descendants.
fn tree(root: Pid) -> Vec<i32> {
    let mut children: HashMap<i32, Vec<i32>> = HashMap::new();
    for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
        if let Some((parent, _)) = stat(pid) {
            children.entry(parent).or_default().push(pid);
        }
    }
    let mut found = vec![root.as_raw_nonzero().get()];
    let mut seen = 0;
    while let Some(&pid) = found.get(seen) {
        found.extend(children.remove(&pid).unwrap_or_default());
        seen += 1;
    }
    found
}

/// A process's parent, and its user and system time in clock ticks.
fn stat(pid: i32) -> Option<(i32, u64)> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name in front may have spaces and parentheses in it.
    let fields: Vec<&str> = text.rsplit_once(')')?.1.split_whitespace().collect();
    let number = |index: usize| fields.get(index)?.parse::<u64>().ok();
    Some((fields.get(1)?.parse().ok()?, number(11)? + number(12)?))
}

fn proportional_share(pid: i32) -> Option<u64> {
    let text = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("Pss:"))?;
    Some(line.split_whitespace().next()?.parse::<u64>().ok()? * 1024)
}

/// A size in larger units, for people.
#[expect(clippy::cast_precision_loss, reason = "for people")]
pub(crate) fn in_units(bytes: u64, unit: u64) -> f64 {
    bytes as f64 / unit as f64
}

fn duration(ticks: u64) -> Duration {
    Duration::from_millis(ticks * 1000 / clock_ticks_per_second().max(1))
}
