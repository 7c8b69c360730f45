//! Command lines, scripts, settings and Pythons that won't do: each is named, with the next step.

use std::path::Path;
use std::process::{Command, Output};
use std::time::Instant;

use streamfleet_testkit::browser::{Browser, LocalFile};
use streamfleet_testkit::process::{Launch, free_port, python};

use crate::server::{LIMIT, app, binary, click, launch, shown_number};

fn run(folder: &Path, args: &[&str]) -> Output {
    Command::new(binary())
        .args(args)
        .current_dir(folder)
        .env("VIRTUAL_ENV", "")
        .env("STREAMFLEET_CACHE_DIR", folder.join("cache"))
        .output()
        .unwrap()
}

/// Runs the program, which must fail, and returns what it says.
fn complaint(args: &[&str]) -> String {
    let folder = tempfile::tempdir().unwrap();
    let output = run(folder.path(), args);
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success(), "{args:?} went well: {text}");
    assert!(!text.contains("panicked"), "{text}");
    text
}

fn assert_names(text: &str, parts: &[&str]) {
    for part in parts {
        assert!(text.contains(part), "no {part:?} in: {text}");
    }
}

#[test]
fn scripts_that_are_not_there_are_named() {
    assert_names(&complaint(&["run", "nowhere.py"]), &["nowhere.py", "does not exist"]);
    assert_names(&complaint(&["run"]), &["streamlit_app.py"]);
    assert_names(&complaint(&["run", "."]), &["folder", "streamlit_app.py"]);
    assert_names(&complaint(&["run", "/etc/hostname"]), &["/etc/hostname", ".py"]);
}

#[test]
fn unknown_flags_and_settings_are_named() {
    let script = app("clicks");
    let script = script.to_str().unwrap();
    assert_names(&complaint(&["run", script, "--wrokers", "2"]), &["--wrokers"]);
    assert_names(&complaint(&["run", script, "--workers", "0"]), &["workers", "0"]);
    assert_names(&complaint(&["run", script, "--port", "99999"]), &["99999"]);
    assert_names(&complaint(&["rnu", script]), &["rnu"]);
    let python = python();
    let python = python.to_str().unwrap();
    let with = |flags: &[&str]| complaint(&[&["run", script, "--python", python], flags].concat());
    assert_names(&with(&["--server.prot", "1"]), &["--server.prot"]);
    assert_names(&with(&["--server.port", "many"]), &["server.port", "many"]);
    assert_names(&with(&["--server.address", "no.such.host.invalid"]), &["no.such.host.invalid"]);
    // Streamlit takes no secrets from the command line, where anybody can see them.
    assert_names(&with(&["--server.cookieSecret", "x"]), &["server.cookieSecret"]);
}

#[test]
fn wrong_settings_files_are_named() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("streamfleet.toml"), "prot = 1\n").unwrap();
    let output = run(folder.path(), &["run", app("clicks").to_str().unwrap()]);
    assert!(!output.status.success());
    assert_names(&String::from_utf8_lossy(&output.stderr), &["streamfleet.toml", "prot"]);
}

#[test]
fn a_python_that_wont_do_is_named() {
    let script = app("clicks");
    let script = script.to_str().unwrap();
    assert_names(&complaint(&["run", script, "--python", "/nowhere/python"]), &["/nowhere/python"]);

    let folder = tempfile::tempdir().unwrap();
    let fake = folder.path().join("python");
    std::fs::write(&fake, "#!/bin/sh\necho 'not a python' >&2\nexit 3\n").unwrap();
    std::fs::set_permissions(&fake, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let fake = fake.to_str().unwrap();
    assert_names(&complaint(&["run", script, "--python", fake]), &[fake]);
}

#[test]
fn a_module_that_cannot_be_imported_is_shown() {
    let script = app("import_error");
    let python = python();
    let text = complaint(&["run", script.to_str().unwrap(), "--python", python.to_str().unwrap()]);
    assert_names(&text, &["no_such_module_anywhere"]);
}

#[tokio::test]
async fn a_taken_port_is_an_error_when_it_was_chosen() {
    let taken = free_port();
    let _holder = std::net::TcpListener::bind(("127.0.0.1", taken)).unwrap();
    let mut server = launch("clicks", 1).option("--port", taken.to_string()).spawn().unwrap();
    server.quiet();
    let status = server.wait(LIMIT).await.unwrap();
    assert!(!status.success());
    assert_names(&server.output(), &[&taken.to_string(), "not available"]);
}

#[tokio::test]
async fn streamlits_own_ways_to_set_the_port_are_heeded() {
    let port = free_port();
    let plain = Launch::program(binary(), Path::new("/"), port)
        .arg("run")
        .arg(app("clicks"))
        .arg("--python")
        .arg(python())
        .args(["--workers", "1", "--server.headless", "true", "--server.address", "127.0.0.1"]);
    let flag = plain.clone().args(["--server.port", &port.to_string()]);
    let variable = plain.clone().env("STREAMLIT_SERVER_PORT", port.to_string());
    let own_variable = plain.env("STREAMFLEET_PORT", port.to_string());
    for launch in [flag, variable, own_variable] {
        let mut server = launch.start().await.unwrap();
        let url = format!("http://127.0.0.1:{port}");
        server.wait_for_output(&url, LIMIT).await.unwrap();
        let browser = Browser::open(server.endpoint()).await.unwrap();
        assert_eq!(shown_number(&browser, "count"), 0);
        server.stop().await.unwrap();
    }
}

#[tokio::test]
async fn hello_is_the_demo() {
    let port = free_port();
    let server = Launch::program(binary(), Path::new("/"), port)
        .args(["hello", "--port", &port.to_string(), "--host", "127.0.0.1", "--python"])
        .arg(python())
        .start()
        .await
        .unwrap();
    let browser = Browser::open(server.endpoint()).await.unwrap();
    assert!(browser.page.tree.contains("Welcome to Streamlit"));
}

#[tokio::test]
async fn the_oldest_supported_streamlit_is_served_too() {
    let python = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/test-env/py-oldest/bin/python");
    assert!(python.exists(), "{} does not exist: run tests/setup first", python.display());
    let port = free_port();
    let server = Launch::program(binary(), Path::new("/"), port)
        .arg("run")
        .arg(app("clicks"))
        .arg("--python")
        .arg(python)
        .args(["--port", &port.to_string(), "--host", "127.0.0.1", "--workers", "2", "--server.headless", "true"])
        .start()
        .await
        .unwrap();
    let mut browser = Browser::open(server.endpoint()).await.unwrap();
    let session = browser.client.session_id().to_owned();
    assert_eq!(click(&mut browser).await.unwrap(), 1);
    let file = LocalFile { name: "a.txt", mime: "text/plain", content: b"hello" };
    let uploaded = browser.upload(&[file]).await.unwrap();
    assert_eq!(uploaded.uploaded_file_info.len(), 1);
    let options = browser.client.reconnect_options();
    drop(browser);
    // Until it has noticed that the old connection is gone, this Streamlit gives the newcomer a session of its own.
    let deadline = Instant::now() + LIMIT;
    let mut back = loop {
        let browser = Browser::open_with(server.endpoint(), options.clone(), "", "").await.unwrap();
        if browser.client.session_id() == session {
            break browser;
        }
        assert!(Instant::now() < deadline, "the session can't be had back");
    };
    assert_eq!(click(&mut back).await.unwrap(), 2);
}

#[test]
fn roles_of_a_cluster_say_what_they_lack() {
    let script = app("clicks");
    let script = script.to_str().unwrap();
    assert_names(&complaint(&["gateway"]), &["--redis"]);
    assert_names(&complaint(&["runner", script]), &["--redis"]);
    let redis = ["--redis", "redis://127.0.0.1:1"];
    assert_names(&complaint(&[&["runner", script][..], &redis].concat()), &["secret", "openssl"]);
    assert_names(&complaint(&["gateway", "--redis", "localhost:6379"]), &["redis://"]);
    assert_names(&complaint(&["gateway", "--theme.base", "dark"]), &["--theme.base"]);
    let free = ["--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0"];
    let text = complaint(&[&["gateway", "--redis", "redis://:hidden@127.0.0.1:1"][..], &free].concat());
    assert_names(&text, &["127.0.0.1:1", "refused"]);
    assert!(!text.contains("hidden"), "{text}");
    assert_names(&complaint(&[&["gateway", "--listen", "127.0.0.1:99999"][..], &redis].concat()), &["99999", "listen"]);
}
