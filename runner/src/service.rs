//! The gRPC face of a pool: reads the first message, and leaves the rest to the modules.

use std::{pin::Pin, time::Duration};

use futures_util::Stream;

use streamfleet_proto::runner::{
    DrainProgress, DrainRequest, HttpRequest, SessionRequest, StatusRequest, StatusResponse, http_request,
    runner_server::{Runner, RunnerServer},
    session_request,
};
use tokio::time::timeout;
use tonic::{Request, Response, Status, Streaming, async_trait};

use crate::{http, pool::Pool, session};

/// How long a gateway may take to send the first message of a stream.
const OPEN_LIMIT: Duration = Duration::from_secs(10);

/// The gRPC face of a pool.
#[derive(Clone)]
pub struct RunnerService {
    revision: String,
    pool: Pool,
}

impl RunnerService {
    /// A service for this pool; `revision` names what was deployed of the app.
    pub fn new(revision: String, pool: Pool) -> Self {
        Self { revision, pool }
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

    async fn drain(&self, _request: Request<DrainRequest>) -> Result<Response<Self::DrainStream>, Status> {
        Err(Status::unimplemented("draining comes with handoff"))
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
