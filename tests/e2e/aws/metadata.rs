//! Metadata that are slow, ill, or away.

use std::time::Duration;

use streamfleet_testkit::aws::{Manner, State};
use streamfleet_testkit::browser::Browser;

use super::stage::StageLaunch;
use crate::outlive::page::count;
use crate::server::app;

/// What is said when they can't be had.
const COMPLAINT: &str = "all goes on without it";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_runner_serves_without_metadata_and_finds_them_again() {
    let mut stage = StageLaunch::new(app("clicks"), 1).start().await;
    let instance = stage.instances[0].clone();
    let mut browser = Browser::open(&stage.fleet.endpoint()).await.unwrap();
    let mut clicks = 0;
    for manner in [Manner::Ill, Manner::Away, Manner::Slow(Duration::from_secs(30))] {
        let heard = stage.fleet.runners[0].server.output().matches(COMPLAINT).count();
        stage.aws.set_manner(&instance, manner);
        let runner = &stage.fleet.runners[0].server;
        crate::server::until("it to be noticed", || runner.output().matches(COMPLAINT).count() > heard).await;
        clicks += 1;
        count(&mut browser, clicks).await;
        assert_eq!(runner.output().matches(COMPLAINT).count(), heard + 1, "it complains more than once");

        let back = runner.output().matches("AWS answers again").count();
        stage.aws.set_manner(&instance, Manner::Well);
        crate::server::until("it to be well again", || runner.output().matches("AWS answers again").count() > back)
            .await;
    }
    // It asked nobody but the metadata all the while, and does what they say.
    assert!(stage.fleet.runners[0].server.exit_status().unwrap().is_none());
    stage.aws.terminate(&instance);
    stage.has_gone(0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_runner_starts_without_metadata_and_is_let_in_when_they_are_there() {
    let mut launch = StageLaunch::new(app("clicks"), 1);
    launch.manner = Manner::Away;
    let mut stage = launch.start().await;
    let instance = stage.instances[0].clone();
    let mut browser = Browser::open(&stage.fleet.endpoint()).await.unwrap();
    count(&mut browser, 1).await;
    assert_eq!(stage.aws.state(&instance), Some(State::PendingWait));
    stage.aws.set_manner(&instance, Manner::Well);
    stage.aws.until_state(&instance, &[State::InService]).await.unwrap();

    // Tokens lapse, and new ones are asked for: the client does so two minutes ahead, so at once with such short ones.
    let tokens = stage.aws.tokens(&instance);
    stage.aws.limit_tokens(&instance, Duration::from_secs(121));
    let aws = &stage.aws;
    crate::server::until("new tokens", || aws.tokens(&instance) > tokens + 1).await;
    stage.aws.terminate(&instance);
    stage.has_gone(0).await;
}
