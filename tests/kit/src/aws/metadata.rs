//! The metadata of one machine: tokens, its id, what Auto Scaling means to do with it, whether it is to be taken away, and its role.

use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use tokio::time::Instant;

use super::group::Machine;
use super::{Account, KEY, KEY_ID, REGION};

const TOKEN: &str = "x-aws-ec2-metadata-token";
const TOKEN_LIFE: &str = "x-aws-ec2-metadata-token-ttl-seconds";
const ROLE: &str = "double";

/// How a machine's metadata answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Manner {
    /// At once.
    Well,
    /// After a while.
    Slow(Duration),
    /// With an error.
    Ill,
    /// Not at all: connections are closed.
    Away,
}

/// Tokens that have been granted.
#[derive(Debug, Default)]
pub(super) struct Tokens {
    valid: Vec<(String, Instant)>,
    granted: u32,
    longest: Option<Duration>,
}

impl Tokens {
    pub(super) fn limit(&mut self, life: Duration) {
        self.valid.clear();
        self.longest = Some(life);
    }

    pub(super) fn granted(&self) -> u32 {
        self.granted
    }

    /// A new token, and the seconds that it is good for.
    fn grant(&mut self, asked: Duration) -> (String, u64) {
        let life = self.longest.map_or(asked, |longest| longest.min(asked));
        self.granted += 1;
        let token = format!("token-{}", self.granted);
        self.valid.push((token.clone(), Instant::now() + life));
        (token, life.as_secs())
    }

    fn takes(&self, token: &str) -> bool {
        self.valid.iter().any(|(valid, until)| valid == token && Instant::now() < *until)
    }
}

pub(super) async fn answer(
    account: Account,
    instance: String,
    request: Request<Incoming>,
) -> Option<Response<Full<Bytes>>> {
    let manner = account.0.borrow().machines.get(&instance)?.manner;
    match manner {
        Manner::Well => {}
        Manner::Slow(pause) => tokio::time::sleep(pause).await,
        Manner::Ill => return Some(plain(StatusCode::INTERNAL_SERVER_ERROR, "")),
        Manner::Away => return None,
    }
    let header = |name: &str| request.headers().get(name).and_then(|value| value.to_str().ok());
    if request.uri().path() == "/latest/api/token" {
        let seconds = header(TOKEN_LIFE).and_then(|seconds| seconds.parse().ok());
        let Some(seconds) = seconds.filter(|_| request.method() == Method::PUT) else {
            return Some(plain(StatusCode::BAD_REQUEST, "a token is asked for with PUT, and a time to live"));
        };
        let granted = account.change(|contents| {
            contents.machines.get_mut(&instance).map(|machine| machine.tokens.grant(Duration::from_secs(seconds)))
        });
        let (token, seconds) = granted?;
        let mut response = plain(StatusCode::OK, &token);
        response.headers_mut().insert(TOKEN_LIFE, seconds.into());
        return Some(response);
    }
    let contents = account.0.borrow();
    let machine = contents.machines.get(&instance)?;
    // As version 2 has it: nothing without one.
    if !header(TOKEN).is_some_and(|token| machine.tokens.takes(token)) {
        return Some(plain(StatusCode::UNAUTHORIZED, ""));
    }
    Some(match look_up(machine, request.uri().path()) {
        Some(text) => plain(StatusCode::OK, &text),
        None => plain(StatusCode::NOT_FOUND, ""),
    })
}

fn look_up(machine: &Machine, path: &str) -> Option<String> {
    match path.strip_prefix("/latest/meta-data/")? {
        "instance-id" => Some(machine.id.clone()),
        "placement/region" => Some(REGION.to_owned()),
        "autoscaling/target-lifecycle-state" => Some(machine.state.target().to_owned()),
        "spot/instance-action" => {
            machine.spot_notice.map(|at| format!(r#"{{"action": "terminate", "time": "{}"}}"#, rfc3339(at)))
        }
        "events/recommendations/rebalance" => {
            machine.is_rebalance_recommended.then(|| format!(r#"{{"noticeTime": "{}"}}"#, rfc3339(SystemTime::now())))
        }
        "iam/security-credentials/" => Some(ROLE.to_owned()),
        path if path == format!("iam/security-credentials/{ROLE}") => {
            let expires = rfc3339(SystemTime::now() + Duration::from_hours(6));
            Some(format!(
                r#"{{"Code": "Success", "Type": "AWS-HMAC", "AccessKeyId": "{KEY_ID}", "SecretAccessKey": "{KEY}", "Token": "a session's",
                "LastUpdated": "{}", "Expiration": "{expires}"}}"#,
                rfc3339(SystemTime::now())
            ))
        }
        _ => None,
    }
}

fn plain(status: StatusCode, text: &str) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::copy_from_slice(text.as_bytes())));
    *response.status_mut() = status;
    response
}

/// A moment as `2026-11-28T12:00:00Z`.
fn rfc3339(at: SystemTime) -> String {
    let seconds = at.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let (days, second) = (seconds / 86_400, seconds % 86_400);
    // Days since 1 March of the year 0, in eras of 400 years of 146,097 days: leap days come last.
    let day = days + 719_468;
    let (era, day) = (day / 146_097, day % 146_097);
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let (day, month) = (day - (153 * month + 2) / 5 + 1, if month < 10 { month + 3 } else { month - 9 });
    let year = era * 400 + year + u64::from(month <= 2);
    format!("{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}Z", second / 3600, second / 60 % 60, second % 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_written_as_aws_writes_them() {
        for (seconds, written) in [
            (0, "1970-01-01T00:00:00Z"),
            (951_782_400, "2000-02-29T00:00:00Z"),
            (1_700_000_000, "2023-11-14T22:13:20Z"),
            (1_798_761_599, "2026-12-31T23:59:59Z"),
        ] {
            assert_eq!(rfc3339(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)), written);
        }
    }
}
