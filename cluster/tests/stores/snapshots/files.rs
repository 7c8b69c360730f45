//! What only a folder can be: left by a process that has ended, damaged, somebody else's, or too old.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use streamfleet_cluster::{FileSnapshots, FolderError, LoadError, SaveError, SnapshotStore};
use streamfleet_proto::SessionId;
use tempfile::TempDir;

use super::stores::{Content, change, plain_options};

async fn open(folder: &Path) -> FileSnapshots {
    FileSnapshots::open(folder, plain_options()).await.unwrap()
}

fn snapshots(folder: &Path) -> Vec<PathBuf> {
    let files = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    files.filter(|path| path.extension().is_some_and(|extension| extension == "snapshot")).collect()
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

fn temporary() -> (TempDir, PathBuf) {
    let outer = tempfile::tempdir().unwrap();
    let folder = outer.path().join("new/state");
    (outer, folder)
}

#[tokio::test]
async fn the_next_process_goes_on() {
    let (_outer, folder) = temporary();
    let session = SessionId::random();
    let full = change(true, &[("x", Some("1"))]);
    let mut state = {
        let store = open(&folder).await;
        let mut state = store.begin(session, 1);
        store.save(&state.prepare(full.clone())).await.unwrap();
        state
    };
    assert_eq!(mode(&folder), 0o700);
    let files = snapshots(&folder);
    assert_eq!(mode(&files[0]), 0o600);
    assert!(files.len() == 1 && !files[0].to_string_lossy().contains(&session.to_string()));

    // What was about to be written when it ended is no snapshot.
    let unfinished = files[0].with_extension("unfinished");
    fs::write(&unfinished, "half of something").unwrap();
    let store = open(&folder).await;
    assert!(!unfinished.exists());
    let more = change(false, &[("y", Some("2"))]);
    store.save(&state.prepare(more.clone())).await.unwrap();
    drop(store);
    let store = open(&folder).await;
    let loaded = store.load(session, 2).await.unwrap().unwrap();
    assert_eq!(Content::from(&loaded), Content::after([&full, &more]));
    assert_eq!(store.save(&state.prepare(full)).await, Err(SaveError::Fenced { epoch: 2 }));
    store.remove(session, 2).await.unwrap();
    assert!(snapshots(&folder).is_empty());
}

#[tokio::test]
async fn damaged_files_are_refused_by_name() {
    let (_outer, folder) = temporary();
    let store = open(&folder).await;
    let session = SessionId::random();
    let mut state = store.begin(session, 1);
    let full = change(true, &[("x", Some("1")), ("y", Some("2"))]);
    store.save(&state.prepare(full.clone())).await.unwrap();
    let file = snapshots(&folder).remove(0);
    let right = fs::read(&file).unwrap();
    let cut = (0..right.len()).map(|length| right[..length].to_vec());
    let flipped = (0..right.len()).map(|at| {
        let mut wrong = right.clone();
        wrong[at] ^= 1;
        wrong
    });
    for (number, wrong) in cut.chain(flipped).chain([[&right[..], b"x"].concat()]).enumerate() {
        fs::write(&file, wrong).unwrap();
        let Err(LoadError::Refused { reason }) = store.load(session, 1).await else {
            panic!("case {number} of {} bytes is not refused", right.len());
        };
        assert!(reason.starts_with(file.to_str().unwrap()), "{reason}");
    }
    // By the next process, too; and everything mends it.
    drop(store);
    fs::write(&file, &right[..right.len() / 2]).unwrap();
    let store = open(&folder).await;
    assert_eq!(store.save(&state.prepare(change(false, &[]))).await, Err(SaveError::Gone));
    assert!(matches!(store.load(session, 2).await, Err(LoadError::Refused { .. })));
    store.save(&store.begin(session, 2).prepare(full.clone())).await.unwrap();
    let loaded = store.load(session, 2).await.unwrap().unwrap();
    assert_eq!(Content::from(&loaded), Content::after([&full]));
}

#[tokio::test]
async fn another_sessions_file_is_refused() {
    let (_outer, folder) = temporary();
    let store = open(&folder).await;
    let sessions = [(); 2].map(|()| SessionId::random());
    for session in sessions {
        store.save(&store.begin(session, 1).prepare(change(true, &[]))).await.unwrap();
    }
    let files = snapshots(&folder);
    let contents = [&files[0], &files[1]].map(|file| fs::read(file).unwrap());
    fs::write(&files[0], &contents[1]).unwrap();
    fs::write(&files[1], &contents[0]).unwrap();
    for session in sessions {
        let error = store.load(session, 1).await.unwrap_err();
        assert!(
            matches!(&error, LoadError::Refused { reason } if reason.ends_with("it is of another session")),
            "{error}"
        );
    }
}

#[tokio::test]
async fn folders_that_will_not_do_are_refused_with_the_reason() {
    let (outer, folder) = temporary();
    let refused = async |folder: PathBuf| FileSnapshots::open(folder, plain_options()).await.err().unwrap();
    let store = open(&folder).await;
    let error = refused(folder.clone()).await;
    assert!(matches!(error, FolderError::InUse(_)), "{error}");
    drop(store);
    open(&folder).await;

    fs::set_permissions(&folder, Permissions::from_mode(0o750)).unwrap();
    let error = refused(folder.clone()).await;
    assert!(matches!(error, FolderError::OpenToOthers(_)), "{error}");
    assert!(error.to_string().contains(folder.to_str().unwrap()), "{error}");

    let file = outer.path().join("file");
    fs::write(&file, "").unwrap();
    for folder in [file.clone(), file.join("below"), PathBuf::from("/proc/nothing/here")] {
        let error = refused(folder.clone()).await;
        assert!(matches!(error, FolderError::Unusable { .. }), "{error}");
        assert!(error.to_string().contains(folder.to_str().unwrap()), "{error}");
    }
}

#[tokio::test]
async fn what_is_too_old_is_swept_away() {
    const HOUR: Duration = Duration::from_hours(1);
    let (_outer, folder) = temporary();
    let store = open(&folder).await;
    for _ in 0..3 {
        store.save(&store.begin(SessionId::random(), 1).prepare(change(true, &[]))).await.unwrap();
    }
    drop(store);
    for (file, hours) in snapshots(&folder).iter().zip([23, 25, 0]) {
        let file = fs::File::open(file).unwrap();
        file.set_modified(SystemTime::now() - HOUR * hours).unwrap();
    }
    fs::write(folder.join("notes.txt"), "not ours").unwrap();
    open(&folder).await;
    assert_eq!(snapshots(&folder).len(), 2);
    assert!(folder.join("notes.txt").exists());
}
