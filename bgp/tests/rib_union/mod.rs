//! Several shards used as one RIB, put together as the daemon puts them together.

use std::collections::{HashMap, HashSet};
use std::net::IpAddr;

use bgp::policy::PolicyChain;
use bgp::rib::out::{Advertised, Batch, GroupConfig};
use bgp::rib::view::{Page, RouteView, Wanted};
use bgp::rib::{
    AttrId, BestChange, BestRoute, Generation, NextHopInterest, NextHopState, PeerCounts, PeerSession,
    PeerStatistics, Rib, RibConfig, Rules, ShardSpec, Totals,
};
use bgp::types::{Family, FamilySet, PeerId};
use bgp::wire::{Attributes, Update};
use ipnet::IpNet;

pub(crate) struct Union {
    shards: Vec<Rib>,
    /// Next hops that each shard uses.
    interests: Vec<HashSet<IpAddr>>,
    /// Shards that have not come to the end of their initial routes.
    unfinished: HashMap<(PeerId, Family), usize>,
    /// Shards that have not sent everything again since they were asked.
    refreshing: HashMap<(PeerId, Family), usize>,
    turn: usize,
}

impl Union {
    pub(crate) fn new(config: RibConfig, count: u16) -> Self {
        let shard = |index| Rib::new(RibConfig { shard: ShardSpec { index, count }, ..config });
        Self {
            shards: (0..count).map(shard).collect(),
            interests: vec![HashSet::new(); usize::from(count)],
            unfinished: HashMap::new(),
            refreshing: HashMap::new(),
            turn: 0,
        }
    }

    fn owner(&mut self, prefix: IpNet) -> &mut Rib {
        let count = self.shards.len() as u16;
        &mut self.shards[usize::from(ShardSpec::owner(count, &prefix))]
    }

    fn of(&self, prefix: IpNet) -> &Rib {
        &self.shards[usize::from(ShardSpec::owner(self.shards.len() as u16, &prefix))]
    }

    pub(crate) fn peer_up(&mut self, session: &PeerSession) {
        for rib in &mut self.shards {
            rib.peer_up(session.clone());
        }
    }

    pub(crate) fn peer_lost(&mut self, peer: PeerId, kept: FamilySet) {
        for rib in &mut self.shards {
            if kept.is_empty() { rib.peer_down(peer) } else { rib.peer_lost(peer, kept) }
        }
    }

    pub(crate) fn mark_stale(&mut self, peer: PeerId, family: Family) {
        for rib in &mut self.shards {
            rib.mark_stale(peer, family);
        }
    }

    pub(crate) fn drop_stale(&mut self, peer: PeerId, family: Family) {
        for rib in &mut self.shards {
            rib.drop_stale(peer, family);
        }
    }

    pub(crate) fn age_stale(&mut self, peer: PeerId, family: Family) {
        for rib in &mut self.shards {
            rib.age_stale(peer, family);
        }
    }

    pub(crate) fn export_up(&mut self, peer: PeerId, config: &GroupConfig) {
        for family in Family::ALL {
            self.unfinished.insert((peer, family), self.shards.len());
        }
        for rib in &mut self.shards {
            rib.export_up(peer, config.clone());
        }
    }

    pub(crate) fn set_import(&mut self, peer: PeerId, import: &PolicyChain) {
        for rib in &mut self.shards {
            rib.set_import(peer, import.clone());
        }
    }

    pub(crate) fn reconfigure(&mut self, peers: &[(PeerSession, GroupConfig)]) {
        for rib in &mut self.shards {
            rib.reconfigure(peers);
        }
    }

    pub(crate) fn set_rules(&mut self, rules: Rules) {
        for rib in &mut self.shards {
            rib.set_rules(rules);
        }
    }

    pub(crate) fn originate(&mut self, prefix: IpNet, attributes: &Attributes) {
        for rib in &mut self.shards {
            rib.originate(prefix, attributes.clone());
        }
    }

    pub(crate) fn withdraw_originated(&mut self, prefix: IpNet) {
        for rib in &mut self.shards {
            rib.withdraw_originated(prefix);
        }
    }

    pub(crate) fn updates(&mut self, peer: PeerId, updates: &[Update<'_>]) {
        for rib in &mut self.shards {
            rib.updates(peer, updates.iter().copied());
        }
    }

    pub(crate) fn work(&mut self, budget: usize) -> bool {
        self.shards.iter_mut().filter_map(|rib| rib.work(budget).then_some(())).count() > 0
    }

    pub(crate) fn refresh(&mut self, peer: PeerId, family: Family) -> bool {
        let sent: Vec<bool> = self.shards.iter_mut().map(|rib| rib.refresh(peer, family)).collect();
        assert!(sent.iter().all(|other| *other == sent[0]), "the same in all shards");
        self.refreshing.insert((peer, family), self.shards.len());
        sent[0]
    }

    pub(crate) fn next_hop_changed(&mut self, addr: IpAddr, state: NextHopState) {
        for rib in &mut self.shards {
            rib.next_hop_changed(addr, state);
        }
    }

    /// Of all shards: who hears that one began must tell all how it is.
    pub(crate) fn drain_next_hops(&mut self) -> Vec<NextHopInterest> {
        let mut all = Vec::new();
        for (rib, known) in self.shards.iter_mut().zip(&mut self.interests) {
            for interest in rib.drain_next_hops() {
                let (addr, added) = (interest.addr, interest.added);
                let news = if added { known.insert(addr) } else { known.remove(&addr) };
                assert!(news, "the first use and the last one, by turns");
                all.push(interest);
            }
        }
        all
    }

    /// The generations of the shards that had any.
    pub(crate) fn drain_changes(
        &mut self,
        limit: usize,
        changes: &mut Vec<BestChange>,
    ) -> Vec<(u16, Generation)> {
        let before = changes.len();
        let mut generations = Vec::new();
        for (index, rib) in self.shards.iter_mut().enumerate() {
            let from = changes.len();
            let generation = rib.drain_changes(limit - (from - before), changes);
            generations.extend(generation.map(|generation| (index as u16, generation)));
            let shard = ShardSpec { index: index as u16, count: self.interests.len() as u16 };
            assert!(changes[from..].iter().all(|change| shard.holds(&change.prefix)));
        }
        generations
    }

    pub(crate) fn pending_changes(&self) -> usize {
        self.shards.iter().map(Rib::pending_changes).sum()
    }

    pub(crate) fn forwarded(&mut self, generations: &[(u16, Generation)]) {
        for &(shard, generation) in generations {
            self.shards[usize::from(shard)].forwarded(generation);
        }
    }

    /// What the forwarding plane says of a prefix after the batches with these generations.
    pub(crate) fn forwarding_status(
        &mut self,
        prefix: IpNet,
        generations: &[(u16, Generation)],
        installed: bool,
    ) {
        let owner = ShardSpec::owner(self.shards.len() as u16, &prefix);
        if let Some(&(_, generation)) = generations.iter().find(|(shard, _)| *shard == owner) {
            self.owner(prefix).forwarding_status(prefix, generation, installed);
        }
    }

    /// The next batch of any shard, by turns, as a session takes them; End-of-RIB when it is due.
    pub(crate) fn next_batch(&mut self, peer: PeerId, max_bytes: usize) -> Option<Batch> {
        for _ in 0..self.shards.len() {
            self.turn = (self.turn + 1) % self.shards.len();
            let Some(mut batch) = self.shards[self.turn].next_batch(peer, max_bytes) else { continue };
            batch.end_of_rib = batch.end_of_rib.filter(|&family| {
                let unfinished = self.unfinished.get_mut(&(peer, family)).expect("a session that is up");
                *unfinished = unfinished.checked_sub(1).expect("the end is said once by each shard");
                *unfinished == 0
            });
            // With requests that come while one is answered there may be fewer ends than requests.
            batch.end_of_refresh = batch.end_of_refresh.filter(|&family| {
                let left = self.refreshing.entry((peer, family)).or_default();
                *left = left.saturating_sub(1);
                *left == 0
            });
            return Some(batch);
        }
        None
    }

    pub(crate) fn has_pending(&self, peer: PeerId) -> bool {
        self.shards.iter().any(|rib| rib.has_pending(peer))
    }

    pub(crate) fn peers_with_pending(&self) -> Vec<PeerId> {
        self.shards.iter().flat_map(Rib::peers_with_pending).collect()
    }

    pub(crate) fn lookup(&self, prefix: IpNet) -> Option<RouteView> {
        self.of(prefix).lookup(prefix)
    }

    pub(crate) fn covering(&self, address: IpAddr, wanted: Wanted) -> Vec<RouteView> {
        RouteView::merge_covering(self.shards.iter().map(|rib| rib.covering(address, wanted)), wanted)
    }

    pub(crate) fn best(&self, prefix: IpNet) -> Option<BestRoute> {
        self.of(prefix).best(prefix)
    }

    pub(crate) fn attributes(&self, prefix: IpNet, id: AttrId) -> Option<Attributes> {
        self.of(prefix).attributes(id)
    }

    pub(crate) fn counts(&self, peer: PeerId, family: Family) -> PeerCounts {
        let mut sum = PeerCounts::default();
        for rib in &self.shards {
            sum += rib.counts(peer, family);
        }
        sum
    }

    pub(crate) fn statistics(&self, peer: PeerId) -> PeerStatistics {
        let mut sum = PeerStatistics::default();
        for rib in &self.shards {
            sum.absorb(rib.statistics(peer));
        }
        sum
    }

    pub(crate) fn totals(&self) -> Totals {
        let mut sum = Totals::default();
        for rib in &self.shards {
            sum += rib.totals();
        }
        sum
    }

    /// All pages of a list, of `limit` from each shard at a time.
    pub(crate) fn routes(&self, family: Family, wanted: Wanted, limit: usize) -> Vec<RouteView> {
        let page = |after| {
            let pages = self.shards.iter().map(|rib| rib.routes(family, wanted, None, after, limit));
            Page::merge(pages, |route| route.prefix)
        };
        all_pages(page)
    }

    /// All pages of what a peer is sent.
    pub(crate) fn advertised(&self, peer: PeerId, family: Family, limit: usize) -> Vec<Advertised> {
        let page = |after| {
            let pages = self.shards.iter().map(|rib| rib.advertised(peer, family, None, after, limit));
            Page::merge(pages, |route| route.prefix)
        };
        all_pages(page)
    }
}

fn all_pages<T>(page: impl Fn(Option<IpNet>) -> Page<T>) -> Vec<T> {
    let (mut items, mut after) = (Vec::new(), None);
    loop {
        let page = page(after);
        items.extend(page.items);
        match page.next {
            Some(next) => after = Some(next),
            None => return items,
        }
    }
}
