//! Next-hop sets: interned by their members, spread over slots.
//!
//! A flow takes slot `(hash * slots) >> 32` of its set. A set of one member needs one slot; a set of
//! more has `ecmp_slots`, shared out so that no member has more than one slot above another. Which slots
//! a member gets follows its own order of preference, and members take turns (the idea of Maglev,
//! Eisenbud et al., NSDI 2016), so that two sets that differ in one member agree on most slots and
//! most flows keep their way when a member comes or goes.
//!
//! A set is written before the first entry names it and never changed. One that no route names any
//! more retires with the next commit; its id and slots are reused after a grace period.

use std::collections::HashMap;

use fib_abi::SetWord;
use serde::Serialize;

use crate::FibError;
use crate::edit::TableEdit;
use crate::ids::{IdPool, RangePool};
use crate::next_hops::{NextHopId, NextHops};

/// Index of a next-hop set in `SETS`. 0 means "no route" and is never handed out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct SetId(pub u32);

#[derive(Debug)]
struct Set {
    members: Box<[NextHopId]>,
    word: SetWord,
    routes: usize,
    written: bool,
}

/// All sets.
#[derive(Debug)]
pub(crate) struct Sets {
    slots: Vec<Option<Set>>,
    by_members: HashMap<Box<[NextHopId]>, u32>,
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
            by_members: HashMap::new(),
            // Packed routes have so many bits for a set; compression and the direct tables need the top one.
            ids: IdPool::new(crate::engine::NO_ROUTE + 1, sets.min(crate::engine::routes::MOST_SETS)),
            members: RangePool::new(members),
            ecmp_slots: ecmp_slots.max(1),
            fresh: Vec::new(),
            idle: Vec::new(),
        }
    }

    /// The set of these members, whatever their order; one that is there several times has as many shares.
    pub(crate) fn intern(
        &mut self,
        members: &[NextHopId],
        next_hops: &mut NextHops,
    ) -> Result<SetId, FibError> {
        let mut sorted = members.to_vec();
        sorted.sort_unstable();
        if let Some(&id) = self.by_members.get(&sorted[..]) {
            return Ok(SetId(id));
        }
        if let Some(unknown) = sorted.iter().find(|&&id| !next_hops.exists(id)) {
            return Err(FibError::UnknownNextHop { id: unknown.0 });
        }
        let slots = match sorted.len() as u32 {
            0 => return Err(FibError::EmptySet),
            1 => 1,
            n => self.ecmp_slots.max(n),
        };
        let id = self.ids.allocate().ok_or(FibError::SetsFull { limit: self.ids.limit() })?;
        let Some(base) = self.members.allocate(slots) else {
            self.ids.free(id);
            return Err(FibError::MembersFull { needed: slots, limit: self.members.limit() });
        };
        for &member in &sorted {
            next_hops.retain(member);
        }
        let members: Box<[NextHopId]> = sorted.into();
        self.by_members.insert(members.clone(), id);
        if self.slots.len() <= id as usize {
            self.slots.resize_with(id as usize + 1, || None);
        }
        let word = SetWord { base, slots };
        self.slots[id as usize] = Some(Set { members, word, routes: 0, written: false });
        self.fresh.push(id);
        self.idle.push(id);
        Ok(SetId(id))
    }

    /// The members of a set, sorted, each as often as it has shares.
    pub(crate) fn members(&self, id: SetId) -> Option<&[NextHopId]> {
        self.slots.get(id.0 as usize)?.as_ref().map(|set| &*set.members)
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
            self.by_members.remove(&set.members);
            for &member in &set.members {
                next_hops.forget(member);
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

    /// Writes the new sets, each after its members.
    pub(crate) fn commit(&mut self, edits: &mut Vec<TableEdit>) {
        let mut words = Vec::new();
        for id in std::mem::take(&mut self.fresh) {
            let Some(Some(set)) = self.slots.get_mut(id as usize) else { continue };
            if std::mem::replace(&mut set.written, true) {
                continue;
            }
            for (slot, member) in (set.word.base..).zip(spread(&set.members, set.word.slots)) {
                edits.push(TableEdit::Member { slot, next_hop: member.0 });
            }
            words.push(TableEdit::Set { index: id, value: set.word });
        }
        edits.append(&mut words);
    }

    /// States up to `limit` written sets from an id on, with their members; the id to go on with.
    pub(crate) fn audit(&self, from: u32, limit: usize, meant: &mut Vec<TableEdit>) -> Option<u32> {
        let sets = self.slots.get(from as usize..)?;
        for (id, set) in (from..).zip(sets.iter().take(limit)) {
            let Some(set) = set.as_ref().filter(|set| set.written) else { continue };
            for (slot, member) in (set.word.base..).zip(spread(&set.members, set.word.slots)) {
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
        self.by_members.len()
    }

    pub(crate) fn slots_used(&self) -> u32 {
        self.members.used()
    }
}

/// Shares `slots` slots out among the members.
fn spread(members: &[NextHopId], slots: u32) -> Vec<NextHopId> {
    let [first, others @ ..] = members else { return Vec::new() };
    let mut table = vec![*first; slots as usize];
    if others.is_empty() {
        return table;
    }
    let mut taken = vec![false; slots as usize];
    let mut wishes: Vec<_> = members.iter().map(|&member| preference(member, slots).into_iter()).collect();
    let mut left = slots;
    // Each list names every slot, so that every turn ends in one as long as any is left.
    while left > 0 {
        for (&member, wish) in members.iter().zip(&mut wishes) {
            if let Some(slot) = wish.find(|&slot| !taken[slot as usize]) {
                taken[slot as usize] = true;
                table[slot as usize] = member;
                left -= 1;
            }
        }
    }
    table
}

/// All slots in the order in which a member wants them.
fn preference(member: NextHopId, slots: u32) -> Vec<u32> {
    let mut order: Vec<u32> = (0..slots).collect();
    order.sort_by_key(|&slot| (fib_abi::flow_hash(member.0, slot, 0x5067_5067, 0, 0), slot));
    order
}

#[cfg(test)]
mod tests {
    use super::*;

    fn count(table: &[NextHopId], member: u32) -> usize {
        table.iter().filter(|id| id.0 == member).count()
    }

    #[test]
    fn slots_are_shared_evenly() {
        for n in 1..=20_u32 {
            let members: Vec<NextHopId> = (10..10 + n).map(NextHopId).collect();
            let table = spread(&members, 64);
            let counts: Vec<usize> = (10..10 + n).map(|member| count(&table, member)).collect();
            let (low, high) = (64 / n as usize, 64_usize.div_ceil(n as usize));
            assert!(counts.iter().all(|&count| (low..=high).contains(&count)), "{n}: {counts:?}");
        }
    }

    #[test]
    fn a_member_that_is_there_twice_has_twice_the_slots() {
        let members = [1, 1, 2].map(NextHopId);
        let table = spread(&members, 64);
        assert_eq!([1, 2].map(|member| count(&table, member)), [43, 21]);
    }

    #[test]
    fn most_flows_keep_their_way_when_a_member_leaves() {
        let members: Vec<NextHopId> = (0..8).map(NextHopId).collect();
        let all = spread(&members, 64);
        let fewer = spread(&members[..7], 64);
        let moved = all.iter().zip(&fewer).filter(|(a, b)| a != b && a.0 != 7).count();
        // A plain division of the slots would move about half of the 56.
        assert!(moved <= 20, "{moved} of 56 slots moved that had no need to");
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
