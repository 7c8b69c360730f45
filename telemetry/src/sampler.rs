//! Which traces are exported, decided where they begin.

use opentelemetry::trace::TraceId;

use crate::TraceContext;

/// A trace's share of all is told by this many bits of its id, as OpenTelemetry does it everywhere.
const BITS: u32 = 63;

/// Decides for each span whether it is exported.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Sampler {
    /// Whether a parent's decision is followed.
    pub(crate) parent_based: bool,
    /// What is decided where there is no parent to follow.
    pub(crate) root: Root,
}

/// What is decided for a trace that begins here.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Root {
    On,
    Off,
    /// The share of traces that are exported, from 0 to 1.
    Ratio(f64),
}

impl Sampler {
    pub(crate) fn samples(&self, trace: TraceId, parent: Option<TraceContext>) -> bool {
        match parent {
            Some(parent) if self.parent_based => parent.sampled,
            _ => self.root.samples(trace),
        }
    }
}

impl Root {
    fn samples(self, trace: TraceId) -> bool {
        match self {
            Self::On => true,
            Self::Off => false,
            Self::Ratio(ratio) => share(trace) < ratio,
        }
    }
}

/// Where in [0, 1) an id is. All who see the trace come to the same.
#[expect(clippy::cast_precision_loss, reason = "a share needs no more digits than a float has")]
fn share(trace: TraceId) -> f64 {
    let low = u128::from_be_bytes(trace.to_bytes()) & u128::from(u64::MAX);
    (low >> 1) as f64 / (1_u64 << BITS) as f64
}

#[cfg(test)]
mod tests {
    use super::*;
    use opentelemetry::trace::SpanId;

    #[test]
    fn a_parent_is_followed_where_that_is_wanted() {
        for sampled in [true, false] {
            let parent = TraceContext { trace: TraceId::from(1), span: SpanId::from(1), sampled };
            for root in [Root::On, Root::Off, Root::Ratio(0.5)] {
                assert_eq!(Sampler { parent_based: true, root }.samples(parent.trace, Some(parent)), sampled);
            }
            assert!(Sampler { parent_based: false, root: Root::On }.samples(parent.trace, Some(parent)));
            assert!(!Sampler { parent_based: false, root: Root::Off }.samples(parent.trace, Some(parent)));
        }
    }

    #[test]
    fn a_ratio_is_about_kept() {
        fastrand::seed(1);
        let ids: Vec<TraceId> = (0..10_000).map(|_| TraceId::from(fastrand::u128(1..))).collect();
        let sampled = |ratio| ids.iter().filter(|&&id| Root::Ratio(ratio).samples(id)).count();
        assert_eq!(sampled(0.0), 0);
        assert_eq!(sampled(1.0), ids.len());
        let tenth = sampled(0.1);
        assert!((850..1150).contains(&tenth), "{tenth}");
    }

    #[test]
    fn the_share_is_taken_from_the_same_bits_as_elsewhere() {
        assert!(share(TraceId::from(u128::MAX << 64)) < f64::EPSILON);
        assert!(share(TraceId::from(u128::from(u64::MAX))) > 0.999);
    }
}
