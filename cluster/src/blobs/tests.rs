//! What every place for files does alike, and what only some do.

use std::{
    fs,
    path::Path,
    time::{Duration, SystemTime},
};

use futures_util::{TryStreamExt as _, stream};

use super::*;

fn content(bytes: &[u8]) -> Content {
    let pieces: Vec<_> = bytes.chunks(100_000).map(|piece| Ok(Bytes::copy_from_slice(piece))).collect();
    stream::iter(pieces).boxed()
}

fn head(size: usize) -> FileHead {
    FileHead { name: "Bericht, groß.csv".to_owned(), mime_type: "text/csv".to_owned(), size: size as u64 }
}

fn bytes(size: usize) -> Vec<u8> {
    (0..size).map(|number| u8::try_from(number % 251).unwrap()).collect()
}

async fn put(blobs: &Blobs, session: SessionId, file: FileId, size: usize) -> Result<(), BlobError> {
    blobs.put(session, file, &head(size), content(&bytes(size))).await
}

async fn has(blobs: &Blobs, session: SessionId, file: FileId) -> bool {
    blobs.get(session, file).await.unwrap().is_some()
}

async fn read(blobs: &Blobs, session: SessionId, file: FileId) -> Option<(FileHead, Vec<u8>)> {
    let (head, content) = blobs.get(session, file).await.unwrap()?;
    let bytes: Vec<Bytes> = content.try_collect().await.unwrap();
    Some((head, bytes.concat()))
}

async fn folder(path: &Path) -> Blobs {
    Blobs::open(Some(&path.to_str().unwrap().parse().unwrap()), None).await.unwrap()
}

/// Every place that needs no server, in each combination.
async fn places(path: &Path) -> Vec<Blobs> {
    let (memory, folder) = (Blobs::memory(), folder(path).await);
    let both = Blobs { parts: memory.parts.clone(), objects: folder.objects.clone() };
    vec![memory, folder, both]
}

fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).into_iter().flatten();
    entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

#[tokio::test]
async fn files_come_back_as_they_were() {
    let path = tempfile::tempdir().unwrap();
    for blobs in places(path.path()).await {
        let session = SessionId::random();
        for size in [0, 1, 256 * 1024, 256 * 1024 + 1, 1 << 20, 5 << 20, (5 << 20) + 1, 12 << 20] {
            let file = FileId::random();
            assert!(read(&blobs, session, file).await.is_none());
            put(&blobs, session, file, size).await.unwrap();
            let (found, content) = read(&blobs, session, file).await.unwrap();
            assert_eq!(found, head(size));
            assert!(content == bytes(size), "{blobs:?}: {size} bytes");
            assert!(!has(&blobs, SessionId::random(), file).await);
        }
    }
}

#[tokio::test]
async fn a_file_that_is_put_again_is_replaced() {
    let path = tempfile::tempdir().unwrap();
    for blobs in places(path.path()).await {
        let (session, file) = (SessionId::random(), FileId::random());
        put(&blobs, session, file, 2 << 20).await.unwrap();
        put(&blobs, session, file, 7 << 20).await.unwrap();
        assert_eq!(read(&blobs, session, file).await.unwrap().1.len(), 7 << 20);
    }
}

#[tokio::test]
async fn half_a_file_is_none() {
    let path = tempfile::tempdir().unwrap();
    for blobs in places(path.path()).await {
        let session = SessionId::random();
        for size in [1000, 8 << 20] {
            let all = bytes(size);
            let file = FileId::random();
            let broken = content(&all[..size - 1]).chain(stream::once(async { Err(io::ErrorKind::BrokenPipe.into()) }));
            for wrong in [broken.boxed(), content(&all[..size - 1]), content(&[&all[..], b"x"].concat())] {
                let error = blobs.put(session, file, &head(size), wrong).await.unwrap_err();
                assert!(matches!(error, BlobError::Incomplete), "{error}");
                assert!(!has(&blobs, session, file).await);
            }
            // Nor is one there while it is being written, or when its writer vanishes.
            let endless = content(&all[..size / 2]).chain(stream::pending()).boxed();
            let head = head(size);
            let putting = blobs.put(session, file, &head, endless);
            assert!(timeout(Duration::from_millis(200), putting).await.is_err());
            assert!(!has(&blobs, session, file).await);
        }
        assert!(names(&path.path().join(session.to_string())).is_empty());
    }
}

#[tokio::test]
async fn files_are_deleted_by_name_and_by_session() {
    let path = tempfile::tempdir().unwrap();
    for blobs in places(path.path()).await {
        let (session, other) = (SessionId::random(), SessionId::random());
        let files: Vec<_> = (0..3).map(|_| FileId::random()).collect();
        for (&file, size) in files.iter().zip([10, 1 << 20, 0]) {
            put(&blobs, session, file, size).await.unwrap();
            put(&blobs, other, file, size).await.unwrap();
        }
        blobs.delete(session, &[files[0], FileId::random()]).await.unwrap();
        assert!(!has(&blobs, session, files[0]).await);
        assert!(has(&blobs, session, files[1]).await);
        blobs.delete_session(session).await.unwrap();
        blobs.delete_session(session).await.unwrap();
        for &file in &files {
            assert!(!has(&blobs, session, file).await);
            assert!(has(&blobs, other, file).await);
        }
        blobs.delete_session(other).await.unwrap();
    }
    assert_eq!(names(path.path()), [] as [String; 0]);
}

#[tokio::test]
async fn what_is_too_large_for_parts_is_refused_with_its_reason() {
    let blobs = Blobs::memory();
    let (session, file) = (SessionId::random(), FileId::random());
    let error = put(&blobs, session, file, 40 << 20).await.unwrap_err();
    assert_eq!(error.to_string(), "larger than 32 MiB; set blobs to a folder or S3 to keep larger files");
    assert!(!error.may_pass());
    assert!(!has(&blobs, session, file).await);

    let path = tempfile::tempdir().unwrap();
    let blobs = folder(path.path()).await;
    put(&blobs, session, file, 40 << 20).await.unwrap();
    assert!(has(&blobs, session, file).await);
}

#[tokio::test]
async fn memory_takes_only_so_much() {
    let blobs = Blobs::memory();
    let session = SessionId::random();
    let begun: Vec<_> = {
        let parts = blobs.parts.as_ref().unwrap();
        let mut begun = Vec::new();
        for _ in 0..16 {
            begun.push(parts.begin(session, FileId::random(), &head(32 << 20)).await.unwrap());
        }
        begun
    };
    assert!(put(&blobs, session, FileId::random(), 1).await.unwrap_err().may_pass());
    drop(begun);
    put(&blobs, session, FileId::random(), 1).await.unwrap();
}

#[tokio::test]
async fn small_files_go_where_round_trips_are_few() {
    let path = tempfile::tempdir().unwrap();
    let blobs = Blobs { objects: folder(path.path()).await.objects, ..Blobs::memory() };
    let session = SessionId::random();
    put(&blobs, session, FileId::random(), 256 * 1024).await.unwrap();
    assert_eq!(names(path.path()), [] as [String; 0]);
    let large = FileId::random();
    put(&blobs, session, large, 256 * 1024 + 1).await.unwrap();
    assert_eq!(names(&path.path().join(session.to_string())), [large.to_string()]);
}

#[tokio::test]
async fn what_nobody_renews_is_swept_from_a_folder() {
    let path = tempfile::tempdir().unwrap();
    let blobs = folder(path.path()).await;
    let (session, gone) = (SessionId::random(), SessionId::random());
    let (old, young) = (FileId::random(), FileId::random());
    put(&blobs, session, young, 1).await.unwrap();
    put(&blobs, session, old, 1).await.unwrap();
    put(&blobs, gone, old, 1).await.unwrap();
    fs::write(path.path().join("README"), "not ours").unwrap();
    fs::create_dir(path.path().join("photos")).unwrap();
    fs::write(path.path().join("photos").join(old.to_string()), "not ours").unwrap();
    let age = |path: &Path| {
        let then = SystemTime::now() - FILE_TTL - Duration::from_mins(1);
        fs::File::options().append(true).open(path).unwrap().set_modified(then).unwrap();
    };
    let place = |session: SessionId, file: FileId| path.path().join(session.to_string()).join(file.to_string());
    for file in [place(session, old), place(gone, old), path.path().join("README")] {
        age(&file);
    }
    age(&path.path().join("photos").join(old.to_string()));
    blobs.sweep().await;
    assert!(has(&blobs, session, young).await);
    assert!(!has(&blobs, session, old).await);
    let mut left = names(path.path());
    left.sort_unstable();
    let mut expected = vec!["README".to_owned(), "photos".to_owned(), session.to_string()];
    expected.sort_unstable();
    assert_eq!(left, expected);
    assert!(path.path().join("photos").join(old.to_string()).exists());

    // What is renewed stays.
    age(&place(session, young));
    blobs.renew(session).await.unwrap();
    blobs.renew(gone).await.unwrap();
    blobs.sweep().await;
    assert!(has(&blobs, session, young).await);
}

#[tokio::test(start_paused = true)]
async fn what_nobody_renews_expires_in_memory() {
    let blobs = Blobs::memory();
    let (session, gone, file) = (SessionId::random(), SessionId::random(), FileId::random());
    put(&blobs, session, file, 1).await.unwrap();
    put(&blobs, gone, file, 1).await.unwrap();
    tokio::time::sleep(FILE_TTL / 2).await;
    blobs.renew(session).await.unwrap();
    tokio::time::sleep(FILE_TTL / 2).await;
    blobs.sweep().await;
    assert!(has(&blobs, session, file).await);
    assert!(!has(&blobs, gone, file).await);
}

#[tokio::test]
async fn a_place_that_can_t_be_used_is_named_at_once() {
    let path = tempfile::tempdir().unwrap();
    let file = path.path().join("a file");
    fs::write(&file, "").unwrap();
    let address = file.join("folder").to_str().unwrap().parse().unwrap();
    let error = Blobs::open(Some(&address), None).await.unwrap_err();
    assert!(error.to_string().contains("a file/folder"), "{error}");
}

#[tokio::test]
async fn what_is_no_file_of_ours_is_not_read() {
    let path = tempfile::tempdir().unwrap();
    let blobs = folder(path.path()).await;
    let session = SessionId::random();
    fs::create_dir(path.path().join(session.to_string())).unwrap();
    for text in ["", "abc", "\u{0}\u{0}\u{0}\u{2}{}", "\u{7f}\u{7f}\u{7f}\u{7f}", "\u{0}\u{0}\u{0}\u{9}{}"] {
        let file = FileId::random();
        fs::write(path.path().join(session.to_string()).join(file.to_string()), text).unwrap();
        assert!(blobs.get(session, file).await.is_err(), "{text:?}");
    }
}
