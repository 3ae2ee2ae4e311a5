//! Limits on the prefixes of a peer: how many it may announce, how many may pass policy, how many it is told.
//!
//! A [`PrefixGauge`] counts for one session and family, and is shared by all shards: the sum is exact at any
//! moment, and one that refuses what is beyond its limit never holds more. It raises an alarm when the
//! count reaches the warning, and when it would pass the limit, once each until it has fallen below the
//! warning again: then whoever owns the session acts. Peers without limits cost nothing.
//!
//! Another limit is another gauge: each shard tells it how many there are already, and counts on with it.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU32, AtomicU64, Ordering};

use crate::types::{Family, PeerId};

use super::core::Plane;
use super::key::Bits;
use super::peers::Peer;
use super::{Rib, on_plane};

/// What a gauge has to tell.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LimitNews {
    /// The count has reached the warning.
    pub warned: bool,
    /// The count has passed the limit, or would have.
    pub exceeded: bool,
}

const WARNED: u8 = 1;
const EXCEEDED: u8 = 2;

/// Counts the prefixes of one session in one family against a limit.
pub struct PrefixGauge {
    limit: u32,
    warning: u32,
    refuses: bool,
    count: AtomicU32,
    refused: AtomicU64,
    /// What was told already.
    told: AtomicU8,
    /// What was not taken note of yet.
    news: AtomicU8,
    alarm: Box<dyn Fn() + Send + Sync>,
}

impl PrefixGauge {
    /// Counts up to `limit`; from `warning` on there is a first alarm. `refuses`: what is beyond the limit does
    /// not get in. The alarm runs on the thread of a shard and must not wait.
    pub fn new(limit: u32, warning: u32, refuses: bool, alarm: impl Fn() + Send + Sync + 'static) -> Self {
        Self {
            limit,
            warning: warning.min(limit),
            refuses,
            count: AtomicU32::new(0),
            refused: AtomicU64::new(0),
            told: AtomicU8::new(0),
            news: AtomicU8::new(0),
            alarm: Box::new(alarm),
        }
    }

    /// The limit.
    pub fn limit(&self) -> u32 {
        self.limit
    }

    /// How many prefixes count now.
    pub fn count(&self) -> u32 {
        self.count.load(Ordering::Relaxed)
    }

    /// How often a prefix was refused.
    pub fn refused(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }

    /// What happened since the last call.
    pub fn take_news(&self) -> LimitNews {
        let news = self.news.swap(0, Ordering::Relaxed);
        LimitNews { warned: news & WARNED != 0, exceeded: news & EXCEEDED != 0 }
    }

    /// One more prefix; whether it may come in.
    pub(crate) fn admit(&self) -> bool {
        let beyond = self.add(1);
        if beyond && self.refuses {
            self.count.fetch_sub(1, Ordering::Relaxed);
            self.refused.fetch_add(1, Ordering::Relaxed);
            return false;
        }
        true
    }

    /// So many prefixes count that are in already, whatever the limit says.
    fn take_over(&self, prefixes: u32) {
        if prefixes > 0 {
            self.add(prefixes);
        }
    }

    /// So many prefixes more; whether that is beyond the limit.
    fn add(&self, prefixes: u32) -> bool {
        let count = self.count.fetch_add(prefixes, Ordering::Relaxed) + prefixes;
        let beyond = count > self.limit;
        let mut reached = if count >= self.warning { WARNED } else { 0 };
        if beyond {
            reached |= EXCEEDED;
        }
        let before = if reached == 0 { 0 } else { self.told.fetch_or(reached, Ordering::Relaxed) };
        if reached & !before != 0 {
            self.news.fetch_or(reached & !before, Ordering::Relaxed);
            (self.alarm)();
        }
        beyond
    }

    /// So many prefixes less.
    pub(crate) fn release(&self, prefixes: u32) {
        let before = self.count.fetch_sub(prefixes, Ordering::Relaxed);
        if before.saturating_sub(prefixes) < self.warning {
            self.told.store(0, Ordering::Relaxed);
        }
    }
}

impl fmt::Debug for PrefixGauge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PrefixGauge")
            .field("limit", &self.limit)
            .field("count", &self.count)
            .finish_non_exhaustive()
    }
}

/// A gauge is equal to itself alone.
impl PartialEq for PrefixGauge {
    fn eq(&self, other: &Self) -> bool {
        std::ptr::eq(self, other)
    }
}

impl Eq for PrefixGauge {}

/// The limits on what a peer announces in one family.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ReceiveLimits {
    /// On what it announces, whatever policy says.
    pub received: Option<Arc<PrefixGauge>>,
    /// On what import accepts.
    pub accepted: Option<Arc<PrefixGauge>>,
}

impl Rib {
    /// A session goes on under other limits: the new gauges count what is there already. Whether routes are to be
    /// judged anew, since some may be accepted now that were not.
    pub(super) fn set_limits(&mut self, id: PeerId, limits: &[ReceiveLimits; Family::ALL.len()]) -> bool {
        let mut anew = false;
        for family in Family::ALL {
            let Some(peer) = self.core.peer(id.0) else { return false };
            let (old, new) = (&peer.session.limits[family.index()], &limits[family.index()]);
            if let Some(gauge) = new.received.as_ref().filter(|_| new.received != old.received) {
                let counts = peer.counts[family.index()];
                gauge.take_over((counts.received - counts.stale) as u32);
            }
            if new.accepted == old.accepted {
                continue;
            }
            anew = true;
            let present = match (&old.accepted, &new.accepted) {
                (_, None) => 0,
                (Some(_), Some(_)) => peer.accepted_present[family.index()],
                (None, Some(_)) => on_plane!(self, family, |plane| plane.accepted_of(peer)),
            };
            if let Some(gauge) = &new.accepted {
                gauge.take_over(present);
            }
            if let Some(peer) = self.core.peer_mut(id.0) {
                peer.accepted_present[family.index()] = present;
            }
        }
        if let Some(peer) = self.core.peer_mut(id.0) {
            peer.session.limits.clone_from(limits);
        }
        anew
    }
}

impl<K: Bits> Plane<K> {
    /// How many paths of a peer are of its present session and accepted; a pass over the table.
    fn accepted_of(&self, peer: &Peer) -> u32 {
        let (mut next, mut count) = (0, 0);
        while let Some(id) = self.table.next_live(next) {
            next = id + 1;
            let counts = |path: &&super::path::Path| {
                path.peer == peer.session.id.0 && path.accepted() && peer.owns(K::FAMILY, **path)
            };
            count += self.table.paths(id).iter().filter(counts).count() as u32;
        }
        count
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gauge(limit: u32, refuses: bool) -> (PrefixGauge, Arc<AtomicU32>) {
        let alarms = Arc::new(AtomicU32::new(0));
        let heard = Arc::clone(&alarms);
        let alarm = move || {
            heard.fetch_add(1, Ordering::Relaxed);
        };
        (PrefixGauge::new(limit, 3, refuses, alarm), alarms)
    }

    #[test]
    fn alarms_come_once_until_the_count_has_fallen_below_the_warning() {
        let (gauge, alarms) = gauge(4, true);
        assert!(gauge.admit() && gauge.admit());
        assert_eq!(gauge.take_news(), LimitNews::default());
        assert!(gauge.admit() && gauge.admit());
        assert_eq!(gauge.take_news(), LimitNews { warned: true, exceeded: false });
        assert!(!gauge.admit() && !gauge.admit());
        assert_eq!(gauge.take_news(), LimitNews { warned: false, exceeded: true });
        assert_eq!((gauge.count(), gauge.refused()), (4, 2));
        gauge.release(1);
        assert!(gauge.admit() && !gauge.admit());
        assert_eq!((gauge.take_news(), alarms.load(Ordering::Relaxed)), (LimitNews::default(), 2));
        gauge.release(2);
        assert!(gauge.admit());
        assert!(gauge.take_news().warned);
    }

    #[test]
    fn a_gauge_that_only_warns_lets_everything_in() {
        let (gauge, _) = gauge(4, false);
        assert!((0..10).all(|_| gauge.admit()));
        assert_eq!((gauge.count(), gauge.refused()), (10, 0));
        assert!(gauge.take_news().exceeded);
    }

    #[test]
    fn shards_together_never_let_more_in_than_the_limit() {
        let (gauge, _) = gauge(1000, true);
        let admitted: usize = std::thread::scope(|scope| {
            let shard = || (0..1000).filter(|_| gauge.admit()).count();
            let shards: Vec<_> = (0..4).map(|_| scope.spawn(shard)).collect();
            shards.into_iter().map(|shard| shard.join().unwrap()).sum()
        });
        assert_eq!((admitted, gauge.count(), gauge.refused()), (1000, 1000, 3000));
    }
}
