//! Policies and chains: what is decided, by which rule, and that nothing is copied without need.

#![expect(clippy::unwrap_used, reason = "a helper of tests fails its test by panicking")]

use std::borrow::Cow;
use std::sync::Arc;

use bgp::policy::{
    Accepted, AsPathPattern, AsnSet, CommunityEdit, Decision, Dependence, Disposition, Match, Modify,
    NeighborSet, NextHopAction, NextHopChoice, NumberPattern, Policy, PolicyChain, PolicyContext,
    PolicyNeighbor, PrefixList, RouteType, RpkiState, Statement,
};
use bgp::types::Asn;
use bgp::wire::{Attributes, Community, Origin};
use ipnet::IpNet;

fn context() -> PolicyContext {
    PolicyContext::new(Asn(65000))
}

fn route() -> Attributes {
    Attributes {
        as_path: "65001 174".parse().unwrap(),
        med: Some(50),
        communities: vec![community("65001:1"), community("65001:2"), community("174:3")],
        ..Attributes::default()
    }
}

fn community(text: &str) -> Community {
    text.parse().unwrap()
}

fn prefix(text: &str) -> IpNet {
    text.parse().unwrap()
}

fn list(name: &str, entries: &[&str]) -> Match {
    let entries = entries.iter().map(|entry| entry.parse().unwrap()).collect();
    Match::Prefix(vec![Arc::new(PrefixList::new(name, entries))])
}

fn as_path(pattern: &str) -> Match {
    Match::AsPath(vec![AsPathPattern::new(pattern).unwrap()])
}

fn communities(patterns: &[&str]) -> Match {
    Match::Community(patterns.iter().map(|pattern| pattern.parse().unwrap()).collect())
}

fn rule(matches: Vec<Match>, actions: Vec<Modify>, disposition: Option<Disposition>) -> Statement {
    Statement { matches, actions, disposition, ..Statement::default() }
}

fn policy(name: &str, statements: Vec<Statement>, default: Disposition) -> Arc<Policy> {
    Arc::new(Policy { name: name.to_owned(), statements, default })
}

fn accepted(chain: &PolicyChain, net: &str, attributes: &Attributes) -> Attributes {
    match chain.evaluate(prefix(net), Cow::Borrowed(attributes), &context()) {
        Decision::Accept(accepted) => accepted.attributes.into_owned(),
        Decision::Reject(rejection) => panic!("rejected by {rejection}"),
    }
}

fn rejected(chain: &PolicyChain, net: &str, attributes: &Attributes) -> String {
    match chain.evaluate(prefix(net), Cow::Borrowed(attributes), &context()) {
        Decision::Accept(accepted) => panic!("accepted with {accepted:?}"),
        Decision::Reject(rejection) => rejection.to_string(),
    }
}

fn after(actions: Vec<Modify>) -> Attributes {
    let chain = PolicyChain::new([policy("set", vec![rule(vec![], actions, None)], Disposition::Accept)]);
    accepted(&chain, "10.0.0.0/8", &route())
}

#[test]
fn the_first_rule_that_decides_decides() {
    use Disposition::{Accept, Reject};
    let chain = PolicyChain::new([policy(
        "in",
        vec![
            rule(vec![list("bogons", &["10.0.0.0/8 le 32"])], vec![], Some(Reject)),
            rule(vec![as_path("^65001_"), communities(&["65001:2"])], vec![Modify::LocalPref(200)], None),
            rule(vec![communities(&["174:*", "175:*"])], vec![], Some(Accept)),
            rule(vec![], vec![Modify::LocalPref(1)], None),
        ],
        Reject,
    )]);
    assert_eq!(rejected(&chain, "10.1.0.0/16", &route()), "policy \"in\", rule 1");
    // Rule 2 sets and goes on, rule 3 accepts.
    assert_eq!(accepted(&chain, "192.0.2.0/24", &route()).local_pref, Some(200));
    // All matches of a rule must hold: without 65001:2 rule 2 does not set.
    let without = Attributes { communities: vec![community("174:3")], ..route() };
    assert_eq!(accepted(&chain, "192.0.2.0/24", &without).local_pref, None);
    // Nothing decides.
    let bare = Attributes { communities: Vec::new(), ..route() };
    assert_eq!(rejected(&chain, "192.0.2.0/24", &bare), "policy \"in\", by default");
}

#[test]
fn a_named_rule_is_named_when_it_rejects() {
    let mut statement = rule(vec![], vec![], Some(Disposition::Reject));
    statement.name = Some("bogons".to_owned());
    let chain = PolicyChain::new([policy("in", vec![statement], Disposition::Accept)]);
    assert_eq!(rejected(&chain, "10.0.0.0/8", &route()), "policy \"in\", rule 1 (bogons)");
}

#[test]
fn every_policy_of_a_chain_must_accept() {
    use Disposition::{Accept, Reject};
    let set = |value| rule(vec![], vec![Modify::LocalPref(value)], Some(Accept));
    let first = policy("first", vec![set(300)], Reject);
    let second = policy("second", vec![rule(vec![as_path("_666_")], vec![], Some(Reject))], Accept);
    let third = policy("third", vec![rule(vec![], vec![Modify::Med(None)], None)], Accept);
    let chain = PolicyChain::new([first.clone(), second, third]);
    let out = accepted(&chain, "192.0.2.0/24", &route());
    assert_eq!((out.local_pref, out.med), (Some(300), None));

    let evil = Attributes { as_path: "65001 666".parse().unwrap(), ..route() };
    assert_eq!(rejected(&chain, "192.0.2.0/24", &evil), "policy \"second\", rule 1");
    let chain = PolicyChain::new([first, Arc::new(Policy::none())]);
    assert_eq!(rejected(&chain, "192.0.2.0/24", &route()), "policy \"none\", by default");
}

#[test]
fn later_rules_see_what_earlier_ones_changed() {
    use Disposition::{Accept, Reject};
    let chain = PolicyChain::new([policy(
        "in",
        vec![
            // The path is written out for this one, and must be again after the prepend.
            rule(vec![as_path("^65001 174$")], vec![Modify::Prepend { asn: None, count: 2 }], None),
            rule(vec![as_path("^65001 174$")], vec![], Some(Reject)),
            rule(vec![as_path("^65000 65000 65001 174$")], vec![], Some(Accept)),
        ],
        Reject,
    )]);
    assert_eq!(accepted(&chain, "10.0.0.0/8", &route()).as_path.to_string(), "65000 65000 65001 174");
}

#[test]
fn each_change_changes_what_it_names() {
    assert_eq!(after(vec![Modify::LocalPref(7)]), Attributes { local_pref: Some(7), ..route() });
    assert_eq!(after(vec![Modify::Med(Some(9))]), Attributes { med: Some(9), ..route() });
    assert_eq!(after(vec![Modify::Med(None)]), Attributes { med: None, ..route() });
    let prepend = Modify::Prepend { asn: Some(Asn(64999)), count: 3 };
    assert_eq!(after(vec![prepend]).as_path.to_string(), "64999 64999 64999 65001 174");

    let of = |edit| after(vec![Modify::Communities(edit)]).communities;
    let all = |texts: &[&str]| texts.iter().map(|text| community(text)).collect::<Vec<_>>();
    let add = CommunityEdit::Add(all(&["65001:2", "no-export", "65000:9", "no-export"]));
    assert_eq!(of(add), all(&["65001:1", "65001:2", "174:3", "no-export", "65000:9"]));
    assert_eq!(of(CommunityEdit::Remove(vec!["65001:*".parse().unwrap()])), all(&["174:3"]));
    assert_eq!(of(CommunityEdit::Set(all(&["1:1"]))), all(&["1:1"]));
    assert_eq!(of(CommunityEdit::Set(Vec::new())), all(&[]));

    let large = |text: &str| text.parse().unwrap();
    let edits = vec![
        Modify::LargeCommunities(CommunityEdit::Add(vec![large("1:2:3"), large("1:2:4"), large("2:2:4")])),
        Modify::LargeCommunities(CommunityEdit::Remove(vec!["1:*:*".parse().unwrap()])),
    ];
    assert_eq!(after(edits).large_communities, [large("2:2:4")]);
    let extended = |text: &str| text.parse().unwrap();
    let edits = vec![
        Modify::ExtendedCommunities(CommunityEdit::Add(vec![extended("rt:1:2"), extended("ro:1:2")])),
        Modify::ExtendedCommunities(CommunityEdit::Remove(vec!["rt:*:*".parse().unwrap()])),
    ];
    assert_eq!(after(edits).extended_communities, [extended("ro:1:2")]);
}

#[test]
fn attributes_that_stay_the_same_are_not_copied() {
    use Disposition::Accept;
    let same = vec![
        Modify::Med(Some(50)),
        Modify::Communities(CommunityEdit::Add(vec![community("174:3")])),
        Modify::Communities(CommunityEdit::Remove(vec!["9:*".parse().unwrap()])),
        Modify::Communities(CommunityEdit::Set(route().communities)),
        Modify::LargeCommunities(CommunityEdit::Set(Vec::new())),
        Modify::Prepend { asn: None, count: 0 },
        Modify::PrependFirst { count: 0 },
        Modify::PrependAsns(Vec::new()),
        Modify::RemoveAsns(AsnSet::new([NumberPattern::exactly(7)])),
        Modify::Communities(CommunityEdit::Keep(vec!["*".parse().unwrap()])),
        Modify::Origin(Origin::Igp),
        Modify::MedBy(0),
        Modify::NextHop(NextHopAction::Own),
        Modify::NextHop(NextHopAction::Unchanged),
        Modify::NextHop(NextHopAction::Address("2001:db8::1".parse().unwrap())),
        Modify::NextHop(NextHopAction::PeerAddress),
    ];
    let matches = vec![as_path("65001.*174"), communities(&["*"]), list("all", &["0.0.0.0/0 le 32"])];
    let chain = PolicyChain::new([
        policy("in", vec![rule(matches, same, Some(Accept))], Accept),
        Arc::new(Policy::all()),
    ]);
    let attributes = route();
    let decision = chain.evaluate(prefix("10.0.0.0/8"), Cow::Borrowed(&attributes), &context());
    assert!(matches!(&decision, Decision::Accept(accepted)
            if matches!(accepted.attributes, Cow::Borrowed(same) if std::ptr::eq(same, &raw const attributes))));
}

#[test]
fn a_chain_knows_what_it_depends_on() {
    use Disposition::{Accept, Reject};
    let by_prefix = policy("p", vec![rule(vec![list("l", &["10.0.0.0/8"])], vec![], Some(Reject))], Accept);
    let by_path = policy("a", vec![rule(vec![as_path("^1_")], vec![], Some(Reject))], Accept);
    let setting = policy("s", vec![rule(vec![], vec![Modify::LocalPref(1)], None)], Accept);
    let chain = |policies: &[&Arc<Policy>]| PolicyChain::new(policies.iter().copied().cloned());
    let (all, none) = (Arc::new(Policy::all()), Arc::new(Policy::none()));
    // Chain, depends on prefix, accepts all, rejects all.
    for (chain, prefix, accepts, rejects) in [
        (PolicyChain::default(), false, true, false),
        (PolicyChain::all(), false, true, false),
        (PolicyChain::none(), false, false, true),
        (chain(&[&all, &none]), false, false, true),
        (chain(&[&by_prefix]), true, false, false),
        (chain(&[&all, &by_prefix]), true, false, false),
        (chain(&[&by_path]), false, false, false),
        (chain(&[&by_path, &none]), false, false, true),
        (chain(&[&setting]), false, false, false),
    ] {
        let found = (chain.depends_on_prefix(), chain.is_accept_all(), chain.is_reject_all());
        assert_eq!(found, (prefix, accepts, rejects), "{chain}");
    }
    assert!(PolicyChain::default().is_empty() && !PolicyChain::all().is_empty());
}

#[test]
fn chains_compare_by_content() {
    let make = |pref: u32, entry: &str| {
        let statement = rule(vec![list("l", &[entry]), as_path("^1_")], vec![Modify::LocalPref(pref)], None);
        PolicyChain::new([policy("p", vec![statement], Disposition::Accept)])
    };
    assert_eq!(make(1, "10.0.0.0/8"), make(1, "10.0.0.0/8"));
    assert_ne!(make(1, "10.0.0.0/8"), make(2, "10.0.0.0/8"));
    assert_ne!(make(1, "10.0.0.0/8"), make(1, "10.0.0.0/9"));
    assert_ne!(make(1, "10.0.0.0/8"), PolicyChain::all());
    assert_eq!(
        PolicyChain::new([Arc::new(Policy::all()), Arc::new(Policy::none())]).to_string(),
        "all, none"
    );
}

fn accepted_whole<'a>(
    chain: &'a PolicyChain,
    net: &str,
    attributes: &'a Attributes,
    context: &PolicyContext,
) -> Accepted<'a> {
    match chain.evaluate(prefix(net), Cow::Borrowed(attributes), context) {
        Decision::Accept(accepted) => accepted,
        Decision::Reject(by) => panic!("rejected by {by}"),
    }
}

/// Whether a statement with these conditions applies to the route.
fn holds(matches: Vec<Match>, net: &str, attributes: &Attributes, context: &PolicyContext) -> bool {
    let deciding = rule(matches, vec![], Some(Disposition::Accept));
    let chain = PolicyChain::new([policy("p", vec![deciding], Disposition::Reject)]);
    matches!(chain.evaluate(prefix(net), Cow::Borrowed(attributes), context), Decision::Accept(_))
}

fn range(first: u32, last: u32) -> NumberPattern {
    NumberPattern { first, last }
}

fn asns(numbers: &[u32]) -> AsnSet {
    AsnSet::new(numbers.iter().copied().map(NumberPattern::exactly))
}

#[test]
fn numbers_are_added_and_stop_at_either_end() {
    let pref = |value, by| {
        let attributes = Attributes { local_pref: value, med: value, ..route() };
        let actions = vec![Modify::LocalPrefBy(by), Modify::MedBy(by)];
        let chain = PolicyChain::new([policy("p", vec![rule(vec![], actions, None)], Disposition::Accept)]);
        let out = accepted(&chain, "10.0.0.0/8", &attributes);
        (out.local_pref.unwrap(), out.med.unwrap())
    };
    assert_eq!(pref(Some(50), 25), (75, 75));
    assert_eq!(pref(Some(50), -25), (25, 25));
    assert_eq!(pref(Some(50), -51), (0, 0));
    assert_eq!(pref(Some(u32::MAX - 1), 2), (u32::MAX, u32::MAX));
    assert_eq!(pref(Some(1), i64::MIN), (0, 0));
    assert_eq!(pref(Some(1), i64::MAX), (u32::MAX, u32::MAX));
    // An absent local preference counts as 100, an absent MED as 0.
    assert_eq!(pref(None, 5), (105, 5));
    assert_eq!(pref(None, -5), (95, 0));
}

#[test]
fn the_as_path_is_prepended_and_cleaned() {
    let path = |before: &str, action| {
        let attributes = Attributes { as_path: before.parse().unwrap(), ..route() };
        let statement = rule(vec![], vec![action], None);
        let chain = PolicyChain::new([policy("p", vec![statement], Disposition::Accept)]);
        accepted(&chain, "10.0.0.0/8", &attributes).as_path.to_string()
    };
    assert_eq!(path("1 2", Modify::PrependFirst { count: 2 }), "1 1 1 2");
    assert_eq!(path("{1,2} 3", Modify::PrependFirst { count: 2 }), "{1,2} 3");
    assert_eq!(path("", Modify::PrependFirst { count: 2 }), "");
    assert_eq!(path("1 2", Modify::PrependAsns(vec![Asn(7), Asn(8), Asn(8)])), "7 8 8 1 2");
    assert_eq!(path("1 2", Modify::Prepend { asn: None, count: 1 }), "65000 1 2");
    assert_eq!(path("1 2 1 {1,3} {2}", Modify::RemoveAsns(asns(&[1, 2]))), "{3}");
}

#[test]
fn the_next_hop_is_what_policy_says() {
    use NextHopAction::{Address, Own, PeerAddress, Unchanged};
    let neighbor = PolicyNeighbor { address: "192.0.2.9".parse().unwrap(), asn: Asn(65001) };
    let known = PolicyContext { neighbor: Some(neighbor), ..context() };
    let mut attributes = route();
    attributes.next_hop = "198.51.100.1".parse::<std::net::IpAddr>().unwrap().into();
    let after = |actions: &[NextHopAction], net: &str, context: &PolicyContext| {
        let actions = actions.iter().copied().map(Modify::NextHop).collect();
        let chain = PolicyChain::new([policy("p", vec![rule(vec![], actions, None)], Disposition::Accept)]);
        let out = accepted_whole(&chain, net, &attributes, context);
        (out.attributes.next_hop.addr.to_string(), out.next_hop)
    };
    let said = |address: &str, choice| (address.to_owned(), choice);
    let usual = said("198.51.100.1", NextHopChoice::Usual);
    let v4 = Address("192.0.2.1".parse().unwrap());
    let v6 = Address("2001:db8::1".parse().unwrap());
    let set = said("192.0.2.1", NextHopChoice::AsInAttributes);
    assert_eq!(after(&[], "10.0.0.0/8", &known), usual);
    assert_eq!(after(&[v4, v6], "10.0.0.0/8", &known), set);
    assert_eq!(after(&[v6], "10.0.0.0/8", &known), usual);
    assert_eq!(after(&[v4, v6], "::/0", &known), said("2001:db8::1", NextHopChoice::AsInAttributes));
    assert_eq!(after(&[PeerAddress], "10.0.0.0/8", &known), said("192.0.2.9", NextHopChoice::AsInAttributes));
    assert_eq!(after(&[PeerAddress], "10.0.0.0/8", &context()), usual);
    assert_eq!(after(&[PeerAddress], "::/0", &known), usual);
    assert_eq!(after(&[v4, Own], "10.0.0.0/8", &known), said("192.0.2.1", NextHopChoice::Own));
    assert_eq!(
        after(&[Own, Unchanged], "10.0.0.0/8", &known),
        said("198.51.100.1", NextHopChoice::AsInAttributes)
    );
}

#[test]
fn a_weight_comes_out_of_the_chain() {
    let chain =
        |actions| PolicyChain::new([policy("p", vec![rule(vec![], actions, None)], Disposition::Accept)]);
    let attributes = route();
    let out = |chain: &PolicyChain| accepted_whole(chain, "10.0.0.0/8", &attributes, &context()).weight;
    assert_eq!(out(&chain(vec![])), None);
    assert_eq!(out(&chain(vec![Modify::Weight(7), Modify::Weight(9)])), Some(9));
    assert!(!chain(vec![Modify::Weight(0)]).is_accept_all());
}

#[test]
fn conditions_see_the_neighbor_and_the_source() {
    let neighbor = |address: &str, asn| PolicyNeighbor { address: address.parse().unwrap(), asn: Asn(asn) };
    let context = PolicyContext {
        local_asn: Asn(65000),
        neighbor: Some(neighbor("192.0.2.9", 65001)),
        from: Some(neighbor("2001:db8::9", 65002)),
        route_type: RouteType::Ibgp,
        rpki: RpkiState::Unknown,
        present: 0,
    };
    let list = |text: &str| Arc::new(PrefixList::new("", vec![text.parse().unwrap()]));
    let address = |text: &str| NeighborSet { addresses: vec![list(text)], ..NeighborSet::default() };
    let number = |asn| NeighborSet { asns: asns(&[asn]), ..NeighborSet::default() };
    let nobody = PolicyContext { neighbor: None, from: None, ..context };
    let v6: bgp::types::FamilySet = bgp::types::Family::Ipv6Unicast.into();
    for (condition, expected) in [
        (Match::Neighbor(address("192.0.2.9/32")), true),
        (Match::Neighbor(address("192.0.2.0/24")), true),
        (Match::Neighbor(address("2001:db8::9/128")), false),
        (Match::Neighbor(number(65001)), true),
        (Match::Neighbor(number(65002)), false),
        (Match::From(address("2001:db8::/32")), true),
        (Match::From(number(65002)), true),
        (Match::From(number(65001)), false),
        (Match::RouteType(vec![RouteType::Ebgp, RouteType::Local]), false),
        (Match::RouteType(vec![RouteType::Ebgp, RouteType::Ibgp]), true),
        (Match::Rpki(vec![RpkiState::Valid, RpkiState::Invalid, RpkiState::NotFound]), false),
        (Match::Rpki(vec![RpkiState::Unknown]), true),
        (Match::Family(v6), false),
    ] {
        let matches = vec![condition.clone()];
        assert_eq!(holds(matches.clone(), "10.0.0.0/8", &route(), &context), expected, "{condition:?}");
        if matches!(condition, Match::Neighbor(_) | Match::From(_)) {
            assert!(!holds(matches, "10.0.0.0/8", &route(), &nobody), "{condition:?}");
        }
    }
    assert!(holds(vec![Match::Family(v6)], "::/0", &route(), &context));
}

#[test]
fn absent_numbers_count_as_in_best_path_selection() {
    let bare = Attributes { med: None, local_pref: None, ..route() };
    for (condition, expected) in [
        (Match::Med(range(0, 0)), true),
        (Match::Med(range(1, 9)), false),
        (Match::HasMed, false),
        (Match::LocalPref(range(100, 100)), true),
        (Match::LocalPref(range(101, 200)), false),
        (Match::Not(vec![Match::HasMed]), true),
    ] {
        assert_eq!(
            holds(vec![condition.clone()], "10.0.0.0/8", &bare, &context()),
            expected,
            "{condition:?}"
        );
    }
    assert!(holds(vec![Match::Med(range(50, 50)), Match::HasMed], "10.0.0.0/8", &route(), &context()));
}

#[test]
fn a_policy_that_is_asked_changes_nothing() {
    use Disposition::{Accept, AcceptNow, Reject};
    for (default, expected) in [(Accept, 7), (AcceptNow, 7), (Reject, 1)] {
        let asked = policy("asked", vec![rule(vec![], vec![Modify::LocalPref(500)], None)], default);
        let chain = PolicyChain::new([policy(
            "p",
            vec![
                rule(vec![], vec![Modify::LocalPref(1)], None),
                // It sees what was changed so far.
                rule(
                    vec![Match::Policy(asked), Match::LocalPref(range(1, 1))],
                    vec![Modify::LocalPref(7)],
                    None,
                ),
            ],
            Accept,
        )]);
        assert_eq!(accepted(&chain, "10.0.0.0/8", &route()).local_pref, Some(expected));
    }
}

#[test]
fn a_policy_that_is_called_changes_and_may_reject() {
    use Disposition::{Accept, AcceptNow, Reject};
    let calling = |called: Vec<Arc<Policy>>| {
        let first = Statement {
            actions: vec![Modify::LocalPref(1), Modify::Med(None)],
            calls: called,
            ..Statement::default()
        };
        let second = rule(vec![], vec![Modify::MedBy(9)], Some(Accept));
        let last = policy("last", vec![rule(vec![], vec![Modify::MedBy(90)], None)], Accept);
        PolicyChain::new([policy("p", vec![first, second], Reject), last])
    };
    let called = |default| policy("called", vec![rule(vec![], vec![Modify::LocalPrefBy(5)], None)], default);
    // Back to the caller, whose next rule comes next.
    let out = accepted(&calling(vec![called(Accept), called(Accept)]), "10.0.0.0/8", &route());
    assert_eq!((out.local_pref, out.med), (Some(11), Some(99)));
    // Out of it all.
    let out = accepted(&calling(vec![called(AcceptNow), called(Reject)]), "10.0.0.0/8", &route());
    assert_eq!((out.local_pref, out.med), (Some(6), None));
    assert_eq!(
        rejected(&calling(vec![called(Reject)]), "10.0.0.0/8", &route()),
        "policy \"called\", by default"
    );
    // What it knows of itself.
    assert!(calling(vec![]).policies()[0].involves("p"));
    let chain = calling(vec![called(Accept)]);
    assert!(chain.policies()[0].involves("called") && !chain.policies()[1].involves("called"));
    assert_eq!(chain.policies()[0].effective_statements().len(), 3);
}

#[test]
fn an_accepted_route_says_what_accepted_it() {
    use Disposition::{Accept, AcceptNow};
    let named =
        Statement { name: Some("fast".into()), ..rule(vec![as_path("^65001_")], vec![], Some(AcceptNow)) };
    let chain = PolicyChain::new([policy("first", vec![named], Accept), Arc::new(Policy::all())]);
    let by = |path: &str| {
        let attributes = Attributes { as_path: path.parse().unwrap(), ..route() };
        accepted_whole(&chain, "10.0.0.0/8", &attributes, &context()).by.unwrap().to_string()
    };
    assert_eq!(by("65001"), "policy \"first\", rule 1 (fast)");
    assert_eq!(by("65002"), "policy \"all\", by default");
    let empty = PolicyChain::default();
    assert_eq!(accepted_whole(&empty, "10.0.0.0/8", &route(), &context()).by, None);
}

#[test]
fn dependence_is_found_at_any_depth() {
    use Disposition::Accept;
    let deep = |condition: Match| {
        let inner = policy("inner", vec![rule(vec![Match::Not(vec![condition])], vec![], None)], Accept);
        let asking = rule(vec![Match::Any(vec![vec![], vec![Match::Policy(inner)]])], vec![], None);
        let middle = policy("middle", vec![asking], Accept);
        let calling = Statement { calls: vec![middle], ..Statement::default() };
        PolicyChain::new([policy("outer", vec![calling], Accept)])
    };
    let nothing = Dependence::default();
    let families: bgp::types::FamilySet = bgp::types::Family::Ipv4Unicast.into();
    for (condition, expected) in [
        (list("l", &["10.0.0.0/8"]), Dependence { prefix: true, ..nothing }),
        (Match::Rpki(vec![RpkiState::Valid]), Dependence { prefix: true, ..nothing }),
        (Match::Family(families), Dependence { family: true, ..nothing }),
        (Match::Neighbor(NeighborSet::default()), Dependence { neighbor: true, ..nothing }),
        (Match::From(NeighborSet::default()), Dependence { from: true, ..nothing }),
        (Match::NextHop(Vec::new()), nothing),
        (Match::RouteType(Vec::new()), nothing),
    ] {
        let chain = deep(condition);
        assert_eq!(chain.dependence(), expected, "{chain:?}");
        assert_eq!(chain.depends_on_prefix(), expected.prefix || expected.family);
        assert_eq!(chain.depends_on_neighbor(), expected.neighbor);
    }
    let setting = |next_hop| {
        let statement = rule(vec![], vec![Modify::NextHop(next_hop)], None);
        PolicyChain::new([policy("p", vec![statement], Accept)]).dependence()
    };
    let address = NextHopAction::Address("192.0.2.1".parse().unwrap());
    assert_eq!(setting(address), Dependence { family: true, ..nothing });
    let both = Dependence { family: true, neighbor: true, ..nothing };
    assert_eq!(setting(NextHopAction::PeerAddress), both);
    assert_eq!(setting(NextHopAction::Own), nothing);
}

#[test]
fn a_chain_that_accepts_now_is_not_one_that_rejects_all() {
    use Disposition::{Accept, AcceptNow};
    let now = policy("now", vec![rule(vec![as_path("^1_")], vec![], Some(AcceptNow))], Accept);
    let calling = Statement { calls: vec![now.clone()], ..Statement::default() };
    let caller = policy("caller", vec![calling], Accept);
    let none = Arc::new(Policy::none());
    for first in [now, caller] {
        let chain = PolicyChain::new([first.clone(), none.clone()]);
        assert!(!chain.is_reject_all() && !chain.is_accept_all());
        assert!(PolicyChain::new([none.clone(), first]).is_reject_all());
    }
    let all_now = policy("all-now", vec![], AcceptNow);
    assert!(PolicyChain::new([all_now.clone()]).is_accept_all());
    assert!(!PolicyChain::new([all_now, none]).is_reject_all());
}
