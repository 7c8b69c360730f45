//! A snapshot as it lies in a store, and how it is checked when it comes out of there.

use std::{
    collections::BTreeMap,
    time::{Duration, UNIX_EPOCH},
};

use bytes::Bytes;
use prost::Message as _;
use streamfleet_proto::{
    SessionId,
    cluster::{self as wire, Manifest},
};
use tokio::task::spawn_blocking;

use super::{
    LoadError, Loaded,
    change::Unsaved,
    signer::Signer,
    state::{FORMAT, Part, SavedState, Write},
};

/// Bytes from which on a snapshot is checked on a thread of its own. Fewer take less than a millisecond.
const LARGE: usize = 256 * 1024;

/// A snapshot as it lies in a store. Any of it may be missing, altered, or of something else.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Stored {
    pub(super) manifest: Option<Bytes>,
    pub(super) signature: Option<Bytes>,
    pub(super) core: Option<Bytes>,
    pub(super) values: BTreeMap<String, Bytes>,
}

impl Stored {
    /// Takes over what an owner has written.
    pub(super) fn apply(&mut self, write: &Write) {
        if write.is_full() {
            *self = Self::default();
        }
        self.manifest = Some(write.manifest.clone());
        self.signature = Some(Bytes::copy_from_slice(&write.signature));
        if let Some(core) = &write.core {
            self.core = Some(core.clone());
        }
        for key in &write.removed {
            self.values.remove(key);
        }
        self.values.extend(write.changed.iter().cloned());
    }

    /// The epoch and the version that its manifest names, whoever has written that.
    pub(super) fn written(&self) -> Option<(u64, u64)> {
        let manifest = Manifest::decode(self.manifest.clone()?).ok()?;
        Some((manifest.epoch, manifest.version))
    }

    /// Whether there is nothing of a snapshot.
    pub(super) fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// What a store hands out for what it has found.
    pub(super) async fn open_if_any(
        self,
        signer: &Signer,
        session: SessionId,
        epoch: u64,
    ) -> Result<Option<Loaded>, LoadError> {
        if self.is_empty() {
            return Ok(None);
        }
        let opened = if self.size() < LARGE {
            self.open(signer, session, epoch)
        } else {
            let signer = signer.clone();
            let open = spawn_blocking(move || self.open(&signer, session, epoch));
            open.await.map_err(|error| LoadError::Failed(error.to_string()))?
        };
        opened.map(Some).map_err(|reason| LoadError::Refused { reason })
    }

    fn size(&self) -> usize {
        self.core.iter().chain(self.values.values()).map(Bytes::len).sum()
    }

    /// Hands the snapshot out for its session's owner if it is, down to the last byte, one that an owner before it or itself has
    /// written for this session. Else says why not.
    pub(super) fn open(mut self, signer: &Signer, session: SessionId, epoch: u64) -> Result<Loaded, String> {
        let encoded = self.manifest.take().ok_or("its manifest is missing")?;
        let signature = self.signature.take().ok_or("its signature is missing")?;
        if !signer.verify(&encoded, &signature) {
            return Err("its signature does not fit: it was altered, or signed with another secret or for another \
                        cluster"
                .to_owned());
        }
        let manifest = Manifest::decode(encoded).map_err(|error| format!("its manifest can't be read: {error}"))?;
        if manifest.format > FORMAT {
            return Err(format!("its format is {}, of a newer version", manifest.format));
        }
        if manifest.session_id != session.to_string() {
            return Err("it is of another session".to_owned());
        }
        if manifest.epoch > epoch {
            return Err("it is of a later owner".to_owned());
        }
        let mut state = SavedState::new(signer.clone(), session, epoch);
        state.version = manifest.version;
        state.signature = signature.as_ref().try_into().map_err(|_| "its signature does not fit")?;
        state.core = manifest.core.as_ref().map(|part| read_part(part, "its core")).transpose()?;
        check(state.core, self.core.as_ref(), || "its core".to_owned())?;
        let mut values = Vec::with_capacity(manifest.values.len());
        for part in manifest.values {
            let name = || format!("its value {:?}", part.key);
            let expected = read_part(&part, &name())?;
            let data = self.values.remove(&part.key);
            check(Some(expected), data.as_ref(), name)?;
            values.push((part.key.clone(), data.unwrap_or_default()));
            state.values.insert(part.key, expected);
        }
        if let Some(key) = self.values.keys().next() {
            return Err(format!("there is a value {key:?} that nobody has signed"));
        }
        Ok(Loaded {
            core: self.core.unwrap_or_default(),
            values,
            connection: manifest.connection,
            applied_seq: manifest.applied_seq,
            revision: manifest.revision,
            unsaved: manifest.unsaved.into_iter().map(read_unsaved).collect(),
            written_at: UNIX_EPOCH.checked_add(Duration::from_millis(manifest.written_at_ms)).unwrap_or(UNIX_EPOCH),
            state,
        })
    }
}

fn read_part(part: &wire::Part, name: &str) -> Result<Part, String> {
    Part::read(part).ok_or_else(|| format!("what {name} should be can't be read"))
}

fn check(expected: Option<Part>, found: Option<&Bytes>, name: impl FnOnce() -> String) -> Result<(), String> {
    match (expected, found) {
        (None, None) => Ok(()),
        (None, Some(_)) => Err(format!("{} is not signed", name())),
        (Some(_), None) => Err(format!("{} is missing", name())),
        (Some(part), Some(data)) if part == Part::of(data) => Ok(()),
        (Some(_), Some(_)) => Err(format!("{} was altered", name())),
    }
}

fn read_unsaved(wire::Missing { key, r#type: kind, reason }: wire::Missing) -> Unsaved {
    Unsaved { key, kind, reason }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::snapshots::Change;

    const EPOCH: u64 = 5;

    fn signer(cluster: &str, keys: &[&str]) -> Signer {
        Signer::new(cluster, keys).unwrap()
    }

    fn stored(session: SessionId) -> Stored {
        let mut state = SavedState::new(signer("c", &["key"]), session, EPOCH);
        let values = [("a", "one"), ("b", "two")].map(|(key, data)| (key.to_owned(), Some(data.into())));
        let mut stored = Stored::default();
        let core = Some("core".into());
        stored.apply(&state.prepare(Change { full: true, core, values: values.into(), ..Change::default() }));
        stored
    }

    fn pieces(stored: &mut Stored) -> Vec<&mut Bytes> {
        let Stored { manifest, signature, core, values } = stored;
        [manifest, signature, core].into_iter().flatten().chain(values.values_mut()).collect()
    }

    #[test]
    fn every_byte_of_every_piece_counts() {
        let (session, signer) = (SessionId::random(), signer("c", &["key"]));
        let right = stored(session);
        let open = |stored: Stored| stored.open(&signer, session, EPOCH);
        assert!(open(right.clone()).is_ok());
        for piece in 0..pieces(&mut right.clone()).len() {
            let data = pieces(&mut right.clone())[piece].to_vec();
            for at in 0..data.len() {
                let mut flipped = data.clone();
                flipped[at] ^= 0x80;
                for wrong in [flipped, data[..at].to_vec()] {
                    let mut stored = right.clone();
                    *pieces(&mut stored)[piece] = wrong.into();
                    assert!(open(stored).is_err(), "byte {at} of piece {piece}");
                }
            }
        }
        let mut more = right.clone();
        more.values.insert("c".to_owned(), Bytes::new());
        let mut fewer = right.clone();
        fewer.values.remove("a");
        let swapped = Stored {
            values: [("a", "two"), ("b", "one")].map(|(key, data)| (key.to_owned(), data.into())).into(),
            ..right.clone()
        };
        let missing = [
            Stored { manifest: None, ..right.clone() },
            Stored { signature: None, ..right.clone() },
            Stored { core: None, ..right },
        ];
        for wrong in [more, fewer, swapped].into_iter().chain(missing) {
            assert!(open(wrong).is_err());
        }
    }

    #[test]
    fn only_the_same_session_cluster_and_key_are_good() {
        let session = SessionId::random();
        let open = |cluster: &str, keys: &[&str], session: SessionId, epoch: u64, stored: Stored| {
            stored.open(&signer(cluster, keys), session, epoch).map(|loaded| loaded.state.version)
        };
        let right = || stored(session);
        assert!(open("c", &["new", "key"], session, EPOCH + 1, right()).is_ok());
        assert!(open("c", &["new"], session, EPOCH, right()).is_err());
        assert!(open("d", &["key"], session, EPOCH, right()).is_err());
        let refused = open("c", &["key"], SessionId::random(), EPOCH, right()).unwrap_err();
        assert_eq!(refused, "it is of another session");
        let refused = open("c", &["key"], session, EPOCH - 1, right()).unwrap_err();
        assert_eq!(refused, "it is of a later owner");

        let manifest = Manifest { format: FORMAT + 1, ..Manifest::default() }.encode_to_vec();
        let signature = signer("c", &["key"]).sign(&manifest).to_vec();
        let newer = Stored { manifest: Some(manifest.into()), signature: Some(signature.into()), ..right() };
        let refused = open("c", &["key"], session, EPOCH, newer).unwrap_err();
        assert!(refused.contains("newer version"), "{refused}");
    }
}
