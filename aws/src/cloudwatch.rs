//! CloudWatch, by AWS' own client.

use std::time::SystemTime;

use async_trait::async_trait;
use aws_sdk_cloudwatch::{
    Client,
    types::{Dimension, MetricDatum, StandardUnit, StatisticSet},
};

use crate::{AwsError, Batch, LoadSink, Sdk, Statistics};

/// Where load is told, and under which names. Terraform's scaling policies look there.
const NAMESPACE: &str = "Streamfleet";
const SESSIONS: &str = "SessionsPerRunner";
const QUEUE_WAIT: &str = "QueueWait";
/// Whose load it is. Not which runner's: the policies want the mean of all, and each further dimension is a metric to be paid for.
const DIMENSION: &str = "Cluster";

/// Metrics of one cluster.
#[derive(Debug)]
pub(crate) struct CloudWatch {
    sdk: Sdk,
    cluster: Dimension,
}

impl CloudWatch {
    pub(crate) fn new(sdk: Sdk, cluster: &str) -> Self {
        Self { sdk, cluster: Dimension::builder().name(DIMENSION).value(cluster).build() }
    }

    fn datum(&self, name: &str, unit: StandardUnit, statistics: Statistics) -> MetricDatum {
        let set = StatisticSet::builder()
            .sample_count(statistics.count)
            .sum(statistics.sum)
            .minimum(statistics.least)
            .maximum(statistics.greatest)
            .build();
        MetricDatum::builder()
            .metric_name(name)
            .dimensions(self.cluster.clone())
            .timestamp(SystemTime::now().into())
            .unit(unit)
            .statistic_values(set)
            .build()
    }
}

#[async_trait]
impl LoadSink for CloudWatch {
    async fn put(&self, batch: &Batch) -> Result<(), AwsError> {
        let call = Client::new(self.sdk.config().await?).put_metric_data().namespace(NAMESPACE);
        let call = call.metric_data(self.datum(SESSIONS, StandardUnit::Count, batch.sessions));
        let call = call.metric_data(self.datum(QUEUE_WAIT, StandardUnit::Milliseconds, batch.queue_wait_ms));
        call.send().await.map_err(|error| AwsError::of_call("cloudwatch:PutMetricData", &error))?;
        Ok(())
    }
}
