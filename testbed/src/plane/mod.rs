//! The forwarding tables by themselves, filled from a list of routes without sessions and RIB: how fast a
//! lookup is and whether it is right ([`lookup`]), how long a whole table and a single change take
//! ([`install`]), and how small a table becomes ([`compression`]).
//!
//! Each route of a [`Table`] leads to one of some neighbours, which follows from the AS that originates it, as
//! best paths do. This is the one part of the testbed that uses the daemon's own code: a process in between
//! would be measured too.

pub mod compression;
pub mod install;
pub mod lookup;
pub mod oracle;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use anyhow::{Context as _, Result, ensure};
use fib::{EngineChoice, Family, Fib, FibConfig, NextHopKey, Resolution, SetId, TableEdit};
use fib_abi::{Adjacency, Port, PortKey};
use ipnet::IpNet;
use peregrine::xdp::{DataPlane, PlaneConfig, Probe, XdpMode};

use crate::netns::{Namespace, Sandbox};
use crate::packet::{Frame, Ipv4, Ipv6, Payload, Transport};
use crate::table::Route;

/// Where packets come in and leave.
const IN: &str = "in";
const OUT: &str = "out";
/// Of the port that packets come in by.
const OUR_MAC: [u8; 6] = [2, 0, 0, 0, 0, 1];
const HOST_MAC: [u8; 6] = [2, 0, 0, 0, 0, 0xa];
/// `XDP_REDIRECT`.
const REDIRECT: u32 = 4;
/// Sizes of the small maps: more than the neighbours need.
const SMALL: u32 = 1024;

/// The MAC address of a neighbour, by which packets tell where they were sent.
fn mac(neighbor: u8) -> [u8; 6] {
    [2, 0, 0, 0, 1, neighbor]
}

/// The neighbour of a route, out of so many.
fn neighbor_of(route: &Route, neighbors: u8) -> u8 {
    let mixed = u64::from(route.origin.wrapping_mul(0x9e37_79b1));
    ((mixed * u64::from(neighbors)) >> 32) as u8
}

/// Two namespaces, with a router's two ports in one of them.
#[derive(Debug)]
pub struct Site {
    router: Namespace,
    _hosts: Namespace,
    _sandbox: Sandbox,
}

impl Site {
    /// In a sandbox of this name.
    pub fn build(name: &str) -> Result<Self> {
        let sandbox = Sandbox::new(name)?;
        let (router, hosts) = (sandbox.namespace("router")?, sandbox.namespace("hosts")?);
        for device in [IN, OUT] {
            sandbox.link((&router, device), (&hosts, device))?;
            hosts.offloads_for_xdp(device)?;
        }
        Ok(Self { router, _hosts: hosts, _sandbox: sandbox })
    }
}

/// The tables in the kernel, and what is meant to be in them. Lives in the router's namespace.
struct Tables {
    fib: Fib,
    plane: DataPlane,
    /// By neighbour.
    sets: Vec<SetId>,
    port: u32,
}

impl Tables {
    /// Empty tables of one engine.
    fn new(engine: EngineChoice, neighbors: u8) -> Result<Self> {
        let config = FibConfig {
            engine,
            sets: SMALL,
            members: SMALL,
            next_hops: SMALL,
            adjacencies: SMALL,
            ..FibConfig::default()
        };
        let mut plane = DataPlane::load(&PlaneConfig {
            capacity_v4: config.capacity_v4 as u32,
            capacity_v6: config.capacity_v6 as u32,
            sets: config.sets,
            members: config.members,
            next_hops: config.next_hops,
            adjacencies: config.adjacencies,
            ports: 8,
            hash_seed: 1,
        })?;
        let index = |name| nix::net::if_::if_nametoindex(name).with_context(|| format!("interface {name}"));
        let (port, out) = (index(IN)?, index(OUT)?);
        let key = PortKey { ifindex: port, outer_vlan: 0, inner_vlan: 0 };
        plane.set_port(key, Port { id: 0, flags: 0, mac: OUR_MAC })?;
        plane.set_egress(out)?;
        if engine == EngineChoice::Direct {
            for family in Family::ALL {
                plane.open_direct(family)?;
            }
        }
        // For a program that is attached nowhere the kernel would rewrite its dispatcher with each run.
        plane.attach(port, IN, XdpMode::Auto)?;
        let mut fib = Fib::new(config);
        let mut sets = Vec::new();
        for neighbor in 0..neighbors {
            let addr = IpAddr::V4(Ipv4Addr::new(10, 255, 0, neighbor));
            let hop = fib.next_hop(NextHopKey::Via { addr, ifindex: out })?;
            let adjacency = Adjacency {
                ifindex: out,
                port: 5,
                dst_mac: mac(neighbor),
                src_mac: [2, 0, 0, 0, 0, 2],
                ..Adjacency::default()
            };
            fib.resolve(hop, Resolution::Forward { adjacency, mtu: 1500 })?;
            sets.push(fib.set(&[hop])?);
        }
        Ok(Self { fib, plane, sets, port })
    }

    fn insert(&mut self, prefix: IpNet, neighbor: u8) -> Result<()> {
        self.fib.insert(prefix, self.sets[usize::from(neighbor)]).with_context(|| prefix.to_string())
    }

    /// Writes what changed, as the daemon does it.
    fn commit(&mut self) -> Result<()> {
        let mut edits = Vec::new();
        let plane = &mut self.plane;
        self.fib.commit(&mut edits, |family| plane.open_larger(family).is_ok());
        let failures = self.plane.apply(&edits);
        ensure!(failures.is_empty(), "{} of {} edits failed: {:?}", failures.len(), edits.len(), failures[0]);
        if self.fib.needs_grace() {
            self.plane.grace_period()?;
            self.fib.grace_elapsed();
        }
        Ok(())
    }

    /// Takes in all routes.
    fn fill(&mut self, routes: &[Route]) -> Result<()> {
        let neighbors = self.sets.len() as u8;
        for route in routes {
            self.insert(route.prefix, neighbor_of(route, neighbors))?;
        }
        self.commit()?;
        let stats = self.fib.stats();
        let out = stats.ipv4.not_installed() + stats.ipv6.not_installed();
        ensure!(out == 0, "{out} routes did not find room");
        Ok(())
    }

    /// Writes an entry into the tries for each route, without compression. What is meant knows nothing of it.
    fn fill_plainly(&mut self, routes: &[Route]) -> Result<()> {
        let neighbors = self.sets.len() as u8;
        // A set goes when nothing names it: one route each, which the entries below agree with.
        for neighbor in 0..neighbors {
            let named = routes.iter().find(|route| neighbor_of(route, neighbors) == neighbor);
            if let Some(route) = named {
                self.insert(route.prefix, neighbor)?;
            }
        }
        self.commit()?;
        let set = |route: &Route| self.sets[usize::from(neighbor_of(route, neighbors))].0;
        let entry = |route: &Route| TableEdit::Insert { prefix: route.prefix, set: set(route) };
        let edits: Vec<TableEdit> = routes.iter().map(entry).collect();
        let failures = self.plane.apply(&edits);
        ensure!(
            failures.is_empty(),
            "{} of {} entries failed: {:?}",
            failures.len(),
            edits.len(),
            failures[0]
        );
        Ok(())
    }

    /// The neighbour that the maps name for an address.
    fn lookup(&self, address: IpAddr) -> Result<Option<u8>> {
        let Some(set) = self.plane.lookup(address)?.filter(|set| *set != 0) else { return Ok(None) };
        let neighbor = self.sets.iter().position(|known| known.0 == set);
        neighbor.map(|neighbor| Some(neighbor as u8)).with_context(|| format!("{address}: unknown set {set}"))
    }
}

/// The neighbour that the program sends a packet to.
fn sent_to(probe: &Probe, port: u32, address: IpAddr) -> Result<Option<u8>> {
    let run = probe.test_run(&packet(address), port, 1)?;
    Ok((run.action == REDIRECT).then(|| run.packet[5]))
}

/// A small packet to an address.
fn packet(to: IpAddr) -> Vec<u8> {
    let transport = Transport::Udp(1, 2, vec![0; 18]);
    let payload: Payload = match to {
        IpAddr::V4(to) => Ipv4::new(Ipv4Addr::new(192, 0, 2, 1), to, transport).into(),
        IpAddr::V6(to) => Ipv6::new(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1), to, transport).into(),
    };
    Frame::new(OUR_MAC, HOST_MAC, payload).bytes()
}
