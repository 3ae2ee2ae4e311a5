//! Communities of the three kinds as operators write them, and patterns over them.
//!
//! | kind | text | RFC |
//! |---|---|---|
//! | community | `65000:100`, or a well-known name such as `no-export` | 1997 |
//! | large | `65000:1:2` | 8092 |
//! | extended | `rt:65000:100`, `ro:10.0.0.1:100`, or raw: `0x0002fde800000064` | 4360, 5668 |
//!
//! In a pattern each number may also be `*` or a range `100-199`; a lone `*` matches every
//! community of the kind. A pattern for an extended community with a number in front matches the
//! two-octet and the four-octet form, and does not look at the transitive bit.

use std::fmt;
use std::net::Ipv4Addr;
use std::str::FromStr;

use crate::wire::{Community, ExtendedCommunity, LargeCommunity};

/// Why a text is no community or pattern.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CommunityParseError {
    /// Not of the form that this kind has.
    #[error("\"{text}\" is not {kind}; expected {expected}")]
    Syntax {
        /// What was written.
        text: String,
        /// What it should have been, with its article.
        kind: &'static str,
        /// The form of one.
        expected: &'static str,
    },
    /// A number that does not fit its field.
    #[error("{number} in \"{text}\" is too large; expected at most {max}{hint}")]
    TooLarge {
        /// What was written.
        text: String,
        /// The number in it.
        number: u64,
        /// The largest that fits.
        max: u32,
        /// What to do instead, with its comma, or empty.
        hint: &'static str,
    },
    /// A range whose end comes before its start.
    #[error("the range {first}-{last} in \"{text}\" is empty; expected the smaller number first")]
    EmptyRange {
        /// What was written.
        text: String,
        /// The start of the range.
        first: u32,
        /// The end of the range.
        last: u32,
    },
}

/// One number of a pattern: those from `first` to `last`. `*` is the range of all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct NumberPattern {
    /// The smallest that matches.
    pub first: u32,
    /// The largest that matches.
    pub last: u32,
}

/// Matches communities: `65000:*`, `no-export`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct CommunityPattern {
    /// The upper two octets.
    pub asn: NumberPattern,
    /// The lower two octets.
    pub value: NumberPattern,
}

/// Matches large communities: `65000:*:100-199`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct LargeCommunityPattern {
    /// The global administrator.
    pub global: NumberPattern,
    /// Local data part 1.
    pub local1: NumberPattern,
    /// Local data part 2.
    pub local2: NumberPattern,
}

/// Matches extended communities: `rt:65000:*`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ExtendedCommunityPattern {
    /// `*`: any.
    Any,
    /// One exactly, written raw.
    Exact(ExtendedCommunity),
    /// A route target or route origin.
    Administered {
        /// The sub-type, see [`ExtendedCommunity::ROUTE_TARGET`] and [`ExtendedCommunity::ROUTE_ORIGIN`].
        subtype: u8,
        /// Who assigned the value.
        administrator: Administrator,
        /// The value.
        value: NumberPattern,
    },
}

/// Who assigned an extended community.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Administrator {
    /// `*`: an AS or an address.
    Any,
    /// An AS number, of two or four octets.
    Asn(NumberPattern),
    /// An IPv4 address.
    Address(Ipv4Addr),
}

/// Types of the forms with an administrator, without the transitive bit (RFC 4360, RFC 5668).
const TWO_OCTET_AS: u8 = 0x00;
const IPV4_ADDRESS: u8 = 0x01;
const FOUR_OCTET_AS: u8 = 0x02;
/// Set when a community must not leave the AS.
const NON_TRANSITIVE: u8 = 0x40;

/// The largest number of two octets.
const U16_MAX: u32 = u16::MAX as u32;

const COMMUNITY_FORM: &str = "\"ASN:VALUE\" or one of graceful-shutdown, accept-own, llgr-stale, no-llgr, \
     accept-own-nexthop, blackhole, no-export, no-advertise, no-export-subconfed, no-peer";
const COMMUNITY_PATTERN_FORM: &str = "\"ASN:VALUE\", each a number, a range \"1-9\" or \"*\", or one of \
     graceful-shutdown, accept-own, llgr-stale, no-llgr, accept-own-nexthop, blackhole, no-export, \
     no-advertise, no-export-subconfed, no-peer";
const LARGE_FORM: &str = "\"ASN:NUMBER:NUMBER\"";
const LARGE_PATTERN_FORM: &str = "\"ASN:NUMBER:NUMBER\", each a number, a range \"1-9\" or \"*\"";
const EXTENDED_FORM: &str = "\"rt:ASN:NUMBER\" (route target), \"ro:ASN:NUMBER\" (route origin), either with an \
     IPv4 address for ASN, or \"0x\" and 16 hexadecimal digits";
const EXTENDED_PATTERN_FORM: &str = "\"rt:ASN:NUMBER\" (route target), \"ro:ASN:NUMBER\" (route origin), each a \
     number, a range \"1-9\" or \"*\", or \"0x\" and 16 hexadecimal digits";

impl NumberPattern {
    /// Matches every number.
    pub const ANY: Self = Self { first: 0, last: u32::MAX };

    /// Matches one number.
    pub const fn exactly(number: u32) -> Self {
        Self { first: number, last: number }
    }

    /// Whether the number is in the range.
    pub fn matches(self, number: u32) -> bool {
        (self.first..=self.last).contains(&number)
    }
}

impl CommunityPattern {
    /// Matches one community.
    pub const fn exactly(community: Community) -> Self {
        Self {
            asn: NumberPattern::exactly(community.0 >> 16),
            value: NumberPattern::exactly(community.0 & U16_MAX),
        }
    }

    /// Whether this community matches.
    pub fn matches(&self, community: Community) -> bool {
        self.asn.matches(community.0 >> 16) && self.value.matches(community.0 & U16_MAX)
    }
}

impl LargeCommunityPattern {
    /// Whether this community matches.
    pub fn matches(&self, community: LargeCommunity) -> bool {
        self.global.matches(community.global)
            && self.local1.matches(community.local1)
            && self.local2.matches(community.local2)
    }
}

impl ExtendedCommunityPattern {
    /// Whether this community matches.
    pub fn matches(&self, community: ExtendedCommunity) -> bool {
        let (subtype, administrator, value) = match self {
            Self::Any => return true,
            Self::Exact(exact) => return *exact == community,
            Self::Administered { subtype, administrator, value } => (*subtype, administrator, value),
        };
        // Type, sub-type, and six octets: an administrator of two and a number of four, or an
        // administrator of four and a number of two.
        let word = u64::from_be_bytes(community.0);
        let (two, four) = ((word >> 32) as u16, (word >> 16) as u32);
        let (asn, number) = match community.0[0] & !NON_TRANSITIVE {
            TWO_OCTET_AS => (Some(u32::from(two)), word as u32),
            FOUR_OCTET_AS => (Some(four), u32::from(word as u16)),
            IPV4_ADDRESS => (None, u32::from(word as u16)),
            _ => return false,
        };
        let administered = match administrator {
            Administrator::Any => true,
            Administrator::Asn(pattern) => asn.is_some_and(|asn| pattern.matches(asn)),
            Administrator::Address(address) => asn.is_none() && u32::from(*address) == four,
        };
        community.0[1] == subtype && administered && value.matches(number)
    }
}

impl FromStr for Community {
    type Err = CommunityParseError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if let Some(community) = well_known(text) {
            return Ok(community);
        }
        let text = Written { text, kind: "a community", expected: COMMUNITY_FORM };
        let [asn, value] = text.fields()?;
        Ok(Self(text.number(asn, U16_MAX)? << 16 | text.number(value, U16_MAX)?))
    }
}

impl FromStr for CommunityPattern {
    type Err = CommunityParseError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if let Some(community) = well_known(text) {
            return Ok(Self::exactly(community));
        }
        if text == "*" {
            return Ok(Self { asn: NumberPattern::ANY, value: NumberPattern::ANY });
        }
        let text = Written { text, kind: "a community pattern", expected: COMMUNITY_PATTERN_FORM };
        let [asn, value] = text.fields()?;
        Ok(Self { asn: text.pattern(asn, U16_MAX)?, value: text.pattern(value, U16_MAX)? })
    }
}

impl FromStr for LargeCommunity {
    type Err = CommunityParseError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let text = Written { text, kind: "a large community", expected: LARGE_FORM };
        let [global, local1, local2] = text.fields()?;
        Ok(Self {
            global: text.number(global, u32::MAX)?,
            local1: text.number(local1, u32::MAX)?,
            local2: text.number(local2, u32::MAX)?,
        })
    }
}

impl FromStr for LargeCommunityPattern {
    type Err = CommunityParseError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text == "*" {
            let any = NumberPattern::ANY;
            return Ok(Self { global: any, local1: any, local2: any });
        }
        let text = Written { text, kind: "a large community pattern", expected: LARGE_PATTERN_FORM };
        let [global, local1, local2] = text.fields()?;
        Ok(Self {
            global: text.pattern(global, u32::MAX)?,
            local1: text.pattern(local1, u32::MAX)?,
            local2: text.pattern(local2, u32::MAX)?,
        })
    }
}

impl FromStr for ExtendedCommunity {
    type Err = CommunityParseError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let text = Written { text, kind: "an extended community", expected: EXTENDED_FORM };
        if let Some(raw) = text.raw()? {
            return Ok(raw);
        }
        let [kind, administrator, number] = text.fields()?;
        let subtype = text.subtype(kind)?;
        let (kind, body) = if let Ok(address) = administrator.parse::<Ipv4Addr>() {
            let number = text.number(number, U16_MAX)?;
            (IPV4_ADDRESS, u64::from(u32::from(address)) << 16 | u64::from(number))
        } else {
            // Two octets where they suffice, the form that every speaker knows, unless the suffix of
            // RFC 5396 asks for four.
            let digits = administrator.strip_suffix('L');
            let asn = text.number(digits.unwrap_or(administrator), u32::MAX)?;
            if asn <= U16_MAX && digits.is_none() {
                (TWO_OCTET_AS, u64::from(asn) << 32 | u64::from(text.number(number, u32::MAX)?))
            } else {
                (FOUR_OCTET_AS, u64::from(asn) << 16 | u64::from(text.number(number, U16_MAX)?))
            }
        };
        Ok(Self((u64::from(kind) << 56 | u64::from(subtype) << 48 | body).to_be_bytes()))
    }
}

impl FromStr for ExtendedCommunityPattern {
    type Err = CommunityParseError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text == "*" {
            return Ok(Self::Any);
        }
        let text = Written { text, kind: "an extended community pattern", expected: EXTENDED_PATTERN_FORM };
        if let Some(raw) = text.raw()? {
            return Ok(Self::Exact(raw));
        }
        let [kind, administrator, value] = text.fields()?;
        let subtype = text.subtype(kind)?;
        let administrator = if administrator == "*" {
            Administrator::Any
        } else if let Ok(address) = administrator.parse() {
            Administrator::Address(address)
        } else {
            Administrator::Asn(text.pattern(administrator, u32::MAX)?)
        };
        Ok(Self::Administered { subtype, administrator, value: text.pattern(value, u32::MAX)? })
    }
}

impl fmt::Display for NumberPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.first, self.last) {
            (0, u32::MAX) => f.write_str("*"),
            (first, last) if first == last => first.fmt(f),
            (first, last) => write!(f, "{first}-{last}"),
        }
    }
}

impl fmt::Display for CommunityPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.asn, self.value)
    }
}

impl fmt::Display for LargeCommunityPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.global, self.local1, self.local2)
    }
}

fn well_known(name: &str) -> Option<Community> {
    Community::WELL_KNOWN.iter().find(|(_, known)| *known == name).map(|(community, _)| *community)
}

/// A text being parsed, with what its errors say.
struct Written<'t> {
    text: &'t str,
    kind: &'static str,
    expected: &'static str,
}

impl<'t> Written<'t> {
    fn fields<const N: usize>(&self) -> Result<[&'t str; N], CommunityParseError> {
        let fields: Vec<&str> = self.text.split(':').collect();
        fields.try_into().map_err(|_| self.syntax())
    }

    fn number(&self, field: &str, max: u32) -> Result<u32, CommunityParseError> {
        // Digits only: the standard parser would also take a sign.
        if field.is_empty() || field.len() > 18 || !field.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(self.syntax());
        }
        let number: u64 = field.parse().map_err(|_| self.syntax())?;
        u32::try_from(number).ok().filter(|&number| number <= max).ok_or_else(|| {
            let classic = self.expected == COMMUNITY_FORM || self.expected == COMMUNITY_PATTERN_FORM;
            let hint = if classic { ", or a large community" } else { "" };
            CommunityParseError::TooLarge { text: self.text.to_owned(), number, max, hint }
        })
    }

    fn pattern(&self, field: &str, max: u32) -> Result<NumberPattern, CommunityParseError> {
        if field == "*" {
            return Ok(NumberPattern::ANY);
        }
        let Some((first, last)) = field.split_once('-') else {
            return self.number(field, max).map(NumberPattern::exactly);
        };
        let (first, last) = (self.number(first, max)?, self.number(last, max)?);
        if first > last {
            return Err(CommunityParseError::EmptyRange { text: self.text.to_owned(), first, last });
        }
        Ok(NumberPattern { first, last })
    }

    fn subtype(&self, name: &str) -> Result<u8, CommunityParseError> {
        match name {
            "rt" => Ok(ExtendedCommunity::ROUTE_TARGET),
            "ro" | "soo" => Ok(ExtendedCommunity::ROUTE_ORIGIN),
            _ => Err(self.syntax()),
        }
    }

    /// The community when the text has the raw form.
    fn raw(&self) -> Result<Option<ExtendedCommunity>, CommunityParseError> {
        let Some(digits) = self.text.strip_prefix("0x") else { return Ok(None) };
        if digits.len() != 16 || !digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(self.syntax());
        }
        let number = u64::from_str_radix(digits, 16).map_err(|_| self.syntax())?;
        Ok(Some(ExtendedCommunity(number.to_be_bytes())))
    }

    fn syntax(&self) -> CommunityParseError {
        CommunityParseError::Syntax { text: self.text.to_owned(), kind: self.kind, expected: self.expected }
    }
}
