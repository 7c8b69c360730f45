//! What the index says of a value.
//!
//! An entry of `values` is, as text, the value's bytes, its bytes as they are packed, when it expires (in ms of the server's clock,
//! 0 for never), and the name of its blob, if it has one. Scripts go by it.
//!
//! An entry of `content` is the signature, and then for each part its length, as four bytes, with the part itself or, if there is a
//! blob, with the part's SHA-256. Only runners read and write it.

use std::time::Duration;

use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};
use redis::{FromRedisValue, ParsingError, Value};
use tokio::time::Instant;

use crate::{
    cache::{
        CacheSigner, PART_BYTES, Packed, ValueKey,
        signer::PartDigest,
        value::{Part, part_count},
    },
    signing::Signature,
};

/// What was found in the index.
#[derive(Debug, Clone)]
pub(super) struct Found {
    pub(super) head: Vec<u8>,
    pub(super) content: Bytes,
    /// For how long it is good, counted from the answer.
    pub(super) left: Option<Duration>,
}

impl FromRedisValue for Found {
    fn from_redis_value(value: Value) -> Result<Self, ParsingError> {
        let (head, content, left): (Vec<u8>, Vec<u8>, i64) = redis::from_redis_value(value)?;
        Ok(Self { head, content: content.into(), left: u64::try_from(left).ok().map(Duration::from_millis) })
    }
}

impl Found {
    /// Until when it is good, if it was asked for then.
    pub(super) fn expires_at(&self, asked: Instant) -> Option<Instant> {
        self.left.and_then(|left| asked.checked_add(left))
    }

    /// The blob, if it has one and doesn't expire: it is to be kept for as long as it is used.
    pub(super) fn lasting_blob(&self) -> Option<String> {
        if self.left.is_some() {
            return None;
        }
        Head::read(&self.head).and_then(|head| head.blob)
    }
}

struct Head {
    size: u64,
    packed: u64,
    blob: Option<String>,
}

impl Head {
    fn read(text: &[u8]) -> Option<Self> {
        let mut words = std::str::from_utf8(text).ok()?.split(' ');
        let mut word = || words.next();
        let (size, packed, _, blob) = (word()?, word()?, word()?, word()?);
        let blob = Some(blob.to_owned()).filter(|blob| !blob.is_empty());
        word().is_none().then_some(Self { size: size.parse().ok()?, packed: packed.parse().ok()?, blob })
    }
}

/// A value that one of the cluster's runners has stored at this very place, or where it is.
#[derive(Debug)]
pub(super) enum Stored {
    Inline(Packed),
    Blob { name: String, size: u64, parts: Vec<PartDigest> },
}

/// Whose a value is, and how much of it can be.
pub(super) struct Place<'a> {
    pub(super) signer: &'a CacheSigner,
    pub(super) revision: &'a str,
    pub(super) max_bytes: u64,
}

impl Found {
    /// Reads and checks what was found, or says what is wrong with it.
    pub(super) fn read(&self, place: &Place<'_>, key: &ValueKey) -> Result<Stored, &'static str> {
        const CUT: &str = "it is cut off";
        let Head { size, packed, blob } = Head::read(&self.head).ok_or("its entry can't be read")?;
        let mut left = self.content.clone();
        let take = |left: &mut Bytes, length: usize| (length <= left.len()).then(|| left.split_to(length)).ok_or(CUT);
        let signature = take(&mut left, size_of::<Signature>())?;
        let (mut inline, mut parts) = (Vec::new(), Vec::new());
        while !left.is_empty() {
            let length = take(&mut left, 4)?.get_u32();
            if blob.is_some() {
                let sha256 = take(&mut left, 32)?[..].try_into().map_err(|_| CUT)?;
                parts.push(PartDigest { length, sha256 });
            } else {
                let stored = take(&mut left, usize::try_from(length).map_err(|_| CUT)?)?;
                let part = Part::read(&stored).map_err(|_| "a part can't be read")?;
                parts.push(PartDigest::of(&part));
                inline.push(part);
            }
        }
        if !place.signer.verify(place.revision, key, size, &parts, &signature) {
            return Err(
                "its signature does not fit: it was altered, or signed with another secret or for another place",
            );
        }
        // From here on it says what a runner has said, which may have been another version.
        let stored: u64 = parts.iter().map(|part| u64::from(part.length)).sum();
        let too_long = parts.iter().any(|part| part.length as usize > PART_BYTES + 1);
        if stored != packed || stored > place.max_bytes || too_long || parts.len() as u64 != part_count(size) {
            return Err("its parts don't make a value");
        }
        match blob {
            Some(name) => Ok(Stored::Blob { name, size, parts }),
            None => Packed::of_parts(size, inline).map(Stored::Inline).ok_or("its parts don't make a value"),
        }
    }
}

/// A value as it goes into the index.
#[derive(Debug)]
pub(super) struct Record {
    content: Vec<u8>,
    blob: Option<String>,
}

impl Record {
    /// `digests` are those of the value's parts.
    pub(super) fn new(
        place: &Place<'_>,
        key: &ValueKey,
        value: &Packed,
        digests: &[PartDigest],
        blob: Option<String>,
    ) -> Self {
        let mut content = BytesMut::new();
        content.put_slice(&place.signer.sign(place.revision, key, value.size(), digests));
        for (part, digest) in value.parts().iter().zip(digests) {
            content.put_u32(digest.length);
            if blob.is_some() {
                content.put_slice(&digest.sha256);
            } else {
                part.pieces().into_iter().for_each(|piece| content.put_slice(piece));
            }
        }
        Self { content: content.into(), blob }
    }

    pub(super) fn content(&self) -> &[u8] {
        &self.content
    }

    pub(super) fn blob(&self) -> Option<&str> {
        self.blob.as_deref()
    }
}
