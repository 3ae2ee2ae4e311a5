//! What the maps should hold, slice by slice, for whoever reads them back and compares.
//!
//! ```text
//! let mut at = AuditAt::default();
//! while let Some(next) = fib.audit(at, &mut meant) { compare meant with the maps; at = next; }
//! ```
//!
//! Good between two commits, when the edits of the last one have been applied. What is known to have failed
//! is not stated. Of a trie, what is stated says nothing of entries that should not be there: those are found by
//! reading the map and asking [`Fib::may_have_entry`].

use std::ops::Range;

use ipnet::IpNet;

use crate::address::{Address, Prefix};
use crate::edit::TableEdit;
use crate::engine::direct::Direct;
use crate::table::Table;
use crate::{Family, Fib};

/// Next hops or sets, and entries of a trie, in a slice.
const OBJECTS: usize = 256;

/// Where an audit goes on; the default is the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AuditAt {
    part: u8,
    index: u32,
    after: Option<IpNet>,
}

/// The parts in their order: next hops with adjacencies, sets with members, and the tables.
const SETS: u8 = 1;
const IPV4: u8 = 2;
const IPV6: u8 = 3;

/// What a slice of the maps should hold.
#[derive(Debug, Default)]
pub struct Meant {
    /// Elements, as the edits that would write them.
    pub edits: Vec<TableEdit>,
    /// Runs of words of direct tables.
    pub runs: Vec<Run>,
    values: Vec<u32>,
}

/// Words of a direct table one after the other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Run {
    /// Whose table.
    pub family: Family,
    /// The first word.
    pub first: u32,
    /// The addresses that they stand for, or for a single word those that it answers for by default.
    pub addresses: IpNet,
    values: Range<usize>,
}

impl Meant {
    /// What the words of a run should be.
    pub fn values(&self, run: &Run) -> &[u32] {
        &self.values[run.values.clone()]
    }

    /// How many elements and words it states.
    pub fn len(&self) -> usize {
        self.edits.len() + self.values.len()
    }

    /// Whether it states nothing.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn clear(&mut self) {
        self.edits.clear();
        self.runs.clear();
        self.values.clear();
    }

    pub(crate) fn words(
        &mut self,
        family: Family,
        first: u32,
        addresses: IpNet,
        values: impl IntoIterator<Item = u32>,
    ) {
        let start = self.values.len();
        self.values.extend(values);
        self.runs.push(Run { family, first, addresses, values: start..self.values.len() });
    }
}

impl Fib {
    /// States what the slice at a place should hold, in place of what `meant` stated before; answers the place
    /// of the next slice, or nothing behind the last one, which is empty.
    pub fn audit(&self, at: AuditAt, meant: &mut Meant) -> Option<AuditAt> {
        meant.clear();
        let AuditAt { part, index, after } = at;
        let next_part = Some(AuditAt { part: part + 1, ..AuditAt::default() });
        match part {
            0 => match self.next_hops.audit(index, OBJECTS, &mut meant.edits) {
                Some(index) => Some(AuditAt { index, ..at }),
                None => next_part,
            },
            SETS => match self.sets.audit(index, OBJECTS, &mut meant.edits) {
                Some(index) => Some(AuditAt { index, ..at }),
                None => next_part,
            },
            IPV4 | IPV6 => {
                let step = if part == IPV4 {
                    self.v4.audit(index, crate::prefix_v4(after), meant)
                } else {
                    self.v6.audit(index, crate::prefix_v6(after), meant)
                };
                step.map(|(index, after)| AuditAt { index, after, ..at }).or(next_part)
            }
            _ => None,
        }
    }

    /// About how many slices there are.
    pub fn audit_slices(&self) -> usize {
        let objects = self.next_hops.len() + self.sets.len();
        2 + objects / OBJECTS + self.v4.audit_slices() + self.v6.audit_slices()
    }

    /// Whether a trie may have an entry of this prefix: it should, or a failed removal has left it there.
    pub fn may_have_entry(&self, prefix: IpNet) -> bool {
        match prefix {
            IpNet::V4(net) => self.v4.may_have_entry(net.into()),
            IpNet::V6(net) => self.v6.may_have_entry(net.into()),
        }
    }
}

/// What comes behind a slice of a table: its index, and in a trie the last entry.
type Step = Option<(u32, Option<IpNet>)>;

impl<A: Address> Table<A> {
    fn audit(&self, index: u32, after: Option<Prefix<A>>, meant: &mut Meant) -> Step {
        if let Some(direct) = self.direct() {
            direct.audit_slice(index, meant);
            return ((index as usize) + 1 < direct.audit_slices()).then_some((index + 1, None));
        }
        let mut entries = Vec::with_capacity(OBJECTS);
        self.engine().entries_after(after, OBJECTS, &mut entries);
        let last = entries.last().map(|(prefix, _)| prefix.to_net());
        let sound = entries.into_iter().filter(|(prefix, _)| !self.has_failed(*prefix));
        meant.edits.extend(sound.map(|(prefix, set)| TableEdit::Insert { prefix: prefix.to_net(), set }));
        last.map(|last| (index + 1, Some(last)))
    }

    fn audit_slices(&self) -> usize {
        self.direct().map_or_else(|| 1 + self.engine().stats().entries / OBJECTS, Direct::audit_slices)
    }

    fn may_have_entry(&self, prefix: Prefix<A>) -> bool {
        let meant = self.engine().entry_at(prefix).is_some();
        self.direct().is_some() || meant || self.has_failed(prefix)
    }
}
