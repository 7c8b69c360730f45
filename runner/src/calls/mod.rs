//! Answers what the threads of scripts ask and wait for: one Unix connection for each call (see `calls.proto`).
//!
//! A script that waits must not wait for ever, and a call that hangs must not cost more than itself: each message has its limit,
//! either way, and so has the number of calls at once. More than that wait in the kernel's queue.

mod values;

use std::{io, path::PathBuf, sync::Arc, time::Duration};

use bytes::Bytes;
use futures_util::{StreamExt as _, stream};
use prost::Message as _;
use streamfleet_cluster::{BlobError, FileHead};
use streamfleet_proto::{
    FileId, IdError, SessionId,
    worker::{
        CallRequest, CallResponse, DeleteFiles, Done, Failed, File, GetFile, NotFound, PutFile, call_request,
        call_response,
    },
};
use tokio::{
    io::AsyncWriteExt as _,
    net::{UnixListener, UnixStream, unix::OwnedWriteHalf},
    sync::{OwnedSemaphorePermit, Semaphore},
    time::timeout,
};
use tokio_util::codec::LengthDelimitedCodec;
use tracing::debug;

use crate::{
    cache::SharedCache,
    files::Files,
    observe::Observer,
    stream::{FrameReader, frame, read_message},
};

/// How many calls of one worker are answered at once.
const MAX_CALLS: usize = 64;
/// How long one message may take to come from a worker, or to be taken by it.
const MESSAGE_LIMIT: Duration = Duration::from_secs(30);
/// Longest message taken from a worker, in bytes. Contents come in parts.
const MAX_MESSAGE_BYTES: usize = 4 << 20;

/// Where one worker's calls arrive. The socket is removed on drop.
pub(crate) struct CallSocket {
    listener: UnixListener,
    path: PathBuf,
}

impl CallSocket {
    pub(crate) fn bind(path: PathBuf) -> io::Result<Self> {
        Ok(Self { listener: UnixListener::bind(&path)?, path })
    }

    /// Answers calls until dropped. Those that have begun go on to their end, which is near when their worker is gone.
    pub(crate) async fn serve(&self, calls: Calls) {
        let calls = Arc::new(calls);
        let room = Arc::new(Semaphore::new(MAX_CALLS));
        loop {
            // Neither is ever closed.
            let Ok(permit) = Arc::clone(&room).acquire_owned().await else { return };
            match self.listener.accept().await {
                Ok((connection, _)) => {
                    let calls = Arc::clone(&calls);
                    tokio::spawn(async move {
                        if let Err(error) = calls.answer(connection, permit).await {
                            debug!("a call broke off: {error}");
                        }
                    });
                }
                Err(error) => {
                    // As when there are too many open files.
                    debug!("cannot accept a call: {error}");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            }
        }
    }
}

impl Drop for CallSocket {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.path);
    }
}

/// Answers one worker's calls.
pub(crate) struct Calls {
    pub(crate) files: Arc<Files>,
    pub(crate) observer: Observer,
    /// `None` if each worker caches for itself.
    pub(crate) cache: Option<Arc<SharedCache>>,
    /// For claims, which last as long as something is computed.
    pub(crate) claims: Semaphore,
    /// Whether the worker has the session: one that goes on elsewhere is not for it to take things from.
    pub(crate) has: Box<dyn Fn(SessionId) -> bool + Send + Sync>,
}

impl Calls {
    async fn answer(&self, connection: UnixStream, permit: OwnedSemaphorePermit) -> io::Result<()> {
        let (reader, mut writer) = connection.into_split();
        let mut reader = LengthDelimitedCodec::builder().max_frame_length(MAX_MESSAGE_BYTES).new_read(reader);
        let answer = match receive(&mut reader).await? {
            call_request::Kind::GetValue(get) => return self.get_value(get, &mut writer).await,
            call_request::Kind::ClaimValue(claim) => {
                // It may wait for long, and others must not wait for it.
                drop(permit);
                return self.claim_value(claim, reader, writer).await;
            }
            call_request::Kind::ClearValues(clear) => self.clear_values(&clear).await,
            call_request::Kind::ValuesUsed(used) => {
                self.values_used(used);
                return Ok(());
            }
            call_request::Kind::Taken(_) | call_request::Kind::PutValue(_) => {
                failed(&"nothing has been claimed", false)
            }
            call_request::Kind::PutFile(put) => self.put_file(put, reader).await,
            call_request::Kind::GetFile(get) => self.get_file(get, &mut writer).await?,
            call_request::Kind::DeleteFiles(delete) => self.delete_files(delete).await,
            call_request::Kind::Part(_) => failed(&"a part of nothing", false),
        };
        send(&mut writer, answer).await
    }

    async fn put_file(&self, put: PutFile, reader: FrameReader) -> call_response::Kind {
        let (session, file) = match ids(&put.session_id, &put.file_id) {
            Ok(ids) => ids,
            Err(error) => return failed(&error, false),
        };
        let head = FileHead { name: put.name, mime_type: put.r#type, size: put.size };
        let parts = stream::unfold(Some(reader), |reader| async {
            let mut reader = reader?;
            match receive(&mut reader).await {
                Ok(call_request::Kind::Part(part)) if part.is_empty() => None,
                Ok(call_request::Kind::Part(part)) => Some((Ok(part), Some(reader))),
                Ok(_) => Some((Err(io::ErrorKind::InvalidData.into()), None)),
                Err(error) => Some((Err(error), None)),
            }
        });
        match self.files.put(session, file, &head, parts.boxed()).await {
            Ok(()) => call_response::Kind::Done(Done {}),
            Err(error) => blob_failed(&error),
        }
    }

    /// Sends a file, and returns what ends the answer.
    async fn get_file(&self, get: GetFile, writer: &mut OwnedWriteHalf) -> io::Result<call_response::Kind> {
        let Ok((session, file)) = ids(&get.session_id, &get.file_id) else {
            // Nothing can have been stored under it.
            return Ok(call_response::Kind::NotFound(NotFound {}));
        };
        let (head, mut content) = match self.files.get(session, file).await {
            Ok(Some(found)) => found,
            Ok(None) => return Ok(call_response::Kind::NotFound(NotFound {})),
            Err(error) => return Ok(blob_failed(&error)),
        };
        let FileHead { name, mime_type, size } = head;
        send(writer, call_response::Kind::File(File { name, r#type: mime_type, size })).await?;
        while let Some(part) = content.next().await {
            match part {
                Ok(part) if part.is_empty() => {}
                Ok(part) => send(writer, call_response::Kind::Part(part)).await?,
                Err(error) => return Ok(failed(&error, true)),
            }
        }
        Ok(call_response::Kind::Part(Bytes::new()))
    }

    async fn delete_files(&self, delete: DeleteFiles) -> call_response::Kind {
        let files: Result<Vec<FileId>, _> = delete.file_ids.iter().map(|id| id.parse()).collect();
        let (session, files) = match (delete.session_id.parse::<SessionId>(), files) {
            (Ok(session), Ok(files)) => (session, files),
            (Err(error), _) | (_, Err(error)) => return failed(&error, false),
        };
        if !(self.has)(session) {
            return call_response::Kind::NotFound(NotFound {});
        }
        match self.files.delete(session, &files).await {
            Ok(()) => call_response::Kind::Done(Done {}),
            Err(error) => blob_failed(&error),
        }
    }
}

fn ids(session: &str, file: &str) -> Result<(SessionId, FileId), IdError> {
    Ok((session.parse()?, file.parse()?))
}

fn failed(reason: &dyn ToString, may_pass: bool) -> call_response::Kind {
    call_response::Kind::Failed(Failed { reason: reason.to_string(), may_pass })
}

fn blob_failed(error: &BlobError) -> call_response::Kind {
    failed(&error, error.may_pass())
}

async fn receive(reader: &mut FrameReader) -> io::Result<call_request::Kind> {
    let message = timeout(MESSAGE_LIMIT, read_message::<CallRequest>(reader)).await?;
    let message = message.unwrap_or_else(|| Err(io::ErrorKind::UnexpectedEof.into()))?;
    message.kind.ok_or_else(|| io::Error::other("a call of a kind unknown here"))
}

async fn send(writer: &mut OwnedWriteHalf, kind: call_response::Kind) -> io::Result<()> {
    let message = CallResponse { kind: Some(kind) };
    debug_assert!(message.encoded_len() <= MAX_MESSAGE_BYTES);
    timeout(MESSAGE_LIMIT, writer.write_all(&frame(&message))).await?
}

#[cfg(test)]
mod tests {
    use streamfleet_cluster::Blobs;
    use tokio::{io::AsyncReadExt as _, net::unix::OwnedReadHalf};

    use super::*;
    use crate::stream::frame_reader;

    /// A worker's end of one call.
    struct Caller {
        reader: FrameReader,
        writer: OwnedWriteHalf,
    }

    impl Caller {
        async fn send(&mut self, kind: call_request::Kind) {
            let message = CallRequest { kind: Some(kind) };
            self.writer.write_all(&frame(&message)).await.unwrap();
        }

        async fn receive(&mut self) -> call_response::Kind {
            read_message::<CallResponse>(&mut self.reader).await.unwrap().unwrap().kind.unwrap()
        }

        async fn call(&mut self, kind: call_request::Kind) -> call_response::Kind {
            self.send(kind).await;
            self.receive().await
        }
    }

    /// A runner's end, and the place of its socket.
    struct Host {
        folder: tempfile::TempDir,
        files: Arc<Files>,
        _serving: tokio_util::task::AbortOnDropHandle<()>,
    }

    impl Host {
        /// Its worker has all sessions but this one.
        fn start(elsewhere: SessionId) -> Self {
            let folder = tempfile::tempdir().unwrap();
            let files = Arc::new(Files::new(Blobs::memory()));
            let has = Box::new(move |session| session != elsewhere);
            let observer = Observer::none();
            let calls =
                Calls { observer, files: Arc::clone(&files), cache: None, claims: Calls::room_for_claims(), has };
            let socket = CallSocket::bind(folder.path().join("c")).unwrap();
            let serving = tokio::spawn(async move { socket.serve(calls).await });
            Self { folder, files, _serving: tokio_util::task::AbortOnDropHandle::new(serving) }
        }

        async fn connect(&self) -> (OwnedReadHalf, OwnedWriteHalf) {
            UnixStream::connect(self.folder.path().join("c")).await.unwrap().into_split()
        }

        async fn caller(&self) -> Caller {
            let (reader, writer) = self.connect().await;
            Caller { reader: frame_reader(reader), writer }
        }

        async fn put(&self, session: SessionId, file: FileId, parts: &[&'static [u8]]) -> call_response::Kind {
            let mut caller = self.caller().await;
            let size = parts.iter().map(|part| part.len() as u64).sum();
            caller.send(put(session, file, size)).await;
            for &part in parts {
                caller.send(call_request::Kind::Part(Bytes::from_static(part))).await;
            }
            caller.call(call_request::Kind::Part(Bytes::new())).await
        }

        async fn get(&self, session: SessionId, file: FileId) -> Option<Vec<u8>> {
            let mut caller = self.caller().await;
            let get = GetFile { session_id: session.to_string(), file_id: file.to_string() };
            match caller.call(call_request::Kind::GetFile(get)).await {
                call_response::Kind::NotFound(_) => return None,
                call_response::Kind::File(file) => assert_eq!((&*file.name, &*file.r#type), ("a.csv", "text/csv")),
                other => panic!("{other:?}"),
            }
            let mut content = Vec::new();
            loop {
                match caller.receive().await {
                    call_response::Kind::Part(part) if part.is_empty() => return Some(content),
                    call_response::Kind::Part(part) => content.extend(part),
                    other => panic!("{other:?}"),
                }
            }
        }
    }

    fn put(session: SessionId, file: FileId, size: u64) -> call_request::Kind {
        call_request::Kind::PutFile(PutFile {
            session_id: session.to_string(),
            file_id: file.to_string(),
            name: "a.csv".to_owned(),
            r#type: "text/csv".to_owned(),
            size,
        })
    }

    fn delete(session: SessionId, file: FileId) -> call_request::Kind {
        let delete = DeleteFiles { session_id: session.to_string(), file_ids: vec![file.to_string()] };
        call_request::Kind::DeleteFiles(delete)
    }

    #[tokio::test]
    async fn files_are_put_got_and_deleted() {
        let host = Host::start(SessionId::random());
        let (session, file) = (SessionId::random(), FileId::random());
        assert_eq!(host.get(session, file).await, None);
        assert!(matches!(host.put(session, file, &[b"ab", b"c"]).await, call_response::Kind::Done(_)));
        assert_eq!(host.get(session, file).await.unwrap(), b"abc");
        let empty = FileId::random();
        assert!(matches!(host.put(session, empty, &[]).await, call_response::Kind::Done(_)));
        assert_eq!(host.get(session, empty).await.unwrap(), b"");
        let answer = host.caller().await.call(delete(session, file)).await;
        assert!(matches!(answer, call_response::Kind::Done(_)));
        assert_eq!(host.get(session, file).await, None);
    }

    #[tokio::test]
    async fn a_worker_that_dies_leaves_nothing_half_done() {
        let host = Host::start(SessionId::random());
        let (session, file) = (SessionId::random(), FileId::random());
        let mut caller = host.caller().await;
        caller.send(put(session, file, 2)).await;
        caller.send(call_request::Kind::Part(Bytes::from_static(b"a"))).await;
        drop(caller);
        while host.files.unkept(session).is_empty() {
            tokio::task::yield_now().await;
        }
        host.files.settled(session).await;
        assert_eq!(host.get(session, file).await, None);
    }

    #[tokio::test]
    async fn what_can_t_be_kept_is_refused_before_it_is_sent() {
        let host = Host::start(SessionId::random());
        let (session, file) = (SessionId::random(), FileId::random());
        let answer = host.caller().await.call(put(session, file, 1 << 30)).await;
        let call_response::Kind::Failed(failed) = answer else { panic!("{answer:?}") };
        assert!(failed.reason.starts_with("larger than 32 MiB") && !failed.may_pass, "{failed:?}");
        assert_eq!(host.files.unkept(session), [("a.csv".to_owned(), failed.reason)]);
    }

    #[tokio::test]
    async fn ids_that_are_none_reach_no_store() {
        let host = Host::start(SessionId::random());
        let session_id = SessionId::random().to_string();
        let file_id = "../../etc/passwd".to_owned();
        let put = PutFile { session_id: session_id.clone(), file_id: file_id.clone(), ..PutFile::default() };
        let answer = host.caller().await.call(call_request::Kind::PutFile(put)).await;
        assert!(matches!(answer, call_response::Kind::Failed(_)), "{answer:?}");
        let get = GetFile { session_id: session_id.clone(), file_id: file_id.clone() };
        let answer = host.caller().await.call(call_request::Kind::GetFile(get)).await;
        assert!(matches!(answer, call_response::Kind::NotFound(_)), "{answer:?}");
        let delete = DeleteFiles { session_id, file_ids: vec![file_id] };
        let answer = host.caller().await.call(call_request::Kind::DeleteFiles(delete)).await;
        assert!(matches!(answer, call_response::Kind::Failed(_)), "{answer:?}");
    }

    #[tokio::test]
    async fn a_session_that_is_elsewhere_keeps_its_files() {
        let session = SessionId::random();
        let host = Host::start(session);
        let file = FileId::random();
        host.put(session, file, &[b"a"]).await;
        let answer = host.caller().await.call(delete(session, file)).await;
        assert!(matches!(answer, call_response::Kind::NotFound(_)), "{answer:?}");
        assert!(host.get(session, file).await.is_some());
    }

    #[tokio::test]
    async fn nonsense_and_silence_end_a_call_and_no_more() {
        let host = Host::start(SessionId::random());
        let (mut reader, mut writer) = host.connect().await;
        writer.write_all(&[0xff; 100]).await.unwrap();
        let mut rest = Vec::new();
        // It is hung up on, with or without what it sent having been read.
        let _ = reader.read_to_end(&mut rest).await;
        assert!(rest.is_empty());
        let silent = host.connect().await;
        tokio::time::pause();
        let (mut reader, _writer) = silent;
        assert!(reader.read_to_end(&mut rest).await.is_ok());
        tokio::time::resume();
        assert_eq!(host.get(SessionId::random(), FileId::random()).await, None);
    }

    #[tokio::test]
    async fn calls_beyond_the_limit_wait_for_room() {
        let host = Host::start(SessionId::random());
        let mut silent = Vec::new();
        for _ in 0..MAX_CALLS {
            silent.push(host.connect().await);
        }
        let (session, file) = (SessionId::random(), FileId::random());
        let get = host.get(session, file);
        tokio::pin!(get);
        assert!(timeout(Duration::from_millis(100), &mut get).await.is_err());
        silent.pop();
        assert_eq!(get.await, None);
    }
}
