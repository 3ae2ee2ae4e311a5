//! The network of the lab and of the forwarding tests:
//!
//! ```text
//!  host A ----- lan [ router under test ] wan ----- wan [ BIRD router ] lan ----- host B
//!  .2        .1  10.99.10.0/24           .1   10.99.1.0/24   .2     .1  10.99.20.0/24    .2
//!  ::2      ::1  fd99:10::/64           ::1   fd99:1::/64   ::2    ::1  fd99:20::/64    ::2
//!                        |
//!                       mgmt  192.168.99.0/24, the operator's default route leads here
//! ```
//!
//! BIRD announces host B's networks and a few more; the router announces host A's. AS numbers are
//! those reserved for documentation (RFC 5398): real tables contain private ones.

use anyhow::{Context as _, Result, bail, ensure};

use crate::daemon::Daemon;
use crate::netns::{Namespace, Sandbox};
use crate::peers::bird::Bird;

/// AS of the router under test.
pub const ROUTER_ASN: u32 = 64500;
/// AS of the BIRD router.
pub const BIRD_ASN: u32 = 64501;

/// Addresses of one family.
#[derive(Clone, Copy, Debug)]
pub struct Addresses {
    /// As the daemon calls the family.
    pub family: &'static str,
    /// As BIRD calls it.
    pub channel: &'static str,
    /// For headings.
    pub name: &'static str,
    /// Host A.
    pub host_a: &'static str,
    /// The router, towards host A.
    pub router_lan: &'static str,
    /// The router, towards BIRD.
    pub router_wan: &'static str,
    /// BIRD, towards the router.
    pub bird: &'static str,
    /// Host B.
    pub host_b: &'static str,
    /// The network of host A, announced by the router.
    pub net_a: &'static str,
    /// The network of host B, announced by BIRD.
    pub net_b: &'static str,
    /// More prefixes that BIRD announces; no hosts there.
    pub more: [&'static str; 3],
    /// The operator's gateway.
    pub gateway: &'static str,
    /// Names of BIRD's protocols: the session, and the static one that holds the announcements.
    pub session: &'static str,
    /// See `session`.
    pub announcements: &'static str,
}

/// IPv4.
pub const V4: Addresses = Addresses {
    family: "ipv4-unicast",
    channel: "ipv4",
    name: "IPv4",
    host_a: "10.99.10.2",
    router_lan: "10.99.10.1",
    router_wan: "10.99.1.1",
    bird: "10.99.1.2",
    host_b: "10.99.20.2",
    net_a: "10.99.10.0/24",
    net_b: "10.99.20.0/24",
    more: ["10.98.0.0/16", "10.98.128.0/17", "10.98.200.0/24"],
    gateway: "192.168.99.254",
    session: "router4",
    announcements: "announce4",
};

/// IPv6.
pub const V6: Addresses = Addresses {
    family: "ipv6-unicast",
    channel: "ipv6",
    name: "IPv6",
    host_a: "fd99:10::2",
    router_lan: "fd99:10::1",
    router_wan: "fd99:1::1",
    bird: "fd99:1::2",
    host_b: "fd99:20::2",
    net_a: "fd99:10::/64",
    net_b: "fd99:20::/64",
    more: ["fd98::/32", "fd98:8000::/33", "fd98:c800::/48"],
    gateway: "fd99:99::fe",
    session: "router6",
    announcements: "announce6",
};

/// Both families.
pub const FAMILIES: [Addresses; 2] = [V4, V6];

/// The namespaces, linked and addressed.
#[derive(Debug)]
pub struct Topology {
    /// Host A.
    pub host_a: Namespace,
    /// The router under test.
    pub router: Namespace,
    /// The BIRD router.
    pub bird: Namespace,
    /// Host B.
    pub host_b: Namespace,
    /// Where the operator's default route leads.
    pub office: Namespace,
    /// Last, so that the namespaces outlive what runs in them.
    pub sandbox: Sandbox,
}

impl Topology {
    /// Makes namespaces, links, addresses, the hosts' and the operator's default routes.
    pub fn build(sandbox: Sandbox) -> Result<Self> {
        let host_a = sandbox.namespace("a")?;
        let router = sandbox.namespace("router")?;
        let bird = sandbox.namespace("bird")?;
        let host_b = sandbox.namespace("b")?;
        let office = sandbox.namespace("office")?;
        sandbox.link((&host_a, "lan"), (&router, "lan"))?;
        sandbox.link((&router, "wan"), (&bird, "wan"))?;
        sandbox.link((&bird, "lan"), (&host_b, "lan"))?;
        sandbox.link((&router, "mgmt"), (&office, "mgmt"))?;
        let addresses = [
            (&host_a, "lan", "10.99.10.2/24", "fd99:10::2/64"),
            (&router, "lan", "10.99.10.1/24", "fd99:10::1/64"),
            (&router, "wan", "10.99.1.1/24", "fd99:1::1/64"),
            (&bird, "wan", "10.99.1.2/24", "fd99:1::2/64"),
            (&bird, "lan", "10.99.20.1/24", "fd99:20::1/64"),
            (&host_b, "lan", "10.99.20.2/24", "fd99:20::2/64"),
            (&router, "mgmt", "192.168.99.1/24", "fd99:99::1/64"),
            (&office, "mgmt", "192.168.99.254/24", "fd99:99::fe/64"),
        ];
        for (namespace, device, v4, v6) in addresses {
            namespace.address(device, v4)?;
            namespace.address(device, v6)?;
        }
        for (host, v4, v6) in [
            (&host_a, V4.router_lan, V6.router_lan),
            (&host_b, "10.99.20.1", "fd99:20::1"),
            (&router, V4.gateway, V6.gateway),
        ] {
            host.route("default", v4)?;
            host.route("default", v6)?;
        }
        for (namespace, device) in [(&host_a, "lan"), (&host_b, "lan"), (&bird, "wan"), (&bird, "lan")] {
            namespace.offloads_for_xdp(device)?;
        }
        bird.forwarding()?;
        Ok(Self { host_a, router, bird, host_b, office, sandbox })
    }

    /// Starts the BIRD router.
    pub fn start_bird(&self) -> Result<Bird> {
        Bird::start(&self.sandbox, &self.bird, "bird", &bird_config("", &V4.more, &V6.more))
    }

    /// Starts the BIRD router with more options for its sessions.
    pub fn start_bird_with(&self, options: &str) -> Result<Bird> {
        Bird::start(&self.sandbox, &self.bird, "bird", &bird_config(options, &V4.more, &V6.more))
    }

    /// Starts the daemon with the lab's configuration and more sections.
    pub fn start_daemon(&self, more: &str) -> Result<Daemon> {
        Daemon::start(&self.sandbox, &self.router, &format!("{}{more}", daemon_config()))
    }

    /// Starts BIRD in the router's place, with the kernel forwarding: to check the lab itself.
    pub fn start_stand_in(&self) -> Result<Bird> {
        self.router.forwarding()?;
        Bird::start(&self.sandbox, &self.router, "stand-in", &stand_in_config())
    }

    /// The operator's default routes in the main table, both families, as text to compare.
    pub fn operator_defaults(&self) -> Result<String> {
        let mut text = String::new();
        for family in ["-4", "-6"] {
            text += &self.router.ip_output(&[family, "route", "show", "default", "table", "main"])?;
        }
        ensure!(text.lines().count() == 2, "expected one default route in each family: {text}");
        Ok(text)
    }

    /// Every route of the router's kernel that is not the kernel's own (connected, local).
    pub fn routes_not_the_kernels(&self) -> Result<Vec<String>> {
        let mut found = Vec::new();
        for family in ["-4", "-6"] {
            let text = self.router.ip_output(&[family, "route", "show", "table", "all"])?;
            found.extend(text.lines().filter(|line| !line.contains("proto kernel")).map(str::to_owned));
        }
        Ok(found)
    }

    /// Checks that nothing learned by BGP is in the router's kernel: beside the kernel's own
    /// routes there may be the operator's defaults and our way out.
    pub fn no_bgp_route_in_the_kernel(&self) -> Result<String> {
        let operator = self.operator_defaults()?;
        let mut ours = 0;
        for line in self.routes_not_the_kernels()? {
            let known = operator.lines().any(|default| default.trim() == line.trim());
            let way_out =
                line.starts_with("default") && line.contains("dev pg-host") && line.contains("table 5179");
            if !known && !way_out {
                bail!("a route that should not be in the router's kernel: {line}");
            }
            ours += u32::from(way_out);
        }
        Ok(format!("only our {ours} defaults into pg-host beside the kernel's and the operator's"))
    }
}

/// The daemon's configuration in this network.
pub fn daemon_config() -> String {
    let mut parts = vec![format!(
        "[router]\nasn = {ROUTER_ASN}\nrouter-id = \"{}\"\n\n[fib]\ninterfaces = [\"lan\", \"wan\"]\n",
        V4.router_wan
    )];
    for family in FAMILIES {
        parts.push(format!(
            "\n[[neighbor]]\naddress = \"{}\"\nasn = {BIRD_ASN}\ndescription = \"BIRD, {}\"\nfamilies = [\"{}\"]\n\
             import = [\"all\"]\nexport = [\"all\"]\n\n[[network]]\nprefix = \"{}\"\n",
            family.bird, family.name, family.family, family.net_a
        ));
    }
    parts.concat()
}

/// BIRD's configuration, with more options for its sessions and these prefixes beside that of host B.
pub fn bird_config(options: &str, more_v4: &[&str], more_v6: &[&str]) -> String {
    let mut parts = vec![format!("router id {};\n", V4.bird)];
    for (family, more) in FAMILIES.into_iter().zip([more_v4, more_v6]) {
        let Addresses { channel, session, announcements, .. } = family;
        let more: String = more.iter().map(|prefix| format!("  route {prefix} blackhole;\n")).collect();
        parts.push(format!(
            "protocol kernel kernel_{channel} {{ {channel} {{ import none; export where source = RTS_BGP; }}; }}\n\
             protocol static {announcements} {{\n  {channel};\n  route {} via \"lan\";\n{more}}}\n\
             protocol bgp {session} {{\n  local {} as {BIRD_ASN};\n  neighbor {} as {ROUTER_ASN};\n  \
             connect delay time 1;\n  error wait time 1, 5;\n  {options}\n  \
             {channel} {{ import all; export where source = RTS_STATIC; next hop self; }};\n}}\n",
            family.net_b, family.bird, family.router_wan
        ));
    }
    parts.concat()
}

fn stand_in_config() -> String {
    let mut parts = vec![format!("router id {};\n", V4.router_wan)];
    for family in FAMILIES {
        let Addresses { channel, .. } = family;
        parts.push(format!(
            "protocol kernel kernel_{channel} {{ {channel} {{ import none; export where source = RTS_BGP; }}; }}\n\
             protocol static own_{channel} {{ {channel}; route {} via \"lan\"; }}\n\
             protocol bgp bird_{channel} {{\n  local {} as {ROUTER_ASN};\n  neighbor {} as {BIRD_ASN};\n  \
             connect delay time 1;\n  error wait time 1, 5;\n  \
             {channel} {{ import all; export where source = RTS_STATIC; next hop self; }};\n}}\n",
            family.net_a, family.router_wan, family.bird
        ));
    }
    parts.concat()
}

/// Asks BIRD how many routes it exports to the router in a family.
pub fn exported(bird: &Bird, family: &Addresses) -> Result<u64> {
    bird.exported(family.session, family.channel).with_context(|| format!("BIRD's count of {}", family.name))
}

/// A router with neighbours around it, one link each: neighbour `i` (from 1) has `10.99.i.2` and
/// `fd99:i::2` on its device `wan`, the router `10.99.i.1` and `fd99:i::1` on its device `wan<i>`.
#[derive(Debug)]
pub struct Star {
    /// The router under test.
    pub router: Namespace,
    /// Its neighbours, the first being number 1.
    pub neighbors: Vec<Namespace>,
    /// Last, so that the namespaces outlive what runs in them.
    pub sandbox: Sandbox,
}

impl Star {
    /// A router with this many neighbours.
    pub fn build(name: &str, neighbors: usize) -> Result<Self> {
        let sandbox = Sandbox::new(name)?;
        let router = sandbox.namespace("router")?;
        let mut around = Vec::new();
        for i in 1..=neighbors {
            let neighbor = sandbox.namespace(&format!("n{i}"))?;
            let device = format!("wan{i}");
            sandbox.link((&router, &device), (&neighbor, "wan"))?;
            for (namespace, device, host) in [(&router, device.as_str(), 1), (&neighbor, "wan", 2)] {
                namespace.address(device, &format!("10.99.{i}.{host}/24"))?;
                namespace.address(device, &format!("fd99:{i}::{host}/64"))?;
            }
            neighbor.offloads_for_xdp("wan")?;
            around.push(neighbor);
        }
        Ok(Self { router, neighbors: around, sandbox })
    }
}
