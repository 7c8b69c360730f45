//! What traces are to be like: what the binary says, and OpenTelemetry's environment variables.

use std::{collections::HashMap, fmt, io, path::PathBuf, time::Duration};

use http::{
    HeaderMap, HeaderName, HeaderValue, Uri,
    uri::{Authority, PathAndQuery, Scheme},
};
use opentelemetry::KeyValue;
use opentelemetry_sdk::{Resource, resource::TelemetryResourceDetector};
use tracing::warn;

use crate::{
    batch::BatchLimits,
    environment::{Environment, Variable},
    sampler::{Root, Sampler},
};

/// The port on which collectors expect gRPC. On any other it is HTTP, unless the protocol is set.
const GRPC_PORT: u16 = 4317;
/// Where HTTP is sent below an endpoint that is not for traces alone.
const TRACES_PATH: &str = "/v1/traces";
const SERVICE_NAME: &str = "service.name";
/// What an attempt may take longer than the request in it, for connecting.
const SLACK: Duration = Duration::from_secs(1);

/// What traces are to be like. The variables add to it, and win, but for the endpoint.
#[derive(Debug, Clone, Default)]
pub struct TraceOptions {
    /// The service's name, unless `OTEL_SERVICE_NAME` or `OTEL_RESOURCE_ATTRIBUTES` gives one.
    pub service_name: String,
    /// What else tells this process from others, by the names of OpenTelemetry's conventions (`service.instance.id`).
    pub resource: Vec<(String, String)>,
    /// The collector: `http://HOST:4317` for gRPC, `http://HOST:4318` for HTTP, or with `https`. When it isn't set, the variables
    /// may set it, and otherwise there are no traces.
    pub endpoint: Option<String>,
    /// What takes this long is slow ([`Tracer::is_slow`](crate::Tracer::is_slow)).
    pub slow_after: Option<Duration>,
    /// The process's environment variables. Only those of OpenTelemetry, `OTEL_*`, are looked at.
    pub environment: HashMap<String, String>,
}

/// Why traces can't be exported as they are to be.
#[derive(Debug, thiserror::Error)]
pub enum TraceError {
    /// A setting or variable has a value that it can't have.
    #[error("{name} = {value:?}: give {allowed}")]
    Invalid {
        /// Its name.
        name: String,
        /// Its value; of variables that may hold secrets, only so much that they are set.
        value: String,
        /// What it may be.
        allowed: &'static str,
    },
    /// The file of certificates can't be read.
    #[error("{name}: cannot read {path}: {source}")]
    Certificate {
        /// The variable that names it.
        name: String,
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// No connection can be set up in this way.
    #[error("cannot export traces to {endpoint}: {reason}")]
    Exporter {
        /// The collector.
        endpoint: String,
        /// Why not.
        reason: String,
    },
}

/// All that is to be known for exporting.
#[derive(Debug)]
pub(crate) struct Config {
    pub(crate) endpoint: Endpoint,
    pub(crate) protocol: Protocol,
    pub(crate) headers: HeaderMap,
    /// How long one request may take.
    pub(crate) timeout: Duration,
    /// PEM text of the certificates to trust; those that the system trusts, when there is none.
    pub(crate) certificates: Option<Vec<u8>>,
    pub(crate) sampler: Sampler,
    pub(crate) limits: SpanLimits,
    pub(crate) batch: BatchLimits,
    pub(crate) resource: Resource,
    pub(crate) slow_after: Option<Duration>,
}

/// Where spans are sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Endpoint(pub(crate) Uri);

/// How they are sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Protocol {
    Grpc,
    Http,
}

/// How much there may be in a span.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct SpanLimits {
    pub(crate) attributes: usize,
    /// Longest text in characters.
    pub(crate) value_length: Option<usize>,
    pub(crate) events: usize,
    pub(crate) event_attributes: usize,
    pub(crate) links: usize,
}

impl Endpoint {
    fn parse(from: Variable<'_>) -> Result<Self, TraceError> {
        let uri: Option<Uri> = from.value.parse().ok();
        let known = |scheme: &&Scheme| **scheme == Scheme::HTTP || **scheme == Scheme::HTTPS;
        let good = uri
            .filter(|uri| uri.scheme().as_ref().is_some_and(known) && uri.host().is_some_and(|host| !host.is_empty()));
        good.map(Self).ok_or_else(|| from.invalid("an address like http://HOST:4317 or https://HOST:4318"))
    }

    pub(crate) fn is_https(&self) -> bool {
        self.0.scheme() == Some(&Scheme::HTTPS)
    }

    /// The same with the path where traces are taken.
    fn for_traces(self) -> Self {
        let path = format!("{}{TRACES_PATH}", self.0.path().trim_end_matches('/'));
        let mut parts = self.0.clone().into_parts();
        parts.path_and_query = PathAndQuery::try_from(path).ok();
        Uri::from_parts(parts).map_or(self, Self)
    }

    /// The endpoint without what may be a password.
    pub(crate) fn shown(&self) -> String {
        let authority = self.0.authority().map_or("", Authority::as_str);
        let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
        format!("{}://{host}{}", self.0.scheme_str().unwrap_or_default(), self.0.path())
    }
}

impl Protocol {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Grpc => "grpc",
            Self::Http => "http/protobuf",
        }
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl TraceOptions {
    /// Puts the options and the variables together. None if there are to be no traces.
    pub(crate) fn configure(self) -> Result<Option<Config>, TraceError> {
        let environment = Environment::new(self.environment);
        if environment.flag("OTEL_SDK_DISABLED")? || !is_exporter_wanted(&environment)? {
            return Ok(None);
        }
        let specific = environment.first(&["OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"]);
        let general = environment.first(&["OTEL_EXPORTER_OTLP_ENDPOINT"]);
        let set = self.endpoint.as_deref().map(str::trim).filter(|endpoint| !endpoint.is_empty());
        let set = set.map(|value| Variable { name: "the endpoint for traces", value });
        // What the binary is told is a base, like the variable for all that OpenTelemetry knows.
        let (from, is_base) = match (set, specific, general) {
            (Some(set), _, _) => (set, true),
            (None, Some(specific), _) => (specific, false),
            (None, None, Some(general)) => (general, true),
            (None, None, None) => return Ok(None),
        };
        let endpoint = Endpoint::parse(from)?;
        let protocol = protocol(&environment, &endpoint)?;
        let endpoint = if is_base && protocol == Protocol::Http { endpoint.for_traces() } else { endpoint };
        let timeout = environment
            .millis(&["OTEL_EXPORTER_OTLP_TRACES_TIMEOUT", "OTEL_EXPORTER_OTLP_TIMEOUT"], Duration::from_secs(10))?;
        warn_of_compression(&environment);
        Ok(Some(Config {
            endpoint,
            protocol,
            headers: headers(&environment)?,
            timeout,
            certificates: certificates(&environment)?,
            sampler: sampler(&environment)?,
            limits: span_limits(&environment)?,
            batch: batch_limits(&environment, timeout)?,
            resource: resource(&environment, self.service_name, self.resource)?,
            slow_after: self.slow_after,
        }))
    }
}

fn is_exporter_wanted(environment: &Environment) -> Result<bool, TraceError> {
    let Some(variable) = environment.first(&["OTEL_TRACES_EXPORTER"]) else { return Ok(true) };
    match variable.value {
        "otlp" => Ok(true),
        "none" => Ok(false),
        _ => Err(variable.invalid("otlp or none")),
    }
}

fn protocol(environment: &Environment, endpoint: &Endpoint) -> Result<Protocol, TraceError> {
    let variable = environment.first(&["OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL"]);
    match variable.map(|variable| (variable.value, variable)) {
        Some(("grpc", _)) => Ok(Protocol::Grpc),
        Some(("http/protobuf", _)) => Ok(Protocol::Http),
        Some((_, variable)) => Err(variable.invalid("grpc or http/protobuf")),
        None if endpoint.0.port_u16() == Some(GRPC_PORT) => Ok(Protocol::Grpc),
        None => Ok(Protocol::Http),
    }
}

fn headers(environment: &Environment) -> Result<HeaderMap, TraceError> {
    let Some(variable) = environment.first(&["OTEL_EXPORTER_OTLP_TRACES_HEADERS", "OTEL_EXPORTER_OTLP_HEADERS"]) else {
        return Ok(HeaderMap::new());
    };
    let header = |(name, value): (String, String)| {
        let name = HeaderName::from_bytes(name.as_bytes()).ok()?;
        let mut value = HeaderValue::try_from(value).ok()?;
        value.set_sensitive(true);
        Some((name, value))
    };
    let headers = variable.pairs().and_then(|pairs| pairs.into_iter().map(header).collect());
    // There may be a token in it.
    headers.ok_or_else(|| Variable { value: "***", ..variable }.invalid("headers like name=value,name=value"))
}

fn certificates(environment: &Environment) -> Result<Option<Vec<u8>>, TraceError> {
    let variable = environment.first(&["OTEL_EXPORTER_OTLP_TRACES_CERTIFICATE", "OTEL_EXPORTER_OTLP_CERTIFICATE"]);
    let read = |variable: Variable<'_>| {
        std::fs::read(variable.value).map_err(|source| TraceError::Certificate {
            name: variable.name.to_owned(),
            path: variable.value.into(),
            source,
        })
    };
    variable.map(read).transpose()
}

fn sampler(environment: &Environment) -> Result<Sampler, TraceError> {
    let Some(variable) = environment.first(&["OTEL_TRACES_SAMPLER"]) else {
        return Ok(Sampler { parent_based: true, root: Root::On });
    };
    let (parent_based, root) = match variable.value.strip_prefix("parentbased_") {
        Some(root) => (true, root),
        None => (false, variable.value),
    };
    let root = match root {
        "always_on" => Root::On,
        "always_off" => Root::Off,
        "traceidratio" => Root::Ratio(ratio(environment)?),
        _ => {
            return Err(variable
                .invalid("always_on, always_off, traceidratio, or one of these with parentbased_ in front of it"));
        }
    };
    Ok(Sampler { parent_based, root })
}

fn ratio(environment: &Environment) -> Result<f64, TraceError> {
    let Some(variable) = environment.first(&["OTEL_TRACES_SAMPLER_ARG"]) else { return Ok(1.0) };
    let ratio = variable.value.parse().ok().filter(|ratio| (0.0..=1.0).contains(ratio));
    ratio.ok_or_else(|| variable.invalid("a number from 0 to 1"))
}

fn span_limits(environment: &Environment) -> Result<SpanLimits, TraceError> {
    let count = |names: &[&str]| environment.number(names, 128, 0, "a number");
    let lengths = ["OTEL_SPAN_ATTRIBUTE_VALUE_LENGTH_LIMIT", "OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT"];
    let length = environment.number(&lengths, usize::MAX, 0, "a number")?;
    Ok(SpanLimits {
        attributes: count(&["OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT", "OTEL_ATTRIBUTE_COUNT_LIMIT"])?,
        value_length: (length != usize::MAX).then_some(length),
        events: count(&["OTEL_SPAN_EVENT_COUNT_LIMIT"])?,
        event_attributes: count(&["OTEL_EVENT_ATTRIBUTE_COUNT_LIMIT"])?,
        links: count(&["OTEL_SPAN_LINK_COUNT_LIMIT"])?,
    })
}

fn batch_limits(environment: &Environment, timeout: Duration) -> Result<BatchLimits, TraceError> {
    let count = |name, default| environment.number(&[name], default, 1, "a number from 1");
    let queue = count("OTEL_BSP_MAX_QUEUE_SIZE", 2048)?;
    Ok(BatchLimits {
        queue,
        batch: count("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", 512)?.min(queue),
        delay: environment.millis(&["OTEL_BSP_SCHEDULE_DELAY"], Duration::from_secs(5))?,
        patience: environment.millis(&["OTEL_BSP_EXPORT_TIMEOUT"], Duration::from_secs(30))?,
        attempt: timeout + SLACK,
    })
}

fn resource(
    environment: &Environment,
    service_name: String,
    attributes: Vec<(String, String)>,
) -> Result<Resource, TraceError> {
    let mut all = vec![(SERVICE_NAME.to_owned(), service_name)];
    all.extend(attributes);
    if let Some(variable) = environment.first(&["OTEL_RESOURCE_ATTRIBUTES"]) {
        all.extend(variable.pairs().ok_or_else(|| variable.invalid("attributes like name=value,name=value"))?);
    }
    if let Some(variable) = environment.first(&["OTEL_SERVICE_NAME"]) {
        all.push((SERVICE_NAME.to_owned(), variable.value.to_owned()));
    }
    // Of several with one name the last counts.
    let all = all.into_iter().map(|(key, value)| KeyValue::new(key, value));
    Ok(Resource::builder_empty().with_detector(Box::new(TelemetryResourceDetector)).with_attributes(all).build())
}

/// Nothing is compressed. Whoever asks for it gets spans all the same.
fn warn_of_compression(environment: &Environment) {
    let names = ["OTEL_EXPORTER_OTLP_TRACES_COMPRESSION", "OTEL_EXPORTER_OTLP_COMPRESSION"];
    if let Some(Variable { name, value }) = environment.first(&names).filter(|variable| variable.value != "none") {
        warn!("{name} = {value:?}: spans are sent uncompressed");
    }
}
