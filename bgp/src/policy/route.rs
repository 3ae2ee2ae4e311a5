//! A route on its way through a chain: conditions are held against it, changes applied to it.

use std::borrow::Cow;
use std::net::IpAddr;

use ipnet::IpNet;

use crate::types::{Asn, Family};
use crate::wire::{AsPath, Attributes, Segment, SegmentKind};

use super::{
    Accepted, CommunityPattern, DecidedBy, Disposition, ExtendedCommunityPattern, LargeCommunityPattern,
    Match, Modify, NextHopAction, NextHopChoice, NumberPattern, PolicyContext, PrefixList,
};

/// What a route without `LOCAL_PREF` counts as having, as in best path selection.
const DEFAULT_LOCAL_PREF: u32 = 100;

/// A route, and what the policies said of it so far.
pub(super) struct Route<'a> {
    prefix: IpNet,
    attributes: Cow<'a, Attributes>,
    next_hop: NextHopChoice,
    weight: Option<u32>,
    /// The AS path as text, once an expression has asked for it.
    as_path_text: Option<String>,
}

impl<'a> Route<'a> {
    pub(super) fn new(prefix: IpNet, attributes: Cow<'a, Attributes>) -> Self {
        Self { prefix, attributes, next_hop: NextHopChoice::Usual, weight: None, as_path_text: None }
    }

    pub(super) fn accepted(self, by: Option<DecidedBy<'a>>) -> Accepted<'a> {
        Accepted { attributes: self.attributes, next_hop: self.next_hop, weight: self.weight, by }
    }

    pub(super) fn satisfies(&mut self, condition: &Match, context: &PolicyContext) -> bool {
        let attributes = &*self.attributes;
        let path = &attributes.as_path;
        match condition {
            Match::Prefix(lists) => lists.iter().any(|list| list.contains(self.prefix)),
            Match::Family(families) => families.contains(Family::of(&self.prefix)),
            Match::NextHop(lists) => covered(lists, attributes.next_hop.addr),
            Match::Neighbor(set) => context.neighbor.is_some_and(|neighbor| set.contains(neighbor)),
            Match::From(set) => context.from.is_some_and(|neighbor| set.contains(neighbor)),
            Match::RouteType(types) => types.contains(&context.route_type),
            Match::Rpki(states) => states.contains(&context.rpki),
            Match::AsPath(patterns) => {
                let text = &mut self.as_path_text;
                patterns.iter().any(|pattern| pattern.matches_cached(path, text))
            }
            Match::AsPathContains(asns) => path.asns().any(|asn| asns.contains(asn)),
            Match::AsPathFirst(asns) => path.first_asn().is_some_and(|asn| asns.contains(asn)),
            Match::AsPathOrigin(asns) => path.origin_asn().is_some_and(|asn| asns.contains(asn)),
            Match::AsPathLength(range) => counts(*range, path.length()),
            Match::AsPathUniqueLength(range) => counts(*range, unique_length(path)),
            Match::Community(patterns) => any(patterns, &attributes.communities, CommunityPattern::matches),
            Match::LargeCommunity(patterns) => {
                any(patterns, &attributes.large_communities, LargeCommunityPattern::matches)
            }
            Match::ExtendedCommunity(patterns) => {
                any(patterns, &attributes.extended_communities, ExtendedCommunityPattern::matches)
            }
            Match::CommunityCount(range) => counts(*range, attributes.communities.len()),
            Match::LargeCommunityCount(range) => counts(*range, attributes.large_communities.len()),
            Match::ExtendedCommunityCount(range) => counts(*range, attributes.extended_communities.len()),
            Match::Origin(origins) => origins.contains(&attributes.origin),
            Match::Med(range) => range.matches(attributes.med.unwrap_or(0)),
            Match::HasMed => attributes.med.is_some(),
            Match::LocalPref(range) => range.matches(attributes.local_pref.unwrap_or(DEFAULT_LOCAL_PREF)),
            Match::RoutePresent { index, .. } => context.present & (1 << (index & 63)) != 0,
            Match::Policy(policy) => {
                let mut trial = Route {
                    prefix: self.prefix,
                    attributes: Cow::Borrowed(attributes),
                    next_hop: self.next_hop,
                    weight: self.weight,
                    as_path_text: None,
                };
                policy.run(&mut trial, context).0 != Disposition::Reject
            }
            Match::Any(groups) => groups.iter().any(|group| self.satisfies_all(group, context)),
            Match::Not(conditions) => !self.satisfies_all(conditions, context),
        }
    }

    fn satisfies_all(&mut self, conditions: &[Match], context: &PolicyContext) -> bool {
        conditions.iter().all(|condition| self.satisfies(condition, context))
    }

    /// Applies one change; attributes that already are as wanted are not copied.
    pub(super) fn apply(&mut self, action: &Modify, context: &PolicyContext) {
        let attributes = &mut self.attributes;
        match action {
            Modify::Origin(origin) => {
                if attributes.origin != *origin {
                    attributes.to_mut().origin = *origin;
                }
            }
            Modify::LocalPref(value) => self.set_local_pref(*value),
            Modify::LocalPrefBy(change) => {
                let present = attributes.local_pref.unwrap_or(DEFAULT_LOCAL_PREF);
                self.set_local_pref(changed(present, *change));
            }
            Modify::Med(value) => self.set_med(*value),
            Modify::MedBy(change) => {
                let present = attributes.med.unwrap_or(0);
                self.set_med(Some(changed(present, *change)));
            }
            Modify::Weight(weight) => self.weight = Some(*weight),
            Modify::NextHop(next_hop) => self.set_next_hop(*next_hop, context),
            Modify::Communities(edit) => {
                if let Some(new) = edit.apply(&attributes.communities, CommunityPattern::matches) {
                    attributes.to_mut().communities = new;
                }
            }
            Modify::LargeCommunities(edit) => {
                if let Some(new) = edit.apply(&attributes.large_communities, LargeCommunityPattern::matches) {
                    attributes.to_mut().large_communities = new;
                }
            }
            Modify::ExtendedCommunities(edit) => {
                let old = &attributes.extended_communities;
                if let Some(new) = edit.apply(old, ExtendedCommunityPattern::matches) {
                    attributes.to_mut().extended_communities = new;
                }
            }
            Modify::RemoveAsns(asns) => {
                if attributes.as_path.asns().any(|asn| asns.contains(asn)) {
                    self.set_as_path(|path| {
                        *path = path.filter_map(|asn| (!asns.contains(asn)).then_some(asn));
                    });
                }
            }
            Modify::Prepend { asn, count } => {
                if *count > 0 {
                    let asn = asn.unwrap_or(context.local_asn);
                    self.set_as_path(|path| path.prepend(asn, usize::from(*count)));
                }
            }
            Modify::PrependFirst { count } => {
                if let Some(asn) = attributes.as_path.first_asn().filter(|_| *count > 0) {
                    self.set_as_path(|path| path.prepend(asn, usize::from(*count)));
                }
            }
            Modify::PrependAsns(asns) => {
                if !asns.is_empty() {
                    self.set_as_path(|path| asns.iter().rev().for_each(|asn| path.prepend(*asn, 1)));
                }
            }
        }
    }

    fn set_local_pref(&mut self, value: u32) {
        if self.attributes.local_pref != Some(value) {
            self.attributes.to_mut().local_pref = Some(value);
        }
    }

    fn set_med(&mut self, value: Option<u32>) {
        if self.attributes.med != value {
            self.attributes.to_mut().med = value;
        }
    }

    fn set_as_path(&mut self, change: impl FnOnce(&mut AsPath)) {
        change(&mut self.attributes.to_mut().as_path);
        self.as_path_text = None;
    }

    fn set_next_hop(&mut self, action: NextHopAction, context: &PolicyContext) {
        let address = match action {
            NextHopAction::Address(address) => Some(address),
            NextHopAction::PeerAddress => context.neighbor.map(|neighbor| neighbor.address),
            NextHopAction::Own => {
                self.next_hop = NextHopChoice::Own;
                return;
            }
            NextHopAction::Unchanged => {
                self.next_hop = NextHopChoice::AsInAttributes;
                return;
            }
        };
        let of_family = |address: &IpAddr| address.is_ipv4() == matches!(self.prefix, IpNet::V4(_));
        if let Some(address) = address.filter(of_family) {
            let next_hop = address.into();
            if self.attributes.next_hop != next_hop {
                self.attributes.to_mut().next_hop = next_hop;
            }
            self.next_hop = NextHopChoice::AsInAttributes;
        }
    }
}

/// Adds, and stops at either end.
fn changed(value: u32, change: i64) -> u32 {
    let sum = i64::from(value).saturating_add(change).max(0);
    u32::try_from(sum).unwrap_or(u32::MAX)
}

fn counts(range: NumberPattern, count: usize) -> bool {
    range.matches(u32::try_from(count).unwrap_or(u32::MAX))
}

fn covered(lists: &[std::sync::Arc<PrefixList>], address: IpAddr) -> bool {
    lists.iter().any(|list| list.covers_address(address))
}

/// Whether any value matches any pattern.
fn any<T: Copy, P>(patterns: &[P], values: &[T], matches: impl Fn(&P, T) -> bool) -> bool {
    values.iter().any(|&value| patterns.iter().any(|pattern| matches(pattern, value)))
}

/// How many different AS numbers the sequences of a path name, and 1 for each set; confederation segments
/// count nothing.
fn unique_length(path: &AsPath) -> usize {
    let sequences = || path.segments().filter(|segment| segment.kind() == SegmentKind::Sequence);
    let sets = path.segments().filter(|segment| segment.kind() == SegmentKind::Set).count();
    let mut asns: Vec<Asn> = sequences().flat_map(Segment::asns).collect();
    asns.sort_unstable();
    asns.dedup();
    sets + asns.len()
}
