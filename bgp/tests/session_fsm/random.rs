//! One session against chance: any event at any time, for connections alive, dead and never seen.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use bgp::session::{ConnId, Output, Session, SessionConfig, State, StopReason};
use bgp::types::Family;
use bgp::wire::{Message, ProtocolError};
use proptest::prelude::*;

use crate::messages::{config, id, notification, peer_open, refresh, secs, sent, with_update};

#[derive(Clone, Debug)]
enum Event {
    Start,
    Stop(u8),
    Accept,
    /// The rest names a connection, the newest first.
    Connected(usize),
    Failed(usize),
    Closed(usize),
    Open(usize, u8),
    Keepalive(usize),
    Update(usize),
    Refresh(usize),
    Notification(usize, u8, u8),
    Malformed(usize),
    UpdatesSent(usize),
    /// Milliseconds pass.
    Pass(u64),
    /// The next timer is served in time.
    Timer,
}

fn event() -> impl Strategy<Value = Event> {
    let conn = || prop_oneof![4 => 0_usize..2, 1 => 0_usize..6];
    prop_oneof![
        2 => Just(Event::Start),
        1 => (0_u8..5).prop_map(Event::Stop),
        4 => Just(Event::Accept),
        6 => conn().prop_map(Event::Connected),
        1 => conn().prop_map(Event::Failed),
        1 => conn().prop_map(Event::Closed),
        8 => (conn(), 0_u8..5).prop_map(|(conn, open)| Event::Open(conn, open)),
        8 => conn().prop_map(Event::Keepalive),
        1 => conn().prop_map(Event::Update),
        1 => conn().prop_map(Event::Refresh),
        1 => (conn(), 1_u8..9, 0_u8..9).prop_map(|(conn, a, b)| Event::Notification(conn, a, b)),
        1 => conn().prop_map(Event::Malformed),
        1 => conn().prop_map(Event::UpdatesSent),
        2 => (0_u64..120_000).prop_map(Event::Pass),
        4 => Just(Event::Timer),
    ]
}

/// What a bystander knows of a connection.
#[derive(Debug, Default)]
#[expect(clippy::struct_excessive_bools, reason = "each is an independent fact")]
struct Seen {
    open_sent: bool,
    open_received: bool,
    keepalive_sent: bool,
    keepalive_received: bool,
    notified: bool,
    closed: bool,
}

struct Bystander {
    session: Session,
    now: Instant,
    conns: BTreeMap<ConnId, Seen>,
    up: Option<ConnId>,
    state: State,
}

impl Bystander {
    fn conn(&self, back: usize) -> Option<ConnId> {
        self.conns.keys().rev().nth(back).copied()
    }

    fn seen(&mut self, conn: ConnId) -> &mut Seen {
        self.conns.get_mut(&conn).expect("a connection that was opened")
    }

    fn message(&mut self, conn: ConnId, message: &Message<'_>) {
        let known = self.session.has_connection(conn);
        let seen = self.seen(conn);
        assert!(!(known && seen.closed), "a closed connection is known");
        match message {
            Message::Open(_) => seen.open_received |= known && seen.open_sent,
            Message::Keepalive => seen.keepalive_received |= known && seen.open_received,
            _ => {}
        }
        self.session.handle_message(self.now, conn, message);
    }

    fn apply(&mut self, event: &Event) {
        let now = self.now;
        let session = &mut self.session;
        match event {
            Event::Start => session.start(now),
            Event::Stop(kind) => session.stop(
                now,
                &match kind {
                    0 => StopReason::Shutdown("bye".to_owned()),
                    1 => StopReason::Reset(String::new()),
                    2 => StopReason::ConfigurationChange,
                    3 => StopReason::OutOfResources,
                    _ => StopReason::MaxPrefixes {
                        family: Family::Ipv6Unicast,
                        limit: 1,
                        restart_after: Some(secs(9)),
                    },
                },
            ),
            Event::Accept => {
                let conn = session.accept(now);
                assert!(self.conns.insert(conn, Seen::default()).is_none(), "{conn} is used again");
            }
            Event::Pass(millis) => self.now += Duration::from_millis(*millis),
            Event::Timer => {
                if let Some(due) = session.poll_timeout() {
                    self.now = now.max(due);
                    session.handle_timeout(self.now);
                    let next = session.poll_timeout();
                    assert!(next.is_none_or(|next| next > self.now), "a timer that was served is due");
                }
            }
            Event::Connected(back)
            | Event::Failed(back)
            | Event::Closed(back)
            | Event::Open(back, _)
            | Event::Keepalive(back)
            | Event::Update(back)
            | Event::Refresh(back)
            | Event::Notification(back, ..)
            | Event::Malformed(back)
            | Event::UpdatesSent(back) => {
                if let Some(conn) = self.conn(*back) {
                    self.apply_to(conn, event);
                }
            }
        }
        self.observe();
    }

    fn apply_to(&mut self, conn: ConnId, event: &Event) {
        let now = self.now;
        let session = &mut self.session;
        match event {
            Event::Connected(_) => session.tcp_connected(now, conn),
            Event::Failed(_) => {
                session.tcp_failed(now, conn, "connection refused");
                self.seen(conn).closed = true;
            }
            Event::Closed(_) => {
                session.tcp_closed(now, conn, "connection reset by peer");
                self.seen(conn).closed = true;
            }
            // Below ours, above ours, ours, a short hold time, none.
            Event::Open(_, kind) => {
                let (router_id, hold) = [(1, 90), (9, 90), (5, 90), (9, 3), (1, 0)][usize::from(*kind)];
                self.message(conn, &peer_open(id(router_id), hold));
            }
            Event::Keepalive(_) => self.message(conn, &Message::Keepalive),
            Event::Update(_) => with_update(|update| self.message(conn, update)),
            Event::Refresh(_) => self.message(conn, &refresh(Family::Ipv4Unicast)),
            Event::Notification(_, code, subcode) => {
                self.message(conn, &notification(*code, *subcode));
            }
            Event::Malformed(_) => {
                let error = ProtocolError::new(1, 1, &[], "message header without its marker");
                session.handle_protocol_error(now, conn, &error);
            }
            _ => session.updates_sent(now, conn, 1),
        }
    }

    /// Checks every output and what the session says of itself.
    fn observe(&mut self) {
        while let Some(output) = self.session.poll_output() {
            match output {
                Output::Connect(conn) => {
                    assert!(self.conns.insert(conn, Seen::default()).is_none(), "{conn} is used again");
                }
                Output::Send(conn, bytes) => {
                    let seen = self.seen(conn);
                    assert!(!seen.closed && !seen.notified, "{conn} is over: {seen:?}");
                    match sent(&bytes) {
                        Message::Open(_) => {
                            assert!(!seen.open_sent, "a second OPEN");
                            seen.open_sent = true;
                        }
                        Message::Notification(_) => seen.notified = true,
                        Message::Keepalive => {
                            assert!(seen.open_received, "a KEEPALIVE before the peer's OPEN");
                            seen.keepalive_sent = true;
                        }
                        message => panic!("{message:?}"),
                    }
                }
                Output::Close(conn) => {
                    let seen = self.seen(conn);
                    assert!(!seen.closed, "{conn} is closed twice");
                    seen.closed = true;
                }
                Output::Up(conn, _) => {
                    let seen = &self.conns[&conn];
                    assert!(seen.open_sent && seen.open_received, "{seen:?}");
                    assert!(seen.keepalive_sent && seen.keepalive_received, "{seen:?}");
                    assert_eq!(self.up.replace(conn), None, "up twice");
                }
                Output::Down(..) => assert!(self.up.take().is_some(), "down without up"),
                Output::RouteRefresh(_) => assert!(self.up.is_some()),
                Output::Stale(_) => {}
                Output::StateChanged { from, to } => {
                    assert!(from == self.state && from != to);
                    self.state = to;
                }
            }
        }
        assert_eq!(self.session.state(), self.state);
        assert_eq!(self.session.established().map(|(conn, _)| conn), self.up);
        let connections = self.session.snapshot(self.now).connections;
        assert!(connections.len() <= 2);
        let confirmed = connections.iter().filter(|c| c.state >= State::OpenConfirm).count();
        assert!(confirmed <= 1, "{connections:?}");
        for connection in &connections {
            let seen = &self.conns[&connection.id];
            assert!(!seen.closed && !seen.notified);
            assert!(connection.state <= State::Connect || seen.open_sent);
        }
        let furthest = connections.iter().map(|connection| connection.state).max();
        match furthest {
            Some(furthest) => assert_eq!(furthest, self.state),
            None => assert!(self.state <= State::Active),
        }
        if self.up.is_some() {
            assert_eq!(connections.len(), 1, "nothing beside an Established connection");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(3000))]

    #[test]
    fn no_sequence_of_events_breaks_a_promise(
        events in prop::collection::vec(event(), 1..80),
        passive in prop::bool::weighted(0.2),
        seed: u64,
    ) {
        let now = Instant::now();
        let config = SessionConfig { router_id: id(5), passive, jitter_seed: seed, ..config() };
        let mut bystander = Bystander {
            session: Session::new(config, now),
            now,
            conns: BTreeMap::new(),
            up: None,
            state: State::Idle,
        };
        bystander.apply(&Event::Start);
        for event in &events {
            bystander.apply(event);
        }
        // The session lives on: left alone it is not stuck without a timer, unless it may be.
        let snapshot = bystander.session.snapshot(bystander.now);
        let may_rest = match snapshot.state {
            State::Idle => snapshot.idle_hold.is_none(),
            State::Active => passive,
            State::OpenConfirm | State::Established => snapshot.hold.is_none(),
            State::Connect | State::OpenSent => false,
        };
        prop_assert!(bystander.session.poll_timeout().is_some() || may_rest);
    }

    #[test]
    fn the_same_seed_and_events_give_the_same_session(
        events in prop::collection::vec(event(), 1..40),
        seed: u64,
    ) {
        let now = Instant::now();
        let run = || {
            let config = SessionConfig { router_id: id(5), jitter_seed: seed, ..config() };
            let session = Session::new(config, now);
            let (conns, up, state) = (BTreeMap::new(), None, State::Idle);
            let mut bystander = Bystander { session, now, conns, up, state };
            bystander.apply(&Event::Start);
            for event in &events {
                bystander.apply(event);
            }
            (bystander.session.snapshot(bystander.now), bystander.session.poll_timeout())
        };
        prop_assert_eq!(run(), run());
    }
}
