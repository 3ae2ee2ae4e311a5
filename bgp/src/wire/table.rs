//! The path attributes, one row each: type code, flags, how to read it, how to write it.
//!
//! Reading checks what RFC 7606 section 7 asks of each attribute and says how a fault is answered:
//! [`Fault::Withdraw`] or [`Fault::Discard`]. The flags are checked by the caller against the row.
//! The multiprotocol attributes are not here: they hold routes and belong to the walk over an UPDATE.

use std::fmt;
use std::net::Ipv4Addr;

use hashbrown::HashSet;
use nom::combinator::{all_consuming, map};
use nom::multi::{length_data, many1};
use nom::number::complete::{be_u8, be_u16, be_u32, be_u64};
use nom::{IResult, Parser};

use super::as_path::{AsPath, Segment, SegmentKind};
use super::attributes::{Aigp, Attributes, Origin, flags};
use super::community::{Community, ExtendedCommunity, LargeCommunity};
use super::error::Reason;
use super::key::AttributeContext;
use super::next_hop::NextHop;
use crate::types::{Asn, RouterId};

/// Attribute type codes.
pub(super) mod code {
    pub(in super::super) const ORIGIN: u8 = 1;
    pub(in super::super) const AS_PATH: u8 = 2;
    pub(in super::super) const NEXT_HOP: u8 = 3;
    pub(in super::super) const MED: u8 = 4;
    pub(in super::super) const LOCAL_PREF: u8 = 5;
    pub(in super::super) const ATOMIC_AGGREGATE: u8 = 6;
    pub(in super::super) const AGGREGATOR: u8 = 7;
    pub(in super::super) const COMMUNITIES: u8 = 8;
    pub(in super::super) const ORIGINATOR_ID: u8 = 9;
    pub(in super::super) const CLUSTER_LIST: u8 = 10;
    pub(in super::super) const MP_REACH_NLRI: u8 = 14;
    pub(in super::super) const MP_UNREACH_NLRI: u8 = 15;
    pub(in super::super) const EXTENDED_COMMUNITIES: u8 = 16;
    pub(in super::super) const AS4_PATH: u8 = 17;
    pub(in super::super) const AS4_AGGREGATOR: u8 = 18;
    pub(in super::super) const AIGP: u8 = 26;
    pub(in super::super) const LARGE_COMMUNITY: u8 = 32;
    pub(in super::super) const ONLY_TO_CUSTOMER: u8 = 35;
}

const WELL_KNOWN: u8 = flags::TRANSITIVE;
const OPTIONAL: u8 = flags::OPTIONAL;
const OPTIONAL_TRANSITIVE: u8 = flags::OPTIONAL | flags::TRANSITIVE;

/// How a malformed attribute is answered (RFC 7606 section 2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// The routes are withdrawn.
    Withdraw(Reason),
    /// The attribute is dropped, the routes live.
    Discard(Reason),
}

impl From<Reason> for Fault {
    fn from(reason: Reason) -> Self {
        Self::Withdraw(reason)
    }
}

/// Where attributes go.
#[derive(Clone, Copy, Debug)]
pub(super) struct Target {
    pub(super) as4: bool,
    /// Whether the next hop goes into a `NEXT_HOP` attribute, rather than beside the block.
    pub(super) next_hop: bool,
}

/// Attributes while they are read.
pub(super) struct Draft {
    pub(super) attributes: Attributes,
    /// From `NEXT_HOP`, checked only when it is used.
    pub(super) next_hop: Option<[u8; 4]>,
    pub(super) as4_path: Option<AsPath>,
    pub(super) as4_aggregator: Option<(Asn, Ipv4Addr)>,
}

type Decode = fn(&[u8], AttributeContext, &mut Draft) -> Result<(), Fault>;
/// Appends the value and says whether the attribute is there at all.
type Encode = fn(&Attributes, Target, &mut Vec<u8>) -> bool;

pub(super) struct Row {
    pub(super) code: u8,
    name: &'static str,
    /// Optional and Transitive as the attribute's definition says.
    pub(super) flags: u8,
    pub(super) decode: Decode,
    encode: Encode,
}

const fn row(code: u8, name: &'static str, flags: u8, decode: Decode, encode: Encode) -> Row {
    Row { code, name, flags, decode, encode }
}

/// In order of type code.
#[rustfmt::skip]
static ROWS: &[Row] = &[
    row(code::ORIGIN, "ORIGIN", WELL_KNOWN, origin, put_origin),
    row(code::AS_PATH, "AS_PATH", WELL_KNOWN, as_path, put_as_path),
    row(code::NEXT_HOP, "NEXT_HOP", WELL_KNOWN, next_hop, put_next_hop),
    row(code::MED, "MULTI_EXIT_DISC", OPTIONAL, med, put_med),
    row(code::LOCAL_PREF, "LOCAL_PREF", WELL_KNOWN, local_pref, put_local_pref),
    row(code::ATOMIC_AGGREGATE, "ATOMIC_AGGREGATE", WELL_KNOWN, atomic_aggregate, put_atomic_aggregate),
    row(code::AGGREGATOR, "AGGREGATOR", OPTIONAL_TRANSITIVE, aggregator, put_aggregator),
    row(code::COMMUNITIES, "COMMUNITIES", OPTIONAL_TRANSITIVE, communities, put_communities),
    row(code::ORIGINATOR_ID, "ORIGINATOR_ID", OPTIONAL, originator_id, put_originator_id),
    row(code::CLUSTER_LIST, "CLUSTER_LIST", OPTIONAL, cluster_list, put_cluster_list),
    row(code::EXTENDED_COMMUNITIES, "EXTENDED_COMMUNITIES", OPTIONAL_TRANSITIVE, extended_communities, put_extended_communities),
    row(code::AS4_PATH, "AS4_PATH", OPTIONAL_TRANSITIVE, as4_path, put_as4_path),
    row(code::AS4_AGGREGATOR, "AS4_AGGREGATOR", OPTIONAL_TRANSITIVE, as4_aggregator, put_as4_aggregator),
    row(code::AIGP, "AIGP", OPTIONAL, aigp, put_aigp),
    row(code::LARGE_COMMUNITY, "LARGE_COMMUNITY", OPTIONAL_TRANSITIVE, large_communities, put_large_communities),
    row(code::ONLY_TO_CUSTOMER, "ONLY_TO_CUSTOMER", OPTIONAL_TRANSITIVE, only_to_customer, put_only_to_customer),
];

/// Where the row of each type code is, for those that have one.
static PLACES: [u8; 256] = {
    let mut places = [u8::MAX; 256];
    let mut place = 0;
    while place < ROWS.len() {
        places[ROWS[place].code as usize] = place as u8;
        place += 1;
    }
    places
};

/// The row of a type code.
#[inline]
pub(super) fn find(code: u8) -> Option<&'static Row> {
    ROWS.get(usize::from(PLACES[usize::from(code)]))
}

/// Shows a type code by its name.
pub(super) struct AttributeName(pub(super) u8);

impl fmt::Display for AttributeName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            0 => f.write_str("path attributes"),
            code::MP_REACH_NLRI => f.write_str("MP_REACH_NLRI"),
            code::MP_UNREACH_NLRI => f.write_str("MP_UNREACH_NLRI"),
            code => match find(code) {
                Some(row) => f.write_str(row.name),
                None => write!(f, "attribute {code}"),
            },
        }
    }
}

/// One attribute as it lies in the list.
#[derive(Clone, Copy, Debug)]
pub(super) struct Raw<'a> {
    pub(super) flags: u8,
    pub(super) code: u8,
    pub(super) value: &'a [u8],
}

/// Takes one attribute off the list.
#[inline]
pub(super) fn attribute(input: &[u8]) -> IResult<&[u8], Raw<'_>> {
    let (input, (flags, code)) = (be_u8, be_u8).parse(input)?;
    let (input, value) = if flags & flags::EXTENDED_LENGTH == 0 {
        length_data(be_u8).parse(input)?
    } else {
        length_data(be_u16).parse(input)?
    };
    Ok((input, Raw { flags, code, value }))
}

/// Appends all attributes in order of type code (RFC 4271 section 5), save the multiprotocol ones.
pub(super) fn encode_block(attributes: &Attributes, target: Target, out: &mut Vec<u8>) {
    let mut value = Vec::new();
    let mut unknown = attributes.unknown.iter().peekable();
    for row in ROWS {
        while let Some(other) = unknown.next_if(|other| other.code < row.code) {
            put_attribute(other.flags, other.code, &other.value, out);
        }
        value.clear();
        if (row.encode)(attributes, target, &mut value) {
            let partial = if attributes.partial.contains(row.code) { flags::PARTIAL } else { 0 };
            put_attribute(row.flags | partial, row.code, &value, out);
        }
    }
    for other in unknown {
        put_attribute(other.flags, other.code, &other.value, out);
    }
}

/// Appends an attribute; a value beyond 65535 octets, which no message can carry, is left out.
fn put_attribute(flags: u8, code: u8, value: &[u8], out: &mut Vec<u8>) {
    let flags = flags & !flags::EXTENDED_LENGTH;
    if let Ok(length) = u8::try_from(value.len()) {
        out.extend([flags, code, length]);
    } else if let Ok(length) = u16::try_from(value.len()) {
        out.extend([flags | flags::EXTENDED_LENGTH, code]);
        out.extend(length.to_be_bytes());
    } else {
        return;
    }
    out.extend_from_slice(value);
}

/// A value of exactly these octets.
fn exactly<const N: usize>(value: &[u8]) -> Result<[u8; N], Reason> {
    value.try_into().map_err(|_| Reason::Length)
}

/// A value of one or more items that fill it (RFC 7606: "a non-zero multiple of").
fn items<'a, T>(
    value: &'a [u8],
    item: impl Parser<&'a [u8], Output = T, Error = nom::error::Error<&'a [u8]>>,
) -> Result<Vec<T>, Reason> {
    let (_, items) = all_consuming(many1(item)).parse(value).map_err(|_| Reason::Length)?;
    Ok(items)
}

fn origin(value: &[u8], _: AttributeContext, draft: &mut Draft) -> Result<(), Fault> {
    let [origin] = exactly(value)?;
    draft.attributes.origin = Origin::from_u8(origin).ok_or(Reason::Value)?;
    Ok(())
}

fn put_origin(attributes: &Attributes, _: Target, out: &mut Vec<u8>) -> bool {
    out.push(attributes.origin as u8);
    true
}

fn as_path(value: &[u8], source: AttributeContext, draft: &mut Draft) -> Result<(), Fault> {
    let path = AsPath::decode(value, source.as4)?;
    // Neighbours in other member ASes of our confederation do not count as external here.
    if source.ebgp && path.segments().any(|segment| segment.kind().is_confed()) {
        return Err(Reason::Confederation.into());
    }
    refuse_sets(&path, source)?;
    draft.attributes.as_path = path;
    Ok(())
}

/// Where that is asked for, sets are no part of a path any more (RFC 9774 section 3).
fn refuse_sets(path: &AsPath, source: AttributeContext) -> Result<(), Fault> {
    let is_set = |segment: Segment<'_>| matches!(segment.kind(), SegmentKind::Set | SegmentKind::ConfedSet);
    if source.refuse_as_sets && path.segments().any(is_set) { Err(Reason::AsSet.into()) } else { Ok(()) }
}

fn put_as_path(attributes: &Attributes, target: Target, out: &mut Vec<u8>) -> bool {
    attributes.as_path.encode(target.as4, out);
    true
}

fn next_hop(value: &[u8], _: AttributeContext, draft: &mut Draft) -> Result<(), Fault> {
    draft.next_hop = Some(exactly(value)?);
    Ok(())
}

fn put_next_hop(attributes: &Attributes, target: Target, out: &mut Vec<u8>) -> bool {
    if target.next_hop {
        NextHop { link_local: None, ..attributes.next_hop }.encode(out);
    }
    target.next_hop
}

fn med(value: &[u8], _: AttributeContext, draft: &mut Draft) -> Result<(), Fault> {
    draft.attributes.med = Some(u32::from_be_bytes(exactly(value)?));
    Ok(())
}

fn put_med(attributes: &Attributes, _: Target, out: &mut Vec<u8>) -> bool {
    put_u32(attributes.med, out)
}

fn local_pref(value: &[u8], source: AttributeContext, draft: &mut Draft) -> Result<(), Fault> {
    internal_only(source)?;
    draft.attributes.local_pref = Some(u32::from_be_bytes(exactly(value)?));
    Ok(())
}

fn put_local_pref(attributes: &Attributes, _: Target, out: &mut Vec<u8>) -> bool {
    put_u32(attributes.local_pref, out)
}

/// Attributes that mean something only within an AS are dropped when they come from another (RFC
/// 7606 sections 7.5, 7.9, 7.10).
fn internal_only(source: AttributeContext) -> Result<(), Fault> {
    if source.ebgp { Err(Fault::Discard(Reason::External)) } else { Ok(()) }
}

fn put_u32(value: Option<u32>, out: &mut Vec<u8>) -> bool {
    out.extend(value.iter().flat_map(|value| value.to_be_bytes()));
    value.is_some()
}

fn atomic_aggregate(value: &[u8], _: AttributeContext, draft: &mut Draft) -> Result<(), Fault> {
    let [] = exactly(value).map_err(Fault::Discard)?;
    draft.attributes.atomic_aggregate = true;
    Ok(())
}

fn put_atomic_aggregate(attributes: &Attributes, _: Target, _: &mut Vec<u8>) -> bool {
    attributes.atomic_aggregate
}

fn aggregator(value: &[u8], source: AttributeContext, draft: &mut Draft) -> Result<(), Fault> {
    let aggregator = if source.as4 {
        aggregator4(value)?
    } else {
        let [a, b, address @ ..] = exactly::<6>(value).map_err(Fault::Discard)?;
        (Asn(u32::from(u16::from_be_bytes([a, b]))), Ipv4Addr::from(address))
    };
    draft.attributes.aggregator = Some(some_asn(aggregator)?);
    Ok(())
}

fn aggregator4(value: &[u8]) -> Result<(Asn, Ipv4Addr), Fault> {
    let [a, b, c, d, address @ ..] = exactly::<8>(value).map_err(Fault::Discard)?;
    Ok((Asn(u32::from_be_bytes([a, b, c, d])), Ipv4Addr::from(address)))
}

/// AS 0 aggregates nothing (RFC 7607).
fn some_asn(aggregator: (Asn, Ipv4Addr)) -> Result<(Asn, Ipv4Addr), Fault> {
    if aggregator.0.0 == 0 { Err(Fault::Discard(Reason::AsZero)) } else { Ok(aggregator) }
}

fn put_aggregator(attributes: &Attributes, target: Target, out: &mut Vec<u8>) -> bool {
    let Some((asn, address)) = attributes.aggregator else { return false };
    if target.as4 {
        out.extend(asn.0.to_be_bytes());
    } else {
        out.extend(asn.two_octet().to_be_bytes());
    }
    out.extend(address.octets());
    true
}

fn communities(value: &[u8], _: AttributeContext, draft: &mut Draft) -> Result<(), Fault> {
    draft.attributes.communities = items(value, map(be_u32, Community))?;
    Ok(())
}

fn put_communities(attributes: &Attributes, _: Target, out: &mut Vec<u8>) -> bool {
    out.extend(attributes.communities.iter().flat_map(|community| community.0.to_be_bytes()));
    !out.is_empty()
}

fn originator_id(value: &[u8], source: AttributeContext, draft: &mut Draft) -> Result<(), Fault> {
    internal_only(source)?;
    draft.attributes.originator_id = Some(RouterId(Ipv4Addr::from(exactly::<4>(value)?)));
    Ok(())
}

fn put_originator_id(attributes: &Attributes, _: Target, out: &mut Vec<u8>) -> bool {
    put_u32(attributes.originator_id.map(|id| id.0.to_bits()), out)
}

fn cluster_list(value: &[u8], source: AttributeContext, draft: &mut Draft) -> Result<(), Fault> {
    internal_only(source)?;
    draft.attributes.cluster_list = items(value, map(be_u32, Ipv4Addr::from_bits))?;
    Ok(())
}

fn put_cluster_list(attributes: &Attributes, _: Target, out: &mut Vec<u8>) -> bool {
    out.extend(attributes.cluster_list.iter().flat_map(Ipv4Addr::octets));
    !out.is_empty()
}

fn extended_communities(value: &[u8], _: AttributeContext, draft: &mut Draft) -> Result<(), Fault> {
    let community = map(be_u64, |bits: u64| ExtendedCommunity(bits.to_be_bytes()));
    draft.attributes.extended_communities = items(value, community)?;
    Ok(())
}

fn put_extended_communities(attributes: &Attributes, _: Target, out: &mut Vec<u8>) -> bool {
    out.extend(attributes.extended_communities.iter().flat_map(|community| community.0));
    !out.is_empty()
}

/// A malformed `AS4_PATH` is dropped, as is one from a speaker that has no use for it, and its
/// confederation segments (RFC 6793 section 6).
fn as4_path(value: &[u8], source: AttributeContext, draft: &mut Draft) -> Result<(), Fault> {
    if source.as4 {
        return Err(Fault::Discard(Reason::Redundant));
    }
    let path = AsPath::decode(value, true).map_err(Fault::Discard)?;
    if path.is_empty() {
        return Err(Fault::Discard(Reason::Length));
    }
    refuse_sets(&path, source)?;
    draft.as4_path = Some(path.without_confederations());
    Ok(())
}

fn put_as4_path(attributes: &Attributes, target: Target, out: &mut Vec<u8>) -> bool {
    let path = if target.as4 { None } else { attributes.as_path.as4_path() };
    out.extend(path.iter().flatten());
    path.is_some()
}

fn as4_aggregator(value: &[u8], source: AttributeContext, draft: &mut Draft) -> Result<(), Fault> {
    if source.as4 {
        return Err(Fault::Discard(Reason::Redundant));
    }
    draft.as4_aggregator = Some(some_asn(aggregator4(value)?)?);
    Ok(())
}

fn put_as4_aggregator(attributes: &Attributes, target: Target, out: &mut Vec<u8>) -> bool {
    match attributes.aggregator {
        Some((asn, address)) if !target.as4 && u16::try_from(asn.0).is_err() => {
            out.extend(asn.0.to_be_bytes());
            out.extend(address.octets());
            true
        }
        _ => false,
    }
}

fn large_communities(value: &[u8], _: AttributeContext, draft: &mut Draft) -> Result<(), Fault> {
    let community =
        map((be_u32, be_u32, be_u32), |(global, local1, local2)| LargeCommunity { global, local1, local2 });
    let mut communities = items(value, community)?;
    let mut seen = HashSet::with_capacity(communities.len());
    communities.retain(|community| seen.insert(*community));
    draft.attributes.large_communities = communities;
    Ok(())
}

fn put_large_communities(attributes: &Attributes, _: Target, out: &mut Vec<u8>) -> bool {
    let mut seen = HashSet::with_capacity(attributes.large_communities.len());
    for community in &attributes.large_communities {
        if seen.insert(community) {
            for part in [community.global, community.local1, community.local2] {
                out.extend(part.to_be_bytes());
            }
        }
    }
    !out.is_empty()
}

/// Type of the TLV that holds the metric, and its length with type and length (RFC 7311 section 3).
const AIGP_TLV: (u8, u16) = (1, 11);

/// Without leave of the configuration the attribute is one that nobody knows; malformed, it is dropped (RFC
/// 7311 sections 3.2 and 3.3).
fn aigp(value: &[u8], source: AttributeContext, draft: &mut Draft) -> Result<(), Fault> {
    if !source.aigp {
        return Ok(());
    }
    let mut metric = None;
    let mut others = Vec::new();
    let mut rest = value;
    while let [kind, high, low, tail @ ..] = rest {
        let length = u16::from_be_bytes([*high, *low]);
        let whole = rest.split_at_checked(usize::from(length)).filter(|(tlv, _)| tlv.len() >= 3);
        let (tlv, after) = whole.ok_or(Fault::Discard(Reason::Length))?;
        rest = after;
        if *kind == AIGP_TLV.0 && length != AIGP_TLV.1 {
            return Err(Fault::Discard(Reason::Length));
        }
        match tail.first_chunk::<8>() {
            // The first one counts, more are passed on.
            Some(octets) if *kind == AIGP_TLV.0 && metric.is_none() => {
                metric = Some(u64::from_be_bytes(*octets));
            }
            _ => others.extend_from_slice(tlv),
        }
    }
    if !rest.is_empty() {
        return Err(Fault::Discard(Reason::Length));
    }
    draft.attributes.aigp = metric.map(|metric| Aigp { metric, others });
    Ok(())
}

fn put_aigp(attributes: &Attributes, _: Target, out: &mut Vec<u8>) -> bool {
    let Some(aigp) = &attributes.aigp else { return false };
    out.push(AIGP_TLV.0);
    out.extend(AIGP_TLV.1.to_be_bytes());
    out.extend(aigp.metric.to_be_bytes());
    out.extend_from_slice(&aigp.others);
    true
}

fn only_to_customer(value: &[u8], _: AttributeContext, draft: &mut Draft) -> Result<(), Fault> {
    draft.attributes.otc = Some(Asn(u32::from_be_bytes(exactly(value)?)));
    Ok(())
}

fn put_only_to_customer(attributes: &Attributes, _: Target, out: &mut Vec<u8>) -> bool {
    put_u32(attributes.otc.map(|asn| asn.0), out)
}
