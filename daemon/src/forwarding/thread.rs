//! The FIB thread: takes what comes in, in bursts, and flushes once for each.
//!
//! The network's state goes before routes: a link that went down is in the tables within one burst,
//! however many routes wait. Questions are answered between bursts.

use std::time::Instant;

use bgp::rib::NextHopInterest;
use tokio::sync::{mpsc, watch};

use super::RouteChange;
use super::forwarder::Forwarder;
use super::plane::Plane;
use super::query::Query;
use crate::netlink::NetEvent;

/// Route changes taken in one burst: about as many as one commit writes in 20 ms.
const BURST: usize = 16_384;

/// What the RIB says, in its order.
pub(super) enum RibInput {
    /// Best paths changed; the oldest UPDATE behind them arrived then.
    Routes(Vec<RouteChange>, Instant),
    /// Next hops came into use or went out of it.
    Track(Vec<NextHopInterest>),
}

pub(super) struct Inputs {
    pub(super) net: mpsc::Receiver<Vec<NetEvent>>,
    pub(super) queries: mpsc::Receiver<Query>,
    pub(super) rib: mpsc::Receiver<RibInput>,
    pub(super) stop: watch::Receiver<bool>,
}

/// Runs until told to stop, or until nobody is left who could tell. Then the program is detached.
pub(super) async fn run<P: Plane>(mut forwarder: Forwarder<P>, mut inputs: Inputs) {
    while next(&mut forwarder, &mut inputs).await {
        let mut taken = 0;
        while taken < BURST {
            if let Ok(events) = inputs.net.try_recv() {
                forwarder.net_all(events);
            } else if let Ok(input) = inputs.rib.try_recv() {
                taken += take(&mut forwarder, input);
            } else {
                break;
            }
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
        Some(query) = inputs.queries.recv() => forwarder.answer(query),
        Some(input) = inputs.rib.recv() => {
            take(forwarder, input);
        }
        () = alarm => {}
    }
    true
}

/// Takes an input of the RIB; how much work it was.
fn take<P: Plane>(forwarder: &mut Forwarder<P>, input: RibInput) -> usize {
    match input {
        RibInput::Routes(changes, arrived) => {
            let count = changes.len();
            forwarder.routes(changes, arrived);
            count
        }
        RibInput::Track(interests) => {
            for interest in &interests {
                forwarder.track(interest.addr, interest.added);
            }
            interests.len()
        }
    }
}
