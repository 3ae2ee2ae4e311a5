//! The message header and the five message types (RFC 4271 section 4.1, RFC 2918).
//!
//! Header errors are those of RFC 4271 section 6.1. Each type has a shortest length; OPEN and
//! KEEPALIVE never use the extended length (RFC 8654 section 4).

use bytes::{BufMut, BytesMut};
use nom::number::complete::{be_u8, be_u16, be_u128};
use nom::{IResult, Parser};

use super::error::ProtocolError;
use super::notification::{Notification, codes};
use super::open::Open;
use super::refresh::RouteRefresh;
use super::update::Update;
use super::{HEADER_LEN, MAX_EXTENDED_MESSAGE, MAX_MESSAGE};
use crate::types::FamilySet;

/// Octets of the marker, all ones.
const MARKER_LEN: usize = 16;

/// What the session negotiated, as far as reading messages depends on it.
#[expect(clippy::struct_excessive_bools, reason = "each was negotiated by itself")]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DecodeContext {
    /// AS numbers have four octets (RFC 6793).
    pub as4: bool,
    /// Families whose routes are taken; others are skipped.
    pub families: FamilySet,
    /// Messages may have up to 65535 octets (RFC 8654).
    pub extended: bool,
    /// Families whose prefixes come with path identifiers (RFC 7911).
    pub add_path: FamilySet,
    /// IPv4 routes may have an IPv6 next hop (RFC 8950).
    pub extended_next_hop: bool,
    /// The peer is in another AS: some attributes are not taken from it (RFC 7606 sections 7.5, 7.9,
    /// 7.10).
    pub ebgp: bool,
}

impl DecodeContext {
    /// Longest message that may arrive.
    pub fn max_message(&self) -> usize {
        if self.extended { MAX_EXTENDED_MESSAGE } else { MAX_MESSAGE }
    }
}

impl Default for DecodeContext {
    /// Before an OPEN was seen: nothing negotiated.
    fn default() -> Self {
        Self {
            as4: false,
            families: FamilySet::EMPTY,
            extended: false,
            add_path: FamilySet::EMPTY,
            extended_next_hop: false,
            ebgp: true,
        }
    }
}

/// A message; an UPDATE is a view of the bytes it came in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Message<'a> {
    /// OPEN.
    Open(Open),
    /// UPDATE.
    Update(Update<'a>),
    /// NOTIFICATION.
    Notification(Notification),
    /// KEEPALIVE.
    Keepalive,
    /// ROUTE-REFRESH.
    RouteRefresh(RouteRefresh),
}

impl Message<'_> {
    /// The message type's name.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Open(_) => "OPEN",
            Self::Update(_) => "UPDATE",
            Self::Notification(_) => "NOTIFICATION",
            Self::Keepalive => "KEEPALIVE",
            Self::RouteRefresh(_) => "ROUTE-REFRESH",
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum MessageType {
    Open = 1,
    Update = 2,
    Notification = 3,
    Keepalive = 4,
    RouteRefresh = 5,
}

impl MessageType {
    fn from_u8(value: u8) -> Option<Self> {
        Some(match value {
            1 => Self::Open,
            2 => Self::Update,
            3 => Self::Notification,
            4 => Self::Keepalive,
            5 => Self::RouteRefresh,
            _ => return None,
        })
    }

    /// Shortest and longest message of this type.
    fn lengths(self, max: usize) -> std::ops::RangeInclusive<usize> {
        match self {
            Self::Open => 29..=MAX_MESSAGE.min(max),
            Self::Notification => 21..=max,
            Self::Keepalive => HEADER_LEN..=HEADER_LEN,
            // A wrong length of a ROUTE-REFRESH has an error of its own (RFC 7313 section 5).
            Self::Update | Self::RouteRefresh => 23..=max,
        }
    }
}

fn header(input: &[u8]) -> IResult<&[u8], (u128, u16, u8)> {
    (be_u128, be_u16, be_u8).parse(input)
}

/// Checks a header against RFC 4271 section 6.1; `None` if it is not whole yet.
fn check_header(buf: &[u8], max: usize) -> Result<Option<(MessageType, usize)>, ProtocolError> {
    let Ok((_, (marker, length, kind))) = header(buf) else { return Ok(None) };
    if marker != u128::MAX {
        let reason = "message header without its marker";
        return Err(ProtocolError::header(codes::header::NOT_SYNCHRONIZED, &[], reason));
    }
    let bad_length = || {
        let reason = format!("message of type {kind} with a length of {length} octets");
        ProtocolError::header(codes::header::BAD_LENGTH, &length.to_be_bytes(), reason)
    };
    let total = usize::from(length);
    if !(HEADER_LEN..=max).contains(&total) {
        return Err(bad_length());
    }
    let Some(kind) = MessageType::from_u8(kind) else {
        let reason = format!("message of unknown type {kind}");
        return Err(ProtocolError::header(codes::header::BAD_TYPE, &[kind], reason));
    };
    if kind.lengths(max).contains(&total) { Ok(Some((kind, total))) } else { Err(bad_length()) }
}

/// Length of the message that `buf` begins with, which may be more than `buf` holds; `None` if more
/// octets are needed to tell. `max` is [`DecodeContext::max_message`].
pub fn frame_len(buf: &[u8], max: usize) -> Result<Option<usize>, ProtocolError> {
    Ok(check_header(buf, max)?.map(|(_, length)| length))
}

/// Reads one message, header included, as [`frame_len`] measured it.
pub fn decode<'a>(frame: &'a [u8], ctx: &DecodeContext) -> Result<Message<'a>, ProtocolError> {
    let header = check_header(frame, ctx.max_message())?;
    let whole = header.filter(|(_, length)| *length == frame.len());
    let Some((kind, _)) = whole else {
        let length = u16::try_from(frame.len()).unwrap_or(u16::MAX).to_be_bytes();
        let reason = "message whose length is not that of its frame";
        return Err(ProtocolError::header(codes::header::BAD_LENGTH, &length, reason));
    };
    let body = &frame[HEADER_LEN..];
    match kind {
        MessageType::Open => Open::decode(body).map(Message::Open),
        MessageType::Update => Update::decode(frame, *ctx).map(Message::Update),
        MessageType::Keepalive => Ok(Message::Keepalive),
        MessageType::RouteRefresh => RouteRefresh::decode(frame, body).map(Message::RouteRefresh),
        MessageType::Notification => Notification::decode(body).map(Message::Notification).ok_or_else(|| {
            ProtocolError::header(codes::header::BAD_LENGTH, &frame[16..18], "short NOTIFICATION")
        }),
    }
}

/// Appends the header of a message whose body has `body_len` octets.
pub(super) fn put_header(out: &mut BytesMut, kind: MessageType, body_len: usize) {
    out.put_bytes(0xff, MARKER_LEN);
    out.put_u16((HEADER_LEN + body_len) as u16);
    out.put_u8(kind as u8);
}

/// Appends a KEEPALIVE.
pub fn encode_keepalive(out: &mut BytesMut) {
    put_header(out, MessageType::Keepalive, 0);
}
