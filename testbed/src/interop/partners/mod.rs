//! The routers of others, each with its ways to be told and asked.
//!
//! Every partner announces the same: [`PLAIN`] of each family, and [`COLORED`] with communities of
//! every kind.

mod bird;
mod exabgp;
mod frr;
mod gobgp;
mod openbgpd;

use anyhow::Result;

use crate::interop::{Feature, Scene};
use crate::netns::{Namespace, Sandbox, output};
use crate::peers;

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
/// The text of the partner's shutdown.
pub const FAREWELL: &str = "maintenance";
/// The text of ours.
pub const OUR_FAREWELL: &str = "new-cables";
/// The password of [`Scene::Password`].
pub const PASSWORD: &str = "s3cret";
/// The most IPv4 prefixes that the partner takes in [`Scene::TheirLimit`].
pub const THEIR_LIMIT: usize = 2;

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

/// What the partner heard from us at the end of a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Heard {
    /// That it sent too many prefixes.
    TooMany,
    /// [`OUR_FAREWELL`].
    Farewell,
}

/// A router with a session to the daemon.
pub trait Partner {
    /// Whether it shows this of a prefix that we announced.
    fn shows(&self, prefix: &str, what: Shown) -> Result<bool>;

    /// Makes it ask us for all routes.
    fn ask_again(&self) -> Result<()>;

    /// Makes it end the session with [`FAREWELL`].
    fn shut_down(&self) -> Result<()>;

    /// Whether it shows that it heard this.
    fn heard_of(&self, what: Heard) -> Result<bool>;

    /// Kills it and starts it again as one that has kept forwarding, without [`COLORED`].
    fn restart(&mut self, sandbox: &Sandbox) -> Result<()>;
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
            Self::Bird => &peers::bird::PROGRAMS,
            Self::Frr => &peers::frr::PROGRAMS,
            Self::Gobgp => &peers::gobgp::PROGRAMS,
            Self::Openbgpd => &peers::openbgpd::PROGRAMS,
            Self::Exabgp => &peers::exabgp::PROGRAMS,
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
            // OpenBGPD 7.7 reads our request and then says that the family was not negotiated. In the capability of
            // graceful restart it names no family: it helps others, and asks nobody for help.
            Feature::RefreshByUs | Feature::Restart => self != Self::Openbgpd,
            // GoBGP keeps what it received and asks nobody; ExaBGP has no table to fill again.
            Feature::RefreshByPartner => !matches!(self, Self::Gobgp | Self::Exabgp),
            // ExaBGP has no limit on prefixes, and its farewell has no text that one could choose. 4.2.21 answers a text
            // of ours with an error: its reader of it raises a TypeError, which it takes for a malformed message.
            Feature::TheirLimit | Feature::ShutdownText | Feature::OurShutdownText => self != Self::Exabgp,
            _ => true,
        }
    }

    /// Starts it in a namespace with `10.99.1.2` and `fd99:1::2`, towards `10.99.1.1`.
    pub fn start(self, sandbox: &Sandbox, namespace: &Namespace, scene: Scene) -> Result<Box<dyn Partner>> {
        match self {
            Self::Bird => bird::start(sandbox, namespace, scene),
            Self::Frr => frr::start(sandbox, namespace, scene),
            Self::Gobgp => gobgp::start(sandbox, namespace, scene),
            Self::Openbgpd => openbgpd::start(sandbox, namespace, scene),
            Self::Exabgp => exabgp::start(sandbox, namespace, scene),
        }
    }
}
