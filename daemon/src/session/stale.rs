//! For how long the stale routes of a neighbour are kept, told by its session's task, read by whoever shows
//! routes.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use bgp::session::StalePhase;
use bgp::types::Family;

/// By [`Family::index`].
type Kept = [Option<(StalePhase, Instant)>; Family::ALL.len()];

/// See the head of this file.
#[derive(Debug, Default)]
pub(super) struct StaleClock(Mutex<Kept>);

impl StaleClock {
    /// How things are now.
    pub(super) fn set(&self, kept: Kept) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = kept;
    }

    /// How stale routes of a family are kept, and for how long still.
    pub(super) fn left(&self, family: Family, now: Instant) -> Option<(StalePhase, Duration)> {
        let kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        kept[family.index()].map(|(phase, until)| (phase, until.saturating_duration_since(now)))
    }
}
