//! From changed paths to changed best paths.
//!
//! The best path of an entry is the first of its paths and marked; others that share its traffic are
//! marked too. A change is noticed by comparing what was chosen before with what is chosen after,
//! and noted once until it is drained, however often it changes in between.
//!
//! Most announcements lose on rank alone, which the marks of the entry show without a decision.

use smallvec::SmallVec;

use super::Announce;
use super::core::{Core, Plane};
use super::decision::Filters;
use super::key::Bits;
use super::path::Path;
use super::sweep::Cause;
use super::table::pending;

/// What was chosen for a prefix: equal choices forward and announce alike.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Choice {
    /// Peer and attributes of the best path, and whether it is a blackhole.
    best: Option<(u16, u32, bool)>,
    /// The others that share its traffic, folded.
    others: u64,
}

impl<K: Bits> Plane<K> {
    /// What is chosen for an entry now.
    #[inline]
    pub(crate) fn choice(&self, core: &Core, id: u32) -> Choice {
        self.choice_of(core, id, self.table.best(id))
    }

    /// The same, by one who knows its best path.
    #[inline]
    pub(crate) fn choice_of(&self, core: &Core, id: u32, best: Option<Path>) -> Choice {
        let best = best.map(|path| (path.peer, path.attr, path.has(Path::BLACKHOLE)));
        // Until new rules have come to an entry, its marks may be those of the old ones.
        let shared = core.rules.share() || self.sweep.is_busy(Cause::Rules);
        let others = if shared { self.sharers(id) } else { 0 };
        Choice { best, others }
    }

    /// The paths of an entry that share its traffic, folded.
    pub(crate) fn sharers(&self, id: u32) -> u64 {
        self.table
            .paths(id)
            .iter()
            .filter(|path| path.has(Path::MULTIPATH))
            .map(|path| {
                (u64::from(path.peer) << 32 | u64::from(path.attr))
                    .wrapping_add(1)
                    .wrapping_mul(0x9e37_79b9_7f4a_7c15)
            })
            .fold(0, u64::wrapping_add)
    }

    /// Whether a path, put into an entry where it was not chosen before, leaves the choice as it was.
    #[inline]
    pub(crate) fn loses_at_once(&self, id: u32, path: Path) -> bool {
        !path.eligible() || self.table.best(id).is_some_and(|best| best.rank > path.rank)
    }

    /// Makes the last path of an entry, which beats all others by rank alone, the best one.
    pub(crate) fn crown_last(&mut self, core: &mut Core, id: u32, before: Choice) {
        let paths = self.table.paths_mut(id);
        for path in &mut *paths {
            path.flags &= !Path::CHOSEN;
        }
        let best = paths.len().checked_sub(1);
        self.crown(core, id, best, before);
    }

    /// Makes the path at an index the best one, and notes the change when there is one.
    #[inline]
    fn crown(&mut self, core: &mut Core, id: u32, best: Option<usize>, before: Choice) {
        let best = best.map(|best| {
            let paths = self.table.paths_mut(id);
            paths[best].flags |= Path::CHOSEN;
            paths.swap(0, best);
            paths[0]
        });
        let after = self.choice_of(core, id, best);
        if after != before {
            self.note_change(core, id, before, after);
        }
    }

    /// Chooses among the paths of an entry, and notes the change when there is one.
    pub(crate) fn reselect(&mut self, core: &mut Core, id: u32, before: Choice) {
        let paths = self.table.paths_mut(id);
        let mut rank = 0;
        core.contenders.clear();
        for (index, path) in paths.iter_mut().enumerate() {
            path.flags &= !Path::CHOSEN;
            if !path.eligible() || path.rank < rank {
                continue;
            }
            if path.rank > rank {
                rank = path.rank;
                core.contenders.clear();
            }
            core.contenders.push(index);
        }
        let best = match core.contenders.as_slice() {
            [] => None,
            [only] => Some(*only),
            _ => Self::contest(core, paths),
        };
        self.crown(core, id, best, before);
    }

    /// Sends the paths of equal rank through the filters; marks those that share the traffic.
    fn contest(core: &mut Core, paths: &mut [Path]) -> Option<usize> {
        let mut candidates = std::mem::take(&mut core.candidates);
        candidates.clear();
        candidates.extend(core.contenders.iter().map(|&index| core.candidate(paths[index])));
        let best = core.filters.run(&candidates, &core.rules);
        if let Some(best) = best.filter(|_| core.rules.share()) {
            for member in core.filters.multipath(&candidates, &core.rules, best) {
                paths[core.contenders[member]].flags |= Path::MULTIPATH;
            }
        }
        core.candidates = candidates;
        best.map(|best| core.contenders[best])
    }

    /// The `most` best paths of an entry, in order of preference: the best one, the best of the others, and
    /// so on.
    pub(crate) fn best_paths(&self, core: &Core, id: u32, most: usize) -> SmallVec<[Path; 4]> {
        let mut left: SmallVec<[Path; 4]> =
            self.table.paths(id).iter().copied().filter(|path| path.eligible()).collect();
        if left.len() <= 1 {
            return left;
        }
        let mut candidates: Vec<_> = left.iter().map(|path| core.candidate(*path)).collect();
        let mut filters = Filters::default();
        let mut best = SmallVec::new();
        while best.len() < most
            && let Some(index) = filters.run(&candidates, &core.rules)
        {
            candidates.remove(index);
            best.push(left.remove(index));
        }
        best
    }

    /// Moves the counts, and queues the change.
    fn note_change(&mut self, core: &mut Core, id: u32, before: Choice, after: Choice) {
        let (lost, won) = (before.best.map(|best| best.0), after.best.map(|best| best.0));
        if lost != won {
            if let Some(peer) = lost {
                core.count(peer, K::FAMILY, |counts| counts.best -= 1);
            }
            if let Some(peer) = won {
                core.count(peer, K::FAMILY, |counts| counts.best += 1);
            }
        }
        self.mark_changed(core, id);
    }

    /// Queues an entry that changed.
    pub(crate) fn mark_changed(&mut self, core: &Core, id: u32) {
        let confirmed = core.announce != Announce::Unconfirmed && self.table.best(id).is_some();
        let forwarding = if confirmed { pending::FORWARDING } else { 0 };
        // What was said of another path does not hold for this one.
        let outdated = pending::FORWARDING | pending::NOT_INSTALLED;
        if self.table.replace_pending(id, outdated, pending::CHANGE | forwarding) & pending::CHANGE == 0 {
            self.changed.push_back(id);
        }
        if !confirmed || core.announce == Announce::AtOnce {
            self.export(id);
        }
    }
}
