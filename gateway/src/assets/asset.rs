//! A file of Streamlit's front end as it is kept, and the answers that are made of it.

use std::time::SystemTime;

use axum::body::Body;
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Response, StatusCode, header, request, response};

use super::{
    compress::{Compressed, is_worth_it},
    negotiation::{CODINGS, Coding, choose},
};

/// The largest file that is kept. Streamlit's largest has 4.7 MB.
pub(super) const MAX_BYTES: usize = 8 * 1024 * 1024;

/// What an answer says of a file that the browser has already (RFC 9110, section 15.4.5).
const NOT_MODIFIED_HEADERS: [HeaderName; 5] =
    [header::CACHE_CONTROL, header::CONTENT_LOCATION, header::ETAG, header::EXPIRES, header::VARY];

/// A file, and the headers that it was sent with.
#[derive(Debug)]
pub(super) struct Asset {
    headers: HeaderMap,
    body: Bytes,
    compressed: Compressed,
    is_compressible: bool,
}

/// The length of the body that an answer promises, if the answer may be kept for everybody.
pub(super) fn length_to_keep(answer: &response::Parts) -> Option<usize> {
    let headers = &answer.headers;
    let says = |directive: &str| lists(headers, &header::CACHE_CONTROL, directive);
    // `public` as well: who asks may have shown who they are.
    let lasts = says("immutable") && says("public") && !["private", "no-store", "no-cache"].into_iter().any(says);
    let is_personal = headers.contains_key(header::SET_COOKIE);
    let depends = items(headers, &header::VARY).any(|name| !name.eq_ignore_ascii_case("accept-encoding"));
    let is_coded = headers.contains_key(header::CONTENT_ENCODING);
    if answer.status != StatusCode::OK || !lasts || is_personal || depends || is_coded {
        return None;
    }
    let length = headers.get(header::CONTENT_LENGTH)?.to_str().ok()?.parse().ok()?;
    (length <= MAX_BYTES).then_some(length)
}

impl Asset {
    pub(super) fn new(mut headers: HeaderMap, body: Bytes) -> Self {
        // Of the moment, or of this coding alone.
        for name in [header::DATE, header::CONTENT_LENGTH] {
            headers.remove(name);
        }
        let kind = headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
        let is_compressible = is_worth_it(kind, body.len());
        if is_compressible {
            headers.insert(header::VARY, HeaderValue::from_static("Accept-Encoding"));
        }
        Self { headers, body, compressed: Compressed::default(), is_compressible }
    }

    /// Whether it is worth being compressed.
    pub(super) fn is_compressible(&self) -> bool {
        self.is_compressible
    }

    /// The same with its compressed bodies. Takes its time: not for threads that others wait for.
    pub(super) fn compress(&self) -> Self {
        let (headers, body) = (self.headers.clone(), self.body.clone());
        Self { compressed: Compressed::of(&body), headers, body, is_compressible: self.is_compressible }
    }

    /// The memory that it takes, near enough.
    pub(super) fn bytes(&self) -> usize {
        let bodies = CODINGS.into_iter().filter_map(|coding| self.body(coding)).map(Bytes::len);
        let headers = self.headers.iter().map(|(name, value)| name.as_str().len() + value.len() + 64);
        bodies.sum::<usize>() + headers.sum::<usize>() + size_of::<Self>()
    }

    /// What a GET or HEAD is answered.
    pub(super) fn answer(&self, request: &request::Parts) -> Response<Body> {
        let at_hand = CODINGS.into_iter().filter(|coding| self.body(*coding).is_some());
        let coding = choose(&request.headers, at_hand);
        let mut headers = self.headers.clone();
        if let Some(tag) = self.tag(coding) {
            headers.insert(header::ETAG, tag);
        }
        let mut response = Response::new(Body::empty());
        if let Some(known) = self.known(&request.headers) {
            *response.status_mut() = StatusCode::NOT_MODIFIED;
            if let Known::As(tag) = known {
                headers.insert(header::ETAG, tag);
            }
            let told = NOT_MODIFIED_HEADERS.into_iter().filter_map(|name| Some((name.clone(), headers.remove(name)?)));
            response.headers_mut().extend(told);
            return response;
        }
        let body = self.body(coding).unwrap_or(&self.body).clone();
        headers.insert(header::CONTENT_LENGTH, body.len().into());
        if let Some(name) = coding.name() {
            headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static(name));
            // Parts are had from a worker, and only of the body as it is.
            headers.remove(header::ACCEPT_RANGES);
        }
        *response.headers_mut() = headers;
        if request.method != Method::HEAD {
            *response.body_mut() = Body::from(body);
        }
        response
    }

    fn body(&self, coding: Coding) -> Option<&Bytes> {
        match coding {
            Coding::Brotli => self.compressed.brotli.as_ref(),
            Coding::Gzip => self.compressed.gzip.as_ref(),
            Coding::Identity => Some(&self.body),
        }
    }

    /// The entity tag of a coding: other bytes need another one.
    fn tag(&self, coding: Coding) -> Option<HeaderValue> {
        let tag = self.headers.get(header::ETAG)?;
        let Some(name) = coding.name() else { return Some(tag.clone()) };
        let start = tag.to_str().ok()?.strip_suffix('"')?;
        format!("{start}-{name}\"").parse().ok()
    }

    /// Whether the browser has the file already, in whatever coding (RFC 9110, section 13.2.2).
    fn known(&self, headers: &HeaderMap) -> Option<Known> {
        if headers.contains_key(header::IF_NONE_MATCH) {
            if items(headers, &header::IF_NONE_MATCH).any(|item| item == "*") {
                return Some(Known::Somehow);
            }
            // It is told the tag of what it has, and not of what it would have been sent.
            let tags = CODINGS.into_iter().filter_map(|coding| self.tag(coding));
            return tags.into_iter().find(|tag| has_tag(headers, tag)).map(Known::As);
        }
        let date = |headers: &HeaderMap, name| -> Option<SystemTime> {
            httpdate::parse_http_date(headers.get(name)?.to_str().ok()?).ok()
        };
        let since = date(headers, header::IF_MODIFIED_SINCE)?;
        (date(&self.headers, header::LAST_MODIFIED)? <= since).then_some(Known::Somehow)
    }
}

/// How a browser that has the file has shown it.
enum Known {
    /// By this entity tag.
    As(HeaderValue),
    Somehow,
}

/// Whether `If-None-Match` names a tag, compared weakly.
fn has_tag(headers: &HeaderMap, tag: &HeaderValue) -> bool {
    let opaque = |tag: &str| tag.trim_start_matches("W/").to_owned();
    let Ok(tag) = tag.to_str().map(opaque) else { return false };
    items(headers, &header::IF_NONE_MATCH).any(|item| opaque(item) == tag)
}

/// Whether a header that is a list has an item.
fn lists(headers: &HeaderMap, name: &HeaderName, wanted: &str) -> bool {
    items(headers, name).any(|item| item.eq_ignore_ascii_case(wanted))
}

/// The items of a header that is a list. What is no text is an item that is nothing in particular.
fn items<'a>(headers: &'a HeaderMap, name: &HeaderName) -> impl Iterator<Item = &'a str> {
    let values = headers.get_all(name).into_iter().map(|value| value.to_str().unwrap_or("?"));
    values.flat_map(|value| value.split(',')).map(str::trim).filter(|item| !item.is_empty())
}

#[cfg(test)]
mod tests {
    use axum::body::to_bytes;
    use http::Request;

    use super::*;

    const BODY: &[u8] = &[b'x'; 10_000];

    fn headers(list: &[(&'static str, &'static str)]) -> HeaderMap {
        list.iter().map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value))).collect()
    }

    fn asset() -> Asset {
        let headers = headers(&[
            ("content-type", "text/javascript; charset=utf-8"),
            ("content-length", "10000"),
            ("cache-control", "public, immutable, max-age=31536000"),
            ("etag", "\"abc\""),
            ("last-modified", "Sat, 28 Nov 2026 09:08:00 GMT"),
            ("date", "Sat, 28 Nov 2026 10:00:00 GMT"),
            ("accept-ranges", "bytes"),
        ]);
        Asset::new(headers, Bytes::from_static(BODY))
    }

    fn ask(method: Method, list: &[(&'static str, &'static str)]) -> request::Parts {
        let mut request = Request::new(());
        (*request.method_mut(), *request.headers_mut()) = (method, headers(list));
        request.into_parts().0
    }

    #[test]
    fn only_what_is_the_same_for_all_and_for_ever_is_kept() {
        let lasting = [("cache-control", "public, immutable, max-age=1"), ("content-length", "7")];
        let kept = |status, list: &[(&'static str, &'static str)]| {
            let mut answer = Response::new(());
            (*answer.status_mut(), *answer.headers_mut()) = (status, headers(list));
            length_to_keep(&answer.into_parts().0)
        };
        let with = |name, value| kept(StatusCode::OK, &[&lasting[..], &[(name, value)]].concat());
        assert_eq!(kept(StatusCode::OK, &lasting), Some(7));
        assert_eq!(with("vary", "Accept-Encoding"), Some(7));
        assert_eq!(with("vary", "Accept-Encoding, Cookie"), None);
        assert_eq!(with("vary", "*"), None);
        assert_eq!(with("set-cookie", "a=b"), None);
        assert_eq!(with("content-encoding", "gzip"), None);
        assert_eq!(kept(StatusCode::PARTIAL_CONTENT, &lasting), None);
        assert_eq!(kept(StatusCode::OK, &lasting[..1]), None, "of unknown length");
        for (control, length) in [
            ("no-cache", "7"),
            ("public, max-age=31536000", "7"),
            ("immutable", "7"),
            ("public, immutable, no-cache", "7"),
            ("public, immutable", "8388609"),
            ("public, immutable", "-1"),
        ] {
            assert_eq!(
                kept(StatusCode::OK, &[("cache-control", control), ("content-length", length)]),
                None,
                "{control}"
            );
        }
        assert_eq!(
            kept(StatusCode::OK, &[("cache-control", "IMMUTABLE,Public"), ("content-length", "8388608")]),
            Some(MAX_BYTES)
        );
    }

    #[tokio::test]
    async fn each_coding_has_its_length_and_its_tag() {
        let asset = asset().compress();
        for (accepted, coding, tag) in
            [("br", Some("br"), "\"abc-br\""), ("gzip", Some("gzip"), "\"abc-gzip\""), ("identity", None, "\"abc\"")]
        {
            let answer = asset.answer(&ask(Method::GET, &[("accept-encoding", accepted)]));
            let (head, body) = answer.into_parts();
            let body = to_bytes(body, usize::MAX).await.unwrap();
            let header = |name| head.headers.get(name).map(|value: &HeaderValue| value.to_str().unwrap());
            assert_eq!(head.status, StatusCode::OK);
            assert_eq!(header("content-encoding"), coding);
            assert_eq!(header("content-length").unwrap(), body.len().to_string());
            assert_eq!(header("etag"), Some(tag));
            assert_eq!(header("vary"), Some("Accept-Encoding"));
            assert_eq!(header("accept-ranges").is_some(), coding.is_none());
            assert_eq!(header("date"), None);
            assert_eq!(body.len() < BODY.len(), coding.is_some());

            let answer = asset.answer(&ask(Method::HEAD, &[("accept-encoding", accepted)]));
            assert_eq!(*answer.headers(), head.headers);
            assert!(to_bytes(answer.into_body(), usize::MAX).await.unwrap().is_empty());
        }
    }

    #[test]
    fn until_it_is_compressed_it_goes_as_it_is() {
        let asset = asset();
        let answer = asset.answer(&ask(Method::GET, &[("accept-encoding", "br")]));
        assert_eq!(answer.headers().get("content-encoding"), None);
        assert_eq!(answer.headers()["content-length"], "10000");
        assert_eq!(answer.headers()["vary"], "Accept-Encoding");
        assert!(asset.is_compressible());
        let font = Asset::new(headers(&[("content-type", "font/woff2")]), Bytes::from_static(BODY));
        assert!(!font.is_compressible());
        assert_eq!(font.answer(&ask(Method::GET, &[])).headers().get("vary"), None);
        assert!(asset.bytes() > BODY.len() && asset.compress().bytes() > asset.bytes());
    }

    #[test]
    fn who_has_it_already_is_told_so() {
        const MODIFIED: &str = "Sat, 28 Nov 2026 09:08:00 GMT";
        let asset = asset().compress();
        for (name, value, tag) in [
            ("if-none-match", "\"abc\"", Some("\"abc\"")),
            ("if-none-match", "W/\"abc-gzip\"", Some("\"abc-gzip\"")),
            ("if-none-match", "\"x\", \"abc-br\"", Some("\"abc-br\"")),
            ("if-none-match", "*", Some("\"abc-br\"")),
            ("if-none-match", "\"x\"", None),
            ("if-modified-since", MODIFIED, Some("\"abc-br\"")),
            ("if-modified-since", "Sun, 29 Nov 2026 09:08:00 GMT", Some("\"abc-br\"")),
            ("if-modified-since", "Fri, 27 Nov 2026 09:08:00 GMT", None),
            ("if-modified-since", "yesterday", None),
        ] {
            let answer = asset.answer(&ask(Method::GET, &[("accept-encoding", "br"), (name, value)]));
            let Some(tag) = tag else {
                assert_eq!(answer.status(), StatusCode::OK, "{value}");
                continue;
            };
            assert_eq!(answer.status(), StatusCode::NOT_MODIFIED, "{value}");
            assert_eq!(answer.headers()["etag"], tag);
            assert!(answer.headers().contains_key("cache-control") && answer.headers().contains_key("vary"));
            assert!(!answer.headers().contains_key("content-length") && !answer.headers().contains_key("content-type"));
        }
        // The date says nothing to who has shown a tag.
        let both = ask(Method::GET, &[("if-none-match", "\"x\""), ("if-modified-since", MODIFIED)]);
        assert_eq!(asset.answer(&both).status(), StatusCode::OK);
    }
}
