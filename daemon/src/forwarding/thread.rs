//! The FIB thread: takes what comes in, and flushes once for each batch of it.
//!
//! The network's state and doubts go before routes: a link that went down is in the tables after one batch,
//! however many routes wait. Questions are answered between batches.

use tokio::sync::{mpsc, oneshot, watch};

use super::failover::Doubt;
use super::forwarder::Forwarder;
use super::plane::Plane;
use super::query::Query;
use super::{Farewell, RibBatch};
use crate::netlink::NetEvent;

pub(super) struct Inputs {
    pub(super) net: mpsc::Receiver<Vec<NetEvent>>,
    pub(super) doubts: mpsc::UnboundedReceiver<Doubt>,
    pub(super) queries: mpsc::Receiver<Query>,
    pub(super) rib: mpsc::Receiver<RibBatch>,
    /// Whoever says that packets are to go by the tables from now on, and wants to hear that they do.
    pub(super) live: mpsc::Receiver<oneshot::Sender<()>>,
    pub(super) stop: watch::Receiver<Option<Farewell>>,
}

/// Runs until told to stop, or until nobody is left who could tell. Then what is attached goes with the thread, unless
/// it was to be kept; told so, all of it goes.
pub(super) async fn run<P: Plane>(mut forwarder: Forwarder<P>, mut inputs: Inputs) {
    forwarder.begin();
    while next(&mut forwarder, &mut inputs).await {
        while let Ok(events) = inputs.net.try_recv() {
            forwarder.net_all(events);
        }
        while let Ok(doubt) = inputs.doubts.try_recv() {
            forwarder.doubts.note(doubt);
        }
        forwarder.flush(true);
    }
    if *inputs.stop.borrow() == Some(Farewell::Remove) {
        forwarder.stop();
    }
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
        _ = inputs.stop.wait_for(Option::is_some) => return false,
        events = inputs.net.recv() => match events {
            Some(events) => forwarder.net_all(events),
            // Without news of the network the tables would turn into lies.
            None => return false,
        },
        Some(doubt) = inputs.doubts.recv() => forwarder.doubts.note(doubt),
        Some(query) = inputs.queries.recv() => forwarder.answer(query),
        Some(batch) = inputs.rib.recv() => take(forwarder, batch),
        Some(reply) = inputs.live.recv() => {
            forwarder.go_live();
            // The asker may have gone away.
            let _ = reply.send(());
        }
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
