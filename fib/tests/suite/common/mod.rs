//! A model of the data plane: plain maps that refuse what the kernel or a running program would not
//! survive. An edit is refused that overfills a table, removes what is not there, names what was never
//! written, or overwrites what a program may still be reading.

pub(crate) mod image;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use fib::{EngineChoice, Family, Fib, NextHopId, TableEdit};
use fib_abi::{Adjacency, NextHopKind, NextHopWord, SetWord};
use ipnet::IpNet;

use image::Image;

/// How the tables of a test come to their engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    /// LPM tries.
    LpmTrie,
    /// Direct tables.
    Direct,
    /// First the one, then the other.
    Moved,
}

impl Way {
    pub(crate) const ALL: [Self; 3] = [Self::LpmTrie, Self::Direct, Self::Moved];

    pub(crate) fn engine(self) -> EngineChoice {
        match self {
            Self::LpmTrie => EngineChoice::LpmTrie,
            Self::Direct => EngineChoice::Direct,
            Self::Moved => EngineChoice::Auto,
        }
    }

    /// Moves both tables if they are to be moved and have not been yet.
    pub(crate) fn go_on(self, fib: &mut Fib) {
        if self == Self::Moved {
            for family in Family::ALL {
                fib.move_to_direct(family, |_| false);
            }
        }
    }
}

#[derive(Debug, Default)]
pub(crate) struct Plane {
    pub(crate) capacity: [usize; 2],
    pub(crate) adjacencies: BTreeMap<u32, Adjacency>,
    pub(crate) next_hops: BTreeMap<u32, NextHopWord>,
    pub(crate) members: BTreeMap<u32, u32>,
    pub(crate) sets: BTreeMap<u32, SetWord>,
    pub(crate) routes: BTreeMap<IpNet, u32>,
    /// The direct tables, IPv4's first.
    pub(crate) direct: [Image; 2],
    /// Families with a larger table that waits to be grown into.
    pub(crate) larger: BTreeSet<Family>,
    /// Whether packets are looked up there.
    pub(crate) served: [bool; 2],
    /// Entries whose write failed at some time: whether the map has them is unknown to the writer.
    pub(crate) uncertain: BTreeSet<IpNet>,
    /// What was reachable at any time since the last grace period.
    seen_sets: BTreeSet<u32>,
    seen_slots: BTreeSet<u32>,
    seen_next_hops: BTreeSet<u32>,
    seen_adjacencies: BTreeSet<u32>,
}

impl Plane {
    pub(crate) fn new(capacity_v4: usize, capacity_v6: usize) -> Self {
        let direct = Family::ALL.map(|family| Image::new(family.layouts()[0]));
        Self { capacity: [capacity_v4, capacity_v6], direct, ..Self::default() }
    }

    /// Applies edits; those that `fails` picks leave the map as it is and are reported.
    pub(crate) fn apply(&mut self, edits: &[TableEdit], mut fails: impl FnMut(IpNet) -> bool) -> Vec<IpNet> {
        let mut failed = Vec::new();
        let mut removal_failed = false;
        for edit in edits {
            match *edit {
                // Room that a failed removal did not make is nobody's fault but the kernel's.
                TableEdit::Insert { prefix, .. } if removal_failed && self.is_full_for(prefix) => {
                    self.uncertain.insert(prefix);
                    failed.push(prefix);
                }
                TableEdit::Insert { prefix, .. } | TableEdit::Remove { prefix } if fails(prefix) => {
                    removal_failed |= matches!(edit, TableEdit::Remove { .. });
                    self.uncertain.insert(prefix);
                    failed.push(prefix);
                }
                edit => self.write(edit),
            }
        }
        failed
    }

    fn is_full_for(&self, prefix: IpNet) -> bool {
        let v6 = matches!(prefix, IpNet::V6(_));
        let present = self.routes.keys().filter(|net| matches!(net, IpNet::V6(_)) == v6).count();
        !self.routes.contains_key(&prefix) && present >= self.capacity[usize::from(v6)]
    }

    fn write(&mut self, edit: TableEdit) {
        match edit {
            TableEdit::Adjacency { index, value } => {
                assert!(!self.seen_adjacencies.contains(&index), "adjacency {index} may be in use");
                self.adjacencies.insert(index, value);
            }
            TableEdit::NextHop { index, value } => {
                if value.kind == NextHopKind::Forward as u8 {
                    assert!(self.adjacencies.contains_key(&value.adjacency), "unwritten adjacency named");
                    self.seen_adjacencies.insert(value.adjacency);
                }
                self.next_hops.insert(index, value);
            }
            TableEdit::Member { slot, next_hop } => {
                // One of a set that lives may change hands; one of a set that is gone may not come to life.
                let lives = self.members.contains_key(&slot) && self.owner_lives(slot);
                assert!(lives || !self.seen_slots.contains(&slot), "slot {slot} may be in use");
                assert!(self.next_hops.contains_key(&next_hop), "unwritten next hop named");
                if lives {
                    self.seen_next_hops.insert(next_hop);
                }
                self.members.insert(slot, next_hop);
            }
            TableEdit::Set { index, value } => {
                assert!(index != 0, "set 0 stands for no route");
                assert!(!self.seen_sets.contains(&index), "set {index} may be in use");
                for slot in value.base..value.base + value.slots {
                    assert!(self.members.contains_key(&slot), "unwritten slot named");
                }
                self.sets.insert(index, value);
            }
            TableEdit::Fill { family, first, count, value } => {
                let image = &mut self.direct[family as usize];
                image.fill(first, count, value);
                if let Some(set) = Image::set(value) {
                    self.see_set(set);
                }
            }
            TableEdit::Grow { family } => {
                assert!(self.larger.remove(&family), "there is none to grow into");
                self.served[family as usize] = false;
                self.direct[family as usize].grow(family.layouts()[1]);
            }
            TableEdit::Serve { family } => self.served[family as usize] = true,
            TableEdit::Insert { prefix, set } => {
                self.see_set(set);
                assert!(!self.is_full_for(prefix), "the map overflows at {prefix}");
                self.routes.insert(prefix, set);
            }
            TableEdit::Remove { prefix } => {
                let gone = self.routes.remove(&prefix);
                assert!(gone.is_some() || self.uncertain.contains(&prefix), "{prefix} is not in the map");
            }
        }
    }

    /// Whether a slot is of a set that an entry or a word names now.
    fn owner_lives(&self, slot: u32) -> bool {
        let named = |set: u32| {
            self.sets.get(&set).is_some_and(|word| (word.base..word.base + word.slots).contains(&slot))
        };
        self.routes.values().any(|set| named(*set))
            || self.direct.iter().any(|image| image.sets().into_iter().any(named))
    }

    /// An entry or a word names a set.
    fn see_set(&mut self, set: u32) {
        let word = self.sets.get(&set).expect("an entry names a written set");
        self.seen_sets.insert(set);
        self.seen_slots.extend(word.base..word.base + word.slots);
        let slots = word.base..word.base + word.slots;
        self.seen_next_hops.extend(slots.map(|slot| self.members[&slot]));
    }

    /// Whether the maps are as an edit would leave them.
    pub(crate) fn holds(&self, edit: &TableEdit) -> bool {
        match *edit {
            TableEdit::Adjacency { index, value } => self.adjacencies.get(&index) == Some(&value),
            TableEdit::NextHop { index, value } => self.next_hops.get(&index) == Some(&value),
            TableEdit::Member { slot, next_hop } => self.members.get(&slot) == Some(&next_hop),
            TableEdit::Set { index, value } => self.sets.get(&index) == Some(&value),
            TableEdit::Insert { prefix, set } => self.routes.get(&prefix) == Some(&set),
            _ => panic!("{edit:?} is no element"),
        }
    }

    /// Every running program has finished: only what is reachable now can still be in use.
    pub(crate) fn grace(&mut self) {
        let tried = self.routes.iter().filter(|(net, _)| !self.served[usize::from(net.addr().is_ipv6())]);
        self.seen_sets = tried.map(|(_, set)| *set).collect();
        for image in &mut self.direct {
            self.seen_sets.extend(image.sets());
            image.grace();
        }
        self.seen_slots.clear();
        self.seen_next_hops.clear();
        for set in &self.seen_sets {
            let word = self.sets[set];
            self.seen_slots.extend(word.base..word.base + word.slots);
            self.seen_next_hops.extend((word.base..word.base + word.slots).map(|slot| self.members[&slot]));
        }
        self.seen_adjacencies = self
            .next_hops
            .values()
            .filter(|word| word.kind == NextHopKind::Forward as u8)
            .map(|word| word.adjacency)
            .collect();
    }

    /// The set that a packet to an address finds.
    fn set_for(&self, address: IpAddr) -> Option<u32> {
        let v6 = usize::from(address.is_ipv6());
        if self.served[v6] {
            return self.direct[v6].lookup(address);
        }
        let found = self.routes.iter().filter(|(net, _)| net.contains(&address));
        found.max_by_key(|(net, _)| net.prefix_len()).map(|(_, set)| *set)
    }

    /// The next hops that flows to an address spread over.
    pub(crate) fn answer(&self, address: IpAddr) -> Option<BTreeSet<NextHopId>> {
        let word = self.sets[&self.set_for(address)?];
        Some((word.base..word.base + word.slots).map(|slot| NextHopId(self.members[&slot])).collect())
    }
}

/// First and last address of each prefix, and those right beside it.
pub(crate) fn boundaries<'a>(prefixes: impl Iterator<Item = &'a IpNet>) -> BTreeSet<IpAddr> {
    let mut out = BTreeSet::new();
    for net in prefixes {
        match net {
            IpNet::V4(net) => {
                let (first, last) = (net.network().to_bits(), net.broadcast().to_bits());
                for bits in [first, last, first.wrapping_sub(1), last.wrapping_add(1)] {
                    out.insert(IpAddr::V4(bits.into()));
                }
            }
            IpNet::V6(net) => {
                let (first, last) = (net.network().to_bits(), net.broadcast().to_bits());
                for bits in [first, last, first.wrapping_sub(1), last.wrapping_add(1)] {
                    out.insert(IpAddr::V6(bits.into()));
                }
            }
        }
    }
    out
}
