//! What a session asks its driver to do, and why sessions end.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::state::Link;
use super::{Negotiated, State};
use crate::types::{Family, FamilySet};
use crate::wire::Notification;
use crate::wire::notification::codes;

/// One TCP connection, or the attempt at one. Ids are handed out by the session and never reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnId(pub(super) u64);

impl fmt::Display for ConnId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "connection {}", self.0)
    }
}

/// What the driver has to do, in this order.
#[derive(Clone, Debug)]
pub enum Output {
    /// Open a TCP connection to the peer; answer with
    /// [`tcp_connected`](super::Session::tcp_connected) or [`tcp_failed`](super::Session::tcp_failed).
    Connect(ConnId),
    /// Write these bytes, one whole message.
    Send(ConnId, Bytes),
    /// Close the connection once everything before is written, or give up the attempt. The session
    /// has forgotten it and ignores whatever else comes from it.
    Close(ConnId),
    /// The session is Established on this connection: UPDATEs may flow both ways.
    Up(ConnId, Arc<Negotiated>),
    /// The session was Established and is no more. The routes of some families are kept as stale ones until
    /// [`Output::Stale`] says otherwise (RFC 4724 section 4.2), all others are void.
    Down(DownReason, FamilySet),
    /// What is to become of routes that were kept of an earlier session, or that the peer sends again.
    Stale(StaleRoutes),
    /// The peer wants all routes of a negotiated family again (RFC 2918).
    RouteRefresh(Family),
    /// The state of the session, as [`Session::state`](super::Session::state) tells it, has changed.
    StateChanged {
        /// Before.
        from: State,
        /// After.
        to: State,
    },
}

/// What is to become of stale routes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StaleRoutes {
    /// The peer begins to send everything of the family again: what it has sent so far is stale (RFC 7313).
    Mark(Family),
    /// Those that are still stale are given up.
    Drop(Family),
    /// They become long-lived ones (RFC 9494 section 4.2).
    LongLived(Family),
}

/// Why a connection or a session ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DownReason {
    /// We sent a NOTIFICATION.
    Sent {
        /// The message.
        notification: Notification,
        /// What we know beyond it; may be empty.
        detail: String,
    },
    /// The peer sent a NOTIFICATION.
    Received(Notification),
    /// TCP failed or was closed without a NOTIFICATION, as the driver put it.
    Disconnected(String),
}

impl DownReason {
    /// The NOTIFICATION that went over the wire, if any.
    pub fn notification(&self) -> Option<&Notification> {
        match self {
            Self::Sent { notification, .. } | Self::Received(notification) => Some(notification),
            Self::Disconnected(_) => None,
        }
    }
}

impl fmt::Display for DownReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sent { notification, detail } if detail.is_empty() => {
                write!(f, "sent {notification}")
            }
            Self::Sent { notification, detail } => write!(f, "sent {notification}: {detail}"),
            Self::Received(notification) => write!(f, "received {notification}"),
            Self::Disconnected(text) => write!(f, "connection lost: {text}"),
        }
    }
}

/// Why the driver ends a session: a Cease (RFC 4486).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StopReason {
    /// An operator shuts the neighbour down, with a text for the other operator that may be empty
    /// (RFC 9003). The session stays Idle until started again.
    Shutdown(String),
    /// We are about to be started again, and forward meanwhile. A peer that keeps our routes until then is told
    /// nothing, as if TCP had failed: by RFC 4724 section 4 a NOTIFICATION would be the end of them. Others hear of a
    /// shutdown. The session stays Idle, and whoever connects meanwhile hears nothing either. What is kept of the
    /// peer's own routes stays.
    Restart,
    /// The neighbour is no longer configured. The session stays Idle.
    Deconfigured,
    /// An operator resets the session, with a text that may be empty. It comes back by itself.
    Reset(String),
    /// The configuration changed in a way that needs a new session. It comes back by itself.
    ConfigurationChange,
    /// The peer sent more prefixes of a family than it may.
    MaxPrefixes {
        /// The family.
        family: Family,
        /// The limit.
        limit: u32,
        /// After which time the session comes back; `None`: it stays Idle until it is started or reset.
        restart_after: Option<Duration>,
    },
    /// We cannot afford the session. It comes back like after an error.
    OutOfResources,
    /// BFD says that the peer cannot be reached any more (RFC 5882 section 4, RFC 9384). It comes back like after an
    /// error.
    BfdDown {
        /// Keep the routes of a peer that restarts gracefully: BFD may have failed with its control plane alone (RFC
        /// 5882 section 4.3).
        graceful: bool,
        /// What BFD says of it.
        why: String,
    },
}

impl StopReason {
    pub(super) fn stays_down(&self) -> bool {
        matches!(
            self,
            Self::Shutdown(_)
                | Self::Restart
                | Self::Deconfigured
                | Self::MaxPrefixes { restart_after: None, .. }
        )
    }

    /// Whether coming back takes longer each time.
    pub(super) fn is_error(&self) -> bool {
        matches!(self, Self::OutOfResources | Self::BfdDown { .. })
    }

    /// The stay in Idle, where the reason says so.
    pub(super) fn restart_after(&self) -> Option<Duration> {
        match self {
            Self::MaxPrefixes { restart_after, .. } => *restart_after,
            _ => None,
        }
    }

    /// What the message does not say in words.
    pub(super) fn detail(&self) -> String {
        match self {
            Self::MaxPrefixes { family, limit, .. } => format!("more than {limit} {family} prefixes"),
            Self::BfdDown { why, .. } => why.clone(),
            Self::Restart => "we are restarted".to_owned(),
            _ => String::new(),
        }
    }

    /// Why, where no message says so.
    pub(super) fn in_words(&self) -> String {
        match self {
            Self::Restart => "closed, as we are restarted and forward meanwhile".to_owned(),
            _ => format!("{}: {}", self.notification(), self.detail()),
        }
    }

    /// Whether a peer that restarts gracefully must be told not to expect us back.
    pub(super) fn is_hard(&self) -> bool {
        !matches!(self, Self::ConfigurationChange | Self::Restart | Self::BfdDown { graceful: true, .. })
    }

    /// Whether a connection ends as one that TCP has lost: a NOTIFICATION would be the end of the routes that are to
    /// be kept (RFC 4724 section 4.2), unless both sides speak RFC 8538. When it is our routes that are to be kept,
    /// also then: not all who say that they do go by it. A peer that was about to come up may keep those of a
    /// session before.
    pub(super) fn is_lost(&self, link: &Link) -> bool {
        match (self, link) {
            (Self::BfdDown { graceful: true, .. }, Link::Established(state)) => {
                let restart = &state.negotiated.restart;
                !restart.families.is_empty() && !restart.notification
            }
            (Self::Restart, Link::Established(state)) => state.negotiated.is_kept_by_peer(),
            (Self::Restart, _) => true,
            _ => false,
        }
    }

    /// The message that tells the peer.
    pub fn notification(&self) -> Notification {
        match self {
            Self::Shutdown(text) => Notification::administrative_shutdown(text),
            Self::Restart => Notification::administrative_shutdown(""),
            Self::Reset(text) => Notification::administrative_reset(text),
            Self::Deconfigured => Notification::cease(codes::cease::PEER_DECONFIGURED),
            Self::ConfigurationChange => Notification::cease(codes::cease::CONFIGURATION_CHANGE),
            Self::OutOfResources => Notification::cease(codes::cease::OUT_OF_RESOURCES),
            Self::BfdDown { .. } => Notification::cease(codes::cease::BFD_DOWN),
            Self::MaxPrefixes { family, limit, .. } => {
                // AFI, SAFI and the upper bound (RFC 4486 section 4).
                let mut notification = Notification::cease(codes::cease::MAX_PREFIXES);
                notification.data.extend(family.afi().to_be_bytes());
                notification.data.push(family.safi());
                notification.data.extend(limit.to_be_bytes());
                notification
            }
        }
    }
}
