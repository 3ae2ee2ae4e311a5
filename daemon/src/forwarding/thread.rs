//! The FIB thread: takes what comes in, and flushes once for each batch of it.
//!
//! The network's state and doubts go before routes: a link that went down is in the tables after one batch,
//! however many routes wait. Questions are answered between batches.

use tokio::sync::{mpsc, watch};

use super::RibBatch;
use super::failover::Doubt;
use super::forwarder::Forwarder;
use super::plane::Plane;
use super::query::Query;
use crate::netlink::NetEvent;

pub(super) struct Inputs {
    pub(super) net: mpsc::Receiver<Vec<NetEvent>>,
    pub(super) doubts: mpsc::UnboundedReceiver<Doubt>,
    pub(super) queries: mpsc::Receiver<Query>,
    pub(super) rib: mpsc::Receiver<RibBatch>,
    pub(super) stop: watch::Receiver<bool>,
}

/// Runs until told to stop, or until nobody is left who could tell. Then the program is detached.
pub(super) async fn run<P: Plane>(mut forwarder: Forwarder<P>, mut inputs: Inputs) {
    while next(&mut forwarder, &mut inputs).await {
        while let Ok(events) = inputs.net.try_recv() {
            forwarder.net_all(events);
        }
        while let Ok(doubt) = inputs.doubts.try_recv() {
            forwarder.doubts.note(doubt);
        }
        forwarder.flush(true);
    }
    forwarder.stop();
}

/// Waits for one input and takes it; false when it is time to stop.
async fn next<P: Plane>(forwarder: &mut Forwarder<P>, inputs: &mut Inputs) -> bool {
    let wake = forwarder.wake_at();
    let alarm = async {
        match wake {
            Some(at) => tokio::time::sleep_until(at.into()).await,
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        biased;
        _ = inputs.stop.wait_for(|stop| *stop) => return false,
        events = inputs.net.recv() => match events {
            Some(events) => forwarder.net_all(events),
            // Without news of the network the tables would turn into lies.
            None => return false,
        },
        Some(doubt) = inputs.doubts.recv() => forwarder.doubts.note(doubt),
        Some(query) = inputs.queries.recv() => forwarder.answer(query),
        Some(batch) = inputs.rib.recv() => take(forwarder, batch),
        () = alarm => {}
    }
    true
}

fn take<P: Plane>(forwarder: &mut Forwarder<P>, batch: RibBatch) {
    if let Some(id) = batch.id {
        forwarder.batch(id);
    }
    for interest in &batch.next_hops {
        forwarder.track(interest.addr, interest.added);
    }
    if !batch.routes.is_empty() || !batch.arrivals.is_empty() {
        forwarder.routes(batch.routes, batch.arrivals);
    }
    for addr in batch.settled {
        forwarder.doubts.note(Doubt { addr, raised: false });
    }
}
