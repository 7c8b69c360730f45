//! Which coding of a body a browser is sent (RFC 9110, section 12.5.3).

use http::{HeaderMap, header};

/// How a body is coded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Coding {
    Brotli,
    Gzip,
    Identity,
}

/// All that there may be, the smallest body first.
pub(super) const CODINGS: [Coding; 3] = [Coding::Brotli, Coding::Gzip, Coding::Identity];

impl Coding {
    /// What stands in `Content-Encoding`, and behind the entity tag of what it was made of.
    pub(super) fn name(self) -> Option<&'static str> {
        match self {
            Self::Brotli => Some("br"),
            Self::Gzip => Some("gzip"),
            Self::Identity => None,
        }
    }

    fn is(self, name: &str) -> bool {
        match self {
            Self::Brotli => name.eq_ignore_ascii_case("br"),
            Self::Gzip => name.eq_ignore_ascii_case("gzip") || name.eq_ignore_ascii_case("x-gzip"),
            Self::Identity => name.eq_ignore_ascii_case("identity"),
        }
    }
}

/// The one of those at hand that the browser likes best; of those that it likes the same, the first. The body as it is for those who say
/// nothing, who are programs that may know no coding, and for those who say that they can take nothing at all, as it is what they can
/// make the most of.
pub(super) fn choose(headers: &HeaderMap, at_hand: impl Iterator<Item = Coding>) -> Coding {
    let mut best = (Coding::Identity, 0.0);
    for coding in at_hand {
        let liking = liking(headers, coding);
        if liking > best.1 {
            best = (coding, liking);
        }
    }
    best.0
}

/// How much the browser likes a coding, from 0 (not at all) to 1. A coding that isn't named is liked as much as `*`.
fn liking(headers: &HeaderMap, coding: Coding) -> f32 {
    let values = headers.get_all(header::ACCEPT_ENCODING).iter().filter_map(|value| value.to_str().ok());
    let mut of_any = 0.0;
    for item in values.flat_map(|value| value.split(',')) {
        let (name, weight) = item.split_once(';').map_or((item, None), |(name, weight)| (name, Some(weight)));
        let liking = weight.map_or(1.0, |weight| quality(weight).unwrap_or(0.0));
        match name.trim() {
            name if coding.is(name) => return liking,
            "*" => of_any = liking,
            _ => {}
        }
    }
    of_any
}

/// The number in `q=0.5`.
fn quality(weight: &str) -> Option<f32> {
    let (name, value) = weight.split_once('=')?;
    let value: f32 = value.trim().parse().ok()?;
    (name.trim().eq_ignore_ascii_case("q") && (0.0..=1.0).contains(&value)).then_some(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_liked_best_is_sent() {
        use Coding::{Brotli, Gzip, Identity};
        for (accepted, expected) in [
            (None, Identity),
            (Some(""), Identity),
            (Some("gzip, deflate, br, zstd"), Brotli),
            (Some("GZIP"), Gzip),
            (Some("x-gzip;q=0.1"), Gzip),
            (Some("br;q=0.5, gzip ; q=0.8"), Gzip),
            (Some("br;q=0.8, gzip;q=0.8"), Brotli),
            (Some("br;q=0, gzip;q=0"), Identity),
            (Some("gzip;q=0.5, identity;q=0.6"), Identity),
            (Some("gzip;q=0.5, identity;q=0.4"), Gzip),
            (Some("*"), Brotli),
            (Some("br;q=0, *;q=0.1"), Gzip),
            (Some("identity, *;q=0"), Identity),
            (Some("*;q=0"), Identity),
            (Some("deflate, zstd"), Identity),
            (Some("br;q=NaN, gzip;q=2, *;q=x"), Identity),
            (Some("br;level=3"), Identity),
        ] {
            let mut headers = HeaderMap::new();
            if let Some(accepted) = accepted {
                headers.insert(header::ACCEPT_ENCODING, accepted.parse().unwrap());
            }
            assert_eq!(choose(&headers, CODINGS.into_iter()), expected, "{accepted:?}");
        }
    }

    #[test]
    fn several_headers_are_one_list() {
        let mut headers = HeaderMap::new();
        headers.append(header::ACCEPT_ENCODING, "br;q=0.1".parse().unwrap());
        headers.append(header::ACCEPT_ENCODING, "gzip".parse().unwrap());
        assert_eq!(choose(&headers, CODINGS.into_iter()), Coding::Gzip);
    }

    #[test]
    fn only_what_is_at_hand_is_sent() {
        let mut headers = HeaderMap::new();
        headers.insert(header::ACCEPT_ENCODING, "br, gzip;q=0.5".parse().unwrap());
        assert_eq!(choose(&headers, [Coding::Gzip, Coding::Identity].into_iter()), Coding::Gzip);
        assert_eq!(choose(&headers, [Coding::Identity].into_iter()), Coding::Identity);
    }
}
