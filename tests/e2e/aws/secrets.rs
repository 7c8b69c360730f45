//! Secrets that are kept in Secrets Manager, and change there.

use http::{HeaderMap, header};
use streamfleet_testkit::aws::Aws;
use streamfleet_testkit::browser::Browser;
use streamfleet_testkit::http as plain_http;

use super::stage::StageLaunch;
use crate::outlive::page::count;
use crate::server::{app, binary, shown};

const TOKEN: &str = "a token for operators alone";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_secret_before_has_signed_is_believed_while_runners_are_replaced() {
    let (old, new) = ("an old secret of the cluster's runners", "a new secret of the cluster's runners");
    let aws = Aws::start().await.unwrap();
    aws.keep_secret("fleet/secret", &[old]);
    aws.keep_secret("fleet/admin-token", &[TOKEN]);
    let mut launch = StageLaunch::new(app("clicks"), 1);
    let named = |name: &str| format!("aws-secretsmanager:{name}");
    launch.fleet.env = vec![
        ("STREAMFLEET_SECRET", named("fleet/secret")),
        // By its ARN.
        ("STREAMFLEET_ADMIN_TOKEN", named("arn:aws:secretsmanager:eu-test-1:123456789012:secret:fleet/admin-token")),
    ];
    let mut stage = launch.start_on(aws).await;
    let mut headers = HeaderMap::new();
    headers.insert(header::AUTHORIZATION, format!("Bearer {TOKEN}").parse().unwrap());
    let metrics = plain_http::get(&stage.fleet.runners[0].admin, "/metrics", headers).await.unwrap();
    assert_eq!(metrics.status, 200);
    assert!(!stage.fleet.runners[0].server.output().contains(TOKEN), "the token is shown");

    let mut browser = Browser::open(&stage.fleet.endpoint()).await.unwrap();
    count(&mut browser, 1).await;
    stage.aws.keep_secret("fleet/secret", &[new, old]);
    for (name, value) in stage.aws.env(&stage.instances[0]) {
        stage.fleet.set_env(name, &value);
    }
    stage.fleet.replace(0).await;
    count(&mut browser, 2).await;
    assert_eq!(shown(&browser, "count").as_deref(), Some("2"));
    // Nobody has the one before that any more.
    stage.aws.keep_secret("fleet/secret", &["yet another secret of the cluster's runners", new]);
    stage.fleet.replace(0).await;
    count(&mut browser, 3).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_secret_that_can_t_be_had_is_named() {
    let mut aws = Aws::start().await.unwrap();
    let instance = aws.launch("none").await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let mut command = tokio::process::Command::new(binary());
    command.args(["gateway"]).current_dir(folder.path()).envs(aws.env(&instance)).kill_on_drop(true);
    command.env("STREAMFLEET_REDIS", "aws-secretsmanager:fleet/redis");
    let output = command.output().await.unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && said.contains("aws-secretsmanager:fleet/redis"), "{said}");
    assert!(said.contains("ResourceNotFoundException"), "{said}");
}
