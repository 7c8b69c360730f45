//! A gateway on a machine that is told to go.

use streamfleet_testkit::aws::{Aws, HookSpec, Outcome, State};
use streamfleet_testkit::browser::Browser;
use streamfleet_testkit::client::ClientError;

use super::stage::{LAUNCHING, LONG, TERMINATING, settings};
use crate::cluster::fleet::FleetLaunch;
use crate::outlive::page::count;
use crate::server::LIMIT;

const GROUP: &str = "fleet-gateway";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gateway_is_let_in_sends_its_browsers_elsewhere_and_goes() {
    let mut aws = Aws::start().await.unwrap();
    let hooks = vec![HookSpec::launching(LAUNCHING, LONG), HookSpec::terminating(TERMINATING, LONG)];
    aws.make_group(GROUP, hooks);
    let instance = aws.launch(GROUP).await.unwrap();
    let mut launch = FleetLaunch::new("clicks");
    (launch.runners, launch.gateways, launch.shutdown) = (1, 1, (1.0, 1.0));
    launch.everywhere = settings(&aws, &instance);
    // It shares the gateway's machine in this, and has no say in its life.
    launch.env = vec![("STREAMFLEET_AWS_LIFECYCLE", "off".to_owned())];
    let mut fleet = launch.start().await;
    aws.until_state(&instance, &[State::InService]).await.unwrap();
    let mut browser = Browser::open(&fleet.endpoint()).await.unwrap();
    count(&mut browser, 1).await;

    // Nothing happens to a gateway that might be taken away; its machine is told if it is to go.
    aws.recommend_rebalance(&instance);
    let server = &fleet.gateways[0].server;
    crate::server::until("it to be noticed", || server.output().contains("about to be taken away")).await;
    count(&mut browser, 2).await;
    aws.terminate(&instance);
    let farewell = browser.settle().await;
    assert!(matches!(farewell, Err(ClientError::Closed { code: Some(1012), .. })), "{farewell:?}");
    let status = fleet.gateways[0].server.wait(LIMIT).await.unwrap();
    assert!(status.success(), "{status}");
    aws.until_state(&instance, &[State::Terminated]).await.unwrap();
    let done = |hook: &str| (hook.to_owned(), Outcome::Continued);
    assert_eq!(aws.outcomes(&instance), [done(LAUNCHING), done(TERMINATING)]);
}
