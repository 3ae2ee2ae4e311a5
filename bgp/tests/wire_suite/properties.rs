//! Properties over generated messages: what is written is read again, and nothing panics.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use bgp::types::{Asn, Family, FamilySet, RouterId};
use bgp::wire::{
    Aigp, AsPath, AttributeContext, Attributes, Community, DecodeContext, EncodeContext, ExtendedCommunity,
    LargeCommunity, Message, NextHop, Origin, Partial, PathNlri, SegmentKind, UnknownAttribute, decode,
    encode_announce, encode_withdraw, frame_len, parse_attributes,
};
use bytes::BytesMut;
use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use proptest::collection::{btree_map, btree_set, vec};
use proptest::option;
use proptest::prelude::*;
use proptest::sample::select;

use crate::support::*;

fn next_hop4() -> impl Strategy<Value = NextHop> {
    (1..=223_u32, 0..=0x00ff_ffff_u32)
        .prop_filter("loopback is no next hop", |(first, _)| *first != 127)
        .prop_map(|(first, rest)| Ipv4Addr::from_bits(first << 24 | rest).into())
}

fn next_hop6() -> impl Strategy<Value = NextHop> {
    let link_local =
        option::of(any::<u64>().prop_map(|id| Ipv6Addr::from_bits(0xfe80 << 112 | u128::from(id))));
    (any::<u128>(), link_local).prop_map(|(bits, link_local)| {
        let addr = IpAddr::V6(Ipv6Addr::from_bits(0x2000 << 112 | bits >> 16));
        NextHop { addr, link_local }
    })
}

fn asn() -> impl Strategy<Value = Asn> {
    prop_oneof![1..=65_535_u32, 1..=u32::MAX].prop_map(Asn)
}

fn as_path(confederations: bool) -> impl Strategy<Value = AsPath> {
    let kinds = [
        SegmentKind::Sequence,
        SegmentKind::Sequence,
        SegmentKind::Set,
        SegmentKind::ConfedSequence,
        SegmentKind::ConfedSet,
    ];
    let kinds = kinds[..if confederations { 5 } else { 3 }].to_vec();
    vec((select(kinds), vec(asn(), 1..8)), 0..4).prop_map(|segments| {
        let mut path = AsPath::new();
        for (kind, asns) in segments {
            path.push(kind, asns);
        }
        path
    })
}

fn attributes(next_hop: impl Strategy<Value = NextHop>) -> impl Strategy<Value = Attributes> {
    let origin = select(vec![Origin::Igp, Origin::Egp, Origin::Incomplete]);
    let address = || any::<u32>().prop_map(Ipv4Addr::from_bits);
    let large = any::<(u32, u32, u32)>().prop_map(|(global, local1, local2)| LargeCommunity {
        global,
        local1,
        local2,
    });
    let unknown = btree_map(36..=255_u8, vec(any::<u8>(), 0..300), 0..3);
    let known = (
        (origin, as_path(true), next_hop, any::<Option<u32>>(), any::<Option<u32>>(), any::<bool>()),
        (option::of((asn(), address())), option::of(address().prop_map(RouterId)), vec(address(), 0..4)),
    );
    let communities = (
        vec(any::<u32>().prop_map(Community), 0..80),
        vec(any::<[u8; 8]>().prop_map(ExtendedCommunity), 0..4),
        btree_set(large, 0..4),
        option::of((
            any::<u64>(),
            select(vec![Vec::new(), vec![2, 0, 4, 7], vec![1, 0, 11, 0, 0, 0, 0, 0, 0, 0, 9]]),
        )),
        option::of(asn()),
    );
    (known, communities, unknown).prop_map(|((first, second), communities, unknown)| {
        let (origin, as_path, next_hop, med, local_pref, atomic_aggregate) = first;
        let (aggregator, originator_id, cluster_list) = second;
        let (communities, extended_communities, large_communities, aigp, otc) = communities;
        Attributes {
            origin,
            as_path,
            next_hop,
            med,
            local_pref,
            atomic_aggregate,
            aggregator,
            originator_id,
            cluster_list,
            communities,
            extended_communities,
            large_communities: large_communities.into_iter().collect(),
            aigp: aigp.map(|(metric, others)| Aigp { metric, others }),
            otc,
            partial: Partial::default(),
            unknown: unknown
                .into_iter()
                .map(|(code, value)| UnknownAttribute { flags: 0xe0, code, value })
                .collect(),
        }
    })
}

fn prefix4() -> impl Strategy<Value = IpNet> {
    (any::<u32>(), 0..=32_u8)
        .prop_map(|(bits, length)| IpNet::V4(Ipv4Net::new(bits.into(), length).expect("a length").trunc()))
}

fn prefix6() -> impl Strategy<Value = IpNet> {
    (any::<u128>(), 0..=128_u8)
        .prop_map(|(bits, length)| IpNet::V6(Ipv6Net::new(bits.into(), length).expect("a length").trunc()))
}

fn context() -> impl Strategy<Value = DecodeContext> {
    let families = select(vec![
        FamilySet::ALL,
        FamilySet::EMPTY,
        Family::Ipv4Unicast.into(),
        Family::Ipv6Unicast.into(),
    ]);
    let flags = any::<(bool, bool, bool)>();
    (families.clone(), flags, families).prop_map(|(families, (as4, extended, ebgp), add_path)| {
        DecodeContext {
            as4,
            families,
            extended,
            add_path: add_path.intersect(families),
            extended_next_hop: false,
            ebgp,
        }
    })
}

/// Writes and reads prefixes with their attributes, as an internal peer would.
fn there_and_back(
    attributes: &Attributes,
    prefixes: &[impl Into<PathNlri> + Copy],
    ctx: EncodeContext,
) -> Effect {
    let family = Family::of(&prefixes[0].into().prefix);
    let mut out = BytesMut::new();
    let messages = encode_announce(&mut out, family, attributes, prefixes.iter().copied(), &ctx)
        .expect("room for the attributes");
    let read = DecodeContext { as4: ctx.as4, extended: ctx.extended, add_path: ctx.add_path, ..IBGP };
    let mut stream = &out[..];
    let mut effect = Effect::default();
    let mut count = 0;
    while let Some(length) = frame_len(stream, ctx.max_message()).expect("a frame") {
        let (frame, rest) = stream.split_at(length);
        let one = self::effect(frame, read).expect("a sound message");
        assert!(one.errors.is_empty() && one.discarded.is_empty() && one.withdrawn.is_empty());
        effect.announced.extend(one.announced);
        effect.path_ids.extend(one.path_ids);
        stream = rest;
        count += 1;
    }
    assert_eq!((count, stream.len()), (messages, 0));
    effect
}

/// Runs everything that reads a message.
fn exercise(frame: &[u8], ctx: DecodeContext) {
    let _ = frame_len(frame, ctx.max_message());
    if let Ok(Message::Update(update)) = decode(frame, &ctx) {
        let _ = (update.end_of_rib(), update.ignored().count());
        let _ = effect(frame, ctx);
    }
}

/// A valid message of any type, to be broken.
fn any_message() -> impl Strategy<Value = Vec<u8>> {
    let route = |attributes: Attributes, prefixes: Vec<IpNet>, as4| {
        let mut out = BytesMut::new();
        let ctx =
            EncodeContext { as4, extended: false, add_path: FamilySet::EMPTY, extended_next_hop: false };
        let family = Family::of(&prefixes[0]);
        encode_announce(&mut out, family, &attributes, prefixes.clone(), &ctx).expect("room");
        let mut withdraw = BytesMut::new();
        encode_withdraw(&mut withdraw, family, prefixes, &ctx);
        if as4 { out.to_vec() } else { [out, withdraw].concat() }
    };
    let open =
        hex("ffffffffffffffffffffffffffffffff00390104 5ba000b40a0000031c0206010400010001020280000202 \
         02000246000206410400640064");
    prop_oneof![
        8 => (attributes(next_hop4()), vec(prefix4(), 1..20), any::<bool>())
            .prop_map(move |(attributes, prefixes, as4)| route(attributes, prefixes, as4)),
        8 => (attributes(next_hop6()), vec(prefix6(), 1..20), any::<bool>())
            .prop_map(move |(attributes, prefixes, as4)| route(attributes, prefixes, as4)),
        4 => Just(open),
        1 => Just(message(5, &[0, 1, 0, 1])),
        1 => Just(message(3, &[6, 2, 2, b'h', b'i'])),
    ]
}

proptest! {
    #[test]
    fn the_key_of_attributes_gives_them_back(
        attributes in prop_oneof![attributes(next_hop4()), attributes(next_hop6())],
    ) {
        let key = attributes.to_key();
        let (parsed, discarded) = parse_attributes(&key).unwrap();
        prop_assert_eq!(&parsed, &attributes);
        prop_assert!(discarded.is_empty());
        prop_assert_eq!(parsed.to_key(), key);
    }

    #[test]
    fn announced_routes_come_back(
        (attributes, prefixes) in prop_oneof![
            (attributes(next_hop4()), vec(prefix4(), 1..900)),
            (attributes(next_hop6()), vec(prefix6(), 1..300)),
        ],
        extended in any::<bool>(),
    ) {
        let ctx = EncodeContext { as4: true, extended, add_path: FamilySet::EMPTY, extended_next_hop: false };
        let effect = there_and_back(&attributes, &prefixes, ctx);
        let (nets, all): (Vec<_>, Vec<_>) = effect.announced.into_iter().unzip();
        prop_assert_eq!(nets, prefixes);
        prop_assert!(all.iter().all(|parsed| *parsed == attributes));
    }

    #[test]
    fn announced_and_withdrawn_paths_come_back(
        attributes in prop_oneof![attributes(next_hop4()), attributes(next_hop6())],
        prefixes in prop_oneof![vec((prefix4(), any::<u32>()), 1..900), vec((prefix6(), any::<u32>()), 1..300)],
        extended in any::<bool>(),
    ) {
        let paths: Vec<PathNlri> =
            prefixes.iter().map(|&(prefix, path_id)| PathNlri { prefix, path_id }).collect();
        let family = Family::of(&paths[0].prefix);
        prop_assume!(family == Family::of(&attributes.next_hop.addr.into()));
        let ctx = EncodeContext { as4: true, extended, add_path: family.into(), extended_next_hop: false };
        let effect = there_and_back(&attributes, &paths, ctx);
        let back = effect.announced.iter().zip(&effect.path_ids);
        let back: Vec<_> = back.map(|((prefix, _), &path_id)| PathNlri { prefix: *prefix, path_id }).collect();
        prop_assert_eq!(&back, &paths);

        let ctx = EncodeContext { extended: true, ..ctx };
        let mut out = BytesMut::new();
        encode_withdraw(&mut out, family, paths.iter().copied(), &ctx);
        let read = DecodeContext { extended: true, add_path: family.into(), ..EBGP };
        let withdrawn = decode_update(&out, read).unwrap().withdrawals().flat_map(|(_, list)| list.paths());
        prop_assert_eq!(withdrawn.collect::<Vec<_>>(), paths);
    }

    #[test]
    fn routes_without_confederations_come_back_through_two_octets(
        mut attributes in attributes(next_hop4()),
        path in as_path(false),
        prefix in prefix4(),
    ) {
        let ctx = EncodeContext { as4: false, extended: false, add_path: FamilySet::EMPTY, extended_next_hop: false };
        attributes.as_path = path;
        let effect = there_and_back(&attributes, &[prefix], ctx);
        let parsed = &effect.announced[0].1;
        prop_assert_eq!(parsed.as_path.to_string(), attributes.as_path.to_string());
        prop_assert_eq!(parsed.aggregator, attributes.aggregator);
    }

    #[test]
    fn withdrawn_prefixes_come_back(
        prefixes in prop_oneof![vec(prefix4(), 1..900), vec(prefix6(), 1..300)],
    ) {
        let ctx = EncodeContext { as4: true, extended: true, add_path: FamilySet::EMPTY, extended_next_hop: false };
        let mut out = BytesMut::new();
        encode_withdraw(&mut out, Family::of(&prefixes[0]), prefixes.clone(), &ctx);
        let read = DecodeContext { extended: true, ..EBGP };
        prop_assert_eq!(effect(&out, read).unwrap().withdrawn, prefixes);
    }

    #[test]
    fn paths_read_back_from_their_text(path in as_path(false)) {
        let text = path.to_string();
        let again: AsPath = text.parse().unwrap();
        prop_assert_eq!(again.to_string(), text);
        prop_assert_eq!(again.length(), path.length());
    }

    #[test]
    fn prepending_adds_to_the_front_and_nothing_else(
        path in as_path(true), asn in asn(), times in 0..300_usize,
    ) {
        let mut longer = path.clone();
        longer.prepend(asn, times);
        prop_assert_eq!(longer.length(), path.length() + times);
        let expected: Vec<Asn> = std::iter::repeat_n(asn, times).chain(path.asns()).collect();
        prop_assert_eq!(longer.asns().collect::<Vec<_>>(), expected);
    }

    #[test]
    fn random_octets_never_panic(
        kind in 0..8_u8, body in vec(any::<u8>(), 0..200), ctx in context(),
    ) {
        exercise(&body, ctx);
        exercise(&message(kind, &body), ctx);
        let _ = parse_attributes(&body);
    }

    #[test]
    fn random_parts_of_an_update_never_panic(
        withdrawn in vec(0..40_u8, 0..12),
        attributes in vec((any::<u8>(), 0..36_u8, vec(0..20_u8, 0..40)), 0..6),
        nlri in vec(0..40_u8, 0..12),
        ctx in context(),
    ) {
        let block: Vec<u8> =
            attributes.iter().flat_map(|(flags, code, value)| attr(flags & 0xe0, *code, value)).collect();
        exercise(&update(&withdrawn, &block, &nlri), ctx);
    }

    #[test]
    fn broken_messages_never_panic(
        mut frame in any_message(),
        changes in vec((any::<prop::sample::Index>(), any::<u8>()), 0..6),
        cut in any::<prop::sample::Index>(),
        ctx in context(),
    ) {
        exercise(&frame[..cut.index(frame.len() + 1)], ctx);
        // The header stays, or nothing behind it is reached.
        let body = frame.len() - 18;
        for (at, value) in changes {
            frame[18 + at.index(body)] = value;
        }
        exercise(&frame, ctx);
    }

    #[test]
    fn a_layout_on_another_frame_never_panics(
        frame in any_message(), other in vec(any::<u8>(), 0..100), ctx in context(),
    ) {
        if let Ok(Message::Update(update)) = decode(&frame, &ctx) {
            let view = bgp::wire::Update::from_layout(&other, update.layout());
            let mut key = Vec::new();
            for announcement in view.announcements() {
                let _ = announcement.nlri.iter().count();
                view.attribute_key(announcement.mp, AttributeContext { as4: true, ebgp: true, ..AttributeContext::default() }, &mut key);
            }
            let _: usize = view.withdrawals().map(|(_, nlri)| nlri.iter().count()).sum();
        }
    }
}
