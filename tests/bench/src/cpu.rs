//! Processor time, from `/proc`: of a server with all its processes, and of this program.

use std::collections::HashMap;
use std::fs;
use std::time::Duration;

use rustix::param::clock_ticks_per_second;
use rustix::process::Pid;

/// The processor time that a process and its living descendants have used so far.
pub(crate) fn of_tree(root: Pid) -> Duration {
    let mut children: HashMap<i32, Vec<i32>> = HashMap::new();
    let mut ticks: HashMap<i32, u64> = HashMap::new();
    for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
        let Some((parent, used)) = stat(pid) else { continue };
        children.entry(parent).or_default().push(pid);
        ticks.insert(pid, used);
    }
    let mut total = 0;
    let mut left = vec![root.as_raw_nonzero().get()];
    while let Some(pid) = left.pop() {
        total += ticks.get(&pid).copied().unwrap_or_default();
        left.extend(children.remove(&pid).unwrap_or_default());
    }
    duration(total)
}

/// The processor time that this program has used so far.
pub(crate) fn of_this_program() -> Duration {
    let own = i32::try_from(std::process::id()).ok().and_then(stat);
    duration(own.map_or(0, |(_, used)| used))
}

/// A process's parent, and its user and system time in clock ticks.
fn stat(pid: i32) -> Option<(i32, u64)> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name in front may have spaces and parentheses in it.
    let fields: Vec<&str> = text.rsplit_once(')')?.1.split_whitespace().collect();
    let number = |index: usize| fields.get(index)?.parse::<u64>().ok();
    Some((fields.get(1)?.parse().ok()?, number(11)? + number(12)?))
}

fn duration(ticks: u64) -> Duration {
    Duration::from_millis(ticks * 1000 / clock_ticks_per_second().max(1))
}
