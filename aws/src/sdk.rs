//! AWS' own client, set up once: one way out for all services, with limits, retries, and TLS by rustls and ring as everywhere else.
//!
//! Region, endpoints and access come from where they always come from: the variables `AWS_…`, a profile, the machine's metadata. As
//! those may be away at first, that is found out with the first call, and again with the next one if it was in vain.

use std::{sync::Arc, time::Duration};

use aws_config::{
    BehaviorVersion, SdkConfig, imds::Client, provider_config::ProviderConfig, retry::RetryConfig,
    timeout::TimeoutConfig,
};
use aws_smithy_http_client::{
    Builder,
    tls::{Provider, rustls_provider::CryptoMode},
};
use tokio::sync::OnceCell;

use crate::{
    AwsError, Group, LoadSink, Metadata, cloudwatch::CloudWatch, group::AutoScaling, metadata::InstanceMetadata,
    secrets,
};

/// Attempts at each call, the first included. Throttling is ordinary: the client waits longer after each, with some chance in it.
const ATTEMPTS: u32 = 5;
const CONNECT_LIMIT: Duration = Duration::from_secs(3);
/// Of one attempt, and of all.
const ATTEMPT_LIMIT: Duration = Duration::from_secs(5);
const CALL_LIMIT: Duration = Duration::from_secs(20);
/// The metadata are one hop away: who doesn't answer at once is asked again soon anyway.
const METADATA_ATTEMPTS: u32 = 2;
const METADATA_ATTEMPT_LIMIT: Duration = Duration::from_secs(1);
const METADATA_LIMIT: Duration = Duration::from_secs(3);

/// AWS' own client. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Sdk {
    config: Arc<OnceCell<SdkConfig>>,
}

impl Sdk {
    /// What this machine is told.
    pub fn metadata() -> Arc<dyn Metadata> {
        Arc::new(InstanceMetadata::new(metadata_client))
    }

    /// The auto-scaling groups of this region.
    pub fn group(&self) -> Arc<dyn Group> {
        Arc::new(AutoScaling::new(self.clone()))
    }

    /// Metrics of this cluster in CloudWatch.
    pub fn load_sink(&self, cluster: &str) -> Arc<dyn LoadSink> {
        Arc::new(CloudWatch::new(self.clone(), cluster))
    }

    /// The current text of a secret in Secrets Manager, by its name or ARN.
    pub async fn secret(&self, id: &str) -> Result<String, AwsError> {
        secrets::current(self.config().await?, id).await
    }

    /// Its current text, and the one before if there was one.
    pub async fn secrets(&self, id: &str) -> Result<Vec<String>, AwsError> {
        secrets::current_and_previous(self.config().await?, id).await
    }

    /// What environment and machine say.
    pub(crate) async fn config(&self) -> Result<&SdkConfig, AwsError> {
        self.config.get_or_try_init(load).await
    }
}

fn metadata_client() -> Client {
    let plain = Builder::new().build_http();
    Client::builder()
        .configure(&ProviderConfig::without_region().with_http_client(plain))
        .max_attempts(METADATA_ATTEMPTS)
        .connect_timeout(METADATA_ATTEMPT_LIMIT)
        .read_timeout(METADATA_ATTEMPT_LIMIT)
        .operation_attempt_timeout(METADATA_ATTEMPT_LIMIT)
        .operation_timeout(METADATA_LIMIT)
        .build()
}

async fn load() -> Result<SdkConfig, AwsError> {
    let http = Builder::new().tls_provider(Provider::Rustls(CryptoMode::Ring)).build_https();
    let limits = TimeoutConfig::builder()
        .connect_timeout(CONNECT_LIMIT)
        .operation_attempt_timeout(ATTEMPT_LIMIT)
        .operation_timeout(CALL_LIMIT)
        .build();
    let config = aws_config::defaults(BehaviorVersion::v2026_01_12())
        .http_client(http)
        .retry_config(RetryConfig::standard().with_max_attempts(ATTEMPTS))
        .timeout_config(limits)
        .load()
        .await;
    if config.region().is_none() {
        let reason = "the region is not known: neither AWS_REGION nor the machine's metadata say it".to_owned();
        return Err(AwsError::Failed { what: "AWS", reason });
    }
    Ok(config)
}
