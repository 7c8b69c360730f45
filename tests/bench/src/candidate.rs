//! The servers that are compared.

use std::fmt;
use std::path::{Path, PathBuf};

use streamfleet_testkit::process::Launch;

/// A way to serve an app.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Candidate {
    /// `streamlit run` as it comes.
    Default,
    /// `streamlit run` without the garbage collection after every run and without watching files.
    Tuned,
    /// `streamfleet run`, also without watching files.
    Streamfleet,
}

impl Candidate {
    /// All of them, in the order of their turns.
    pub(crate) const ALL: [Self; 3] = [Self::Default, Self::Tuned, Self::Streamfleet];

    /// This way of serving an app of `tests/bench/apps`.
    pub(crate) fn launch(self, binary: &Path, app: &str) -> Launch {
        let path = script(app);
        match self {
            Self::Default => Launch::plain_streamlit(&path).option("--server.fileWatcherType", "auto"),
            Self::Tuned => Launch::plain_streamlit(&path).option("--runner.postScriptGC", "false"),
            Self::Streamfleet => Launch::streamfleet(binary, &path),
        }
    }
}

/// The script of an app of `tests/bench/apps`.
pub(crate) fn script(app: &str) -> PathBuf {
    let path: PathBuf = [env!("CARGO_MANIFEST_DIR"), "apps", app].iter().collect();
    path.with_extension("py")
}

impl fmt::Display for Candidate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Default => "plain, default",
            Self::Tuned => "plain, tuned",
            Self::Streamfleet => "Streamfleet",
        })
    }
}
