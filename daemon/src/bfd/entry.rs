//! One session with its socket, what it has counted, and who is told of it.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use bgp::bfd::{Packet, Session, State, Unusable};
use bgp::link::{Zoned, bare};
use tokio::sync::watch;

use super::receive::{Datagram, Port};
use super::send::{Sender, interface};
use super::{Spec, Status};
use crate::api::bfd::BfdSession;
use crate::forwarding::Doubt;

/// Pause between attempts to open a socket, or to go on with one that failed.
const PAUSE: Duration = Duration::from_secs(1);

/// Why a packet changes nothing. Those that are only noticed with a session count for that one too.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Dropped {
    /// It is no packet that we can use.
    Unusable(Unusable),
    /// No session has its discriminator, or is with its source.
    NoSession,
    /// It names a session with somebody else.
    Source,
    /// It came to the port of the other kind of session.
    Port,
    /// It came over another interface than the session's.
    Interface,
    /// It came from further away than the session lets it: a TTL below 255 on a link (RFC 5881 section 5).
    Ttl,
}

impl Dropped {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Unusable(why) => match why {
                Unusable::TooShort => "too-short",
                Unusable::Version => "version",
                Unusable::Length => "length",
                Unusable::DetectMult => "detect-mult",
                Unusable::Multipoint => "multipoint",
                Unusable::MyDiscriminator => "my-discriminator",
                Unusable::YourDiscriminator => "your-discriminator",
                Unusable::Authentication => "authentication",
            },
            Self::NoSession => "no-session",
            Self::Source => "source",
            Self::Port => "port",
            Self::Interface => "interface",
            Self::Ttl => "ttl",
        }
    }

    /// All there are.
    pub(super) fn all() -> impl Iterator<Item = Self> {
        let with_session = [Self::NoSession, Self::Source, Self::Port, Self::Interface, Self::Ttl];
        Unusable::ALL.into_iter().map(Self::Unusable).chain(with_session)
    }
}

/// Packets dropped, by reason.
pub(super) type Drops = BTreeMap<Dropped, u64>;

/// Forwarding, which is told first of a path that fails; nobody in a pure control plane.
#[derive(Default)]
pub(super) struct Forwarding(Option<Box<dyn Fn(Doubt) + Send>>);

impl Forwarding {
    pub(super) fn new(doubt: impl Fn(Doubt) + Send + 'static) -> Self {
        Self(Some(Box::new(doubt)))
    }

    fn tell(&self, doubt: Doubt) {
        if let Some(tell) = &self.0 {
            tell(doubt);
        }
    }
}

pub(super) struct Entry {
    pub(super) spec: Spec,
    pub(super) session: Session,
    sender: Option<Sender>,
    /// When to try again to open a socket.
    retry_at: Option<Instant>,
    /// Why it cannot send or receive.
    error: Option<String>,
    status: watch::Sender<Status>,
    drops: Drops,
    /// Forwarding was told that the path failed.
    doubted: bool,
    /// The earliest time that the timers of the thread know of.
    pub(super) armed: Option<Instant>,
    /// Nobody wants it any more; until then the neighbour is told.
    pub(super) ends_at: Option<Instant>,
}

impl Entry {
    pub(super) fn new(spec: Spec, session: Session, status: watch::Sender<Status>) -> Self {
        Self {
            spec,
            session,
            sender: None,
            retry_at: None,
            error: None,
            status,
            drops: Drops::new(),
            doubted: false,
            armed: None,
            ends_at: None,
        }
    }

    /// The source port that it sends from.
    pub(super) fn port(&self) -> Option<u16> {
        self.sender.as_ref().map(|sender| sender.port)
    }

    /// Where its packets arrive.
    pub(super) fn receives_on(&self) -> Port {
        Port { ipv6: self.spec.neighbor.is_ipv6(), multihop: self.spec.multihop }
    }

    /// Whether it wants a socket now: it has none, or one that was opened before the neighbour's link was there.
    pub(super) fn wants_sender(&mut self, now: Instant) -> bool {
        if self.retry_at.is_some_and(|at| at > now) {
            return false;
        }
        let Some(sender) = &self.sender else { return true };
        if sender.interface.is_some() || self.spec.multihop || self.is_up() {
            return false;
        }
        self.retry_at = Some(now + PAUSE);
        interface(self.spec.neighbor).is_some()
    }

    /// It has a socket, or why not.
    pub(super) fn set_sender(&mut self, now: Instant, opened: std::io::Result<Sender>) {
        match opened {
            Ok(sender) => {
                self.sender = Some(sender);
                (self.error, self.retry_at) = (None, None);
            }
            Err(error) => self.failed(now, &error),
        }
    }

    fn failed(&mut self, now: Instant, error: &std::io::Error) {
        self.sender = None;
        self.retry_at = Some(now + PAUSE);
        let text = error.to_string();
        if self.error.as_ref() != Some(&text) {
            let neighbor = Zoned(self.spec.neighbor);
            tracing::warn!(%neighbor, %error, "no BFD with the neighbor");
            self.error = Some(text);
        }
    }

    /// Goes on as another session with the same neighbour over the same kind of path.
    pub(super) fn update(&mut self, now: Instant, spec: Spec) {
        if spec.local.is_some_and(|local| self.sender.as_ref().is_some_and(|sender| sender.local != local)) {
            (self.sender, self.retry_at) = (None, None);
        }
        self.session.configure(now, spec.parameters);
        self.spec = spec;
    }

    /// Whether a packet that names this session came from its neighbour, over its path.
    pub(super) fn check(&self, datagram: &Datagram) -> Result<(), Dropped> {
        if datagram.source != bare(self.spec.neighbor) {
            return Err(Dropped::Source);
        }
        if datagram.multihop != self.spec.multihop {
            return Err(Dropped::Port);
        }
        let least = if self.spec.multihop { self.spec.minimum_ttl } else { Some(u8::MAX) };
        if least.is_some_and(|least| datagram.ttl.is_none_or(|ttl| ttl < least)) {
            return Err(Dropped::Ttl);
        }
        match self.sender.as_ref().and_then(|sender| sender.interface.as_ref()) {
            Some((_, index)) if *index != datagram.ifindex => Err(Dropped::Interface),
            _ => Ok(()),
        }
    }

    pub(super) fn count(&mut self, dropped: Dropped) {
        *self.drops.entry(dropped).or_default() += 1;
    }

    pub(super) fn handle(&mut self, now: Instant, packet: &Packet) {
        self.session.handle_packet(now, packet);
    }

    /// Sends what is due, and tells what has changed.
    pub(super) fn pump(&mut self, now: Instant, forwarding: &Forwarding) {
        while let Some(packet) = self.session.poll_transmit(now) {
            if let Some(sender) = &self.sender
                && let Err(error) = sender.send(&packet.encode())
                // A full queue of the interface is a lost packet, no more.
                && !matches!(error.kind(), std::io::ErrorKind::WouldBlock)
                && error.raw_os_error() != Some(libc::ENOBUFS)
            {
                self.failed(now, &error);
            }
        }
        while let Some(change) = self.session.poll_change() {
            match change.to {
                State::Down if change.is_failure() => self.doubt(true, forwarding),
                State::Up | State::AdminDown => self.doubt(false, forwarding),
                State::Down | State::Init => {}
            }
            self.status.send_modify(|status| {
                status.state = change.to;
                status.last = Some(change);
                if change.is_failure() {
                    status.failures += 1;
                    status.last_failure = Some(change);
                }
            });
        }
    }

    /// Raises a doubt about the neighbour, or takes it back.
    pub(super) fn doubt(&mut self, raised: bool, forwarding: &Forwarding) {
        if std::mem::replace(&mut self.doubted, raised) != raised {
            forwarding.tell(Doubt { addr: self.spec.neighbor, raised });
        }
    }

    /// Begins to end: the neighbour is told for as long as it may take to notice by itself.
    pub(super) fn end(&mut self, now: Instant, forwarding: &Forwarding) {
        self.session.set_admin_down(now, true);
        self.pump(now, forwarding);
        self.ends_at = Some(now + self.session.remote_detection_time());
    }

    /// The channel of its status, for the session in its place.
    pub(super) fn take_status(&mut self) -> watch::Sender<Status> {
        std::mem::replace(&mut self.status, watch::channel(Status::NEW).0)
    }

    /// When something is to be done with it.
    pub(super) fn next_timer(&self) -> Option<Instant> {
        [self.session.poll_timeout(), self.ends_at].into_iter().flatten().min()
    }

    pub(super) fn shown(&self, now: Instant) -> BfdSession {
        let shown = self.session.snapshot();
        let seconds = |time: Duration| time.as_secs_f64();
        let ago = |at: Instant| now.saturating_duration_since(at).as_secs();
        let sender = self.sender.as_ref();
        BfdSession {
            neighbor: Zoned(self.spec.neighbor),
            interface: sender.and_then(|sender| Some(sender.interface.as_ref()?.0.clone())),
            local: sender.map(|sender| sender.local).or(self.spec.local).map(|local: IpAddr| bare(local)),
            source_port: self.port(),
            multihop: self.spec.multihop,
            state: shown.state.as_str().to_owned(),
            since_seconds: ago(shown.since),
            remote_state: shown.remote_state.as_str().to_owned(),
            diagnostic: shown.diagnostic.as_str().to_owned(),
            remote_diagnostic: shown.remote_diagnostic.as_str().to_owned(),
            discriminator: shown.discriminator,
            remote_discriminator: (shown.remote_discriminator != 0).then_some(shown.remote_discriminator),
            min_tx_seconds: seconds(self.spec.parameters.min_tx),
            min_rx_seconds: seconds(self.spec.parameters.min_rx),
            multiplier: self.spec.parameters.detect_mult,
            remote_multiplier: (shown.remote_detect_mult != 0).then_some(shown.remote_detect_mult),
            tx_interval_seconds: seconds(shown.tx_interval),
            rx_interval_seconds: shown.rx_interval.map(seconds),
            detection_seconds: shown.detection_time.map(seconds),
            polling: shown.polling,
            remote_demand: shown.remote_demand,
            remote_control_plane_independent: shown.remote_independent,
            downs: shown.failures,
            last_down: shown.last_down.map(|(_, why)| why.as_str().to_owned()),
            last_down_seconds: shown.last_down.map(|(at, _)| ago(at)),
            received: shown.received,
            sent: shown.sent,
            dropped: self.drops.iter().map(|(why, count)| (why.as_str().to_owned(), *count)).collect(),
            ending: self.ends_at.is_some(),
            error: self.error.clone(),
        }
    }

    pub(super) fn is_up(&self) -> bool {
        self.session.state() == State::Up
    }
}
