//! Sessions with neighbours: a tokio task each, and the registry that finds them.
//!
//! A task ([`task`]) owns its neighbour's sockets and state machine; nothing else touches them. Others
//! reach it by commands through a small channel, and each is answered within the task's next turn:
//! keepalives and timers never wait behind routes, because a task waits for room in the RIB's queue and
//! for its sockets at the same time.

mod about;
mod connection;
mod detection;
mod discovery;
mod dynamic;
mod exports;
mod history;
mod ids;
mod limits;
mod listener;
mod local;
mod options;
mod refresh;
mod report;
mod seldom;
mod settings;
mod socket;
mod stale;
mod syn;
mod task;
#[cfg(test)]
mod tests;
mod unnumbered;

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::{Duration, Instant};

use bgp::link::{LinkTag, Zoned, link_of};
use bgp::rib::PeerSession;
use bgp::rib::out::GroupConfig;
use bgp::session::{PeerAsn, StalePhase, StopReason};
use bgp::types::{Asn, Family, PeerId};
use bgp::wire::Notification;
use bgp::wire::notification::codes;
use ipnet::IpNet;
use thiserror::Error;
use tokio::sync::{mpsc, oneshot};

use crate::api::types::{HistoryEvent, NeighborDetail, RangeInfo};
use crate::bfd::Bfd;
use crate::monitor::Monitor;
use crate::restart::Restart;
use crate::routing::{Input, RibHandle, RibStopped};

use dynamic::NotAdmitted;
use ids::Ids;
use stale::StaleClock;
use syn::Incoming;

pub(crate) use listener::Listeners;
pub(crate) use local::{destination, marked_by, subnets_of_machine};
pub(crate) use socket::TOS_NETWORK_CONTROL;

/// Commands that may wait for a session's task.
const COMMAND_QUEUE: usize = 16;

/// What a session's task is asked to do.
pub(crate) enum Command {
    /// The neighbour has connected to us.
    Incoming(Incoming),
    /// End the session as the reason says.
    Stop(StopReason, oneshot::Sender<()>),
    /// Reset the session, as the operator wants; the answer says why not.
    Reset(oneshot::Sender<Result<(), String>>),
    /// Go on under another configuration. The answer comes when the RIB knows the present session, if one is
    /// up and stays up, and says what it is to know of it from now on.
    Configure(Box<Configuration>, oneshot::Sender<Option<(PeerSession, GroupConfig)>>),
    /// End the session for good, and the task when the RIB has heard of it.
    Remove(StopReason, oneshot::Sender<()>),
    /// Keep the session down, with a text for the other operator, until it is enabled.
    ShutDown(String, oneshot::Sender<()>),
    /// Tell the neighbour that the session is about to end, so that routes go elsewhere before; or take it back.
    /// The answer is as that of `Configure`.
    Leave(bool, oneshot::Sender<Option<(PeerSession, GroupConfig)>>),
    /// Let a session up that was shut down; the answer says why not.
    Enable(oneshot::Sender<Result<(), String>>),
    /// Ask for all routes again; the answer says why not.
    RefreshIn(oneshot::Sender<Result<(), String>>),
    /// Send all our routes again.
    RefreshOut(oneshot::Sender<Result<(), String>>),
    /// Say how things are. Route counts are the RIB's and left zero.
    Report(oneshot::Sender<NeighborDetail>),
    /// Say what happened.
    History(oneshot::Sender<Vec<HistoryEvent>>),
}

/// What a session's task is to go on with.
pub(crate) struct Configuration {
    config: Arc<conf::Config>,
    neighbor: conf::Neighbor,
    /// The session has to end for it.
    reset: bool,
}

/// Why a command to a neighbour failed.
#[derive(Debug, Error)]
pub(crate) enum PeerError {
    /// Not configured.
    #[error("no neighbor {} is configured", Zoned(*.0))]
    Unknown(IpAddr),
    /// Its task has ended.
    #[error("the session with {} has ended: the neighbor is gone, or the daemon is stopping", Zoned(*.0))]
    Stopped(IpAddr),
    /// It cannot do that now.
    #[error("neighbor {}: {}", Zoned(*.0), .1)]
    Refused(IpAddr, String),
}

#[derive(Clone)]
struct Peer {
    id: PeerId,
    stale: Arc<StaleClock>,
    commands: mpsc::Sender<Command>,
    /// As it is configured.
    neighbor: Arc<conf::Neighbor>,
}

/// What sessions have to do with.
#[derive(Clone)]
pub(crate) struct Rooms {
    pub(crate) rib: RibHandle,
    pub(crate) monitor: Monitor,
    pub(crate) bfd: Bfd,
    pub(crate) restart: Restart,
}

/// All neighbours.
pub(crate) struct Peers {
    /// Held for a moment only, never while anything is waited for.
    registry: RwLock<Registry>,
    ids: Arc<Ids>,
    rooms: Rooms,
}

struct Registry {
    config: Arc<conf::Config>,
    by_address: HashMap<IpAddr, Peer>,
    /// The router is about to leave: sessions of neighbours to come, too.
    leaving: bool,
    /// Addresses in ranges from which there is a connection that has not said who it is.
    waiting: HashMap<IpAddr, IpNet>,
    /// Connections refused that came from near enough, by range.
    refused: HashMap<IpNet, u64>,
    /// Connections refused since they came from too far away, by range.
    too_far: HashMap<IpNet, u64>,
}

/// What becomes of a neighbour under another configuration.
enum Fate {
    /// It is none any more.
    Ends(StopReason),
    /// It goes on as another one; with a new session or not.
    Goes(Box<conf::Neighbor>, bool),
}

impl Registry {
    /// Addresses in the order of the configuration, then the dynamic ones in order.
    fn addresses(&self) -> Vec<IpAddr> {
        let configured = self.config.neighbors.iter().map(|neighbor| neighbor.address);
        let mut dynamic: Vec<IpAddr> = self
            .dynamic()
            .map(|(address, _)| address)
            .filter(|a| self.config.neighbor(*a).is_none())
            .collect();
        dynamic.sort_unstable();
        configured.filter(|address| self.by_address.contains_key(address)).chain(dynamic).collect()
    }

    /// Dynamic neighbours with their ranges.
    fn dynamic(&self) -> impl Iterator<Item = (IpAddr, IpNet)> {
        self.by_address.iter().filter_map(|(address, peer)| Some((*address, peer.neighbor.range?)))
    }

    /// Neighbours of a range, and connections that may become one.
    fn taken(&self, range: IpNet) -> usize {
        let waiting = self.waiting.values().filter(|of| **of == range).count();
        self.dynamic().filter(|(_, of)| *of == range).count() + waiting
    }

    /// What becomes of each neighbour.
    fn fates(&self, config: &conf::Config) -> Vec<(IpAddr, Fate)> {
        let configured: HashMap<IpAddr, &conf::Neighbor> =
            config.neighbors.iter().map(|neighbor| (neighbor.address, neighbor)).collect();
        let fate = |address: IpAddr, peer: &Peer| {
            let next = match (configured.get(&address), peer.neighbor.range) {
                (Some(neighbor), None) => (*neighbor).clone(),
                (None, None) => return Fate::Ends(StopReason::Deconfigured),
                // From now on it is configured by itself.
                (Some(_), Some(_)) => return Fate::Ends(StopReason::ConfigurationChange),
                (None, Some(of)) => match config.range(address) {
                    Some(range) => match peer.neighbor.asn {
                        PeerAsn::Is(asn) if range.asns.contains(asn) => {
                            if range.prefix != of {
                                return Fate::Ends(StopReason::ConfigurationChange);
                            }
                            range.neighbor(address, asn)
                        }
                        _ => return Fate::Ends(StopReason::Deconfigured),
                    },
                    None => return Fate::Ends(StopReason::Deconfigured),
                },
            };
            let reset = conf::needs_new_session(&peer.neighbor, &next);
            Fate::Goes(Box::new(next), reset)
        };
        self.by_address.iter().map(|(address, peer)| (*address, fate(*address, peer))).collect()
    }
}

impl Peers {
    /// Starts a task for each configured neighbour.
    pub(crate) fn start(config: &Arc<conf::Config>, rooms: Rooms) -> Arc<Self> {
        let registry = Registry {
            config: Arc::clone(config),
            by_address: HashMap::new(),
            leaving: false,
            waiting: HashMap::new(),
            refused: HashMap::new(),
            too_far: HashMap::new(),
        };
        let peers = Arc::new(Self { registry: RwLock::new(registry), ids: Arc::default(), rooms });
        for neighbor in &config.neighbors {
            peers.add(&mut peers.write(), neighbor.clone());
        }
        peers
    }

    fn add(self: &Arc<Self>, registry: &mut Registry, neighbor: conf::Neighbor) {
        let address = neighbor.address;
        let Some(lease) = self.ids.lease() else {
            tracing::error!(neighbor = %Zoned(address), "no session: there are as many neighbors as there can be");
            return;
        };
        let (commands, inbox) = mpsc::channel(COMMAND_QUEUE);
        let id = lease.id();
        let stale = Arc::new(StaleClock::default());
        let (clock, rooms) = (Arc::clone(&stale), self.rooms.clone());
        let mut task = task::Task::new(lease, &registry.config, neighbor.clone(), clock, rooms);
        task.leave(registry.leaving);
        // A dynamic neighbour ends by itself.
        let peers = Arc::downgrade(self);
        tokio::spawn(async move {
            task.run(inbox).await;
            if let Some(peers) = peers.upgrade() {
                peers.write().by_address.retain(|known, peer| *known != address || peer.id != id);
            }
        });
        registry.by_address.insert(address, Peer { id, stale, commands, neighbor: Arc::new(neighbor) });
    }

    /// A place for a connection from an address that is no neighbour, if it is in a range with room.
    fn place(self: &Arc<Self>, address: IpAddr, incoming: &Incoming) -> Result<dynamic::Place, NotAdmitted> {
        let mut registry = self.write();
        let range = registry.config.range(address).ok_or(NotAdmitted::Stranger)?;
        let (prefix, limit, is_shut_down) = (range.prefix, range.limit, range.is_shut_down());
        let minimum_ttl = socket::minimum_ttl(&range.template);
        if let Err(why) = incoming.check_distance(minimum_ttl) {
            *registry.too_far.entry(prefix).or_default() += 1;
            return Err(NotAdmitted::TooFar(prefix, why));
        }
        if is_shut_down {
            *registry.refused.entry(prefix).or_default() += 1;
            return Err(NotAdmitted::ShutDown(prefix));
        }
        if registry.waiting.contains_key(&address) {
            *registry.refused.entry(prefix).or_default() += 1;
            return Err(NotAdmitted::Waiting);
        }
        if registry.taken(prefix) >= limit as usize {
            *registry.refused.entry(prefix).or_default() += 1;
            return Err(NotAdmitted::Full { prefix, limit });
        }
        registry.waiting.insert(address, prefix);
        Ok(dynamic::Place { peers: Arc::clone(self), address, range: prefix, minimum_ttl })
    }

    /// Makes a neighbour of who has a place and says that it is of this AS; or what it is to be told.
    fn admit(self: &Arc<Self>, place: dynamic::Place, asn: Asn) -> Result<(), Notification> {
        let address = place.address;
        let admitted = {
            let mut registry = self.write();
            let range = registry.config.range(address).filter(|range| range.asns.contains(asn));
            match range.map(|range| range.neighbor(address, asn)) {
                // It has become one in the meantime.
                _ if registry.by_address.contains_key(&address) => Ok(()),
                Some(neighbor) => {
                    let range = neighbor.range.map(tracing::field::display);
                    tracing::info!(neighbor = %Zoned(address), %asn, range, "dynamic neighbor");
                    self.add(&mut registry, neighbor);
                    Ok(())
                }
                None => Err(Notification::new(codes::OPEN, codes::open::BAD_PEER_AS)),
            }
        };
        drop(place);
        admitted
    }

    /// A connection out of a range has not become a neighbour.
    fn count_refused(&self, range: IpNet) {
        *self.write().refused.entry(range).or_default() += 1;
    }

    /// The ranges, and how full they are.
    pub(crate) fn ranges(&self) -> Vec<RangeInfo> {
        let registry = self.read();
        let info = |range: &conf::NeighborRange| RangeInfo {
            prefix: range.prefix.to_string(),
            asns: range.asns.ranges().iter().map(ToString::to_string).collect(),
            limit: u64::from(range.limit),
            neighbors: registry.dynamic().filter(|(_, of)| *of == range.prefix).count() as u64,
            refused: registry.refused.get(&range.prefix).copied().unwrap_or_default(),
            too_far: registry.too_far.get(&range.prefix).copied().unwrap_or_default(),
        };
        registry.config.ranges.iter().map(info).collect()
    }

    /// Neighbours whose session would end under another configuration, in order.
    pub(crate) fn resets(&self, config: &conf::Config) -> Vec<Zoned> {
        let fates = self.read().fates(config);
        let ends = |fate: &Fate| matches!(fate, Fate::Ends(_) | Fate::Goes(_, true));
        let mut resets: Vec<Zoned> =
            fates.into_iter().filter(|(_, fate)| ends(fate)).map(|(address, _)| Zoned(address)).collect();
        resets.sort_unstable();
        resets
    }

    /// Goes on under another configuration. The sessions of neighbours that are gone end, those of neighbours
    /// that need a new one end and come back; all others stay up, and the RIB is told what their routes go
    /// through now.
    pub(crate) async fn configure(self: &Arc<Self>, config: &Arc<conf::Config>) -> Result<(), RibStopped> {
        let (mut gone, mut told, mut left_out) = (Vec::new(), Vec::new(), Vec::new());
        {
            let mut registry = self.write();
            let fates = registry.fates(config);
            registry.config = Arc::clone(config);
            let is_range = |prefix: &IpNet| config.ranges.iter().any(|range| range.prefix == *prefix);
            registry.refused.retain(|prefix, _| is_range(prefix));
            registry.too_far.retain(|prefix, _| is_range(prefix));
            for (address, fate) in fates {
                match fate {
                    Fate::Ends(reason) => {
                        let peer = registry.by_address.remove(&address);
                        gone.extend(peer.map(|peer| (address, peer, reason)));
                    }
                    Fate::Goes(neighbor, reset) => {
                        let Some(peer) = registry.by_address.get_mut(&address) else { continue };
                        if !reset && neighbor.limits.let_in_more_than(&peer.neighbor.limits) {
                            left_out.push(address);
                        }
                        peer.neighbor = Arc::new((*neighbor).clone());
                        let configuration =
                            Configuration { config: Arc::clone(config), neighbor: *neighbor, reset };
                        told.push((address, peer.clone(), Box::new(configuration)));
                    }
                }
            }
        }
        let removed = gone.into_iter().map(|(address, peer, reason)| async move {
            // One that has ended by itself has nothing to be told any more.
            let _ = Self::ask_peer(address, &peer, |done| Command::Remove(reason, done)).await;
        });
        futures::future::join_all(removed).await;
        let told = told.into_iter().map(|(address, peer, configuration)| async move {
            Self::ask_peer(address, &peer, |reply| Command::Configure(configuration, reply)).await.ok()?
        });
        let routing: Vec<_> = futures::future::join_all(told).await.into_iter().flatten().collect();
        self.tell(routing).await?;
        for address in left_out {
            if let Err(error) = self.refresh_in(address).await {
                tracing::warn!(%error, "prefixes that were beyond the limit stay left out");
            }
        }
        let mut registry = self.write();
        for neighbor in &config.neighbors {
            if !registry.by_address.contains_key(&neighbor.address) {
                self.add(&mut registry, neighbor.clone());
            }
        }
        Ok(())
    }

    fn read(&self) -> RwLockReadGuard<'_, Registry> {
        self.registry.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Registry> {
        self.registry.write().unwrap_or_else(PoisonError::into_inner)
    }

    fn peer(&self, address: IpAddr) -> Option<Peer> {
        self.read().by_address.get(&address).cloned()
    }

    /// The neighbour that a connection comes from, or a route: of a link, the one that is named by it alone, if there
    /// is such a one.
    pub(crate) fn on_link(&self, address: IpAddr) -> IpAddr {
        let registry = self.read();
        let named = link_of(address).map(LinkTag::neighbor);
        named.filter(|named| registry.by_address.contains_key(named)).unwrap_or(address)
    }

    /// How this run follows an earlier one.
    pub(crate) fn restart(&self) -> &Restart {
        &self.rooms.restart
    }

    /// The RIB's id of a neighbour.
    pub(crate) fn id(&self, address: IpAddr) -> Option<PeerId> {
        self.read().by_address.get(&address).map(|peer| peer.id)
    }

    /// How stale routes of a neighbour are kept in a family, and for how long still.
    pub(crate) fn stale(&self, address: IpAddr, family: Family) -> Option<(StalePhase, Duration)> {
        self.read().by_address.get(&address)?.stale.left(family, Instant::now())
    }

    async fn send(&self, address: IpAddr, command: Command) -> Result<(), PeerError> {
        let peer = self.peer(address).ok_or(PeerError::Unknown(address))?;
        peer.commands.send(command).await.map_err(|_| PeerError::Stopped(address))
    }

    async fn ask<T>(
        &self,
        address: IpAddr,
        command: impl FnOnce(oneshot::Sender<T>) -> Command,
    ) -> Result<T, PeerError> {
        let peer = self.peer(address).ok_or(PeerError::Unknown(address))?;
        Self::ask_peer(address, &peer, command).await
    }

    async fn ask_peer<T>(
        address: IpAddr,
        peer: &Peer,
        command: impl FnOnce(oneshot::Sender<T>) -> Command,
    ) -> Result<T, PeerError> {
        let (reply, answer) = oneshot::channel();
        peer.commands.send(command(reply)).await.map_err(|_| PeerError::Stopped(address))?;
        answer.await.map_err(|_| PeerError::Stopped(address))
    }

    /// Hands a connection to the neighbour's task that it came from.
    pub(crate) async fn incoming(&self, address: IpAddr, incoming: Incoming) -> Result<(), PeerError> {
        self.send(address, Command::Incoming(incoming)).await
    }

    /// Resets a session; it comes back by itself.
    pub(crate) async fn reset(&self, address: IpAddr) -> Result<(), PeerError> {
        self.ask(address, Command::Reset).await?.map_err(|why| PeerError::Refused(address, why))
    }

    /// Shuts a session down until it is enabled or the daemon restarted. The neighbour is told the text, of at
    /// most 255 octets (RFC 9003).
    pub(crate) async fn shut_down_one(&self, address: IpAddr, text: String) -> Result<(), PeerError> {
        self.ask(address, |reply| Command::ShutDown(text, reply)).await
    }

    /// Marks what goes to and comes from a neighbour as about to go, so that it and others move away before the
    /// session is shut down (RFC 8326); or takes that back.
    pub(crate) async fn leave_one(&self, address: IpAddr, leaving: bool) -> Result<(), PeerError> {
        let routing = self.ask(address, |reply| Command::Leave(leaving, reply)).await?;
        let routing = routing.into_iter().collect();
        self.tell(routing).await.map_err(|RibStopped| PeerError::Stopped(address))
    }

    /// The same with all neighbours, and those to come until it is taken back; of how many sessions.
    pub(crate) async fn leave_all(&self, leaving: bool) -> Result<usize, RibStopped> {
        let peers: Vec<(IpAddr, Peer)> = {
            let mut registry = self.write();
            registry.leaving = leaving;
            registry.by_address.iter().map(|(address, peer)| (*address, peer.clone())).collect()
        };
        let asked = peers.iter().map(|(address, peer)| async move {
            // One that has ended by itself has nothing to be told any more.
            Self::ask_peer(*address, peer, |reply| Command::Leave(leaving, reply)).await.ok()?
        });
        let routing: Vec<_> = futures::future::join_all(asked).await.into_iter().flatten().collect();
        let sessions = routing.len();
        self.tell(routing).await?;
        Ok(sessions)
    }

    /// Tells the RIB what sessions that stay up are from now on.
    async fn tell(&self, routing: Vec<(PeerSession, GroupConfig)>) -> Result<(), RibStopped> {
        if routing.is_empty() { Ok(()) } else { self.rooms.rib.send(Input::Reconfigure(routing)).await }
    }

    /// Lets a session up that was shut down.
    pub(crate) async fn enable(&self, address: IpAddr) -> Result<(), PeerError> {
        self.ask(address, Command::Enable).await?.map_err(|why| PeerError::Refused(address, why))
    }

    /// Asks a neighbour for its routes (RFC 2918).
    pub(crate) async fn refresh_in(&self, address: IpAddr) -> Result<(), PeerError> {
        self.ask(address, Command::RefreshIn).await?.map_err(|why| PeerError::Refused(address, why))
    }

    /// Sends our routes to a neighbour again.
    pub(crate) async fn refresh_out(&self, address: IpAddr) -> Result<(), PeerError> {
        self.ask(address, Command::RefreshOut).await?.map_err(|why| PeerError::Refused(address, why))
    }

    /// How one neighbour is.
    pub(crate) async fn report(&self, address: IpAddr) -> Result<(PeerId, NeighborDetail), PeerError> {
        let id = self.id(address).ok_or(PeerError::Unknown(address))?;
        Ok((id, self.ask(address, Command::Report).await?))
    }

    /// What happened to the session with a neighbour, the oldest first.
    pub(crate) async fn history(&self, address: IpAddr) -> Result<Vec<HistoryEvent>, PeerError> {
        self.ask(address, Command::History).await
    }

    /// How each neighbour is, in the order of the configuration.
    pub(crate) async fn reports(&self) -> Vec<(PeerId, NeighborDetail)> {
        let order = self.read().addresses();
        let asked = order.into_iter().map(|address| async move { self.report(address).await.ok() });
        futures::future::join_all(asked).await.into_iter().flatten().collect()
    }

    /// Ends all sessions for good, or as this run is about to be followed by another one, and waits until each
    /// neighbour was told.
    pub(crate) async fn shut_down(&self, reason: StopReason) {
        let order = self.read().addresses();
        let told =
            order.into_iter().map(|address| self.ask(address, |reply| Command::Stop(reason.clone(), reply)));
        for outcome in futures::future::join_all(told).await {
            if let Err(error) = outcome {
                tracing::debug!(%error, "while shutting down");
            }
        }
    }
}
