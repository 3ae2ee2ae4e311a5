//! Whatever happens to the routes, the maps answer every address as the routes do.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use crate::common::image::Image;
use crate::common::{Plane, Way, boundaries};
use fib::{AuditAt, EngineKind, Family, Fib, FibConfig, Meant, NextHopId, NextHopKey, SetId, Status};
use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use proptest::prelude::*;

#[derive(Clone, Debug)]
enum Op {
    Insert { prefix: IpNet, members: u8 },
    Remove { prefix: IpNet },
    Commit { grace: bool, failing: u8 },
    Move,
}

fn way() -> impl Strategy<Value = Way> {
    prop::sample::select(Way::ALL.to_vec())
}

/// Naive longest match.
fn longest<T: Copy>(routes: &[(IpNet, T)], address: IpAddr) -> Option<(IpNet, T)> {
    routes.iter().filter(|(net, _)| net.contains(&address)).max_by_key(|(net, _)| net.prefix_len()).copied()
}

/// The members of a route's set.
fn members(fib: &Fib, set: SetId) -> BTreeSet<NextHopId> {
    fib.set_members(set).expect("a route names a live set").iter().copied().collect()
}

/// Prefixes that crowd: the top four or six bits, the last bits below one /24 or /120, and a few in between.
fn prefix() -> impl Strategy<Value = IpNet> {
    let shape = prop_oneof![
        5 => (0_u8..16, 0_u8..=4).prop_map(|(bits, len)| (u128::from(bits) << 124, len)),
        2 => (0_u8..64, 0_u8..=6).prop_map(|(bits, len)| (u128::from(bits) << 122, len)),
        3 => (0_u8..32, 24_u8..=32).prop_map(|(bits, len)| {
            ((0x0a32_0100_u128 << 96) | (u128::from(bits) << 96), len)
        }),
        2 => (0_u8..=255, 6_u8..=26).prop_map(|(bits, len)| {
            ((0x0a32_0000_u128 << 96) | (u128::from(bits) << 106), len)
        }),
    ];
    (shape, any::<bool>()).prop_map(|((bits, len), v6)| {
        if v6 {
            // The same shape, stretched to 128 bits below a length of 24.
            let (low, len) = if len >= 24 { ((bits >> 96) & 0xff, len + 96) } else { (0, len) };
            Ipv6Net::new((bits | low).into(), len).expect("a valid length").trunc().into()
        } else {
            Ipv4Net::new(((bits >> 96) as u32).into(), len).expect("a valid length").trunc().into()
        }
    })
}

fn ops(failing: bool) -> impl Strategy<Value = Vec<Op>> {
    let op = prop_oneof![
        8 => (prefix(), prop_oneof![4 => prop::sample::select(vec![1_u8, 2, 4]), 1 => 1_u8..16])
            .prop_map(|(prefix, members)| Op::Insert { prefix, members }),
        4 => prefix().prop_map(|prefix| Op::Remove { prefix }),
        3 => (any::<bool>(), if failing { 0_u8..=4 } else { 0..=0 })
            .prop_map(|(grace, failing)| Op::Commit { grace, failing }),
        1 => Just(Op::Move),
    ];
    prop::collection::vec(op, 1..120)
}

struct Lab {
    fib: Fib,
    way: Way,
    /// Whether every second wish for a larger table is refused.
    stingy: bool,
    plane: Plane,
    hops: Vec<NextHopId>,
    /// The uncompressed routes, by members.
    routes: BTreeMap<IpNet, BTreeSet<NextHopId>>,
    status: BTreeMap<IpNet, Status>,
    asked: BTreeSet<IpNet>,
    random: u64,
}

impl Lab {
    fn new(way: Way, capacity_v4: usize, capacity_v6: usize) -> Self {
        let config = FibConfig {
            engine: way.engine(),
            capacity_v4,
            capacity_v6,
            // As tight for the one engine as for the other, once the table has grown.
            nodes_v4: [6.min(capacity_v4 as u32), capacity_v4 as u32],
            nodes_v6: [40.min(4 * capacity_v6 as u32), 4 * capacity_v6 as u32],
            sets: 64,
            members: 600,
            next_hops: 8,
            adjacencies: 8,
            ecmp_slots: 8,
        };
        let mut fib = Fib::new(config);
        let hops =
            (0..4).map(|i| fib.next_hop(NextHopKey::Glean { ifindex: i }).expect("there is room")).collect();
        Self {
            fib,
            way,
            stingy: false,
            plane: Plane::new(capacity_v4, capacity_v6),
            hops,
            routes: BTreeMap::new(),
            status: BTreeMap::new(),
            asked: BTreeSet::new(),
            random: 1,
        }
    }

    fn random(&mut self) -> u64 {
        self.random =
            self.random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        self.random >> 16
    }

    fn run(&mut self, op: &Op) {
        match op {
            Op::Insert { prefix, members } => {
                let members: Vec<NextHopId> =
                    (0..4).filter(|i| members & (1 << i) != 0).map(|i| self.hops[i]).collect();
                // Ids and slots that wait for a grace period can use up the small pools.
                let Ok(set) = self.fib.set(&members) else { return self.commit(true, 0) };
                self.fib.insert(*prefix, set).expect("the set lives");
                if self.routes.insert(*prefix, members.into_iter().collect()).is_none() {
                    self.status.remove(prefix);
                }
                self.asked.insert(*prefix);
            }
            Op::Remove { prefix } => {
                self.fib.remove(*prefix);
                self.routes.remove(prefix);
                self.status.remove(prefix);
                self.asked.insert(*prefix);
            }
            Op::Commit { grace, failing } => self.commit(*grace, *failing),
            Op::Move => self.way.go_on(&mut self.fib),
        }
    }

    fn commit(&mut self, grace: bool, failing: u8) {
        let mut edits = Vec::new();
        let refused = self.stingy && self.random().is_multiple_of(2);
        let larger = &mut self.plane.larger;
        self.fib.commit(&mut edits, |family| !refused && larger.insert(family));
        let picks: Vec<bool> = edits.iter().map(|_| self.random() % 16 < u64::from(failing)).collect();
        let mut picks = picks.into_iter();
        let failed = self.plane.apply(&edits, |_| picks.next().unwrap_or(false));
        for prefix in failed {
            self.fib.write_failed(prefix);
        }
        if grace {
            self.plane.grace();
            self.fib.grace_elapsed();
        }
        let mut changes = Vec::new();
        self.fib.drain_status_changes(&mut changes);
        for change in changes {
            self.status.insert(change.prefix, change.status);
        }
    }

    fn status(&self, prefix: IpNet) -> Status {
        self.status.get(&prefix).copied().unwrap_or(Status::Installed)
    }

    fn addresses(&mut self) -> BTreeSet<IpAddr> {
        let mut addresses = boundaries(self.asked.iter());
        for _ in 0..32 {
            let bits = u128::from(self.random()) << 80 | u128::from(self.random());
            addresses.insert(IpAddr::V6(bits.into()));
            addresses.insert(IpAddr::V4(((bits >> 96) as u32).into()));
        }
        addresses
    }

    /// Each address is answered by the most specific route that counts as installed; one whose answer
    /// differs must belong to a route that is known to have failed.
    fn check(&mut self) {
        let addresses = self.addresses();
        let fits = |net: &IpNet| self.status(*net) != Status::Full;
        let routes: Vec<(IpNet, &BTreeSet<NextHopId>)> =
            self.routes.iter().filter(|(net, _)| fits(net)).map(|(net, members)| (*net, members)).collect();
        for &address in &addresses {
            let meant = longest(&routes, address);
            let got = self.plane.answer(address);
            if got.as_ref() != meant.map(|(_, members)| members) {
                let stale = self.plane.uncertain.iter().any(|net| net.contains(&address));
                let excused = meant.map_or(stale, |(net, _)| self.status(net) == Status::WriteFailed);
                assert!(excused, "{address}: {got:?} instead of {meant:?}");
            }
        }
        for (prefix, members_of) in &self.routes {
            let view = self.fib.route(*prefix).expect("the route is held");
            assert_eq!(view.status, self.status(*prefix), "told status of {prefix}");
            assert_eq!(members(&self.fib, view.set), *members_of);
        }
        let stats = self.fib.stats();
        assert_eq!(stats.ipv4.routes + stats.ipv6.routes, self.routes.len());
        assert!(stats.ipv4.entries <= stats.ipv4.capacity && stats.ipv6.entries <= stats.ipv6.capacity);
        let full = self.routes.keys().filter(|net| self.status(**net) == Status::Full).count();
        assert_eq!(stats.ipv4.full + stats.ipv6.full, full);
    }

    /// What the FIB believes to be in the maps is in the maps, in pages of any size. Direct tables have
    /// the routes themselves, and were looked into by [`Self::check`].
    fn check_entries(&self) {
        let stats = self.fib.stats();
        let tables = [stats.ipv4, stats.ipv6];
        let direct = |net: &IpNet| tables[usize::from(net.addr().is_ipv6())].engine == EngineKind::Direct;
        let mut listed = BTreeMap::new();
        for family in Family::ALL {
            let mut after = None;
            loop {
                let page = self.fib.entries(family, after, 3);
                let Some((last, _)) = page.last() else { break };
                after = Some(*last);
                listed.extend(page.into_iter().map(|(net, set)| (net, set.0)));
            }
        }
        let (routes, entries): (BTreeMap<IpNet, u32>, BTreeMap<IpNet, u32>) =
            listed.into_iter().partition(|(net, _)| direct(net));
        let in_map = self.plane.routes.iter().filter(|(net, _)| !direct(net)).map(|(net, set)| (*net, *set));
        assert_eq!(entries, in_map.collect());
        let counted = tables.iter().filter(|table| table.engine == EngineKind::LpmTrie);
        assert_eq!(counted.map(|table| table.entries).sum::<usize>(), entries.len());
        let fits = self.routes.keys().filter(|net| direct(net) && self.status(**net) != Status::Full);
        assert!(fits.eq(routes.keys()), "{routes:?}");
    }

    /// What an audit states is in the maps, word for word, and nothing else is in the tries.
    fn check_audit(&self) {
        let (mut at, mut meant) = (AuditAt::default(), Meant::default());
        let mut words = [0, 0];
        while let Some(next) = self.fib.audit(at, &mut meant) {
            at = next;
            for run in &meant.runs {
                let values = meant.values(run);
                words[run.family as usize] += values.len();
                assert!(self.plane.direct[run.family as usize].has(run.first, values), "{run:?}: {values:?}");
            }
            for edit in &meant.edits {
                assert!(self.plane.holds(edit), "{edit:?}");
            }
        }
        let stats = self.fib.stats();
        for (family, table) in Family::ALL.into_iter().zip([stats.ipv4, stats.ipv6]) {
            let layout = family.layouts()[0];
            let live = (1 << layout.base) + table.entries * (layout.node_words() as usize + 1);
            let expected = if table.engine == EngineKind::Direct { live } else { 0 };
            assert_eq!(words[family as usize], expected, "words of {family:?}");
        }
        assert!(self.plane.routes.keys().all(|prefix| self.fib.may_have_entry(*prefix)));
    }

    fn check_listing(&self) {
        let mut listed = Vec::new();
        for family in Family::ALL {
            let mut after = None;
            loop {
                let page = self.fib.routes(family, after, 4);
                let Some(last) = page.last() else { break };
                after = Some(last.prefix);
                listed.extend(page.into_iter().map(|route| route.prefix));
            }
        }
        let held: Vec<IpNet> = self.routes.keys().copied().collect();
        assert_eq!(listed, held);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn the_maps_answer_as_the_routes_do(ops in ops(false), way in way()) {
        let mut lab = Lab::new(way, 10_000, 10_000);
        for op in &ops {
            lab.run(op);
            if matches!(op, Op::Commit { .. }) {
                lab.check();
                lab.check_entries();
            }
        }
        lab.commit(true, 0);
        lab.check();
        lab.check_entries();
        lab.check_listing();
        let stats = lab.fib.stats();
        prop_assert_eq!(stats.ipv4.full + stats.ipv6.full, 0);
        prop_assert!(lab.status.is_empty(), "no route was ever left out: {:?}", lab.status);
        let routes: Vec<(IpNet, ())> = lab.routes.keys().map(|net| (*net, ())).collect();
        for address in lab.addresses() {
            let view = lab.fib.longest_match(address);
            prop_assert_eq!(view.map(|view| view.prefix), longest(&routes, address).map(|(net, ())| net));
            let entry = lab.fib.entry_for(address).map(|(_, set)| members(&lab.fib, set));
            prop_assert_eq!(entry, lab.plane.answer(address));
        }
    }

    #[test]
    fn a_history_leaves_no_more_entries_than_a_fresh_build(ops in ops(false), way in way()) {
        let mut lab = Lab::new(way, 10_000, 10_000);
        for op in &ops {
            lab.run(op);
        }
        lab.commit(true, 0);
        let mut fresh = Lab::new(way, 10_000, 10_000);
        if lab.fib.stats().ipv4.engine == EngineKind::Direct {
            way.go_on(&mut fresh.fib);
        }
        for (prefix, members_of) in &lab.routes {
            let list: Vec<NextHopId> = members_of.iter().copied().collect();
            let set = fresh.fib.set(&list).expect("there is room");
            fresh.fib.insert(*prefix, set).expect("the set lives");
        }
        fresh.commit(true, 0);
        prop_assert_eq!(lab.fib.stats().ipv4.entries, fresh.fib.stats().ipv4.entries);
        prop_assert_eq!(lab.fib.stats().ipv6.entries, fresh.fib.stats().ipv6.entries);
    }

    #[test]
    fn a_full_map_leaves_routes_out_and_answers_right_for_the_rest(
        ops in ops(false), way in way(), v4 in 0_usize..12, v6 in 0_usize..12,
    ) {
        let mut lab = Lab::new(way, v4, v6);
        lab.stingy = true;
        for op in &ops {
            lab.run(op);
            if matches!(op, Op::Commit { .. }) {
                lab.check();
                lab.check_entries();
            }
        }
        lab.commit(true, 0);
        lab.check();
        let prefixes: Vec<IpNet> = lab.routes.keys().copied().collect();
        for prefix in prefixes.iter().take(prefixes.len() / 2) {
            lab.run(&Op::Remove { prefix: *prefix });
        }
        lab.commit(true, 0);
        lab.check();
        for prefix in &prefixes {
            lab.run(&Op::Remove { prefix: *prefix });
        }
        for _ in 0..2 {
            lab.commit(true, 0);
        }
        prop_assert!(lab.plane.routes.is_empty());
        prop_assert!(lab.plane.direct.iter().all(Image::is_empty));
    }

    #[test]
    fn a_failed_write_is_told_and_repeated_until_it_works(ops in ops(true), way in way(), tight in any::<bool>()) {
        let capacity = if tight { 10 } else { 10_000 };
        let mut lab = Lab::new(way, capacity, capacity);
        for op in &ops {
            lab.run(op);
            if matches!(op, Op::Commit { .. }) {
                lab.check();
            }
        }
        for _ in 0..3000 {
            lab.commit(true, 0);
            if lab.fib.stats().ipv4.failed_entries + lab.fib.stats().ipv6.failed_entries == 0 {
                break;
            }
        }
        lab.commit(true, 0);
        lab.plane.uncertain.clear();
        prop_assert!(lab.status.values().all(|status| *status != Status::WriteFailed));
        lab.check();
        lab.check_entries();
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, ..ProptestConfig::default() })]

    #[test]
    fn an_audit_states_what_is_in_the_maps(ops in ops(false), way in way(), tight in any::<bool>()) {
        let capacity = if tight { 10 } else { 10_000 };
        let mut lab = Lab::new(way, capacity, capacity);
        lab.stingy = tight;
        for op in &ops {
            lab.run(op);
        }
        lab.commit(true, 0);
        lab.check_audit();
    }
}
