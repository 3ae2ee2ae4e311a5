//! Sessions with neighbours: a tokio task each, and the registry that finds them.
//!
//! A task ([`task`]) owns its neighbour's sockets and state machine; nothing else touches them. Others
//! reach it by commands through a small channel, and each is answered within the task's next turn:
//! keepalives and timers never wait behind routes, because a task waits for room in the RIB's queue and
//! for its sockets at the same time.

mod connection;
mod exports;
mod history;
mod ids;
mod limits;
mod listener;
mod local;
mod report;
mod socket;
mod stale;
mod task;
#[cfg(test)]
mod tests;

use std::collections::{HashMap, HashSet};
use std::net::IpAddr;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::{Duration, Instant};

use bgp::rib::PeerSession;
use bgp::rib::out::GroupConfig;
use bgp::session::{StalePhase, StopReason};
use bgp::types::{Family, PeerId};
use thiserror::Error;
use tokio::net::TcpStream;
use tokio::sync::{mpsc, oneshot};

use crate::api::types::{HistoryEvent, NeighborDetail};
use crate::monitor::Monitor;
use crate::routing::{Input, RibHandle, RibStopped};

use ids::Ids;
use stale::StaleClock;

pub(crate) use listener::accept;
pub(crate) use socket::listen;

/// Commands that may wait for a session's task.
const COMMAND_QUEUE: usize = 16;

/// What a session's task is asked to do.
pub(crate) enum Command {
    /// The neighbour has connected to us.
    Incoming(TcpStream),
    /// End the session as the reason says.
    Stop(StopReason, oneshot::Sender<()>),
    /// Go on under another configuration. The answer comes when the RIB knows the present session, if one is
    /// up and stays up, and says what it is to know of it from now on.
    Configure(Box<Configuration>, oneshot::Sender<Option<(PeerSession, GroupConfig)>>),
    /// End the session for good, and the task when the RIB has heard of it.
    Remove(StopReason, oneshot::Sender<()>),
    /// Keep the session down, with a text for the other operator, until it is enabled.
    ShutDown(String, oneshot::Sender<()>),
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
    #[error("no neighbor {0} is configured")]
    Unknown(IpAddr),
    /// Its task has ended.
    #[error("the session with {0} has ended: the neighbor is gone, or the daemon is stopping")]
    Stopped(IpAddr),
    /// It cannot do that now.
    #[error("neighbor {0}: {1}")]
    Refused(IpAddr, String),
}

#[derive(Clone)]
struct Peer {
    id: PeerId,
    stale: Arc<StaleClock>,
    commands: mpsc::Sender<Command>,
}

/// All neighbours.
pub(crate) struct Peers {
    /// Held for a moment only, never while anything is waited for.
    registry: RwLock<Registry>,
    ids: Arc<Ids>,
    rib: RibHandle,
    monitor: Monitor,
}

#[derive(Default)]
struct Registry {
    by_address: HashMap<IpAddr, Peer>,
    /// Addresses in the order of the configuration.
    order: Vec<IpAddr>,
}

impl Peers {
    /// Starts a task for each configured neighbour.
    pub(crate) fn start(config: &Arc<conf::Config>, rib: &RibHandle, monitor: &Monitor) -> Arc<Self> {
        let peers = Self {
            registry: RwLock::default(),
            ids: Arc::default(),
            rib: rib.clone(),
            monitor: monitor.clone(),
        };
        for neighbor in &config.neighbors {
            peers.add(config, neighbor);
        }
        peers.write().order = config.neighbors.iter().map(|neighbor| neighbor.address).collect();
        Arc::new(peers)
    }

    fn add(&self, config: &Arc<conf::Config>, neighbor: &conf::Neighbor) {
        let address = neighbor.address;
        let Some(lease) = self.ids.lease() else {
            tracing::error!(neighbor = %address, "no session: there are as many neighbors as there can be");
            return;
        };
        let (commands, inbox) = mpsc::channel(COMMAND_QUEUE);
        let id = lease.id();
        let stale = Arc::new(StaleClock::default());
        let (rib, monitor, clock) = (self.rib.clone(), self.monitor.clone(), Arc::clone(&stale));
        let task = task::Task::new(lease, config, neighbor.clone(), rib, monitor, clock);
        tokio::spawn(task.run(inbox));
        self.write().by_address.insert(address, Peer { id, stale, commands });
    }

    /// Goes on under another configuration. The sessions of neighbours that are gone end, those that `resets`
    /// names end and come back; all others stay up, and the RIB is told what their routes go through now.
    pub(crate) async fn configure(
        &self,
        config: &Arc<conf::Config>,
        resets: &HashSet<IpAddr>,
    ) -> Result<(), RibStopped> {
        let order: Vec<IpAddr> = config.neighbors.iter().map(|neighbor| neighbor.address).collect();
        let configured: HashSet<IpAddr> = order.iter().copied().collect();
        let gone: Vec<(IpAddr, Peer)> = {
            let mut registry = self.write();
            registry.order = order;
            registry.by_address.extract_if(|address, _| !configured.contains(address)).collect()
        };
        let removed = gone.iter().map(|(address, peer)| {
            Self::ask_peer(*address, peer, |done| Command::Remove(StopReason::Deconfigured, done))
        });
        for outcome in futures::future::join_all(removed).await {
            outcome.map_err(|_| RibStopped)?;
        }
        let stay = config.neighbors.iter().filter(|neighbor| self.id(neighbor.address).is_some());
        let told = stay.map(|neighbor| {
            let (config, neighbor) = (Arc::clone(config), neighbor.clone());
            let (address, reset) = (neighbor.address, resets.contains(&neighbor.address));
            let configuration = Box::new(Configuration { config, neighbor, reset });
            self.ask(address, |reply| Command::Configure(configuration, reply))
        });
        let mut routing = Vec::new();
        for outcome in futures::future::join_all(told).await {
            routing.extend(outcome.map_err(|_| RibStopped)?);
        }
        if !routing.is_empty() {
            self.rib.send(Input::Reconfigure(routing)).await?;
        }
        for neighbor in &config.neighbors {
            if self.id(neighbor.address).is_none() {
                self.add(config, neighbor);
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
    pub(crate) async fn incoming(&self, address: IpAddr, stream: TcpStream) -> Result<(), PeerError> {
        self.send(address, Command::Incoming(stream)).await
    }

    /// Resets a session; it comes back by itself.
    pub(crate) async fn reset(&self, address: IpAddr) -> Result<(), PeerError> {
        self.ask(address, |reply| Command::Stop(StopReason::Reset(String::new()), reply)).await
    }

    /// Shuts a session down until it is enabled or the daemon restarted. The neighbour is told the text, of at
    /// most 255 octets (RFC 9003).
    pub(crate) async fn shut_down_one(&self, address: IpAddr, text: String) -> Result<(), PeerError> {
        self.ask(address, |reply| Command::ShutDown(text, reply)).await
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
        let order = self.read().order.clone();
        let asked = order.into_iter().map(|address| async move { self.report(address).await.ok() });
        futures::future::join_all(asked).await.into_iter().flatten().collect()
    }

    /// Ends all sessions for good and waits until each neighbour was told.
    pub(crate) async fn shut_down(&self) {
        let order = self.read().order.clone();
        let told = order.into_iter().map(|address| {
            self.ask(address, |reply| Command::Stop(StopReason::Shutdown(String::new()), reply))
        });
        for outcome in futures::future::join_all(told).await {
            if let Err(error) = outcome {
                tracing::debug!(%error, "while shutting down");
            }
        }
    }
}
