//! The way out for the router's own traffic, and for what XDP hands up to the kernel.
//!
//! No BGP route is in the kernel, yet the kernel must send: the router's own sessions and pings, and
//! the answers to packets that the XDP program passed up (time exceeded, too big, options). So:
//!
//! - A veth pair, [`HOST_END`] and [`XDP_END`]. What the kernel sends into `pg-host` comes out of `pg-xdp`,
//!   where the XDP program looks it up like any other packet.
//! - Routing table [`TABLE`] holds one default route for each family, into `pg-host`.
//! - Rules lead there: for packets that came in on a routed port, and for packets from the router's own
//!   addresses, first the main table without its default route (connected subnets, static routes),
//!   then our table. Last of all rules, our table once more: traffic that is not bound to an address
//!   uses it where the main table has no default. The main table itself is never touched.
//! - IPv4 answers to a packet in transit must carry the address of the port that it came in on, else
//!   they have no source address when the rules are consulted and leave by the operator's default:
//!   `icmp_errors_use_inbound_ifaddr`. IPv6 does so by itself since Linux 5.3.
//! - Forwarding is switched on, and strict reverse-path filtering made loose, on the ports.
//!
//! [`Host::set_up`] finds what an earlier run left and completes it; [`Host::tear_down`] removes all
//! of it and puts the sysctls back to what they were. Where forwarding outlives the daemon all of it stays.

mod detach;
mod lock;
pub mod offload;
mod pair;
mod plan;
mod rules;
mod sysctl;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use rtnetlink::packet_route::route::{RouteProtocol, RouteScope};
use rtnetlink::{Handle, RouteMessageBuilder};
use tracing::{info, warn};

use crate::netlink::Reason;

pub use detach::{DetachError, Removed, detach, take_back};
pub use lock::{Lock, LockError};
pub use offload::OffloadError;
use pair::Pair;
pub use plan::Plan;
use rules::Rule;
use sysctl::Sysctls;

/// The end of the pair that the kernel sends into.
pub const HOST_END: &str = "pg-host";
/// The end of the pair that the XDP program is attached to.
pub const XDP_END: &str = "pg-xdp";
/// The routing table with the default routes into [`HOST_END`].
pub const TABLE: u32 = 5179;
/// The protocol number that marks our rules and routes (`proto 151` in `ip rule`).
const PROTOCOL: u8 = 151;

/// What can go wrong while the way out is made.
#[derive(Debug, thiserror::Error)]
pub enum HostError {
    /// The kernel refused a netlink request.
    #[error("cannot {what}: {}", Reason(.source))]
    Netlink {
        /// What was tried, in words.
        what: String,
        /// The cause.
        #[source]
        source: rtnetlink::Error,
    },
    /// A name of ours is taken by something else.
    #[error(
        "interface {name} exists and is not half of a {HOST_END}/{XDP_END} veth pair: remove or rename it"
    )]
    NameTaken {
        /// The interface.
        name: &'static str,
    },
    /// The pair is not there although it was made.
    #[error("interface {name} vanished while it was being set up")]
    Vanished {
        /// The interface.
        name: &'static str,
    },
    /// A sysctl could not be written.
    #[error("cannot set {path} to {value}: {source}")]
    Sysctl {
        /// Its file.
        path: String,
        /// The value.
        value: String,
        /// The cause.
        #[source]
        source: io::Error,
    },
    /// Offloads could not be switched off.
    #[error(transparent)]
    Offload(#[from] OffloadError),
}

/// Wraps an error of rtnetlink with what was tried.
fn failed(what: impl Into<String>) -> impl FnOnce(rtnetlink::Error) -> HostError {
    let what = what.into();
    move |source| HostError::Netlink { what, source }
}

/// The pair, rules, routes and sysctls that are in place.
#[derive(Debug)]
pub struct Host {
    handle: Handle,
    pair: Pair,
    rules: BTreeSet<Rule>,
    sources: Option<(Option<Ipv4Addr>, Option<Ipv6Addr>)>,
    mtu: Option<u32>,
    sysctls: Sysctls,
}

impl Host {
    /// Makes the pair and everything in `plan`, and takes over what an earlier run left. When that fails, nothing is
    /// left behind.
    pub async fn set_up(handle: Handle, plan: &Plan) -> Result<Self, HostError> {
        let mut host = Self::make(handle).await?;
        if let Err(error) = host.complete(plan).await {
            host.tear_down().await;
            return Err(error);
        }
        Ok(host)
    }

    /// The same where what an earlier run left is in use, and stays when this fails.
    pub async fn adopt(handle: Handle, plan: &Plan) -> Result<Self, HostError> {
        let mut host = Self::make(handle).await?;
        host.complete(plan).await?;
        Ok(host)
    }

    async fn make(handle: Handle) -> Result<Self, HostError> {
        let pair = pair::make(&handle).await?;
        let (rules, sysctls) = (BTreeSet::new(), Sysctls::resume());
        Ok(Self { handle, pair, rules, sources: None, mtu: None, sysctls })
    }

    /// Makes the pair again, after somebody removed it.
    pub async fn make_anew(&mut self, plan: &Plan) -> Result<(), HostError> {
        self.pair = pair::make(&self.handle).await?;
        (self.sources, self.mtu) = (None, None);
        self.complete(plan).await
    }

    async fn complete(&mut self, plan: &Plan) -> Result<(), HostError> {
        self.rules = rules::installed(&self.handle).await?;
        Sysctls::quiet_pair()?;
        offload::switch_off(self.pair.host, &offload::TRANSMIT)?;
        self.apply(plan).await?;
        info!(table = TABLE, "{HOST_END} and {XDP_END} are in place for the router's own traffic");
        Ok(())
    }

    /// Brings everything in line with a new plan.
    pub async fn apply(&mut self, plan: &Plan) -> Result<(), HostError> {
        let ports: Vec<&str> = plan.ports.iter().map(|(name, _)| name.as_str()).collect();
        self.sysctls.forward_on(&ports)?;
        for &device in &plan.tagged {
            if let Err(error) = offload::switch_off(device, &offload::VLAN_STRIP) {
                warn!(%error, "frames may reach XDP without their VLAN tag");
            }
        }
        if self.mtu != Some(plan.mtu) {
            pair::set_mtu(&self.handle, self.pair, plan.mtu).await?;
            self.mtu = Some(plan.mtu);
        }
        // Routes first: a rule must not lead into an empty table.
        let sources = (plan.source_v4, plan.source_v6);
        if self.sources != Some(sources) {
            self.set_defaults(plan).await?;
            self.sources = Some(sources);
        }
        let added: Vec<Rule> = plan.rules.difference(&self.rules).cloned().collect();
        for rule in added {
            rules::add(&self.handle, &rule).await?;
            self.rules.insert(rule);
        }
        let stale: Vec<Rule> = self.rules.difference(&plan.rules).cloned().collect();
        for rule in stale {
            rules::remove(&self.handle, &rule).await?;
            self.rules.remove(&rule);
        }
        Ok(())
    }

    async fn set_defaults(&self, plan: &Plan) -> Result<(), HostError> {
        let what = |family| failed(format!("set the default {family} route of table {TABLE}"));
        let mut v4 = RouteMessageBuilder::<Ipv4Addr>::new()
            .table_id(TABLE)
            .protocol(RouteProtocol::Other(PROTOCOL))
            .scope(RouteScope::Link)
            .output_interface(self.pair.host);
        if let Some(source) = plan.source_v4 {
            v4 = v4.pref_source(source);
        }
        self.handle.route().add(v4.build()).replace().execute().await.map_err(what("IPv4"))?;
        if !plan.ipv6 {
            return Ok(());
        }
        let mut v6 = RouteMessageBuilder::<Ipv6Addr>::new()
            .table_id(TABLE)
            .protocol(RouteProtocol::Other(PROTOCOL))
            .output_interface(self.pair.host);
        if let Some(source) = plan.source_v6 {
            v6 = v6.pref_source(source);
        }
        self.handle.route().add(v6.build()).replace().execute().await.map_err(what("IPv6"))
    }

    /// Removes everything and puts the sysctls back. What can not be removed is logged.
    pub async fn tear_down(mut self) {
        remove_all(&self.handle).await;
        self.sysctls.restore();
    }
}

/// Removes what bears our name, whoever made it: rules, then the pair, and with it its routes.
pub async fn remove_all(handle: &Handle) {
    if let Err(error) = rules::remove_all(handle).await {
        warn!(%error, "routing rules may be left behind");
    }
    if let Err(error) = pair::remove(handle).await {
        warn!(%error, "{HOST_END} may be left behind");
    }
}

/// Whether the kernel speaks IPv6 at all (`ipv6.disable=1` on its command line).
pub fn ipv6_available() -> bool {
    sysctl::exists("ipv6/conf/all/forwarding")
}

/// An address that is the router's in the sense of this module: neither loopback nor link-local.
fn is_global(ip: IpAddr) -> bool {
    !ip.is_loopback() && !crate::netlink::is_link_local(ip) && !ip.is_unspecified()
}
