//! ROUTE-REFRESH (RFC 2918), with the message subtypes of RFC 7313.

use bytes::{BufMut, BytesMut};
use nom::number::complete::{be_u8, be_u16};
use nom::{IResult, Parser};

use super::error::ProtocolError;
use super::message::{MessageType, put_header};
use super::notification::codes;
use crate::types::Family;

/// A ROUTE-REFRESH message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct RouteRefresh {
    /// AFI and SAFI as sent; see [`RouteRefresh::known_family`].
    pub family: (u16, u8),
    /// [`RouteRefresh::REQUEST`], [`RouteRefresh::BEGIN`], [`RouteRefresh::END`], or one that must be
    /// ignored (RFC 7313 section 5).
    pub subtype: u8,
}

impl RouteRefresh {
    /// A request for all routes of the family.
    pub const REQUEST: u8 = 0;
    /// The beginning of a refresh (`BoRR`).
    pub const BEGIN: u8 = 1;
    /// The end of a refresh (`EoRR`).
    pub const END: u8 = 2;

    /// A message of this subtype.
    pub fn new(family: Family, subtype: u8) -> Self {
        Self { family: (family.afi(), family.safi()), subtype }
    }

    /// The family, if the speaker knows it.
    pub fn known_family(self) -> Option<Family> {
        Family::from_afi_safi(self.family.0, self.family.1)
    }

    /// Reads a body of at least four octets. What may follow in a request are outbound route filters
    /// (RFC 5291), which this speaker never negotiates and so skips.
    pub(super) fn decode(frame: &[u8], body: &[u8]) -> Result<Self, ProtocolError> {
        let wrong_length = || {
            ProtocolError::new(
                codes::ROUTE_REFRESH,
                codes::route_refresh::INVALID_LENGTH,
                frame,
                format!("ROUTE-REFRESH of {} octets", frame.len()),
            )
        };
        let (rest, (afi, subtype, safi)) = fields(body).map_err(|_| wrong_length())?;
        if matches!(subtype, Self::BEGIN | Self::END) && !rest.is_empty() {
            return Err(wrong_length());
        }
        Ok(Self { family: (afi, safi), subtype })
    }

    /// Appends the message.
    pub fn encode(&self, out: &mut BytesMut) {
        put_header(out, MessageType::RouteRefresh, 4);
        out.put_u16(self.family.0);
        out.put_u8(self.subtype);
        out.put_u8(self.family.1);
    }
}

fn fields(input: &[u8]) -> IResult<&[u8], (u16, u8, u8)> {
    (be_u16, be_u8, be_u8).parse(input)
}
