//! Uploaded files in Redis, alone and beside a folder.

use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use streamfleet_cluster::{BlobError, Blobs, Content, FILE_TTL, FileHead, RedisOptions};
use streamfleet_proto::{FileId, SessionId};
use streamfleet_testkit::redis::{Cluster, RedisLaunch, Version};
use tokio::time::{sleep, timeout};

use crate::registry::stores::{LIMIT, cluster_url};

/// The cluster's name.
const CLUSTER: &str = "files";
/// How long it may take to find out that Redis doesn't answer.
const CALL_LIMIT: Duration = Duration::from_secs(6);

fn options(url: &str) -> RedisOptions {
    RedisOptions::new(url.parse().unwrap(), None, CLUSTER)
}

/// Files in the Redis at this address.
pub async fn open(url: &str) -> Blobs {
    Blobs::open(None, Some(options(url))).await.unwrap()
}

pub fn bytes(size: usize) -> Vec<u8> {
    (0..size).map(|number| u8::try_from(number % 251).unwrap()).collect()
}

fn content(bytes: &[u8]) -> Content {
    let pieces: Vec<_> = bytes.chunks(300_000).map(|piece| Ok(Bytes::copy_from_slice(piece))).collect();
    stream::iter(pieces).boxed()
}

fn head(size: usize) -> FileHead {
    FileHead { name: "Bericht, groß.csv".to_owned(), mime_type: "text/csv".to_owned(), size: size as u64 }
}

pub async fn put(blobs: &Blobs, session: SessionId, file: FileId, size: usize) -> Result<(), BlobError> {
    blobs.put(session, file, &head(size), content(&bytes(size))).await
}

pub async fn read(blobs: &Blobs, session: SessionId, file: FileId) -> Option<Vec<u8>> {
    let (found, content) = blobs.get(session, file).await.unwrap()?;
    let bytes = content.try_collect::<Vec<Bytes>>().await.unwrap().concat();
    assert_eq!(found, head(bytes.len()));
    Some(bytes)
}

/// Two processes of the cluster.
async fn behave(here: &Blobs, there: &Blobs) {
    files_come_back_elsewhere(here, there).await;
    half_a_file_is_none(here, there).await;
    files_are_deleted(here, there).await;
    too_large_ones_are_refused(here).await;
    many_at_once(here, there).await;
}

async fn files_come_back_elsewhere(here: &Blobs, there: &Blobs) {
    let session = SessionId::random();
    for size in [0, 1, 256 * 1024, 1 << 20, (1 << 20) + 1, 5 << 20] {
        let file = FileId::random();
        assert!(read(there, session, file).await.is_none());
        put(here, session, file, size).await.unwrap();
        assert!(read(there, session, file).await.unwrap() == bytes(size), "{size} bytes");
        assert!(read(there, SessionId::random(), file).await.is_none());
    }
    // Put again, it is another.
    let file = FileId::random();
    put(here, session, file, 3 << 20).await.unwrap();
    put(there, session, file, 10).await.unwrap();
    assert!(read(here, session, file).await.unwrap() == bytes(10));
}

async fn half_a_file_is_none(here: &Blobs, there: &Blobs) {
    let (session, file) = (SessionId::random(), FileId::random());
    let all = bytes(4 << 20);
    let error = here.put(session, file, &head(all.len()), content(&all[1..])).await.unwrap_err();
    assert!(matches!(error, BlobError::Incomplete), "{error}");
    assert!(read(there, session, file).await.is_none());
    let (head, endless) = (head(all.len()), content(&all[1..]).chain(stream::pending()).boxed());
    let putting = here.put(session, file, &head, endless);
    assert!(timeout(Duration::from_millis(300), putting).await.is_err());
    assert!(read(there, session, file).await.is_none());
}

async fn files_are_deleted(here: &Blobs, there: &Blobs) {
    let session = SessionId::random();
    let files = [(); 3].map(|()| FileId::random());
    for file in files {
        put(here, session, file, 2 << 20).await.unwrap();
    }
    there.delete(session, &[]).await.unwrap();
    there.delete(session, &[files[0], FileId::random()]).await.unwrap();
    assert!(read(here, session, files[0]).await.is_none());
    assert!(read(here, session, files[1]).await.is_some());
    there.renew(session).await.unwrap();
    there.delete_session(session).await.unwrap();
    there.delete_session(session).await.unwrap();
    there.renew(session).await.unwrap();
    assert!(read(here, session, files[1]).await.is_none());
}

async fn too_large_ones_are_refused(blobs: &Blobs) {
    let error = put(blobs, SessionId::random(), FileId::random(), 40 << 20).await.unwrap_err();
    assert_eq!(error.to_string(), "larger than 32 MiB; set blobs to a folder or S3 to keep larger files");
    let (session, file) = (SessionId::random(), FileId::random());
    put(blobs, session, file, 32 << 20).await.unwrap();
    assert!(read(blobs, session, file).await.unwrap() == bytes(32 << 20));
    blobs.delete_session(session).await.unwrap();
}

async fn many_at_once(here: &Blobs, there: &Blobs) {
    let session = SessionId::random();
    let files = (0..40).map(|_| async {
        let file = FileId::random();
        put(here, session, file, 3 << 20).await.unwrap();
        assert!(read(there, session, file).await.unwrap() == bytes(3 << 20));
    });
    timeout(LIMIT, futures_util::future::join_all(files)).await.expect("they hold each other up");
    here.delete_session(session).await.unwrap();
}

async fn on_redis(version: Version) {
    let redis = RedisLaunch::new(version).start().await.unwrap();
    let (here, there) = (open(&redis.url()).await, open(&redis.url()).await);
    behave(&here, &there).await;
    // All that is left expires.
    for key in redis.command::<Vec<String>>(&["KEYS", "*"]).await.unwrap() {
        assert!(key.starts_with("streamfleet:files:file"), "{key}");
        let ttl: i64 = redis.command(&["PTTL", &key]).await.unwrap();
        assert!(ttl > 0, "{key}");
        let unfinished = key.rsplit(':').nth(1).is_some_and(|word| word.parse::<FileId>().is_ok());
        let longest = if unfinished { Duration::from_mins(5) } else { FILE_TTL };
        assert!(Duration::from_millis(ttl.unsigned_abs()) <= longest, "{key}: {ttl} ms");
    }
}

async fn on_a_cluster(version: Version) {
    let cluster = Cluster::start(RedisLaunch::new(version)).await.unwrap();
    let (here, there) = (open(&cluster_url(&cluster)).await, open(&cluster_url(&cluster)).await);
    behave(&here, &there).await;
}

#[tokio::test]
async fn on_redis_7() {
    on_redis(Version::V7).await;
}

#[tokio::test]
async fn on_redis_8() {
    on_redis(Version::V8).await;
}

#[tokio::test]
async fn on_a_cluster_of_redis_7() {
    on_a_cluster(Version::V7).await;
}

#[tokio::test]
async fn on_a_cluster_of_redis_8() {
    on_a_cluster(Version::V8).await;
}

#[tokio::test]
async fn what_expires_is_renewed() {
    let redis = RedisLaunch::new(Version::V7).start().await.unwrap();
    let blobs = open(&redis.url()).await;
    let (session, file) = (SessionId::random(), FileId::random());
    put(&blobs, session, file, 1).await.unwrap();
    let keys =
        [format!("streamfleet:files:file:{{{session}}}:{file}"), format!("streamfleet:files:files:{{{session}}}")];
    for key in &keys {
        assert_eq!(redis.command::<u32>(&["PEXPIRE", key, "60000"]).await.unwrap(), 1);
    }
    blobs.renew(session).await.unwrap();
    for key in &keys {
        let left: u64 = redis.command(&["PTTL", key]).await.unwrap();
        assert!(Duration::from_millis(left) > FILE_TTL / 2, "{key}: {left} ms");
    }
}

#[tokio::test]
async fn a_redis_that_is_away_is_missed_and_comes_back() {
    let mut redis = RedisLaunch::new(Version::V7).start().await.unwrap();
    let blobs = open(&redis.url()).await;
    let (session, file) = (SessionId::random(), FileId::random());
    redis.pause().unwrap();
    let began = Instant::now();
    let error = put(&blobs, session, file, 3 << 20).await.unwrap_err();
    assert!(error.may_pass(), "{error}");
    assert!(blobs.get(session, file).await.is_err());
    assert!(began.elapsed() < CALL_LIMIT * 2);
    redis.resume().unwrap();
    while put(&blobs, session, file, 3 << 20).await.is_err() {
        assert!(began.elapsed() < LIMIT, "it does not come back");
        sleep(Duration::from_millis(50)).await;
    }
    assert!(read(&blobs, session, file).await.is_some());
}

#[tokio::test]
async fn parts_that_are_lost_meanwhile_make_no_file() {
    let redis = RedisLaunch::new(Version::V7).start().await.unwrap();
    let blobs = open(&redis.url()).await;
    let (session, file) = (SessionId::random(), FileId::random());
    let all = bytes(3 << 20);
    let (first, rest) = all.split_at(2 << 20);
    let rest = content(rest);
    let emptied = stream::once(async move {
        // The first part is in Redis by now, or soon.
        while redis.command::<Vec<String>>(&["KEYS", "*"]).await.unwrap().is_empty() {
            sleep(Duration::from_millis(10)).await;
        }
        redis.command::<String>(&["FLUSHALL"]).await.unwrap();
        (rest, redis)
    });
    // The server lives as long as the content is read.
    let content = content(first).chain(emptied.flat_map(|(rest, redis)| {
        rest.map(move |piece| {
            let _redis = &redis;
            piece
        })
    }));
    let error = blobs.put(session, file, &head(all.len()), content.boxed()).await;
    assert!(error.unwrap_err().may_pass());
}

#[tokio::test]
async fn large_files_go_to_a_folder_where_there_is_one() {
    let redis = RedisLaunch::new(Version::V7).start().await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let address = folder.path().to_str().unwrap().parse().unwrap();
    let blobs = Blobs::open(Some(&address), Some(options(&redis.url()))).await.unwrap();
    let session = SessionId::random();
    let (small, large) = (FileId::random(), FileId::random());
    put(&blobs, session, small, 256 * 1024).await.unwrap();
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    put(&blobs, session, large, 40 << 20).await.unwrap();
    assert!(folder.path().join(session.to_string()).join(large.to_string()).is_file());
    assert!(read(&blobs, session, small).await.is_some());
    assert!(read(&blobs, session, large).await.unwrap() == bytes(40 << 20));
    blobs.delete_session(session).await.unwrap();
    assert!(read(&blobs, session, small).await.is_none());
    assert!(read(&blobs, session, large).await.is_none());
}
