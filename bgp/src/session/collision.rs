//! Connection collision (RFC 4271 section 6.8).
//!
//! Two speakers that connect to each other at once end up with two connections, and must close the
//! same one. The rule: the connection that the speaker with the higher BGP identifier opened
//! survives; with equal identifiers (RFC 6286 allows them between ASes) the higher AS number
//! decides.
//!
//! The RFC applies the rule when an OPEN arrives while the other connection is in `OpenConfirm`.
//! Taken alone that can close both: the connections are independent streams, so one side may
//! already be Established on the loser, and by the rule for Established sessions close the winner,
//! while the other side still applies the identifiers. Three things keep that from happening, and
//! a peer that knows only the RFC notices none of them:
//!
//! - A connection that is bound to lose is not confirmed while the winner is open and its OPEN under
//!   way: its KEEPALIVE waits ([`Verdict::Wait`]), so that no side becomes Established on it. The
//!   wait is bounded ([`Timing::collision_wait`](super::Timing)), for a peer that accepts connections
//!   and never speaks on them.
//! - An attempt to connect is given up once an OPEN arrived on the peer's connection: the peer
//!   never sees an OPEN of ours on the attempt, so it has no reason to close the other.
//! - Becoming Established closes whatever else there is, and refuses what comes later.
//!
//! Between two Peregrines exactly one connection survives in every order of events. With a
//! peer that follows the RFC only, both may still die in a rare order; neither side counts that as an
//! error, and both try again within a second or so, not in step.

use super::SessionConfig;
use super::negotiate::Negotiated;
use super::state::{Direction, Link};

/// What to do with a connection on which a valid OPEN arrived, given the other connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Close the other, go on with this one.
    Wins,
    /// Close this one.
    Loses,
    /// This one would lose, but the other is not open yet: hold the KEEPALIVE back.
    Wait,
}

/// Judges the connection of this direction, whose OPEN was just accepted, against the other.
pub(super) fn judge(
    config: &SessionConfig,
    direction: Direction,
    negotiated: &Negotiated,
    other: &Link,
) -> Verdict {
    match other {
        Link::Connect(_) => Verdict::Wins,
        Link::OpenSent(_) | Link::OpenConfirm(_) if direction == survivor(config, negotiated) => {
            Verdict::Wins
        }
        Link::OpenSent(other) if other.contested.is_none() => Verdict::Wait,
        // A contested one had its OPEN accepted before, under another identifier: first come, first
        // served.
        Link::OpenSent(_) | Link::OpenConfirm(_) | Link::Established(_) => Verdict::Loses,
    }
}

/// The direction of the connection that survives.
fn survivor(config: &SessionConfig, negotiated: &Negotiated) -> Direction {
    let ours = (config.router_id, config.local_asn);
    let theirs = (negotiated.peer_router_id, negotiated.peer_asn);
    if ours > theirs { Direction::Outbound } else { Direction::Inbound }
}
