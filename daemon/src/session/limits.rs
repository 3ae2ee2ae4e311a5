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

/// The limits of one session.
pub(super) struct Limits {
    all: Vec<Watched>,
    /// Woken by whichever gauge has something to tell.
    alarm: Arc<Notify>,
}

impl Limits {
    /// New gauges for a session.
    pub(super) fn new(limits: &PrefixLimits) -> Self {
        let alarm = Arc::new(Notify::new());
        let mut all = Vec::new();
        let directions: [(&str, &FamilyLimits); 3] = [
            ("received", &limits.received),
            ("accepted", &limits.accepted),
            ("advertised", &limits.advertised),
        ];
        for (what, limits) in directions {
            for (family, limit) in Family::ALL.into_iter().zip(limits) {
                let Some(limit) = *limit else { continue };
                let refuses = limit.action != LimitAction::Warn;
                let wake = Arc::clone(&alarm);
                let gauge =
                    PrefixGauge::new(limit.limit, limit.warning_count(), refuses, move || wake.notify_one());
                all.push(Watched { family, what, limit, gauge: Arc::new(gauge) });
            }
        }
        Self { all, alarm }
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
    pub(super) fn serve(&self, neighbor: Zoned) -> Option<StopReason> {
        let mut stop = None;
        for Watched { family, what, limit, gauge } in &self.all {
            let news = gauge.take_news();
            let PrefixLimit { limit: most, action, .. } = *limit;
            if news.exceeded {
                tracing::warn!(%neighbor, %family, limit = most, %action, "more prefixes {what} than the limit");
                let restart_after = match action {
                    LimitAction::Shutdown => None,
                    LimitAction::Restart(after) => Some(after),
                    LimitAction::Warn | LimitAction::DropExcess => continue,
                };
                stop.get_or_insert(StopReason::MaxPrefixes { family: *family, limit: most, restart_after });
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
