//! One worker's place in the pool: starts its process, listens to it, and starts it again.

use std::{
    io,
    os::fd::OwnedFd,
    path::PathBuf,
    process::ExitStatus,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use streamfleet_proto::{
    MediaId, SessionId, WORKER_DESCRIPTORS,
    worker::{
        ControlEvent, ControlRequest, EndSession, Init, Listening, Load, Ready, Stop, control_event, control_request,
    },
};
use tokio::{
    io::AsyncWriteExt as _,
    net::{UnixStream, unix::OwnedWriteHalf},
    sync::watch,
    time::{Instant, sleep, timeout},
};
use tokio_util::sync::CancellationToken;
use tracing::{debug, error, info, warn};

use crate::{
    calls::{CallSocket, Calls},
    directory::Directory,
    failure::WorkerFailure,
    files::Files,
    options::PoolOptions,
    ownership::Ownership,
    process::{Process, Spawner},
    stream::{FrameReader, frame, frame_reader, read_message, write_raw_frame},
};

/// How long a worker may take to come to serve: its imports include the app's own.
const START_LIMIT: Duration = Duration::from_mins(2);
/// How long a worker may take to end when asked; its scripts are not waited for.
const STOP_LIMIT: Duration = Duration::from_secs(3);
/// First and longest pause before a worker is started again, and how long it must have served
/// for the next pause to be the first again.
const BACKOFF_MIN: Duration = Duration::from_millis(100);
const BACKOFF_MAX: Duration = Duration::from_secs(10);
const BACKOFF_RESET: Duration = Duration::from_secs(30);

/// Where a worker is in its life.
#[derive(Debug, Clone)]
pub(crate) enum Phase {
    /// Its process has been started, or is about to be.
    Starting,
    /// It serves.
    Ready(Arc<ReadyWorker>),
    /// It failed, and is started again after a pause.
    BackingOff(Arc<WorkerFailure>),
    /// It is not started again.
    Stopped,
}

/// A worker that serves.
#[derive(Debug)]
pub(crate) struct ReadyWorker {
    pub(crate) index: u32,
    pub(crate) pid: u32,
    pub(crate) listen_path: PathBuf,
    /// What the worker said of itself and of the app.
    pub(crate) ready: Ready,
}

/// One worker's place in the pool.
pub(crate) struct Slot {
    pub(crate) index: u32,
    phase: watch::Sender<Phase>,
    load: watch::Sender<Load>,
    restarts: AtomicU32,
    /// Sessions that the worker is still to be told to end.
    orders: watch::Sender<Vec<SessionId>>,
    /// WebSockets and requests that are being carried to or from it, the measure of how busy it is.
    connections: AtomicU32,
}

/// What all slots of a pool share.
pub(crate) struct Shared {
    pub(crate) options: PoolOptions,
    pub(crate) spawner: Arc<dyn Spawner>,
    pub(crate) directory: Directory,
    pub(crate) ownership: Arc<Ownership>,
    pub(crate) files: Arc<Files>,
    /// The port on which browsers reach the app; 0 while unknown.
    pub(crate) public_port: watch::Sender<u16>,
    /// Counts changes of any slot's phase.
    pub(crate) changes: watch::Sender<u64>,
}

impl Shared {
    /// What answers the calls of a worker.
    fn calls(self: &Arc<Self>, worker: u32) -> Calls {
        let shared = Arc::clone(self);
        let has = move |session| shared.directory.owner(session) == Some(worker);
        Calls { files: Arc::clone(&self.files), has: Box::new(has) }
    }

    /// Forgets everything that a worker had, and tells how many sessions that were.
    fn forget_worker(&self, worker: u32) -> usize {
        let (sessions, media) = self.directory.forget_worker(worker);
        for &session in &sessions {
            self.ownership.ended(session);
            self.files.leave(session);
        }
        for file in &media {
            self.ownership.remove_media(file);
        }
        sessions.len()
    }
}

impl Slot {
    pub(crate) fn new(index: u32) -> Self {
        Self {
            index,
            orders: watch::Sender::new(Vec::new()),
            phase: watch::Sender::new(Phase::Starting),
            load: watch::Sender::new(Load::default()),
            restarts: AtomicU32::new(0),
            connections: AtomicU32::new(0),
        }
    }

    pub(crate) fn phase(&self) -> Phase {
        self.phase.borrow().clone()
    }

    pub(crate) fn ready(&self) -> Option<Arc<ReadyWorker>> {
        match &*self.phase.borrow() {
            Phase::Ready(worker) => Some(Arc::clone(worker)),
            Phase::Starting | Phase::BackingOff(_) | Phase::Stopped => None,
        }
    }

    pub(crate) fn load(&self) -> Load {
        *self.load.borrow()
    }

    pub(crate) fn restarts(&self) -> u32 {
        self.restarts.load(Ordering::Relaxed)
    }

    pub(crate) fn connections(&self) -> u32 {
        self.connections.load(Ordering::Relaxed)
    }

    /// Has the worker end a session that is another runner's now.
    pub(crate) fn end_session(&self, session: SessionId) {
        self.orders.send_modify(|orders| orders.push(session));
    }

    /// Counts a connection until the lease is dropped.
    pub(crate) fn lease(self: &Arc<Self>) -> ConnectionLease {
        self.connections.fetch_add(1, Ordering::Relaxed);
        ConnectionLease(Arc::clone(self))
    }

    /// Keeps a worker running until cancelled.
    pub(crate) async fn supervise(self: Arc<Self>, shared: Arc<Shared>, stop: CancellationToken) {
        let mut pause = BACKOFF_MIN;
        for generation in 0_u64.. {
            let started = Instant::now();
            self.enter(&shared, Phase::Starting);
            let Err(failure) = self.run_once(&shared, generation, &stop).await else {
                break;
            };
            let lost = shared.forget_worker(self.index);
            self.load.send_replace(Load::default());
            self.restarts.fetch_add(1, Ordering::Relaxed);
            if started.elapsed() >= BACKOFF_RESET {
                pause = BACKOFF_MIN;
            }
            warn!(worker = self.index, lost_sessions = lost, restart_in_ms = pause.as_millis(), "{failure}");
            self.enter(&shared, Phase::BackingOff(Arc::new(failure)));
            tokio::select! {
                () = sleep(pause) => {}
                () = stop.cancelled() => break,
            }
            pause = (pause * 2).min(BACKOFF_MAX);
        }
        self.enter(&shared, Phase::Stopped);
    }

    fn enter(&self, shared: &Shared, phase: Phase) {
        self.phase.send_replace(phase);
        shared.changes.send_modify(|changes| *changes += 1);
    }

    /// Runs one process from its start to its end. `Ok` when it was stopped on purpose.
    async fn run_once(
        &self,
        shared: &Arc<Shared>,
        generation: u64,
        stop: &CancellationToken,
    ) -> Result<(), WorkerFailure> {
        let (ours, theirs) = std::os::unix::net::UnixStream::pair().map_err(WorkerFailure::Spawn)?;
        let mut process = shared.spawner.spawn(OwnedFd::from(theirs)).await.map_err(WorkerFailure::Spawn)?;
        debug!(worker = self.index, pid = process.pid(), "worker started");

        let listen_path = shared.options.socket_folder.join(format!("w{}-{generation}.sock", self.index));
        let calls_path = shared.options.socket_folder.join(format!("c{}-{generation}.sock", self.index));
        let socket = CallSocket::bind(calls_path.clone()).map_err(WorkerFailure::Spawn)?;
        let mut life = Life { slot: self, shared, listen_path, calls_path, refusal: None };
        let outcome = tokio::select! {
            outcome = life.run(&mut *process, ours, stop) => outcome,
            () = socket.serve(shared.calls(self.index)) => Err(WorkerFailure::Control(io::ErrorKind::BrokenPipe.into())),
        };
        // Its sockets and its own subprocesses go with it, however it ended.
        process.kill();
        let _ = timeout(STOP_LIMIT, process.wait()).await;
        let _ = tokio::fs::remove_file(&life.listen_path).await;
        outcome
    }
}

/// One process's life, from the first message to it to the last from it.
struct Life<'a> {
    slot: &'a Slot,
    shared: &'a Shared,
    listen_path: PathBuf,
    /// Where its calls are answered.
    calls_path: PathBuf,
    /// Why the worker said that it can't serve the app.
    refusal: Option<String>,
}

impl Life<'_> {
    async fn run(
        &mut self,
        process: &mut dyn Process,
        control: std::os::unix::net::UnixStream,
        stop: &CancellationToken,
    ) -> Result<(), WorkerFailure> {
        control.set_nonblocking(true).map_err(WorkerFailure::Control)?;
        let control = UnixStream::from_std(control).map_err(WorkerFailure::Control)?;
        let (reader, mut writer) = control.into_split();
        let mut reader = frame_reader(reader);
        let mut port = self.shared.public_port.subscribe();
        // Sessions of the process before are none of this one's.
        self.slot.orders.send_replace(Vec::new());
        let mut orders = self.slot.orders.subscribe();
        self.send_init(&mut writer).await.map_err(WorkerFailure::Control)?;
        // Tell a port that is known already to a worker that starts late.
        port.mark_changed();

        let start_limit = sleep(START_LIMIT);
        tokio::pin!(start_limit);
        loop {
            let serving = self.slot.ready().is_some();
            tokio::select! {
                biased;
                () = stop.cancelled() => {
                    Self::stop(process, &mut writer).await;
                    return Ok(());
                }
                event = read_message::<ControlEvent>(&mut reader) => match event {
                    Some(Ok(event)) => self.handle(process.pid(), event),
                    Some(Err(error)) => return Err(WorkerFailure::Control(error)),
                    None => return Err(self.ended(process).await),
                },
                status = process.wait() => {
                    // What it said last may still be on its way to us.
                    self.drain(process.pid(), &mut reader).await;
                    return Err(self.exited(status));
                }
                changed = port.changed(), if serving => {
                    let number = *port.borrow_and_update();
                    if changed.is_ok() && number != 0 {
                        let listening = Listening { port: number.into() };
                        send(&mut writer, control_request::Kind::Listening(listening))
                            .await
                            .map_err(WorkerFailure::Control)?;
                    }
                }
                changed = orders.changed(), if serving => {
                    if changed.is_ok() {
                        self.send_orders(&mut writer).await.map_err(WorkerFailure::Control)?;
                    }
                }
                () = &mut start_limit, if !serving => {
                    return Err(WorkerFailure::StartTimeout(START_LIMIT));
                }
            }
        }
    }

    async fn send_init(&self, writer: &mut OwnedWriteHalf) -> io::Result<()> {
        let options = &self.shared.options;
        write_raw_frame(writer, WORKER_DESCRIPTORS).await?;
        let text = |path: &PathBuf| path.to_string_lossy().into_owned();
        let init = Init {
            script_path: options.script.as_ref().map(text).unwrap_or_default(),
            script_args: options.script_args.clone(),
            streamlit_flags: options.streamlit_flags.clone(),
            listen_path: text(&self.listen_path),
            calls_path: text(&self.calls_path),
            cookie_secret: options.cookie_secret.clone(),
            watch_sources: options.watch_sources,
            packages_path: options.packages.as_ref().map(text).unwrap_or_default(),
            ..Init::default()
        };
        send(writer, control_request::Kind::Init(init)).await
    }

    async fn send_orders(&self, writer: &mut OwnedWriteHalf) -> io::Result<()> {
        let mut sessions = Vec::new();
        self.slot.orders.send_if_modified(|orders| {
            sessions = std::mem::take(orders);
            false // Nobody is to be woken by it.
        });
        for session in sessions {
            let order = EndSession { session_id: session.to_string() };
            send(writer, control_request::Kind::EndSession(order)).await?;
        }
        Ok(())
    }

    fn handle(&mut self, pid: u32, event: ControlEvent) {
        let index = self.slot.index;
        let Shared { directory, ownership, files, .. } = self.shared;
        match event.kind {
            Some(control_event::Kind::Ready(ready)) => {
                info!(worker = index, pid, "worker is ready");
                let worker = ReadyWorker { index, pid, listen_path: self.listen_path.clone(), ready };
                self.slot.enter(self.shared, Phase::Ready(Arc::new(worker)));
            }
            Some(control_event::Kind::Fatal(fatal)) => self.refusal = Some(fatal.message),
            Some(control_event::Kind::SessionEnded(ended)) => match ended.session_id.parse::<SessionId>() {
                Ok(session) => {
                    if directory.end(session, index) {
                        ownership.ended(session);
                        files.end(session);
                    }
                }
                Err(error) => error!(worker = index, "{error}"),
            },
            Some(control_event::Kind::MediaStored(stored)) => match stored.file_id.parse::<MediaId>() {
                Ok(file) => {
                    directory.add_media(file.clone(), index);
                    ownership.add_media(file);
                }
                Err(error) => error!(worker = index, "{error}"),
            },
            Some(control_event::Kind::MediaRemoved(removed)) => {
                if let Ok(file) = removed.file_id.parse()
                    && directory.remove_media(&file, index)
                {
                    ownership.remove_media(&file);
                }
            }
            Some(control_event::Kind::Load(load)) => {
                self.slot.load.send_replace(load);
            }
            Some(_) | None => debug!(worker = index, "an event of a kind unknown here"),
        }
    }

    /// Handles what the worker had sent before it ended.
    async fn drain(&mut self, pid: u32, reader: &mut FrameReader) {
        let rest = async {
            while let Some(Ok(event)) = read_message(reader).await {
                self.handle(pid, event);
            }
        };
        // A subprocess of the app may hold the connection open.
        let _ = timeout(Duration::from_millis(200), rest).await;
    }

    /// The control connection closed: the process is ending, or might as well.
    async fn ended(&mut self, process: &mut dyn Process) -> WorkerFailure {
        match timeout(STOP_LIMIT, process.wait()).await {
            Ok(status) => self.exited(status),
            Err(_) => WorkerFailure::Control(io::ErrorKind::UnexpectedEof.into()),
        }
    }

    fn exited(&mut self, status: io::Result<ExitStatus>) -> WorkerFailure {
        match (self.refusal.take(), status) {
            (Some(refusal), _) => WorkerFailure::Refused(refusal),
            (None, Ok(status)) => WorkerFailure::Exited(status),
            (None, Err(error)) => WorkerFailure::Control(error),
        }
    }

    async fn stop(process: &mut dyn Process, writer: &mut OwnedWriteHalf) {
        let orderly = async {
            // A worker that can't be told any more is ending already.
            let _ = send(writer, control_request::Kind::Stop(Stop {})).await;
            process.wait().await
        };
        if timeout(STOP_LIMIT, orderly).await.is_err() {
            debug!(pid = process.pid(), "killing a worker that did not end in time");
        }
    }
}

async fn send(writer: &mut OwnedWriteHalf, kind: control_request::Kind) -> io::Result<()> {
    let request = ControlRequest { kind: Some(kind) };
    writer.write_all(&frame(&request)).await
}

/// Counts a connection to a worker for as long as it lives.
pub(crate) struct ConnectionLease(Arc<Slot>);

impl Drop for ConnectionLease {
    fn drop(&mut self) {
        self.0.connections.fetch_sub(1, Ordering::Relaxed);
    }
}
