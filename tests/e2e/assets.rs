//! Streamlit's front end, from a gateway that keeps it.

use std::collections::BTreeSet;
use std::io::Read as _;
use std::path::Path;

use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use rustix::process::Signal;
use streamfleet_testkit::http::{self as plain_http, Response};
use streamfleet_testkit::process::own_python;
use streamfleet_testkit::{Endpoint, wait};

use crate::cluster::fleet::FleetLaunch;
use crate::server::{LIMIT, launch};

const TOKEN: &str = "a token for those who operate it";

async fn get(endpoint: &Endpoint, path: &str, name: HeaderName, value: &str) -> Response {
    let headers = HeaderMap::from_iter([(name, HeaderValue::from_str(value).unwrap())]);
    plain_http::get(endpoint, &endpoint.path(path), headers).await.unwrap()
}

async fn get_plain(endpoint: &Endpoint, path: &str) -> Response {
    plain_http::get(endpoint, &endpoint.path(path), HeaderMap::new()).await.unwrap()
}

/// The scripts and styles that the app's page names.
async fn scripts(endpoint: &Endpoint) -> BTreeSet<String> {
    let page = get_plain(endpoint, "/").await;
    let page = String::from_utf8(page.body.to_vec()).unwrap();
    let files = page.split('"').filter_map(|part| part.strip_prefix("./static/"));
    let files = files.filter(|file| Path::new(file).extension().is_some_and(|kind| kind == "js" || kind == "css"));
    files.map(|file| format!("/static/{file}")).collect()
}

/// The script that the page begins with.
async fn first_script(endpoint: &Endpoint) -> String {
    scripts(endpoint).await.into_iter().find(|path| path.starts_with("/static/js/index.")).unwrap()
}

/// Gets a file in a coding, as soon as the gateway has made it.
async fn get_compressed(endpoint: &Endpoint, path: &str, coding: &str) -> Response {
    wait::until("a compressed file", LIMIT, async || {
        let answer = get(endpoint, path, header::ACCEPT_ENCODING, coding).await;
        anyhow::ensure!(answer.header("content-encoding") == Some(coding), "it is {:?}", answer.headers);
        Ok(answer)
    })
    .await
    .unwrap()
}

fn decoded(answer: &Response) -> Vec<u8> {
    assert_eq!(answer.status, StatusCode::OK);
    assert_eq!(answer.header("content-length").unwrap(), answer.body.len().to_string());
    assert_eq!(answer.header("vary"), Some("Accept-Encoding"));
    assert!(answer.header("cache-control").unwrap().contains("immutable"));
    let mut body = Vec::new();
    match answer.header("content-encoding") {
        Some("br") => brotli::BrotliDecompress(&mut &answer.body[..], &mut body).unwrap(),
        Some("gzip") => drop(flate2::read::GzDecoder::new(&answer.body[..]).read_to_end(&mut body).unwrap()),
        Some(other) => panic!("{other}"),
        None => body.extend_from_slice(&answer.body),
    }
    body
}

/// A gateway's counter or gauge.
async fn figure(admin: &Endpoint, name: &str) -> u64 {
    let page = get(admin, "/metrics", header::AUTHORIZATION, &format!("Bearer {TOKEN}")).await;
    let page = String::from_utf8(page.body.to_vec()).unwrap();
    let value = page.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_else(|| panic!("no {name} in {page}"));
    value.trim().parse().unwrap()
}

async fn hits_and_misses(admin: &Endpoint) -> (u64, u64) {
    let hits = figure(admin, "streamfleet_gateway_asset_hits_total ").await;
    (hits, figure(admin, "streamfleet_gateway_asset_misses_total ").await)
}

#[tokio::test]
async fn a_script_is_fetched_once_and_comes_compressed() {
    let mut launch = FleetLaunch::new("clicks.py");
    (launch.runners, launch.gateways) = (1, 1);
    launch.everywhere = vec![("STREAMFLEET_ADMIN_TOKEN", TOKEN.to_owned())];
    let mut fleet = launch.start().await;
    let (gateway, admin) = (fleet.gateways[0].endpoint(), fleet.gateways[0].admin.clone());
    let script = first_script(&gateway).await;
    assert_eq!(hits_and_misses(&admin).await, (0, 0), "a page is none of it");

    let plain = get_plain(&gateway, &script).await;
    assert_eq!(plain.header("content-encoding"), None);
    assert_eq!(hits_and_misses(&admin).await, (0, 1));
    let compressed = [get_compressed(&gateway, &script, "br").await, get_compressed(&gateway, &script, "gzip").await];
    let whole = decoded(&plain);
    assert!(compressed.iter().all(|answer| answer.body.len() < whole.len() / 2 && decoded(answer) == whole));
    let (hits, misses) = hits_and_misses(&admin).await;
    assert!(hits >= 2 && misses == 1);
    let bodies: usize = [&plain].into_iter().chain(&compressed).map(|answer| answer.body.len()).sum();
    assert!(figure(&admin, "streamfleet_gateway_asset_memory_bytes ").await >= bodies as u64);

    // Conditions are the gateway's to judge, and parts are a worker's.
    for answer in [&plain, &compressed[0], &compressed[1]] {
        let tag = answer.header("etag").unwrap();
        let known = get(&gateway, &script, header::IF_NONE_MATCH, tag).await;
        assert_eq!((known.status, known.header("etag")), (StatusCode::NOT_MODIFIED, Some(tag)));
    }
    let part = get(&gateway, &script, header::RANGE, "bytes=10-19").await;
    assert_eq!((part.status, &part.body[..]), (StatusCode::PARTIAL_CONTENT, &whole[10..20]));

    // What a page asks for that isn't there is Streamlit's to answer each time.
    let unknown = get(&gateway, "/static/js/unknown.js", header::ACCEPT_ENCODING, "br").await;
    assert_eq!((unknown.status, unknown.header("cache-control")), (StatusCode::OK, Some("no-cache")));

    fleet.runners[0].server.quiet();
    fleet.runners[0].server.signal(Signal::KILL).unwrap();
    fleet.runners[0].server.wait(LIMIT).await.unwrap();
    wait::until("the app to be gone", LIMIT, async || {
        let page = get_plain(&gateway, "/").await;
        anyhow::ensure!(page.status.is_server_error(), "{}", page.status);
        Ok(())
    })
    .await
    .unwrap();
    for coding in ["br", "gzip", "identity"] {
        assert_eq!(decoded(&get(&gateway, &script, header::ACCEPT_ENCODING, coding).await), whole);
    }
    let head = plain_http::request(&gateway, Method::HEAD, &script, HeaderMap::new(), "".into()).await;
    assert_eq!(head.unwrap().header("content-length").unwrap(), whole.len().to_string());
}

#[tokio::test]
async fn one_process_keeps_its_front_end_too_wherever_the_app_is_mounted() {
    let launch = launch("clicks", 1).option("--server.baseUrlPath", "some/where").base_path("some/where");
    let server = launch.start().await.unwrap();
    let endpoint = server.endpoint();
    let files = scripts(endpoint).await;
    assert!(files.len() > 10, "{files:?}");
    let (mut whole, mut compressed) = (0, 0);
    for path in files {
        let plain = get_plain(endpoint, &path).await;
        whole += plain.body.len();
        // One that is tiny stays as it is.
        if plain.header("vary").is_some() {
            let brotli = get_compressed(endpoint, &path, "br").await;
            compressed += brotli.body.len();
            assert_eq!(decoded(&brotli), decoded(&plain), "{path}");
        }
    }
    assert!(compressed < whole / 3, "{compressed} of {whole} bytes");
}

/// A roll that brings another Streamlit: browsers load the page of one version, and whoever answers must have its scripts.
#[tokio::test]
async fn a_page_gets_its_own_scripts_while_another_streamlit_comes() {
    let mut launch = FleetLaunch::new("clicks.py");
    (launch.runners, launch.gateways, launch.revision) = (2, 2, Some("newest".to_owned()));
    launch.python = own_python();
    let path = launch.path.clone();
    let mut fleet = launch.start().await;
    let gateways = [fleet.gateways[0].endpoint(), fleet.gateways[1].endpoint()];
    let mut pages = vec![scripts(&gateways[0]).await];
    fleet.set_python(Path::new(env!("CARGO_MANIFEST_DIR")).join("target/test-env/py-oldest/bin/python"));
    fleet.begin(0, &path, "oldest").await;
    fleet.until_ready().await;
    wait::until("the page of the other Streamlit", LIMIT, async || {
        let page = scripts(&gateways[1]).await;
        anyhow::ensure!(page != pages[0], "it is the same");
        Ok(page)
    })
    .await
    .map(|page| pages.push(page))
    .unwrap();
    for path in pages.into_iter().flat_map(|page| page.into_iter().take(8)) {
        let answer = get_plain(&gateways[1], &path).await;
        assert!(!answer.header("content-type").unwrap().contains("html"), "{path}: {:?}", answer.headers);
    }
}
