//! What can be wrong with what a peer sends, by how it must be answered.
//!
//! [`ProtocolError`] ends the session; it holds the NOTIFICATION (RFC 4271 section 6).
//! [`AttributeError`] withdraws the routes of its UPDATE and nothing else ("treat-as-withdraw", RFC
//! 7606 section 2). The weaker "attribute discard" is no error: see [`Discarded`](super::Discarded).

use super::notification::{Notification, codes};

/// An error that ends the session.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub struct ProtocolError {
    /// NOTIFICATION error code.
    pub code: u8,
    /// NOTIFICATION error subcode.
    pub subcode: u8,
    /// NOTIFICATION data, as RFC 4271 section 6 asks for.
    pub data: Vec<u8>,
    /// What was wrong, in words.
    pub reason: String,
}

impl ProtocolError {
    /// An error answered with this code, subcode and data.
    pub fn new(code: u8, subcode: u8, data: &[u8], reason: impl Into<String>) -> Self {
        Self { code, subcode, data: data.to_vec(), reason: reason.into() }
    }

    /// The message that tells the peer.
    pub fn notification(&self) -> Notification {
        Notification { code: self.code, subcode: self.subcode, data: self.data.clone() }
    }

    pub(super) fn header(subcode: u8, data: &[u8], reason: impl Into<String>) -> Self {
        Self::new(codes::HEADER, subcode, data, reason)
    }

    pub(super) fn open(subcode: u8, data: &[u8], reason: impl Into<String>) -> Self {
        Self::new(codes::OPEN, subcode, data, reason)
    }

    pub(super) fn update(subcode: u8, data: &[u8], reason: impl Into<String>) -> Self {
        Self::new(codes::UPDATE, subcode, data, reason)
    }
}

/// What is wrong with a path attribute, or with the list of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Reason {
    /// An attribute runs past the end of the list, or the rest is too short to be one.
    #[error("the attribute list ends inside an attribute")]
    Truncated,
    /// Optional or Transitive is not as the attribute's definition says.
    #[error("attribute flags in conflict with its type")]
    Flags,
    /// A length that the attribute cannot have.
    #[error("invalid attribute length")]
    Length,
    /// A mandatory attribute is missing.
    #[error("mandatory attribute missing")]
    Missing,
    /// A value that the attribute cannot have.
    #[error("invalid value")]
    Value,
    /// An AS path segment of a type that does not exist.
    #[error("unknown segment type")]
    SegmentType,
    /// An AS path segment that is empty or does not fit.
    #[error("malformed segment")]
    Segment,
    /// AS number 0 (RFC 7607).
    #[error("AS number 0")]
    AsZero,
    /// A confederation segment from a neighbour outside the confederation (RFC 5065 section 5).
    #[error("confederation segment from another AS")]
    Confederation,
    /// A set of AS numbers, which are not taken (RFC 9774).
    #[error("AS_SET")]
    AsSet,
    /// An address that cannot be a host's.
    #[error("not a host address")]
    NotAHost,
    /// An attribute for use within an AS, from another AS (RFC 7606 sections 7.5, 7.9, 7.10).
    #[error("not taken from another AS")]
    External,
    /// `AS4_PATH` or `AS4_AGGREGATOR` from a peer that sends four octets anyway (RFC 6793 section 6).
    #[error("not needed beside AS numbers of four octets")]
    Redundant,
    /// A well-known attribute that this speaker does not know (RFC 4271 section 6.3).
    #[error("unrecognized well-known attribute")]
    Unrecognized,
    /// A next hop of another address family than the routes', which was not negotiated (RFC 8950).
    #[error("next hop of another address family")]
    Family,
}

/// A path attribute is malformed: the routes of the UPDATE are treated as withdrawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
#[error("{}: {reason}", super::table::AttributeName(*code))]
pub struct AttributeError {
    /// Type code of the attribute; 0 when the list itself is at fault.
    pub code: u8,
    /// What is wrong.
    pub reason: Reason,
}

impl AttributeError {
    pub(super) const fn new(code: u8, reason: Reason) -> Self {
        Self { code, reason }
    }

    /// The UPDATE error subcode of RFC 4271 section 6.3, for the cases where the session is reset.
    pub fn subcode(self) -> u8 {
        use super::table::code;
        match (self.reason, self.code) {
            (Reason::Flags, _) => codes::update::ATTRIBUTE_FLAGS,
            (Reason::Length, _) => codes::update::ATTRIBUTE_LENGTH,
            (Reason::Missing, _) => codes::update::MISSING_WELL_KNOWN,
            (Reason::Truncated, _) => codes::update::MALFORMED_LIST,
            (Reason::Unrecognized, _) => codes::update::UNRECOGNIZED_WELL_KNOWN,
            (_, code::ORIGIN) => codes::update::INVALID_ORIGIN,
            (_, code::AS_PATH) => codes::update::MALFORMED_AS_PATH,
            (_, code::NEXT_HOP) => codes::update::INVALID_NEXT_HOP,
            _ => codes::update::OPTIONAL_ATTRIBUTE,
        }
    }

    /// The error as a reset of the session, where withdrawing is not enough (RFC 7606 section 5.2).
    pub(super) fn into_reset(self) -> ProtocolError {
        let data: &[u8] = if self.reason == Reason::Missing { &[self.code] } else { &[] };
        ProtocolError::update(
            self.subcode(),
            data,
            format!("UPDATE without reachable routes has a malformed attribute: {self}"),
        )
    }
}
