//! A large value goes from worker to worker without being copied over and over.

use std::fs;

use rustix::process::Pid;

use super::stage::{Stage, USERS};
use crate::server::shown_number;

/// What the value takes, in MB: a `DataFrame` of numbers that don't compress.
const VALUE: u64 = 50;

/// A field of a process's memory statistics, in MB.
fn memory(pid: Pid, field: &str) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", pid.as_raw_nonzero())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix(field)).expect("the system tells");
    line.trim_start_matches(':').trim().trim_end_matches(" kB").parse::<u64>().unwrap() / 1000
}

#[tokio::test]
async fn a_large_value_is_not_copied_whole_on_its_way() {
    let mut stage = Stage::fleet("values").await;
    // What comes with the first call of its kind is not counted.
    for user in 0..USERS {
        stage.call(user, "len(large(1))").await;
    }
    let workers: Vec<_> = stage.users.iter().map(|user| shown_number(user, "pid")).collect();
    let workers: Vec<_> = workers.into_iter().map(|pid| Pid::from_raw(pid.try_into().unwrap()).unwrap()).collect();
    let runners: Vec<_> = stage.cluster().runners.iter().map(|runner| runner.server.pid()).collect();
    let processes: Vec<_> = runners.iter().chain(&workers).map(|&pid| (pid, memory(pid, "VmRSS"))).collect();

    for user in 0..USERS {
        let call = format!("len(large({VALUE}))");
        assert_eq!(stage.call(user, &call).await, (VALUE * 12_500).to_string());
    }
    stage.assert_ran("large", 2);
    let grown = processes.iter().map(|(pid, before)| memory(*pid, "VmHWM").saturating_sub(*before)).collect::<Vec<_>>();
    eprintln!("grown at most by, in MB: runners {:?}, workers {:?}", &grown[..runners.len()], &grown[runners.len()..]);
    let (of_runners, of_workers) = grown.split_at(runners.len());
    // The value, and what is on its way of it.
    assert!(of_runners.iter().all(|grown| *grown < 2 * VALUE), "{of_runners:?}");
    // The value for the script, and as it is kept; one more while it is made from the other.
    assert!(of_workers.iter().all(|grown| *grown < 4 * VALUE), "{of_workers:?}");
}
