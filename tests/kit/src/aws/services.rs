//! The services, told apart by how their clients speak: forms and XML (Auto Scaling), CBOR or JSON (CloudWatch: the SDK for Rust, and boto3), JSON
//! (Secrets Manager).

use std::collections::BTreeMap;
use std::io::Read;

use bytes::Bytes;
use flate2::read::GzDecoder;
use http::{HeaderMap, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use serde_json::{Value as Json, json};

use super::cbor::{self, Value};
use super::group::State;
use super::{Account, Contents, KEY_ID, REGION};

const AUTO_SCALING_XML: &str = "http://autoscaling.amazonaws.com/doc/2011-01-01/";
const CLOUDWATCH_PATH: &str = "/service/GraniteServiceVersion20100801/operation/PutMetricData";
const CLOUDWATCH_TARGET: &str = "GraniteServiceVersion20100801.";
/// What a request may unpack to.
const MAX_BODY: u64 = 1 << 20;

/// A call as it came in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Call {
    /// Such as `CompleteLifecycleAction`.
    pub action: String,
    /// What it said, of Auto Scaling's calls.
    pub parameters: BTreeMap<String, String>,
}

/// What CloudWatch was told of a metric at once.
#[derive(Debug, Clone, PartialEq)]
pub struct Figure {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Its dimensions, as `NAME=VALUE`.
    pub dimensions: Vec<String>,
    /// Its unit.
    pub unit: String,
    /// How many samples, and their sum.
    pub samples: (f64, f64),
}

/// What is wrong with a call: status, code and message.
type Refusal = (StatusCode, &'static str, String);

pub(super) async fn answer(account: Account, request: Request<Incoming>) -> Option<Response<Full<Bytes>>> {
    let (head, body) = request.into_parts();
    let body = unpacked(&head.headers, body.collect().await.ok()?.to_bytes())?;
    if head.uri.path() == CLOUDWATCH_PATH {
        return Some(cloudwatch(&account, &head.headers, cbor::read(&body)));
    }
    if let Some(target) = head.headers.get("x-amz-target").and_then(|target| target.to_str().ok()) {
        if target.starts_with(CLOUDWATCH_TARGET) {
            let request = serde_json::from_slice::<Json>(&body).ok().map(Value::from);
            let answer = cloudwatch(&account, &head.headers, request);
            let body = if answer.status().is_success() { "{}" } else { "{\"__type\": \"Refused\"}" };
            return Some(respond(answer.status(), "application/x-amz-json-1.0", body.as_bytes().to_vec()));
        }
        return Some(secrets_manager(&account, &head.headers, target, &body));
    }
    Some(auto_scaling(&account, &head.headers, &body))
}

fn unpacked(headers: &HeaderMap, body: Bytes) -> Option<Bytes> {
    if headers.get(header::CONTENT_ENCODING).is_none_or(|encoding| encoding != "gzip") {
        return Some(body);
    }
    let mut unpacked = Vec::new();
    GzDecoder::new(&*body).take(MAX_BODY).read_to_end(&mut unpacked).ok()?;
    Some(unpacked.into())
}

/// Writes a call down, and says what is to be answered before anything else.
fn admit(
    contents: &mut Contents,
    headers: &HeaderMap,
    service: &str,
    action: &str,
    parameters: BTreeMap<String, String>,
) -> Result<(), Refusal> {
    contents.calls.push(Call { action: action.to_owned(), parameters });
    let signed = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok()).unwrap_or_default();
    if !(signed.contains(&format!("Credential={KEY_ID}/"))
        && signed.contains(&format!("/{REGION}/{service}/aws4_request")))
    {
        let said = format!("the request is not signed with {KEY_ID} for {service} in {REGION}: {signed}");
        return Err((StatusCode::FORBIDDEN, "InvalidClientTokenId", said));
    }
    if let Some(fault) = contents.faults.get_mut(action).filter(|fault| fault.left > 0) {
        fault.left -= 1;
        return Err((fault.status, fault.code, "Rate exceeded".to_owned()));
    }
    Ok(())
}

fn auto_scaling(account: &Account, headers: &HeaderMap, body: &[u8]) -> Response<Full<Bytes>> {
    let parameters = form(body);
    let action = parameters.get("Action").cloned().unwrap_or_default();
    let outcome = account.change(|contents| {
        admit(contents, headers, "autoscaling", &action, parameters.clone())?;
        auto_scaling_result(contents, &action, &parameters)
    });
    let (status, body) = match outcome {
        Ok(result) => (
            StatusCode::OK,
            format!(
                "<{action}Response xmlns=\"{AUTO_SCALING_XML}\"><{action}Result>{result}</{action}Result>\
                 <ResponseMetadata><RequestId>request</RequestId></ResponseMetadata></{action}Response>"
            ),
        ),
        Err((status, code, message)) => {
            let kind = if status.is_client_error() { "Sender" } else { "Receiver" };
            let message = escaped(&message);
            (
                status,
                format!(
                    "<ErrorResponse xmlns=\"{AUTO_SCALING_XML}\"><Error><Type>{kind}</Type><Code>{code}</Code>\
                     <Message>{message}</Message></Error><RequestId>request</RequestId></ErrorResponse>"
                ),
            )
        }
    };
    respond(status, "text/xml", body.into_bytes())
}

fn auto_scaling_result(
    contents: &mut Contents,
    action: &str,
    parameters: &BTreeMap<String, String>,
) -> Result<String, Refusal> {
    let given = |name: &str| parameters.get(name).map(String::as_str).unwrap_or_default();
    let refused = |message: String| (StatusCode::BAD_REQUEST, "ValidationError", message);
    let (group, hook, instance) = (given("AutoScalingGroupName"), given("LifecycleHookName"), given("InstanceId"));
    match action {
        "DescribeAutoScalingInstances" => {
            let wanted: Vec<_> =
                parameters.iter().filter(|(name, _)| name.starts_with("InstanceIds.")).map(|(_, id)| id).collect();
            let listed = contents.machines.values().filter(|machine| {
                (wanted.is_empty() || wanted.contains(&&machine.id)) && machine.state != State::Terminated
            });
            let members = listed.map(|machine| {
                format!(
                    "<member><InstanceId>{}</InstanceId><AutoScalingGroupName>{}</AutoScalingGroupName>\
                     <AvailabilityZone>{REGION}a</AvailabilityZone><LifecycleState>{}</LifecycleState>\
                     <HealthStatus>HEALTHY</HealthStatus><ProtectedFromScaleIn>false</ProtectedFromScaleIn></member>",
                    machine.id,
                    escaped(&machine.group),
                    machine.state.name()
                )
            });
            Ok(format!("<AutoScalingInstances>{}</AutoScalingInstances>", members.collect::<String>()))
        }
        "DescribeLifecycleHooks" => {
            let hooks = contents.hooks.get(group);
            let hooks = hooks.ok_or_else(|| refused(format!("AutoScalingGroup name not found - {group}")))?;
            let members = hooks.iter().map(|hook| {
                format!(
                    "<member><LifecycleHookName>{}</LifecycleHookName><AutoScalingGroupName>{}</AutoScalingGroupName>\
                     <LifecycleTransition>{}</LifecycleTransition><HeartbeatTimeout>{}</HeartbeatTimeout>\
                     <GlobalTimeout>{}</GlobalTimeout><DefaultResult>{}</DefaultResult></member>",
                    escaped(&hook.name),
                    escaped(group),
                    hook.transition_name(),
                    hook.heartbeat_timeout.as_secs(),
                    hook.global_limit().as_secs(),
                    hook.default_result
                )
            });
            Ok(format!("<LifecycleHooks>{}</LifecycleHooks>", members.collect::<String>()))
        }
        "RecordLifecycleActionHeartbeat" | "CompleteLifecycleAction" => {
            let machine = contents.machines.get_mut(instance).filter(|machine| machine.group == group);
            let done = machine.is_some_and(|machine| match action {
                "CompleteLifecycleAction" => machine.complete(hook, given("LifecycleActionResult")),
                _ => machine.heartbeat(hook),
            });
            if done {
                return Ok(String::new());
            }
            Err(refused(format!("No active Lifecycle Action found with instance ID {instance}")))
        }
        _ => Err((StatusCode::BAD_REQUEST, "InvalidAction", format!("this double has no {action}"))),
    }
}

fn cloudwatch(account: &Account, headers: &HeaderMap, request: Option<Value>) -> Response<Full<Bytes>> {
    let outcome = account.change(|contents| {
        admit(contents, headers, "monitoring", "PutMetricData", BTreeMap::new())?;
        let unreadable = || (StatusCode::BAD_REQUEST, "SerializationException", "this can't be read".to_owned());
        let request = request.ok_or_else(unreadable)?;
        let namespace = request.get("Namespace").text();
        contents.figures.extend(request.get("MetricData").list().iter().map(|datum| figure(namespace, datum)));
        Ok(())
    });
    let (status, body) = match outcome {
        Ok(()) => (StatusCode::OK, vec![0xa0]),
        Err((status, code, message)) => {
            let text = |text: &str| {
                let length = u16::try_from(text.len()).unwrap_or_default();
                [&[0x79][..], &length.to_be_bytes(), text.as_bytes()].concat()
            };
            (status, [vec![0xa2], text("__type"), text(code), text("message"), text(&message)].concat())
        }
    };
    let mut response = respond(status, "application/cbor", body);
    response.headers_mut().insert("smithy-protocol", header::HeaderValue::from_static("rpc-v2-cbor"));
    response
}

fn figure(namespace: &str, datum: &Value) -> Figure {
    let dimension = |dimension: &Value| format!("{}={}", dimension.get("Name").text(), dimension.get("Value").text());
    let set = datum.get("StatisticValues");
    let samples = match (set.get("SampleCount").number(), set.get("Sum").number()) {
        (Some(count), Some(sum)) => (count, sum),
        _ => (1.0, datum.get("Value").number().unwrap_or_default()),
    };
    Figure {
        namespace: namespace.to_owned(),
        name: datum.get("MetricName").text().to_owned(),
        dimensions: datum.get("Dimensions").list().iter().map(dimension).collect(),
        unit: datum.get("Unit").text().to_owned(),
        samples,
    }
}

fn secrets_manager(account: &Account, headers: &HeaderMap, target: &str, body: &[u8]) -> Response<Full<Bytes>> {
    let action = target.rsplit('.').next().unwrap_or_default();
    let request: Json = serde_json::from_slice(body).unwrap_or_default();
    let outcome = account.change(|contents| {
        admit(contents, headers, "secretsmanager", action, BTreeMap::new())?;
        let missing = |message: &str| (StatusCode::BAD_REQUEST, "ResourceNotFoundException", message.to_owned());
        let id = request["SecretId"].as_str().unwrap_or_default();
        let name = id.rsplit(":secret:").next().unwrap_or_default();
        let versions = contents.secrets.get(name);
        let versions = versions.ok_or_else(|| missing("Secrets Manager can't find the specified secret."))?;
        let stage = request["VersionStage"].as_str().unwrap_or("AWSCURRENT");
        let number = match stage {
            "AWSCURRENT" => 0,
            "AWSPREVIOUS" => 1,
            _ => usize::MAX,
        };
        let text = versions.get(number).ok_or_else(|| {
            missing(&format!("Secrets Manager can't find the specified secret value for staging label: {stage}"))
        })?;
        Ok(json!({
            "ARN": format!("arn:aws:secretsmanager:{REGION}:123456789012:secret:{name}"),
            "Name": name,
            "VersionId": format!("{number:032}"),
            "SecretString": text,
            "VersionStages": [stage],
            "CreatedDate": 1_700_000_000.0,
        }))
    });
    let (status, body) = match outcome {
        Ok(answer) => (StatusCode::OK, answer),
        Err((status, code, message)) => (status, json!({ "__type": code, "Message": message })),
    };
    respond(status, "application/x-amz-json-1.1", body.to_string().into_bytes())
}

fn respond(status: StatusCode, kind: &'static str, body: Vec<u8>) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body.into()));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, header::HeaderValue::from_static(kind));
    response
}

/// A form's fields.
fn form(body: &[u8]) -> BTreeMap<String, String> {
    let text = String::from_utf8_lossy(body);
    let field = |field: &str| {
        let (name, value) = field.split_once('=').unwrap_or((field, ""));
        let decoded =
            |text: &str| percent_encoding::percent_decode_str(&text.replace('+', " ")).decode_utf8_lossy().into_owned();
        (decoded(name), decoded(value))
    };
    text.split('&').filter(|part| !part.is_empty()).map(field).collect()
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}
