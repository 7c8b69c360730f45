//! What a run of a session's script has changed in its state.

use std::collections::BTreeMap;

use bytes::Bytes;

/// What one or several runs of a session's script have changed in its state.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Change {
    /// Everything is in here; what is not, is not in the session.
    pub full: bool,
    /// What the worker keeps of Streamlit's own state, opaque; `None` if unchanged.
    pub core: Option<Bytes>,
    /// User values by key: the new pickle, or `None` where the value is gone.
    pub values: BTreeMap<String, Option<Bytes>>,
    /// All that the session has and no snapshot of it holds.
    pub unsaved: Vec<Unsaved>,
    /// The browser's connection that `applied_seq` counts the messages of.
    pub connection: u64,
    /// All messages up to this one have had their effect.
    pub applied_seq: u64,
    /// What the worker serves of the app.
    pub revision: String,
}

/// An entry of `st.session_state` that can't be kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unsaved {
    /// Its key.
    pub key: String,
    /// Its Python type, in full.
    pub kind: String,
    /// Why, in words for whoever wrote the app.
    pub reason: String,
}

impl Change {
    /// Takes over what has changed since: to save both at once is to save one after the other.
    pub fn merge(&mut self, newer: Self) {
        if newer.full {
            *self = newer;
            return;
        }
        let Self { full: _, core, values, unsaved, connection, applied_seq, revision } = newer;
        self.core = core.or(self.core.take());
        self.values.extend(values);
        if self.full {
            // Nothing is below that a value could be gone from.
            self.values.retain(|_, value| value.is_some());
        }
        (self.unsaved, self.connection, self.applied_seq, self.revision) = (unsaved, connection, applied_seq, revision);
    }

    /// Bytes of all pieces together.
    pub fn size(&self) -> usize {
        self.core.iter().chain(self.values.values().flatten()).map(Bytes::len).sum()
    }
}

#[cfg(test)]
pub(super) mod tests {
    use proptest::{collection::btree_map, option, prelude::*};

    use super::*;

    /// Changes of few keys, so that they often meet, with short values.
    pub(in crate::snapshots) fn change() -> impl Strategy<Value = Change> {
        let piece = || "[a-c]{0,3}".prop_map(|text| Bytes::from(text.into_bytes()));
        let values = btree_map("[k-n]", option::weighted(0.7, piece()), 0..4);
        (any::<bool>(), option::of(piece()), values, any::<u64>(), any::<u64>(), "[r-t]").prop_map(
            |(full, core, values, connection, applied_seq, revision)| {
                let unsaved = Unsaved { key: revision.clone(), kind: "a.B".to_owned(), reason: "a lock".to_owned() };
                Change { full, core, values, unsaved: vec![unsaved], connection, applied_seq, revision }
            },
        )
    }

    /// A session's state, the plain way.
    #[derive(Debug, Default, PartialEq)]
    struct Model {
        core: Bytes,
        values: BTreeMap<String, Bytes>,
        rest: (Vec<Unsaved>, u64, u64, String),
    }

    impl Model {
        fn apply(mut self, change: &Change) -> Self {
            if change.full {
                self = Self::default();
            }
            self.core = change.core.clone().unwrap_or(self.core);
            for (key, value) in &change.values {
                match value {
                    Some(value) => self.values.insert(key.clone(), value.clone()),
                    None => self.values.remove(key),
                };
            }
            let Change { unsaved, connection, applied_seq, revision, .. } = change.clone();
            Self { rest: (unsaved, connection, applied_seq, revision), ..self }
        }
    }

    proptest! {
        #[test]
        fn merged_changes_do_what_they_do_one_after_the_other(base in change(), one in change(), other in change()) {
            let before = || Model::default().apply(&base);
            let apart = before().apply(&one).apply(&other);
            let mut merged = one;
            merged.merge(other);
            prop_assert_eq!(before().apply(&merged), apart);
        }
    }

    #[test]
    fn the_size_is_that_of_all_pieces() {
        let values = [("a".to_owned(), Some("xyz".into())), ("b".to_owned(), None)].into();
        let change = Change { core: Some("12".into()), values, ..Change::default() };
        assert_eq!(change.size(), 5);
    }
}
