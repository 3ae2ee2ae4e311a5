//! Bidirectional forwarding detection: all its sessions in a thread of their own, with sockets and clock.
//!
//! ```text
//!  session tasks -- Command --> thread: ppoll(2) on the receiving sockets, timers of all sessions, sending
//!                <-- Status --- (a watch channel for each neighbour)
//! ```
//!
//! A path that fails concerns forwarding first, which has a backup ready, and then the session, whose routes go one by
//! one: in this order they are told. The doubt about the neighbour is taken back when the path or the session is there
//! again.
//!
//! The thread runs with real-time priority where it may, and does nothing but this: a timer of BFD waits for no route,
//! no command and no other thread. It never waits for anybody either: a [`Status`] is left for the session's task,
//! which looks at it when it can. Failures in it are counted, so that none is missed.
//!
//! A session is there as long as somebody has its [`Watch`]. Then the neighbour is told that an operator took it down
//! (RFC 5880 section 6.8.16), which ends no BGP session of its (RFC 5882 section 3.2), for as long as it may take to
//! notice.

mod entry;
mod receive;
mod send;
#[cfg(test)]
mod tests;
mod thread;

use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{SyncSender, sync_channel};

use bgp::bfd::{Change, Parameters, State};
use nix::sys::eventfd::{EfdFlags, EventFd};
use tokio::sync::{oneshot, watch};

use crate::api::bfd::BfdReport;
use crate::forwarding::Doubt;

use entry::Forwarding;
pub(crate) use receive::ListenError;
use receive::Port;

/// Commands that may wait for the thread, which takes them at once.
const COMMAND_QUEUE: usize = 1024;
/// The ports of single-hop (RFC 5881 section 4) and multihop sessions (RFC 5883 section 5).
const SINGLE_HOP_PORT: u16 = 3784;
const MULTIHOP_PORT: u16 = 4784;

/// What a session is to be like.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Spec {
    /// The neighbour, with its link if it is of one.
    pub(crate) neighbor: IpAddr,
    /// Our address; `None`: as the kernel chooses.
    pub(crate) local: Option<IpAddr>,
    /// RFC 5883, or RFC 5881.
    pub(crate) multihop: bool,
    /// Least TTL or hop limit of packets over several hops.
    pub(crate) minimum_ttl: Option<u8>,
    /// Intervals and multiplier.
    pub(crate) parameters: Parameters,
}

impl Spec {
    /// As a neighbour is configured that is at this address; `local` is our end of the BGP session, as far as that is
    /// known.
    pub(crate) fn new(
        neighbor: &conf::Neighbor,
        router: &conf::Router,
        address: IpAddr,
        local: Option<IpAddr>,
    ) -> Option<Self> {
        let bfd = neighbor.bfd?;
        Some(Self {
            neighbor: address,
            local: neighbor.local_address.or(local),
            multihop: neighbor.bfd_is_multihop(router),
            minimum_ttl: bfd.minimum_ttl,
            parameters: Parameters { min_tx: bfd.min_tx, min_rx: bfd.min_rx, detect_mult: bfd.multiplier },
        })
    }

    /// The UDP port that packets go to.
    fn port(&self) -> u16 {
        if self.multihop { MULTIHOP_PORT } else { SINGLE_HOP_PORT }
    }
}

/// How a session is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Status {
    /// Its state.
    pub(crate) state: State,
    /// The last change.
    pub(crate) last: Option<Change>,
    /// How often the path failed: see [`Change::is_failure`].
    pub(crate) failures: u64,
    /// The last time that it did.
    pub(crate) last_failure: Option<Change>,
}

impl Status {
    const NEW: Self = Self { state: State::Down, last: None, failures: 0, last_failure: None };
}

/// What the thread is asked to do. Sessions are named by numbers that are not used again.
enum Command {
    /// Open receiving sockets.
    Open(Vec<Port>, oneshot::Sender<Result<(), ListenError>>),
    Add(u64, Spec, watch::Sender<Status>),
    Update(u64, Spec),
    Remove(u64),
    /// The neighbour is there, whatever BFD has found.
    Trust(u64),
    /// Tell forwarding from now on.
    Forwarding(Forwarding),
    Report(oneshot::Sender<BfdReport>),
    /// Tell all neighbours that we are going, and end.
    Stop(oneshot::Sender<()>),
}

struct Shared {
    commands: SyncSender<Command>,
    waker: Arc<EventFd>,
    next: AtomicU64,
}

impl Shared {
    fn send(&self, command: Command) {
        // A thread that has ended, because the daemon is stopping, has nothing to be told.
        if self.commands.send(command).is_ok()
            && let Err(error) = self.waker.write(1)
        {
            tracing::error!(%error, "cannot wake the BFD thread");
        }
    }
}

/// The thread, as others reach it.
#[derive(Clone)]
pub(crate) struct Bfd(Arc<Shared>);

impl Bfd {
    /// Starts the thread, which ends with its last handle. It opens sockets when there is a session for them.
    pub(crate) fn start() -> io::Result<Self> {
        let (commands, inbox) = sync_channel(COMMAND_QUEUE);
        let waker = Arc::new(EventFd::from_flags(EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK)?);
        let woken = Arc::clone(&waker);
        std::thread::Builder::new().name("bfd".into()).spawn(move || thread::run(&inbox, &woken))?;
        Ok(Self(Arc::new(Shared { commands, waker, next: AtomicU64::new(1) })))
    }

    /// Opens the sockets that configured neighbours need: what fails here, an operator can mend.
    pub(crate) async fn open(&self, config: &conf::Config) -> Result<(), ListenError> {
        let with_bfd = config.neighbors.iter().filter(|neighbor| neighbor.bfd.is_some());
        let port = |neighbor: &conf::Neighbor| Port {
            ipv6: neighbor.address.is_ipv6(),
            multihop: neighbor.bfd_is_multihop(&config.router),
        };
        let (reply, answer) = oneshot::channel();
        self.0.send(Command::Open(with_bfd.map(port).collect(), reply));
        answer.await.unwrap_or(Ok(()))
    }

    /// Has forwarding told of paths that fail, before the sessions are.
    pub(crate) fn tell_forwarding(&self, doubt: impl Fn(Doubt) + Send + 'static) {
        self.0.send(Command::Forwarding(Forwarding::new(doubt)));
    }

    /// Begins a session.
    pub(crate) fn watch(&self, spec: Spec) -> Watch {
        let id = self.0.next.fetch_add(1, Ordering::Relaxed);
        let (sender, status) = watch::channel(Status::NEW);
        self.0.send(Command::Add(id, spec.clone(), sender));
        Watch { id, shared: Arc::clone(&self.0), spec, status }
    }

    /// All sessions; `None` when the daemon is stopping.
    pub(crate) async fn report(&self) -> Option<BfdReport> {
        let (reply, answer) = oneshot::channel();
        self.0.send(Command::Report(reply));
        answer.await.ok()
    }

    /// Tells all neighbours that we are going, and ends the thread.
    pub(crate) async fn stop(&self) {
        let (reply, answer) = oneshot::channel();
        self.0.send(Command::Stop(reply));
        // One that has ended already has told them.
        let _ = answer.await;
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        // The thread sees that nobody is left. When this fails it sees it later.
        let _ = self.waker.write(1);
    }
}

/// A session; dropped, it ends as by an operator.
pub(crate) struct Watch {
    id: u64,
    shared: Arc<Shared>,
    spec: Spec,
    status: watch::Receiver<Status>,
}

impl Watch {
    /// Goes on as another one. Only another neighbour, or another number of hops, takes a new session.
    pub(crate) fn update(&mut self, spec: Spec) {
        if spec != self.spec {
            self.spec = spec.clone();
            self.shared.send(Command::Update(self.id, spec));
        }
    }

    /// The neighbour has been heard otherwise: packets may go to it, until its path fails again.
    pub(crate) fn trust(&self) {
        self.shared.send(Command::Trust(self.id));
    }

    /// Waits for another status.
    pub(crate) async fn changed(&mut self) -> Status {
        if self.status.changed().await.is_err() {
            // The daemon is stopping: there are no more.
            std::future::pending::<()>().await;
        }
        *self.status.borrow_and_update()
    }

    /// The status.
    pub(crate) fn status(&self) -> Status {
        *self.status.borrow()
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.shared.send(Command::Remove(self.id));
    }
}

/// A number that is hard to guess, from the system's random numbers.
fn random() -> u64 {
    use std::hash::{BuildHasher, RandomState};
    RandomState::new().hash_one(())
}
