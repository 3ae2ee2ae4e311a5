//! Drives all sessions of a run from one thread: feeders write as fast as the router takes it, the
//! receiver records.
//!
//! Level-triggered epoll over non-blocking sockets, through `nix`, which the testbed has already:
//! a wake-up serves each socket that is ready with one system call, so that no feeder starves
//! another or the receiver, and what is not finished reports itself again. With messages encoded
//! beforehand the thread does nothing but copy bytes to and from sockets; what it costs is
//! measured all the same ([`crate::load::usage::own_cpu`]).

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::TcpStream;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};

use crate::feeder::Established;
use crate::load::recording::{Recording, Tally};
use crate::speaker::{self, Received};

/// Token of the receiver; feeders have their index.
const RECEIVER: u64 = u64::MAX;
/// How long one wait for events lasts at most.
const WAIT_MILLISECONDS: u8 = 5;
/// How often the caller is asked whether it has seen enough.
const ASK: Duration = Duration::from_millis(20);
/// Sockets served in one wake-up.
const EVENTS: usize = 64;

/// One feeder's connection.
#[derive(Debug)]
struct Session<'a> {
    stream: TcpStream,
    /// Still to be written.
    pending: &'a [u8],
    /// Received and not yet a whole message.
    unread: Vec<u8>,
    keepalive: Keepalive,
}

/// When the next KEEPALIVE is owed.
#[derive(Clone, Copy, Debug)]
struct Keepalive {
    every: Duration,
    due: Instant,
}

impl Keepalive {
    fn new(every: Duration) -> Self {
        Self { every, due: Instant::now() + every }
    }

    /// Whether one is owed now; it counts as sent then.
    fn take(&mut self, now: Instant) -> bool {
        let owed = now >= self.due;
        if owed {
            self.due = now + self.every;
        }
        owed
    }
}

/// A feeder's new connection, made elsewhere, and what it is to say.
#[derive(Debug)]
pub struct Rejoin<'a> {
    /// Index of the feeder.
    pub feeder: usize,
    /// Or why there is none.
    pub established: Result<Established>,
    /// To be written.
    pub messages: &'a [u8],
}

/// How far things are.
#[derive(Clone, Copy, Debug)]
pub struct Standing {
    /// Since when every feeder has handed all its messages to the kernel.
    pub written: Option<Instant>,
    /// When a feeder that was closed has established its session again.
    pub rejoined: Option<Instant>,
    /// What the receiver has been sent.
    pub tally: Tally,
}

/// How [`Engine::drive`] ended.
#[derive(Clone, Copy, Debug)]
pub struct Outcome {
    /// The caller had seen enough; otherwise the time was over.
    pub finished: bool,
    /// How far things were then.
    pub standing: Standing,
}

/// All sessions of a run.
#[derive(Debug)]
pub struct Engine<'a> {
    epoll: Epoll,
    /// None while a feeder's session is closed.
    feeders: Vec<Option<Session<'a>>>,
    receiver: TcpStream,
    receiver_keepalive: Keepalive,
    recording: Recording,
    rejoins: (mpsc::Sender<Rejoin<'a>>, mpsc::Receiver<Rejoin<'a>>),
    written: Option<Instant>,
    rejoined: Option<Instant>,
    scratch: Vec<u8>,
}

impl<'a> Engine<'a> {
    /// Takes over established sessions.
    pub fn new(feeders: Vec<Established>, receiver: Established) -> Result<Self> {
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC).context("create an epoll")?;
        let Established { stream, unread, keepalive } = receiver;
        stream.set_nonblocking(true).context("make a socket non-blocking")?;
        epoll.add(&stream, EpollEvent::new(EpollFlags::EPOLLIN, RECEIVER)).context("watch the receiver")?;
        let mut engine = Self {
            epoll,
            feeders: feeders.iter().map(|_| None).collect(),
            receiver: stream,
            receiver_keepalive: Keepalive::new(keepalive),
            recording: Recording::new(&unread),
            rejoins: mpsc::channel(),
            written: None,
            rejoined: None,
            scratch: vec![0; 64 << 10],
        };
        for (index, established) in feeders.into_iter().enumerate() {
            engine.join(index, established)?;
        }
        Ok(engine)
    }

    fn join(&mut self, index: usize, established: Established) -> Result<()> {
        let Established { stream, unread, keepalive } = established;
        stream.set_nonblocking(true).context("make a socket non-blocking")?;
        self.epoll
            .add(&stream, EpollEvent::new(EpollFlags::EPOLLIN, index as u64))
            .with_context(|| format!("watch feeder {index}"))?;
        self.feeders[index] =
            Some(Session { stream, pending: &[], unread, keepalive: Keepalive::new(keepalive) });
        Ok(())
    }

    /// Gives a feeder messages to write, in [`Engine::drive`].
    pub fn send(&mut self, index: usize, messages: &'a [u8]) -> Result<()> {
        let session = self.feeders[index].as_mut().with_context(|| format!("feeder {index} is closed"))?;
        ensure!(session.pending.is_empty(), "feeder {index} has not written everything yet");
        session.pending = messages;
        watch(&self.epoll, &session.stream, index, !messages.is_empty())
    }

    /// Closes a feeder's connection without a NOTIFICATION, as a crash would.
    pub fn close(&mut self, index: usize) -> Result<()> {
        // Closing the socket takes it out of the epoll.
        let session = self.feeders[index].take().with_context(|| format!("feeder {index} is closed"))?;
        session.stream.shutdown(std::net::Shutdown::Both).context("close a connection")
    }

    /// Where a closed feeder's new connection is to be handed in.
    pub fn rejoins(&self) -> mpsc::Sender<Rejoin<'a>> {
        self.rejoins.0.clone()
    }

    /// What the receiver was sent since the last [`Engine::forget`].
    pub fn recording(&self) -> &Recording {
        &self.recording
    }

    /// Begins a new phase.
    pub fn forget(&mut self) -> Result<()> {
        (self.written, self.rejoined) = (None, None);
        self.recording.clear()
    }

    /// Serves all sessions until `enough` says so or the time is over.
    pub fn drive(
        &mut self,
        until: Instant,
        mut enough: impl FnMut(&Standing) -> Result<bool>,
    ) -> Result<Outcome> {
        let mut events = [EpollEvent::empty(); EVENTS];
        let mut asked = Instant::now();
        loop {
            let count = match self.epoll.wait(&mut events, EpollTimeout::from(WAIT_MILLISECONDS)) {
                Ok(count) => count,
                Err(nix::errno::Errno::EINTR) => 0,
                Err(error) => return Err(error).context("wait for sockets"),
            };
            for event in &events[..count] {
                if event.data() == RECEIVER {
                    self.receive()?;
                } else {
                    let index = event.data() as usize;
                    self.serve(index, event.events()).with_context(|| format!("feeder {index}"))?;
                }
            }
            let now = Instant::now();
            while let Ok(rejoin) = self.rejoins.1.try_recv() {
                self.join(rejoin.feeder, rejoin.established?)?;
                self.rejoined = Some(now);
                self.send(rejoin.feeder, rejoin.messages)?;
            }
            if self.written.is_none()
                && self.feeders.iter().all(|session| session.as_ref().is_some_and(|s| s.pending.is_empty()))
            {
                self.written = Some(now);
            }
            if now >= asked + ASK {
                asked = now;
                self.keep_alive(now)?;
                let tally = self.recording.tally()?;
                let standing = Standing { written: self.written, rejoined: self.rejoined, tally };
                let finished = enough(&standing)?;
                if finished || now > until {
                    return Ok(Outcome { finished, standing });
                }
            }
        }
    }

    fn receive(&mut self) -> Result<()> {
        match self.recording.read_from(&mut self.receiver) {
            Ok(true) => Ok(()),
            Ok(false) => {
                // A NOTIFICATION says more than the end of the connection.
                self.recording.tally()?;
                bail!("the router has closed the receiver's connection")
            }
            Err(error) if again(&error) => Ok(()),
            Err(error) => Err(error).context("read from the receiver's connection"),
        }
    }

    fn serve(&mut self, index: usize, ready: EpollFlags) -> Result<()> {
        // Closed a moment ago, in the same wake-up.
        let Some(session) = self.feeders[index].as_mut() else { return Ok(()) };
        if ready.contains(EpollFlags::EPOLLOUT) && !session.pending.is_empty() {
            match session.stream.write(session.pending) {
                Ok(count) => session.pending = &session.pending[count..],
                Err(error) if again(&error) => (),
                // Reading may tell why.
                Err(error) => {
                    session.read(&mut self.scratch)?;
                    return Err(error).context("write");
                }
            }
            if session.pending.is_empty() {
                watch(&self.epoll, &session.stream, index, false)?;
            }
        }
        if ready.intersects(EpollFlags::EPOLLIN | EpollFlags::EPOLLHUP | EpollFlags::EPOLLERR) {
            session.read(&mut self.scratch)?;
        }
        Ok(())
    }

    /// Sessions that have nothing to write owe a KEEPALIVE now and then. It fits into a socket
    /// that has been written empty.
    fn keep_alive(&mut self, now: Instant) -> Result<()> {
        for session in self.feeders.iter_mut().flatten() {
            // UPDATEs are signs of life too (RFC 4271 section 4.4).
            if session.pending.is_empty() && session.keepalive.take(now) {
                session.stream.write_all(&speaker::keepalive()).context("send KEEPALIVE")?;
            }
        }
        if self.receiver_keepalive.take(now) {
            (&self.receiver).write_all(&speaker::keepalive()).context("send the receiver's KEEPALIVE")?;
        }
        Ok(())
    }
}

impl Session<'_> {
    /// Reads once and discards it, unless it ends the session.
    fn read(&mut self, scratch: &mut [u8]) -> Result<()> {
        let count = match self.stream.read(scratch) {
            Ok(0) => bail!("the router has closed the connection"),
            Ok(count) => count,
            Err(error) if again(&error) => return Ok(()),
            Err(error) => return Err(error).context("read"),
        };
        self.unread.extend(&scratch[..count]);
        let mut at = 0;
        while let Some(frame) = speaker::frame(&self.unread[at..])? {
            if speaker::count_routes(frame)?.is_none()
                && let Received::Notification(code, subcode) = speaker::parse(frame)?
            {
                bail!("NOTIFICATION {code}/{subcode}");
            }
            at += frame.len();
        }
        self.unread.drain(..at);
        Ok(())
    }
}

fn again(error: &std::io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted)
}

/// Watches a feeder's socket for input, and for room when there is something to write.
fn watch(epoll: &Epoll, stream: &TcpStream, index: usize, writes: bool) -> Result<()> {
    let flags = if writes { EpollFlags::EPOLLIN | EpollFlags::EPOLLOUT } else { EpollFlags::EPOLLIN };
    epoll
        .modify(stream, &mut EpollEvent::new(flags, index as u64))
        .with_context(|| format!("watch feeder {index}"))
}
