//! BFD from outside: packets as any octets, and two sessions that speak with each other under a virtual clock.

use std::time::{Duration, Instant};

use bgp::bfd::{Change, Diagnostic, Packet, Parameters, Session, State, Unusable};
use proptest::prelude::*;

const MS: Duration = Duration::from_millis(1);
const SEC: Duration = Duration::from_secs(1);

fn fast(interval: u32, detect_mult: u8) -> Parameters {
    Parameters { min_tx: interval * MS, min_rx: interval * MS, detect_mult }
}

/// Two sessions and the wire between them.
struct Pair {
    now: Instant,
    sessions: [Session; 2],
    /// Packets under way, with the end that they go to.
    wire: Vec<(Instant, usize, Packet)>,
    delay: Duration,
    /// Whether what goes to this end is lost.
    lost: [bool; 2],
    /// What was sent to this end, and when.
    seen: [Vec<(Instant, Packet)>; 2],
    changes: [Vec<Change>; 2],
    /// The end that does nothing at all.
    asleep: Option<usize>,
}

impl Pair {
    fn new(parameters: [Parameters; 2]) -> Self {
        let now = Instant::now();
        let [left, right] = parameters;
        Self {
            now,
            sessions: [Session::new(now, 0x1111, left, false, 1), Session::new(now, 0x2222, right, false, 2)],
            wire: Vec::new(),
            delay: MS / 5,
            lost: [false; 2],
            seen: Default::default(),
            changes: Default::default(),
            asleep: None,
        }
    }

    fn up(parameters: [Parameters; 2]) -> Self {
        let mut pair = Self::new(parameters);
        pair.run(10 * SEC);
        assert_eq!(pair.states(), [State::Up; 2]);
        pair
    }

    fn states(&self) -> [State; 2] {
        [self.sessions[0].state(), self.sessions[1].state()]
    }

    fn collect(&mut self) {
        for end in 0..2 {
            while let Some(packet) = self.sessions[end].poll_transmit(self.now) {
                assert!(!(packet.poll && packet.final_), "both Poll and Final");
                self.seen[1 - end].push((self.now, packet));
                if !self.lost[1 - end] {
                    self.wire.push((self.now + self.delay, 1 - end, packet));
                }
            }
            while let Some(change) = self.sessions[end].poll_change() {
                self.changes[end].push(change);
            }
        }
    }

    /// Goes on for this long.
    fn run(&mut self, time: Duration) {
        let end_at = self.now + time;
        loop {
            self.collect();
            let timers = (0..2).filter(|end| self.asleep != Some(*end));
            let timers = timers.filter_map(|end| self.sessions[end].poll_timeout());
            let Some(next) = timers.chain(self.wire.iter().map(|(at, ..)| *at)).min() else { break };
            if next > end_at {
                break;
            }
            self.now = self.now.max(next);
            let (due, later) = self.wire.drain(..).partition(|(at, ..)| *at <= self.now);
            self.wire = later;
            for (_, end, packet) in due {
                // What goes over the wire is octets.
                let packet = Packet::decode(&packet.encode()).expect("a packet of ours");
                if self.asleep != Some(end) {
                    self.sessions[end].handle_packet(self.now, &packet);
                }
            }
            for end in 0..2 {
                if self.asleep != Some(end) {
                    self.sessions[end].handle_timeout(self.now);
                }
            }
        }
        self.now = end_at;
    }

    /// Times between the packets to an end from here on, after `time`.
    fn gaps(&mut self, end: usize, time: Duration) -> Vec<Duration> {
        self.seen[end].clear();
        self.run(time);
        self.seen[end].windows(2).map(|pair| pair[1].0 - pair[0].0).collect()
    }

    fn downs(&self, end: usize) -> Vec<Diagnostic> {
        let downs = self.changes[end].iter().filter(|change| change.is_failure());
        downs.map(|change| change.diagnostic).collect()
    }
}

fn assert_between(gaps: &[Duration], least: Duration, most: Duration) {
    assert!(!gaps.is_empty());
    for gap in gaps {
        assert!((least..=most).contains(gap), "{gap:?} is not within {least:?} to {most:?}");
    }
}

#[test]
fn a_session_comes_up_by_three_packets_and_speeds_up() {
    let mut pair = Pair::new([fast(50, 3), fast(50, 3)]);
    pair.run(2 * MS);
    assert_eq!(pair.states(), [State::Up; 2]);
    let states: Vec<State> = pair.changes[0].iter().map(|change| change.to).collect();
    assert_eq!(states, [State::Init, State::Up]);
    pair.run(SEC);
    for session in &pair.sessions {
        let shown = session.snapshot();
        assert_eq!(shown.tx_interval, 50 * MS);
        assert_eq!(shown.detection_time, Some(150 * MS));
        assert!(!shown.polling);
    }
    // And stays so.
    let gaps = pair.gaps(0, 60 * SEC);
    assert_between(&gaps, 75 * MS / 2, 50 * MS);
    assert!(gaps.iter().any(|gap| *gap < 40 * MS) && gaps.iter().any(|gap| *gap > 47 * MS), "no jitter");
    assert_eq!(pair.states(), [State::Up; 2]);
}

#[test]
fn with_a_multiplier_of_one_packets_come_a_tenth_early_at_least() {
    let mut pair = Pair::up([fast(50, 1), fast(50, 1)]);
    let gaps = pair.gaps(0, 20 * SEC);
    assert_between(&gaps, 75 * MS / 2, 45 * MS);
    assert!(pair.downs(0).is_empty() && pair.downs(1).is_empty());
}

#[test]
fn who_is_not_heard_is_told_of_us_once_a_second() {
    let mut pair = Pair::new([fast(10, 3), fast(10, 3)]);
    pair.lost = [true; 2];
    let gaps = pair.gaps(0, 60 * SEC);
    assert_between(&gaps, 750 * MS, SEC);
    assert!(pair.seen[0].iter().all(|(_, packet)| packet.desired_min_tx >= SEC));
}

#[test]
fn the_slower_of_both_sides_decides_in_each_direction() {
    let left = Parameters { min_tx: 20 * MS, min_rx: 200 * MS, detect_mult: 3 };
    let right = Parameters { min_tx: 50 * MS, min_rx: 100 * MS, detect_mult: 5 };
    let pair = Pair::up([left, right]);
    let shown = pair.sessions[0].snapshot();
    // Ours: 20 wanted, 100 taken. Theirs: 50 wanted, 200 taken, five may be lost.
    assert_eq!(shown.tx_interval, 100 * MS);
    assert_eq!((shown.rx_interval, shown.detection_time), (Some(200 * MS), Some(SEC)));
    assert_eq!(pair.sessions[1].snapshot().detection_time, Some(300 * MS));
}

#[test]
fn silence_is_noticed_after_the_detection_time_and_not_before() {
    let mut pair = Pair::up([fast(50, 3), fast(50, 3)]);
    pair.lost = [true, false];
    pair.asleep = Some(1);
    // What was under way arrives still.
    pair.run(MS);
    let heard = pair.seen[0].last().unwrap().0 + pair.delay;
    pair.run(SEC);
    let change = *pair.changes[0].last().unwrap();
    assert_eq!(change.to, State::Down);
    assert_eq!(change.at - heard, 150 * MS);
    assert_eq!(pair.downs(0), [Diagnostic::DETECTION_TIME_EXPIRED]);
    // The neighbour is a stranger again.
    let shown = pair.sessions[0].snapshot();
    assert_eq!((shown.remote_discriminator, shown.detection_time), (0, None));
}

#[test]
fn a_link_that_fails_in_one_direction_takes_both_sides_down_and_comes_back() {
    let mut pair = Pair::up([fast(50, 3), fast(50, 3)]);
    pair.lost = [true, false];
    pair.run(160 * MS);
    assert_eq!(pair.states()[0], State::Down);
    assert_eq!(pair.downs(1), [Diagnostic::NEIGHBOR_SIGNALED_DOWN]);
    pair.run(20 * SEC);
    assert_ne!(pair.states()[1], State::Up);
    pair.lost = [false; 2];
    pair.run(3 * SEC);
    assert_eq!(pair.states(), [State::Up; 2]);
    assert_eq!((pair.downs(0).len(), pair.downs(1).len()), (1, 1));
}

#[test]
fn a_neighbor_that_starts_anew_is_noticed_and_found_again() {
    let mut pair = Pair::up([fast(50, 3), fast(50, 3)]);
    pair.sessions[1] = Session::new(pair.now, 0x3333, fast(50, 3), false, 9);
    pair.run(3 * SEC);
    assert_eq!(pair.states(), [State::Up; 2]);
    assert_eq!(pair.downs(0), [Diagnostic::NEIGHBOR_SIGNALED_DOWN]);
    assert_eq!(pair.sessions[0].snapshot().remote_discriminator, 0x3333);
}

#[test]
fn an_operators_end_is_told_and_is_no_failure() {
    let mut pair = Pair::up([fast(50, 3), fast(50, 3)]);
    let now = pair.now;
    pair.sessions[1].set_admin_down(now, true);
    pair.run(MS);
    let change = *pair.changes[0].last().unwrap();
    assert_eq!((change.to, change.by_operator_there(), change.is_failure()), (State::Down, true, false));
    let told = pair.seen[0].last().unwrap().1;
    assert_eq!((told.state, told.diagnostic), (State::AdminDown, Diagnostic::ADMINISTRATIVELY_DOWN));
    let ours = *pair.changes[1].last().unwrap();
    assert_eq!((ours.to, ours.is_failure()), (State::AdminDown, false));
    pair.run(10 * SEC);
    assert_eq!(pair.states(), [State::Down, State::AdminDown]);
    let now = pair.now;
    pair.sessions[1].set_admin_down(now, false);
    pair.run(2 * SEC);
    assert_eq!(pair.states(), [State::Up; 2]);
}

#[test]
fn other_intervals_are_agreed_on_without_a_failure_whichever_way_they_change() {
    let mut pair = Pair::up([fast(50, 3), fast(50, 3)]);
    for interval in [500, 10, 300, 50, 1000, 20] {
        let now = pair.now;
        pair.sessions[0].configure(now, fast(interval, 3));
        pair.run(7 * MS);
        // Again before the neighbour can have answered, on top.
        let now = pair.now;
        pair.sessions[0].configure(now, fast(interval, 4));
        pair.run(10 * SEC);
        let shown = pair.sessions[0].snapshot();
        assert_eq!((shown.tx_interval, shown.polling), (interval.max(50) * MS, false));
        assert_eq!(shown.detection_time, Some(3 * interval.max(50) * MS));
        assert_eq!(pair.sessions[1].snapshot().detection_time, Some(4 * interval.max(50) * MS));
    }
    assert!(pair.downs(0).is_empty() && pair.downs(1).is_empty());
}

#[test]
fn a_slower_rate_waits_for_the_final() {
    let mut pair = Pair::up([fast(50, 3), fast(50, 3)]);
    // The neighbour's answers are lost, ours are not: it must not miss us meanwhile.
    pair.delay = 40 * MS;
    pair.run(SEC);
    let now = pair.now;
    pair.sessions[0].configure(now, fast(1000, 3));
    pair.seen[1].clear();
    pair.run(60 * MS);
    let polls: Vec<_> = pair.seen[1].iter().filter(|(_, packet)| packet.poll).collect();
    assert!(polls.len() >= 2, "the Poll is repeated at the old rate until it is answered");
    assert!(polls.iter().all(|(_, packet)| packet.desired_min_tx == SEC));
    assert_eq!(pair.sessions[0].snapshot().tx_interval, 50 * MS);
    pair.run(5 * SEC);
    assert_eq!(pair.sessions[0].snapshot().tx_interval, SEC);
    assert!(pair.downs(0).is_empty() && pair.downs(1).is_empty());
}

#[test]
fn a_final_that_may_answer_to_an_earlier_change_does_not_end_a_later_one() {
    let mut pair = Pair::up([fast(50, 3), fast(50, 3)]);
    pair.asleep = Some(1);
    let now = pair.now;
    pair.sessions[0].configure(now, fast(100, 3));
    pair.sessions[0].configure(now, fast(1000, 3));
    let packet = Packet { final_: true, ..from_neighbor(&pair.sessions[0]) };
    for (interval, polling) in [(50 * MS, true), (SEC, false)] {
        pair.sessions[0].handle_packet(now, &packet);
        let shown = pair.sessions[0].snapshot();
        assert_eq!((shown.tx_interval, shown.polling), (interval, polling));
    }
}

#[test]
fn another_multiplier_is_told_at_once() {
    let mut pair = Pair::up([fast(1000, 3), fast(1000, 3)]);
    let now = pair.now;
    pair.sessions[0].configure(now, fast(1000, 7));
    pair.seen[1].clear();
    pair.run(MS);
    let told: Vec<_> = pair.seen[1].iter().map(|(_, packet)| (packet.detect_mult, packet.poll)).collect();
    assert_eq!(told, [(7, false)]);
    assert_eq!(pair.sessions[1].snapshot().detection_time, Some(7 * SEC));
}

#[test]
fn a_shorter_detection_time_waits_for_the_final() {
    let slow_to_take = Parameters { min_tx: 50 * MS, min_rx: 500 * MS, detect_mult: 3 };
    let mut pair = Pair::up([slow_to_take, fast(50, 3)]);
    assert_eq!(pair.sessions[0].snapshot().detection_time, Some(1500 * MS));
    pair.lost = [true, false];
    let now = pair.now;
    pair.sessions[0].configure(now, fast(50, 3));
    pair.run(100 * MS);
    assert_eq!(pair.sessions[0].snapshot().detection_time, Some(1500 * MS), "not agreed on yet");
    pair.lost = [false; 2];
    pair.run(2 * SEC);
    assert_eq!(pair.sessions[0].snapshot().detection_time, Some(150 * MS));
    assert!(pair.downs(0).is_empty() && pair.downs(1).is_empty());
}

/// What a neighbour that is up sends to the first session of a pair.
fn from_neighbor(session: &Session) -> Packet {
    Packet {
        diagnostic: Diagnostic::NONE,
        state: State::Up,
        poll: false,
        final_: false,
        control_plane_independent: false,
        demand: false,
        detect_mult: 3,
        my_discriminator: 0x2222,
        your_discriminator: session.discriminator(),
        desired_min_tx: 50 * MS,
        required_min_rx: 50 * MS,
        required_min_echo_rx: Duration::ZERO,
    }
}

#[test]
fn a_neighbor_in_demand_mode_is_left_alone_but_for_polls_and_their_answers() {
    let mut pair = Pair::up([fast(50, 3), fast(50, 3)]);
    pair.asleep = Some(1);
    let mut packet = Packet { demand: true, ..from_neighbor(&pair.sessions[0]) };
    let hear = |pair: &mut Pair, packet: &Packet| {
        let now = pair.now;
        pair.sessions[0].handle_packet(now, packet);
        pair.seen[1].clear();
        pair.run(40 * MS);
        pair.seen[1].iter().map(|(_, packet)| (packet.poll, packet.final_)).collect::<Vec<_>>()
    };
    assert_eq!(hear(&mut pair, &packet), []);
    assert_eq!(hear(&mut pair, &packet), []);
    packet.poll = true;
    assert_eq!(hear(&mut pair, &packet), [(false, true)]);
    packet.poll = false;
    let now = pair.now;
    pair.sessions[0].configure(now, fast(60, 3));
    let sent = hear(&mut pair, &packet);
    assert!(!sent.is_empty() && sent.iter().all(|what| *what == (true, false)), "{sent:?}");
    packet.final_ = true;
    hear(&mut pair, &packet);
    packet.final_ = false;
    assert_eq!(hear(&mut pair, &packet), []);
    packet.demand = false;
    assert_ne!(hear(&mut pair, &packet), []);
    assert!(pair.downs(0).is_empty());
    // It must be heard all the same.
    pair.run(SEC);
    assert_eq!(pair.downs(0), [Diagnostic::DETECTION_TIME_EXPIRED]);
}

#[test]
fn who_wants_no_packets_gets_none() {
    let mut pair = Pair::up([fast(50, 3), fast(50, 3)]);
    pair.asleep = Some(1);
    let packet = Packet { required_min_rx: Duration::ZERO, ..from_neighbor(&pair.sessions[0]) };
    let now = pair.now;
    pair.sessions[0].handle_packet(now, &packet);
    pair.seen[1].clear();
    pair.run(100 * MS);
    assert_eq!(pair.seen[1].len(), 0);
    // Nobody knows what a neighbour wants that has gone.
    pair.run(2 * SEC);
    assert_ne!(pair.seen[1].len(), 0);
}

#[test]
fn a_poll_is_answered_at_once_and_once() {
    let mut pair = Pair::up([fast(1000, 3), fast(1000, 3)]);
    pair.asleep = Some(1);
    let packet = Packet { poll: true, ..from_neighbor(&pair.sessions[0]) };
    let now = pair.now;
    pair.sessions[0].handle_packet(now, &packet);
    pair.seen[1].clear();
    pair.run(Duration::ZERO);
    let finals = pair.seen[1].iter().filter(|(at, packet)| *at == now && packet.final_ && !packet.poll);
    assert_eq!(finals.count(), 1);
}

#[test]
fn a_driver_that_is_late_does_not_take_its_delay_for_silence() {
    let mut pair = Pair::up([fast(50, 3), fast(50, 3)]);
    let packet = from_neighbor(&pair.sessions[0]);
    pair.now += 400 * MS;
    let now = pair.now;
    // Read first, as the loop does.
    pair.sessions[0].handle_packet(now, &packet);
    pair.sessions[0].handle_timeout(now);
    assert_eq!(pair.sessions[0].state(), State::Up);
}

fn any_state() -> impl Strategy<Value = State> {
    prop_oneof![Just(State::AdminDown), Just(State::Down), Just(State::Init), Just(State::Up)]
}

prop_compose! {
    /// What a neighbour may say, sense or not.
    fn any_packet()(
        state in any_state(),
        bits in 0_u8..32,
        detect_mult in 1_u8..,
        my_discriminator in 1_u32..,
        your_discriminator in 1_u32..,
        times in any::<[u32; 3]>(),
    ) -> Packet {
        let [desired_min_tx, required_min_rx, required_min_echo_rx] =
            times.map(|micros| Duration::from_micros(micros.into()));
        Packet {
            diagnostic: Diagnostic::NONE,
            state,
            poll: bits & 1 != 0,
            final_: bits & 2 != 0,
            control_plane_independent: bits & 4 != 0,
            demand: bits & 8 != 0,
            detect_mult,
            my_discriminator,
            your_discriminator,
            desired_min_tx,
            required_min_rx,
            required_min_echo_rx,
        }
    }
}

proptest! {
    #[test]
    fn any_octets_are_read_or_refused(octets in proptest::collection::vec(any::<u8>(), 0..80)) {
        if let Ok(packet) = Packet::decode(&octets) {
            prop_assert_eq!(&packet.encode()[2..3], &octets[2..3]);
            prop_assert_eq!(&packet.encode()[4..], &octets[4..24]);
        }
    }

    #[test]
    fn a_packet_is_read_as_it_was_written(packet in any_packet()) {
        prop_assert_eq!(Packet::decode(&packet.encode()), Ok(packet));
    }

    #[test]
    fn whatever_a_neighbor_says_the_session_keeps_its_word(
        packets in proptest::collection::vec((any_packet(), 0_u64..400), 1..60),
        detect_mult in 1_u8..5,
    ) {
        let mut now = Instant::now();
        let mut session = Session::new(now, 7, fast(50, detect_mult), false, 3);
        let (mut last, mut was_fast) = (None, false);
        for (packet, pause) in packets {
            let end = now + Duration::from_millis(pause);
            session.handle_packet(now, &packet);
            loop {
                session.handle_timeout(now);
                while let Some(sent) = session.poll_transmit(now) {
                    prop_assert_eq!(sent.my_discriminator, 7);
                    prop_assert!(!(sent.poll && sent.final_));
                    prop_assert!(sent.state == State::Up || sent.desired_min_tx >= SEC);
                    // By itself, and not to tell a change: no sooner than agreed on.
                    if let (Some((at, state)), false) = (last, sent.final_) {
                        let slow = state == sent.state && sent.state != State::Up && !was_fast && !sent.poll;
                        prop_assert!(!slow || now - at >= 750 * MS, "{:?} after {:?}", sent, now - at);
                    }
                    was_fast = sent.poll;
                    if !sent.final_ {
                        last = Some((now, sent.state));
                    }
                }
                match session.poll_timeout() {
                    Some(at) if at <= end => {
                        prop_assert!(at > now || session.poll_timeout() != Some(now), "a timer that is never served");
                        now = now.max(at);
                    }
                    _ => break,
                }
            }
            now = end;
        }
    }
}

/// 24 octets of a session that is up: RFC 5880 section 4.1, written by hand.
const UP: [u8; 24] =
    [0x20, 0xc0, 3, 24, 0, 0, 0x22, 0x22, 0, 0, 0x11, 0x11, 0, 0, 0xc3, 0x50, 0, 0, 0xc3, 0x50, 0, 0, 0, 0];

#[test]
fn what_is_wrong_with_a_packet_is_said() {
    let changed = |index: usize, octet: u8| {
        let mut octets = UP;
        octets[index] = octet;
        Packet::decode(&octets).map(drop)
    };
    assert_eq!(changed(0, 0x20), Ok(()));
    assert_eq!(changed(0, 0x00), Err(Unusable::Version));
    assert_eq!(changed(0, 0x40), Err(Unusable::Version));
    assert_eq!(changed(1, 0xc1), Err(Unusable::Multipoint));
    assert_eq!(changed(2, 0), Err(Unusable::DetectMult));
    assert_eq!(changed(3, 23), Err(Unusable::Length));
    assert_eq!(changed(3, 25), Err(Unusable::TooShort), "longer than the datagram");
    assert_eq!(Packet::decode(&UP[..23]), Err(Unusable::TooShort));
    assert_eq!(Packet::decode(&[]), Err(Unusable::TooShort));
    // With the A bit, 26 octets at least.
    assert_eq!(changed(1, 0xc4), Err(Unusable::Length));
    let mut authenticated = [&UP[..], &[1, 8, 1, b's', b'e', b'c', b'r', b't']].concat();
    authenticated[1] |= 0x04;
    authenticated[3] = 32;
    assert_eq!(Packet::decode(&authenticated), Err(Unusable::Authentication));
    let without = |places: std::ops::Range<usize>, state: u8| {
        let mut octets = UP;
        octets[places].fill(0);
        octets[1] = state;
        Packet::decode(&octets).map(drop)
    };
    assert_eq!(without(4..8, 0xc0), Err(Unusable::MyDiscriminator));
    for (state, outcome) in [(0x00, true), (0x40, true), (0x80, false), (0xc0, false)] {
        let expected = if outcome { Ok(()) } else { Err(Unusable::YourDiscriminator) };
        assert_eq!(without(8..12, state), expected);
    }
    let packet = Packet::decode(&[&UP[..], &[9; 40]].concat()).unwrap();
    assert_eq!(packet.encode(), UP, "what follows the packet is ignored");
    assert_eq!((packet.desired_min_tx, packet.state), (50 * MS, State::Up));
}
