//! The command line. Streamlit's own flags (`--section.option value`) are taken out before clap
//! sees the rest, since which ones exist is for the installed Streamlit to say.

use std::{ffi::OsString, path::PathBuf};

use clap::{Args, Parser, Subcommand};

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
}

#[derive(Debug, Args)]
#[command(after_help = "Streamlit's own flags are understood as `streamlit run` understands them, \
                        for example `--theme.base dark`.")]
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

    /// Number of Python workers [default: one per core].
    #[arg(long, value_name = "N")]
    pub(crate) workers: Option<u32>,

    /// Python interpreter or virtual environment to run the app with [default: the active virtual
    /// environment, else one that Streamfleet makes and keeps].
    #[arg(long, value_name = "PATH")]
    pub(crate) python: Option<PathBuf>,

    /// Settings file [default: streamfleet.toml in the current folder, if there is one].
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,

    /// Streamlit's own flags, in order.
    #[arg(skip)]
    pub(crate) streamlit_flags: Vec<String>,
}

impl Cli {
    /// Parses a command line, whose first entry is the program's name.
    pub(crate) fn from_args(args: impl IntoIterator<Item = OsString>) -> Result<Self, clap::Error> {
        let (own, streamlit_flags) = split_streamlit_flags(args);
        let mut cli = Self::try_parse_from(own)?;
        match &mut cli.command {
            Command::Run(args) => args.serve.streamlit_flags = streamlit_flags,
            Command::Hello(args) => args.streamlit_flags = streamlit_flags,
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
            Command::Hello(_) => panic!("not `run`"),
        }
    }

    #[test]
    fn the_command_line_is_consistent() {
        use clap::CommandFactory as _;
        Cli::command().debug_assert();
    }

    #[test]
    fn streamlit_flags_are_left_to_streamlit() {
        let args = run("streamfleet run --server.port 8502 app.py --workers 3 --theme.base=dark");
        assert_eq!(args.serve.streamlit_flags, ["--server.port", "8502", "--theme.base=dark"]);
        assert_eq!(args.serve.workers, Some(3));
        assert_eq!(args.app, PathBuf::from("app.py"));
    }

    #[test]
    fn the_script_has_arguments_of_its_own() {
        let args = run("streamfleet run app.py -- --server.port 1 x --workers");
        assert_eq!(args.args, ["--server.port", "1", "x", "--workers"]);
        assert!(args.serve.streamlit_flags.is_empty());
    }

    #[test]
    fn unknown_flags_are_errors() {
        let line = "streamfleet run app.py --wrokers 3";
        assert!(Cli::from_args(line.split(' ').map(OsString::from)).is_err());
    }
}
