//! The routers of others, each with its ways to be told and asked.
//!
//! Every partner announces the same: [`PLAIN`] of each family, and [`COLORED`] with communities of
//! every kind.

use anyhow::{Result, bail};
use serde_json::Value;

use crate::interop::Feature;
use crate::netns::{Namespace, Sandbox, output};
use crate::peers::bird::{self, Bird};
use crate::peers::exabgp::{self, Exabgp};
use crate::peers::frr::{self, Frr};
use crate::peers::gobgp::{self, Gobgp};
use crate::peers::openbgpd::{self, Openbgpd};

/// The partner's AS.
pub const PARTNER_ASN: u32 = 4_200_000_001;
/// Ours.
pub const OUR_ASN: u32 = 64500;
/// What the partner announces without anything, IPv4 and IPv6.
pub const PLAIN: [&str; 2] = ["10.98.0.0/24", "fd98::/48"];
/// What it announces with communities.
pub const COLORED: &str = "10.98.7.0/24";
/// What we announce with the same communities.
pub const OURS: [&str; 2] = ["10.97.7.0/24", "fd97::/48"];
/// The community, large community and route target that both sides set.
pub const COLORS: [&str; 3] = ["64500:77", "64500:1:2", "rt:64500:7"];
/// The text of the shutdown.
pub const FAREWELL: &str = "maintenance";

/// What a route shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shown {
    /// The route, with our AS in its path.
    Route,
    /// The community.
    Community,
    /// The large community.
    Large,
    /// The route target.
    Extended,
}

/// A router with a session to the daemon.
pub trait Partner {
    /// Whether it shows this of a prefix that we announced.
    fn shows(&self, prefix: &str, what: Shown) -> Result<bool>;

    /// Makes it ask us for all routes.
    fn ask_again(&self) -> Result<()>;

    /// Makes it end the session with [`FAREWELL`].
    fn shut_down(&self) -> Result<()>;
}

/// Who there is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// BIRD 2.
    Bird,
    /// FRR.
    Frr,
    /// GoBGP.
    Gobgp,
    /// OpenBGPD.
    Openbgpd,
    /// ExaBGP.
    Exabgp,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Bird, Self::Frr, Self::Gobgp, Self::Openbgpd, Self::Exabgp];

    /// What it is called in the sandbox's name.
    pub fn key(self) -> &'static str {
        match self {
            Self::Bird => "bird",
            Self::Frr => "frr",
            Self::Gobgp => "gobgp",
            Self::Openbgpd => "openbgpd",
            Self::Exabgp => "exabgp",
        }
    }

    /// The programs that it needs.
    pub fn programs(self) -> &'static [&'static str] {
        match self {
            Self::Bird => &bird::PROGRAMS,
            Self::Frr => &frr::PROGRAMS,
            Self::Gobgp => &gobgp::PROGRAMS,
            Self::Openbgpd => &openbgpd::PROGRAMS,
            Self::Exabgp => &exabgp::PROGRAMS,
        }
    }

    /// Its name and version, as its package says.
    pub fn name(self) -> Result<String> {
        let (name, package) = match self {
            Self::Bird => ("BIRD", "bird2"),
            Self::Frr => ("FRR", "frr"),
            Self::Gobgp => ("GoBGP", "gobgpd"),
            Self::Openbgpd => ("OpenBGPD", "openbgpd"),
            Self::Exabgp => ("ExaBGP", "exabgp"),
        };
        let mut query = std::process::Command::new("dpkg-query");
        let version =
            output(query.args(["-W", "-f", "${source:Upstream-Version}", package])).unwrap_or_default();
        Ok(format!("{name} {version}").trim().to_owned())
    }

    /// Whether it, and its driver here, have what a feature takes.
    pub fn offers(self, feature: Feature) -> bool {
        match feature {
            // OpenBGPD 7.7 reads the request and then says that the family was not negotiated.
            Feature::RefreshByUs => self != Self::Openbgpd,
            // GoBGP keeps what it received and asks nobody; ExaBGP has no table to fill again.
            Feature::RefreshByPartner => !matches!(self, Self::Gobgp | Self::Exabgp),
            Feature::ShutdownText => self != Self::Exabgp,
            _ => true,
        }
    }

    /// Starts it in a namespace with `10.99.1.2` and `fd99:1::2`, towards `10.99.1.1`.
    pub fn start(self, sandbox: &Sandbox, namespace: &Namespace) -> Result<Box<dyn Partner>> {
        let name = self.key();
        Ok(match self {
            Self::Bird => Box::new(Bird::start(sandbox, namespace, name, &bird_config())?),
            Self::Frr => Box::new(Frr::start(sandbox, namespace, name, &frr_config())?),
            Self::Gobgp => {
                let gobgp = Gobgp::start(sandbox, namespace, name, &gobgp_config())?;
                for route in [
                    format!("-a ipv4 {} nexthop 10.99.1.2", PLAIN[0]),
                    format!("-a ipv6 {} nexthop fd99:1::2", PLAIN[1]),
                    format!(
                        "-a ipv4 {COLORED} nexthop 10.99.1.2 community {} large-community {} rt 64500:7",
                        COLORS[0], COLORS[1]
                    ),
                ] {
                    gobgp.query(&format!("global rib add {route}"))?;
                }
                Box::new(gobgp)
            }
            Self::Openbgpd => Box::new(Openbgpd::start(sandbox, namespace, name, &openbgpd_config())?),
            Self::Exabgp => Box::new(Exabgp::start(sandbox, namespace, name, "10.99.1.1", &exabgp_config())?),
        })
    }
}

fn bird_config() -> String {
    format!(
        "router id 10.99.1.2;\n\
         protocol static plain4 {{ ipv4; route {} blackhole; route {COLORED} blackhole {{ \
         bgp_community.add((64500,77)); bgp_large_community.add((64500,1,2)); \
         bgp_ext_community.add((rt,64500,7)); }}; }}\n\
         protocol static plain6 {{ ipv6; route {} blackhole; }}\n\
         protocol bgp peregrine {{\n  local 10.99.1.2 as {PARTNER_ASN};\n  neighbor 10.99.1.1 as {OUR_ASN};\n  \
         connect delay time 1;\n  error wait time 1, 2;\n  \
         ipv4 {{ import all; export where source = RTS_STATIC; }};\n  \
         ipv6 {{ import all; export where source = RTS_STATIC; }};\n}}\n",
        PLAIN[0], PLAIN[1]
    )
}

impl Partner for Bird {
    fn shows(&self, prefix: &str, what: Shown) -> Result<bool> {
        let text = self.routes(prefix).unwrap_or_default();
        Ok(text.contains(match what {
            Shown::Route => "BGP.as_path: 64500",
            Shown::Community => "(64500,77)",
            Shown::Large => "(64500, 1, 2)",
            Shown::Extended => "(rt, 64500, 7)",
        }))
    }

    fn ask_again(&self) -> Result<()> {
        self.query("reload in peregrine")?;
        Ok(())
    }

    fn shut_down(&self) -> Result<()> {
        self.query(&format!("disable peregrine \"{FAREWELL}\""))?;
        Ok(())
    }
}

fn frr_config() -> String {
    format!(
        "ip prefix-list colored seq 5 permit {COLORED}\n\
         router bgp {PARTNER_ASN}\n bgp router-id 10.99.1.2\n no bgp ebgp-requires-policy\n \
         no bgp network import-check\n neighbor 10.99.1.1 remote-as {OUR_ASN}\n \
         neighbor 10.99.1.1 timers connect 1\n \
         address-family ipv4 unicast\n  network {}\n  network {COLORED}\n  \
         neighbor 10.99.1.1 route-map colors out\n exit-address-family\n \
         address-family ipv6 unicast\n  network {}\n  neighbor 10.99.1.1 activate\n exit-address-family\n\
         route-map colors permit 10\n match ip address prefix-list colored\n set community {}\n \
         set large-community {}\n set extcommunity rt 64500:7\n\
         route-map colors permit 20\n",
        PLAIN[0], PLAIN[1], COLORS[0], COLORS[1]
    )
}

impl Partner for Frr {
    fn shows(&self, prefix: &str, what: Shown) -> Result<bool> {
        let family = if prefix.contains(':') { "ipv6" } else { "ipv4" };
        let route = self.query_json(&format!("show bgp {family} unicast {prefix} json"))?;
        let path = &route["paths"][0];
        Ok(match what {
            Shown::Route => path["aspath"]["string"] == "64500",
            Shown::Community => path["community"]["string"] == COLORS[0],
            Shown::Large => path["largeCommunity"]["string"] == COLORS[1],
            Shown::Extended => path["extendedCommunity"]["string"] == "RT:64500:7",
        })
    }

    fn ask_again(&self) -> Result<()> {
        self.query("clear bgp * soft in")?;
        Ok(())
    }

    fn shut_down(&self) -> Result<()> {
        let router = format!("router bgp {PARTNER_ASN}");
        self.configure(&[&router, &format!("neighbor 10.99.1.1 shutdown message {FAREWELL}")])?;
        Ok(())
    }
}

fn gobgp_config() -> String {
    let families = ["ipv4-unicast", "ipv6-unicast"]
        .map(|family| format!("  [[neighbors.afi-safis]]\n    [neighbors.afi-safis.config]\n      afi-safi-name = \"{family}\"\n"));
    format!(
        "[global.config]\n  as = {PARTNER_ASN}\n  router-id = \"10.99.1.2\"\n\
         [[neighbors]]\n  [neighbors.config]\n    neighbor-address = \"10.99.1.1\"\n    peer-as = {OUR_ASN}\n  \
         [neighbors.timers.config]\n    connect-retry = 1\n{}",
        families.concat()
    )
}

impl Partner for Gobgp {
    fn shows(&self, prefix: &str, what: Shown) -> Result<bool> {
        let family = if prefix.contains(':') { "ipv6" } else { "ipv4" };
        let text = self.query(&format!("global rib {prefix} -a {family}")).unwrap_or_default();
        Ok(text.contains(match what {
            Shown::Route => " 64500 ",
            Shown::Community => "64500:77",
            Shown::Large => "64500:1:2",
            Shown::Extended => "64500:7]",
        }))
    }

    fn ask_again(&self) -> Result<()> {
        self.query("neighbor 10.99.1.1 softresetin")?;
        Ok(())
    }

    fn shut_down(&self) -> Result<()> {
        self.query(&format!("neighbor 10.99.1.1 shutdown --reason {FAREWELL}"))?;
        Ok(())
    }
}

fn openbgpd_config() -> String {
    format!(
        "AS {PARTNER_ASN}\nrouter-id 10.99.1.2\nnetwork {}\nnetwork {}\n\
         network {COLORED} set {{ community {} large-community {} ext-community rt 64500:7 }}\n\
         neighbor 10.99.1.1 {{\n  remote-as {OUR_ASN}\n  announce IPv4 unicast\n  announce IPv6 unicast\n}}\n\
         allow from any\nallow to any\n",
        PLAIN[0], PLAIN[1], COLORS[0], COLORS[1]
    )
}

impl Partner for Openbgpd {
    fn shows(&self, prefix: &str, what: Shown) -> Result<bool> {
        let text = self.query(&format!("show rib detail {prefix}")).unwrap_or_default();
        Ok(text.contains(match what {
            Shown::Route => "64500\n",
            Shown::Community => "64500:77",
            Shown::Large => "64500:1:2",
            Shown::Extended => "rt 64500:7",
        }))
    }

    fn ask_again(&self) -> Result<()> {
        self.query("neighbor 10.99.1.1 refresh")?;
        Ok(())
    }

    fn shut_down(&self) -> Result<()> {
        self.query(&format!("neighbor 10.99.1.1 down {FAREWELL}"))?;
        Ok(())
    }
}

fn exabgp_config() -> String {
    format!(
        "  router-id 10.99.1.2;\n  local-address 10.99.1.2;\n  local-as {PARTNER_ASN};\n  peer-as {OUR_ASN};\n  \
         family {{ ipv4 unicast; ipv6 unicast; }}\n  capability {{ asn4 enable; route-refresh enable; }}\n  \
         static {{\n    route {} next-hop 10.99.1.2;\n    route {} next-hop fd99:1::2;\n    \
         route {COLORED} next-hop 10.99.1.2 community [ {} ] large-community [ {} ] \
         extended-community [ target:64500:7 ];\n  }}",
        PLAIN[0], PLAIN[1], COLORS[0], COLORS[1]
    )
}

impl Partner for Exabgp {
    fn shows(&self, prefix: &str, what: Shown) -> Result<bool> {
        // An announcement: {"attribute": {...}, "announce": {"ipv4 unicast": {"10.99.1.1": [{"nlri": ...}]}}}.
        for message in self.heard()?.iter().rev() {
            let update = &message["neighbor"]["message"]["update"];
            if !update["announce"].to_string().contains(&format!("\"{prefix}\"")) {
                continue;
            }
            let attribute = &update["attribute"];
            let among = |key: &str, expected: &Value| {
                attribute[key].as_array().is_some_and(|all| all.contains(expected))
            };
            return Ok(match what {
                Shown::Route => attribute["as-path"].to_string().contains("64500"),
                Shown::Community => among("community", &serde_json::json!([64500, 77])),
                Shown::Large => among("large-community", &serde_json::json!([64500, 1, 2])),
                Shown::Extended => attribute["extended-community"].to_string().contains("target:64500:7"),
            });
        }
        Ok(false)
    }

    fn ask_again(&self) -> Result<()> {
        bail!("it cannot be told to")
    }

    fn shut_down(&self) -> Result<()> {
        bail!("its farewell has no text")
    }
}
