//! What is deployed of an app, as a short text: the same for the same files, on every machine.

use std::{
    fs::{self, File},
    io::{self, Read as _},
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};
use sha2::{Digest as _, Sha256};

/// Files looked at; a folder with more is no source tree, and the rest is left out.
const MAX_FILES: usize = 10_000;
/// Bytes read of each file; of a longer one the rest is told by its length.
const MAX_FILE_BYTES: u64 = 1024 * 1024;
/// Digits of the hash that make the name.
const DIGITS: usize = 12;

/// A hash of the app's folder: names and contents of its files, lock files among them. Hidden files, caches and virtual
/// environments are no part of the app.
pub(crate) fn of_folder(folder: &Path) -> Result<String> {
    let mut files = Vec::new();
    collect(folder, &mut files).with_context(|| format!("cannot read the app's folder {}", folder.display()))?;
    files.sort();
    let mut hash = Sha256::new();
    for path in files.iter().take(MAX_FILES) {
        let name = path.strip_prefix(folder).unwrap_or(path);
        add(&mut hash, name.as_os_str().as_encoded_bytes());
        let (content, length) = read(path).with_context(|| format!("cannot read {}", path.display()))?;
        add(&mut hash, &content);
        hash.update(length.to_be_bytes());
    }
    let mut text = format!("{:x}", hash.finalize());
    text.truncate(DIGITS);
    Ok(text)
}

/// Adds a part with its length, so that no two lists of parts look alike.
fn add(hash: &mut Sha256, part: &[u8]) {
    hash.update(u64::try_from(part.len()).unwrap_or(u64::MAX).to_be_bytes());
    hash.update(part);
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let name = entry.file_name();
        let name = name.to_string_lossy();
        if name.starts_with('.') || name == "__pycache__" || name == "node_modules" {
            continue;
        }
        let kind = entry.file_type()?;
        let path = entry.path();
        if kind.is_dir() && !path.join("pyvenv.cfg").exists() {
            collect(&path, files)?;
        } else if kind.is_file() {
            files.push(path);
        }
        if files.len() > 2 * MAX_FILES {
            break;
        }
    }
    Ok(())
}

fn read(path: &Path) -> io::Result<(Vec<u8>, u64)> {
    let file = File::open(path)?;
    let length = file.metadata()?.len();
    let mut content = Vec::new();
    file.take(MAX_FILE_BYTES).read_to_end(&mut content)?;
    Ok((content, length))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_changes_with_the_files_that_count() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, content: &str| {
            let path = folder.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, content).unwrap();
        };
        let revision = || of_folder(folder.path()).unwrap();
        write("app.py", "one");
        let first = revision();
        assert_eq!(first.len(), DIGITS);

        for ignored in [".git/HEAD", "__pycache__/app.pyc", "pages/__pycache__/x.pyc", "env/pyvenv.cfg", "env/lib/x.py"]
        {
            write(ignored, "x");
            assert_eq!(revision(), first, "{ignored}");
        }
        write("app.py", "two");
        let second = revision();
        assert_ne!(second, first);
        write("uv.lock", "a==1");
        let third = revision();
        assert_ne!(third, second);
        write("pages/a.py", "");
        assert_ne!(revision(), third);
    }
}
