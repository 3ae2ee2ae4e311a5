//! Conditions on a route, and what they depend on.

use std::ops::BitOr;
use std::sync::Arc;

use crate::types::FamilySet;
use crate::wire::Origin;

use super::{
    AsPathPattern, AsnSet, CommunityPattern, ExtendedCommunityPattern, LargeCommunityPattern, NumberPattern,
    Policy, PolicyNeighbor, PrefixList, RouteType, RpkiState,
};

/// A condition on a route. Those with several values hold when any one of them matches.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Match {
    /// The prefix is in one of the lists.
    Prefix(Vec<Arc<PrefixList>>),
    /// The prefix is of one of the families.
    Family(FamilySet),
    /// An entry of one of the lists covers the address of the next hop, whatever the entry's lengths.
    NextHop(Vec<Arc<PrefixList>>),
    /// The neighbour whose chain this is.
    Neighbor(NeighborSet),
    /// The neighbour that the route was learned from; no route that is originated here matches.
    From(NeighborSet),
    /// How the route was learned.
    RouteType(Vec<RouteType>),
    /// What route origin validation says (RFC 6811).
    Rpki(Vec<RpkiState>),
    /// The AS path, written as text, matches one of the expressions.
    AsPath(Vec<AsPathPattern>),
    /// One of the AS numbers is anywhere in the AS path, also in a set or a confederation segment.
    AsPathContains(AsnSet),
    /// The first AS of the path: the neighbouring AS. Nothing matches an empty path or one that begins with
    /// a set.
    AsPathFirst(AsnSet),
    /// The last AS of the path: the one that originated the route (RFC 6811 section 2). Nothing matches an
    /// empty path or one that ends in a set.
    AsPathOrigin(AsnSet),
    /// The length that best path compares (RFC 4271 section 9.1.2.2): a set counts 1, confederations nothing.
    AsPathLength(NumberPattern),
    /// The same with every AS number counted once, however often it was prepended.
    AsPathUniqueLength(NumberPattern),
    /// One community of the route matches one of the patterns.
    Community(Vec<CommunityPattern>),
    /// One large community of the route matches one of the patterns.
    LargeCommunity(Vec<LargeCommunityPattern>),
    /// One extended community of the route matches one of the patterns.
    ExtendedCommunity(Vec<ExtendedCommunityPattern>),
    /// How many communities the route has.
    CommunityCount(NumberPattern),
    /// How many large communities the route has.
    LargeCommunityCount(NumberPattern),
    /// How many extended communities the route has.
    ExtendedCommunityCount(NumberPattern),
    /// ORIGIN.
    Origin(Vec<Origin>),
    /// `MULTI_EXIT_DISC`, where none counts as 0 (RFC 4271 section 9.1.2.2 c).
    Med(NumberPattern),
    /// There is a `MULTI_EXIT_DISC`.
    HasMed,
    /// `LOCAL_PREF`, where none counts as 100.
    LocalPref(NumberPattern),
    /// There is a best route to a prefix of the list, whichever route is asked about: see
    /// [`PolicyContext::present`](super::PolicyContext::present).
    RoutePresent {
        /// The list, for people.
        list: Arc<PrefixList>,
        /// Which of the conditions that are watched it is, below [`MAX_CONDITIONS`].
        index: u8,
    },
    /// The policy would accept the route. What it would change is forgotten.
    Policy(Arc<Policy>),
    /// All conditions of one of the groups hold.
    Any(Vec<Vec<Match>>),
    /// Not all of the conditions hold.
    Not(Vec<Match>),
}

/// Most conditions of the kind [`Match::RoutePresent`].
pub const MAX_CONDITIONS: usize = 64;

/// A set of neighbours.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct NeighborSet {
    /// Their addresses; an entry's lengths do not matter.
    pub addresses: Vec<Arc<PrefixList>>,
    /// Their AS numbers.
    pub asns: AsnSet,
}

/// What the outcome of a policy may depend on beside the attributes of the route and how it was learned.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[expect(clippy::struct_excessive_bools, reason = "a set of independent flags, each with its name")]
pub struct Dependence {
    /// The prefix.
    pub prefix: bool,
    /// The family of the prefix.
    pub family: bool,
    /// The neighbour whose chain it is.
    pub neighbor: bool,
    /// The neighbour that the route was learned from.
    pub from: bool,
    /// The conditions of [`Match::RoutePresent`], one bit each.
    pub conditions: u64,
}

impl NeighborSet {
    /// Whether the neighbour is in it, by its address or its AS number.
    pub fn contains(&self, neighbor: PolicyNeighbor) -> bool {
        self.asns.contains(neighbor.asn)
            || self.addresses.iter().any(|list| list.covers_address(neighbor.address))
    }
}

impl Match {
    /// What it depends on.
    pub fn dependence(&self) -> Dependence {
        let nothing = Dependence::default();
        let all = |conditions: &[Self]| conditions.iter().fold(nothing, |sum, each| sum | each.dependence());
        match self {
            // The validation state is one of prefix and origin AS.
            Self::Prefix(_) | Self::Rpki(_) => Dependence { prefix: true, ..nothing },
            Self::Family(_) => Dependence { family: true, ..nothing },
            Self::Neighbor(_) => Dependence { neighbor: true, ..nothing },
            Self::From(_) => Dependence { from: true, ..nothing },
            Self::RoutePresent { index, .. } => Dependence { conditions: 1 << (index & 63), ..nothing },
            Self::Policy(policy) => policy.dependence(),
            Self::Any(groups) => groups.iter().fold(nothing, |sum, group| sum | all(group)),
            Self::Not(conditions) => all(conditions),
            _ => nothing,
        }
    }

    /// This condition, and those within it; without those of policies that it asks.
    pub fn visit<'a>(&'a self, see: &mut impl FnMut(&'a Self)) {
        see(self);
        match self {
            Self::Any(groups) => groups.iter().flatten().for_each(|each| each.visit(see)),
            Self::Not(conditions) => conditions.iter().for_each(|each| each.visit(see)),
            _ => {}
        }
    }

    /// Whether it asks the policy of this name, at any depth.
    pub(super) fn involves(&self, name: &str) -> bool {
        let mut found = false;
        self.visit(&mut |condition| {
            if let Self::Policy(policy) = condition {
                found |= policy.involves(name);
            }
        });
        found
    }
}

impl BitOr for Dependence {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        Self {
            prefix: self.prefix || other.prefix,
            family: self.family || other.family,
            neighbor: self.neighbor || other.neighbor,
            from: self.from || other.from,
            conditions: self.conditions | other.conditions,
        }
    }
}
