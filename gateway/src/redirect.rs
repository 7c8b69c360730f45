//! Sends browsers that come over HTTP to where HTTPS is served.

use std::future::Future;

use axum::{Router, extract::Request, response::Response};
use http::{HeaderValue, StatusCode, header, uri::Authority};
use tokio::net::TcpListener;
use tracing::debug;

/// Answers every request with the address of HTTPS on the same host, on this port, until `stop`.
pub async fn redirect(listener: TcpListener, port: u16, stop: impl Future<Output = ()> + Send) {
    let router = Router::new().fallback(move |request: Request| async move { answer(&request, port) });
    tokio::select! {
        served = axum::serve(listener, router).into_future() => {
            if let Err(error) = served {
                debug!("the redirecting listener ended: {error}");
            }
        }
        () = stop => {}
    }
}

fn answer(request: &Request, port: u16) -> Response {
    let host = request.headers().get(header::HOST).and_then(|host| host.to_str().ok());
    let host = host.and_then(|host| host.parse::<Authority>().ok());
    let path = request.uri().path_and_query().map_or("/", |path| path.as_str());
    let port = if port == 443 { String::new() } else { format!(":{port}") };
    let location = host.map(|host| format!("https://{}{port}{path}", host.host()));
    let mut response = Response::default();
    match location.and_then(|location| HeaderValue::try_from(location).ok()) {
        Some(location) => {
            *response.status_mut() = StatusCode::PERMANENT_REDIRECT;
            response.headers_mut().insert(header::LOCATION, location);
        }
        None => *response.status_mut() = StatusCode::BAD_REQUEST,
    }
    response
}

#[cfg(test)]
mod tests {
    use axum::body::Body;

    use super::*;

    #[test]
    fn the_host_and_the_path_stay() {
        for (host, target, port, location) in [
            ("app.example", "/a?b=c", 443, Some("https://app.example/a?b=c")),
            ("app.example:80", "/", 8443, Some("https://app.example:8443/")),
            ("[::1]:80", "/", 443, Some("https://[::1]/")),
            ("", "/", 443, None),
            ("a b", "/", 443, None),
        ] {
            let request = Request::builder().uri(target).header(header::HOST, host).body(Body::empty()).unwrap();
            let response = answer(&request, port);
            let found = response.headers().get(header::LOCATION).map(|value| value.to_str().unwrap());
            assert_eq!(found, location, "{host}");
            let status = if location.is_some() { StatusCode::PERMANENT_REDIRECT } else { StatusCode::BAD_REQUEST };
            assert_eq!(response.status(), status);
        }
    }
}
