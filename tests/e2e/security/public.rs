//! HTTPS towards browsers.

use http::{HeaderMap, StatusCode};
use streamfleet_testkit::Endpoint;
use streamfleet_testkit::browser::Browser;
use streamfleet_testkit::certificates::{Authority, Certificates, Validity};
use streamfleet_testkit::http as plain_http;
use streamfleet_testkit::process::free_port;
use streamfleet_testkit::tls::{TlsClient, TlsTunnel};

use crate::cluster::fleet::FleetLaunch;
use crate::server::{click, launch, shown_number, until, wait_for_workers};

/// A browser that comes by HTTPS.
async fn open(client: &TlsClient, port: u16) -> (Browser, TlsTunnel) {
    let tunnel = TlsTunnel::start(client.clone(), ([127, 0, 0, 1], port).into()).await.unwrap();
    let browser = Browser::open(&Endpoint::local(tunnel.address().port())).await.unwrap();
    (browser, tunnel)
}

#[tokio::test]
async fn a_gateway_serves_https_and_sends_browsers_there() {
    let folder = tempfile::tempdir().unwrap();
    let authority = Authority::generate().unwrap();
    authority.issue(&["localhost"], Validity::Now).unwrap().write_to(folder.path()).unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let redirecting = free_port();
    let mut fleet = FleetLaunch::new("clicks");
    (fleet.runners, fleet.gateways) = (1, 1);
    fleet.everywhere = vec![
        ("STREAMFLEET_TLS_CERT_FILE", path("cert.pem")),
        ("STREAMFLEET_TLS_KEY_FILE", path("key.pem")),
        ("STREAMFLEET_REDIRECT_LISTEN", format!("127.0.0.1:{redirecting}")),
    ];
    let fleet = fleet.start().await;
    let gateway = fleet.gateways[0].address;

    let web = TlsClient::new(authority.pem(), &["http/1.1"]).unwrap();
    let (mut browser, _tunnel) = open(&web, gateway.port()).await;
    click(&mut browser).await.unwrap();
    assert_eq!(shown_number(&browser, "count"), 1);
    let both = TlsClient::new(authority.pem(), &["h2", "http/1.1"]).unwrap();
    assert_eq!(both.protocol(gateway).await.unwrap().as_deref(), Some("h2"));

    let mut headers = HeaderMap::new();
    headers.insert("host", "app.example".parse().unwrap());
    let answer = plain_http::get(&Endpoint::local(redirecting), "/page?a=b", headers).await.unwrap();
    assert_eq!(answer.status, StatusCode::PERMANENT_REDIRECT);
    let location = format!("https://app.example:{}/page?a=b", gateway.port());
    assert_eq!(answer.header("location"), Some(location.as_str()));
    // HTTP where HTTPS is served is nothing.
    assert!(plain_http::get(&fleet.gateways[0].endpoint(), "/", HeaderMap::new()).await.is_err());

    // Renewed by another authority, while the browser stays.
    let next = Authority::generate().unwrap();
    next.issue(&["localhost"], Validity::Now).unwrap().write_to(folder.path()).unwrap();
    let server = &fleet.gateways[0].server;
    until("the certificate to be renewed", || server.output().contains("browsers has been renewed")).await;
    assert!(web.protocol(gateway).await.is_err());
    let web = TlsClient::new(next.pem(), &["http/1.1"]).unwrap();
    open(&web, gateway.port()).await;
    click(&mut browser).await.unwrap();
    assert_eq!(shown_number(&browser, "count"), 2);
}

#[tokio::test]
async fn streamlits_own_settings_for_https_are_honoured() {
    let folder = tempfile::tempdir().unwrap();
    let certificates = Certificates::generate().unwrap();
    certificates.write_to(folder.path()).unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let launch = launch("clicks", 1)
        .option("--server.sslCertFile", path("cert.pem"))
        .option("--server.sslKeyFile", path("key.pem"));
    let mut server = launch.spawn().unwrap();
    server.wait_for_output("https://", crate::server::LIMIT).await.unwrap();
    wait_for_workers(&server, 1).await;
    let web = TlsClient::new(&certificates.authority, &["http/1.1"]).unwrap();
    let port = server.endpoint().authority.rsplit(':').next().unwrap().parse().unwrap();
    let (mut browser, _tunnel) = open(&web, port).await;
    click(&mut browser).await.unwrap();
    assert_eq!(shown_number(&browser, "count"), 1);
}
