//! The FIB thread: best paths and the kernel's network state in, edits of the forwarding tables out.
//!
//! ```text
//!   kernel --netlink--> net task --events--> FIB thread --edits--> XDP maps
//!                          ^                 |    ^
//!                          +-- keep these ---+    +-- best paths, next hops in use -- RIB
//!                              resolved      +------- reachable or not -------------> RIB
//! ```
//!
//! [`start`] brings everything up or says what is wrong; from then on nothing here gives up: what can not
//! be done is logged, counted, shown and tried again. [`ForwardingHandle`] is how the rest of the daemon
//! speaks to it. Route changes go over a bounded channel; while it is full they wait in the RIB.
//!
//! Forwarding may outlive the daemon. A start that finds the program of an earlier run on the ports leaves it there,
//! and with it the tables that it goes by; it fills tables of its own beside them, and has the ports go over to those
//! when [`ForwardingHandle::go_live`] is called: once what BGP knows has been learned again. Until then nothing
//! that is learned changes what becomes of packets, and a daemon that dies meanwhile leaves all as it was.

mod audit;
mod failover;
mod forwarder;
mod latency;
mod net;
mod own;
mod plane;
mod ports;
mod query;
mod refused;
mod resolve;
mod start;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod tests_keep;
#[cfg(test)]
mod tests_live;
mod thread;
mod topology;

use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use bgp::rib::{Generation, NextHopInterest};
use fib::{EngineChoice, FibConfig, FibStats};
use ipnet::IpNet;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;
use tracing::error;

use crate::host::{HostError, Lock, LockError};
use crate::netlink::NetlinkError;
use crate::xdp::{PlaneConfig, XdpError, XdpMode};

pub use audit::{AuditStats, AuditedMap, Drift};
pub use failover::Doubt;
pub use latency::{Arrival, Latency};
pub use ports::PortStatus;
use query::Query;
pub use query::{FibRow, NextHopRow, NextHopState, PAGE, PlaneCounters, RouteFilter, RouteSource};
pub use resolve::{Resolved, Resolver};
pub use start::{let_go, start};
pub use topology::{Reason, Way};

/// Batches of the RIB that may wait: one, while another is worked on. Changes that find no room wait in the
/// RIB, where those of one prefix become one.
const RIB_QUEUE: usize = 1;
/// Batches of events, and questions, that may wait.
const QUEUE: usize = 64;

/// What the forwarding plane is to be.
#[derive(Clone, Debug)]
pub struct ForwardingConfig {
    /// Routed ports: interfaces that XDP is attached to.
    pub interfaces: Vec<String>,
    /// How it is attached, to the ports and to the router's own end of the veth pair alike.
    pub mode: XdpMode,
    /// The router's identifier, which is its preferred source address where it has that address.
    pub router_id: Ipv4Addr,
    /// Sizes of the tables.
    pub tables: FibConfig,
    /// Default routes resolve next hops too.
    pub next_hop_via_default: bool,
    /// Seed of the flow hash.
    pub hash_seed: u32,
    /// In what time all tables are compared with what is meant; `None`: never.
    pub audit_interval: Option<Duration>,
    /// Packets go on being forwarded when the daemon ends, unless it is told otherwise.
    pub keep: bool,
}

impl ForwardingConfig {
    /// The forwarding plane of a configuration.
    pub fn from_conf(config: &conf::Config) -> Self {
        let fib = &config.fib;
        let router_id = config.router.router_id.0;
        Self {
            interfaces: fib.interfaces.clone(),
            mode: match fib.xdp_mode {
                conf::XdpMode::Auto => XdpMode::Auto,
                conf::XdpMode::Native => XdpMode::Native,
                conf::XdpMode::Generic => XdpMode::Generic,
            },
            router_id,
            next_hop_via_default: config.decision.next_hop_via_default,
            tables: FibConfig {
                engine: match fib.lookup {
                    conf::Lookup::Auto => EngineChoice::Auto,
                    conf::Lookup::LpmTrie => EngineChoice::LpmTrie,
                    conf::Lookup::Direct => EngineChoice::Direct,
                },
                capacity_v4: fib.max_ipv4_entries as usize,
                capacity_v6: fib.max_ipv6_entries as usize,
                ..FibConfig::default()
            },
            // Routers in a row have different identifiers, so they spread flows differently.
            hash_seed: router_id.to_bits(),
            audit_interval: fib.audit_interval,
            keep: fib.keep_forwarding,
        }
    }

    fn plane(&self) -> PlaneConfig {
        let entries = |capacity: usize| u32::try_from(capacity).unwrap_or(u32::MAX);
        PlaneConfig {
            capacity_v4: entries(self.tables.capacity_v4),
            capacity_v6: entries(self.tables.capacity_v6),
            sets: self.tables.sets,
            members: self.tables.members,
            next_hops: self.tables.next_hops,
            adjacencies: self.tables.adjacencies,
            // The ports and pg-xdp; devices below VLAN interfaces are egress devices too.
            ports: 2 * entries(self.interfaces.len()) + 1,
            hash_seed: self.hash_seed,
        }
    }
}

/// Why the forwarding plane could not be started.
#[derive(Debug, thiserror::Error)]
pub enum ForwardingError {
    /// A configured interface does not exist.
    #[error("[fib] interfaces: there is no interface {name:?} (there are: {})", existing.join(", "))]
    NoInterface {
        /// The name.
        name: String,
        /// Those that exist.
        existing: Vec<String>,
    },
    /// The XDP program could not be loaded.
    #[error(transparent)]
    Load(XdpError),
    /// A port could not be set up.
    #[error("port {name}: {source}")]
    Port {
        /// The interface.
        name: String,
        /// The cause.
        #[source]
        source: XdpError,
    },
    /// Another daemon forwards here.
    #[error(transparent)]
    Lock(#[from] LockError),
    /// The kernel's network state could not be read.
    #[error(transparent)]
    Netlink(#[from] NetlinkError),
    /// The way out for the router's own traffic could not be made.
    #[error(transparent)]
    Host(#[from] HostError),
    /// No thread.
    #[error("cannot start the FIB thread: {0}")]
    Thread(#[source] io::Error),
}

/// The forwarding plane has stopped, or failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the forwarding plane has stopped")]
pub struct ForwardingStopped;

/// A changed best path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RouteChange {
    /// The prefix.
    pub prefix: IpNet,
    /// Where it leads now.
    pub target: RouteTarget,
}

/// Where a best path leads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RouteTarget {
    /// Nowhere: there is no route.
    Withdrawn,
    /// To neighbours.
    Via {
        /// They share the traffic; one that is there several times has more of it.
        next_hops: Vec<IpAddr>,
        /// It takes over when none of them is left.
        backup: Option<IpAddr>,
    },
    /// To this router, which originates the prefix: what no more specific route takes is dropped. Else it
    /// would follow a default route back to where it came from.
    Reject,
    /// Nowhere: packets are dropped, as whoever announced the prefix asked for (RFC 7999).
    Blackhole,
}

/// What the RIB hands on at once.
#[derive(Debug)]
pub struct RibBatch {
    /// What it is called in what the sink hears of it.
    pub id: Option<BatchId>,
    /// Next hops that came into use or went out of it: those in use are resolved, and reported to the
    /// sink. Taken before the routes.
    pub next_hops: Vec<NextHopInterest>,
    /// Changed best paths, each prefix once.
    pub routes: Vec<RouteChange>,
    /// The UPDATEs that have had their effect when these routes are in the tables.
    pub arrivals: Vec<Arrival>,
    /// Neighbours that were doubted because their routes were about to go: with this batch they are gone.
    pub settled: Vec<IpAddr>,
}

/// A batch of changes of a shard of the RIB.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchId {
    /// The shard.
    pub shard: u16,
    /// Which of its batches.
    pub generation: Generation,
}

/// Room for one batch in the FIB thread's queue.
#[derive(Debug)]
pub struct Room<'a>(mpsc::Permit<'a, RibBatch>);

impl Room<'_> {
    /// Fills it; never waits.
    pub fn send(self, batch: RibBatch) {
        self.0.send(batch);
    }
}

/// Hears from the FIB thread, on that thread. Must not wait for anything that may wait for the FIB thread.
pub trait NextHopSink: Send {
    /// A tracked next hop can be reached at this interior cost, or not at all. Said once when it is new, then
    /// at each change.
    fn next_hop(&mut self, addr: IpAddr, cost: Option<u32>);

    /// A route that was given ceased to be in the tables (full, write failed), or is again.
    fn route_status(&mut self, prefix: IpNet, installed: bool) {
        let _ = (prefix, installed);
    }

    /// From now on what is said of routes takes this batch into account.
    fn batch_taken(&mut self, batch: BatchId) {
        let _ = batch;
    }

    /// The routes of this batch are in the tables, save those of which [`Self::route_status`] said otherwise.
    fn batch_done(&mut self, batch: BatchId) {
        let _ = batch;
    }
}

/// What becomes of forwarding when the daemon ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Farewell {
    /// It goes on by the tables as they are.
    Keep,
    /// The machine is left as it was found: all that was made goes, also what an earlier run had left.
    Remove,
}

/// The forwarding plane at a glance, as of the last burst.
#[derive(Clone, Debug, Default)]
pub struct ForwardingStats {
    /// Tables.
    pub fib: FibStats,
    /// Ports, in the order of the configuration; the router's own end last.
    pub ports: Vec<PortStatus>,
    /// Routes that found no free next hop or set; IPv4, IPv6.
    pub refused: [usize; 2],
    /// Edits that could not be written since the start.
    pub write_errors: u64,
    /// What the audit has found.
    pub audit: Arc<AuditStats>,
    /// Neighbours that the kernel is asked to keep resolved.
    pub neighbours_kept: usize,
    /// Time from reading UPDATEs off their sockets until their routes were in the tables.
    pub latency: Latency,
    /// Whether packets go by the tables of an earlier run, while those of this one are filled.
    pub staged: bool,
    /// How long that took, once they have gone over.
    pub took_over: Option<Duration>,
}

/// The way to the FIB thread. Cheap to clone. When all handles are gone it stops, but only
/// [`ForwardingHandle::stop`] waits for that.
#[derive(Clone, Debug)]
pub struct ForwardingHandle {
    rib: mpsc::Sender<RibBatch>,
    doubts: mpsc::UnboundedSender<Doubt>,
    queries: mpsc::Sender<Query>,
    stats: Arc<RwLock<ForwardingStats>>,
    live: mpsc::Sender<oneshot::Sender<()>>,
    stop: watch::Sender<Option<Farewell>>,
    running: Arc<Mutex<Option<Running>>>,
    earlier: bool,
    keeps: bool,
}

#[derive(Debug)]
struct Running {
    thread: std::thread::JoinHandle<()>,
    net: JoinHandle<()>,
    /// Last: nobody else is to begin before all of this has ended.
    _lock: Lock,
}

impl ForwardingHandle {
    /// Whether the start found the program of an earlier run at work, which it left there: packets go by that until
    /// [`Self::go_live`].
    pub fn found_earlier(&self) -> bool {
        self.earlier
    }

    /// Whether forwarding goes on when the daemon ends, if that is what it is told.
    pub fn keeps(&self) -> bool {
        self.keeps
    }

    /// Has packets go by the tables of this run, and returns when they do: at once, unless there are those of an earlier
    /// run. What was handed over before is in the tables by then.
    pub async fn go_live(&self) -> Result<(), ForwardingStopped> {
        let (reply, answer) = oneshot::channel();
        self.live.send(reply).await.map_err(|_| ForwardingStopped)?;
        answer.await.map_err(|_| ForwardingStopped)
    }

    /// Room for a batch of the RIB, if there is some now.
    pub fn try_room(&self) -> Result<Option<Room<'_>>, ForwardingStopped> {
        match self.rib.try_reserve() {
            Ok(permit) => Ok(Some(Room(permit))),
            Err(mpsc::error::TrySendError::Full(())) => Ok(None),
            Err(mpsc::error::TrySendError::Closed(())) => Err(ForwardingStopped),
        }
    }

    /// Waits for room for a batch of the RIB.
    pub async fn room(&self) -> Result<Room<'_>, ForwardingStopped> {
        self.rib.reserve().await.map(Room).map_err(|_| ForwardingStopped)
    }

    /// Tells that a neighbour is probably lost, or no longer thought to be. Goes before routes that wait. Never waits
    /// itself: those who have doubts have other things to do, and there are as many doubts as neighbours at most.
    pub fn doubt(&self, doubt: Doubt) {
        // The FIB thread may have ended already.
        let _ = self.doubts.send(doubt);
    }

    /// Counts and ports as of the last burst.
    pub fn stats(&self) -> ForwardingStats {
        self.stats.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Routes of the forwarding table, at most [`PAGE`].
    pub async fn fib_routes(&self, filter: RouteFilter) -> Result<Vec<FibRow>, ForwardingStopped> {
        self.ask(|reply| Query::Routes(filter, reply)).await
    }

    /// All next hops.
    pub async fn next_hops(&self) -> Result<Vec<NextHopRow>, ForwardingStopped> {
        self.ask(Query::NextHops).await
    }

    /// The data plane's counters.
    pub async fn counters(&self) -> Result<PlaneCounters, ForwardingStopped> {
        self.ask(Query::Counters).await
    }

    /// Returns when the FIB thread has ended, told or not: from then on nothing is forwarded.
    pub async fn ended(&self) {
        self.rib.closed().await;
    }

    async fn ask<T>(&self, query: impl FnOnce(oneshot::Sender<T>) -> Query) -> Result<T, ForwardingStopped> {
        let (reply, answer) = oneshot::channel();
        self.queries.send(query(reply)).await.map_err(|_| ForwardingStopped)?;
        answer.await.map_err(|_| ForwardingStopped)
    }

    /// Ends the FIB thread. With [`Farewell::Remove`], or if forwarding is not kept, XDP is detached, the veth pair with
    /// its rules and routes removed, and sysctls are put back. Once it has ended this does nothing.
    pub async fn stop(&self, farewell: Farewell) {
        self.stop.send_replace(Some(if self.keeps { farewell } else { Farewell::Remove }));
        let running = self.running.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(Running { thread, net, _lock }) = running else { return };
        let joined = tokio::task::spawn_blocking(move || thread.join()).await;
        if !matches!(joined, Ok(Ok(()))) {
            error!("the FIB thread had failed");
        }
        if let Err(error) = net.await {
            error!(%error, "the netlink task had failed");
        }
    }
}
