//! What is told of the load, for target tracking.

use streamfleet_testkit::browser::Browser;

use super::stage::StageLaunch;
use crate::server::app;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_runner_tells_its_sessions_and_how_long_runs_wait() {
    let mut launch = StageLaunch::new(app("clicks"), 1);
    launch.fleet.env = vec![("STREAMFLEET_AWS_METRICS", "on".to_owned())];
    let aws = streamfleet_testkit::aws::Aws::start().await.unwrap();
    // The first is dropped.
    aws.fail("PutMetricData", "Throttling", 1);
    let stage = launch.start_on(aws).await;
    let _browser = Browser::open(&stage.fleet.endpoint()).await.unwrap();
    let figures = stage.aws.until_figures(2).await.unwrap();
    let names: Vec<_> = figures.iter().map(|figure| figure.name.as_str()).collect();
    assert_eq!(names, ["SessionsPerRunner", "QueueWait"]);
    for figure in &figures {
        assert_eq!(
            (figure.namespace.as_str(), &figure.dimensions[..]),
            ("Streamfleet", &["Cluster=default".to_owned()][..])
        );
        let (count, sum) = figure.samples;
        assert!(count >= 1.0 && sum >= 0.0, "{figure:?}");
    }
    assert_eq!((figures[0].unit.as_str(), figures[1].unit.as_str()), ("Count", "Milliseconds"));
}
