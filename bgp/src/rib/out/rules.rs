//! What a route looks like on its way out, for one update group.
//!
//! In order: what must not go out at all (RFC 4271 section 9.2, RFC 4456 section 6, RFC 1997, RFC 9234); what
//! only made sense where the route came from is taken off (MED of another AS, section 5.1.4; extended communities
//! that are not transitive, RFC 4360 section 6); export policy; then what every route of that direction has: our
//! AS number in front, our next hop, `LOCAL_PREF` for internal peers and never for others. Policy may thus set a
//! MED, and add communities meant for the receiver. What is reflected keeps its next hop unless policy says
//! otherwise (RFC 4456 section 10). Other member ASes of a confederation (RFC 5065) get routes as internal peers
//! do, with our AS in a confederation segment; all such segments are taken off where a route leaves the
//! confederation. Clients of a route server (RFC 7947) get routes as they are.

use std::borrow::Cow;
use std::sync::Arc;

use ipnet::IpNet;

use crate::link::link_of;
use crate::policy::{Decision, NextHopChoice, PolicyChain, PolicyContext, PolicyNeighbor, RouteType};
use crate::session::PeerKind;
use crate::types::{Asn, Family, FamilySet, PeerId, RouterId};
use crate::wire::{Attributes, Community, EncodeContext, NextHop};

use super::super::attrs::DEFAULT_LOCAL_PREF;
use super::super::core::Core;
use super::super::limits::PrefixGauge;
use super::super::path::Path;
use super::super::reflection::Reflection;
use super::held_back::HeldBack;
use super::rewrite::{ExportRules, Leak};

/// All that the routes sent to a peer depend on. Peers with equal ones form an update group: their
/// routes are evaluated and encoded once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupConfig {
    /// Export policy; an external peer without any gets nothing (RFC 8212).
    pub export: PolicyChain,
    /// External or internal.
    pub kind: PeerKind,
    /// Our AS number towards the peers: that of the confederation, if we are in one and they are not.
    pub local_asn: Asn,
    /// The router's own AS number, when it is to be seen in paths behind another `local_asn`.
    pub behind_local_asn: Option<Asn>,
    /// The peer, when its export policy looks at who it is ([`PolicyChain::depends_on_neighbor`]); such a peer
    /// has a group of its own.
    pub neighbor: Option<PolicyNeighbor>,
    /// Our own next hop for each family, by [`Family::index`]. Without one, routes that need it are
    /// not sent.
    pub next_hops: [Option<NextHop>; Family::ALL.len()],
    /// Give internal peers our own next hop too, save with reflected routes.
    pub next_hop_self: bool,
    /// What an internal peer is to us as a route reflector.
    pub reflection: Reflection,
    /// The peer is a client of ours as a route server (RFC 7947): nothing of us is put on its routes, and it
    /// gets the best one of those that pass. Such a peer has a group of its own.
    pub route_server: bool,
    /// Families negotiated.
    pub families: FamilySet,
    /// Send long-lived stale routes too: the peers know what that is (RFC 9494 section 4.3).
    pub long_lived: bool,
    /// Limits on what the peer is told, by [`Family::index`]. Gauges are equal to themselves only: a peer with
    /// limits has a group of its own.
    pub limits: [Option<Arc<PrefixGauge>>; Family::ALL.len()],
    /// How to write the messages; in families with path identifiers (RFC 7911) several paths of a prefix
    /// may be sent.
    pub encode: EncodeContext,
    /// What is done to attributes beside policy.
    pub rules: ExportRules,
    /// How many at most, the best ones by the decision. What a peer announced itself is among them, but not
    /// sent to it.
    pub most_paths: usize,
}

/// Where a route came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Source {
    Originated,
    Peer(Learned),
}

/// The peer that a route came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Learned {
    pub(crate) kind: PeerKind,
    pub(crate) neighbor: PolicyNeighbor,
    pub(crate) router_id: RouterId,
    /// What it is to us as a route reflector.
    pub(crate) reflection: Reflection,
    /// Its AS, if what comes from it goes to customers only (RFC 9234 section 5).
    pub(crate) otc: Option<Asn>,
    /// Cost of reaching the route's next hop.
    pub(crate) interior_cost: u32,
}

impl Core {
    /// Where a path came from.
    pub(crate) fn source(&self, path: Path) -> Source {
        let Some(peer) = self.peer(path.peer).filter(|_| path.peer != PeerId::LOCAL.0) else {
            return Source::Originated;
        };
        let session = &peer.session;
        Source::Peer(Learned {
            kind: session.kind,
            neighbor: PolicyNeighbor { address: session.address, asn: session.asn },
            router_id: session.router_id,
            reflection: session.reflection,
            otc: session.otc(),
            interior_cost: self.interior_cost(path.attr),
        })
    }
}

impl GroupConfig {
    /// The conditions that its policies ask for, one bit each.
    pub(crate) fn conditions(&self) -> u64 {
        let default = self.rules.default_originate.as_ref().map_or(0, |chain| chain.dependence().conditions);
        self.export.dependence().conditions | default
    }

    /// Whether no route can ever go out, so that nothing needs to be remembered of what went.
    pub(crate) fn is_silent(&self) -> bool {
        self.rules.default_originate.is_none()
            && (self.export.is_reject_all() || (self.kind == PeerKind::Ebgp && self.export.is_empty()))
    }

    /// The attributes with which a route goes out; `None`: it does not.
    pub(crate) fn exported(&self, source: Source, route: &Attributes, prefix: IpNet) -> Option<Attributes> {
        self.export(source, route, prefix).ok()
    }

    /// The attributes with which a route goes out, or why it does not.
    pub(crate) fn export<'a>(
        &'a self,
        source: Source,
        route: &'a Attributes,
        prefix: IpNet,
    ) -> Result<Attributes, HeldBack<'a>> {
        let external = self.kind == PeerKind::Ebgp;
        let default = self.rules.default_originate.as_ref();
        let chain = default.filter(|_| source == Source::Originated && prefix.prefix_len() == 0);
        if external && self.export.is_empty() && chain.is_none() {
            return Err(HeldBack::NoPolicy);
        }
        let chain = chain.unwrap_or(&self.export);
        let learned = match source {
            Source::Originated => None,
            Source::Peer(learned) => Some(learned),
        };
        // An internal route is the business of the peer it came from (RFC 4271 section 9.2.1), or of ours
        // as a route reflector.
        let internal = |learned: &Learned| learned.kind == PeerKind::Ibgp;
        let reflected = learned.filter(internal).filter(|_| self.kind == PeerKind::Ibgp);
        if reflected.is_some_and(|from| !self.reflection.takes_from(from.reflection)) {
            return Err(HeldBack::Internal);
        }
        let held_back = |community: &Community| {
            *community == Community::NO_ADVERTISE
                || (external && *community == Community::LLGR_STALE && !self.long_lived)
                // A route server is a part of no way that a route takes: it is for its clients to obey.
                || (external && !self.route_server && *community == Community::NO_EXPORT)
                || (self.kind != PeerKind::Ibgp && *community == Community::NO_EXPORT_SUBCONFED)
        };
        if let Some(community) = route.communities.iter().find(|community| held_back(community)) {
            return Err(HeldBack::Community(*community));
        }
        // Who does not know what it means has it as the last choice, and keeps it to itself (RFC 9494 section 4.6).
        let stale = !self.long_lived && route.communities.contains(&Community::LLGR_STALE);
        let otc = route.otc.or_else(|| learned?.otc);
        let otc = if external {
            self.rules.only_to_customer(otc, self.local_asn).map_err(|Leak| HeldBack::RouteLeak)?
        } else {
            otc
        };
        let mut route = Cow::Borrowed(route);
        let transparent = self.route_server && learned.is_some();
        if external && !transparent {
            self.leave_as(&mut route, learned.is_some());
        }
        let (from, route_type) = match learned {
            None => (None, RouteType::Local),
            Some(learned) => (Some(learned.neighbor), learned.kind.into()),
        };
        let context = PolicyContext {
            neighbor: self.neighbor,
            from,
            route_type,
            present: self.rules.present,
            ..PolicyContext::new(self.local_asn)
        };
        let (mut route, next_hop) = match chain.evaluate(prefix, route, &context) {
            Decision::Accept(accepted) => (accepted.attributes.into_owned(), accepted.next_hop),
            Decision::Reject(by) => return Err(HeldBack::Policy(by)),
        };
        self.address(&mut route, transparent);
        if let Some(from) = reflected {
            self.reflection.mark(from.reflection, from.router_id, &mut route);
        }
        route.otc = otc;
        self.rules.mark_leaving(&mut route, external);
        if stale {
            route.local_pref = Some(0);
            if !route.communities.contains(&Community::NO_EXPORT) {
                route.communities.push(Community::NO_EXPORT);
            }
        }
        let family = Family::of(&prefix);
        // RFC 8950 section 4: not to a peer that has not said that it takes it.
        let foreign =
            family == Family::Ipv4Unicast && route.next_hop.addr.is_ipv6() && !self.encode.extended_next_hop;
        // A link-local one means nothing beyond its link (RFC 2545 section 2).
        let own = foreign
            || link_of(route.next_hop.addr).is_some()
            || route.next_hop.addr.is_unspecified()
            || match next_hop {
                NextHopChoice::Usual if external => {
                    self.next_hop_self || !(transparent || self.rules.keeps_next_hop(&route, learned))
                }
                NextHopChoice::Usual => {
                    self.next_hop_self && (reflected.is_none() || self.rules.next_hop_self_force)
                }
                NextHopChoice::AsInAttributes => false,
                NextHopChoice::Own => true,
            };
        if own {
            route.next_hop = self.next_hops[family.index()].ok_or(HeldBack::NoNextHop)?;
        }
        if !self.rules.aigp {
            route.aigp = None;
        } else if let (true, Some(aigp), Some(learned)) = (own, &mut route.aigp, learned) {
            // RFC 7311 section 3.4: who becomes the next hop adds the way to the one before.
            aigp.metric = aigp.metric.saturating_add(learned.interior_cost.into());
        }
        Ok(route)
    }

    /// Puts on a route what all that go to such a peer have, and takes off what only others may see.
    fn address(&self, route: &mut Attributes, transparent: bool) {
        match self.kind {
            PeerKind::Ebgp => {
                if route.as_path.segments().any(|segment| segment.kind().is_confed()) {
                    route.as_path = route.as_path.without_confederations();
                }
                // An empty path would be a lie: a route always comes from some AS.
                if !transparent || route.as_path.is_empty() {
                    if let Some(asn) = self.behind_local_asn {
                        route.as_path.prepend(asn, 1);
                    }
                    route.as_path.prepend(self.local_asn, 1);
                }
                route.local_pref = None;
            }
            PeerKind::Confed => {
                route.as_path.prepend_confed(self.local_asn);
                route.local_pref.get_or_insert(DEFAULT_LOCAL_PREF);
            }
            PeerKind::Ibgp => {
                route.local_pref.get_or_insert(DEFAULT_LOCAL_PREF);
            }
        }
        if self.kind != PeerKind::Ibgp {
            route.originator_id = None;
            route.cluster_list.clear();
        }
    }

    /// Takes off what does not leave the AS, and rewrites the AS path, before policy sees the route.
    fn leave_as(&self, route: &mut Cow<'_, Attributes>, learned: bool) {
        if learned && route.med.is_some() {
            route.to_mut().med = None;
        }
        if route.extended_communities.iter().any(|community| !community.is_transitive()) {
            route.to_mut().extended_communities.retain(|community| community.is_transitive());
        }
        if let Some(path) = self.rules.as_path(&route.as_path, self.local_asn) {
            route.to_mut().as_path = path;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;
    use std::sync::Arc;

    use crate::policy::{
        Disposition, Match, Modify, NeighborSet, NextHopAction, Policy, PrefixList, Statement,
    };
    use crate::role::Role;
    use crate::types::RouterId;
    use crate::wire::{AsPath, ExtendedCommunity};

    use super::super::rewrite::SharedLan;

    use super::*;

    fn config(kind: PeerKind) -> GroupConfig {
        GroupConfig {
            export: PolicyChain::all(),
            kind,
            local_asn: Asn(65_000),
            behind_local_asn: None,
            neighbor: None,
            next_hops: [Some(own().into()), None],
            next_hop_self: false,
            reflection: Reflection::default(),
            route_server: false,
            families: FamilySet::ALL,
            long_lived: false,
            limits: Default::default(),
            encode: EncodeContext {
                as4: true,
                extended: false,
                add_path: FamilySet::EMPTY,
                extended_next_hop: false,
            },
            rules: ExportRules::default(),
            most_paths: usize::MAX,
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

    const FROM: PolicyNeighbor =
        PolicyNeighbor { address: std::net::IpAddr::V4(Ipv4Addr::new(198, 51, 100, 9)), asn: Asn(65_001) };
    const LEARNED: Learned = Learned {
        kind: PeerKind::Ebgp,
        neighbor: FROM,
        router_id: RouterId(Ipv4Addr::new(9, 9, 9, 9)),
        reflection: Reflection { client: false, cluster_id: Ipv4Addr::UNSPECIFIED, between_clients: true },
        otc: None,
        interior_cost: 0,
    };
    const EXTERNAL: Source = Source::Peer(LEARNED);
    const INTERNAL: Source = Source::Peer(Learned { kind: PeerKind::Ibgp, ..LEARNED });

    fn source(kind: PeerKind) -> Source {
        Source::Peer(Learned { kind, ..LEARNED })
    }

    #[test]
    fn an_external_peer_gets_our_as_and_next_hop_and_nothing_internal() {
        let out = config(PeerKind::Ebgp).exported(EXTERNAL, &route(), prefix()).unwrap();
        assert_eq!(out.as_path, AsPath::sequence([Asn(65_000), Asn(65_001), Asn(174)]));
        assert_eq!((out.med, out.local_pref, out.originator_id), (None, None, None));
        assert!(out.cluster_list.is_empty());
        assert_eq!(out.next_hop.addr, own());
    }

    #[test]
    fn another_local_as_number_stands_before_ours_or_in_its_place() {
        let local = GroupConfig { local_asn: Asn(64_999), ..config(PeerKind::Ebgp) };
        let out = local.exported(EXTERNAL, &route(), prefix()).unwrap();
        assert_eq!(out.as_path, AsPath::sequence([Asn(64_999), Asn(65_001), Asn(174)]));
        let both = GroupConfig { behind_local_asn: Some(Asn(65_000)), ..local };
        let out = both.exported(EXTERNAL, &route(), prefix()).unwrap();
        assert_eq!(out.as_path, AsPath::sequence([Asn(64_999), Asn(65_000), Asn(65_001), Asn(174)]));
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
    fn a_client_gets_internal_routes_marked_and_otherwise_as_they_are() {
        let cluster = Ipv4Addr::new(7, 7, 7, 7);
        let client = GroupConfig { reflection: Reflection::client(cluster), ..config(PeerKind::Ibgp) };
        let out = client.exported(INTERNAL, &route(), prefix()).unwrap();
        let list = vec![cluster, [2, 2, 2, 2].into()];
        assert_eq!(out, Attributes { cluster_list: list, ..route() });
        let fresh = Attributes { originator_id: None, cluster_list: vec![], ..route() };
        let out = client.exported(INTERNAL, &fresh, prefix()).unwrap();
        assert_eq!(out.originator_id, Some(RouterId([9, 9, 9, 9].into())));
        // Next-hop-self is for what comes from outside.
        let own_next_hop = GroupConfig { next_hop_self: true, ..client };
        let next_hop = |source| own_next_hop.exported(source, &fresh, prefix()).unwrap().next_hop.addr;
        assert_eq!((next_hop(INTERNAL), next_hop(EXTERNAL)), (fresh.next_hop.addr, own()));
        let out = own_next_hop.exported(EXTERNAL, &fresh, prefix()).unwrap();
        assert!(out.cluster_list.is_empty() && out.originator_id.is_none(), "that was not reflected");
    }

    #[test]
    fn a_member_of_the_confederation_gets_what_an_internal_peer_gets_and_our_as_in_its_segment() {
        let member = GroupConfig { local_asn: Asn(64_512), ..config(PeerKind::Confed) };
        for source in [EXTERNAL, INTERNAL, source(PeerKind::Confed)] {
            let out = member.exported(source, &route(), prefix()).unwrap();
            assert_eq!(out.as_path.to_string(), "(64512) 65001 174");
            assert_eq!((out.med, out.local_pref, out.next_hop), (Some(50), Some(200), route().next_hop));
            assert!(out.originator_id.is_none() && out.cluster_list.is_empty());
            // And beyond the confederation nothing of it is seen.
            let beyond = config(PeerKind::Ebgp).exported(source, &out, prefix()).unwrap();
            assert_eq!(beyond.as_path.to_string(), "65000 65001 174");
            assert_eq!((beyond.med, beyond.local_pref, beyond.next_hop.addr), (None, None, own()));
        }
    }

    #[test]
    fn what_stays_says_why() {
        let why = |config: &GroupConfig, source, route: &Attributes| {
            config.export(source, route, prefix()).unwrap_err().to_string()
        };
        let external = config(PeerKind::Ebgp);
        let none = GroupConfig { export: PolicyChain::default(), ..external.clone() };
        assert!(why(&none, EXTERNAL, &route()).contains("RFC 8212"));
        let rejects = GroupConfig { export: PolicyChain::none(), ..external.clone() };
        assert!(why(&rejects, EXTERNAL, &route()).starts_with("rejected by export policy: policy \"none\""));
        assert!(why(&config(PeerKind::Ibgp), INTERNAL, &route()).contains("not reflected"));
        let marked = Attributes { communities: vec![Community(7), Community::NO_EXPORT], ..route() };
        assert_eq!(why(&external, EXTERNAL, &marked), "its community no-export");
        let lost = GroupConfig { next_hops: [None; 2], ..external };
        assert!(why(&lost, EXTERNAL, &route()).contains("next hop"));
    }

    #[test]
    fn a_client_of_a_route_server_gets_routes_as_they_are() {
        let client = GroupConfig { route_server: true, ..config(PeerKind::Ebgp) };
        let out = client.exported(EXTERNAL, &route(), prefix()).unwrap();
        assert_eq!((out.as_path, out.med, out.next_hop), (route().as_path, route().med, route().next_hop));
        assert_eq!((out.local_pref, out.originator_id), (None, None));
        let unspecified: std::net::IpAddr = "0.0.0.0".parse().unwrap();
        let ours = Attributes::originated(unspecified);
        let out = client.exported(Source::Originated, &ours, prefix()).unwrap();
        assert_eq!((out.as_path.to_string().as_str(), out.next_hop.addr), ("65000", own()));
        let no_export = Attributes { communities: vec![Community::NO_EXPORT], ..route() };
        assert!(client.exported(EXTERNAL, &no_export, prefix()).is_some());
    }

    #[test]
    fn well_known_communities_hold_routes_back() {
        for (community, external, internal) in [
            (Community::NO_EXPORT, false, true),
            (Community::NO_EXPORT_SUBCONFED, false, true),
            (Community::NO_ADVERTISE, false, false),
            (Community::BLACKHOLE, true, true),
        ] {
            let subconfed = community != Community::NO_EXPORT_SUBCONFED && internal;
            let route = Attributes { communities: vec![community], ..route() };
            let goes = |kind| config(kind).exported(EXTERNAL, &route, prefix()).is_some();
            assert_eq!((goes(PeerKind::Ebgp), goes(PeerKind::Ibgp)), (external, internal), "{community}");
            assert_eq!(goes(PeerKind::Confed), subconfed, "{community}");
        }
        let stale = Attributes { communities: vec![Community::LLGR_STALE], ..route() };
        for long_lived in [false, true] {
            let config = GroupConfig { long_lived, ..config(PeerKind::Ebgp) };
            assert_eq!(config.exported(EXTERNAL, &stale, prefix()).is_some(), long_lived);
        }
    }

    #[test]
    fn within_the_as_long_lived_stale_routes_are_the_last_choice_of_those_who_do_not_know_them() {
        let stale = Attributes { communities: vec![Community::LLGR_STALE], local_pref: Some(200), ..route() };
        for kind in [PeerKind::Ibgp, PeerKind::Confed] {
            let sent = |long_lived, route: &Attributes| {
                let config = GroupConfig { long_lived, ..config(kind) };
                let sent = config.exported(EXTERNAL, route, prefix()).unwrap();
                (sent.local_pref, sent.communities)
            };
            let told = vec![Community::LLGR_STALE, Community::NO_EXPORT];
            assert_eq!(sent(false, &stale), (Some(0), told.clone()), "RFC 9494 section 4.6");
            let marked = Attributes { communities: told.clone(), ..stale.clone() };
            assert_eq!(sent(false, &marked), (Some(0), told), "once");
            assert_eq!(sent(true, &stale), (Some(200), vec![Community::LLGR_STALE]));
            let fresh = Attributes { communities: Vec::new(), ..stale.clone() };
            assert_eq!(sent(false, &fresh), (Some(200), Vec::new()));
        }
    }

    #[test]
    fn what_is_not_transitive_ends_at_the_border() {
        let (link_bandwidth, target) =
            (ExtendedCommunity([0x40, 4, 0, 1, 0, 0, 0, 0]), ExtendedCommunity([0, 2, 0, 1, 0, 0, 0, 7]));
        let route = Attributes {
            extended_communities: vec![link_bandwidth, target],
            aigp: Some(30.into()),
            ..route()
        };
        let out = |config: &GroupConfig, source| config.exported(source, &route, prefix()).unwrap();
        let external = out(&config(PeerKind::Ebgp), EXTERNAL);
        assert_eq!((external.extended_communities, external.aigp), (vec![target], None));
        let rules = ExportRules { aigp: true, ..ExportRules::default() };
        let internal = out(&GroupConfig { rules: rules.clone(), ..config(PeerKind::Ibgp) }, EXTERNAL);
        assert_eq!(internal.extended_communities, [link_bandwidth, target]);
        assert_eq!(internal.aigp, Some(30.into()));
        // As the next hop we add our way to the one before.
        let far = Source::Peer(Learned { interior_cost: 12, ..LEARNED });
        assert_eq!(out(&GroupConfig { rules, ..config(PeerKind::Ebgp) }, far).aigp, Some(42.into()));
    }

    #[test]
    fn what_a_role_implies_goes_along_inside_the_as_and_out_to_customers() {
        let source = Source::Peer(Learned { otc: Some(Asn(65_001)), ..LEARNED });
        let with = |kind, role| {
            let rules = ExportRules { role, ..ExportRules::default() };
            GroupConfig { rules, ..config(kind) }.exported(source, &route(), prefix())
        };
        assert_eq!(with(PeerKind::Ibgp, None).unwrap().otc, Some(Asn(65_001)));
        assert_eq!(with(PeerKind::Ebgp, Some(Role::Provider)).unwrap().otc, Some(Asn(65_001)));
        assert!(with(PeerKind::Ebgp, Some(Role::Peer)).is_none());
    }

    #[test]
    fn what_is_about_to_go_says_so_whatever_policy_does() {
        let rules = ExportRules { graceful_shutdown: true, ..ExportRules::default() };
        let actions = vec![Modify::LocalPref(300)];
        let statement = Statement { actions, disposition: Some(Disposition::Accept), ..Statement::default() };
        let export = PolicyChain::new([Arc::new(Policy { statements: vec![statement], ..Policy::all() })]);
        let before = Attributes { communities: vec![Community(7)], ..route() };
        for (kind, local_pref) in
            [(PeerKind::Ebgp, None), (PeerKind::Ibgp, Some(0)), (PeerKind::Confed, Some(0))]
        {
            let leaving = GroupConfig { rules: rules.clone(), export: export.clone(), ..config(kind) };
            let out = leaving.exported(EXTERNAL, &before, prefix()).unwrap();
            assert_eq!(out.communities, [Community(7), Community::GRACEFUL_SHUTDOWN], "{kind:?}");
            assert_eq!(out.local_pref, local_pref, "{kind:?}");
            // Once is enough.
            let again = leaving.exported(EXTERNAL, &out, prefix()).unwrap();
            assert_eq!(again.communities, out.communities);
        }
    }

    #[test]
    fn next_hops_are_kept_where_that_is_asked_for() {
        let theirs = route().next_hop.addr;
        let lan = SharedLan { subnets: vec!["198.51.100.0/24".parse().unwrap()], neighbors: vec![theirs] };
        let near = ExportRules { lan, ..ExportRules::default() };
        let unchanged = ExportRules { next_hop_unchanged: true, ..ExportRules::default() };
        for (rules, next_hop_self, expected) in [
            (ExportRules::default(), false, own()),
            (near.clone(), false, theirs),
            (near, true, own()),
            (unchanged, false, theirs),
        ] {
            let config = GroupConfig { next_hop_self, rules, ..config(PeerKind::Ebgp) };
            assert_eq!(config.exported(EXTERNAL, &route(), prefix()).unwrap().next_hop.addr, expected);
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
    fn an_ipv6_next_hop_of_an_ipv4_route_goes_to_peers_that_take_it() {
        let theirs: std::net::IpAddr = "2001:db8::9".parse().unwrap();
        let route = Attributes { next_hop: theirs.into(), ..route() };
        let internal = config(PeerKind::Ibgp);
        assert_eq!(internal.exported(EXTERNAL, &route, prefix()).unwrap().next_hop.addr, own());
        let encode = EncodeContext { extended_next_hop: true, ..internal.encode };
        let capable = GroupConfig { encode, ..internal };
        assert_eq!(capable.exported(EXTERNAL, &route, prefix()).unwrap().next_hop.addr, theirs);
    }

    #[test]
    fn the_next_hop_of_a_link_stays_on_it() {
        let theirs = crate::link::LinkTag::of("eth0").mark("fe80::9".parse().unwrap());
        let route = Attributes { next_hop: theirs.into(), ..route() };
        for kind in [PeerKind::Ebgp, PeerKind::Ibgp] {
            let rules = ExportRules { next_hop_unchanged: true, ..ExportRules::default() };
            let encode = EncodeContext { extended_next_hop: true, ..config(kind).encode };
            let config = GroupConfig { encode, rules, ..config(kind) };
            assert_eq!(config.exported(EXTERNAL, &route, prefix()).unwrap().next_hop.addr, own());
        }
    }

    #[test]
    fn policy_may_choose_the_next_hop() {
        let other: std::net::IpAddr = "192.0.2.77".parse().unwrap();
        let theirs = route().next_hop.addr;
        for (action, external, internal) in [
            (None, own(), theirs),
            (Some(NextHopAction::Own), own(), own()),
            (Some(NextHopAction::Unchanged), theirs, theirs),
            (Some(NextHopAction::Address(other)), other, other),
        ] {
            let actions = action.map(Modify::NextHop).into_iter().collect();
            let statement = Statement { actions, ..Statement::default() };
            let policy = Policy { statements: vec![statement], ..Policy::all() };
            let export = PolicyChain::new([Arc::new(policy)]);
            for (kind, expected) in [(PeerKind::Ebgp, external), (PeerKind::Ibgp, internal)] {
                let config = GroupConfig { export: export.clone(), ..config(kind) };
                let out = config.exported(EXTERNAL, &route(), prefix()).unwrap();
                assert_eq!(out.next_hop.addr, expected, "{action:?} {kind:?}");
            }
        }
    }

    #[test]
    fn policy_sees_where_a_route_came_from_and_where_it_goes() {
        let list = |text: &str| Arc::new(PrefixList::new("", vec![text.parse().unwrap()]));
        let set = |text: &str| NeighborSet { addresses: vec![list(text)], ..NeighborSet::default() };
        let to = PolicyNeighbor { address: "192.0.2.50".parse().unwrap(), asn: Asn(65_002) };
        let goes = |condition, source| {
            let statement = Statement {
                matches: vec![condition],
                disposition: Some(Disposition::Accept),
                ..Statement::default()
            };
            let policy = Policy { statements: vec![statement], ..Policy::none() };
            let export = PolicyChain::new([Arc::new(policy)]);
            let config = GroupConfig { export, neighbor: Some(to), ..config(PeerKind::Ebgp) };
            config.exported(source, &route(), prefix()).is_some()
        };
        assert!(goes(Match::From(set("198.51.100.9/32")), EXTERNAL));
        assert!(!goes(Match::From(set("198.51.100.9/32")), Source::Originated));
        assert!(!goes(Match::From(set("192.0.2.50/32")), EXTERNAL));
        assert!(goes(Match::Neighbor(set("192.0.2.50/32")), EXTERNAL));
        assert!(goes(Match::RouteType(vec![RouteType::Ibgp]), INTERNAL));
        assert!(goes(Match::RouteType(vec![RouteType::Local]), Source::Originated));
        assert!(!goes(Match::RouteType(vec![RouteType::Local]), EXTERNAL));
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
