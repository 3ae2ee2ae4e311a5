//! The FIB thread's state: what BGP and the kernel say, turned into edits of the tables.
//!
//! Inputs only change what is meant ([`Forwarder::net`], [`Forwarder::routes`], [`Forwarder::track`]);
//! [`Forwarder::flush`] makes it so. Everything that depends on the network's state is worked out anew
//! from the state when that has changed, so a lost or repeated event leaves no trace.
//!
//! A BGP next hop is one next hop of the FIB, under its own address. Where it leads (its gateway, the MAC, the
//! port) is resolved behind that id: a link that goes down, a gateway that moves, a neighbour with a new
//! MAC are one 8-byte store each, however many routes there are. Routes of the kernel's own state are
//! in [`own`](super::own).
//!
//! What does not fit is kept and tried again: routes by the `fib` crate, routes that found no free set or
//! next hop in `refused`.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::{IpAddr, Ipv4Addr};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant};

use fib::{Family, Fib, FibError, NextHopId, NextHopKey, SetId, StatusChange, TableEdit};
use ipnet::IpNet;
use tokio::sync::watch;
use tracing::{debug, error, info, warn};

use super::audit::Audit;
use super::failover::Doubts;
use super::latency::{Arrival, Latency};
use super::plane::Plane;
use super::ports::Ports;
use super::refused::Refused;
use super::resolve::{Resolved, Shunned};
use super::topology::{Own, Topology, Way};
use super::{BatchId, ForwardingStats, NextHopSink, RouteChange, RouteTarget};
use crate::netlink::NetEvent;
use crate::xdp::{AttachedMode, XdpError};

/// One line about failed writes in this time says enough.
const LOG_SPACING: Duration = Duration::from_secs(10);
/// A grace period is waited for this long after something came to need it, unless ids run short.
const GRACE_SPACING: Duration = Duration::from_millis(250);
/// How often what failed is tried again; the `fib` crate spaces its own trials out further.
const RETRY_SPACING: Duration = Duration::from_secs(1);
/// A direct table for which there was no memory is tried again after this time.
const DIRECT_SPACING: Duration = Duration::from_secs(30);
/// Refused routes that are tried again at a time.
const RETRY_ROUTES: usize = 10_000;
/// As long as not so many of them fail.
const RETRY_FAILURES: usize = 256;

/// The interfaces and neighbours that the kernel is asked to keep resolved.
pub(super) type Kept = BTreeSet<(u32, IpAddr)>;

/// What the RIB knows of a next hop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Told {
    Nothing,
    Unreachable,
    /// Reachable at this interior cost.
    Cost(u32),
}

/// A next hop of BGP routes.
#[derive(Clone, Copy, Debug)]
pub(super) struct BgpNextHop {
    /// Its id in the tables, once a route leads there: addresses that nothing is forwarded to, which a
    /// neighbour can name without end, take up no room there.
    pub(super) id: Option<NextHopId>,
    pub(super) found: Resolved,
    /// Shards of the RIB that use it or may come to: it is tracked for them.
    tracked: u32,
    /// What the RIB was told last.
    told: Told,
}

/// Whether the kernel refused memory for a table.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Refusal {
    /// It is not asked again before.
    pub(super) until: Option<Instant>,
    /// That has been said: once is enough until it succeeds.
    said: bool,
}

impl Refusal {
    /// Asks for memory, unless it was refused a short while ago; whether it is there.
    fn ask(
        &mut self,
        family: Family,
        consequence: &str,
        open: impl FnOnce() -> Result<(), XdpError>,
    ) -> bool {
        if self.until.is_some_and(|until| until > Instant::now()) {
            return false;
        }
        match open() {
            Ok(()) => {
                *self = Self::default();
                true
            }
            Err(error) => {
                if !std::mem::replace(&mut self.said, true) {
                    error!(?family, %error, "{consequence}; it will be tried again");
                }
                self.until = Some(Instant::now() + DIRECT_SPACING);
                false
            }
        }
    }
}

#[expect(
    clippy::struct_excessive_bools,
    reason = "each says that something is due, independently of the others"
)]
pub(super) struct Forwarder<P> {
    pub(super) fib: Fib,
    pub(super) plane: P,
    pub(super) ports: Ports,
    pub(super) topology: Topology,
    pub(super) next_hops: HashMap<IpAddr, BgpNextHop>,
    pub(super) own: BTreeMap<IpNet, Own>,
    /// BGP routes whose prefix has a route of our own.
    pub(super) shadowed: HashMap<IpNet, RouteTarget>,
    pub(super) refused: Refused,
    /// Sets that were found since the last commit, which is how long their ids are good for certain: a
    /// batch has many routes to few sets of next hops. The backup is last in the key.
    found_sets: HashMap<Vec<IpAddr>, SetId, foldhash::fast::RandomState>,
    set_key: Vec<IpAddr>,
    pub(super) doubts: Doubts,
    sink: Box<dyn NextHopSink>,
    kept: watch::Sender<Kept>,
    stats: Arc<RwLock<ForwardingStats>>,
    edits: Vec<TableEdit>,
    statuses: Vec<StatusChange>,
    /// Some routes are not in the tables as of the last commit; and BGP routes that changed since.
    incomplete: bool,
    touched: Vec<IpNet>,
    /// Batches whose routes are not in the tables yet.
    batches: Vec<BatchId>,
    /// UPDATEs whose routes are not in the tables yet.
    arrivals: Vec<Arrival>,
    latency: Latency,
    pub(super) net_changed: bool,
    /// Next hops that BGP routes may have a say in, and whether one of those routes changed.
    pub(super) recursive: BTreeSet<IpAddr>,
    pub(super) recursive_moved: bool,
    /// By next hop, the BGP routes that do not resolve it.
    pub(super) shunned: HashMap<IpAddr, Shunned>,
    kept_changed: bool,
    untracked: BTreeSet<IpAddr>,
    grace_due: Option<Instant>,
    retry_due: Option<Instant>,
    /// Tried once in a burst: trying again for each route would take forever.
    room_was_made: bool,
    /// For each family, whether a direct table, or a larger one, could not be made.
    pub(super) refusals: [Refusal; Family::ALL.len()],
    write_errors: u64,
    unsaid_errors: u64,
    said_at: Option<Instant>,
    pub(super) audit: Audit,
    /// Whether what is attached outlives this process.
    keep: bool,
    /// Since when the tables are filled while packets go by those of an earlier run.
    staged: Option<Instant>,
    /// How long that took, when it is over.
    took_over: Option<Duration>,
}

/// Where a forwarder reports to.
pub(super) struct Outputs {
    pub(super) sink: Box<dyn NextHopSink>,
    pub(super) kept: watch::Sender<Kept>,
    pub(super) stats: Arc<RwLock<ForwardingStats>>,
}

impl<P: Plane> Forwarder<P> {
    pub(super) fn new(fib: Fib, plane: P, ports: Ports, topology: Topology, outputs: Outputs) -> Self {
        Self {
            fib,
            plane,
            ports,
            topology,
            next_hops: HashMap::new(),
            own: BTreeMap::new(),
            shadowed: HashMap::new(),
            refused: Refused::default(),
            found_sets: HashMap::default(),
            set_key: Vec::new(),
            doubts: Doubts::default(),
            sink: outputs.sink,
            kept: outputs.kept,
            stats: outputs.stats,
            edits: Vec::new(),
            statuses: Vec::new(),
            arrivals: Vec::new(),
            latency: Latency::default(),
            net_changed: false,
            recursive: BTreeSet::new(),
            recursive_moved: false,
            shunned: HashMap::new(),
            kept_changed: false,
            untracked: BTreeSet::new(),
            grace_due: None,
            retry_due: None,
            room_was_made: false,
            refusals: [Refusal::default(); Family::ALL.len()],
            incomplete: false,
            touched: Vec::new(),
            batches: Vec::new(),
            write_errors: 0,
            unsaid_errors: 0,
            said_at: None,
            audit: Audit::default(),
            keep: false,
            staged: None,
            took_over: None,
        }
    }

    /// Packets go by the program of an earlier run, on devices of these modes, until [`Self::go_live`].
    pub(super) fn stage(&mut self, earlier: HashMap<u32, Option<AttachedMode>>) {
        self.ports.stage(earlier);
        self.staged = Some(Instant::now());
    }

    /// Whether packets go by the program of an earlier run.
    pub(super) fn is_staged(&self) -> bool {
        self.staged.is_some()
    }

    /// Whether what is attached is to outlive this process, from [`Self::begin`] on.
    pub(super) fn keep(&mut self, keep: bool) {
        self.keep = keep;
    }

    /// The start has succeeded: from now on a process that dies leaves forwarding in place, if it is to be kept.
    pub(super) fn begin(&mut self) {
        if self.staged.is_none() {
            self.plane.settle(self.keep);
        }
        self.publish();
    }

    /// What is known is in the tables: packets go by them from now on.
    pub(super) fn go_live(&mut self) {
        let Some(since) = self.staged else { return };
        self.flush(true);
        for (port, error) in self.ports.go_live(&mut self.plane, self.topology.links()) {
            error!(port, %error, "port is out of use, will be tried again");
        }
        self.plane.settle(self.keep);
        let took = since.elapsed();
        (self.staged, self.took_over) = (None, Some(took));
        info!(seconds = took.as_secs_f32(), "forwarding has gone over to the tables of this run");
        self.net_changed = true;
        self.flush(true);
    }

    /// The kernel's network state changed.
    pub(super) fn net(&mut self, event: NetEvent) {
        if let NetEvent::LinkGone { ifindex } = event {
            self.ports.forget(&mut self.plane, ifindex);
        }
        self.topology.apply(event);
        self.net_changed = true;
    }

    pub(super) fn net_all(&mut self, events: Vec<NetEvent>) {
        for event in events {
            self.net(event);
        }
    }

    /// The routes that come next are those of a batch; when they are in the tables the sink is told.
    pub(super) fn batch(&mut self, batch: BatchId) {
        self.sink.batch_taken(batch);
        self.batches.push(batch);
    }

    /// Best paths changed, the last of them by these UPDATEs.
    pub(super) fn routes(&mut self, changes: Vec<RouteChange>, arrivals: Vec<Arrival>) {
        for RouteChange { prefix, target } in changes {
            let prefix = prefix.trunc();
            let own = self.own.contains_key(&prefix);
            match target {
                RouteTarget::Withdrawn if own => drop(self.shadowed.remove(&prefix)),
                RouteTarget::Withdrawn => self.remove(prefix),
                target if own => drop(self.shadowed.insert(prefix, target)),
                target => {
                    if self.incomplete {
                        self.touched.push(prefix);
                    }
                    self.insert(prefix, target);
                }
            }
        }
        self.arrivals.extend(arrivals);
    }

    /// A shard of the RIB began or ceased to use a next hop.
    pub(super) fn track(&mut self, addr: IpAddr, used: bool) {
        if !used {
            if let Some(next_hop) = self.next_hops.get_mut(&addr) {
                next_hop.tracked = next_hop.tracked.saturating_sub(1);
                if next_hop.tracked == 0 {
                    self.untracked.insert(addr);
                }
            }
            return;
        }
        self.untracked.remove(&addr);
        let next_hop = self.known(addr);
        next_hop.tracked += 1;
        // Whoever asks anew is told anew.
        next_hop.told = Told::Nothing;
        self.tell(addr);
    }

    fn known(&mut self, addr: IpAddr) -> &mut BgpNextHop {
        let found = if let Some(next_hop) = self.next_hops.get(&addr) {
            next_hop.found
        } else {
            let found = self.resolve(addr);
            if found.is_recursive() {
                self.recursive.insert(addr);
            }
            self.kept_changed = true;
            found
        };
        self.next_hops.entry(addr).or_insert(BgpNextHop { id: None, found, tracked: 0, told: Told::Nothing })
    }

    /// Binds the ports to their interfaces, which is otherwise part of [`Self::flush`]; for start-up, where a
    /// failure is fatal.
    pub(super) fn bind_ports(&mut self) -> Result<(), (String, XdpError)> {
        let failures = self.ports.bind(&mut self.plane, self.topology.links());
        self.net_changed = true;
        failures.into_iter().next().map_or(Ok(()), Err)
    }

    /// Brings the tables to what is meant. Without `bind` ports are left as they are.
    pub(super) fn flush(&mut self, bind: bool) {
        self.room_was_made = false;
        if self.retry_due.is_some_and(|due| due <= Instant::now()) {
            self.retry_due = None;
            self.retry_refused();
        }
        if self.shunned_until().is_some() {
            self.shun_no_longer(Instant::now());
        }
        if std::mem::take(&mut self.net_changed) {
            if bind {
                for (port, error) in self.ports.bind(&mut self.plane, self.topology.links()) {
                    error!(port, %error, "port is out of use, will be tried again");
                }
            }
            self.topology.set_egress(self.ports.egress());
            self.reconcile_own();
            self.resolve_all();
            self.kept_changed = true;
        } else if self.recursive_moved {
            self.resolve_each(self.recursive.iter().copied().collect());
            self.kept_changed = true;
        }
        if std::mem::take(&mut self.doubts.moved) {
            self.resolve_all();
        }
        self.recursive_moved = false;
        self.drop_untracked();
        self.write();
        for batch in self.batches.drain(..) {
            self.sink.batch_done(batch);
        }
        for Arrival { at, updates } in self.arrivals.drain(..) {
            self.latency.record(at.elapsed(), updates);
        }
        if self.grace_due.is_some_and(|due| due <= Instant::now()) {
            self.wait_for_grace();
        }
        if std::mem::take(&mut self.kept_changed) {
            self.report_kept();
        }
        self.plan_retry();
        self.audit();
        self.publish();
    }

    /// When [`Self::flush`] wants to be called even if nothing comes in.
    pub(super) fn wake_at(&self) -> Option<Instant> {
        self.grace_due
            .into_iter()
            .chain(self.retry_due)
            .chain(self.shunned_until())
            .chain(self.audit.due())
            .chain(self.refusals.iter().filter_map(|refusal| refusal.until))
            .min()
    }

    /// Takes the program off all interfaces, also that of an earlier run.
    pub(super) fn stop(&mut self) {
        self.ports.detach_all(&mut self.plane);
    }

    /// Points a prefix at its target; refused routes are kept for another try.
    pub(super) fn insert(&mut self, prefix: IpNet, target: RouteTarget) {
        self.route_moved(prefix);
        match self.try_insert(prefix, &target) {
            Ok(()) => {
                if !self.refused.is_empty() {
                    self.refused.remove(prefix);
                }
            }
            Err(error) => {
                if self.refused.is_empty() {
                    error!(%prefix, %error, "routes are not installed, will be tried again");
                }
                // The route before must not stay in place of this one.
                self.fib.remove(prefix);
                self.refused.insert(prefix, target);
                self.sink.route_status(prefix, false);
            }
        }
    }

    fn try_insert(&mut self, prefix: IpNet, target: &RouteTarget) -> Result<(), FibError> {
        let (next_hops, backup) = match target {
            RouteTarget::Via { next_hops, backup } => (next_hops, *backup),
            RouteTarget::Reject => return self.insert_single(prefix, NextHopKey::Reject),
            RouteTarget::Blackhole => return self.insert_single(prefix, NextHopKey::Blackhole),
            RouteTarget::Withdrawn => {
                self.remove(prefix);
                return Ok(());
            }
        };
        self.set_key.clear();
        self.set_key.extend(next_hops);
        self.set_key.push(backup.unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED)));
        if let Some(&set) = self.found_sets.get(&self.set_key) {
            return self.fib.insert(prefix, set);
        }
        let mut members = Vec::with_capacity(next_hops.len());
        for &addr in next_hops {
            let member = match self.next_hop(addr) {
                Err(FibError::NextHopsFull { .. }) if self.make_room() => self.next_hop(addr)?,
                other => other?,
            };
            members.push(member);
        }
        // A route without a backup is better than none.
        let backup = backup.and_then(|addr| self.next_hop(addr).ok());
        let set = match self.fib.set_with_backup(&members, backup) {
            Err(FibError::SetsFull { .. } | FibError::MembersFull { .. }) => self.set(&members)?,
            other => other?,
        };
        self.found_sets.insert(self.set_key.clone(), set);
        self.fib.insert(prefix, set)
    }

    /// Points a prefix at one next hop that only routes keep.
    pub(super) fn insert_single(&mut self, prefix: IpNet, key: NextHopKey) -> Result<(), FibError> {
        let known = self.fib.find_next_hop(key).is_some();
        let id = match self.fib.next_hop(key) {
            Err(FibError::NextHopsFull { .. }) if self.make_room() => self.fib.next_hop(key)?,
            other => other?,
        };
        if !known {
            self.reset_counters(id);
        }
        let installed = self.set(&[id]).and_then(|set| match key {
            NextHopKey::Reject | NextHopKey::Blackhole => self.fib.insert(prefix, set),
            _ => self.fib.insert_own(prefix, set),
        });
        // From here on the routes alone keep the next hop.
        self.fib.release_next_hop(id)?;
        installed
    }

    /// The set of these next hops; what waits to be freed is freed if there is no room.
    fn set(&mut self, members: &[NextHopId]) -> Result<SetId, FibError> {
        match self.fib.set(members) {
            Err(FibError::SetsFull { .. } | FibError::MembersFull { .. }) if self.make_room() => {
                self.fib.set(members)
            }
            other => other,
        }
    }

    pub(super) fn remove(&mut self, prefix: IpNet) {
        self.route_moved(prefix);
        self.fib.remove(prefix);
        if !self.refused.is_empty() {
            self.refused.remove(prefix);
        }
    }

    /// The FIB's next hop for an address, made and resolved if it is new.
    fn next_hop(&mut self, addr: IpAddr) -> Result<NextHopId, FibError> {
        let next_hop = self.known(addr);
        if let Some(id) = next_hop.id {
            return Ok(id);
        }
        if next_hop.tracked == 0 {
            self.untracked.insert(addr);
        }
        let id = self.fib.next_hop(NextHopKey::Via { addr, ifindex: 0 })?;
        self.reset_counters(id);
        self.known(addr).id = Some(id);
        self.refresh_next_hop(addr);
        Ok(id)
    }

    /// An id may have been another next hop's, with other counts.
    pub(super) fn reset_counters(&mut self, id: NextHopId) {
        if let Err(error) = self.plane.reset_next_hop_counters(id.0) {
            warn!(id = id.0, %error, "counters of a next hop start with those of another one");
        }
    }

    /// Tells the RIB whether a next hop that it tracks can be reached, and at what cost, if it does not know.
    fn tell(&mut self, addr: IpAddr) {
        let Some(next_hop) = self.next_hops.get_mut(&addr).filter(|next_hop| next_hop.tracked > 0) else {
            return;
        };
        let cost = next_hop.found.reachable();
        let news = cost.map_or(Told::Unreachable, Told::Cost);
        if std::mem::replace(&mut next_hop.told, news) != news {
            self.sink.next_hop(addr, cost);
        }
    }

    /// Works out anew how each next hop is reached.
    fn resolve_all(&mut self) {
        self.resolve_each(self.next_hops.keys().copied().collect());
    }

    fn resolve_each(&mut self, addresses: Vec<IpAddr>) {
        for addr in addresses {
            let Some(before) = self.next_hops.get(&addr).map(|next_hop| next_hop.found) else { continue };
            let found = self.resolve_again(addr, before);
            let Some(next_hop) = self.next_hops.get_mut(&addr) else { continue };
            if next_hop.found != found {
                debug!(next_hop = %addr, ?found, "next hop is reached another way");
            }
            next_hop.found = found;
            if found.is_recursive() {
                self.recursive.insert(addr);
            } else {
                self.recursive.remove(&addr);
            }
            self.refresh_next_hop(addr);
            self.tell(addr);
        }
    }

    /// Lets go of next hops that neither the RIB nor a route uses.
    fn drop_untracked(&mut self) {
        let (next_hops, fib, recursive) = (&mut self.next_hops, &mut self.fib, &mut self.recursive);
        let shunned = &mut self.shunned;
        let mut dropped = false;
        self.untracked.retain(|addr| {
            let Some(next_hop) = next_hops.get(addr) else { return false };
            let view = next_hop.id.and_then(|id| fib.next_hop_view(id));
            let used = view.is_some_and(|view| view.sets > 0);
            if !used {
                if let Some(id) = next_hop.id {
                    // It is ours to release: a failure means that it is gone.
                    let _ = fib.release_next_hop(id);
                }
                next_hops.remove(addr);
                recursive.remove(addr);
                shunned.remove(addr);
                dropped = true;
            }
            used
        });
        self.kept_changed |= dropped;
    }

    /// Gives tables that have outgrown the LPM trie a direct table.
    fn move_tables(&mut self) {
        for family in Family::ALL {
            let refusal = &mut self.refusals[family as usize];
            // Its time has come: it is asked for now, or nobody needs it any more.
            refusal.until = refusal.until.filter(|until| *until > Instant::now());
            if !self.fib.wants_direct(family) {
                continue;
            }
            let consequence = "the forwarding table stays in the LPM trie, although it is large";
            if refusal.ask(family, consequence, || self.plane.open_direct(family)) {
                info!(?family, "the forwarding table moves from the LPM trie to a direct table");
                let own = &self.own;
                self.fib.move_to_direct(family, |prefix| own.contains_key(&prefix));
            }
        }
    }

    /// Commits, applies, and hears what failed.
    fn write(&mut self) {
        self.found_sets.clear();
        self.move_tables();
        self.edits.clear();
        let (plane, refusals) = (&mut self.plane, &mut self.refusals);
        self.fib.commit(&mut self.edits, |family| {
            let consequence =
                "the direct forwarding table cannot grow: routes will be left out when it is full";
            let grows = refusals[family as usize].ask(family, consequence, || plane.open_larger(family));
            if grows {
                info!(?family, "the direct forwarding table grows");
            }
            grows
        });
        let failures = self.plane.apply(&self.edits);
        for (index, _) in &failures {
            match self.edits.get(*index) {
                Some(TableEdit::Insert { prefix, .. } | TableEdit::Remove { prefix }) => {
                    self.fib.write_failed(*prefix);
                }
                Some(TableEdit::Serve { family }) => self.fib.serve_failed(*family),
                _ => {}
            }
        }
        if let Some((_, error)) = failures.first() {
            self.say_failed(failures.len(), error);
        }
        // A large burst should not keep its memory.
        if self.edits.capacity() > 1 << 16 {
            self.edits = Vec::new();
        }
        self.fib.drain_status_changes(&mut self.statuses);
        for change in self.statuses.drain(..) {
            self.sink.route_status(change.prefix, change.status.is_installed());
        }
        // The RIB takes a new best path for installed until it hears otherwise; a route that was left out
        // before and still is has no change of status to tell.
        for prefix in self.touched.drain(..) {
            if self.fib.route(prefix).is_some_and(|route| !route.status.is_installed()) {
                self.sink.route_status(prefix, false);
            }
        }
        let stats = self.fib.stats();
        self.incomplete = [stats.ipv4, stats.ipv6].iter().any(|table| table.full + table.write_failed > 0);
        if self.fib.needs_grace() && self.grace_due.is_none() {
            self.grace_due = Some(Instant::now() + GRACE_SPACING);
        }
    }

    fn say_failed(&mut self, count: usize, error: &XdpError) {
        self.write_errors += count as u64;
        self.unsaid_errors += count as u64;
        if self.said_at.is_none_or(|at| at.elapsed() >= LOG_SPACING) {
            error!(failed = self.unsaid_errors, %error, "forwarding tables could not be written");
            self.said_at = Some(Instant::now());
            self.unsaid_errors = 0;
        }
    }

    /// Waits until nothing replaced or removed is in use any more, so that its ids are free again.
    fn wait_for_grace(&mut self) {
        self.grace_due = None;
        match self.plane.grace_period() {
            Ok(()) => self.fib.grace_elapsed(),
            Err(error) => warn!(%error, "freed entries of the forwarding tables stay unused"),
        }
        if self.fib.needs_grace() {
            self.grace_due = Some(Instant::now() + GRACE_SPACING);
        }
    }

    /// Frees what waits for a grace period, now. Whether that may have helped.
    pub(super) fn make_room(&mut self) -> bool {
        if std::mem::replace(&mut self.room_was_made, true) {
            return false;
        }
        self.write();
        let waiting = self.fib.needs_grace();
        if waiting {
            self.wait_for_grace();
        }
        waiting
    }

    pub(super) fn retry_refused(&mut self) {
        let mut failures = 0;
        for (prefix, target) in self.refused.turn(RETRY_ROUTES) {
            if self.try_insert(prefix, &target).is_err() {
                failures += 1;
                if failures == RETRY_FAILURES {
                    self.refused.turn_ends(prefix);
                    break;
                }
                continue;
            }
            self.refused.remove(prefix);
            self.sink.route_status(prefix, true);
        }
        // A port that could not be bound is tried with the next flush.
        self.net_changed |= self.ports.wants_retry();
    }

    fn plan_retry(&mut self) {
        let wanted = self.fib.wants_retry()
            || !self.refused.is_empty()
            || self.ports.wants_retry()
            || self.net_changed;
        if !wanted {
            self.retry_due = None;
        } else if self.retry_due.is_none() {
            self.retry_due = Some(Instant::now() + RETRY_SPACING);
        }
    }

    /// Tells netlink which neighbours to keep resolved: those that BGP routes or host routes lead to.
    fn report_kept(&mut self) {
        let ways = self.next_hops.values().filter_map(|next_hop| match next_hop.found.way {
            Way::OnLink { ifindex, gateway } => Some((ifindex, gateway)),
            Way::Unreachable(_) => None,
        });
        let hosts = self.own.iter().filter_map(|(prefix, own)| match own {
            Own::Host { ifindex } => Some((*ifindex, prefix.addr())),
            _ => None,
        });
        let kept: Kept = ways.chain(hosts).collect();
        self.topology.forget_lost(&kept);
        self.kept.send_if_modified(|before| {
            let changed = *before != kept;
            *before = kept;
            changed
        });
    }

    fn publish(&self) {
        let stats = ForwardingStats {
            fib: self.fib.stats(),
            ports: self.ports.status(),
            refused: self.refused.counts(),
            write_errors: self.write_errors,
            audit: Arc::clone(&self.audit.stats),
            neighbours_kept: self.kept.borrow().len(),
            latency: self.latency,
            staged: self.staged.is_some(),
            took_over: self.took_over,
        };
        *self.stats.write().unwrap_or_else(PoisonError::into_inner) = stats;
    }

    #[cfg(test)]
    pub(super) fn published(&self) -> ForwardingStats {
        self.stats.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// What is known of a next hop besides what the FIB says: the neighbour that it leads to.
    pub(super) fn way_of(&self, key: NextHopKey) -> Option<Way> {
        match key {
            NextHopKey::Via { addr, ifindex: 0 } => {
                self.next_hops.get(&addr).map(|next_hop| next_hop.found.way)
            }
            NextHopKey::Via { addr, ifindex } => Some(Way::OnLink { ifindex, gateway: addr }),
            _ => None,
        }
    }
}
