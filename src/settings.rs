//! Settings: defaults, then `streamfleet.toml`, then `STREAMFLEET_*`, then flags.

use std::{
    collections::HashMap,
    env,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, bail};
use config::{Config, Environment, File, FileFormat};
use serde::Deserialize;

use crate::{cli::ServeArgs, telemetry::LogSettings};

/// The settings file that is read when none is named.
const DEFAULT_FILE: &str = "streamfleet.toml";
const PREFIX: &str = "STREAMFLEET";
/// More workers than this are a typing error, not a machine.
const MAX_WORKERS: u32 = 1024;

/// Settings of `run` and `hello`.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Settings {
    /// Port to serve on; Streamlit's configuration has the say when it is not set.
    pub(crate) port: Option<u16>,
    /// Address to serve on; Streamlit's configuration has the say when it is not set.
    pub(crate) host: Option<String>,
    /// Number of Python workers; one per core when it is not set.
    pub(crate) workers: Option<u32>,
    /// Interpreter or virtual environment to run the app with.
    pub(crate) python: Option<PathBuf>,
    /// Where managed Python environments are kept.
    pub(crate) cache_dir: Option<PathBuf>,
    /// Logging.
    #[serde(flatten)]
    pub(crate) log: LogSettings,
}

/// The names under which settings are found in the file and, in capitals, in the environment.
const NAMES: [&str; 7] = ["port", "host", "workers", "python", "cache_dir", "log_level", "log_format"];

impl Settings {
    /// Loads the settings for a command line, and checks them.
    pub(crate) fn load(args: &ServeArgs) -> Result<Self> {
        let known = env::vars().filter(|(name, value)| {
            let setting = name.strip_prefix(PREFIX).and_then(|rest| rest.strip_prefix('_'));
            let setting = setting.map(str::to_ascii_lowercase);
            !value.is_empty() && setting.is_some_and(|setting| NAMES.contains(&setting.as_str()))
        });
        Self::from_sources(args, Path::new(DEFAULT_FILE), known.collect())
    }

    fn from_sources(args: &ServeArgs, default_file: &Path, environment: HashMap<String, String>) -> Result<Self> {
        let (path, required) = match &args.config {
            Some(path) => (path.as_path(), true),
            None => (default_file, false),
        };
        let mut sources = Config::builder();
        if required || path.exists() {
            let text = std::fs::read_to_string(path)
                .with_context(|| format!("cannot read the settings file {}", path.display()))?;
            check_names(path, &text)?;
            sources = sources.add_source(File::from_str(&text, FileFormat::Toml));
        }
        sources = sources.add_source(Environment::with_prefix(PREFIX).source(Some(environment)).try_parsing(true));
        let path_text = |path: &PathBuf| path.to_string_lossy().into_owned();
        let config = sources
            .set_override_option("port", args.port)?
            .set_override_option("host", args.host.clone())?
            .set_override_option("workers", args.workers)?
            .set_override_option("python", args.python.as_ref().map(path_text))?
            .build()?;
        let settings: Self = config.try_deserialize().context("invalid settings")?;
        settings.check()?;
        Ok(settings)
    }

    fn check(&self) -> Result<()> {
        if let Some(workers) = self.workers
            && !(1..=MAX_WORKERS).contains(&workers)
        {
            bail!("workers = {workers}: give a number from 1 to {MAX_WORKERS}");
        }
        Ok(())
    }
}

fn check_names(path: &Path, text: &str) -> Result<()> {
    let table: toml::Table = text.parse().with_context(|| format!("{} is not valid TOML", path.display()))?;
    if let Some(unknown) = table.keys().find(|name| !NAMES.contains(&name.as_str())) {
        bail!("{}: unknown setting {unknown:?}; the settings are {}", path.display(), NAMES.join(", "));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(file: &str, environment: &[(&str, &str)], args: &ServeArgs) -> Result<Settings> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(DEFAULT_FILE);
        std::fs::write(&path, file).unwrap();
        let environment = environment.iter().map(|&(name, value)| (name.to_owned(), value.to_owned())).collect();
        Settings::from_sources(args, &path, environment)
    }

    #[test]
    fn flags_win_over_environment_over_file() {
        let file = "port = 1\nworkers = 1\nhost = \"a\"";
        let environment = [("STREAMFLEET_PORT", "2"), ("STREAMFLEET_WORKERS", "2")];
        let args = ServeArgs { port: Some(3), ..ServeArgs::default() };
        let settings = load(file, &environment, &args).unwrap();
        assert_eq!(settings.port, Some(3));
        assert_eq!(settings.workers, Some(2));
        assert_eq!(settings.host.as_deref(), Some("a"));
    }

    #[test]
    fn wrong_settings_are_named() {
        let none = ServeArgs::default();
        for (file, expected) in
            [("prot = 1", "prot"), ("workers = 0", "workers = 0"), ("port = \"x\"", "port"), ("port = ", "TOML")]
        {
            let error = format!("{:#}", load(file, &[], &none).unwrap_err());
            assert!(error.contains(expected), "{file}: {error}");
        }
    }

    #[test]
    fn a_named_file_must_exist() {
        let args = ServeArgs { config: Some("/nowhere/x.toml".into()), ..ServeArgs::default() };
        let error = format!("{:#}", load("", &[], &args).unwrap_err());
        assert!(error.contains("/nowhere/x.toml"), "{error}");
    }
}
