//! Where in a trace something happens, as it is told to others: W3C Trace Context, as text and as bytes.

use opentelemetry::trace::{SpanId, TraceId};

/// The flag of a trace that is exported.
const SAMPLED: u8 = 1;
/// Length of a `traceparent` of version 00.
const TRACEPARENT: usize = 55;

/// A span, and whether its trace is exported.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct TraceContext {
    /// The trace.
    pub trace: TraceId,
    /// The span in it.
    pub span: SpanId,
    /// Whether the trace was sampled where it began.
    pub sampled: bool,
}

impl TraceContext {
    /// Reads a `traceparent` header. One that is not as the standard wants it is none.
    pub fn from_traceparent(header: &str) -> Option<Self> {
        let header = header.trim_ascii();
        let mut parts = header.split('-');
        let version = lower_hex(parts.next()?, 2)?;
        let trace = lower_hex(parts.next()?, 32)?;
        let span = lower_hex(parts.next()?, 16)?;
        let flags = lower_hex(parts.next()?, 2)?;
        // Later versions may have more behind what this one knows.
        if version == "ff" || (version == "00" && header.len() != TRACEPARENT) {
            return None;
        }
        let flags = u8::from_str_radix(flags, 16).ok()?;
        Self::valid(TraceId::from_hex(trace).ok()?, SpanId::from_hex(span).ok()?, flags)
    }

    /// The same as a `traceparent` header.
    pub fn to_traceparent(self) -> String {
        format!("00-{}-{}-{:02x}", self.trace, self.span, self.flags())
    }

    /// Reads 16 bytes of trace, 8 of span and one of flags. Ids that are zero are none.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let bytes: &[u8; 25] = bytes.try_into().ok()?;
        let (trace, rest) = bytes.split_first_chunk::<16>()?;
        let (span, flags) = rest.split_first_chunk::<8>()?;
        Self::valid(TraceId::from_bytes(*trace), SpanId::from_bytes(*span), *flags.first()?)
    }

    /// The same as [`from_bytes`](Self::from_bytes) reads.
    pub fn to_bytes(self) -> [u8; 25] {
        let mut bytes = [0; 25];
        bytes[..16].copy_from_slice(&self.trace.to_bytes());
        bytes[16..24].copy_from_slice(&self.span.to_bytes());
        bytes[24] = self.flags();
        bytes
    }

    fn valid(trace: TraceId, span: SpanId, flags: u8) -> Option<Self> {
        (trace != TraceId::INVALID && span != SpanId::INVALID).then_some(Self {
            trace,
            span,
            sampled: flags & SAMPLED != 0,
        })
    }

    fn flags(self) -> u8 {
        if self.sampled { SAMPLED } else { 0 }
    }
}

/// `text`, if it is this many digits; upper case is not allowed.
fn lower_hex(text: &str, digits: usize) -> Option<&str> {
    let is_digit = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
    (text.len() == digits && text.bytes().all(is_digit)).then_some(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const EXAMPLE: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    #[test]
    fn reads_the_standard_s_example() {
        let context = TraceContext::from_traceparent(EXAMPLE).unwrap();
        assert_eq!(context.trace.to_string(), "4bf92f3577b34da6a3ce929d0e0e4736");
        assert_eq!(context.span.to_string(), "00f067aa0ba902b7");
        assert!(context.sampled);
        assert_eq!(context.to_traceparent(), EXAMPLE);
    }

    #[test]
    fn flags_and_versions_to_come_are_understood() {
        let later = EXAMPLE.replace("00-4b", "cc-4b") + "-what-the-future-holds";
        assert_eq!(TraceContext::from_traceparent(&later), TraceContext::from_traceparent(EXAMPLE));
        for (flags, sampled) in [("00", false), ("02", false), ("03", true), ("ff", true)] {
            let header = format!("{}{flags}", &EXAMPLE[..53]);
            assert_eq!(TraceContext::from_traceparent(&header).unwrap().sampled, sampled, "{flags}");
        }
    }

    #[test]
    fn what_is_not_as_it_should_be_is_none() {
        for header in [
            "",
            "00",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-1",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-x",
            "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
            "00-+bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
            "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00_4bf92f3577b34da6a3ce929d0e0e4736_00f067aa0ba902b7_01",
        ] {
            assert_eq!(TraceContext::from_traceparent(header), None, "{header:?}");
        }
        let good = TraceContext::from_traceparent(EXAMPLE).unwrap().to_bytes();
        assert_eq!(TraceContext::from_bytes(&good[..24]), None);
        assert_eq!(TraceContext::from_bytes(&[0; 25]), None);
    }

    proptest! {
        #[test]
        fn comes_back_from_text_and_bytes(trace in 1..u128::MAX, span in 1..u64::MAX, sampled: bool) {
            let context = TraceContext { trace: trace.into(), span: span.into(), sampled };
            prop_assert_eq!(TraceContext::from_traceparent(&context.to_traceparent()), Some(context));
            prop_assert_eq!(TraceContext::from_bytes(&context.to_bytes()), Some(context));
        }

        #[test]
        fn any_header_is_survived(header in ".{0,80}") {
            let _ = TraceContext::from_traceparent(&header);
        }
    }
}
