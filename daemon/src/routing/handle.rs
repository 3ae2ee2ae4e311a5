//! The way to the RIB threads: what is told to all of them, and questions put together from their answers.
//!
//! The room for what waits is counted in octets and shared by all sessions, so that neither many sessions
//! nor many shards multiply it. Whoever waits for room is served in the order of asking: sessions that all
//! have much to say get on evenly. Something told takes its room until the last shard is done with it.

use std::net::IpAddr;
use std::sync::Arc;

use bgp::rib::out::{Advertised, GroupConfig};
use bgp::rib::view::{Page, RouteView, Tally, Wanted};
use bgp::rib::{PeerCounts, PeerSession, PeerStatistics, Rib, Rules, ShardSpec, Totals};
use bgp::session::StaleRoutes;
use bgp::types::{Family, FamilySet, PeerId};
use bgp::wire::UpdateLayout;
use ipnet::IpNet;
use thiserror::Error;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, mpsc, oneshot};

use super::origin::{Originated, Watch};
use super::{Input, PeerUp, UpdateBatch};

/// Octets of inputs that may wait for the RIB threads, or be at work there.
pub(super) const ROOM: u32 = 8 * 1024 * 1024;
/// Octets that any input counts for at least.
pub(super) const LEAST: u32 = 4 * 1024;
/// Inputs that may wait for one shard: more never find room.
const INPUT_QUEUE: usize = (ROOM / LEAST) as usize;
/// Questions that may wait.
const QUESTION_QUEUE: usize = 64;
/// Prefixes that are counted over between two other inputs.
const TALLIED_AT_ONCE: usize = 65_536;
/// Routes that are originated between two other inputs.
const ORIGINATED_AT_ONCE: usize = 4_096;
/// Prefixes that a shard is asked for at least when a page is put together: each takes a pass over its table.
const PAGE_PART: usize = 256;

/// The RIB threads have ended; the daemon is stopping.
#[derive(Clone, Copy, Debug, Error)]
#[error("the routing table is not available: the daemon is stopping")]
pub(crate) struct RibStopped;

/// What one shard is told.
#[derive(Clone, Debug)]
pub(super) enum ShardInput {
    Up(Arc<PeerUp>),
    Down(PeerId, FamilySet),
    Stale(PeerId, StaleRoutes),
    Updates(PeerId, Arc<UpdateBatch>),
    Refresh(PeerId, Family),
    Reconfigure(Arc<[(PeerSession, GroupConfig)]>),
    Watch(Arc<Watch>),
    Settle(mpsc::UnboundedSender<u64>),
}

impl From<Input> for ShardInput {
    fn from(input: Input) -> Self {
        match input {
            Input::Up(up) => Self::Up(up.into()),
            Input::Down(peer, kept) => Self::Down(peer, kept),
            Input::Stale(peer, routes) => Self::Stale(peer, routes),
            Input::Updates(peer, batch) => Self::Updates(peer, batch.into()),
            Input::Refresh(peer, family) => Self::Refresh(peer, family),
            Input::Reconfigure(peers) => Self::Reconfigure(peers.into()),
            Input::Watch(watch) => Self::Watch(watch.into()),
            Input::Settle(reply) => Self::Settle(reply),
        }
    }
}

impl Input {
    /// The memory that it takes while it waits, in octets.
    fn octets(&self) -> u32 {
        let octets = match self {
            Self::Updates(_, batch) => {
                batch.bytes.len() + batch.updates.len() * size_of::<(u32, u32, UpdateLayout)>()
            }
            Self::Up(_)
            | Self::Down(..)
            | Self::Stale(..)
            | Self::Refresh(..)
            | Self::Reconfigure(_)
            | Self::Watch(_)
            | Self::Settle(_) => 0,
        };
        // What is larger than all room has to do with it.
        u32::try_from(octets).unwrap_or(ROOM).clamp(LEAST, ROOM)
    }
}

/// An input on its way to one shard, with its part in the room that it takes.
pub(super) struct Delivery {
    pub(super) input: ShardInput,
    _room: Arc<OwnedSemaphorePermit>,
}

/// Runs on a RIB thread.
pub(super) type Question = Box<dyn FnOnce(&mut Rib) + Send>;

/// A shard's end of the handle.
pub(super) struct Inbox {
    pub(super) inputs: mpsc::Receiver<Delivery>,
    pub(super) questions: mpsc::Receiver<Question>,
    pub(super) drained: Arc<Notify>,
}

/// The way to one shard.
struct Shard {
    inputs: mpsc::Sender<Delivery>,
    questions: mpsc::Sender<Question>,
    drained: Arc<Notify>,
}

/// The way to the RIB threads. Cheap to clone. The threads end when all handles are gone.
#[derive(Clone)]
pub(crate) struct RibHandle {
    shards: Arc<[Shard]>,
    room: Arc<Semaphore>,
}

impl RibHandle {
    /// The way to some shards, and their ends of it.
    pub(super) fn new(shards: u16) -> (Self, Vec<Inbox>) {
        let (shards, inboxes): (Vec<_>, Vec<_>) = (0..shards)
            .map(|_| {
                let (inputs, inbox) = mpsc::channel(INPUT_QUEUE);
                let (questions, asked) = mpsc::channel(QUESTION_QUEUE);
                let drained = Arc::new(Notify::new());
                let inbox = Inbox { inputs: inbox, questions: asked, drained: Arc::clone(&drained) };
                (Shard { inputs, questions, drained }, inbox)
            })
            .unzip();
        let room = Arc::new(Semaphore::new(ROOM as usize));
        (Self { shards: shards.into(), room }, inboxes)
    }

    /// How many shards there are.
    pub(crate) fn shards(&self) -> usize {
        self.shards.len()
    }

    /// Waits for room, then tells all shards at once. What is returned keeps its place among those who wait
    /// as long as it lives; dropped before it is done, it has told nobody.
    pub(crate) fn send(&self, input: Input) -> impl Future<Output = Result<(), RibStopped>> + Send + use<> {
        let Self { shards, room } = self.clone();
        async move {
            let room = room.acquire_many_owned(input.octets()).await.map_err(|_| RibStopped)?;
            let (input, room) = (ShardInput::from(input), Arc::new(room));
            for shard in shards.iter() {
                let delivery = Delivery { input: input.clone(), _room: Arc::clone(&room) };
                // Never full: what found room has a place in the queue.
                shard.inputs.try_send(delivery).map_err(|_| RibStopped)?;
            }
            Ok(())
        }
    }

    /// Returns when all that was told before has had its effect, and the forwarding plane has confirmed it; how many
    /// batches the shards have handed on since the start.
    pub(crate) async fn settle(&self) -> Result<u64, RibStopped> {
        let (reply, mut answers) = mpsc::unbounded_channel();
        self.send(Input::Settle(reply)).await?;
        let mut sum = 0;
        for _ in self.shards.iter() {
            sum += answers.recv().await.ok_or(RibStopped)?;
        }
        Ok(sum)
    }

    /// A session took a batch off a shard's queue: there is room for the next.
    pub(crate) fn drained(&self, shard: usize) {
        if let Some(shard) = self.shards.get(shard) {
            shard.drained.notify_one();
        }
    }

    /// Runs a question on the thread of one shard; it must be short (see the module's head).
    async fn ask<T: Send + 'static>(
        shard: &Shard,
        question: impl FnOnce(&mut Rib) -> T + Send + 'static,
    ) -> Result<T, RibStopped> {
        let (reply, answer) = oneshot::channel();
        let question: Question = Box::new(move |rib| {
            // The asker may have gone away; then nobody needs the answer.
            let _ = reply.send(question(rib));
        });
        shard.questions.send(question).await.map_err(|_| RibStopped)?;
        answer.await.map_err(|_| RibStopped)
    }

    /// Asks all shards at the same time; the answers in their order.
    pub(super) async fn ask_all<T: Send + 'static>(
        &self,
        question: impl Fn(&mut Rib) -> T + Clone + Send + 'static,
    ) -> Result<Vec<T>, RibStopped> {
        let asked = self.shards.iter().map(|shard| Self::ask(shard, question.clone()));
        futures::future::try_join_all(asked).await
    }

    /// Asks the shard that a prefix is of.
    async fn ask_owner<T: Send + 'static>(
        &self,
        prefix: IpNet,
        question: impl FnOnce(&mut Rib) -> T + Send + 'static,
    ) -> Result<T, RibStopped> {
        let owner = ShardSpec::owner(self.shards.len() as u16, &prefix.trunc());
        let shard = self.shards.get(usize::from(owner)).ok_or(RibStopped)?;
        Self::ask(shard, question).await
    }

    /// The decision has other options.
    pub(crate) async fn set_rules(&self, rules: Rules) -> Result<(), RibStopped> {
        self.ask_all(move |rib| rib.set_rules(rules)).await.map(drop)
    }

    /// Originates these routes, and none of those that are withdrawn.
    pub(super) async fn originate(
        &self,
        withdrawn: Vec<IpNet>,
        routes: Vec<(IpNet, Originated)>,
    ) -> Result<(), RibStopped> {
        for some in withdrawn.chunks(ORIGINATED_AT_ONCE) {
            let some: Arc<[IpNet]> = some.into();
            self.ask_all(move |rib| some.iter().for_each(|prefix| rib.withdraw_originated(*prefix))).await?;
        }
        for some in routes.chunks(ORIGINATED_AT_ONCE) {
            let some: Arc<[(IpNet, Originated)]> = some.into();
            let originate = move |rib: &mut Rib| {
                for (prefix, Originated { attributes, anchor }) in some.iter() {
                    rib.originate_with(*prefix, attributes.clone(), *anchor);
                }
            };
            self.ask_all(originate).await?;
        }
        Ok(())
    }

    /// How much there is of what.
    pub(crate) async fn totals(&self) -> Result<Totals, RibStopped> {
        let mut sum = Totals::default();
        for totals in self.ask_all(|rib| rib.totals()).await? {
            sum += totals;
        }
        Ok(sum)
    }

    /// Counts by [`Family::index`] and statistics of each of some peers.
    pub(crate) async fn peers(&self, ids: Vec<PeerId>) -> Result<Vec<PeerNumbers>, RibStopped> {
        let mut sum = vec![PeerNumbers::default(); ids.len()];
        let ids: Arc<[PeerId]> = ids.into();
        let numbers = |rib: &Rib, id| PeerNumbers {
            counts: Family::ALL.map(|family| rib.counts(id, family)),
            statistics: rib.statistics(id),
            unsendable: rib.unsendable(id),
        };
        let answers =
            self.ask_all(move |rib| ids.iter().map(|&id| numbers(rib, id)).collect::<Vec<_>>()).await?;
        for answer in answers {
            for (sum, PeerNumbers { counts, statistics, unsendable }) in sum.iter_mut().zip(answer) {
                for (sum, counts) in sum.counts.iter_mut().zip(counts) {
                    *sum += counts;
                }
                sum.statistics.absorb(statistics);
                sum.unsendable += unsendable;
            }
        }
        Ok(sum)
    }

    /// What is rejected of a peer's and advertised to it in a family; a pass over the table, in slices.
    pub(crate) async fn tally(&self, peer: PeerId, family: Family) -> Result<Tally, RibStopped> {
        let mut sum = Tally::default();
        for shard in self.shards.iter() {
            let mut from = Some(0);
            while let Some(start) = from {
                let part =
                    Self::ask(shard, move |rib| rib.tally(peer, family, start, TALLIED_AT_ONCE)).await?;
                for (reason, count) in part.rejected {
                    *sum.rejected.entry(reason).or_default() += count;
                }
                sum.advertised += part.advertised;
                from = part.next;
            }
        }
        Ok(sum)
    }

    /// A prefix and its paths.
    pub(crate) async fn lookup(&self, prefix: IpNet) -> Result<Option<RouteView>, RibStopped> {
        self.ask_owner(prefix, move |rib| rib.lookup(prefix)).await
    }

    /// The longest prefix covering an address that has wanted paths; see [`Rib::covering`].
    pub(crate) async fn covering(
        &self,
        address: IpAddr,
        wanted: Wanted,
    ) -> Result<Vec<RouteView>, RibStopped> {
        let found = self.ask_all(move |rib| rib.covering(address, wanted)).await?;
        Ok(RouteView::merge_covering(found, wanted))
    }

    /// The routes by which a peer is sent a prefix, if it is.
    pub(crate) async fn exported(&self, peer: PeerId, prefix: IpNet) -> Result<Vec<Advertised>, RibStopped> {
        self.ask_owner(prefix, move |rib| rib.exported(peer, prefix)).await
    }

    /// Why a peer is not sent a prefix, in words; `None` if it is.
    pub(crate) async fn why_not_exported(
        &self,
        peer: PeerId,
        prefix: IpNet,
    ) -> Result<Option<String>, RibStopped> {
        self.ask_owner(prefix, move |rib| rib.why_not_exported(peer, prefix)).await
    }

    /// Some `limit` routes of a family behind `after`, within `within` if given.
    pub(crate) async fn routes(
        &self,
        family: Family,
        wanted: Wanted,
        within: Option<IpNet>,
        after: Option<IpNet>,
        limit: usize,
    ) -> Result<Page<RouteView>, RibStopped> {
        let part = self.part(limit);
        let pages = self.ask_all(move |rib| rib.routes(family, wanted, within, after, part)).await?;
        Ok(Page::merge(pages, |route| route.prefix))
    }

    /// Routes of a family behind `after` that a peer is sent, as it is sent them, some `limit` looked at.
    pub(crate) async fn advertised(
        &self,
        peer: PeerId,
        family: Family,
        within: Option<IpNet>,
        after: Option<IpNet>,
        limit: usize,
    ) -> Result<Page<Advertised>, RibStopped> {
        let part = self.part(limit);
        let pages = self.ask_all(move |rib| rib.advertised(peer, family, within, after, part)).await?;
        Ok(Page::merge(pages, |route| route.prefix))
    }

    /// How much of a page each shard is asked for: a page stays about as large for any number of them.
    fn part(&self, limit: usize) -> usize {
        limit.div_ceil(self.shards.len()).max(PAGE_PART.min(limit))
    }
}

/// What the RIB counts for one peer.
#[derive(Clone, Debug, Default)]
pub(crate) struct PeerNumbers {
    /// Routes by [`Family::index`].
    pub(crate) counts: [PeerCounts; Family::ALL.len()],
    pub(crate) statistics: PeerStatistics,
    /// Routes that no message could carry to it.
    pub(crate) unsendable: u64,
}
