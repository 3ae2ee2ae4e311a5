//! Slow passes over the table: departed paths, next hops that changed, new import policies, another decision.
//!
//! One pass serves them all. It goes round the entries in arena order, a slice at a time; a new cause
//! joins it wherever it is, and is done when the pass has come round to that place again. Entries made
//! behind its back are right from the start, since they are made under the new circumstances.
//!
//! An entry without anything to do costs a look at its paths: a round over a million entries with
//! four paths each takes some tens of milliseconds.

use crate::wire::Community;

use super::core::{Core, Plane};
use super::generations::Standing;
use super::key::Bits;
use super::path::Path;

/// How far the pass has come for one cause.
#[derive(Clone, Copy, Debug, Default)]
enum Round {
    #[default]
    Idle,
    /// Began there, and has not come to the end of the arena yet.
    Out(u32),
    /// Began again at the front, and goes on to there.
    Back(u32),
}

/// What to start a round for.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Cause {
    /// Paths departed, because sessions ended or stale ones are given up; or stale ones became long-lived.
    Departed,
    /// Next hops changed their state.
    NextHops,
    /// Peers have new import policies.
    Policies,
    /// The decision has other options.
    Rules,
}

/// The pass over one table.
#[derive(Debug, Default)]
pub(crate) struct Sweep {
    position: u32,
    rounds: [Round; 4],
}

impl Sweep {
    /// Whether nothing is left to do.
    pub(crate) fn is_idle(&self) -> bool {
        self.rounds.iter().all(|round| matches!(round, Round::Idle))
    }

    /// Whether a round for the cause is under way.
    pub(crate) fn is_busy(&self, cause: Cause) -> bool {
        !matches!(self.rounds[cause as usize], Round::Idle)
    }

    fn start(&mut self, cause: Cause) {
        self.rounds[cause as usize] = Round::Out(self.position);
    }

    /// Ends the rounds that have come round, and goes back to the front at the end of the arena.
    fn settle(&mut self, end: u32) {
        if self.position >= end {
            self.position = 0;
            for round in &mut self.rounds {
                *round = match *round {
                    Round::Out(start) => Round::Back(start),
                    Round::Back(_) | Round::Idle => Round::Idle,
                };
            }
        }
        for round in &mut self.rounds {
            if matches!(*round, Round::Back(start) if self.position >= start) {
                *round = Round::Idle;
            }
        }
    }
}

/// What a path needs.
enum Remedy {
    Remove,
    GrowOld,
    Reimport,
    Reconsider,
}

impl<K: Bits> Plane<K> {
    /// Starts a round.
    pub(crate) fn sweep_for(&mut self, cause: Cause) {
        self.sweep.start(cause);
    }

    /// Sees up to `budget` entries; returns how much of the budget is left.
    pub(crate) fn sweep(&mut self, core: &mut Core, mut budget: usize) -> usize {
        self.sweep.settle(self.table.end());
        while budget > 0 && !self.sweep.is_idle() {
            let id = self.sweep.position;
            if self.table.is_live(id) {
                self.sweep_entry(core, id);
            }
            self.sweep.position += 1;
            self.sweep.settle(self.table.end());
            budget -= 1;
        }
        budget
    }

    fn sweep_entry(&mut self, core: &mut Core, id: u32) {
        let next_hops = self.sweep.is_busy(Cause::NextHops);
        // Every remedy may move the paths about, and leaves one path less that needs any.
        while let Some((index, remedy)) = self.ailing(core, id, next_hops) {
            let path = self.table.paths(id)[index];
            match remedy {
                Remedy::Remove => self.take(core, id, index),
                Remedy::GrowOld => self.grow_old(core, id, index, path),
                Remedy::Reimport => self.reimport(core, id, index, path),
                Remedy::Reconsider => {
                    let flags = (path.flags ^ Path::UNREACHABLE) & !Path::CHOSEN;
                    self.replace(core, id, index, Path { flags, ..path });
                }
            }
            if !self.table.is_live(id) {
                return;
            }
        }
        if next_hops && self.table.paths(id).len() > 1 {
            // The costs of next hops may have changed without any path coming or going.
            let before = self.choice(core, id);
            self.reselect(core, id, before);
            self.export_paths(id);
        }
        if self.sweep.is_busy(Cause::Rules) && self.table.paths(id).len() > 1 {
            // What shared the traffic by the old rules shows in the marks alone.
            let (before, shared) = (self.choice(core, id), self.sharers(id));
            self.reselect(core, id, before);
            if core.reweigh || self.sharers(id) != shared {
                self.mark_changed(core, id);
            }
            self.export_paths(id);
        }
    }

    fn ailing(&self, core: &Core, id: u32, next_hops: bool) -> Option<(usize, Remedy)> {
        self.table.paths(id).iter().enumerate().find_map(|(index, path)| {
            let peer = core.peer(path.peer)?;
            let generations = peer.generations[K::FAMILY.index()];
            let standing = generations.standing(*path);
            let grows_old = || {
                generations.long_lived
                    && standing == Standing::Stale
                    && if path.accepted() {
                        !core.attrs.summary(path.attr).is_long_lived()
                    } else {
                        core.has_community(core.received(*path), Community::NO_LLGR)
                    }
            };
            if standing == Standing::Departed {
                Some((index, Remedy::Remove))
            } else if !peer.imported(*path) {
                Some((index, Remedy::Reimport))
            } else if grows_old() {
                Some((index, Remedy::GrowOld))
            } else if next_hops
                && !path.has(Path::BLACKHOLE)
                && core.reachable(path.attr) == path.has(Path::UNREACHABLE)
            {
                Some((index, Remedy::Reconsider))
            } else {
                None
            }
        })
    }

    /// Marks a path as a long-lived stale one, or takes it out when it must not become one (RFC 9494
    /// section 4.2).
    fn grow_old(&mut self, core: &mut Core, id: u32, index: usize, path: Path) {
        let refuses = |attr| core.has_community(attr, Community::NO_LLGR);
        if refuses(core.received(path)) || refuses(path.attr) {
            return self.take(core, id, index);
        }
        // Attributes in use can always be read again.
        let mut attributes = core.attrs.attributes(path.attr).unwrap_or_default();
        attributes.communities.push(Community::LLGR_STALE);
        let attr = core.attrs.intern_attributes(&attributes);
        let (rank, flags) = (core.attrs.summary(attr).rank, path.flags & !Path::CHOSEN);
        self.replace(core, id, index, Path { attr, rank, flags, ..path });
        core.attrs.release(attr);
    }

    /// Gives all stale paths of a peer the same mark, in one pass over the table.
    pub(crate) fn merge_stale(&mut self, core: &Core, peer: u16, mark: u16) {
        let present = core.present_mark(peer, K::FAMILY);
        let mut next = 0;
        while let Some(id) = self.table.next_live(next) {
            let of_peer = self.table.paths_mut(id).iter_mut().filter(|path| path.peer == peer);
            for path in of_peer.filter(|path| path.flags & Path::GENERATION != present) {
                path.flags = path.flags & !Path::GENERATION | mark;
            }
            next = id + 1;
        }
    }

    /// Runs the present import policy of its peer over a path.
    fn reimport(&mut self, core: &mut Core, id: u32, index: usize, path: Path) {
        let (bits, length) = self.table.prefix(id);
        let received = core.received(path);
        core.attrs.retain(received);
        if let Some(mut incoming) = core.incoming(path.peer, received, K::FAMILY) {
            // A stale path stays one.
            incoming.marks = incoming.marks & !Path::GENERATION | path.flags & Path::GENERATION;
            let fresh = core.imported(&mut incoming, bits, length);
            self.replace(core, id, index, fresh);
            incoming.finish(core);
        }
    }
}
