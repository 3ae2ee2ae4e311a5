//! Two sessions, an in-memory network between them, and a virtual clock.
//!
//! A TCP connection is a [`Pipe`] with one stream of events to each end, in order within a stream and
//! in any order between streams: each event has a time drawn by [`Delays`], or the test picks the next stream
//! itself ([`Net::deliver`]). The driver here is the loop from the head of `bgp::session`, and asserts what
//! the session promises to it.

use std::collections::{BTreeSet, VecDeque};
use std::time::{Duration, Instant};

use bgp::session::{ConnId, Output, Session, SessionConfig, State, StopReason};
use bgp::wire::{Message, decode, frame_len};
use bytes::Bytes;

/// How long an event takes.
pub(crate) enum Delays {
    Fixed(Duration),
    /// Uniform up to this, drawn with this seed.
    Random(Duration, u64),
}

impl Delays {
    fn draw(&mut self) -> Duration {
        match self {
            Self::Fixed(delay) => *delay,
            Self::Random(most, seed) => {
                *seed ^= *seed << 13;
                *seed ^= *seed >> 7;
                *seed ^= *seed << 17;
                *most * ((*seed % 1000) as u32) / 1000
            }
        }
    }
}

enum Event {
    Accept,
    Connected,
    Refused,
    Bytes(Bytes),
    End(&'static str),
}

/// One TCP connection.
struct Pipe {
    opener: usize,
    /// The session's id at each end; an end that closed keeps it.
    ends: [Option<ConnId>; 2],
    open: [bool; 2],
    /// Events under way to each end.
    streams: [VecDeque<(Instant, Event)>; 2],
}

pub(crate) struct Side {
    pub(crate) session: Session,
    pub(crate) listening: bool,
    /// Connections that the session has closed.
    closed: BTreeSet<ConnId>,
    /// Connections whose NOTIFICATION went out: only a Close may follow.
    notified: BTreeSet<ConnId>,
    pub(crate) ups: usize,
    pub(crate) downs: Vec<String>,
    pub(crate) states: Vec<State>,
}

impl Side {
    fn new(config: SessionConfig, now: Instant) -> Self {
        Self {
            session: Session::new(config, now),
            listening: true,
            closed: BTreeSet::new(),
            notified: BTreeSet::new(),
            ups: 0,
            downs: Vec::new(),
            states: vec![State::Idle],
        }
    }
}

pub(crate) struct Net {
    pub(crate) now: Instant,
    pub(crate) sides: [Side; 2],
    pipes: Vec<Pipe>,
    delays: Delays,
    /// Bytes vanish: the connections look alive and are not.
    pub(crate) blackhole: bool,
    /// What is under way to an end that closes is gone, without a reset of the connection.
    pub(crate) forgetful: bool,
}

impl Net {
    pub(crate) fn new(configs: [SessionConfig; 2], delays: Delays) -> Self {
        let now = Instant::now();
        let sides = configs.map(|config| Side::new(config, now));
        Self { now, sides, pipes: Vec::new(), delays, blackhole: false, forgetful: false }
    }

    pub(crate) fn start(&mut self, side: usize) {
        self.sides[side].session.start(self.now);
        self.drain(side);
    }

    pub(crate) fn start_both(&mut self) {
        self.start(0);
        self.start(1);
    }

    pub(crate) fn stop(&mut self, side: usize, reason: &StopReason) {
        self.sides[side].session.stop(self.now, reason);
        self.drain(side);
    }

    pub(crate) fn state(&self, side: usize) -> State {
        self.sides[side].session.state()
    }

    /// The pipe on which this side is Established.
    pub(crate) fn established(&self, side: usize) -> Option<usize> {
        let (conn, _) = self.sides[side].session.established()?;
        self.pipe_of(side, conn)
    }

    /// Who opened the pipe.
    pub(crate) fn opener(&self, pipe: usize) -> usize {
        self.pipes[pipe].opener
    }

    /// Streams on which something is under way: pipe and end.
    pub(crate) fn streams(&self) -> Vec<(usize, usize)> {
        let ends = (0..self.pipes.len()).flat_map(|pipe| [(pipe, 0), (pipe, 1)]);
        ends.filter(|(pipe, side)| !self.pipes[*pipe].streams[*side].is_empty()).collect()
    }

    /// Runs until nothing happens before `until`.
    pub(crate) fn run_until(&mut self, until: Instant) {
        loop {
            let heads = self
                .streams()
                .into_iter()
                .map(|(pipe, side)| (self.pipes[pipe].streams[side][0].0, pipe, side));
            let event = heads.min();
            let timer = (0..2).filter_map(|side| Some((self.sides[side].session.poll_timeout()?, side)));
            let timer = timer.min();
            // What has arrived is read before timers are served.
            match (event, timer) {
                (Some((at, pipe, side)), timer) if at <= until && timer.is_none_or(|(due, _)| at <= due) => {
                    self.now = self.now.max(at);
                    self.deliver(pipe, side);
                }
                (_, Some((due, side))) if due <= until => {
                    self.now = self.now.max(due);
                    self.sides[side].session.handle_timeout(self.now);
                    self.drain(side);
                    let next = self.sides[side].session.poll_timeout();
                    assert!(next.is_none_or(|next| next > self.now), "a timer that was served is due");
                }
                _ => break,
            }
        }
        self.now = until;
    }

    pub(crate) fn run_for(&mut self, span: Duration) {
        self.run_until(self.now + span);
    }

    /// Breaks a pipe: both ends see it, each in its time.
    pub(crate) fn cut(&mut self, pipe: usize) {
        for side in 0..2 {
            self.push(pipe, side, Event::End("connection reset by peer"));
        }
    }

    /// The process of one side dies; the kernel closes its connections. It comes back with a new session,
    /// neither listening nor started.
    pub(crate) fn kill(&mut self, side: usize) {
        self.cut_all();
        for pipe in &mut self.pipes {
            pipe.ends[side] = None;
            pipe.open[side] = false;
        }
        let config = self.sides[side].session.config().clone();
        self.sides[side] = Side::new(config, self.now);
        self.sides[side].listening = false;
    }

    /// Breaks every pipe that is open.
    pub(crate) fn cut_all(&mut self) {
        for pipe in 0..self.pipes.len() {
            if self.pipes[pipe].open == [true, true] {
                self.cut(pipe);
            }
        }
    }

    /// Delivers the first event of a stream.
    pub(crate) fn deliver(&mut self, pipe: usize, side: usize) {
        let Some((_, event)) = self.pipes[pipe].streams[side].pop_front() else { return };
        let now = self.now;
        if let Event::Accept = event {
            if self.sides[side].listening {
                let conn = self.sides[side].session.accept(now);
                self.pipes[pipe].ends[side] = Some(conn);
                self.drain(side);
            } else {
                self.pipes[pipe].streams[side].clear();
                self.pipes[pipe].open[side] = false;
                self.push(pipe, 1 - side, Event::End("connection reset by peer"));
            }
            return;
        }
        if let Event::Bytes(_) = event
            && !self.pipes[pipe].open[side]
            && !self.blackhole
        {
            self.push(pipe, 1 - side, Event::End("connection reset by peer"));
        }
        // None: the process that had the connection is gone, or never accepted it.
        let Some(conn) = self.pipes[pipe].ends[side] else { return };
        let session = &mut self.sides[side].session;
        match event {
            Event::Accept => {}
            Event::Connected => session.tcp_connected(now, conn),
            Event::Refused => session.tcp_failed(now, conn, "connection refused"),
            Event::Bytes(bytes) => {
                let context = session.decode_context(conn);
                let length = frame_len(&bytes, context.max_message()).expect("a good frame");
                assert_eq!(length, Some(bytes.len()), "one whole message in a Send");
                match decode(&bytes, &context) {
                    Ok(message) => session.handle_message(now, conn, &message),
                    Err(error) => session.handle_protocol_error(now, conn, &error),
                }
            }
            Event::End(why) => {
                session.tcp_closed(now, conn, why);
                self.pipes[pipe].open[side] = false;
                self.sides[side].closed.insert(conn);
            }
        }
        self.drain(side);
    }

    fn push(&mut self, pipe: usize, side: usize, event: Event) {
        if self.forgetful && !self.pipes[pipe].open[side] {
            return;
        }
        let at = self.now + self.delays.draw();
        let stream = &mut self.pipes[pipe].streams[side];
        let at = stream.back().map_or(at, |(last, _)| at.max(*last));
        stream.push_back((at, event));
    }

    fn pipe_of(&self, side: usize, conn: ConnId) -> Option<usize> {
        self.pipes.iter().position(|pipe| pipe.ends[side] == Some(conn))
    }

    fn drain(&mut self, side: usize) {
        // An accepted connection gets its id before its outputs are drained.
        while let Some(output) = self.sides[side].session.poll_output() {
            let state = &mut self.sides[side];
            if let Output::Connect(conn) | Output::Send(conn, _) | Output::Close(conn) = output {
                assert!(!state.closed.contains(&conn), "{conn} was closed: {output:?}");
            }
            match output {
                Output::Connect(conn) => self.connect(side, conn),
                Output::Send(conn, bytes) => {
                    assert!(!state.notified.contains(&conn), "{conn} goes on after a NOTIFICATION");
                    if let Message::Notification(_) = crate::messages::sent(&bytes) {
                        state.notified.insert(conn);
                    }
                    // Sockets have room.
                    state.session.wrote(self.now, conn);
                    let pipe = self.pipe_of(side, conn).expect("a pipe");
                    if !self.blackhole && self.pipes[pipe].open[side] {
                        self.push(pipe, 1 - side, Event::Bytes(bytes));
                    }
                }
                Output::Close(conn) => {
                    state.closed.insert(conn);
                    let pipe = self.pipe_of(side, conn).expect("a pipe");
                    if self.pipes[pipe].open[side] && !self.blackhole {
                        self.push(pipe, 1 - side, Event::End("closed by the peer"));
                    }
                    self.pipes[pipe].open[side] = false;
                    if self.forgetful {
                        self.pipes[pipe].streams[side].clear();
                    }
                }
                Output::Up(..) => state.ups += 1,
                Output::Down(reason, _) => state.downs.push(reason.to_string()),
                Output::StateChanged { from, to } => {
                    assert_eq!(state.states.last(), Some(&from));
                    state.states.push(to);
                }
                Output::RouteRefresh(_) | Output::Stale(_) => {}
            }
        }
    }

    fn connect(&mut self, side: usize, conn: ConnId) {
        let mut ends = [None, None];
        ends[side] = Some(conn);
        let streams = [VecDeque::new(), VecDeque::new()];
        self.pipes.push(Pipe { opener: side, ends, open: [true, true], streams });
        let pipe = self.pipes.len() - 1;
        if self.blackhole {
            return;
        }
        if self.sides[1 - side].listening {
            self.push(pipe, 1 - side, Event::Accept);
            self.push(pipe, side, Event::Connected);
        } else {
            self.push(pipe, side, Event::Refused);
        }
    }
}
