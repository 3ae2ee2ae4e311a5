//! Which features work with whom: one session with each router there is, everything configured at
//! once, and a verdict for each feature.
//!
//! A [`partners::Partner`] is a router of others, with its ways to be told and asked. [`run`] holds a
//! session between it and the daemon and tries each [`Feature`]. The results of all partners are
//! written to a file, from which the table in the README is made ([`table`]); neither is edited by
//! hand.

pub mod partners;
pub mod run;
pub mod table;

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
    /// We show the text with which the partner shuts the session down (RFC 9003).
    ShutdownText,
}

impl Feature {
    /// All of them.
    pub const ALL: [Self; 9] = [
        Self::FourOctetAs,
        Self::Ipv4,
        Self::Ipv6,
        Self::Communities,
        Self::LargeCommunities,
        Self::ExtendedCommunities,
        Self::RefreshByUs,
        Self::RefreshByPartner,
        Self::ShutdownText,
    ];

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
            Self::ShutdownText => "shutdown text",
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
