//! UPDATEs out: as many prefixes in a message as fit, and as many messages as it takes.
//!
//! IPv4 unicast with an IPv4 next hop goes into the fields of RFC 4271; everything else goes into the
//! multiprotocol attributes, which come first (RFC 7606 section 5.1). An UPDATE either withdraws or
//! announces, one family at a time.

use bytes::{BufMut, BytesMut};

use super::attributes::{Attributes, flags};
use super::message::{MessageType, put_header};
use super::table::{self, Target, code};
use super::{HEADER_LEN, MAX_EXTENDED_MESSAGE, MAX_MESSAGE, PathNlri, nlri};
use crate::types::{Family, FamilySet};

/// Header, and the two length fields of an UPDATE.
const UPDATE_OVERHEAD: usize = HEADER_LEN + 4;
/// Flags, type code and extended length of a multiprotocol attribute, AFI and SAFI.
const MP_OVERHEAD: usize = 4 + 3;

/// What the session negotiated, as far as writing messages depends on it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct EncodeContext {
    /// The peer reads AS numbers of four octets (RFC 6793).
    pub as4: bool,
    /// The peer reads messages of up to 65535 octets (RFC 8654).
    pub extended: bool,
    /// Families in which the peer reads path identifiers (RFC 7911).
    pub add_path: FamilySet,
    /// The peer takes IPv4 routes with an IPv6 next hop (RFC 8950).
    pub extended_next_hop: bool,
}

impl EncodeContext {
    /// Longest message to write.
    pub fn max_message(&self) -> usize {
        if self.extended { MAX_EXTENDED_MESSAGE } else { MAX_MESSAGE }
    }
}

/// A route that no message can carry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EncodeError {
    /// The attributes leave no room for a prefix.
    #[error("path attributes of {size} octets do not fit into a message of {max} octets")]
    TooLarge {
        /// Octets of the attributes.
        size: usize,
        /// Octets of the longest message.
        max: usize,
    },
    /// IPv6 routes need an IPv6 next hop.
    #[error("next hop {next_hop} for {family} routes")]
    NextHopFamily {
        /// The routes' family.
        family: Family,
        /// The next hop.
        next_hop: std::net::IpAddr,
    },
}

/// Writes UPDATEs that announce prefixes with the same attributes. The attributes are encoded once.
#[derive(Clone, Debug)]
pub struct UpdateEncoder {
    family: Family,
    /// Attributes, except `MP_REACH_NLRI`.
    block: Vec<u8>,
    /// Next hop in `MP_REACH_NLRI`, if the routes go there.
    next_hop: Option<Vec<u8>>,
    path_ids: bool,
    max: usize,
}

impl UpdateEncoder {
    /// Encodes the attributes.
    pub fn new(family: Family, attributes: &Attributes, ctx: &EncodeContext) -> Result<Self, EncodeError> {
        let next_hop = attributes.next_hop;
        let base = family == Family::Ipv4Unicast && next_hop.addr.is_ipv4();
        if family == Family::Ipv6Unicast && next_hop.addr.is_ipv4() {
            return Err(EncodeError::NextHopFamily { family, next_hop: next_hop.addr });
        }
        let mut block = Vec::with_capacity(128);
        table::encode_block(attributes, Target { as4: ctx.as4, next_hop: base }, &mut block);
        let next_hop = (!base).then(|| {
            let mut out = Vec::with_capacity(32);
            next_hop.encode(&mut out);
            out
        });
        let path_ids = ctx.add_path.contains(family);
        let encoder = Self { family, block, next_hop, path_ids, max: ctx.max_message() };
        if encoder.overhead() + nlri::longest(family, path_ids) > encoder.max {
            let size = encoder.overhead() - UPDATE_OVERHEAD;
            return Err(EncodeError::TooLarge { size, max: encoder.max });
        }
        Ok(encoder)
    }

    /// Octets of a message without its prefixes.
    fn overhead(&self) -> usize {
        // Next hop length, next hop, reserved octet.
        let mp = self.next_hop.as_ref().map_or(0, |next_hop| MP_OVERHEAD + 2 + next_hop.len());
        UPDATE_OVERHEAD + mp + self.block.len()
    }

    /// Appends UPDATEs that announce the prefixes; returns how many messages. Prefixes of another
    /// family are left out.
    pub fn announce(&self, out: &mut BytesMut, nlri: impl IntoIterator<Item = impl Into<PathNlri>>) -> usize {
        let lists = Lists { family: self.family, path_ids: self.path_ids, room: self.max - self.overhead() };
        lists.pack(out, nlri, |out, prefixes| {
            put_header(out, MessageType::Update, self.overhead() - HEADER_LEN + prefixes.len());
            out.put_u16(0);
            match &self.next_hop {
                None => {
                    out.put_u16(self.block.len() as u16);
                    out.put_slice(&self.block);
                    out.put_slice(prefixes);
                }
                Some(next_hop) => {
                    let mp = MP_OVERHEAD + 2 + next_hop.len() + prefixes.len();
                    out.put_u16((mp + self.block.len()) as u16);
                    put_mp(out, code::MP_REACH_NLRI, self.family, mp);
                    out.put_u8(next_hop.len() as u8);
                    out.put_slice(next_hop);
                    out.put_u8(0);
                    out.put_slice(prefixes);
                    out.put_slice(&self.block);
                }
            }
        })
    }
}

/// Appends UPDATEs that announce the prefixes with these attributes; returns how many messages. The
/// family of the prefixes is `family`, others are left out. An error means that nothing was written,
/// and that the caller should withdraw the prefixes.
pub fn encode_announce(
    out: &mut BytesMut,
    family: Family,
    attributes: &Attributes,
    nlri: impl IntoIterator<Item = impl Into<PathNlri>>,
    ctx: &EncodeContext,
) -> Result<usize, EncodeError> {
    Ok(UpdateEncoder::new(family, attributes, ctx)?.announce(out, nlri))
}

/// Appends UPDATEs that withdraw the prefixes; returns how many messages. Prefixes of another family
/// are left out.
pub fn encode_withdraw(
    out: &mut BytesMut,
    family: Family,
    nlri: impl IntoIterator<Item = impl Into<PathNlri>>,
    ctx: &EncodeContext,
) -> usize {
    let base = family == Family::Ipv4Unicast;
    let overhead = UPDATE_OVERHEAD + if base { 0 } else { MP_OVERHEAD };
    let (path_ids, room) = (ctx.add_path.contains(family), ctx.max_message() - overhead);
    Lists { family, path_ids, room }.pack(out, nlri, |out, prefixes| {
        put_header(out, MessageType::Update, overhead - HEADER_LEN + prefixes.len());
        if base {
            out.put_u16(prefixes.len() as u16);
            out.put_slice(prefixes);
            out.put_u16(0);
        } else {
            let mp = MP_OVERHEAD + prefixes.len();
            out.put_u16(0);
            out.put_u16(mp as u16);
            put_mp(out, code::MP_UNREACH_NLRI, family, mp);
            out.put_slice(prefixes);
        }
    })
}

/// Appends the End-of-RIB marker of a family (RFC 4724 section 2).
pub fn encode_end_of_rib(out: &mut BytesMut, family: Family) {
    if family == Family::Ipv4Unicast {
        put_header(out, MessageType::Update, 4);
        out.put_u32(0);
    } else {
        put_header(out, MessageType::Update, 4 + MP_OVERHEAD);
        out.put_u16(0);
        out.put_u16(MP_OVERHEAD as u16);
        put_mp(out, code::MP_UNREACH_NLRI, family, MP_OVERHEAD);
    }
}

/// Appends the head of a multiprotocol attribute that has `len` octets in all. The length is written
/// in two octets whatever it is, as most speakers do.
fn put_mp(out: &mut BytesMut, code: u8, family: Family, len: usize) {
    out.put_u8(flags::OPTIONAL | flags::EXTENDED_LENGTH);
    out.put_u8(code);
    out.put_u16((len - 4) as u16);
    out.put_u16(family.afi());
    out.put_u8(family.safi());
}

/// The lists of prefixes that a message has room for, which is enough for one.
struct Lists {
    family: Family,
    path_ids: bool,
    /// Octets.
    room: usize,
}

impl Lists {
    /// Cuts prefixes into lists and writes a message for each; returns how many.
    fn pack(
        &self,
        out: &mut BytesMut,
        prefixes: impl IntoIterator<Item = impl Into<PathNlri>>,
        mut message: impl FnMut(&mut BytesMut, &[u8]),
    ) -> usize {
        let mut list = BytesMut::with_capacity(self.room.min(MAX_MESSAGE));
        let mut messages = 0;
        let routes = prefixes.into_iter().map(Into::into);
        for route in routes.filter(|route: &PathNlri| Family::of(&route.prefix) == self.family) {
            if list.len() + nlri::encoded_len(&route, self.path_ids) > self.room {
                message(out, &list);
                messages += 1;
                list.clear();
            }
            nlri::encode(&route, self.path_ids, &mut list);
        }
        if !list.is_empty() {
            message(out, &list);
            messages += 1;
        }
        messages
    }
}
