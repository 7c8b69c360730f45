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

use super::{
    LoadError, Loaded,
    change::Unsaved,
    signer::Signer,
    state::{FORMAT, Part, SavedState, Write},
};

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

    /// Whether there is nothing of a snapshot.
    pub(super) fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// What a store hands out for what it has found.
    pub(super) fn open_if_any(
        self,
        signer: &Signer,
        session: SessionId,
        epoch: u64,
    ) -> Result<Option<Loaded>, LoadError> {
        if self.is_empty() {
            return Ok(None);
        }
        self.open(signer, session, epoch).map(Some).map_err(|reason| LoadError::Refused { reason })
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
