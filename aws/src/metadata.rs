//! The machine's metadata, by version 2 of their protocol. The client fetches tokens, and new ones before they lapse.

use std::{
    sync::{Mutex, PoisonError},
    time::{Duration, SystemTime},
};

use async_trait::async_trait;
use aws_config::imds::{Client, client::error::ImdsError};
use aws_smithy_types::date_time::{DateTime, Format};
use serde::Deserialize;

use crate::{AwsError, Metadata};

const INSTANCE_ID: &str = "/latest/meta-data/instance-id";
const TARGET_STATE: &str = "/latest/meta-data/autoscaling/target-lifecycle-state";
const SPOT_NOTICE: &str = "/latest/meta-data/spot/instance-action";
const REBALANCE: &str = "/latest/meta-data/events/recommendations/rebalance";

/// A Spot machine is told two minutes ahead; so much is left where the time can't be read.
const SPOT_TIME: Duration = Duration::from_mins(2);
/// Of that, so much is for ending.
const SPOT_MARGIN: Duration = Duration::from_secs(20);

/// What calls are called in errors.
const WHAT: &str = "the machine's metadata";

/// The machine's metadata.
#[derive(Debug)]
pub(crate) struct InstanceMetadata {
    /// With the token that it has.
    client: Mutex<Client>,
    make: fn() -> Client,
}

/// What stands in `spot/instance-action`.
#[derive(Deserialize)]
struct SpotAction {
    time: String,
}

impl InstanceMetadata {
    pub(crate) fn new(make: fn() -> Client) -> Self {
        Self { client: Mutex::new(make()), make }
    }

    async fn get(&self, path: &str) -> Result<Option<String>, AwsError> {
        let client = self.client.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let error = match client.get(path).await {
            Ok(text) => return Ok(Some(String::from(text).trim().to_owned())),
            Err(error) => error,
        };
        let ImdsError::ErrorResponse(answer) = &error else { return Err(AwsError::failed(WHAT, &error)) };
        let status = answer.response().status().as_u16();
        if status == 404 {
            return Ok(None);
        }
        if status == 401 {
            // The token is none any more, and the client would keep it for hours: the machine may have been stopped and started.
            *self.client.lock().unwrap_or_else(PoisonError::into_inner) = (self.make)();
        }
        Err(AwsError::Failed { what: WHAT, reason: format!("they answer with status {status}") })
    }
}

#[async_trait]
impl Metadata for InstanceMetadata {
    async fn instance_id(&self) -> Result<String, AwsError> {
        let missing = || AwsError::Refused { what: WHAT, reason: "they have no instance-id".to_owned() };
        self.get(INSTANCE_ID).await?.ok_or_else(missing)
    }

    async fn target_state(&self) -> Result<Option<String>, AwsError> {
        self.get(TARGET_STATE).await
    }

    async fn spot_notice(&self) -> Result<Option<Duration>, AwsError> {
        Ok(self.get(SPOT_NOTICE).await?.map(|text| left(&text, SystemTime::now())))
    }

    async fn is_rebalance_recommended(&self) -> Result<bool, AwsError> {
        Ok(self.get(REBALANCE).await?.is_some())
    }
}

/// How long there is until what a Spot notice announces.
fn left(notice: &str, now: SystemTime) -> Duration {
    let time = serde_json::from_str::<SpotAction>(notice)
        .ok()
        .and_then(|action| DateTime::from_str(&action.time, Format::DateTime).ok())
        .and_then(|time| SystemTime::try_from(time).ok());
    let until = time.map_or(SPOT_TIME, |time| time.duration_since(now).unwrap_or_default());
    until.saturating_sub(SPOT_MARGIN)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_spot_notice_says_when() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000);
        let notice = |time: &str| format!(r#"{{"action": "terminate", "time": "{time}"}}"#);
        assert_eq!(left(&notice("2023-11-14T22:15:20Z"), now), Duration::from_secs(100));
        assert_eq!(left(&notice("2023-11-14T22:13:25Z"), now), Duration::ZERO);
        assert_eq!(left(&notice("1999-01-01T00:00:00Z"), now), Duration::ZERO);
        for unreadable in [notice("soon"), "{}".to_owned(), String::new()] {
            assert_eq!(left(&unreadable, now), Duration::from_secs(100), "{unreadable}");
        }
    }
}
