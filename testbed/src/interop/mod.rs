//! Which features work with whom: sessions with each router there is, and a verdict for each feature.
//!
//! A [`partners::Partner`] is a router of others, with its ways to be told and asked. [`run`] holds a
//! session between it and the daemon for each [`Scene`] and tries the [`Feature`]s there. The results of all partners are
//! written to a file, from which the table in the README is made ([`table`]); neither is edited by
//! hand.

pub mod partners;
pub mod run;
pub mod table;

/// How both sides of a session are configured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scene {
    /// Everything that needs nothing else.
    Plain,
    /// A password (RFC 2385).
    Password,
    /// TTL security (RFC 5082).
    TtlSecurity,
    /// We take fewer prefixes than the partner announces.
    OurLimit,
    /// The partner takes fewer than we announce.
    TheirLimit,
    /// The partner offers graceful restart (RFC 4724).
    Restart,
    /// Several paths of a prefix, both ways (RFC 7911).
    AddPath,
}

impl Scene {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::Plain,
        Self::Password,
        Self::TtlSecurity,
        Self::OurLimit,
        Self::TheirLimit,
        Self::Restart,
        Self::AddPath,
    ];
}

/// A column of the table, in its order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Feature {
    /// The session is Established, with AS numbers of four octets in OPEN and paths.
    FourOctetAs,
    /// IPv4 routes go both ways.
    Ipv4,
    /// IPv6 routes go both ways.
    Ipv6,
    /// Communities (RFC 1997) go both ways.
    Communities,
    /// Large communities (RFC 8092) go both ways.
    LargeCommunities,
    /// Extended communities (RFC 4360) go both ways.
    ExtendedCommunities,
    /// We ask for all routes again, and get them (RFC 2918).
    RefreshByUs,
    /// The partner asks for all routes again, and gets them.
    RefreshByPartner,
    /// Path identifiers go both ways (RFC 7911).
    AddPath,
    /// Segments are signed with a password (RFC 2385).
    Password,
    /// Packets come with TTL 255, and are taken with no less (RFC 5082).
    TtlSecurity,
    /// The partner sends too much, is told so, and the session ends.
    OurLimit,
    /// The same the other way round.
    TheirLimit,
    /// The partner is killed and starts again: its routes stay, save those that do not come again (RFC 4724).
    Restart,
    /// We show the text with which the partner shuts the session down (RFC 9003).
    ShutdownText,
    /// The partner shows ours.
    OurShutdownText,
}

impl Feature {
    /// All of them.
    pub const ALL: [Self; 16] = [
        Self::FourOctetAs,
        Self::Ipv4,
        Self::Ipv6,
        Self::Communities,
        Self::LargeCommunities,
        Self::ExtendedCommunities,
        Self::RefreshByUs,
        Self::RefreshByPartner,
        Self::AddPath,
        Self::Password,
        Self::TtlSecurity,
        Self::OurLimit,
        Self::TheirLimit,
        Self::Restart,
        Self::OurShutdownText,
        Self::ShutdownText,
    ];

    /// Where it is tried.
    pub fn scene(self) -> Scene {
        match self {
            Self::AddPath => Scene::AddPath,
            Self::Password => Scene::Password,
            Self::TtlSecurity => Scene::TtlSecurity,
            Self::OurLimit => Scene::OurLimit,
            Self::TheirLimit => Scene::TheirLimit,
            Self::Restart => Scene::Restart,
            _ => Scene::Plain,
        }
    }

    /// The key in the file.
    pub fn key(self) -> &'static str {
        match self {
            Self::FourOctetAs => "four-octet-as",
            Self::Ipv4 => "ipv4",
            Self::Ipv6 => "ipv6",
            Self::Communities => "communities",
            Self::LargeCommunities => "large-communities",
            Self::ExtendedCommunities => "extended-communities",
            Self::RefreshByUs => "refresh-by-us",
            Self::RefreshByPartner => "refresh-by-partner",
            Self::AddPath => "add-path",
            Self::Password => "password",
            Self::TtlSecurity => "ttl-security",
            Self::OurLimit => "our-limit",
            Self::TheirLimit => "their-limit",
            Self::Restart => "restart",
            Self::OurShutdownText => "our-shutdown-text",
            Self::ShutdownText => "shutdown-text",
        }
    }

    /// The heading in the README.
    pub fn heading(self) -> &'static str {
        match self {
            Self::FourOctetAs => "4-octet AS",
            Self::Ipv4 => "IPv4",
            Self::Ipv6 => "IPv6",
            Self::Communities => "communities",
            Self::LargeCommunities => "large",
            Self::ExtendedCommunities => "extended",
            Self::RefreshByUs => "refresh by us",
            Self::RefreshByPartner => "by them",
            Self::AddPath => "add-path",
            Self::Password => "TCP MD5",
            Self::TtlSecurity => "GTSM",
            Self::OurLimit => "our prefix limit",
            Self::TheirLimit | Self::ShutdownText => "theirs",
            Self::Restart => "restart helped",
            Self::OurShutdownText => "our shutdown text",
        }
    }
}

/// What came of trying a feature.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It works.
    Works,
    /// The partner, or its driver here, does not offer it.
    NotOffered,
    /// It does not work, and how that showed.
    Fails(String),
}

impl Verdict {
    /// As the file has it.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Works => "works",
            Self::NotOffered => "not offered",
            Self::Fails(_) => "fails",
        }
    }
}
