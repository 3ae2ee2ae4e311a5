//! All sessions of a run on one thread, for as long as it takes.
//!
//! Like [`crate::load::engine`], but made for hours instead of seconds: what is to be said is made while
//! the clock runs, what receivers are told goes into their [`Mirror`] at once and is forgotten, and a
//! receiver may cease to read.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};

use crate::feeder::Established;
use crate::soak::mirror::Mirror;
use crate::speaker::{self, Received};

/// Sockets served in one wake-up.
const EVENTS: usize = 64;
/// Octets of a read.
const READ: usize = 256 << 10;
/// Message type of ROUTE-REFRESH (RFC 2918 section 3).
const ROUTE_REFRESH: u8 = 5;
/// An output buffer that has grown beyond this is given back when it is empty.
const KEEP: usize = 1 << 20;

/// Names a session of a [`Hub`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PeerIndex(usize);

#[derive(Debug)]
struct Peer {
    name: String,
    /// None while the session is closed.
    stream: Option<TcpStream>,
    /// Still to be written, from `written` on.
    out: Vec<u8>,
    written: usize,
    /// Received and not yet a whole message.
    unread: Vec<u8>,
    /// False for a receiver that does not read.
    reads: bool,
    /// When the next KEEPALIVE is owed, and how often.
    keepalive: (Instant, Duration),
    /// Of a receiver.
    mirror: Option<Mirror>,
    /// ROUTE-REFRESH messages received.
    refreshes: u64,
}

/// All sessions.
#[derive(Debug)]
pub struct Hub {
    epoll: Epoll,
    peers: Vec<Peer>,
    scratch: Vec<u8>,
}

impl Hub {
    /// One without sessions.
    pub fn new() -> Result<Self> {
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC).context("create an epoll")?;
        Ok(Self { epoll, peers: Vec::new(), scratch: vec![0; READ] })
    }

    /// Takes over a session; a receiver's with the table that it keeps.
    pub fn add(&mut self, name: &str, established: Established, mirror: Option<Mirror>) -> Result<PeerIndex> {
        let index = PeerIndex(self.peers.len());
        self.peers.push(Peer {
            name: name.to_owned(),
            stream: None,
            out: Vec::new(),
            written: 0,
            unread: Vec::new(),
            reads: true,
            keepalive: (Instant::now(), established.keepalive),
            mirror,
            refreshes: 0,
        });
        self.reopen(index, established)?;
        Ok(index)
    }

    /// Takes over a new session of a peer that was closed.
    pub fn reopen(&mut self, index: PeerIndex, established: Established) -> Result<()> {
        let Established { stream, unread, keepalive } = established;
        let peer = &mut self.peers[index.0];
        stream.set_nonblocking(true).context("make a socket non-blocking")?;
        self.epoll
            .add(&stream, EpollEvent::new(EpollFlags::EPOLLIN, index.0 as u64))
            .with_context(|| format!("watch {}", peer.name))?;
        peer.stream = Some(stream);
        peer.unread = unread;
        peer.keepalive = (Instant::now() + keepalive, keepalive);
        peer.digest(Instant::now())
    }

    /// Closes a connection without a NOTIFICATION, as a crash would. What was not written is lost.
    pub fn close(&mut self, index: PeerIndex) -> Result<()> {
        let peer = &mut self.peers[index.0];
        peer.out.clear();
        peer.written = 0;
        // Closing the socket takes it out of the epoll.
        let stream = peer.stream.take().with_context(|| format!("{} is closed", peer.name))?;
        stream.shutdown(std::net::Shutdown::Both).context("close a connection")
    }

    /// Whether a peer reads what it is sent. One that does not still sends KEEPALIVEs.
    pub fn set_reading(&mut self, index: PeerIndex, reads: bool) -> Result<()> {
        self.peers[index.0].reads = reads;
        self.watch(index.0)
    }

    /// Has a peer say something: at once as much as the connection takes, the rest in [`Hub::turn`].
    pub fn say(&mut self, index: PeerIndex, messages: &[u8]) -> Result<()> {
        let peer = &mut self.peers[index.0];
        let idle = peer.pending() == 0;
        peer.out.extend(messages);
        if idle {
            peer.write().with_context(|| peer.name.clone())?;
            if self.peers[index.0].pending() > 0 {
                self.watch(index.0)?;
            }
        }
        Ok(())
    }

    /// Octets that connections have not taken yet.
    pub fn pending(&self) -> usize {
        self.peers.iter().map(Peer::pending).sum()
    }

    /// The table of a receiver.
    pub fn mirror(&mut self, index: PeerIndex) -> Result<&mut Mirror> {
        let peer = &mut self.peers[index.0];
        peer.mirror.as_mut().with_context(|| format!("{} is no receiver", peer.name))
    }

    /// ROUTE-REFRESH messages that a peer has received.
    pub fn refreshes(&self, index: PeerIndex) -> u64 {
        self.peers[index.0].refreshes
    }

    /// Serves what is ready, waiting for it no longer than this.
    pub fn turn(&mut self, milliseconds: u8) -> Result<()> {
        let mut events = [EpollEvent::empty(); EVENTS];
        let count = match self.epoll.wait(&mut events, EpollTimeout::from(milliseconds)) {
            Ok(count) => count,
            Err(nix::errno::Errno::EINTR) => 0,
            Err(error) => return Err(error).context("wait for sockets"),
        };
        for event in &events[..count] {
            let index = event.data() as usize;
            self.serve(index, event.events()).with_context(|| self.peers[index].name.clone())?;
        }
        let now = Instant::now();
        for index in 0..self.peers.len() {
            let peer = &mut self.peers[index];
            // UPDATEs are signs of life too (RFC 4271 section 4.4).
            if now >= peer.keepalive.0 && peer.pending() == 0 && peer.stream.is_some() {
                peer.keepalive.0 = now + peer.keepalive.1;
                self.say(PeerIndex(index), &speaker::keepalive())?;
            }
        }
        Ok(())
    }

    fn serve(&mut self, index: usize, ready: EpollFlags) -> Result<()> {
        let peer = &mut self.peers[index];
        if ready.contains(EpollFlags::EPOLLOUT) && peer.pending() > 0 {
            if let Err(error) = peer.write() {
                // Reading may tell why.
                peer.read(&mut self.scratch)?;
                return Err(error);
            }
            if self.peers[index].pending() == 0 {
                self.watch(index)?;
            }
        }
        let peer = &mut self.peers[index];
        let failed = ready.intersects(EpollFlags::EPOLLHUP | EpollFlags::EPOLLERR);
        if failed || (peer.reads && ready.contains(EpollFlags::EPOLLIN)) {
            peer.read(&mut self.scratch)?;
        }
        Ok(())
    }

    /// Watches a socket for what its peer wants of it.
    fn watch(&self, index: usize) -> Result<()> {
        let peer = &self.peers[index];
        let Some(stream) = &peer.stream else { return Ok(()) };
        let mut flags = EpollFlags::empty();
        flags.set(EpollFlags::EPOLLIN, peer.reads);
        flags.set(EpollFlags::EPOLLOUT, peer.pending() > 0);
        self.epoll
            .modify(stream, &mut EpollEvent::new(flags, index as u64))
            .with_context(|| format!("watch {}", peer.name))
    }
}

impl Peer {
    fn pending(&self) -> usize {
        self.out.len() - self.written
    }

    /// Writes until the connection takes no more.
    fn write(&mut self) -> Result<()> {
        let stream = self.stream.as_mut().context("is closed")?;
        while self.written < self.out.len() {
            match stream.write(&self.out[self.written..]) {
                Ok(count) => self.written += count,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == ErrorKind::Interrupted => (),
                Err(error) => return Err(error).context("write"),
            }
        }
        self.written = 0;
        self.out.clear();
        if self.out.capacity() > KEEP {
            self.out = Vec::new();
        }
        Ok(())
    }

    /// Reads once.
    fn read(&mut self, scratch: &mut [u8]) -> Result<()> {
        // Closed a moment ago, in the same wake-up.
        let Some(stream) = self.stream.as_mut() else { return Ok(()) };
        match stream.read(scratch) {
            Ok(0) => bail!("the router has closed the connection"),
            Ok(count) => self.unread.extend(&scratch[..count]),
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {
                return Ok(());
            }
            Err(error) => return Err(error).context("read"),
        }
        self.digest(Instant::now())
    }

    /// Takes all whole messages in.
    fn digest(&mut self, now: Instant) -> Result<()> {
        let mut at = 0;
        while let Some(frame) = speaker::frame(&self.unread[at..])? {
            match speaker::parse(frame)? {
                Received::Notification(code, subcode) => bail!("NOTIFICATION {code}/{subcode}"),
                Received::Other(ROUTE_REFRESH) => self.refreshes += 1,
                Received::Update(update) => {
                    if let Some(mirror) = &mut self.mirror {
                        mirror.apply(&update, now);
                    }
                }
                _ => (),
            }
            at += frame.len();
        }
        self.unread.drain(..at);
        Ok(())
    }
}
