//! Bytes to BGP messages and back.
//!
//! - [`frame_len`] finds the end of a message in a stream, [`decode`] reads one message.
//! - What is wrong at message level comes out as [`ProtocolError`]: the session must be reset, and
//!   the error carries the NOTIFICATION to send (RFC 4271 section 6).
//! - An UPDATE stays where it is: [`Update`] is a view of the frame, [`UpdateLayout`] the offsets
//!   that one walk over its headers found. NLRI syntax is checked in that walk (RFC 7606 section
//!   5.3), so that iterating prefixes later cannot fail.
//! - Path attributes are read only by [`parse_attributes`], once per distinct byte string: an UPDATE
//!   gives its [`Update::attribute_key`], and equal keys have equal attributes. What is wrong with
//!   an attribute makes the routes withdrawn, or drops the attribute (RFC 7606).
//! - [`UpdateEncoder`] packs as many prefixes into a message as fit.
//!
//! Nothing here panics or allocates without bound on any input.

mod about;
mod as_path;
mod attributes;
mod capability;
mod community;
mod encode;
mod error;
mod graceful;
mod key;
mod message;
mod next_hop;
mod nlri;
pub mod notification;
mod open;
mod refresh;
mod table;
mod update;
mod walk;

pub use about::Fqdn;
pub use as_path::{AsPath, Asns, ParseAsPathError, Segment, SegmentKind, Segments};
pub use attributes::{Aigp, Attributes, Origin, Partial, UnknownAttribute, flags};
pub use capability::{AddPath, Capability};
pub use community::{Community, ExtendedCommunity, LargeCommunity};
pub use encode::{
    EncodeContext, EncodeError, UpdateEncoder, encode_announce, encode_end_of_rib, encode_withdraw,
};
pub use error::{AttributeError, ProtocolError, Reason};
pub use graceful::{GracefulRestart, LongLivedRestart};
pub use key::{AttributeContext, Discarded, mark_link, parse_attributes};
pub use message::{DecodeContext, Message, decode, encode_keepalive, frame_len};
pub use next_hop::{NextHop, NextHopBytes};
pub use nlri::{Nlri, Nlri4Iter, Nlri6Iter, NlriIter, PathNlri};
pub use notification::Notification;
pub use open::Open;
pub use refresh::RouteRefresh;
pub use update::{Announcement, Update, UpdateLayout, UpdateVerdict};

/// Length of the message header: marker, length, type (RFC 4271 section 4.1).
pub const HEADER_LEN: usize = 19;
/// Longest message without the extended message capability.
pub const MAX_MESSAGE: usize = 4096;
/// Longest message with it (RFC 8654).
pub const MAX_EXTENDED_MESSAGE: usize = 65535;
