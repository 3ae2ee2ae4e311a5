//! What may happen to a RIB, at random: the steps of the model test.

use std::net::Ipv4Addr;

use bgp::rib::Rules;
use bgp::session::PeerKind;
use bgp::types::{Asn, Family, RouterId};
use bgp::wire::{AsPath, Attributes, Community, Origin};
use proptest::prelude::*;

use super::rib_peers::{CLUSTER, OURS, PEERS, ROUTER_ID, asn, kind, next_hop};

/// A route as a peer may send it.
#[derive(Clone, Debug)]
pub(crate) struct Route {
    pub(crate) preference: u32,
    pub(crate) path: Vec<u32>,
    pub(crate) origin: Origin,
    pub(crate) med: Option<u32>,
    pub(crate) next_hop: u8,
    pub(crate) community: Option<Community>,
    pub(crate) originator: Option<RouterId>,
    pub(crate) clusters: Vec<Ipv4Addr>,
}

impl Route {
    pub(crate) fn attributes(&self, peer: u16, family: Family) -> Attributes {
        let internal = kind(peer) == PeerKind::Ibgp;
        let mut path: Vec<Asn> = self.path.iter().map(|&asn| Asn(asn)).collect();
        if !internal {
            path.insert(0, asn(peer));
        }
        Attributes {
            as_path: AsPath::sequence(path),
            origin: self.origin,
            med: self.med,
            local_pref: internal.then_some(self.preference),
            communities: self.community.into_iter().collect(),
            originator_id: self.originator.filter(|_| internal),
            cluster_list: if internal { self.clusters.clone() } else { Vec::new() },
            ..Attributes::originated(next_hop(self.next_hop, family))
        }
    }
}

#[derive(Clone, Debug)]
pub(crate) enum Step {
    Up(u16),
    Down(u16),
    /// Lost, with what is kept.
    Lost(u16, bool, bool),
    MarkStale(u16, Family),
    DropStale(u16, Family),
    AgeStale(u16, Family),
    Announce(u16, Vec<usize>, Route),
    Malformed(u16, Vec<usize>),
    Withdraw(u16, Vec<usize>),
    NextHop(u8, Option<u32>),
    Originate(usize, bool),
    Import(u16, u8),
    /// These peers, a bit each, are exported to by another policy.
    Export(u16, u8),
    Rules(Rules),
    Work(usize),
    Read(u16, usize),
    Refresh(u16, Family),
    Forwarded(usize, bool, usize),
    Settle,
}

fn route() -> impl Strategy<Value = Route> {
    let path = prop::collection::vec(prop_oneof![9 => 100..102_u32, 1 => Just(OURS.0)], 0..3);
    let community = prop_oneof![
        6 => Just(None),
        1 => Just(Some(Community::NO_EXPORT)),
        1 => Just(Some(Community::NO_LLGR)),
        1 => Just(Some(Community::LLGR_STALE)),
        1 => Just(Some(Community::NO_ADVERTISE)),
    ];
    let origin = prop_oneof![4 => Just(Origin::Igp), 1 => Just(Origin::Incomplete)];
    let originator = prop_oneof![
        6 => Just(None),
        2 => Just(Some(RouterId(Ipv4Addr::new(10, 0, 1, 0)))),
        1 => Just(Some(RouterId(ROUTER_ID))),
    ];
    let cluster =
        prop_oneof![4 => Just(Ipv4Addr::new(10, 8, 8, 8)), 1 => Just(ROUTER_ID), 1 => Just(CLUSTER)];
    let reflected = (originator, prop::collection::vec(cluster, 0..3));
    (99..101_u32, path, origin, prop::option::of(0..2_u32), 0..3_u8, community, reflected).prop_map(
        |(preference, path, origin, med, next_hop, community, (originator, clusters))| Route {
            preference,
            path,
            origin,
            med,
            next_hop,
            community,
            originator,
            clusters,
        },
    )
}

pub(crate) fn rules() -> impl Strategy<Value = Rules> {
    (any::<bool>(), 1..4_usize, 1..4_usize, any::<bool>()).prop_map(
        |(always_compare_med, multipath_external, multipath_internal, relax)| Rules {
            always_compare_med,
            multipath_external,
            multipath_internal,
            relax,
            link_bandwidth: true,
        },
    )
}

pub(crate) fn step() -> impl Strategy<Value = Step> {
    let peer = || 1..=PEERS;
    let prefixes = || prop::collection::vec(0..12_usize, 1..6);
    let family = || prop::sample::select(Family::ALL.to_vec());
    prop_oneof![
        4 => peer().prop_map(Step::Up),
        1 => peer().prop_map(Step::Down),
        3 => (peer(), any::<bool>(), any::<bool>()).prop_map(|(p, v4, v6)| Step::Lost(p, v4, v6)),
        1 => (peer(), family()).prop_map(|(p, f)| Step::MarkStale(p, f)),
        2 => (peer(), family()).prop_map(|(p, f)| Step::DropStale(p, f)),
        1 => (peer(), family()).prop_map(|(p, f)| Step::AgeStale(p, f)),
        16 => (peer(), prefixes(), route()).prop_map(|(p, n, r)| Step::Announce(p, n, r)),
        1 => (peer(), prefixes()).prop_map(|(p, n)| Step::Malformed(p, n)),
        6 => (peer(), prefixes()).prop_map(|(p, n)| Step::Withdraw(p, n)),
        2 => (0..3_u8, prop::option::of(0..2_u32)).prop_map(|(n, s)| Step::NextHop(n, s)),
        1 => (0..12_usize, any::<bool>()).prop_map(|(n, on)| Step::Originate(n, on)),
        1 => (peer(), 0..5_u8).prop_map(|(p, n)| Step::Import(p, n)),
        2 => (1..1_u16 << PEERS, 0..5_u8).prop_map(|(peers, n)| Step::Export(peers, n)),
        1 => rules().prop_map(Step::Rules),
        3 => (1..20_usize).prop_map(Step::Work),
        8 => (peer(), prop_oneof![Just(1_usize), Just(60), Just(10_000)]).prop_map(|(p, n)| Step::Read(p, n)),
        1 => (peer(), family()).prop_map(|(p, f)| Step::Refresh(p, f)),
        4 => (1..6_usize, prop::bool::weighted(0.8), 0..4_usize)
            .prop_map(|(n, ok, under_way)| Step::Forwarded(n, ok, under_way)),
        1 => Just(Step::Settle),
    ]
}
