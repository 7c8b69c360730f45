//! Tells workers which cached values are still good, with no message: they have a file of numbers mapped into their memory, and a
//! value is good as long as the numbers about it are what they were.

use std::{
    io::{self, Write as _},
    os::unix::fs::FileExt as _,
    path::Path,
    sync::{Mutex, PoisonError},
};

use streamfleet_cluster::{Scope, ValueKey};
use tempfile::NamedTempFile;

/// How many numbers there are: so many that two calls seldom share one. Those that do are forgotten together.
const COUNT: usize = 1 << 16;

/// The numbers about a value: of everything, its function, and its call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Stamp([u64; 3]);

/// The numbers, in memory and in the file. Removed on drop.
#[derive(Debug)]
pub(super) struct Stamps {
    file: NamedTempFile,
    numbers: Mutex<Vec<u64>>,
}

impl Stamps {
    /// Makes the file, which other users can't read, in the temporary folder.
    pub(super) fn create() -> io::Result<Self> {
        let mut file = NamedTempFile::with_prefix("streamfleet-stamps-")?;
        // Written in full, so that no later change of it needs room on the disk.
        file.write_all(&vec![0; COUNT * size_of::<u64>()])?;
        Ok(Self { file, numbers: Mutex::new(vec![0; COUNT]) })
    }

    pub(super) fn path(&self) -> &Path {
        self.file.path()
    }

    /// The numbers about a value as they are now.
    pub(super) fn of(&self, key: &ValueKey) -> Stamp {
        let numbers = self.numbers.lock().unwrap_or_else(PoisonError::into_inner);
        let at = |place: usize| numbers.get(place).copied().unwrap_or_default();
        Stamp([0, function_place(&key.function), call_place(key)].map(at))
    }

    /// Makes all values in this scope bad.
    pub(super) fn advance(&self, scope: &Scope) -> io::Result<()> {
        let place = match scope {
            Scope::Everything => 0,
            Scope::Function(function) => function_place(function),
            Scope::Value(key) => call_place(key),
        };
        let mut numbers = self.numbers.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(number) = numbers.get_mut(place) else { return Ok(()) };
        *number += 1;
        self.file.as_file().write_all_at(&number.to_le_bytes(), (place * size_of::<u64>()) as u64)
    }
}

fn function_place(function: &str) -> usize {
    place(crc32fast::hash(function.as_bytes()))
}

fn call_place(key: &ValueKey) -> usize {
    let mut hasher = crc32fast::Hasher::new();
    for text in [&*key.function, "/", &*key.call] {
        hasher.update(text.as_bytes());
    }
    place(hasher.finalize())
}

fn place(hash: u32) -> usize {
    1 + hash as usize % (COUNT - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(function: &str, call: &str) -> ValueKey {
        ValueKey { function: function.into(), call: call.into() }
    }

    #[test]
    fn a_scope_is_what_changes() {
        let stamps = Stamps::create().unwrap();
        let keys = [key("f", "1"), key("f", "2"), key("g", "1")];
        let changed = |scope: &Scope| {
            let before = keys.each_ref().map(|key| stamps.of(key));
            stamps.advance(scope).unwrap();
            let mut index = 0;
            keys.each_ref().map(|key| {
                index += 1;
                stamps.of(key) != before[index - 1]
            })
        };
        assert_eq!(changed(&Scope::Value(key("f", "1"))), [true, false, false]);
        assert_eq!(changed(&Scope::Function("f".into())), [true, true, false]);
        assert_eq!(changed(&Scope::Everything), [true, true, true]);
    }

    #[test]
    fn the_file_has_the_numbers_where_workers_look() {
        let stamps = Stamps::create().unwrap();
        stamps.advance(&Scope::Function("f".into())).unwrap();
        stamps.advance(&Scope::Value(key("f", "k"))).unwrap();
        stamps.advance(&Scope::Everything).unwrap();
        let bytes = std::fs::read(stamps.path()).unwrap();
        let numbers: Vec<_> =
            bytes.chunks_exact(8).map(|chunk| u64::from_le_bytes(chunk.try_into().unwrap())).collect();
        assert_eq!(numbers.len(), 65_536);
        // Of Python's: 1 + zlib.crc32(b"f") % 65535, 1 + zlib.crc32(b"f/k") % 65535.
        let places: Vec<_> = (0..numbers.len()).filter(|&place| numbers[place] == 1).collect();
        assert_eq!(places, PLACES);
    }

    const PLACES: [usize; 3] = [0, 27_046, 41_652];
}
