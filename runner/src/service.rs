//! The gRPC face of a pool: reads the first message, and leaves the rest to the modules.

use std::{pin::Pin, sync::Arc, time::Duration};

use futures_util::{Stream, StreamExt as _};

use streamfleet_proto::runner::{
    DrainProgress, DrainRequest, HttpRequest, SessionRequest, StatusRequest, StatusResponse, http_request,
    runner_server::{Runner, RunnerServer},
    session_request,
};
use tokio::{sync::watch, time::timeout};
use tokio_stream::wrappers::WatchStream;
use tonic::{Request, Response, Status, Streaming, async_trait};

use crate::{http, pool::Pool, registrar::Registrar, session};

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
}

impl RunnerService {
    /// A service for this pool; `revision` names what was deployed of the app. `drainer` tells gateways that the runner is
    /// draining.
    pub fn new(revision: String, pool: Pool, drainer: Arc<Registrar>) -> Self {
        Self { revision, pool, drainer }
    }

    /// As a service for a tonic server.
    pub fn into_server(self) -> RunnerServer<Self> {
        RunnerServer::new(self)
            // Room for the header of a chunk on top of the chunk.
            .max_decoding_message_size(2 * streamfleet_proto::MAX_CHUNK_BYTES)
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
        let limit = Duration::from_millis(request.into_inner().deadline_ms).min(MAX_DRAIN);
        let drainer = self.drainer.clone();
        let progress = watch::Sender::default();
        let told = WatchStream::from_changes(progress.subscribe());
        // It goes on when whoever asked for it is gone.
        tokio::spawn(async move { drainer.drain(limit, &progress).await });
        Ok(Response::new(Box::pin(told.map(Ok))))
    }

    async fn status(&self, _request: Request<StatusRequest>) -> Result<Response<StatusResponse>, Status> {
        let app = self.pool.app();
        Ok(Response::new(StatusResponse {
            runner_id: self.pool.ownership().runner().to_string(),
            revision: self.revision.clone(),
            streamlit_version: app.streamlit_version.clone(),
            python_version: app.python_version.clone(),
            settings: app.settings.clone(),
            workers: self.pool.status(),
        }))
    }
}

async fn first<T>(requests: &mut Streaming<T>) -> Result<T, Status> {
    match timeout(OPEN_LIMIT, requests.message()).await {
        Ok(Ok(Some(message))) => Ok(message),
        Ok(Ok(None)) => Err(Status::invalid_argument("the stream ended at once")),
        Ok(Err(status)) => Err(status),
        Err(_) => Err(Status::deadline_exceeded("no first message in time")),
    }
}
