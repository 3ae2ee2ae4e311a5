//! What the RIB knows of its peers: the facts of their session that decisions need, and counters.
//!
//! Which of its paths are of its present session, and what is to become of the others, say
//! [`super::generations`].

use std::net::{IpAddr, Ipv4Addr};

use serde::Serialize;

use crate::policy::PolicyChain;
use crate::role::Role;
use crate::session::PeerKind;
use crate::types::{Asn, Family, FamilySet, PeerId, RouterId};
use crate::wire::AttributeContext;

use super::generations::Generations;
use super::limits::ReceiveLimits;
use super::path::Path;
use super::reflection::Reflection;

/// A session that came up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerSession {
    /// The peer; never [`PeerId::LOCAL`].
    pub id: PeerId,
    /// Its address.
    pub address: IpAddr,
    /// Its AS number.
    pub asn: Asn,
    /// Its router id.
    pub router_id: RouterId,
    /// External or internal.
    pub kind: PeerKind,
    /// Our AS number towards it.
    pub local_asn: Asn,
    /// Put that in front of the AS paths of its routes, when it is not the router's own AS number.
    pub prepend_local_asn: bool,
    /// AS numbers of its UPDATEs have four octets.
    pub as4: bool,
    /// Import policy; an external peer without any gives nothing (RFC 8212).
    pub import: PolicyChain,
    /// The families negotiated.
    pub families: FamilySet,
    /// Refuse routes whose AS path does not begin with its AS number. Off for route servers, which
    /// do not put themselves into the path.
    pub enforce_first_as: bool,
    /// What an internal peer is to us as a route reflector.
    pub reflection: Reflection,
    /// How the attributes of its routes are judged.
    pub rules: ImportRules,
    /// Limits on what it announces, by [`Family::index`]; the same gauges in every shard, new ones for each
    /// session and each other limit.
    pub limits: [ReceiveLimits; Family::ALL.len()],
    /// Which communities of its routes are orders.
    pub orders: CommunityOrders,
}

impl PeerSession {
    /// The AS that its routes have as "Only to Customer" if they have none (RFC 9234 section 5).
    pub(crate) fn otc(&self) -> Option<Asn> {
        self.rules.role.filter(|role| role.marks_received()).map(|_| self.asn)
    }

    /// What the meaning of the peer's attributes depends on.
    pub(crate) fn attribute_context(&self) -> AttributeContext {
        AttributeContext {
            as4: self.as4,
            ebgp: self.kind == PeerKind::Ebgp,
            aigp: self.rules.aigp,
            refuse_as_sets: self.rules.refuse_as_sets,
        }
    }
}

/// How the attributes of a peer's routes are judged, whatever import policy says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ImportRules {
    /// How often our own AS number may be in the AS path.
    pub allow_own_asn: u8,
    /// Take AIGP from it (RFC 7311 section 3.3).
    pub aigp: bool,
    /// Treat routes with an `AS_SET` as withdrawn (RFC 9774).
    pub refuse_as_sets: bool,
    /// What we are towards it (RFC 9234).
    pub role: Option<Role>,
    /// Its routes are the last choice, with a `LOCAL_PREF` of 0 whatever policy says: the session is about to be
    /// shut down by us (RFC 8326 section 4.1).
    pub last_choice: bool,
}

/// Well-known communities on which import acts once policy has accepted a route.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CommunityOrders {
    /// `GRACEFUL_SHUTDOWN` lowers `LOCAL_PREF` to 0 (RFC 8326 section 4.2).
    pub graceful_shutdown: bool,
    /// `BLACKHOLE` has traffic dropped, and the route stays within the AS (RFC 7999 section 3.2).
    pub blackhole: bool,
}

impl PeerSession {
    /// Whether both can be facts of one session that stayed up: what only a new session changes is equal.
    pub(crate) fn is_same_session(&self, other: &Self) -> bool {
        let facts = |session: &Self| {
            (session.id, session.address, session.asn, session.router_id, session.kind, session.as4)
        };
        facts(self) == facts(other) && self.families == other.families
    }
}

/// Routes of a peer in one family.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct PeerCounts {
    /// In the Adj-RIB-In.
    pub received: usize,
    /// Of these, not refused by policy or as a loop.
    pub accepted: usize,
    /// Of these, the best of their prefix.
    pub best: usize,
    /// Of those received, announced before the session was lost or a refresh began, and not since.
    pub stale: usize,
}

impl std::ops::AddAssign for PeerCounts {
    /// Adds what another shard has.
    fn add_assign(&mut self, other: Self) {
        self.received += other.received;
        self.accepted += other.accepted;
        self.best += other.best;
        self.stale += other.stale;
    }
}

/// What a peer sent since the RIB knows it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct PeerStatistics {
    /// UPDATE messages.
    pub updates: u64,
    /// Prefixes announced, repeated ones too.
    pub announced: u64,
    /// Prefixes withdrawn, unknown ones too.
    pub withdrawn: u64,
    /// UPDATE messages whose routes were treated as withdrawn (RFC 7606).
    pub treated_as_withdraw: u64,
    /// Malformed attributes of UPDATE messages that were discarded and the routes kept (RFC 7606).
    pub discarded_attributes: u64,
    /// What was wrong the last time that routes were treated as withdrawn.
    pub last_error: Option<String>,
    /// In which of the peer's UPDATE messages that was, counted from 1; 0 when there was none.
    pub last_error_in: u64,
}

impl PeerStatistics {
    /// Adds what another shard knows of the same peer.
    pub fn absorb(&mut self, other: Self) {
        self.updates += other.updates;
        self.announced += other.announced;
        self.withdrawn += other.withdrawn;
        self.treated_as_withdraw += other.treated_as_withdraw;
        self.discarded_attributes += other.discarded_attributes;
        if other.last_error_in > self.last_error_in {
            self.last_error = other.last_error;
            self.last_error_in = other.last_error_in;
        }
    }
}

/// A peer.
#[derive(Clone, Debug)]
pub(crate) struct Peer {
    pub(crate) session: PeerSession,
    /// Its session is up.
    pub(crate) up: bool,
    /// By [`Family::index`].
    pub(crate) generations: [Generations; Family::ALL.len()],
    /// Paths that its present import policy has not seen may still be in the table.
    pub(crate) reimporting: bool,
    /// [`Path::POLICY`] as paths carry it that its present import policy has seen.
    pub(crate) policy: u16,
    pub(crate) counts: [PeerCounts; Family::ALL.len()],
    /// How many paths of this shard count for the gauges of accepted ones.
    pub(crate) accepted_present: [u32; Family::ALL.len()],
    pub(crate) statistics: PeerStatistics,
    /// UPDATE messages seen, whichever shard counts them: the same number in every shard.
    pub(crate) heard: u64,
}

impl Peer {
    pub(crate) fn new(session: PeerSession) -> Self {
        Self {
            session,
            up: false,
            generations: Default::default(),
            reimporting: false,
            policy: 0,
            counts: Default::default(),
            accepted_present: Default::default(),
            statistics: PeerStatistics::default(),
            heard: 0,
        }
    }

    /// The peer that originated routes belong to.
    pub(crate) fn local(asn: Asn, router_id: RouterId) -> Self {
        let session = PeerSession {
            id: PeerId::LOCAL,
            address: Ipv4Addr::UNSPECIFIED.into(),
            asn,
            router_id,
            kind: PeerKind::Ibgp,
            local_asn: asn,
            prepend_local_asn: false,
            as4: true,
            import: PolicyChain::default(),
            families: FamilySet::ALL,
            enforce_first_as: false,
            rules: ImportRules::default(),
            limits: Default::default(),
            orders: CommunityOrders::default(),
            reflection: Reflection::default(),
        };
        Self { up: true, ..Self::new(session) }
    }

    /// The marks of paths that the peer announces now.
    #[inline]
    pub(crate) fn marks(&self, family: Family) -> u16 {
        self.policy | self.generations[family.index()].marks()
    }

    /// Whether a path of this peer was announced in its present session, and since the last refresh began.
    #[inline]
    pub(crate) fn owns(&self, family: Family, path: Path) -> bool {
        self.generations[family.index()].owns(path)
    }

    /// Counts a path in place of another against the limit on accepted ones; `false`: it is one too many.
    pub(crate) fn admit(&mut self, family: Family, old: Option<Path>, new: Option<Path>) -> bool {
        let Some(gauge) = &self.session.limits[family.index()].accepted else { return true };
        let counts = |path: Option<Path>| path.is_some_and(|path| path.accepted() && self.owns(family, path));
        match (counts(old), counts(new)) {
            (false, true) if !gauge.admit() => return false,
            (false, true) => self.accepted_present[family.index()] += 1,
            (true, false) => {
                gauge.release(1);
                self.accepted_present[family.index()] -= 1;
            }
            (true, true) | (false, false) => {}
        }
        true
    }

    /// Whether a path of this peer was decided on by its present import policy.
    #[inline]
    pub(crate) fn imported(&self, path: Path) -> bool {
        (path.flags ^ self.policy) & Path::POLICY == 0
    }
}
