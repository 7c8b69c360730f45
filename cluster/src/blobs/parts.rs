//! Small files, in parts, where a value should not be long.

use std::{io, sync::Arc};

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::{StreamExt as _, stream};
use streamfleet_proto::{FileId, SessionId};

use super::{BlobError, Content, FileHead, in_pieces, limited};

/// Length of a part in bytes, but for a file's last.
pub(super) const PART: usize = 1 << 20;

/// A place for small files.
#[async_trait]
pub(super) trait Parts: Send + Sync + 'static {
    /// Begins to keep a file. Nobody sees it before it is finished; dropped before that, it has never been.
    async fn begin(
        &self,
        session: SessionId,
        file: FileId,
        head: &FileHead,
    ) -> Result<Box<dyn UnfinishedFile>, BlobError>;

    /// What is known of a file, if it is there.
    async fn head(&self, session: SessionId, file: FileId) -> Result<Option<FileHead>, BlobError>;

    /// One part of it, counted from 0, if it is still there.
    async fn part(&self, session: SessionId, file: FileId, number: u64) -> Result<Option<Bytes>, BlobError>;

    /// Deletes these files.
    async fn delete(&self, session: SessionId, files: &[FileId]) -> Result<(), BlobError>;

    /// Deletes all files of a session.
    async fn delete_session(&self, session: SessionId) -> Result<(), BlobError>;

    /// Has all files of a session kept for their full time from now on.
    async fn renew(&self, session: SessionId) -> Result<(), BlobError>;

    /// Deletes what has expired, where it doesn't by itself.
    fn sweep(&self) {}
}

/// A file of which not all parts are there yet.
#[async_trait]
pub(super) trait UnfinishedFile: Send {
    /// Adds the next part.
    async fn add(&mut self, part: Bytes) -> Result<(), BlobError>;

    /// Lets everybody see the file, in place of one that was there before.
    async fn finish(self: Box<Self>) -> Result<(), BlobError>;
}

/// Keeps a file whose content is as long as its head says.
pub(super) async fn put(
    parts: &dyn Parts,
    session: SessionId,
    file: FileId,
    head: &FileHead,
    content: Content,
) -> Result<(), BlobError> {
    let mut content = in_pieces(PART, content);
    let mut unfinished = limited(parts.begin(session, file, head)).await?;
    while let Some(part) = content.next().await {
        limited(unfinished.add(part.map_err(|_| BlobError::Incomplete)?)).await?;
    }
    limited(unfinished.finish()).await
}

/// The file, if it is there.
pub(super) async fn get(
    parts: &Arc<dyn Parts>,
    session: SessionId,
    file: FileId,
) -> Result<Option<(FileHead, Content)>, BlobError> {
    let Some(head) = limited(parts.head(session, file)).await? else { return Ok(None) };
    let count = head.size.div_ceil(PART as u64);
    let parts = Arc::clone(parts);
    let content = stream::iter(0..count).then(move |number| {
        let parts = Arc::clone(&parts);
        async move {
            match limited(parts.part(session, file, number)).await {
                Ok(Some(part)) => Ok(part),
                // It was deleted meanwhile.
                Ok(None) => Err(io::ErrorKind::NotFound.into()),
                Err(error) => Err(io::Error::other(error)),
            }
        }
    });
    Ok(Some((head, content.boxed())))
}
