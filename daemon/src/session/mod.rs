//! Sessions with neighbours: a tokio task each, and the registry that finds them.
//!
//! A task ([`task`]) owns its neighbour's sockets and state machine; nothing else touches them. Others
//! reach it by commands through a small channel, and each is answered within the task's next turn:
//! keepalives and timers never wait behind routes, because a task waits for room in the RIB's queue and
//! for its sockets at the same time.

mod connection;
mod exports;
mod listener;
mod local;
mod report;
mod socket;
mod task;
#[cfg(test)]
mod tests;

use std::net::IpAddr;
use std::sync::Arc;

use bgp::session::StopReason;
use bgp::types::PeerId;
use dashmap::DashMap;
use thiserror::Error;
use tokio::net::TcpStream;
use tokio::sync::{mpsc, oneshot};

use crate::api::types::NeighborDetail;
use crate::monitor::Monitor;
use crate::routing::RibHandle;

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
    /// Ask for all routes again; the answer says why not.
    RefreshIn(oneshot::Sender<Result<(), String>>),
    /// Send all our routes again.
    RefreshOut(oneshot::Sender<Result<(), String>>),
    /// Say how things are. Route counts are the RIB's and left zero.
    Report(oneshot::Sender<NeighborDetail>),
}

/// Why a command to a neighbour failed.
#[derive(Debug, Error)]
pub(crate) enum PeerError {
    /// Not configured.
    #[error("no neighbor {0} is configured")]
    Unknown(IpAddr),
    /// Its task has ended.
    #[error("the session with {0} has ended: the daemon is stopping")]
    Stopped(IpAddr),
    /// It cannot do that now.
    #[error("neighbor {0}: {1}")]
    Refused(IpAddr, String),
}

#[derive(Clone)]
struct Peer {
    id: PeerId,
    commands: mpsc::Sender<Command>,
}

/// All neighbours, by address.
pub(crate) struct Peers {
    by_address: DashMap<IpAddr, Peer>,
    /// Addresses in the order of the configuration.
    order: Vec<IpAddr>,
}

impl Peers {
    /// Starts a task for each configured neighbour.
    pub(crate) fn start(config: &Arc<conf::Config>, rib: &RibHandle, monitor: &Monitor) -> Arc<Self> {
        let peers = Self {
            by_address: DashMap::new(),
            order: config.neighbors.iter().map(|neighbor| neighbor.address).collect(),
        };
        // Id 0 is the router itself.
        for (id, neighbor) in (PeerId::LOCAL.0 + 1..).zip(&config.neighbors) {
            let (commands, inbox) = mpsc::channel(COMMAND_QUEUE);
            let id = PeerId(id);
            let task = task::Task::new(id, config, neighbor.clone(), rib.clone(), monitor.clone());
            tokio::spawn(task.run(inbox));
            peers.by_address.insert(neighbor.address, Peer { id, commands });
        }
        Arc::new(peers)
    }

    /// The RIB's id of a neighbour.
    pub(crate) fn id(&self, address: IpAddr) -> Option<PeerId> {
        self.by_address.get(&address).map(|peer| peer.id)
    }

    /// The address of a neighbour by the RIB's id.
    pub(crate) fn address(&self, id: PeerId) -> Option<IpAddr> {
        self.order.get(usize::from(id.0).checked_sub(1)?).copied()
    }

    async fn send(&self, address: IpAddr, command: Command) -> Result<(), PeerError> {
        // The guard of the map must not be held across the wait.
        let peer = self.by_address.get(&address).map(|peer| peer.clone());
        let peer = peer.ok_or(PeerError::Unknown(address))?;
        peer.commands.send(command).await.map_err(|_| PeerError::Stopped(address))
    }

    async fn ask<T>(
        &self,
        address: IpAddr,
        command: impl FnOnce(oneshot::Sender<T>) -> Command,
    ) -> Result<T, PeerError> {
        let (reply, answer) = oneshot::channel();
        self.send(address, command(reply)).await?;
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

    /// Asks a neighbour for its routes (RFC 2918).
    pub(crate) async fn refresh_in(&self, address: IpAddr) -> Result<(), PeerError> {
        self.ask(address, Command::RefreshIn).await?.map_err(|why| PeerError::Refused(address, why))
    }

    /// Sends our routes to a neighbour again.
    pub(crate) async fn refresh_out(&self, address: IpAddr) -> Result<(), PeerError> {
        self.ask(address, Command::RefreshOut).await?.map_err(|why| PeerError::Refused(address, why))
    }

    /// How each neighbour is, in the order of the configuration.
    pub(crate) async fn reports(&self) -> Vec<(PeerId, NeighborDetail)> {
        let asked = self.order.iter().map(|&address| async move {
            let report = self.ask(address, Command::Report).await.ok()?;
            Some((self.id(address)?, report))
        });
        futures::future::join_all(asked).await.into_iter().flatten().collect()
    }

    /// Ends all sessions for good and waits until each neighbour was told.
    pub(crate) async fn shut_down(&self) {
        let told = self.order.iter().map(|&address| {
            self.ask(address, |reply| Command::Stop(StopReason::Shutdown(String::new()), reply))
        });
        for outcome in futures::future::join_all(told).await {
            if let Err(error) = outcome {
                tracing::debug!(%error, "while shutting down");
            }
        }
    }
}
