//! Which next hop takes over when all that a best route leads to are lost.
//!
//! The backup of a prefix is the next hop of the best of those paths that lead elsewhere than the best one and
//! those that share its traffic. The forwarding plane is told of it beforehand, so that it can fail over by
//! itself, in a time that does not depend on the number of routes, and long before the decision has been made anew.
//!
//! Working it out takes a second decision. While much changes at once that would double the work, so it is
//! put off: entries whose paths change are noted, and looked at when the caller has nothing else to do
//! ([`Rib::drain_backups`]). A few changes get theirs at once.

use std::collections::VecDeque;
use std::net::IpAddr;

use super::core::{Core, Plane};
use super::key::Bits;
use super::next_hops::NO_NEXT_HOP;
use super::path::Path;
use super::table::pending;
use super::{BestChange, Forwarding, Rib};
use crate::types::PeerId;

/// Up to so many changes drained at once come with their backups.
pub(crate) const AT_ONCE: usize = 1024;
/// Entries noted one by one; when there are more, all entries are gone through.
const MOST_NOTED: usize = 65_536;

/// Entries with [`pending::BACKUP`].
#[derive(Debug, Default)]
pub(crate) struct Unbacked {
    /// Some of them, and such as were freed since.
    noted: VecDeque<u32>,
    /// All others have an id from here on.
    walk: Option<u32>,
}

impl Unbacked {
    fn note(&mut self, id: u32) {
        if self.noted.len() < MOST_NOTED {
            self.noted.push_back(id);
        } else {
            self.walk = Some(self.walk.map_or(id, |from| from.min(id)));
        }
    }

    fn is_empty(&self) -> bool {
        self.noted.is_empty() && self.walk.is_none()
    }
}

impl Rib {
    /// Whether there are prefixes whose backups are to be looked at.
    pub fn has_pending_backups(&self) -> bool {
        !self.v4.unbacked.is_empty() || !self.v6.unbacked.is_empty()
    }

    /// Looks at up to `limit` prefixes whose backups may be others, and appends their best routes with what is
    /// their backup now. For the time when there is nothing else to do: it does nothing while changes wait to be
    /// drained.
    pub fn drain_backups(&mut self, limit: usize, changes: &mut Vec<BestChange>) {
        if self.pending_changes() > 0 {
            return;
        }
        let left = self.v4.drain_backups(&mut self.core, limit, changes);
        self.v6.drain_backups(&mut self.core, left, changes);
    }
}

impl<K: Bits> Plane<K> {
    /// The paths of an entry changed: its backup may be another one.
    #[inline]
    pub(crate) fn note_backup(&mut self, id: u32) {
        // The change of a first path, or of the last one, is told anyway.
        let matters = self.table.paths(id).len() > 1 || !self.table.is_pending(id, pending::CHANGE);
        if matters && !self.table.is_pending(id, pending::BACKUP) {
            self.table.set_pending(id, pending::BACKUP);
            self.unbacked.note(id);
        }
    }

    fn drain_backups(&mut self, core: &mut Core, limit: usize, changes: &mut Vec<BestChange>) -> usize {
        let mut left = limit;
        while left > 0 {
            let Some(id) = self.next_unbacked() else { break };
            left -= 1;
            // Entries that were freed since, or are of another prefix now, have nothing to look at.
            if !self.table.is_live(id) || !self.table.is_pending(id, pending::BACKUP) {
                continue;
            }
            self.table.clear_pending(id, pending::BACKUP);
            let Some(best) = self.table.best(id) else { continue };
            let mut best = self.best_route(core, id, best);
            if matches!(best.forwarding, Forwarding::Via(_)) {
                best.backup = self.backup(core, id);
                let (bits, length) = self.table.prefix(id);
                changes.push(BestChange { prefix: bits.net(length), best: Some(best) });
            }
        }
        left
    }

    fn next_unbacked(&mut self) -> Option<u32> {
        if let Some(id) = self.unbacked.noted.pop_front() {
            return Some(id);
        }
        let id = self.unbacked.walk?;
        self.unbacked.walk = Some(id + 1).filter(|&next| next < self.table.end());
        Some(id)
    }

    /// The next hop of the best path that leads elsewhere than those that carry the traffic of an entry.
    pub(crate) fn backup(&self, core: &mut Core, id: u32) -> Option<IpAddr> {
        let paths = self.table.paths(id);
        if paths.len() < 2 {
            return None;
        }
        let next_hop = |core: &Core, path: &Path| core.attrs.summary(path.attr).next_hop;
        let elsewhere = |core: &Core, path: &Path| {
            let own = path.peer == PeerId::LOCAL.0 || path.has(Path::BLACKHOLE);
            let to = next_hop(core, path);
            let carries = |other: &Path| other.has(Path::CHOSEN) && next_hop(core, other) == to;
            path.eligible() && !own && to != NO_NEXT_HOP && !paths.iter().any(carries)
        };
        let rank = paths.iter().filter(|path| elsewhere(core, path)).map(|path| path.rank).max()?;
        let mut candidates = std::mem::take(&mut core.candidates);
        candidates.clear();
        core.contenders.clear();
        for (index, path) in paths.iter().enumerate() {
            if path.rank == rank && elsewhere(core, path) {
                core.contenders.push(index);
                candidates.push(core.candidate(*path));
            }
        }
        let best = match candidates.len() {
            1 => Some(0),
            _ => core.filters.run(&candidates, &core.rules),
        };
        core.candidates = candidates;
        let path = &paths[core.contenders[best?]];
        core.attrs.next_hops.addr(next_hop(core, path))
    }
}
