//! The vocabulary that every room of the speaker shares: AS numbers, router ids, hold times,
//! address families and peer ids.
//!
//! Each is a newtype, so that an AS number is never mistaken for a router id and a hold time of one
//! second (which RFC 4271 section 4.2 forbids) cannot be built. Prefixes are [`ipnet::IpNet`]
//! everywhere, always in network form: no bits beyond the length.

use std::fmt;
use std::net::Ipv4Addr;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// An autonomous system number of four octets (RFC 6793).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Asn(pub u32);

impl Asn {
    /// `AS_TRANS`: stands for any AS number beyond two octets where only two fit (RFC 6793).
    pub const TRANS: Self = Self(23456);

    /// Whether the number is for private use (RFC 6996).
    pub fn is_private(self) -> bool {
        matches!(self.0, 64_512..=65_534 | 4_200_000_000..=4_294_967_294)
    }

    /// Whether the number is reserved and never a real AS: 0 (RFC 7607), `AS_TRANS` (RFC 6793), the
    /// documentation ranges (RFC 5398), the last of each width (RFC 7300), and IANA's reserve.
    pub fn is_reserved(self) -> bool {
        matches!(self.0, 0 | 23_456 | 64_496..=64_511 | 65_535..=131_071 | u32::MAX)
    }

    /// The number as a two-octet field carries it: itself, or [`Asn::TRANS`] when it does not fit.
    pub fn two_octet(self) -> u16 {
        u16::try_from(self.0).unwrap_or(Self::TRANS.0 as u16)
    }
}

impl fmt::Display for Asn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl From<u32> for Asn {
    fn from(value: u32) -> Self {
        Self(value)
    }
}

/// The text is not an AS number.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not an AS number (0 to 4294967295)")]
pub struct ParseAsnError(String);

impl FromStr for Asn {
    type Err = ParseAsnError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let digits = text.strip_prefix("AS").unwrap_or(text);
        // `u32::from_str` would also take a sign.
        if !digits.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(ParseAsnError(text.to_owned()));
        }
        digits.parse().map(Self).map_err(|_| ParseAsnError(text.to_owned()))
    }
}

/// A BGP identifier: four octets, unique within an AS, not zero (RFC 6286).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RouterId(pub Ipv4Addr);

impl fmt::Display for RouterId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A hold time in whole seconds: 0 (no keepalives, never expires) or at least 3.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct HoldTime(u16);

impl HoldTime {
    /// 90 seconds, as RFC 4271 section 10 suggests.
    pub const DEFAULT: Self = Self(90);

    /// 3 seconds: the shortest that is not zero.
    pub const SHORTEST: Self = Self(3);

    /// A hold time of this many seconds; `None` for 1 and 2, which RFC 4271 section 4.2 forbids.
    pub fn new(seconds: u16) -> Option<Self> {
        (seconds == 0 || seconds >= 3).then_some(Self(seconds))
    }

    /// Seconds; 0 means that the session never expires.
    pub fn as_secs(self) -> u16 {
        self.0
    }

    /// Whether the hold timer is off.
    pub fn is_zero(self) -> bool {
        self.0 == 0
    }

    /// The hold time; `None` when it is zero, so never expires.
    pub fn duration(self) -> Option<Duration> {
        (self.0 != 0).then(|| Duration::from_secs(u64::from(self.0)))
    }

    /// The interval between keepalives, a third of the hold time (RFC 4271 section 4.4); `None`
    /// when the hold time is zero and no keepalives are sent.
    pub fn keepalive(self) -> Option<Duration> {
        self.duration().map(|hold| hold / 3)
    }
}

impl Default for HoldTime {
    fn default() -> Self {
        Self::DEFAULT
    }
}

impl fmt::Display for HoldTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} s", self.0)
    }
}

/// An address family that the speaker exchanges routes of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Family {
    /// AFI 1, SAFI 1.
    Ipv4Unicast,
    /// AFI 2, SAFI 1.
    Ipv6Unicast,
}

impl Family {
    /// Every family, in the order of [`Family::index`].
    pub const ALL: [Self; 2] = [Self::Ipv4Unicast, Self::Ipv6Unicast];

    /// The address family identifier.
    pub fn afi(self) -> u16 {
        match self {
            Self::Ipv4Unicast => 1,
            Self::Ipv6Unicast => 2,
        }
    }

    /// The subsequent address family identifier.
    pub fn safi(self) -> u8 {
        1
    }

    /// The family with these identifiers, if the speaker knows it.
    pub fn from_afi_safi(afi: u16, safi: u8) -> Option<Self> {
        match (afi, safi) {
            (1, 1) => Some(Self::Ipv4Unicast),
            (2, 1) => Some(Self::Ipv6Unicast),
            _ => None,
        }
    }

    /// The family of a unicast prefix.
    pub fn of(prefix: &ipnet::IpNet) -> Self {
        match prefix {
            ipnet::IpNet::V4(_) => Self::Ipv4Unicast,
            ipnet::IpNet::V6(_) => Self::Ipv6Unicast,
        }
    }

    /// The name used in configuration and output.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ipv4Unicast => "ipv4-unicast",
            Self::Ipv6Unicast => "ipv6-unicast",
        }
    }

    /// A dense index, for arrays of [`Family::ALL`]'s length.
    pub fn index(self) -> usize {
        self as usize
    }

    /// Bits of an address: 32 or 128.
    pub fn address_bits(self) -> u8 {
        match self {
            Self::Ipv4Unicast => 32,
            Self::Ipv6Unicast => 128,
        }
    }
}

impl fmt::Display for Family {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl Serialize for Family {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

/// The text names no family of this speaker.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not an address family (ipv4-unicast or ipv6-unicast)")]
pub struct ParseFamilyError(String);

impl FromStr for Family {
    type Err = ParseFamilyError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL
            .into_iter()
            .find(|family| family.as_str() == text)
            .ok_or_else(|| ParseFamilyError(text.to_owned()))
    }
}

/// A set of families, one bit each.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct FamilySet(u8);

impl FamilySet {
    /// No family.
    pub const EMPTY: Self = Self(0);
    /// Every family.
    pub const ALL: Self = Self((1 << Family::ALL.len()) - 1);

    /// Adds a family.
    pub fn insert(&mut self, family: Family) {
        self.0 |= 1 << family.index();
    }

    /// Takes a family out.
    pub fn remove(&mut self, family: Family) {
        self.0 &= !(1 << family.index());
    }

    /// Whether the family is in the set.
    pub fn contains(self, family: Family) -> bool {
        self.0 & (1 << family.index()) != 0
    }

    /// The families in both sets.
    #[must_use]
    pub fn intersect(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    /// The families that are not in the other set.
    #[must_use]
    pub fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    /// Whether no family is in the set.
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Number of families in the set.
    pub fn len(self) -> usize {
        self.0.count_ones() as usize
    }

    /// The families in the set, in the order of [`Family::ALL`].
    pub fn iter(self) -> impl Iterator<Item = Family> {
        Family::ALL.into_iter().filter(move |family| self.contains(*family))
    }
}

impl FromIterator<Family> for FamilySet {
    fn from_iter<I: IntoIterator<Item = Family>>(families: I) -> Self {
        let mut set = Self::EMPTY;
        for family in families {
            set.insert(family);
        }
        set
    }
}

impl From<Family> for FamilySet {
    fn from(family: Family) -> Self {
        [family].into_iter().collect()
    }
}

impl fmt::Debug for FamilySet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.iter().map(Family::as_str)).finish()
    }
}

impl Serialize for FamilySet {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.iter())
    }
}

/// A dense id of a neighbour, handed out by whoever runs the speaker.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct PeerId(pub u16);

impl PeerId {
    /// Routes that this speaker originates itself.
    pub const LOCAL: Self = Self(0);
}

impl fmt::Display for PeerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hold_time_of_one_or_two_seconds_cannot_be_built() {
        assert_eq!(HoldTime::new(1), None);
        assert_eq!(HoldTime::new(2), None);
        assert_eq!(HoldTime::new(3).map(HoldTime::as_secs), Some(3));
        assert_eq!(HoldTime::new(0).and_then(HoldTime::keepalive), None);
        assert_eq!(HoldTime::DEFAULT.keepalive(), Some(Duration::from_secs(30)));
    }

    #[test]
    fn families_are_named_and_numbered_both_ways() {
        for family in Family::ALL {
            assert_eq!(Family::from_afi_safi(family.afi(), family.safi()), Some(family));
            assert_eq!(family.as_str().parse(), Ok(family));
            assert_eq!(Family::ALL[family.index()], family);
        }
        assert_eq!(Family::from_afi_safi(1, 2), None);
        assert!("ipv4".parse::<Family>().is_err());
    }

    #[test]
    fn a_family_set_holds_what_was_put_in() {
        let mut set = FamilySet::EMPTY;
        assert!(set.is_empty());
        set.insert(Family::Ipv6Unicast);
        assert!(set.contains(Family::Ipv6Unicast) && !set.contains(Family::Ipv4Unicast));
        assert_eq!(FamilySet::ALL.intersect(set), set);
        assert_eq!(FamilySet::ALL.iter().collect::<Vec<_>>(), Family::ALL);
        set.remove(Family::Ipv6Unicast);
        assert_eq!(set, FamilySet::EMPTY);
    }

    #[test]
    fn as_numbers_know_their_special_ranges() {
        assert!(Asn(64_512).is_private() && Asn(4_294_967_294).is_private());
        assert!(!Asn(64_511).is_private() && !Asn(65_535).is_private());
        assert!(Asn(0).is_reserved() && Asn::TRANS.is_reserved() && Asn(65_551).is_reserved());
        assert!(!Asn(174).is_reserved() && !Asn(131_072).is_reserved());
        assert_eq!(Asn(70_000).two_octet(), 23_456);
        assert_eq!("AS65001".parse(), Ok(Asn(65_001)));
        assert!("+1".parse::<Asn>().is_err() && "".parse::<Asn>().is_err());
    }
}
