//! Whether the double speaks as AWS does, by another client: boto3 has to read the same out of its answers.

use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};
use streamfleet_testkit::aws::{Aws, HookSpec, KEY, KEY_ID, REGION, State};

use super::stage::{LAUNCHING, TERMINATING};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn boto3_reads_the_same() {
    // tests/terraform/setup makes it.
    let python = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/terraform/py/bin/python");
    assert!(python.exists(), "{} does not exist: run tests/setup first", python.display());
    let mut aws = Aws::start().await.unwrap();
    let launching = HookSpec::launching(LAUNCHING, Duration::from_mins(15)).global_timeout(Duration::from_secs(1000));
    aws.make_group("group & co", vec![launching, HookSpec::terminating(TERMINATING, Duration::from_mins(5))]);
    aws.keep_secret("fleet/secret", &["new", "old"]);
    let instance = aws.launch("group & co").await.unwrap();
    aws.until_state(&instance, &[State::PendingWait]).await.unwrap();
    aws.spot_notice(&instance, Duration::from_mins(2));
    // One for each attempt of boto3's.
    aws.fail("DescribeLifecycleHooks", "Throttling", 1);

    let mut command = tokio::process::Command::new(python);
    command.arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/e2e/aws/reread.py")).arg(&instance);
    command.envs(aws.env(&instance)).env("AWS_DEFAULT_REGION", REGION).kill_on_drop(true);
    let output = command.output().await.unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let read: Value = serde_json::from_slice(&output.stdout).unwrap();

    let hook = |name: &str, transition: &str, timeouts: (u32, u32), result: &str| {
        json!({
            "LifecycleHookName": name, "AutoScalingGroupName": "group & co",
            "LifecycleTransition": format!("autoscaling:EC2_INSTANCE_{transition}"),
            "HeartbeatTimeout": timeouts.0, "GlobalTimeout": timeouts.1, "DefaultResult": result,
        })
    };
    let expected = json!({
        "access": [KEY_ID, KEY],
        "instances": [{
            "InstanceId": instance, "AutoScalingGroupName": "group & co", "AvailabilityZone": format!("{REGION}a"),
            "LifecycleState": "Pending:Wait", "HealthStatus": "HEALTHY", "ProtectedFromScaleIn": false,
        }],
        "throttled": ["Throttling", 400],
        "hooks": [
            hook(LAUNCHING, "LAUNCHING", (900, 1000), "ABANDON"),
            hook(TERMINATING, "TERMINATING", (300, 30_000), "CONTINUE"),
        ],
        "nobody waits": ["ValidationError", 400, format!("No active Lifecycle Action found with instance ID {instance}")],
        "secret": ["new", "old"],
        "no secret": ["ResourceNotFoundException", 400],
        "metadata": [instance, "InService", "terminate", null],
    });
    assert_eq!(read, expected, "{read:#}");
    aws.until_state(&instance, &[State::InService]).await.unwrap();
    let figures = aws.until_figures(1).await.unwrap();
    assert_eq!((figures[0].name.as_str(), figures[0].samples), ("SessionsPerRunner", (12.0, 66.0)));
    let called = ["CompleteLifecycleAction", "RecordLifecycleActionHeartbeat"].map(str::to_owned);
    assert!(called.iter().all(|action| aws.actions().contains(action)), "{:?}", aws.actions());
}
