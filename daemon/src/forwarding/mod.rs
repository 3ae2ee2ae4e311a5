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
#[cfg(test)]
mod tests;
#[cfg(test)]
mod tests_live;
mod thread;
mod topology;

use std::collections::BTreeSet;
use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use bgp::rib::{Generation, NextHopInterest};
use fib::{EngineChoice, Family, Fib, FibConfig, FibStats};
use ipnet::IpNet;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;
use tracing::error;

use crate::host::{self, Host, HostError, Plan};
use crate::netlink::{Netlink, NetlinkError};
use crate::xdp::{DataPlane, PlaneConfig, XdpError, XdpMode};

pub use audit::{AuditStats, AuditedMap, Drift};
pub use failover::Doubt;
use forwarder::{Forwarder, Outputs};
pub use latency::{Arrival, Latency};
use net::NetTask;
pub use ports::PortStatus;
use ports::{PortSpec, Ports};
use query::Query;
pub use query::{FibRow, NextHopRow, NextHopState, PAGE, PlaneCounters, RouteFilter, RouteSource};
pub use resolve::{Resolved, Resolver};
use thread::Inputs;
use topology::Topology;
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
}

/// The way to the FIB thread. Cheap to clone. When all handles are gone it stops, but only
/// [`ForwardingHandle::stop`] waits for that.
#[derive(Clone, Debug)]
pub struct ForwardingHandle {
    rib: mpsc::Sender<RibBatch>,
    doubts: mpsc::UnboundedSender<Doubt>,
    queries: mpsc::Sender<Query>,
    stats: Arc<RwLock<ForwardingStats>>,
    stop: watch::Sender<bool>,
    running: Arc<Mutex<Option<Running>>>,
}

#[derive(Debug)]
struct Running {
    thread: std::thread::JoinHandle<()>,
    net: JoinHandle<()>,
}

impl ForwardingHandle {
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

    /// Detaches XDP, removes the veth pair with its rules and routes, puts sysctls back.
    pub async fn stop(&self) {
        self.stop.send_replace(true);
        let running = self.running.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(Running { thread, net }) = running else { return };
        let joined = tokio::task::spawn_blocking(move || thread.join()).await;
        if !matches!(joined, Ok(Ok(()))) {
            error!("the FIB thread had failed");
        }
        if let Err(error) = net.await {
            error!(%error, "the netlink task had failed");
        }
    }
}

/// Loads the XDP program, attaches it to the ports, and starts the FIB thread. Must be called in a tokio
/// runtime. When it fails, nothing is left behind.
pub async fn start(
    config: ForwardingConfig,
    sink: Box<dyn NextHopSink>,
) -> Result<ForwardingHandle, ForwardingError> {
    let netlink = Netlink::connect().await?;
    for name in &config.interfaces {
        if netlink.mirror().link_named(name).is_none() {
            let existing = netlink.mirror().links().map(|link| link.name.clone()).collect();
            return Err(ForwardingError::NoInterface { name: name.clone(), existing });
        }
    }
    let mut plane = DataPlane::load(&config.plane()).map_err(ForwardingError::Load)?;
    if config.tables.engine == EngineChoice::Direct {
        for family in Family::ALL {
            plane.open_direct(family).map_err(ForwardingError::Load)?;
        }
    }

    let (kept_sender, kept) = watch::channel(BTreeSet::new());
    let stats = Arc::new(RwLock::new(ForwardingStats::default()));
    let outputs = Outputs { sink, kept: kept_sender, stats: Arc::clone(&stats) };
    let ports = Ports::new(specs(&config), config.mode);
    let topology = Topology::new(config.next_hop_via_default);
    let mut forwarder = Forwarder::new(Fib::new(config.tables), plane, ports, topology, outputs);
    // The router's own addresses first: packets to them must not be lost when the hook is in place.
    forwarder.net_all(netlink.mirror().events());
    forwarder.flush(false);
    // Ports before the way out: a second daemon fails here, before it touches what is the first one's.
    bind(&mut forwarder)?;
    let plan = Plan::new(netlink.mirror(), &config.interfaces, config.router_id, host::ipv6_available());
    let host = Host::set_up(netlink.handle(), &plan).await?;

    let (stop, stopped) = watch::channel(false);
    let (events, net_inputs) = mpsc::channel(QUEUE);
    let (rib, rib_inputs) = mpsc::channel(RIB_QUEUE);
    let (queries, query_inputs) = mpsc::channel(QUEUE);
    let (doubts, doubt_inputs) = mpsc::unbounded_channel();
    let inputs = Inputs {
        net: net_inputs,
        doubts: doubt_inputs,
        queries: query_inputs,
        rib: rib_inputs,
        stop: stopped.clone(),
    };
    let (netlink, thread) = match Box::pin(finish(netlink, forwarder, inputs, config.audit_interval)).await {
        Ok(done) => done,
        Err(error) => {
            host.tear_down().await;
            return Err(error);
        }
    };
    let task = NetTask {
        netlink,
        host,
        plan,
        interfaces: config.interfaces,
        router_id: config.router_id,
        events,
        kept,
        stop: stopped,
    };
    let net = tokio::spawn(task.run());
    let running = Arc::new(Mutex::new(Some(Running { thread, net })));
    Ok(ForwardingHandle { rib, doubts, queries, stats, stop, running })
}

/// The ports of the configuration, and our end of the pair.
fn specs(config: &ForwardingConfig) -> Vec<PortSpec> {
    let routed = config.interfaces.iter();
    let mut specs: Vec<_> = routed.map(|name| PortSpec { name: name.clone(), host: false }).collect();
    specs.push(PortSpec { name: host::XDP_END.to_owned(), host: true });
    specs
}

fn bind(forwarder: &mut Forwarder<DataPlane>) -> Result<(), ForwardingError> {
    forwarder.bind_ports().map_err(|(name, source)| ForwardingError::Port { name, source })?;
    forwarder.flush(true);
    Ok(())
}

/// Binds our end of the pair that was just made, and starts the thread.
async fn finish(
    mut netlink: Netlink,
    mut forwarder: Forwarder<DataPlane>,
    inputs: Inputs,
    audit_interval: Option<Duration>,
) -> Result<(Netlink, std::thread::JoinHandle<()>), ForwardingError> {
    forwarder.net_all(netlink.refresh().await?);
    bind(&mut forwarder)?;
    forwarder.audit_every(audit_interval);
    let thread = spawn(forwarder, inputs).map_err(ForwardingError::Thread)?;
    Ok((netlink, thread))
}

fn spawn(forwarder: Forwarder<DataPlane>, inputs: Inputs) -> io::Result<std::thread::JoinHandle<()>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build()?;
    std::thread::Builder::new()
        .name("fib".to_owned())
        .spawn(move || runtime.block_on(thread::run(forwarder, inputs)))
}
