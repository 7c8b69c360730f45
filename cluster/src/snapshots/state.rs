//! What a session's owner knows of what is stored, and how it makes the next snapshot from that.

use std::{
    collections::BTreeMap,
    time::{SystemTime, UNIX_EPOCH},
};

use bytes::Bytes;
use prost::Message as _;
use sha2::{Digest as _, Sha256};
use streamfleet_proto::{
    SessionId,
    cluster::{self as wire, Manifest},
};

use super::{
    change::{Change, Unsaved},
    signer::Signer,
};
use crate::signing::Signature;

/// The format written here, and the greatest that can be read.
pub(super) const FORMAT: u32 = 1;

/// The signature of no snapshot.
const NOTHING: Signature = [0; 32];

/// What a piece must be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Part {
    pub(super) sha256: [u8; 32],
    pub(super) length: u64,
}

impl Part {
    pub(super) fn of(data: &[u8]) -> Self {
        Self { sha256: Sha256::digest(data).into(), length: u64::try_from(data.len()).unwrap_or(u64::MAX) }
    }

    /// From a manifest; `None` if it is no part.
    pub(super) fn read(part: &wire::Part) -> Option<Self> {
        Some(Self { sha256: part.sha256.as_ref().try_into().ok()?, length: part.length })
    }

    fn write(&self, key: &str) -> wire::Part {
        wire::Part { key: key.to_owned(), sha256: Bytes::copy_from_slice(&self.sha256), length: self.length }
    }
}

/// What a session's owner knows of what is stored: which version, and what its pieces are, but not the pieces. About 100 bytes
/// for each value.
#[derive(Debug, Clone)]
pub struct SavedState {
    pub(super) signer: Signer,
    pub(super) session: SessionId,
    pub(super) epoch: u64,
    pub(super) version: u64,
    /// Of the last version that was made, or [`NOTHING`].
    pub(super) signature: Signature,
    pub(super) core: Option<Part>,
    pub(super) values: BTreeMap<String, Part>,
}

/// A snapshot on its way into a store: signed whole, with those pieces that are not there yet. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Write {
    pub(super) session: SessionId,
    pub(super) epoch: u64,
    pub(super) version: u64,
    /// The signature of the snapshot that it builds on; `None` if everything is in here. No version, which is a time: two owners
    /// may well make one in the same microsecond.
    pub(super) base: Option<Signature>,
    pub(super) manifest: Bytes,
    pub(super) signature: Signature,
    /// `None` if unchanged.
    pub(super) core: Option<Bytes>,
    pub(super) changed: Vec<(String, Bytes)>,
    pub(super) removed: Vec<String>,
}

impl SavedState {
    pub(super) fn new(signer: Signer, session: SessionId, epoch: u64) -> Self {
        Self { signer, session, epoch, version: 0, signature: NOTHING, core: None, values: BTreeMap::new() }
    }

    /// The session.
    pub fn session(&self) -> SessionId {
        self.session
    }

    /// The epoch that its snapshots are written with.
    pub fn epoch(&self) -> u64 {
        self.epoch
    }

    /// The last version that was made; 0 if none was.
    pub fn version(&self) -> u64 {
        self.version
    }

    /// Makes the next snapshot. It goes into the store before the one after it is made; changes in the meantime can be
    /// [merged](Change::merge). One that never got there is missed by the next, whose answer says that everything is to be
    /// sent, as a [full](Change::full) change.
    ///
    /// This takes as long as SHA-256 over what has changed: large changes are not for a thread that others wait for.
    pub fn prepare(&mut self, change: Change) -> Write {
        let Change { full, core, values, unsaved, connection, applied_seq, revision } = change;
        let base = (!full).then_some(self.signature);
        if full {
            (self.core, self.values) = (None, BTreeMap::new());
        }
        // As epochs are: greater than all before, also where what was before is forgotten.
        self.version = micros().max(self.version + 1);
        let core = if full { Some(core.unwrap_or_default()) } else { core };
        let core = core.filter(|data| {
            let part = Some(Part::of(data));
            std::mem::replace(&mut self.core, part) != part
        });
        let (mut changed, mut removed) = (Vec::new(), Vec::new());
        for (key, value) in values {
            if let Some(data) = value {
                let part = Part::of(&data);
                if self.values.insert(key.clone(), part) != Some(part) {
                    changed.push((key, data));
                }
            } else if self.values.remove(&key).is_some() {
                removed.push(key);
            }
        }
        let manifest = Manifest {
            format: FORMAT,
            session_id: self.session.to_string(),
            epoch: self.epoch,
            version: self.version,
            connection,
            applied_seq,
            revision,
            written_at_ms: micros() / 1000,
            unsaved: unsaved.into_iter().map(write_unsaved).collect(),
            core: self.core.map(|part| part.write("")),
            values: self.values.iter().map(|(key, part)| part.write(key)).collect(),
        };
        let manifest = Bytes::from(manifest.encode_to_vec());
        let signature = self.signer.sign(&manifest);
        self.signature = signature;
        let (session, epoch, version) = (self.session, self.epoch, self.version);
        Write { session, epoch, version, base, manifest, signature, core, changed, removed }
    }
}

impl Write {
    /// The session.
    pub fn session(&self) -> SessionId {
        self.session
    }

    /// The epoch it is written with.
    pub fn epoch(&self) -> u64 {
        self.epoch
    }

    /// Its version.
    pub fn version(&self) -> u64 {
        self.version
    }

    /// Whether everything is in here, so that nothing needs to be stored already.
    pub fn is_full(&self) -> bool {
        self.base.is_none()
    }

    /// Bytes that go to the store.
    pub fn size(&self) -> usize {
        let pieces = self.core.iter().chain(self.changed.iter().map(|(_, data)| data));
        self.manifest.len() + pieces.map(Bytes::len).sum::<usize>()
    }
}

fn write_unsaved(Unsaved { key, kind, reason }: Unsaved) -> wire::Missing {
    wire::Missing { key, r#type: kind, reason }
}

/// Microseconds since 1970.
pub(super) fn micros() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_micros());
    u64::try_from(since).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values(list: &[(&str, Option<&'static str>)]) -> BTreeMap<String, Option<Bytes>> {
        list.iter().map(|(key, value)| ((*key).to_owned(), value.map(Bytes::from))).collect()
    }

    #[test]
    fn only_what_is_new_is_sent() {
        let mut state = SavedState::new(Signer::new("c", ["key"]).unwrap(), SessionId::random(), 7);
        let first = values(&[("a", Some("1")), ("b", Some("2"))]);
        let full = state.prepare(Change { full: true, values: first.clone(), ..Change::default() });
        assert!(full.is_full() && full.changed.len() == 2 && full.core == Some(Bytes::new()));

        let second = values(&[("a", Some("1")), ("b", None), ("c", Some("3")), ("d", None)]);
        let write = state.prepare(Change { core: Some(Bytes::new()), values: second, ..Change::default() });
        assert_eq!(write.base, Some(full.signature));
        assert!(write.version > full.version);
        assert_eq!(write.changed, [("c".to_owned(), Bytes::from("3"))]);
        assert_eq!(write.removed, ["b"]);
        assert_eq!(write.core, None);

        // Everything is everything, whatever is there.
        let again = state.prepare(Change { full: true, values: first, ..Change::default() });
        assert!(again.is_full() && again.changed.len() == 2 && again.core.is_some());
        assert_eq!(again.size(), again.manifest.len() + 2);
    }
}
