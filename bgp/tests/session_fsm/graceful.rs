//! Graceful restart as a helper: what is kept when a session is lost, and what ends that.

use std::time::{Duration, Instant};

use bgp::session::{
    ConnId, GracefulHelper, Output, Session, SessionConfig, StalePhase, StaleRoutes, StopReason,
};
use bgp::types::{Family, FamilySet, HoldTime};
use bgp::wire::{
    Capability, DecodeContext, GracefulRestart, LongLivedRestart, Message, Notification, Open, RouteRefresh,
    decode, encode_end_of_rib,
};
use bytes::BytesMut;

use crate::messages::{PEER_ASN, config, drain, id, secs, sent};

const V4: Family = Family::Ipv4Unicast;
const V6: Family = Family::Ipv6Unicast;

/// What the peer offers in its OPENs.
#[derive(Clone, Copy)]
struct Offer {
    graceful: GracefulRestart,
    long_lived: Option<LongLivedRestart>,
}

/// Both families, forwarding kept, 120 seconds.
const OFFER: Offer = Offer {
    graceful: GracefulRestart {
        restarting: false,
        notification: false,
        restart_time: 120,
        families: FamilySet::ALL,
        forwarding: FamilySet::ALL,
    },
    long_lived: None,
};

/// A session and its peer, which connects to us.
struct Bench {
    session: Session,
    now: Instant,
    conn: Option<ConnId>,
    offer: Offer,
}

impl Bench {
    fn new(helper: Option<GracefulHelper>, offer: Offer) -> Self {
        let now = Instant::now();
        let config = SessionConfig { graceful_restart: helper, passive: true, ..config() };
        let mut session = Session::new(config, now);
        session.start(now);
        let mut bench = Self { session, now, conn: None, offer };
        assert_eq!(bench.connect(), []);
        bench
    }

    /// The peer connects and comes up; what becomes of stale routes.
    fn connect(&mut self) -> Vec<StaleRoutes> {
        let mut capabilities = vec![
            Capability::MultiProtocol(V4),
            Capability::MultiProtocol(V6),
            Capability::FourOctetAsn(PEER_ASN),
            Capability::GracefulRestart(self.offer.graceful),
            Capability::EnhancedRouteRefresh,
        ];
        capabilities.extend(self.offer.long_lived.map(Capability::LongLivedGracefulRestart));
        let open = Open::new(PEER_ASN, HoldTime::new(90).expect("a valid hold time"), id(2), capabilities);
        let conn = self.session.accept(self.now);
        self.session.handle_message(self.now, conn, &Message::Open(open));
        self.session.handle_message(self.now, conn, &Message::Keepalive);
        assert!(self.session.is_established_on(conn), "{}", self.session.state());
        self.conn = Some(conn);
        stale(&drain(&mut self.session))
    }

    /// The connection breaks; what is kept, and what becomes of it at once.
    fn cut(&mut self) -> (FamilySet, Vec<StaleRoutes>) {
        let conn = self.conn.take().expect("a session");
        self.session.tcp_closed(self.now, conn, "closed");
        down(&drain(&mut self.session))
    }

    fn receive(&mut self, message: &Message<'_>) -> Vec<Output> {
        self.session.handle_message(self.now, self.conn.expect("a session"), message);
        drain(&mut self.session)
    }

    fn end_of_rib(&mut self, family: Family) -> Vec<StaleRoutes> {
        let mut bytes = BytesMut::new();
        encode_end_of_rib(&mut bytes, family);
        let context = DecodeContext { families: FamilySet::ALL, ..DecodeContext::default() };
        stale(&self.receive(&decode(&bytes, &context).expect("an End-of-RIB")))
    }

    /// Time passes, without a second session's hold timer getting in the way.
    fn wait(&mut self, seconds: u64) -> Vec<StaleRoutes> {
        let end = self.now + secs(seconds);
        let mut outcome = Vec::new();
        while self.now < end {
            self.now = self.session.poll_timeout().map_or(end, |at| at.max(self.now).min(end));
            if let Some(conn) = self.conn {
                self.session.heard(self.now, conn);
            }
            self.session.handle_timeout(self.now);
            outcome.extend(stale(&drain(&mut self.session)));
        }
        outcome
    }

    fn phase(&self, family: Family) -> Option<(StalePhase, Duration)> {
        let snapshot = self.session.snapshot(self.now);
        let of_family = snapshot.stale.into_iter().find(|stale| stale.family == family);
        of_family.map(|stale| (stale.phase, stale.left))
    }
}

fn stale(outputs: &[Output]) -> Vec<StaleRoutes> {
    let routes = |output: &Output| match output {
        Output::Stale(routes) => Some(*routes),
        _ => None,
    };
    outputs.iter().filter_map(routes).collect()
}

fn down(outputs: &[Output]) -> (FamilySet, Vec<StaleRoutes>) {
    let kept = outputs.iter().find_map(|output| match output {
        Output::Down(_, kept) => Some(*kept),
        _ => None,
    });
    (kept.expect("the session is down"), stale(outputs))
}

fn helper() -> GracefulHelper {
    GracefulHelper::default()
}

fn long_lived(limit: u64) -> GracefulHelper {
    GracefulHelper { long_lived: [secs(limit); 2], long_lived_aware: true, ..helper() }
}

#[test]
fn routes_are_kept_until_end_of_rib_of_the_next_session() {
    let mut bench = Bench::new(Some(helper()), OFFER);
    assert_eq!(bench.cut(), (FamilySet::ALL, vec![]));
    assert_eq!(bench.phase(V4), Some((StalePhase::Restarting, secs(120))));
    assert_eq!(bench.wait(60), []);
    assert_eq!(bench.connect(), []);
    assert_eq!(bench.phase(V4), Some((StalePhase::Syncing, secs(300))));
    assert_eq!(bench.end_of_rib(V6), [StaleRoutes::Drop(V6)]);
    assert_eq!(bench.end_of_rib(V6), [], "once");
    assert_eq!(bench.session.snapshot(bench.now).ends_of_rib, V6.into());
    // A peer that never finishes.
    assert_eq!(bench.wait(299), []);
    assert_eq!(bench.wait(2), [StaleRoutes::Drop(V4)]);
}

#[test]
fn a_peer_that_does_not_come_back_loses_its_routes_at_its_restart_time() {
    let mut bench = Bench::new(Some(helper()), OFFER);
    bench.cut();
    assert_eq!(bench.wait(119), []);
    assert_eq!(bench.wait(1), [StaleRoutes::Drop(V4), StaleRoutes::Drop(V6)]);
    assert_eq!(bench.connect(), []);
    // Our limit is below what it asks for.
    let limit = GracefulHelper { stale_routes_time: secs(10), ..helper() };
    let mut bench = Bench::new(Some(limit), OFFER);
    bench.cut();
    assert_eq!(bench.wait(10), [StaleRoutes::Drop(V4), StaleRoutes::Drop(V6)]);
}

#[test]
fn a_peer_that_is_back_without_forwarding_or_family_loses_its_routes_at_once() {
    let graceful = |families, forwarding| GracefulRestart { families, forwarding, ..OFFER.graceful };
    for (families, forwarding, dropped) in [
        (FamilySet::ALL, V4.into(), vec![StaleRoutes::Drop(V6)]),
        (V6.into(), V6.into(), vec![StaleRoutes::Drop(V4)]),
        (FamilySet::EMPTY, FamilySet::EMPTY, vec![StaleRoutes::Drop(V4), StaleRoutes::Drop(V6)]),
    ] {
        let mut bench = Bench::new(Some(helper()), OFFER);
        bench.cut();
        bench.offer.graceful = graceful(families, forwarding);
        assert_eq!(bench.connect(), dropped);
    }
}

#[test]
fn nothing_is_kept_of_a_peer_that_does_not_ask_for_it_or_when_switched_off() {
    assert_eq!(Bench::new(None, OFFER).cut(), (FamilySet::EMPTY, vec![]));
    let graceful = GracefulRestart { families: V6.into(), ..OFFER.graceful };
    assert_eq!(Bench::new(Some(helper()), Offer { graceful, ..OFFER }).cut().0, V6.into());
    let graceful = GracefulRestart { restart_time: 0, ..OFFER.graceful };
    assert_eq!(Bench::new(Some(helper()), Offer { graceful, ..OFFER }).cut().0, FamilySet::EMPTY);
}

#[test]
fn notifications_keep_routes_only_between_speakers_of_rfc_8538() {
    for notification in [false, true] {
        let graceful = GracefulRestart { notification, ..OFFER.graceful };
        let offer = Offer { graceful, ..OFFER };
        let expected = if notification { FamilySet::ALL } else { FamilySet::EMPTY };
        // The peer's.
        let mut bench = Bench::new(Some(helper()), offer);
        let outputs = bench.receive(&Message::Notification(Notification::cease(4)));
        assert_eq!(down(&outputs).0, expected);
        // Ours: its hold timer.
        let mut bench = Bench::new(Some(helper()), offer);
        bench.now += secs(90);
        bench.session.handle_timeout(bench.now);
        assert_eq!(down(&drain(&mut bench.session)).0, expected);
        // Hard resets, either way.
        let mut bench = Bench::new(Some(helper()), offer);
        let hard = Notification::cease(2).into_hard_reset();
        assert_eq!(down(&bench.receive(&Message::Notification(hard))).0, FamilySet::EMPTY);
        let mut bench = Bench::new(Some(helper()), offer);
        let reason = StopReason::MaxPrefixes { family: V6, limit: 1000, restart_after: None };
        bench.session.stop(bench.now, &reason);
        let outputs = drain(&mut bench.session);
        assert_eq!(down(&outputs), (FamilySet::EMPTY, vec![]));
        let message = outputs.iter().find_map(|output| match output {
            Output::Send(_, bytes) => Some(sent(bytes)),
            _ => None,
        });
        let Some(Message::Notification(message)) = message else { panic!("{message:?}") };
        let limit = [0, 2, 1, 0, 0, 3, 0xe8];
        if notification {
            assert_eq!((message.code, message.subcode), (6, 9));
            assert_eq!(message.data, [&[6, 1][..], &limit].concat(), "what it is about is within");
        } else {
            assert_eq!((message.code, message.subcode), (6, 1));
            assert_eq!(message.data, limit);
        }
    }
}

#[test]
fn an_operator_who_shuts_down_a_peer_that_is_away_drops_its_routes() {
    let mut bench = Bench::new(Some(helper()), OFFER);
    bench.cut();
    bench.session.stop(bench.now, &StopReason::Shutdown(String::new()));
    let dropped = stale(&drain(&mut bench.session));
    assert_eq!(dropped, [StaleRoutes::Drop(V4), StaleRoutes::Drop(V6)]);
    assert_eq!(bench.session.poll_timeout(), None);
}

#[test]
fn a_peer_that_connects_anew_has_lost_the_session_that_we_still_have() {
    let mut bench = Bench::new(Some(helper()), OFFER);
    // A second connection of the first moments is one too many.
    let second = bench.session.accept(bench.now);
    assert!(!bench.session.has_connection(second));
    drain(&mut bench.session);
    bench.wait(20);
    let conn = bench.session.accept(bench.now);
    assert!(bench.session.has_connection(conn));
    let outputs = drain(&mut bench.session);
    assert_eq!(down(&outputs).0, FamilySet::ALL);
    let notified = outputs.iter().any(
        |output| matches!(output, Output::Send(_, bytes) if matches!(sent(bytes), Message::Notification(_))),
    );
    assert!(!notified, "nobody is there to be told");
    // Without graceful restart the session that stands is the one that counts.
    let graceful = GracefulRestart { families: FamilySet::EMPTY, ..OFFER.graceful };
    let mut bench = Bench::new(Some(helper()), Offer { graceful, ..OFFER });
    bench.wait(20);
    let second = bench.session.accept(bench.now);
    assert!(!bench.session.has_connection(second));
}

#[test]
fn long_lived_routes_follow_the_restart_time_and_last_over_sessions() {
    let times = LongLivedRestart { stale_times: [1000, 0], forwarding: V4.into() };
    let offer = Offer { long_lived: Some(times), ..OFFER };
    let mut bench = Bench::new(Some(long_lived(600)), offer);
    bench.cut();
    assert_eq!(bench.wait(120), [StaleRoutes::LongLived(V4), StaleRoutes::Drop(V6)]);
    assert_eq!(bench.phase(V4), Some((StalePhase::LongLived, secs(600))), "our limit");
    bench.wait(100);
    assert_eq!(bench.connect(), []);
    // Lost again before it has sent all: the time goes on, also for what it has sent.
    assert_eq!(bench.cut(), (FamilySet::ALL, vec![StaleRoutes::LongLived(V4)]));
    assert_eq!(bench.phase(V4), Some((StalePhase::LongLived, secs(500))));
    bench.connect();
    assert_eq!(bench.end_of_rib(V4), [StaleRoutes::Drop(V4)]);
    bench.cut();
    assert_eq!(bench.phase(V4).unwrap().0, StalePhase::Restarting);
    bench.wait(120);
    assert_eq!(bench.wait(600), [StaleRoutes::Drop(V4)]);
}

#[test]
fn long_lived_routes_of_a_family_without_a_restart_time_are_so_at_once() {
    let times = LongLivedRestart { stale_times: [0, 50], forwarding: FamilySet::EMPTY };
    let graceful = GracefulRestart { families: V4.into(), ..OFFER.graceful };
    let offer = Offer { graceful, long_lived: Some(times) };
    let mut bench = Bench::new(Some(long_lived(600)), offer);
    assert_eq!(bench.cut(), (FamilySet::ALL, vec![StaleRoutes::LongLived(V6)]));
    // Back without having kept forwarding.
    assert_eq!(bench.connect(), [StaleRoutes::Drop(V6)]);
    // Who does not take part is not told, and takes no notice.
    let mut bench = Bench::new(Some(helper()), offer);
    assert_eq!(bench.cut(), (V4.into(), vec![]));
    // Long-lived alone counts for nothing (RFC 9494 section 4.5): here the peer's OPEN has neither.
    let graceful = GracefulRestart::default();
    let mut bench = Bench::new(Some(long_lived(600)), Offer { graceful, long_lived: None });
    assert_eq!(bench.cut(), (FamilySet::EMPTY, vec![]));
}

#[test]
fn a_refresh_that_begins_before_end_of_rib_is_ignored() {
    let begin = Message::RouteRefresh(RouteRefresh::new(V4, RouteRefresh::BEGIN));
    for (helper, expected) in [(Some(GracefulHelper::default()), 0), (None, 1)] {
        let mut bench = Bench::new(helper, OFFER);
        let begins = |bench: &mut Bench| stale(&bench.receive(&begin)).len();
        assert_eq!(begins(&mut bench), expected, "{helper:?}");
        bench.end_of_rib(V4);
        assert_eq!(begins(&mut bench), 1, "{helper:?}");
    }
}

#[test]
fn a_refresh_ends_with_the_session() {
    let mut bench = Bench::new(Some(GracefulHelper::default()), OFFER);
    bench.end_of_rib(V4);
    let begin = Message::RouteRefresh(RouteRefresh::new(V4, RouteRefresh::BEGIN));
    assert_eq!(stale(&bench.receive(&begin)), [StaleRoutes::Mark(V4)]);
    assert_eq!(bench.phase(V4).map(|(phase, _)| phase), Some(StalePhase::Refreshing));
    assert_eq!(bench.cut(), (FamilySet::ALL, vec![]));
    assert_eq!(bench.phase(V4).map(|(phase, _)| phase), Some(StalePhase::Restarting));
    bench.connect();
    let end = Message::RouteRefresh(RouteRefresh::new(V4, RouteRefresh::END));
    assert_eq!(stale(&bench.receive(&end)), [], "that of the session before");
    assert_eq!(bench.end_of_rib(V4), [StaleRoutes::Drop(V4)]);
}

/// What BFD says of the peer ends the session; what is kept, and how the peer is told.
fn bfd_down(graceful: bool, notification: bool) -> (FamilySet, Option<Notification>) {
    let graceful_offer = GracefulRestart { notification, ..OFFER.graceful };
    let offer = Offer { graceful: graceful_offer, ..OFFER };
    let mut bench = Bench::new(Some(GracefulHelper::default()), offer);
    drain(&mut bench.session);
    let conn = bench.conn.expect("a session");
    let why = "control detection time expired".to_owned();
    bench.session.stop(bench.now, &StopReason::BfdDown { graceful, why });
    let outputs = drain(&mut bench.session);
    let told = outputs.iter().find_map(|output| match output {
        Output::Send(on, bytes) if *on == conn => {
            match decode(bytes, &DecodeContext::default()).expect("a message of ours") {
                Message::Notification(notification) => Some(notification.clone()),
                _ => None,
            }
        }
        _ => None,
    });
    assert!(outputs.iter().any(|output| matches!(output, Output::Close(closed) if *closed == conn)));
    let kept = outputs.iter().find_map(|output| match output {
        Output::Down(reason, kept) => {
            assert!(reason.to_string().contains("BFD Down"), "{reason}");
            Some(*kept)
        }
        _ => None,
    });
    // It comes back by itself.
    assert!(bench.session.poll_timeout().is_some());
    (kept.expect("the session is down"), told)
}

#[test]
fn what_bfd_has_lost_is_void_unless_the_configuration_says_that_it_is_graceful() {
    let plain = Notification::cease(10);
    assert_eq!(bfd_down(false, false), (FamilySet::EMPTY, Some(plain.clone())));
    assert_eq!(bfd_down(false, true), (FamilySet::EMPTY, Some(plain.clone().into_hard_reset())));
    // Without RFC 8538 a NOTIFICATION would be the end of the routes at the other side.
    assert_eq!(bfd_down(true, false), (FamilySet::ALL, None));
    assert_eq!(bfd_down(true, true), (FamilySet::ALL, Some(plain)));
}

#[test]
fn forwarding_that_is_lost_while_the_peer_restarts_is_the_end_of_what_is_kept() {
    let mut bench = Bench::new(Some(GracefulHelper::default()), OFFER);
    assert_eq!(bench.cut().0, FamilySet::ALL);
    bench.session.forwarding_lost();
    let dropped = stale(&drain(&mut bench.session));
    assert_eq!(dropped, [StaleRoutes::Drop(V4), StaleRoutes::Drop(V6)]);
    assert_eq!(bench.session.stale(V4), None);
}
