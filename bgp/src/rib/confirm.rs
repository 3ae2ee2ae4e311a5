//! What the forwarding plane says of the changes that it was given.
//!
//! Each batch of [`Rib::drain_changes`] has a [`Generation`], and each entry in it remembers the last one
//! that it was part of. The forwarding plane answers batch by batch ([`Rib::forwarded`]), before that
//! with what did not fit, and later with what ceases to be in its tables or is again
//! ([`Rib::forwarding_status`]). An answer holds for an entry only if no newer change of it is under way: it
//! would be about another best path. Four bits of an entry are enough, as there are never more batches under way.
//!
//! With [`Announce::Installed`] a new best path is told to peers when its batch is confirmed; until then they
//! keep what they were told before, and forwarding follows what was before too. That there is no path any more
//! is told at once.

use ipnet::IpNet;

use super::core::{Core, Plane};
use super::key::Bits;
use super::table::pending;
use super::{Announce, Rib};

/// Which of the batches under way an answer of the forwarding plane is about.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Generation(u8);

impl Generation {
    /// How many can be told apart.
    const COUNT: u8 = 16;
    const SHIFT: u32 = 4;

    fn next(self) -> Self {
        Self((self.0 + 1) % Self::COUNT)
    }

    /// As it stands in what is pending for an entry.
    fn bits(self) -> u8 {
        self.0 << Self::SHIFT
    }
}

/// Changes that the forwarding plane has been given and has not confirmed.
#[derive(Debug)]
struct Flight {
    generation: Generation,
    v4: Vec<u32>,
    v6: Vec<u32>,
}

/// All of them, the oldest first.
#[derive(Debug, Default)]
pub(crate) struct Flights {
    under_way: std::collections::VecDeque<Flight>,
    next: Generation,
}

impl Flights {
    /// Whether one more could not be told from the oldest one.
    fn are_all_under_way(&self) -> bool {
        self.under_way.len() + 1 >= usize::from(Generation::COUNT)
    }
}

impl Rib {
    /// Whether [`Rib::drain_changes`] would give anything. While too many batches are unconfirmed it does not.
    pub fn can_drain(&self) -> bool {
        self.pending_changes() > 0 && !self.flights.are_all_under_way()
    }

    /// Whether the forwarding plane has been given changes that it has not confirmed.
    pub fn has_unconfirmed(&self) -> bool {
        !self.flights.under_way.is_empty()
    }

    /// Marks entries as given to the forwarding plane with a new generation, if it will confirm them.
    pub(super) fn take_off(&mut self, v4: Vec<u32>, v6: Vec<u32>) -> Option<Generation> {
        if self.core.announce == Announce::Unconfirmed || (v4.is_empty() && v6.is_empty()) {
            return None;
        }
        let generation = self.flights.next;
        self.flights.next = generation.next();
        for &id in &v4 {
            self.v4.table.set_generation(id, generation.bits());
        }
        for &id in &v6 {
            self.v6.table.set_generation(id, generation.bits());
        }
        self.flights.under_way.push_back(Flight { generation, v4, v6 });
        Some(generation)
    }

    /// The changes of a batch, and of those before it, are in the forwarding tables, save those of which
    /// [`Rib::forwarding_status`] said otherwise. A generation that is not under way is ignored.
    pub fn forwarded(&mut self, generation: Generation) {
        let Self { core, v4, v6, flights, .. } = self;
        let Some(last) = flights.under_way.iter().position(|flight| flight.generation == generation) else {
            return;
        };
        let export = core.announce == Announce::Installed;
        for flight in flights.under_way.drain(..=last) {
            v4.confirm(&flight.v4, flight.generation, export);
            v6.confirm(&flight.v6, flight.generation, export);
        }
    }

    /// The route of a prefix is not in the forwarding tables, or is again, as the forwarding plane found after the
    /// batch of this generation. Peers are told that there is no route while it is not.
    pub fn forwarding_status(&mut self, prefix: IpNet, generation: Generation, installed: bool) {
        match prefix {
            IpNet::V4(net) => {
                self.v4.status(net.network().to_bits(), net.prefix_len(), generation, installed);
            }
            IpNet::V6(net) => {
                self.v6.status(net.network().to_bits(), net.prefix_len(), generation, installed);
            }
        }
    }
}

impl<K: Bits> Plane<K> {
    /// Whether nothing is told of an entry until the forwarding plane has confirmed its best path.
    #[inline]
    pub(super) fn is_held_back(&self, core: &Core, id: u32) -> bool {
        core.announce == Announce::Installed && self.table.is_pending(id, pending::FORWARDING)
    }

    fn confirm(&mut self, ids: &[u32], generation: Generation, export: bool) {
        for &id in ids {
            // An entry that has gone since, or is another one now, does not wait for this generation.
            if self.table.confirm(id, generation.bits()) && export {
                self.export(id);
            }
        }
    }

    fn status(&mut self, bits: K, length: u8, generation: Generation, installed: bool) {
        let Some(id) = self.table.find(bits, length).filter(|&id| self.table.best(id).is_some()) else {
            return;
        };
        let newer = self.table.is_pending(id, pending::CHANGE)
            || (self.table.is_pending(id, pending::FORWARDING) && !self.table.awaits(id, generation.bits()));
        if newer || self.table.is_pending(id, pending::NOT_INSTALLED) != installed {
            return;
        }
        if installed {
            self.table.clear_pending(id, pending::NOT_INSTALLED);
        } else {
            self.table.set_pending(id, pending::NOT_INSTALLED);
        }
        self.export(id);
    }
}
