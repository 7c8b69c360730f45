//! Files of any size, each an object `SESSION/FILE` in a folder that all runners share, or in S3.
//!
//! An object is the length of the head (four bytes, big-endian), the head as JSON, and the content: not every store keeps
//! attributes, and one object is there as a whole or not at all.

use std::{
    fmt, fs, io,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, SystemTime},
};

use bytes::{Bytes, BytesMut};
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use object_store::{
    ObjectStore, ObjectStoreExt as _, buffered::BufWriter, local::LocalFileSystem, path::Path as ObjectPath,
    prefix::PrefixStore,
};
use streamfleet_proto::{FileId, SessionId};
use tokio::{io::AsyncWriteExt as _, task::spawn_blocking};
use tracing::debug;

use super::{BlobError, BlobsAddress, Content, FileHead, in_pieces, limited};

/// Bytes that are sent to a store at once; S3 takes no less but for the last.
const CHUNK: usize = 5 << 20;
/// How many chunks may be on their way at once.
const CHUNKS: usize = 2;
/// Length of the pieces in which content is read.
const PIECE: usize = 256 * 1024;
/// No head is longer, in bytes; file names come from browsers.
const MAX_HEAD: usize = 64 * 1024;

/// Files of any size.
pub(super) struct Objects {
    store: Arc<dyn ObjectStore>,
    address: BlobsAddress,
}

impl fmt::Debug for Objects {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.address, f)
    }
}

impl Objects {
    /// Finds out that the place can be used.
    pub(super) async fn open(address: &BlobsAddress) -> Result<Self, BlobError> {
        let unusable = |error: &dyn fmt::Display| BlobError::Failed(format!("cannot use {address}: {error}"));
        match address {
            BlobsAddress::Folder(folder) => {
                let path = folder.clone();
                let store = blocking(move || open_folder(&path)).await.map_err(|error| unusable(&error))?;
                Ok(Self { store: Arc::new(store), address: address.clone() })
            }
            BlobsAddress::S3 { bucket, prefix } => {
                let store = open_s3(bucket).map_err(|error| unusable(&error))?;
                let store: Arc<dyn ObjectStore> = Arc::new(PrefixStore::new(store, prefix.as_str()));
                match limited(async { Ok(store.head(&ObjectPath::from("probe")).await) }).await? {
                    Ok(_) | Err(object_store::Error::NotFound { .. }) => Ok(Self { store, address: address.clone() }),
                    Err(error) => Err(unusable(&error)),
                }
            }
        }
    }

    /// Keeps a file whose content is as long as its head says.
    pub(super) async fn put(
        &self,
        session: SessionId,
        file: FileId,
        head: &FileHead,
        content: Content,
    ) -> Result<(), BlobError> {
        let store = Arc::clone(&self.store);
        let mut writer = BufWriter::with_capacity(store, path(session, file), CHUNK).with_max_concurrency(CHUNKS);
        let written = write(&mut writer, head, content).await;
        if written.is_err() {
            // What is left behind is seen by nobody, and goes by the rules of the bucket.
            let _ = limited(async { writer.abort().await.map_err(|error| failure(&error)) }).await;
            return written;
        }
        limited(async { writer.shutdown().await.map_err(|error| io_failure(&error)) }).await
    }

    /// The file, if it is there.
    pub(super) async fn get(&self, session: SessionId, file: FileId) -> Result<Option<(FileHead, Content)>, BlobError> {
        let path = path(session, file);
        let found = limited(async { Ok(self.store.get(&path).await) }).await?;
        let content = match found {
            Ok(found) => found.into_stream().map_err(io::Error::from).boxed(),
            Err(object_store::Error::NotFound { .. }) => return Ok(None),
            Err(error) => return Err(failure(&error)),
        };
        // Each step has its limit, so that a store that hangs doesn't hang its reader.
        let content = stream::unfold(content, |mut content| async move {
            let piece = match limited(async { Ok(content.next().await) }).await {
                Ok(piece) => piece?,
                Err(error) => Err(io::Error::other(error)),
            };
            Some((piece, content))
        });
        let mut content = in_pieces(PIECE, content.boxed());
        let (head, rest) = read_head(&mut content).await?;
        let rest = stream::iter((!rest.is_empty()).then_some(Ok(rest)));
        Ok(Some((head, rest.chain(content).boxed())))
    }

    pub(super) async fn delete(&self, session: SessionId, files: &[FileId]) -> Result<(), BlobError> {
        let paths: Vec<_> = files.iter().map(|&file| Ok(path(session, file))).collect();
        self.delete_all(stream::iter(paths).boxed()).await
    }

    pub(super) async fn delete_session(&self, session: SessionId) -> Result<(), BlobError> {
        let folder = ObjectPath::from(session.to_string());
        let paths = self.store.list(Some(&folder)).map_ok(|object| object.location);
        self.delete_all(paths.boxed()).await
    }

    async fn delete_all(
        &self,
        paths: stream::BoxStream<'static, object_store::Result<ObjectPath>>,
    ) -> Result<(), BlobError> {
        let mut deleted = self.store.delete_stream(paths);
        while let Some(outcome) = deleted.next().await {
            match outcome {
                Ok(_) | Err(object_store::Error::NotFound { .. }) => {}
                Err(error) => return Err(failure(&error)),
            }
        }
        Ok(())
    }

    /// Makes a session's files young again. In S3 their age is what the bucket's rules go by, and can't be changed.
    pub(super) async fn renew(&self, session: SessionId) -> Result<(), BlobError> {
        let BlobsAddress::Folder(folder) = &self.address else { return Ok(()) };
        let folder = folder.join(session.to_string());
        blocking(move || renew_folder(&folder)).await.map_err(|error| io_failure(&error))
    }

    /// Deletes files older than `age` from a folder.
    pub(super) async fn sweep(&self, age: Duration) -> io::Result<()> {
        let BlobsAddress::Folder(folder) = &self.address else { return Ok(()) };
        let folder = folder.clone();
        blocking(move || sweep_folder(&folder, age)).await
    }
}

fn path(session: SessionId, file: FileId) -> ObjectPath {
    ObjectPath::from_iter([session.to_string(), file.to_string()])
}

async fn write(writer: &mut BufWriter, head: &FileHead, mut content: Content) -> Result<(), BlobError> {
    let json = serde_json::to_vec(head).map_err(|error| BlobError::Failed(error.to_string()))?;
    if json.len() > MAX_HEAD {
        return Err(BlobError::Failed("the file's name is too long".to_owned()));
    }
    let length = u32::try_from(json.len()).unwrap_or(u32::MAX);
    let mut next = Some(Bytes::from([&length.to_be_bytes()[..], &json].concat()));
    while let Some(piece) = next {
        limited(async { writer.put(piece).await.map_err(|error| failure(&error)) }).await?;
        next = content.next().await.transpose().map_err(|_| BlobError::Incomplete)?;
    }
    Ok(())
}

/// Reads what precedes the content, and returns it with what has been read of that.
async fn read_head(content: &mut Content) -> Result<(FileHead, Bytes), BlobError> {
    let broken = || BlobError::Failed("a file without its head".to_owned());
    let mut read = BytesMut::new();
    loop {
        if let Some((length, rest)) = read.split_first_chunk::<4>() {
            let length = usize::try_from(u32::from_be_bytes(*length)).unwrap_or(usize::MAX);
            if length > MAX_HEAD {
                return Err(broken());
            }
            if let Some(json) = rest.get(..length) {
                let head = serde_json::from_slice(json).map_err(|_| broken())?;
                return Ok((head, read.split_off(4 + length).freeze()));
            }
        }
        match content.next().await {
            Some(Ok(piece)) => read.extend_from_slice(&piece),
            Some(Err(error)) => return Err(io_failure(&error)),
            None => return Err(broken()),
        }
    }
}

fn failure(error: &object_store::Error) -> BlobError {
    match error {
        object_store::Error::PermissionDenied { .. }
        | object_store::Error::Unauthenticated { .. }
        | object_store::Error::NotSupported { .. }
        | object_store::Error::NotImplemented { .. } => BlobError::Failed(error.to_string()),
        _ => BlobError::Unavailable(error.to_string()),
    }
}

fn io_failure(error: &io::Error) -> BlobError {
    match error.kind() {
        io::ErrorKind::PermissionDenied | io::ErrorKind::Unsupported => BlobError::Failed(error.to_string()),
        _ => BlobError::Unavailable(error.to_string()),
    }
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> io::Result<T> + Send + 'static) -> io::Result<T> {
    spawn_blocking(work).await.map_err(io::Error::other)?
}

fn open_folder(folder: &Path) -> io::Result<LocalFileSystem> {
    fs::create_dir_all(folder)?;
    // Better now than at the first upload.
    let probe = folder.join(format!(".probe-{}", FileId::random()));
    fs::write(&probe, "")?;
    fs::remove_file(&probe)?;
    let store = LocalFileSystem::new_with_prefix(folder)?;
    Ok(store.with_automatic_cleanup(true))
}

#[cfg(feature = "aws")]
fn open_s3(bucket: &str) -> Result<object_store::aws::AmazonS3, object_store::Error> {
    // The client takes the process's provider. That there is one already is as well.
    let _ = rustls::crypto::ring::default_provider().install_default();
    object_store::aws::AmazonS3Builder::from_env().with_bucket_name(bucket).build()
}

/// Stands in for S3, of which there is no address in such a build.
#[cfg(not(feature = "aws"))]
fn open_s3(_bucket: &str) -> Result<object_store::memory::InMemory, BlobError> {
    Err(BlobError::Failed("this program was built without S3".to_owned()))
}

/// A session's folder and its files, as far as they are ours: the folder may have other things in it.
fn our_files(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let name = entry.file_name();
        // What is being written has `#` and a number after its name.
        let id = name.to_str().and_then(|name| name.split('#').next());
        if id.is_some_and(|id| id.parse::<FileId>().is_ok()) {
            files.push(entry.path());
        }
    }
    Ok(files)
}

fn renew_folder(folder: &Path) -> io::Result<()> {
    let now = SystemTime::now();
    let files = match our_files(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        files => files?,
    };
    for file in files {
        match fs::OpenOptions::new().append(true).open(&file).and_then(|file| file.set_modified(now)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {} // Deleted meanwhile.
            outcome => outcome?,
        }
    }
    Ok(())
}

fn sweep_folder(folder: &Path, age: Duration) -> io::Result<()> {
    let oldest = SystemTime::now() - age;
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_name().to_str().is_none_or(|name| name.parse::<SessionId>().is_err()) {
            continue;
        }
        // Other runners sweep the same folder: what is gone is gone.
        for file in our_files(&entry.path()).unwrap_or_default() {
            if fs::metadata(&file).and_then(|meta| meta.modified()).is_ok_and(|modified| modified < oldest) {
                debug!("deleting {}, which nobody has had for long", file.display());
                let _ = fs::remove_file(&file);
            }
        }
        // Fails unless it is empty, which is what is wanted.
        let _ = fs::remove_dir(entry.path());
    }
    Ok(())
}
