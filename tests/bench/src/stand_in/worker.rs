//! Workers that are tasks of this process, and answer by heart.

use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::process::ExitStatusExt as _;
use std::process::ExitStatus;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use bytes::{BufMut as _, Bytes, BytesMut};
use futures_util::StreamExt as _;
use prost::Message;
use streamfleet_proto::common::{Accepted, AppSettings, MessageBatch, ResponseHead, SessionBound};
use streamfleet_proto::worker::{
    ControlEvent, ControlRequest, End, Open, Pong, Ready, Released, RunReport, Snapshot, StreamEvent, StreamRequest,
    Value, control_event, control_request, stream_event, stream_request,
};
use streamfleet_runner::{Process, Spawner};
use tokio::io::AsyncWriteExt as _;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::watch;
use tokio::time::sleep;
use tokio_util::codec::{FramedRead, LengthDelimitedCodec};

use super::recording::{self, Recording};

/// Streamlit's own limit.
const MAX_MESSAGE_BYTES: u64 = 200 << 20;
/// What a small session's own state takes in a snapshot, in bytes.
const CORE_BYTES: usize = 500;
/// What its count takes, pickled and with what is said of it.
const VALUE_BYTES: usize = 60;

/// Starts workers.
#[derive(Debug)]
pub(super) struct StandInSpawner {
    answers: Answers,
    started: AtomicU32,
}

/// How a worker answers.
#[derive(Debug, Clone)]
pub(super) struct Answers {
    pub(super) recording: Arc<Recording>,
    /// How long it rests between an answer and what it says of the run, and between that and the snapshot.
    pub(super) rest: Duration,
}

impl StandInSpawner {
    pub(super) fn new(answers: Answers) -> Self {
        Self { answers, started: AtomicU32::new(0) }
    }
}

#[async_trait]
impl Spawner for StandInSpawner {
    async fn spawn(&self, control: OwnedFd) -> io::Result<Box<dyn Process>> {
        let control = std::os::unix::net::UnixStream::from(control);
        control.set_nonblocking(true)?;
        let (control, answers) = (UnixStream::from_std(control)?, self.answers.clone());
        let (end, ended) = watch::channel(false);
        let (end_of_process, mut killed) = (end.clone(), ended.clone());
        tokio::spawn(async move {
            tokio::select! {
                // How it ends is seen by its end.
                _ = live(control, answers) => {}
                _ = killed.wait_for(|&dead| dead) => {}
            }
            end_of_process.send_replace(true);
        });
        Ok(Box::new(StandInProcess { pid: self.started.fetch_add(1, Ordering::Relaxed) + 1, end, ended }))
    }
}

struct StandInProcess {
    pid: u32,
    end: watch::Sender<bool>,
    ended: watch::Receiver<bool>,
}

#[async_trait]
impl Process for StandInProcess {
    fn pid(&self) -> u32 {
        self.pid
    }

    async fn wait(&mut self) -> io::Result<ExitStatus> {
        self.ended.wait_for(|&dead| dead).await.map_err(io::Error::other)?;
        Ok(ExitStatus::from_raw(0))
    }

    fn kill(&mut self) {
        self.end.send_replace(true);
    }
}

/// Does what the runner says on the control connection, until told to stop.
async fn live(control: UnixStream, answers: Answers) -> io::Result<()> {
    let (mut requests, mut events) = split(control);
    // The descriptors of the messages, which are known here.
    requests.next().await.transpose()?;
    while let Some(ControlRequest { kind: Some(kind) }) = receive(&mut requests).await? {
        let event = match kind {
            control_request::Kind::Init(init) => {
                tokio::spawn(listen(UnixListener::bind(&init.listen_path)?, answers.clone()));
                let settings = AppSettings { max_message_bytes: MAX_MESSAGE_BYTES, ..AppSettings::default() };
                control_event::Kind::Ready(Ready { settings: Some(settings), ..Ready::default() })
            }
            control_request::Kind::Ping(ping) => control_event::Kind::Pong(Pong { number: ping.number }),
            control_request::Kind::Release(release) => {
                control_event::Kind::Released(Released { session_id: release.session_id })
            }
            control_request::Kind::Stop(_) => return Ok(()),
            _ => continue,
        };
        send(&mut events, &ControlEvent { kind: Some(event) }).await?;
    }
    Ok(())
}

async fn listen(listener: UnixListener, answers: Answers) -> io::Result<()> {
    loop {
        let (stream, _) = listener.accept().await?;
        let answers = answers.clone();
        tokio::spawn(async move { converse(stream, &answers).await });
    }
}

/// Serves one WebSocket or request.
async fn converse(stream: UnixStream, Answers { recording, rest }: &Answers) -> io::Result<()> {
    let (mut requests, mut events) = split(stream);
    let Some(StreamRequest { kind: Some(stream_request::Kind::Open(open)) }) = receive(&mut requests).await? else {
        return Ok(());
    };
    if !open.websocket {
        let head = ResponseHead { status: 200, ..ResponseHead::default() };
        tell(&mut events, stream_event::Kind::Head(head)).await?;
        tell(&mut events, stream_event::Kind::Body(Bytes::from_static(b"ok"))).await?;
        return tell(&mut events, stream_event::Kind::End(End {})).await;
    }
    let accepted = Accepted { subprotocol: "streamlit".to_owned(), ..Accepted::default() };
    tell(&mut events, stream_event::Kind::Accepted(accepted)).await?;
    let bound = SessionBound { session_id: open.session_id.clone() };
    tell(&mut events, stream_event::Kind::Bound(bound)).await?;
    let mut runs = 0;
    while let Some(StreamRequest { kind: Some(stream_request::Kind::Frame(frame)) }) = receive(&mut requests).await? {
        let mut messages = recording.before.clone();
        if runs > 0 {
            messages.push(recording::count(runs));
        }
        messages.extend_from_slice(&recording.after);
        runs += 1;
        tell(&mut events, stream_event::Kind::Batch(MessageBatch { messages })).await?;
        pause(*rest).await;
        let report = RunReport {
            session_id: open.session_id.clone(),
            seq: frame.seq,
            page: "/".to_owned(),
            ..RunReport::default()
        };
        tell(&mut events, stream_event::Kind::Run(Box::new(report))).await?;
        pause(*rest).await;
        tell(&mut events, stream_event::Kind::Snapshot(Box::new(snapshot(&open, frame.seq, runs)))).await?;
    }
    Ok(())
}

async fn pause(rest: Duration) {
    // The shortest sleep takes a millisecond.
    if !rest.is_zero() {
        sleep(rest).await;
    }
}

/// What a small session is kept as after a run.
fn snapshot(open: &Open, seq: u64, runs: u64) -> Snapshot {
    let filled = |size: usize| {
        let mut bytes = BytesMut::zeroed(size);
        bytes[..8].copy_from_slice(&runs.to_be_bytes());
        bytes.freeze()
    };
    Snapshot {
        session_id: open.session_id.clone(),
        connection: open.connection,
        applied_seq: seq,
        full: runs == 1,
        core: filled(CORE_BYTES),
        changed: vec![Value { key: "count".to_owned(), pickle: filled(VALUE_BYTES) }],
        ..Snapshot::default()
    }
}

// --- Frames ---------------------------------------------------------------------------------------------------------

type Frames = FramedRead<OwnedReadHalf, LengthDelimitedCodec>;

fn split(stream: UnixStream) -> (Frames, OwnedWriteHalf) {
    let (reader, writer) = stream.into_split();
    (LengthDelimitedCodec::builder().new_read(reader), writer)
}

async fn receive<M: Message + Default>(frames: &mut Frames) -> io::Result<Option<M>> {
    let Some(frame) = frames.next().await.transpose()? else { return Ok(None) };
    M::decode(frame.freeze()).map(Some).map_err(io::Error::other)
}

async fn tell(writer: &mut OwnedWriteHalf, kind: stream_event::Kind) -> io::Result<()> {
    send(writer, &StreamEvent { kind: Some(kind) }).await
}

async fn send(writer: &mut OwnedWriteHalf, message: &impl Message) -> io::Result<()> {
    let mut frame = BytesMut::with_capacity(4 + message.encoded_len());
    frame.put_u32(u32::try_from(message.encoded_len()).map_err(io::Error::other)?);
    message.encode_raw(&mut frame);
    writer.write_all(&frame).await
}
