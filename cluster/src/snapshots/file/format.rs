//! How a snapshot lies in a file.

use bytes::Bytes;
use prost::Message as _;
use streamfleet_proto::cluster::{Piece, SnapshotFile};

use crate::snapshots::stored::Stored;

/// How each file begins, so that whoever finds one knows what it is.
const HEAD: &[u8] = b"Streamfleet snapshot 1\n";

/// What a file of this snapshot is.
pub(super) fn encode(stored: &Stored) -> Vec<u8> {
    let Stored { manifest, signature, core, values } = stored.clone();
    let values = values.into_iter().map(|(key, data)| Piece { key, data }).collect();
    let (manifest, signature) = (manifest.unwrap_or_default(), signature.unwrap_or_default());
    let file = SnapshotFile { manifest, signature, core, values };
    let mut data = Vec::with_capacity(HEAD.len() + file.encoded_len());
    data.extend_from_slice(HEAD);
    // Which a vector can't be too small for.
    let _ = file.encode(&mut data);
    data
}

/// The snapshot that is in a file, not checked yet, or what is wrong with it. The pieces are parts of `data`.
pub(super) fn decode(mut data: Bytes) -> Result<Stored, String> {
    if !data.starts_with(HEAD) {
        return Err("it is no snapshot".to_owned());
    }
    let file = SnapshotFile::decode(data.split_off(HEAD.len())).map_err(|error| format!("it is damaged: {error}"))?;
    let SnapshotFile { manifest, signature, core, values } = file;
    let some = |data: Bytes| Some(data).filter(|data| !data.is_empty());
    let values = values.into_iter().map(|Piece { key, data }| (key, data)).collect();
    Ok(Stored { manifest: some(manifest), signature: some(signature), core, values })
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*};

    use super::*;

    fn stored() -> Stored {
        let values = [("a".to_owned(), Bytes::from("1")), (String::new(), Bytes::new())].into();
        Stored { manifest: Some("m".into()), signature: Some("s".into()), core: Some(Bytes::new()), values }
    }

    #[test]
    fn what_is_written_is_read() {
        for stored in [stored(), Stored { core: None, ..stored() }, Stored::default()] {
            assert_eq!(decode(encode(&stored).into()), Ok(stored));
        }
    }

    proptest! {
        #[test]
        fn nonsense_is_no_snapshot(data in vec(any::<u8>(), 0..200), at in 0..60_usize) {
            prop_assert!(decode(data.clone().into()).is_err());
            // Whatever this is read as, it is read without a panic.
            let mut file = encode(&stored());
            file.truncate(at);
            file.extend(data);
            let _ = decode(file.into());
        }
    }
}
