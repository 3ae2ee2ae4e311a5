//! The RIB against a naive model, over random sessions, updates, next hops and policies: the same best
//! paths and counts, and peers that, having read their messages at whatever pace, hold exactly what
//! the model says they should. When everybody is gone, nothing is left. All of it in one shard or in several
//! together, which makes no difference.

#![expect(clippy::unwrap_used, reason = "helpers of tests may panic like the tests themselves")]

mod rib_naive;
mod rib_peers;
mod rib_steps;
mod rib_union;

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::net::{IpAddr, Ipv4Addr};

use bgp::rib::decision::Candidate;
use bgp::rib::out::Advertised;
use bgp::rib::view::{ForwardingState, RouteView, Standing, Wanted};
use bgp::rib::{
    Announce, BestChange, Forwarding, Generation, ImportRules, Ineligible, NextHopState, PeerCounts,
    PeerSession, RibConfig, Rules,
};
use bgp::session::PeerKind;
use bgp::types::{Family, FamilySet, PeerId, RouterId};
use bgp::wire::{
    AttributeContext, Attributes, Community, DecodeContext, MAX_MESSAGE, Message, Origin, decode,
    encode_announce, encode_withdraw, frame_len, parse_attributes,
};
use bytes::BytesMut;
use ipnet::IpNet;
use proptest::prelude::*;
use rib_peers::{
    ENCODE, OURS, PEERS, ROUTER_ID, address, asn, cluster, first_export, group, import, imported, is_client,
    kind, next_hop, own_next_hop, prefix, reflection, router_id,
};
use rib_steps::{Route, Step, step};
use rib_union::Union;

/// A peer's end: what it holds, read from the messages.
#[derive(Default)]
struct Receiver {
    routes: BTreeMap<IpNet, Attributes>,
    ends: HashMap<Family, usize>,
}

/// The RIB and the model side by side.
/// The generations of a batch by shard, and its changes.
type Drained = (Vec<(u16, Generation)>, Vec<BestChange>);

struct Bench {
    rib: Union,
    rules: Rules,
    up: HashSet<u16>,
    import: HashMap<u16, u8>,
    export: HashMap<u16, u8>,
    routes: BTreeMap<IpNet, HashMap<u16, Attributes>>,
    /// Routes that are stale.
    stale: HashSet<(IpNet, u16)>,
    /// Peers and families with a generation of stale routes, be there any or not.
    kept: HashSet<(u16, Family)>,
    /// Of these, those whose stale routes are long-lived.
    long_lived: HashSet<(u16, Family)>,
    originated: HashSet<IpNet>,
    /// Clusters that a client was ever in.
    clusters: HashSet<Ipv4Addr>,
    /// Unreachable when there is none.
    costs: HashMap<IpAddr, Option<u32>>,
    receivers: HashMap<u16, Receiver>,
    /// Batches that the forwarding plane has not confirmed, and the last that it has, by shard.
    drained: VecDeque<Drained>,
    said: HashMap<u16, Generation>,
    /// What a subscriber of the changes believes.
    forwarding: HashMap<IpNet, Forwarding>,
    /// Next hops in use, and by how many shards.
    interests: HashMap<IpAddr, usize>,
    /// UPDATEs sent.
    sent: HashMap<u16, u64>,
}

impl Bench {
    fn new(rules: Rules, announce: Announce, shards: u16) -> Self {
        let config = RibConfig { rules, announce, ..RibConfig::new(OURS, RouterId(ROUTER_ID)) };
        Self {
            rib: Union::new(config, shards),
            rules,
            up: HashSet::new(),
            import: HashMap::new(),
            export: (1..=PEERS).map(|peer| (peer, first_export(peer))).collect(),
            routes: BTreeMap::new(),
            stale: HashSet::new(),
            kept: HashSet::new(),
            long_lived: HashSet::new(),
            originated: HashSet::new(),
            clusters: HashSet::from([ROUTER_ID]),
            costs: HashMap::new(),
            receivers: HashMap::new(),
            drained: VecDeque::new(),
            said: HashMap::new(),
            forwarding: HashMap::new(),
            interests: HashMap::new(),
            sent: HashMap::new(),
        }
    }

    fn session(peer: u16, import_index: u8) -> PeerSession {
        PeerSession {
            id: PeerId(peer),
            address: address(peer),
            asn: asn(peer),
            router_id: router_id(peer),
            kind: kind(peer),
            local_asn: OURS,
            as4: true,
            import: import(import_index),
            families: FamilySet::ALL,
            enforce_first_as: true,
            rules: ImportRules::default(),
            orders: bgp::rib::CommunityOrders::default(),
            limits: Default::default(),
            prepend_local_asn: false,
            reflection: reflection(peer),
        }
    }

    fn run(&mut self, step: Step) {
        match step {
            Step::Up(peer) if !self.up.contains(&peer) => {
                let index = *self.import.entry(peer).or_default();
                self.rib.peer_up(&Self::session(peer, index));
                self.rib.export_up(PeerId(peer), &group(peer, self.export[&peer]));
                self.up.insert(peer);
                self.clusters.extend(cluster(peer));
                self.receivers.insert(peer, Receiver::default());
            }
            Step::Down(peer) if self.up.remove(&peer) => {
                self.rib.peer_lost(PeerId(peer), FamilySet::EMPTY);
                self.lost(peer, FamilySet::EMPTY);
            }
            Step::Lost(peer, v4, v6) if self.up.remove(&peer) => {
                let kept = Family::ALL.into_iter().zip([v4, v6]).filter(|(_, kept)| *kept);
                let kept = kept.map(|(family, _)| family).collect();
                self.rib.peer_lost(PeerId(peer), kept);
                self.lost(peer, kept);
            }
            Step::MarkStale(peer, family) if self.up.contains(&peer) => {
                self.rib.mark_stale(PeerId(peer), family);
                if !self.kept.contains(&(peer, family)) {
                    self.mark_stale(peer, family);
                }
            }
            Step::DropStale(peer, family) => {
                self.rib.drop_stale(PeerId(peer), family);
                self.drop_stale(peer, family);
            }
            Step::AgeStale(peer, family) => {
                self.rib.age_stale(PeerId(peer), family);
                if self.kept.contains(&(peer, family)) {
                    self.long_lived.insert((peer, family));
                    self.age(peer, family);
                }
            }
            Step::Announce(peer, prefixes, route) if self.up.contains(&peer) => {
                self.announce(peer, &prefixes, &route);
            }
            Step::Malformed(peer, prefixes) if self.up.contains(&peer) => self.malformed(peer, &prefixes),
            Step::Withdraw(peer, prefixes) if self.up.contains(&peer) => {
                for family in Family::ALL {
                    let nlri = of_family(&prefixes, family);
                    let mut out = BytesMut::new();
                    encode_withdraw(&mut out, family, nlri.iter().copied(), &ENCODE);
                    self.send(peer, &out);
                    self.forget(peer, &nlri);
                }
            }
            Step::NextHop(index, cost) => {
                for family in Family::ALL {
                    let addr = next_hop(index, family);
                    self.costs.insert(addr, cost);
                    self.tell(addr);
                }
            }
            Step::Originate(index, true) => {
                self.rib.originate(prefix(index), &Attributes::default());
                self.originated.insert(prefix(index));
            }
            Step::Originate(index, false) => {
                self.rib.withdraw_originated(prefix(index));
                self.originated.remove(&prefix(index));
            }
            Step::Import(peer, index) => {
                self.import.insert(peer, index);
                self.rib.set_import(PeerId(peer), &import(index));
            }
            Step::Export(peers, index) => {
                let mut changed = Vec::new();
                for peer in (1..=PEERS).filter(|peer| peers >> (peer - 1) & 1 == 1) {
                    self.export.insert(peer, index);
                    let import = self.import.get(&peer).copied().unwrap_or_default();
                    // Those that are down are passed over, whatever is said of them.
                    changed.push((Self::session(peer, import), group(peer, index)));
                }
                self.rib.reconfigure(&changed);
            }
            Step::Rules(rules) => {
                self.rules = rules;
                self.rib.set_rules(rules);
            }
            Step::Work(budget) => drop(self.rib.work(budget)),
            Step::Read(peer, bytes) => drop(self.read(peer, bytes)),
            Step::Refresh(peer, family) => {
                let expected = self.up.contains(&peer) && group(peer, 0).families.contains(family);
                assert_eq!(self.rib.refresh(PeerId(peer), family), expected);
            }
            Step::Forwarded(count, installed, under_way) => self.forwarded(count, installed, under_way),
            Step::Settle => self.settle(),
            _ => {}
        }
        for interest in self.rib.drain_next_hops() {
            let users = self.interests.entry(interest.addr).or_default();
            if interest.added {
                *users += 1;
                self.tell(interest.addr);
            } else {
                *users -= 1;
            }
        }
    }

    fn lost(&mut self, peer: u16, kept: FamilySet) {
        self.receivers.remove(&peer);
        for family in Family::ALL {
            if !(kept.contains(family) && self.long_lived.contains(&(peer, family))) {
                self.drop_stale(peer, family);
            }
            self.mark_stale(peer, family);
            if !kept.contains(family) {
                self.drop_stale(peer, family);
            } else if self.long_lived.contains(&(peer, family)) {
                self.age(peer, family);
            }
        }
    }

    /// Long-lived stale routes that must not be are gone.
    fn age(&mut self, peer: u16, family: Family) {
        for (prefix, routes) in &mut self.routes {
            let refuses = |route: &Attributes| route.communities.contains(&Community::NO_LLGR);
            let key = (*prefix, peer);
            if Family::of(prefix) == family
                && self.stale.contains(&key)
                && routes.get(&peer).is_some_and(refuses)
            {
                routes.remove(&peer);
                self.stale.remove(&key);
            }
        }
    }

    fn mark_stale(&mut self, peer: u16, family: Family) {
        let of_peer = self
            .routes
            .iter()
            .filter(|(prefix, routes)| Family::of(prefix) == family && routes.contains_key(&peer));
        self.kept.insert((peer, family));
        self.stale.extend(of_peer.map(|(prefix, _)| (*prefix, peer)));
    }

    fn drop_stale(&mut self, peer: u16, family: Family) {
        self.kept.remove(&(peer, family));
        self.long_lived.remove(&(peer, family));
        let gone = self.stale.extract_if(|(prefix, of)| *of == peer && Family::of(prefix) == family);
        for (prefix, _) in gone {
            self.routes.entry(prefix).or_default().remove(&peer);
        }
    }

    fn cost(&self, addr: IpAddr) -> Option<u32> {
        self.costs.get(&addr).copied().unwrap_or(Some(0))
    }

    fn tell(&mut self, addr: IpAddr) {
        let state = match self.cost(addr) {
            Some(cost) => NextHopState::Reachable { cost },
            None => NextHopState::Unreachable,
        };
        self.rib.next_hop_changed(addr, state);
    }

    fn announce(&mut self, peer: u16, prefixes: &[usize], route: &Route) {
        for family in Family::ALL {
            let nlri = of_family(prefixes, family);
            let attributes = route.attributes(peer, family);
            let mut out = BytesMut::new();
            encode_announce(&mut out, family, &attributes, nlri.iter().copied(), &ENCODE).unwrap();
            self.send(peer, &out);
            for prefix in nlri {
                self.stale.remove(&(prefix, peer));
                self.routes.entry(prefix).or_default().insert(peer, attributes.clone());
            }
        }
    }

    /// Announces with an ORIGIN that does not exist.
    fn malformed(&mut self, peer: u16, prefixes: &[usize]) {
        let route = Route {
            preference: 100,
            path: vec![7],
            origin: Origin::Igp,
            med: None,
            next_hop: 0,
            community: None,
            originator: None,
            clusters: Vec::new(),
        };
        let nlri = of_family(prefixes, Family::Ipv4Unicast);
        if nlri.is_empty() {
            return;
        }
        let attributes = route.attributes(peer, Family::Ipv4Unicast);
        let mut out = BytesMut::new();
        encode_announce(&mut out, Family::Ipv4Unicast, &attributes, nlri.iter().copied(), &ENCODE).unwrap();
        // Header, two lengths, then flags, code, length and value of ORIGIN.
        assert_eq!(out[23..26], [0x40, 1, 1]);
        out[26] = 9;
        let before = self.rib.statistics(PeerId(peer)).treated_as_withdraw;
        self.send(peer, &out);
        let after = self.rib.statistics(PeerId(peer));
        assert_eq!(after.treated_as_withdraw, before + 1);
        assert!(after.last_error.unwrap().contains("ORIGIN"));
        self.forget(peer, &nlri);
    }

    fn forget(&mut self, peer: u16, nlri: &[IpNet]) {
        for prefix in nlri {
            self.stale.remove(&(*prefix, peer));
            if let Some(routes) = self.routes.get_mut(prefix) {
                routes.remove(&peer);
            }
        }
    }

    fn send(&mut self, peer: u16, mut stream: &[u8]) {
        let ebgp = kind(peer) == PeerKind::Ebgp;
        let context = DecodeContext {
            as4: true,
            families: FamilySet::ALL,
            extended: false,
            add_path: FamilySet::EMPTY,
            extended_next_hop: false,
            ebgp,
        };
        let mut updates = Vec::new();
        while let Some(length) = frame_len(stream, MAX_MESSAGE).unwrap() {
            let (frame, rest) = stream.split_at(length);
            let Message::Update(update) = decode(frame, &context).unwrap() else { panic!("an UPDATE") };
            updates.push(update);
            stream = rest;
        }
        assert!(stream.is_empty());
        *self.sent.entry(peer).or_default() += updates.len() as u64;
        self.rib.updates(PeerId(peer), &updates);
    }

    /// Reads one batch as a peer; whether there was one.
    fn read(&mut self, peer: u16, bytes: usize) -> bool {
        let Some(batch) = self.rib.next_batch(PeerId(peer), bytes) else {
            assert!(!self.rib.has_pending(PeerId(peer)));
            return false;
        };
        let receiver = self.receivers.get_mut(&peer).unwrap();
        let ebgp = kind(peer) == PeerKind::Ebgp;
        let context = DecodeContext {
            as4: true,
            families: FamilySet::ALL,
            extended: false,
            add_path: FamilySet::EMPTY,
            extended_next_hop: false,
            ebgp,
        };
        if let Some(family) = batch.end_of_rib {
            *receiver.ends.entry(family).or_default() += 1;
        }
        for piece in batch.messages {
            let mut stream: &[u8] = &piece;
            while let Some(length) = frame_len(stream, MAX_MESSAGE).unwrap() {
                let (frame, rest) = stream.split_at(length);
                let Message::Update(update) = decode(frame, &context).unwrap() else { panic!("an UPDATE") };
                assert_eq!(update.end_of_rib(), None, "that is for whoever knows all shards");
                for (_, nlri) in update.withdrawals() {
                    nlri.iter().for_each(|prefix| drop(receiver.routes.remove(&prefix)));
                }
                for announcement in update.announcements() {
                    // Read as an internal peer would, so that nothing that was sent is overlooked.
                    let mut key = Vec::new();
                    update.attribute_key(
                        announcement.mp,
                        AttributeContext { as4: true, ..AttributeContext::default() },
                        &mut key,
                    );
                    let (attributes, discarded) = parse_attributes(&key).unwrap();
                    assert!(discarded.is_empty());
                    for prefix in announcement.nlri {
                        receiver.routes.insert(prefix, attributes.clone());
                    }
                }
                stream = rest;
            }
            assert!(stream.is_empty(), "whole messages");
        }
        true
    }

    /// Drains changes and answers the oldest of what was drained.
    fn forwarded(&mut self, count: usize, installed: bool, most_under_way: usize) {
        let mut changes = Vec::new();
        let generations = self.rib.drain_changes(count, &mut changes);
        assert!(changes.len() <= count);
        for change in &changes {
            match &change.best {
                Some(best) => self.forwarding.insert(change.prefix, best.forwarding.clone()),
                None => self.forwarding.remove(&change.prefix),
            };
        }
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

    /// Lets everything come to rest, and compares.
    fn settle(&mut self) {
        while self.rib.work(7) {}
        while self.rib.pending_changes() > 0 || !self.drained.is_empty() {
            self.forwarded(5, true, 0);
        }
        // What did not fit gets room.
        for prefix in (0..12).map(prefix) {
            let view = self.rib.lookup(prefix);
            if view.is_some_and(|view| view.forwarding == ForwardingState::NotInstalled) {
                let generations: Vec<_> =
                    self.said.iter().map(|(shard, generation)| (*shard, *generation)).collect();
                self.rib.forwarding_status(prefix, &generations, true);
            }
        }
        let peers: Vec<u16> = self.receivers.keys().copied().collect();
        for peer in peers {
            while self.read(peer, 100) {}
        }
        assert!(self.rib.peers_with_pending().is_empty());
        self.compare();
    }

    /// The model's paths of a prefix: whose, attributes after import, and as a candidate when eligible.
    fn paths(&self, prefix: IpNet) -> Vec<(u16, Result<Attributes, Ineligible>)> {
        let mut paths = Vec::new();
        if self.originated.contains(&prefix) {
            let mut attributes = Attributes::default();
            let unspecified: IpAddr =
                if prefix.addr().is_ipv4() { [0, 0, 0, 0].into() } else { [0_u16; 8].into() };
            attributes.next_hop = unspecified.into();
            paths.push((0, Ok(attributes)));
        }
        for (&peer, attributes) in self.routes.get(&prefix).into_iter().flatten() {
            let old = self.long_lived.contains(&(peer, Family::of(&prefix)))
                && self.stale.contains(&(prefix, peer));
            let path = if attributes.as_path.contains(OURS) {
                Err(Ineligible::AsLoop)
            } else if attributes.originator_id == Some(RouterId(ROUTER_ID)) {
                Err(Ineligible::OriginatorLoop)
            } else if attributes.cluster_list.iter().any(|cluster| self.clusters.contains(cluster)) {
                Err(Ineligible::ClusterLoop)
            } else {
                imported(self.import[&peer], kind(peer), prefix, attributes).map(|mut attributes| {
                    if old && !attributes.communities.contains(&Community::LLGR_STALE) {
                        attributes.communities.push(Community::LLGR_STALE);
                    }
                    attributes
                })
            };
            let path = path.and_then(|attributes| match self.cost(attributes.next_hop.addr) {
                Some(_) => Ok(attributes),
                None => Err(Ineligible::NextHopUnreachable),
            });
            paths.push((peer, path));
        }
        paths
    }

    fn candidate(&self, peer: u16, attributes: &Attributes) -> Candidate {
        let session = Self::session(peer.max(1), 0);
        let internal_as = if kind(peer) == PeerKind::Ebgp && peer > 0 { asn(peer) } else { OURS };
        Candidate {
            local: peer == 0,
            long_lived: attributes.communities.contains(&Community::LLGR_STALE),
            local_pref: attributes.local_pref.unwrap_or(100),
            aigp: None,
            as_path_length: attributes.as_path.length() as u32,
            origin: attributes.origin as u8,
            neighbour_as: attributes.as_path.first_asn().unwrap_or(internal_as),
            med: attributes.med.unwrap_or(0),
            external: peer > 0 && kind(peer) == PeerKind::Ebgp,
            interior_cost: self.cost(attributes.next_hop.addr).unwrap_or(0),
            router_id: attributes.originator_id.unwrap_or(session.router_id),
            cluster_list_length: attributes.cluster_list.len() as u32,
            peer_address: session.address,
            path_id: 0,
            // Paths that differ in text differ.
            as_path_hash: attributes
                .as_path
                .to_string()
                .bytes()
                .fold(7, |hash: u32, byte| hash.wrapping_mul(31).wrapping_add(u32::from(byte))),
        }
    }

    /// What a client of the route server is sent, as if it had a table of its own.
    fn best_for(&self, client: u16, prefix: IpNet, usable: &[(u16, &Attributes)]) -> Option<Attributes> {
        let open: Vec<_> = usable
            .iter()
            .filter_map(|&(from, attributes)| {
                let out = sent(client, self.export[&client], from, prefix, attributes)?;
                Some((self.candidate(from, attributes), out))
            })
            .collect();
        let candidates: Vec<_> = open.iter().map(|(candidate, _)| *candidate).collect();
        let (best, _) = rib_naive::best(&candidates, &self.rules)?;
        Some(open[best].1.clone())
    }

    fn compare_covering(&self, best_of: &BTreeMap<IpNet, (u16, Attributes)>) {
        for address in ["10.0.0.1", "10.1.0.1", "10.200.0.1", "203.0.113.9", "2001:db9:1::1", "2001:db8::1"] {
            let address: IpAddr = address.parse().unwrap();
            let covering = best_of.keys().filter(|prefix| prefix.contains(&address));
            let longest = covering.max_by_key(|prefix| prefix.prefix_len()).copied();
            let of_model = (0..12).map(prefix).filter(|prefix| prefix.contains(&address));
            let mut expected: Vec<_> = of_model
                .filter(|prefix| {
                    !self.paths(*prefix).is_empty()
                        && longest.is_none_or(|l| l.prefix_len() <= prefix.prefix_len())
                })
                .collect();
            expected.sort_by_key(|prefix| std::cmp::Reverse(prefix.prefix_len()));
            let found = self.rib.covering(address, Wanted::All);
            assert_eq!(found.iter().map(|view| view.prefix).collect::<Vec<_>>(), expected, "{address}");
            for peer in (0..=PEERS).map(PeerId) {
                let wanted = Wanted::Received(peer);
                let found = self.rib.covering(address, wanted);
                let of_peer = |view: &RouteView| view.paths.iter().any(|path| path.peer == peer);
                let known = (0..12).map(prefix).filter(|prefix| prefix.contains(&address));
                let known = known.filter_map(|prefix| self.rib.lookup(prefix)).filter(of_peer);
                let longest = known.map(|view| view.prefix).max_by_key(IpNet::prefix_len);
                assert_eq!(found.first().map(|view| view.prefix), longest, "of {peer:?}");
                assert!(found.len() <= 1 && found.iter().all(of_peer));
            }
        }
    }

    fn compare(&self) {
        let mut expected: HashMap<(u16, Family), PeerCounts> = HashMap::new();
        let mut best_of: BTreeMap<IpNet, (u16, Attributes)> = BTreeMap::new();
        let mut for_clients: HashMap<u16, BTreeMap<IpNet, Attributes>> = HashMap::new();
        for prefix in (0..12).map(prefix) {
            let family = Family::of(&prefix);
            let paths = self.paths(prefix);
            for (peer, path) in &paths {
                let counts = expected.entry((*peer, family)).or_default();
                counts.received += 1;
                counts.stale += usize::from(self.stale.contains(&(prefix, *peer)));
                counts.accepted += usize::from(matches!(path, Ok(_) | Err(Ineligible::NextHopUnreachable)));
            }
            let usable: Vec<_> =
                paths.iter().filter_map(|(peer, path)| Some((*peer, path.as_ref().ok()?))).collect();
            let candidates: Vec<_> = usable.iter().map(|(peer, a)| self.candidate(*peer, a)).collect();
            let chosen = rib_naive::best(&candidates, &self.rules);
            let view = self.rib.lookup(prefix);
            assert_eq!(view.as_ref().map_or(0, |view| view.paths.len()), paths.len());
            for path in view.iter().flat_map(|view| &view.paths) {
                let (_, model) = paths.iter().find(|(peer, _)| *peer == path.peer.0).unwrap();
                let stale = self.stale.contains(&(prefix, path.peer.0));
                assert_eq!(path.standing, if stale { Standing::Stale } else { Standing::Present });
                assert_eq!(path.ineligible, model.as_ref().err().copied());
                if let Ok(attributes) = model {
                    assert_eq!(&path.attributes, attributes);
                }
            }
            for client in self.receivers.keys().copied().filter(|peer| is_client(*peer)) {
                let of_client = self.best_for(client, prefix, &usable);
                for_clients.entry(client).or_default().extend(of_client.map(|sent| (prefix, sent)));
            }
            let Some((best, sharing)) = chosen else {
                assert_eq!(self.rib.best(prefix), None);
                assert_eq!(self.forwarding.get(&prefix), None);
                continue;
            };
            let (peer, attributes) = usable[best];
            expected.entry((peer, family)).or_default().best += 1;
            let route = self.rib.best(prefix).expect("a best route");
            assert_eq!(route.peer, PeerId(peer), "{prefix} {usable:?}");
            assert_eq!(self.rib.attributes(prefix, route.attr).as_ref(), Some(attributes));
            let mut next_hops: Vec<IpAddr> =
                sharing.iter().map(|&index| usable[index].1.next_hop.addr).collect();
            next_hops.sort();
            next_hops.dedup();
            let forwarding =
                if peer == 0 { Forwarding::Originated } else { Forwarding::Via(next_hops.into()) };
            assert_eq!(route.forwarding, forwarding);
            assert_eq!(self.forwarding.get(&prefix), Some(&forwarding), "the stream of changes says so too");
            best_of.insert(prefix, (peer, attributes.clone()));
        }
        for family in Family::ALL {
            let views = self.rib.routes(family, Wanted::All, 2);
            let of_model = (0..12).map(prefix).filter(|prefix| Family::of(prefix) == family);
            let mut known: Vec<_> = of_model.filter(|prefix| !self.paths(*prefix).is_empty()).collect();
            known.sort_unstable();
            assert_eq!(views.iter().map(|view| view.prefix).collect::<Vec<_>>(), known, "pages in order");
            for view in views {
                assert_eq!(Some(view.clone()), self.rib.lookup(view.prefix));
            }
        }
        self.compare_covering(&best_of);
        for peer in 0..=PEERS {
            let sent = self.sent.get(&peer).copied().unwrap_or_default();
            assert_eq!(self.rib.statistics(PeerId(peer)).updates, sent, "each UPDATE counts once");
            for family in Family::ALL {
                let counts = expected.get(&(peer, family)).copied().unwrap_or_default();
                assert_eq!(self.rib.counts(PeerId(peer), family), counts, "of peer {peer} in {family}");
            }
        }
        for (&peer, receiver) in &self.receivers {
            let of_best = |(prefix, (source, a)): (&IpNet, &(u16, Attributes))| {
                Some((*prefix, sent(peer, self.export[&peer], *source, *prefix, a)?))
            };
            let expected: BTreeMap<_, _> = if is_client(peer) {
                for_clients.remove(&peer).unwrap_or_default()
            } else {
                best_of.iter().filter_map(of_best).collect()
            };
            assert_eq!(receiver.routes, expected, "what peer {peer} holds");
            for family in group(peer, 0).families.iter() {
                assert_eq!(receiver.ends.get(&family), Some(&1), "End-of-RIB once");
                let view = self.rib.advertised(PeerId(peer), family, 2);
                let of_family: Vec<_> = expected
                    .iter()
                    .filter(|(prefix, _)| Family::of(prefix) == family)
                    .map(|(prefix, attributes)| Advertised {
                        prefix: *prefix,
                        path_id: None,
                        attributes: attributes.clone(),
                    })
                    .collect();
                assert_eq!(view, of_family);
            }
        }
    }
}

/// What a peer is sent of a best route.
fn sent(to: u16, export: u8, from: u16, prefix: IpNet, attributes: &Attributes) -> Option<Attributes> {
    let external = kind(to) == PeerKind::Ebgp;
    let family = Family::of(&prefix);
    let internal = from > 0 && kind(from) == PeerKind::Ibgp;
    let has = |community| attributes.communities.contains(&community);
    if to == from
        || (to == 4 && family == Family::Ipv6Unicast)
        || has(Community::NO_ADVERTISE)
        || (to > 2 && external && has(Community::LLGR_STALE))
        || (external && !is_client(to) && has(Community::NO_EXPORT))
        || (!external && internal && cluster(from).is_none() && cluster(to).is_none())
    {
        return None;
    }
    let mut out = imported(export, kind(to), prefix, attributes).ok()?;
    if is_client(to) {
        if out.as_path.is_empty() {
            out.as_path.prepend(OURS, 1);
        }
        out.local_pref = None;
        out.originator_id = None;
        out.cluster_list.clear();
    } else if external {
        out.as_path.prepend(OURS, 1);
        out.local_pref = None;
        out.originator_id = None;
        out.cluster_list.clear();
        if from > 0 {
            out.med = None;
        }
    } else {
        out.local_pref = Some(out.local_pref.unwrap_or(100));
        if internal {
            out.originator_id = Some(out.originator_id.unwrap_or(router_id(from)));
            // Each in front of what is there: the cluster that it leaves, then the one that it enters.
            let mut passed: Vec<_> = cluster(from).into_iter().chain(cluster(to)).collect();
            passed.dedup();
            for cluster in passed {
                out.cluster_list.insert(0, cluster);
            }
        }
    }
    if to > 2 && has(Community::LLGR_STALE) {
        out.local_pref = Some(0);
        if !out.communities.contains(&Community::NO_EXPORT) {
            out.communities.push(Community::NO_EXPORT);
        }
    }
    if (external && !is_client(to)) || from == 0 {
        out.next_hop = own_next_hop(family).into();
    }
    Some(out)
}

fn of_family(prefixes: &[usize], family: Family) -> Vec<IpNet> {
    prefixes.iter().map(|&index| prefix(index)).filter(|prefix| Family::of(prefix) == family).collect()
}

fn scenario(steps: Vec<Step>, rules: Rules, announce: Announce, shards: u16) {
    let mut bench = Bench::new(rules, announce, shards);
    for peer in [1, 2, 5] {
        bench.run(Step::Up(peer));
    }
    for step in steps {
        bench.run(step);
    }
    bench.run(Step::Settle);
    for peer in 1..=PEERS {
        bench.run(Step::Down(peer));
        for family in Family::ALL {
            bench.run(Step::DropStale(peer, family));
        }
    }
    for index in 0..12 {
        bench.run(Step::Originate(index, false));
    }
    bench.run(Step::Settle);
    bench.run(Step::Settle);
    let totals = bench.rib.totals();
    assert_eq!((totals.prefixes, totals.paths), ([0, 0], [0, 0]));
    assert_eq!((totals.attributes, totals.next_hops, totals.groups), (0, 0, 0));
    assert!(bench.interests.values().all(|users| *users == 0));
    assert!(bench.rib.routes(Family::Ipv4Unicast, Wanted::All, 10).is_empty());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_rib_and_what_peers_hold_equal_the_model(
        steps in prop::collection::vec(step(), 1..150),
        always_compare_med in any::<bool>(),
        multipath in (1..4_usize, 1..4_usize),
        relax in any::<bool>(),
        announce in prop::sample::select(vec![Announce::Unconfirmed, Announce::AtOnce, Announce::Installed]),
        shards in 1..=4_u16,
    ) {
        let rules = Rules {
            always_compare_med,
            multipath_external: multipath.0,
            multipath_internal: multipath.1,
            relax,
            link_bandwidth: true,
        };
        scenario(steps, rules, announce, shards);
    }
}
