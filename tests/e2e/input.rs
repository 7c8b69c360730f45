//! Bad input from outside gets a clear answer, and nobody else suffers.

use std::time::Duration;

use http::{HeaderMap, HeaderValue, Method, header};
use streamfleet_testkit::browser::Browser;
use streamfleet_testkit::client::{Client, ClientError, ConnectOptions, RawFrame};
use streamfleet_testkit::http as plain_http;
use streamfleet_testkit::process::Server;
use streamfleet_testkit::wire::{Back, ClientState};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::server::{LIMIT, click, launch, start, workers};

/// A server, and somebody who uses it and must not notice anything.
async fn server_with_neighbour() -> (Server, Browser) {
    let server = start("clicks", 1).await;
    let browser = Browser::open(server.endpoint()).await.unwrap();
    (server, browser)
}

async fn still_served(server: &Server, mut neighbour: Browser) {
    assert_eq!(click(&mut neighbour).await.unwrap(), 1);
    let mut newcomer = Browser::open(server.endpoint()).await.unwrap();
    assert_eq!(click(&mut newcomer).await.unwrap(), 1);
    assert_eq!(workers(server).len(), 1);
}

/// The code that the server closes the connection with, after what it has to say before.
async fn close_code(client: &mut Client) -> Option<u16> {
    loop {
        match client.next().await {
            Ok(_) => {}
            Err(ClientError::Closed { code, .. }) => return code,
            Err(error) => panic!("{error}"),
        }
    }
}

#[tokio::test]
async fn frames_that_are_no_messages_end_the_connection() {
    let (server, neighbour) = server_with_neighbour().await;
    for (frame, expected) in [
        // As Streamlit answers them; see starlette_websocket.py. Text makes its handler fail.
        (RawFrame::text("hello"), 1011),
        (RawFrame::binary(vec![0xff; 100]), 1002),
    ] {
        let mut client = Client::connect(server.endpoint()).await.unwrap();
        client.send_frame(frame).await.unwrap();
        assert_eq!(close_code(&mut client).await, Some(expected));
    }
    still_served(&server, neighbour).await;
}

#[tokio::test]
async fn a_frame_over_the_app_s_limit_is_refused_before_it_is_complete() {
    let server = launch("clicks", 1).args(["--server.maxMessageSize", "1"]).start().await.unwrap();
    let mut client = Client::connect(server.endpoint()).await.unwrap();
    // The connection may be closed while the frame is still being sent.
    let sent = client.send_frame(RawFrame::binary(vec![0; 3_000_000])).await;
    let code = match sent {
        Ok(()) => close_code(&mut client).await,
        Err(ClientError::Closed { code, .. }) => code,
        Err(error) => panic!("{error}"),
    };
    assert!(matches!(code, Some(1009) | None), "{code:?}");
    Browser::open(server.endpoint()).await.unwrap();
}

#[tokio::test]
async fn a_flood_of_frames_does_not_starve_others() {
    let (server, mut neighbour) = server_with_neighbour().await;
    let mut flooder = Client::connect(server.endpoint()).await.unwrap();
    let flood = async {
        for _ in 0..20_000 {
            if flooder.send(Back::AppHeartbeat(true)).await.is_err() {
                break;
            }
        }
    };
    let clicks = async {
        for expected in 1..=10 {
            assert_eq!(click(&mut neighbour).await.unwrap(), expected);
        }
    };
    // The flooder reads nothing, so it may get stuck; the others must not.
    tokio::select! {
        () = clicks => {}
        () = async { flood.await; std::future::pending().await } => {}
    }
}

#[tokio::test]
async fn a_browser_that_does_not_read_is_dropped_alone() {
    let server = start("flood", 1).await;
    let mut slow = Client::connect(server.endpoint()).await.unwrap();
    slow.rerun(ClientState::default()).await.unwrap();
    // 200 MB are on their way to somebody who reads none of it. A newcomer gets all of his.
    let mut newcomer = Browser::open(server.endpoint()).await.unwrap();
    assert!(newcomer.page.tree.contains("done;"));
    newcomer.heartbeat().await.unwrap();
    let pid = workers(&server)[0].as_raw_nonzero();
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let resident: u64 = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))
        .and_then(|line| line.trim().strip_suffix(" kB"))
        .and_then(|number| number.trim().parse().ok())
        .unwrap();
    assert!(resident < 900 * 1024, "the worker holds {resident} kB");
    drop(slow);
}

#[tokio::test]
async fn a_half_open_connection_is_found_dead() {
    let server = launch("clicks", 1).args(["--server.websocketPingInterval", "1"]).start().await.unwrap();
    // A client that answers nothing, not even pings, since nobody drives its socket.
    let mut dead = Client::connect(server.endpoint()).await.unwrap();
    dead.rerun(ClientState::default()).await.unwrap();
    dead.settle(|_| Ok(())).await.unwrap();
    let session = dead.session_id().to_owned();
    tokio::time::sleep(Duration::from_secs(4)).await; // the silence is what is tested
    // Its session is free to be taken over without a fight; and the connection is gone.
    let end = async {
        loop {
            match dead.next().await {
                Ok(_) => {}
                Err(error) => break error,
            }
        }
    };
    let end = timeout(LIMIT, end).await.unwrap();
    assert!(matches!(end, ClientError::Closed { .. }), "{end}");
    let options = ConnectOptions::default().session(&session);
    let back = Browser::open_with(server.endpoint(), options, "", "").await.unwrap();
    assert_eq!(back.client.session_id(), session);
}

#[tokio::test]
async fn a_foreign_origin_is_refused() {
    let (server, neighbour) = server_with_neighbour().await;
    let foreign = HeaderValue::from_static("http://evil.example");
    let options = ConnectOptions::default().header(header::ORIGIN, foreign);
    let refused = Client::connect_with(server.endpoint(), options).await.unwrap_err();
    assert!(matches!(refused, ClientError::Refused { status, .. } if status == 403), "{refused}");
    still_served(&server, neighbour).await;
}

#[tokio::test]
async fn a_foreign_host_is_refused_where_hosts_are_listed() {
    let server = launch("clicks", 1).args(["--server.allowedHosts", "127.0.0.1"]).start().await.unwrap();
    let options = ConnectOptions::default().header(header::HOST, HeaderValue::from_static("evil.example"));
    let refused = Client::connect_with(server.endpoint(), options).await.unwrap_err();
    assert!(matches!(refused, ClientError::Refused { status, .. } if status == 403), "{refused}");
    Browser::open(server.endpoint()).await.unwrap();
}

#[tokio::test]
async fn uploads_to_nobody_are_refused() {
    let (server, neighbour) = server_with_neighbour().await;
    let headers = neighbour.client.http_headers();
    for session in ["6f1ed002-ab55-4bd3-9d0a-000000000000", "nonsense"] {
        let path = format!("/_stcore/upload_file/{session}/file");
        let answer =
            plain_http::request(server.endpoint(), Method::PUT, &path, headers.clone(), "x".into()).await.unwrap();
        assert_eq!(answer.status, 400);
    }
    // Without the XSRF token nothing is taken at all.
    let path = format!("/_stcore/upload_file/{}/file", neighbour.client.session_id());
    let answer =
        plain_http::request(server.endpoint(), Method::PUT, &path, HeaderMap::new(), "x".into()).await.unwrap();
    assert_eq!(answer.status, 403);
    still_served(&server, neighbour).await;
}

#[tokio::test]
async fn paths_do_not_lead_out() {
    let (server, neighbour) = server_with_neighbour().await;
    for path in [
        "/../../../../etc/passwd",
        "/static/../../../../etc/passwd",
        "/static/%2e%2e/%2e%2e/%2e%2e/etc/passwd",
        "/media/..%2f..%2fetc%2fpasswd",
        "/app/static/../../etc/passwd",
        "/component/x/../../../etc/passwd",
        "/component/..%5c..%5cetc/passwd",
        "/_stcore/bidi-components/../../../etc/passwd",
        "//etc/passwd",
        "/media//etc/passwd",
        "/static/%00",
    ] {
        let answer = raw(&server, format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")).await;
        assert!(!answer.contains("root:"), "{path}: {answer}");
        assert!(!answer.starts_with("HTTP/1.1 5"), "{path}: {answer}");
    }
    still_served(&server, neighbour).await;
}

#[tokio::test]
async fn malformed_requests_are_answered_or_dropped() {
    let (server, neighbour) = server_with_neighbour().await;
    let many_lines = "X-Line: x\r\n".repeat(10_000);
    let one_long_line = "x".repeat(1_000_000);
    for (request, allowed) in [
        (format!("GET / HTTP/1.1\r\nHost: x\r\n{many_lines}\r\n"), &["431"][..]),
        (format!("GET / HTTP/1.1\r\nHost: x\r\nX-Long: {one_long_line}\r\n\r\n"), &["431"]),
        (format!("GET /{one_long_line} HTTP/1.1\r\nHost: x\r\n\r\n"), &["414", "431"]),
        ("nonsense\r\n\r\n".to_owned(), &["400"]),
        ("GET / HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n".to_owned(), &["400"]),
        ("GET /_stcore/stream HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\n\r\n".to_owned(), &["400", "426"]),
    ] {
        let answer = raw(&server, request).await;
        let status = answer.get(9..12).unwrap_or("none");
        assert!(allowed.contains(&status), "{answer:.300}");
    }
    still_served(&server, neighbour).await;
}

/// Sends bytes as they are, and reads until the server has nothing more to say.
async fn raw(server: &Server, request: String) -> String {
    let mut stream = TcpStream::connect(&server.endpoint().authority).await.unwrap();
    // The server may close before it has read everything.
    let _ = stream.write_all(request.as_bytes()).await;
    let mut answer = vec![0; 64 * 1024];
    let mut length = 0;
    while let Ok(Ok(read)) = timeout(LIMIT, stream.read(&mut answer[length..])).await {
        length += read;
        let complete = answer[..length].windows(4).any(|window| window == b"\r\n\r\n");
        if read == 0 || length == answer.len() || complete {
            break;
        }
    }
    String::from_utf8_lossy(&answer[..length]).into_owned()
}
