//! The command line. Streamlit's own flags (`--section.option value`) are taken out before clap
//! sees the rest, since which ones exist is for the installed Streamlit to say.

use std::{
    ffi::OsString,
    path::{Path, PathBuf},
    time::Duration,
};

use clap::{Args, CommandFactory as _, Parser, Subcommand, error::ErrorKind};
use config::Value;

use crate::{drain::DrainArgs, roll::RollArgs, settings::Flags};

/// Runs unmodified Streamlit apps on every core, and on a fleet of machines as if it were one.
#[derive(Debug, Parser)]
#[command(version, about, max_term_width = 100)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run an app on this machine, on every core.
    Run(RunArgs),
    /// Run Streamlit's demo app.
    Hello(ServeArgs),
    /// Run an app's workers on one machine of a cluster.
    Runner(RunnerArgs),
    /// Serve browsers from the runners of a cluster.
    Gateway(GatewayArgs),
    /// Show the runners of a cluster and how they are. Ends with 1 if none is ready.
    Status(StatusArgs),
    /// Show the sessions of a cluster.
    Sessions(SessionsArgs),
    /// Have a runner take no more sessions and hand over those that it has.
    Drain(DrainArgs),
    /// Replace the runners of a cluster by ones of another revision, a few at a time.
    Roll(RollArgs),
}

/// How the app is named, for `run` and `runner` alike.
const AFTER_HELP: &str = "Streamlit's own flags are understood as `streamlit run` understands them, for example \
                          `--theme.base dark`.";

#[derive(Debug, Args)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct RunArgs {
    /// The app's script, or a folder with a `streamlit_app.py` in it.
    #[arg(default_value = "streamlit_app.py")]
    pub(crate) app: PathBuf,

    /// Arguments for the script itself, after `--`.
    pub(crate) args: Vec<String>,

    #[command(flatten)]
    pub(crate) serve: ServeArgs,
}

#[derive(Debug, Default, Args)]
pub(crate) struct ServeArgs {
    /// Port to serve on [default: 8501, or what Streamlit's configuration says].
    #[arg(long, value_name = "PORT")]
    pub(crate) port: Option<u16>,

    /// Address to serve on [default: all addresses, or what Streamlit's configuration says].
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) host: Option<String>,

    /// Folder in which sessions' state is kept, so that it outlives a restart [default: none].
    #[arg(long, value_name = "FOLDER")]
    pub(crate) state: Option<PathBuf>,

    #[command(flatten)]
    pub(crate) python: PythonArgs,

    #[command(flatten)]
    pub(crate) config: ConfigArgs,

    /// Streamlit's own flags, in order.
    #[arg(skip)]
    pub(crate) streamlit_flags: Vec<String>,
}

#[derive(Debug, Default, Args)]
pub(crate) struct PythonArgs {
    /// Number of Python workers [default: one per core].
    #[arg(long, value_name = "N")]
    pub(crate) workers: Option<u32>,

    /// Python interpreter or virtual environment to run the app with [default: the active virtual
    /// environment, else one that Streamfleet makes and keeps].
    #[arg(long, value_name = "PATH")]
    pub(crate) python: Option<PathBuf>,

    /// Where uploaded files are kept for sessions that move: a folder that all runners share, or `s3://BUCKET/PREFIX`
    /// [default: Redis, up to 32 MiB per file; in memory without a cluster].
    #[arg(long, value_name = "URL")]
    pub(crate) blobs: Option<String>,

    /// Whether all workers share what `st.cache_data` functions return: `on`, or `off` for Streamlit's own caching in each
    /// [default: on].
    #[arg(long, value_name = "on|off")]
    pub(crate) cache: Option<String>,
}

#[derive(Debug, Default, Args)]
pub(crate) struct ConfigArgs {
    /// Settings file [default: streamfleet.toml in the current folder, if there is one].
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
}

/// Where a cluster is found.
#[derive(Debug, Default, Args)]
pub(crate) struct RegistryArgs {
    /// Redis, through which the cluster's processes find each other: `redis://HOST:PORT`, `redis-sentinel://…/NAME` or
    /// `redis-cluster://…`; `rediss…` for TLS.
    #[arg(long, value_name = "URL")]
    pub(crate) redis: Option<String>,

    /// Name that tells several clusters in one Redis apart [default: default].
    #[arg(long, value_name = "NAME")]
    pub(crate) cluster: Option<String>,
}

/// What all processes of a cluster are told.
#[derive(Debug, Default, Args)]
pub(crate) struct ClusterArgs {
    #[command(flatten)]
    pub(crate) registry: RegistryArgs,

    /// Address and port that say how this process is: `/livez`, `/readyz`, `/metrics`; on a gateway also the cluster page.
    #[arg(long, value_name = "ADDRESS:PORT")]
    pub(crate) admin_listen: Option<String>,
}

#[derive(Debug, Args)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct RunnerArgs {
    /// The app's script, or a folder with a `streamlit_app.py` in it.
    #[arg(default_value = "streamlit_app.py")]
    pub(crate) app: PathBuf,

    /// Arguments for the script itself, after `--`.
    pub(crate) args: Vec<String>,

    /// Address and port to serve gateways on [default: 0.0.0.0:8601].
    #[arg(long, value_name = "ADDRESS:PORT")]
    pub(crate) listen: Option<String>,

    /// Address and port where gateways reach this runner [default: this machine's address as seen from Redis, and the port
    /// of --listen].
    #[arg(long, value_name = "ADDRESS:PORT")]
    pub(crate) advertise: Option<String>,

    /// What is deployed of the app [default: a hash of the files in its folder].
    #[arg(long, value_name = "TEXT")]
    pub(crate) revision: Option<String>,

    /// Seconds that handing sessions over may take when the runner is told to end; then scripts that still run are stopped
    /// [default: 120].
    #[arg(long, value_name = "SECONDS")]
    pub(crate) drain_limit: Option<f64>,

    /// Serve gateways on other machines unencrypted, where the network itself is to be trusted.
    #[arg(long)]
    pub(crate) allow_plaintext: bool,

    /// Name of this runner, to which something random is added [default: the host's name].
    #[arg(long, value_name = "NAME")]
    pub(crate) name: Option<String>,

    #[command(flatten)]
    pub(crate) cluster: ClusterArgs,

    #[command(flatten)]
    pub(crate) python: PythonArgs,

    #[command(flatten)]
    pub(crate) config: ConfigArgs,

    /// Streamlit's own flags, in order.
    #[arg(skip)]
    pub(crate) streamlit_flags: Vec<String>,
}

#[derive(Debug, Args)]
pub(crate) struct GatewayArgs {
    /// Address and port to serve browsers on [default: 0.0.0.0:8501].
    #[arg(long, value_name = "ADDRESS:PORT")]
    pub(crate) listen: Option<String>,

    /// Seconds for which a gateway that is told to end goes on as before, so that load balancers can notice [default: 15].
    #[arg(long, value_name = "SECONDS")]
    pub(crate) shutdown_notice: Option<f64>,

    /// Seconds over which it then closes its browsers' connections [default: 10].
    #[arg(long, value_name = "SECONDS")]
    pub(crate) shutdown_spread: Option<f64>,

    #[command(flatten)]
    pub(crate) cluster: ClusterArgs,

    #[command(flatten)]
    pub(crate) config: ConfigArgs,
}

/// How to look at a cluster.
#[derive(Debug, Default, Args)]
pub(crate) struct LookArgs {
    #[command(flatten)]
    pub(crate) registry: RegistryArgs,

    #[command(flatten)]
    pub(crate) config: ConfigArgs,

    /// Print JSON, one object a line.
    #[arg(long)]
    pub(crate) json: bool,

    /// Look again every so many seconds [default: 2].
    #[arg(long, value_name = "SECONDS", num_args = 0..=1, default_missing_value = "2", value_parser = pause)]
    pub(crate) watch: Option<Duration>,
}

#[derive(Debug, Args)]
pub(crate) struct StatusArgs {
    #[command(flatten)]
    pub(crate) look: LookArgs,
}

#[derive(Debug, Args)]
pub(crate) struct SessionsArgs {
    /// Show those of this runner only: its full name, or what it was given as --name.
    #[arg(long, value_name = "NAME")]
    pub(crate) runner: Option<String>,

    /// Show at most so many.
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub(crate) limit: u32,

    #[command(flatten)]
    pub(crate) look: LookArgs,
}

/// Reads the seconds between two looks.
fn pause(text: &str) -> Result<Duration, String> {
    let seconds = text.parse().ok().filter(|seconds| (0.1..=3600.0).contains(seconds));
    seconds.map(Duration::from_secs_f64).ok_or_else(|| "give a number of seconds from 0.1 to 3600".to_owned())
}

type Values = Vec<(&'static str, Option<Value>)>;

fn text(value: Option<&String>) -> Option<Value> {
    value.cloned().map(Value::from)
}

fn path(value: Option<&PathBuf>) -> Option<Value> {
    value.map(|path| path.to_string_lossy().into_owned().into())
}

impl PythonArgs {
    fn values(&self) -> Values {
        vec![
            ("workers", self.workers.map(Value::from)),
            ("python", path(self.python.as_ref())),
            ("blobs", text(self.blobs.as_ref())),
            ("cache", text(self.cache.as_ref())),
        ]
    }
}

impl RegistryArgs {
    pub(crate) fn values(&self) -> Values {
        vec![("redis", text(self.redis.as_ref())), ("cluster", text(self.cluster.as_ref()))]
    }
}

impl ClusterArgs {
    fn values(&self) -> Values {
        let own = vec![("admin_listen", text(self.admin_listen.as_ref()))];
        [own, self.registry.values()].concat()
    }
}

impl Flags for LookArgs {
    fn file(&self) -> Option<&Path> {
        self.config.config.as_deref()
    }

    fn values(&self) -> Values {
        self.registry.values()
    }
}

impl Flags for ServeArgs {
    fn file(&self) -> Option<&Path> {
        self.config.config.as_deref()
    }

    fn values(&self) -> Values {
        let own = vec![
            ("port", self.port.map(Value::from)),
            ("host", text(self.host.as_ref())),
            ("state", path(self.state.as_ref())),
        ];
        [own, self.python.values()].concat()
    }
}

impl Flags for RunnerArgs {
    fn file(&self) -> Option<&Path> {
        self.config.config.as_deref()
    }

    fn values(&self) -> Values {
        let own = vec![
            ("listen", text(self.listen.as_ref())),
            ("advertise", text(self.advertise.as_ref())),
            ("revision", text(self.revision.as_ref())),
            ("name", text(self.name.as_ref())),
            ("drain_limit", self.drain_limit.map(Value::from)),
            ("allow_plaintext", self.allow_plaintext.then(|| Value::from(true))),
        ];
        [own, self.cluster.values(), self.python.values()].concat()
    }
}

impl Flags for GatewayArgs {
    fn file(&self) -> Option<&Path> {
        self.config.config.as_deref()
    }

    fn values(&self) -> Values {
        let own = vec![
            ("listen", text(self.listen.as_ref())),
            ("shutdown_notice", self.shutdown_notice.map(Value::from)),
            ("shutdown_spread", self.shutdown_spread.map(Value::from)),
        ];
        [own, self.cluster.values()].concat()
    }
}

impl Cli {
    /// Parses a command line, whose first entry is the program's name.
    pub(crate) fn from_args(args: impl IntoIterator<Item = OsString>) -> Result<Self, clap::Error> {
        let (own, streamlit_flags) = split_streamlit_flags(args);
        let mut cli = Self::try_parse_from(own)?;
        match &mut cli.command {
            Command::Run(args) => args.serve.streamlit_flags = streamlit_flags,
            Command::Hello(args) => args.streamlit_flags = streamlit_flags,
            Command::Runner(args) => args.streamlit_flags = streamlit_flags,
            Command::Gateway(_) | Command::Status(_) | Command::Sessions(_) | Command::Drain(_) | Command::Roll(_) => {
                if let Some(flag) = streamlit_flags.first() {
                    let text = format!("{flag}: this command runs no app; Streamlit's flags belong to the runners\n");
                    return Err(Self::command().error(ErrorKind::UnknownArgument, text));
                }
            }
        }
        Ok(cli)
    }
}

/// Takes `--section.option value` and `--section.option=value` out, up to a lone `--`.
fn split_streamlit_flags(args: impl IntoIterator<Item = OsString>) -> (Vec<OsString>, Vec<String>) {
    let (mut own, mut streamlit) = (Vec::new(), Vec::new());
    let mut args = args.into_iter();
    while let Some(arg) = args.next() {
        if arg == "--" {
            own.push(arg);
            own.extend(args);
            break;
        }
        let Some(flag) = arg.to_str().filter(|flag| is_streamlit_flag(flag)) else {
            own.push(arg);
            continue;
        };
        streamlit.push(flag.to_owned());
        if !flag.contains('=') {
            streamlit.extend(args.next().map(|value| value.to_string_lossy().into_owned()));
        }
    }
    (own, streamlit)
}

fn is_streamlit_flag(arg: &str) -> bool {
    let Some(flag) = arg.strip_prefix("--") else {
        return false;
    };
    let name = flag.split_once('=').map_or(flag, |(name, _)| name);
    name.contains('.')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Cli {
        Cli::from_args(line.split(' ').map(OsString::from)).unwrap()
    }

    fn run(line: &str) -> RunArgs {
        match parse(line).command {
            Command::Run(args) => args,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn streamlit_flags_are_left_to_streamlit() {
        let args = run("streamfleet run --server.port 8502 app.py --workers 3 --theme.base=dark");
        assert_eq!(args.serve.streamlit_flags, ["--server.port", "8502", "--theme.base=dark"]);
        assert_eq!(args.serve.python.workers, Some(3));
        assert_eq!(args.app, PathBuf::from("app.py"));
    }

    #[test]
    fn the_script_has_arguments_of_its_own() {
        let args = run("streamfleet run app.py -- --server.port 1 x --workers");
        assert_eq!(args.args, ["--server.port", "1", "x", "--workers"]);
        assert!(args.serve.streamlit_flags.is_empty());
    }

    #[test]
    fn watching_has_a_pause_of_its_own_or_the_usual_one() {
        let watch = |line: &str| match parse(line).command {
            Command::Status(args) => args.look.watch,
            Command::Sessions(args) => args.look.watch,
            other => panic!("{other:?}"),
        };
        assert_eq!(watch("streamfleet status --json"), None);
        assert_eq!(watch("streamfleet status --watch --json"), Some(Duration::from_secs(2)));
        assert_eq!(watch("streamfleet sessions --watch 0.5"), Some(Duration::from_millis(500)));
        assert!(Cli::from_args("streamfleet status --watch 0".split(' ').map(OsString::from)).is_err());
    }

    #[test]
    fn unknown_flags_are_errors() {
        for line in [
            "streamfleet run app.py --wrokers 3",
            "streamfleet gateway --theme.base dark",
            "streamfleet status --theme.base dark",
            "streamfleet sessions --limit 0",
            "streamfleet roll --resume --back",
            "streamfleet roll --revision a --resume",
            "streamfleet drain",
        ] {
            assert!(Cli::from_args(line.split(' ').map(OsString::from)).is_err(), "{line}");
        }
    }
}
