//! What depends on where peers stand: confederations, and the shares of several paths.

#![expect(clippy::unwrap_used, reason = "helpers of tests may panic like the tests themselves")]

use std::net::{IpAddr, Ipv4Addr};

use bgp::policy::PolicyChain;
use bgp::rib::{Forwarding, ImportRules, Ineligible, PeerSession, Reflection, Rib, RibConfig};
use bgp::session::PeerKind;
use bgp::types::{Asn, Family, FamilySet, PeerId, RouterId};
use bgp::wire::{
    AsPath, Attributes, DecodeContext, EncodeContext, ExtendedCommunity, MAX_MESSAGE, Message, SegmentKind,
    decode, encode_announce, encode_withdraw, frame_len,
};
use bytes::BytesMut;
use ipnet::IpNet;

const OURS: Asn = Asn(65_000);
const ENCODE: EncodeContext =
    EncodeContext { as4: true, extended: false, add_path: FamilySet::EMPTY, extended_next_hop: false };

fn rib(change: impl FnOnce(&mut RibConfig)) -> Rib {
    let mut config = RibConfig::new(OURS, RouterId(Ipv4Addr::new(10, 0, 0, 99)));
    config.assume_reachable = true;
    change(&mut config);
    Rib::new(config)
}

fn up(rib: &mut Rib, peer: u16, kind: PeerKind) {
    rib.peer_up(PeerSession {
        id: PeerId(peer),
        address: address(peer),
        asn: Asn(65_000 + u32::from(peer)),
        router_id: RouterId(Ipv4Addr::new(10, 0, 0, peer as u8)),
        kind,
        local_asn: OURS,
        as4: true,
        import: PolicyChain::all(),
        families: FamilySet::ALL,
        enforce_first_as: true,
        rules: ImportRules::default(),
        orders: bgp::rib::CommunityOrders::default(),
        limits: Default::default(),
        prepend_local_asn: false,
        reflection: Reflection::default(),
    });
}

fn address(peer: u16) -> IpAddr {
    Ipv4Addr::new(192, 0, 2, peer as u8).into()
}

fn prefix() -> IpNet {
    "203.0.113.0/24".parse().unwrap()
}

fn withdraw(rib: &mut Rib, peer: u16) {
    let mut out = BytesMut::new();
    encode_withdraw(&mut out, Family::Ipv4Unicast, [prefix()], &ENCODE);
    send(rib, peer, &out);
}

fn announce(rib: &mut Rib, peer: u16, attributes: &Attributes) {
    let mut out = BytesMut::new();
    encode_announce(&mut out, Family::Ipv4Unicast, attributes, [prefix()], &ENCODE).unwrap();
    send(rib, peer, &out);
}

fn send(rib: &mut Rib, peer: u16, message: &[u8]) {
    let context =
        DecodeContext { as4: true, families: FamilySet::ALL, ebgp: false, ..DecodeContext::default() };
    let length = frame_len(message, MAX_MESSAGE).unwrap().unwrap();
    let Message::Update(update) = decode(&message[..length], &context).unwrap() else { panic!("an UPDATE") };
    rib.updates(PeerId(peer), [update].into_iter());
}

#[test]
fn a_path_that_another_ones_med_kept_out_comes_back_when_that_goes() {
    let route = |peer: u16, path: &[u32], med: u32| Attributes {
        as_path: AsPath::sequence(path.iter().map(|asn| Asn(*asn))),
        med: Some(med),
        ..Attributes::originated(address(peer))
    };
    let begin = || {
        let mut rib = rib(|_| ());
        for peer in 1..=3 {
            up(&mut rib, peer, PeerKind::Ibgp);
        }
        // The first one would win by its router id, but the third has a lower MED from the same AS; that one
        // loses by its own router id.
        announce(&mut rib, 1, &route(1, &[174], 10));
        announce(&mut rib, 2, &route(2, &[3356], 0));
        announce(&mut rib, 3, &route(3, &[174], 0));
        assert_eq!(rib.best(prefix()).unwrap().peer, PeerId(2));
        rib
    };
    let mut gone = begin();
    withdraw(&mut gone, 3);
    let mut longer = begin();
    announce(&mut longer, 3, &route(3, &[174, 7], 0));
    for rib in [gone, longer] {
        assert_eq!(rib.best(prefix()).unwrap().peer, PeerId(1));
    }
}

#[test]
fn routes_of_another_member_as_come_in_its_segment_and_not_through_ours() {
    let mut rib = rib(|config| config.confederation = Some(Asn(64_999)));
    up(&mut rib, 4, PeerKind::Confed);
    let (member, outside) = (SegmentKind::ConfedSequence, SegmentKind::Sequence);
    for (segments, expected) in [
        (vec![(member, vec![65_004])], None),
        (vec![(member, vec![65_004]), (outside, vec![174])], None),
        // A number may mean a member inside, and somebody else outside.
        (vec![(member, vec![65_004]), (outside, vec![65_000])], None),
        (vec![(member, vec![65_004, 64_999])], None),
        (vec![(member, vec![65_004, 65_000])], Some(Ineligible::AsLoop)),
        (vec![(member, vec![65_004]), (SegmentKind::ConfedSet, vec![65_000])], Some(Ineligible::AsLoop)),
        (vec![(member, vec![65_004]), (outside, vec![64_999])], Some(Ineligible::AsLoop)),
        (vec![(member, vec![65_005])], Some(Ineligible::FirstAsMismatch)),
        (vec![(outside, vec![65_004])], Some(Ineligible::FirstAsMismatch)),
        (vec![], Some(Ineligible::FirstAsMismatch)),
    ] {
        let mut as_path = AsPath::new();
        for (kind, asns) in &segments {
            as_path.push(*kind, asns.iter().map(|asn| Asn(*asn)));
        }
        let attributes = Attributes { as_path, local_pref: Some(300), ..Attributes::originated(address(4)) };
        announce(&mut rib, 4, &attributes);
        let path = rib.lookup(prefix()).unwrap().paths.remove(0);
        assert_eq!(path.ineligible, expected, "{segments:?}");
        assert_eq!(path.attributes, attributes, "its preference counts here");
    }
}

#[test]
fn a_path_from_outside_goes_before_one_from_another_member_as() {
    let mut rib = rib(|config| config.confederation = Some(Asn(64_999)));
    up(&mut rib, 1, PeerKind::Ebgp);
    up(&mut rib, 4, PeerKind::Confed);
    let mut inside = AsPath::sequence([Asn(174)]);
    inside.prepend_confed(Asn(65_004));
    let member = Attributes { as_path: inside, ..Attributes::originated(address(4)) };
    announce(&mut rib, 4, &member);
    let external =
        Attributes { as_path: AsPath::sequence([Asn(65_001)]), ..Attributes::originated(address(1)) };
    announce(&mut rib, 1, &external);
    assert_eq!(rib.best(prefix()).unwrap().peer, PeerId(1));
}

#[test]
fn traffic_is_shared_by_bandwidth_when_all_paths_have_one() {
    let mut rib = rib(|config| {
        config.rules.multipath_internal = 4;
        config.rules.link_bandwidth = true;
    });
    for peer in 1..=3 {
        up(&mut rib, peer, PeerKind::Ibgp);
    }
    let route = |peer: u16, bandwidth: Option<f32>| {
        let community = bandwidth.map(|bytes| {
            let [a, b, c, d] = bytes.to_be_bytes();
            ExtendedCommunity([0x40, ExtendedCommunity::LINK_BANDWIDTH, 0xfd, 0xe8, a, b, c, d])
        });
        Attributes {
            as_path: AsPath::sequence([Asn(174)]),
            extended_communities: community.into_iter().collect(),
            ..Attributes::originated(address(peer))
        }
    };
    let shares = |rib: &Rib| match rib.best(prefix()).unwrap().forwarding {
        Forwarding::Via(next_hops) => next_hops.into_vec(),
        Forwarding::Originated | Forwarding::Blackhole => Vec::new(),
    };
    announce(&mut rib, 1, &route(1, Some(1e9)));
    announce(&mut rib, 2, &route(2, Some(3e9)));
    let [one, two, three] = [1, 2, 3].map(address);
    assert_eq!(shares(&rib), [one, two, two, two]);
    // One without, or with one that says nothing, and all count the same.
    announce(&mut rib, 3, &route(3, None));
    assert_eq!(shares(&rib), [one, two, three]);
    announce(&mut rib, 3, &route(3, Some(0.0)));
    assert_eq!(shares(&rib), [one, two, three]);
    announce(&mut rib, 3, &route(3, Some(2e9)));
    assert_eq!(shares(&rib), [one, two, two, two, three, three]);
}
