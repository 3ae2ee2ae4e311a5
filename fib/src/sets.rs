//! Next-hop sets: interned by their members and their backup, spread over slots.
//!
//! A flow takes slot `(hash * slots) >> 32` of its set. A set of one member needs one slot; a set of
//! more has `ecmp_slots`. Each member wants the slots in an order of its own (the lists of Maglev, Eisenbud et
//! al., NSDI 2016), and a slot goes to whom it stands highest with, weighed by shares (rendezvous hashing).
//! So a slot changes hands only if its owner goes, or to somebody who comes: whichever way a member leaves,
//! only its own flows move, and return to it when it returns. The price is that parts are not quite equal: some
//! percent of 128 slots.
//!
//! A set is written before the first entry names it. After that only the slots change, and only with the health of
//! its next hops: what belongs to one that is lost goes to the other members, or when none is left to the
//! backup, until it is back. These are as many stores as there are such slots, whatever the number of routes. One
//! that no route names any more retires with the next commit; its id and slots are reused after a grace period.

use std::collections::HashMap;

use fib_abi::SetWord;
use serde::Serialize;

use crate::FibError;
use crate::edit::TableEdit;
use crate::ids::{IdPool, RangePool};
use crate::next_hops::{Health, NextHopId, NextHops};

/// Index of a next-hop set in `SETS`. 0 means "no route" and is never handed out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct SetId(pub u32);

/// What a set is known by: its members, sorted, each as often as it has shares; and its backup.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Key {
    members: Box<[NextHopId]>,
    backup: Option<NextHopId>,
}

impl Key {
    /// The next hops that the set names, those with several shares several times.
    fn named(&self) -> impl Iterator<Item = NextHopId> + '_ {
        self.members.iter().copied().chain(self.backup)
    }
}

#[derive(Debug)]
struct Set {
    key: Key,
    word: SetWord,
    /// Whose each slot is, as of the last commit.
    slots: Box<[NextHopId]>,
    routes: usize,
    written: bool,
}

/// All sets.
#[derive(Debug)]
pub(crate) struct Sets {
    slots: Vec<Option<Set>>,
    by_key: HashMap<Key, u32>,
    ids: IdPool,
    members: RangePool,
    ecmp_slots: u32,
    /// New sets, not written yet.
    fresh: Vec<u32>,
    /// Sets that had no route at some time since the last commit.
    idle: Vec<u32>,
}

impl Sets {
    pub(crate) fn new(sets: u32, members: u32, ecmp_slots: u32) -> Self {
        Self {
            slots: Vec::new(),
            by_key: HashMap::new(),
            // Packed routes have so many bits for a set; compression and the direct tables need the top one.
            ids: IdPool::new(crate::engine::NO_ROUTE + 1, sets.min(crate::engine::routes::MOST_SETS)),
            members: RangePool::new(members),
            ecmp_slots: ecmp_slots.max(1),
            fresh: Vec::new(),
            idle: Vec::new(),
        }
    }

    /// The set of these members, whatever their order, with this backup; a member that is there several times has as
    /// many shares. A backup that is a member is none.
    pub(crate) fn intern(
        &mut self,
        members: &[NextHopId],
        backup: Option<NextHopId>,
        next_hops: &mut NextHops,
    ) -> Result<SetId, FibError> {
        let mut sorted: Box<[NextHopId]> = members.into();
        sorted.sort_unstable();
        let backup = backup.filter(|backup| !sorted.contains(backup));
        let key = Key { members: sorted, backup };
        if let Some(&id) = self.by_key.get(&key) {
            return Ok(SetId(id));
        }
        if let Some(unknown) = key.named().find(|&id| !next_hops.exists(id)) {
            return Err(FibError::UnknownNextHop { id: unknown.0 });
        }
        let slots = match key.members.len() as u32 {
            0 => return Err(FibError::EmptySet),
            1 => 1,
            n => self.ecmp_slots.max(n),
        };
        // What is left at the end is for routes without a backup: they need far fewer sets.
        if key.backup.is_some() && self.is_nearly_full(slots) {
            return Err(FibError::SetsFull { limit: self.ids.limit() });
        }
        let id = self.ids.allocate().ok_or(FibError::SetsFull { limit: self.ids.limit() })?;
        let Some(base) = self.members.allocate(slots) else {
            self.ids.free(id);
            return Err(FibError::MembersFull { needed: slots, limit: self.members.limit() });
        };
        for next_hop in key.named() {
            next_hops.retain(next_hop);
        }
        self.by_key.insert(key.clone(), id);
        if self.slots.len() <= id as usize {
            self.slots.resize_with(id as usize + 1, || None);
        }
        let word = SetWord { base, slots };
        self.slots[id as usize] = Some(Set { key, word, slots: Box::default(), routes: 0, written: false });
        self.fresh.push(id);
        self.idle.push(id);
        Ok(SetId(id))
    }

    /// Whether less than a quarter of the ids or of the slots would be left after a set with so many of them.
    fn is_nearly_full(&self, slots: u32) -> bool {
        let (ids, members) = (self.ids.available(), self.members.limit().saturating_sub(self.members.used()));
        ids <= self.ids.limit() as usize / 4 || members < slots + self.members.limit() / 4
    }

    /// The members of a set, sorted, each as often as it has shares.
    pub(crate) fn members(&self, id: SetId) -> Option<&[NextHopId]> {
        self.slots.get(id.0 as usize)?.as_ref().map(|set| &*set.key.members)
    }

    /// The backup of a set.
    pub(crate) fn backup(&self, id: SetId) -> Option<NextHopId> {
        self.slots.get(id.0 as usize)?.as_ref()?.key.backup
    }

    /// A route names the set.
    pub(crate) fn retain(&mut self, id: SetId) -> Result<(), FibError> {
        let set = self.slots.get_mut(id.0 as usize).and_then(Option::as_mut);
        set.ok_or(FibError::UnknownSet { id: id.0 })?.routes += 1;
        Ok(())
    }

    /// A route that named the set is gone or names another.
    pub(crate) fn release(&mut self, id: u32) {
        if let Some(Some(set)) = self.slots.get_mut(id as usize) {
            set.routes -= 1;
            if set.routes == 0 {
                self.idle.push(id);
            }
        }
    }

    /// Retires the sets that no route names.
    pub(crate) fn retire_idle(&mut self, next_hops: &mut NextHops) {
        for id in std::mem::take(&mut self.idle) {
            let Some(set) = self.slots[id as usize].take_if(|set| set.routes == 0) else { continue };
            self.by_key.remove(&set.key);
            for next_hop in set.key.named() {
                next_hops.forget(next_hop);
            }
            if set.written {
                self.ids.retire(id);
                self.members.retire(set.word.base, set.word.slots);
            } else {
                self.ids.free(id);
                self.members.free(set.word.base, set.word.slots);
            }
        }
    }

    /// Gives the slots of sets that name one of these next hops, whose health has changed, to whom they belong now.
    pub(crate) fn redirect(&mut self, moved: &[NextHopId], next_hops: &NextHops, edits: &mut Vec<TableEdit>) {
        if moved.is_empty() {
            return;
        }
        for set in self.slots.iter_mut().flatten().filter(|set| set.written) {
            if set.key.named().any(|next_hop| moved.contains(&next_hop)) {
                set.assign(next_hops, edits);
            }
        }
    }

    /// Writes the new sets, each after its members.
    pub(crate) fn commit(&mut self, next_hops: &NextHops, edits: &mut Vec<TableEdit>) {
        let mut words = Vec::new();
        for id in std::mem::take(&mut self.fresh) {
            let Some(Some(set)) = self.slots.get_mut(id as usize) else { continue };
            if std::mem::replace(&mut set.written, true) {
                continue;
            }
            set.assign(next_hops, edits);
            words.push(TableEdit::Set { index: id, value: set.word });
        }
        edits.append(&mut words);
    }

    /// States up to `limit` written sets from an id on, with their members; the id to go on with.
    pub(crate) fn audit(&self, from: u32, limit: usize, meant: &mut Vec<TableEdit>) -> Option<u32> {
        let sets = self.slots.get(from as usize..)?;
        for (id, set) in (from..).zip(sets.iter().take(limit)) {
            let Some(set) = set.as_ref().filter(|set| set.written) else { continue };
            for (slot, member) in (set.word.base..).zip(&set.slots) {
                meant.push(TableEdit::Member { slot, next_hop: member.0 });
            }
            meant.push(TableEdit::Set { index: id, value: set.word });
        }
        (sets.len() > limit).then_some(from + limit as u32)
    }

    pub(crate) fn grace_elapsed(&mut self) {
        self.ids.grace_elapsed();
        self.members.grace_elapsed();
    }

    /// Indices and ranges that wait for a grace period.
    pub(crate) fn waiting(&self) -> usize {
        self.ids.waiting() + self.members.waiting()
    }

    pub(crate) fn len(&self) -> usize {
        self.by_key.len()
    }

    pub(crate) fn slots_used(&self) -> u32 {
        self.members.used()
    }
}

impl Set {
    /// Works out whose each slot is, and states those that change hands.
    fn assign(&mut self, next_hops: &NextHops, edits: &mut Vec<TableEdit>) {
        let owners = spread(&in_charge(&self.key, |id| next_hops.health(id)), self.word.slots);
        for (index, &owner) in owners.iter().enumerate() {
            if self.slots.get(index) != Some(&owner) {
                edits.push(TableEdit::Member { slot: self.word.base + index as u32, next_hop: owner.0 });
            }
        }
        self.slots = owners;
    }
}

/// Who carries the traffic of a set: the members that are well; else the backup if it is; else members that
/// may be lost but are not known to be; else the backup if it may not be lost; else everybody as usual.
fn in_charge(key: &Key, health: impl Fn(NextHopId) -> Health) -> Vec<NextHopId> {
    for wanted in [Health::Good, Health::Suspect] {
        let members: Vec<_> = key.members.iter().copied().filter(|&id| health(id) == wanted).collect();
        if !members.is_empty() {
            return members;
        }
        if let Some(backup) = key.backup.filter(|&backup| health(backup) == wanted) {
            return vec![backup];
        }
    }
    key.members.to_vec()
}

/// Shares `slots` slots out among the members, which are sorted.
fn spread(members: &[NextHopId], slots: u32) -> Box<[NextHopId]> {
    let count = slots as usize;
    let Some(&first) = members.first() else { return Box::default() };
    if members.iter().all(|&member| member == first) {
        return vec![first; count].into();
    }
    // The owner of each slot and at what price: the least wins.
    let mut owners = vec![(first, f64::INFINITY); count];
    for shares in members.chunk_by(|a, b| a == b) {
        let member = shares[0];
        let rate = f64::from(u32::try_from(shares.len()).unwrap_or(u32::MAX));
        for (place, slot) in (0..slots).zip(preference(member, slots)) {
            // Quantiles of an exponential distribution: of several, each is the least with a probability in
            // proportion to its rate.
            let price = -(1.0 - (f64::from(place) + 0.5) / f64::from(slots)).ln() / rate;
            let owner = &mut owners[slot as usize];
            if (price, tie(member, slot)) < (owner.1, tie(owner.0, slot)) {
                *owner = (member, price);
            }
        }
    }
    owners.into_iter().map(|(member, _)| member).collect()
}

/// Whom a slot goes to that stands equally high with several: somebody else for each slot.
fn tie(member: NextHopId, slot: u32) -> (u64, NextHopId) {
    (mix(slot, member.0), member)
}

/// All slots in the order in which a member wants them.
fn preference(member: NextHopId, slots: u32) -> Vec<u32> {
    let mut order: Vec<u32> = (0..slots).collect();
    order.sort_by_cached_key(|&slot| (mix(member.0, slot), slot));
    order
}

/// A hash of two words without any likeness for like ones (the finalizer of `SplitMix64`, Steele et al., 2014).
fn mix(a: u32, b: u32) -> u64 {
    let word = (u64::from(a) << 32 | u64::from(b)).wrapping_add(0x9e37_79b9_7f4a_7c15);
    let word = (word ^ word >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let word = (word ^ word >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    word ^ word >> 31
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn count(table: &[NextHopId], member: u32) -> u32 {
        table.iter().map(|id| u32::from(id.0 == member)).sum()
    }

    fn ids(ids: std::ops::Range<u32>) -> Vec<NextHopId> {
        ids.map(NextHopId).collect()
    }

    #[test]
    fn slots_are_shared_nearly_evenly() {
        for n in 2..=16_u32 {
            let fair = 128.0 / f64::from(n);
            let (mut worst, mut squares) = (0.0_f64, 0.0);
            for start in 0..50 {
                let table = spread(&ids(start * 16..start * 16 + n), 128);
                for member in start * 16..start * 16 + n {
                    let off = f64::from(count(&table, member)) - fair;
                    worst = worst.max(off.abs());
                    squares += off * off;
                }
            }
            // Independent draws would be off by sqrt(fair * (1 - 1/n)).
            let deviation = (squares / f64::from(50 * n)).sqrt();
            assert!(deviation < 0.9 * (fair * (1.0 - 1.0 / f64::from(n))).sqrt(), "{n}: {deviation}");
            assert!(worst < 0.25 * fair + 8.0, "{n}: {worst} of {fair}");
        }
    }

    #[test]
    fn a_member_with_more_shares_has_more_slots_in_proportion() {
        let mut doubled = 0;
        for start in 0..50 {
            let [a, b] = [start * 2, start * 2 + 1].map(NextHopId);
            let table = spread(&[a, a, b], 128);
            let slots = count(&table, a.0);
            assert!((75..=96).contains(&slots), "{slots} of 128 for two shares of three");
            doubled += slots;
        }
        let mean = f64::from(doubled) / 50.0;
        assert!((83.0..88.0).contains(&mean), "{mean} of 128 for two shares of three");
    }

    proptest! {
        #[test]
        fn only_the_flows_of_a_member_that_leaves_move(
            mut members in prop::collection::vec((0..40_u32).prop_map(NextHopId), 2..20),
            leaver in any::<prop::sample::Index>(),
        ) {
            members.sort_unstable();
            let leaver = members[leaver.index(members.len())];
            let stay: Vec<_> = members.iter().copied().filter(|&member| member != leaver).collect();
            prop_assume!(!stay.is_empty());
            let (all, fewer) = (spread(&members, 128), spread(&stay, 128));
            for (before, after) in all.iter().zip(&fewer) {
                prop_assert!(before == after || *before == leaver);
            }
        }

        #[test]
        fn the_order_of_who_carries_is_members_then_backup_and_well_before_suspect(
            health in prop::collection::vec(0..3_u8, 4),
        ) {
            let of = |id: NextHopId| match health[id.0 as usize] {
                0 => Health::Good,
                1 => Health::Suspect,
                _ => Health::Down,
            };
            let key = Key { members: ids(0..3).into(), backup: Some(NextHopId(3)) };
            let carriers = in_charge(&key, of);
            let best_member = ids(0..3).into_iter().map(of).min().expect("three");
            let wanted = best_member.min(of(NextHopId(3)));
            if wanted == Health::Down {
                prop_assert_eq!(carriers, ids(0..3));
            } else if best_member == wanted {
                let expected: Vec<_> = ids(0..3).into_iter().filter(|&id| of(id) == wanted).collect();
                prop_assert_eq!(carriers, expected);
            } else {
                prop_assert_eq!(carriers, vec![NextHopId(3)]);
            }
        }
    }

    #[test]
    fn a_flow_takes_each_slot_of_its_set_equally_often() {
        let word = SetWord { base: 100, slots: 64 };
        let mut hits = [0_u32; 64];
        for i in 0..64_000_u32 {
            let hash = fib_abi::flow_hash(7, i, !i, 6, i.rotate_left(9));
            let slot = word.slot(hash).expect("the set has slots");
            hits[(slot - 100) as usize] += 1;
        }
        assert!(hits.iter().all(|&hits| (800..1200).contains(&hits)), "{hits:?}");
    }
}
