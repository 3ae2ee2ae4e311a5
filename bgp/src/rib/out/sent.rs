//! What the peers of an update group may have of each prefix, path by path: kept where path identifiers are
//! negotiated (RFC 7911), so that exactly those paths are withdrawn that are no longer sent, and those left
//! alone that are as they were.
//!
//! As with the holders of a [journal](super::journal), a statement holds for the readers that have passed the
//! entry's place. A path is with all of them, with exactly these attributes ([`Known::Exact`]); or with some
//! of them, whatever its attributes ([`Known::Unsure`]); or with none of them any more, while slower readers
//! may still have it ([`Known::Gone`]). When an entry gets a new place before all have passed the old one,
//! nothing about it is exact: each of its paths is then announced or withdrawn once more.
//!
//! Attributes of exact paths are in use here, so that their ids mean the same as long as they are compared
//! with. The store of attributes is not at hand where that changes: it is noted, and made up for in
//! [`SentPaths::settle_uses`].

use foldhash::fast::RandomState;
use hashbrown::HashMap;
use smallvec::SmallVec;

use super::super::attrs::AttributeStore;
use super::super::path::Path;

/// How sure it is that peers have a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Known {
    Exact,
    Unsure,
    Gone,
}

/// A path that was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SentPath {
    /// The identifier that it was sent with.
    pub(crate) path_id: u32,
    /// The peer that it came from.
    pub(crate) peer: u16,
    pub(crate) known: Known,
    /// Of an exact path.
    attr: u32,
}

/// The paths that were sent of the entries of one table.
#[derive(Debug, Default)]
pub(crate) struct SentPaths {
    entries: HashMap<u32, SmallVec<[SentPath; 4]>, RandomState>,
    /// Attributes that came into use here, or went out of it, since the store was told.
    uses: Vec<(u32, bool)>,
}

/// The identifier that a path is sent with: that of its slot when it came with one itself, else that of its
/// peer, so that it is the same as long as the path lives, and no other path of the prefix has it.
pub(crate) fn path_id(path: Path) -> u32 {
    const IDENTIFIED: u32 = u16::MAX as u32 + 2;
    if path.has(Path::IDENTIFIED) { IDENTIFIED.saturating_add(path.source) } else { u32::from(path.peer) + 1 }
}

impl Clone for SentPaths {
    /// The copy uses attributes too, which is to be settled with the store before anything else changes.
    fn clone(&self) -> Self {
        let exact = self.entries.values().flatten().filter(|sent| sent.known == Known::Exact);
        let uses = exact.map(|sent| (sent.attr, true)).collect();
        Self { entries: self.entries.clone(), uses }
    }
}

impl SentPaths {
    /// The paths of an entry that peers may have.
    pub(crate) fn of(&self, entry: u32) -> &[SentPath] {
        self.entries.get(&entry).map_or(&[], |paths| paths)
    }

    /// Whether all readers have exactly this path.
    pub(crate) fn is_exact(&self, entry: u32, path: Path) -> bool {
        let id = path_id(path);
        self.of(entry).iter().any(|sent| {
            sent.path_id == id
                && sent.known == Known::Exact
                && (sent.peer, sent.attr) == (path.peer, path.attr)
        })
    }

    /// A path is announced to all readers. `first`: what they had before is known, else others may have had
    /// something different.
    pub(crate) fn announced(&mut self, entry: u32, path_id: u32, (peer, attr): (u16, u32), first: bool) {
        let paths = self.entries.entry(entry).or_default();
        let exact = SentPath { path_id, peer, known: Known::Exact, attr };
        let Some(sent) = paths.iter_mut().find(|sent| sent.path_id == path_id) else {
            self.uses.push((attr, true));
            return paths.push(exact);
        };
        if *sent == exact {
            return;
        }
        if sent.known == Known::Exact {
            self.uses.push((sent.attr, false));
        }
        if first {
            self.uses.push((attr, true));
            *sent = exact;
        } else {
            *sent = SentPath { known: Known::Unsure, ..exact };
        }
    }

    /// A path is withdrawn from all readers that have read so far.
    pub(crate) fn withdrawn(&mut self, entry: u32, path_id: u32) {
        let sent = self
            .entries
            .get_mut(&entry)
            .and_then(|paths| paths.iter_mut().find(|sent| sent.path_id == path_id));
        if let Some(sent) = sent {
            if sent.known == Known::Exact {
                self.uses.push((sent.attr, false));
            }
            sent.known = Known::Gone;
        }
    }

    /// Readers differ in what they have of an entry.
    pub(crate) fn doubt(&mut self, entry: u32) {
        for sent in self.entries.get_mut(&entry).into_iter().flatten() {
            if sent.known == Known::Exact {
                self.uses.push((sent.attr, false));
            }
            sent.known = Known::Unsure;
        }
    }

    /// All readers have passed the place of an entry: nobody has what is gone.
    pub(crate) fn passed(&mut self, entry: u32) {
        if let Some(paths) = self.entries.get_mut(&entry) {
            paths.retain(|sent| sent.known != Known::Gone);
            if paths.is_empty() {
                self.entries.remove(&entry);
            }
        }
    }

    /// Paths are announced in another way from now on: what readers have of any entry is not that.
    pub(crate) fn doubt_all(&mut self) {
        let entries: Vec<u32> = self.entries.keys().copied().collect();
        for entry in entries {
            self.doubt(entry);
        }
    }

    /// Whether any reader may have a path of an entry that did not come from this peer.
    pub(crate) fn holds(&self, entry: u32, peer: u16) -> bool {
        self.of(entry).iter().any(|sent| sent.known != Known::Gone && sent.peer != peer)
    }

    /// Forgets everything.
    pub(crate) fn clear(&mut self) {
        for sent in self.entries.drain().flat_map(|(_, paths)| paths) {
            if sent.known == Known::Exact {
                self.uses.push((sent.attr, false));
            }
        }
    }

    /// Tells the store which attributes came into use and which went out of it.
    pub(crate) fn settle_uses(&mut self, attrs: &mut AttributeStore) {
        for (attr, used) in self.uses.drain(..) {
            if used { attrs.retain(attr) } else { attrs.release(attr) }
        }
    }

    /// Bytes held, what more than four paths of a prefix take aside.
    pub(crate) fn bytes(&self) -> usize {
        self.entries.allocation_size() + self.uses.capacity() * size_of::<(u32, bool)>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_gone_is_kept_until_all_have_passed() {
        let mut sent = SentPaths::default();
        sent.announced(7, 1, (0, 5), true);
        sent.announced(7, 2, (1, 6), true);
        sent.withdrawn(7, 1);
        assert_eq!(sent.of(7).len(), 2);
        sent.passed(7);
        assert_eq!(sent.of(7).iter().map(|sent| sent.path_id).collect::<Vec<_>>(), [2]);
        sent.withdrawn(7, 2);
        sent.doubt(7);
        sent.passed(7);
        assert_eq!(sent.of(7)[0].known, Known::Unsure, "somebody may still have it");
    }

    #[test]
    fn every_use_of_attributes_ends() {
        let mut sent = SentPaths::default();
        for first in [true, false, true, true] {
            sent.announced(7, 1, (0, 5), first);
            sent.announced(7, 1, (0, 6), first);
            sent.announced(7, 2, (1, 6), first);
        }
        sent.doubt(7);
        sent.announced(7, 1, (0, 6), true);
        sent.withdrawn(7, 1);
        sent.announced(7, 1, (0, 6), true);
        sent.clear();
        for attr in [5, 6] {
            let uses = sent.uses.iter().filter(|(of, _)| *of == attr);
            assert_eq!(uses.map(|(_, used)| if *used { 1 } else { -1 }).sum::<i32>(), 0);
        }
    }

    #[test]
    fn the_identifier_of_a_path_is_never_that_of_another_one() {
        let plain = Path { peer: u16::MAX, source: 9, ..Path::default() };
        let identified = Path { peer: 1, source: 0, flags: Path::IDENTIFIED, ..Path::default() };
        assert!(path_id(plain) < path_id(identified));
        assert_eq!(path_id(Path { peer: 0, ..plain }), 1);
        assert_eq!(path_id(Path { attr: 4, ..identified }), path_id(identified));
    }
}
