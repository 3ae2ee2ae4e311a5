//! NOTIFICATION: why a session ends, in numbers and in words.
//!
//! Codes and subcodes are IANA's "BGP Error (Notification) Codes". The Cease subcodes for
//! administrative shutdown and reset may carry a text for the other operator (RFC 9003, which
//! widened RFC 8203); it is shown escaped, since it comes from the peer.

use std::fmt;

use bytes::{BufMut, BytesMut};

use super::message::{MessageType, put_header};
use super::{HEADER_LEN, MAX_MESSAGE};

/// Error codes; the modules hold the subcodes of each.
pub mod codes {
    /// Message Header Error.
    pub const HEADER: u8 = 1;
    /// OPEN Message Error.
    pub const OPEN: u8 = 2;
    /// UPDATE Message Error.
    pub const UPDATE: u8 = 3;
    /// Hold Timer Expired.
    pub const HOLD_TIMER_EXPIRED: u8 = 4;
    /// Finite State Machine Error.
    pub const FSM: u8 = 5;
    /// Cease.
    pub const CEASE: u8 = 6;
    /// ROUTE-REFRESH Message Error (RFC 7313).
    pub const ROUTE_REFRESH: u8 = 7;
    /// Send Hold Timer Expired (RFC 9687).
    pub const SEND_HOLD_TIMER_EXPIRED: u8 = 8;

    /// Subcodes of [`HEADER`].
    pub mod header {
        /// Connection Not Synchronized.
        pub const NOT_SYNCHRONIZED: u8 = 1;
        /// Bad Message Length.
        pub const BAD_LENGTH: u8 = 2;
        /// Bad Message Type.
        pub const BAD_TYPE: u8 = 3;
    }

    /// Subcodes of [`OPEN`].
    pub mod open {
        /// Unspecific.
        pub const UNSPECIFIC: u8 = 0;
        /// Unsupported Version Number.
        pub const UNSUPPORTED_VERSION: u8 = 1;
        /// Bad Peer AS.
        pub const BAD_PEER_AS: u8 = 2;
        /// Bad BGP Identifier.
        pub const BAD_IDENTIFIER: u8 = 3;
        /// Unsupported Optional Parameter.
        pub const UNSUPPORTED_PARAMETER: u8 = 4;
        /// Unacceptable Hold Time.
        pub const UNACCEPTABLE_HOLD_TIME: u8 = 6;
        /// Unsupported Capability (RFC 5492).
        pub const UNSUPPORTED_CAPABILITY: u8 = 7;
        /// Role Mismatch (RFC 9234).
        pub const ROLE_MISMATCH: u8 = 11;
    }

    /// Subcodes of [`UPDATE`].
    pub mod update {
        /// Malformed Attribute List.
        pub const MALFORMED_LIST: u8 = 1;
        /// Unrecognized Well-known Attribute.
        pub const UNRECOGNIZED_WELL_KNOWN: u8 = 2;
        /// Missing Well-known Attribute.
        pub const MISSING_WELL_KNOWN: u8 = 3;
        /// Attribute Flags Error.
        pub const ATTRIBUTE_FLAGS: u8 = 4;
        /// Attribute Length Error.
        pub const ATTRIBUTE_LENGTH: u8 = 5;
        /// Invalid ORIGIN Attribute.
        pub const INVALID_ORIGIN: u8 = 6;
        /// Invalid `NEXT_HOP` Attribute.
        pub const INVALID_NEXT_HOP: u8 = 8;
        /// Optional Attribute Error.
        pub const OPTIONAL_ATTRIBUTE: u8 = 9;
        /// Invalid Network Field.
        pub const INVALID_NETWORK: u8 = 10;
        /// Malformed `AS_PATH`.
        pub const MALFORMED_AS_PATH: u8 = 11;
    }

    /// Subcodes of [`FSM`] (RFC 6608).
    pub mod fsm {
        /// Receive Unexpected Message in `OpenSent` State.
        pub const IN_OPEN_SENT: u8 = 1;
        /// Receive Unexpected Message in `OpenConfirm` State.
        pub const IN_OPEN_CONFIRM: u8 = 2;
        /// Receive Unexpected Message in Established State.
        pub const IN_ESTABLISHED: u8 = 3;
    }

    /// Subcodes of [`CEASE`] (RFC 4486, 8538, 9384).
    pub mod cease {
        /// Maximum Number of Prefixes Reached.
        pub const MAX_PREFIXES: u8 = 1;
        /// Administrative Shutdown.
        pub const ADMINISTRATIVE_SHUTDOWN: u8 = 2;
        /// Peer De-configured.
        pub const PEER_DECONFIGURED: u8 = 3;
        /// Administrative Reset.
        pub const ADMINISTRATIVE_RESET: u8 = 4;
        /// Connection Rejected.
        pub const CONNECTION_REJECTED: u8 = 5;
        /// Other Configuration Change.
        pub const CONFIGURATION_CHANGE: u8 = 6;
        /// Connection Collision Resolution.
        pub const COLLISION: u8 = 7;
        /// Out of Resources.
        pub const OUT_OF_RESOURCES: u8 = 8;
        /// Hard Reset.
        pub const HARD_RESET: u8 = 9;
        /// BFD Down.
        pub const BFD_DOWN: u8 = 10;
    }

    /// Subcodes of [`ROUTE_REFRESH`].
    pub mod route_refresh {
        /// Invalid Message Length.
        pub const INVALID_LENGTH: u8 = 1;
    }
}

/// Subcodes with their names.
type Names = &'static [(u8, &'static str)];

/// IANA's names: code, its name, and the names of its subcodes.
const NAMES: &[(u8, &str, Names)] = &[
    (
        codes::HEADER,
        "Message Header Error",
        &[(1, "Connection Not Synchronized"), (2, "Bad Message Length"), (3, "Bad Message Type")],
    ),
    (
        codes::OPEN,
        "OPEN Message Error",
        &[
            (1, "Unsupported Version Number"),
            (2, "Bad Peer AS"),
            (3, "Bad BGP Identifier"),
            (4, "Unsupported Optional Parameter"),
            (6, "Unacceptable Hold Time"),
            (7, "Unsupported Capability"),
            (11, "Role Mismatch"),
        ],
    ),
    (
        codes::UPDATE,
        "UPDATE Message Error",
        &[
            (1, "Malformed Attribute List"),
            (2, "Unrecognized Well-known Attribute"),
            (3, "Missing Well-known Attribute"),
            (4, "Attribute Flags Error"),
            (5, "Attribute Length Error"),
            (6, "Invalid ORIGIN Attribute"),
            (8, "Invalid NEXT_HOP Attribute"),
            (9, "Optional Attribute Error"),
            (10, "Invalid Network Field"),
            (11, "Malformed AS_PATH"),
        ],
    ),
    (codes::HOLD_TIMER_EXPIRED, "Hold Timer Expired", &[]),
    (
        codes::FSM,
        "Finite State Machine Error",
        &[
            (1, "Unexpected Message in OpenSent State"),
            (2, "Unexpected Message in OpenConfirm State"),
            (3, "Unexpected Message in Established State"),
        ],
    ),
    (
        codes::CEASE,
        "Cease",
        &[
            (1, "Maximum Number of Prefixes Reached"),
            (2, "Administrative Shutdown"),
            (3, "Peer De-configured"),
            (4, "Administrative Reset"),
            (5, "Connection Rejected"),
            (6, "Other Configuration Change"),
            (7, "Connection Collision Resolution"),
            (8, "Out of Resources"),
            (9, "Hard Reset"),
            (10, "BFD Down"),
        ],
    ),
    (codes::ROUTE_REFRESH, "ROUTE-REFRESH Message Error", &[(1, "Invalid Message Length")]),
    (codes::SEND_HOLD_TIMER_EXPIRED, "Send Hold Timer Expired", &[]),
];

/// A NOTIFICATION message (RFC 4271 section 4.5).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Notification {
    /// Error code, see [`codes`].
    pub code: u8,
    /// Error subcode, 0 when there is none.
    pub subcode: u8,
    /// Data, whose meaning depends on the code.
    pub data: Vec<u8>,
}

impl Notification {
    /// A message without data.
    pub fn new(code: u8, subcode: u8) -> Self {
        Self { code, subcode, data: Vec::new() }
    }

    /// Cease/Hard Reset around another message, for a peer that would otherwise expect us back (RFC 8538
    /// section 3.1).
    #[must_use]
    pub fn into_hard_reset(self) -> Self {
        let mut data = vec![self.code, self.subcode];
        data.extend(self.data);
        Self { code: codes::CEASE, subcode: codes::cease::HARD_RESET, data }
    }

    /// Whether the session is not to be restarted gracefully (RFC 8538).
    pub fn is_hard_reset(&self) -> bool {
        (self.code, self.subcode) == (codes::CEASE, codes::cease::HARD_RESET)
    }

    /// The message within a Hard Reset.
    pub fn within(&self) -> Option<Self> {
        self.is_hard_reset().then(|| Self::decode(&self.data)).flatten()
    }

    /// Hold Timer Expired.
    pub fn hold_timer_expired() -> Self {
        Self::new(codes::HOLD_TIMER_EXPIRED, 0)
    }

    /// Send Hold Timer Expired (RFC 9687).
    pub fn send_hold_timer_expired() -> Self {
        Self::new(codes::SEND_HOLD_TIMER_EXPIRED, 0)
    }

    /// Cease with one of [`codes::cease`].
    pub fn cease(subcode: u8) -> Self {
        Self::new(codes::CEASE, subcode)
    }

    /// Cease/Administrative Shutdown with a text for the peer's operator, which may be empty. Text
    /// beyond 255 octets is cut off at a character (RFC 9003).
    pub fn administrative_shutdown(text: &str) -> Self {
        Self::with_text(codes::cease::ADMINISTRATIVE_SHUTDOWN, text)
    }

    /// Cease/Administrative Reset with a text, like [`Notification::administrative_shutdown`].
    pub fn administrative_reset(text: &str) -> Self {
        Self::with_text(codes::cease::ADMINISTRATIVE_RESET, text)
    }

    fn with_text(subcode: u8, text: &str) -> Self {
        let text = &text[..text.floor_char_boundary(usize::from(u8::MAX))];
        let mut data = Vec::with_capacity(1 + text.len());
        if !text.is_empty() {
            data.push(text.len() as u8);
            data.extend_from_slice(text.as_bytes());
        }
        Self { code: codes::CEASE, subcode, data }
    }

    /// The text of an administrative shutdown or reset, if there is one and it is UTF-8.
    pub fn shutdown_communication(&self) -> Option<&str> {
        use codes::cease::{ADMINISTRATIVE_RESET, ADMINISTRATIVE_SHUTDOWN};
        if self.code != codes::CEASE
            || !matches!(self.subcode, ADMINISTRATIVE_SHUTDOWN | ADMINISTRATIVE_RESET)
        {
            return None;
        }
        let (length, text) = self.data.split_first()?;
        let text = text.get(..usize::from(*length))?;
        std::str::from_utf8(text).ok().filter(|text| !text.is_empty())
    }

    /// Reads the body of a message, at least two octets.
    pub(super) fn decode(body: &[u8]) -> Option<Self> {
        let [code, subcode, data @ ..] = body else { return None };
        Some(Self { code: *code, subcode: *subcode, data: data.to_vec() })
    }

    /// Appends the message. Data is cut off where a message without extension must end.
    pub fn encode(&self, out: &mut BytesMut) {
        let data = &self.data[..self.data.len().min(MAX_MESSAGE - HEADER_LEN - 2)];
        put_header(out, MessageType::Notification, 2 + data.len());
        out.put_u8(self.code);
        out.put_u8(self.subcode);
        out.put_slice(data);
    }
}

impl fmt::Display for Notification {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match NAMES.iter().find(|(code, ..)| *code == self.code) {
            None => write!(f, "error {}/{}", self.code, self.subcode)?,
            Some((_, name, subcodes)) => {
                f.write_str(name)?;
                match subcodes.iter().find(|(subcode, _)| *subcode == self.subcode) {
                    Some((_, subname)) => write!(f, "/{subname}")?,
                    None if self.subcode == 0 => {}
                    None => write!(f, "/{}", self.subcode)?,
                }
            }
        }
        match (self.shutdown_communication(), self.within()) {
            (Some(text), _) => write!(f, ": \"{}\"", text.escape_debug()),
            // What is within that is only said by its numbers: nothing nests any deeper.
            (None, Some(within)) if within.is_hard_reset() => write!(f, ": Cease/Hard Reset"),
            (None, Some(within)) => write!(f, ": {within}"),
            (None, None) => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shutdown_text_is_shown_escaped() {
        let notification = Notification::administrative_shutdown("maintenance \u{1b}[2J ends 06:00");
        assert_eq!(
            notification.to_string(),
            "Cease/Administrative Shutdown: \"maintenance \\u{1b}[2J ends 06:00\""
        );
    }

    #[test]
    fn a_shutdown_text_is_cut_at_a_character() {
        let notification = Notification::administrative_shutdown(&"\u{e9}".repeat(200));
        assert_eq!(notification.data.len(), 255);
        assert_eq!(notification.shutdown_communication(), Some("\u{e9}".repeat(127).as_str()));
    }

    #[test]
    fn a_shutdown_text_that_overruns_or_is_not_utf8_is_no_text() {
        for data in [&[5, b'a'][..], &[1, 0xff], &[0], &[]] {
            let notification = Notification { code: 6, subcode: 2, data: data.to_vec() };
            assert_eq!(notification.shutdown_communication(), None, "{data:?}");
            assert_eq!(notification.to_string(), "Cease/Administrative Shutdown");
        }
    }

    #[test]
    fn a_hard_reset_shows_what_is_within() {
        let within = Notification::administrative_shutdown("moving");
        let hard = within.clone().into_hard_reset();
        assert_eq!(hard.within(), Some(within));
        assert_eq!(hard.to_string(), "Cease/Hard Reset: Cease/Administrative Shutdown: \"moving\"");
        let empty = Notification::cease(9);
        assert_eq!((empty.within(), empty.to_string().as_str()), (None, "Cease/Hard Reset"));
        assert_eq!(hard.into_hard_reset().to_string(), "Cease/Hard Reset: Cease/Hard Reset");
    }

    #[test]
    fn codes_without_a_name_show_their_numbers() {
        assert_eq!(Notification::new(99, 7).to_string(), "error 99/7");
        assert_eq!(Notification::new(6, 77).to_string(), "Cease/77");
        assert_eq!(Notification::hold_timer_expired().to_string(), "Hold Timer Expired");
        assert_eq!(Notification::new(2, 0).to_string(), "OPEN Message Error");
    }
}
