//! The worker's Python files, carried in this binary and written out where Python can import them.

use std::{
    fs, io,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
};

use tempfile::TempDir;

/// Name and content of each file of the Python package.
const FILES: &[(&str, &[u8])] = include!(concat!(env!("OUT_DIR"), "/worker_files.rs"));
const PACKAGE_NAME: &str = "streamfleet_worker";

/// The runner's private folder: the Python package, and the workers' sockets. Removed on drop.
#[derive(Debug)]
pub struct WorkerPackage {
    // Only its owner may enter: whoever can connect to the sockets in it can be any user of the app.
    folder: TempDir,
}

impl WorkerPackage {
    /// Writes the package into a new folder of mode 0700 under the system's temporary folder.
    pub fn write() -> io::Result<Self> {
        let only_ours = fs::Permissions::from_mode(0o700);
        let folder = tempfile::Builder::new().prefix("streamfleet-").permissions(only_ours).tempdir()?;
        let package = folder.path().join("python").join(PACKAGE_NAME);
        fs::create_dir_all(&package)?;
        for (name, content) in FILES {
            fs::write(package.join(name), content)?;
        }
        Ok(Self { folder })
    }

    /// The folder to put on `sys.path`.
    pub fn python_path(&self) -> PathBuf {
        self.folder.path().join("python")
    }

    /// Where sockets go.
    pub fn path(&self) -> &Path {
        self.folder.path()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_folder_is_private_and_goes_away() {
        let package = WorkerPackage::write().unwrap();
        let path = package.path().to_owned();
        let mode = fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o700);
        assert!(package.python_path().join("streamfleet_worker/__main__.py").is_file());
        drop(package);
        assert!(!path.exists());
    }
}
