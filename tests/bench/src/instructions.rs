//! Instructions that a click takes in a gateway and in a runner, counted by callgrind.
//!
//! Unlike time, they are the same on a busy machine, so that continuous integration can compare them with the committed figures. The
//! worker is a stand-in that answers with a recording, everything else is what ships, Redis included.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use streamfleet_testkit::process::Server;
use streamfleet_testkit::redis::{Redis, RedisLaunch, Version};
use streamfleet_testkit::wait;
use tempfile::TempDir;
use tokio::time::sleep;

use crate::app::App;
use crate::cluster;
use crate::stand_in;
use crate::user::User;

/// Clicks before counting begins, and clicks that are counted.
const WARM_UP: u64 = 100;
const COUNTED: u64 = 200;
/// How long it is watched what is done while nobody clicks: leases, keep-alive messages and the like.
const IDLE: Duration = Duration::from_secs(8);
/// How long it may take to store a snapshot, in callgrind on a busy machine.
const STORE_LIMIT: Duration = Duration::from_secs(30);
/// How long a worker rests between what it says, and the user after the last of it, where the gateway is counted: what comes together is
/// read at once, for fewer instructions, and whether it does would depend on the machine.
const REST: Duration = Duration::from_millis(20);
/// How far a count may be from the committed one, as a share of it.
const TOLERANCE: f64 = 0.05;

/// What runs a task. Only that is counted: how often a thread sleeps in between, and is woken by a timer for nothing, is the machine's affair.
const TASK: &str = "*::worker::Context::run_task";

/// What callgrind writes, but for the number of the dump.
const DUMPS: &str = "counted";

/// Whose instructions are counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    Gateway,
    Runner,
}

impl Part {
    const ALL: [Self; 2] = [Self::Gateway, Self::Runner];

    fn name(self) -> &'static str {
        match self {
            Self::Gateway => "gateway",
            Self::Runner => "runner",
        }
    }

    /// How long worker and user rest where it is counted.
    fn rest(self) -> Duration {
        match self {
            Self::Gateway => REST,
            Self::Runner => Duration::ZERO,
        }
    }
}

type Figures = BTreeMap<String, u64>;

/// Counts, and compares with the committed figures, or commits to what was counted.
pub(crate) async fn guard(binary: &Path, write: bool) -> Result<()> {
    let mut counted = Figures::new();
    for part in Part::ALL {
        let count = count(binary, part).await?;
        println!("{}: {count} instructions a click", part.name());
        counted.insert(part.name().to_owned(), count);
    }
    if write {
        let text = serde_json::to_string_pretty(&counted)? + "\n";
        return fs::write(path(), text).with_context(|| format!("writing {}", path().display()));
    }
    let text = fs::read_to_string(path()).with_context(|| format!("reading {}", path().display()))?;
    let committed: Figures = serde_json::from_str(&text).with_context(|| format!("reading {}", path().display()))?;
    let complaints: Vec<_> = counted.iter().filter_map(|(part, count)| compare(part, *count, &committed)).collect();
    ensure!(
        complaints.is_empty(),
        "{}\nIf that is meant, commit what `streamfleet-bench instructions --write` writes.",
        complaints.join("\n")
    );
    Ok(())
}

fn path() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("instructions.json")
}

/// What is wrong with a count. Far fewer than committed are wrong too: the next loss would go unnoticed.
fn compare(part: &str, count: u64, committed: &Figures) -> Option<String> {
    let Some(&expected) = committed.get(part) else { return Some(format!("{part}: nothing is committed")) };
    #[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
    let ratio = count as f64 / expected.max(1) as f64;
    ((ratio - 1.0).abs() > TOLERANCE)
        .then(|| format!("{part}: {count} instructions a click are {ratio:.3} × the committed {expected}"))
}

/// The instructions of one click in this part.
async fn count(binary: &Path, part: Part) -> Result<u64> {
    let stage = Stage::start(binary, part).await?;
    let mut user = User::open(stage.gateway.endpoint(), App::Counter, 0).await?;
    for _ in 0..WARM_UP {
        user.click().await?;
    }
    let mut stored = Stored::find(&stage.redis).await?;
    stage.control("--zero")?;
    let begin = Instant::now();
    for _ in 0..COUNTED {
        user.click().await?;
        // The runner puts together what it has to store where clicks come faster than it stores.
        stored.until_next(&stage.redis).await?;
        sleep(part.rest()).await;
    }
    stage.control("--dump")?;
    let (busy, begin) = (begin.elapsed(), Instant::now());
    sleep(IDLE).await;
    stage.control("--dump")?;
    let idle = begin.elapsed();
    // A slow machine takes longer for the clicks, and has more of what comes every second beside them.
    let beside = u128::from(stage.total(2)?) * busy.as_millis() / idle.as_millis();
    Ok(stage.total(1)?.saturating_sub(u64::try_from(beside)?) / COUNTED)
}

/// A gateway and a stand-in, one of them in callgrind.
struct Stage {
    part: Part,
    gateway: Server,
    runner: Server,
    folder: TempDir,
    redis: Redis,
}

/// The one session's snapshot.
struct Stored {
    key: String,
    version: String,
}

impl Stored {
    async fn find(redis: &Redis) -> Result<Self> {
        let mut keys: Vec<String> = redis.command(&["KEYS", "streamfleet:default:snapshot:*"]).await?;
        ensure!(keys.len() == 1, "there is not one snapshot, but {keys:?}");
        Ok(Self { key: keys.remove(0), version: String::new() })
    }

    /// Waits until there is another version of it.
    async fn until_next(&mut self, redis: &Redis) -> Result<()> {
        self.version = wait::until("a snapshot", STORE_LIMIT, async || {
            let version: String = redis.command(&["HGET", &self.key, "version"]).await?;
            ensure!(version != self.version, "it is still the same");
            Ok(version)
        })
        .await?;
        Ok(())
    }
}

impl Stage {
    async fn start(binary: &Path, part: Part) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let redis = RedisLaunch::new(Version::V7).start().await?;
        let this = std::env::current_exe().context("finding this program")?;
        let program = |of: Part, program: &Path| -> Result<PathBuf> {
            if of == part { in_callgrind(program, folder.path()) } else { Ok(program.to_owned()) }
        };
        let runner = stand_in::launch(&program(Part::Runner, &this)?, 1, &redis.url()).rest(part.rest());
        let runner = runner.spawn_until_serving().await?;
        let gateway = cluster::gateway(&program(Part::Gateway, binary)?, &redis).start().await?;
        Ok(Self { part, gateway, runner, folder, redis })
    }

    /// Has callgrind do something.
    fn control(&self, order: &str) -> Result<()> {
        let server = if self.part == Part::Gateway { &self.gateway } else { &self.runner };
        let pid = server.pid().as_raw_nonzero().to_string();
        let output =
            Command::new("callgrind_control").arg(order).arg(pid).output().context("running callgrind_control")?;
        ensure!(output.status.success(), "callgrind_control: {}", String::from_utf8_lossy(&output.stderr));
        Ok(())
    }

    /// The instructions in the first dump, or another.
    fn total(&self, dump: usize) -> Result<u64> {
        let path = self.folder.path().join(format!("{DUMPS}.{dump}"));
        let text = fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))?;
        let total = text.lines().find_map(|line| line.strip_prefix("totals:").or(line.strip_prefix("summary:")));
        Ok(total.context("callgrind has written no total")?.trim().parse()?)
    }
}

/// A script that runs a program in callgrind: launches take a program, not a command.
fn in_callgrind(program: &Path, folder: &Path) -> Result<PathBuf> {
    use std::os::unix::fs::PermissionsExt as _;

    let script = folder.join("callgrind.sh");
    let text = format!(
        "#!/bin/sh\n# One thread: which of several does what would not be the same each time.\nexport TOKIO_WORKER_THREADS=1\n\
         exec valgrind --tool=callgrind --toggle-collect='{TASK}' --callgrind-out-file={}/{DUMPS} '{}' \"$@\"\n",
        folder.display(),
        program.display()
    );
    fs::write(&script, text)?;
    fs::set_permissions(&script, fs::Permissions::from_mode(0o700))?;
    Ok(script)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn five_percent_more_or_less_pass() {
        let committed = Figures::from([("gateway".to_owned(), 100_000)]);
        for fine in [95_100, 100_000, 104_900] {
            assert_eq!(compare("gateway", fine, &committed), None);
        }
        assert!(compare("gateway", 105_100, &committed).unwrap().contains("1.051 × the committed 100000"));
        assert!(compare("gateway", 94_000, &committed).unwrap().contains("0.940"));
        assert!(compare("runner", 1, &committed).unwrap().contains("nothing is committed"));
    }

    #[test]
    fn what_is_committed_can_be_read() {
        let text = fs::read_to_string(path()).unwrap();
        let committed: Figures = serde_json::from_str(&text).unwrap();
        assert_eq!(committed.keys().collect::<Vec<_>>(), ["gateway", "runner"]);
    }
}
