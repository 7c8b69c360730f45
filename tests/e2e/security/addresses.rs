//! Proxies that are believed, and how much one address may take.

use http::{HeaderName, HeaderValue};
use streamfleet_testkit::Endpoint;
use streamfleet_testkit::browser::Browser;
use streamfleet_testkit::client::{ClientError, ConnectOptions};
use streamfleet_testkit::wait;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::cluster::fleet::{Fleet, FleetLaunch};
use crate::server::{LIMIT, shown};

async fn start(app: &str, settings: &[(&'static str, &str)]) -> Fleet {
    let mut launch = FleetLaunch::new(app);
    (launch.runners, launch.gateways) = (1, 1);
    launch.everywhere = settings.iter().map(|&(name, value)| (name, value.to_owned())).collect();
    launch.start().await
}

/// A browser whose proxy says that it is from there.
async fn open_from(endpoint: &Endpoint, address: &str) -> Result<Browser, ClientError> {
    let forwarded = HeaderName::from_static("x-forwarded-for");
    let options = ConnectOptions::default().header(forwarded, HeaderValue::from_str(address).unwrap());
    Browser::open_with(endpoint, options, "", "").await
}

#[tokio::test]
async fn a_proxy_is_believed_if_it_is_configured() {
    // What is on the same machine is, unless something else is said.
    let fleet = start("whoami", &[]).await;
    let browser = open_from(&fleet.endpoint(), "198.51.100.9, 192.0.2.7").await.unwrap();
    assert_eq!(shown(&browser, "ip").as_deref(), Some("192.0.2.7"));
    assert_eq!(shown(&browser, "forwarded").as_deref(), Some("198.51.100.9, 192.0.2.7"));
    drop(fleet);

    let fleet = start("whoami", &[("STREAMFLEET_TRUSTED_PROXIES", "10.0.0.0/8")]).await;
    let browser = open_from(&fleet.endpoint(), "192.0.2.7").await.unwrap();
    // Streamlit names no address of the same machine.
    assert_eq!(shown(&browser, "ip").as_deref(), Some("None"));
    assert_eq!(shown(&browser, "forwarded").as_deref(), Some("None"));
    assert!(fleet.gateways[0].server.output().contains("is trusted_proxies right?"));
}

#[tokio::test]
async fn an_address_has_so_many_connections_and_no_more() {
    let fleet = start("clicks", &[("STREAMFLEET_MAX_CONNECTIONS_PER_ADDRESS", "2")]).await;
    let endpoint = fleet.endpoint();
    let first = open_from(&endpoint, "192.0.2.7").await.unwrap();
    let _second = open_from(&endpoint, "192.0.2.7").await.unwrap();
    assert!(is_refused(&open_from(&endpoint, "192.0.2.7").await));
    let _other = open_from(&endpoint, "192.0.2.8").await.unwrap();
    drop(first);
    let again = async || {
        let opened = open_from(&endpoint, "192.0.2.7").await;
        anyhow::ensure!(!is_refused(&opened), "still refused");
        Ok(opened?)
    };
    wait::until("a place to be free", LIMIT, again).await.unwrap();
}

fn is_refused(opened: &Result<Browser, ClientError>) -> bool {
    match opened {
        Err(ClientError::Refused { status, .. }) => status.as_u16() == 429,
        Err(ClientError::Http(_)) | Ok(_) => false,
        Err(error) => panic!("{error}"),
    }
}

#[tokio::test]
async fn an_address_has_so_many_uploads_under_way() {
    let fleet = start("clicks", &[("STREAMFLEET_MAX_UPLOADS_PER_ADDRESS", "1")]).await;
    let mut browser = Browser::open(&fleet.endpoint()).await.unwrap();
    let urls = browser.client.file_urls(&["slow", "quick"], |_| Ok(())).await.unwrap();
    let [slow, quick] = [0, 1].map(|number| urls[number].upload_url.clone());

    // Somebody who has sent half of a file, and says nothing more.
    let headers = browser.client.http_headers();
    let own = headers.iter().map(|(name, value)| format!("{name}: {}", value.to_str().unwrap()));
    let head: Vec<_> = [
        format!("PUT {slow} HTTP/1.1"),
        format!("Host: {}", fleet.endpoint().authority),
        "Content-Length: 1000".to_owned(),
        "Expect: 100-continue".to_owned(),
        "Content-Type: multipart/form-data; boundary=b".to_owned(),
    ]
    .into_iter()
    .chain(own)
    .collect();
    let head = format!("{}\r\n\r\n", head.join("\r\n"));
    let mut connection = TcpStream::connect(fleet.gateways[0].address).await.unwrap();
    connection.write_all(head.as_bytes()).await.unwrap();
    // It is under way when the server wants to have its body.
    let mut answer = [0; 12];
    connection.read_exact(&mut answer).await.unwrap();
    assert_eq!(&answer, b"HTTP/1.1 100");
    connection.write_all(b"--b\r\n").await.unwrap();

    let upload = async |status: u16| {
        let answer = browser.client.upload(&quick, "quick", "text/plain", b"content").await?;
        anyhow::ensure!(answer.status.as_u16() == status, "{}", answer.status);
        Ok(())
    };
    wait::until("a second upload to be refused", LIMIT, async || upload(429).await).await.unwrap();
    drop(connection);
    wait::until("an upload to be taken", LIMIT, async || upload(204).await).await.unwrap();
}
