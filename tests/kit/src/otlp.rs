//! A collector of traces: takes spans over OTLP, by gRPC and by HTTP on one port, and shows them.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::fmt::Write;
use std::io::{self, Read};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result, anyhow};
use bytes::Bytes;
use flate2::read::GzDecoder;
use http::{HeaderMap, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTraceServiceRequest, ExportTraceServiceResponse,
    trace_service_server::{SERVICE_NAME, TraceService, TraceServiceServer},
};
use opentelemetry_proto::tonic::common::v1::{KeyValue, any_value};
use opentelemetry_proto::tonic::trace::v1::{Span, SpanFlags, status::StatusCode as SpanStatus};
use prost::Message;
use rustls::ServerConfig;
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use tonic::body::Body;
use tonic::codegen::Service;

use crate::certificates::Certificates;

/// How long [`OtlpReceiver::wait_for`] waits.
const LIMIT: Duration = Duration::from_secs(30);
const PROTOBUF: &str = "application/x-protobuf";
const SAMPLED: u32 = 1;
/// What a request may unpack to.
const MAX_BODY: u64 = 64 << 20;

/// A running collector. Dropping it ends it and all connections to it.
#[derive(Debug)]
pub struct OtlpReceiver {
    address: SocketAddr,
    scheme: &'static str,
    spans: watch::Sender<Vec<ReceivedSpan>>,
    _serving: JoinSet<()>,
}

/// A span as it came in.
#[derive(Debug, Clone)]
pub struct ReceivedSpan {
    /// The resource's `service.name`.
    pub service: String,
    /// All that is told of the resource.
    pub resource: BTreeMap<String, String>,
    /// The trace's id in hex.
    pub trace: String,
    /// The span's id in hex.
    pub span: String,
    /// Its parent's id in hex, if it has one.
    pub parent: Option<String>,
    /// What was done.
    pub name: String,
    /// `Internal`, `Server`, `Client`, `Producer` or `Consumer`.
    pub kind: String,
    /// What it was about; numbers and others as text.
    pub attributes: BTreeMap<String, String>,
    /// Why it failed, if it did.
    pub error: Option<String>,
    /// What happened meanwhile.
    pub events: Vec<ReceivedEvent>,
    /// The traces and spans that it links to, in hex.
    pub links: Vec<(String, String)>,
    /// When it began.
    pub start: SystemTime,
    /// When it ended.
    pub end: SystemTime,
    /// Whether it says that its trace was sampled.
    pub sampled: bool,
    /// How many attributes, events and links it says were left out.
    pub dropped: u32,
    /// The headers of the request that it came with.
    pub headers: HeaderMap,
}

/// Something that happened within a span.
#[derive(Debug, Clone)]
pub struct ReceivedEvent {
    /// What it was.
    pub name: String,
    /// When it was.
    pub at: SystemTime,
    /// What it was about; numbers and others as text.
    pub attributes: BTreeMap<String, String>,
}

impl ReceivedSpan {
    /// How long it took.
    pub fn duration(&self) -> Duration {
        self.end.duration_since(self.start).unwrap_or_default()
    }
}

impl OtlpReceiver {
    /// Starts one on a port of 127.0.0.1 that the system picks.
    pub async fn start() -> io::Result<Self> {
        Self::start_at((Ipv4Addr::LOCALHOST, 0).into()).await
    }

    /// Starts one at this address, such as where another was before.
    pub async fn start_at(address: SocketAddr) -> io::Result<Self> {
        Self::serve(TcpListener::bind(address).await?, None)
    }

    /// Starts one with TLS, which shows these certificates.
    pub async fn start_tls(certificates: &Certificates) -> Result<Self> {
        let chain = CertificateDer::pem_slice_iter(certificates.certificate.as_bytes()).collect::<Result<_, _>>()?;
        let key = PrivateKeyDer::from_pem_slice(certificates.key.as_bytes())?;
        let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_single_cert(chain, key)?;
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        Ok(Self::serve(listener, Some(TlsAcceptor::from(Arc::new(config))))?)
    }

    fn serve(listener: TcpListener, tls: Option<TlsAcceptor>) -> io::Result<Self> {
        let address = listener.local_addr()?;
        let scheme = if tls.is_some() { "https" } else { "http" };
        let spans = watch::Sender::new(Vec::new());
        let sink = Sink(spans.clone());
        let mut serving = JoinSet::new();
        serving.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let (sink, tls) = (sink.clone(), tls.clone());
                connections.spawn(async move {
                    let service = service_fn(move |request| answer(sink.clone(), request));
                    let server = auto::Builder::new(TokioExecutor::new());
                    // A client that goes away is its own business.
                    let _ = match tls {
                        None => server.serve_connection(TokioIo::new(stream), service).await,
                        Some(tls) => match tls.accept(stream).await {
                            Ok(stream) => server.serve_connection(TokioIo::new(stream), service).await,
                            Err(error) => Err(error.into()),
                        },
                    };
                });
                while connections.try_join_next().is_some() {}
            }
        });
        Ok(Self { address, scheme, spans, _serving: serving })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The same as an address for `OTEL_EXPORTER_OTLP_ENDPOINT`. The protocol has to be set too, as the port tells none.
    pub fn endpoint(&self) -> String {
        format!("{}://{}", self.scheme, self.address)
    }

    /// What has come in so far.
    pub fn spans(&self) -> Vec<ReceivedSpan> {
        self.spans.borrow().clone()
    }

    /// Waits until this is true of what has come in, and gives that.
    pub async fn wait_for(
        &self,
        awaited: &str,
        is_there: impl Fn(&[ReceivedSpan]) -> bool,
    ) -> Result<Vec<ReceivedSpan>> {
        let mut spans = self.spans.subscribe();
        let arrived = tokio::time::timeout(LIMIT, spans.wait_for(|spans| is_there(spans))).await;
        if let Ok(spans) = arrived {
            return Ok(spans.context("the collector has ended")?.clone());
        }
        let names: Vec<_> = self.spans().into_iter().map(|span| span.name).collect();
        Err(anyhow!("waited {LIMIT:?} for {awaited}; there are {names:?}"))
    }
}

/// Where all that comes in ends up.
#[derive(Debug, Clone)]
struct Sink(watch::Sender<Vec<ReceivedSpan>>);

impl Sink {
    fn take(&self, headers: &HeaderMap, request: ExportTraceServiceRequest) {
        let mut received = Vec::new();
        for of_resource in request.resource_spans {
            let resource = attributes(of_resource.resource.unwrap_or_default().attributes);
            for of_scope in of_resource.scope_spans {
                received.extend(of_scope.spans.into_iter().map(|span| ReceivedSpan::new(headers, &resource, span)));
            }
        }
        self.0.send_modify(|spans| spans.append(&mut received));
    }
}

#[tonic::async_trait]
impl TraceService for Sink {
    async fn export(
        &self,
        request: tonic::Request<ExportTraceServiceRequest>,
    ) -> Result<tonic::Response<ExportTraceServiceResponse>, tonic::Status> {
        let (metadata, _, spans) = request.into_parts();
        self.take(&metadata.into_headers(), spans);
        Ok(tonic::Response::new(ExportTraceServiceResponse::default()))
    }
}

async fn answer(sink: Sink, request: Request<Incoming>) -> Result<Response<Body>, Infallible> {
    if request.uri().path().strip_prefix('/').is_some_and(|path| path.starts_with(SERVICE_NAME)) {
        return TraceServiceServer::new(sink).call(request).await;
    }
    let mut response = Response::new(Body::empty());
    *response.status_mut() = answer_http(&sink, request).await;
    response.headers_mut().insert(header::CONTENT_TYPE, header::HeaderValue::from_static(PROTOBUF));
    // An empty message is no bytes.
    Ok(response.map(|_| Body::new(Full::new(Bytes::new()))))
}

async fn answer_http(sink: &Sink, request: Request<Incoming>) -> StatusCode {
    if request.uri().path() != "/v1/traces" {
        return StatusCode::NOT_FOUND;
    }
    let (head, body) = request.into_parts();
    if head.headers.get(header::CONTENT_TYPE).is_none_or(|kind| kind != PROTOBUF) {
        return StatusCode::UNSUPPORTED_MEDIA_TYPE;
    }
    let Ok(body) = body.collect().await else { return StatusCode::BAD_REQUEST };
    let is_compressed = head.headers.get(header::CONTENT_ENCODING).is_some_and(|encoding| encoding == "gzip");
    let Ok(body) = (if is_compressed { unpack(&body.to_bytes()) } else { Ok(body.to_bytes()) }) else {
        return StatusCode::BAD_REQUEST;
    };
    let Ok(spans) = ExportTraceServiceRequest::decode(body) else { return StatusCode::BAD_REQUEST };
    sink.take(&head.headers, spans);
    StatusCode::OK
}

fn unpack(packed: &[u8]) -> io::Result<Bytes> {
    let mut body = Vec::new();
    GzDecoder::new(packed).take(MAX_BODY).read_to_end(&mut body)?;
    Ok(body.into())
}

impl ReceivedSpan {
    fn new(headers: &HeaderMap, resource: &BTreeMap<String, String>, span: Span) -> Self {
        let kind = span.kind().as_str_name().trim_start_matches("SPAN_KIND_").to_owned();
        let status = span.status.unwrap_or_default();
        Self {
            service: resource.get("service.name").cloned().unwrap_or_default(),
            resource: resource.clone(),
            trace: hex(&span.trace_id),
            span: hex(&span.span_id),
            parent: (!span.parent_span_id.is_empty()).then(|| hex(&span.parent_span_id)),
            name: span.name,
            kind: kind[..1].to_owned() + &kind[1..].to_lowercase(),
            attributes: attributes(span.attributes),
            error: (status.code() == SpanStatus::Error).then_some(status.message),
            events: span
                .events
                .into_iter()
                .map(|event| ReceivedEvent {
                    name: event.name,
                    at: time(event.time_unix_nano),
                    attributes: attributes(event.attributes),
                })
                .collect(),
            links: span.links.iter().map(|link| (hex(&link.trace_id), hex(&link.span_id))).collect(),
            start: time(span.start_time_unix_nano),
            end: time(span.end_time_unix_nano),
            sampled: span.flags & SpanFlags::TraceFlagsMask as u32 & SAMPLED != 0,
            dropped: span.dropped_attributes_count + span.dropped_events_count + span.dropped_links_count,
            headers: headers.clone(),
        }
    }
}

fn attributes(pairs: Vec<KeyValue>) -> BTreeMap<String, String> {
    pairs
        .into_iter()
        .map(|pair| (pair.key, pair.value.and_then(|value| value.value).map_or_else(String::new, text)))
        .collect()
}

fn text(value: any_value::Value) -> String {
    match value {
        any_value::Value::StringValue(text) => text,
        any_value::Value::BoolValue(value) => value.to_string(),
        any_value::Value::IntValue(value) => value.to_string(),
        any_value::Value::DoubleValue(value) => value.to_string(),
        other => format!("{other:?}"),
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

fn time(nanoseconds: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_nanos(nanoseconds)
}
