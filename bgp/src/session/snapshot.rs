//! What a session tells about itself, for `show` and for metrics.

use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::Serialize;

use super::helper::StalePhase;
use super::negotiate::Negotiated;
use super::output::ConnId;
use super::state::{Direction, State};
use crate::types::{Family, FamilySet};
use crate::wire::{Message, Notification};

/// Messages of each type.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct MessageCounts {
    /// OPEN.
    pub open: u64,
    /// UPDATE.
    pub update: u64,
    /// NOTIFICATION.
    pub notification: u64,
    /// KEEPALIVE.
    pub keepalive: u64,
    /// ROUTE-REFRESH.
    pub route_refresh: u64,
}

impl MessageCounts {
    pub(super) fn count(&mut self, message: &Message<'_>) {
        match message {
            Message::Open(_) => self.open += 1,
            Message::Update(_) => self.update += 1,
            Message::Notification(_) => self.notification += 1,
            Message::Keepalive => self.keepalive += 1,
            Message::RouteRefresh(_) => self.route_refresh += 1,
        }
    }

    /// All of them.
    pub fn total(&self) -> u64 {
        self.open + self.update + self.notification + self.keepalive + self.route_refresh
    }
}

/// Refreshes that the peer marked where they begin and end (RFC 7313).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct RefreshCounts {
    /// Beginnings.
    pub begun: u64,
    /// Ends.
    pub ended: u64,
    /// Those that took too long, and were ended by us.
    pub expired: u64,
    /// Beginnings before End-of-RIB, and ends without a beginning, which are ignored.
    pub ignored: u64,
}

/// Counters since the session was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Counters {
    /// Messages received, malformed ones not among them.
    pub received: MessageCounts,
    /// Messages sent; UPDATEs as the driver reported them.
    pub sent: MessageCounts,
    /// Refreshes of the peer's routes.
    pub refreshes: RefreshCounts,
    /// Times the session became Established.
    pub established: u64,
    /// Times it was Established and ended.
    pub dropped: u64,
}

/// Who ended a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum ErrorSource {
    /// We sent a NOTIFICATION.
    Sent,
    /// The peer sent one.
    Received,
    /// TCP failed or was closed.
    Transport,
}

/// The last error of the session, its administrative stops included.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LastError {
    /// When.
    pub at: Instant,
    /// Who.
    pub source: ErrorSource,
    /// In words; what came from the peer is escaped.
    pub text: String,
}

/// A NOTIFICATION that ended a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LastNotification {
    /// When.
    pub at: Instant,
    /// The message, with the octets that it complains of.
    pub notification: Notification,
    /// What we know beyond it; empty for one that was received.
    pub detail: String,
}

/// One connection of the session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Connection {
    /// Its id.
    pub id: ConnId,
    /// Who opened it.
    pub direction: Direction,
    /// Its state, from Connect on.
    pub state: State,
}

/// Routes of a family that were kept when an earlier session was lost (RFC 4724 section 4.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StaleFamily {
    /// The family.
    pub family: Family,
    /// How they came to be kept.
    pub phase: StalePhase,
    /// Until that ends.
    pub left: Duration,
}

/// A session at one moment. Durations count from that moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Snapshot {
    /// The session's state.
    pub state: State,
    /// How long it has been in this state.
    pub in_state: Duration,
    /// How long it has been Established.
    pub uptime: Option<Duration>,
    /// The text of the administrative shutdown that keeps the session Idle; it may be empty.
    pub shutdown: Option<String>,
    /// Its connections: none, one, or two that collide.
    pub connections: Vec<Connection>,
    /// What was negotiated on the furthest connection.
    pub negotiated: Option<Arc<Negotiated>>,
    /// Until Idle is left.
    pub idle_hold: Option<Duration>,
    /// Until the next attempt to connect.
    pub connect_retry: Option<Duration>,
    /// Until the hold timer of the furthest connection expires.
    pub hold: Option<Duration>,
    /// Until its send hold timer expires.
    pub send_hold: Option<Duration>,
    /// Until its next keepalive.
    pub keepalive: Option<Duration>,
    /// Families with routes of an earlier session.
    pub stale: Vec<StaleFamily>,
    /// Families whose initial routes the peer has sent since the session was last Established: it said
    /// End-of-RIB (RFC 4724 section 2).
    pub ends_of_rib: FamilySet,
    /// The peer sent too many prefixes, and the session stays Idle until it is reset.
    pub over_limit: bool,
    /// Attempts to connect that failed since the session was last Established.
    pub failed_attempts: u32,
    /// Counters.
    pub counters: Counters,
    /// The last error, as it was told to the peer, or by it, or ended an Established session.
    pub last_error: Option<LastError>,
    /// Why the last connection came to nothing that ended without a word before the session was Established;
    /// `None` when it has been Established since.
    pub last_attempt: Option<LastError>,
    /// The last NOTIFICATION that we sent, those of collisions aside.
    pub last_sent: Option<LastNotification>,
    /// The last one that the peer sent.
    pub last_received: Option<LastNotification>,
}
