//! Attribute keys, and what RFC 7606 makes of them.
//!
//! A key is everything that decides what attributes a route has, as one byte string:
//!
//! ```text
//! [flags: AttributeContext] [next hop length] [next hop of MP_REACH_NLRI] [attributes without MP_*_NLRI]
//! ```
//!
//! A table of routes has a few hundred thousand distinct keys and millions of routes, so that keys
//! are interned as bytes and [`parse_attributes`] runs once for each. Different keys may mean the
//! same attributes; [`Attributes::to_key`](super::Attributes::to_key) gives the canonical one.

use std::net::{IpAddr, Ipv6Addr};

use super::attributes::{Attributes, UnknownAttribute, flags};
use super::error::{AttributeError, Reason};
use super::next_hop::NextHop;
use super::table::{self, Draft, Fault, code};
use crate::link::{LinkTag, bare};
use crate::types::Asn;

/// What the meaning of attributes depends on beside their bytes: the session they came over.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of the key")]
pub struct AttributeContext {
    /// AS numbers have four octets (RFC 6793).
    pub as4: bool,
    /// The peer is in another AS: some attributes are not taken from it (RFC 7606 sections 7.5, 7.9,
    /// 7.10).
    pub ebgp: bool,
    /// AIGP is taken from it (RFC 7311 section 3.3).
    pub aigp: bool,
    /// Routes with an `AS_SET` are treated as withdrawn (RFC 9774).
    pub refuse_as_sets: bool,
}

impl AttributeContext {
    /// That of attributes made here: nothing is refused.
    pub(super) const OWN: Self = Self { as4: true, ebgp: false, aigp: true, refuse_as_sets: false };

    pub(super) const fn to_flags(self) -> u8 {
        self.as4 as u8 | (self.ebgp as u8) << 1 | (self.aigp as u8) << 2 | (self.refuse_as_sets as u8) << 3
    }

    const fn from_flags(flags: u8) -> Self {
        Self {
            as4: flags & 1 != 0,
            ebgp: flags & 2 != 0,
            aigp: flags & 4 != 0,
            refuse_as_sets: flags & 8 != 0,
        }
    }
}

/// Attributes that were dropped ("attribute discard", RFC 7606 section 2) without hurting the route.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Discarded(pub Vec<AttributeError>);

impl Discarded {
    /// Whether nothing was dropped.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// What was dropped, and why.
    pub fn iter(&self) -> impl Iterator<Item = AttributeError> + '_ {
        self.0.iter().copied()
    }
}

/// Says of a link-local next hop of `MP_REACH_NLRI` in a key on which link it is, which the wire does not:
/// that of the session, when its own addresses are of one; else nobody knows.
///
/// A neighbour that we reach by its link-local address is reached so by its routes too: of the two next hops of
/// RFC 2545 section 3 the link-local one is kept, since it is there whatever global addresses the link has.
pub fn mark_link(key: &mut Vec<u8>, link: Option<LinkTag>) {
    const ADDRESS: usize = 16;
    let length = key.get(1).copied().map_or(0, usize::from);
    if key.len() < 2 + length {
        return;
    }
    let at = |place: usize| {
        let octets: [u8; ADDRESS] = key.get(2 + place * ADDRESS..)?.first_chunk().copied()?;
        let address = Ipv6Addr::from(octets);
        ((place + 1) * ADDRESS <= length && address.is_unicast_link_local()).then_some(address)
    };
    let (first, second) = (at(0), at(1));
    let mark = |address: Ipv6Addr| match (link, bare(address.into())) {
        (Some(link), _) => link.mark(address),
        (None, IpAddr::V6(bare)) => bare,
        (None, IpAddr::V4(_)) => address,
    };
    match (link, second.or(first)) {
        (_, None) => {}
        (Some(_), Some(address)) => {
            key.drain(2 + ADDRESS..2 + length);
            key[1] = ADDRESS as u8;
            key[2..2 + ADDRESS].copy_from_slice(&mark(address).octets());
        }
        (None, Some(_)) => {
            for (place, address) in [first, second].into_iter().enumerate() {
                let from = 2 + place * ADDRESS;
                if let Some((octets, address)) = key.get_mut(from..from + ADDRESS).zip(address) {
                    octets.copy_from_slice(&mark(address).octets());
                }
            }
        }
    }
}

/// Reads the attributes of a key. An error means that the routes are treated as withdrawn.
pub fn parse_attributes(key: &[u8]) -> Result<(Attributes, Discarded), AttributeError> {
    const NO_KEY: AttributeError = AttributeError::new(0, Reason::Truncated);
    let [key_flags, next_hop_len, rest @ ..] = key else { return Err(NO_KEY) };
    let (next_hop, block) = rest.split_at_checked(usize::from(*next_hop_len)).ok_or(NO_KEY)?;
    let source = AttributeContext::from_flags(*key_flags);
    let parsed = parse_block(block, source)?;
    let Parsed { draft, seen, discarded } = parsed;
    let mut attributes = draft.attributes;
    // RFC 4760 section 3: a NEXT_HOP beside MP_REACH_NLRI is ignored.
    let (at, next_hop) = if next_hop.is_empty() {
        let missing = AttributeError::new(code::NEXT_HOP, Reason::Missing);
        (code::NEXT_HOP, NextHop::decode(draft.next_hop.as_ref().ok_or(missing)?))
    } else {
        (code::MP_REACH_NLRI, NextHop::decode(next_hop))
    };
    attributes.next_hop = next_hop.map_err(|reason| AttributeError::new(at, reason))?;
    for mandatory in [code::ORIGIN, code::AS_PATH] {
        if !seen.contains(mandatory) {
            return Err(AttributeError::new(mandatory, Reason::Missing));
        }
    }
    Ok((attributes, discarded))
}

/// Checks each attribute of a block, but not whether the mandatory ones are there: for an UPDATE
/// without routes.
pub(super) fn check_block(block: &[u8], source: AttributeContext) -> Result<(), AttributeError> {
    parse_block(block, source).map(|_| ())
}

struct Parsed {
    draft: Draft,
    seen: CodeSet,
    discarded: Discarded,
}

fn parse_block(block: &[u8], source: AttributeContext) -> Result<Parsed, AttributeError> {
    let mut draft =
        Draft { attributes: Attributes::default(), next_hop: None, as4_path: None, as4_aggregator: None };
    let mut seen = CodeSet::default();
    let mut discarded = Discarded::default();
    let mut rest = block;
    while !rest.is_empty() {
        let (tail, raw) = table::attribute(rest).map_err(|_| AttributeError::new(0, Reason::Truncated))?;
        rest = tail;
        // RFC 7606 section 3 (g): of an attribute that appears more than once, the first counts.
        if !seen.insert(raw.code) || matches!(raw.code, code::MP_REACH_NLRI | code::MP_UNREACH_NLRI) {
            continue;
        }
        let result = match table::find(raw.code) {
            Some(row) if (raw.flags ^ row.flags) & (flags::OPTIONAL | flags::TRANSITIVE) != 0 => {
                // RFC 7311 section 3.2 says otherwise of AIGP.
                let discard = raw.code == code::AIGP;
                Err(if discard { Fault::Discard(Reason::Flags) } else { Fault::Withdraw(Reason::Flags) })
            }
            Some(row) => {
                let result = (row.decode)(raw.value, source, &mut draft);
                // Of what is dropped, or only tunnelled, nothing may stay.
                let kept = result.is_ok() && !matches!(raw.code, code::AS4_PATH | code::AS4_AGGREGATOR);
                let optional_transitive = flags::OPTIONAL | flags::TRANSITIVE;
                if kept && raw.flags & flags::PARTIAL != 0 && row.flags == optional_transitive {
                    draft.attributes.partial.insert(raw.code);
                }
                result
            }
            None => unknown(raw, &mut draft),
        };
        match result {
            Ok(()) => {}
            Err(Fault::Withdraw(reason)) => return Err(AttributeError::new(raw.code, reason)),
            Err(Fault::Discard(reason)) => {
                discarded.0.push(AttributeError::new(raw.code, reason));
            }
        }
    }
    merge_four_octets(&mut draft);
    draft.attributes.unknown.sort_by_key(|unknown| unknown.code);
    Ok(Parsed { draft, seen, discarded })
}

/// Unknown attributes are passed on if transitive, marked Partial, and quietly dropped if not (RFC
/// 4271 section 5).
fn unknown(raw: table::Raw<'_>, draft: &mut Draft) -> Result<(), Fault> {
    if raw.flags & flags::OPTIONAL == 0 {
        return Err(Fault::Withdraw(Reason::Unrecognized));
    }
    if raw.flags & flags::TRANSITIVE != 0 {
        draft.attributes.unknown.push(UnknownAttribute {
            flags: flags::OPTIONAL | flags::TRANSITIVE | flags::PARTIAL,
            code: raw.code,
            value: raw.value.to_vec(),
        });
    }
    Ok(())
}

/// Puts the attributes that tunnel four-octet AS numbers through old speakers in their place (RFC
/// 6793 section 4.2.3).
fn merge_four_octets(draft: &mut Draft) {
    // An aggregator other than AS_TRANS was set by an old speaker after the path was tunnelled:
    // neither tunnelled attribute speaks of this route any more.
    if let Some((asn, _)) = draft.attributes.aggregator
        && draft.as4_aggregator.is_some()
    {
        if asn != Asn::TRANS {
            return;
        }
        draft.attributes.aggregator = draft.as4_aggregator;
    }
    if let Some(path) = &draft.as4_path {
        draft.attributes.as_path.merge_as4(path);
    }
}

/// A set of attribute type codes.
#[derive(Clone, Copy, Debug, Default)]
struct CodeSet([u64; 4]);

impl CodeSet {
    fn contains(&self, code: u8) -> bool {
        self.0[usize::from(code >> 6)] & (1 << (code & 63)) != 0
    }

    /// Adds a code; false if it was there.
    fn insert(&mut self, code: u8) -> bool {
        let new = !self.contains(code);
        self.0[usize::from(code >> 6)] |= 1 << (code & 63);
        new
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn v6(text: &str) -> Ipv6Addr {
        text.parse().unwrap()
    }

    /// What becomes of next hops, as a key has them.
    fn marked(next_hops: &[&str], link: Option<LinkTag>) -> Vec<u8> {
        let octets: Vec<u8> = next_hops.iter().flat_map(|text| v6(text).octets()).collect();
        let mut key = [&[1, octets.len() as u8], &octets[..], b"rest"].concat();
        mark_link(&mut key, link);
        assert_eq!((key[0], &key[key.len() - 4..]), (1, &b"rest"[..]));
        assert_eq!(usize::from(key[1]), key.len() - 6);
        key[2..key.len() - 4].to_vec()
    }

    #[test]
    fn a_link_local_next_hop_is_on_the_link_of_its_session() {
        let eth0 = LinkTag::of("eth0");
        let here = eth0.mark(v6("fe80::9")).octets();
        // Also one that pretends to be on another link.
        for next_hops in [
            &["fe80::9"][..],
            &["2001:db8::9", "fe80::9"],
            &["::", "fe80::9"],
            &["fe80::9", "fe80::9"],
            &["fe80:0:1::9"],
        ] {
            assert_eq!(marked(next_hops, Some(eth0)), here, "{next_hops:?}");
        }
        assert_eq!(marked(&["2001:db8::9"], Some(eth0)), v6("2001:db8::9").octets());
        assert_eq!(marked(&[], Some(eth0)), []);
    }

    #[test]
    fn without_a_link_nobody_can_name_one() {
        let both = |one: &str, two: &str| [v6(one).octets(), v6(two).octets()].concat();
        assert_eq!(marked(&["fe80:0:1:2::9"], None), v6("fe80::9").octets());
        assert_eq!(marked(&["2001:db8::9", "fe80:0:1::9"], None), both("2001:db8::9", "fe80::9"));
        assert_eq!(marked(&["2001:db8::9", "2001:db8::9"], None), both("2001:db8::9", "2001:db8::9"));
    }

    #[test]
    fn what_is_no_key_is_left_alone() {
        for octets in [&[][..], &[1], &[1, 16], &[1, 32, 0xfe, 0x80]] {
            let mut key = octets.to_vec();
            mark_link(&mut key, Some(LinkTag::of("eth0")));
            assert_eq!(key, octets);
        }
    }
}
