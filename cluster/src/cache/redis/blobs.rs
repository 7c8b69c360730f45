//! Large values, in keys of their own, part by part.

use std::{io::Write as _, sync::Arc, time::Duration};

use bytes::Bytes;
use futures_util::{StreamExt as _, TryStreamExt as _, future::join_all, stream};
use redis::{RedisWrite, ToRedisArgs};
use tokio::{
    sync::{Semaphore, mpsc},
    task::spawn_blocking,
};
use tracing::debug;
use uuid::Uuid;

use crate::{
    cache::{Packed, UNUSED_TTL, signer::PartDigest, value::Part},
    redis::{Link, LinkError, millis},
};

/// How many parts are on their way at once for all, beyond which others wait, and for one value.
const AT_ONCE: usize = 16;
const AT_ONCE_PER_VALUE: usize = 4;
/// How long what is unfinished is kept after its last part came. A part takes no longer than one operation.
const UNFINISHED_TTL: Duration = Duration::from_mins(5);
/// How much longer than its value a blob is there: whoever has found the value still gets it.
const LONGER: Duration = Duration::from_mins(1);
/// How many chores may wait. Those that are forgotten only mean that something expires later, or sooner.
const CHORES: usize = 4096;
/// How many chores are done at once.
const CHORES_AT_ONCE: usize = 16;

/// Large values.
pub(super) struct Blobs {
    link: Arc<Link>,
    prefix: String,
    under_way: Semaphore,
    chores: mpsc::Sender<Chore>,
}

/// What nobody waits for.
enum Chore {
    Delete(String),
    Keep(String),
}

/// Why a blob could not be had.
pub(super) enum BlobError {
    Link(LinkError),
    /// It isn't there, or not what it should be.
    Bad(&'static str),
}

impl From<LinkError> for BlobError {
    fn from(error: LinkError) -> Self {
        Self::Link(error)
    }
}

impl Blobs {
    /// With the work that must be done for them in the background.
    pub(super) fn new(link: Arc<Link>, prefix: &str) -> (Arc<Self>, impl Future<Output = ()> + Send + use<>) {
        let (chores, waiting) = mpsc::channel(CHORES);
        let under_way = Semaphore::new(AT_ONCE);
        let blobs = Arc::new(Self { link, prefix: format!("{prefix}cache-value:"), under_way, chores });
        let work = Arc::clone(&blobs).work(waiting);
        (blobs, work)
    }

    fn key(&self, name: &str) -> String {
        format!("{}{{{name}}}", self.prefix)
    }

    /// Writes a value, and says where. It soon expires, unless it is [`kept`](Self::keep).
    pub(super) async fn write(&self, value: &Packed) -> Result<String, LinkError> {
        let name = Uuid::new_v4().to_string();
        let parts = value.parts().to_vec().into_iter().enumerate();
        let parts = parts.map(|(number, part)| self.write_part(&name, number, part));
        match stream::iter(parts).buffer_unordered(AT_ONCE_PER_VALUE).try_collect::<()>().await {
            Ok(()) => Ok(name),
            Err(error) => {
                self.delete_later([name]);
                Err(error)
            }
        }
    }

    async fn write_part(&self, name: &str, number: usize, part: Part) -> Result<(), LinkError> {
        // Never closed.
        let _permit = self.under_way.acquire().await;
        let key = self.key(name);
        let mut write = redis::pipe();
        write.cmd("HSET").arg(&key).arg(number).arg(part).ignore();
        write.cmd("PEXPIRE").arg(&key).arg(millis(UNFINISHED_TTL)).ignore();
        self.link.call(async |connection| write.query_async(connection).await).await
    }

    /// Reads a value of these parts.
    pub(super) async fn read(&self, name: &str, size: u64, digests: Vec<PartDigest>) -> Result<Packed, BlobError> {
        let parts = digests.into_iter().enumerate().map(|(number, digest)| self.read_part(name, number, digest));
        let parts: Vec<_> = stream::iter(parts).buffered(AT_ONCE_PER_VALUE).try_collect().await?;
        Packed::of_parts(size, parts).ok_or(BlobError::Bad("its parts don't make a value"))
    }

    async fn read_part(&self, name: &str, number: usize, digest: PartDigest) -> Result<Part, BlobError> {
        let part: Option<Vec<u8>> = {
            let _permit = self.under_way.acquire().await;
            let key = self.key(name);
            let read =
                async |connection: &mut _| redis::cmd("HGET").arg(&key).arg(number).query_async(connection).await;
            self.link.call(read).await?
        };
        let part = Bytes::from(part.ok_or(BlobError::Bad("a part is gone"))?);
        let check = move || Part::read(&part).ok().filter(|part| PartDigest::of(part) == digest);
        let checked = spawn_blocking(check).await.map_err(|error| LinkError::Failed(error.to_string()))?;
        checked.ok_or(BlobError::Bad("a part was altered"))
    }

    /// Keeps a blob for as long as its value is.
    pub(super) async fn keep(&self, name: &str, ttl: Option<Duration>) -> Result<(), LinkError> {
        let key = self.key(name);
        let ttl = ttl.unwrap_or(UNUSED_TTL).saturating_add(LONGER);
        let keep =
            async |connection: &mut _| redis::cmd("PEXPIRE").arg(&key).arg(millis(ttl)).query_async(connection).await;
        self.link.call(keep).await
    }

    async fn delete(&self, name: &str) -> Result<(), LinkError> {
        let key = self.key(name);
        let delete = async |connection: &mut _| redis::cmd("UNLINK").arg(&key).query_async(connection).await;
        self.link.call(delete).await
    }

    /// Deletes blobs that nobody needs any more. Should that fail, they expire.
    pub(super) fn delete_later(&self, names: impl IntoIterator<Item = String>) {
        for name in names {
            let _ = self.chores.try_send(Chore::Delete(name));
        }
    }

    /// Keeps blobs whose values don't expire, because they are used.
    pub(super) fn keep_later(&self, names: impl IntoIterator<Item = String>) {
        for name in names {
            let _ = self.chores.try_send(Chore::Keep(name));
        }
    }

    async fn work(self: Arc<Self>, mut waiting: mpsc::Receiver<Chore>) {
        let mut chores = Vec::new();
        while waiting.recv_many(&mut chores, CHORES_AT_ONCE).await > 0 {
            let done = chores.drain(..).map(async |chore| match chore {
                Chore::Delete(name) => self.delete(&name).await,
                Chore::Keep(name) => self.keep(&name, None).await,
            });
            if let Some(error) = join_all(done).await.into_iter().find_map(Result::err) {
                debug!("cached values are not kept or deleted: {error}");
            }
        }
    }
}

impl ToRedisArgs for Part {
    fn write_redis_args<W: ?Sized + RedisWrite>(&self, out: &mut W) {
        let mut argument = out.writer_for_next_arg();
        for piece in self.pieces() {
            // Into memory, which doesn't fail.
            let _ = argument.write_all(piece);
        }
    }
}
