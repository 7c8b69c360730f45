//! Blanks out what differs between two runs of the same app: UUIDs and memory addresses.
//!
//! UUIDs are found with and without hyphens; without, a hash can be taken for one, which is then blanked on both sides.
//! Everything keeps its length, so a masked protobuf message is still one. Hashes (widget ids, fragment ids, media file
//! names) are left alone, since they are the same wherever the app runs.

/// `h` stands for a hex digit, `v` for a UUID's variant digit, anything else for itself.
const SHAPES: [&[u8]; 3] =
    [b"hhhhhhhh-hhhh-hhhh-hhhh-hhhhhhhhhhhh", b"hhhhhhhhhhhh4hhhvhhhhhhhhhhhhhhh", b"0x7hhhhhhhhhhh"];

/// Masks an encoded message or any other bytes.
pub fn bytes(raw: &[u8]) -> Vec<u8> {
    let mut masked = raw.to_vec();
    let mut at = 0;
    while at < masked.len() {
        if at > 0 && masked[at - 1].is_ascii_hexdigit() {
            at += 1;
            continue;
        }
        let rest = &mut masked[at..];
        let Some(shape) = SHAPES.iter().find(|shape| has_shape(rest, shape)) else {
            at += 1;
            continue;
        };
        for (byte, expected) in rest.iter_mut().zip(*shape) {
            if matches!(expected, b'h' | b'v') {
                *byte = b'0';
            }
        }
        at += shape.len();
    }
    masked
}

/// Masks a text.
pub fn text(raw: &str) -> String {
    String::from_utf8_lossy(&bytes(raw.as_bytes())).into_owned()
}

fn has_shape(bytes: &[u8], shape: &[u8]) -> bool {
    let fits = |(byte, expected): (&u8, &u8)| match expected {
        b'h' => byte.is_ascii_hexdigit(),
        b'v' => b"89ab".contains(byte),
        literal => byte == literal,
    };
    bytes.len() >= shape.len() && bytes.iter().zip(shape).all(fits)
}

#[cfg(test)]
mod tests {
    use super::text;

    #[test]
    fn uuids_and_addresses_are_blanked_in_place() {
        let zeros = "00000000-0000-0000-0000-000000000000";
        assert_eq!(text("a 6f1b9c3e-0d2a-4c5b-9e8f-7a6b5c4d3e2f b"), format!("a {zeros} b"));
        assert_eq!(text(" 6f1b9c3e0d2a4c5b9e8f7a6b5c4d3e2f"), format!(" {}", "0".repeat(12) + "4" + &"0".repeat(19)));
        assert_eq!(text("<f at 0x7f12ab34cd56>"), "<f at 0x700000000000>");
    }

    #[test]
    fn hashes_and_small_numbers_stay() {
        for stable in ["$$ID-0123456789abcdef0123456789abcdef-key", "0x7ff", "12345678-1234-1234"] {
            assert_eq!(text(stable), stable);
        }
    }
}
