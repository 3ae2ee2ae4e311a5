//! What shards share and what they do not: prefixes, attributes, and what is counted once.

#![expect(clippy::unwrap_used, reason = "helpers of tests may panic like the tests themselves")]

use std::net::{IpAddr, Ipv4Addr};

use bgp::policy::PolicyChain;
use bgp::rib::{ImportRules, PeerSession, PeerStatistics, Reflection, Rib, RibConfig, ShardSpec};
use bgp::session::PeerKind;
use bgp::types::{Asn, Family, FamilySet, PeerId, RouterId};
use bgp::wire::{
    AsPath, Attributes, DecodeContext, EncodeContext, MAX_MESSAGE, Message, decode, encode_announce,
    encode_end_of_rib, encode_withdraw, frame_len,
};
use bytes::BytesMut;
use ipnet::IpNet;

const ENCODE: EncodeContext =
    EncodeContext { as4: true, extended: false, add_path: FamilySet::EMPTY, extended_next_hop: false };
const DECODE: DecodeContext = DecodeContext {
    as4: true,
    families: FamilySet::ALL,
    extended: false,
    add_path: FamilySet::EMPTY,
    extended_next_hop: false,
    ebgp: true,
};
const PEER: PeerId = PeerId(1);

fn shards(count: u16) -> Vec<Rib> {
    let shard = |index| {
        let base = RibConfig::new(Asn(65_000), RouterId(Ipv4Addr::new(10, 0, 0, 99)));
        let shard = ShardSpec { index, count };
        let mut rib = Rib::new(RibConfig { assume_reachable: true, shard, ..base });
        rib.peer_up(PeerSession {
            id: PEER,
            address: Ipv4Addr::new(192, 0, 2, 1).into(),
            asn: Asn(65_001),
            router_id: RouterId(Ipv4Addr::new(10, 0, 0, 1)),
            kind: PeerKind::Ebgp,
            local_asn: Asn(65_000),
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
        rib
    };
    (0..count).map(shard).collect()
}

fn send(shards: &mut [Rib], mut stream: &[u8]) {
    let mut updates = Vec::new();
    while let Some(length) = frame_len(stream, MAX_MESSAGE).unwrap() {
        let (frame, rest) = stream.split_at(length);
        let Message::Update(update) = decode(frame, &DECODE).unwrap() else { panic!("an UPDATE") };
        updates.push(update);
        stream = rest;
    }
    for rib in shards {
        rib.updates(PEER, updates.iter().copied());
    }
}

fn attributes(next_hop: IpAddr) -> Attributes {
    Attributes { as_path: AsPath::sequence([Asn(65_001)]), ..Attributes::originated(next_hop) }
}

fn announce(prefixes: impl IntoIterator<Item = IpNet>) -> BytesMut {
    let mut out = BytesMut::new();
    let next_hop = Ipv4Addr::new(192, 0, 2, 1).into();
    encode_announce(&mut out, Family::Ipv4Unicast, &attributes(next_hop), prefixes, &ENCODE).unwrap();
    out
}

/// Prefixes of so many different blocks of 16 bits.
fn prefixes(count: u32) -> impl Iterator<Item = IpNet> {
    (0..count).map(|index| {
        let address = Ipv4Addr::from_bits(0x0a00_0000 + (index << 16));
        IpNet::new(address.into(), 24).unwrap()
    })
}

fn statistics(shards: &[Rib]) -> PeerStatistics {
    let mut sum = PeerStatistics::default();
    for rib in shards {
        sum.absorb(rib.statistics(PEER));
    }
    sum
}

#[test]
fn every_prefix_has_one_shard() {
    let mut shards = shards(3);
    send(&mut shards, &announce(prefixes(1000)));
    let held: Vec<usize> = shards.iter().map(|rib| rib.totals().prefixes[0]).collect();
    assert_eq!(held.iter().sum::<usize>(), 1000);
    assert!(held.iter().all(|held| *held > 250), "evenly: {held:?}");
    for prefix in prefixes(1000) {
        let holders: Vec<_> =
            (0..3_u16).filter(|&index| ShardSpec { index, count: 3 }.holds(&prefix)).collect();
        assert_eq!(holders, [ShardSpec::owner(3, &prefix)]);
        assert!(shards[usize::from(holders[0])].lookup(prefix).is_some());
    }
}

#[test]
fn prefixes_that_lie_together_are_of_one_shard() {
    for (count, prefix) in [(2, "203.0.0.0/16"), (7, "203.0.0.0/16"), (64, "2001:db8::/32")] {
        let prefix: IpNet = prefix.parse().unwrap();
        for more_specific in prefix.subnets(prefix.prefix_len() + 5).unwrap() {
            assert_eq!(ShardSpec::owner(count, &more_specific), ShardSpec::owner(count, &prefix));
        }
    }
}

#[test]
fn a_shard_knows_no_attributes_of_prefixes_that_are_not_its_own() {
    let mut shards = shards(4);
    send(&mut shards, &announce(prefixes(1)));
    let owner = usize::from(ShardSpec::owner(4, &prefixes(1).next().unwrap()));
    assert_eq!(shards[owner].totals().attributes, 1);
    shards.remove(owner);
    // Not even for a moment, which would have taken memory.
    let empty = Rib::new(RibConfig::new(Asn(65_000), RouterId(Ipv4Addr::LOCALHOST))).totals();
    assert!(shards.iter().all(|rib| rib.totals() == empty));
}

/// UPDATEs of every kind: what they say of themselves must not depend on the number of shards.
fn all_kinds() -> BytesMut {
    let mut stream = announce(prefixes(100));
    encode_withdraw(&mut stream, Family::Ipv4Unicast, prefixes(40), &ENCODE);
    // Without any prefix.
    encode_end_of_rib(&mut stream, Family::Ipv4Unicast);
    encode_end_of_rib(&mut stream, Family::Ipv6Unicast);
    // ORIGIN, the first attribute behind header and two lengths, has no such value.
    for skipped in 0..8 {
        let mut malformed = announce(prefixes(50).skip(skipped));
        malformed[26] = 9;
        stream.extend_from_slice(&malformed);
    }
    // From an external peer LOCAL_PREF is discarded: twice, the second time with known attributes.
    for _ in 0..2 {
        let mut out = BytesMut::new();
        let mut internal = attributes(Ipv4Addr::new(192, 0, 2, 1).into());
        internal.local_pref = Some(7);
        encode_announce(&mut out, Family::Ipv4Unicast, &internal, prefixes(30), &ENCODE).unwrap();
        stream.extend_from_slice(&out);
    }
    stream
}

#[test]
fn an_update_counts_once() {
    let mut whole = shards(1);
    send(&mut whole, &all_kinds());
    let expected = statistics(&whole);
    assert_eq!((expected.updates, expected.treated_as_withdraw, expected.discarded_attributes), (14, 8, 2));
    assert_eq!(expected.last_error_in, 12);
    for count in 2..=5 {
        let mut shards = shards(count);
        send(&mut shards, &all_kinds());
        assert_eq!(statistics(&shards), expected, "{count} shards");
    }
}

/// An UPDATE with IPv4 prefixes in fields of their own and IPv6 prefixes in `MP_REACH_NLRI`, both malformed.
fn mixed() -> Vec<u8> {
    let plain = announce(prefixes(3));
    let mut multi = BytesMut::new();
    let next_hop: IpAddr = "2001:db8::1".parse().unwrap();
    let nlri: [IpNet; 3] =
        ["2001:db8::/32", "2001:db9::/32", "2001:dba::/32"].map(|prefix| prefix.parse().unwrap());
    encode_announce(&mut multi, Family::Ipv6Unicast, &attributes(next_hop), nlri, &ENCODE).unwrap();
    let length = |bytes: &[u8], at: usize| usize::from(u16::from_be_bytes([bytes[at], bytes[at + 1]]));
    // Withdrawn routes are empty: attributes begin at octet 23, prefixes behind them.
    let (of_plain, of_multi) = (length(&plain, 21), length(&multi, 21));
    let multi = &multi[23..23 + of_multi];
    // The multiprotocol attribute alone: the others are there already.
    let size = |attribute: &[u8]| match attribute[0] & 0x10 {
        0 => 3 + usize::from(attribute[2]),
        _ => 4 + length(attribute, 2),
    };
    let mut rest = multi;
    while rest[1] != 14 {
        rest = &rest[size(rest)..];
    }
    let reach = &rest[..size(rest)];
    let mut update = plain[..23 + of_plain].to_vec();
    update.extend_from_slice(reach);
    update.extend_from_slice(&plain[23 + of_plain..]);
    let total = (of_plain + reach.len()) as u16;
    update[21..23].copy_from_slice(&total.to_be_bytes());
    let all = update.len() as u16;
    update[16..18].copy_from_slice(&all.to_be_bytes());
    update[26] = 9;
    update
}

#[test]
fn a_malformed_update_of_two_lists_counts_once() {
    for count in 1..=5 {
        let mut shards = shards(count);
        send(&mut shards, &mixed());
        assert_eq!(statistics(&shards).treated_as_withdraw, 1, "{count} shards");
        assert_eq!(statistics(&shards).withdrawn, 6);
    }
}
