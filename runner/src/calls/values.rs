//! Calls about cached values. The values themselves follow or precede messages as they are, in parts that nobody joins.

use std::{io, sync::Arc, time::Duration};

use bytes::{Buf as _, BytesMut};
use futures_util::StreamExt as _;
use streamfleet_cluster::{CachedFunction, Entry, PART_BYTES, Packed, Packer, Scope, ValueKey};
use streamfleet_proto::worker::{
    self, Busy, CachedValue, ClaimValue, ClearValues, Done, GetValue, Granted, NotFound, PutValue, ValuesUsed,
    call_request, call_response,
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::unix::OwnedWriteHalf,
    sync::Semaphore,
    task::spawn_blocking,
    time::{Instant, timeout},
};

use super::{Calls, MESSAGE_LIMIT, failed, receive, send};
use crate::{
    cache::{Claim, Claimed, Grant},
    stream::FrameReader,
};

/// How many claims one worker may have: each is a thread of its that waits or computes.
const MAX_CLAIMS: usize = 1024;
/// How long a worker may take to say that it goes on to compute.
const TAKEN_LIMIT: Duration = Duration::from_secs(1);
/// Parts from this size on, in bytes, are packed where that holds nobody up.
const PACK_ELSEWHERE: usize = 64 * 1024;
/// Longest name of a function or call, in bytes.
const MAX_NAME: usize = 256;

impl Calls {
    /// Room for the claims of one worker.
    pub(crate) fn room_for_claims() -> Semaphore {
        Semaphore::new(MAX_CLAIMS)
    }

    pub(super) async fn get_value(&self, get: GetValue, writer: &mut OwnedWriteHalf) -> io::Result<()> {
        let mut span = self.observer.span("cache get", &get.trace);
        let found = match (&self.cache, get.function.and_then(|function| key(&function.id, &get.key))) {
            (Some(cache), Some(key)) => {
                span.set("streamfleet.cache.function", key.function.to_string());
                cache.get(&key).await
            }
            _ => None,
        };
        span.set("streamfleet.cache.level", found.as_ref().map_or("none", |(_, level)| level.name()));
        match found {
            Some((entry, _)) => {
                span.set("streamfleet.cache.bytes", entry.value.size());
                send_value(writer, entry).await
            }
            None => send(writer, call_response::Kind::NotFound(NotFound {})).await,
        }
    }

    pub(super) async fn claim_value(
        &self,
        claim: ClaimValue,
        mut reader: FrameReader,
        mut writer: OwnedWriteHalf,
    ) -> io::Result<()> {
        let ClaimValue { function, key: call, owner, nested, wait, anew, fresh_ms, trace } = claim;
        let mut span = self.observer.span("cache claim", &trace);
        let function = function.unwrap_or_default();
        let (Some(cache), Some(key)) = (&self.cache, key(&function.id, &call)) else {
            return send(&mut writer, failed(&"there is no such function", false)).await;
        };
        let Ok(_room) = self.claims.try_acquire() else {
            return send(&mut writer, failed(&"too many values are being computed", true)).await;
        };
        let anew = anew.then(|| Duration::from_millis(fresh_ms));
        let claim = Claim { key: key.clone(), owner, nested, wait, anew };
        let began = Instant::now();
        let claimed = tokio::select! {
            claimed = cache.claim(&claim) => claimed,
            // Whoever waited waits no more.
            _ = reader.next() => return Ok(()),
        };
        let waited = began.elapsed();
        if !matches!(claimed, Claimed::Busy) {
            self.observer.metrics.lease_waited(waited);
        }
        span.set("streamfleet.cache.function", key.function.to_string());
        span.set("streamfleet.cache.wait_ms", u64::try_from(waited.as_millis()).unwrap_or(u64::MAX));
        let outcome = match &claimed {
            Claimed::Value(_) => "value",
            Claimed::Busy => "busy",
            Claimed::Granted(_) => "granted",
        };
        span.set("streamfleet.cache.outcome", outcome);
        // What is computed now is the run's own.
        span.end();
        match claimed {
            Claimed::Value(entry) => send_value(&mut writer, entry).await,
            Claimed::Busy => send(&mut writer, call_response::Kind::Busy(Busy {})).await,
            Claimed::Granted(grant) => {
                let shared = grant.is_shared();
                send(&mut writer, call_response::Kind::Granted(Granted { shared })).await?;
                let taken = timeout(TAKEN_LIMIT, receive(&mut reader)).await??;
                if !matches!(taken, call_request::Kind::Taken(_)) {
                    return Err(io::ErrorKind::InvalidData.into());
                }
                let max_bytes = cache.max_value_bytes();
                let answer = fulfil(grant, declared(key.function, &function), &mut reader, max_bytes).await?;
                send(&mut writer, answer).await
            }
        }
    }

    pub(super) async fn clear_values(&self, clear: &ClearValues) -> call_response::Kind {
        let scope = match (&*clear.function_id, &*clear.key) {
            ("", _) => Some(Scope::Everything),
            (function, "") => key(function, "").map(|key| Scope::Function(key.function)),
            (function, call) => key(function, call).map(Scope::Value),
        };
        if let (Some(cache), Some(scope)) = (&self.cache, scope) {
            cache.clear(&scope).await;
        }
        call_response::Kind::Done(Done {})
    }

    pub(super) fn values_used(&self, used: ValuesUsed) {
        if let Some(cache) = &self.cache {
            let values = used.values.into_iter();
            cache.used(values.filter_map(|value| Some((key(&value.function_id, &value.key)?, value.times))));
        }
    }
}

/// Waits for the value of a claim, which may take as long as it likes to compute.
async fn fulfil(
    grant: Grant,
    function: CachedFunction,
    reader: &mut FrameReader,
    max_bytes: u64,
) -> io::Result<call_response::Kind> {
    let Some(frame) = reader.next().await else {
        // It was given up.
        return Err(io::ErrorKind::UnexpectedEof.into());
    };
    let request: worker::CallRequest = prost::Message::decode(frame?.freeze()).map_err(io::Error::other)?;
    let Some(call_request::Kind::PutValue(PutValue { size })) = request.kind else {
        return Err(io::ErrorKind::InvalidData.into());
    };
    if size > max_bytes {
        return Ok(failed(&format!("larger than {max_bytes} bytes"), false));
    }
    let value = receive_value(reader, size).await?;
    grant.fulfil(function, value).await;
    Ok(call_response::Kind::Done(Done {}))
}

async fn receive_value(reader: &mut FrameReader, size: u64) -> io::Result<Packed> {
    let mut packer = Packer::new(size);
    let mut left = size;
    let mut part = BytesMut::new();
    while left > 0 {
        let length = usize::try_from(left).unwrap_or(PART_BYTES).min(PART_BYTES);
        // What came together with the message is in its reader's buffer.
        let early = reader.read_buffer_mut();
        let taken = early.len().min(length - part.len());
        part.reserve(length - part.len());
        part.extend_from_slice(early.get(..taken).unwrap_or_default());
        early.advance(taken);
        while part.len() < length {
            let mut rest = reader.get_mut().take((length - part.len()) as u64);
            if timeout(MESSAGE_LIMIT, rest.read_buf(&mut part)).await?? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
        let whole = part.split().freeze();
        packer = if length >= PACK_ELSEWHERE {
            let pack = move || {
                packer.push(whole);
                packer
            };
            spawn_blocking(pack).await.map_err(io::Error::other)?
        } else {
            packer.push(whole);
            packer
        };
        left -= length as u64;
    }
    packer.finish().ok_or_else(|| io::ErrorKind::InvalidData.into())
}

async fn send_value(writer: &mut OwnedWriteHalf, entry: Entry) -> io::Result<()> {
    let remaining_ms = entry.expires_at.map_or(0, |end| {
        let left = end.saturating_duration_since(Instant::now());
        u64::try_from(left.as_millis()).unwrap_or(u64::MAX).max(1)
    });
    let value = entry.value;
    send(writer, call_response::Kind::Value(CachedValue { size: value.size(), remaining_ms })).await?;
    for index in 0..value.part_count() {
        let part = value.unpack(index).map_err(io::Error::other)?;
        timeout(MESSAGE_LIMIT, writer.write_all(&part)).await??;
    }
    Ok(())
}

/// A call of a function, if the names can be such.
fn key(function: &str, call: &str) -> Option<ValueKey> {
    let is_name = |text: &str| text.len() <= MAX_NAME && text.bytes().all(|byte| byte.is_ascii_alphanumeric());
    let fits = !function.is_empty() && is_name(function) && is_name(call);
    fits.then(|| ValueKey { function: function.into(), call: call.into() })
}

fn declared(id: Arc<str>, function: &worker::CachedFunction) -> CachedFunction {
    let limit = |number: u64| Some(number).filter(|&number| number > 0);
    CachedFunction {
        id,
        ttl: limit(function.ttl_ms).map(Duration::from_millis),
        max_entries: limit(function.max_entries),
        max_bytes: limit(function.max_bytes),
    }
}

#[cfg(test)]
mod tests {
    use streamfleet_cluster::{Blobs, CacheOptions, MemoryCache};
    use streamfleet_proto::worker::{CallRequest, CallResponse, Taken};
    use tokio::net::UnixStream;
    use tokio_util::task::AbortOnDropHandle;

    use super::*;
    use crate::{
        cache::{CacheNode, SharedCache},
        calls::CallSocket,
        files::Files,
        observe::Observer,
        stream::{frame, frame_reader, read_message},
    };

    const MAX_VALUE: u64 = 8 << 20;

    struct Host {
        folder: tempfile::TempDir,
        cache: Arc<SharedCache>,
        _serving: AbortOnDropHandle<()>,
    }

    /// A worker's end of one call.
    struct Caller {
        reader: FrameReader,
        writer: OwnedWriteHalf,
    }

    impl Host {
        fn start() -> Self {
            let folder = tempfile::tempdir().unwrap();
            let node = CacheNode::new(0).unwrap();
            let options = CacheOptions { revision: String::new(), max_bytes: 64 << 20 };
            let store = MemoryCache::new(options, Arc::<CacheNode>::clone(&node));
            let cache = SharedCache::new(node, Arc::new(store), MAX_VALUE);
            let calls = Calls {
                observer: Observer::none(),
                files: Arc::new(Files::new(Blobs::memory())),
                cache: Some(Arc::clone(&cache)),
                claims: Calls::room_for_claims(),
                has: Box::new(|_| true),
            };
            let socket = CallSocket::bind(folder.path().join("c")).unwrap();
            let serving = tokio::spawn(async move { socket.serve(calls).await });
            Self { folder, cache, _serving: AbortOnDropHandle::new(serving) }
        }

        async fn begin(&self, kind: call_request::Kind) -> Caller {
            let (reader, writer) = UnixStream::connect(self.folder.path().join("c")).await.unwrap().into_split();
            let mut caller = Caller { reader: frame_reader(reader), writer };
            caller.send(kind).await;
            caller
        }

        async fn granted(&self, call: &str) -> Caller {
            let mut caller = self.begin(claim(call)).await;
            let answer = caller.receive().await;
            assert!(matches!(answer, call_response::Kind::Granted(Granted { shared: true })), "{answer:?}");
            caller.send(call_request::Kind::Taken(Taken {})).await;
            caller
        }

        async fn get(&self, call: &str) -> Option<Vec<u8>> {
            let get = GetValue { function: Some(function()), key: call.to_owned(), ..GetValue::default() };
            let mut caller = self.begin(call_request::Kind::GetValue(get)).await;
            match caller.receive().await {
                call_response::Kind::Value(head) => Some(caller.receive_raw(head.size).await),
                call_response::Kind::NotFound(_) => None,
                other => panic!("{other:?}"),
            }
        }
    }

    impl Caller {
        async fn send(&mut self, kind: call_request::Kind) {
            self.writer.write_all(&frame(&CallRequest { kind: Some(kind) })).await.unwrap();
        }

        async fn receive(&mut self) -> call_response::Kind {
            read_message::<CallResponse>(&mut self.reader).await.unwrap().unwrap().kind.unwrap()
        }

        async fn receive_raw(&mut self, size: u64) -> Vec<u8> {
            let mut value = self.reader.read_buffer_mut().split().to_vec();
            let rest = size - value.len() as u64;
            self.reader.get_mut().take(rest).read_to_end(&mut value).await.unwrap();
            value
        }

        async fn put(&mut self, value: &[u8]) -> call_response::Kind {
            self.send(call_request::Kind::PutValue(PutValue { size: value.len() as u64 })).await;
            self.writer.write_all(value).await.unwrap();
            self.receive().await
        }
    }

    fn function() -> worker::CachedFunction {
        worker::CachedFunction { id: "f".to_owned(), ..worker::CachedFunction::default() }
    }

    fn claim(call: &str) -> call_request::Kind {
        let (function, key, owner) = (Some(function()), call.to_owned(), "a".to_owned());
        call_request::Kind::ClaimValue(ClaimValue { function, key, owner, wait: true, ..ClaimValue::default() })
    }

    #[tokio::test]
    async fn values_of_any_size_are_put_and_got() {
        let host = Host::start();
        for (call, size) in [("1", 1), ("2", 100_000), ("3", PART_BYTES), ("4", 3 * PART_BYTES + 17)] {
            let value: Vec<u8> = (0..size).map(|at| u8::try_from(at / 3 % 251).unwrap()).collect();
            assert_eq!(host.get(call).await, None);
            let mut caller = host.granted(call).await;
            let waiting = host.begin(claim(call)).await;
            let answer = caller.put(&value).await;
            assert!(matches!(answer, call_response::Kind::Done(_)), "{answer:?}");
            for mut waiting in [waiting, host.begin(claim(call)).await] {
                let call_response::Kind::Value(head) = waiting.receive().await else { panic!("no value") };
                assert_eq!((head.size, head.remaining_ms), (size as u64, 0));
                assert!(waiting.receive_raw(head.size).await == value);
            }
            assert!(host.get(call).await.unwrap() == value);
        }
    }

    #[tokio::test]
    async fn hanging_up_gives_the_right_up() {
        let host = Host::start();
        drop(host.granted("1").await);
        let mut half = host.granted("1").await;
        half.send(call_request::Kind::PutValue(PutValue { size: 10 })).await;
        half.writer.write_all(b"half").await.unwrap();
        drop(half);
        let mut waiting = host.begin(claim("1")).await;
        assert!(matches!(waiting.receive().await, call_response::Kind::Granted(_)));
        // And so does saying nothing.
        drop(host.granted("1").await);
        drop(waiting);
    }

    #[tokio::test]
    async fn what_is_too_large_or_misnamed_is_refused() {
        let host = Host::start();
        let mut caller = host.granted("1").await;
        caller.send(call_request::Kind::PutValue(PutValue { size: MAX_VALUE + 1 })).await;
        let answer = caller.receive().await;
        let call_response::Kind::Failed(failed) = answer else { panic!("{answer:?}") };
        assert!(failed.reason.starts_with("larger than") && !failed.may_pass);
        drop(host.granted("1").await);

        for call in ["../a", "a b", &"x".repeat(MAX_NAME + 1)] {
            let answer = host.begin(claim(call)).await.receive().await;
            assert!(matches!(answer, call_response::Kind::Failed(_)), "{answer:?}");
            assert_eq!(host.get(call).await, None);
        }
        let answer = host.begin(call_request::Kind::Taken(Taken {})).await.receive().await;
        assert!(matches!(answer, call_response::Kind::Failed(_)), "{answer:?}");
    }

    #[tokio::test]
    async fn values_are_cleared_and_uses_counted() {
        let host = Host::start();
        let clear = |function: &str, call: &str| {
            let (function_id, key) = (function.to_owned(), call.to_owned());
            call_request::Kind::ClearValues(ClearValues { function_id, key })
        };
        for (clear, left) in
            [(clear("f", "1"), [false, true]), (clear("f", ""), [false; 2]), (clear("", ""), [false; 2])]
        {
            for call in ["1", "2"] {
                if host.get(call).await.is_none() {
                    host.granted(call).await.put(call.as_bytes()).await;
                    while host.get(call).await.is_none() {
                        tokio::task::yield_now().await;
                    }
                }
            }
            assert!(matches!(host.begin(clear).await.receive().await, call_response::Kind::Done(_)));
            assert_eq!([host.get("1").await.is_some(), host.get("2").await.is_some()], left);
        }
        let value = worker::ValueUsed { function_id: "f".to_owned(), key: "1".to_owned(), times: 3 };
        let _used = host.begin(call_request::Kind::ValuesUsed(ValuesUsed { values: vec![value] })).await;
        while host.cache.counts().worker_hits != 3 {
            tokio::task::yield_now().await;
        }
    }
}
