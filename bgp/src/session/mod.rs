//! The session with one neighbour: the state machine of RFC 4271 section 8, without sockets or clocks.
//!
//! A [`Session`] is told what happened (`start`, `accept`, `tcp_connected`, `handle_message`,
//! `handle_timeout`, ...) and when, and answers with [`Output`]s. It guarantees that
//!
//! - it is Established on at most one connection, after an OPEN and a KEEPALIVE of the peer on it;
//! - of two colliding connections both sides keep the same one (see the head of `collision.rs`);
//! - a NOTIFICATION is the last `Send` before its `Close`, and a closed connection is never named again;
//! - the hold timers, that of what is heard (RFC 4271) and that of what is sent (RFC 9687), expire at their
//!   time, not before and not after, given that the driver calls on time.
//!
//! Where the RFC leaves a choice: errors lead to Idle for a while that grows
//! (`DampPeerOscillations`), and Idle refuses connections. A connection that TCP or the peer refused
//! is no such error: it leads to Active, where the peer's next attempt is welcome, so two speakers
//! never refuse each other in turns.
//!
//! # The driver's loop
//!
//! One task a neighbour owns the `Session` and its sockets. Three rules keep keepalives and hold
//! timers independent of routes: read and handle what has arrived *before* serving a timeout (or a
//! late task would take its own delay for the peer's silence); never wait for a shard while holding
//! the session (stop reading that socket instead, and tell by [`Session::heard`] that octets wait in
//! it); write through a queue for each connection, so that `Send` never blocks.
//!
//! ```text
//! session.start(now);
//! loop {
//!     while let Some(output) = session.poll_output() {
//!         Connect(conn)          => connect; later tcp_connected or tcp_failed(now, conn, why)
//!         Send(conn, bytes)      => writers[conn].push(bytes)
//!         Close(conn)            => stop reading; flush, then shut down
//!         Up(conn, negotiated)   => shards: peer_up; UPDATEs of ours go out on conn
//!         Down(reason, kept)     => shards: peer_lost
//!         Stale(routes)          => shards: mark_stale, drop_stale or age_stale
//!         RouteRefresh(family)   => shards: refresh
//!         StateChanged{from, to} => log, monitor
//!     }
//!     select! { biased;
//!         accepted a socket => { let conn = session.accept(now); } // refused: the outputs close it
//!         connect finished  => session.tcp_connected(now, conn) or tcp_failed(now, conn, why)
//!         read failed, EOF  => session.tcp_closed(now, conn, why)
//!         wrote UPDATEs     => session.updates_sent(now, conn, count)
//!         wrote anything    => session.wrote(now, conn)
//!         command           => session.start(now), stop(now, reason), request_refresh(family)
//!         bytes of conn     => read(conn)
//!         sleep until session.poll_timeout() => session.handle_timeout(now)
//!     }
//! }
//!
//! read(conn): while session.has_connection(conn) {
//!     let context = session.decode_context(conn);      // may change with each message
//!     match frame_len(&buf, context.max_message()) {
//!         Ok(Some(len)) if len <= buf.len() => match decode(&buf[..len], &context) {
//!             Ok(message) => {
//!                 session.handle_message(now, conn, &message);
//!                 if it is an UPDATE and session.is_established_on(conn) { batch it for the shards }
//!             }
//!             Err(error) => session.handle_protocol_error(now, conn, &error),
//!         },
//!         Ok(_)      => break,                         // more bytes are needed
//!         Err(error) => session.handle_protocol_error(now, conn, &error),
//!     }
//! }
//! ```
//!
//! Calls that name a connection which the session has closed are ignored, so events that were
//! already on their way do no harm.

mod collision;
mod config;
mod fsm;
mod helper;
pub(crate) mod jitter;
mod negotiate;
mod output;
mod refresh;
mod snapshot;
mod state;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::BytesMut;

pub use config::{GracefulHelper, OwnRestart, PeerAsn, PeerKind, SendHoldTime, SessionConfig, Timing};
pub use helper::StalePhase;
pub use negotiate::{Negotiated, PeerRestart};
pub use output::{ConnId, DownReason, Output, StaleRoutes, StopReason};
pub use snapshot::{
    Connection, Counters, ErrorSource, LastError, LastNotification, MessageCounts, RefreshCounts, Snapshot,
    StaleFamily,
};
pub use state::{Direction, State};

use crate::types::{Family, FamilySet};
use crate::wire::notification::codes;
use crate::wire::{DecodeContext, Message, Notification, ProtocolError, RouteRefresh};
use helper::Helper;
use jitter::{Backoff, Jitter};
use refresh::Refreshes;
use state::{Idle, Link, Machine, Timer};

/// The session with one neighbour. See the [module](self) for how to drive it.
#[derive(Debug)]
pub struct Session {
    config: SessionConfig,
    machine: Machine,
    outputs: VecDeque<Output>,
    jitter: Jitter,
    /// Pauses between attempts to connect (`ConnectRetryCounter` is its level).
    connect_backoff: Backoff,
    /// Stays in Idle after errors.
    idle_backoff: Backoff,
    /// Stopped for a restart of ours.
    leaving: bool,
    /// The peer does not understand capabilities: OPENs go without.
    plain: bool,
    next_conn: u64,
    /// What is kept of sessions that were lost.
    helper: Helper,
    /// Families whose initial routes the peer has sent, in this session.
    ends_of_rib: FamilySet,
    /// What the peer is sending again.
    refreshes: Refreshes,
    counters: Counters,
    last_error: Option<LastError>,
    last_attempt: Option<LastError>,
    last_sent: Option<LastNotification>,
    last_received: Option<LastNotification>,
    state_since: Instant,
}

impl Session {
    /// A session in Idle, to be started.
    pub fn new(config: SessionConfig, now: Instant) -> Self {
        let timing = config.timing;
        Self {
            machine: Machine::Idle(Idle::Stopped(Notification::cease(codes::cease::CONNECTION_REJECTED))),
            outputs: VecDeque::new(),
            jitter: Jitter::new(config.jitter_seed),
            connect_backoff: Backoff::new(timing.connect_retry, timing.connect_retry_max),
            idle_backoff: Backoff::new(timing.idle_hold, timing.idle_hold_max),
            leaving: false,
            plain: false,
            next_conn: 1,
            helper: Helper::default(),
            ends_of_rib: FamilySet::EMPTY,
            refreshes: Refreshes::default(),
            counters: Counters::default(),
            last_error: None,
            last_attempt: None,
            last_sent: None,
            last_received: None,
            state_since: now,
            config,
        }
    }

    /// Starts the session, or ends its stay in Idle. Does nothing in any other state.
    pub fn start(&mut self, now: Instant) {
        if let Machine::Idle(_) = self.machine {
            self.transition(now, |session| session.restart(now));
        }
    }

    /// Starts the session, and leaves it to the peer for a while to connect; about so long, up to a quarter less. When we
    /// have restarted, the peer may be about to: one that takes our connection for yet another restart of ours, as
    /// RFC 4724 section 5 has it, would give up the session that it has just begun, and routes with it.
    pub fn start_after(&mut self, now: Instant, pause: Duration) {
        if let Machine::Idle(_) = self.machine {
            self.transition(now, |session| session.restart_after(now, pause));
        }
    }

    /// Ends the session with a Cease. Depending on the reason it stays Idle until started again, or
    /// comes back by itself; a stopped one does not come back by the latter kind of reason, save that a
    /// reset brings back what a prefix limit stopped.
    pub fn stop(&mut self, now: Instant, reason: &StopReason) {
        self.transition(now, |session| session.stopped(now, reason));
    }

    /// The peer does not forward any more, whatever becomes of its control plane: what is kept of a session that was
    /// lost is given up (RFC 5882 section 4.3).
    pub fn forwarding_lost(&mut self) {
        let dropped = self.helper.give_up();
        self.outputs.extend(dropped.into_iter().map(Output::Stale));
    }

    /// Takes on another configuration for what comes next: attempts to connect, OPENs, timers. What was
    /// negotiated stays as it is; where it must not, [`Session::stop`] with
    /// [`StopReason::ConfigurationChange`] is to follow.
    pub fn reconfigure(&mut self, now: Instant, config: SessionConfig) {
        let timing = config.timing;
        if timing != self.config.timing {
            self.connect_backoff = Backoff::new(timing.connect_retry, timing.connect_retry_max);
            self.idle_backoff = Backoff::new(timing.idle_hold, timing.idle_hold_max);
        }
        let turned = config.passive != self.config.passive;
        self.config = config;
        self.keep_forwarding();
        if turned && matches!(self.machine, Machine::Active(_)) {
            self.transition(now, |session| session.begin(now));
        }
    }

    /// Our own restart is over: OPENs say so from now on (RFC 4724 section 4.1).
    pub fn restart_over(&mut self) {
        if let Some(own) = &mut self.config.own_restart {
            own.restarting = false;
        }
    }

    /// Once a session was up, it is this run that forwards for it.
    fn keep_forwarding(&mut self) {
        if let Some(own) = self.config.own_restart.as_mut().filter(|_| self.counters.established > 0) {
            own.forwarding = self.config.families;
        }
    }

    /// A TCP connection of the peer arrived. If it is refused, the outputs say so to the peer and
    /// close it.
    pub fn accept(&mut self, now: Instant) -> ConnId {
        let conn = self.next_conn();
        self.transition(now, |session| session.accepted(now, conn));
        conn
    }

    /// A connection that [`Output::Connect`] asked for is there.
    pub fn tcp_connected(&mut self, now: Instant, conn: ConnId) {
        self.transition(now, |session| session.connected(now, conn));
    }

    /// A connection that [`Output::Connect`] asked for could not be made; `why` is for people.
    pub fn tcp_failed(&mut self, now: Instant, conn: ConnId, why: &str) {
        self.transition(now, |session| session.disconnected(now, conn, why));
    }

    /// A connection was closed by the peer, or reading or writing failed; `why` is for people. No
    /// [`Output::Close`] follows.
    pub fn tcp_closed(&mut self, now: Instant, conn: ConnId, why: &str) {
        self.transition(now, |session| session.disconnected(now, conn, why));
    }

    /// A message arrived. Of an UPDATE only the state and the hold timer are the session's business:
    /// the routes are the driver's if [`Session::is_established_on`] says so.
    pub fn handle_message(&mut self, now: Instant, conn: ConnId, message: &Message<'_>) {
        let Some(link) = self.machine.find_mut(conn) else { return };
        self.counters.received.count(message);
        // Nearly every message is one of these, and changes no state.
        if let (Link::Established(state), Message::Update(_) | Message::Keepalive) = (link, message) {
            state.liveness.heard(now);
            if let Message::Update(update) = message
                && let Some(family) = update.end_of_rib()
            {
                self.ends_of_rib.insert(family);
                self.outputs.extend(self.helper.end_of_rib(family).map(Output::Stale));
            }
            return;
        }
        self.transition(now, |session| session.message(now, conn, message));
    }

    /// Bytes arrived that are no acceptable message.
    pub fn handle_protocol_error(&mut self, now: Instant, conn: ConnId, error: &ProtocolError) {
        self.transition(now, |session| session.protocol_error(now, conn, error));
    }

    /// The driver handed this many UPDATEs (End-of-RIB among them) to the socket.
    pub fn updates_sent(&mut self, now: Instant, conn: ConnId, count: u64) {
        if let Some(Link::Established(state)) = self.machine.find_mut(conn) {
            state.liveness.spoke(now, &mut self.jitter);
            self.counters.sent.update += count;
        }
    }

    /// The socket has taken something of what we send.
    pub fn wrote(&mut self, now: Instant, conn: ConnId) {
        if let Some(Link::Established(state)) = self.machine.find_mut(conn) {
            state.wrote(now);
        }
    }

    /// The driver handed this many ROUTE-REFRESH messages to the socket, which mark where an answer begins and
    /// ends (RFC 7313).
    pub fn refresh_marks_sent(&mut self, count: u64) {
        self.counters.sent.route_refresh += count;
    }

    /// Asks the peer for all its routes of a family again; `false` if that was not negotiated or the
    /// session is not Established.
    pub fn request_refresh(&mut self, family: Family) -> bool {
        let Some((conn, negotiated)) = self.established() else { return false };
        if !negotiated.route_refresh || !negotiated.families.contains(family) {
            return false;
        }
        let mut bytes = BytesMut::new();
        RouteRefresh::new(family, RouteRefresh::REQUEST).encode(&mut bytes);
        self.counters.sent.route_refresh += 1;
        self.outputs.push_back(Output::Send(conn, bytes.freeze()));
        true
    }

    /// Octets of the peer have arrived that the driver could not read yet, because it is slow itself: the
    /// peer is not silent, and its hold timer starts again.
    pub fn heard(&mut self, now: Instant, conn: ConnId) {
        match self.machine.find_mut(conn) {
            Some(Link::OpenConfirm(state)) => state.liveness.heard(now),
            Some(Link::Established(state)) => state.liveness.heard(now),
            Some(Link::Connect(_) | Link::OpenSent(_)) | None => {}
        }
    }

    /// Serves the timers that are due.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.transition(now, |session| session.timers(now));
    }

    /// When to call [`Session::handle_timeout`]; changes with every other call.
    pub fn poll_timeout(&self) -> Option<Instant> {
        let timers = [self.machine.next_timer(), self.helper.next_timer(), self.refreshes.next_timer()];
        timers.into_iter().flatten().min()
    }

    /// The next thing to do.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// The state of the furthest connection; Idle or Active without one.
    pub fn state(&self) -> State {
        self.machine.state()
    }

    /// The configuration.
    pub fn config(&self) -> &SessionConfig {
        &self.config
    }

    /// The counters.
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    /// Whether the peer sent too many prefixes, and the session stays Idle until it is started or reset.
    pub fn is_over_limit(&self) -> bool {
        matches!(&self.machine, Machine::Idle(Idle::Stopped(cease))
            if cease.subcode == codes::cease::MAX_PREFIXES)
    }

    /// Whether the session stays Idle until somebody does something about it.
    pub fn is_stopped(&self) -> bool {
        matches!(self.machine, Machine::Idle(Idle::Stopped(_)))
    }

    /// The families whose initial routes the peer has sent, in the last session that was Established.
    pub fn ends_of_rib(&self) -> FamilySet {
        self.ends_of_rib
    }

    /// The last error, or attempt that failed, whichever was later; a later one has another time.
    pub fn last_error(&self) -> Option<&LastError> {
        self.last_attempt.iter().chain(&self.last_error).max_by_key(|error| error.at)
    }

    /// The connection on which the session is Established.
    pub fn established(&self) -> Option<(ConnId, &Arc<Negotiated>)> {
        self.machine.links().find_map(|link| match link {
            Link::Established(state) => Some((state.conn, &state.negotiated)),
            _ => None,
        })
    }

    /// How the stale routes of a family are kept, and until when; `None`: there are none.
    pub fn stale(&self, family: Family) -> Option<(StalePhase, Instant)> {
        let refresh = || Some((StalePhase::Refreshing, self.refreshes.until(family)?));
        self.helper.phase(family).or_else(refresh)
    }

    /// Whether UPDATEs on this connection count.
    pub fn is_established_on(&self, conn: ConnId) -> bool {
        self.established().is_some_and(|(established, _)| established == conn)
    }

    /// Whether the session still knows this connection.
    pub fn has_connection(&self, conn: ConnId) -> bool {
        self.machine.find(conn).is_some()
    }

    /// How the next message on this connection is to be read.
    pub fn decode_context(&self, conn: ConnId) -> DecodeContext {
        let negotiated = self.machine.find(conn).and_then(Link::negotiated);
        negotiated.map_or_else(DecodeContext::default, |negotiated| negotiated.decode)
    }

    /// Everything about the session that is worth showing.
    pub fn snapshot(&self, now: Instant) -> Snapshot {
        let until = |at: Instant| at.saturating_duration_since(now);
        let furthest = self.machine.links().max_by_key(|link| link.state());
        let timer = |wanted: Timer| {
            let mut timers = furthest?.timers().into_iter().flatten();
            timers.find(|(timer, _)| *timer == wanted).map(|(_, at)| until(at))
        };
        let connect_retry = match &self.machine {
            Machine::Active(active) => active.retry_at.map(until),
            _ => timer(Timer::ConnectRetry),
        };
        let (shutdown, idle_hold) = match &self.machine {
            Machine::Idle(Idle::Stopped(cease)) => {
                let shut = cease.subcode == codes::cease::ADMINISTRATIVE_SHUTDOWN;
                let text = cease.shutdown_communication().unwrap_or_default();
                (shut.then(|| text.to_owned()), None)
            }
            Machine::Idle(Idle::Held { until: at }) => (None, Some(until(*at))),
            _ => (None, None),
        };
        let uptime = match furthest {
            Some(Link::Established(state)) => Some(now.saturating_duration_since(state.since)),
            _ => None,
        };
        let connections = Direction::BOTH.into_iter().filter_map(|direction| {
            let link = self.machine.link(direction)?;
            Some(Connection { id: link.conn(), direction, state: link.state() })
        });
        Snapshot {
            state: self.state(),
            in_state: now.saturating_duration_since(self.state_since),
            uptime,
            shutdown,
            connections: connections.collect(),
            negotiated: furthest.and_then(Link::negotiated).cloned(),
            idle_hold,
            connect_retry,
            hold: timer(Timer::Hold),
            send_hold: timer(Timer::SendHold),
            keepalive: timer(Timer::Keepalive),
            stale: Family::ALL
                .into_iter()
                .filter_map(|family| {
                    let (phase, at) = self.stale(family)?;
                    Some(StaleFamily { family, phase, left: until(at) })
                })
                .collect(),
            ends_of_rib: self.ends_of_rib,
            over_limit: self.is_over_limit(),
            failed_attempts: self.connect_backoff.level(),
            counters: self.counters,
            last_error: self.last_error.clone(),
            last_attempt: self.last_attempt.clone(),
            last_sent: self.last_sent.clone(),
            last_received: self.last_received.clone(),
        }
    }

    /// Runs one event, and tells if the session's state changed by it.
    fn transition(&mut self, now: Instant, event: impl FnOnce(&mut Self)) {
        let from = self.state();
        event(self);
        let to = self.state();
        if from != to {
            self.state_since = now;
            self.outputs.push_back(Output::StateChanged { from, to });
        }
    }

    fn next_conn(&mut self) -> ConnId {
        let conn = ConnId(self.next_conn);
        self.next_conn += 1;
        conn
    }
}
