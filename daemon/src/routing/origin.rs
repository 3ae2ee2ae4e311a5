//! What this router originates: networks, aggregates, routes of the kernel, and the conditions of policies.
//!
//! An aggregate depends on routes of many shards, so that one task decides for all of them. The shards tell it
//! what it must know of their routes ([`bgp::rib::watch`]), netlink tells it of the kernel's; it works out what is
//! to be originated, and tells the shards what differs from before. It never holds a shard up: what it is told
//! comes by a channel without bound, in which there is something only when an aggregate or a condition changes.
//!
//! Of several reasons to originate a prefix the first of network, aggregate, redistribution gives the attributes.
//! While nothing depends on anything, the task sleeps and no shard watches.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use bgp::policy::{Decision, PolicyChain, PolicyContext};
use bgp::rib::watch::{Contributors, Summary, WatchList, WatchNews, Watcher};
use bgp::rib::{Anchor, BestChange, Rib};
use bgp::wire::{Attributes, Origin};
use conf::KernelSource;
use ipnet::IpNet;
use tokio::sync::{mpsc, oneshot};

use super::Input;
use super::handle::{RibHandle, RibStopped};
use crate::netlink::{NetEvent, Netlink};

/// What one shard has to say, and of which list.
#[derive(Debug)]
pub(crate) struct ShardNews {
    shard: usize,
    generation: u64,
    /// `None`: all that there is has been told.
    news: Option<WatchNews>,
}

/// Where the shards tell it.
pub(crate) type OriginSink = mpsc::UnboundedSender<ShardNews>;

/// The eyes of a shard, if there is anything to watch for.
pub(super) struct ShardWatch {
    shard: usize,
    generation: u64,
    watcher: Option<Watcher>,
    sink: OriginSink,
}

impl ShardWatch {
    pub(super) fn new(shard: usize, config: &conf::Config, sink: OriginSink) -> Self {
        let list = watch_list(config);
        let watcher = (!list.is_empty()).then(|| Watcher::new(list.into(), config.router.asn));
        Self { shard, generation: 0, watcher, sink }
    }

    /// Sees changes before the RIB changes again.
    pub(super) fn observe(&mut self, changes: &[BestChange], rib: &Rib) {
        let Some(watcher) = &mut self.watcher else { return };
        for change in changes {
            watcher.observe(change, rib);
        }
        self.tell();
    }

    /// Watches for other things from now on.
    pub(super) fn replace(&mut self, watch: &Watch, rib: &Rib) {
        self.generation = watch.generation;
        self.watcher = (!watch.list.is_empty()).then(|| Watcher::new(Arc::clone(&watch.list), watch.asn));
        if let Some(watcher) = &mut self.watcher {
            rib.replay(|change| watcher.observe(change, rib));
        }
        self.tell();
        let _ = self.sink.send(ShardNews { shard: self.shard, generation: self.generation, news: None });
    }

    fn tell(&mut self) {
        let news = self.watcher.iter_mut().flat_map(Watcher::drain);
        for news in news {
            // Without anybody who decides, nobody needs to know.
            let news = Some(news);
            let _ = self.sink.send(ShardNews { shard: self.shard, generation: self.generation, news });
        }
    }
}

/// Another list for the shards.
#[derive(Clone, Debug)]
pub(crate) struct Watch {
    list: Arc<WatchList>,
    asn: bgp::types::Asn,
    generation: u64,
}

fn watch_list(config: &conf::Config) -> WatchList {
    let contributors = |aggregate: &conf::Aggregate| Contributors {
        prefix: aggregate.prefix,
        policy: aggregate.contributors.clone(),
        as_set: aggregate.as_set,
    };
    WatchList {
        aggregates: config.aggregates.iter().map(contributors).collect(),
        conditions: config.conditions.clone(),
    }
}

/// A route that is originated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Originated {
    pub(super) attributes: Attributes,
    pub(super) anchor: Anchor,
}

/// The networks that a configuration originates whatever the RIB and the kernel have, as a new RIB gets them.
pub(super) fn networks(config: &conf::Config) -> BTreeMap<IpNet, Originated> {
    let always = config.networks.iter().filter(|network| !network.only_if_present);
    let context = PolicyContext::new(config.router.asn);
    let bare = Attributes::originated(IpAddr::V4(Ipv4Addr::UNSPECIFIED));
    always
        .filter_map(|network| {
            let attributes = judged(&network.policy, network.prefix, &bare, &context)?;
            Some((network.prefix, Originated { attributes, anchor: network.anchor }))
        })
        .collect()
}

/// The attributes with which policy lets a prefix be originated.
fn judged(
    policy: &PolicyChain,
    prefix: IpNet,
    attributes: &Attributes,
    context: &PolicyContext,
) -> Option<Attributes> {
    match policy.evaluate(prefix, Cow::Borrowed(attributes), context) {
        Decision::Accept(accepted) => Some(accepted.attributes.into_owned()),
        Decision::Reject(_) => None,
    }
}

/// Asks for another configuration. The task ends with the last of these.
#[derive(Clone)]
pub(crate) struct OriginHandle(mpsc::Sender<(Arc<conf::Config>, oneshot::Sender<()>)>);

impl OriginHandle {
    /// Originates what this configuration says from now on.
    pub(crate) async fn configure(&self, config: Arc<conf::Config>) -> Result<(), RibStopped> {
        let (done, answer) = oneshot::channel();
        self.0.send((config, done)).await.map_err(|_| RibStopped)?;
        answer.await.map_err(|_| RibStopped)
    }
}

/// Starts the task for a RIB that has been started with the same configuration.
pub(crate) fn start(
    config: &Arc<conf::Config>,
    rib: RibHandle,
    news: mpsc::UnboundedReceiver<ShardNews>,
) -> OriginHandle {
    let (sender, commands) = mpsc::channel(1);
    let mut originator = Originator {
        news,
        generation: 0,
        awaited: 0,
        aggregates: Vec::new(),
        conditions: Vec::new(),
        present: 0,
        kernel: BTreeMap::new(),
        netlink: None,
        originated: networks(config),
        suppressing: BTreeSet::new(),
        config: Arc::clone(config),
        rib,
    };
    originator.forget_news();
    tokio::spawn(originator.run(commands));
    OriginHandle(sender)
}

struct Originator {
    config: Arc<conf::Config>,
    rib: RibHandle,
    news: mpsc::UnboundedReceiver<ShardNews>,
    /// Of the list that the shards watch by.
    generation: u64,
    /// Shards that have not answered to the present list.
    awaited: usize,
    /// For each aggregate what each shard said.
    aggregates: Vec<Vec<Option<Summary>>>,
    /// For each condition what each shard said.
    conditions: Vec<Vec<bool>>,
    /// The conditions that hold, one bit each, as the shards were told.
    present: u64,
    /// The kernel's routes, while somebody asks for them.
    kernel: BTreeMap<IpNet, KernelSource>,
    netlink: Option<Netlink>,
    /// What the shards were told.
    originated: BTreeMap<IpNet, Originated>,
    suppressing: BTreeSet<IpNet>,
}

impl Originator {
    async fn run(mut self, mut commands: mpsc::Receiver<(Arc<conf::Config>, oneshot::Sender<()>)>) {
        loop {
            self.follow_kernel().await;
            if self.apply().await.is_err() {
                return;
            }
            let kernel = async {
                match &mut self.netlink {
                    Some(netlink) => netlink.next().await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                command = commands.recv() => {
                    let Some((config, done)) = command else { return };
                    if self.configure(config).await.is_err() {
                        return;
                    }
                    // The asker may have gone away.
                    let _ = done.send(());
                }
                news = self.news.recv() => match news {
                    Some(news) => self.take(news),
                    None => return,
                },
                events = kernel => self.kernel_changed(events),
            }
            while let Ok(news) = self.news.try_recv() {
                self.take(news);
            }
        }
    }

    async fn configure(&mut self, config: Arc<conf::Config>) -> Result<(), RibStopped> {
        let list = watch_list(&config);
        let changed = list != watch_list(&self.config);
        self.config = config;
        if changed {
            self.generation += 1;
            self.forget_news();
            let asn = self.config.router.asn;
            let watch = Watch { list: list.into(), asn, generation: self.generation };
            self.rib.send(Input::Watch(watch)).await?;
            // Nothing is decided by half an answer.
            self.awaited = self.rib.shards();
            while self.awaited > 0 {
                let told = self.news.recv().await.ok_or(RibStopped)?;
                self.take(told);
            }
        }
        self.follow_kernel().await;
        self.apply().await
    }

    fn forget_news(&mut self) {
        let shards = self.rib.shards();
        self.aggregates = vec![vec![None; shards]; self.config.aggregates.len()];
        self.conditions = vec![vec![false; shards]; self.config.conditions.len()];
    }

    fn take(&mut self, told: ShardNews) {
        if told.generation != self.generation {
            return;
        }
        let Some(news) = told.news else {
            self.awaited = self.awaited.saturating_sub(1);
            return;
        };
        match news {
            WatchNews::Aggregate { index, summary } => {
                if let Some(slot) = self.aggregates.get_mut(index).and_then(|all| all.get_mut(told.shard)) {
                    *slot = summary;
                }
            }
            WatchNews::Condition { index, present } => {
                if let Some(slot) = self.conditions.get_mut(index).and_then(|all| all.get_mut(told.shard)) {
                    *slot = present;
                }
            }
        }
    }

    /// Listens to the kernel while anything depends on it.
    async fn follow_kernel(&mut self) {
        let asked = !self.config.redistribute.is_empty()
            || self.config.networks.iter().any(|network| network.only_if_present);
        if !asked {
            self.netlink = None;
            self.kernel.clear();
        } else if self.netlink.is_none() {
            match Netlink::connect().await {
                Ok(netlink) => {
                    let known = netlink.mirror().events();
                    self.netlink = Some(netlink);
                    self.kernel_changed(known);
                }
                Err(error) => tracing::error!(%error, "cannot follow the routes of the kernel"),
            }
        }
    }

    fn kernel_changed(&mut self, events: Vec<NetEvent>) {
        for event in events {
            let NetEvent::Route { prefix, hops, .. } = event else { continue };
            match hops.first() {
                None => self.kernel.remove(&prefix),
                Some(hop) if hop.gateway.is_none() => self.kernel.insert(prefix, KernelSource::Connected),
                Some(_) => self.kernel.insert(prefix, KernelSource::Kernel),
            };
        }
    }

    /// Tells the shards what differs from what they were told.
    async fn apply(&mut self) -> Result<(), RibStopped> {
        let present = self.holding();
        for index in 0..u64::BITS as usize {
            let holds = present & (1 << index) != 0;
            if (self.present ^ present) & (1 << index) != 0 {
                self.rib.ask_all(move |rib| rib.set_condition(index, holds)).await?;
            }
        }
        self.present = present;
        let (wanted, suppressing) = self.wanted();
        for &aggregate in self.suppressing.difference(&suppressing) {
            self.rib.ask_all(move |rib| rib.suppress(aggregate, false)).await?;
        }
        let gone = self.originated.keys().filter(|prefix| !wanted.contains_key(prefix)).copied().collect();
        let new = |(prefix, route): &(&IpNet, &Originated)| self.originated.get(*prefix) != Some(*route);
        let new = wanted.iter().filter(new).map(|(prefix, route)| (*prefix, route.clone())).collect();
        self.rib.originate(gone, new).await?;
        for &aggregate in suppressing.difference(&self.suppressing) {
            self.rib.ask_all(move |rib| rib.suppress(aggregate, true)).await?;
        }
        (self.originated, self.suppressing) = (wanted, suppressing);
        Ok(())
    }

    /// The conditions that hold.
    fn holding(&self) -> u64 {
        let holds = self.conditions.iter().map(|shards| shards.contains(&true));
        holds.enumerate().fold(0, |sum, (index, holds)| sum | u64::from(holds) << index)
    }

    /// What is to be originated now, and the aggregates that stand for what is within them.
    fn wanted(&self) -> (BTreeMap<IpNet, Originated>, BTreeSet<IpNet>) {
        let config = &self.config;
        let context = PolicyContext { present: self.present, ..PolicyContext::new(config.router.asn) };
        let bare = Attributes::originated(IpAddr::V4(Ipv4Addr::UNSPECIFIED));
        let (mut wanted, mut suppressing) = (BTreeMap::new(), BTreeSet::new());
        // Later ones take the place of earlier ones.
        for redistribute in &config.redistribute {
            let bare = Attributes { origin: Origin::Incomplete, ..bare.clone() };
            let of_source = self.kernel.iter().filter(|(_, source)| **source == redistribute.source);
            wanted.extend(of_source.filter_map(|(prefix, _)| {
                let attributes = judged(&redistribute.policy, *prefix, &bare, &context)?;
                Some((*prefix, Originated { attributes, anchor: Anchor::Reject }))
            }));
        }
        for (aggregate, shards) in config.aggregates.iter().zip(&self.aggregates) {
            let mut summaries = shards.iter().flatten();
            let Some(mut summary) = summaries.next().cloned() else { continue };
            summaries.for_each(|other| summary.absorb(other));
            let attributes = Attributes {
                origin: summary.origin,
                as_path: summary.as_path(),
                atomic_aggregate: summary.atomic,
                aggregator: Some((config.router.asn, config.router.router_id.0)),
                ..bare.clone()
            };
            if let Some(attributes) = judged(&aggregate.policy, aggregate.prefix, &attributes, &context) {
                wanted.insert(aggregate.prefix, Originated { attributes, anchor: aggregate.anchor });
                if aggregate.summary_only {
                    suppressing.insert(aggregate.prefix);
                }
            }
        }
        for network in &config.networks {
            if network.only_if_present && !self.kernel.contains_key(&network.prefix) {
                continue;
            }
            let judged = judged(&network.policy, network.prefix, &bare, &context);
            let anchor = network.anchor;
            wanted.extend(judged.map(|attributes| (network.prefix, Originated { attributes, anchor })));
        }
        (wanted, suppressing)
    }
}
