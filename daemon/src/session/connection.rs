//! One TCP connection with a neighbour: a read buffer, a queue of what is to be written, readiness.
//!
//! Nothing here waits; the session's task polls all its connections at once. Control messages overtake
//! queued routes at the next message boundary, so that a keepalive waits at most for what the socket
//! has already begun to take.

use std::collections::VecDeque;
use std::io::{self, IoSlice, Read as _};
use std::mem::MaybeUninit;
use std::net::SocketAddr;
use std::task::{Context, Poll};
use std::time::Duration;

use bgp::session::ConnId;
use bgp::wire;
use bytes::{Buf, Bytes, BytesMut};
use conf::Password;
use socket2::SockRef;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::task::JoinHandle;

use super::socket::{change_password, keep_alive};

/// Octets read at a time.
pub(super) const READ_CHUNK: usize = 256 * 1024;
/// The same of a connection that is broken.
const LAST_CHUNK: usize = 16 * 1024;
/// Pieces written at a time.
const WRITE_SLICES: usize = 64;
/// Queued octets beyond which no more routes are taken on.
const QUEUE_ENOUGH: usize = 128 * 1024;
/// How long a closed connection may take to deliver its last message.
const LINGER: Duration = Duration::from_secs(2);

/// A connection that the session knows.
pub(super) struct Connection {
    pub(super) id: ConnId,
    stream: TcpStream,
    pub(super) local: SocketAddr,
    pub(super) remote: SocketAddr,
    pub(super) received: BytesMut,
    queue: VecDeque<Bytes>,
    queued: usize,
    /// Whether the first element of the queue is written in part.
    started: bool,
}

/// What a connection is ready for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ready {
    Read,
    Write,
}

impl Connection {
    pub(super) fn new(id: ConnId, stream: TcpStream) -> io::Result<Self> {
        let (local, remote) = (stream.local_addr()?, stream.peer_addr()?);
        Ok(Self {
            id,
            stream,
            local,
            remote,
            received: BytesMut::new(),
            queue: VecDeque::new(),
            queued: 0,
            started: false,
        })
    }

    /// What can be done without waiting; `read` says whether reading is wanted.
    pub(super) fn poll_ready(&self, read: bool, cx: &mut Context<'_>) -> Poll<Ready> {
        // An error of readiness shows at the operation itself.
        if !self.queue.is_empty() && self.stream.poll_write_ready(cx).is_ready() {
            return Poll::Ready(Ready::Write);
        }
        if read && self.stream.poll_read_ready(cx).is_ready() {
            return Poll::Ready(Ready::Read);
        }
        Poll::Pending
    }

    /// Signs what follows with another password.
    pub(super) fn set_password(&self, password: Option<&Password>) -> io::Result<()> {
        change_password(&self.stream, password)
    }

    /// Makes TCP find out whether the neighbour is still there.
    pub(super) fn keep_alive(&self) -> io::Result<()> {
        keep_alive(&self.stream)
    }

    /// Whether octets wait in the socket that we have not read.
    pub(super) fn has_unread(&self) -> bool {
        let mut probe = [MaybeUninit::uninit(); 1];
        matches!(SockRef::from(&self.stream).peek(&mut probe), Ok(count) if count > 0)
    }

    /// Reads what is there; `Ok(0)` is the end of the stream, `WouldBlock` nothing at all.
    pub(super) fn read(&mut self) -> io::Result<usize> {
        self.received.reserve(READ_CHUNK);
        self.stream.try_read_buf(&mut self.received)
    }

    /// The same of a connection that is broken, of whose last octets nobody may have been told yet.
    pub(super) fn read_last(&mut self) -> io::Result<usize> {
        let mut octets = [0; LAST_CHUNK];
        let count = (&*SockRef::from(&self.stream)).read(&mut octets)?;
        self.received.extend_from_slice(&octets[..count]);
        Ok(count)
    }

    /// Queues a control message: in front of all routes that the socket has not begun to take.
    pub(super) fn push_control(&mut self, message: Bytes) {
        self.queued += message.len();
        // Behind the begun element, and behind control messages queued before: routes are told apart
        // by being pushed last, so control messages go to the end of the control part.
        let begun = usize::from(self.started);
        let position = (begun + self.control_ahead()).min(self.queue.len());
        self.queue.insert(position, message);
    }

    /// Control messages at the head of the queue; they are short, chunks of routes never are one
    /// KEEPALIVE or NOTIFICATION long.
    fn control_ahead(&self) -> usize {
        self.queue.iter().skip(usize::from(self.started)).take_while(|piece| is_control(piece)).count()
    }

    /// Queues encoded UPDATEs, whole messages.
    pub(super) fn push_routes(&mut self, messages: Bytes) {
        self.queued += messages.len();
        self.queue.push_back(messages);
    }

    /// Whether more routes should be queued.
    pub(super) fn wants_routes(&self) -> bool {
        self.queued < QUEUE_ENOUGH
    }

    /// Writes what the socket takes; how many octets that was.
    pub(super) fn write(&mut self) -> io::Result<usize> {
        let before = self.queued;
        while !self.queue.is_empty() {
            let slices: Vec<IoSlice<'_>> =
                self.queue.iter().take(WRITE_SLICES).map(|piece| IoSlice::new(piece)).collect();
            let mut written = match self.stream.try_write_vectored(&slices) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(written) => written,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            };
            self.queued -= written;
            while written > 0 {
                let Some(front) = self.queue.front_mut() else { break };
                if written < front.len() {
                    front.advance(written);
                    self.started = true;
                    break;
                }
                written -= front.len();
                self.queue.pop_front();
                self.started = false;
            }
        }
        Ok(before - self.queued)
    }

    /// Delivers what control messages are queued and closes, in the background; what to wait for to see it done.
    pub(super) fn close(mut self) -> JoinHandle<()> {
        let begun = self.started;
        // Routes that the socket has not begun to take are not worth waiting for.
        let last: Vec<Bytes> = self
            .queue
            .drain(..)
            .enumerate()
            .filter(|(index, piece)| (*index == 0 && begun) || is_control(piece))
            .map(|(_, piece)| piece)
            .collect();
        tokio::spawn(async move {
            let deliver = async {
                for piece in last {
                    self.stream.write_all(&piece).await?;
                }
                self.stream.shutdown().await
            };
            // The neighbour may be gone already; there is nobody to tell. Of one that takes nothing the kernel
            // need not keep what it was sent.
            if tokio::time::timeout(LINGER, deliver).await.is_err() {
                let _ = SockRef::from(&self.stream).set_linger(Some(Duration::ZERO));
            }
        })
    }
}

/// Whether a queued piece is a message of the session itself, not routes: type octet at offset 18, and
/// UPDATE is 2 (RFC 4271 section 4.1).
pub(super) fn is_control(piece: &[u8]) -> bool {
    piece.get(18).is_some_and(|&kind| kind != 2)
}

/// The first message of some octets, or all of them where its length makes no sense.
pub(super) fn whole(octets: &[u8]) -> &[u8] {
    // The length field is at offset 16 (RFC 4271 section 4.1).
    let length = octets.get(16..18).map(|length| usize::from(u16::from_be_bytes([length[0], length[1]])));
    length
        .filter(|&length| length >= wire::HEADER_LEN)
        .and_then(|length| octets.get(..length))
        .unwrap_or(octets)
}
