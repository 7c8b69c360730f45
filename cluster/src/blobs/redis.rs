//! Small files in Redis.
//!
//! | key (after `streamfleet:CLUSTER:`) | type | what is there |
//! |---|---|---|
//! | `file:{SESSION}:FILE` | hash | `head`, as JSON, and the file's parts, counted from 0 |
//! | `file:{SESSION}:FILE:NUMBER` | hash | parts of a file that is not finished; it becomes the former when it is |
//! | `files:{SESSION}` | set | the session's files |
//!
//! They have a connection of their own: a large one must not hold up a lease.

use std::{
    sync::{Arc, LazyLock},
    time::Duration,
};

use async_trait::async_trait;
use bytes::Bytes;
use redis::Script;
use streamfleet_proto::{FileId, SessionId};
use tokio::sync::Semaphore;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::{
    BlobError, FILE_TTL, FileHead,
    parts::{Parts, UnfinishedFile},
};
use crate::redis::{Connector, Limits, Link, LinkError, RedisOptions, millis};

/// How long things may take. [`AT_ONCE`] parts go through a network of 100 Mbit/s in this time.
const LIMITS: Limits = Limits { answer: Duration::from_secs(3), operation: Duration::from_secs(4) };
/// How many parts are on their way at once, beyond which others wait, so that none is late only for those before it.
const AT_ONCE: usize = 16;
/// How long what is unfinished is kept after its last part came. A part takes no longer than one step of a put.
const UNFINISHED_TTL: Duration = Duration::from_mins(5);

static FINISH: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("scripts/finish.lua")));

/// Small files in Redis.
pub(super) struct RedisParts {
    shared: Arc<Shared>,
    _stop: DropGuard,
}

struct Shared {
    link: Arc<Link>,
    prefix: String,
    under_way: Semaphore,
}

impl RedisParts {
    /// Connects. Fails when there is no connection after ten seconds.
    pub(super) async fn connect(redis: RedisOptions) -> Result<Self, BlobError> {
        let prefix = redis.prefix();
        let stop = CancellationToken::new();
        let guard = stop.clone().drop_guard();
        let connector = Arc::new(Connector::new(&redis, LIMITS));
        let link = Link::start("files", connector, stop).await?;
        let shared = Arc::new(Shared { link, prefix, under_way: Semaphore::new(AT_ONCE) });
        Ok(Self { shared, _stop: guard })
    }

    /// The files that a session has, or had.
    async fn list(&self, session: SessionId) -> Result<Vec<String>, BlobError> {
        let key = self.shared.list_key(session);
        let read = async |connection: &mut _| redis::cmd("SMEMBERS").arg(&key).query_async(connection).await;
        Ok(self.shared.link.call(read).await?)
    }
}

impl Shared {
    fn file_key(&self, session: SessionId, file: impl std::fmt::Display) -> String {
        format!("{}file:{{{session}}}:{file}", self.prefix)
    }

    fn list_key(&self, session: SessionId) -> String {
        format!("{}files:{{{session}}}", self.prefix)
    }
}

impl From<LinkError> for BlobError {
    fn from(error: LinkError) -> Self {
        match error {
            LinkError::Unavailable(_) => Self::Unavailable(error.to_string()),
            LinkError::Failed(_) => Self::Failed(error.to_string()),
        }
    }
}

#[async_trait]
impl Parts for RedisParts {
    async fn begin(
        &self,
        session: SessionId,
        file: FileId,
        head: &FileHead,
    ) -> Result<Box<dyn UnfinishedFile>, BlobError> {
        let head = serde_json::to_string(head).map_err(|error| BlobError::Failed(error.to_string()))?;
        // Two who put the same file at once don't mix it up.
        let key = self.shared.file_key(session, format_args!("{file}:{}", FileId::random()));
        Ok(Box::new(Unfinished { shared: Arc::clone(&self.shared), session, file, head, key, sent: 0, last: None }))
    }

    async fn head(&self, session: SessionId, file: FileId) -> Result<Option<FileHead>, BlobError> {
        let key = self.shared.file_key(session, file);
        let read = async |connection: &mut _| redis::cmd("HGET").arg(&key).arg("head").query_async(connection).await;
        let json: Option<String> = self.shared.link.call(read).await?;
        let parse = |json: String| serde_json::from_str(&json).map_err(|error| BlobError::Failed(error.to_string()));
        json.map(parse).transpose()
    }

    async fn part(&self, session: SessionId, file: FileId, number: u64) -> Result<Option<Bytes>, BlobError> {
        // Never closed.
        let _permit = self.shared.under_way.acquire().await;
        let key = self.shared.file_key(session, file);
        let read = async |connection: &mut _| redis::cmd("HGET").arg(&key).arg(number).query_async(connection).await;
        let part: Option<Vec<u8>> = self.shared.link.call(read).await?;
        Ok(part.map(Bytes::from))
    }

    async fn delete(&self, session: SessionId, files: &[FileId]) -> Result<(), BlobError> {
        if files.is_empty() {
            return Ok(());
        }
        let mut delete = redis::pipe();
        let keys: Vec<_> = files.iter().map(|file| self.shared.file_key(session, file)).collect();
        delete.cmd("DEL").arg(keys).ignore();
        let ids: Vec<_> = files.iter().map(ToString::to_string).collect();
        delete.cmd("SREM").arg(self.shared.list_key(session)).arg(ids).ignore();
        Ok(self.shared.link.call(async |connection| delete.query_async(connection).await).await?)
    }

    async fn delete_session(&self, session: SessionId) -> Result<(), BlobError> {
        let files = self.list(session).await?;
        let mut keys: Vec<_> = files.iter().map(|file| self.shared.file_key(session, file)).collect();
        keys.push(self.shared.list_key(session));
        let delete = async |connection: &mut _| redis::cmd("DEL").arg(&keys).query_async(connection).await;
        Ok(self.shared.link.call(delete).await?)
    }

    async fn renew(&self, session: SessionId) -> Result<(), BlobError> {
        let files = self.list(session).await?;
        if files.is_empty() {
            return Ok(());
        }
        let mut renew = redis::pipe();
        let keys = files.iter().map(|file| self.shared.file_key(session, file));
        for key in keys.chain([self.shared.list_key(session)]) {
            renew.cmd("PEXPIRE").arg(key).arg(millis(FILE_TTL)).ignore();
        }
        Ok(self.shared.link.call(async |connection| renew.query_async(connection).await).await?)
    }
}

/// A file that is being put. What there is of it in Redis, should it be dropped, expires.
struct Unfinished {
    shared: Arc<Shared>,
    session: SessionId,
    file: FileId,
    head: String,
    key: String,
    /// How many parts are in Redis.
    sent: u64,
    /// The last part that came: it goes together with what finishes the file, if it is the last.
    last: Option<Bytes>,
}

#[async_trait]
impl UnfinishedFile for Unfinished {
    async fn add(&mut self, part: Bytes) -> Result<(), BlobError> {
        if let Some(part) = self.last.replace(part) {
            let _permit = self.shared.under_way.acquire().await;
            let mut add = redis::pipe();
            add.cmd("HSET").arg(&self.key).arg(self.sent).arg(&part[..]).ignore();
            add.cmd("PEXPIRE").arg(&self.key).arg(millis(UNFINISHED_TTL)).ignore();
            self.shared.link.call(async |connection| add.query_async::<()>(connection).await).await?;
            self.sent += 1;
        }
        Ok(())
    }

    async fn finish(self: Box<Self>) -> Result<(), BlobError> {
        let _permit = self.shared.under_way.acquire().await;
        let file = self.file.to_string();
        let mut finish = FINISH.key(&self.key);
        finish.key(self.shared.file_key(self.session, self.file)).key(self.shared.list_key(self.session));
        finish.arg(millis(FILE_TTL)).arg(file).arg(&self.head).arg(self.sent);
        if let Some(part) = &self.last {
            finish.arg(&part[..]);
        }
        let finished = self.shared.link.call(async |connection| finish.invoke_async::<bool>(connection).await).await?;
        if finished { Ok(()) } else { Err(BlobError::Unavailable("Redis was emptied meanwhile".to_owned())) }
    }
}
