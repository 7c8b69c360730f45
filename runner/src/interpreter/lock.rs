//! Lets one start of Streamfleet at a time do a piece of work, and tells the others whom they wait for.
//!
//! The system lets go of a lock when its holder ends, however that happens. Deleting a lock file that somebody waits for
//! costs double work, never correctness: nothing that is made under a lock is made in place.

use std::{
    fs::{File, OpenOptions, TryLockError},
    io::{self, Read, Write},
    path::Path,
    process,
    time::Duration,
};

use tokio::time::sleep;

/// A waiting thread could not be cancelled, so we ask again.
const ASK_AGAIN: Duration = Duration::from_millis(100);

/// Released when dropped.
#[derive(Debug)]
pub(super) struct Lock(#[expect(dead_code, reason = "held for its lock")] File);

/// Waits for the lock in the file at `path`. If that takes any waiting, `on_wait` is first told who holds it.
pub(super) async fn acquire(path: &Path, on_wait: impl FnOnce(&str)) -> io::Result<Lock> {
    let mut file = OpenOptions::new().create(true).truncate(false).read(true).write(true).open(path)?;
    let mut on_wait = Some(on_wait);
    loop {
        match file.try_lock() {
            Ok(()) => break,
            Err(TryLockError::Error(error)) => return Err(error),
            Err(TryLockError::WouldBlock) => {
                if let Some(on_wait) = on_wait.take() {
                    on_wait(&holder(&mut file));
                }
                sleep(ASK_AGAIN).await;
            }
        }
    }
    // Only for the eyes of those who wait.
    let _ = file.set_len(0).and_then(|()| write!(file, "process {}", process::id()));
    Ok(Lock(file))
}

fn holder(file: &mut File) -> String {
    let mut text = String::new();
    match file.read_to_string(&mut text) {
        Ok(read) if read > 0 => text,
        _ => "another process".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use tokio::time::timeout;

    use super::*;

    #[tokio::test]
    async fn the_second_waits_and_says_for_whom() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.lock");
        let first = acquire(&path, |_| panic!("nobody to wait for")).await.unwrap();
        let heard = Mutex::new(String::new());
        let second = acquire(&path, |holder| holder.clone_into(&mut heard.lock().unwrap()));
        let mut second = Box::pin(second);
        assert!(timeout(Duration::from_millis(300), &mut second).await.is_err());
        drop(first);
        second.await.unwrap();
        assert_eq!(*heard.lock().unwrap(), format!("process {}", process::id()));
    }

    #[tokio::test]
    async fn a_lock_file_that_cannot_be_made_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        assert!(acquire(&folder.path().join("no/a.lock"), |_| {}).await.is_err());
    }
}
