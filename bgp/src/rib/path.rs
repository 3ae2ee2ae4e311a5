//! One path of a prefix in sixteen bytes, and why a path may not be used.
//!
//! `rank` packs what the first decision steps look at, so that most comparisons never touch the
//! attributes: a greater rank means strictly preferred, an equal one means "ask the filters of
//! [`super::decision`]". Values too large for their bits saturate and clear what lies below them,
//! which keeps the order true at the price of a tie.
//!
//! A path that cannot be used stays where it is, marked with the reason: `show` and `explain` tell
//! it, and the path it replaced is gone for good.

use std::fmt;

use serde::Serialize;

/// Bits of the rank, from the top: locally originated 1, local preference 20, AIGP 1, AS path length 8
/// (complemented: shorter is better), origin 2 (complemented).
const LOCAL_SHIFT: u32 = 31;
const PREFERENCE_SHIFT: u32 = 11;
const PREFERENCE_MAX: u32 = (1 << 20) - 1;
const AIGP: u32 = 1 << 10;
const LENGTH_SHIFT: u32 = 2;
const LENGTH_MAX: u32 = (1 << 8) - 1;

/// The rank of long-lived stale routes: below all others, and all the same (RFC 9494 section 4.4).
pub(crate) const LONG_LIVED_RANK: u32 = 0;

/// The rank of attributes; [`LOCAL_RANK`] is added for routes originated here. Of paths with an AIGP the metric
/// decides before the length of the AS path does, and that takes the filters.
pub(crate) fn rank(local_pref: u32, aigp: bool, as_path_length: u32, origin: u8) -> u32 {
    leading_steps(local_pref, aigp, as_path_length, origin).max(LONG_LIVED_RANK + 1)
}

fn leading_steps(local_pref: u32, aigp: bool, as_path_length: u32, origin: u8) -> u32 {
    if local_pref >= PREFERENCE_MAX {
        return PREFERENCE_MAX << PREFERENCE_SHIFT;
    }
    let preference = local_pref << PREFERENCE_SHIFT;
    if aigp {
        return preference | AIGP;
    }
    if as_path_length >= LENGTH_MAX {
        return preference;
    }
    preference | (LENGTH_MAX - as_path_length) << LENGTH_SHIFT | (3 - u32::from(origin.min(3)))
}

/// Added to the rank of a route originated here: it beats whatever peers send.
pub(crate) const LOCAL_RANK: u32 = 1 << LOCAL_SHIFT;

/// A path: received attributes, attributes after import policy, whose it is, and what it is worth.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Path {
    /// Attributes after import policy. Inside a freed block: the next free one.
    pub(crate) attr: u32,
    /// Attributes as received: what a new import policy starts from. Of an [identified](Path::IDENTIFIED) path
    /// the slot that has them; see `Core::received`.
    pub(crate) source: u32,
    /// Greater is better; see the head of this file.
    pub(crate) rank: u32,
    /// The peer it came from.
    pub(crate) peer: u16,
    /// See the associated constants.
    pub(crate) flags: u16,
}

impl Path {
    /// The lowest four bits: 0, or why the path cannot be used.
    const REASON: u16 = 0b1111;
    /// The path is the best one of its prefix.
    pub(crate) const BEST: u16 = 1 << 4;
    /// Traffic is shared with the best path; the best one carries it too.
    pub(crate) const MULTIPATH: u16 = 1 << 5;
    /// Set alternately by the import policies of a peer.
    pub(crate) const POLICY: u16 = 1 << 7;
    /// The next hop cannot be reached.
    pub(crate) const UNREACHABLE: u16 = 1 << 8;
    /// Two bits: when the peer announced it last, see [`super::generations`].
    pub(crate) const GENERATION: u16 = 0b11 << Self::GENERATION_SHIFT;
    pub(crate) const GENERATION_SHIFT: u32 = 9;
    /// Traffic is to be dropped (RFC 7999), wherever the next hop is.
    pub(crate) const BLACKHOLE: u16 = 1 << 11;

    /// It came with a path identifier (RFC 7911), see [`super::path_ids`].
    pub(crate) const IDENTIFIED: u16 = 1 << 15;

    /// What the decision writes.
    pub(crate) const CHOSEN: u16 = Self::BEST | Self::MULTIPATH;

    /// Why the path cannot be used, if so.
    pub(crate) fn ineligible(self) -> Option<Ineligible> {
        Ineligible::from_code(self.flags & Self::REASON)
            .or((self.flags & Self::UNREACHABLE != 0).then_some(Ineligible::NextHopUnreachable))
    }

    /// Whether the path takes part in the decision.
    #[inline]
    pub(crate) fn eligible(self) -> bool {
        self.flags & (Self::REASON | Self::UNREACHABLE) == 0
    }

    /// Whether import accepted it, whatever becomes of its next hop.
    #[inline]
    pub(crate) fn accepted(self) -> bool {
        self.flags & Self::REASON == 0
    }

    #[inline]
    pub(crate) fn generation(self) -> u8 {
        ((self.flags & Self::GENERATION) >> Self::GENERATION_SHIFT) as u8
    }

    #[inline]
    pub(crate) fn has(self, flag: u16) -> bool {
        self.flags & flag != 0
    }
}

/// What becomes of traffic to a route that is originated here, where no more specific one takes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Anchor {
    /// It has nowhere to go.
    #[default]
    Reject,
    /// It is meant to be dropped.
    Blackhole,
}

/// Why a path takes no part in the decision.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Ineligible {
    /// Our own AS number is in the AS path (RFC 4271 section 9.1.2).
    AsLoop,
    /// Its `ORIGINATOR_ID` is ours (RFC 4456 section 8).
    OriginatorLoop,
    /// Our cluster is in its `CLUSTER_LIST` (RFC 4456 section 8).
    ClusterLoop,
    /// An external peer without an import policy gives nothing (RFC 8212).
    NoPolicy,
    /// Import policy rejected it.
    RejectedByPolicy,
    /// No such prefix may be routed: multicast, loopback, link-local and the like (RFC 4271 section 6.3,
    /// RFC 6890).
    MartianPrefix,
    /// The AS path does not begin with the peer's AS number (RFC 4271 section 6.3).
    FirstAsMismatch,
    /// Its "Only to Customer" says that the neighbour may not have sent it here (RFC 9234 section 5).
    RouteLeak,
    /// It is one more than the peer's limit on accepted prefixes.
    PrefixLimit,
    /// Nothing is known of how to reach its next hop, or it is known not to be reachable.
    NextHopUnreachable,
}

impl Ineligible {
    const CODES: [Self; 9] = [
        Self::AsLoop,
        Self::OriginatorLoop,
        Self::ClusterLoop,
        Self::NoPolicy,
        Self::RejectedByPolicy,
        Self::FirstAsMismatch,
        Self::MartianPrefix,
        Self::RouteLeak,
        Self::PrefixLimit,
    ];

    /// The bits in a path's flags. Reachability has a bit of its own: it changes by itself.
    pub(crate) fn flags(self) -> u16 {
        match Self::CODES.iter().position(|reason| *reason == self) {
            Some(index) => index as u16 + 1,
            None => Path::UNREACHABLE,
        }
    }

    fn from_code(code: u16) -> Option<Self> {
        Self::CODES.get(usize::from(code).checked_sub(1)?).copied()
    }

    /// In words.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::AsLoop => "own AS number in the AS path",
            Self::OriginatorLoop => "own router id as originator",
            Self::ClusterLoop => "own cluster in the cluster list",
            Self::NoPolicy => "no import policy for this external peer",
            Self::RejectedByPolicy => "rejected by import policy",
            Self::MartianPrefix => "a prefix that may not be routed",
            Self::FirstAsMismatch => "AS path does not begin with the peer's AS number",
            Self::RouteLeak => "a route leak by its Only to Customer attribute (RFC 9234)",
            Self::PrefixLimit => "beyond the limit on accepted prefixes",
            Self::NextHopUnreachable => "next hop unreachable",
        }
    }
}

impl fmt::Display for Ineligible {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_path_takes_sixteen_bytes() {
        assert_eq!(size_of::<Path>(), 16);
    }

    #[test]
    fn each_reason_is_read_back_from_the_flags() {
        for reason in Ineligible::CODES.into_iter().chain([Ineligible::NextHopUnreachable]) {
            let path = Path { flags: reason.flags() | Path::BEST | Path::POLICY, ..Path::default() };
            assert_eq!(path.ineligible(), Some(reason));
            assert!(!path.eligible());
        }
        assert!(Path { flags: Path::BEST | Path::GENERATION, ..Path::default() }.eligible());
    }

    fn worth() -> impl Strategy<Value = (u32, bool, u32, u8)> {
        let preference =
            prop_oneof![0..3_u32, 99..102_u32, PREFERENCE_MAX - 2..PREFERENCE_MAX + 3, any::<u32>()];
        let length = prop_oneof![0..3_u32, LENGTH_MAX - 2..LENGTH_MAX + 3, 0..70_000_u32];
        (preference, any::<bool>(), length, 0..3_u8)
    }

    proptest! {
        #[test]
        fn a_strict_order_of_ranks_is_the_order_of_the_steps(a in worth(), b in worth()) {
            let (better, worse) = match rank(a.0, a.1, a.2, a.3).cmp(&rank(b.0, b.1, b.2, b.3)) {
                std::cmp::Ordering::Greater => (a, b),
                std::cmp::Ordering::Less => (b, a),
                std::cmp::Ordering::Equal => return Ok(()),
            };
            // Among paths with an AIGP its metric is asked before the rest.
            let order = |(preference, aigp, length, origin): (u32, bool, u32, u8)| {
                (std::cmp::Reverse(preference), !aigp, if aigp { (0, 0) } else { (length, origin) })
            };
            prop_assert!(order(better) < order(worse));
        }
    }

    #[test]
    fn every_rank_stays_below_the_bit_of_local_routes() {
        assert!(rank(u32::MAX, true, 0, 0) < LOCAL_RANK);
        assert!(rank(PREFERENCE_MAX - 1, true, 0, 0) < rank(u32::MAX, false, 9, 2));
    }
}
