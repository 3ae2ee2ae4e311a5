//! OPEN (RFC 4271 section 4.2): version, AS, hold time, router id, and capabilities inside optional
//! parameters (RFC 5492), which may use the extended length of RFC 9072.
//!
//! What RFC 4271 section 6.2 calls an error, and does not depend on the configuration, is found here.
//! Whether the AS is the expected one is the session's to say.

use std::net::Ipv4Addr;

use bytes::{BufMut, BytesMut};
use nom::bytes::complete::take;
use nom::multi::{length_data, many0};
use nom::number::complete::{be_u8, be_u16, be_u32};
use nom::{IResult, Parser};

use super::capability::Capability;
use super::error::ProtocolError;
use super::message::{MessageType, put_header};
use super::notification::codes::open as subcodes;
use super::{HEADER_LEN, MAX_MESSAGE};
use crate::types::{Asn, Family, FamilySet, HoldTime, RouterId};

/// The only version there is.
const VERSION: u8 = 4;
/// Optional parameter that holds capabilities.
const PARAMETER_CAPABILITIES: u8 = 2;
/// Where a parameter type would be: the lengths that follow have two octets (RFC 9072 section 2).
const EXTENDED_LENGTH: u8 = 255;

/// An OPEN message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Open {
    /// BGP version, always 4.
    pub version: u8,
    /// The My Autonomous System field as sent; see [`Open::four_octet_asn`].
    pub asn: Asn,
    /// Proposed hold time.
    pub hold_time: HoldTime,
    /// The sender's identifier.
    pub router_id: RouterId,
    /// Capabilities in the order sent.
    pub capabilities: Vec<Capability>,
}

struct Fixed {
    version: u8,
    asn: u16,
    hold_time: u16,
    router_id: u32,
    parameters_len: u8,
}

impl Open {
    /// An OPEN of this speaker. The two-octet AS field is `AS_TRANS` where the AS does not fit, so
    /// the capabilities should have [`Capability::FourOctetAsn`].
    pub fn new(asn: Asn, hold_time: HoldTime, router_id: RouterId, capabilities: Vec<Capability>) -> Self {
        let asn = Asn(u32::from(asn.two_octet()));
        Self { version: VERSION, asn, hold_time, router_id, capabilities }
    }

    /// The sender's AS number: from its capability, else from the two-octet field.
    pub fn four_octet_asn(&self) -> Asn {
        let capability = self.capabilities.iter().find_map(|capability| match capability {
            Capability::FourOctetAsn(asn) => Some(*asn),
            _ => None,
        });
        capability.unwrap_or(self.asn)
    }

    /// Whether the sender announced this capability.
    pub fn has(&self, capability: &Capability) -> bool {
        self.capabilities.contains(capability)
    }

    /// The families that the sender announced; without any multiprotocol capability that is IPv4
    /// unicast (RFC 4760 section 8).
    pub fn families(&self) -> FamilySet {
        let mut set = FamilySet::EMPTY;
        let mut multi_protocol = false;
        for capability in &self.capabilities {
            match capability {
                Capability::MultiProtocol(family) => {
                    set.insert(*family);
                    multi_protocol = true;
                }
                Capability::MultiProtocolOther { .. } => multi_protocol = true,
                _ => {}
            }
        }
        if multi_protocol { set } else { Family::Ipv4Unicast.into() }
    }

    pub(super) fn decode(body: &[u8]) -> Result<Self, ProtocolError> {
        let malformed =
            |what: &str| ProtocolError::open(subcodes::UNSPECIFIC, &[], format!("malformed OPEN: {what}"));
        let (parameters, fixed) = fixed(body).map_err(|_| malformed("too short"))?;
        if fixed.version != VERSION {
            let reason = format!("BGP version {} is not supported", fixed.version);
            let largest = u16::from(VERSION).to_be_bytes();
            return Err(ProtocolError::open(subcodes::UNSUPPORTED_VERSION, &largest, reason));
        }
        let parameters = parameter_list(fixed.parameters_len, parameters)
            .ok_or_else(|| malformed("optional parameters do not fill their length"))?;
        let mut capabilities = Vec::new();
        for (kind, value) in parameters {
            if kind != PARAMETER_CAPABILITIES {
                let reason = format!("optional parameter {kind} is not supported");
                return Err(ProtocolError::open(subcodes::UNSUPPORTED_PARAMETER, &[], reason));
            }
            let (rest, list) = many0(tlv).parse(value).map_err(|_| malformed("capabilities"))?;
            if !rest.is_empty() {
                return Err(malformed("a capability runs past its parameter"));
            }
            for (code, value) in list {
                let capability = Capability::decode(code, value)
                    .ok_or_else(|| malformed(&format!("capability {code} with {} octets", value.len())))?;
                capabilities.push(capability);
            }
        }
        let router_id = RouterId(Ipv4Addr::from_bits(fixed.router_id));
        let hold_time = HoldTime::new(fixed.hold_time).ok_or_else(|| {
            let reason = format!("hold time of {} s", fixed.hold_time);
            ProtocolError::open(subcodes::UNACCEPTABLE_HOLD_TIME, &[], reason)
        })?;
        let asn = Asn(u32::from(fixed.asn));
        let open = Self { version: VERSION, asn, hold_time, router_id, capabilities };
        // AS 0 is no AS (RFC 7607), identifier 0 no identifier (RFC 6286).
        if open.asn.0 == 0 || open.four_octet_asn().0 == 0 {
            return Err(ProtocolError::open(subcodes::BAD_PEER_AS, &[], "AS number 0"));
        }
        if router_id.0.is_unspecified() {
            return Err(ProtocolError::open(subcodes::BAD_IDENTIFIER, &[], "router id 0.0.0.0"));
        }
        Ok(open)
    }

    /// Appends the message. Capabilities beyond the longest message are left out.
    pub fn encode(&self, out: &mut BytesMut) {
        let mut capabilities = Vec::new();
        // Fixed fields, then the four octets and the parameter head of the extended form.
        let room = MAX_MESSAGE - HEADER_LEN - 10 - 3 - 3;
        for capability in &self.capabilities {
            let before = capabilities.len();
            capability.encode(&mut capabilities);
            if capabilities.len() > room {
                capabilities.truncate(before);
                break;
            }
        }
        let mut parameters = Vec::with_capacity(capabilities.len() + 6);
        match capabilities.len() {
            0 => parameters.push(0),
            length @ ..=253 => {
                parameters.extend([length as u8 + 2, PARAMETER_CAPABILITIES, length as u8]);
            }
            length => {
                parameters.extend([EXTENDED_LENGTH, EXTENDED_LENGTH]);
                parameters.extend((length as u16 + 3).to_be_bytes());
                parameters.push(PARAMETER_CAPABILITIES);
                parameters.extend((length as u16).to_be_bytes());
            }
        }
        parameters.extend_from_slice(&capabilities);
        put_header(out, MessageType::Open, 9 + parameters.len());
        out.put_u8(self.version);
        out.put_u16(self.asn.two_octet());
        out.put_u16(self.hold_time.as_secs());
        out.put_u32(self.router_id.0.to_bits());
        out.put_slice(&parameters);
    }
}

fn fixed(input: &[u8]) -> IResult<&[u8], Fixed> {
    (be_u8, be_u16, be_u16, be_u32, be_u8)
        .map(|(version, asn, hold_time, router_id, parameters_len)| Fixed {
            version,
            asn,
            hold_time,
            router_id,
            parameters_len,
        })
        .parse(input)
}

/// `type, length, value` with a length of one octet.
fn tlv(input: &[u8]) -> IResult<&[u8], (u8, &[u8])> {
    (be_u8, length_data(be_u8)).parse(input)
}

/// `type, length, value` with a length of two octets (RFC 9072).
fn extended_tlv(input: &[u8]) -> IResult<&[u8], (u8, &[u8])> {
    (be_u8, length_data(be_u16)).parse(input)
}

fn extended_list(input: &[u8]) -> IResult<&[u8], &[u8]> {
    (take(1_usize), length_data(be_u16)).map(|(_, list)| list).parse(input)
}

/// The optional parameters in `input`, which must fill the rest of the message.
fn parameter_list(length: u8, input: &[u8]) -> Option<Vec<(u8, &[u8])>> {
    // Once the type octet says so, the one-octet length means nothing any more, unless it is zero.
    let (rest, list) = if length != 0 && input.first() == Some(&EXTENDED_LENGTH) {
        let (rest, list) = extended_list(input).ok()?;
        if !rest.is_empty() {
            return None;
        }
        many0(extended_tlv).parse(list).ok()?
    } else {
        if input.len() != usize::from(length) {
            return None;
        }
        many0(tlv).parse(input).ok()?
    };
    rest.is_empty().then_some(list)
}
