//! Backups: where the traffic of a prefix would go if the next hops that carry it were lost. The judge is a second
//! RIB to which they are.

#![expect(clippy::unwrap_used, reason = "helpers of tests may panic like the tests themselves")]

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};

use bgp::policy::PolicyChain;
use bgp::rib::{BestChange, Forwarding, NextHopState, PeerSession, Rib, RibConfig, Rules};
use bgp::session::PeerKind;
use bgp::types::{Asn, Family, FamilySet, PeerId, RouterId};
use bgp::wire::{
    AsPath, Attributes, DecodeContext, EncodeContext, MAX_MESSAGE, Message, decode, encode_announce,
    encode_withdraw, frame_len,
};
use bytes::BytesMut;
use ipnet::IpNet;
use proptest::prelude::*;

const OURS: Asn = Asn(65_000);
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
const PEERS: u8 = 4;
const PREFIXES: u8 = 3;
const NEXT_HOPS: u8 = 4;

fn prefix(number: u8) -> IpNet {
    IpNet::new(Ipv4Addr::new(198, 51, number, 0).into(), 24).unwrap()
}

fn next_hop(number: u8) -> IpAddr {
    Ipv4Addr::new(192, 0, 2, 100 + number).into()
}

fn rib(multipath: usize, backups: bool) -> Rib {
    let rules = Rules { multipath_external: multipath, relax: true, ..Rules::default() };
    let base = RibConfig::new(OURS, RouterId(Ipv4Addr::new(10, 0, 0, 99)));
    let mut rib = Rib::new(RibConfig { assume_reachable: true, rules, backups, ..base });
    for id in 1..=PEERS {
        rib.peer_up(PeerSession {
            id: PeerId(id.into()),
            address: Ipv4Addr::new(192, 0, 2, id).into(),
            asn: Asn(65_000 + u32::from(id)),
            router_id: RouterId(Ipv4Addr::new(10, 0, 0, id)),
            kind: PeerKind::Ebgp,
            local_asn: OURS,
            as4: true,
            import: PolicyChain::all(),
            families: FamilySet::ALL,
            prepend_local_asn: false,
            enforce_first_as: true,
            rules: bgp::rib::ImportRules::default(),
            orders: bgp::rib::CommunityOrders::default(),
            limits: Default::default(),
            reflection: bgp::rib::Reflection::default(),
        });
    }
    rib
}

fn send(rib: &mut Rib, peer: u8, out: &BytesMut) {
    let length = frame_len(out, MAX_MESSAGE).unwrap().unwrap();
    let Message::Update(update) = decode(&out[..length], &DECODE).unwrap() else { panic!("an UPDATE") };
    rib.updates(PeerId(peer.into()), std::iter::once(update));
}

fn announce(rib: &mut Rib, path: Sent, number: u8) {
    let as_path = AsPath::sequence(vec![Asn(65_000 + u32::from(path.peer)); path.hops.into()]);
    let attributes =
        Attributes { as_path, med: Some(path.med.into()), ..Attributes::originated(next_hop(path.next_hop)) };
    let mut out = BytesMut::new();
    encode_announce(&mut out, Family::Ipv4Unicast, &attributes, [prefix(number)], &ENCODE).unwrap();
    send(rib, path.peer, &out);
}

fn prefixes(count: u32) -> Vec<IpNet> {
    let prefix = |number| IpNet::new(Ipv4Addr::from(0x1400_0000 + number * 256).into(), 24).unwrap();
    (0..count).map(prefix).collect()
}

/// A peer announces them all by a next hop of its own.
fn announce_all(rib: &mut Rib, peer: u8, prefixes: &[IpNet]) {
    let as_path = AsPath::sequence(vec![Asn(65_000 + u32::from(peer))]);
    let attributes = Attributes { as_path, ..Attributes::originated(next_hop(peer)) };
    for some in prefixes.chunks(500) {
        let mut out = BytesMut::new();
        encode_announce(&mut out, Family::Ipv4Unicast, &attributes, some.iter().copied(), &ENCODE).unwrap();
        send(rib, peer, &out);
    }
}

#[derive(Clone, Copy, Debug)]
struct Sent {
    peer: u8,
    next_hop: u8,
    hops: u8,
    med: u8,
}

#[derive(Clone, Copy, Debug)]
enum Step {
    Announce(u8, Sent),
    Withdraw(u8, u8),
    Reachable(u8, bool),
    Drain,
    Backups(usize),
}

fn step() -> impl Strategy<Value = Step> {
    let sent = (1..=PEERS, 0..NEXT_HOPS, 1..3_u8, 0..2_u8).prop_map(|(peer, next_hop, hops, med)| Sent {
        peer,
        next_hop,
        hops,
        med,
    });
    prop_oneof![
        4 => (0..PREFIXES, sent).prop_map(|(number, sent)| Step::Announce(number, sent)),
        2 => (0..PREFIXES, 1..=PEERS).prop_map(|(number, peer)| Step::Withdraw(number, peer)),
        1 => (0..NEXT_HOPS, any::<bool>()).prop_map(|(number, up)| Step::Reachable(number, up)),
        2 => Just(Step::Drain),
        1 => (1..3_usize).prop_map(Step::Backups),
    ]
}

/// What the forwarding plane holds by what it was told.
type Told = BTreeMap<IpNet, (Vec<IpAddr>, Option<IpAddr>)>;

fn tell(told: &mut Told, changes: Vec<BestChange>) {
    for BestChange { prefix, best } in changes {
        match best {
            Some(best) => {
                let Forwarding::Via(next_hops) = best.forwarding else { panic!("a neighbour's") };
                told.insert(prefix, (next_hops.to_vec(), best.backup));
            }
            None => drop(told.remove(&prefix)),
        }
    }
}

fn drain(rib: &mut Rib, told: &mut Told) {
    while rib.work(100) {}
    let mut changes = Vec::new();
    rib.drain_changes(usize::MAX, &mut changes);
    tell(told, changes);
}

fn set_state(rib: &mut Rib, number: u8, up: bool) {
    let state = if up { NextHopState::REACHABLE } else { NextHopState::Unreachable };
    rib.next_hop_changed(next_hop(number), state);
    while rib.work(100) {}
}

proptest! {
    #[test]
    fn the_backup_is_where_traffic_goes_when_all_that_carry_it_are_lost(
        multipath in 1..3_usize,
        steps in prop::collection::vec(step(), 1..60),
    ) {
        let mut rib = rib(multipath, true);
        let (mut paths, mut up) = (BTreeMap::new(), [true; NEXT_HOPS as usize]);
        let mut told = Told::new();
        for step in steps {
            match step {
                Step::Announce(number, sent) => {
                    announce(&mut rib, sent, number);
                    paths.insert((number, sent.peer), sent);
                }
                Step::Withdraw(number, peer) => {
                    let mut out = BytesMut::new();
                    encode_withdraw(&mut out, Family::Ipv4Unicast, [prefix(number)], &ENCODE);
                    send(&mut rib, peer, &out);
                    paths.remove(&(number, peer));
                }
                Step::Reachable(number, is_up) => {
                    // Of a next hop that is not in use nothing is known.
                    if paths.values().any(|sent| sent.next_hop == number) {
                        up[usize::from(number)] = is_up;
                        set_state(&mut rib, number, is_up);
                    }
                }
                Step::Drain => drain(&mut rib, &mut told),
                Step::Backups(limit) => {
                    while rib.work(100) {}
                    let mut changes = Vec::new();
                    rib.drain_backups(limit, &mut changes);
                    tell(&mut told, changes);
                }
            }
            rib.drain_next_hops();
            for number in 0..NEXT_HOPS {
                if !paths.values().any(|sent| sent.next_hop == number) {
                    up[usize::from(number)] = true;
                }
            }
        }
        drain(&mut rib, &mut told);
        while rib.has_pending_backups() {
            let mut changes = Vec::new();
            rib.drain_backups(2, &mut changes);
            tell(&mut told, changes);
        }
        for number in 0..PREFIXES {
            let Some((carry, backup)) = told.get(&prefix(number)) else { continue };
            let mut judge = self::rib(1, false);
            for ((_, _), sent) in paths.iter().filter(|((of, _), _)| *of == number) {
                announce(&mut judge, *sent, number);
            }
            for other in 0..NEXT_HOPS {
                if !up[usize::from(other)] || carry.contains(&next_hop(other)) {
                    set_state(&mut judge, other, false);
                }
            }
            let left = judge.best(prefix(number)).map(|best| match best.forwarding {
                Forwarding::Via(next_hops) => next_hops[0],
                other => panic!("{other:?}"),
            });
            prop_assert_eq!(*backup, left, "{} by {:?}", prefix(number), carry);
        }
    }
}

#[test]
fn the_change_of_many_prefixes_is_told_first_and_their_backups_after() {
    let mut rib = rib(1, true);
    let many = prefixes(3000);
    for peer in [1, 2] {
        announce_all(&mut rib, peer, &many);
    }
    let mut changes = Vec::new();
    rib.drain_backups(10, &mut changes);
    assert!(changes.is_empty(), "what changed goes first");
    rib.drain_changes(usize::MAX, &mut changes);
    assert!(changes.iter().all(|change| change.best.as_ref().is_some_and(|best| best.backup.is_none())));
    let mut told = Told::new();
    while rib.has_pending_backups() {
        let mut changes = Vec::new();
        rib.drain_backups(1000, &mut changes);
        tell(&mut told, changes);
    }
    assert_eq!(told.len(), many.len());
    assert!(told.values().all(|(carry, backup)| carry[..] == [next_hop(1)] && *backup == Some(next_hop(2))));
}

#[test]
fn more_prefixes_than_are_noted_are_all_gone_through() {
    let mut rib = rib(1, true);
    let many = prefixes(150_000);
    let mut told = Told::new();
    for peer in [2, 1, 3] {
        announce_all(&mut rib, peer, &many);
        let mut changes = Vec::new();
        rib.drain_changes(usize::MAX, &mut changes);
        // Some were looked at before the next peer comes.
        rib.drain_backups(100_000, &mut changes);
        tell(&mut told, changes);
    }
    while rib.has_pending_backups() {
        let mut changes = Vec::new();
        rib.drain_backups(10_000, &mut changes);
        tell(&mut told, changes);
    }
    assert_eq!(told.len(), many.len());
    assert!(told.values().all(|(carry, backup)| carry[..] == [next_hop(1)] && *backup == Some(next_hop(2))));
}

#[test]
fn new_rules_are_told_of_a_prefix_that_changed_before_they_came_to_it() {
    let mut rib = rib(2, false);
    for (peer, next_hop) in [(1, 1), (2, 2), (3, 3)] {
        announce(&mut rib, Sent { peer, next_hop, hops: 1, med: 0 }, 0);
    }
    let mut told = Told::new();
    drain(&mut rib, &mut told);
    assert_eq!(told[&prefix(0)].0, [next_hop(1), next_hop(2)]);
    rib.set_rules(Rules { relax: true, ..Rules::default() });
    // Equal to the best one until the router ids decide: its end has the others looked at again.
    let mut out = BytesMut::new();
    encode_withdraw(&mut out, Family::Ipv4Unicast, [prefix(0)], &ENCODE);
    send(&mut rib, 3, &out);
    drain(&mut rib, &mut told);
    assert_eq!(told[&prefix(0)].0, [next_hop(1)]);
}
