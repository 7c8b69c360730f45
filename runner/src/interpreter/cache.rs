//! Where environments and packages are kept between starts.

use std::{
    ffi::OsString,
    fs,
    path::{Path, PathBuf},
};

use super::{InterpreterError, InterpreterOptions};

/// The environment variable that moves the cache.
pub(super) const CACHE_DIR_SETTING: &str = "STREAMFLEET_CACHE_DIR";

/// The cache folder; its parts are created when something is first put into them.
#[derive(Debug, Clone)]
pub(super) struct Cache {
    root: PathBuf,
}

impl Cache {
    pub(super) fn of(options: &InterpreterOptions) -> Result<Self, InterpreterError> {
        match &options.cache_dir {
            Some(root) => Ok(Self { root: std::path::absolute(root).map_err(InterpreterError::cache(root))? }),
            None => Err(InterpreterError::NoCacheFolder),
        }
    }

    /// Managed environments.
    pub(super) fn environments(&self) -> PathBuf {
        self.root.join("environments")
    }

    /// The worker's own packages.
    pub(super) fn packages(&self) -> PathBuf {
        self.root.join("packages")
    }
}

/// Makes sure that `folder` is there.
pub(super) fn create(folder: &Path) -> Result<(), InterpreterError> {
    fs::create_dir_all(folder).map_err(InterpreterError::cache(folder))
}

/// The folder to use when the settings name none; `None` where there is no home folder either.
pub(super) fn default_folder(variable: impl Fn(&str) -> Option<OsString>) -> Option<PathBuf> {
    let folder = |name| variable(name).map(PathBuf::from);
    let platform_default = if cfg!(target_os = "macos") { "Library/Caches" } else { ".cache" };
    folder(CACHE_DIR_SETTING).or_else(|| {
        folder("XDG_CACHE_HOME")
            // The specification says that a relative one is to be ignored.
            .filter(|caches| caches.is_absolute())
            .or_else(|| Some(folder("HOME")?.join(platform_default)))
            .map(|caches| caches.join("streamfleet"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn default_with(variables: &[(&str, &str)]) -> Option<PathBuf> {
        default_folder(|name| {
            variables.iter().find(|(known, _)| *known == name).map(|(_, value)| OsString::from(value))
        })
    }

    #[test]
    fn the_nearest_setting_wins() {
        let home = ("HOME", "/home/ada");
        let xdg = ("XDG_CACHE_HOME", "/var/tmp/ada");
        let own = (CACHE_DIR_SETTING, "/srv/cache");
        let at = |path: &str| Some(PathBuf::from(path));
        assert_eq!(default_with(&[home, xdg, own]), at("/srv/cache"));
        assert_eq!(default_with(&[home, xdg]), at("/var/tmp/ada/streamfleet"));
        if !cfg!(target_os = "macos") {
            assert_eq!(default_with(&[home]), at("/home/ada/.cache/streamfleet"));
            let relative = ("XDG_CACHE_HOME", "caches");
            assert_eq!(default_with(&[home, relative]), at("/home/ada/.cache/streamfleet"));
        }
        assert_eq!(default_with(&[]), None);
    }
}
