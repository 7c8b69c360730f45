//! Workers without Python, for tests of the supervisor.

use std::{
    collections::VecDeque,
    io,
    os::{fd::OwnedFd, unix::process::ExitStatusExt as _},
    process::ExitStatus,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU32, Ordering},
    },
};

use async_trait::async_trait;
use streamfleet_proto::{
    SessionId,
    worker::{
        ControlEvent, ControlRequest, Fatal, Ping, Pong, Probe, Probed, Ready, Release, Released, Snapshot,
        control_event, control_request,
    },
};
use tempfile::TempDir;
use tokio::{io::AsyncWriteExt as _, net::UnixStream, sync::watch};

use crate::{
    process::{Process, Spawner},
    stream::{frame, frame_reader, read_message},
};

/// What a worker does once it has been told what to host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Behaviour {
    /// Serves until told to stop, and stops.
    Serve,
    /// Serves until told to stop, and then has a last snapshot of this session, with a message handled by then.
    ServeAndSayLast(SessionId, u64),
    /// Serves, and does not hear when told to stop.
    ServeStubbornly,
    /// Comes to serve, and does nothing any more.
    Hang,
    /// Serves an app whose script raises this.
    Raise(&'static str),
    /// Serves until its app is tried.
    DieOfProbe,
    /// Says that it can't host the app.
    Refuse(&'static str),
    /// Ends without a word.
    Die,
    /// Can't even be started.
    FailToStart,
}

/// Starts workers that behave as told, in order; the last behaviour is for all that follow.
#[derive(Debug)]
pub(crate) struct FakeSpawner {
    /// For sockets, as long as there may be workers.
    pub(crate) folder: TempDir,
    plan: Mutex<VecDeque<Behaviour>>,
    started: AtomicU32,
    /// The processes started so far; sending true ends one.
    pub(crate) processes: Mutex<Vec<watch::Sender<bool>>>,
    /// The messages that workers got from their runner.
    pub(crate) heard: Arc<Mutex<Vec<control_request::Kind>>>,
}

impl FakeSpawner {
    pub(crate) fn new(plan: impl IntoIterator<Item = Behaviour>) -> Arc<Self> {
        Arc::new(Self {
            folder: tempfile::tempdir().unwrap(),
            plan: Mutex::new(plan.into_iter().collect()),
            started: AtomicU32::new(0),
            processes: Mutex::default(),
            heard: Arc::default(),
        })
    }

    /// How many processes have been started.
    pub(crate) fn started(&self) -> u32 {
        self.started.load(Ordering::SeqCst)
    }

    /// Ends the `n`th process, as the kernel would.
    pub(crate) fn end(&self, n: usize) {
        self.processes.lock().unwrap()[n].send_replace(true);
    }

    fn next(&self) -> Behaviour {
        let mut plan = self.plan.lock().unwrap();
        if plan.len() > 1 { plan.pop_front().unwrap() } else { plan[0].clone() }
    }
}

#[async_trait]
impl Spawner for FakeSpawner {
    async fn spawn(&self, control: OwnedFd) -> io::Result<Box<dyn Process>> {
        let number = self.started.fetch_add(1, Ordering::SeqCst);
        let behaviour = self.next();
        if behaviour == Behaviour::FailToStart {
            return Err(io::ErrorKind::NotFound.into());
        }
        let control = std::os::unix::net::UnixStream::from(control);
        control.set_nonblocking(true)?;
        let (end, ended) = watch::channel(false);
        let end_of_process = end.clone();
        self.processes.lock().unwrap().push(end.clone());
        let mut killed = end.subscribe();
        let life = live(UnixStream::from_std(control)?, behaviour, Arc::clone(&self.heard));
        tokio::spawn(async move {
            tokio::select! {
                () = life => {}
                _ = killed.wait_for(|&dead| dead) => {}
            }
            end.send_replace(true);
        });
        Ok(Box::new(FakeProcess { pid: number + 1, end: end_of_process, ended }))
    }
}

async fn live(control: UnixStream, behaviour: Behaviour, heard: Arc<Mutex<Vec<control_request::Kind>>>) {
    let (reader, mut writer) = control.into_split();
    let mut reader = frame_reader(reader);
    // The descriptors; anything will do to take them for.
    let _ = read_message::<()>(&mut reader).await;
    while let Some(Ok(ControlRequest { kind: Some(kind) })) = read_message(&mut reader).await {
        heard.lock().unwrap().push(kind.clone());
        let answer = match (kind, &behaviour) {
            (control_request::Kind::Stop(_), Behaviour::Serve)
            | (control_request::Kind::Init(_), Behaviour::Die)
            | (control_request::Kind::Probe(_), Behaviour::DieOfProbe) => {
                return;
            }
            (control_request::Kind::Stop(_), &Behaviour::ServeAndSayLast(session, applied_seq)) => {
                let session_id = session.to_string();
                let core = b"core".as_slice().into();
                let snapshot =
                    Snapshot { session_id, full: true, core, connection: 1, applied_seq, ..Snapshot::default() };
                control_event::Kind::Snapshot(Box::new(snapshot))
            }
            (control_request::Kind::Init(_), Behaviour::Refuse(message)) => {
                let fatal = Fatal { message: (*message).to_owned() };
                control_event::Kind::Fatal(fatal)
            }
            (control_request::Kind::Init(_), _) => control_event::Kind::Ready(Ready::default()),
            (_, Behaviour::Hang) => continue,
            (control_request::Kind::Probe(Probe { number, .. }), behaviour) => {
                let exception_type = if let Behaviour::Raise(name) = behaviour { *name } else { "" };
                let exception_type = exception_type.to_owned();
                control_event::Kind::Probed(Probed { number, exception_type, ..Probed::default() })
            }
            (control_request::Kind::Ping(Ping { number }), _) => control_event::Kind::Pong(Pong { number }),
            (control_request::Kind::Release(Release { session_id, .. }), _) => {
                control_event::Kind::Released(Released { session_id })
            }
            _ => continue,
        };
        let last = matches!(answer, control_event::Kind::Fatal(_) | control_event::Kind::Snapshot(_));
        let event = ControlEvent { kind: Some(answer) };
        writer.write_all(&frame(&event)).await.unwrap();
        if last {
            return;
        }
    }
}

struct FakeProcess {
    pid: u32,
    end: watch::Sender<bool>,
    ended: watch::Receiver<bool>,
}

#[async_trait]
impl Process for FakeProcess {
    fn pid(&self) -> u32 {
        self.pid
    }

    async fn wait(&mut self) -> io::Result<ExitStatus> {
        let _ = self.ended.wait_for(|&dead| dead).await;
        Ok(ExitStatus::from_raw(9))
    }

    fn kill(&mut self) {
        self.end.send_replace(true);
    }
}
