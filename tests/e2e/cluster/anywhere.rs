//! Whatever a browser asks for, it may ask any gateway, whichever runner has it.

use http::{HeaderMap, HeaderName, HeaderValue, header};
use rustix::process::Pid;
use streamfleet_testkit::Endpoint;
use streamfleet_testkit::browser::{Browser, LocalFile};
use streamfleet_testkit::client::ConnectOptions;
use streamfleet_testkit::http as plain_http;
use streamfleet_testkit::wire::WidgetValue;

use crate::cluster::fleet::{Fleet, FleetLaunch};
use crate::server::{click, shown, shown_number};

async fn start() -> Fleet {
    let mut launch = FleetLaunch::new("anywhere");
    launch.streamlit = vec![
        ("--server.enableStaticServing", "true".to_owned()),
        ("--server.trustedUserHeaders", r#"{"X-User": "email"}"#.to_owned()),
    ];
    launch.start().await
}

fn endpoints(fleet: &Fleet) -> Vec<Endpoint> {
    fleet.gateways.iter().map(super::fleet::Gateway::endpoint).collect()
}

/// Comes back with its session's id through another gateway.
async fn come_back(browser: &Browser, endpoint: &Endpoint) -> Browser {
    Browser::open_with(endpoint, browser.client.reconnect_options(), "", "").await.unwrap()
}

#[tokio::test]
async fn a_browser_that_comes_back_elsewhere_has_its_session() {
    let fleet = start().await;
    let endpoints = endpoints(&fleet);
    let mut browser = Browser::open(&endpoints[0]).await.unwrap();
    let (session, runner) = (browser.client.session_id().to_owned(), shown(&browser, "runner"));
    for round in 1..=9 {
        assert_eq!(click(&mut browser).await.unwrap(), round);
        // The old connection is left open: a network that has gone away says nothing.
        let back = come_back(&browser, &endpoints[usize::try_from(round).unwrap() % 3]).await;
        assert_eq!(back.client.session_id(), session);
        assert_eq!(shown(&back, "runner"), runner);
        assert_eq!(shown_number(&back, "count"), round);
        browser = back;
    }
}

#[tokio::test]
async fn an_id_is_worth_nothing_to_somebody_else() {
    let fleet = start().await;
    let endpoints = endpoints(&fleet);
    let user =
        |name| ConnectOptions::default().header(HeaderName::from_static("x-user"), HeaderValue::from_static(name));
    let mut owner = Browser::open_with(&endpoints[0], user("ann"), "", "").await.unwrap();
    assert_eq!(click(&mut owner).await.unwrap(), 1);
    let session = owner.client.session_id().to_owned();
    for endpoint in &endpoints {
        let thief = Browser::open_with(endpoint, user("bob").session(&session), "", "").await.unwrap();
        assert_ne!(thief.client.session_id(), session);
        assert_eq!(shown_number(&thief, "count"), 0);
        let nobody = Browser::open_with(endpoint, ConnectOptions::default().session("nonsense"), "", "").await.unwrap();
        assert_eq!(shown_number(&nobody, "count"), 0);
    }
    // The owner has noticed nothing.
    assert_eq!(click(&mut owner).await.unwrap(), 2);
    let second_tab = come_back(&owner, &endpoints[2]).await;
    assert_eq!(shown_number(&second_tab, "count"), 2);
}

#[tokio::test]
async fn files_and_pages_come_through_any_gateway() {
    let fleet = start().await;
    let endpoints = endpoints(&fleet);
    // One session only, so that two of the runners have never run the script.
    let browser = Browser::open(&endpoints[0]).await.unwrap();
    let media = browser.page.tree.media_urls();
    assert!(media.len() >= 2, "{media:?}");
    for endpoint in &endpoints {
        let get = async |path: &str, headers: HeaderMap| plain_http::get(endpoint, path, headers).await.unwrap();
        for url in &media {
            let whole = get(url, HeaderMap::new()).await;
            assert_eq!(whole.status, 200, "{url}");
            let range = HeaderMap::from_iter([(header::RANGE, HeaderValue::from_static("bytes=1000-1999"))]);
            let part = get(url, range).await;
            assert_eq!(part.status, 206, "{url}");
            assert_eq!(part.body, whole.body[1000..2000], "{url}");
        }
        let component = get("/component/anywhere.mark/index.html", HeaderMap::new()).await;
        assert_eq!(component.status, 200);
        assert!(component.body.starts_with(b"<!doctype html><title>A component"));
        assert_eq!(get("/component/anywhere.nothing/index.html", HeaderMap::new()).await.status, 404);
        assert_eq!(get("/app/static/note.txt", HeaderMap::new()).await.body, "the same everywhere\n");
        let page = get("/", HeaderMap::new()).await;
        let text = String::from_utf8_lossy(&page.body).into_owned();
        let asset =
            text.split('"').find(|part| part.starts_with("./static/js/")).unwrap().trim_start_matches('.').to_owned();
        assert_eq!(get(&asset, HeaderMap::new()).await.status, 200, "{asset}");
        let unknown = format!("/media/{}.wav", "0".repeat(56));
        assert_eq!(get(&unknown, HeaderMap::new()).await.status, 404);
    }
}

#[tokio::test]
async fn uploads_go_through_any_gateway_and_none_keeps_them() {
    let fleet = start().await;
    let endpoints = endpoints(&fleet);
    let mut browser = Browser::open(&endpoints[1]).await.unwrap();
    let widget = browser.widget("file").unwrap();
    let on_the_way: Vec<_> = fleet
        .gateways
        .iter()
        .map(|gateway| gateway.server.pid())
        .chain(fleet.runners.iter().map(|runner| runner.server.pid()))
        .collect();
    let before: Vec<_> = on_the_way.iter().map(|&pid| peak_memory(pid)).collect();
    for size in [0, 1, 200_000_000] {
        let content: Vec<u8> = (0..size).map(|n: u32| u8::try_from(n % 251).unwrap()).collect();
        let file = LocalFile { name: "data.bin", mime: "application/octet-stream", content: &content };
        let uploaded = browser.upload_through(&endpoints[0], &[file]).await.unwrap();
        browser.set(&widget, WidgetValue::Files(uploaded)).await.unwrap();
        assert_eq!(shown_number(&browser, "size"), i64::from(size));
    }
    let mut largest = 0;
    for (&pid, before) in on_the_way.iter().zip(before) {
        largest = largest.max(peak_memory(pid).saturating_sub(before));
    }
    eprintln!("an upload of 200 MB cost {} KiB at most on its way", largest / 1024);
    // A quarter of it; what is really on its way is a few MiB.
    assert!(largest < 50 << 20, "{largest} bytes were held on the way");
}

/// The most that a process has had resident so far, in bytes.
fn peak_memory(pid: Pid) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", pid.as_raw_nonzero())).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 1024
}
