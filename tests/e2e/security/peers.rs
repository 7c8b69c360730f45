//! mTLS between gateways and runners.

use std::path::{Path, PathBuf};
use std::process::Command;

use http::{HeaderMap, StatusCode};
use streamfleet_testkit::browser::Browser;
use streamfleet_testkit::certificates::{Authority, Validity};
use streamfleet_testkit::http as plain_http;
use streamfleet_testkit::process::Server;
use tempfile::TempDir;

use crate::cluster::fleet::{Fleet, FleetLaunch};
use crate::server::{LIMIT, app, binary, click, shown_number};

const GATEWAY: &str = "gateway.streamfleet.internal";
const RUNNER: &str = "runner.streamfleet.internal";

/// Certificates of a cluster, in files.
struct Files {
    folder: TempDir,
    authority: Authority,
}

impl Files {
    fn new() -> Self {
        let files = Self { folder: tempfile::tempdir().unwrap(), authority: Authority::generate().unwrap() };
        files.issue(GATEWAY, Validity::Now);
        files.issue(RUNNER, Validity::Now);
        files
    }

    fn of(&self, role: &str) -> PathBuf {
        self.folder.path().join(role)
    }

    fn issue(&self, role: &str, validity: Validity) {
        self.authority.issue(&[role], validity).unwrap().write_to(&self.of(role)).unwrap();
    }

    /// The settings that name a role's files.
    fn settings(&self, role: &str) -> Vec<(&'static str, String)> {
        let path = |name: &str| self.of(role).join(name).to_str().unwrap().to_owned();
        vec![
            ("STREAMFLEET_PEER_CERT_FILE", path("cert.pem")),
            ("STREAMFLEET_PEER_KEY_FILE", path("key.pem")),
            ("STREAMFLEET_PEER_CA_FILE", path("ca.pem")),
        ]
    }

    async fn start(&self, runners: usize) -> Fleet {
        let mut launch = FleetLaunch::new("clicks");
        (launch.runners, launch.gateways) = (runners, 1);
        // Gateways have what is everywhere; runners have theirs in its place.
        (launch.everywhere, launch.env) = (self.settings(GATEWAY), self.settings(RUNNER));
        launch.start().await
    }

    /// Has both roles be believed that show what either authority has signed.
    fn believe_both(&self, next: &Authority) {
        for role in [GATEWAY, RUNNER] {
            std::fs::write(self.of(role).join("ca.pem"), format!("{}{}", self.authority.pem(), next.pem())).unwrap();
        }
    }
}

/// Everybody has read the files again so many times.
async fn renewed(fleet: &mut Fleet, times: usize) {
    let servers = fleet.runners.iter_mut().map(|runner| &mut runner.server);
    for server in servers.chain(fleet.gateways.iter_mut().map(|gateway| &mut gateway.server)) {
        said(server, "inside has been renewed", times).await;
    }
}

async fn said(server: &Server, text: &str, times: usize) {
    crate::server::until(text, || server.output().matches(text).count() >= times).await;
}

/// What an operator sees. The proxy that they come through is in this process, so it isn't waited for here.
async fn status(settings: &[(&'static str, String)], redis: &str) -> String {
    let mut command = Command::new(binary());
    command.args(["status", "--json", "--redis", redis]).envs(settings.iter().cloned());
    let output = tokio::task::spawn_blocking(move || command.output()).await.unwrap().unwrap();
    String::from_utf8(output.stdout).unwrap()
}

#[tokio::test]
async fn certificates_are_rotated_under_load() {
    let files = Files::new();
    let mut fleet = files.start(2).await;
    let mut browser = Browser::open(&fleet.endpoint()).await.unwrap();
    let clicking = tokio::spawn(async move {
        let mut clicks = 0;
        while clicks < 200 {
            click(&mut browser).await.unwrap();
            clicks += 1;
            assert_eq!(shown_number(&browser, "count"), clicks);
        }
        browser
    });
    // First everybody believes the next authority too, then its certificates are shown, then the old one is forgotten.
    let next = Authority::generate().unwrap();
    files.believe_both(&next);
    renewed(&mut fleet, 1).await;
    for role in [GATEWAY, RUNNER] {
        next.issue(&[role], Validity::Now).unwrap().write_to(&files.of(role)).unwrap();
    }
    renewed(&mut fleet, 2).await;
    let mut browser = clicking.await.unwrap();
    // Its stream has been open all the time; new ones are made with what there is now.
    fleet.kill_runner(0).await;
    fleet.until_ready().await;
    let before = shown_number(&browser, "count");
    click(&mut browser).await.unwrap();
    assert_eq!(shown_number(&browser, "count"), before + 1);
    Browser::open(&fleet.endpoint()).await.unwrap();
}

#[tokio::test]
async fn whoever_has_no_good_certificate_gets_nothing() {
    let files = Files::new();
    let mut fleet = files.start(1).await;
    Browser::open(&fleet.endpoint()).await.unwrap();
    let redis = fleet.redis.url();
    let text = status(&files.settings(GATEWAY), &redis).await;
    assert!(text.contains("\"reachable\":true"), "{text}");
    // Expired, another role's, another authority's, none.
    let stranger = Files::new();
    let expired = Files { folder: tempfile::tempdir().unwrap(), authority: Authority::generate().unwrap() };
    files.authority.issue(&[GATEWAY], Validity::Past).unwrap().write_to(&expired.of(GATEWAY)).unwrap();
    for settings in [expired.settings(GATEWAY), files.settings(RUNNER), stranger.settings(GATEWAY), Vec::new()] {
        let text = status(&settings, &redis).await;
        assert!(text.contains("\"reachable\":false"), "{settings:?}: {text}");
    }
    said(&fleet.runners[0].server, "not let in", 3).await;

    // A gateway whose certificate has expired serves nobody, and does again with a new one.
    files.issue(GATEWAY, Validity::Past);
    renewed_gateway(&mut fleet, 1).await;
    fleet.gateways[0].kill().await;
    fleet.restart_gateway(0).await;
    let answer = plain_http::get(&fleet.endpoint(), "/", HeaderMap::new()).await.unwrap();
    assert!(answer.status.is_server_error(), "{}", answer.status);
    files.issue(GATEWAY, Validity::Now);
    renewed_gateway(&mut fleet, 1).await;
    let deadline = tokio::time::Instant::now() + LIMIT;
    while plain_http::get(&fleet.endpoint(), "/", HeaderMap::new()).await.unwrap().status != StatusCode::OK {
        assert!(tokio::time::Instant::now() < deadline, "{}", fleet.gateways[0].server.output());
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    Browser::open(&fleet.endpoint()).await.unwrap();
}

async fn renewed_gateway(fleet: &mut Fleet, times: usize) {
    said(&fleet.gateways[0].server, "inside has been renewed", times).await;
}

/// What a runner says that does not even start.
fn refusal(settings: &[(&str, &str)], arguments: &[&str]) -> String {
    let script = app("clicks");
    let output = Command::new(binary())
        .args(["runner", script.to_str().unwrap(), "--redis", "redis://127.0.0.1:1"])
        .args(arguments)
        .env("STREAMFLEET_SECRET", "a secret that all runners of the tests share")
        .envs(settings.iter().copied())
        .current_dir(Path::new("/"))
        .output()
        .unwrap();
    assert!(!output.status.success());
    String::from_utf8(output.stderr).unwrap()
}

#[test]
fn nothing_is_served_unencrypted_to_other_machines_unless_that_is_said() {
    let text = refusal(&[], &["--listen", "0.0.0.0:0"]);
    for part in ["unencrypted", "peer_cert_file", "--allow-plaintext"] {
        assert!(text.contains(part), "{text}");
    }
    let text = refusal(&[("STREAMFLEET_PEER_CERT_FILE", "/nowhere/cert.pem")], &["--listen", "0.0.0.0:0"]);
    assert!(text.contains("peer_ca_file"), "{text}");
    // Told to, it goes on to the next thing, which is that there is no Redis.
    let text = refusal(&[], &["--listen", "0.0.0.0:0", "--allow-plaintext", "--advertise", "127.0.0.1:1"]);
    assert!(text.contains("127.0.0.1:1") && !text.contains("unencrypted"), "{text}");
    let text =
        refusal(&[("STREAMFLEET_ALLOW_PLAINTEXT", "true")], &["--listen", "0.0.0.0:0", "--advertise", "127.0.0.1:1"]);
    assert!(!text.contains("unencrypted"), "{text}");
}
