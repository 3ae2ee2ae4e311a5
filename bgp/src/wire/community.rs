//! Communities of the three kinds: RFC 1997, extended (RFC 4360), large (RFC 8092).

use std::fmt;
use std::net::Ipv4Addr;

/// A community of four octets (RFC 1997), shown as `65000:100` or by its well-known name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Community(pub u32);

impl Community {
    /// Planned shutdown of the path (RFC 8326).
    pub const GRACEFUL_SHUTDOWN: Self = Self(0xffff_0000);
    /// A route kept for long after its session was lost (RFC 9494 section 3.2).
    pub const LLGR_STALE: Self = Self(0xffff_0006);
    /// Not to be kept so (RFC 9494 section 3.3).
    pub const NO_LLGR: Self = Self(0xffff_0007);
    /// Drop traffic to the prefix (RFC 7999).
    pub const BLACKHOLE: Self = Self(0xffff_029a);
    /// Not beyond this AS or confederation (RFC 1997).
    pub const NO_EXPORT: Self = Self(0xffff_ff01);
    /// To no other peer (RFC 1997).
    pub const NO_ADVERTISE: Self = Self(0xffff_ff02);
    /// Not beyond this AS, not even within the confederation (RFC 1997).
    pub const NO_EXPORT_SUBCONFED: Self = Self(0xffff_ff03);
    /// Not to bilateral peers (RFC 3765).
    pub const NO_PEER: Self = Self(0xffff_ff04);

    /// The communities that go by a name (IANA, "BGP Well-known Communities").
    pub const WELL_KNOWN: [(Self, &'static str); 10] = [
        (Self::GRACEFUL_SHUTDOWN, "graceful-shutdown"),
        (Self(0xffff_0001), "accept-own"),
        (Self::LLGR_STALE, "llgr-stale"),
        (Self::NO_LLGR, "no-llgr"),
        (Self(0xffff_0008), "accept-own-nexthop"),
        (Self::BLACKHOLE, "blackhole"),
        (Self::NO_EXPORT, "no-export"),
        (Self::NO_ADVERTISE, "no-advertise"),
        (Self::NO_EXPORT_SUBCONFED, "no-export-subconfed"),
        (Self::NO_PEER, "no-peer"),
    ];

    /// The community `asn:value`.
    pub const fn new(asn: u16, value: u16) -> Self {
        Self((asn as u32) << 16 | value as u32)
    }

    /// The upper half, by convention an AS number.
    pub const fn asn(self) -> u16 {
        (self.0 >> 16) as u16
    }

    /// The lower half.
    pub const fn value(self) -> u16 {
        self.0 as u16
    }
}

impl fmt::Display for Community {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match Self::WELL_KNOWN.iter().find(|(known, _)| known == self) {
            Some((_, name)) => f.write_str(name),
            None => write!(f, "{}:{}", self.asn(), self.value()),
        }
    }
}

/// An extended community (RFC 4360), eight octets as on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ExtendedCommunity(pub [u8; 8]);

impl ExtendedCommunity {
    /// Sub-type of a route target.
    pub const ROUTE_TARGET: u8 = 2;
    /// Sub-type of a route origin.
    pub const ROUTE_ORIGIN: u8 = 3;
    /// Sub-type of a link bandwidth.
    pub const LINK_BANDWIDTH: u8 = 4;

    /// Whether the community stays when the route leaves the AS.
    pub fn is_transitive(self) -> bool {
        self.0[0] & 0x40 == 0
    }

    /// Bytes per second of a link bandwidth community, of either transitivity (draft-ietf-idr-link-bandwidth
    /// section 2).
    pub fn link_bandwidth(self) -> Option<f32> {
        match self.0 {
            [0x00 | 0x40, Self::LINK_BANDWIDTH, _, _, value @ ..] => Some(f32::from_be_bytes(value)),
            _ => None,
        }
    }
}

impl fmt::Display for ExtendedCommunity {
    /// `rt:` or `ro:` with administrator and value for the three types of RFC 4360 and RFC 5668, else
    /// all octets in hexadecimal.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [kind, subtype, value @ ..] = self.0;
        let name = match subtype {
            Self::ROUTE_TARGET => "rt",
            Self::ROUTE_ORIGIN => "ro",
            _ => return write!(f, "0x{:016x}", u64::from_be_bytes(self.0)),
        };
        let [.., high, low] = value;
        let short = u16::from_be_bytes([high, low]);
        let [wide @ .., _, _] = value;
        match kind {
            0x00 => {
                let ([asn_high, asn_low, ..], [_, _, number @ ..]) = (value, value);
                let asn = u16::from_be_bytes([asn_high, asn_low]);
                write!(f, "{name}:{asn}:{}", u32::from_be_bytes(number))
            }
            0x01 => write!(f, "{name}:{}:{short}", Ipv4Addr::from(wide)),
            0x02 => {
                let asn = u32::from_be_bytes(wide);
                // A small AS number in the type for wide ones is told apart by an L.
                let suffix = if u16::try_from(asn).is_ok() { "L" } else { "" };
                write!(f, "{name}:{asn}{suffix}:{short}")
            }
            _ => write!(f, "0x{:016x}", u64::from_be_bytes(self.0)),
        }
    }
}

/// A large community (RFC 8092), shown as `65000:1:2`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LargeCommunity {
    /// Global administrator, an AS number.
    pub global: u32,
    /// First part of the value.
    pub local1: u32,
    /// Second part of the value.
    pub local2: u32,
}

impl fmt::Display for LargeCommunity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.global, self.local1, self.local2)
    }
}
