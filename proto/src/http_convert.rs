//! Header lists and status codes, to and from the wire.

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};

use crate::common::Header;

/// A header or status from the other side that HTTP does not allow.
#[derive(Debug, thiserror::Error)]
pub enum HeaderError {
    /// The name has a character that names can't have.
    #[error("invalid header name {0:?}")]
    Name(String),
    /// The value has a character that values can't have.
    #[error("invalid value of header {0}")]
    Value(HeaderName),
    /// Not between 100 and 999.
    #[error("invalid status code {0}")]
    Status(u32),
}

/// Lists every header line, repeated names included, in order.
pub fn headers_to_wire(headers: &HeaderMap) -> Vec<Header> {
    headers
        .iter()
        .map(|(name, value)| Header {
            name: Bytes::copy_from_slice(name.as_str().as_bytes()),
            value: Bytes::copy_from_slice(value.as_bytes()),
        })
        .collect()
}

/// The reverse of [`headers_to_wire`].
pub fn headers_from_wire(headers: Vec<Header>) -> Result<HeaderMap, HeaderError> {
    let mut map = HeaderMap::with_capacity(headers.len());
    for header in headers {
        let name = HeaderName::from_bytes(&header.name)
            .map_err(|_| HeaderError::Name(String::from_utf8_lossy(&header.name).into_owned()))?;
        let value = HeaderValue::from_maybe_shared(header.value).map_err(|_| HeaderError::Value(name.clone()))?;
        map.append(name, value);
    }
    Ok(map)
}

/// A status code that may go to a browser.
pub fn status_from_wire(status: u32) -> Result<StatusCode, HeaderError> {
    u16::try_from(status).ok().and_then(|status| StatusCode::from_u16(status).ok()).ok_or(HeaderError::Status(status))
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*};

    use super::*;

    proptest! {
        #[test]
        fn header_lists_survive_the_wire(
            lines in vec(("[a-z][a-z0-9-]{0,20}", "[!-~\u{80}-\u{ff}]{0,40}"), 0..40)
        ) {
            let mut map = HeaderMap::new();
            for (name, value) in &lines {
                map.append(
                    HeaderName::try_from(name.as_str()).unwrap(),
                    HeaderValue::from_bytes(value.as_bytes()).unwrap(),
                );
            }
            prop_assert_eq!(headers_from_wire(headers_to_wire(&map)).unwrap(), map);
        }
    }

    #[test]
    fn what_http_forbids_is_refused() {
        let header = |name: &'static str, value: &'static str| {
            headers_from_wire(vec![Header { name: name.into(), value: value.into() }])
        };
        assert!(matches!(header("a b", "x"), Err(HeaderError::Name(_))));
        assert!(matches!(header("a", "x\r\ny"), Err(HeaderError::Value(_))));
        assert!(status_from_wire(99).is_err());
        assert!(status_from_wire(70_000).is_err());
        assert_eq!(status_from_wire(404).unwrap(), StatusCode::NOT_FOUND);
    }
}
