//! What goes out to peers, and what does not: packing, sharing, exclusion, holding back.

#![expect(clippy::unwrap_used, reason = "helpers of tests may panic like the tests themselves")]

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use bgp::policy::{Disposition, Match, Policy, PolicyChain, PrefixList, PrefixListEntry, Statement};
use bgp::rib::out::{Batch, ExportRules, GroupConfig};
use bgp::rib::{
    Anchor, Announce, Forwarding, Generation, ImportRules, Ineligible, PeerSession, Reflection, Rib,
    RibConfig,
};
use bgp::session::PeerKind;
use bgp::types::{Asn, Family, FamilySet, PeerId, RouterId};
use bgp::wire::{
    AsPath, Attributes, Community, DecodeContext, EncodeContext, MAX_EXTENDED_MESSAGE, Message, decode,
    encode_announce, encode_withdraw, frame_len,
};
use bytes::{Bytes, BytesMut};
use ipnet::IpNet;

const OURS: Asn = Asn(65_000);
const ENCODE: EncodeContext =
    EncodeContext { as4: true, extended: false, add_path: FamilySet::EMPTY, extended_next_hop: false };
const DECODE: DecodeContext = DecodeContext {
    as4: true,
    families: FamilySet::ALL,
    extended: true,
    add_path: FamilySet::EMPTY,
    extended_next_hop: false,
    ebgp: true,
};
const A: PeerId = PeerId(1);
const B: PeerId = PeerId(2);
const C: PeerId = PeerId(3);

fn rib(change: impl FnOnce(&mut RibConfig)) -> Rib {
    let mut config = RibConfig::new(OURS, RouterId(Ipv4Addr::new(10, 0, 0, 99)));
    config.assume_reachable = true;
    change(&mut config);
    let mut rib = Rib::new(config);
    for peer in [A, B, C] {
        rib.peer_up(session(peer));
    }
    rib
}

fn session(peer: PeerId) -> PeerSession {
    PeerSession {
        id: peer,
        address: Ipv4Addr::new(192, 0, 2, peer.0 as u8).into(),
        asn: Asn(65_000 + u32::from(peer.0)),
        router_id: RouterId(Ipv4Addr::new(10, 0, 0, peer.0 as u8)),
        kind: PeerKind::Ebgp,
        local_asn: OURS,
        as4: true,
        import: PolicyChain::all(),
        families: FamilySet::ALL,
        prepend_local_asn: false,
        enforce_first_as: true,
        rules: ImportRules::default(),
        orders: bgp::rib::CommunityOrders::default(),
        limits: Default::default(),
        reflection: Reflection::default(),
    }
}

fn group(extended: bool) -> GroupConfig {
    GroupConfig {
        export: PolicyChain::all(),
        kind: PeerKind::Ebgp,
        local_asn: OURS,
        neighbor: None,
        next_hops: [Some(IpAddr::from(Ipv4Addr::new(192, 0, 2, 254)).into()), None],
        next_hop_self: false,
        behind_local_asn: None,
        reflection: Reflection::default(),
        route_server: false,
        families: Family::Ipv4Unicast.into(),
        long_lived: false,
        limits: Default::default(),
        encode: EncodeContext { as4: true, extended, add_path: FamilySet::EMPTY, extended_next_hop: false },
        rules: ExportRules::default(),
        most_paths: usize::MAX,
    }
}

fn prefixes(count: u32) -> Vec<IpNet> {
    (0..count)
        .map(|index| {
            let address = Ipv4Addr::from_bits(0x0a00_0000 + (index << 8));
            IpNet::new(address.into(), 24).unwrap()
        })
        .collect()
}

fn attributes(peer: PeerId, hops: u32) -> Attributes {
    let path = (0..hops).map(|_| Asn(65_000 + u32::from(peer.0)));
    let next_hop: IpAddr = Ipv4Addr::new(192, 0, 2, peer.0 as u8).into();
    Attributes { as_path: AsPath::sequence(path), ..Attributes::originated(next_hop) }
}

fn send(rib: &mut Rib, peer: PeerId, stream: &[u8]) {
    let (mut rest, mut updates) = (stream, Vec::new());
    while let Some(length) = frame_len(rest, MAX_EXTENDED_MESSAGE).unwrap() {
        let (frame, tail) = rest.split_at(length);
        let Message::Update(update) = decode(frame, &DECODE).unwrap() else { panic!("an UPDATE") };
        updates.push(update);
        rest = tail;
    }
    rib.updates(peer, updates.into_iter());
}

fn announce(rib: &mut Rib, peer: PeerId, hops: u32, prefixes: &[IpNet]) {
    let mut out = BytesMut::new();
    let nlri = prefixes.iter().copied();
    encode_announce(&mut out, Family::Ipv4Unicast, &attributes(peer, hops), nlri, &ENCODE).unwrap();
    send(rib, peer, &out);
}

fn withdraw(rib: &mut Rib, peer: PeerId, prefixes: &[IpNet]) {
    let mut out = BytesMut::new();
    encode_withdraw(&mut out, Family::Ipv4Unicast, prefixes.iter().copied(), &ENCODE);
    send(rib, peer, &out);
}

/// All that is pending for a peer.
fn batches(rib: &mut Rib, peer: PeerId) -> Vec<Bytes> {
    std::iter::from_fn(|| rib.next_batch(peer, 1 << 20)).flat_map(|batch| batch.messages).collect()
}

/// Prefixes announced and withdrawn, and the lengths of the messages, of all that is pending for a peer.
fn read(rib: &mut Rib, peer: PeerId) -> (Vec<IpNet>, Vec<IpNet>, Vec<usize>) {
    let (mut announced, mut withdrawn, mut lengths) = (Vec::new(), Vec::new(), Vec::new());
    for piece in batches(rib, peer) {
        let mut rest: &[u8] = &piece;
        while let Some(length) = frame_len(rest, MAX_EXTENDED_MESSAGE).unwrap() {
            let (frame, tail) = rest.split_at(length);
            let Message::Update(update) = decode(frame, &DECODE).unwrap() else { panic!("an UPDATE") };
            withdrawn.extend(update.withdrawals().flat_map(|(_, nlri)| nlri.iter()));
            announced.extend(update.announcements().flat_map(|announcement| announcement.nlri.iter()));
            lengths.push(length);
            rest = tail;
        }
    }
    (announced, withdrawn, lengths)
}

#[test]
fn prefixes_with_equal_attributes_fill_messages_of_either_size() {
    for (extended, limit) in [(false, 4096), (true, 65_535)] {
        let mut rib = rib(|_| ());
        let all = prefixes(20_000);
        announce(&mut rib, A, 2, &all);
        rib.export_up(B, group(extended));
        let (mut announced, withdrawn, lengths) = read(&mut rib, B);
        announced.sort_unstable();
        assert_eq!((announced, withdrawn), (all, vec![]));
        // Four octets a prefix, and some sixty of header and attributes in each message.
        assert_eq!(lengths.len(), 80_000_usize.div_ceil(limit - 60));
        assert!(lengths.iter().all(|&length| length <= limit) && lengths[0] > limit - 60);
    }
}

#[test]
fn peers_of_a_group_at_the_same_place_share_the_bytes() {
    let mut rib = rib(|_| ());
    rib.export_up(B, group(false));
    rib.export_up(C, group(false));
    assert_eq!(rib.totals().groups, 1);
    let (start_b, start_c) = (batches(&mut rib, B), batches(&mut rib, C));
    assert_eq!((start_b.len(), start_c.len()), (0, 0));
    announce(&mut rib, A, 2, &prefixes(100));
    let (for_b, for_c) = (batches(&mut rib, B), batches(&mut rib, C));
    assert_eq!(for_b.len(), 1);
    assert_eq!(for_b[0].as_ptr(), for_c[0].as_ptr());
}

#[test]
fn a_route_never_goes_back_and_takes_away_what_came_from_another() {
    let mut rib = rib(|_| ());
    let one = prefixes(1);
    for peer in [A, B, C] {
        rib.export_up(peer, group(false));
        read(&mut rib, peer);
    }
    announce(&mut rib, A, 3, &one);
    assert_eq!(read(&mut rib, A).0, []);
    assert_eq!(read(&mut rib, B).0, one);
    assert_eq!(read(&mut rib, C).0, one);
    // Now b has the better one: it must not keep the one of a, which it got before.
    announce(&mut rib, B, 2, &one);
    assert_eq!(read(&mut rib, A).0, one);
    let (announced, withdrawn, _) = read(&mut rib, B);
    assert_eq!((announced, withdrawn), (vec![], one.clone()));
    assert_eq!(read(&mut rib, C).0, one);
    withdraw(&mut rib, A, &one);
    withdraw(&mut rib, B, &one);
    let (announced, withdrawn, _) = read(&mut rib, B);
    assert_eq!((announced, withdrawn), (vec![], vec![]));
    assert_eq!(read(&mut rib, A).1, one);
    assert_eq!(read(&mut rib, C).1, one);
}

#[test]
fn what_comes_and_goes_unseen_is_never_mentioned() {
    let mut rib = rib(|_| ());
    rib.export_up(B, group(false));
    read(&mut rib, B);
    announce(&mut rib, A, 2, &prefixes(10));
    withdraw(&mut rib, A, &prefixes(10));
    assert_eq!(read(&mut rib, B), (vec![], vec![], vec![]));
    rib.drain_changes(usize::MAX, &mut Vec::new());
    assert_eq!(rib.totals().prefixes, [0, 0]);

    // Nor is it withdrawn twice.
    for _ in 0..2 {
        announce(&mut rib, A, 2, &prefixes(1));
        assert_eq!(read(&mut rib, B).0, prefixes(1));
        withdraw(&mut rib, A, &prefixes(1));
        assert_eq!(read(&mut rib, B).1, prefixes(1));
        announce(&mut rib, A, 2, &prefixes(1));
        withdraw(&mut rib, A, &prefixes(1));
        assert_eq!(read(&mut rib, B), (vec![], vec![], vec![]));
    }
}

#[test]
fn a_peer_that_joins_is_not_served_its_own_routes_from_what_others_read() {
    let mut rib = rib(|_| ());
    announce(&mut rib, A, 2, &prefixes(2));
    for peer in [B, C] {
        rib.export_up(peer, group(false));
    }
    assert_eq!(read(&mut rib, B).0, prefixes(2));
    rib.export_up(A, group(false));
    assert_eq!(read(&mut rib, A).0, []);
}

#[test]
fn what_could_not_be_installed_says_nothing_of_the_next_path() {
    let mut rib = rib(|config| config.announce = Announce::AtOnce);
    rib.export_up(B, group(false));
    let one = prefixes(1);
    announce(&mut rib, A, 3, &one);
    assert_eq!(read(&mut rib, B).0, one);
    let generation = drain(&mut rib);
    rib.forwarding_status(one[0], generation, false);
    assert_eq!(read(&mut rib, B).1, one);
    announce(&mut rib, A, 2, &one);
    assert_eq!(read(&mut rib, B).0, one);
    // What is still said of the first path is no news of the second.
    rib.forwarding_status(one[0], generation, false);
    let second = drain(&mut rib);
    rib.forwarding_status(one[0], generation, false);
    rib.forwarded(generation);
    assert_eq!(read(&mut rib, B), (vec![], vec![], vec![]));
    rib.forwarded(second);
    assert_eq!(read(&mut rib, B), (vec![], vec![], vec![]));
}

/// Takes all changes, as the forwarding plane does.
fn drain(rib: &mut Rib) -> Generation {
    rib.drain_changes(usize::MAX, &mut Vec::new()).unwrap()
}

#[test]
fn a_group_without_a_next_hop_of_the_family_gets_nothing_of_it() {
    let mut rib = rib(|_| ());
    let both = GroupConfig { families: FamilySet::ALL, ..group(false) };
    rib.export_up(B, both);
    let net: IpNet = "2001:db8::/32".parse().unwrap();
    rib.originate(net, Attributes::default());
    assert_eq!(read(&mut rib, B).0, []);
    assert_eq!(rib.exported(B, net), []);
}

#[test]
fn traffic_to_what_is_originated_is_dropped_as_it_says() {
    let mut rib = rib(|_| ());
    rib.export_up(B, group(false));
    let net: IpNet = "203.0.113.0/24".parse().unwrap();
    let forwarding = |rib: &mut Rib, anchor| {
        rib.originate_with(net, Attributes::default(), anchor);
        let mut changes = Vec::new();
        rib.drain_changes(usize::MAX, &mut changes);
        changes.into_iter().map(|change| change.best.unwrap().forwarding).collect::<Vec<_>>()
    };
    assert_eq!(forwarding(&mut rib, Anchor::Reject), [Forwarding::Originated]);
    assert_eq!(read(&mut rib, B).0, [net]);
    assert_eq!(forwarding(&mut rib, Anchor::Blackhole), [Forwarding::Blackhole]);
    assert_eq!(forwarding(&mut rib, Anchor::Blackhole), []);
    assert_eq!(forwarding(&mut rib, Anchor::Reject), [Forwarding::Originated]);
    assert_eq!(rib.exported(B, net).len(), 1, "to neighbors it is the same");
}

#[test]
fn attributes_too_large_for_a_message_withdraw_the_route() {
    let mut rib = rib(|_| ());
    rib.export_up(B, group(false));
    let one = prefixes(1);
    announce(&mut rib, A, 2, &one);
    assert_eq!(read(&mut rib, B).0, one);
    let mut large = attributes(A, 2);
    large.communities = (0..1100).map(|value| Community::new(1, value)).collect();
    let mut out = BytesMut::new();
    let extended =
        EncodeContext { as4: true, extended: true, add_path: FamilySet::EMPTY, extended_next_hop: false };
    encode_announce(&mut out, Family::Ipv4Unicast, &large, one.iter().copied(), &extended).unwrap();
    send(&mut rib, A, &out);
    let (announced, withdrawn, _) = read(&mut rib, B);
    assert_eq!((announced, withdrawn), (vec![], one));
    assert_eq!(rib.unsendable(B), 1);
}

#[test]
fn only_what_forwards_is_announced() {
    let mut rib = rib(|config| config.announce = Announce::Installed);
    rib.export_up(B, group(false));
    let one = prefixes(1);
    announce(&mut rib, A, 3, &one);
    let first = drain(&mut rib);
    assert_eq!(read(&mut rib, B).0, []);
    // The answer to an overtaken change says nothing about the newer one, be that the same path again.
    announce(&mut rib, A, 2, &one);
    rib.forwarded(first);
    assert_eq!(read(&mut rib, B).0, []);
    let second = drain(&mut rib);
    announce(&mut rib, A, 3, &one);
    let third = drain(&mut rib);
    rib.forwarding_status(one[0], second, false);
    rib.forwarded(second);
    assert_eq!(read(&mut rib, B).0, []);
    rib.forwarded(third);
    assert_eq!(read(&mut rib, B).0, one);
    rib.forwarding_status(one[0], third, false);
    assert_eq!(read(&mut rib, B).1, one);
    rib.forwarding_status(one[0], third, true);
    assert_eq!(read(&mut rib, B).0, one);
    // What does not fit is never told.
    announce(&mut rib, A, 2, &one);
    let fourth = drain(&mut rib);
    rib.forwarding_status(one[0], fourth, false);
    assert_eq!(read(&mut rib, B), (vec![], vec![], vec![]));
    rib.forwarded(fourth);
    assert_eq!(read(&mut rib, B).1, one);
    rib.forwarding_status(one[0], fourth, true);
    assert_eq!(read(&mut rib, B).0, one);
    // That there is none is told at once.
    withdraw(&mut rib, A, &one);
    assert_eq!(read(&mut rib, B).1, one);
    assert_eq!(rib.drain_changes(usize::MAX, &mut Vec::new()), None);
    assert_eq!(rib.totals().prefixes, [0, 0]);
}

#[test]
fn an_answer_is_for_no_prefix_that_took_the_place_of_another() {
    let mut rib = rib(|config| config.announce = Announce::Installed);
    rib.export_up(B, group(false));
    let two = prefixes(2);
    announce(&mut rib, A, 2, &two[..1]);
    let first = drain(&mut rib);
    withdraw(&mut rib, A, &two[..1]);
    rib.drain_changes(usize::MAX, &mut Vec::new());
    assert_eq!(read(&mut rib, B), (vec![], vec![], vec![]));
    assert_eq!(rib.totals().prefixes, [0, 0]);
    announce(&mut rib, A, 2, &two[1..]);
    rib.forwarded(first);
    assert_eq!(read(&mut rib, B).0, []);
    let second = drain(&mut rib);
    rib.forwarded(first);
    assert_eq!(read(&mut rib, B).0, []);
    rib.forwarded(second);
    assert_eq!(read(&mut rib, B).0, two[1..]);
}

#[test]
fn no_more_batches_are_under_way_than_can_be_told_apart() {
    let mut rib = rib(|config| config.announce = Announce::Installed);
    let all = prefixes(100);
    announce(&mut rib, A, 2, &all);
    let mut generations = Vec::new();
    while let Some(generation) = rib.drain_changes(1, &mut Vec::new()) {
        assert!(!generations.contains(&generation));
        generations.push(generation);
    }
    assert!(!rib.can_drain() && rib.pending_changes() == 100 - generations.len());
    rib.forwarded(generations[0]);
    assert!(rib.drain_changes(1, &mut Vec::new()).is_some());
}

#[test]
fn a_slow_peer_loses_what_went_while_its_replacement_was_held_back() {
    let mut rib = rib(|config| config.announce = Announce::Installed);
    let one = prefixes(1);
    let forward = |rib: &mut Rib| {
        if let Some(generation) = rib.drain_changes(usize::MAX, &mut Vec::new()) {
            rib.forwarded(generation);
        }
    };
    for peer in [B, C] {
        rib.export_up(peer, group(false));
    }
    announce(&mut rib, A, 2, &one);
    forward(&mut rib);
    assert_eq!((read(&mut rib, B).0, read(&mut rib, C).0), (one.clone(), one.clone()));
    // B sees it go; C is slow, and finds that there is something new that does not forward yet.
    withdraw(&mut rib, A, &one);
    forward(&mut rib);
    assert_eq!(read(&mut rib, B).1, one);
    // What was encoded for B is not kept for long.
    for hops in 2..8 {
        announce(&mut rib, A, hops, &prefixes(2)[1..]);
        forward(&mut rib);
        read(&mut rib, B);
    }
    announce(&mut rib, A, 2, &one);
    assert_eq!(read(&mut rib, C).1, []);
    withdraw(&mut rib, A, &one);
    forward(&mut rib);
    assert_eq!(read(&mut rib, C).1, one);
}

#[test]
fn a_refresh_is_not_served_from_what_another_peer_read_before_a_change() {
    let mut rib = rib(|_| ());
    let all = prefixes(2);
    announce(&mut rib, A, 2, &all);
    for peer in [B, C] {
        rib.export_up(peer, group(false));
    }
    read(&mut rib, C);
    // B has read the first prefix of its walk when that goes away.
    assert!(rib.next_batch(B, 1).is_some());
    withdraw(&mut rib, A, &all[..1]);
    assert_eq!(read(&mut rib, C).1, all[..1]);
    assert!(rib.refresh(C, Family::Ipv4Unicast));
    assert_eq!(read(&mut rib, C).0, all[1..]);
}

#[test]
fn a_refresh_sends_everything_again_and_no_end_of_rib() {
    let mut rib = rib(|_| ());
    rib.export_up(B, group(false));
    let all = prefixes(300);
    announce(&mut rib, A, 2, &all);
    assert_eq!(read(&mut rib, B).0.len(), 300);
    assert!(rib.refresh(B, Family::Ipv4Unicast));
    let (announced, withdrawn, lengths) = read(&mut rib, B);
    assert_eq!((announced, withdrawn, lengths.len()), (all, vec![], 1));
    assert!(!rib.refresh(B, Family::Ipv6Unicast) && !rib.refresh(C, Family::Ipv4Unicast));
}

#[test]
fn a_prefix_that_may_not_be_routed_is_kept_with_its_reason_and_goes_nowhere() {
    let mut rib = rib(|_| {});
    let martian: IpNet = "224.1.0.0/16".parse().unwrap();
    let routable: IpNet = "198.51.100.0/24".parse().unwrap();
    let mut stream = BytesMut::new();
    let nlri = [martian, routable].into_iter();
    encode_announce(&mut stream, Family::Ipv4Unicast, &attributes(A, 1), nlri, &ENCODE).unwrap();
    send(&mut rib, A, &stream);
    let mut changes = Vec::new();
    rib.drain_changes(10, &mut changes);
    assert_eq!(changes.iter().map(|change| change.prefix).collect::<Vec<_>>(), [routable]);
    let view = rib.lookup(martian).unwrap();
    assert_eq!(view.paths[0].ineligible, Some(Ineligible::MartianPrefix));
}

#[test]
fn a_peer_that_may_get_nothing_gets_end_of_rib_and_costs_nothing() {
    let mut rib = rib(|_| {});
    rib.export_up(B, GroupConfig { export: PolicyChain::none(), ..group(false) });
    rib.export_up(C, GroupConfig { export: PolicyChain::default(), ..group(false) });
    let before = rib.totals().bytes;
    let mut announce = BytesMut::new();
    encode_announce(&mut announce, Family::Ipv4Unicast, &attributes(A, 1), prefixes(500), &ENCODE).unwrap();
    send(&mut rib, A, &announce);
    let with_silent = rib.totals().bytes;
    for peer in [B, C] {
        let sent: Vec<Batch> = std::iter::from_fn(|| rib.next_batch(peer, 1 << 20)).collect();
        let end = Batch { end_of_rib: Some(Family::Ipv4Unicast), ..Batch::default() };
        assert_eq!(sent, [end], "End-of-RIB and nothing else");
        assert!(!rib.has_pending(peer));
        assert!(rib.refresh(peer, Family::Ipv4Unicast));
        let sent: Vec<Batch> = std::iter::from_fn(|| rib.next_batch(peer, 1 << 20)).collect();
        let end = Batch { end_of_refresh: Some(Family::Ipv4Unicast), ..Batch::default() };
        assert_eq!(sent, [end], "the end of the refresh and nothing else");
        rib.export_down(peer);
    }
    assert_eq!(rib.totals().bytes, with_silent, "no journal was kept");
    assert!(before < with_silent);
}

/// What a group exports that sees only prefixes within this one, however long.
fn only(within: &str) -> GroupConfig {
    let entry = PrefixListEntry::new(within.parse().unwrap(), None, Some(32)).unwrap();
    let list = Arc::new(PrefixList::new("list", vec![entry]));
    let statement = Statement {
        matches: vec![Match::Prefix(vec![list])],
        disposition: Some(Disposition::Accept),
        ..Statement::default()
    };
    let policy = Policy { name: "only".into(), statements: vec![statement], default: Disposition::Reject };
    GroupConfig { export: PolicyChain::new([Arc::new(policy)]), ..group(false) }
}

#[test]
fn another_export_policy_sends_what_differs_and_nothing_else() {
    let mut rib = rib(|_| ());
    let all = prefixes(512);
    // 10.0.0.0/16 is the first half of them.
    let (first, second) = all.split_at(256);
    announce(&mut rib, A, 2, &all);
    for peer in [B, C] {
        rib.export_up(peer, group(false));
        read(&mut rib, peer);
    }
    let other = |rib: &mut Rib, peers: &[PeerId], config: &GroupConfig| {
        let peers: Vec<_> = peers.iter().map(|peer| (session(*peer), config.clone())).collect();
        rib.reconfigure(&peers);
        while rib.work(100) {}
    };
    let changes = |rib: &mut Rib, peer| {
        let (mut announced, mut withdrawn, _) = read(rib, peer);
        announced.sort_unstable();
        withdrawn.sort_unstable();
        (announced, withdrawn)
    };
    // All of the group: it stays one, and shares the bytes.
    other(&mut rib, &[B, C], &only("10.0.0.0/16"));
    assert_eq!(rib.totals().groups, 1);
    let (for_b, for_c) = (batches(&mut rib, B), batches(&mut rib, C));
    assert_eq!(for_b[0].as_ptr(), for_c[0].as_ptr());
    // One of them: the other hears nothing of it.
    other(&mut rib, &[B], &only("10.1.0.0/16"));
    assert_eq!(rib.totals().groups, 2);
    assert_eq!(changes(&mut rib, B), (second.to_vec(), first.to_vec()));
    assert_eq!(changes(&mut rib, C), (vec![], vec![]));
    // What is said again, or in other words, is nothing new.
    other(&mut rib, &[B], &only("10.1.0.0/16"));
    other(&mut rib, &[C], &only("10.0.0.0/17"));
    other(&mut rib, &[C], &only("10.0.0.0/16"));
    let again = (changes(&mut rib, C), first[128..].to_vec());
    assert_eq!(
        again,
        ((again.1.clone(), vec![]), again.1.clone()),
        "coalesced, and no worse than said again"
    );
    assert_eq!((changes(&mut rib, B), changes(&mut rib, C)), ((vec![], vec![]), (vec![], vec![])));
    // From nothing at all, and to nothing.
    let silent = GroupConfig { export: PolicyChain::none(), ..group(false) };
    other(&mut rib, &[C], &silent);
    assert_eq!(changes(&mut rib, C), (vec![], first.to_vec()));
    rib.export_up(A, silent);
    read(&mut rib, A);
    other(&mut rib, &[A, C], &group(false));
    assert_eq!(changes(&mut rib, A), (vec![], vec![]), "these routes are its own");
    assert_eq!(changes(&mut rib, C), (all, vec![]));
}
