//! Delivers spans over OTLP, by gRPC or HTTP.

use std::{
    collections::HashMap,
    error::Error,
    fmt,
    sync::{Arc, Mutex, PoisonError},
};

use async_trait::async_trait;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::connect::HttpConnector;
use opentelemetry_http::{Bytes, HttpClient, HttpError, Request, Response, hyper::HyperClient};
use opentelemetry_otlp::{RetryPolicy, SpanExporter, WithExportConfig as _, WithHttpConfig as _, WithTonicConfig as _};
use opentelemetry_sdk::{
    error::OTelSdkError,
    trace::{SpanData, SpanExporter as _},
};
use rustls::{
    ClientConfig, RootCertStore,
    crypto::ring,
    pki_types::{CertificateDer, pem::PemObject as _},
};
use tonic::{
    metadata::MetadataMap,
    transport::{Certificate, ClientTlsConfig},
};

use crate::{
    TraceError,
    batch::Export,
    options::{Config, Protocol},
};

/// A way to a collector.
#[derive(Debug)]
pub(crate) struct Otlp {
    exporter: SpanExporter,
    /// Why the last HTTP request failed, which the exporter doesn't tell.
    reason: Arc<Mutex<Option<String>>>,
}

impl Otlp {
    /// Sets a way up. Nothing is connected yet.
    pub(crate) fn new(config: &Config) -> Result<Self, TraceError> {
        let reason = Arc::default();
        let built = match config.protocol {
            Protocol::Grpc => grpc(config),
            Protocol::Http => http(config, Arc::clone(&reason)),
        };
        let mut exporter = built.map_err(|error| TraceError::Exporter {
            endpoint: config.endpoint.shown(),
            reason: chain(error.as_ref()),
        })?;
        exporter.set_resource(&config.resource);
        Ok(Self { exporter, reason })
    }
}

impl Export for Otlp {
    async fn export(&self, batch: Vec<SpanData>) -> Result<(), String> {
        let outcome = self.exporter.export(batch).await;
        let reason = self.reason.lock().unwrap_or_else(PoisonError::into_inner).take();
        outcome.map_err(|error| {
            let text = match error {
                OTelSdkError::InternalFailure(text) => text,
                other => other.to_string(),
            };
            match reason {
                Some(reason) => format!("{text}: {reason}"),
                None => text,
            }
        })
    }
}

type Built = Result<SpanExporter, Box<dyn Error + Send + Sync>>;

fn grpc(config: &Config) -> Built {
    let mut builder = SpanExporter::builder()
        .with_tonic()
        .with_endpoint(config.endpoint.0.to_string())
        .with_timeout(config.timeout)
        .with_metadata(MetadataMap::from_headers(config.headers.clone()))
        .with_retry_policy(RetryPolicy::disabled());
    if config.endpoint.is_https() {
        let tls = ClientTlsConfig::new();
        builder = builder.with_tls_config(match &config.certificates {
            Some(pem) => tls.ca_certificate(Certificate::from_pem(pem)),
            None => tls.with_native_roots(),
        });
    }
    Ok(builder.build()?)
}

fn http(config: &Config, reason: Arc<Mutex<Option<String>>>) -> Built {
    let client = HyperClient::new(connector(config)?, config.timeout, None);
    let headers: Result<HashMap<_, _>, _> = config
        .headers
        .iter()
        .map(|(name, value)| value.to_str().map(|value| (name.as_str().to_owned(), value.to_owned())))
        .collect();
    let exporter = SpanExporter::builder()
        .with_http()
        .with_protocol(opentelemetry_otlp::Protocol::HttpBinary)
        .with_endpoint(config.endpoint.0.to_string())
        .with_timeout(config.timeout)
        .with_headers(headers?)
        .with_http_client(Client { client, reason })
        .with_retry_policy(RetryPolicy::disabled())
        .build()?;
    Ok(exporter)
}

/// Connects with or without TLS. Certificates are only looked for where they are needed.
fn connector(config: &Config) -> Result<HttpsConnector<HttpConnector>, Box<dyn Error + Send + Sync>> {
    let mut tcp = HttpConnector::new();
    tcp.enforce_http(false);
    let builder = HttpsConnectorBuilder::new();
    let builder = match &config.certificates {
        _ if !config.endpoint.is_https() => builder.with_tls_config(tls(RootCertStore::empty())?),
        Some(pem) => {
            let mut roots = RootCertStore::empty();
            for certificate in CertificateDer::pem_slice_iter(pem) {
                roots.add(certificate?)?;
            }
            if roots.is_empty() {
                return Err("there is no certificate in the file".into());
            }
            builder.with_tls_config(tls(roots)?)
        }
        None => builder.with_provider_and_native_roots(ring::default_provider())?,
    };
    Ok(builder.https_or_http().enable_http1().wrap_connector(tcp))
}

fn tls(roots: RootCertStore) -> Result<ClientConfig, rustls::Error> {
    let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()));
    Ok(builder.with_safe_default_protocol_versions()?.with_root_certificates(roots).with_no_client_auth())
}

/// A client that notes why a request failed.
struct Client {
    client: HyperClient<HttpsConnector<HttpConnector>>,
    reason: Arc<Mutex<Option<String>>>,
}

#[async_trait]
impl HttpClient for Client {
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let outcome = self.client.send_bytes(request).await;
        if let Err(error) = &outcome {
            *self.reason.lock().unwrap_or_else(PoisonError::into_inner) = Some(chain(error.as_ref()));
        }
        outcome
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Client")
    }
}

/// An error with its causes.
fn chain(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}
