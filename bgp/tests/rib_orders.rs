//! Well-known communities that import acts on: `GRACEFUL_SHUTDOWN` (RFC 8326), `BLACKHOLE` (RFC 7999).

#![expect(clippy::unwrap_used, reason = "helpers of tests may panic like the tests themselves")]

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use bgp::policy::{Disposition, Modify, Policy, PolicyChain, Statement};
use bgp::rib::{CommunityOrders, Forwarding, ImportRules, NextHopState, PeerSession, Rib, RibConfig};
use bgp::session::PeerKind;
use bgp::types::{Asn, Family, FamilySet, PeerId, RouterId};
use bgp::wire::{
    AsPath, Attributes, Community, DecodeContext, EncodeContext, Message, decode, encode_announce,
};
use bytes::BytesMut;
use ipnet::IpNet;

const PEER: PeerId = PeerId(1);
const NO_ORDERS: CommunityOrders = CommunityOrders { graceful_shutdown: false, blackhole: false };

fn prefix() -> IpNet {
    "203.0.113.7/32".parse().unwrap()
}

/// A policy that does this to every route.
fn policy(actions: Vec<Modify>) -> PolicyChain {
    let statement = Statement { actions, ..Statement::default() };
    PolicyChain::new([Arc::new(Policy {
        name: "test".into(),
        statements: vec![statement],
        default: Disposition::Accept,
    })])
}

fn session(orders: CommunityOrders, import: PolicyChain) -> PeerSession {
    PeerSession {
        id: PEER,
        address: Ipv4Addr::new(192, 0, 2, 1).into(),
        asn: Asn(65_001),
        router_id: RouterId(Ipv4Addr::new(10, 0, 0, 1)),
        kind: PeerKind::Ebgp,
        local_asn: Asn(65_000),
        as4: true,
        import,
        families: FamilySet::ALL,
        prepend_local_asn: false,
        enforce_first_as: true,
        rules: ImportRules::default(),
        orders,
        limits: Default::default(),
        reflection: bgp::rib::Reflection::default(),
    }
}

/// A RIB with one route with these communities, by this policy.
fn rib(orders: CommunityOrders, import: PolicyChain, communities: &[Community]) -> Rib {
    rib_of(session(orders, import), communities)
}

fn rib_of(session: PeerSession, communities: &[Community]) -> Rib {
    let mut rib = Rib::new(RibConfig::new(Asn(65_000), RouterId(Ipv4Addr::new(10, 0, 0, 99))));
    rib.peer_up(session);
    let next_hop: IpAddr = Ipv4Addr::new(192, 0, 2, 1).into();
    let attributes = Attributes {
        as_path: AsPath::sequence([Asn(65_001)]),
        communities: communities.to_vec(),
        ..Attributes::originated(next_hop)
    };
    let encode =
        EncodeContext { as4: true, extended: false, add_path: FamilySet::EMPTY, extended_next_hop: false };
    let mut out = BytesMut::new();
    encode_announce(&mut out, Family::Ipv4Unicast, &attributes, [prefix()], &encode).unwrap();
    let context = DecodeContext {
        as4: true,
        families: FamilySet::ALL,
        extended: false,
        add_path: FamilySet::EMPTY,
        extended_next_hop: false,
        ebgp: true,
    };
    let Message::Update(update) = decode(&out, &context).unwrap() else { panic!("an UPDATE") };
    rib.updates(PEER, [update].into_iter());
    rib
}

fn attributes(rib: &Rib) -> Attributes {
    rib.lookup(prefix()).unwrap().paths[0].attributes.clone()
}

#[test]
fn graceful_shutdown_is_the_last_choice_whatever_policy_prefers() {
    let on = CommunityOrders { graceful_shutdown: true, ..NO_ORDERS };
    let asks = [Community::GRACEFUL_SHUTDOWN];
    let prefers = || policy(vec![Modify::LocalPref(200)]);
    for (orders, import, communities, expected) in [
        (on, PolicyChain::all(), &asks[..], Some(0)),
        (on, prefers(), &asks[..], Some(0)),
        (on, prefers(), &[][..], Some(200)),
        (NO_ORDERS, prefers(), &asks[..], Some(200)),
        (NO_ORDERS, PolicyChain::all(), &asks[..], None),
    ] {
        let rib = rib(orders, import, communities);
        assert_eq!(attributes(&rib).local_pref, expected);
    }
    // A route that policy rejects stays rejected.
    assert!(rib(on, PolicyChain::none(), &asks).lookup(prefix()).unwrap().paths[0].ineligible.is_some());
}

#[test]
fn what_comes_over_a_session_about_to_end_is_the_last_choice() {
    let prefers = || policy(vec![Modify::LocalPref(200)]);
    for (last_choice, import, expected) in [
        (true, prefers(), Some(0)),
        (false, prefers(), Some(200)),
        (true, PolicyChain::all(), Some(0)),
        (false, PolicyChain::all(), None),
    ] {
        let rules = ImportRules { last_choice, ..ImportRules::default() };
        let rib = rib_of(PeerSession { rules, ..session(NO_ORDERS, import) }, &[]);
        assert_eq!(attributes(&rib).local_pref, expected);
    }
}

#[test]
fn a_blackhole_drops_whatever_its_next_hop_and_stays_within_the_as() {
    let on = CommunityOrders { blackhole: true, ..NO_ORDERS };
    let asks = [Community::BLACKHOLE];
    let mut dropping = rib(on, PolicyChain::all(), &asks);
    let next_hop: IpAddr = Ipv4Addr::new(192, 0, 2, 1).into();
    for state in [NextHopState::Unreachable, NextHopState::Reachable { cost: 1 }, NextHopState::Unreachable] {
        dropping.next_hop_changed(next_hop, state);
        while dropping.work(10) {}
        assert_eq!(dropping.best(prefix()).unwrap().forwarding, Forwarding::Blackhole, "{state:?}");
    }
    assert_eq!(attributes(&dropping).communities, [Community::BLACKHOLE, Community::NO_EXPORT]);
    assert!(dropping.lookup(prefix()).unwrap().paths[0].blackhole);
    let with_no_advertise = rib(on, PolicyChain::all(), &[Community::NO_ADVERTISE, Community::BLACKHOLE]);
    assert_eq!(attributes(&with_no_advertise).communities.len(), 2);

    // Not without the option, and not when policy has taken the community off.
    let mut plain = rib(NO_ORDERS, PolicyChain::all(), &asks);
    plain.next_hop_changed(next_hop, NextHopState::Reachable { cost: 1 });
    while plain.work(10) {}
    assert!(matches!(plain.best(prefix()).unwrap().forwarding, Forwarding::Via(_)));
    assert!(rib(on, PolicyChain::none(), &asks).best(prefix()).is_none());
}
