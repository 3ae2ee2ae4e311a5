//! What a session must be told, and the times it keeps.
//!
//! The defaults of [`Timing`] lean towards quick recovery: RFC 4271 section 10 suggests two minutes
//! between connection attempts, which suited routers of its day; five seconds that double up to a
//! minute find a rebooted neighbour soon and still leave a dead one alone.

use std::fmt;
use std::time::Duration;

use crate::role::Role;
use crate::types::{Asn, Family, FamilySet, HoldTime, RouterId};
use crate::wire::{Capability, GracefulRestart};

/// Configuration of one session. [`Session::reconfigure`](super::Session::reconfigure) replaces it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "each is a setting of its own")]
pub struct SessionConfig {
    /// Our AS number: that of the confederation, if we are in one and the peer is not.
    pub local_asn: Asn,
    /// The peer is in another member AS of our confederation.
    pub confederation: bool,
    /// The AS that the peer must be in.
    pub peer_asn: PeerAsn,
    /// Our BGP identifier.
    pub router_id: RouterId,
    /// The hold time we propose.
    pub hold_time: HoldTime,
    /// Interval of keepalives, if it is shorter than a third of the negotiated hold time; `None`: that third.
    pub keepalive: Option<Duration>,
    /// The shortest hold time accepted from the peer; zero, which means no keepalives at all, always is.
    pub min_hold_time: HoldTime,
    /// The send hold time.
    pub send_hold_time: SendHoldTime,
    /// The families we want to exchange.
    pub families: FamilySet,
    /// Only wait for the peer's connection, never open one.
    pub passive: bool,
    /// Announce the extended message capability (RFC 8654).
    pub extended_messages: bool,
    /// Exchange IPv4 routes with IPv6 next hops, if the peer does (RFC 8950).
    pub extended_next_hop: bool,
    /// Families in which we want to receive several paths of a prefix (RFC 7911).
    pub add_path_receive: FamilySet,
    /// Families in which we want to send them.
    pub add_path_send: FamilySet,
    /// What we are towards the peer, which it is told (RFC 9234). Only between ASes.
    pub role: Option<Role>,
    /// With a role: refuse a peer that does not say its own.
    pub role_strict: bool,
    /// Help a peer that restarts (RFC 4724 section 4.2); `None`: no graceful restart at all.
    pub graceful_restart: Option<GracefulHelper>,
    /// Have the peer help us when we restart; `None`: it is to keep nothing of ours. Only with `graceful_restart`.
    pub own_restart: Option<OwnRestart>,
    /// Capabilities that are announced for the peer to show, without a meaning for the session.
    pub about: Vec<Capability>,
    /// Seed of the timers' jitter. Two sessions should not share one.
    pub jitter_seed: u64,
    /// Intervals that the protocol leaves to us.
    pub timing: Timing,
}

impl SessionConfig {
    /// A configuration with every default: all families, active, extended messages.
    pub fn new(local_asn: Asn, peer_asn: impl Into<PeerAsn>, router_id: RouterId, jitter_seed: u64) -> Self {
        Self {
            local_asn,
            confederation: false,
            peer_asn: peer_asn.into(),
            router_id,
            hold_time: HoldTime::DEFAULT,
            keepalive: None,
            min_hold_time: HoldTime::SHORTEST,
            send_hold_time: SendHoldTime::default(),
            families: FamilySet::ALL,
            passive: false,
            extended_messages: true,
            extended_next_hop: false,
            add_path_receive: FamilySet::EMPTY,
            add_path_send: FamilySet::EMPTY,
            role: None,
            role_strict: false,
            graceful_restart: None,
            own_restart: None,
            about: Vec::new(),
            jitter_seed,
            timing: Timing::default(),
        }
    }

    /// Whether the peer is in our AS or in another.
    pub fn kind(&self) -> PeerKind {
        if self.peer_asn == self.local_asn.into() {
            PeerKind::Ibgp
        } else if self.confederation {
            PeerKind::Confed
        } else {
            PeerKind::Ebgp
        }
    }
}

/// Which AS a peer must be in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PeerAsn {
    /// This one.
    Is(Asn),
    /// Any but our own: its OPEN says which.
    External,
}

impl From<Asn> for PeerAsn {
    fn from(asn: Asn) -> Self {
        Self::Is(asn)
    }
}

impl fmt::Display for PeerAsn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Is(asn) => asn.fmt(f),
            Self::External => f.write_str("external"),
        }
    }
}

/// How a peer that restarts is helped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GracefulHelper {
    /// How long its routes are kept after the session is lost, at most: also when it offers more, and
    /// when it is back and does not finish. Long-lived stale routes are kept beyond that.
    pub stale_routes_time: Duration,
    /// How long its routes are kept after its restart time, at most, by [`Family::index`] (RFC 9494); zero:
    /// not at all.
    pub long_lived: [Duration; Family::ALL.len()],
    /// Offer long-lived graceful restart (RFC 9494), so that it may tell us stale routes.
    pub long_lived_aware: bool,
}

impl Default for GracefulHelper {
    /// Six minutes, no long-lived stale routes.
    fn default() -> Self {
        Self {
            stale_routes_time: Duration::from_mins(6),
            long_lived: Default::default(),
            long_lived_aware: false,
        }
    }
}

/// What we offer for our own restart (RFC 4724 section 3), because packets go on being forwarded meanwhile.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OwnRestart {
    /// How long we may be away, in seconds, up to [`GracefulRestart::LONGEST`].
    pub restart_time: u16,
    /// The families that were forwarded all the while since our sessions of before. Once a session has been up, that
    /// is the case of all of its families, and the session sees to it itself.
    pub forwarding: FamilySet,
    /// We have just restarted, and announce nothing before we have heard what others have to say.
    pub restarting: bool,
}

impl OwnRestart {
    /// The capability, with families that we exchange.
    pub(super) fn offer(self, families: FamilySet) -> GracefulRestart {
        GracefulRestart {
            restarting: self.restarting,
            notification: true,
            restart_time: self.restart_time,
            families,
            forwarding: self.forwarding.intersect(families),
        }
    }
}

/// How long the peer may take nothing of what we send (RFC 9687).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum SendHoldTime {
    /// Eight minutes, or twice the negotiated hold time if that is longer (RFC 9687 section 4.3); forever when
    /// that is zero.
    #[default]
    Usual,
    /// This long; forever when the negotiated hold time is zero.
    After(Duration),
    /// Forever.
    Off,
}

impl SendHoldTime {
    const LEAST_USUAL: Duration = Duration::from_mins(8);

    /// How long with a negotiated hold time; `None`: forever.
    pub fn with(self, hold_time: HoldTime) -> Option<Duration> {
        let hold_time = hold_time.duration()?;
        match self {
            Self::Usual => Some(Self::LEAST_USUAL.max(2 * hold_time)),
            Self::After(time) => Some(time),
            Self::Off => None,
        }
    }
}

/// Intervals that the protocol leaves to the implementation. Those that repeat are jittered to
/// 0.75 to 1.0 of their value (RFC 4271 section 10).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timing {
    /// First pause after a connection attempt that failed; doubles with each further one.
    pub connect_retry: Duration,
    /// Longest pause between connection attempts.
    pub connect_retry_max: Duration,
    /// How long an attempt may take before it is given up for a new one.
    pub connect_timeout: Duration,
    /// First stay in Idle after an error; doubles with each further one.
    pub idle_hold: Duration,
    /// Longest stay in Idle after an error.
    pub idle_hold_max: Duration,
    /// A session that was Established for this long is stable: the next error starts from
    /// `idle_hold` again.
    pub stable_after: Duration,
    /// The large hold time before one is negotiated (RFC 4271 section 8.2.2 suggests 4 minutes).
    pub open_hold: Duration,
    /// How long the peer may take to send everything again, before what it has not sent by then is void (RFC
    /// 7313 section 4).
    pub refresh_limit: Duration,
    /// How long a connection that must lose a collision waits for the winner's OPEN.
    pub collision_wait: Duration,
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            connect_retry: Duration::from_secs(5),
            connect_retry_max: Duration::from_mins(1),
            connect_timeout: Duration::from_secs(15),
            idle_hold: Duration::from_secs(1),
            idle_hold_max: Duration::from_mins(1),
            stable_after: Duration::from_mins(2),
            open_hold: Duration::from_mins(4),
            refresh_limit: Duration::from_mins(10),
            collision_wait: Duration::from_secs(5),
        }
    }
}

/// Which side of the AS border a peer is on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PeerKind {
    /// A peer in our AS.
    Ibgp,
    /// A peer in another member AS of our confederation (RFC 5065).
    Confed,
    /// A peer in another AS.
    Ebgp,
}
