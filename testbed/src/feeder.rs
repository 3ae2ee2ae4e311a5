//! A BGP speaker for tests: announces what it is told, remembers what it is sent.
//!
//! Plain threads over a blocking socket: one reads, one keeps the session alive, the caller
//! writes. It connects out and never listens, so the router under test should be passive towards
//! it. UPDATEs are encoded before the clock starts: a measurement then times the router.

use std::collections::HashMap;
use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, Shutdown, SocketAddr, TcpStream};
use std::os::fd::AsRawFd as _;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use ipnet::IpNet;
use nix::sys::socket::{AddressFamily, SockFlag, SockType, SockaddrStorage, bind, connect, socket};

use crate::speaker::{self, Received};

/// How the feeder introduces itself.
#[derive(Clone, Copy, Debug)]
pub struct FeederConfig {
    /// Source address of the connection.
    pub local: IpAddr,
    /// The router under test.
    pub remote: SocketAddr,
    /// Our AS.
    pub asn: u32,
    /// Our BGP identifier.
    pub router_id: Ipv4Addr,
    /// Hold time that we propose, in seconds.
    pub hold_time: u16,
}

/// What the router has told us of a prefix.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Heard {
    /// `AS_PATH`.
    pub as_path: Arc<[u32]>,
    /// Communities.
    pub communities: Arc<[u32]>,
    /// Next hop.
    pub next_hop: Option<IpAddr>,
    /// `MULTI_EXIT_DISC`.
    pub med: Option<u32>,
    /// `LOCAL_PREF`.
    pub local_pref: Option<u32>,
}

/// What has been received so far.
#[derive(Clone, Debug, Default)]
pub struct Inbox {
    /// Routes announced and not withdrawn.
    pub routes: HashMap<IpNet, Heard>,
    /// Prefixes withdrawn, each as often as it was.
    pub withdrawn: u64,
    /// UPDATE messages.
    pub updates: u64,
    /// End-of-RIB markers seen, IPv4 and IPv6.
    pub end_of_rib: [bool; 2],
    /// When the last UPDATE came.
    pub last_update: Option<Instant>,
    /// Why the session is over.
    pub closed: Option<String>,
}

/// An established session. Dropped, it ends with a Cease.
#[derive(Debug)]
pub struct Feeder {
    writer: Arc<Mutex<TcpStream>>,
    inbox: Arc<Mutex<Inbox>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // A thread that panicked has failed its test already.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Feeder {
    /// Connects (trying again until the timeout), and exchanges OPEN and KEEPALIVE.
    ///
    /// To be called inside the namespace: [`crate::netns::Namespace::enter`].
    pub fn connect(config: &FeederConfig, timeout: Duration) -> Result<Self> {
        let deadline = Instant::now() + timeout;
        loop {
            match Self::try_connect(config, timeout) {
                Ok(feeder) => return Ok(feeder),
                Err(error) if Instant::now() > deadline => {
                    return Err(
                        error.context(format!("feeder {}: no session with {}", config.asn, config.remote))
                    );
                }
                Err(_) => std::thread::sleep(Duration::from_millis(100)),
            }
        }
    }

    fn try_connect(config: &FeederConfig, timeout: Duration) -> Result<Self> {
        let Established { stream, unread, keepalive } = handshake(config, timeout)?;
        let writer = Arc::new(Mutex::new(stream.try_clone().context("duplicate the socket")?));
        let inbox = Arc::new(Mutex::new(Inbox::default()));
        let for_reader = Arc::clone(&inbox);
        std::thread::spawn(move || read(stream, unread, &for_reader));
        let (for_keepalive, watched) = (Arc::downgrade(&writer), Arc::clone(&inbox));
        std::thread::spawn(move || {
            loop {
                std::thread::sleep(keepalive);
                let Some(writer) = for_keepalive.upgrade() else { return };
                if lock(&watched).closed.is_some() || lock(&writer).write_all(&speaker::keepalive()).is_err()
                {
                    return;
                }
            }
        });
        Ok(Self { writer, inbox })
    }

    /// Sends whole messages. Blocks while the router does not read.
    pub fn send(&self, mut messages: &[u8]) -> Result<()> {
        while !messages.is_empty() {
            // In pieces that end with a message, so that keepalives may go between.
            let mut end = 0;
            while end < messages.len() && end < 64 * 1024 {
                end += speaker::frame(&messages[end..])?.context("half a message to send")?.len();
            }
            let (piece, rest) = messages.split_at(end);
            if let Err(error) = lock(&self.writer).write_all(piece) {
                // The reader may be about to find out why.
                std::thread::sleep(Duration::from_millis(200));
                bail!("send: {error}; the session: {:?}", self.closed());
            }
            messages = rest;
        }
        Ok(())
    }

    /// What has been received so far, to look at; the reader waits meanwhile.
    pub fn inbox(&self) -> MutexGuard<'_, Inbox> {
        lock(&self.inbox)
    }

    /// Why the session is over, if it is.
    pub fn closed(&self) -> Option<String> {
        self.inbox().closed.clone()
    }

    /// Closes the connection without a NOTIFICATION.
    pub fn abort(self) {
        let _ = lock(&self.writer).shutdown(Shutdown::Both);
    }
}

impl Drop for Feeder {
    fn drop(&mut self) {
        let writer = lock(&self.writer);
        // The router may be gone: then there is nobody to tell.
        let _ = (&*writer).write_all(&speaker::notification(6, 2));
        let _ = writer.shutdown(Shutdown::Both);
    }
}

/// A connection on which both sides have sent OPEN and KEEPALIVE.
#[derive(Debug)]
pub struct Established {
    /// The connection, blocking.
    pub stream: TcpStream,
    /// What came after the peer's KEEPALIVE.
    pub unread: Vec<u8>,
    /// How often we owe the peer a KEEPALIVE: a third of the hold time.
    pub keepalive: Duration,
}

/// Connects and exchanges OPEN and KEEPALIVE; waits no longer than `timeout` for each answer.
///
/// To be called inside the namespace: [`crate::netns::Namespace::enter`].
pub fn handshake(config: &FeederConfig, timeout: Duration) -> Result<Established> {
    let mut stream = connect_from(config.local, config.remote)?;
    stream.set_nodelay(true).context("TCP_NODELAY")?;
    stream.set_read_timeout(Some(timeout)).context("read timeout")?;
    stream.write_all(&speaker::open(config.asn, config.hold_time, config.router_id)).context("send OPEN")?;
    let mut hold_time = config.hold_time;
    let mut unread = Vec::new();
    loop {
        match speaker::parse(&read_frame(&mut stream, &mut unread)?)? {
            Received::Open { hold_time: theirs, .. } => {
                hold_time = hold_time.min(theirs);
                stream.write_all(&speaker::keepalive()).context("send KEEPALIVE")?;
            }
            Received::Keepalive => break,
            Received::Notification(code, subcode) => bail!("NOTIFICATION {code}/{subcode}"),
            other => bail!("{other:?} before the session is established"),
        }
    }
    stream.set_read_timeout(None).context("read timeout")?;
    let keepalive = Duration::from_secs(u64::from((hold_time / 3).max(1)));
    Ok(Established { stream, unread, keepalive })
}

/// A connection from a given address, which the standard library has no call for.
///
/// To be called inside the namespace: [`crate::netns::Namespace::enter`].
pub fn connect_from(local: IpAddr, remote: SocketAddr) -> Result<TcpStream> {
    let family = if local.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 };
    let fd = socket(family, SockType::Stream, SockFlag::SOCK_CLOEXEC, None).context("create a socket")?;
    bind(fd.as_raw_fd(), &SockaddrStorage::from(SocketAddr::new(local, 0)))
        .with_context(|| format!("bind to {local}"))?;
    connect(fd.as_raw_fd(), &SockaddrStorage::from(remote))
        .with_context(|| format!("connect to {remote}"))?;
    Ok(TcpStream::from(fd))
}

/// One whole message; bytes that came with it stay in the buffer.
fn read_frame(stream: &mut TcpStream, buffer: &mut Vec<u8>) -> Result<Vec<u8>> {
    let mut chunk = vec![0; 256 * 1024];
    loop {
        if let Some(length) = speaker::frame(buffer)?.map(<[u8]>::len) {
            let rest = buffer.split_off(length);
            return Ok(std::mem::replace(buffer, rest));
        }
        match stream.read(&mut chunk) {
            Ok(0) => bail!("the router closed the connection"),
            Ok(count) => buffer.extend(&chunk[..count]),
            Err(error) if error.kind() == ErrorKind::Interrupted => (),
            Err(error) => return Err(error).context("read"),
        }
    }
}

/// The reading thread: every message into the inbox, until the session ends.
fn read(mut stream: TcpStream, mut buffer: Vec<u8>, inbox: &Mutex<Inbox>) {
    let mut chunk = vec![0; 256 * 1024];
    let reason = loop {
        match drain(&mut buffer, inbox) {
            Ok(None) => (),
            Ok(Some(reason)) => break reason,
            Err(error) => break format!("{error:#}"),
        }
        match stream.read(&mut chunk) {
            Ok(0) => break "the router closed the connection".to_owned(),
            Ok(count) => buffer.extend(&chunk[..count]),
            Err(error) if error.kind() == ErrorKind::Interrupted => (),
            Err(error) => break error.to_string(),
        }
    };
    lock(inbox).closed.get_or_insert(reason);
}

/// Takes all whole messages off the buffer; a reason when one of them ends the session.
fn drain(buffer: &mut Vec<u8>, inbox: &Mutex<Inbox>) -> Result<Option<String>> {
    let mut at = 0;
    let mut inbox = lock(inbox);
    while let Some(frame) = speaker::frame(&buffer[at..])? {
        match speaker::parse(frame)? {
            Received::Update(update) => {
                inbox.updates += 1;
                inbox.last_update = Some(Instant::now());
                for prefix in &update.withdrawn {
                    inbox.routes.remove(prefix);
                    inbox.withdrawn += 1;
                }
                let heard = Heard {
                    as_path: update.as_path.into(),
                    communities: update.communities.into(),
                    next_hop: update.next_hop,
                    med: update.med,
                    local_pref: update.local_pref,
                };
                inbox.routes.extend(update.announced.into_iter().map(|prefix| (prefix, heard.clone())));
            }
            Received::EndOfRib(ipv6) => inbox.end_of_rib[usize::from(ipv6)] = true,
            Received::Notification(code, subcode) => {
                return Ok(Some(format!("NOTIFICATION {code}/{subcode}")));
            }
            Received::Open { .. } | Received::Keepalive | Received::Other(_) => (),
        }
        at += frame.len();
    }
    buffer.drain(..at);
    Ok(None)
}
