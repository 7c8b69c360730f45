//! Knowing a browser again, by a cookie that says nothing else.

use http::{HeaderMap, HeaderValue, header};
use streamfleet_cluster::VisitorId;

const NAME: &str = "streamfleet_visit";
/// How long a browser keeps it, in seconds.
const MAX_AGE: u32 = 86_400;

/// Whose request this is, if its browser has been here before.
pub(super) fn of(headers: &HeaderMap) -> Option<VisitorId> {
    let cookies = headers.get_all(header::COOKIE).iter().filter_map(|value| value.to_str().ok());
    let mut pairs = cookies.flat_map(|list| list.split(';')).filter_map(|pair| pair.trim().split_once('='));
    pairs.find(|(name, _)| *name == NAME)?.1.parse().ok()
}

/// What the browser is to say from now on. Over HTTPS it does so in a frame of another site as well, as embedded apps are.
pub(super) fn cookie(visitor: VisitorId, scheme: &str) -> Option<HeaderValue> {
    let site = if scheme == "https" { "Secure; SameSite=None; Partitioned" } else { "SameSite=Lax" };
    HeaderValue::try_from(format!("{NAME}={visitor}; Path=/; Max-Age={MAX_AGE}; HttpOnly; {site}")).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_set_is_found_among_others() {
        let visitor = VisitorId::random();
        for scheme in ["http", "https"] {
            let set = cookie(visitor, scheme).unwrap();
            let pair = set.to_str().unwrap().split(';').next().unwrap().to_owned();
            let mut headers = HeaderMap::new();
            headers.append(header::COOKIE, HeaderValue::from_static("a=b; streamfleet_visit2=x"));
            assert_eq!(of(&headers), None);
            headers.append(header::COOKIE, HeaderValue::try_from(format!("c=d;{pair}; e=f")).unwrap());
            assert_eq!(of(&headers), Some(visitor));
        }
        let mut headers = HeaderMap::new();
        headers.append(header::COOKIE, HeaderValue::from_static("streamfleet_visit=nonsense"));
        assert_eq!(of(&headers), None);
    }
}
