//! What becomes of single attributes on the way out, beside policy: AS path, next hop, AIGP, "Only to Customer".
//!
//! Private AS numbers and the peer's own are dealt with before policy runs, so that what policy prepends
//! stays. The next hop is chosen after policy, which may have something to say about it.

use std::net::IpAddr;

use ipnet::IpNet;

use crate::policy::PolicyChain;
use crate::role::Role;
use crate::types::Asn;
use crate::wire::{AsPath, Attributes, Community};

use super::rules::Learned;

/// Which private AS numbers (RFC 6996) are taken out of the AS path on the way out. That of the peer stays, so
/// that it can see a loop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PrivateAsns {
    /// Only if there are no others in the path; else it stays as it is.
    pub only_if_all: bool,
    /// Put our AS number in their place, so that the path keeps its length.
    pub replace: bool,
}

/// A network that we and the peer are both on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SharedLan {
    /// Its prefixes; none: next hops of others are never passed on.
    pub subnets: Vec<IpNet>,
    /// Neighbours on it. Their addresses are passed on only with routes from themselves, so that nobody is told
    /// to send packets to himself.
    pub neighbors: Vec<IpAddr>,
}

impl SharedLan {
    /// Whether a next hop of a route from `from` can be used by the peer directly (RFC 4271 section 5.1.3).
    fn carries(&self, next_hop: IpAddr, from: IpAddr) -> bool {
        self.subnets.iter().any(|subnet| subnet.contains(&next_hop))
            && (next_hop == from || !self.neighbors.contains(&next_hop))
    }
}

/// What is done to attributes on their way to a peer, beside policy.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "each is a key of the configuration")]
pub struct ExportRules {
    /// Take private AS numbers out of the AS path; external peers only.
    pub remove_private_asns: Option<PrivateAsns>,
    /// Put our AS number in the place of the peer's in the AS path; external peers only.
    pub as_override: bool,
    /// The peer's AS number, where one of the two above is asked for.
    pub peer_asn: Option<Asn>,
    /// Leave the next hop as it is to external peers too.
    pub next_hop_unchanged: bool,
    /// With [`GroupConfig::next_hop_self`](super::GroupConfig::next_hop_self): for routes that are reflected too.
    pub next_hop_self_force: bool,
    /// The network shared with an external peer.
    pub lan: SharedLan,
    /// Send AIGP (RFC 7311 section 3.3).
    pub aigp: bool,
    /// What we are towards the peer (RFC 9234); external peers only.
    pub role: Option<Role>,
    /// Announce a default route, whatever the RIB has, if this chain accepts it.
    pub default_originate: Option<PolicyChain>,
    /// The session is about to be shut down by us: routes get `GRACEFUL_SHUTDOWN` whatever policy says, and for
    /// other peers than external ones a `LOCAL_PREF` of 0, since those need not look at it (RFC 8326 section 4.1).
    pub graceful_shutdown: bool,
    /// The conditions that hold and that policy asks for (see [`super::super::watch`]). The RIB keeps them.
    pub present: u64,
}

/// The route goes to customers only, and the peer is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Leak;

impl ExportRules {
    /// The AS path as the peer gets it, without our own AS number; `None`: as it is.
    pub(super) fn as_path(&self, path: &AsPath, local_asn: Asn) -> Option<AsPath> {
        let is_private = |asn: Asn| asn.is_private();
        let mut changed = None;
        if let Some(PrivateAsns { only_if_all, replace }) = self.remove_private_asns
            && path.asns().any(is_private)
            && (!only_if_all || path.asns().all(is_private))
        {
            let goes = |asn: Asn| asn.is_private() && Some(asn) != self.peer_asn;
            let instead = replace.then_some(local_asn);
            changed = Some(path.filter_map(|asn| if goes(asn) { instead } else { Some(asn) }));
        }
        if self.as_override
            && let Some(peer_asn) = self.peer_asn
        {
            let present = changed.as_ref().unwrap_or(path);
            if present.contains(peer_asn) {
                changed = Some(present.filter_map(|asn| Some(if asn == peer_asn { local_asn } else { asn })));
            }
        }
        changed
    }

    /// Whether an external peer gets the next hop that the route has, when no policy says otherwise.
    pub(super) fn keeps_next_hop(&self, route: &Attributes, from: Option<Learned>) -> bool {
        let is_near = |from: Learned| self.lan.carries(route.next_hop.addr, from.neighbor.address);
        self.next_hop_unchanged || from.is_some_and(is_near)
    }

    /// Marks a route as one that is about to go.
    pub(super) fn mark_leaving(&self, route: &mut Attributes, external: bool) {
        if !self.graceful_shutdown {
            return;
        }
        if !route.communities.contains(&Community::GRACEFUL_SHUTDOWN) {
            route.communities.push(Community::GRACEFUL_SHUTDOWN);
        }
        if !external {
            route.local_pref = Some(0);
        }
    }

    /// Brings "Only to Customer" up to date (RFC 9234 section 5).
    pub(super) fn only_to_customer(&self, otc: Option<Asn>, local_asn: Asn) -> Result<Option<Asn>, Leak> {
        let Some(role) = self.role else { return Ok(otc) };
        match otc {
            Some(_) if !role.takes_marked() => Err(Leak),
            None if role.marks_sent() => Ok(Some(local_asn)),
            otc => Ok(otc),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OURS: Asn = Asn(65_000);

    fn path(rules: &ExportRules, text: &str) -> String {
        let path: AsPath = text.parse().unwrap();
        rules.as_path(&path, OURS).unwrap_or(path).to_string()
    }

    #[test]
    fn private_as_numbers_go_by_the_rule() {
        let rules = |only_if_all, replace| ExportRules {
            remove_private_asns: Some(PrivateAsns { only_if_all, replace }),
            peer_asn: Some(Asn(64_600)),
            ..ExportRules::default()
        };
        for (only_if_all, replace, before, after) in [
            (true, false, "64512 4200000000", ""),
            (true, false, "64512 3356 64513", "64512 3356 64513"),
            (false, false, "64512 3356 {64513,174} {64514}", "3356 {174}"),
            (true, true, "64512 64513", "65000 65000"),
            (false, true, "64512 3356 64513", "65000 3356 65000"),
            // The peer sees that the route was its own.
            (false, false, "64512 64600 64513", "64600"),
            (false, false, "3356 174", "3356 174"),
        ] {
            assert_eq!(path(&rules(only_if_all, replace), before), after, "{before}");
        }
    }

    #[test]
    fn as_override_puts_us_in_the_place_of_the_peer() {
        let peer_asn = Some(Asn(64_600));
        let rules = ExportRules { as_override: true, peer_asn, ..ExportRules::default() };
        assert_eq!(path(&rules, "3356 64600 64600"), "3356 65000 65000");
        assert_eq!(path(&rules, "3356 64601"), "3356 64601");
        let all = Some(PrivateAsns { only_if_all: false, replace: false });
        let both = ExportRules { remove_private_asns: all, ..rules };
        assert_eq!(path(&both, "64601 3356 64600"), "3356 65000");
    }

    #[test]
    fn a_next_hop_on_the_shared_lan_is_kept_unless_it_is_another_neighbour() {
        let address = |text: &str| -> IpAddr { text.parse().unwrap() };
        let lan = SharedLan {
            subnets: vec!["192.0.2.0/24".parse().unwrap()],
            neighbors: vec![address("192.0.2.1"), address("192.0.2.2")],
        };
        for (next_hop, from, kept) in [
            ("192.0.2.1", "192.0.2.1", true),
            ("192.0.2.77", "192.0.2.1", true),
            ("192.0.2.2", "192.0.2.1", false),
            ("198.51.100.1", "198.51.100.1", false),
        ] {
            assert_eq!(lan.carries(address(next_hop), address(from)), kept, "{next_hop}");
        }
    }

    #[test]
    fn what_goes_to_customers_only_goes_nowhere_else() {
        let outcome = |role, otc| ExportRules { role, ..ExportRules::default() }.only_to_customer(otc, OURS);
        let marked = Some(Asn(7));
        assert_eq!(outcome(None, marked), Ok(marked));
        for role in [Role::Customer, Role::Peer, Role::RouteServerClient] {
            assert_eq!(outcome(Some(role), marked), Err(Leak), "{role}");
        }
        for role in [Role::Provider, Role::RouteServer] {
            assert_eq!(outcome(Some(role), marked), Ok(marked), "{role}");
            assert_eq!(outcome(Some(role), None), Ok(Some(OURS)), "{role}");
        }
        assert_eq!(outcome(Some(Role::Peer), None), Ok(Some(OURS)));
        assert_eq!(outcome(Some(Role::Customer), None), Ok(None));
    }
}
