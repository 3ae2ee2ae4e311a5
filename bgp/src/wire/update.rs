//! UPDATE as a view of its frame (RFC 4271 section 4.3, RFC 4760).
//!
//! An UPDATE has up to four lists of prefixes: withdrawn and announced IPv4 in fields of their own,
//! and one list each in `MP_UNREACH_NLRI` and `MP_REACH_NLRI`. [`UpdateLayout`] says where they are. It
//! is plain data: whoever received the frame decodes it once and ships the bytes with the layout,
//! whoever owns the routes views them again with [`Update::from_layout`].
//!
//! Withdrawals apply before announcements.

use super::error::{AttributeError, ProtocolError};
use super::key::AttributeContext;
use super::message::DecodeContext;
use super::next_hop::NextHopBytes;
use super::nlri::Nlri;
use super::walk;
use crate::types::{Family, FamilySet};

/// What to do with the announced routes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UpdateVerdict {
    /// Take them, if their attributes can be parsed.
    Accept,
    /// Treat them as withdrawn, whatever the attributes (RFC 7606 section 2).
    TreatAsWithdraw(AttributeError),
}

/// A range of octets in the frame.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Span {
    pub(super) start: u16,
    pub(super) end: u16,
}

impl Span {
    /// Frames have at most 65535 octets, so that every offset fits.
    pub(super) fn new(start: usize, len: usize) -> Self {
        Self { start: start as u16, end: (start + len) as u16 }
    }

    fn of(self, frame: &[u8]) -> &[u8] {
        frame.get(usize::from(self.start)..usize::from(self.end)).unwrap_or_default()
    }

    pub(super) fn is_empty(self) -> bool {
        self.start == self.end
    }
}

/// A multiprotocol attribute of a negotiated family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct MpSpan {
    pub(super) family: Family,
    pub(super) next_hop: Span,
    pub(super) nlri: Span,
}

/// Where the parts of an UPDATE are in its frame, and what its structure says about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UpdateLayout {
    pub(super) withdrawn: Span,
    pub(super) attributes: Span,
    pub(super) nlri: Span,
    /// Value of the `NEXT_HOP` attribute.
    pub(super) next_hop: Span,
    /// The multiprotocol attributes as a whole, in the order they appear, to be left out of keys; one
    /// that is not there is empty and at the end of `attributes`.
    pub(super) mp_attributes: [Span; 2],
    pub(super) mp_reach: Option<MpSpan>,
    pub(super) mp_unreach: Option<MpSpan>,
    /// AFI and SAFI of lists that were skipped.
    pub(super) ignored: [Option<(u16, u8)>; 3],
    pub(super) end_of_rib: Option<Family>,
    /// Families whose prefixes have path identifiers.
    pub(super) path_ids: FamilySet,
    pub(super) verdict: UpdateVerdict,
}

impl UpdateLayout {
    /// See [`Update::verdict`].
    pub fn verdict(&self) -> UpdateVerdict {
        self.verdict
    }

    /// See [`Update::end_of_rib`].
    pub fn end_of_rib(&self) -> Option<Family> {
        self.end_of_rib
    }

    /// AFI and SAFI of routes in the UPDATE that were skipped, because the family was not negotiated.
    pub fn ignored(&self) -> impl Iterator<Item = (u16, u8)> + '_ {
        self.ignored.iter().copied().flatten()
    }
}

/// Announced prefixes that share their attributes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Announcement<'a> {
    /// Family of the prefixes.
    pub family: Family,
    /// The prefixes.
    pub nlri: Nlri<'a>,
    /// Next hop of the prefixes, not checked yet.
    pub next_hop: NextHopBytes<'a>,
    /// Whether they come from `MP_REACH_NLRI`: the argument to [`Update::attribute_key`].
    pub mp: bool,
}

/// An UPDATE message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Update<'a> {
    frame: &'a [u8],
    layout: UpdateLayout,
}

impl<'a> Update<'a> {
    /// Finds the parts of an UPDATE, header included.
    pub(super) fn decode(frame: &'a [u8], ctx: DecodeContext) -> Result<Self, ProtocolError> {
        Ok(Self { frame, layout: walk::walk(frame, ctx)? })
    }

    /// Views a frame again that was decoded before. With another frame than the layout's, prefixes
    /// are wrong or missing, nothing worse.
    pub fn from_layout(frame: &'a [u8], layout: UpdateLayout) -> Self {
        Self { frame, layout }
    }

    /// The offsets, for [`Update::from_layout`].
    pub fn layout(&self) -> UpdateLayout {
        self.layout
    }

    /// The whole message, header included.
    pub fn frame(&self) -> &'a [u8] {
        self.frame
    }

    /// What the message's structure says about its announcements. Errors within attributes are found
    /// by [`parse_attributes`](super::parse_attributes).
    pub fn verdict(&self) -> UpdateVerdict {
        self.layout.verdict
    }

    /// The withdrawn prefixes, at most two lists, none of them empty.
    pub fn withdrawals(&self) -> impl Iterator<Item = (Family, Nlri<'a>)> + use<'a> {
        let base = (Family::Ipv4Unicast, self.layout.withdrawn);
        let mp = self.layout.mp_unreach.map(|mp| (mp.family, mp.nlri));
        let (frame, path_ids) = (self.frame, self.layout.path_ids);
        [Some(base), mp].into_iter().flatten().filter(|(_, span)| !span.is_empty()).map(
            move |(family, span)| (family, Nlri::checked(family, path_ids.contains(family), span.of(frame))),
        )
    }

    /// The announced prefixes, at most two lists, none of them empty. They are to be withdrawn when
    /// the [`verdict`](Update::verdict) or their attributes say so.
    pub fn announcements(&self) -> impl Iterator<Item = Announcement<'a>> + use<'a> {
        let layout = self.layout;
        let base = MpSpan { family: Family::Ipv4Unicast, next_hop: layout.next_hop, nlri: layout.nlri };
        let frame = self.frame;
        [(Some(base), false), (layout.mp_reach, true)]
            .into_iter()
            .filter_map(|(list, mp)| Some((list?, mp)))
            .filter(|(list, _)| !list.nlri.is_empty())
            .map(move |(list, mp)| Announcement {
                family: list.family,
                nlri: Nlri::checked(list.family, layout.path_ids.contains(list.family), list.nlri.of(frame)),
                next_hop: NextHopBytes(list.next_hop.of(frame)),
                mp,
            })
    }

    /// The family whose initial routes have all been sent (RFC 4724 section 2).
    pub fn end_of_rib(&self) -> Option<Family> {
        self.layout.end_of_rib
    }

    /// AFI and SAFI of lists that were skipped, because the family was not negotiated.
    pub fn ignored(&self) -> impl Iterator<Item = (u16, u8)> + use<> {
        self.layout.ignored.into_iter().flatten()
    }

    /// Puts the attribute key of an [`Announcement`] into `out`, which is cleared first: `mp` as the
    /// announcement says, `context` of the session it came over. Copies, and nothing more.
    pub fn attribute_key(&self, mp: bool, context: AttributeContext, out: &mut Vec<u8>) {
        let layout = &self.layout;
        let next_hop = layout.mp_reach.filter(|_| mp).map(|mp| mp.next_hop.of(self.frame));
        let next_hop = next_hop.unwrap_or_default();
        out.clear();
        out.extend([context.to_flags(), next_hop.len() as u8]);
        out.extend_from_slice(next_hop);
        let [first, second] = layout.mp_attributes;
        let Span { start, end } = layout.attributes;
        for (start, end) in [(start, first.start), (first.end, second.start), (second.end, end)] {
            out.extend_from_slice(Span { start, end }.of(self.frame));
        }
    }
}
