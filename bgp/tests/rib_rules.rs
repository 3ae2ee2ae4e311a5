//! What the rules of a session make of the attributes of its routes: loops that are allowed, leaks, AIGP.

#![expect(clippy::unwrap_used, reason = "helpers of tests may panic like the tests themselves")]

use std::net::{IpAddr, Ipv4Addr};

use bgp::policy::PolicyChain;
use bgp::rib::view::PathView;
use bgp::rib::{ImportRules, Ineligible, PeerSession, Reflection, Rib, RibConfig};
use bgp::role::Role;
use bgp::session::PeerKind;
use bgp::types::{Asn, Family, FamilySet, PeerId, RouterId};
use bgp::wire::{Attributes, DecodeContext, EncodeContext, Message, decode, encode_announce};
use bytes::BytesMut;

const OURS: Asn = Asn(65_000);
const PREFIX: &str = "10.0.0.0/24";

fn up(rib: &mut Rib, peer: u8, rules: ImportRules) {
    rib.peer_up(PeerSession {
        id: PeerId(peer.into()),
        address: Ipv4Addr::new(192, 0, 2, peer).into(),
        asn: Asn(65_000 + u32::from(peer)),
        router_id: RouterId(Ipv4Addr::new(10, 0, 0, peer)),
        kind: PeerKind::Ebgp,
        local_asn: OURS,
        as4: true,
        import: PolicyChain::all(),
        families: FamilySet::ALL,
        prepend_local_asn: false,
        enforce_first_as: true,
        orders: bgp::rib::CommunityOrders::default(),
        limits: Default::default(),
        rules,
        reflection: Reflection::default(),
    });
}

fn announce(rib: &mut Rib, peer: u8, as_path: &str, change: impl FnOnce(&mut Attributes)) {
    let next_hop: IpAddr = Ipv4Addr::new(192, 0, 2, peer).into();
    let mut attributes = Attributes { as_path: as_path.parse().unwrap(), ..Attributes::originated(next_hop) };
    change(&mut attributes);
    let prefix: ipnet::IpNet = PREFIX.parse().unwrap();
    let (mut out, encode) = (BytesMut::new(), EncodeContext { as4: true, ..EncodeContext::default() });
    encode_announce(&mut out, Family::Ipv4Unicast, &attributes, [prefix], &encode).unwrap();
    let context = DecodeContext { as4: true, families: FamilySet::ALL, ..DecodeContext::default() };
    let Message::Update(update) = decode(&out, &context).unwrap() else { panic!("an UPDATE") };
    rib.updates(PeerId(peer.into()), std::iter::once(update));
}

fn rib(rules: ImportRules) -> Rib {
    let mut config = RibConfig::new(OURS, RouterId(Ipv4Addr::new(10, 0, 0, 99)));
    config.assume_reachable = true;
    let mut rib = Rib::new(config);
    up(&mut rib, 1, rules);
    rib
}

fn paths(rib: &Rib) -> Vec<PathView> {
    rib.lookup(PREFIX.parse().unwrap()).map(|route| route.paths).unwrap_or_default()
}

#[test]
fn our_own_as_number_may_come_back_as_often_as_is_allowed() {
    for (allowed, as_path, refused) in [
        (0, "65001 65000", true),
        (1, "65001 65000", false),
        (1, "65001 65000 65000", true),
        (2, "65001 65000 7 65000", false),
    ] {
        let mut rib = rib(ImportRules { allow_own_asn: allowed, ..ImportRules::default() });
        announce(&mut rib, 1, as_path, |_| ());
        let expected = refused.then_some(Ineligible::AsLoop);
        assert_eq!(paths(&rib)[0].ineligible, expected, "{allowed} {as_path}");
    }
}

#[test]
fn a_leak_is_kept_and_not_used_and_what_a_role_implies_is_shown() {
    for (role, otc, ineligible, shown) in [
        (None, Some(Asn(9)), None, Some(Asn(9))),
        (Some(Role::Provider), Some(Asn(9)), Some(Ineligible::RouteLeak), Some(Asn(9))),
        (Some(Role::Provider), None, None, None),
        (Some(Role::Peer), Some(Asn(9)), Some(Ineligible::RouteLeak), Some(Asn(9))),
        (Some(Role::Peer), Some(Asn(65_001)), None, Some(Asn(65_001))),
        (Some(Role::Customer), Some(Asn(9)), None, Some(Asn(9))),
        (Some(Role::Customer), None, None, Some(Asn(65_001))),
    ] {
        let mut rib = rib(ImportRules { role, ..ImportRules::default() });
        announce(&mut rib, 1, "65001", |attributes| attributes.otc = otc);
        let path = paths(&rib).remove(0);
        assert_eq!((path.ineligible, path.attributes.otc), (ineligible, shown), "{role:?} {otc:?}");
    }
}

#[test]
fn the_lowest_aigp_wins_before_the_as_path_does_and_only_where_it_is_enabled() {
    for enabled in [false, true] {
        let rules = ImportRules { aigp: enabled, ..ImportRules::default() };
        let mut rib = rib(rules);
        up(&mut rib, 2, rules);
        up(&mut rib, 3, rules);
        announce(&mut rib, 1, "65001 1 2", |attributes| attributes.aigp = Some(20.into()));
        announce(&mut rib, 2, "65002 1 2 3", |attributes| attributes.aigp = Some(10.into()));
        announce(&mut rib, 3, "65003", |_| ());
        let best = paths(&rib).remove(0);
        assert_eq!(best.peer, PeerId(if enabled { 2 } else { 3 }));
        assert_eq!(best.attributes.aigp.is_some(), enabled);
    }
}

#[test]
fn routes_with_sets_are_withdrawn_where_sets_are_refused() {
    for refuse_as_sets in [false, true] {
        let mut rib = rib(ImportRules { refuse_as_sets, ..ImportRules::default() });
        announce(&mut rib, 1, "65001", |_| ());
        announce(&mut rib, 1, "65001 {7,8}", |_| ());
        assert_eq!(paths(&rib).is_empty(), refuse_as_sets);
        assert_eq!(rib.statistics(PeerId(1)).treated_as_withdraw, u64::from(refuse_as_sets));
    }
}
