//! Changes to the attributes of a route.

use std::net::IpAddr;

use crate::types::Asn;
use crate::wire::{Community, ExtendedCommunity, LargeCommunity, Origin};

use super::{AsnSet, CommunityPattern, Dependence, ExtendedCommunityPattern, LargeCommunityPattern};

/// A change to the attributes of a route.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Modify {
    /// Set ORIGIN.
    Origin(Origin),
    /// Set `LOCAL_PREF`.
    LocalPref(u32),
    /// Add to `LOCAL_PREF`, or subtract; stops at either end. One that is absent counts as 100.
    LocalPrefBy(i64),
    /// Set or, with `None`, remove `MULTI_EXIT_DISC`.
    Med(Option<u32>),
    /// Add to `MULTI_EXIT_DISC`, or subtract; stops at either end. One that is absent counts as 0.
    MedBy(i64),
    /// Set the weight, see [`Accepted::weight`](super::Accepted::weight).
    Weight(u32),
    /// Choose the next hop.
    NextHop(NextHopAction),
    /// Change the communities (RFC 1997).
    Communities(CommunityEdit<Community, CommunityPattern>),
    /// Change the large communities (RFC 8092).
    LargeCommunities(CommunityEdit<LargeCommunity, LargeCommunityPattern>),
    /// Change the extended communities (RFC 4360).
    ExtendedCommunities(CommunityEdit<ExtendedCommunity, ExtendedCommunityPattern>),
    /// Take AS numbers out of the AS path wherever they are; segments left empty vanish.
    RemoveAsns(AsnSet),
    /// Put an AS number in front of the AS path, several times.
    Prepend {
        /// The AS number; `None` is our own.
        asn: Option<Asn>,
        /// How many times.
        count: u8,
    },
    /// Put the first AS of the path in front of it again, several times. Does nothing to a path that is
    /// empty or begins with a set.
    PrependFirst {
        /// How many times.
        count: u8,
    },
    /// Put these AS numbers in front of the AS path, in this order.
    PrependAsns(Vec<Asn>),
}

/// Which next hop a route gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NextHopAction {
    /// This address, if the route is of its family; other routes stay as they are.
    Address(IpAddr),
    /// The address of the neighbour whose chain it is, if the route is of its family. For import.
    PeerAddress,
    /// Our own. For export.
    Own,
    /// The one that the route has, also towards external neighbours. For export.
    Unchanged,
}

/// A change to one kind of communities. `T` is the community, `P` its pattern.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CommunityEdit<T, P> {
    /// Add those that are not there yet, behind the others.
    Add(Vec<T>),
    /// Remove all that match one of the patterns.
    Remove(Vec<P>),
    /// Remove all that match none of the patterns.
    Keep(Vec<P>),
    /// Replace all; an empty list removes the attribute.
    Set(Vec<T>),
}

impl Modify {
    /// What it depends on.
    pub fn dependence(&self) -> Dependence {
        let nothing = Dependence::default();
        match self {
            Self::NextHop(NextHopAction::Address(_)) => Dependence { family: true, ..nothing },
            Self::NextHop(NextHopAction::PeerAddress) => {
                Dependence { family: true, neighbor: true, ..nothing }
            }
            _ => nothing,
        }
    }
}

impl<T: Copy + PartialEq, P> CommunityEdit<T, P> {
    /// The new list, or `None` when the edit changes nothing.
    pub(super) fn apply(&self, current: &[T], matches: impl Fn(&P, T) -> bool) -> Option<Vec<T>> {
        let filtered = |stays: &dyn Fn(T) -> bool| {
            let some_go = current.iter().any(|&value| !stays(value));
            some_go.then(|| current.iter().copied().filter(|&value| stays(value)).collect())
        };
        match self {
            Self::Add(values) => {
                let mut missing = values.iter().filter(|value| !current.contains(value)).peekable();
                missing.peek()?;
                let mut new = current.to_vec();
                for &value in missing {
                    if !new.contains(&value) {
                        new.push(value);
                    }
                }
                Some(new)
            }
            Self::Remove(patterns) => filtered(&|value| !patterns.iter().any(|p| matches(p, value))),
            Self::Keep(patterns) => filtered(&|value| patterns.iter().any(|p| matches(p, value))),
            Self::Set(values) => (current != values.as_slice()).then(|| values.clone()),
        }
    }
}
