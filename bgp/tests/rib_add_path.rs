//! Several paths of a prefix (RFC 7911), in and out, against a naive model: random peers with and without path
//! identifiers, what the RIB holds of them, and what each of them holds that reads at its own pace. Each path
//! says in a community whose it is, so that it can be followed: the identifier that it is sent with must be
//! its own, and the same as long as it lives.

#![expect(clippy::unwrap_used, reason = "helpers of tests may panic like the tests themselves")]

#[expect(dead_code, reason = "another test uses more of it")]
mod rib_union;

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet, VecDeque};
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use bgp::policy::{Disposition, Match, Modify, Policy, PolicyChain, Statement};
use bgp::rib::out::{Advertised, ExportRules, GroupConfig};
use bgp::rib::{
    Announce, BestChange, CommunityOrders, Generation, ImportRules, NextHopState, PeerCounts, PeerSession,
    RibConfig,
};
use bgp::session::PeerKind;
use bgp::types::{Asn, Family, FamilySet, PeerId, RouterId};
use bgp::wire::{
    AsPath, AttributeContext, Attributes, Community, DecodeContext, EncodeContext, MAX_MESSAGE, Message,
    PathNlri, Update, decode, encode_announce, encode_withdraw, frame_len, parse_attributes,
};
use bytes::BytesMut;
use ipnet::IpNet;
use proptest::prelude::*;
use rib_union::Union;

const OURS: Asn = Asn(65_000);
const PEERS: u16 = 6;
const PREFIXES: [&str; 6] =
    ["10.0.0.0/8", "10.0.0.0/24", "198.51.100.0/24", "0.0.0.0/0", "2001:db8::/32", "2001:db8::/48"];

/// What the peers are: external ones first, 3 and 4 internal; 2 and 5 share a group in IPv4, 3 and 4 too.
fn kind(peer: u16) -> PeerKind {
    if [3, 4, 6].contains(&peer) { PeerKind::Ibgp } else { PeerKind::Ebgp }
}

fn asn(peer: u16) -> Asn {
    if kind(peer) == PeerKind::Ibgp { OURS } else { Asn(65_000 + u32::from(peer)) }
}

/// Families in which a peer sends path identifiers.
fn sends(peer: u16) -> FamilySet {
    match peer {
        1 | 3 | 4 => FamilySet::ALL,
        5 => Family::Ipv4Unicast.into(),
        _ => FamilySet::EMPTY,
    }
}

/// Families in which a peer takes several paths, and how many.
fn takes(peer: u16) -> (FamilySet, usize) {
    match peer {
        2 | 5 => (Family::Ipv4Unicast.into(), usize::MAX),
        3 | 4 => (FamilySet::ALL, 2),
        _ => (FamilySet::EMPTY, usize::MAX),
    }
}

fn prefix(index: usize) -> IpNet {
    PREFIXES[index].parse().unwrap()
}

fn next_hop(index: u8, family: Family) -> IpAddr {
    match family {
        Family::Ipv4Unicast => Ipv4Addr::new(192, 0, 2, 100 + index).into(),
        Family::Ipv6Unicast => format!("2001:db8:ffff::{index}").parse().unwrap(),
    }
}

fn encode(peer: u16) -> EncodeContext {
    EncodeContext { as4: true, extended: false, add_path: takes(peer).0, extended_next_hop: false }
}

fn group(peer: u16) -> GroupConfig {
    let own = |family| Some(next_hop(99, family).into());
    GroupConfig {
        export: PolicyChain::all(),
        kind: kind(peer),
        local_asn: OURS,
        neighbor: None,
        next_hops: [own(Family::Ipv4Unicast), own(Family::Ipv6Unicast)],
        behind_local_asn: None,
        next_hop_self: false,
        reflection: bgp::rib::Reflection::default(),
        route_server: false,
        families: FamilySet::ALL,
        encode: encode(peer),
        long_lived: false,
        limits: Default::default(),
        rules: ExportRules::default(),
        most_paths: takes(peer).1,
    }
}

/// The second policy prefers what has an odd tag, the third refuses it.
fn import(index: u8) -> PolicyChain {
    let tagged = Match::Community(vec!["64999:1".parse().unwrap()]);
    let statement = match index {
        0 => return PolicyChain::all(),
        1 => {
            Statement { matches: vec![tagged], actions: vec![Modify::LocalPref(300)], ..Statement::default() }
        }
        _ => Statement {
            matches: vec![tagged],
            disposition: Some(Disposition::Reject),
            ..Statement::default()
        },
    };
    let policy = Policy { name: "test".into(), statements: vec![statement], default: Disposition::Accept };
    PolicyChain::new([Arc::new(policy)])
}

const ODD: Community = Community::new(64_999, 1);

#[derive(Clone, Copy, Debug)]
struct Route {
    preference: u32,
    length: usize,
    next_hop: u8,
    odd: bool,
    no_export: bool,
}

/// A path of the model: whose it is, and by which identifier.
type Key = (u16, u32);

fn mark((peer, path_id): Key) -> Community {
    Community::new(1000 + peer, path_id as u16)
}

impl Route {
    fn attributes(&self, key: Key, family: Family) -> Attributes {
        let peer = key.0;
        let internal = kind(peer) == PeerKind::Ibgp;
        let first = if internal { None } else { Some(asn(peer)) };
        let path = first.into_iter().chain((0..self.length).map(|_| Asn(100)));
        let extra = [(self.odd, ODD), (self.no_export, Community::NO_EXPORT)];
        let mut communities = vec![mark(key)];
        communities.extend(extra.iter().filter(|(has, _)| *has).map(|(_, community)| *community));
        Attributes {
            as_path: AsPath::sequence(path.collect::<Vec<_>>()),
            local_pref: internal.then_some(self.preference),
            communities,
            ..Attributes::originated(next_hop(self.next_hop, family))
        }
    }
}

#[derive(Clone, Debug)]
enum Step {
    Up(u16),
    Down(u16),
    Announce(u16, Vec<(usize, u32)>, Route),
    Withdraw(u16, Vec<(usize, u32)>),
    NextHop(u8, Option<u32>),
    Import(u16, u8),
    Work(usize),
    Read(u16, usize),
    Refresh(u16, Family),
    Forwarded(usize, bool, usize),
    Settle,
}

fn step() -> impl Strategy<Value = Step> {
    let peer = || 1..=PEERS;
    let paths = || prop::collection::vec((0..PREFIXES.len(), 0..4_u32), 1..5);
    let route = (99..101_u32, 0..3_usize, 0..3_u8, any::<bool>(), prop::bool::weighted(0.1)).prop_map(
        |(preference, length, next_hop, odd, no_export)| Route {
            preference,
            length,
            next_hop,
            odd,
            no_export,
        },
    );
    prop_oneof![
        4 => peer().prop_map(Step::Up),
        2 => peer().prop_map(Step::Down),
        20 => (peer(), paths(), route).prop_map(|(peer, paths, route)| Step::Announce(peer, paths, route)),
        8 => (peer(), paths()).prop_map(|(peer, paths)| Step::Withdraw(peer, paths)),
        2 => (0..3_u8, prop::option::of(0..2_u32)).prop_map(|(index, cost)| Step::NextHop(index, cost)),
        1 => (peer(), 0..3_u8).prop_map(|(peer, index)| Step::Import(peer, index)),
        3 => (1..20_usize).prop_map(Step::Work),
        12 => (peer(), prop_oneof![Just(1_usize), Just(60), Just(10_000)]).prop_map(|(p, n)| Step::Read(p, n)),
        2 => (peer(), prop::sample::select(Family::ALL.to_vec())).prop_map(|(p, f)| Step::Refresh(p, f)),
        4 => (1..6_usize, prop::bool::weighted(0.8), 0..4_usize)
            .prop_map(|(n, ok, under_way)| Step::Forwarded(n, ok, under_way)),
        2 => Just(Step::Settle),
    ]
}

/// A peer's end.
#[derive(Default)]
struct Receiver {
    routes: BTreeMap<PathNlri, Attributes>,
    /// Not announced since the refresh of the family began.
    stale: HashMap<Family, BTreeSet<PathNlri>>,
}

/// The generations of a batch by shard, and its changes.
type Drained = (Vec<(u16, Generation)>, Vec<BestChange>);

struct Bench {
    rib: Union,
    up: HashSet<u16>,
    import: HashMap<u16, u8>,
    routes: BTreeMap<IpNet, BTreeMap<Key, Attributes>>,
    costs: HashMap<IpAddr, Option<u32>>,
    receivers: BTreeMap<u16, Receiver>,
    /// Batches that the forwarding plane has not confirmed, and the last that it has, by shard.
    drained: VecDeque<Drained>,
    said: HashMap<u16, Generation>,
    /// The identifiers that paths had when everything last rested, by receiver, of those that live on.
    ids: HashMap<(u16, IpNet, Key), u32>,
}

/// The UPDATEs in some octets.
fn updates(mut stream: &[u8], context: DecodeContext, mut each: impl FnMut(Update<'_>)) {
    while let Some(length) = frame_len(stream, MAX_MESSAGE).unwrap() {
        let (frame, rest) = stream.split_at(length);
        let Message::Update(update) = decode(frame, &context).unwrap() else { panic!("an UPDATE") };
        each(update);
        stream = rest;
    }
    assert!(stream.is_empty(), "whole messages");
}

impl Bench {
    fn new(announce: Announce, shards: u16) -> Self {
        let config = RibConfig { announce, ..RibConfig::new(OURS, RouterId(Ipv4Addr::new(10, 0, 0, 99))) };
        Self {
            rib: Union::new(config, shards),
            up: HashSet::new(),
            import: HashMap::new(),
            routes: BTreeMap::new(),
            costs: HashMap::new(),
            receivers: BTreeMap::new(),
            drained: VecDeque::new(),
            said: HashMap::new(),
            ids: HashMap::new(),
        }
    }

    fn run(&mut self, step: Step) {
        match step {
            Step::Up(peer) if self.up.insert(peer) => {
                self.rib.peer_up(&PeerSession {
                    id: PeerId(peer),
                    address: Ipv4Addr::new(192, 0, 2, peer as u8).into(),
                    asn: asn(peer),
                    router_id: RouterId(Ipv4Addr::new(10, 0, 1, peer as u8)),
                    kind: kind(peer),
                    local_asn: OURS,
                    as4: true,
                    import: import(*self.import.entry(peer).or_default()),
                    families: FamilySet::ALL,
                    prepend_local_asn: false,
                    enforce_first_as: true,
                    reflection: bgp::rib::Reflection::default(),
                    rules: ImportRules::default(),
                    orders: CommunityOrders::default(),
                    limits: Default::default(),
                });
                self.rib.export_up(PeerId(peer), &group(peer));
                self.receivers.insert(peer, Receiver::default());
            }
            Step::Down(peer) if self.up.remove(&peer) => {
                self.rib.peer_lost(PeerId(peer), FamilySet::EMPTY);
                self.receivers.remove(&peer);
                self.routes.values_mut().for_each(|paths| paths.retain(|key, _| key.0 != peer));
                self.ids.retain(|(to, _, from), _| *to != peer && from.0 != peer);
            }
            Step::Announce(peer, paths, route) if self.up.contains(&peer) => {
                self.announce(peer, &paths, route);
            }
            Step::Withdraw(peer, paths) if self.up.contains(&peer) => {
                for family in Family::ALL {
                    let nlri = of_family(peer, &paths, family);
                    let mut out = BytesMut::new();
                    let context = EncodeContext { add_path: sends(peer), ..encode(peer) };
                    encode_withdraw(&mut out, family, nlri.iter().copied(), &context);
                    self.send(peer, &out);
                    for PathNlri { prefix, path_id } in nlri {
                        let key = (peer, path_id);
                        self.routes.entry(prefix).or_default().remove(&key);
                        self.ids.retain(|(_, of, from), _| (*of, *from) != (prefix, key));
                    }
                }
            }
            Step::NextHop(index, cost) => {
                for family in Family::ALL {
                    let address = next_hop(index, family);
                    self.costs.insert(address, cost);
                    self.tell(address);
                }
            }
            Step::Import(peer, index) => {
                self.import.insert(peer, index);
                self.rib.set_import(PeerId(peer), &import(index));
            }
            Step::Work(budget) => drop(self.rib.work(budget)),
            Step::Read(peer, bytes) if self.up.contains(&peer) => drop(self.read(peer, bytes)),
            Step::Refresh(peer, family) if self.up.contains(&peer) => {
                let receiver = self.receivers.get_mut(&peer).unwrap();
                // One at a time, as sessions ask.
                if !receiver.stale.contains_key(&family) {
                    let held = receiver.routes.keys().copied();
                    receiver
                        .stale
                        .insert(family, held.filter(|path| Family::of(&path.prefix) == family).collect());
                    assert!(self.rib.refresh(PeerId(peer), family));
                }
            }
            Step::Forwarded(count, installed, under_way) => self.forwarded(count, installed, under_way),
            Step::Settle => self.settle(),
            _ => {}
        }
        for interest in self.rib.drain_next_hops() {
            if interest.added {
                self.tell(interest.addr);
            }
        }
    }

    fn cost(&self, address: IpAddr) -> Option<u32> {
        self.costs.get(&address).copied().unwrap_or(Some(0))
    }

    fn tell(&mut self, address: IpAddr) {
        let state =
            self.cost(address).map_or(NextHopState::Unreachable, |cost| NextHopState::Reachable { cost });
        self.rib.next_hop_changed(address, state);
    }

    fn announce(&mut self, peer: u16, paths: &[(usize, u32)], route: Route) {
        for family in Family::ALL {
            for path in of_family(peer, paths, family) {
                let key = (peer, path.path_id);
                let attributes = route.attributes(key, family);
                let mut out = BytesMut::new();
                let context = EncodeContext { add_path: sends(peer), ..encode(peer) };
                encode_announce(&mut out, family, &attributes, [path], &context).unwrap();
                self.send(peer, &out);
                self.routes.entry(path.prefix).or_default().insert(key, attributes);
            }
        }
    }

    fn send(&mut self, peer: u16, stream: &[u8]) {
        let context = DecodeContext {
            as4: true,
            families: FamilySet::ALL,
            extended: false,
            add_path: sends(peer),
            extended_next_hop: false,
            ebgp: kind(peer) == PeerKind::Ebgp,
        };
        updates(stream, context, |update| self.rib.updates(PeerId(peer), &[update]));
    }

    /// Reads one batch as a peer; whether there was one.
    fn read(&mut self, peer: u16, bytes: usize) -> bool {
        let Some(batch) = self.rib.next_batch(PeerId(peer), bytes) else { return false };
        let receiver = self.receivers.get_mut(&peer).unwrap();
        // Read as an internal peer would, so that nothing that was sent is overlooked.
        let context = DecodeContext {
            as4: true,
            families: FamilySet::ALL,
            extended: false,
            add_path: takes(peer).0,
            extended_next_hop: false,
            ebgp: false,
        };
        for piece in batch.messages {
            updates(&piece, context, |update| {
                for (family, nlri) in update.withdrawals() {
                    for path in nlri.paths() {
                        receiver.routes.remove(&path);
                        receiver.stale.get_mut(&family).map(|stale| stale.remove(&path));
                    }
                }
                for announcement in update.announcements() {
                    let mut key = Vec::new();
                    let context =
                        AttributeContext { as4: true, ebgp: false, aigp: false, refuse_as_sets: false };
                    update.attribute_key(announcement.mp, context, &mut key);
                    let (attributes, _) = parse_attributes(&key).unwrap();
                    for path in announcement.nlri.paths() {
                        receiver.routes.insert(path, attributes.clone());
                        receiver.stale.get_mut(&announcement.family).map(|stale| stale.remove(&path));
                    }
                }
            });
        }
        if let Some(family) = batch.end_of_refresh {
            // What was not sent again is gone (RFC 7313 section 4).
            let stale = receiver.stale.remove(&family).expect("a refresh that was asked for");
            assert!(stale.is_empty(), "a refresh leaves nothing out: {stale:?}");
        }
        true
    }

    fn forwarded(&mut self, count: usize, installed: bool, most_under_way: usize) {
        let mut changes = Vec::new();
        let generations = self.rib.drain_changes(count, &mut changes);
        self.drained.push_back((generations, changes));
        while self.drained.len() > most_under_way
            && let Some((generations, changes)) = self.drained.pop_front()
        {
            for change in changes.iter().filter(|_| !installed) {
                self.rib.forwarding_status(change.prefix, &generations, false);
            }
            self.rib.forwarded(&generations);
            self.said.extend(generations);
        }
    }

    fn settle(&mut self) {
        while self.rib.work(7) {}
        while self.rib.pending_changes() > 0 || !self.drained.is_empty() {
            self.forwarded(5, true, 0);
        }
        for prefix in (0..PREFIXES.len()).map(prefix) {
            let generations: Vec<_> =
                self.said.iter().map(|(shard, generation)| (*shard, *generation)).collect();
            self.rib.forwarding_status(prefix, &generations, true);
        }
        let peers: Vec<u16> = self.receivers.keys().copied().collect();
        for peer in peers {
            while self.read(peer, 100) {}
        }
        assert!(self.rib.peers_with_pending().is_empty());
        self.compare();
    }

    /// What import makes of a path; `None`: it cannot be used.
    fn usable(&self, (peer, _): Key, attributes: &Attributes) -> Option<Attributes> {
        self.cost(attributes.next_hop.addr)?;
        let odd = attributes.communities.contains(&ODD);
        match self.import[&peer] {
            1 if odd => Some(Attributes { local_pref: Some(300), ..attributes.clone() }),
            2 if odd => None,
            _ => Some(attributes.clone()),
        }
    }

    /// The usable paths of a prefix, the best one first. There is no MED, so that this is an order.
    fn ranked(&self, prefix: IpNet) -> Vec<(Key, Attributes)> {
        let paths = self.routes.get(&prefix).into_iter().flatten();
        let mut paths: Vec<_> =
            paths.filter_map(|(key, attributes)| Some((*key, self.usable(*key, attributes)?))).collect();
        paths.sort_by_key(|((peer, path_id), a)| {
            let preference = Reverse(a.local_pref.unwrap_or(100));
            let internal = kind(*peer) == PeerKind::Ibgp;
            (preference, a.as_path.length(), internal, self.cost(a.next_hop.addr), *peer, *path_id)
        });
        paths
    }

    fn compare(&mut self) {
        let mut counts: HashMap<(u16, Family), PeerCounts> = HashMap::new();
        let mut held: HashMap<u16, BTreeMap<IpNet, BTreeMap<Community, Attributes>>> = HashMap::new();
        for prefix in (0..PREFIXES.len()).map(prefix) {
            let ranked = self.ranked(prefix);
            let view = self.rib.lookup(prefix);
            let paths = view.iter().flat_map(|view| &view.paths);
            let shown: BTreeSet<_> = paths.map(|path| (path.peer.0, path.path_id.unwrap_or(0))).collect();
            let known = self.routes.get(&prefix).into_iter().flatten();
            assert_eq!(shown, known.clone().map(|(key, _)| *key).collect(), "the paths of {prefix}");
            for ((peer, _), attributes) in known {
                let refused = self.import[peer] == 2 && attributes.communities.contains(&ODD);
                let counts = counts.entry((*peer, Family::of(&prefix))).or_default();
                counts.received += 1;
                counts.accepted += usize::from(!refused);
            }
            let best = self.rib.best(prefix).map(|best| self.rib.attributes(prefix, best.attr).unwrap());
            assert_eq!(
                best.as_ref(),
                ranked.first().map(|(_, attributes)| attributes),
                "the best of {prefix}"
            );
            if let Some(((peer, _), _)) = ranked.first() {
                counts.entry((*peer, Family::of(&prefix))).or_default().best += 1;
            }
            for &to in self.receivers.keys() {
                let (families, most) = takes(to);
                let most = if families.contains(Family::of(&prefix)) { most } else { 1 };
                for (key, attributes) in ranked.iter().take(most) {
                    if let Some(out) = sent(to, key.0, attributes, prefix) {
                        held.entry(to).or_default().entry(prefix).or_default().insert(mark(*key), out);
                    }
                }
            }
        }
        for peer in 1..=PEERS {
            for family in Family::ALL {
                let expected = counts.remove(&(peer, family)).unwrap_or_default();
                assert_eq!(self.rib.counts(PeerId(peer), family), expected, "of peer {peer} in {family}");
            }
        }
        let identified = self.routes.iter().map(|(prefix, paths)| {
            paths.keys().filter(|(peer, _)| sends(*peer).contains(Family::of(prefix))).count()
        });
        assert_eq!(self.rib.totals().identified, identified.sum::<usize>());
        for (&to, receiver) in &self.receivers {
            let mut found: BTreeMap<IpNet, BTreeMap<Community, Attributes>> = BTreeMap::new();
            for (path, attributes) in &receiver.routes {
                let mark = attributes.communities[0];
                let twice = found.entry(path.prefix).or_default().insert(mark, attributes.clone());
                assert_eq!(twice, None, "peer {to} has {} twice", path.prefix);
                if takes(to).0.contains(Family::of(&path.prefix)) {
                    let key =
                        *self.routes[&path.prefix].keys().find(|key| self::mark(**key) == mark).unwrap();
                    let before = self.ids.insert((to, path.prefix, key), path.path_id);
                    assert!(before.is_none_or(|before| before == path.path_id), "an identifier stays");
                }
            }
            assert_eq!(found, held.remove(&to).unwrap_or_default(), "what peer {to} holds");
            let views = Family::ALL.into_iter().flat_map(|family| self.rib.advertised(PeerId(to), family, 2));
            let shown: BTreeMap<_, _> = views
                .map(|Advertised { prefix, path_id, attributes }| {
                    assert_eq!(path_id.is_some(), takes(to).0.contains(Family::of(&prefix)));
                    (PathNlri { prefix, path_id: path_id.unwrap_or(0) }, attributes)
                })
                .collect();
            assert_eq!(shown, receiver.routes, "what is said of peer {to}");
        }
    }
}

/// How a path goes out, if it does.
fn sent(to: u16, from: u16, attributes: &Attributes, prefix: IpNet) -> Option<Attributes> {
    let external = kind(to) == PeerKind::Ebgp;
    if to == from
        || (!external && kind(from) == PeerKind::Ibgp)
        || (external && attributes.communities.contains(&Community::NO_EXPORT))
    {
        return None;
    }
    let mut out = attributes.clone();
    if external {
        out.as_path.prepend(OURS, 1);
        out.local_pref = None;
        out.next_hop = next_hop(99, Family::of(&prefix)).into();
    } else {
        out.local_pref.get_or_insert(100);
    }
    Some(out)
}

/// The paths of one family, without identifier where the peer has none, each once.
fn of_family(peer: u16, paths: &[(usize, u32)], family: Family) -> Vec<PathNlri> {
    let with_ids = sends(peer).contains(family);
    let paths = paths.iter().map(|&(index, path_id)| PathNlri {
        prefix: prefix(index),
        path_id: if with_ids { path_id } else { 0 },
    });
    paths.filter(|path| Family::of(&path.prefix) == family).collect::<BTreeSet<_>>().into_iter().collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn paths_in_and_out_equal_the_model(
        steps in prop::collection::vec(step(), 1..150),
        announce in prop::sample::select(vec![Announce::Unconfirmed, Announce::AtOnce, Announce::Installed]),
        shards in 1..=3_u16,
    ) {
        let mut bench = Bench::new(announce, shards);
        for peer in [1, 2, 3, 5] {
            bench.run(Step::Up(peer));
        }
        for step in steps {
            bench.run(step);
        }
        bench.run(Step::Settle);
        for peer in 1..=PEERS {
            bench.run(Step::Down(peer));
        }
        bench.run(Step::Settle);
        let totals = bench.rib.totals();
        prop_assert_eq!((totals.prefixes, totals.paths, totals.identified), ([0, 0], [0, 0], 0));
        prop_assert_eq!((totals.attributes, totals.next_hops, totals.groups), (0, 0, 0));
    }
}
