//! Capabilities of an OPEN (RFC 5492).
//!
//! Each is `code, length, value`. Those that the speaker acts on are variants; the rest stays as
//! bytes, so that a peer's OPEN can be shown whole. A capability that the speaker knows but whose
//! length is wrong makes the OPEN malformed.

use std::fmt;

use nom::combinator::all_consuming;
use nom::multi::many0;
use nom::number::complete::{be_u8, be_u16, be_u32};
use nom::{IResult, Parser};

use super::about::{Fqdn, decode_version, put_text};
use super::graceful::{GracefulRestart, LongLivedRestart};
use crate::role::Role;
use crate::types::{Asn, Family, FamilySet};

/// Capability codes, as IANA numbers them.
mod code {
    pub(super) const MULTI_PROTOCOL: u8 = 1;
    pub(super) const ROUTE_REFRESH: u8 = 2;
    pub(super) const EXTENDED_NEXT_HOP: u8 = 5;
    pub(super) const EXTENDED_MESSAGE: u8 = 6;
    pub(super) const ROLE: u8 = 9;
    pub(super) const GRACEFUL_RESTART: u8 = 64;
    pub(super) const FOUR_OCTET_ASN: u8 = 65;
    pub(super) const ADD_PATH: u8 = 69;
    pub(super) const ENHANCED_ROUTE_REFRESH: u8 = 70;
    pub(super) const LONG_LIVED_GRACEFUL_RESTART: u8 = 71;
    pub(super) const FQDN: u8 = 73;
    pub(super) const SOFTWARE_VERSION: u8 = 75;
}

/// Names of capability codes, for logs and output.
const NAMES: &[(u8, &str)] = &[
    (code::MULTI_PROTOCOL, "multiprotocol"),
    (code::ROUTE_REFRESH, "route-refresh"),
    (3, "outbound-route-filtering"),
    (code::EXTENDED_NEXT_HOP, "extended-next-hop"),
    (code::EXTENDED_MESSAGE, "extended-message"),
    (7, "bgpsec"),
    (8, "multiple-labels"),
    (code::ROLE, "role"),
    (code::GRACEFUL_RESTART, "graceful-restart"),
    (code::FOUR_OCTET_ASN, "four-octet-as"),
    (67, "dynamic-capability"),
    (code::ADD_PATH, "add-path"),
    (code::ENHANCED_ROUTE_REFRESH, "enhanced-route-refresh"),
    (code::LONG_LIVED_GRACEFUL_RESTART, "long-lived-graceful-restart"),
    (code::FQDN, "fqdn"),
    (code::SOFTWARE_VERSION, "software-version"),
    (77, "link-local-next-hop"),
    (128, "route-refresh-cisco"),
];

/// One capability.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Capability {
    /// Routes of this family (RFC 4760).
    MultiProtocol(Family),
    /// Routes of a family that this speaker does not know.
    MultiProtocolOther {
        /// Address family identifier.
        afi: u16,
        /// Subsequent address family identifier.
        safi: u8,
    },
    /// ROUTE-REFRESH messages (RFC 2918).
    RouteRefresh,
    /// Next hops of another family than the routes (RFC 8950): AFI and SAFI of the routes, AFI of the next hop.
    ExtendedNextHop(Vec<(u16, u16, u16)>),
    /// Messages up to 65535 octets (RFC 8654).
    ExtendedMessage,
    /// What the speaker is towards the one that it sends this to (RFC 9234), by its code: see
    /// [`Role::from_u8`](crate::role::Role::from_u8).
    Role(u8),
    /// Graceful restart (RFC 4724).
    GracefulRestart(GracefulRestart),
    /// Long-lived graceful restart (RFC 9494).
    LongLivedGracefulRestart(LongLivedRestart),
    /// The speaker's AS number, and that it reads four octets of them (RFC 6793).
    FourOctetAsn(Asn),
    /// Several paths of a prefix, told apart by path identifiers (RFC 7911), family by family.
    AddPath(Vec<AddPath>),
    /// Marked begin and end of a refresh (RFC 7313).
    EnhancedRouteRefresh,
    /// The names of the speaker, for people.
    Fqdn(Fqdn),
    /// The software that it runs, for people.
    SoftwareVersion(String),
    /// Any other.
    Unknown {
        /// Capability code.
        code: u8,
        /// Capability value, at most 255 octets.
        data: Vec<u8>,
    },
}

/// What a speaker does with path identifiers in one family (RFC 7911 section 4).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct AddPath {
    /// Address family identifier.
    pub afi: u16,
    /// Subsequent address family identifier.
    pub safi: u8,
    /// It is able to receive several paths of a prefix.
    pub receive: bool,
    /// It is able to send them.
    pub send: bool,
}

impl AddPath {
    /// For a family of ours.
    pub fn new(family: Family, receive: bool, send: bool) -> Self {
        Self { afi: family.afi(), safi: family.safi(), receive, send }
    }

    /// AFI, SAFI, and 1 to receive, 2 to send, 3 for both.
    fn decode(input: &[u8]) -> IResult<&[u8], Option<Self>> {
        (be_u16, be_u8, be_u8)
            .map(|(afi, safi, mode)| {
                let (receive, send) = (mode & 1 != 0, mode & 2 != 0);
                (1..=3).contains(&mode).then_some(Self { afi, safi, receive, send })
            })
            .parse(input)
    }

    /// All families of a capability; `None` when it is to be treated as not understood, for its length or
    /// for a mode that there is not.
    fn decode_all(value: &[u8]) -> Option<Vec<Self>> {
        let (_, families) = all_consuming(many0(Self::decode)).parse(value).ok()?;
        families.into_iter().collect()
    }
}

impl Capability {
    /// The families that the capabilities of an OPEN have by [`Capability::AddPath`], to receive and to
    /// send. Of several tuples for a family the last one holds.
    pub fn add_path_families(all: &[Self]) -> (FamilySet, FamilySet) {
        let (mut receive, mut send) = (FamilySet::EMPTY, FamilySet::EMPTY);
        let tuples = all.iter().filter_map(|capability| match capability {
            Self::AddPath(tuples) => Some(tuples),
            _ => None,
        });
        for tuple in tuples.flatten() {
            let Some(family) = Family::from_afi_safi(tuple.afi, tuple.safi) else { continue };
            for (set, able) in [(&mut receive, tuple.receive), (&mut send, tuple.send)] {
                if able { set.insert(family) } else { set.remove(family) }
            }
        }
        (receive, send)
    }

    /// The capability's code.
    pub fn code(&self) -> u8 {
        match self {
            Self::MultiProtocol(_) | Self::MultiProtocolOther { .. } => code::MULTI_PROTOCOL,
            Self::RouteRefresh => code::ROUTE_REFRESH,
            Self::ExtendedNextHop(_) => code::EXTENDED_NEXT_HOP,
            Self::ExtendedMessage => code::EXTENDED_MESSAGE,
            Self::Role(_) => code::ROLE,
            Self::GracefulRestart(_) => code::GRACEFUL_RESTART,
            Self::LongLivedGracefulRestart(_) => code::LONG_LIVED_GRACEFUL_RESTART,
            Self::FourOctetAsn(_) => code::FOUR_OCTET_ASN,
            Self::AddPath(_) => code::ADD_PATH,
            Self::EnhancedRouteRefresh => code::ENHANCED_ROUTE_REFRESH,
            Self::Fqdn(_) => code::FQDN,
            Self::SoftwareVersion(_) => code::SOFTWARE_VERSION,
            Self::Unknown { code, .. } => *code,
        }
    }

    /// Reads a value; `None` if it cannot be this capability's.
    pub(super) fn decode(code: u8, value: &[u8]) -> Option<Self> {
        Some(match code {
            code::MULTI_PROTOCOL => {
                let (rest, (afi, _, safi)) = multi_protocol(value).ok()?;
                rest.is_empty().then_some(())?;
                match Family::from_afi_safi(afi, safi) {
                    Some(family) => Self::MultiProtocol(family),
                    None => Self::MultiProtocolOther { afi, safi },
                }
            }
            code::FOUR_OCTET_ASN => {
                let (rest, asn) = be_u32::<_, nom::error::Error<&[u8]>>(value).ok()?;
                rest.is_empty().then_some(())?;
                Self::FourOctetAsn(Asn(asn))
            }
            code::ROUTE_REFRESH => value.is_empty().then_some(Self::RouteRefresh)?,
            code::EXTENDED_MESSAGE => value.is_empty().then_some(Self::ExtendedMessage)?,
            code::ENHANCED_ROUTE_REFRESH => value.is_empty().then_some(Self::EnhancedRouteRefresh)?,
            code::ROLE => match value {
                [role] => Self::Role(*role),
                _ => return None,
            },
            _ => Self::decode_lenient(code, value)
                .unwrap_or_else(|| Self::Unknown { code, data: value.to_vec() }),
        })
    }

    /// The capabilities that count as not understood when their value is wrong, which is no error (RFC 7911
    /// section 4).
    fn decode_lenient(code: u8, value: &[u8]) -> Option<Self> {
        match code {
            code::ADD_PATH => AddPath::decode_all(value).map(Self::AddPath),
            code::EXTENDED_NEXT_HOP => {
                let next_hops = many0((be_u16::<_, nom::error::Error<_>>, be_u16, be_u16));
                all_consuming(next_hops).parse(value).ok().map(|(_, all)| Self::ExtendedNextHop(all))
            }
            code::FQDN => Fqdn::decode(value).map(Self::Fqdn),
            code::SOFTWARE_VERSION => decode_version(value).map(Self::SoftwareVersion),
            code::GRACEFUL_RESTART => GracefulRestart::decode(value).map(Self::GracefulRestart),
            code::LONG_LIVED_GRACEFUL_RESTART => {
                LongLivedRestart::decode(value).map(Self::LongLivedGracefulRestart)
            }
            _ => None,
        }
    }

    /// Appends `code, length, value`; a value beyond 255 octets is cut off.
    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        out.push(self.code());
        let at = out.len();
        out.push(0);
        match self {
            Self::MultiProtocol(family) => put_family(out, family.afi(), family.safi()),
            Self::MultiProtocolOther { afi, safi } => put_family(out, *afi, *safi),
            Self::RouteRefresh | Self::ExtendedMessage | Self::EnhancedRouteRefresh => {}
            Self::Role(role) => out.push(*role),
            Self::FourOctetAsn(asn) => out.extend(asn.0.to_be_bytes()),
            Self::AddPath(families) => {
                // As many as have room in 255 octets.
                for AddPath { afi, safi, receive, send } in families.iter().take(63) {
                    out.extend(afi.to_be_bytes());
                    out.extend([*safi, u8::from(*receive) | u8::from(*send) << 1]);
                }
            }
            Self::ExtendedNextHop(all) => {
                // As many as have room in 255 octets.
                for (afi, safi, next_hop) in all.iter().take(42) {
                    out.extend([afi, safi, next_hop].into_iter().flat_map(|number| number.to_be_bytes()));
                }
            }
            Self::Fqdn(names) => names.encode(out),
            Self::SoftwareVersion(version) => put_text(out, version),
            Self::GracefulRestart(offer) => offer.encode(out),
            Self::LongLivedGracefulRestart(offer) => offer.encode(out),
            Self::Unknown { data, .. } => {
                out.extend(data.iter().take(usize::from(u8::MAX)));
            }
        }
        out[at] = (out.len() - at - 1) as u8;
    }
}

fn multi_protocol(input: &[u8]) -> IResult<&[u8], (u16, u8, u8)> {
    (be_u16, be_u8, be_u8).parse(input)
}

fn put_family(out: &mut Vec<u8>, afi: u16, safi: u8) {
    out.extend(afi.to_be_bytes());
    out.extend([0, safi]);
}

impl fmt::Display for Capability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::MultiProtocol(family) => return write!(f, "{family}"),
            Self::MultiProtocolOther { afi, safi } => return write!(f, "afi-{afi}-safi-{safi}"),
            Self::Role(code) => {
                return match Role::from_u8(*code) {
                    Some(role) => write!(f, "role {role}"),
                    None => write!(f, "role {code}"),
                };
            }
            Self::Fqdn(names) => return write!(f, "fqdn {names}"),
            Self::SoftwareVersion(version) => {
                return write!(f, "software-version \"{}\"", version.escape_debug());
            }
            _ => {}
        }
        let code = self.code();
        match NAMES.iter().find(|(known, _)| *known == code) {
            Some((_, name)) => f.write_str(name)?,
            None => write!(f, "capability-{code}")?,
        }
        if let Self::Unknown { data, .. } = self
            && !data.is_empty()
        {
            f.write_str(" 0x")?;
            data.iter().try_for_each(|octet| write!(f, "{octet:02x}"))?;
        }
        Ok(())
    }
}
