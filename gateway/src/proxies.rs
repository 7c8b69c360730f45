//! What proxies in front of the gateway say of whom they speak for. Only those that are configured are believed.

use std::{
    net::{IpAddr, SocketAddr},
    sync::atomic::{AtomicBool, Ordering},
};

use http::{HeaderMap, HeaderName, HeaderValue, header};
use ipnet::IpNet;
use tracing::warn;

use crate::head::Ends;

const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
/// What proxies say, by custom or by RFC 7239.
const FORWARDED: [HeaderName; 6] = [
    header::FORWARDED,
    FORWARDED_FOR,
    FORWARDED_PROTO,
    HeaderName::from_static("x-forwarded-host"),
    HeaderName::from_static("x-forwarded-port"),
    HeaderName::from_static("x-real-ip"),
];

/// The proxies that are believed.
#[derive(Debug, Default)]
pub struct TrustedProxies {
    networks: Vec<IpNet>,
    /// Whether it has been said that somebody else speaks for others.
    warned: AtomicBool,
}

impl TrustedProxies {
    /// Those with an address in one of these networks.
    pub fn new(networks: Vec<IpNet>) -> Self {
        Self { networks, warned: AtomicBool::new(false) }
    }

    /// Whether this is one of them.
    pub(crate) fn contains(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.networks.iter().any(|network| network.contains(&address))
    }

    /// Puts those in the place of the proxy that it speaks for. Where the other end is no proxy that is believed, what it says of others
    /// is taken out.
    pub(crate) fn see_through(&self, ends: Ends, headers: &mut HeaderMap) -> Ends {
        if !self.contains(ends.peer.ip()) {
            self.strip(ends, headers);
            return ends;
        }
        let scheme = last(headers, &FORWARDED_PROTO).map(str::to_ascii_lowercase);
        let scheme = match scheme.as_deref() {
            Some("https" | "wss") => "https",
            Some("http" | "ws") => "http",
            _ => ends.scheme,
        };
        let peer = self.client(headers).map_or(ends.peer, |address| SocketAddr::new(address, 0));
        Ends { peer, scheme, ..ends }
    }

    /// The last address that is no proxy's: what stands before it, anybody may have written.
    fn client(&self, headers: &HeaderMap) -> Option<IpAddr> {
        let mut client = None;
        let values = headers.get_all(&FORWARDED_FOR).iter().rev();
        for entry in values.flat_map(|value| value.to_str().unwrap_or_default().rsplit(',')) {
            let Some(address) = address(entry.trim()) else { break };
            client = Some(address);
            if !self.contains(address) {
                break;
            }
        }
        client
    }

    fn strip(&self, ends: Ends, headers: &mut HeaderMap) {
        let mut found = None;
        for name in FORWARDED {
            if headers.remove(&name).is_some() {
                found = Some(name);
            }
        }
        if let Some(name) = found
            && !self.warned.swap(true, Ordering::Relaxed)
        {
            warn!(
                peer = %ends.peer.ip(),
                header = name.as_str(),
                "a header of proxies came from somebody who is none, and was left out; is trusted_proxies right?"
            );
        }
    }
}

fn last<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    let value: &HeaderValue = headers.get_all(name).iter().next_back()?;
    value.to_str().ok()?.rsplit(',').next().map(str::trim)
}

/// An address, as it is or with a port.
fn address(text: &str) -> Option<IpAddr> {
    let bare = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text);
    let address = bare.parse().ok().or_else(|| text.parse().ok().map(|address: SocketAddr| address.ip()))?;
    Some(IpAddr::to_canonical(&address))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ends(peer: &str) -> Ends {
        Ends { peer: format!("{peer}:4000").parse().unwrap(), local: "10.0.0.1:8501".parse().unwrap(), scheme: "http" }
    }

    fn proxies() -> TrustedProxies {
        TrustedProxies::new(vec!["10.0.0.0/8".parse().unwrap(), "fd00::/8".parse().unwrap()])
    }

    fn seen(peer: &str, lines: &[(&'static str, &str)]) -> (String, &'static str, HeaderMap) {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(*name, value.parse().unwrap());
        }
        let ends = proxies().see_through(ends(peer), &mut headers);
        (ends.peer.ip().to_string(), ends.scheme, headers)
    }

    #[test]
    fn the_last_address_that_is_no_proxy_is_the_client() {
        for (lines, client) in [
            (&["192.0.2.1"][..], "192.0.2.1"),
            (&["192.0.2.1, 10.2.3.4"], "192.0.2.1"),
            (&["1.1.1.1, 192.0.2.1,10.2.3.4", "10.9.9.9"], "192.0.2.1"),
            (&["1.1.1.1", "192.0.2.1"], "192.0.2.1"),
            (&["10.5.5.5, 10.6.6.6"], "10.5.5.5"),
            (&["192.0.2.1:5000"], "192.0.2.1"),
            (&["[2001:db8::1]:5000"], "2001:db8::1"),
            (&["[2001:db8::1]"], "2001:db8::1"),
            (&["2001:db8::1"], "2001:db8::1"),
            (&["::ffff:192.0.2.1"], "192.0.2.1"),
            (&["192.0.2.1, nonsense, 10.6.6.6"], "10.6.6.6"),
            (&["nonsense"], "10.0.0.9"),
            (&[], "10.0.0.9"),
        ] {
            let lines: Vec<_> = lines.iter().map(|line| ("x-forwarded-for", *line)).collect();
            assert_eq!(seen("10.0.0.9", &lines).0, client, "{lines:?}");
        }
    }

    #[test]
    fn the_scheme_is_the_last_one_told() {
        for (value, scheme) in [("https", "https"), ("http, HTTPS", "https"), ("wss", "https"), ("gopher", "http")] {
            assert_eq!(seen("10.0.0.9", &[("x-forwarded-proto", value)]).1, scheme, "{value}");
        }
    }

    #[test]
    fn nobody_else_is_believed_or_passed_on() {
        let lines = [
            ("x-forwarded-for", "192.0.2.1"),
            ("x-forwarded-proto", "https"),
            ("x-real-ip", "192.0.2.1"),
            ("forwarded", "for=192.0.2.1"),
            ("cookie", "a=b"),
        ];
        let (client, scheme, headers) = seen("192.0.2.7", &lines);
        assert_eq!((client.as_str(), scheme), ("192.0.2.7", "http"));
        assert_eq!(headers.keys().map(HeaderName::as_str).collect::<Vec<_>>(), ["cookie"]);
        // A proxy's own words stay, for the app to read.
        assert_eq!(seen("10.0.0.9", &lines).2.len(), 5);
    }
}
