//! The loop of a RIB thread.
//!
//! Each turn takes what has come in (up to a limit), goes on with long work, hands best-path changes on,
//! and fills the queues of those neighbours that have room. It sleeps only when there is none of that.

use std::io;
use std::net::IpAddr;

use bgp::link::Zoned;
use bgp::rib::out::Batch;
use bgp::rib::{Announce, BestChange, Forwarding, NextHopInterest, NextHopState, Rib, RibConfig, ShardSpec};
use bgp::session::StaleRoutes;
use bgp::types::PeerId;
use bgp::wire::Update;
use serde_json::json;
use tokio::sync::mpsc;

use super::handle::{Delivery, Inbox, ShardInput};
use super::origin::{self, OriginSink, ShardWatch};
use super::{FibNews, PeerUp, RibHandle, UpdateBatch};
use crate::forwarding::{
    Arrival, BatchId, Doubt, ForwardingHandle, RibBatch, Room, RouteChange, RouteTarget,
};
use crate::monitor::{Monitor, unix_time};
use crate::restart::Restart;

/// Inputs taken in one turn.
const TURN_INPUTS: usize = 16;
/// Prefixes looked at in one turn for work that is spread out.
const TURN_WORK: usize = 20_000;
/// Best-path changes in one message to the FIB thread: what fits into the cache on its way there.
const CHANGES_AT_ONCE: usize = 4096;
/// Prefixes whose backups are told in one message: few, as changes may come meanwhile.
const BACKUPS_AT_ONCE: usize = 4096;
/// Batches of UPDATEs whose age is kept apart while their changes wait.
const MOST_ARRIVALS: usize = 4096;
/// Octets of encoded UPDATEs in one message to a session, at most; of many shards each sends less.
const EXPORT_BYTES: usize = 64 * 1024;

/// Where the results of the RIB threads go, and where they hear of next hops.
pub(crate) struct Outlets {
    /// Absent in a pure control plane: then every next hop counts as reachable.
    pub(crate) forwarding: Option<ForwardingHandle>,
    pub(crate) monitor: Monitor,
    /// News for each shard; there are as many shards as these.
    pub(crate) news: Vec<mpsc::UnboundedReceiver<FibNews>>,
    /// What is seen of watched routes.
    pub(crate) origins: OriginSink,
    /// Neighbours are told nothing before it is live.
    pub(crate) restart: Restart,
}

/// Starts the threads. They end when every handle is gone.
pub(crate) fn start(config: &conf::Config, outlets: Outlets) -> io::Result<RibHandle> {
    let Outlets { forwarding, monitor, news, origins, restart } = outlets;
    let count = news.len() as u16;
    let (handle, inboxes) = RibHandle::new(count);
    for ((index, news), inbox) in (0..count).zip(news).zip(inboxes) {
        let shard = ShardSpec { index, count };
        let worker = Worker {
            rib: new_rib(config, shard, forwarding.is_some()),
            shard,
            watch: ShardWatch::new(index.into(), config, origins.clone()),
            inbox,
            monitor: monitor.clone(),
            news,
            receivers: Vec::new(),
            arrivals: Vec::new(),
            changes: Vec::new(),
            interests: Vec::new(),
            departing: Vec::new(),
            restart: restart.clone(),
            handed_on: 0,
            settling: Vec::new(),
        };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build()?;
        let forwarding = forwarding.clone();
        std::thread::Builder::new()
            .name(format!("rib-{index}"))
            .spawn(move || runtime.block_on(worker.run(forwarding.as_ref())))?;
    }
    Ok(handle)
}

fn new_rib(config: &conf::Config, shard: ShardSpec, forwards: bool) -> Rib {
    let mut settings = RibConfig::new(config.router.asn, config.router.router_id);
    settings.rules = super::rules(config);
    settings.confederation = config.router.confederation.as_ref().map(|all| all.identifier);
    settings.cluster_id = config.router.cluster_id();
    settings.assume_reachable = !forwards;
    settings.announce = match config.fib.advertise {
        _ if !forwards => Announce::Unconfirmed,
        conf::Advertise::AtOnce => Announce::AtOnce,
        conf::Advertise::Installed => Announce::Installed,
    };
    settings.backups = forwards && config.fib.backups;
    settings.shard = shard;
    let mut rib = Rib::new(settings);
    // Each shard takes those that are its own.
    for (prefix, route) in origin::networks(config) {
        rib.originate_with(prefix, route.attributes, route.anchor);
    }
    rib
}

/// A session that takes our routes.
struct Receiver {
    peer: PeerId,
    updates: mpsc::Sender<Batch>,
    /// Routes that no message can carry to it, as last said.
    unsendable: u64,
}

struct Worker {
    rib: Rib,
    shard: ShardSpec,
    watch: ShardWatch,
    inbox: Inbox,
    monitor: Monitor,
    news: mpsc::UnboundedReceiver<FibNews>,
    receivers: Vec<Receiver>,
    /// UPDATEs whose changes have not all been handed on, the oldest first.
    arrivals: Vec<Arrival>,
    changes: Vec<BestChange>,
    /// Next hops that the forwarding plane has not been told of.
    interests: Vec<NextHopInterest>,
    /// Neighbours whose sessions have gone and whose routes are being removed.
    departing: Vec<IpAddr>,
    restart: Restart,
    /// Batches given to the forwarding plane.
    handed_on: u64,
    /// Who wants to hear when there is nothing left to hand on.
    settling: Vec<mpsc::UnboundedSender<u64>>,
}

/// Nobody can ask for anything any more.
struct Ended;

impl Worker {
    async fn run(mut self, forwarding: Option<&ForwardingHandle>) {
        loop {
            if !self.rib.has_work() && !self.back_up(forwarding) {
                match self.wait(forwarding).await {
                    // Used at once: let go, it would be that of another shard which waits for it too.
                    Ok(Some(room)) => self.hand_on(forwarding, Some(room)),
                    Ok(None) => {}
                    Err(Ended) => return,
                }
            }
            self.take_waiting(forwarding);
            self.rib.work(TURN_WORK);
            self.hand_on(forwarding, None);
            self.say_settled();
            self.fill_queues();
        }
    }

    /// Sleeps until there is something to do; with room for changes where that is what was waited for.
    async fn wait<'f>(
        &mut self,
        forwarding: Option<&'f ForwardingHandle>,
    ) -> Result<Option<Room<'f>>, Ended> {
        let to_hand_on = self.has_to_hand_on() || self.has_to_back_up();
        let room = async {
            match forwarding {
                Some(forwarding) => forwarding.room().await.ok(),
                None => std::future::pending().await,
            }
        };
        // Not biased: questions without end must not keep routes waiting, nor the other way round.
        tokio::select! {
            question = self.inbox.questions.recv() => question.ok_or(Ended)?(&mut self.rib),
            news = self.news.recv(), if !self.news.is_closed() => {
                if let Some(news) = news {
                    self.take_news(news);
                }
            }
            delivery = self.inbox.inputs.recv() => self.input(&delivery.ok_or(Ended)?, forwarding),
            () = self.inbox.drained.notified() => {}
            () = self.restart.went_live(), if !self.restart.is_live() => {}
            room = room, if to_hand_on => return Ok(room),
        }
        Ok(None)
    }

    /// Takes what is there, in turns, without waiting.
    fn take_waiting(&mut self, forwarding: Option<&ForwardingHandle>) {
        if let Ok(question) = self.inbox.questions.try_recv() {
            question(&mut self.rib);
        }
        while let Ok(news) = self.news.try_recv() {
            self.take_news(news);
        }
        for _ in 0..TURN_INPUTS {
            let Ok(delivery) = self.inbox.inputs.try_recv() else { break };
            self.input(&delivery, forwarding);
        }
    }

    fn take_news(&mut self, news: FibNews) {
        match news {
            FibNews::NextHop { address, cost } => {
                let state = cost.map_or(NextHopState::Unreachable, |cost| NextHopState::Reachable { cost });
                self.rib.next_hop_changed(address, state);
            }
            FibNews::Route { prefix, generation, installed } => {
                self.rib.forwarding_status(prefix, generation, installed);
            }
            FibNews::Forwarded { generation } => self.rib.forwarded(generation),
        }
    }

    fn input(&mut self, delivery: &Delivery, forwarding: Option<&ForwardingHandle>) {
        match &delivery.input {
            ShardInput::Up(up) => {
                let PeerUp { session, export, updates } = &**up;
                let peer = session.id;
                self.rib.peer_up(session.clone());
                self.rib.export_up(peer, export.clone());
                self.receivers.retain(|receiver| receiver.peer != peer);
                // A session has a queue for each shard.
                let updates = updates.get(usize::from(self.shard.index)).cloned();
                self.receivers.extend(updates.map(|updates| Receiver { peer, updates, unsendable: 0 }));
            }
            ShardInput::Down(peer, kept) => {
                self.receivers.retain(|receiver| receiver.peer != *peer);
                if let (Some(forwarding), Some(addr), true) =
                    (forwarding, self.rib.address(*peer), kept.is_empty())
                {
                    forwarding.doubt(Doubt { addr, raised: true });
                    self.departing.push(addr);
                }
                self.rib.peer_lost(*peer, *kept);
            }
            ShardInput::Stale(peer, StaleRoutes::Mark(family)) => self.rib.mark_stale(*peer, *family),
            ShardInput::Stale(peer, StaleRoutes::Drop(family)) => self.rib.drop_stale(*peer, *family),
            ShardInput::Stale(peer, StaleRoutes::LongLived(family)) => self.rib.age_stale(*peer, *family),
            ShardInput::Updates(peer, batch) => self.updates(*peer, batch),
            ShardInput::Refresh(peer, family) => {
                // Without export there is nothing to send again.
                self.rib.refresh(*peer, *family);
            }
            ShardInput::Reconfigure(peers) => self.rib.reconfigure(peers),
            ShardInput::Watch(watch) => self.watch.replace(watch, &self.rib),
            ShardInput::Settle(reply) => self.settling.push(reply.clone()),
        }
    }

    fn updates(&mut self, peer: PeerId, batch: &UpdateBatch) {
        // The session cut the batch: the ranges lie within its bytes.
        let updates = batch.updates.iter().filter_map(|&(start, end, layout)| {
            let frame = batch.bytes.get(start as usize..end as usize)?;
            Some(Update::from_layout(frame, layout))
        });
        let updates = self.rib.updates(peer, updates);
        if self.arrivals.len() < MOST_ARRIVALS {
            self.arrivals.push(Arrival { at: batch.arrived, updates });
        } else if let Some(last) = self.arrivals.last_mut() {
            last.updates += updates;
        }
    }

    /// Hands on what changed, as far as there is room. What finds none stays in the RIB, where the
    /// changes of a prefix become one: so a busy forwarding plane gets fewer and larger batches, and
    /// nobody waits for it.
    fn hand_on(&mut self, forwarding: Option<&ForwardingHandle>, mut reserved: Option<Room<'_>>) {
        self.interests.extend(self.rib.drain_next_hops());
        while self.has_to_hand_on() {
            let room = match reserved.take() {
                Some(room) => Some(room),
                None => match forwarding.map(ForwardingHandle::try_room) {
                    Some(Ok(Some(room))) => Some(room),
                    Some(Ok(None)) => return,
                    // No forwarding plane, or not any more: only monitors want to know.
                    Some(Err(_)) | None => None,
                },
            };
            self.changes.clear();
            let generation = self.rib.drain_changes(CHANGES_AT_ONCE, &mut self.changes);
            self.watch.observe(&self.changes, &self.rib);
            if self.monitor.routes.is_followed() {
                self.publish();
            }
            let next_hops = std::mem::take(&mut self.interests);
            let settled = if self.has_removed() { std::mem::take(&mut self.departing) } else { Vec::new() };
            if room.is_none()
                && let Some(generation) = generation
            {
                // It has ended, and so will the daemon.
                self.rib.forwarded(generation);
            }
            if let Some(room) = room {
                self.handed_on += 1;
                room.send(RibBatch {
                    id: generation.map(|generation| BatchId { shard: self.shard.index, generation }),
                    next_hops,
                    routes: self.changes.drain(..).map(route_change).collect(),
                    arrivals: if self.rib.pending_changes() == 0 {
                        std::mem::take(&mut self.arrivals)
                    } else {
                        Vec::new()
                    },
                    settled,
                });
            }
        }
        if self.rib.pending_changes() == 0 {
            // What is left changed no best path.
            self.arrivals.clear();
        }
    }

    /// Whoever wants to hear it is told when all that came in has had its effect, and is confirmed.
    fn say_settled(&mut self) {
        let is_busy = self.rib.has_work()
            || self.rib.pending_changes() > 0
            || self.rib.has_unconfirmed()
            || self.has_to_hand_on();
        if !is_busy {
            for reply in self.settling.drain(..) {
                // They may have gone away.
                let _ = reply.send(self.handed_on);
            }
        }
    }

    /// Tells the forwarding plane of backups while there is nothing else to do; whether it did.
    fn back_up(&mut self, forwarding: Option<&ForwardingHandle>) -> bool {
        if !self.has_to_back_up() || !self.inbox.inputs.is_empty() {
            return false;
        }
        let room = match forwarding.map(ForwardingHandle::try_room) {
            Some(Ok(Some(room))) => Some(room),
            Some(Ok(None)) => return false,
            // It has ended: nobody will ask for backups.
            Some(Err(_)) | None => None,
        };
        self.changes.clear();
        self.rib.drain_backups(BACKUPS_AT_ONCE, &mut self.changes);
        if let Some(room) = room {
            room.send(RibBatch {
                id: None,
                next_hops: std::mem::take(&mut self.interests),
                routes: self.changes.drain(..).map(route_change).collect(),
                arrivals: Vec::new(),
                settled: Vec::new(),
            });
        }
        true
    }

    /// Whether there are backups to tell, and no changes that go before them.
    fn has_to_back_up(&self) -> bool {
        self.rib.has_pending_backups() && self.rib.pending_changes() == 0
    }

    /// Whether routes of neighbours that have gone have been removed, and their changes handed on.
    fn has_removed(&self) -> bool {
        !self.departing.is_empty() && !self.rib.has_work() && self.rib.pending_changes() == 0
    }

    fn has_to_hand_on(&self) -> bool {
        !self.interests.is_empty() || self.rib.can_drain() || self.has_removed()
    }

    fn publish(&self) {
        let time = unix_time();
        for change in &self.changes {
            let best = change.best.as_ref().map(|best| {
                let attributes = self.rib.attributes(best.attr);
                json!({
                    "neighbor": self.rib.address(best.peer).map(Zoned),
                    "next_hop": attributes.as_ref().map(|attributes| Zoned(attributes.next_hop.addr)),
                    "as_path": attributes.as_ref().map(|attributes| attributes.as_path.to_string()),
                })
            });
            self.monitor.routes.publish(&json!({
                "time": time,
                "prefix": change.prefix,
                "best": best,
            }));
        }
    }

    /// Gives each neighbour that has room its next batch of UPDATEs. Not while packets go by the tables of an earlier
    /// run: nobody is told of a route or of an end before those have been replaced (RFC 4724 section 4.1). What
    /// changes meanwhile waits in the RIB, where the changes of a prefix are one.
    fn fill_queues(&mut self) {
        if !self.restart.is_live() {
            return;
        }
        let Self { rib, receivers, shard, .. } = self;
        let octets = (2 * EXPORT_BYTES / usize::from(shard.count)).clamp(EXPORT_BYTES / 8, EXPORT_BYTES);
        for receiver in receivers.iter_mut() {
            while let Ok(permit) = receiver.updates.try_reserve() {
                let mut batches = std::iter::from_fn(|| rib.next_batch(receiver.peer, octets));
                match batches.find(|batch| !batch.is_empty()) {
                    Some(batch) => permit.send(batch),
                    None => break,
                }
            }
            let unsendable = rib.unsendable(receiver.peer);
            // Often enough to be seen, not for each route of many.
            if unsendable > 0 && unsendable >= 2 * receiver.unsendable {
                receiver.unsendable = unsendable;
                let neighbor = rib.address(receiver.peer);
                tracing::warn!(
                    neighbor = neighbor.map(tracing::field::display),
                    routes = unsendable,
                    "routes withdrawn that no message can carry: attributes too large, or a next hop of the wrong family"
                );
            }
        }
    }
}

/// What the forwarding plane needs of a change. A prefix originated here is ours: what nothing more specific
/// takes of it goes nowhere else.
fn route_change(change: BestChange) -> RouteChange {
    let backup = change.best.as_ref().and_then(|best| best.backup);
    let target = match change.best.map(|best| best.forwarding) {
        Some(Forwarding::Via(next_hops)) => RouteTarget::Via { next_hops: next_hops.into_vec(), backup },
        Some(Forwarding::Originated) => RouteTarget::Reject,
        Some(Forwarding::Blackhole) => RouteTarget::Blackhole,
        None => RouteTarget::Withdrawn,
    };
    RouteChange { prefix: change.prefix, target }
}
