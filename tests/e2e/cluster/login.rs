//! `st.login` with a provider of `OpenID` Connect, each step of it through another gateway.

use std::path::Path;

use http::{HeaderMap, HeaderValue, header};
use streamfleet_testkit::Endpoint;
use streamfleet_testkit::browser::{Browser, Event};
use streamfleet_testkit::client::ConnectOptions;
use streamfleet_testkit::http::{self as plain_http, Response};
use streamfleet_testkit::process::{Launch, Server, free_port, python};

use crate::cluster::fleet::FleetLaunch;
use crate::server::{LIMIT, app, shown};

async fn start_provider() -> Server {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/e2e/oidc_provider.py");
    let port = free_port();
    let launch = Launch::program(python(), Path::new("/"), port).arg(script).arg(port.to_string());
    let mut provider = launch.spawn().unwrap();
    provider.wait_for_output("listening", LIMIT).await.unwrap();
    provider
}

/// A copy of the app with secrets of its own.
fn app_with_login(folder: &Path, provider: &Server, public_port: u16) -> std::path::PathBuf {
    let original = app("anywhere");
    let copy = folder.join("anywhere.py");
    std::fs::copy(&original, &copy).unwrap();
    std::fs::create_dir_all(folder.join("frontend")).unwrap();
    std::fs::copy(original.with_file_name("frontend").join("index.html"), folder.join("frontend/index.html")).unwrap();
    std::fs::create_dir_all(folder.join(".streamlit")).unwrap();
    let secrets = format!(
        "[auth]\nredirect_uri = \"http://127.0.0.1:{public_port}/oauth2callback\"\nclient_id = \"the-app\"\n\
         cookie_secret = \"Streamlit insists on one in this place\"\nclient_secret = \"whatever\"\nserver_metadata_url = \"{}/.well-known/openid-configuration\"\n",
        provider.endpoint().origin()
    );
    std::fs::write(folder.join(".streamlit/secrets.toml"), secrets).unwrap();
    copy
}

/// Cookies, as a browser keeps them.
#[derive(Default)]
struct Cookies(Vec<(String, String)>);

impl Cookies {
    fn take(&mut self, answer: &Response) {
        for line in answer.headers.get_all(header::SET_COOKIE) {
            let pair = line.to_str().unwrap().split(';').next().unwrap();
            let (name, value) = pair.split_once('=').unwrap();
            self.0.retain(|(known, _)| known != name);
            if !value.is_empty() && value != "\"\"" && value != "null" {
                self.0.push((name.to_owned(), value.to_owned()));
            }
        }
    }

    fn headers(&self) -> HeaderMap {
        let text: Vec<_> = self.0.iter().map(|(name, value)| format!("{name}={value}")).collect();
        HeaderMap::from_iter([(header::COOKIE, HeaderValue::from_str(&text.join("; ")).unwrap())])
    }
}

/// The path and query of a redirect's target.
fn target(answer: &Response) -> String {
    assert!(answer.status.is_redirection(), "{answer:?}");
    let location = answer.header("location").unwrap();
    let path = location.splitn(4, '/').nth(3).map_or_else(|| location.to_owned(), |path| format!("/{path}"));
    if location.starts_with('/') { location.to_owned() } else { path }
}

#[tokio::test]
async fn a_login_works_though_each_step_goes_elsewhere() {
    let provider = start_provider().await;
    let folder = tempfile::tempdir().unwrap();
    // What the browser's address bar says; nothing listens there in this test.
    let public_port = free_port();
    let mut launch = FleetLaunch::new("anywhere");
    launch.path = app_with_login(folder.path(), &provider, public_port);
    let fleet = launch.start().await;
    let endpoints: Vec<Endpoint> = fleet.gateways.iter().map(super::fleet::Gateway::endpoint).collect();

    // The page says where to go for logging in.
    let mut visitor = Browser::open(&endpoints[0]).await.unwrap();
    assert_eq!(shown(&visitor, "user").as_deref(), Some("nobody"));
    let button = visitor.widget("login").unwrap();
    visitor.click(&button).await.unwrap();
    let said = visitor.page.take_events();
    let redirect = said.iter().find_map(|event| match event {
        Event::Said("auth_redirect", content) => Some(String::from_utf8_lossy(content).into_owned()),
        _ => None,
    });
    let redirect = redirect.unwrap();
    let login = &redirect[redirect.find("/auth/login").unwrap()..];

    let mut cookies = Cookies::default();
    let to_provider = plain_http::get(&endpoints[1], login, cookies.headers()).await.unwrap();
    cookies.take(&to_provider);
    let authorize = target(&to_provider);
    let back = plain_http::get(provider.endpoint(), &authorize, HeaderMap::new()).await.unwrap();
    let callback = target(&back);
    let welcome = plain_http::get(&endpoints[2], &callback, cookies.headers()).await.unwrap();
    assert!(welcome.status.is_redirection(), "{welcome:?}");
    cookies.take(&welcome);

    let public = format!("127.0.0.1:{public_port}");
    // Logged in, wherever the browser comes next: each on another runner or not, as it happens.
    for endpoint in &endpoints {
        let mut options = ConnectOptions { headers: cookies.headers(), ..ConnectOptions::default() };
        // A login holds for the address that the browser shows.
        options.headers.insert(header::HOST, public.parse().unwrap());
        options.headers.insert(header::ORIGIN, format!("http://{public}").parse().unwrap());
        let user = Browser::open_with(endpoint, options, "", "").await.unwrap();
        assert_eq!(shown(&user, "user").as_deref(), Some("ann@example.org"));
    }
}
