//! One worker's place in the pool: starts its process, listens to it, and starts it again.

use std::{
    io,
    os::fd::OwnedFd,
    path::PathBuf,
    process::ExitStatus,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
    time::Duration,
};

use streamfleet_proto::{
    MediaId, SessionId, WORKER_DESCRIPTORS,
    worker::{
        ControlEvent, ControlRequest, Init, Listening, Load, Ping, Printed, Ready, Stop, control_event, control_request,
    },
};
use tokio::{
    io::AsyncWriteExt as _,
    net::{UnixStream, unix::OwnedWriteHalf},
    sync::watch,
    time::{Instant, Interval, MissedTickBehavior, interval, sleep, timeout},
};
use tokio_util::sync::CancellationToken;
use tracing::{debug, error, info, warn};

use crate::{
    cache::SharedCache,
    calls::CallSocket,
    failure::WorkerFailure,
    observe::trace_id,
    process::Process,
    shared::Shared,
    stream::{FrameReader, frame, frame_reader, read_message, write_raw_frame},
};

/// How long a worker may take to come to serve: its imports include the app's own.
const START_LIMIT: Duration = Duration::from_mins(2);
/// How long a worker may take to end when asked; its scripts are not waited for.
const STOP_LIMIT: Duration = Duration::from_secs(3);
/// How long what a worker that has ended said last may take to be read.
const REST_LIMIT: Duration = Duration::from_millis(200);
/// How often a worker is asked whether its event loop still turns.
const WATCH_INTERVAL: Duration = Duration::from_secs(2);
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
    /// When it came to serve.
    pub(crate) since: Instant,
    /// What the worker said of itself and of the app.
    pub(crate) ready: Ready,
}

/// One worker's place in the pool.
pub(crate) struct Slot {
    pub(crate) index: u32,
    phase: watch::Sender<Phase>,
    load: watch::Sender<Load>,
    restarts: AtomicU32,
    /// What the worker is still to be told.
    orders: watch::Sender<Vec<control_request::Kind>>,
    /// Ends the worker for good.
    stop: CancellationToken,
    /// About to be replaced: no session goes there any more.
    retiring: AtomicBool,
    /// WebSockets and requests that are being carried to or from it, the measure of how busy it is.
    connections: AtomicU32,
}

impl Slot {
    /// A worker's place. Nothing runs before [`supervise`](Self::supervise), and nothing after `stop`.
    pub(crate) fn new(index: u32, stop: CancellationToken) -> Self {
        Self {
            index,
            stop,
            retiring: AtomicBool::new(false),
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

    /// Tells the worker something, soon.
    pub(crate) fn order(&self, order: control_request::Kind) {
        self.orders.send_modify(|orders| orders.push(order));
    }

    /// Sends no more sessions there.
    pub(crate) fn retire(&self) {
        self.retiring.store(true, Ordering::Relaxed);
    }

    /// It stays after all.
    pub(crate) fn unretire(&self) {
        self.retiring.store(false, Ordering::Relaxed);
    }

    /// For how long its process has served; `None` while it doesn't.
    pub(crate) fn age(&self) -> Option<Duration> {
        self.ready().map(|worker| worker.since.elapsed())
    }

    /// Waits until its process has ended for good.
    pub(crate) async fn stopped(&self) {
        let mut phase = self.phase.subscribe();
        // The sender is ours.
        let _ = phase.wait_for(|phase| matches!(phase, Phase::Stopped)).await;
    }

    /// Whether sessions may go there.
    pub(crate) fn is_retiring(&self) -> bool {
        self.retiring.load(Ordering::Relaxed)
    }

    /// Ends the worker, and starts no other in its place.
    pub(crate) fn stop(&self) {
        self.stop.cancel();
    }

    /// Waits until the process of this number is known to have ended; false if it hasn't by then.
    pub(crate) async fn has_died(&self, pid: u32, limit: Duration) -> bool {
        let mut phase = self.phase.subscribe();
        let gone = |phase: &Phase| !matches!(phase, Phase::Ready(worker) if worker.pid == pid);
        timeout(limit, phase.wait_for(gone)).await.is_ok()
    }

    /// Counts a connection until the lease is dropped.
    pub(crate) fn lease(self: &Arc<Self>) -> ConnectionLease {
        self.connections.fetch_add(1, Ordering::Relaxed);
        ConnectionLease(Arc::clone(self))
    }

    /// Keeps a worker running until stopped.
    pub(crate) async fn supervise(self: Arc<Self>, shared: Arc<Shared>) {
        let stop = self.stop.clone();
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
            let reason = if matches!(failure, WorkerFailure::Stuck(_)) { "stuck" } else { "died" };
            shared.options.observer.metrics.restart(reason);
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
        shared.forget_worker(self.index);
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
    shared: &'a Arc<Shared>,
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
        let mut watchdog = Watchdog::new(self.shared.options.limits.stuck_after);
        loop {
            let serving = self.slot.ready().is_some();
            tokio::select! {
                biased;
                () = stop.cancelled() => {
                    self.stop(process, &mut reader, &mut writer).await;
                    return Ok(());
                }
                event = read_message::<ControlEvent>(&mut reader) => match event {
                    Some(Ok(ControlEvent { kind: Some(control_event::Kind::Pong(pong)) })) => watchdog.heard(pong.number),
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
                ping = watchdog.next(), if serving => match ping {
                    Some(ping) => {
                        send(&mut writer, control_request::Kind::Ping(ping)).await.map_err(WorkerFailure::Control)?;
                    }
                    None => return Err(WorkerFailure::Stuck(self.shared.options.limits.stuck_after)),
                },
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
        let cache = options.cache.as_deref();
        let init = Init {
            script_path: options.script.as_ref().map(text).unwrap_or_default(),
            script_args: options.script_args.clone(),
            streamlit_flags: options.streamlit_flags.clone(),
            listen_path: text(&self.listen_path),
            calls_path: text(&self.calls_path),
            cookie_secret: options.cookie_secret.clone(),
            watch_sources: options.watch_sources,
            packages_path: options.packages.as_ref().map(text).unwrap_or_default(),
            max_snapshot_bytes: options.limits.max_session_bytes,
            run_timeout_ms: millis(options.limits.run_timeout),
            max_concurrent_runs: options.limits.max_concurrent_runs,
            forward_output: options.forward_output,
            cache_stamps_path: cache
                .map(|cache| cache.stamps_path().to_string_lossy().into_owned())
                .unwrap_or_default(),
            max_cached_value_bytes: cache.map(SharedCache::max_value_bytes).unwrap_or_default(),
        };
        send(writer, control_request::Kind::Init(init)).await
    }

    async fn send_orders(&self, writer: &mut OwnedWriteHalf) -> io::Result<()> {
        let mut taken = Vec::new();
        self.slot.orders.send_if_modified(|orders| {
            taken = std::mem::take(orders);
            false // Nobody is to be woken by it.
        });
        for order in taken {
            send(writer, order).await?;
        }
        Ok(())
    }

    fn handle(&mut self, pid: u32, event: ControlEvent) {
        let index = self.slot.index;
        let Shared { directory, ownership, .. } = &**self.shared;
        match event.kind {
            Some(control_event::Kind::Ready(ready)) => {
                info!(worker = index, pid, "worker is ready");
                let worker =
                    ReadyWorker { index, pid, listen_path: self.listen_path.clone(), since: Instant::now(), ready };
                self.slot.enter(self.shared, Phase::Ready(Arc::new(worker)));
            }
            Some(control_event::Kind::Fatal(fatal)) => self.refusal = Some(fatal.message),
            Some(control_event::Kind::SessionEnded(ended)) => match ended.session_id.parse::<SessionId>() {
                Ok(session) => self.shared.ended(session, index),
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
            Some(control_event::Kind::Snapshot(snapshot)) => self.shared.save(*snapshot),
            Some(control_event::Kind::Released(released)) => {
                if let Ok(session) = released.session_id.parse() {
                    let shared = Arc::clone(self.shared);
                    tokio::spawn(async move { shared.released(session, index).await });
                }
            }
            Some(control_event::Kind::Stuck(stuck)) => {
                if let Ok(session) = stuck.session_id.parse() {
                    self.shared.run_away(index, session, Duration::from_millis(stuck.run_ms));
                }
            }
            Some(control_event::Kind::Run(report)) => {
                self.shared.ran(index, &report);
            }
            Some(control_event::Kind::Printed(printed)) => log_printed(index, &printed),
            Some(control_event::Kind::Probed(probed)) => self.shared.probes.answered(probed),
            Some(control_event::Kind::Pong(_)) | None => debug!(worker = index, "an event of a kind unknown here"),
        }
    }

    /// Handles what the worker had sent before it ended.
    async fn drain(&mut self, pid: u32, reader: &mut FrameReader) {
        // A subprocess of the app may hold the connection open.
        let _ = timeout(REST_LIMIT, self.read_rest(reader, |life, event| life.handle(pid, event))).await;
    }

    /// Reads until the connection closes.
    async fn read_rest(&mut self, reader: &mut FrameReader, handle: impl Fn(&mut Self, ControlEvent)) {
        while let Some(Ok(event)) = read_message(reader).await {
            handle(self, event);
        }
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

    /// Ends the process in order, and keeps what it still has to say of its sessions.
    async fn stop(&mut self, process: &mut dyn Process, reader: &mut FrameReader, writer: &mut OwnedWriteHalf) {
        let orderly = async {
            // A worker that can't be told any more is ending already.
            let _ = send(writer, control_request::Kind::Stop(Stop {})).await;
            let pid = process.pid();
            tokio::select! {
                () = self.read_rest(reader, |life, event| life.handle_last(pid, event)) => {}
                // A subprocess of the app may hold the connection open.
                _ = process.wait() => {
                    let rest = self.read_rest(reader, |life, event| life.handle_last(pid, event));
                    let _ = timeout(REST_LIMIT, rest).await;
                }
            }
            process.wait().await
        };
        if timeout(STOP_LIMIT, orderly).await.is_err() {
            debug!(pid = process.pid(), "killing a worker that did not end in time");
        }
    }

    /// Handles what a worker says that was told to stop. That its sessions end with it says nothing about them: they go on elsewhere.
    fn handle_last(&mut self, pid: u32, event: ControlEvent) {
        let concerns_what_was = matches!(
            event.kind,
            Some(
                control_event::Kind::Snapshot(_)
                    | control_event::Kind::Released(_)
                    | control_event::Kind::Run(_)
                    | control_event::Kind::Printed(_),
            )
        );
        if concerns_what_was {
            self.handle(pid, event);
        }
    }
}

/// Puts into the log what the app has printed.
fn log_printed(worker: u32, printed: &Printed) {
    let Printed { session_id, trace, line, error } = printed;
    let session = session_id.parse::<SessionId>().map(|session| session.public_id()).unwrap_or_default();
    let trace = trace_id(trace);
    let stream = if *error { "stderr" } else { "stdout" };
    info!(target: "app", worker, session, trace, stream, "{line}");
}

async fn send(writer: &mut OwnedWriteHalf, kind: control_request::Kind) -> io::Result<()> {
    let request = ControlRequest { kind: Some(kind) };
    writer.write_all(&frame(&request)).await
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// Notices when a worker's event loop stands still, as when C code holds the interpreter.
struct Watchdog {
    pings: Interval,
    sent: u64,
    heard: u64,
    /// How many pings may go unanswered; 0 for any number.
    patience: u64,
}

impl Watchdog {
    fn new(stuck_after: Duration) -> Self {
        let mut pings = interval(WATCH_INTERVAL);
        // After a stop of our own process the worker is given its time.
        pings.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let patience = stuck_after.as_secs().div_ceil(WATCH_INTERVAL.as_secs());
        Self { pings, sent: 0, heard: 0, patience }
    }

    fn heard(&mut self, number: u64) {
        self.heard = self.heard.max(number);
    }

    /// The next ping, when it is due; `None` when the worker has left too many unanswered.
    async fn next(&mut self) -> Option<Ping> {
        self.pings.tick().await;
        if self.patience != 0 && self.sent - self.heard > self.patience {
            return None;
        }
        self.sent += 1;
        Some(Ping { number: self.sent })
    }
}

/// Counts a connection to a worker for as long as it lives.
pub(crate) struct ConnectionLease(Arc<Slot>);

impl Drop for ConnectionLease {
    fn drop(&mut self) {
        self.0.connections.fetch_sub(1, Ordering::Relaxed);
    }
}
