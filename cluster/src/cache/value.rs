//! A value as it is kept: cut into parts, each packed where that pays.

use std::{fmt, sync::Arc};

use bytes::Bytes;

/// How many bytes of a value make a part; the last has the rest.
pub const PART_BYTES: usize = 1 << 20;
/// Shorter parts are never packed.
const PACKED_FROM: usize = 512;
/// How much of a part is packed to find out whether it pays.
const SAMPLE: usize = 64 * 1024;

/// A value, pickled, in parts that are packed where that pays. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Packed {
    size: u64,
    parts: Arc<[Part]>,
}

/// A part of a value is not what it should be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a part of a value is not what it should be")]
pub struct Corrupt;

/// A part of a value. In a store it is one byte for the form, and the data.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Part {
    form: Form,
    data: Bytes,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    Raw,
    /// An LZ4 block. How long it is unpacked follows from the part's place in the value.
    Lz4,
}

impl Form {
    fn byte(self) -> &'static [u8; 1] {
        match self {
            Self::Raw => &[0],
            Self::Lz4 => &[1],
        }
    }
}

impl Packed {
    /// Packs a value that is there in one piece.
    pub fn of(data: &[u8]) -> Self {
        let parts = data.chunks(PART_BYTES).map(|part| Part::pack(Bytes::copy_from_slice(part))).collect();
        Self { size: length(data), parts }
    }

    /// A value of these parts, unless that can't be.
    pub(super) fn of_parts(size: u64, parts: Vec<Part>) -> Option<Self> {
        (length(&parts) == part_count(size)).then(|| Self { size, parts: parts.into() })
    }

    /// Bytes of the value.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Bytes that it takes as it is packed.
    pub fn packed_bytes(&self) -> u64 {
        self.parts.iter().map(Part::stored_bytes).sum()
    }

    /// How many parts it has.
    pub fn part_count(&self) -> usize {
        self.parts.len()
    }

    /// A part as it was before packing; without a copy if it isn't packed.
    pub fn unpack(&self, index: usize) -> Result<Bytes, Corrupt> {
        self.parts.get(index).ok_or(Corrupt)?.unpack(self.part_length(index))
    }

    pub(super) fn parts(&self) -> &[Part] {
        &self.parts
    }

    fn part_length(&self, index: usize) -> usize {
        let before = length(&self.parts[..index]) * PART_BYTES as u64;
        usize::try_from(self.size - before).unwrap_or(usize::MAX).min(PART_BYTES)
    }
}

/// How many parts a value of this many bytes has.
pub(super) fn part_count(size: u64) -> u64 {
    size.div_ceil(PART_BYTES as u64)
}

fn length<T>(list: &[T]) -> u64 {
    u64::try_from(list.len()).unwrap_or(u64::MAX)
}

impl Part {
    /// Packs a part if that pays.
    fn pack(data: Bytes) -> Self {
        let sample = &data[..data.len().min(SAMPLE)];
        let packed = if data.len() < PACKED_FROM {
            None
        } else if sample.len() == data.len() {
            pack_if_it_pays(&data)
        } else {
            pack_if_it_pays(sample).and_then(|_| pack_if_it_pays(&data))
        };
        match packed {
            Some(data) => Self { form: Form::Lz4, data },
            None => Self { form: Form::Raw, data },
        }
    }

    /// Reads what [`pieces`](Self::pieces) has put into a store. Whether it can be unpacked turns out only then.
    pub(super) fn read(stored: &Bytes) -> Result<Self, Corrupt> {
        let form = match stored.first() {
            Some(0) => Form::Raw,
            Some(1) => Form::Lz4,
            _ => return Err(Corrupt),
        };
        Ok(Self { form, data: stored.slice(1..) })
    }

    /// What goes into a store, one behind the other.
    pub(super) fn pieces(&self) -> [&[u8]; 2] {
        [self.form.byte(), &self.data]
    }

    /// Bytes that it takes in a store.
    pub(super) fn stored_bytes(&self) -> u64 {
        self.pieces().into_iter().map(length).sum()
    }

    fn unpack(&self, length: usize) -> Result<Bytes, Corrupt> {
        let data = match self.form {
            Form::Raw => self.data.clone(),
            Form::Lz4 => {
                // Never more than this, whatever the block says.
                let mut data = vec![0; length];
                let written = lz4_flex::block::decompress_into(&self.data, &mut data).map_err(|_| Corrupt)?;
                data.truncate(written);
                data.into()
            }
        };
        if data.len() == length { Ok(data) } else { Err(Corrupt) }
    }
}

impl fmt::Debug for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} of {} bytes", self.form, self.data.len())
    }
}

/// Packs, if the result is at most 7/8 of what it was.
fn pack_if_it_pays(data: &[u8]) -> Option<Bytes> {
    let mut packed = lz4_flex::block::compress(data);
    (packed.len() <= data.len() / 8 * 7).then(|| {
        packed.shrink_to_fit();
        packed.into()
    })
}

/// Makes a value of parts that come one after the other.
#[derive(Debug)]
pub struct Packer {
    size: u64,
    missing: u64,
    parts: Vec<Part>,
    /// Whether all parts so far were of the length that they must have.
    fits: bool,
}

impl Packer {
    /// For a value of this many bytes.
    pub fn new(size: u64) -> Self {
        Self { size, missing: size, parts: Vec::new(), fits: true }
    }

    /// Takes the next part: [`PART_BYTES`] bytes of the value, or all that are left.
    pub fn push(&mut self, part: Bytes) {
        let left = usize::try_from(self.missing).unwrap_or(usize::MAX);
        self.fits &= part.len() == left.min(PART_BYTES);
        if !self.fits || part.is_empty() {
            return;
        }
        self.missing -= length(&part);
        // A short one may be a slice of something larger, which would be kept with it.
        let part = if part.len() < PART_BYTES { Bytes::copy_from_slice(&part) } else { part };
        self.parts.push(Part::pack(part));
    }

    /// The value; `None` if bytes are missing, or were too many.
    pub fn finish(self) -> Option<Packed> {
        (self.fits && self.missing == 0).then(|| Packed { size: self.size, parts: self.parts.into() })
    }
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*};

    use super::*;

    fn unpacked(packed: &Packed) -> Vec<u8> {
        (0..packed.part_count()).flat_map(|index| packed.unpack(index).unwrap()).collect()
    }

    /// Bytes that look like noise.
    fn noise(length: usize) -> Vec<u8> {
        let mut state = 1_u32;
        let mut next = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            state.to_be_bytes()[0]
        };
        (0..length).map(|_| next()).collect()
    }

    /// What a store would give back.
    fn stored(packed: &Packed) -> Packed {
        let parts = packed.parts().iter().map(|part| Part::read(&part.pieces().concat().into()).unwrap()).collect();
        Packed::of_parts(packed.size(), parts).unwrap()
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

        #[test]
        fn what_is_packed_can_be_unpacked(
            pattern in vec(any::<u8>(), 1..40), random in 0..3 * SAMPLE, length in 0..PART_BYTES * 5 / 2, short: bool
        ) {
            let length = if short { length % 2000 } else { length };
            let mut data: Vec<u8> = pattern.iter().copied().cycle().take(length).collect();
            let random = random.min(length);
            data[..random].copy_from_slice(&noise(random));
            let packed = Packed::of(&data);
            prop_assert!(unpacked(&packed) == data);
            prop_assert!(unpacked(&stored(&packed)) == data);
            prop_assert!(packed.packed_bytes() <= packed.size() + packed.part_count() as u64);

            let mut packer = Packer::new(packed.size());
            for part in data.chunks(PART_BYTES) {
                packer.push(Bytes::copy_from_slice(part));
            }
            prop_assert!(unpacked(&packer.finish().unwrap()) == data);
        }

        #[test]
        fn hostile_bytes_do_no_harm(
            size in 0..2 * PART_BYTES as u64, parts in vec(vec(any::<u8>(), 0..300), 0..4), form in 0..3_u8
        ) {
            let read = |data: Vec<u8>| Part::read(&[&[form][..], &data].concat().into());
            let Ok(parts) = parts.into_iter().map(read).collect::<Result<Vec<_>, _>>() else { return Ok(()) };
            if let Some(packed) = Packed::of_parts(size, parts) {
                let unpacked = (0..packed.part_count()).map(|index| packed.unpack(index)).collect::<Result<Vec<_>, _>>();
                if let Ok(parts) = unpacked {
                    prop_assert_eq!(parts.iter().map(|part| part.len() as u64).sum::<u64>(), size);
                }
            }
        }
    }

    #[test]
    fn only_what_pays_is_packed() {
        let forms = |data: &[u8]| Packed::of(data).parts().iter().map(|part| part.form).collect::<Vec<_>>();
        let zeros = |length: usize| vec![0; length];
        assert_eq!(forms(&zeros(PACKED_FROM - 1)), [Form::Raw]);
        assert_eq!(forms(&zeros(PACKED_FROM)), [Form::Lz4]);
        assert_eq!(forms(&noise(PART_BYTES)), [Form::Raw]);
        assert_eq!(forms(&[zeros(PART_BYTES), noise(5000)].concat()), [Form::Lz4, Form::Raw]);
        // The rest of the part isn't looked at.
        assert_eq!(forms(&[noise(SAMPLE), zeros(9 * SAMPLE)].concat()), [Form::Raw]);
        assert_eq!(forms(b""), []);
    }

    #[test]
    fn what_is_not_packed_is_not_copied() {
        let data = Bytes::from(noise(PART_BYTES));
        let mut packer = Packer::new(data.len() as u64);
        packer.push(data.clone());
        assert_eq!(packer.finish().unwrap().unpack(0).unwrap().as_ptr(), data.as_ptr());
    }

    #[test]
    fn a_value_is_whole_or_none() {
        let finish = |size: u64, parts: &[usize]| {
            let mut packer = Packer::new(size);
            for length in parts {
                packer.push(vec![1; *length].into());
            }
            packer.finish().map(|packed| packed.part_count())
        };
        let part = PART_BYTES as u64;
        assert_eq!(finish(0, &[]), Some(0));
        assert_eq!(finish(0, &[0]), Some(0));
        assert_eq!(finish(part + 1, &[PART_BYTES, 1]), Some(2));
        for (size, parts) in [
            (1, &[][..]),
            (1, &[2]),
            (0, &[1]),
            (2, &[1, 1]),
            (part, &[PART_BYTES - 1, 1]),
            (part + 1, &[PART_BYTES + 1]),
            (part + 1, &[PART_BYTES]),
            (part + 1, &[PART_BYTES, 1, 1]),
            (u64::MAX, &[PART_BYTES]),
        ] {
            assert_eq!(finish(size, parts), None, "{size} of {parts:?}");
        }
    }

    #[test]
    fn hostile_blocks_are_refused() {
        let zeros = Packed::of(&[0; 4096]);
        let block = zeros.parts()[0].pieces().concat();
        for size in [0, 1, 4095, 4097, PART_BYTES as u64] {
            let packed = Packed::of_parts(size, vec![Part::read(&block.clone().into()).unwrap()]);
            assert!(packed.is_none_or(|packed| packed.unpack(0) == Err(Corrupt)), "{size}");
        }
        assert!(Part::read(&Bytes::new()).is_err() && Part::read(&Bytes::from_static(&[2, 0])).is_err());
        assert!(Packed::of_parts(u64::MAX, Vec::new()).is_none());
        assert_eq!(zeros.unpack(1), Err(Corrupt));
    }
}
