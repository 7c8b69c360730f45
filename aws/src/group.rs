//! Auto Scaling, by AWS' own client.

use std::time::Duration;

use async_trait::async_trait;
use aws_sdk_autoscaling::{Client, types::LifecycleHook};

use crate::{AwsError, Group, Hook, Place, Sdk, Transition};

/// The result of an action that went well.
const CONTINUE: &str = "CONTINUE";
/// What a hook waits for where it doesn't say.
const DEFAULT_HEARTBEAT: Duration = Duration::from_hours(1);

/// Auto Scaling.
#[derive(Debug)]
pub(crate) struct AutoScaling {
    sdk: Sdk,
}

impl AutoScaling {
    pub(crate) fn new(sdk: Sdk) -> Self {
        Self { sdk }
    }

    async fn client(&self) -> Result<Client, AwsError> {
        Ok(Client::new(self.sdk.config().await?))
    }
}

#[async_trait]
impl Group for AutoScaling {
    async fn place(&self, instance: &str) -> Result<Option<Place>, AwsError> {
        let call = self.client().await?.describe_auto_scaling_instances().instance_ids(instance);
        let answer = call.send().await;
        let answer = answer.map_err(|error| AwsError::of_call("autoscaling:DescribeAutoScalingInstances", &error))?;
        let place = answer.auto_scaling_instances().iter().find(|found| found.instance_id() == Some(instance));
        Ok(place.map(|place| Place {
            group: place.auto_scaling_group_name().unwrap_or_default().to_owned(),
            state: place.lifecycle_state().unwrap_or_default().to_owned(),
        }))
    }

    async fn hooks(&self, group: &str) -> Result<Vec<Hook>, AwsError> {
        let call = self.client().await?.describe_lifecycle_hooks().auto_scaling_group_name(group);
        let answer = call.send().await;
        let answer = answer.map_err(|error| AwsError::of_call("autoscaling:DescribeLifecycleHooks", &error))?;
        Ok(answer.lifecycle_hooks().iter().filter_map(|hook| read(hook, group)).collect())
    }

    async fn heartbeat(&self, instance: &str, hook: &Hook) -> Result<(), AwsError> {
        let call = self.client().await?.record_lifecycle_action_heartbeat().auto_scaling_group_name(&hook.group);
        let answer = call.lifecycle_hook_name(&hook.name).instance_id(instance).send().await;
        answer.map_err(|error| AwsError::of_call("autoscaling:RecordLifecycleActionHeartbeat", &error))?;
        Ok(())
    }

    async fn complete(&self, instance: &str, hook: &Hook) -> Result<(), AwsError> {
        let call = self.client().await?.complete_lifecycle_action().auto_scaling_group_name(&hook.group);
        let call = call.lifecycle_hook_name(&hook.name).instance_id(instance).lifecycle_action_result(CONTINUE);
        let answer = call.send().await;
        answer.map_err(|error| AwsError::of_call("autoscaling:CompleteLifecycleAction", &error))?;
        Ok(())
    }
}

fn read(hook: &LifecycleHook, group: &str) -> Option<Hook> {
    let transition = match hook.lifecycle_transition()? {
        "autoscaling:EC2_INSTANCE_LAUNCHING" => Transition::Launching,
        "autoscaling:EC2_INSTANCE_TERMINATING" => Transition::Terminating,
        _ => return None,
    };
    let seconds = hook.heartbeat_timeout().and_then(|seconds| u64::try_from(seconds).ok());
    Some(Hook {
        group: group.to_owned(),
        name: hook.lifecycle_hook_name()?.to_owned(),
        transition,
        heartbeat_timeout: seconds.map_or(DEFAULT_HEARTBEAT, Duration::from_secs),
    })
}
