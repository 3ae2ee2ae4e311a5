//! One walk over the headers of an UPDATE: where its parts are, and what RFC 7606 says of them.
//!
//! The walk looks into no attribute but the multiprotocol ones, which hold prefixes, and allocates
//! nothing. It finds
//!
//! - what resets the session: lengths that do not add up (RFC 4271 section 6.3), malformed prefixes
//!   (RFC 7606 section 5.3), a multiprotocol attribute twice (3 (g)) or of which the prefixes cannot
//!   be located (7.11, 7.12), a well-known attribute that nobody knows (RFC 4271 section 6.3);
//! - what withdraws the routes: an attribute list that ends early (4), multiprotocol attributes with
//!   wrong flags (3 (c)), a next hop of another family.
//!
//! The stronger wins (3 (h)). An UPDATE without reachable routes that has attributes gets them parsed
//! on the spot, since an error in them then resets the session (5.2).

use nom::bytes::complete::take;
use nom::combinator::rest;
use nom::multi::length_data;
use nom::number::complete::{be_u8, be_u16};
use nom::{IResult, Parser};

use super::HEADER_LEN;
use super::attributes::flags;
use super::error::{AttributeError, ProtocolError, Reason};
use super::key::{self, AttributeContext};
use super::message::DecodeContext;
use super::nlri::Nlri;
use super::notification::codes::update as subcodes;
use super::table::{self, Raw, code};
use super::update::{MpSpan, Span, Update, UpdateLayout, UpdateVerdict};
use crate::types::Family;

type Parts<'a> = (&'a [u8], &'a [u8], &'a [u8]);
type Reach<'a> = (u16, u8, &'a [u8], &'a [u8]);

/// Withdrawn routes, path attributes, NLRI.
fn parts(body: &[u8]) -> IResult<&[u8], Parts<'_>> {
    (length_data(be_u16), length_data(be_u16), rest).parse(body)
}

/// AFI, SAFI, next hop, NLRI of `MP_REACH_NLRI` (RFC 4760 section 3).
fn mp_reach(value: &[u8]) -> IResult<&[u8], Reach<'_>> {
    (be_u16, be_u8, length_data(be_u8), take(1_usize), rest)
        .map(|(afi, safi, next_hop, _, nlri)| (afi, safi, next_hop, nlri))
        .parse(value)
}

/// AFI, SAFI, NLRI of `MP_UNREACH_NLRI` (RFC 4760 section 4).
fn mp_unreach(value: &[u8]) -> IResult<&[u8], (u16, u8, &[u8])> {
    (be_u16, be_u8, rest).parse(value)
}

/// Finds the parts of an UPDATE, header included.
pub(super) fn walk(frame: &[u8], ctx: DecodeContext) -> Result<UpdateLayout, ProtocolError> {
    let body = frame.get(HEADER_LEN..).unwrap_or_default();
    let Ok((_, (withdrawn, attributes, nlri))) = parts(body) else {
        let reason = "UPDATE whose parts do not fit into its length";
        return Err(ProtocolError::update(subcodes::MALFORMED_LIST, &[], reason));
    };
    let path_ids = ctx.add_path.contains(Family::Ipv4Unicast);
    for list in [withdrawn, nlri] {
        if Nlri::decode(Family::Ipv4Unicast, path_ids, list).is_none() {
            let reason = "UPDATE with a malformed IPv4 prefix";
            return Err(ProtocolError::update(subcodes::INVALID_NETWORK, &[], reason));
        }
    }
    let base = ctx.families.contains(Family::Ipv4Unicast);
    let ipv4 = Family::Ipv4Unicast;
    let skipped = !(base || withdrawn.is_empty() && nlri.is_empty());
    let attributes_at = HEADER_LEN + 4 + withdrawn.len();
    let end = Span::new(attributes_at + attributes.len(), 0);
    let span = |list: &[u8], at| if base { Span::new(at, list.len()) } else { end };
    let mut walk = Walk {
        ctx,
        layout: UpdateLayout {
            withdrawn: span(withdrawn, HEADER_LEN + 2),
            attributes: Span::new(attributes_at, attributes.len()),
            nlri: span(nlri, attributes_at + attributes.len()),
            next_hop: end,
            mp_attributes: [end; 2],
            mp_reach: None,
            mp_unreach: None,
            ignored: [skipped.then_some((ipv4.afi(), ipv4.safi())), None, None],
            end_of_rib: None,
            path_ids: ctx.add_path,
            verdict: UpdateVerdict::Accept,
        },
        mp_seen: [false; 2],
        reachable: !nlri.is_empty(),
        other: false,
    };
    walk.attribute_list(attributes, attributes_at)?;
    walk.finish(frame, withdrawn.is_empty() && attributes.is_empty() && nlri.is_empty())
}

struct Walk {
    ctx: DecodeContext,
    layout: UpdateLayout,
    /// Whether `MP_REACH_NLRI` and `MP_UNREACH_NLRI` were there.
    mp_seen: [bool; 2],
    /// Whether the UPDATE announces anything, negotiated or not.
    reachable: bool,
    /// Whether there are attributes beside `MP_UNREACH_NLRI`.
    other: bool,
}

/// An attribute and where it is.
struct Placed<'a> {
    raw: Raw<'a>,
    /// The whole attribute.
    bytes: &'a [u8],
    /// Offset of the attribute in the frame.
    at: usize,
}

impl Placed<'_> {
    /// Offset in the frame of the last `len` octets of the attribute.
    fn tail(&self, len: usize) -> Span {
        Span::new(self.at + self.bytes.len() - len, len)
    }

    /// RFC 4271 section 6.3: the attribute goes into the NOTIFICATION.
    fn reset(&self, subcode: u8, what: &str) -> ProtocolError {
        let name = table::AttributeName(self.raw.code);
        ProtocolError::update(subcode, self.bytes, format!("{name}: {what}"))
    }
}

impl Walk {
    fn attribute_list(&mut self, list: &[u8], at: usize) -> Result<(), ProtocolError> {
        let mut rest = list;
        while !rest.is_empty() {
            let at = at + list.len() - rest.len();
            let Ok((tail, raw)) = table::attribute(rest) else {
                // RFC 7606 section 4: the Total Attribute Length still says where the NLRI is. What
                // a cut multiprotocol attribute would announce or withdraw is lost, though (3 (j)).
                let reason = AttributeError::new(0, Reason::Truncated);
                if matches!(rest.get(1), Some(&(code::MP_REACH_NLRI | code::MP_UNREACH_NLRI))) {
                    return Err(ProtocolError::update(subcodes::MALFORMED_LIST, &[], reason.to_string()));
                }
                self.withdraw(reason);
                self.other = true;
                return Ok(());
            };
            let bytes = &rest[..rest.len() - tail.len()];
            let placed = Placed { raw, bytes, at };
            match raw.code {
                code::MP_REACH_NLRI => self.mp_reach(&placed)?,
                code::MP_UNREACH_NLRI => self.mp_unreach(&placed)?,
                code => {
                    self.other = true;
                    if code == code::NEXT_HOP && self.layout.next_hop.is_empty() {
                        self.layout.next_hop = placed.tail(raw.value.len());
                    }
                    if raw.flags & flags::OPTIONAL == 0 && table::find(code).is_none() {
                        let what = Reason::Unrecognized.to_string();
                        return Err(placed.reset(subcodes::UNRECOGNIZED_WELL_KNOWN, &what));
                    }
                }
            }
            rest = tail;
        }
        Ok(())
    }

    fn withdraw(&mut self, error: AttributeError) {
        if self.layout.verdict == UpdateVerdict::Accept {
            self.layout.verdict = UpdateVerdict::TreatAsWithdraw(error);
        }
    }

    /// Notes a multiprotocol attribute, which is optional, non-transitive, and there only once.
    fn multiprotocol(&mut self, placed: &Placed<'_>) -> Result<(), ProtocolError> {
        let index = usize::from(placed.raw.code == code::MP_UNREACH_NLRI);
        if std::mem::replace(&mut self.mp_seen[index], true) {
            return Err(ProtocolError::update(
                subcodes::MALFORMED_LIST,
                &[],
                format!("{} twice in an UPDATE", table::AttributeName(placed.raw.code)),
            ));
        }
        let order = usize::from(self.mp_seen[1 - index]);
        self.layout.mp_attributes[order] = placed.tail(placed.bytes.len());
        if placed.raw.flags & (flags::OPTIONAL | flags::TRANSITIVE) != flags::OPTIONAL {
            self.withdraw(AttributeError::new(placed.raw.code, Reason::Flags));
        }
        Ok(())
    }

    /// The family of a list, if it was negotiated; if not, the list is noted as skipped.
    fn negotiated(&mut self, afi: u16, safi: u8) -> Option<Family> {
        let family = Family::from_afi_safi(afi, safi);
        let family = family.filter(|family| self.ctx.families.contains(*family));
        if family.is_none()
            && let Some(slot) = self.layout.ignored.iter_mut().find(|slot| slot.is_none())
        {
            *slot = Some((afi, safi));
        }
        family
    }

    fn mp_reach(&mut self, placed: &Placed<'_>) -> Result<(), ProtocolError> {
        self.other = true;
        self.multiprotocol(placed)?;
        let Ok((_, (afi, safi, next_hop, nlri))) = mp_reach(placed.raw.value) else {
            return Err(placed.reset(subcodes::OPTIONAL_ATTRIBUTE, "too short"));
        };
        self.reachable |= !nlri.is_empty();
        let Some(family) = self.negotiated(afi, safi) else { return Ok(()) };
        match (family, next_hop.len()) {
            (Family::Ipv4Unicast, 4) | (Family::Ipv6Unicast, 16 | 32) => {}
            (Family::Ipv4Unicast, 16 | 32) if self.ctx.extended_next_hop => {}
            // RFC 8950 encodes it like this, so that the prefixes can be located and withdrawn.
            (Family::Ipv4Unicast, 16 | 32) => {
                self.withdraw(AttributeError::new(code::MP_REACH_NLRI, Reason::Family));
            }
            (family, length) => {
                let what = format!("next hop of {length} octets for {family}");
                return Err(placed.reset(subcodes::OPTIONAL_ATTRIBUTE, &what));
            }
        }
        if Nlri::decode(family, self.ctx.add_path.contains(family), nlri).is_none() {
            return Err(placed.reset(subcodes::OPTIONAL_ATTRIBUTE, "malformed prefix"));
        }
        let nlri = placed.tail(nlri.len());
        // Next hop, one reserved octet, prefixes.
        let next_hop = Span::new(usize::from(nlri.start) - 1 - next_hop.len(), next_hop.len());
        self.layout.mp_reach = Some(MpSpan { family, next_hop, nlri });
        Ok(())
    }

    fn mp_unreach(&mut self, placed: &Placed<'_>) -> Result<(), ProtocolError> {
        self.multiprotocol(placed)?;
        let Ok((_, (afi, safi, nlri))) = mp_unreach(placed.raw.value) else {
            return Err(placed.reset(subcodes::OPTIONAL_ATTRIBUTE, "too short"));
        };
        let Some(family) = self.negotiated(afi, safi) else { return Ok(()) };
        if Nlri::decode(family, self.ctx.add_path.contains(family), nlri).is_none() {
            return Err(placed.reset(subcodes::OPTIONAL_ATTRIBUTE, "malformed prefix"));
        }
        let next_hop = Span::default();
        self.layout.mp_unreach = Some(MpSpan { family, next_hop, nlri: placed.tail(nlri.len()) });
        Ok(())
    }

    fn finish(mut self, frame: &[u8], empty: bool) -> Result<UpdateLayout, ProtocolError> {
        if empty {
            self.layout.end_of_rib = Some(Family::Ipv4Unicast);
        } else if !self.reachable && !self.other && self.layout.withdrawn.is_empty() {
            let unreach = self.layout.mp_unreach.filter(|unreach| unreach.nlri.is_empty());
            self.layout.end_of_rib = unreach.map(|unreach| unreach.family);
        }
        // RFC 7606 section 5.2: with nothing reachable, the prefixes may be what is malformed.
        if !self.reachable && self.other {
            let mut block = Vec::new();
            let Self { ctx, layout, .. } = &self;
            if let UpdateVerdict::TreatAsWithdraw(error) = layout.verdict {
                return Err(error.into_reset());
            }
            let source = AttributeContext { as4: ctx.as4, ebgp: ctx.ebgp, ..AttributeContext::default() };
            Update::from_layout(frame, *layout).attribute_key(false, source, &mut block);
            key::check_block(&block[2..], source).map_err(AttributeError::into_reset)?;
        }
        Ok(self.layout)
    }
}
