//! A session under any order of events, time among them.
//!
//! Input: an octet for the configuration, then events of one octet each, some with a message behind
//! them: an octet for its type, one for the length of its body, the body.

use std::time::{Duration, Instant};

use bgp::session::{ConnId, Output, Session, SessionConfig, State, StopReason};
use bgp::types::{Asn, Family, FamilySet, HoldTime, RouterId};
use bgp::wire::{Capability, DecodeContext, Message, Open, decode, encode_keepalive, frame_len};
use bytes::BytesMut;

pub(crate) fn run(data: &[u8]) {
    let Some((bits, events)) = data.split_first() else { return };
    let mut driver = Driver::new(*bits);
    let mut events = events.iter().copied();
    for _ in 0..256 {
        let Some(event) = events.next() else { return };
        driver.event(event, &mut events);
        driver.serve();
    }
}

struct Driver {
    session: Session,
    now: Instant,
    conns: Vec<ConnId>,
    up: bool,
    peer: Open,
}

impl Driver {
    fn new(bits: u8) -> Self {
        let id = |last| RouterId([192, 0, 2, last].into());
        let peer_asn = if bits & 1 == 0 { Asn(64501) } else { Asn(64500) };
        let mut config = SessionConfig::new(Asn(64500), peer_asn, id(1), u64::from(bits));
        config.passive = bits & 2 != 0;
        config.hold_time = HoldTime::new(if bits & 4 == 0 { 9 } else { 0 }).unwrap_or(HoldTime::DEFAULT);
        let capabilities = vec![
            Capability::MultiProtocol(Family::Ipv4Unicast),
            Capability::RouteRefresh,
            Capability::FourOctetAsn(peer_asn),
        ];
        let peer =
            Open::new(peer_asn, HoldTime::DEFAULT, id(if bits & 8 == 0 { 2 } else { 0 }), capabilities);
        let now = Instant::now();
        let mut session = Session::new(config, now);
        session.start(now);
        Self { session, now, conns: Vec::new(), up: false, peer }
    }

    fn event(&mut self, event: u8, more: &mut impl Iterator<Item = u8>) {
        // Recent connections are named, those long closed too.
        let index = self.conns.len().checked_sub(1 + usize::from(event >> 4) % 4);
        let conn = index.and_then(|index| self.conns.get(index)).copied();
        let (session, now) = (&mut self.session, self.now);
        match (event & 0x0f, conn) {
            (0, _) => {
                let conn = session.accept(now);
                self.conns.push(conn);
            }
            (1, Some(conn)) => session.tcp_connected(now, conn),
            (2, Some(conn)) => session.tcp_failed(now, conn, "refused"),
            (3, Some(conn)) => session.tcp_closed(now, conn, "closed"),
            (4, _) => {
                self.now += Duration::from_millis(250 * u64::from(event >> 4) * u64::from(event >> 4));
                session.handle_timeout(self.now);
            }
            (5, Some(conn)) => session.heard(now, conn),
            (6, Some(conn)) => {
                let mut bytes = BytesMut::new();
                self.peer.encode(&mut bytes);
                self.deliver(conn, &bytes);
            }
            (7, Some(conn)) => {
                let mut bytes = BytesMut::new();
                encode_keepalive(&mut bytes);
                self.deliver(conn, &bytes);
            }
            (8, Some(conn)) => {
                let (kind, length) = (more.next().unwrap_or(0), more.next().unwrap_or(0));
                let body: Vec<u8> = more.take(usize::from(length)).collect();
                let total = (19 + body.len()) as u16;
                self.deliver(conn, &[&[0xff; 16][..], &total.to_be_bytes(), &[kind], &body].concat());
            }
            (9, _) => session.stop(now, &StopReason::Shutdown("maintenance".to_owned())),
            (10, _) => session.stop(now, &StopReason::Reset(String::new())),
            (11, _) => session.stop(now, &StopReason::OutOfResources),
            (12, _) => session.start(now),
            (13, _) => drop(session.request_refresh(Family::Ipv4Unicast)),
            (14, Some(conn)) => session.updates_sent(now, conn, 1),
            _ => drop(session.snapshot(now)),
        }
    }

    /// As the daemon reads: in the context of the connection, refused where it must be.
    fn deliver(&mut self, conn: ConnId, bytes: &[u8]) {
        let ctx = self.session.decode_context(conn);
        let read = frame_len(bytes, ctx.max_message()).and_then(|length| {
            let frame = length.and_then(|length| bytes.get(..length));
            frame.map(|frame| decode(frame, &ctx)).transpose()
        });
        match read {
            Ok(Some(message)) => self.session.handle_message(self.now, conn, &message),
            Ok(None) => (),
            Err(error) => self.session.handle_protocol_error(self.now, conn, &error),
        }
    }

    /// Takes the outputs and checks what must always hold.
    fn serve(&mut self) {
        let mut state_changes = 0;
        while let Some(output) = self.session.poll_output() {
            match output {
                Output::Connect(conn) => self.conns.push(conn),
                Output::Send(_, bytes) => sound(&bytes),
                Output::Up(conn, _) => {
                    assert!(!self.up, "Established twice");
                    assert!(self.conns.contains(&conn));
                    self.up = true;
                }
                Output::Down(..) => {
                    assert!(self.up, "down without having been up");
                    self.up = false;
                }
                Output::StateChanged { from, to } => {
                    assert_ne!(from, to);
                    state_changes += 1;
                }
                _ => (),
            }
        }
        assert!(state_changes <= 4, "{state_changes} states by one event");
        assert_eq!(self.up, self.session.established().is_some());
        assert_eq!(self.up, self.session.state() == State::Established);
        assert!(self.session.snapshot(self.now).connections.len() <= 2);
        if let Some(at) = self.session.poll_timeout() {
            assert!(at <= self.now + Duration::from_hours(2), "a timer far away");
        }
    }
}

/// Whatever is sent can be read.
fn sound(bytes: &[u8]) {
    let ctx = DecodeContext { families: FamilySet::ALL, as4: true, ..DecodeContext::default() };
    let read = decode(bytes, &ctx);
    assert!(
        matches!(read, Ok(ref message) if !matches!(message, Message::Update(_))),
        "sent {bytes:?}: {read:?}"
    );
}
