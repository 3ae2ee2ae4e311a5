//! The RIB threads: the owners of the routing information base, one shard of the prefixes each.
//!
//! ```text
//!   session --UPDATEs--> every shard --best paths--> FIB thread
//!      ^                     |  ^                        |
//!      +------- routes ------+  +------- news -----------+
//! ```
//!
//! Neighbours are told of a best path when the FIB thread has said that it is in the tables, unless
//! `[fib] advertise` says otherwise (see [`bgp::rib::Announce`]).
//!
//! Sessions send their UPDATEs to all shards ([`RibHandle::send`]): the bytes once, shared, and each shard
//! takes the prefixes that are its own ([`bgp::rib::ShardSpec`]). Best-path changes go to the FIB thread in
//! batches, with the time at which the UPDATEs behind them arrived. Towards the neighbours nothing ever
//! waits: a neighbour whose queue is full is passed over and asked again when it has drained, and what
//! changed meanwhile is coalesced per prefix by the RIB.
//!
//! What is guaranteed whatever the number of shards: all of them see what a neighbour does in the same
//! order, so that everything about one prefix happens in order. Between prefixes there is no order.
//!
//! Questions (`show`, the API, metrics) are closures that run on these threads between two batches. Each
//! must look at a bounded part of the RIB; long answers come in pages.

mod handle;
pub(crate) mod origin;
#[cfg(test)]
mod tests;
mod worker;

use std::net::IpAddr;
use std::time::Instant;

use bgp::rib::out::{Batch, GroupConfig};
use bgp::rib::{Generation, PeerSession, Rules, ShardSpec};
use bgp::session::StaleRoutes;
use bgp::types::{Family, FamilySet, PeerId};
use bgp::wire::UpdateLayout;
use bytes::Bytes;
use ipnet::IpNet;
use tokio::sync::mpsc;

use crate::forwarding::{BatchId, NextHopSink};

pub(crate) use handle::{PeerNumbers, RibHandle, RibStopped};
pub(crate) use worker::{Outlets, start};

/// Batches of encoded UPDATEs of a shard that may wait for one session.
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
#[derive(Clone, Debug)]
pub(crate) struct PeerUp {
    pub(crate) session: PeerSession,
    pub(crate) export: GroupConfig,
    /// Where each shard's encoded UPDATEs go.
    pub(crate) updates: Vec<mpsc::Sender<Batch>>,
}

/// What the RIB is told, in order.
#[derive(Debug)]
pub(crate) enum Input {
    /// A session is up: its routes follow, and it wants ours.
    Up(Box<PeerUp>),
    /// Its session is down: its routes of these families are stale from now on (RFC 4724), the others void.
    Down(PeerId, FamilySet),
    /// What is to become of its stale routes.
    Stale(PeerId, StaleRoutes),
    /// Routes of a neighbour.
    Updates(PeerId, UpdateBatch),
    /// The neighbour asks for our routes again (RFC 2918).
    Refresh(PeerId, Family),
    /// Sessions stay up under other policies. It is one input for all of them, so that neighbours that are sent
    /// the same are so ever after.
    Reconfigure(Vec<(PeerSession, GroupConfig)>),
    /// Best routes are watched for other things.
    Watch(origin::Watch),
    /// Somebody wants to hear from each shard when it has nothing left to hand on, and how much it has handed on.
    Settle(mpsc::UnboundedSender<u64>),
}

/// How many shards a configuration asks for: by default as many as there are cores.
pub(crate) fn shards(config: &conf::Config) -> u16 {
    let cores = || std::thread::available_parallelism().map_or(1, |cores| cores.get() as u16);
    config.router.rib_threads.unwrap_or_else(cores)
}

/// The options of the decision that a configuration asks for.
pub(crate) fn rules(config: &conf::Config) -> Rules {
    let decision = &config.decision;
    let paths = |of_kind: Option<u8>| usize::from(of_kind.unwrap_or(decision.multipath));
    Rules {
        always_compare_med: decision.always_compare_med,
        multipath_external: paths(decision.multipath_ebgp),
        multipath_internal: paths(decision.multipath_ibgp),
        relax: decision.multipath_relax,
        link_bandwidth: decision.multipath_weights == conf::MultipathWeights::LinkBandwidth,
    }
}

/// News from the FIB thread.
#[derive(Clone, Copy, Debug)]
pub(crate) enum FibNews {
    /// A next hop can be reached at this interior cost, or cannot.
    NextHop { address: IpAddr, cost: Option<u32> },
    /// The route of a prefix is not in the tables, or is again; known after the batch of this generation.
    Route { prefix: IpNet, generation: Generation, installed: bool },
    /// The batch of this generation is in the tables, save for what was said of single routes before.
    Forwarded { generation: Generation },
}

/// Brings news from the FIB thread, which must never wait for a RIB thread: that one may be waiting for
/// it. The channels are unbounded for that reason; what is in them is bounded by next hops and routes that
/// change their state, and by the batches that a RIB thread sends before it listens.
pub(crate) struct NewsSink(Vec<ShardNews>);

struct ShardNews {
    sender: mpsc::UnboundedSender<FibNews>,
    /// Of the last batch of the shard that was taken.
    generation: Generation,
}

/// The way of news to each of some shards.
pub(crate) fn news(shards: u16) -> (NewsSink, Vec<mpsc::UnboundedReceiver<FibNews>>) {
    let (senders, inboxes): (Vec<_>, Vec<_>) = (0..shards).map(|_| mpsc::unbounded_channel()).unzip();
    let shard = |sender| ShardNews { sender, generation: Generation::default() };
    (NewsSink(senders.into_iter().map(shard).collect()), inboxes)
}

impl NextHopSink for NewsSink {
    fn next_hop(&mut self, address: IpAddr, cost: Option<u32>) {
        for shard in &self.0 {
            // The RIB thread may have ended already.
            let _ = shard.sender.send(FibNews::NextHop { address, cost });
        }
    }

    fn route_status(&mut self, prefix: IpNet, installed: bool) {
        let owner = ShardSpec::owner(self.0.len() as u16, &prefix);
        if let Some(shard) = self.0.get(usize::from(owner)) {
            let generation = shard.generation;
            let _ = shard.sender.send(FibNews::Route { prefix, generation, installed });
        }
    }

    fn batch_taken(&mut self, batch: BatchId) {
        if let Some(shard) = self.0.get_mut(usize::from(batch.shard)) {
            shard.generation = batch.generation;
        }
    }

    fn batch_done(&mut self, batch: BatchId) {
        if let Some(shard) = self.0.get(usize::from(batch.shard)) {
            let _ = shard.sender.send(FibNews::Forwarded { generation: batch.generation });
        }
    }
}
