//! The helper's side of graceful restart: what is kept of a lost session, and until when.
//!
//! RFC 4724 section 4.2, with RFC 8538 (a NOTIFICATION need not be the end) and RFC 9494 (long-lived stale
//! routes). Each family goes its own way:
//!
//! ```text
//!             session lost                    back, forwarding kept          End-of-RIB
//!   nothing ---------------> restarting ---------------------------> syncing -----------> nothing
//!                                |                                      |
//!                restart time up |   (no long-lived stale time:         | stale-routes-time up:
//!                                v    nothing, routes dropped)          v routes dropped
//!                           long-lived ---- back, End-of-RIB -------> nothing
//! ```
//!
//! A session that is back without the family, or without having kept forwarding, ends it at once. A long-lived
//! stale time goes on over sessions that come and go, until End-of-RIB or its end. Why a session was
//! lost decides whether anything is kept: never when either side said Hard Reset, nor by a NOTIFICATION
//! unless both speak RFC 8538.

use std::time::{Duration, Instant};

use super::config::GracefulHelper;
use super::negotiate::PeerRestart;
use super::output::{DownReason, StaleRoutes};
use crate::types::{Family, FamilySet};

/// How stale routes of a family came to be kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StalePhase {
    /// The peer is away and expected back.
    Restarting,
    /// It is back, and has not said End-of-RIB yet.
    Syncing,
    /// It has been away for longer than its restart time (RFC 9494).
    LongLived,
    /// It was never away, and sends everything again (RFC 7313).
    Refreshing,
}

impl StalePhase {
    /// In a word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Restarting => "restarting",
            Self::Syncing => "syncing",
            Self::LongLived => "long-lived",
            Self::Refreshing => "refreshing",
        }
    }
}

/// Stale routes of a family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Kept {
    phase: StalePhase,
    until: Instant,
    /// When they go however the session fares, long-lived ones aside.
    at_last: Instant,
    /// What follows the restart time.
    long_lived: Duration,
}

/// See the head of this file.
#[derive(Debug, Default)]
pub(super) struct Helper {
    kept: [Option<Kept>; Family::ALL.len()],
}

impl Helper {
    /// The families whose routes outlive a session that ended so. What the peer offered says for how long.
    pub(super) fn kept(reason: &DownReason, offer: &PeerRestart, config: &GracefulHelper) -> FamilySet {
        let graceful = reason
            .notification()
            .is_none_or(|notification| offer.notification && !notification.is_hard_reset());
        let lasts = |family: &Family| !Self::times(*family, offer, config).iter().all(Duration::is_zero);
        if graceful { Family::ALL.into_iter().filter(lasts).collect() } else { FamilySet::EMPTY }
    }

    /// Restart time and long-lived stale time of a family.
    fn times(family: Family, offer: &PeerRestart, config: &GracefulHelper) -> [Duration; 2] {
        let listed = offer.families.contains(family);
        let restart = if listed { offer.restart_time.min(config.stale_routes_time) } else { Duration::ZERO };
        let limit = config.long_lived[family.index()];
        [restart, offer.long_lived[family.index()].min(limit)]
    }

    /// The session was lost, and the routes of these families are kept. What is to be done with them at once.
    pub(super) fn lost(
        &mut self,
        now: Instant,
        families: FamilySet,
        offer: &PeerRestart,
        config: &GracefulHelper,
    ) -> Vec<StaleRoutes> {
        let mut outcome = Vec::new();
        for family in Family::ALL {
            let slot = &mut self.kept[family.index()];
            if !families.contains(family) {
                *slot = None;
                continue;
            }
            if slot.is_some_and(|kept| kept.phase == StalePhase::LongLived) {
                // Its time goes on, also for what came meanwhile.
                outcome.push(StaleRoutes::LongLived(family));
                continue;
            }
            let [restart, long_lived] = Self::times(family, offer, config);
            let mut kept = Kept {
                phase: StalePhase::Restarting,
                until: now + restart,
                at_last: now + config.stale_routes_time,
                long_lived,
            };
            if restart.is_zero() {
                kept.grow_old(now);
                outcome.push(StaleRoutes::LongLived(family));
            }
            *slot = Some(kept);
        }
        outcome
    }

    /// The session is back. What becomes of the routes that were kept.
    pub(super) fn back(&mut self, offer: &PeerRestart) -> Vec<StaleRoutes> {
        let mut outcome = Vec::new();
        for family in Family::ALL {
            let slot = &mut self.kept[family.index()];
            let Some(kept) = slot else { continue };
            let long_lived = kept.phase == StalePhase::LongLived;
            let forwarding = if long_lived && !offer.long_lived[family.index()].is_zero() {
                offer.long_lived_forwarding
            } else {
                offer.forwarding
            };
            if !forwarding.contains(family) {
                *slot = None;
                outcome.push(StaleRoutes::Drop(family));
            } else if !long_lived {
                kept.phase = StalePhase::Syncing;
                kept.until = kept.at_last;
            }
        }
        outcome
    }

    /// End-of-RIB: what has not come again will not.
    pub(super) fn end_of_rib(&mut self, family: Family) -> Option<StaleRoutes> {
        self.kept[family.index()].take().map(|_| StaleRoutes::Drop(family))
    }

    /// Gives up everything.
    pub(super) fn give_up(&mut self) -> Vec<StaleRoutes> {
        Family::ALL.into_iter().filter_map(|family| self.end_of_rib(family)).collect()
    }

    /// Serves what is due.
    pub(super) fn timers(&mut self, now: Instant) -> Vec<StaleRoutes> {
        let mut outcome = Vec::new();
        for family in Family::ALL {
            let slot = &mut self.kept[family.index()];
            let Some(kept) = slot.as_mut().filter(|kept| kept.until <= now) else { continue };
            if kept.phase == StalePhase::Restarting && !kept.long_lived.is_zero() {
                kept.grow_old(now);
                outcome.push(StaleRoutes::LongLived(family));
            } else {
                *slot = None;
                outcome.push(StaleRoutes::Drop(family));
            }
        }
        outcome
    }

    pub(super) fn next_timer(&self) -> Option<Instant> {
        self.kept.iter().flatten().map(|kept| kept.until).min()
    }

    /// How stale routes of a family are kept, and until when.
    pub(super) fn phase(&self, family: Family) -> Option<(StalePhase, Instant)> {
        self.kept[family.index()].map(|kept| (kept.phase, kept.until))
    }
}

impl Kept {
    fn grow_old(&mut self, now: Instant) {
        self.phase = StalePhase::LongLived;
        self.until = now + self.long_lived;
    }
}
