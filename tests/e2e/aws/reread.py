"""Asks the double of AWS what our program asks it, with boto3, and prints what that has read. The machine's id is the argument."""

import json
import os
import sys
import urllib.error
import urllib.request
from typing import Any

import boto3
from botocore.config import Config
from botocore.exceptions import ClientError

INSTANCE = sys.argv[1]
GROUP = "group & co"
ONCE = Config(retries={"total_max_attempts": 1})


def refusal(call: Any, **arguments: Any) -> list[Any]:
    """What a call that is to fail says: code and status, and the message if that is the double's own."""
    try:
        call(**arguments)
    except ClientError as error:
        said = error.response
        return [
            said["Error"]["Code"],
            said["ResponseMetadata"]["HTTPStatusCode"],
            said["Error"]["Message"],
        ]
    raise AssertionError(arguments)


def metadata(path: str) -> str | None:
    """A machine's metadata, by version 2 of their protocol."""
    base = os.environ["AWS_EC2_METADATA_SERVICE_ENDPOINT"]
    ask = urllib.request.Request(
        f"{base}/latest/api/token",
        method="PUT",
        headers={"x-aws-ec2-metadata-token-ttl-seconds": "60"},
    )
    with urllib.request.urlopen(ask) as answer:
        token = answer.read().decode()
    ask = urllib.request.Request(
        f"{base}/latest/meta-data/{path}", headers={"x-aws-ec2-metadata-token": token}
    )
    try:
        with urllib.request.urlopen(ask) as answer:
            return answer.read().decode()
    except urllib.error.HTTPError as error:
        assert error.code == 404, error
        return None


def main() -> None:
    """Ask, and print."""
    access = boto3.Session().get_credentials().get_frozen_credentials()
    scaling = boto3.client("autoscaling", config=ONCE)
    load = boto3.client("cloudwatch", config=ONCE)
    secrets = boto3.client("secretsmanager", config=ONCE)
    read: dict[str, Any] = {"access": [access.access_key, access.secret_key]}
    read["instances"] = scaling.describe_auto_scaling_instances(InstanceIds=[INSTANCE])[
        "AutoScalingInstances"
    ]
    read["throttled"] = refusal(scaling.describe_lifecycle_hooks, AutoScalingGroupName=GROUP)[:2]
    read["hooks"] = scaling.describe_lifecycle_hooks(AutoScalingGroupName=GROUP)["LifecycleHooks"]
    action = {"AutoScalingGroupName": GROUP, "InstanceId": INSTANCE}
    launching = {**action, "LifecycleHookName": "streamfleet-launching"}
    scaling.record_lifecycle_action_heartbeat(**launching)
    terminating = {**action, "LifecycleHookName": "streamfleet-terminating"}
    read["nobody waits"] = refusal(scaling.record_lifecycle_action_heartbeat, **terminating)
    scaling.complete_lifecycle_action(**launching, LifecycleActionResult="CONTINUE")
    load.put_metric_data(
        Namespace="Streamfleet",
        MetricData=[
            {
                "MetricName": "SessionsPerRunner",
                "Dimensions": [{"Name": "Cluster", "Value": "default"}],
                "Unit": "Count",
                "StatisticValues": {"SampleCount": 12, "Sum": 66, "Minimum": 0, "Maximum": 11},
            }
        ],
    )
    read["secret"] = [
        secrets.get_secret_value(SecretId="fleet/secret", VersionStage=stage)["SecretString"]
        for stage in ("AWSCURRENT", "AWSPREVIOUS")
    ]
    read["no secret"] = refusal(secrets.get_secret_value, SecretId="nothing")[:2]
    notice = json.loads(metadata("spot/instance-action") or "{}")
    read["metadata"] = [
        metadata("instance-id"),
        metadata("autoscaling/target-lifecycle-state"),
        notice.get("action"),
        metadata("events/recommendations/rebalance"),
    ]
    json.dump(read, sys.stdout)


if __name__ == "__main__":
    main()
