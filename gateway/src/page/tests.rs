//! The page as its README says, with no runner and with one that is made up.

use std::{pin::Pin, time::Duration};

use axum::body::{Body, BodyDataStream};
use futures_util::{Stream, StreamExt as _, stream};
use http::{Request, StatusCode, header};
use http_body_util::BodyExt as _;
use serde_json::Value;
use streamfleet_cluster::{Load, Member, MemoryRegistry, Registry, RunnerPhase};
use streamfleet_proto::runner::{
    DrainProgress, DrainRequest, HttpRequest, HttpResponse, ProbeRequest, ProbeResponse, SessionPhase, SessionRequest,
    SessionResponse, SessionStatus, StatusRequest, StatusResponse, StopRunRequest, StopRunResponse, WorkerPhase,
    WorkerStatus,
    runner_server::{Runner, RunnerServer},
};
use tokio::{
    net::TcpListener,
    sync::mpsc,
    time::{sleep, timeout},
};
use tokio_stream::wrappers::TcpListenerStream;
use tonic::{Response, Status, Streaming, async_trait, transport::Server};
use tower::ServiceExt as _;

use super::*;
use crate::{connect::TcpConnector, observe::Observer, upstream::Upstream};

const README: &str = include_str!("../../page/README.md");
const LIMIT: Duration = Duration::from_secs(10);
const SESSION: &str = "0123456789ab";

/// A runner with one session that runs, and which notes what it is told.
struct MadeUp {
    told: mpsc::Sender<&'static str>,
}

type Responses<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

#[async_trait]
impl Runner for MadeUp {
    type SessionStream = Responses<SessionResponse>;
    type HttpStream = Responses<HttpResponse>;
    type DrainStream = Responses<DrainProgress>;

    async fn session(
        &self,
        _: tonic::Request<Streaming<SessionRequest>>,
    ) -> Result<Response<Self::SessionStream>, Status> {
        Err(Status::unimplemented("session"))
    }

    async fn http(&self, _: tonic::Request<Streaming<HttpRequest>>) -> Result<Response<Self::HttpStream>, Status> {
        Err(Status::unimplemented("http"))
    }

    async fn status(&self, request: tonic::Request<StatusRequest>) -> Result<Response<StatusResponse>, Status> {
        assert_eq!(request.into_inner().sessions, 1000);
        let session = SessionStatus {
            public_id: SESSION.to_owned(),
            phase: SessionPhase::Connected.into(),
            running: true,
            page: "/".to_owned(),
            age_ms: 65_000,
            runs: 3,
            last_run_us: 1_500,
            ..Default::default()
        };
        let worker = WorkerStatus { phase: WorkerPhase::Ready.into(), running_scripts: 1, ..Default::default() };
        Ok(Response::new(StatusResponse {
            sessions: vec![session],
            sessions_total: 1,
            workers: vec![worker],
            cpu: 0.25,
            ..Default::default()
        }))
    }

    async fn drain(&self, _: tonic::Request<DrainRequest>) -> Result<Response<Self::DrainStream>, Status> {
        self.told.send("drain").await.unwrap();
        Ok(Response::new(stream::pending().boxed()))
    }

    async fn probe(&self, _: tonic::Request<ProbeRequest>) -> Result<Response<ProbeResponse>, Status> {
        Err(Status::unimplemented("probe"))
    }

    async fn stop_run(&self, request: tonic::Request<StopRunRequest>) -> Result<Response<StopRunResponse>, Status> {
        let found = request.into_inner().public_id == SESSION;
        if found {
            self.told.send("stop").await.unwrap();
        }
        Ok(Response::new(StopRunResponse { found }))
    }
}

fn options() -> PageOptions {
    PageOptions {
        version: "1.2.3".to_owned(),
        cluster: "main".to_owned(),
        gateway_id: "gate-1".to_owned(),
        traces_url: Some("https://traces/{session}".to_owned()),
    }
}

async fn page_of(registry: Arc<MemoryRegistry>) -> Router {
    router(Upstream::start(registry, Arc::new(TcpConnector::default()), Observer::none()).await, options())
}

async fn page() -> Router {
    page_of(Arc::default()).await
}

fn member(name: &str, address: String) -> Member {
    Member {
        runner: name.parse().unwrap(),
        address,
        revision: "r1".to_owned(),
        phase: RunnerPhase::Ready,
        load: Load { workers: 1, sessions: 4, ..Load::default() },
    }
}

/// A page with the made-up runner `one`, and `two`, which doesn't answer.
async fn page_with_runners() -> (Router, Arc<MemoryRegistry>, mpsc::Receiver<&'static str>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    // Nothing listens there once this is dropped.
    let nobody = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().to_string();
    let (told, hears) = mpsc::channel(8);
    let service = RunnerServer::new(MadeUp { told });
    tokio::spawn(Server::builder().add_service(service).serve_with_incoming(TcpListenerStream::new(listener)));
    let registry = Arc::new(MemoryRegistry::default());
    registry.announce(&member("one", address)).await.unwrap();
    registry.announce(&member("two", nobody)).await.unwrap();
    (page_of(Arc::clone(&registry)).await, registry, hears)
}

fn get(path: &str) -> Request<Body> {
    Request::get(path).body(Body::empty()).unwrap()
}

fn post(path: &str) -> Request<Body> {
    Request::post(path).body(Body::empty()).unwrap()
}

/// A stream of events, read as a page reads it.
struct Events {
    body: BodyDataStream,
    text: String,
}

impl Events {
    async fn open(page: &Router) -> Self {
        let answer = page.clone().oneshot(get("/api/events")).await.unwrap();
        assert_eq!(answer.status(), StatusCode::OK);
        assert_eq!(answer.headers()[header::CONTENT_TYPE], "text/event-stream");
        Self { body: answer.into_body().into_data_stream(), text: String::new() }
    }

    async fn next(&mut self) -> (String, Value) {
        loop {
            if let Some((event, rest)) = self.text.split_once("\n\n") {
                let mut lines = event.lines();
                let name = lines.next().unwrap().strip_prefix("event: ").unwrap().to_owned();
                let data = lines.next().unwrap().strip_prefix("data: ").unwrap();
                assert_eq!(lines.next(), None, "more than one line of data");
                let event = (name, serde_json::from_str(data).unwrap());
                self.text = rest.to_owned();
                return event;
            }
            let piece = timeout(LIMIT, self.body.next()).await.unwrap().unwrap().unwrap();
            self.text.push_str(str::from_utf8(&piece).unwrap());
        }
    }

    async fn next_of(&mut self, wanted: &str) -> Value {
        loop {
            let (name, data) = self.next().await;
            if name == wanted {
                return data;
            }
        }
    }
}

#[tokio::test]
async fn each_file_is_served_as_agreed() {
    let page = page().await;
    let block = README.split("```\n").find(|block| block.starts_with("Content-Security-Policy")).unwrap();
    let headers: Vec<_> = block.lines().map(|line| line.split_once(": ").unwrap()).collect();
    assert_eq!(headers.len(), 4);
    let mut files = 0;
    for row in README.lines().filter(|line| line.starts_with("| `")) {
        let cells: Vec<_> = row.split('`').collect();
        let [_, name, _, content_type, _] = cells[..] else { continue };
        if !content_type.starts_with("text/") {
            continue;
        }
        let path = if name == "index.html" { "/".to_owned() } else { format!("/{name}") };
        assert!(is_file(&path), "{path} needs a token");
        let answer = page.clone().oneshot(get(&path)).await.unwrap();
        assert_eq!(answer.status(), StatusCode::OK, "{path}");
        assert_eq!(answer.headers()[header::CONTENT_TYPE], content_type, "{path}");
        for (name, value) in &headers {
            assert_eq!(answer.headers()[*name], *value, "{path}");
        }
        let body = answer.into_body().collect().await.unwrap().to_bytes();
        let file = format!("{}/page/{name}", env!("CARGO_MANIFEST_DIR"));
        assert_eq!(body, std::fs::read(file).unwrap(), "{path}");
        files += 1;
    }
    assert_eq!(files, 15);
    assert!(!is_file("/api/events") && !is_file("/README.md"));
}

#[tokio::test]
async fn a_cluster_without_runners_is_told_each_second() {
    let page = page().await;
    let mut events = Events::open(&page).await;
    let (name, _) = events.next().await;
    assert_eq!(name, "history");
    let (name, first) = events.next().await;
    assert_eq!(name, "cluster");
    assert_eq!(first["version"], "1.2.3");
    assert_eq!(first["cluster"], "main");
    assert_eq!(first["revision"], Value::Null);
    assert_eq!(first["traces_url"], "https://traces/{session}");
    assert_eq!(first["gateway"]["id"], "gate-1");
    assert_eq!(first["gateway"]["websockets"], 0);
    assert_eq!(first["clicks"]["p50_ms"], Value::Null);
    assert_eq!(first["runners"], Value::Array(Vec::new()));
    assert_eq!(first["sessions"], Value::Array(Vec::new()));
    assert_eq!(first["sessions_total"], 0);
    let second = events.next_of("cluster").await;
    assert!(second["time"].as_u64().unwrap() > first["time"].as_u64().unwrap());
    // Whoever opens the page now has the plots of the time before.
    let history = Events::open(&page).await.next_of("history").await;
    let times: Vec<_> =
        history["clicks"].as_array().unwrap().iter().map(|sample| sample["time"].as_u64().unwrap()).collect();
    assert!(!times.is_empty() && times.is_sorted(), "{history}");
}

#[tokio::test]
async fn runners_are_asked_only_while_a_page_is_open() {
    let upstream =
        Upstream::start(Arc::new(MemoryRegistry::default()), Arc::new(TcpConnector::default()), Observer::none()).await;
    let feed = Feed::new(upstream, options());
    assert!(!feed.is_running());
    for _ in 0..2 {
        let mut pages = [feed.subscribe(), feed.subscribe()];
        for page in &mut pages {
            timeout(LIMIT, page.wait_for(Option::is_some)).await.unwrap().unwrap();
        }
        let [one, other] = pages;
        drop(one);
        assert!(feed.is_running());
        drop(other);
        let rests = async {
            while feed.is_running() {
                sleep(Duration::from_millis(5)).await;
            }
        };
        timeout(LIMIT, rests).await.unwrap();
    }
}

#[tokio::test]
async fn runners_are_shown_whether_they_answer_or_not() {
    let (page, registry, _hears) = page_with_runners().await;
    let mut events = Events::open(&page).await;
    let cluster = events.next_of("cluster").await;
    let runners = cluster["runners"].as_array().unwrap();
    assert_eq!((&runners[0]["id"], &runners[1]["id"]), (&"one".into(), &"two".into()));
    assert_eq!(runners[0]["reachable"], true);
    assert_eq!(runners[0]["phase"], "ready");
    assert_eq!(runners[0]["running"], 1);
    assert_eq!(runners[0]["workers"][0]["state"], "ready");
    assert_eq!(runners[1]["reachable"], false);
    assert_eq!((&runners[1]["sessions"], &runners[1]["cpu"]), (&4.into(), &Value::Null));
    assert_eq!(cluster["sessions_total"], 5);
    let session = &cluster["sessions"][0];
    assert_eq!(session["id"], SESSION);
    assert_eq!(session["runner"], "one");
    assert_eq!(session["age_seconds"], 65);
    assert_eq!(session["last_run_ms"], 1.5);

    registry.withdraw(&"two".parse().unwrap()).await.unwrap();
    let happened = events.next_of("happened").await;
    assert_eq!((&happened["kind"], &happened["runner"]), (&"runner_left".into(), &"two".into()));
    // Whoever opens the page afterwards is told as well.
    assert_eq!(Events::open(&page).await.next_of("happened").await, happened);
}

#[tokio::test]
async fn what_an_operator_asks_for_is_passed_on() {
    let (page, _registry, mut hears) = page_with_runners().await;
    let answer = page.clone().oneshot(post("/api/runners/one/drain")).await.unwrap();
    assert_eq!(answer.status(), StatusCode::ACCEPTED);
    assert_eq!(hears.recv().await, Some("drain"));
    let answer = page.clone().oneshot(post(&format!("/api/sessions/{SESSION}/stop"))).await.unwrap();
    assert_eq!(answer.status(), StatusCode::ACCEPTED);
    assert_eq!(hears.recv().await, Some("stop"));
    for (path, status, text) in [
        ("/api/runners/three/drain", StatusCode::NOT_FOUND, "no runner three"),
        ("/api/runners/a%20b/drain", StatusCode::NOT_FOUND, "no runner a b"),
        ("/api/runners/two/drain", StatusCode::SERVICE_UNAVAILABLE, "runner two"),
        // One of those who could have it can't be asked.
        ("/api/sessions/ffffffffffff/stop", StatusCode::SERVICE_UNAVAILABLE, "runner two"),
        ("/api/sessions/x/stop", StatusCode::NOT_FOUND, "No runner has"),
    ] {
        let answer = page.clone().oneshot(post(path)).await.unwrap();
        assert_eq!(answer.status(), status, "{path}");
        let body = answer.into_body().collect().await.unwrap().to_bytes();
        let body: Value = serde_json::from_slice(&body).unwrap();
        assert!(body["error"].as_str().unwrap().contains(text), "{path}: {body}");
    }
    let get = page.clone().oneshot(get("/api/runners/one/drain")).await.unwrap();
    assert_eq!(get.status(), StatusCode::METHOD_NOT_ALLOWED);
}
