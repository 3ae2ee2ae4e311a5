//! What policies know besides the route, and what comes out of a chain.

use std::borrow::Cow;
use std::fmt;
use std::net::IpAddr;

use crate::session::PeerKind;
use crate::types::Asn;
use crate::wire::Attributes;

use super::Policy;

/// What policies know besides the route.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PolicyContext {
    /// Our AS number towards the neighbour, for [`Modify::Prepend`](super::Modify::Prepend) without a number.
    pub local_asn: Asn,
    /// The neighbour whose chain this is. `None` on export where several neighbours share one answer, which
    /// they may unless [`PolicyChain::depends_on_neighbor`](super::PolicyChain::depends_on_neighbor).
    pub neighbor: Option<PolicyNeighbor>,
    /// The neighbour that the route was learned from: on import the same one; `None` for a route
    /// originated here.
    pub from: Option<PolicyNeighbor>,
    /// How the route was learned.
    pub route_type: RouteType,
    /// What route origin validation says of the route (RFC 6811).
    pub rpki: RpkiState,
    /// The conditions of [`Match::RoutePresent`](super::Match::RoutePresent) that hold, one bit each.
    pub present: u64,
}

/// A neighbour, as far as policies look at it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PolicyNeighbor {
    /// Its address.
    pub address: IpAddr,
    /// Its AS number.
    pub asn: Asn,
}

/// How a route was learned.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RouteType {
    /// From a neighbour in another AS.
    Ebgp,
    /// From a neighbour in our AS.
    Ibgp,
    /// It is originated here.
    Local,
}

/// The validation state of a route's origin (RFC 6811 section 2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum RpkiState {
    /// A validated payload covers the prefix and names its origin AS.
    Valid,
    /// Validated payloads cover the prefix, and none names its origin AS.
    Invalid,
    /// No validated payload covers the prefix.
    NotFound,
    /// Nobody looked: there is no cache of validated payloads.
    #[default]
    Unknown,
}

/// The outcome of a chain for one route.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(clippy::large_enum_variant, reason = "made and taken apart once a route; a box would cost more")]
pub enum Decision<'a> {
    /// Accepted, and how.
    Accept(Accepted<'a>),
    /// Rejected, and by what.
    Reject(DecidedBy<'a>),
}

/// How a route comes out of a chain that accepts it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Accepted<'a> {
    /// The attributes: borrowed when the policies changed nothing.
    pub attributes: Cow<'a, Attributes>,
    /// What the policies say of the next hop on the way out. On import all is in the attributes.
    pub next_hop: NextHopChoice,
    /// The weight that the policies gave the route, if any: a preference that never leaves this router and
    /// goes before `LOCAL_PREF`, higher is better.
    pub weight: Option<u32>,
    /// What accepted the route in the end; `None`: there was no policy.
    pub by: Option<DecidedBy<'a>>,
}

/// Which next hop an accepted route is sent with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum NextHopChoice {
    /// No policy said anything: as is usual towards the neighbour (RFC 4271 section 5.1.3).
    #[default]
    Usual,
    /// The one in the attributes.
    AsInAttributes,
    /// Our own.
    Own,
}

/// What decided about a route. Displays as `policy "x", rule 2`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DecidedBy<'a> {
    /// The policy: of the chain, or called by one.
    pub policy: &'a Policy,
    /// The index of its statement; `None`: the policy's default.
    pub statement: Option<usize>,
}

impl PolicyContext {
    /// The context of a route originated here, for nobody in particular.
    pub fn new(local_asn: Asn) -> Self {
        Self {
            local_asn,
            neighbor: None,
            from: None,
            route_type: RouteType::Local,
            rpki: RpkiState::default(),
            present: 0,
        }
    }

    /// The context of a route on its way in from a neighbour.
    pub fn import(local_asn: Asn, neighbor: PolicyNeighbor, kind: PeerKind) -> Self {
        let route_type = RouteType::from(kind);
        Self { neighbor: Some(neighbor), from: Some(neighbor), route_type, ..Self::new(local_asn) }
    }
}

impl From<PeerKind> for RouteType {
    fn from(kind: PeerKind) -> Self {
        match kind {
            PeerKind::Ebgp => Self::Ebgp,
            // Within a confederation routes are handled as internal ones (RFC 5065 section 5).
            PeerKind::Ibgp | PeerKind::Confed => Self::Ibgp,
        }
    }
}

impl fmt::Display for DecidedBy<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "policy \"{}\", ", self.policy.name)?;
        let Some(index) = self.statement else { return f.write_str("by default") };
        write!(f, "rule {}", index + 1)?;
        match self.policy.statements.get(index).and_then(|statement| statement.name.as_deref()) {
            Some(name) => write!(f, " ({name})"),
            None => Ok(()),
        }
    }
}
