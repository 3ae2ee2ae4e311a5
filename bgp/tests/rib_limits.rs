//! Limits on prefixes: exact over all shards, over sessions that come and go, in and out.

#![expect(clippy::unwrap_used, reason = "helpers of tests may panic like the tests themselves")]

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use bgp::policy::PolicyChain;
use bgp::rib::out::GroupConfig;
use bgp::rib::{Ineligible, PeerSession, PrefixGauge, ReceiveLimits, Rib, RibConfig, ShardSpec};
use bgp::session::PeerKind;
use bgp::types::{Asn, Family, FamilySet, PeerId, RouterId};
use bgp::wire::{
    AsPath, Attributes, DecodeContext, EncodeContext, MAX_MESSAGE, Message, decode, encode_announce,
    encode_withdraw, frame_len,
};
use bytes::BytesMut;
use ipnet::IpNet;

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
const V4: Family = Family::Ipv4Unicast;
const FEEDER: PeerId = PeerId(1);
const READER: PeerId = PeerId(2);

struct Shards(Vec<Rib>);

impl Shards {
    fn new(count: u16) -> Self {
        let shard = |index| {
            let base = RibConfig::new(OURS, RouterId(Ipv4Addr::new(10, 0, 0, 99)));
            Rib::new(RibConfig { assume_reachable: true, shard: ShardSpec { index, count }, ..base })
        };
        Self((0..count).map(shard).collect())
    }

    fn up(&mut self, id: PeerId, received: Option<&Arc<PrefixGauge>>, accepted: Option<&Arc<PrefixGauge>>) {
        self.each(|rib| rib.peer_up(session(id, received, accepted)));
    }

    /// The session of the feeder goes on under other limits.
    fn limit(&mut self, received: Option<&Arc<PrefixGauge>>, accepted: Option<&Arc<PrefixGauge>>) {
        self.each(|rib| rib.reconfigure(&[(session(FEEDER, received, accepted), silent())]));
        self.settle();
    }

    fn each(&mut self, action: impl Fn(&mut Rib)) {
        self.0.iter_mut().for_each(action);
    }

    fn send(&mut self, mut stream: &[u8]) {
        let mut updates = Vec::new();
        while let Some(length) = frame_len(stream, MAX_MESSAGE).unwrap() {
            let (frame, rest) = stream.split_at(length);
            let Message::Update(update) = decode(frame, &DECODE).unwrap() else { panic!("an UPDATE") };
            updates.push(update);
            stream = rest;
        }
        for rib in &mut self.0 {
            rib.updates(FEEDER, updates.iter().copied());
        }
    }

    fn announce(&mut self, prefixes: &[IpNet], hops: usize) {
        let next_hop: IpAddr = Ipv4Addr::new(192, 0, 2, 1).into();
        let path = AsPath::sequence(vec![Asn(65_001); hops]);
        let attributes = Attributes { as_path: path, ..Attributes::originated(next_hop) };
        let mut out = BytesMut::new();
        encode_announce(&mut out, V4, &attributes, prefixes.iter().copied(), &ENCODE).unwrap();
        self.send(&out);
    }

    fn withdraw(&mut self, prefixes: &[IpNet]) {
        let mut out = BytesMut::new();
        encode_withdraw(&mut out, V4, prefixes.iter().copied(), &ENCODE);
        self.send(&out);
    }

    fn settle(&mut self) {
        self.each(|rib| while rib.work(100) {});
    }

    /// Received, accepted and stale ones.
    fn counts(&self) -> (usize, usize, usize) {
        let counts = self.0.iter().map(|rib| rib.counts(FEEDER, V4));
        counts.fold((0, 0, 0), |sum, c| (sum.0 + c.received, sum.1 + c.accepted, sum.2 + c.stale))
    }

    fn holds(&self, prefix: IpNet) -> bool {
        self.0.iter().any(|rib| rib.lookup(prefix).is_some())
    }

    /// What the reader is told: prefixes announced and withdrawn.
    fn read(&mut self) -> (usize, usize) {
        let mut told = (0, 0);
        for rib in &mut self.0 {
            while let Some(batch) = rib.next_batch(READER, 500) {
                for piece in batch.messages {
                    let mut rest: &[u8] = &piece;
                    while let Some(length) = frame_len(rest, MAX_MESSAGE).unwrap() {
                        let (frame, tail) = rest.split_at(length);
                        let Message::Update(update) = decode(frame, &DECODE).unwrap() else { panic!() };
                        told.0 += update.announcements().flat_map(|list| list.nlri.iter()).count();
                        told.1 += update.withdrawals().flat_map(|(_, list)| list.iter()).count();
                        rest = tail;
                    }
                }
            }
        }
        told
    }

    fn advertised(&self) -> usize {
        self.0.iter().map(|rib| rib.advertised(READER, V4, None, None, 10_000).items.len()).sum()
    }
}

fn session(
    id: PeerId,
    received: Option<&Arc<PrefixGauge>>,
    accepted: Option<&Arc<PrefixGauge>>,
) -> PeerSession {
    let limits = ReceiveLimits { received: received.cloned(), accepted: accepted.cloned() };
    PeerSession {
        id,
        address: Ipv4Addr::new(192, 0, 2, id.0 as u8).into(),
        asn: Asn(65_000 + u32::from(id.0)),
        router_id: RouterId(Ipv4Addr::new(10, 0, 0, id.0 as u8)),
        kind: PeerKind::Ebgp,
        local_asn: OURS,
        as4: true,
        import: PolicyChain::all(),
        families: FamilySet::ALL,
        prepend_local_asn: false,
        enforce_first_as: true,
        rules: bgp::rib::ImportRules::default(),
        orders: bgp::rib::CommunityOrders::default(),
        limits: [limits, ReceiveLimits::default()],
        reflection: bgp::rib::Reflection::default(),
    }
}

/// Export to a neighbour that is told nothing.
fn silent() -> GroupConfig {
    config(PolicyChain::none(), None)
}

fn config(export: PolicyChain, limit: Option<&Arc<PrefixGauge>>) -> GroupConfig {
    GroupConfig {
        export,
        kind: PeerKind::Ebgp,
        local_asn: OURS,
        neighbor: None,
        next_hops: [Some(IpAddr::from(Ipv4Addr::new(192, 0, 2, 254)).into()), None],
        behind_local_asn: None,
        next_hop_self: false,
        reflection: bgp::rib::Reflection::default(),
        route_server: false,
        families: V4.into(),
        long_lived: false,
        limits: [limit.cloned(), None],
        rules: bgp::rib::out::ExportRules::default(),
        encode: ENCODE,
        most_paths: usize::MAX,
    }
}

fn gauge(limit: u32, refuses: bool) -> Arc<PrefixGauge> {
    Arc::new(PrefixGauge::new(limit, limit / 2, refuses, || ()))
}

fn prefixes(range: std::ops::Range<u32>) -> Vec<IpNet> {
    let prefix = |index: u32| IpNet::new_assert(Ipv4Addr::from_bits(0x1400_0000 + (index << 16)).into(), 24);
    range.map(prefix).collect()
}

#[test]
fn excess_prefixes_are_left_out_exactly_at_the_limit_of_all_shards() {
    for count in [1, 4] {
        let mut shards = Shards::new(count);
        let limit = gauge(300, true);
        shards.up(FEEDER, Some(&limit), None);
        for some in prefixes(0..1000).chunks(50) {
            shards.announce(some, 1);
        }
        assert_eq!((shards.counts().0, limit.count(), limit.refused()), (300, 300, 700));
        assert_eq!(
            shards.0.iter().map(|rib| rib.totals().prefixes[0]).sum::<usize>(),
            300,
            "no trace of them"
        );
        assert!(limit.take_news().exceeded);
        // What is there may change, and makes room when it goes.
        let (held, others): (Vec<_>, Vec<_>) =
            prefixes(0..1000).into_iter().partition(|prefix| shards.holds(*prefix));
        shards.announce(&held, 2);
        assert_eq!((shards.counts().0, limit.refused()), (300, 700));
        shards.withdraw(&held[..10]);
        shards.withdraw(&others[..10]);
        assert_eq!(limit.count(), 290);
        shards.announce(&others[..20], 1);
        assert_eq!((limit.count(), limit.refused()), (300, 710));
    }
}

#[test]
fn each_session_is_counted_by_itself() {
    let mut shards = Shards::new(3);
    let first = gauge(100, true);
    shards.up(FEEDER, Some(&first), None);
    shards.announce(&prefixes(0..100), 1);
    // The next one begins before the routes of this one are gone, and has others.
    shards.each(|rib| rib.peer_down(FEEDER));
    let second = gauge(100, true);
    shards.up(FEEDER, Some(&second), None);
    shards.announce(&prefixes(50..150), 1);
    assert_eq!((second.count(), second.refused()), (100, 0));
    shards.settle();
    assert_eq!((shards.counts(), second.count()), ((100, 100, 0), 100));
    // Stale routes count when they are announced again; one too many takes along what it stands for.
    shards.each(|rib| rib.peer_lost(FEEDER, V4.into()));
    assert_eq!(shards.counts().2, 100);
    let third = gauge(60, true);
    shards.up(FEEDER, Some(&third), None);
    shards.announce(&prefixes(50..130), 1);
    assert_eq!((third.count(), third.refused()), (60, 20));
    assert_eq!(shards.counts(), (80, 80, 20), "60 announced again, 20 refused, 20 not heard of yet");
    shards.each(|rib| rib.drop_stale(FEEDER, V4));
    shards.settle();
    assert_eq!((shards.counts(), third.count()), ((60, 60, 0), 60));
    // A refresh counts anew.
    shards.each(|rib| rib.mark_stale(FEEDER, V4));
    assert_eq!(third.count(), 0);
    let present: Vec<_> = prefixes(0..200).into_iter().filter(|prefix| shards.holds(*prefix)).collect();
    shards.announce(&present, 1);
    assert_eq!((third.count(), shards.counts().2), (60, 0));
}

#[test]
fn accepted_prefixes_beyond_the_limit_are_kept_with_the_reason() {
    let mut shards = Shards::new(2);
    let limit = gauge(100, true);
    shards.up(FEEDER, None, Some(&limit));
    let all = prefixes(0..150);
    shards.announce(&all, 1);
    assert_eq!((shards.counts(), limit.count()), ((150, 100, 0), 100));
    let refused: Vec<IpNet> = all
        .iter()
        .copied()
        .filter(|&prefix| {
            let view = shards.0.iter().find_map(|rib| rib.lookup(prefix)).unwrap();
            view.paths[0].ineligible == Some(Ineligible::PrefixLimit)
        })
        .collect();
    assert_eq!(refused.len(), 50);
    // Policy makes room, and what is announced again gets it.
    shards.each(|rib| rib.set_import(FEEDER, PolicyChain::none()));
    shards.settle();
    assert_eq!((shards.counts(), limit.count()), ((150, 0, 0), 0));
    shards.each(|rib| rib.set_import(FEEDER, PolicyChain::all()));
    shards.settle();
    assert_eq!((shards.counts(), limit.count()), ((150, 100, 0), 100));
    let (used, _): (Vec<_>, Vec<_>) =
        all.iter().partition(|prefix| shards.0.iter().any(|rib| rib.best(**prefix).is_some()));
    shards.withdraw(&used[..30]);
    shards.announce(&all, 2);
    assert_eq!((shards.counts(), limit.count()), ((150, 100, 0), 100));
    shards.each(|rib| rib.peer_down(FEEDER));
    shards.settle();
    assert_eq!(shards.counts(), (0, 0, 0));
}

#[test]
fn a_reader_is_told_no_more_than_its_limit() {
    for count in [1, 3] {
        let mut shards = Shards::new(count);
        shards.up(FEEDER, None, None);
        shards.up(READER, None, None);
        shards.announce(&prefixes(0..80), 1);
        let limit = gauge(100, true);
        let config = config(PolicyChain::all(), Some(&limit));
        shards.each(|rib| rib.export_up(READER, config.clone()));
        assert_eq!((shards.read(), limit.count()), ((80, 0), 80));
        shards.announce(&prefixes(80..200), 1);
        assert_eq!((shards.read(), limit.count()), ((20, 0), 100));
        assert!(limit.take_news().exceeded);
        assert_eq!(shards.advertised(), 100);
        // What it has may change; what it has not is not withdrawn.
        shards.announce(&prefixes(0..200), 2);
        assert_eq!((shards.read(), limit.count()), ((100, 0), 100));
        shards.withdraw(&prefixes(0..50));
        assert_eq!((shards.read(), limit.count()), ((0, 50), 50));
        // A refresh tells it what has room now.
        shards.each(|rib| assert!(rib.refresh(READER, V4)));
        assert_eq!((shards.read(), limit.count()), ((100, 0), 100));
        shards.each(|rib| rib.peer_down(FEEDER));
        shards.settle();
        assert_eq!((shards.read(), limit.count()), ((0, 100), 0));
    }
}

#[test]
fn a_session_goes_on_under_other_limits_that_count_what_is_there() {
    for count in [1, 4] {
        let mut shards = Shards::new(count);
        shards.up(FEEDER, None, None);
        shards.announce(&prefixes(0..100), 1);
        // What is stale does not count until it comes again.
        shards.each(|rib| rib.mark_stale(FEEDER, V4));
        shards.announce(&prefixes(0..80), 1);
        let (received, accepted) = (gauge(90, true), gauge(85, true));
        shards.limit(Some(&received), Some(&accepted));
        assert_eq!((received.count(), accepted.count()), (80, 80));
        assert!(received.take_news().warned && !received.take_news().exceeded);
        shards.announce(&prefixes(80..100), 1);
        assert_eq!((received.count(), received.refused(), accepted.count()), (90, 10, 85));
        assert_eq!(shards.counts(), (90, 85, 0));
        // One that is passed already says so, and keeps what is there.
        let (tighter, looser) = (gauge(50, true), gauge(200, true));
        shards.limit(Some(&tighter), Some(&looser));
        assert!(tighter.take_news().exceeded);
        assert_eq!((tighter.count(), looser.count(), shards.counts()), (90, 90, (90, 90, 0)));
        shards.withdraw(&prefixes(0..10));
        let held = shards.counts().0 as u32;
        assert_eq!((tighter.count(), looser.count()), (held, held));
        // Without any, and then again.
        shards.limit(None, None);
        shards.announce(&prefixes(0..100), 2);
        let again = gauge(300, true);
        shards.limit(None, Some(&again));
        assert_eq!((again.count(), shards.counts()), (100, (100, 100, 0)));
        shards.each(|rib| rib.peer_down(FEEDER));
        shards.settle();
        assert_eq!((again.count(), shards.counts()), (0, (0, 0, 0)));
    }
}
