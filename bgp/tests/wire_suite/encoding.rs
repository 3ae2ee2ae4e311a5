//! UPDATEs that the speaker writes: octets as other implementations write them, limits, packing.

use bgp::types::{Asn, Family, FamilySet};
use bgp::wire::{
    Attributes, Community, DecodeContext, EncodeContext, EncodeError, LargeCommunity, NextHop, Origin,
    UnknownAttribute, encode_announce, encode_end_of_rib, encode_withdraw, frame_len,
};
use bytes::BytesMut;
use ipnet::{IpNet, Ipv4Net};

use crate::support::*;

const NEW: EncodeContext =
    EncodeContext { as4: true, extended: false, add_path: FamilySet::EMPTY, extended_next_hop: false };
const OLD_PEER: EncodeContext =
    EncodeContext { as4: false, extended: false, add_path: FamilySet::EMPTY, extended_next_hop: false };

fn written(attributes: &Attributes, prefixes: &[&str], ctx: EncodeContext) -> Vec<u8> {
    let prefixes = nets(prefixes);
    let mut out = BytesMut::new();
    let family = Family::of(&prefixes[0]);
    assert_eq!(encode_announce(&mut out, family, attributes, prefixes, &ctx), Ok(1));
    out.to_vec()
}

fn attributes(next_hop: &str, path: &str) -> Attributes {
    let next_hop: std::net::IpAddr = next_hop.parse().expect("an address");
    Attributes { as_path: path.parse().expect("a path"), ..Attributes::originated(next_hop) }
}

/// `announce route 1.1.0.0/24 next-hop 101.1.101.1 origin igp local-preference 100`, as `ExaBGP`'s own
/// tests expect it.
#[test]
fn an_internal_route_is_written_like_exabgp_does() {
    let attributes = Attributes { local_pref: Some(100), ..attributes("101.1.101.1", "") };
    assert_eq!(
        written(&attributes, &["1.1.0.0/24"], NEW),
        hex(
            "ffffffffffffffffffffffffffffffff0030020000001540010100400200400304650165014005040000006418010100"
        )
    );
}

/// Octets checked with Wireshark's dissector.
#[test]
fn every_attribute_is_written_in_order_of_its_code() {
    let attributes = Attributes {
        origin: Origin::Incomplete,
        med: Some(5),
        local_pref: Some(200),
        atomic_aggregate: true,
        aggregator: Some((Asn(70_000), "192.0.2.9".parse().unwrap())),
        originator_id: Some(bgp::types::RouterId("192.0.2.3".parse().unwrap())),
        cluster_list: vec!["192.0.2.4".parse().unwrap()],
        communities: vec![Community::new(65_001, 100), Community::NO_EXPORT],
        extended_communities: vec![bgp::wire::ExtendedCommunity([0, 2, 0xfd, 0xe9, 0, 0, 0, 7])],
        large_communities: vec![LargeCommunity { global: 70_000, local1: 1, local2: 2 }],
        unknown: vec![
            UnknownAttribute { flags: 0xe0, code: 30, value: vec![1, 2] },
            UnknownAttribute { flags: 0xe0, code: 99, value: vec![] },
        ],
        ..attributes("192.0.2.1", "65001 70000 {1,2}")
    };
    assert_eq!(
        written(&attributes, &["10.0.0.0/8", "192.0.2.128/25"], NEW),
        hex("ffffffffffffffffffffffffffffffff 0097 02 0000 0079 \
             40010102 4002140202 0000fde9 00011170 0102 00000001 00000002 400304c0000201 80040400000005 \
             400504000000c8 400600 c007080001 1170c0000209 c00808fde90064ffffff01 800904c0000203 \
             800a04c0000204 c010080002fde900000007 e01e020102 c0200c000111700000000100000002 e06300 \
             080a 19c0000280")
    );
}

#[test]
fn ipv6_routes_go_into_a_leading_mp_reach_nlri() {
    let plain = attributes("2001:db8::1", "65001");
    assert_eq!(
        written(&plain, &["2001:db8:1::/48"], NEW),
        hex("ffffffffffffffffffffffffffffffff 0044 02 0000 002d \
             900e001c 0002 01 10 20010db8000000000000000000000001 00 30 20010db80001 \
             40010100 400206 0201 0000fde9")
    );
    let link_local = Some("fe80::1".parse().unwrap());
    let next_hop = NextHop { link_local, ..plain.next_hop };
    let frame = written(&Attributes { next_hop, ..plain }, &["::/0"], NEW);
    assert_eq!(frame[26], 32 + 6, "low octet of the length: AFI to reserved, both addresses, ::/0");
}

#[test]
fn withdrawals_and_end_of_rib_are_written_as_expected() {
    let mut out = BytesMut::new();
    assert_eq!(encode_withdraw(&mut out, Family::Ipv4Unicast, nets(&["1.1.0.0/24"]), &NEW), 1);
    // As in ExaBGP's own tests.
    assert_eq!(out[..], hex("ffffffffffffffffffffffffffffffff001b020004180101000000"));
    let mut out = BytesMut::new();
    assert_eq!(encode_withdraw(&mut out, Family::Ipv6Unicast, nets(&["2001:db8::/32"]), &NEW), 1);
    assert_eq!(out[..], hex("ffffffffffffffffffffffffffffffff 0023 02 0000 000c 900f0008 000201 2020010db8"));
    for (family, octets) in [
        (Family::Ipv4Unicast, "ffffffffffffffffffffffffffffffff00170200000000"),
        (Family::Ipv6Unicast, "ffffffffffffffffffffffffffffffff001e0200000007900f0003000201"),
    ] {
        let mut out = BytesMut::new();
        encode_end_of_rib(&mut out, family);
        assert_eq!(out[..], hex(octets));
        assert_eq!(decode_update(&out, EBGP).unwrap().end_of_rib(), Some(family));
    }
    let mut out = BytesMut::new();
    assert_eq!(encode_withdraw(&mut out, Family::Ipv6Unicast, nets(&[]), &NEW), 0);
    assert!(out.is_empty(), "no prefixes, no message, which would be an End-of-RIB");
}

#[test]
fn old_peers_get_as_trans_and_the_real_numbers_beside_it() {
    let mut attributes = attributes("192.0.2.1", "65001 70000");
    attributes.aggregator = Some((Asn(70_000), "192.0.2.9".parse().unwrap()));
    let frame = written(&attributes, &["10.0.0.0/8"], OLD_PEER);
    assert_eq!(
        frame[23..],
        hex("40010100 4002060202fde95ba0 400304c0000201 c007065ba0c0000209 \
             c0110a02020000fde900011170 c0120800011170c0000209 080a")
    );
    assert_eq!(effect(&frame, OLD).unwrap().announced[0].1, attributes);
    let narrow = self::attributes("192.0.2.1", "65001 65002");
    let frame = written(&narrow, &["10.0.0.0/8"], OLD_PEER);
    assert_eq!(frame[23..], hex("40010100 4002060202fde9fdea 400304c0000201 080a"));
}

fn many_prefixes(count: u32) -> Vec<IpNet> {
    let net = |index: u32| Ipv4Net::new((0x0a00_0000 + (index << 8)).into(), 24).expect("a length");
    (0..count).map(|index| IpNet::V4(net(index))).collect()
}

/// Splits a stream into its frames.
fn frames(mut stream: &[u8], max: usize) -> Vec<&[u8]> {
    let mut frames = Vec::new();
    while let Some(length) = frame_len(stream, max).expect("a frame") {
        let (frame, rest) = stream.split_at(length);
        frames.push(frame);
        stream = rest;
    }
    assert!(stream.is_empty());
    frames
}

#[test]
fn messages_are_filled_to_the_last_prefix_that_fits() {
    let prefixes = many_prefixes(5000);
    for (filler, extended) in (0..4).flat_map(|filler| [(filler, false), (filler, true)]) {
        let ctx = EncodeContext { extended, ..NEW };
        let attributes = Attributes {
            unknown: vec![UnknownAttribute { flags: 0xe0, code: 99, value: vec![0; filler] }],
            ..attributes("192.0.2.1", "65001")
        };
        let mut out = BytesMut::new();
        let count =
            encode_announce(&mut out, Family::Ipv4Unicast, &attributes, prefixes.clone(), &ctx).unwrap();
        let frames = frames(&out, ctx.max_message());
        assert_eq!(frames.len(), count);
        for frame in &frames[..count - 1] {
            assert!(frame.len() + 4 > ctx.max_message());
        }
        let read = DecodeContext { extended: ctx.extended, ..EBGP };
        let announced = frames.iter().flat_map(|frame| effect(frame, read).unwrap().announced);
        assert!(announced.map(|(net, _)| net).eq(prefixes.iter().copied()));

        let mut out = BytesMut::new();
        encode_withdraw(&mut out, Family::Ipv4Unicast, prefixes.clone(), &ctx);
        let frames = self::frames(&out, ctx.max_message());
        let withdrawn = frames.iter().flat_map(|frame| effect(frame, read).unwrap().withdrawn);
        assert!(withdrawn.eq(prefixes.iter().copied()));
    }
}

#[test]
fn attributes_that_leave_no_room_for_a_prefix_are_refused_and_none_sooner() {
    let with = |length: usize| Attributes {
        unknown: vec![UnknownAttribute { flags: 0xe0, code: 99, value: vec![0; length] }],
        ..attributes("192.0.2.1", "65001")
    };
    let prefix = nets(&["192.0.2.1/32"]);
    // 23 octets of message, 20 of other attributes, 4 of attribute head, 5 of prefix.
    let fits = 4096 - 23 - 20 - 4 - 5;
    let mut out = BytesMut::new();
    let family = Family::Ipv4Unicast;
    assert_eq!(encode_announce(&mut out, family, &with(fits), prefix.clone(), &NEW), Ok(1));
    assert_eq!(out.len(), 4096);
    assert!(effect(&out, EBGP).is_ok());
    let error = EncodeError::TooLarge { size: fits + 25, max: 4096 };
    let mut out = BytesMut::new();
    assert_eq!(encode_announce(&mut out, family, &with(fits + 1), prefix.clone(), &NEW), Err(error));
    assert!(out.is_empty());
    let extended = EncodeContext { extended: true, ..NEW };
    assert_eq!(encode_announce(&mut out, family, &with(fits + 1), prefix, &extended), Ok(1));
}

#[test]
fn families_do_not_mix() {
    let mut out = BytesMut::new();
    let mixed = nets(&["10.0.0.0/8", "2001:db8::/32"]);
    let v4 = attributes("192.0.2.1", "65001");
    assert_eq!(encode_announce(&mut out, Family::Ipv4Unicast, &v4, mixed.clone(), &NEW), Ok(1));
    let announced = effect(&out, EBGP).unwrap().announced;
    assert_eq!(announced, [(mixed[0], v4.clone())]);
    let family = Family::Ipv6Unicast;
    let error = EncodeError::NextHopFamily { family, next_hop: v4.next_hop.addr };
    assert_eq!(encode_announce(&mut out, family, &v4, mixed, &NEW), Err(error));
}
