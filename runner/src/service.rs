//! The gRPC face of a pool: reads the first message, and leaves the rest to the modules.

use std::{
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use futures_util::{Stream, StreamExt as _};

use streamfleet_proto::{
    runner::{
        CacheStatus, DrainProgress, DrainRequest, HttpRequest, ProbeRequest, ProbeResponse, SessionRequest,
        StatusRequest, StatusResponse, StopRunRequest, StopRunResponse, http_request,
        runner_server::{Runner, RunnerServer},
        session_request,
    },
    worker::{StopRun, control_request},
};
use tokio::{sync::watch, time::timeout};
use tokio_stream::wrappers::WatchStream;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status, Streaming, async_trait, service::Routes};
use tracing::info;

use crate::{cache::CacheCounts, http, observe::Cpu, pool::Pool, probe, registrar::Registrar, session};

/// How long a gateway may take to send the first message of a stream.
const OPEN_LIMIT: Duration = Duration::from_secs(10);

/// Longest time that draining may take.
const MAX_DRAIN: Duration = Duration::from_hours(24);

/// The gRPC face of a pool.
#[derive(Clone)]
pub struct RunnerService {
    revision: String,
    pool: Pool,
    drainer: Arc<Registrar>,
    cpu: Arc<Mutex<Cpu>>,
    end: CancellationToken,
}

impl RunnerService {
    /// A service for this pool; `revision` names what was deployed of the app. `drainer` tells gateways that the runner is
    /// draining; `end` is cancelled when the runner is to end, as an operator wants it to.
    pub fn new(revision: String, pool: Pool, drainer: Arc<Registrar>, end: CancellationToken) -> Self {
        Self { revision, pool, drainer, cpu: Arc::default(), end }
    }

    /// As what a tonic server serves. Its type is nobody else's business, so it is compiled here, and not once more for every program.
    pub fn into_routes(self) -> Routes {
        // Room for the header of a chunk on top of the chunk.
        Routes::new(RunnerServer::new(self).max_decoding_message_size(2 * streamfleet_proto::MAX_CHUNK_BYTES))
    }
}

#[async_trait]
impl Runner for RunnerService {
    type SessionStream = session::Responses;
    type HttpStream = http::Responses;
    type DrainStream = Pin<Box<dyn Stream<Item = Result<DrainProgress, Status>> + Send>>;

    async fn session(
        &self,
        request: Request<Streaming<SessionRequest>>,
    ) -> Result<Response<Self::SessionStream>, Status> {
        let mut requests = request.into_inner();
        let first = first(&mut requests).await?;
        let Some(session_request::Kind::Open(open)) = first.kind else {
            return Err(Status::invalid_argument("the first message must be `open`"));
        };
        let responses = session::open(self.pool.clone(), *open, requests).await?;
        Ok(Response::new(responses))
    }

    async fn http(&self, request: Request<Streaming<HttpRequest>>) -> Result<Response<Self::HttpStream>, Status> {
        let mut body = request.into_inner();
        let first = first(&mut body).await?;
        let Some(http_request::Kind::Head(head)) = first.kind else {
            return Err(Status::invalid_argument("the first message must be `head`"));
        };
        let responses = http::answer(self.pool.clone(), head, body).await?;
        Ok(Response::new(responses))
    }

    async fn drain(&self, request: Request<DrainRequest>) -> Result<Response<Self::DrainStream>, Status> {
        let DrainRequest { deadline_ms, stop } = request.into_inner();
        let limit = Duration::from_millis(deadline_ms).min(MAX_DRAIN);
        let end = stop.then(|| self.end.clone());
        let drainer = self.drainer.clone();
        let progress = watch::Sender::default();
        let told = WatchStream::from_changes(progress.subscribe());
        // It goes on when whoever asked for it is gone.
        tokio::spawn(async move {
            drainer.drain(limit, &progress).await;
            if let Some(end) = end {
                info!("stopping: all is handed over, and an operator wants it so");
                end.cancel();
            }
        });
        Ok(Response::new(Box::pin(told.map(Ok))))
    }

    async fn stop_run(&self, request: Request<StopRunRequest>) -> Result<Response<StopRunResponse>, Status> {
        let session = self.pool.session_of(&request.into_inner().public_id);
        let found = session.is_some_and(|session| {
            let order = StopRun { session_id: session.to_string() };
            self.pool.shared().order(session, control_request::Kind::StopRun(order))
        });
        Ok(Response::new(StopRunResponse { found }))
    }

    async fn probe(&self, request: Request<ProbeRequest>) -> Result<Response<ProbeResponse>, Status> {
        let limit = Duration::from_millis(request.into_inner().limit_ms);
        Ok(Response::new(probe::probe(&self.pool, limit).await))
    }

    async fn status(&self, request: Request<StatusRequest>) -> Result<Response<StatusResponse>, Status> {
        let app = self.pool.app();
        let limit = usize::try_from(request.into_inner().sessions).unwrap_or(usize::MAX);
        let (sessions, total) = self.pool.sessions(limit);
        let load = self.pool.load();
        let (returned, afresh) = self.pool.shared().options.observer.metrics.unloadable_counts();
        Ok(Response::new(StatusResponse {
            runner_id: self.pool.ownership().runner().to_string(),
            revision: self.revision.clone(),
            streamlit_version: app.streamlit_version.clone(),
            python_version: app.python_version.clone(),
            settings: app.settings.clone(),
            workers: self.pool.status(),
            sessions,
            sessions_total: u32::try_from(total).unwrap_or(u32::MAX),
            cache: self.pool.cache_figures().map(|(counts, _)| cache_status(counts)),
            queue_wait_us: u64::try_from(self.pool.queue_wait().as_micros()).unwrap_or(u64::MAX),
            cpu: self.cpu.lock().unwrap_or_else(PoisonError::into_inner).usage(),
            memory_bytes: load.resident_bytes,
            sessions_returned: returned,
            sessions_afresh: afresh,
        }))
    }
}

fn cache_status(counts: CacheCounts) -> CacheStatus {
    let CacheCounts { worker_hits, node_hits, cluster_hits, misses, computations, waits, store_errors } = counts;
    CacheStatus { worker_hits, node_hits, cluster_hits, misses, computations, waits, store_errors }
}

async fn first<T>(requests: &mut Streaming<T>) -> Result<T, Status> {
    match timeout(OPEN_LIMIT, requests.message()).await {
        Ok(Ok(Some(message))) => Ok(message),
        Ok(Ok(None)) => Err(Status::invalid_argument("the stream ended at once")),
        Ok(Err(status)) => Err(status),
        Err(_) => Err(Status::deadline_exceeded("no first message in time")),
    }
}
