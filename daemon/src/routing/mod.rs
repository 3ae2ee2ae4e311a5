//! The RIB thread: the one owner of the routing information base.
//!
//! Sessions send it batches of UPDATEs over a bounded channel; when it is full, a session stops reading
//! its socket and TCP slows the neighbour down. Best-path changes go to the FIB thread in batches, each
//! with the time at which the oldest UPDATE in it arrived. Towards the neighbours nothing ever waits: a
//! neighbour whose queue is full is passed over and asked again when it has drained, and what changed
//! meanwhile is coalesced per prefix by the RIB.
//!
//! Questions (`show`, the API, metrics) are closures that run on this thread between two batches. Each
//! must look at a bounded part of the RIB; long answers come in pages.

mod worker;

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;

use bgp::rib::out::GroupConfig;
use bgp::rib::{PeerSession, Rib};
use bgp::types::{Family, PeerId};
use bgp::wire::UpdateLayout;
use bytes::Bytes;
use ipnet::IpNet;
use thiserror::Error;
use tokio::sync::{Notify, mpsc, oneshot};

use crate::forwarding::NextHopSink;

pub(crate) use worker::{Outlets, start};

/// Batches of UPDATEs that may wait for the RIB thread.
const INPUT_QUEUE: usize = 32;
/// Batches of encoded UPDATEs that may wait for one session.
pub(crate) const EXPORT_QUEUE: usize = 2;

/// UPDATEs of one neighbour: the bytes as received, and where in them each UPDATE lies.
#[derive(Debug)]
pub(crate) struct UpdateBatch {
    /// Whole messages, back to back.
    pub(crate) bytes: Bytes,
    /// For each UPDATE its first byte, the byte behind it, and its decoded layout.
    pub(crate) updates: Vec<(u32, u32, UpdateLayout)>,
    /// When the first of them was read off the socket.
    pub(crate) arrived: Instant,
}

/// A session that has come up.
pub(crate) struct PeerUp {
    pub(crate) session: PeerSession,
    pub(crate) export: GroupConfig,
    /// Where its encoded UPDATEs go.
    pub(crate) updates: mpsc::Sender<Vec<Bytes>>,
}

type Question = Box<dyn FnOnce(&mut Rib) + Send>;

/// What the RIB thread is told, in order.
pub(crate) enum Input {
    /// A session is up: its routes follow, and it wants ours.
    Up(Box<PeerUp>),
    /// Its session is down: its routes are void.
    Down(PeerId),
    /// Routes of a neighbour.
    Updates(PeerId, UpdateBatch),
    /// The neighbour asks for our routes again (RFC 2918).
    Refresh(PeerId, Family),
}

/// The RIB thread has ended; the daemon is stopping.
#[derive(Clone, Copy, Debug, Error)]
#[error("the routing table is not available: the daemon is stopping")]
pub(crate) struct RibStopped;

/// The way to the RIB thread. Cheap to clone.
#[derive(Clone)]
pub(crate) struct RibHandle {
    inputs: mpsc::Sender<Input>,
    questions: mpsc::Sender<Question>,
    drained: Arc<Notify>,
}

/// Room for one input in the RIB thread's queue.
pub(crate) struct Permit<'a>(mpsc::Permit<'a, Input>);

impl Permit<'_> {
    /// Sends; never waits.
    pub(crate) fn send(self, input: Input) {
        self.0.send(input);
    }
}

impl RibHandle {
    /// Waits for room for one input.
    pub(crate) async fn reserve(&self) -> Result<Permit<'_>, RibStopped> {
        self.inputs.reserve().await.map(Permit).map_err(|_| RibStopped)
    }

    /// A session took a batch off its queue: there is room for the next.
    pub(crate) fn drained(&self) {
        self.drained.notify_one();
    }

    /// Runs a question on the RIB thread; it must be short (see the module's head).
    pub(crate) async fn ask<T: Send + 'static>(
        &self,
        question: impl FnOnce(&mut Rib) -> T + Send + 'static,
    ) -> Result<T, RibStopped> {
        let (reply, answer) = oneshot::channel();
        let question: Question = Box::new(move |rib| {
            // The asker may have gone away; then nobody needs the answer.
            let _ = reply.send(question(rib));
        });
        self.questions.send(question).await.map_err(|_| RibStopped)?;
        answer.await.map_err(|_| RibStopped)
    }
}

/// News from the FIB thread.
#[derive(Clone, Copy, Debug)]
pub(crate) enum FibNews {
    /// A next hop can be reached, or cannot.
    NextHop { address: IpAddr, reachable: bool },
    /// The route of a prefix is in the tables, or did not fit.
    Route { prefix: IpNet, installed: bool },
}

/// Brings news from the FIB thread, which must never wait for the RIB thread: that one may be waiting for
/// it. The channel is unbounded for that reason; what is in it is bounded by next hops and routes that
/// change their state.
pub(crate) struct NewsSink(pub(crate) mpsc::UnboundedSender<FibNews>);

impl NextHopSink for NewsSink {
    fn next_hop(&mut self, address: IpAddr, reachable: bool) {
        // The RIB thread may have ended already.
        let _ = self.0.send(FibNews::NextHop { address, reachable });
    }

    fn route_status(&mut self, prefix: IpNet, installed: bool) {
        let _ = self.0.send(FibNews::Route { prefix, installed });
    }
}
