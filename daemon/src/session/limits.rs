//! The limits on a neighbour's prefixes during one session: gauges that the shards count with, and what to do
//! when one of them raises its alarm.

use std::sync::Arc;

use bgp::link::Zoned;
use bgp::rib::{PrefixGauge, ReceiveLimits};
use bgp::session::StopReason;
use bgp::types::Family;
use conf::{FamilyLimits, LimitAction, PrefixLimit, PrefixLimits};
use tokio::sync::Notify;

use crate::api::types::LimitInfo;

/// One limit that counts.
struct Watched {
    family: Family,
    /// What is counted, in a word.
    what: &'static str,
    limit: PrefixLimit,
    gauge: Arc<PrefixGauge>,
}

/// A limit that ends the session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Exceeded {
    what: &'static str,
    family: Family,
    limit: PrefixLimit,
}

impl Exceeded {
    /// How the session is to end.
    pub(super) fn reason(&self) -> StopReason {
        let restart_after = match self.limit.action {
            LimitAction::Restart(after) => Some(after),
            LimitAction::Shutdown | LimitAction::Warn | LimitAction::DropExcess => None,
        };
        StopReason::MaxPrefixes { family: self.family, limit: self.limit.limit, restart_after }
    }

    /// Whether other limits let more in, or let the session come back by itself.
    pub(super) fn is_lifted(&self, limits: &PrefixLimits) -> bool {
        let of_kind = directions(limits).into_iter().find(|(what, _)| *what == self.what);
        let limit = of_kind.and_then(|(_, limits)| limits[self.family.index()]);
        limit.is_none_or(|limit| {
            limit.limit > self.limit.limit
                || !ends_session(limit.action)
                || (self.limit.action == LimitAction::Shutdown && limit.action != LimitAction::Shutdown)
        })
    }
}

fn ends_session(action: LimitAction) -> bool {
    matches!(action, LimitAction::Shutdown | LimitAction::Restart(_))
}

/// What is counted, in a word, with its limits.
fn directions(limits: &PrefixLimits) -> [(&'static str, &FamilyLimits); 3] {
    [("received", &limits.received), ("accepted", &limits.accepted), ("advertised", &limits.advertised)]
}

/// The limits of one session.
pub(super) struct Limits {
    all: Vec<Watched>,
    /// Woken by whichever gauge has something to tell.
    alarm: Arc<Notify>,
}

impl Limits {
    /// New gauges for a session.
    pub(super) fn new(limits: &PrefixLimits) -> Self {
        let mut new = Self { all: Vec::new(), alarm: Arc::new(Notify::new()) };
        new.change(limits);
        new
    }

    /// The session goes on under other limits; those that stay as they are keep their gauges.
    pub(super) fn change(&mut self, limits: &PrefixLimits) {
        let mut before = std::mem::take(&mut self.all);
        for (what, limits) in directions(limits) {
            for (family, limit) in Family::ALL.into_iter().zip(limits) {
                let Some(limit) = *limit else { continue };
                let same = |old: &Watched| (old.what, old.family, old.limit) == (what, family, limit);
                let watched = match before.iter().position(same) {
                    Some(index) => before.swap_remove(index),
                    None => self.watch(what, family, limit),
                };
                self.all.push(watched);
            }
        }
    }

    fn watch(&self, what: &'static str, family: Family, limit: PrefixLimit) -> Watched {
        let refuses = limit.action != LimitAction::Warn;
        let wake = Arc::clone(&self.alarm);
        let gauge = PrefixGauge::new(limit.limit, limit.warning_count(), refuses, move || wake.notify_one());
        Watched { family, what, limit, gauge: Arc::new(gauge) }
    }

    fn gauge(&self, what: &str, family: Family) -> Option<Arc<PrefixGauge>> {
        let found = self.all.iter().find(|watched| watched.what == what && watched.family == family)?;
        Some(Arc::clone(&found.gauge))
    }

    /// For what the neighbour announces.
    pub(super) fn receive(&self) -> [ReceiveLimits; Family::ALL.len()] {
        Family::ALL.map(|family| ReceiveLimits {
            received: self.gauge("received", family),
            accepted: self.gauge("accepted", family),
        })
    }

    /// For what it is told.
    pub(super) fn advertise(&self) -> [Option<Arc<PrefixGauge>>; Family::ALL.len()] {
        Family::ALL.map(|family| self.gauge("advertised", family))
    }

    /// Waits until one of them has something to tell.
    pub(super) async fn alarmed(&self) {
        self.alarm.notified().await;
    }

    /// Logs what the gauges have to tell; whether the session is to end for it.
    pub(super) fn serve(&self, neighbor: Zoned) -> Option<Exceeded> {
        let mut stop = None;
        for Watched { family, what, limit, gauge } in &self.all {
            let news = gauge.take_news();
            let PrefixLimit { limit: most, action, .. } = *limit;
            if news.exceeded {
                tracing::warn!(%neighbor, %family, limit = most, %action, "more prefixes {what} than the limit");
                if ends_session(action) {
                    stop.get_or_insert(Exceeded { what, family: *family, limit: *limit });
                }
            } else if news.warned {
                let count = gauge.count();
                tracing::warn!(%neighbor, %family, count, limit = most, "prefixes {what} approach the limit");
            }
        }
        stop
    }

    /// How things are.
    pub(super) fn report(&self) -> Vec<LimitInfo> {
        let info = |Watched { family, what, limit, gauge }: &Watched| LimitInfo {
            family: family.as_str().to_owned(),
            what: (*what).to_owned(),
            limit: limit.limit,
            warning: limit.warning_count(),
            action: limit.action.to_string(),
            count: gauge.count(),
            refused: gauge.refused(),
        };
        self.all.iter().map(info).collect()
    }
}
