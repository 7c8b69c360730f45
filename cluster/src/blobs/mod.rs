//! Files that users have uploaded, kept where whoever has their session next finds them.
//!
//! Two kinds of places, of which one or both are there: [`parts`] hold small files, in Redis, or in memory where the cluster is
//! one process; [`objects`] hold files of any size, in a folder that all runners share, or in S3.
//!
//! | file | parts only | both | objects only |
//! |---|---|---|---|
//! | up to [`SMALL`] | parts | parts: fewer round trips | objects |
//! | up to [`MAX_IN_PARTS`] | parts | objects | objects |
//! | larger | refused | objects | objects |
//!
//! Contents are streamed both ways and never whole in memory, but for what memory itself keeps. A file is there when all of it
//! is, or not at all.

mod address;
mod memory;
mod objects;
mod parts;
mod redis;
#[cfg(test)]
mod tests;

use std::{fmt, io, sync::Arc, time::Duration};

use bytes::{Bytes, BytesMut};
use futures_util::{StreamExt as _, stream::BoxStream};
use serde::{Deserialize, Serialize};
use streamfleet_proto::{FileId, SessionId};
use tokio::time::timeout;
use tracing::debug;

pub use self::address::{BlobsAddress, BlobsAddressError};
use self::{memory::MemoryParts, objects::Objects, parts::Parts, redis::RedisParts};
use crate::{redis::RedisOptions, snapshots::SNAPSHOT_TTL};

/// How long a file is kept after it was stored or renewed; as long as its session's snapshot.
pub const FILE_TTL: Duration = SNAPSHOT_TTL;
/// Files up to this size go to Redis also where there is a place for larger ones.
const SMALL: u64 = 256 * 1024;
/// Files up to this size go to Redis where there is no other place: a few of them at a time are no burden to it.
const MAX_IN_PARTS: u64 = 32 << 20;
/// How long any one step of a store may take: a part written, a part read.
const STEP_LIMIT: Duration = Duration::from_mins(1);

/// What there is to know of a file besides its content.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileHead {
    /// Its name on the user's machine.
    pub name: String,
    /// Its MIME type.
    pub mime_type: String,
    /// Its length in bytes.
    pub size: u64,
}

/// A file's content, in pieces of any length. An error, or another length than the head says, makes it worthless.
pub type Content = BoxStream<'static, io::Result<Bytes>>;

/// Why a file could not be kept, or had.
#[derive(Debug, Clone, thiserror::Error)]
pub enum BlobError {
    /// There is no place for a file of this size.
    #[error("larger than {} MiB; set blobs to a folder or S3 to keep larger files", MAX_IN_PARTS >> 20)]
    TooLarge,
    /// Memory has been given as much as it takes.
    #[error("{} MiB of files are kept already; set blobs to a folder to keep more", .0 >> 20)]
    Full(u64),
    /// The content ended before its end, or went on after it.
    #[error("the upload broke off")]
    Incomplete,
    /// The store can't be reached now; trying again may help.
    #[error("the store is unavailable: {0}")]
    Unavailable(String),
    /// The store refuses, or has what it should not. Trying again won't help.
    #[error("the store failed: {0}")]
    Failed(String),
}

impl BlobError {
    /// Whether trying again later may help.
    pub fn may_pass(&self) -> bool {
        matches!(self, Self::Full(_) | Self::Unavailable(_))
    }
}

/// Where uploaded files are kept. Clones are the same place.
#[derive(Clone)]
pub struct Blobs {
    parts: Option<Arc<dyn Parts>>,
    objects: Option<Arc<Objects>>,
}

impl fmt::Debug for Blobs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Blobs").field("objects", &self.objects).finish_non_exhaustive()
    }
}

impl Blobs {
    /// Memory, for a cluster that is one process.
    pub fn memory() -> Self {
        Self { parts: Some(Arc::new(MemoryParts::default())), objects: None }
    }

    /// The place that was named, and Redis, if there is one; memory where there is neither. Fails when they can't be used.
    pub async fn open(address: Option<&BlobsAddress>, redis: Option<RedisOptions>) -> Result<Self, BlobError> {
        let objects = match address {
            Some(address) => Some(Arc::new(Objects::open(address).await?)),
            None => None,
        };
        let parts: Option<Arc<dyn Parts>> = match redis {
            Some(redis) => Some(Arc::new(RedisParts::connect(redis).await?)),
            None if objects.is_none() => Some(Arc::new(MemoryParts::default())),
            None => None,
        };
        Ok(Self { parts, objects })
    }

    /// Keeps a file. One that is kept already under this id is replaced.
    pub async fn put(
        &self,
        session: SessionId,
        file: FileId,
        head: &FileHead,
        content: Content,
    ) -> Result<(), BlobError> {
        let content = exactly(head.size, content);
        match (&self.parts, &self.objects) {
            (Some(parts), Some(_)) if head.size <= SMALL => parts::put(&**parts, session, file, head, content).await,
            (_, Some(objects)) => objects.put(session, file, head, content).await,
            (Some(parts), None) if head.size <= MAX_IN_PARTS => {
                parts::put(&**parts, session, file, head, content).await
            }
            _ => Err(BlobError::TooLarge),
        }
    }

    /// The file, if it is there.
    pub async fn get(&self, session: SessionId, file: FileId) -> Result<Option<(FileHead, Content)>, BlobError> {
        let mut in_parts = Ok(None);
        if let Some(parts) = &self.parts {
            in_parts = parts::get(parts, session, file).await;
            if let Ok(Some((head, content))) = in_parts {
                let content = exactly(head.size, content);
                return Ok(Some((head, content)));
            }
        }
        let in_objects = match &self.objects {
            Some(objects) => objects.get(session, file).await?,
            None => None,
        };
        match in_objects {
            Some((head, content)) => {
                let content = exactly(head.size, content);
                Ok(Some((head, content)))
            }
            // It may be where nobody could look.
            None => in_parts,
        }
    }

    /// Deletes these files, as far as they are there.
    pub async fn delete(&self, session: SessionId, files: &[FileId]) -> Result<(), BlobError> {
        if let Some(parts) = &self.parts {
            limited(parts.delete(session, files)).await?;
        }
        if let Some(objects) = &self.objects {
            limited(objects.delete(session, files)).await?;
        }
        Ok(())
    }

    /// Deletes all files of a session.
    pub async fn delete_session(&self, session: SessionId) -> Result<(), BlobError> {
        if let Some(parts) = &self.parts {
            limited(parts.delete_session(session)).await?;
        }
        if let Some(objects) = &self.objects {
            limited(objects.delete_session(session)).await?;
        }
        Ok(())
    }

    /// Has all files of a session kept for another [`FILE_TTL`].
    pub async fn renew(&self, session: SessionId) -> Result<(), BlobError> {
        if let Some(parts) = &self.parts {
            limited(parts.renew(session)).await?;
        }
        if let Some(objects) = &self.objects {
            limited(objects.renew(session)).await?;
        }
        Ok(())
    }

    /// Deletes what has not been renewed for longer than [`FILE_TTL`], where that doesn't happen by itself. S3 is left to the
    /// bucket's own rules.
    pub async fn sweep(&self) {
        if let Some(parts) = &self.parts {
            parts.sweep();
        }
        if let Some(objects) = &self.objects
            && let Err(error) = objects.sweep(FILE_TTL).await
        {
            debug!("cannot delete old files: {error}");
        }
    }
}

/// Gives up on a store that doesn't answer.
async fn limited<T>(step: impl Future<Output = Result<T, BlobError>>) -> Result<T, BlobError> {
    let outcome = timeout(STEP_LIMIT, step).await;
    outcome.unwrap_or_else(|_| Err(BlobError::Unavailable("it does not answer".to_owned())))
}

/// The content, with an error at its end if that is not where it should be.
fn exactly(size: u64, content: Content) -> Content {
    let checked = content.map(Some).chain(futures_util::stream::once(async { None }));
    let checked = checked.scan(size, |left, piece| {
        let checked = match piece {
            Some(Ok(piece)) => match left.checked_sub(piece.len() as u64) {
                Some(rest) => {
                    *left = rest;
                    Some(Ok(piece))
                }
                None => Some(Err(io::ErrorKind::InvalidData.into())),
            },
            None if *left > 0 => Some(Err(io::ErrorKind::UnexpectedEof.into())),
            other => other,
        };
        std::future::ready(checked)
    });
    checked.boxed()
}

/// The content in pieces of one length, but for the last.
fn in_pieces(size: usize, content: Content) -> Content {
    let state = (Some(content), BytesMut::new());
    let pieces = futures_util::stream::unfold(state, move |(mut content, mut buffer)| async move {
        while let Some(source) = &mut content
            && buffer.len() < size
        {
            match source.next().await {
                Some(Ok(piece)) => buffer.extend_from_slice(&piece),
                Some(Err(error)) => return Some((Err(error), (None, BytesMut::new()))),
                None => content = None,
            }
        }
        let piece = buffer.split_to(buffer.len().min(size)).freeze();
        (!piece.is_empty()).then_some((Ok(piece), (content, buffer)))
    });
    pieces.boxed()
}
