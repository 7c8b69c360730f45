//! What the user sees on the terminal: where the app is, in Streamlit's words, or what went wrong.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "this is the user's terminal")]

use std::io::{self, IsTerminal as _};

use streamfleet_proto::{common::AppSettings, worker::ListenSettings};

use crate::address::outward_ip;

const BLUE: &str = "\x1b[34m";
const BLUE_BOLD: &str = "\x1b[34;1m";
const BOLD: &str = "\x1b[1m";
const RED_BOLD: &str = "\x1b[31;1m";

/// Prints the app's addresses.
pub(crate) fn urls(listen: &ListenSettings, app: &AppSettings, port: u16, is_hello: bool) {
    if listen.hide_welcome {
        return;
    }
    let title = if is_hello {
        "Welcome to Streamlit. Check out our demo in your browser."
    } else {
        "You can now view your Streamlit app in your browser."
    };
    println!("\n  {}\n", paint(BLUE_BOLD, title));
    for (name, url) in named_urls(listen, app, port) {
        println!("  {}{}", paint(BLUE, &format!("{name}: ")), paint(BOLD, &url));
    }
    println!();
}

/// The address to open in this machine's browser.
pub(crate) fn local_url(listen: &ListenSettings, app: &AppSettings, port: u16) -> String {
    named_urls(listen, app, port).into_iter().next().map_or_else(String::new, |(_, url)| url)
}

/// Prints what stopped the command.
pub(crate) fn error(message: &str) {
    let label = if io::stderr().is_terminal() { format!("{RED_BOLD}Error:\x1b[0m") } else { "Error:".to_owned() };
    eprintln!("{label} {message}");
}

/// Prints something the user should know.
pub(crate) fn notice(message: &str) {
    eprintln!("  Note: {message}");
}

fn named_urls(listen: &ListenSettings, app: &AppSettings, port: u16) -> Vec<(&'static str, String)> {
    let shown_port = match listen.browser_port {
        0 => u32::from(port),
        chosen => chosen,
    };
    let url = |host: &str| {
        let host = if host.contains(':') && !host.starts_with('[') { format!("[{host}]") } else { host.to_owned() };
        let path = match app.base_url_path.as_str() {
            "" => String::new(),
            base => format!("/{base}"),
        };
        let scheme = if listen.ssl_cert_file.is_empty() { "http" } else { "https" };
        format!("{scheme}://{host}:{shown_port}{path}")
    };
    if !listen.browser_address.is_empty() {
        return vec![("URL", url(&listen.browser_address))];
    }
    match listen.address.as_str() {
        "" | "0.0.0.0" | "::" => {
            let mut urls = vec![("Local URL", url("localhost"))];
            urls.extend(outward_ip().map(|ip| ("Network URL", url(&ip.to_string()))));
            urls
        }
        address => vec![("URL", url(address))],
    }
}

fn paint(style: &str, text: &str) -> String {
    if io::stdout().is_terminal() { format!("{style}{text}\x1b[0m") } else { text.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn urls(listen: &ListenSettings, base: &str) -> Vec<(&'static str, String)> {
        let app = AppSettings { base_url_path: base.to_owned(), ..AppSettings::default() };
        named_urls(listen, &app, 8501)
    }

    #[test]
    fn urls_are_streamlits() {
        let everywhere = ListenSettings::default();
        assert_eq!(urls(&everywhere, "")[0], ("Local URL", "http://localhost:8501".to_owned()));
        assert_eq!(urls(&everywhere, "a/b")[0].1, "http://localhost:8501/a/b");

        let one = ListenSettings { address: "127.0.0.1".to_owned(), ..ListenSettings::default() };
        assert_eq!(urls(&one, ""), [("URL", "http://127.0.0.1:8501".to_owned())]);

        let proxied = ListenSettings {
            browser_address: "apps.example".to_owned(),
            browser_port: 80,
            ..ListenSettings::default()
        };
        assert_eq!(urls(&proxied, ""), [("URL", "http://apps.example:80".to_owned())]);
    }
}
