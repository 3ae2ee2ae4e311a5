//! One session in asynchronous mode (RFC 5880 section 6.8), without sockets or clocks.
//!
//! ```text
//!            Down, AdminDown                  Up, AdminDown, timeout
//!         +--------------------+           +--------------------------+
//!         |      Init, Up      v   Down    v                          |
//!         |    +------------- Down ------------> Init                 |
//!         |    v                ^                 |                   |
//!         +-- Up <--------------|-----------------+ Init, Up          |
//!              |   Init, Up     +--------------------------------- (from Init)
//!              +-- timeout, Down, AdminDown --> Down
//! ```
//!
//! It guarantees that
//!
//! - while it is not Up, packets go out once a second at most, jitter aside (section 6.8.3);
//! - a change of our intervals is told by a Poll Sequence, and whatever would break the neighbour's expectations, a
//!   slower rate or a shorter detection time, waits for the neighbour's Final (section 6.8.3);
//! - the detection time comes from the neighbour's multiplier and the slower of its rate and ours (section 6.8.4);
//! - a change of state is told at once, as is the answer to a Poll (section 6.8.7).

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::wire::{Diagnostic, Packet, State};
use crate::session::jitter::Jitter;

/// Least interval between packets while the session is not Up (RFC 5880 section 6.8.3).
const SLOW: Duration = Duration::from_secs(1);

/// What is configured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Parameters {
    /// Least interval at which we send (`bfd.DesiredMinTxInterval` while Up).
    pub min_tx: Duration,
    /// Least interval at which we receive (`bfd.RequiredMinRxInterval`).
    pub min_rx: Duration,
    /// Packets of ours that the neighbour may miss in a row (`bfd.DetectMult`); at least 1.
    pub detect_mult: u8,
}

/// The session has another state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Change {
    /// When.
    pub at: Instant,
    /// Before.
    pub from: State,
    /// After.
    pub to: State,
    /// Why.
    pub diagnostic: Diagnostic,
    /// The state that the neighbour was last heard to be in.
    pub remote: State,
    /// The neighbour's BFD goes on when its control plane restarts (the C bit), as last heard.
    pub remote_independent: bool,
}

impl Change {
    /// Whether the path to the neighbour, which was there, has failed. A neighbour that an operator has taken down
    /// says nothing of the path (RFC 5882 section 3.2), nor does one that we are told to take down ourselves.
    pub fn is_failure(&self) -> bool {
        self.from == State::Up && self.to == State::Down && !self.by_operator_there()
    }

    /// Whether an operator of the neighbour has ended the session.
    pub fn by_operator_there(&self) -> bool {
        self.diagnostic == Diagnostic::NEIGHBOR_SIGNALED_DOWN && self.remote == State::AdminDown
    }
}

/// What the neighbour's last packet said.
#[derive(Clone, Copy, Debug)]
struct Remote {
    state: State,
    /// 0: not heard of for a detection time.
    discriminator: u32,
    diagnostic: Diagnostic,
    min_rx: Duration,
    desired_min_tx: Duration,
    detect_mult: u8,
    demand: bool,
    independent: bool,
    heard: Option<Instant>,
}

impl Remote {
    /// Nothing is known (RFC 5880 section 6.8.1).
    const UNKNOWN: Self = Self {
        state: State::Down,
        discriminator: 0,
        diagnostic: Diagnostic::NONE,
        min_rx: Duration::from_micros(1),
        desired_min_tx: Duration::ZERO,
        detect_mult: 0,
        demand: false,
        independent: false,
        heard: None,
    };
}

/// A Poll Sequence (RFC 5880 section 6.5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Poll {
    Idle,
    Active,
    /// What was changed has changed again: the next Final may answer to the first change.
    Again,
}

/// One session. See the [module](super) for how to drive it.
#[derive(Debug)]
pub struct Session {
    discriminator: u32,
    configured: Parameters,
    state: State,
    since: Instant,
    diagnostic: Diagnostic,
    last_down: Option<(Instant, Diagnostic)>,
    remote: Remote,
    /// What our packets say: `bfd.DesiredMinTxInterval` and `bfd.RequiredMinRxInterval`.
    desired_min_tx: Duration,
    required_min_rx: Duration,
    /// What is gone by until a Poll Sequence ends.
    tx_in_force: Duration,
    rx_in_force: Duration,
    poll: Poll,
    jitter: Jitter,
    /// Interval that the next packet was scheduled by, before jitter.
    interval: Duration,
    last_sent: Option<Instant>,
    next_send: Instant,
    send_now: bool,
    answer_poll: bool,
    changes: VecDeque<Change>,
    received: u64,
    sent: u64,
    failures: u64,
}

/// A session as it is to be shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Snapshot {
    /// Our state.
    pub state: State,
    /// When it was entered.
    pub since: Instant,
    /// Why it was entered.
    pub diagnostic: Diagnostic,
    /// When and why the session was last Up and went down.
    pub last_down: Option<(Instant, Diagnostic)>,
    /// The neighbour's state.
    pub remote_state: State,
    /// Its diagnostic.
    pub remote_diagnostic: Diagnostic,
    /// Our number of the session.
    pub discriminator: u32,
    /// The neighbour's; 0: not known.
    pub remote_discriminator: u32,
    /// Interval of our packets, before jitter.
    pub tx_interval: Duration,
    /// Interval at which the neighbour sends at least; `None`: it is not heard.
    pub rx_interval: Option<Duration>,
    /// How long it may be silent; `None`: it is not heard.
    pub detection_time: Option<Duration>,
    /// Its detection multiplier; 0: not known.
    pub remote_detect_mult: u8,
    /// A Poll Sequence of ours goes on.
    pub polling: bool,
    /// The neighbour wants no packets while both are up.
    pub remote_demand: bool,
    /// The neighbour's BFD goes on when its control plane restarts.
    pub remote_independent: bool,
    /// Packets taken.
    pub received: u64,
    /// Packets made.
    pub sent: u64,
    /// How often the session was Up and went down.
    pub failures: u64,
}

impl Session {
    /// A session in Down that sends at once; or in `AdminDown`. The discriminator, our number of the session, must be
    /// unique and not 0, and should be hard to guess (RFC 5880 section 6.8.1).
    pub fn new(
        now: Instant,
        discriminator: u32,
        configured: Parameters,
        admin_down: bool,
        seed: u64,
    ) -> Self {
        let slow = configured.min_tx.max(SLOW);
        Self {
            discriminator,
            configured,
            state: if admin_down { State::AdminDown } else { State::Down },
            since: now,
            diagnostic: if admin_down { Diagnostic::ADMINISTRATIVELY_DOWN } else { Diagnostic::NONE },
            last_down: None,
            remote: Remote::UNKNOWN,
            desired_min_tx: slow,
            required_min_rx: configured.min_rx,
            tx_in_force: slow,
            rx_in_force: configured.min_rx,
            poll: Poll::Idle,
            jitter: Jitter::new(seed),
            interval: slow,
            last_sent: None,
            next_send: now,
            send_now: false,
            answer_poll: false,
            changes: VecDeque::new(),
            received: 0,
            sent: 0,
            failures: 0,
        }
    }

    /// A packet of the neighbour arrived that names this session, or names none while it comes from its address (RFC
    /// 5880 section 6.8.6).
    pub fn handle_packet(&mut self, now: Instant, packet: &Packet) {
        self.received += 1;
        self.remote = Remote {
            state: packet.state,
            discriminator: packet.my_discriminator,
            diagnostic: packet.diagnostic,
            min_rx: packet.required_min_rx,
            desired_min_tx: packet.desired_min_tx,
            detect_mult: packet.detect_mult,
            demand: packet.demand,
            independent: packet.control_plane_independent,
            heard: Some(now),
        };
        if packet.final_ {
            self.poll_ended();
        }
        self.reschedule(now);
        match (self.state, packet.state) {
            (State::AdminDown, _) => return,
            (State::Init | State::Up, State::AdminDown) | (State::Up, State::Down) => {
                self.enter(now, State::Down, Diagnostic::NEIGHBOR_SIGNALED_DOWN);
            }
            (State::Down, State::Down) => self.enter(now, State::Init, Diagnostic::NONE),
            (State::Down, State::Init) | (State::Init, State::Init | State::Up) => {
                self.enter(now, State::Up, Diagnostic::NONE);
            }
            (State::Down, State::AdminDown | State::Up)
            | (State::Init, State::Down)
            | (State::Up, State::Init | State::Up) => {}
        }
        self.answer_poll |= packet.poll;
    }

    /// Serves what is due.
    pub fn handle_timeout(&mut self, now: Instant) {
        if self.detection_ends().is_some_and(|at| at <= now) {
            let remote = self.remote;
            if matches!(self.state, State::Init | State::Up) {
                self.enter(now, State::Down, Diagnostic::DETECTION_TIME_EXPIRED);
            }
            // Who is not heard for that long is a stranger again (RFC 5880 section 6.8.1).
            self.remote = Remote { diagnostic: remote.diagnostic, ..Remote::UNKNOWN };
            self.poll_ended();
            self.poll = Poll::Idle;
            self.reschedule(now);
        }
        if self.sends_periodically() && self.next_send <= now {
            self.send_now = true;
        }
    }

    /// When to call [`Session::handle_timeout`]; changes with every other call.
    pub fn poll_timeout(&self) -> Option<Instant> {
        let send = self.sends_periodically().then_some(self.next_send);
        [send, self.detection_ends()].into_iter().flatten().min()
    }

    /// The next packet to be sent, now.
    pub fn poll_transmit(&mut self, now: Instant) -> Option<Packet> {
        let final_ = std::mem::take(&mut self.answer_poll);
        if !final_ && !std::mem::take(&mut self.send_now) {
            return None;
        }
        self.sent += 1;
        if !final_ {
            self.last_sent = Some(now);
            self.schedule(now);
        }
        Some(Packet {
            diagnostic: self.diagnostic,
            state: self.state,
            // Never both (section 6.8.7): the Poll goes out with the next one.
            poll: self.poll != Poll::Idle && !final_,
            final_,
            control_plane_independent: false,
            demand: false,
            detect_mult: self.configured.detect_mult,
            my_discriminator: self.discriminator,
            your_discriminator: self.remote.discriminator,
            desired_min_tx: self.desired_min_tx,
            required_min_rx: self.required_min_rx,
            required_min_echo_rx: Duration::ZERO,
        })
    }

    /// The next change of state that was not told yet.
    pub fn poll_change(&mut self) -> Option<Change> {
        self.changes.pop_front()
    }

    /// Goes on with other parameters. A session that is Up stays so: the neighbour is told by a Poll Sequence.
    pub fn configure(&mut self, now: Instant, configured: Parameters) {
        let told = configured.detect_mult != self.configured.detect_mult;
        self.configured = configured;
        self.adopt();
        self.reschedule(now);
        self.send_now |= told && self.sends_periodically();
    }

    /// Holds the session down, which the neighbour is told; or lets it up (RFC 5880 section 6.8.16).
    pub fn set_admin_down(&mut self, now: Instant, down: bool) {
        match (down, self.state) {
            (true, State::AdminDown) => {}
            (true, _) => self.enter(now, State::AdminDown, Diagnostic::ADMINISTRATIVELY_DOWN),
            (false, State::AdminDown) => self.enter(now, State::Down, Diagnostic::NONE),
            (false, _) => {}
        }
    }

    /// The state.
    pub fn state(&self) -> State {
        self.state
    }

    /// Our number of the session.
    pub fn discriminator(&self) -> u32 {
        self.discriminator
    }

    /// For how long the neighbour expects us without hearing us, as far as we can know.
    pub fn remote_detection_time(&self) -> Duration {
        self.desired_min_tx.max(self.remote.min_rx) * u32::from(self.configured.detect_mult)
    }

    /// Everything that is worth showing.
    pub fn snapshot(&self) -> Snapshot {
        let heard = self.remote.heard.is_some();
        Snapshot {
            state: self.state,
            since: self.since,
            diagnostic: self.diagnostic,
            last_down: self.last_down,
            remote_state: self.remote.state,
            remote_diagnostic: self.remote.diagnostic,
            discriminator: self.discriminator,
            remote_discriminator: self.remote.discriminator,
            tx_interval: self.tx_interval(),
            rx_interval: heard.then(|| self.rx_interval()),
            detection_time: heard.then(|| self.detection_time()),
            remote_detect_mult: self.remote.detect_mult,
            polling: self.poll != Poll::Idle,
            remote_demand: self.remote.demand,
            remote_independent: self.remote.independent,
            received: self.received,
            sent: self.sent,
            failures: self.failures,
        }
    }

    fn enter(&mut self, now: Instant, state: State, diagnostic: Diagnostic) {
        let from = std::mem::replace(&mut self.state, state);
        self.since = now;
        self.diagnostic = diagnostic;
        if from == State::Up {
            self.failures += 1;
            self.last_down = Some((now, diagnostic));
        }
        self.changes.push_back(Change {
            at: now,
            from,
            to: state,
            diagnostic,
            remote: self.remote.state,
            remote_independent: self.remote.independent,
        });
        self.adopt();
        self.reschedule(now);
        self.send_now |= self.sends_periodically();
    }

    /// Says what is configured from now on, as far as the state lets it.
    fn adopt(&mut self) {
        let is_up = self.state == State::Up;
        let least = if is_up { Duration::ZERO } else { SLOW };
        let told = (self.configured.min_tx.max(least), self.configured.min_rx);
        let changed = told != (self.desired_min_tx, self.required_min_rx);
        (self.desired_min_tx, self.required_min_rx) = told;
        if is_up {
            self.tx_in_force = self.tx_in_force.min(self.desired_min_tx);
            self.rx_in_force = self.rx_in_force.max(self.required_min_rx);
        } else {
            (self.tx_in_force, self.rx_in_force) = told;
        }
        if changed && self.remote.discriminator != 0 {
            self.poll = if self.poll == Poll::Idle { Poll::Active } else { Poll::Again };
            self.send_now |= self.sends_periodically();
        }
    }

    fn poll_ended(&mut self) {
        self.poll = match self.poll {
            Poll::Again => Poll::Active,
            Poll::Active | Poll::Idle => {
                (self.tx_in_force, self.rx_in_force) = (self.desired_min_tx, self.required_min_rx);
                Poll::Idle
            }
        };
    }

    /// Whether packets go out by themselves (RFC 5880 section 6.8.7).
    fn sends_periodically(&self) -> bool {
        let demanded = self.remote.demand && self.state == State::Up && self.remote.state == State::Up;
        !self.remote.min_rx.is_zero() && (!demanded || self.poll != Poll::Idle)
    }

    fn tx_interval(&self) -> Duration {
        self.tx_in_force.max(self.remote.min_rx)
    }

    fn rx_interval(&self) -> Duration {
        self.rx_in_force.max(self.remote.desired_min_tx)
    }

    fn detection_time(&self) -> Duration {
        self.rx_interval() * u32::from(self.remote.detect_mult)
    }

    fn detection_ends(&self) -> Option<Instant> {
        // A neighbour may say so much that no clock can count it: then it is never overdue.
        self.remote.heard.and_then(|at| at.checked_add(self.detection_time()))
    }

    /// Plans the next packet anew if the interval is another one than it was planned by.
    fn reschedule(&mut self, now: Instant) {
        if self.tx_interval() != self.interval {
            self.schedule(self.last_sent.unwrap_or(now));
            self.next_send = self.next_send.max(now);
        }
    }

    fn schedule(&mut self, from: Instant) {
        self.interval = self.tx_interval();
        // A quarter less at most, and with a multiplier of 1 a tenth less at least (RFC 5880 section 6.8.7).
        let most = if self.configured.detect_mult == 1 { self.interval * 9 / 10 } else { self.interval };
        self.next_send = from + self.jitter.between(self.interval * 3 / 4, most);
    }
}
