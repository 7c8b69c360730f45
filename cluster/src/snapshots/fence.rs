//! Which writes a store takes. `scripts/*.lua` say the same for Redis; one suite of tests holds both to it.

use super::{SaveError, state::Write};
use crate::signing::Signature;

/// What a store knows of a session besides its snapshot.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Fence {
    /// The owner's. Who comes with less is refused.
    pub(super) epoch: u64,
    /// The owner that wrote or removed the snapshot last, and the version that it was.
    pub(super) by: u64,
    pub(super) version: u64,
    /// The snapshot's; `None` if there is none.
    pub(super) signature: Option<Signature>,
}

/// What is to be done with a write that is not refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Admitted {
    New,
    /// It is there already: the answer got lost the last time.
    Again,
}

impl Fence {
    /// Lets an owner in, and nobody before it from now on.
    pub(super) fn raise(&mut self, epoch: u64) -> Result<(), u64> {
        if epoch < self.epoch {
            return Err(self.epoch);
        }
        self.epoch = epoch;
        Ok(())
    }

    /// Whether a write is to be taken.
    pub(super) fn admit(&self, write: &Write) -> Result<Admitted, SaveError> {
        if write.epoch < self.epoch {
            return Err(SaveError::Fenced { epoch: self.epoch });
        }
        if write.epoch == self.by && write.version <= self.version {
            let same = write.version == self.version && self.signature == Some(write.signature);
            // One that was long on its way must not undo what came after it.
            return if same { Ok(Admitted::Again) } else { Err(SaveError::Gone) };
        }
        let builds_on_it = self.signature.is_some() && write.base == self.signature;
        if write.is_full() || builds_on_it { Ok(Admitted::New) } else { Err(SaveError::Gone) }
    }

    /// Notes a write that was taken.
    pub(super) fn wrote(&mut self, write: &Write) {
        let Write { epoch, version, signature, .. } = *write;
        *self = Self { epoch, by: epoch, version, signature: Some(signature) };
    }

    /// Whether an owner may renew what there is, which lets it in.
    pub(super) fn touch(&mut self, epoch: u64) -> Result<(), SaveError> {
        if epoch >= self.epoch && self.signature.is_none() {
            return Err(SaveError::Gone);
        }
        self.raise(epoch).map_err(|epoch| SaveError::Fenced { epoch })
    }

    /// Notes that an owner wants no snapshot any more, of those made until now.
    pub(super) fn remove(&mut self, epoch: u64, now: u64) -> Result<(), SaveError> {
        self.raise(epoch).map_err(|epoch| SaveError::Fenced { epoch })?;
        let version = if self.by == epoch { self.version.max(now) } else { now };
        *self = Self { epoch, by: epoch, version, signature: None };
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use streamfleet_proto::SessionId;

    use super::*;
    use crate::snapshots::{Change, SavedState, Signer};

    #[test]
    fn a_change_builds_on_one_snapshot_only() {
        let signer = Signer::new("c", ["key"]).unwrap();
        let mut old = SavedState::new(signer, SessionId::random(), 1);
        // Later than any clock says, so that the next versions are the same.
        old.version = 1 << 60;
        let mut fence = Fence::default();
        let full = old.prepare(Change { full: true, ..Change::default() });
        assert_eq!(fence.admit(&full), Ok(Admitted::New));
        fence.wrote(&full);

        let mut new = SavedState { epoch: 2, ..old.clone() };
        let last_of_old = old.prepare(Change::default());
        let lost = new.prepare(Change::default());
        let next = new.prepare(Change::default());
        assert_eq!(last_of_old.version, lost.version);
        fence.wrote(&last_of_old);
        assert_eq!(fence.admit(&next), Err(SaveError::Gone));
        assert_eq!(fence.admit(&lost), Err(SaveError::Gone));
    }
}
