//! The numbers by which the RIB knows neighbours.
//!
//! A path holds one, so that they have two octets and are used again, the one longest unused first. A number
//! is free when the task that had it has ended: then the RIB has heard that the session is down, and paths of
//! it that are still to be swept out are told from those of whoever has the number next.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use bgp::types::PeerId;

/// Above it are numbers with a meaning of their own in the RIB.
const LAST: u16 = u16::MAX - 2;

/// Hands out numbers.
#[derive(Debug, Default)]
pub(super) struct Ids(Mutex<Numbers>);

#[derive(Debug, Default)]
struct Numbers {
    /// The last one that was new; the router itself has the first one, 0.
    last: u16,
    free: VecDeque<u16>,
}

impl Ids {
    /// A number for a neighbour; `None`: all are taken.
    pub(super) fn lease(self: &Arc<Self>) -> Option<Lease> {
        let mut numbers = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let id = match numbers.free.pop_front() {
            Some(id) => id,
            None if numbers.last == LAST => return None,
            None => {
                numbers.last += 1;
                numbers.last
            }
        };
        Some(Lease { ids: Arc::clone(self), id: PeerId(id) })
    }
}

/// A number that is somebody's until this is dropped.
#[derive(Debug)]
pub(super) struct Lease {
    ids: Arc<Ids>,
    id: PeerId,
}

impl Lease {
    pub(super) fn id(&self) -> PeerId {
        self.id
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        let mut numbers = self.ids.0.lock().unwrap_or_else(PoisonError::into_inner);
        numbers.free.push_back(self.id.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_used_again_when_its_lease_has_ended() {
        let ids = Arc::new(Ids::default());
        let mut taken: Vec<Lease> = std::iter::from_fn(|| ids.lease()).collect();
        assert_eq!((taken.len(), taken[0].id()), (usize::from(LAST), PeerId(1)));
        drop(taken.remove(7));
        drop(taken.remove(2));
        let again: Vec<Lease> = std::iter::from_fn(|| ids.lease()).collect();
        assert_eq!(again.iter().map(Lease::id).collect::<Vec<_>>(), [PeerId(8), PeerId(3)]);
    }
}
