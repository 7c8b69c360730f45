//! The load balancers of `infra/`, by their very files, in front of two gateways.

use std::path::{Path, PathBuf};

use rustix::process::Signal;
use streamfleet_testkit::browser::{Browser, LocalFile};
use streamfleet_testkit::process::free_port;
use streamfleet_testkit::proxy::ReverseProxy;
use streamfleet_testkit::wire::WidgetValue;

use crate::cluster::fleet::{Fleet, FleetLaunch};
use crate::cluster::ledger;
use crate::cluster::users::{Users, summary};
use crate::server::{LIMIT, shown_number};

fn config(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("infra/load-balancers").join(name)
}

async fn start() -> Fleet {
    let mut launch = FleetLaunch::new("ledger");
    // Long enough for HAProxy to notice, which looks each second and wants to see it twice.
    (launch.runners, launch.gateways, launch.shutdown) = (2, 2, (4.0, 1.0));
    launch.start().await
}

/// Users click, upload, and keep their sessions while one gateway is killed and the other told to end.
async fn is_used(mut fleet: Fleet, proxy: ReverseProxy) {
    let users = Users::start(proxy.endpoint(), 20).await;
    let mut browser = Browser::open(proxy.endpoint()).await.unwrap();
    let content = vec![7; 5_000_000];
    let file = LocalFile { name: "data.bin", mime: "application/octet-stream", content: &content };
    let widget = browser.widget("file").unwrap();
    let uploaded = browser.upload(&[file]).await.unwrap();
    browser.set(&widget, WidgetValue::Files(uploaded)).await.unwrap();
    assert_eq!(shown_number(&browser, "size"), 5_000_000);
    drop(browser);

    fleet.gateways[0].kill().await;
    users.keep_clicking(60).await;
    fleet.restart_gateway(0).await;
    users.keep_clicking(20).await;
    fleet.gateways[1].server.signal(Signal::TERM).unwrap();
    let status = fleet.gateways[1].server.wait(LIMIT).await.unwrap();
    assert!(status.success(), "{status}");
    users.keep_clicking(40).await;
    let reports = users.finish().await;
    eprintln!("behind a load balancer: {}", summary(&reports));
    assert!(reports.iter().all(|report| report.lost_on.is_empty()), "a session was lost");
    assert!(reports.iter().any(|report| report.disconnects > 0), "nobody was connected to either");
    ledger::check(&fleet);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nginx_stands_in_front() {
    let fleet = start().await;
    let proxy = ReverseProxy::nginx(&config("nginx.conf"), free_port(), &fleet.gateway_addresses()).await.unwrap();
    is_used(fleet, proxy).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn haproxy_stands_in_front() {
    let fleet = start().await;
    let proxy = ReverseProxy::haproxy(&config("haproxy.cfg"), free_port(), &fleet.gateway_addresses()).await.unwrap();
    is_used(fleet, proxy).await;
}
