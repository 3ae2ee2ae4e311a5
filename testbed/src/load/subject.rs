//! The routers that are measured, and how each is told to do the same thing.
//!
//! Each takes everything from every feeder, tells feeders nothing and the receiver every best
//! path, and waits for its neighbours to connect. Timers that only delay a session's return are as
//! short as the program allows.

use std::fmt;

use anyhow::{Context as _, Result};
use clap::ValueEnum;

use crate::daemon::Daemon;
use crate::load::neighbors::{Neighbor, Neighbors};
use crate::load::watch::Watch;
use crate::netns::{Namespace, Sandbox};
use crate::peers::bird::{self, Bird};
use crate::peers::frr::{self, Frr};
use crate::peers::gobgp::{self, Gobgp};
use crate::peers::openbgpd::{self, Openbgpd};
use crate::process::Process;
use crate::skip;

/// The router's end of the link.
pub const DEVICE: &str = "wan";

/// The other routers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Rival {
    /// BIRD 2.
    Bird,
    /// FRR's bgpd.
    Frr,
    /// `GoBGP`.
    Gobgp,
    /// `OpenBGPD`.
    Openbgpd,
}

/// A router and how it is set up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Subject {
    /// Our daemon, with its forwarding plane or without.
    Peregrine {
        /// With `[fib]`.
        fib: bool,
    },
    /// Another router.
    Rival {
        /// Which.
        which: Rival,
        /// Writing its routes into the kernel's tables.
        kernel: bool,
    },
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Peregrine { fib: true } => "peregrine",
            Self::Peregrine { fib: false } => "peregrine no-fib",
            Self::Rival { which: Rival::Bird, kernel: false } => "bird",
            Self::Rival { which: Rival::Bird, kernel: true } => "bird+kernel",
            Self::Rival { which: Rival::Frr, kernel: false } => "frr",
            Self::Rival { which: Rival::Frr, kernel: true } => "frr+kernel",
            Self::Rival { which: Rival::Gobgp, .. } => "gobgp",
            Self::Rival { which: Rival::Openbgpd, .. } => "openbgpd",
        })
    }
}

impl Rival {
    /// The programs that it consists of.
    pub fn programs(self) -> &'static [&'static str] {
        match self {
            Self::Bird => &bird::PROGRAMS,
            Self::Frr => &frr::PROGRAMS,
            Self::Gobgp => &gobgp::PROGRAMS,
            Self::Openbgpd => &openbgpd::PROGRAMS,
        }
    }

    /// Whether the testbed can make it write into the kernel's tables.
    pub fn has_kernel(self) -> bool {
        matches!(self, Self::Bird | Self::Frr)
    }
}

impl Subject {
    /// The programs that are needed and not installed.
    pub fn missing(self) -> Vec<&'static str> {
        let Self::Rival { which, .. } = self else { return Vec::new() };
        which.programs().iter().copied().filter(|program| skip::find(program).is_none()).collect()
    }

    /// Starts it. `prefixes` is the size of the table that it is going to see.
    pub fn start(
        self,
        sandbox: &Sandbox,
        namespace: &Namespace,
        neighbors: &Neighbors,
        prefixes: [u64; 2],
    ) -> Result<Running> {
        let instance = match self {
            Self::Peregrine { fib } => {
                let config = peregrine_config(neighbors, fib.then_some(prefixes));
                Instance::Peregrine(Daemon::start(sandbox, namespace, &config)?)
            }
            Self::Rival { which: Rival::Bird, kernel } => {
                Instance::Bird(Bird::start(sandbox, namespace, "bird", &bird_config(neighbors, kernel))?)
            }
            Self::Rival { which: Rival::Frr, kernel: false } => {
                Instance::Frr(Frr::start(sandbox, namespace, "frr", &frr_config(neighbors))?)
            }
            Self::Rival { which: Rival::Frr, kernel: true } => {
                Instance::Frr(Frr::start_with_zebra(sandbox, namespace, "frr", &frr_config(neighbors))?)
            }
            Self::Rival { which: Rival::Gobgp, .. } => {
                Instance::Gobgp(Gobgp::start(sandbox, namespace, "gobgp", &gobgp_config(neighbors))?)
            }
            Self::Rival { which: Rival::Openbgpd, .. } => {
                let config = openbgpd_config(neighbors);
                Instance::Openbgpd(Openbgpd::start(sandbox, namespace, "openbgpd", &config)?)
            }
        };
        let forwards = matches!(self, Self::Rival { kernel: true, .. } | Self::Peregrine { fib: true });
        Ok(Running { instance, forwards, pids: namespace.pids()? })
    }
}

/// A router that runs.
#[derive(Debug)]
pub struct Running {
    instance: Instance,
    forwards: bool,
    pids: Vec<i32>,
}

#[derive(Debug)]
enum Instance {
    Peregrine(Daemon),
    Bird(Bird),
    Frr(Frr),
    Gobgp(Gobgp),
    Openbgpd(Openbgpd),
}

impl Running {
    /// Its processes.
    pub fn pids(&self) -> &[i32] {
        &self.pids
    }

    /// A process of its namespace.
    pub fn pid(&self) -> Result<i32> {
        self.pids.first().copied().context("the router has no process")
    }

    /// The daemon, if it is ours.
    pub fn daemon(&self) -> Option<&Daemon> {
        if let Instance::Peregrine(daemon) = &self.instance { Some(daemon) } else { None }
    }

    /// Whether it fills a forwarding table.
    pub fn forwards(&self) -> bool {
        self.forwards
    }

    /// Where it can be seen how far it is, if it can.
    pub fn watch(&self) -> Result<Option<Watch<'_>>> {
        Ok(match self.daemon() {
            Some(daemon) => Some(Watch::Summary(daemon)),
            None if self.forwards => Some(Watch::Kernel(self.pid()?)),
            None => None,
        })
    }

    /// An error with the end of its log if it has ended.
    pub fn ensure_running(&mut self) -> Result<()> {
        self.process().context("the router has been ended")?.ensure_running()
    }

    /// Ends it at once; what it holds is the kernel's to free.
    pub fn kill_9(&mut self) -> Result<()> {
        self.process().map_or(Ok(()), Process::kill_9)
    }

    fn process(&mut self) -> Option<&mut Process> {
        match &mut self.instance {
            Instance::Peregrine(daemon) => Some(daemon.process()),
            Instance::Bird(bird) => bird.program().process(),
            Instance::Frr(frr) => frr.program().process(),
            Instance::Gobgp(gobgp) => gobgp.program().process(),
            Instance::Openbgpd(openbgpd) => openbgpd.program().process(),
        }
    }
}

/// One text for each feeder, by a function of the feeder and its number, and one for the receiver.
fn for_each(neighbors: &Neighbors, text: impl Fn(&Neighbor, Option<usize>) -> String) -> String {
    let feeders = neighbors.feeders.iter().enumerate().map(|(index, feeder)| text(feeder, Some(index)));
    feeders.chain([text(&neighbors.receiver, None)]).collect()
}

/// A neighbour of our daemon: a feeder, from which all is taken, or a receiver, which is told all.
pub fn peregrine_neighbor(neighbor: &Neighbor, feeder: bool) -> String {
    let (import, export) = if feeder { ("all", "none") } else { ("none", "all") };
    format!(
        "\n[[neighbor]]\naddress = \"{}\"\nasn = {}\npassive = true\n\
         import = [\"{import}\"]\nexport = [\"{export}\"]\n",
        neighbor.v4, neighbor.asn
    )
}

/// Our daemon's configuration, with room in the forwarding tables for so many prefixes or without any.
pub fn peregrine_config(neighbors: &Neighbors, fib: Option<[u64; 2]>) -> String {
    let router = neighbors.router;
    let fib = fib.map(|[v4, v6]| {
        // Room for connected and host routes beside the table.
        format!(
            "\n[fib]\ninterfaces = [\"{DEVICE}\"]\nmax-ipv4-entries = {}\nmax-ipv6-entries = {}\n",
            v4 + 1000,
            v6 + 1000
        )
    });
    let sessions = for_each(neighbors, |neighbor, feeder| peregrine_neighbor(neighbor, feeder.is_some()));
    let fib = fib.unwrap_or_default();
    format!("[router]\nasn = {}\nrouter-id = \"{}\"\n{fib}{sessions}", router.asn, router.v4)
}

fn bird_config(neighbors: &Neighbors, kernel: bool) -> String {
    let router = neighbors.router;
    let kernel_protocols: String = ["ipv4", "ipv6"]
        .iter()
        .filter(|_| kernel)
        .map(|channel| {
            format!(
                "protocol kernel {{\n  scan time 3600;\n  {channel} {{ import none; export all; }};\n}}\n"
            )
        })
        .collect();
    let sessions = for_each(neighbors, |neighbor, feeder| {
        let name = feeder.map_or("receiver".to_owned(), |index| format!("feeder{index}"));
        let (import, export) = if feeder.is_some() { ("all", "none") } else { ("none", "all") };
        format!(
            "protocol bgp {name} from peer {{\n  neighbor {} as {};\n  \
             ipv4 {{ import {import}; export {export}; }};\n  \
             ipv6 {{ import {import}; export {export}; }};\n}}\n",
            neighbor.v4, neighbor.asn
        )
    });
    format!(
        "router id {};\n{kernel_protocols}template bgp peer {{\n  local {} as {};\n  passive;\n  \
         connect delay time 1;\n  error wait time 1, 1;\n  error forget time 1;\n}}\n{sessions}",
        router.v4, router.v4, router.asn
    )
}

fn frr_config(neighbors: &Neighbors) -> String {
    let Neighbor { asn, v4, v6 } = neighbors.router;
    let sessions = for_each(neighbors, |neighbor, feeder| {
        let group = if feeder.is_some() { "FEEDERS" } else { "RECEIVERS" };
        format!(" neighbor {0} remote-as {1}\n neighbor {0} peer-group {group}\n", neighbor.v4, neighbor.asn)
    });
    let families: String = ["ipv4", "ipv6"]
        .iter()
        .map(|family| {
            // Without zebra, bgpd does not know its own IPv6 address on the link.
            let own = if *family == "ipv6" { "  neighbor RECEIVERS route-map OWN out\n" } else { "" };
            format!(
                " address-family {family} unicast\n  neighbor FEEDERS activate\n  \
                 neighbor FEEDERS route-map NONE out\n  neighbor RECEIVERS activate\n  \
                 neighbor RECEIVERS route-map NONE in\n{own} exit-address-family\n"
            )
        })
        .collect();
    // Route maps are applied five seconds after they are read, unless told otherwise.
    format!(
        "hostname frr\nlog stdout errors\nbgp route-map delay-timer 0\nroute-map NONE deny 10\n\
         route-map OWN permit 10\n set ipv6 next-hop global {v6}\nexit\nrouter bgp {asn}\n bgp router-id {v4}\n no bgp ebgp-requires-policy\n \
         no bgp default ipv4-unicast\n neighbor FEEDERS peer-group\n neighbor FEEDERS passive\n \
         neighbor RECEIVERS peer-group\n neighbor RECEIVERS passive\n{sessions}{families}"
    )
}

fn gobgp_config(neighbors: &Neighbors) -> String {
    let router = neighbors.router;
    let sessions = for_each(neighbors, |neighbor, _| {
        format!(
            "\n[[neighbors]]\n[neighbors.config]\nneighbor-address = \"{}\"\npeer-as = {}\n\
             [neighbors.transport.config]\npassive-mode = true\n\
             [[neighbors.afi-safis]]\n[neighbors.afi-safis.config]\nafi-safi-name = \"ipv4-unicast\"\n\
             [[neighbors.afi-safis]]\n[neighbors.afi-safis.config]\nafi-safi-name = \"ipv6-unicast\"\n",
            neighbor.v4, neighbor.asn
        )
    });
    // Policy of a single neighbour is for route servers only: a global one picks the receiver out.
    format!(
        "[global.config]\nas = {}\nrouter-id = \"{}\"\nlocal-address-list = [\"{}\"]\n\
         [global.apply-policy.config]\ndefault-import-policy = \"accept-route\"\n\
         export-policy-list = [\"receiver-only\"]\ndefault-export-policy = \"reject-route\"\n\n\
         [[defined-sets.neighbor-sets]]\nneighbor-set-name = \"receivers\"\nneighbor-info-list = [\"{}\"]\n\n\
         [[policy-definitions]]\nname = \"receiver-only\"\n[[policy-definitions.statements]]\n\
         name = \"receiver\"\n[policy-definitions.statements.conditions.match-neighbor-set]\n\
         neighbor-set = \"receivers\"\nmatch-set-options = \"any\"\n\
         [policy-definitions.statements.actions]\nroute-disposition = \"accept-route\"\n{sessions}",
        router.asn, router.v4, router.v4, neighbors.receiver.v4
    )
}

fn openbgpd_config(neighbors: &Neighbors) -> String {
    let router = neighbors.router;
    let sessions = for_each(neighbors, |neighbor, _| {
        format!(
            "neighbor {} {{\n  remote-as {}\n  passive\n  announce IPv4 unicast\n  announce IPv6 unicast\n}}\n",
            neighbor.v4, neighbor.asn
        )
    });
    format!(
        "AS {}\nrouter-id {}\nlisten on {}\n{sessions}deny from any\ndeny to any\n{}allow to {}\n",
        router.asn,
        router.v4,
        router.v4,
        neighbors.feeders.iter().map(|feeder| format!("allow from {}\n", feeder.v4)).collect::<String>(),
        neighbors.receiver.v4
    )
}
