//! What a route looks like on its way out, for one update group.
//!
//! In order: what must not go out at all (RFC 4271 section 9.2, RFC 1997); what only made sense where
//! the route came from is taken off (MED of another AS, section 5.1.4); export policy; then what every
//! route of that direction has: our AS number in front, our next hop, `LOCAL_PREF` for internal peers and
//! never for others. Policy may thus set a MED, and add communities meant for the receiver.

use std::borrow::Cow;

use ipnet::IpNet;

use crate::policy::{Decision, PolicyChain, PolicyContext};
use crate::session::PeerKind;
use crate::types::{Asn, Family, FamilySet};
use crate::wire::{Attributes, Community, EncodeContext, NextHop};

use super::super::attrs::DEFAULT_LOCAL_PREF;

/// All that the routes sent to a peer depend on. Peers with equal ones form an update group: their
/// routes are evaluated and encoded once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupConfig {
    /// Export policy; an external peer without any gets nothing (RFC 8212).
    pub export: PolicyChain,
    /// External or internal.
    pub kind: PeerKind,
    /// Our AS number towards the peers.
    pub local_asn: Asn,
    /// Our own next hop for each family, by [`Family::index`]. Without one, routes that need it are
    /// not sent.
    pub next_hops: [Option<NextHop>; Family::ALL.len()],
    /// Give internal peers our own next hop too.
    pub next_hop_self: bool,
    /// Families negotiated.
    pub families: FamilySet,
    /// How to write the messages.
    pub encode: EncodeContext,
}

/// Where a route came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Source {
    Originated,
    Peer(PeerKind),
}

impl GroupConfig {
    /// Whether no route can ever go out, so that nothing needs to be remembered of what went.
    pub(crate) fn is_silent(&self) -> bool {
        self.export.is_reject_all() || (self.kind == PeerKind::Ebgp && self.export.is_empty())
    }

    /// The attributes with which a route goes out; `None`: it does not.
    pub(crate) fn exported(&self, source: Source, route: &Attributes, prefix: IpNet) -> Option<Attributes> {
        let external = self.kind == PeerKind::Ebgp;
        if external && self.export.is_empty() {
            return None;
        }
        // Without route reflection, internal routes are the business of the peer they came from
        // (RFC 4271 section 9.2.1).
        if !external && source == Source::Peer(PeerKind::Ibgp) {
            return None;
        }
        let held_back = |community: &Community| {
            *community == Community::NO_ADVERTISE
                || (external
                    && (*community == Community::NO_EXPORT || *community == Community::NO_EXPORT_SUBCONFED))
        };
        if route.communities.iter().any(held_back) {
            return None;
        }
        let mut route = Cow::Borrowed(route);
        if external && source != Source::Originated && route.med.is_some() {
            route.to_mut().med = None;
        }
        let context = PolicyContext { local_asn: self.local_asn };
        let mut route = match self.export.evaluate(prefix, route, &context) {
            Decision::Accept(route) => route.into_owned(),
            Decision::Reject(_) => return None,
        };
        if external {
            route.as_path.prepend(self.local_asn, 1);
            route.local_pref = None;
            route.originator_id = None;
            route.cluster_list.clear();
        } else {
            route.local_pref.get_or_insert(DEFAULT_LOCAL_PREF);
        }
        if external || self.next_hop_self || route.next_hop.addr.is_unspecified() {
            route.next_hop = self.next_hops[Family::of(&prefix).index()]?;
        }
        Some(route)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use crate::policy::{Disposition, Modify, Policy, Statement};
    use crate::types::RouterId;
    use crate::wire::AsPath;

    use super::*;

    fn config(kind: PeerKind) -> GroupConfig {
        GroupConfig {
            export: PolicyChain::all(),
            kind,
            local_asn: Asn(65_000),
            next_hops: [Some(own().into()), None],
            next_hop_self: false,
            families: FamilySet::ALL,
            encode: EncodeContext { as4: true, extended: false },
        }
    }

    fn own() -> std::net::IpAddr {
        "192.0.2.1".parse().unwrap()
    }

    fn prefix() -> IpNet {
        "203.0.113.0/24".parse().unwrap()
    }

    fn route() -> Attributes {
        let next_hop: std::net::IpAddr = "198.51.100.9".parse().unwrap();
        Attributes {
            as_path: AsPath::sequence([Asn(65_001), Asn(174)]),
            med: Some(50),
            local_pref: Some(200),
            originator_id: Some(RouterId([1, 1, 1, 1].into())),
            cluster_list: vec![[2, 2, 2, 2].into()],
            ..Attributes::originated(next_hop)
        }
    }

    const EXTERNAL: Source = Source::Peer(PeerKind::Ebgp);
    const INTERNAL: Source = Source::Peer(PeerKind::Ibgp);

    #[test]
    fn an_external_peer_gets_our_as_and_next_hop_and_nothing_internal() {
        let out = config(PeerKind::Ebgp).exported(EXTERNAL, &route(), prefix()).unwrap();
        assert_eq!(out.as_path, AsPath::sequence([Asn(65_000), Asn(65_001), Asn(174)]));
        assert_eq!((out.med, out.local_pref, out.originator_id), (None, None, None));
        assert!(out.cluster_list.is_empty());
        assert_eq!(out.next_hop.addr, own());
    }

    #[test]
    fn an_internal_peer_gets_the_route_as_it_is_and_a_local_preference() {
        let out = config(PeerKind::Ibgp).exported(EXTERNAL, &route(), prefix()).unwrap();
        assert_eq!(out, route());
        let bare = Attributes { local_pref: None, ..route() };
        let out = config(PeerKind::Ibgp).exported(EXTERNAL, &bare, prefix()).unwrap();
        assert_eq!(out.local_pref, Some(100));
        let own_next_hop = GroupConfig { next_hop_self: true, ..config(PeerKind::Ibgp) };
        assert_eq!(own_next_hop.exported(EXTERNAL, &bare, prefix()).unwrap().next_hop.addr, own());
    }

    #[test]
    fn internal_routes_go_to_external_peers_only() {
        assert!(config(PeerKind::Ibgp).exported(INTERNAL, &route(), prefix()).is_none());
        assert!(config(PeerKind::Ebgp).exported(INTERNAL, &route(), prefix()).is_some());
    }

    #[test]
    fn well_known_communities_hold_routes_back() {
        for (community, external, internal) in [
            (Community::NO_EXPORT, false, true),
            (Community::NO_EXPORT_SUBCONFED, false, true),
            (Community::NO_ADVERTISE, false, false),
            (Community::BLACKHOLE, true, true),
        ] {
            let route = Attributes { communities: vec![community], ..route() };
            let goes = |kind| config(kind).exported(EXTERNAL, &route, prefix()).is_some();
            assert_eq!((goes(PeerKind::Ebgp), goes(PeerKind::Ibgp)), (external, internal), "{community}");
        }
    }

    #[test]
    fn an_external_peer_without_policy_gets_nothing() {
        let none = |kind| GroupConfig { export: PolicyChain::default(), ..config(kind) };
        assert!(none(PeerKind::Ebgp).exported(EXTERNAL, &route(), prefix()).is_none());
        assert!(none(PeerKind::Ibgp).exported(EXTERNAL, &route(), prefix()).is_some());
    }

    #[test]
    fn policy_sees_no_foreign_med_and_may_set_one_and_prepends_behind_our_as() {
        let statement = Statement {
            actions: vec![Modify::Med(Some(7)), Modify::Prepend { asn: None, count: 2 }],
            disposition: Some(Disposition::Accept),
            ..Statement::default()
        };
        let policy = Policy { name: "p".into(), statements: vec![statement], default: Disposition::Reject };
        let config = GroupConfig { export: PolicyChain::new([Arc::new(policy)]), ..config(PeerKind::Ebgp) };
        let out = config.exported(EXTERNAL, &route(), prefix()).unwrap();
        assert_eq!(out.med, Some(7));
        assert_eq!(out.as_path.count(Asn(65_000)), 3);
    }

    #[test]
    fn a_route_originated_here_leads_to_us_and_keeps_its_med() {
        let unspecified: std::net::IpAddr = "0.0.0.0".parse().unwrap();
        let route = Attributes { med: Some(9), ..Attributes::originated(unspecified) };
        for kind in [PeerKind::Ebgp, PeerKind::Ibgp] {
            let out = config(kind).exported(Source::Originated, &route, prefix()).unwrap();
            assert_eq!((out.next_hop.addr, out.med), (own(), Some(9)));
        }
        let v6: IpNet = "2001:db8::/32".parse().unwrap();
        assert!(config(PeerKind::Ebgp).exported(Source::Originated, &route, v6).is_none());
    }
}
