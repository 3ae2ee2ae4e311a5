//! The six states of RFC 4271 section 8.2.2, each a type with the data that exists only in it.
//!
//! The RFC runs one state machine for each connection. Of one peer there are at most two: the one we
//! opened and the one the peer opened. So Idle and Active, which have no connection, belong to the
//! session; the other four are states of a [`Link`], and a session has up to two links. A transition
//! takes the old state by value and returns the new one: a state that was left cannot be used.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::jitter::Jitter;
use super::negotiate::Negotiated;
use super::output::ConnId;
use crate::wire::Notification;

/// The state of a session: the furthest of its connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum State {
    /// No connection, and none accepted.
    Idle,
    /// No connection; one of the peer would be accepted.
    Active,
    /// Connecting.
    Connect,
    /// Connected, our OPEN is sent.
    OpenSent,
    /// The peer's OPEN is accepted.
    OpenConfirm,
    /// UPDATEs may flow.
    Established,
}

impl State {
    /// Every state.
    pub const ALL: [Self; 6] =
        [Self::Idle, Self::Active, Self::Connect, Self::OpenSent, Self::OpenConfirm, Self::Established];

    /// The name that RFC 4271 gives it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Idle => "Idle",
            Self::Active => "Active",
            Self::Connect => "Connect",
            Self::OpenSent => "OpenSent",
            Self::OpenConfirm => "OpenConfirm",
            Self::Established => "Established",
        }
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl serde::Serialize for State {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

/// Where the session is.
#[derive(Debug)]
pub(super) enum Machine {
    Idle(Idle),
    Active(Active),
    /// At least one link, save in the middle of a transition.
    Linked(Links),
}

/// No connection, and none accepted.
#[derive(Debug)]
pub(super) enum Idle {
    /// Until started; a connection of the peer is answered with this message.
    Stopped(Notification),
    /// After an error, until the time is over (`IdleHoldTimer`).
    Held { until: Instant },
}

/// No connection; the peer's would be accepted.
#[derive(Debug)]
pub(super) struct Active {
    /// `ConnectRetryTimer`; none when passive.
    pub(super) retry_at: Option<Instant>,
}

/// Our attempt to connect.
#[derive(Debug)]
pub(super) struct Connect {
    pub(super) conn: ConnId,
    /// `ConnectRetryTimer`: the attempt is given up for a new one.
    pub(super) retry_at: Instant,
}

/// Our OPEN is sent, the peer's is awaited.
#[derive(Debug)]
pub(super) struct OpenSent {
    pub(super) conn: ConnId,
    /// `HoldTimer` with its large value.
    pub(super) hold_at: Instant,
    /// Our OPEN had no capabilities.
    pub(super) plain: bool,
    /// The peer's OPEN is accepted, but the connection is about to lose a collision.
    pub(super) contested: Option<Contested>,
}

/// A connection whose KEEPALIVE is held back, see [`collision`](super::collision).
#[derive(Debug)]
pub(super) struct Contested {
    pub(super) negotiated: Arc<Negotiated>,
    /// Then the other connection has had its chance.
    pub(super) until: Instant,
    /// The peer has confirmed this connection already.
    pub(super) keepalive_received: bool,
}

/// Both OPENs are accepted, the peer's KEEPALIVE is awaited.
#[derive(Debug)]
pub(super) struct OpenConfirm {
    pub(super) conn: ConnId,
    pub(super) negotiated: Arc<Negotiated>,
    pub(super) liveness: Liveness,
}

/// UPDATEs may flow.
#[derive(Debug)]
pub(super) struct Established {
    pub(super) conn: ConnId,
    pub(super) negotiated: Arc<Negotiated>,
    pub(super) liveness: Liveness,
    /// `SendHoldTimer`; none when off.
    pub(super) send_hold_at: Option<Instant>,
    pub(super) since: Instant,
}

impl Connect {
    pub(super) fn connected(self, open_hold_at: Instant, plain: bool) -> OpenSent {
        OpenSent { conn: self.conn, hold_at: open_hold_at, plain, contested: None }
    }
}

impl OpenSent {
    pub(super) fn confirmed(self, negotiated: Arc<Negotiated>, liveness: Liveness) -> OpenConfirm {
        OpenConfirm { conn: self.conn, negotiated, liveness }
    }
}

impl OpenConfirm {
    pub(super) fn established(self, now: Instant) -> Established {
        let Self { conn, negotiated, liveness } = self;
        let mut state = Established { conn, negotiated, liveness, send_hold_at: None, since: now };
        state.wrote(now);
        state
    }
}

/// `HoldTimer` and `KeepaliveTimer` after negotiation; both off when the hold time is zero.
#[derive(Debug)]
pub(super) struct Liveness {
    /// The negotiated hold time and the interval of keepalives.
    intervals: Option<(Duration, Duration)>,
    pub(super) hold_at: Option<Instant>,
    pub(super) keepalive_at: Option<Instant>,
}

impl Liveness {
    /// Both timers start now.
    pub(super) fn start(now: Instant, negotiated: &Negotiated, jitter: &mut Jitter) -> Self {
        let intervals = negotiated.hold_time.duration().zip(negotiated.keepalive);
        let mut liveness = Self { intervals, hold_at: None, keepalive_at: None };
        liveness.heard(now);
        liveness.spoke(now, jitter);
        liveness
    }

    /// A message arrived.
    pub(super) fn heard(&mut self, now: Instant) {
        self.hold_at = self.intervals.map(|(hold, _)| now + hold);
    }

    fn timers(&self, send_hold_at: Option<Instant>) -> [Option<(Timer, Instant)>; 3] {
        [
            self.hold_at.map(|at| (Timer::Hold, at)),
            send_hold_at.map(|at| (Timer::SendHold, at)),
            self.keepalive_at.map(|at| (Timer::Keepalive, at)),
        ]
    }

    /// A KEEPALIVE or UPDATE was sent.
    pub(super) fn spoke(&mut self, now: Instant, jitter: &mut Jitter) {
        // Jitter must not bring keepalives below one a second (RFC 4271 section 4.4).
        self.keepalive_at =
            self.intervals.map(|(_, keepalive)| now + jitter.apply(keepalive).max(Duration::from_secs(1)));
    }
}

impl Established {
    /// The peer took something: `SendHoldTimer` (RFC 9687 section 3.2) starts again.
    pub(super) fn wrote(&mut self, now: Instant) {
        self.send_hold_at = self.negotiated.send_hold.map(|time| now + time);
    }
}

/// Which end opened a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Direction {
    /// We did.
    Outbound,
    /// The peer did.
    Inbound,
}

impl Direction {
    pub(super) const BOTH: [Self; 2] = [Self::Outbound, Self::Inbound];

    pub(super) fn other(self) -> Self {
        match self {
            Self::Outbound => Self::Inbound,
            Self::Inbound => Self::Outbound,
        }
    }
}

/// A state that has a connection, or the attempt at one.
#[derive(Debug)]
pub(super) enum Link {
    Connect(Connect),
    OpenSent(OpenSent),
    OpenConfirm(OpenConfirm),
    Established(Established),
}

/// A timer of a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Timer {
    ConnectRetry,
    Hold,
    SendHold,
    Keepalive,
    Collision,
}

impl Link {
    pub(super) fn conn(&self) -> ConnId {
        match self {
            Self::Connect(Connect { conn, .. })
            | Self::OpenSent(OpenSent { conn, .. })
            | Self::OpenConfirm(OpenConfirm { conn, .. })
            | Self::Established(Established { conn, .. }) => *conn,
        }
    }

    pub(super) fn state(&self) -> State {
        match self {
            Self::Connect(_) => State::Connect,
            Self::OpenSent(_) => State::OpenSent,
            Self::OpenConfirm(_) => State::OpenConfirm,
            Self::Established(_) => State::Established,
        }
    }

    /// What the two OPENs agreed on, once there are two.
    pub(super) fn negotiated(&self) -> Option<&Arc<Negotiated>> {
        match self {
            Self::Connect(_) => None,
            Self::OpenSent(state) => state.contested.as_ref().map(|held| &held.negotiated),
            Self::OpenConfirm(state) => Some(&state.negotiated),
            Self::Established(state) => Some(&state.negotiated),
        }
    }

    /// The timers that run. Of two that are due the first is to be served: a session whose hold time
    /// is over sends no more keepalives.
    pub(super) fn timers(&self) -> [Option<(Timer, Instant)>; 3] {
        match self {
            Self::Connect(state) => [Some((Timer::ConnectRetry, state.retry_at)), None, None],
            Self::OpenSent(state) => [
                Some((Timer::Hold, state.hold_at)),
                state.contested.as_ref().map(|held| (Timer::Collision, held.until)),
                None,
            ],
            Self::OpenConfirm(OpenConfirm { liveness, .. }) => liveness.timers(None),
            Self::Established(Established { liveness, send_hold_at, .. }) => liveness.timers(*send_hold_at),
        }
    }
}

/// Up to one link of each direction.
#[derive(Debug, Default)]
pub(super) struct Links {
    outbound: Option<Link>,
    inbound: Option<Link>,
}

impl Links {
    pub(super) fn slot(&mut self, direction: Direction) -> &mut Option<Link> {
        match direction {
            Direction::Outbound => &mut self.outbound,
            Direction::Inbound => &mut self.inbound,
        }
    }

    pub(super) fn get(&self, direction: Direction) -> Option<&Link> {
        match direction {
            Direction::Outbound => self.outbound.as_ref(),
            Direction::Inbound => self.inbound.as_ref(),
        }
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Link> {
        self.outbound.iter().chain(&self.inbound)
    }

    pub(super) fn direction_of(&self, conn: ConnId) -> Option<Direction> {
        Direction::BOTH
            .into_iter()
            .find(|direction| self.get(*direction).is_some_and(|link| link.conn() == conn))
    }
}

impl Machine {
    pub(super) fn state(&self) -> State {
        match self {
            Self::Idle(_) => State::Idle,
            Self::Active(_) => State::Active,
            Self::Linked(links) => links.iter().map(Link::state).max().unwrap_or(State::Active),
        }
    }

    /// The links; none in Idle and Active.
    pub(super) fn links(&self) -> impl Iterator<Item = &Link> {
        let links = match self {
            Self::Linked(links) => Some(links),
            Self::Idle(_) | Self::Active(_) => None,
        };
        links.into_iter().flat_map(Links::iter)
    }

    pub(super) fn link(&self, direction: Direction) -> Option<&Link> {
        match self {
            Self::Linked(links) => links.get(direction),
            Self::Idle(_) | Self::Active(_) => None,
        }
    }

    pub(super) fn find(&self, conn: ConnId) -> Option<&Link> {
        self.links().find(|link| link.conn() == conn)
    }

    /// The link of this connection, changed in place.
    pub(super) fn find_mut(&mut self, conn: ConnId) -> Option<&mut Link> {
        let Self::Linked(links) = self else { return None };
        let direction = links.direction_of(conn)?;
        links.slot(direction).as_mut()
    }

    /// Takes the link of this connection out, for a transition.
    pub(super) fn take(&mut self, conn: ConnId) -> Option<(Direction, Link)> {
        let Self::Linked(links) = self else { return None };
        let direction = links.direction_of(conn)?;
        links.slot(direction).take().map(|link| (direction, link))
    }

    /// Takes the link of this direction out.
    pub(super) fn take_direction(&mut self, direction: Direction) -> Option<Link> {
        match self {
            Self::Linked(links) => links.slot(direction).take(),
            Self::Idle(_) | Self::Active(_) => None,
        }
    }

    /// Puts a link in, after a transition or as the first.
    pub(super) fn put(&mut self, direction: Direction, link: Link) {
        if let Self::Linked(links) = self {
            *links.slot(direction) = Some(link);
        } else {
            let mut links = Links::default();
            *links.slot(direction) = Some(link);
            *self = Self::Linked(links);
        }
    }

    /// When the next timer is due.
    pub(super) fn next_timer(&self) -> Option<Instant> {
        match self {
            Self::Idle(Idle::Stopped(_)) => None,
            Self::Idle(Idle::Held { until }) => Some(*until),
            Self::Active(active) => active.retry_at,
            Self::Linked(links) => links.iter().flat_map(Link::timers).flatten().map(|(_, at)| at).min(),
        }
    }
}
