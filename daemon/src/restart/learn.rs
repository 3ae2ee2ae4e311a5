//! How a run that follows another one learns: it waits for the neighbours, then until what they sent is in the new
//! tables.
//!
//! What a neighbour sent last may still be on its way through the RIB, wait for its next hop to be resolved, or
//! make another one reachable. So it is asked for in rounds: all shards take what waits and hand on what it changed, until
//! that is confirmed; the forwarding plane does what it was given, and says what it has to say of next hops. When
//! nothing was handed on in a whole round, there is nothing left.

use std::time::{Duration, Instant};

use super::Restart;
use crate::forwarding::{ForwardingHandle, ForwardingStopped, RibBatch};
use crate::routing::RibHandle;

/// Pause between rounds, for what goes other ways than by the RIB and the forwarding plane.
const PAUSE: Duration = Duration::from_millis(50);
/// Where routes never cease to change, it ends with those of this moment.
const MOST_SETTLING: Duration = Duration::from_secs(30);

/// Has routes learned again, if this run follows another one, and says when that is over.
pub(crate) async fn learn(restart: Restart, rib: RibHandle, forwarding: ForwardingHandle) {
    if restart.is_over() {
        return;
    }
    let start = Instant::now();
    tracing::info!(
        "an earlier run's forwarding goes on: nothing is announced before routes have been learned again (RFC 4724)"
    );
    if restart.heard().await {
        tracing::info!(seconds = start.elapsed().as_secs_f32(), "all neighbors have sent their routes again");
    } else {
        let missing = restart.status().map(|status| status.neighbors).unwrap_or_default();
        let missing: Vec<String> =
            missing.into_iter().map(|(address, _)| bgp::link::Zoned(address).to_string()).collect();
        tracing::warn!(
            seconds = start.elapsed().as_secs_f32(),
            missing = missing.join(", "),
            "the deferral time is over: going on without what is missing"
        );
    }
    match tokio::time::timeout(MOST_SETTLING, settle(&rib, &forwarding)).await {
        Ok(true) => {}
        Ok(false) => return,
        Err(_) => tracing::warn!("routes do not cease to change: going on with those that are here"),
    }
    restart.learned();
}

/// Returns when what was learned is in the tables; false: the daemon is stopping.
async fn settle(rib: &RibHandle, forwarding: &ForwardingHandle) -> bool {
    let mut before = None;
    loop {
        let Ok(handed_on) = rib.settle().await else { return false };
        if before == Some(handed_on) {
            return true;
        }
        before = Some(handed_on);
        if fence(forwarding).await.is_err() {
            return false;
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// Returns when the forwarding plane has done what it was given before.
async fn fence(forwarding: &ForwardingHandle) -> Result<(), ForwardingStopped> {
    let nothing = RibBatch {
        id: None,
        next_hops: Vec::new(),
        routes: Vec::new(),
        arrivals: Vec::new(),
        settled: Vec::new(),
    };
    forwarding.room().await?.send(nothing);
    // There is room for one: it has been taken, and so all before it has been done.
    forwarding.room().await.map(drop)
}
