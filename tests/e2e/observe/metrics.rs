//! The pages of metrics.

use std::collections::BTreeSet;
use std::process::{Command, Stdio};
use std::time::Duration;

use http::{HeaderMap, HeaderValue, StatusCode, header};
use streamfleet_testkit::Endpoint;
use streamfleet_testkit::browser::Browser;
use streamfleet_testkit::http as plain_http;
use streamfleet_testkit::process::python;

use crate::cluster::fleet::FleetLaunch;
use crate::server::click;

const CLICKS: u64 = 20;
const TOKEN: &str = "a token for those who operate it";
/// Parses a page as strictly as it can be, and tells names of series without their values.
const PARSE: &str = "
import sys
from prometheus_client.openmetrics.parser import text_string_to_metric_families
for family in text_string_to_metric_families(sys.stdin.read()):
    for sample in family.samples:
        print(family.name, family.type, sample.name, sorted(sample.labels.items()))
";

/// How many clicks a gateway has seen answered.
fn clicks(page: &str) -> u64 {
    let count = page.lines().find_map(|line| line.strip_prefix("streamfleet_gateway_click_finished_seconds_count "));
    count.unwrap().parse().unwrap()
}

async fn page(admin: &Endpoint) -> String {
    let mut headers = HeaderMap::new();
    let token = HeaderValue::from_str(&format!("Bearer {TOKEN}")).unwrap();
    headers.insert(header::AUTHORIZATION, token);
    let answer = plain_http::get(admin, "/metrics", headers).await.unwrap();
    assert_eq!(answer.status, StatusCode::OK);
    String::from_utf8(answer.body.to_vec()).unwrap()
}

/// All series of a page. What is no OpenMetrics is no page.
fn series(page: &str) -> BTreeSet<String> {
    use std::io::Write as _;

    let mut parser =
        Command::new(python()).args(["-c", PARSE]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    parser.stdin.take().unwrap().write_all(page.as_bytes()).unwrap();
    let output = parser.wait_with_output().unwrap();
    assert!(output.status.success(), "{page}");
    String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect()
}

#[tokio::test]
async fn pages_are_strict_openmetrics_and_do_not_grow_with_sessions() {
    let sessions = if std::env::var_os("STREAMFLEET_SOAK").is_some() { 10_000 } else { 100 };
    let mut launch = FleetLaunch::new("clicks.py");
    (launch.runners, launch.gateways) = (2, 1);
    launch.everywhere = vec![("STREAMFLEET_ADMIN_TOKEN", TOKEN.to_owned())];
    let fleet = launch.start().await;
    let pages = [&fleet.gateways[0].admin, &fleet.runners[0].admin, &fleet.runners[1].admin];
    click(&mut Browser::open(&fleet.endpoint()).await.unwrap()).await.unwrap();
    let mut before = Vec::new();
    for admin in pages {
        before.push(series(&page(admin).await));
    }
    for _ in 0..sessions {
        click(&mut Browser::open(&fleet.endpoint()).await.unwrap()).await.unwrap();
    }
    for (admin, before) in pages.into_iter().zip(&before) {
        let page = page(admin).await;
        let after = series(&page);
        let new: Vec<_> = after.difference(before).collect();
        assert!(new.is_empty(), "{new:#?}");
        assert!(!page.contains("NaN"));
    }
    let before = clicks(&page(pages[0]).await);
    let mut browser = Browser::open(&fleet.endpoint()).await.unwrap();
    for _ in 0..CLICKS {
        click(&mut browser).await.unwrap();
    }
    // A run's end is told after all that it has shown. The opening counts as well; and so may one more of who left last.
    let mut gateway = page(pages[0]).await;
    while clicks(&gateway) <= before + CLICKS {
        tokio::time::sleep(Duration::from_millis(20)).await;
        gateway = page(pages[0]).await;
    }
    assert!(clicks(&gateway) <= before + CLICKS + 2, "{gateway}");

    let plain = plain_http::get(pages[0], "/metrics", HeaderMap::new()).await.unwrap();
    assert_eq!(plain.status, StatusCode::UNAUTHORIZED);
    if let Some(folder) = std::env::var_os("STREAMFLEET_METRICS_DIR") {
        let folder = std::path::PathBuf::from(folder);
        std::fs::write(folder.join("gateway.txt"), gateway).unwrap();
        std::fs::write(folder.join("runner.txt"), page(pages[1]).await).unwrap();
    }
}
