//! As much CBOR (RFC 8949) as AWS' clients write.

use std::collections::BTreeMap;

/// A value; what is of no interest here is `Null`.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Value {
    Null,
    Number(f64),
    Text(String),
    List(Vec<Value>),
    Map(BTreeMap<String, Value>),
}

/// The same, where a client writes JSON.
impl From<serde_json::Value> for Value {
    fn from(json: serde_json::Value) -> Self {
        match json {
            serde_json::Value::Number(number) => number.as_f64().map_or(Self::Null, Self::Number),
            serde_json::Value::String(text) => Self::Text(text),
            serde_json::Value::Array(list) => Self::List(list.into_iter().map(Self::from).collect()),
            serde_json::Value::Object(map) => {
                Self::Map(map.into_iter().map(|(name, value)| (name, Self::from(value))).collect())
            }
            serde_json::Value::Null | serde_json::Value::Bool(_) => Self::Null,
        }
    }
}

/// Deeper than any request.
const MAX_DEPTH: u32 = 16;

impl Value {
    /// What is below this name.
    pub(super) fn get(&self, name: &str) -> &Value {
        match self {
            Self::Map(map) => map.get(name).unwrap_or(&Self::Null),
            _ => &Self::Null,
        }
    }

    pub(super) fn text(&self) -> &str {
        if let Self::Text(text) = self { text } else { "" }
    }

    pub(super) fn number(&self) -> Option<f64> {
        if let Self::Number(number) = self { Some(*number) } else { None }
    }

    pub(super) fn list(&self) -> &[Value] {
        if let Self::List(list) = self { list } else { &[] }
    }
}

/// Reads one value; `None` if that is none.
pub(super) fn read(mut bytes: &[u8]) -> Option<Value> {
    value(&mut bytes, MAX_DEPTH)
}

fn value(bytes: &mut &[u8], depth: u32) -> Option<Value> {
    let depth = depth.checked_sub(1)?;
    let (kind, length) = head(bytes)?;
    Some(match kind {
        #[expect(clippy::cast_precision_loss, reason = "numbers of tests are small")]
        0 => Value::Number(length? as f64),
        #[expect(clippy::cast_precision_loss, reason = "numbers of tests are small")]
        1 => Value::Number(-1.0 - length? as f64),
        2 => {
            take(bytes, length?)?;
            Value::Null
        }
        3 => Value::Text(String::from_utf8(take(bytes, length?)?.to_vec()).ok()?),
        4 => Value::List(items(bytes, length, |bytes| value(bytes, depth))?),
        5 => {
            let pairs = items(bytes, length, |bytes| {
                let Value::Text(name) = value(bytes, depth)? else { return None };
                Some((name, value(bytes, depth)?))
            })?;
            Value::Map(pairs.into_iter().collect())
        }
        // A tag, such as that of times, and what it is on.
        6 => value(bytes, depth)?,
        _ => simple(length?),
    })
}

/// Major type, and argument; of type 7 the argument is the type again, or what follows of a float. No argument: until a break.
fn head(bytes: &mut &[u8]) -> Option<(u8, Option<u64>)> {
    let first = *take(bytes, 1)?.first()?;
    let (kind, info) = (first >> 5, first & 31);
    let big_endian = |bytes: &[u8]| bytes.iter().fold(0, |number, &byte| number << 8 | u64::from(byte));
    let argument = match info {
        0..=23 => u64::from(info),
        24..=27 => big_endian(take(bytes, 1 << (info - 24))?),
        31 => return Some((kind, None)),
        _ => return None,
    };
    // Floats are told apart by their length.
    let argument = match (kind, info) {
        (7, 26) => return Some((kind, Some(f64::from(f32::from_bits(u32::try_from(argument).ok()?)).to_bits()))),
        (7, 0..=24) => f64::NAN.to_bits(),
        _ => argument,
    };
    Some((kind, Some(argument)))
}

fn simple(bits: u64) -> Value {
    let number = f64::from_bits(bits);
    if number.is_nan() { Value::Null } else { Value::Number(number) }
}

fn items<T>(bytes: &mut &[u8], length: Option<u64>, mut item: impl FnMut(&mut &[u8]) -> Option<T>) -> Option<Vec<T>> {
    let mut items = Vec::new();
    while length.is_none_or(|length| (items.len() as u64) < length) {
        if length.is_none() && bytes.first() == Some(&0xff) {
            take(bytes, 1)?;
            break;
        }
        items.push(item(bytes)?);
    }
    Some(items)
}

fn take<'a>(bytes: &mut &'a [u8], length: u64) -> Option<&'a [u8]> {
    let (taken, rest) = bytes.split_at_checked(usize::try_from(length).ok()?)?;
    *bytes = rest;
    Some(taken)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_standard_gives_as_examples_is_read() {
        // {_ "a": 1, "b": [_ 2, 1.1, 100000.0]}, with a float of either length.
        let bytes = b"\xbf\x61a\x01\x61b\x9f\x02\xfb\x3f\xf1\x99\x99\x99\x99\x99\x9a\xfa\x47\xc3\x50\x00\xff\xff";
        let read_value = read(bytes).unwrap();
        assert_eq!(read_value.get("a").number(), Some(1.0));
        let numbers: Vec<_> = read_value.get("b").list().iter().map(Value::number).collect();
        assert_eq!(numbers, [Some(2.0), Some(1.1), Some(100_000.0)]);
        // {"t": 1(1363896240), "n": null}
        let read_value = read(b"\xa2\x61t\xc1\x1a\x51\x4b\x67\xb0\x61n\xf6").unwrap();
        assert_eq!((read_value.get("t").number(), read_value.get("n")), (Some(1_363_896_240.0), &Value::Null));
        for bad in [&b"\xa1\x61"[..], b"", b"\x5c", b"\x9f\x01", &[0x81; 40]] {
            assert_eq!(read(bad), None, "{bad:?}");
        }
    }
}
