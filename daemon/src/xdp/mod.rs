//! The data plane: the XDP program and its maps, as the FIB thread drives them.
//!
//! ```text
//! mod.rs      DataPlane: load, attach, write, read
//! attach.rs   one interface: native or generic, by BPF link
//! keep.rs     what outlives the process, and what an earlier one has left
//! pins.rs     the names by which it does
//! bpffs.rs    the file system that they are in
//! table.rs    a map with its types; per-CPU counters
//! direct.rs   a direct table in shared memory, and the slot that the program finds it in
//! read_back.rs the maps as they are, for the audit
//! sys.rs      bpf(2)
//! memory.rs   a setting of the allocator
//! error.rs    failures in words that say what to do
//! ```
//!
//! The program is built by `build.rs` and embedded. Loading needs `CAP_BPF`, `CAP_NET_ADMIN` and
//! `CAP_PERFMON`. Maps, program and attachments go when the [`DataPlane`] does, unless they are pinned
//! ([`DataPlane::settle`]).
//!
//! Writes are not atomic together, only in order: the `fib` crate orders its edits so that each
//! state in between forwards correctly, and reuses an id only after [`DataPlane::grace_period`].

#![expect(unsafe_code, reason = "bpf(2) takes raw pointers to plain data")]

mod attach;
mod bpffs;
mod direct;
mod error;
mod keep;
mod memory;
mod pins;
mod read_back;
mod sys;
mod table;

use std::{
    collections::BTreeMap,
    net::IpAddr,
    os::fd::{AsFd as _, AsRawFd as _, OwnedFd},
    time::Duration,
};

use aya::{EbpfLoader, programs::Xdp};
use bgp::types::Family;
use fib::TableEdit;
use fib_abi::{
    Adjacency, Counter, NextHopWord, Plain, Port, PortCounters, PortKey, RouteKey, SetWord, Settings,
    Verdict, direct::Layout, maps,
};
use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use self::{
    attach::Attachment,
    direct::Slots,
    keep::Keeping,
    table::{Counters, Table},
};
pub use self::{
    attach::{AttachedMode, XdpMode},
    error::XdpError,
    memory::map_large_blocks,
    pins::{Pins, namespace_cookie},
    read_back::EntriesPage,
};

/// The program's name in the object.
const PROGRAM: &str = "peregrine";

/// The object, built by `build.rs`.
static OBJECT: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/peregrine-xdp"));

/// Entries that one batch call carries: enough to make the call itself cheap, few enough that
/// the kernel yields the CPU in between.
const BATCH: usize = 4096;

/// Room for packets to grow in a test run.
const TEST_RUN_ROOM: usize = 256;

/// Capacities of the maps, fixed when they are made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PlaneConfig {
    /// Entries of the IPv4 table.
    pub capacity_v4: u32,
    /// Entries of the IPv6 table.
    pub capacity_v6: u32,
    /// Next-hop sets.
    pub sets: u32,
    /// Member slots of all sets together.
    pub members: u32,
    /// Next hops.
    pub next_hops: u32,
    /// Adjacencies.
    pub adjacencies: u32,
    /// Logical ports, and egress devices.
    pub ports: u32,
    /// Seed of the flow hash: different on neighbouring routers, so that they spread flows differently.
    pub hash_seed: u32,
}

/// What a test run of the program did to a packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TestRun {
    /// The XDP action (`XDP_DROP` 1, `XDP_PASS` 2, `XDP_REDIRECT` 4).
    pub action: u32,
    /// The packet afterwards.
    pub packet: Vec<u8>,
    /// Mean time of one run.
    pub duration: Duration,
}

/// `struct bpf_devmap_val`.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
struct Egress {
    ifindex: u32,
    /// Descriptor of a program to run at the egress; zero is none.
    program: u32,
}

// SAFETY: two integers without padding.
unsafe impl Plain for Egress {}

/// The loaded program, its maps, and where it is attached.
#[derive(Debug)]
pub struct DataPlane {
    attachments: BTreeMap<u32, Attachment>,
    keeping: Keeping,
    routes_v4: Table<RouteKey<[u8; 4]>, u32>,
    routes_v6: Table<RouteKey<[u8; 16]>, u32>,
    /// Of the direct tables, by family.
    slots: Box<[Slots; 2]>,
    sets: Table<u32, SetWord>,
    members: Table<u32, u32>,
    next_hops: Table<u32, NextHopWord>,
    adjacencies: Table<u32, Adjacency>,
    ports: Table<PortKey, Port>,
    egress: Table<u32, Egress>,
    port_counters: Counters<PortCounters>,
    next_hop_counters: Counters<Counter>,
    verdict_counters: Counters<Counter>,
    grace: Grace,
    object: aya::Ebpf,
}

impl DataPlane {
    /// Loads the program and makes its maps. Nothing is attached yet.
    pub fn load(config: &PlaneConfig) -> Result<Self, XdpError> {
        const ACTION: &str = "load the XDP program";
        let mut loader = EbpfLoader::new();
        for (name, entries) in [
            (maps::ROUTES_V4, config.capacity_v4),
            (maps::ROUTES_V6, config.capacity_v6),
            (maps::SETS, config.sets),
            (maps::MEMBERS, config.members),
            (maps::NEXT_HOPS, config.next_hops),
            (maps::NEXT_HOP_COUNTERS, config.next_hops),
            (maps::ADJACENCIES, config.adjacencies),
            (maps::PORTS, config.ports),
            (maps::PORT_COUNTERS, config.ports),
            (maps::EGRESS, config.ports),
        ] {
            loader.map_max_entries(name, entries.max(1));
        }
        let mut object = loader.load(OBJECT).map_err(|error| XdpError::from_aya(ACTION, &error))?;
        let program: &mut Xdp = object
            .program_mut(PROGRAM)
            .ok_or_else(|| XdpError::Object(format!("it has no program {PROGRAM}")))?
            .try_into()
            .map_err(|error| XdpError::from_aya(ACTION, &error))?;
        program.load().map_err(|error| XdpError::from_aya(ACTION, &error))?;

        let settings: Table<u32, Settings> = Table::take(&mut object, maps::SETTINGS)?;
        settings.update(&0, &Settings { hash_seed: config.hash_seed, reserved: 0 })?;
        Ok(Self {
            attachments: BTreeMap::new(),
            keeping: Keeping::default(),
            routes_v4: Table::take(&mut object, maps::ROUTES_V4)?,
            routes_v6: Table::take(&mut object, maps::ROUTES_V6)?,
            slots: Box::new([
                Slots::take(&mut object, maps::DIRECT_V4, Layout::IPV4)?,
                Slots::take(&mut object, maps::DIRECT_V6, Layout::IPV6)?,
            ]),
            sets: Table::take(&mut object, maps::SETS)?,
            members: Table::take(&mut object, maps::MEMBERS)?,
            next_hops: Table::take(&mut object, maps::NEXT_HOPS)?,
            adjacencies: Table::take(&mut object, maps::ADJACENCIES)?,
            ports: Table::take(&mut object, maps::PORTS)?,
            egress: Table::take(&mut object, maps::EGRESS)?,
            port_counters: Counters::take(&mut object, maps::PORT_COUNTERS)?,
            next_hop_counters: Counters::take(&mut object, maps::NEXT_HOP_COUNTERS)?,
            verdict_counters: Counters::take(&mut object, maps::VERDICT_COUNTERS)?,
            grace: Grace::new()?,
            object,
        })
    }

    fn program(&self) -> Result<&Xdp, XdpError> {
        match self.object.program(PROGRAM) {
            Some(aya::programs::Program::Xdp(program)) => Ok(program),
            _ => Err(XdpError::Object(format!("it has no XDP program {PROGRAM}"))),
        }
    }

    /// The interfaces with the program attached: index, name, mode.
    pub fn attached(&self) -> impl Iterator<Item = (u32, &str, AttachedMode)> {
        self.attachments.iter().map(|(&ifindex, it)| (ifindex, it.name.as_str(), it.mode))
    }

    /// Adds or replaces a logical port.
    pub fn set_port(&mut self, key: PortKey, port: Port) -> Result<(), XdpError> {
        self.ports.update(&key, &port)
    }

    /// Removes a logical port: its packets go to the host.
    pub fn remove_port(&mut self, key: PortKey) -> Result<(), XdpError> {
        self.ports.remove(&key)
    }

    /// Lets packets be redirected to a device.
    pub fn set_egress(&mut self, ifindex: u32) -> Result<(), XdpError> {
        self.egress.update(&ifindex, &Egress { ifindex, program: 0 })
    }

    /// Stops redirection to a device.
    pub fn remove_egress(&mut self, ifindex: u32) -> Result<(), XdpError> {
        self.egress.remove(&ifindex)
    }

    /// Makes the empty direct table of a family, unless there is one. Packets are looked up in it from the
    /// first [`TableEdit::Serve`] on.
    pub fn open_direct(&mut self, family: fib::Family) -> Result<(), XdpError> {
        self.slots_mut(family).open()
    }

    /// Makes the empty direct table of a family's next size, unless there is one, for the next
    /// [`TableEdit::Grow`].
    pub fn open_larger(&mut self, family: fib::Family) -> Result<(), XdpError> {
        self.slots_mut(family).open_larger()
    }

    fn slots(&self, family: fib::Family) -> &Slots {
        &self.slots[family as usize]
    }

    fn slots_mut(&mut self, family: fib::Family) -> &mut Slots {
        &mut self.slots[family as usize]
    }

    /// Applies edits in their order. An edit that fails is returned with its index; those after it are
    /// applied all the same.
    pub fn apply(&mut self, edits: &[TableEdit]) -> Vec<(usize, XdpError)> {
        let mut failures = Vec::new();
        let mut next = 0;
        while let Some(edit) = edits.get(next) {
            let run = &edits[next..];
            let mut failed = |index: usize, error| failures.push((next + index, error));
            let done = match *edit {
                TableEdit::Insert { prefix: IpNet::V4(_), .. } => {
                    insert(&self.routes_v4, run, key_v4, &mut failed)
                }
                TableEdit::Insert { prefix: IpNet::V6(_), .. } => {
                    insert(&self.routes_v6, run, key_v6, &mut failed)
                }
                TableEdit::Remove { prefix: IpNet::V4(_) } => {
                    remove(&self.routes_v4, run, key_v4, &mut failed)
                }
                TableEdit::Remove { prefix: IpNet::V6(_) } => {
                    remove(&self.routes_v6, run, key_v6, &mut failed)
                }
                ref single => {
                    if let Err(error) = self.write(single) {
                        failed(0, error);
                    }
                    1
                }
            };
            next += done;
        }
        failures
    }

    /// Carries out one edit.
    fn write(&mut self, edit: &TableEdit) -> Result<(), XdpError> {
        match *edit {
            TableEdit::Fill { family, first, count, value } => self.slots(family).fill(first, count, value),
            TableEdit::Grow { family } => self.slots_mut(family).grow(),
            TableEdit::Serve { family } => self.slots_mut(family).serve(),
            TableEdit::Adjacency { index, value } => self.adjacencies.update(&index, &value),
            TableEdit::NextHop { index, value } => self.next_hops.update(&index, &value),
            TableEdit::Member { slot, next_hop } => self.members.update(&slot, &next_hop),
            TableEdit::Set { index, value } => self.sets.update(&index, &value),
            TableEdit::Insert { prefix, set } => match prefix {
                IpNet::V4(prefix) => self.routes_v4.update(&route_key_v4(prefix), &set),
                IpNet::V6(prefix) => self.routes_v6.update(&route_key_v6(prefix), &set),
            },
            TableEdit::Remove { prefix } => match prefix {
                IpNet::V4(prefix) => self.routes_v4.remove(&route_key_v4(prefix)),
                IpNet::V6(prefix) => self.routes_v6.remove(&route_key_v6(prefix)),
            },
        }
    }

    /// Returns when no packet is being forwarded by anything that was replaced or removed before
    /// the call.
    pub fn grace_period(&self) -> Result<(), XdpError> {
        self.grace.wait()
    }

    /// The counters of all verdicts, summed over CPUs.
    pub fn verdict_counters(&self) -> Vec<(Verdict, Counter)> {
        Verdict::ALL.iter().map(|&verdict| (verdict, self.verdict_counters.sum(verdict as u32))).collect()
    }

    /// The counters of a logical port, summed over CPUs.
    pub fn port_counters(&self, id: u32) -> PortCounters {
        self.port_counters.sum(id)
    }

    /// What was forwarded by a next hop, summed over CPUs.
    pub fn next_hop_counters(&self, id: u32) -> Counter {
        self.next_hop_counters.sum(id)
    }

    /// Starts the counters of a next hop anew, when its id is given to another one.
    pub fn reset_next_hop_counters(&mut self, id: u32) -> Result<(), XdpError> {
        self.next_hop_counters.reset(id)
    }

    /// Starts the counters of a logical port anew, when its id is given to another one.
    pub fn reset_port_counters(&mut self, id: u32) -> Result<(), XdpError> {
        self.port_counters.reset(id)
    }

    /// The set that the map itself finds for an address: the direct table if packets use it, else the trie.
    pub fn lookup(&self, address: IpAddr) -> Result<Option<u32>, XdpError> {
        let [v4, v6] = &*self.slots;
        match address {
            IpAddr::V4(address) if v4.is_served() => {
                Ok(v4.lookup(|layout, read| layout.lookup_v4(address.octets(), read)))
            }
            IpAddr::V6(address) if v6.is_served() => {
                Ok(v6.lookup(|layout, read| layout.lookup_v6(&address.octets(), read)))
            }
            IpAddr::V4(address) => self.routes_v4.lookup(&RouteKey { length: 32, address: address.octets() }),
            IpAddr::V6(address) => {
                self.routes_v6.lookup(&RouteKey { length: 128, address: address.octets() })
            }
        }
    }

    /// The entries of a family's trie as they are in the kernel, in no particular order, read in
    /// slices. Entries written or removed meanwhile may or may not be among them; one removed
    /// at the cursor makes the kernel start over, so that others may come twice.
    pub fn entries(&self, family: Family) -> Box<dyn Iterator<Item = Result<(IpNet, u32), XdpError>> + '_> {
        match family {
            Family::Ipv4Unicast => Box::new(entries(&self.routes_v4, read_back::net_v4)),
            Family::Ipv6Unicast => Box::new(entries(&self.routes_v6, read_back::net_v6)),
        }
    }

    /// Runs the program on a packet as if it had come in on an interface, which must exist in
    /// the caller's network namespace. With `repeat` the program runs on its own output.
    pub fn test_run(&self, packet: &[u8], ifindex: u32, repeat: u32) -> Result<TestRun, XdpError> {
        self.probe()?.test(packet, ifindex, repeat, 0)
    }

    /// As [`DataPlane::test_run`], with bytes of metadata in front of the packet, which take from
    /// the room that it has to grow.
    pub fn test_run_with_metadata(
        &self,
        packet: &[u8],
        ifindex: u32,
        metadata: usize,
    ) -> Result<TestRun, XdpError> {
        self.probe()?.test(&[&vec![0; metadata], packet].concat(), ifindex, 1, metadata)
    }

    /// What runs the program while the data plane is written to.
    pub fn probe(&self) -> Result<Probe, XdpError> {
        let program = self.program()?.fd().map_err(|error| XdpError::from_aya("run XDP", &error))?;
        let program = program.as_fd().try_clone_to_owned();
        Ok(Probe {
            program: program.map_err(|error| XdpError::system("share the XDP program", "dup", error))?,
        })
    }
}

/// The loaded program, to be run on single packets.
#[derive(Debug)]
pub struct Probe {
    program: OwnedFd,
}

impl Probe {
    /// As [`DataPlane::test_run`].
    pub fn test_run(&self, packet: &[u8], ifindex: u32, repeat: u32) -> Result<TestRun, XdpError> {
        self.test(packet, ifindex, repeat, 0)
    }

    fn test(&self, data: &[u8], ifindex: u32, repeat: u32, metadata: usize) -> Result<TestRun, XdpError> {
        // `struct xdp_md`: data, data_end, data_meta, ingress_ifindex, rx_queue_index, egress_ifindex.
        let context: Vec<u8> = [metadata as u32, data.len() as u32, 0, ifindex, 0, 0]
            .iter()
            .flat_map(|word: &u32| word.to_ne_bytes())
            .collect();
        let mut out = vec![0; data.len() + TEST_RUN_ROOM];
        let (action, length, nanoseconds) =
            sys::test_run(self.program.as_fd(), data, &mut out, &context, repeat).map_err(|error| {
                XdpError::system("run the XDP program on a test packet", "BPF_PROG_TEST_RUN", error)
            })?;
        out.truncate(length);
        Ok(TestRun { action, packet: out, duration: Duration::from_nanos(u64::from(nanoseconds)) })
    }
}

fn route_key_v4(prefix: Ipv4Net) -> RouteKey<[u8; 4]> {
    RouteKey { length: u32::from(prefix.prefix_len()), address: prefix.network().octets() }
}

fn route_key_v6(prefix: Ipv6Net) -> RouteKey<[u8; 16]> {
    RouteKey { length: u32::from(prefix.prefix_len()), address: prefix.network().octets() }
}

fn key_v4(prefix: IpNet) -> Option<RouteKey<[u8; 4]>> {
    if let IpNet::V4(prefix) = prefix { Some(route_key_v4(prefix)) } else { None }
}

fn key_v6(prefix: IpNet) -> Option<RouteKey<[u8; 16]>> {
    if let IpNet::V6(prefix) = prefix { Some(route_key_v6(prefix)) } else { None }
}

/// Writes the entries that `edits` start with and that go to this table; how many they are.
fn insert<K: Plain>(
    table: &Table<K, u32>,
    edits: &[TableEdit],
    key: impl Fn(IpNet) -> Option<K>,
    failed: &mut dyn FnMut(usize, XdpError),
) -> usize {
    let (keys, sets): (Vec<K>, Vec<u32>) = edits
        .iter()
        .take(BATCH)
        .map_while(|edit| match *edit {
            TableEdit::Insert { prefix, set } => Some((key(prefix)?, set)),
            _ => None,
        })
        .unzip();
    table.update_all(&keys, &sets, failed);
    keys.len()
}

/// Removes the entries that `edits` start with removing from this table; how many they are.
fn remove<K: Plain>(
    table: &Table<K, u32>,
    edits: &[TableEdit],
    key: impl Fn(IpNet) -> Option<K>,
    failed: &mut dyn FnMut(usize, XdpError),
) -> usize {
    let keys: Vec<K> = edits
        .iter()
        .take(BATCH)
        .map_while(|edit| match *edit {
            TableEdit::Remove { prefix } => key(prefix),
            _ => None,
        })
        .collect();
    table.remove_all(&keys, failed);
    keys.len()
}

/// All entries of a table, read `BATCH` at a time.
fn entries<'a, K: Plain + Default>(
    table: &'a Table<K, u32>,
    prefix: impl Fn(K) -> Result<IpNet, XdpError> + 'a,
) -> impl Iterator<Item = Result<(IpNet, u32), XdpError>> + 'a {
    let mut cursor = None;
    let mut end = false;
    std::iter::from_fn(move || {
        if end {
            return None;
        }
        let mut elements = Vec::with_capacity(BATCH);
        let slice = match table.read(cursor, BATCH, &mut elements) {
            Ok(next) => {
                cursor = next;
                end = next.is_none();
                elements.into_iter().map(|(key, set)| Ok((prefix(key)?, set))).collect()
            }
            Err(error) => {
                end = true;
                vec![Err(error)]
            }
        };
        Some(slice)
    })
    .flatten()
}

/// Waiting for running programs: the kernel returns from an update of a map of maps only when no
/// program can still be using the map that was replaced, and so none of anything else older.
#[derive(Debug)]
struct Grace {
    outer: OwnedFd,
    inner: OwnedFd,
}

impl Grace {
    fn new() -> Result<Self, XdpError> {
        let failed = |error| XdpError::system("make the map to wait behind", "BPF_MAP_CREATE", error);
        let inner = sys::create_array().map_err(failed)?;
        let outer = sys::create_array_of_maps(inner.as_fd()).map_err(failed)?;
        Ok(Self { outer, inner })
    }

    fn wait(&self) -> Result<(), XdpError> {
        let inner = self.inner.as_raw_fd().unsigned_abs();
        sys::map_update(self.outer.as_fd(), &0_u32, &inner)
            .map_err(|error| XdpError::system("wait for running XDP programs", "BPF_MAP_UPDATE_ELEM", error))
    }
}
