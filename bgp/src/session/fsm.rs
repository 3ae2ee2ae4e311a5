//! The transitions: what each event of RFC 4271 section 8.1 does in each state.
//!
//! Every function here takes the links it changes out of the [`Machine`], and leaves it whole: with a
//! link put back, or through [`Session::settle`] with the last one gone. That is where the session
//! goes to Idle or Active, depending on who was at fault ([`After`]).
//!
//! Deviations from the letter of section 8.2.2, all towards coming back: a refused connection leads
//! from Connect to Active rather than to Idle (as RFC 1771 had it, and as everyone does); messages other
//! than KEEPALIVE and UPDATE restart the hold timer too.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::BytesMut;

use super::Session;
use super::collision::{self, Verdict};
use super::helper::Helper;
use super::negotiate::{self, Negotiated};
use super::output::{ConnId, DownReason, Output, StaleRoutes, StopReason};
use super::refresh::Refreshes;
use super::snapshot::{ErrorSource, LastError, LastNotification};
use super::state::{
    Active, Connect, Contested, Direction, Idle, Link, Liveness, Machine, OpenConfirm, OpenSent, State, Timer,
};
use crate::types::{Family, FamilySet};
use crate::wire::notification::codes;
use crate::wire::{Message, Notification, Open, ProtocolError, RouteRefresh, encode_keepalive};

/// Where the session goes once its last connection is gone.
enum After {
    /// Active; the next attempt waits longer each time.
    Retry,
    /// Active; nobody was at fault, the next attempt comes soon.
    Soon,
    /// Active: who comes back is welcome at once, but our own attempts wait longer each time.
    Lost,
    /// Idle for a while, longer each time.
    Hold,
}

impl Session {
    /// Leaves Idle by an operator's wish.
    pub(super) fn restart(&mut self, now: Instant) {
        self.forget_failures();
        self.begin(now);
    }

    /// The same, without connecting at once.
    pub(super) fn restart_after(&mut self, now: Instant, pause: Duration) {
        self.forget_failures();
        self.listen(now, pause);
    }

    fn forget_failures(&mut self) {
        self.idle_backoff.reset();
        self.connect_backoff.reset();
        self.plain = false;
    }

    pub(super) fn stopped(&mut self, now: Instant, reason: &StopReason) {
        let was_stopped = matches!(self.machine, Machine::Idle(Idle::Stopped(_)));
        if was_stopped && !reason.stays_down() {
            let by_limit = matches!(&self.machine, Machine::Idle(Idle::Stopped(cease))
                if cease.subcode == codes::cease::MAX_PREFIXES);
            if by_limit && matches!(reason, StopReason::Reset(_)) {
                self.restart(now);
            }
            return;
        }
        let plain = reason.notification();
        let mut had_connection = false;
        for direction in Direction::BOTH {
            if let Some(link) = self.machine.take_direction(direction) {
                had_connection |= link.state() > State::Connect;
                if reason.is_lost(&link) {
                    self.outputs.push_back(Output::Close(link.conn()));
                    self.ended(now, &link, DownReason::Disconnected(reason.in_words()));
                    continue;
                }
                let hard = reason.is_hard()
                    && matches!(&link, Link::Established(state) if state.negotiated.restart.notification);
                let notification = if hard { plain.clone().into_hard_reset() } else { plain.clone() };
                self.notify_and_close(link.conn(), link.state(), &notification);
                let sent = DownReason::Sent { notification, detail: reason.detail() };
                self.ended(now, &link, sent);
            }
        }
        self.plain = false;
        if reason.is_hard() {
            let dropped = self.helper.give_up();
            self.outputs.extend(dropped.into_iter().map(Output::Stale));
        }
        self.leaving = *reason == StopReason::Restart;
        if reason.stays_down() {
            self.machine = Machine::Idle(Idle::Stopped(plain));
        } else if let Some(stay) = reason.restart_after() {
            self.machine = Machine::Idle(Idle::Held { until: now + stay });
        } else if reason.is_error() {
            let stay = self.idle_backoff.next();
            self.hold_idle(now, stay);
        } else if had_connection {
            self.hold_idle(now, self.config.timing.idle_hold);
        } else {
            self.restart(now);
        }
    }

    pub(super) fn accepted(&mut self, now: Instant, conn: ConnId) {
        self.give_way(now);
        let refusal = match &self.machine {
            Machine::Idle(Idle::Stopped(cease)) => Some(cease.clone()),
            Machine::Idle(Idle::Held { .. }) => Some(Notification::cease(codes::cease::CONNECTION_REJECTED)),
            Machine::Linked(_) if self.established().is_some() => Some(collision_cease()),
            Machine::Active(_) | Machine::Linked(_) => None,
        };
        if let Some(cease) = refusal {
            if !self.leaving {
                self.send_notification(conn, &cease);
            }
            self.outputs.push_back(Output::Close(conn));
            return;
        }
        // A peer opens a second connection only when it has given up the first.
        if let Some(old) = self.machine.take_direction(Direction::Inbound) {
            self.notify_and_close(old.conn(), old.state(), &collision_cease());
        }
        let hold_at = now + self.config.timing.open_hold;
        self.send_open(conn);
        let state = OpenSent { conn, hold_at, plain: self.plain, contested: None };
        self.machine.put(Direction::Inbound, Link::OpenSent(state));
    }

    /// A peer that restarts gracefully and connects anew has lost the session that we still have: that one
    /// ends without a NOTIFICATION (RFC 4724 section 5). Unless it has only just begun: then this is a second
    /// connection that was on its way at the same time.
    fn give_way(&mut self, now: Instant) {
        let settled = self.config.timing.collision_wait;
        let lost = |link: &Link| {
            matches!(link, Link::Established(state)
                if !state.negotiated.restart.families.is_empty() && state.since + settled <= now)
        };
        for direction in Direction::BOTH {
            if self.machine.link(direction).is_some_and(lost)
                && let Some(link) = self.machine.take_direction(direction)
            {
                self.outputs.push_back(Output::Close(link.conn()));
                self.ended(now, &link, DownReason::Disconnected("the peer connected anew".to_owned()));
                self.listen(now, self.config.timing.connect_retry);
            }
        }
    }

    pub(super) fn connected(&mut self, now: Instant, conn: ConnId) {
        match self.machine.take(conn) {
            None => {}
            Some((direction, Link::Connect(state))) => {
                self.send_open(conn);
                let state = state.connected(now + self.config.timing.open_hold, self.plain);
                self.machine.put(direction, Link::OpenSent(state));
            }
            Some((direction, link)) => self.machine.put(direction, link),
        }
    }

    pub(super) fn disconnected(&mut self, now: Instant, conn: ConnId, why: &str) {
        let Some((_, link)) = self.machine.take(conn) else { return };
        let after = match link {
            Link::Connect(_) | Link::OpenSent(_) => After::Retry,
            Link::OpenConfirm(_) => After::Hold,
            // A connection that ends without a NOTIFICATION is no error of the session: a neighbour that
            // restarts must not be refused (which would also keep its routes away for longer).
            Link::Established(_) => After::Lost,
        };
        self.ended(now, &link, DownReason::Disconnected(why.to_owned()));
        self.settle(now, &after);
    }

    pub(super) fn protocol_error(&mut self, now: Instant, conn: ConnId, error: &ProtocolError) {
        if let Some((_, link)) = self.machine.take(conn) {
            self.fail(now, &link, error.notification(), error.reason.clone());
        }
    }

    pub(super) fn message(&mut self, now: Instant, conn: ConnId, message: &Message<'_>) {
        let Some((direction, link)) = self.machine.take(conn) else { return };
        match (link, message) {
            (link, Message::Notification(notification)) => {
                self.notification_received(now, &link, notification);
            }
            (Link::OpenSent(state), Message::Open(open)) if state.contested.is_none() => {
                self.open_received(now, direction, state, open);
            }
            (Link::OpenSent(mut state), Message::Keepalive) if state.contested.is_some() => {
                if let Some(held) = &mut state.contested {
                    held.keepalive_received = true;
                }
                self.machine.put(direction, Link::OpenSent(state));
            }
            (Link::OpenConfirm(state), Message::Keepalive) => self.establish(now, direction, state),
            (Link::Established(mut state), Message::Keepalive | Message::Update(_)) => {
                state.liveness.heard(now);
                self.machine.put(direction, Link::Established(state));
            }
            (Link::Established(mut state), Message::RouteRefresh(refresh)) => {
                state.liveness.heard(now);
                let negotiated = Arc::clone(&state.negotiated);
                self.machine.put(direction, Link::Established(state));
                let family = refresh.known_family().filter(|family| negotiated.families.contains(*family));
                if let Some(family) = family {
                    self.refresh(now, family, refresh.subtype, &negotiated);
                }
            }
            (link, message) => {
                // RFC 6608.
                let subcode = match link.state() {
                    State::Established => codes::fsm::IN_ESTABLISHED,
                    State::OpenConfirm => codes::fsm::IN_OPEN_CONFIRM,
                    _ => codes::fsm::IN_OPEN_SENT,
                };
                let detail = format!("{} in {}", message.name(), link.state());
                self.fail(now, &link, Notification::new(codes::FSM, subcode), detail);
            }
        }
    }

    /// A ROUTE-REFRESH of a negotiated family. Subtypes that there are not are ignored (RFC 7313 section 5).
    fn refresh(&mut self, now: Instant, family: Family, subtype: u8, negotiated: &Negotiated) {
        match subtype {
            RouteRefresh::REQUEST => self.outputs.push_back(Output::RouteRefresh(family)),
            RouteRefresh::BEGIN | RouteRefresh::END if !negotiated.enhanced_refresh() => {}
            // What the peer sends is not all yet: its beginnings are ignored until it says so (section 4).
            RouteRefresh::BEGIN if negotiated.says_end_of_rib() && !self.ends_of_rib.contains(family) => {
                self.counters.refreshes.ignored += 1;
            }
            RouteRefresh::BEGIN => {
                self.counters.refreshes.begun += 1;
                self.refreshes.begin(family, now + self.config.timing.refresh_limit);
                self.outputs.push_back(Output::Stale(StaleRoutes::Mark(family)));
            }
            RouteRefresh::END if self.refreshes.end(family) => {
                self.counters.refreshes.ended += 1;
                self.outputs.push_back(Output::Stale(StaleRoutes::Drop(family)));
            }
            RouteRefresh::END => self.counters.refreshes.ignored += 1,
            _ => {}
        }
    }

    pub(super) fn timers(&mut self, now: Instant) {
        let due = self.helper.timers(now);
        self.outputs.extend(due.into_iter().map(Output::Stale));
        for family in self.refreshes.expire(now).iter() {
            self.counters.refreshes.expired += 1;
            self.outputs.push_back(Output::Stale(StaleRoutes::Drop(family)));
        }
        match &self.machine {
            Machine::Idle(Idle::Held { until }) if *until <= now => self.begin(now),
            Machine::Active(Active { retry_at: Some(at) }) if *at <= now => self.dial(now),
            Machine::Idle(_) | Machine::Active(_) => {}
            Machine::Linked(_) => {
                for direction in Direction::BOTH {
                    self.link_timers(now, direction);
                }
            }
        }
    }

    fn link_timers(&mut self, now: Instant, direction: Direction) {
        let timers = self.machine.link(direction).map(Link::timers);
        let mut timers = timers.into_iter().flatten().flatten();
        let Some((timer, _)) = timers.find(|(_, at)| *at <= now) else { return };
        let Some(link) = self.machine.take_direction(direction) else { return };
        match (timer, link) {
            (Timer::ConnectRetry, link) => {
                self.outputs.push_back(Output::Close(link.conn()));
                self.ended(now, &link, DownReason::Disconnected("no answer in time".to_owned()));
                self.connect_backoff.next();
                self.dial(now);
            }
            (Timer::Collision, Link::OpenSent(state)) => {
                self.machine.put(direction, Link::OpenSent(state));
                self.release_contested(now);
            }
            (Timer::Keepalive, mut link) => {
                if let Link::OpenConfirm(OpenConfirm { liveness, .. }) = &mut link {
                    liveness.spoke(now, &mut self.jitter);
                } else if let Link::Established(state) = &mut link {
                    state.liveness.spoke(now, &mut self.jitter);
                }
                self.send_keepalive(link.conn());
                self.machine.put(direction, link);
            }
            (Timer::SendHold, link) => {
                let time = link.negotiated().and_then(|negotiated| negotiated.send_hold);
                let detail = format!("the peer took nothing for {} s", time.unwrap_or_default().as_secs());
                self.fail(now, &link, Notification::send_hold_timer_expired(), detail);
            }
            (Timer::Hold | Timer::Collision, link) => {
                let detail = match (&link, link.negotiated()) {
                    (Link::OpenConfirm(_) | Link::Established(_), Some(negotiated)) => {
                        format!("nothing heard for {}", negotiated.hold_time)
                    }
                    _ => "no OPEN from the peer".to_owned(),
                };
                self.fail(now, &link, Notification::hold_timer_expired(), detail);
            }
        }
    }

    /// From Idle to Connect, or to Active when passive.
    pub(super) fn begin(&mut self, now: Instant) {
        if self.config.passive {
            self.machine = Machine::Active(Active { retry_at: None });
        } else {
            self.dial(now);
        }
    }

    fn dial(&mut self, now: Instant) {
        let conn = self.next_conn();
        let patience = self.config.timing.connect_timeout.max(self.connect_backoff.current());
        let retry_at = now + self.jitter.apply(patience);
        self.outputs.push_back(Output::Connect(conn));
        self.machine.put(Direction::Outbound, Link::Connect(Connect { conn, retry_at }));
    }

    fn open_received(&mut self, now: Instant, direction: Direction, state: OpenSent, open: &Open) {
        let negotiated = match negotiate::negotiate(&self.config, state.plain, open.clone()) {
            Ok(negotiated) => Arc::new(negotiated),
            Err(error) => {
                let link = Link::OpenSent(state);
                return self.fail(now, &link, error.notification(), error.reason);
            }
        };
        let verdict = match self.machine.link(direction.other()) {
            None => Verdict::Wins,
            Some(other) => collision::judge(&self.config, direction, &negotiated, other),
        };
        match verdict {
            Verdict::Wins => {
                self.close_loser(direction.other());
                self.confirm(now, direction, state, negotiated, false);
            }
            Verdict::Loses => {
                self.notify_and_close(state.conn, State::OpenSent, &collision_cease());
                self.settle(now, &After::Soon);
            }
            Verdict::Wait => {
                // Meanwhile the peer hears nothing: not for long enough to make its hold timer expire.
                let wait = self.config.timing.collision_wait;
                let until = now + negotiated.keepalive.map_or(wait, |keepalive| wait.min(keepalive));
                let held = Contested { negotiated, until, keepalive_received: false };
                let state = OpenSent { contested: Some(held), ..state };
                self.machine.put(direction, Link::OpenSent(state));
            }
        }
    }

    /// To `OpenConfirm`; and further if the peer has confirmed already.
    fn confirm(
        &mut self,
        now: Instant,
        direction: Direction,
        state: OpenSent,
        negotiated: Arc<Negotiated>,
        keepalive_received: bool,
    ) {
        self.send_keepalive(state.conn);
        let liveness = Liveness::start(now, &negotiated, &mut self.jitter);
        let state = state.confirmed(negotiated, liveness);
        if keepalive_received {
            self.establish(now, direction, state);
        } else {
            self.machine.put(direction, Link::OpenConfirm(state));
        }
    }

    fn establish(&mut self, now: Instant, direction: Direction, state: OpenConfirm) {
        self.close_loser(direction.other());
        let mut state = state.established(now);
        state.liveness.heard(now);
        self.counters.established += 1;
        self.keep_forwarding();
        self.connect_backoff.reset();
        self.last_attempt = None;
        self.ends_of_rib = FamilySet::EMPTY;
        self.outputs.push_back(Output::Up(state.conn, Arc::clone(&state.negotiated)));
        let dropped = self.helper.back(&state.negotiated.restart);
        self.outputs.extend(dropped.into_iter().map(Output::Stale));
        self.machine.put(direction, Link::Established(state));
    }

    /// A contested connection goes on: the other is gone, or had its chance.
    fn release_contested(&mut self, now: Instant) {
        for direction in Direction::BOTH {
            let is_contested =
                |link: &Link| matches!(link, Link::OpenSent(state) if state.contested.is_some());
            if !self.machine.link(direction).is_some_and(is_contested) {
                continue;
            }
            if let Some(Link::OpenSent(mut state)) = self.machine.take_direction(direction)
                && let Some(held) = state.contested.take()
            {
                self.confirm(now, direction, state, held.negotiated, held.keepalive_received);
            }
        }
    }

    fn notification_received(&mut self, now: Instant, link: &Link, notification: &Notification) {
        use codes::cease::{COLLISION, CONNECTION_REJECTED};
        use codes::open::UNSUPPORTED_PARAMETER;
        let after = match (notification.code, notification.subcode) {
            (codes::OPEN, UNSUPPORTED_PARAMETER) if matches!(link, Link::OpenSent(state) if !state.plain) => {
                // RFC 5492 section 3: the peer knows no capabilities, so try without.
                self.plain = true;
                After::Soon
            }
            (codes::CEASE, COLLISION) => After::Soon,
            // The peer is in Idle. If we went there too, we might refuse each other in turns.
            (codes::CEASE, CONNECTION_REJECTED) => After::Retry,
            _ => After::Hold,
        };
        self.outputs.push_back(Output::Close(link.conn()));
        self.ended(now, link, DownReason::Received(notification.clone()));
        self.settle(now, &after);
    }

    /// Ends a connection by an error that is the peer's.
    fn fail(&mut self, now: Instant, link: &Link, notification: Notification, detail: String) {
        self.notify_and_close(link.conn(), link.state(), &notification);
        self.ended(now, link, DownReason::Sent { notification, detail });
        self.settle(now, &After::Hold);
    }

    /// Keeps the books for a connection that has just ended.
    fn ended(&mut self, now: Instant, link: &Link, reason: DownReason) {
        let source = match &reason {
            DownReason::Sent { .. } => ErrorSource::Sent,
            DownReason::Received(_) => ErrorSource::Received,
            DownReason::Disconnected(_) => ErrorSource::Transport,
        };
        let text = match (link, &reason) {
            (Link::Connect(_), DownReason::Disconnected(why)) => format!("cannot connect: {why}"),
            (_, reason) => reason.to_string(),
        };
        // Whoever is told why the session ended may only ever see attempts that fail after that.
        let is_attempt = !matches!(link, Link::Established(_)) && source == ErrorSource::Transport;
        let collided = reason.notification().is_some_and(|notification| {
            (notification.code, notification.subcode) == (codes::CEASE, codes::cease::COLLISION)
        });
        let abandoned = matches!((link, &reason), (Link::Connect(_), DownReason::Sent { .. }));
        let last = |notification: &Notification, detail: &str| {
            Some(LastNotification { at: now, notification: notification.clone(), detail: detail.to_owned() })
        };
        match &reason {
            _ if collided || abandoned => {}
            DownReason::Sent { notification, detail } => self.last_sent = last(notification, detail),
            DownReason::Received(notification) => self.last_received = last(notification, ""),
            DownReason::Disconnected(_) => {}
        }
        if let Link::Established(state) = link {
            let up = now.saturating_duration_since(state.since);
            if up >= self.config.timing.stable_after {
                self.idle_backoff.reset();
            }
            self.plain = false;
            self.counters.dropped += 1;
            self.refreshes = Refreshes::default();
            let mut aged = Vec::new();
            let kept = match &self.config.graceful_restart {
                None => FamilySet::EMPTY,
                Some(config) => {
                    let offer = &state.negotiated.restart;
                    let kept = Helper::kept(&reason, offer, config);
                    aged = self.helper.lost(now, kept, offer, config);
                    kept
                }
            };
            self.outputs.push_back(Output::Down(reason, kept));
            self.outputs.extend(aged.into_iter().map(Output::Stale));
        } else if collided || abandoned {
            return;
        }
        let last = if is_attempt { &mut self.last_attempt } else { &mut self.last_error };
        *last = Some(LastError { at: now, source, text });
    }

    /// After a connection ended: the session goes on with the other one, or without any.
    fn settle(&mut self, now: Instant, after: &After) {
        if self.machine.links().next().is_some() {
            return self.release_contested(now);
        }
        match after {
            After::Retry => {
                let pause = self.connect_backoff.next();
                self.listen(now, pause);
            }
            After::Soon => self.listen(now, self.config.timing.idle_hold),
            After::Lost => {
                let pause = self.idle_backoff.next();
                self.listen(now, pause);
            }
            After::Hold => {
                self.plain = false;
                let stay = self.idle_backoff.next();
                self.hold_idle(now, stay);
            }
        }
    }

    fn listen(&mut self, now: Instant, pause: Duration) {
        let retry_at = (!self.config.passive).then(|| now + self.jitter.apply(pause));
        self.machine = Machine::Active(Active { retry_at });
    }

    fn hold_idle(&mut self, now: Instant, stay: Duration) {
        let until = now + self.jitter.apply(stay);
        self.machine = Machine::Idle(Idle::Held { until });
    }

    /// Closes the connection that lost a collision, if there is one.
    fn close_loser(&mut self, direction: Direction) {
        if let Some(loser) = self.machine.take_direction(direction) {
            self.notify_and_close(loser.conn(), loser.state(), &collision_cease());
        }
    }

    fn notify_and_close(&mut self, conn: ConnId, state: State, notification: &Notification) {
        if state > State::Connect {
            self.send_notification(conn, notification);
        }
        self.outputs.push_back(Output::Close(conn));
    }

    fn send_open(&mut self, conn: ConnId) {
        let mut bytes = BytesMut::new();
        negotiate::our_open(&self.config, self.plain).encode(&mut bytes);
        self.counters.sent.open += 1;
        self.outputs.push_back(Output::Send(conn, bytes.freeze()));
    }

    fn send_keepalive(&mut self, conn: ConnId) {
        let mut bytes = BytesMut::new();
        encode_keepalive(&mut bytes);
        self.counters.sent.keepalive += 1;
        self.outputs.push_back(Output::Send(conn, bytes.freeze()));
    }

    fn send_notification(&mut self, conn: ConnId, notification: &Notification) {
        let mut bytes = BytesMut::new();
        notification.encode(&mut bytes);
        self.counters.sent.notification += 1;
        self.outputs.push_back(Output::Send(conn, bytes.freeze()));
    }
}

fn collision_cease() -> Notification {
    Notification::cease(codes::cease::COLLISION)
}
