//! Where Redis is, as a URL.
//!
//! | form | what is there |
//! |---|---|
//! | `redis://[USER:PASSWORD@]HOST[:PORT][/DB]` | one server, or a managed primary whose name follows a failover |
//! | `redis-sentinel://[USER:PASSWORD@]HOST[:PORT],…/NAME[/DB]` | Sentinels, which say where the primary NAME is |
//! | `redis-cluster://[USER:PASSWORD@]HOST[:PORT],…` | Redis Cluster, found through any of its nodes |
//!
//! With `rediss` in the place of `redis` each of them is TLS. User and password are the servers'; Sentinels are asked without.

use std::{fmt, str::FromStr};

/// Where Redis is, and how to log in. Shown without the password.
#[derive(Clone, PartialEq, Eq)]
pub struct RedisAddress {
    pub(super) topology: Topology,
    pub(super) tls: bool,
    /// Host names or addresses with ports: of the server, the Sentinels, or some of the cluster's nodes.
    pub(super) hosts: Vec<(String, u16)>,
    pub(super) username: Option<String>,
    pub(super) password: Option<String>,
    pub(super) database: i64,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Topology {
    Single,
    Sentinel { primary: String },
    Cluster,
}

/// A text that is no address of Redis.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error(
    "not an address of Redis: {0} (redis://HOST:PORT, redis-sentinel://HOST:PORT,…/NAME, or redis-cluster://HOST:PORT,…; \
     rediss… for TLS)"
)]
pub struct AddressError(&'static str);

const REDIS_PORT: u16 = 6379;
const SENTINEL_PORT: u16 = 26379;

impl RedisAddress {
    /// The first host, for finding out which of this machine's addresses leads there.
    pub fn first_host(&self) -> (&str, u16) {
        self.hosts.first().map_or(("", 0), |(host, port)| (host.as_str(), *port))
    }
}

impl FromStr for RedisAddress {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (scheme, rest) = text.split_once("://").ok_or(AddressError("it has no scheme"))?;
        let (tls, kind) = match scheme.strip_prefix("rediss") {
            Some(kind) => (true, kind),
            None => (false, scheme.strip_prefix("redis").ok_or(AddressError("its scheme is unknown"))?),
        };
        // The last `@`, as passwords may have others in them.
        let (login, rest) = match rest.rsplit_once('@') {
            Some((login, rest)) => (Some(login), rest),
            None => (None, rest),
        };
        let (username, password) = login.map(parse_login).transpose()?.unwrap_or_default();
        let (hosts, path) = rest.split_once('/').unwrap_or((rest, ""));
        let (topology, database, default_port) = match kind {
            "" => (Topology::Single, parse_database(path)?, REDIS_PORT),
            "-cluster" if path.is_empty() => (Topology::Cluster, 0, REDIS_PORT),
            "-cluster" => return Err(AddressError("a cluster has one database only")),
            "-sentinel" => {
                let (primary, database) = path.split_once('/').unwrap_or((path, ""));
                if primary.is_empty() {
                    return Err(AddressError("the name of the primary is missing"));
                }
                (Topology::Sentinel { primary: decode(primary)? }, parse_database(database)?, SENTINEL_PORT)
            }
            _ => return Err(AddressError("its scheme is unknown")),
        };
        let hosts: Vec<_> = hosts.split(',').map(|host| parse_host(host, default_port)).collect::<Result<_, _>>()?;
        if hosts.len() > 1 && topology == Topology::Single {
            return Err(AddressError("one server has one host"));
        }
        Ok(Self { topology, tls, hosts, username, password, database })
    }
}

fn parse_login(login: &str) -> Result<(Option<String>, Option<String>), AddressError> {
    let (username, password) = login.split_once(':').ok_or(AddressError("the login is not USER:PASSWORD"))?;
    let username = Some(decode(username)?).filter(|name| !name.is_empty());
    Ok((username, Some(decode(password)?)))
}

fn parse_database(path: &str) -> Result<i64, AddressError> {
    match path {
        "" => Ok(0),
        digits => digits.parse::<u16>().map(i64::from).map_err(|_| AddressError("the database is not a number")),
    }
}

fn parse_host(text: &str, default_port: u16) -> Result<(String, u16), AddressError> {
    // An IPv6 address has colons of its own, and so comes in brackets.
    let (host, port) = match text.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((host, "")) => (host, None),
        Some((host, rest)) => (host, Some(rest.strip_prefix(':').ok_or(AddressError("a host is malformed"))?)),
        None => text.split_once(':').map_or((text, None), |(host, port)| (host, Some(port))),
    };
    let port = match port {
        Some(port) => port.parse().ok().filter(|&port| port != 0).ok_or(AddressError("a port is not a number"))?,
        None => default_port,
    };
    let fits = !host.is_empty() && !host.contains(|c: char| c.is_whitespace() || c == '/' || c == '?');
    if fits { Ok((host.to_owned(), port)) } else { Err(AddressError("a host is missing or malformed")) }
}

/// Undoes percent-encoding, which a password with `/`, `@` or `,` in it needs.
fn decode(text: &str) -> Result<String, AddressError> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        let digit = |byte: Option<u8>| byte.and_then(|byte| char::from(byte).to_digit(16));
        bytes.push(match byte {
            b'%' => match (digit(rest.next()), digit(rest.next())) {
                (Some(high), Some(low)) => {
                    u8::try_from(high * 16 + low).map_err(|_| AddressError("bad percent-encoding"))?
                }
                _ => return Err(AddressError("bad percent-encoding")),
            },
            byte => byte,
        });
    }
    String::from_utf8(bytes).map_err(|_| AddressError("bad percent-encoding"))
}

impl fmt::Display for RedisAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (kind, path) = match &self.topology {
            Topology::Single => ("", String::new()),
            Topology::Sentinel { primary } => ("-sentinel", format!("/{primary}")),
            Topology::Cluster => ("-cluster", String::new()),
        };
        write!(f, "redis{}{kind}://", if self.tls { "s" } else { "" })?;
        if self.password.is_some() {
            write!(f, "{}:***@", self.username.as_deref().unwrap_or_default())?;
        }
        for (number, (host, port)) in self.hosts.iter().enumerate() {
            let comma = if number > 0 { "," } else { "" };
            if host.contains(':') { write!(f, "{comma}[{host}]:{port}")? } else { write!(f, "{comma}{host}:{port}")? }
        }
        f.write_str(&path)?;
        if self.database != 0 {
            write!(f, "/{}", self.database)?;
        }
        Ok(())
    }
}

impl fmt::Debug for RedisAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_and_shown_without_the_password() {
        for (text, shown) in [
            ("redis://localhost", "redis://localhost:6379"),
            ("rediss://:p%40ss%2C@10.0.0.1:7000/3", "rediss://:***@10.0.0.1:7000/3"),
            ("redis://me:a@b@h", "redis://me:***@h:6379"),
            ("redis://[::1]:7000", "redis://[::1]:7000"),
            ("redis-sentinel://a,b:1/main", "redis-sentinel://a:26379,b:1/main"),
            ("redis-sentinel://u:p@a/main/2", "redis-sentinel://u:***@a:26379/main/2"),
            ("rediss-cluster://u:p@a:1,b:2", "rediss-cluster://u:***@a:1,b:2"),
        ] {
            let address: RedisAddress = text.parse().unwrap();
            assert_eq!(address.to_string(), shown);
            assert_eq!(format!("{address:?}"), shown);
        }
        let address: RedisAddress = "rediss://:p%40ss%2C@h".parse().unwrap();
        assert_eq!(address.password.as_deref(), Some("p@ss,"));
    }

    #[test]
    fn what_is_no_address_is_refused() {
        for text in [
            "",
            "localhost:6379",
            "http://localhost",
            "redis-ring://a",
            "redis://",
            "redis://a,b",
            "redis://a:x",
            "redis://a:0",
            "redis://a/x",
            "redis://p@a",
            "redis://:%zz@a",
            "redis://[::1",
            "redis-sentinel://a",
            "redis-cluster://a/1",
            "redis-cluster://a,,b",
        ] {
            assert!(text.parse::<RedisAddress>().is_err(), "{text}");
        }
    }
}
