//! Path identifiers of received paths (RFC 7911), for those that have one.
//!
//! A peer may number its paths as it likes, each with an identifier of its own, so identifiers do not fit
//! into the sixteen bytes of a path. A path that has one ([`Path::IDENTIFIED`]) names a slot here instead of its
//! received attributes, and finds both in it: eight bytes a path, and nothing for paths without identifier.
//! A slot stays with its path as long as that lives, whatever the peer announces for it.

use super::core::Core;
use super::path::Path;

/// Ends the chain of free slots.
const END: u32 = u32::MAX;

#[derive(Clone, Copy, Debug)]
struct Slot {
    /// Attributes as received. In a free slot: the next free one.
    received: u32,
    path_id: u32,
}

/// The slots of all identified paths.
#[derive(Debug)]
pub(crate) struct PathIds {
    slots: Vec<Slot>,
    free: u32,
    used: usize,
}

impl Default for PathIds {
    fn default() -> Self {
        Self { slots: Vec::new(), free: END, used: 0 }
    }
}

impl PathIds {
    /// A slot for a new path.
    pub(crate) fn insert(&mut self, received: u32, path_id: u32) -> u32 {
        let slot = Slot { received, path_id };
        self.used += 1;
        if self.free == END {
            self.slots.push(slot);
            return (self.slots.len() - 1) as u32;
        }
        let index = self.free;
        self.free = self.slots[index as usize].received;
        self.slots[index as usize] = slot;
        index
    }

    /// The path is gone.
    pub(crate) fn remove(&mut self, index: u32) {
        self.slots[index as usize].received = self.free;
        self.free = index;
        self.used -= 1;
    }

    /// The path was announced with other attributes.
    pub(crate) fn set_received(&mut self, index: u32, received: u32) {
        self.slots[index as usize].received = received;
    }

    /// Slots in use.
    pub(crate) fn len(&self) -> usize {
        self.used
    }

    /// Bytes held.
    pub(crate) fn bytes(&self) -> usize {
        self.slots.capacity() * size_of::<Slot>()
    }
}

impl Core {
    /// The attributes of a path as received.
    #[inline]
    pub(crate) fn received(&self, path: Path) -> u32 {
        if path.has(Path::IDENTIFIED) {
            self.path_ids.slots[path.source as usize].received
        } else {
            path.source
        }
    }

    /// The identifier with which the peer announced a path.
    #[inline]
    pub(crate) fn path_id(&self, path: Path) -> Option<u32> {
        path.has(Path::IDENTIFIED).then(|| self.path_ids.slots[path.source as usize].path_id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slot_takes_eight_bytes_and_is_used_again() {
        assert_eq!(size_of::<Slot>(), 8);
        let mut ids = PathIds::default();
        let slots: Vec<u32> = (0..10).map(|id| ids.insert(id, id)).collect();
        for slot in slots {
            ids.remove(slot);
        }
        let bytes = ids.bytes();
        let mut again: Vec<u32> = (0..10).map(|id| ids.insert(id, id)).collect();
        again.sort_unstable();
        assert_eq!(again, (0..10).collect::<Vec<_>>());
        assert_eq!((ids.len(), ids.bytes()), (10, bytes));
    }
}
