//! Making bodies smaller.

use std::io::{self, Write as _};

use brotli::enc::{BrotliCompress, BrotliEncoderParams};
use bytes::Bytes;
use flate2::{Compression, write::GzEncoder};
use tracing::warn;

/// How hard brotli tries, of 11. Above that time grows faster than what is gained.
const BROTLI_QUALITY: i32 = 6;
/// How hard gzip tries, of 9; for the few who don't take brotli.
const GZIP_LEVEL: u32 = 6;
/// As much as is needed for a header to pay.
const MIN_BYTES: usize = 256;

/// A body in both codings, where these are smaller than it.
#[derive(Debug, Default)]
pub(super) struct Compressed {
    pub(super) brotli: Option<Bytes>,
    pub(super) gzip: Option<Bytes>,
}

impl Compressed {
    /// Compresses a body, which takes about a tenth of a second for each megabyte: not for threads that others wait for.
    pub(super) fn of(body: &[u8]) -> Self {
        let worthwhile = |name, made: io::Result<Vec<u8>>| match made {
            Ok(made) => (made.len() < body.len()).then(|| Bytes::from(made)),
            Err(error) => {
                warn!("cannot compress by {name}: {error}");
                None
            }
        };
        Self { brotli: worthwhile("brotli", brotli(body)), gzip: worthwhile("gzip", gzip(body)) }
    }
}

/// Whether a body may be worth compressing, by its type: texts, and what is as loose as they are. Pictures, sounds and web fonts are
/// compressed in themselves.
pub(super) fn is_worth_it(content_type: &str, length: usize) -> bool {
    const KINDS: [&str; 8] = [
        "application/javascript",
        "application/json",
        "application/manifest+json",
        "application/wasm",
        "application/xml",
        "image/svg+xml",
        "image/x-icon",
        "font/ttf",
    ];
    let kind = content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    length >= MIN_BYTES && (kind.starts_with("text/") || KINDS.contains(&kind.as_str()))
}

fn brotli(mut body: &[u8]) -> io::Result<Vec<u8>> {
    let params =
        BrotliEncoderParams { quality: BROTLI_QUALITY, size_hint: body.len(), ..BrotliEncoderParams::default() };
    let mut made = Vec::with_capacity(body.len() / 3);
    BrotliCompress(&mut body, &mut made, &params)?;
    made.shrink_to_fit();
    Ok(made)
}

fn gzip(body: &[u8]) -> io::Result<Vec<u8>> {
    let mut encoder = GzEncoder::new(Vec::with_capacity(body.len() / 3), Compression::new(GZIP_LEVEL));
    encoder.write_all(body)?;
    let mut made = encoder.finish()?;
    made.shrink_to_fit();
    Ok(made)
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use super::*;

    #[test]
    fn both_codings_can_be_undone() {
        let body = b"export const answer = 42;\n".repeat(10_000);
        let made = Compressed::of(&body);
        let (mut from_brotli, mut from_gzip) = (Vec::new(), Vec::new());
        let (brotli, gzip) = (made.brotli.unwrap(), made.gzip.unwrap());
        brotli::BrotliDecompress(&mut &brotli[..], &mut from_brotli).unwrap();
        flate2::read::GzDecoder::new(&gzip[..]).read_to_end(&mut from_gzip).unwrap();
        assert!(from_brotli == body && from_gzip == body);
        assert!(brotli.len() < gzip.len() && gzip.len() < body.len() / 100);
    }

    #[test]
    fn what_does_not_shrink_stays_as_it_is() {
        let noise: Vec<u8> = std::iter::repeat_with(|| fastrand::u8(..)).take(10_000).collect();
        let made = Compressed::of(&noise);
        assert!(made.brotli.is_none() && made.gzip.is_none());
    }

    #[test]
    fn texts_are_compressed_and_pictures_are_not() {
        for (kind, expected) in [
            ("text/javascript; charset=utf-8", true),
            ("Application/JavaScript", true),
            ("text/css", true),
            ("application/json", true),
            ("image/svg+xml", true),
            ("application/wasm", true),
            ("font/woff2", false),
            ("image/png", false),
            ("application/octet-stream", false),
            ("", false),
        ] {
            assert_eq!(is_worth_it(kind, 10_000), expected, "{kind}");
        }
        assert!(!is_worth_it("text/css", 100));
    }
}
