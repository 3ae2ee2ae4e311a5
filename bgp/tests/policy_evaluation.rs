//! Policies and chains: what is decided, by which rule, and that nothing is copied without need.

#![expect(clippy::unwrap_used, reason = "a helper of tests fails its test by panicking")]

use std::borrow::Cow;
use std::sync::Arc;

use bgp::policy::{
    AsPathPattern, CommunityEdit, Decision, Disposition, Match, Modify, Policy, PolicyChain, PolicyContext,
    PrefixList, Statement,
};
use bgp::types::Asn;
use bgp::wire::{Attributes, Community};
use ipnet::IpNet;
use proptest::prelude::*;

const CONTEXT: PolicyContext = PolicyContext { local_asn: Asn(65000) };

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
    Statement { name: None, matches, actions, disposition }
}

fn policy(name: &str, statements: Vec<Statement>, default: Disposition) -> Arc<Policy> {
    Arc::new(Policy { name: name.to_owned(), statements, default })
}

fn accepted(chain: &PolicyChain, net: &str, attributes: &Attributes) -> Attributes {
    match chain.evaluate(prefix(net), Cow::Borrowed(attributes), &CONTEXT) {
        Decision::Accept(attributes) => attributes.into_owned(),
        Decision::Reject(rejection) => panic!("rejected by {rejection}"),
    }
}

fn rejected(chain: &PolicyChain, net: &str, attributes: &Attributes) -> String {
    match chain.evaluate(prefix(net), Cow::Borrowed(attributes), &CONTEXT) {
        Decision::Accept(attributes) => panic!("accepted with {attributes:?}"),
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
    ];
    let matches = vec![as_path("65001.*174"), communities(&["*"]), list("all", &["0.0.0.0/0 le 32"])];
    let chain = PolicyChain::new([
        policy("in", vec![rule(matches, same, Some(Accept))], Accept),
        Arc::new(Policy::all()),
    ]);
    let attributes = route();
    let decision = chain.evaluate(prefix("10.0.0.0/8"), Cow::Borrowed(&attributes), &CONTEXT);
    assert!(
        matches!(decision, Decision::Accept(Cow::Borrowed(same)) if std::ptr::eq(same, &raw const attributes))
    );
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

/// What a policy says, written down a second time without any cleverness.
fn naive(chain: &PolicyChain, net: IpNet, mut attributes: Attributes) -> Option<Attributes> {
    'policies: for policy in chain.policies() {
        for statement in &policy.statements {
            let holds = statement.matches.iter().all(|condition| match condition {
                Match::Prefix(lists) => {
                    lists.iter().any(|list| list.entries().iter().any(|entry| entry.contains(net)))
                }
                Match::AsPath(patterns) => {
                    patterns.iter().any(|pattern| pattern.matches(&attributes.as_path))
                }
                Match::Community(patterns) => {
                    patterns.iter().any(|pattern| attributes.communities.iter().any(|&c| pattern.matches(c)))
                }
                Match::LargeCommunity(_) | Match::ExtendedCommunity(_) => false,
            });
            if !holds {
                continue;
            }
            for action in &statement.actions {
                match action {
                    Modify::LocalPref(value) => attributes.local_pref = Some(*value),
                    Modify::Med(value) => attributes.med = *value,
                    Modify::Communities(CommunityEdit::Add(values)) => {
                        for value in values {
                            if !attributes.communities.contains(value) {
                                attributes.communities.push(*value);
                            }
                        }
                    }
                    Modify::Communities(CommunityEdit::Remove(patterns)) => {
                        attributes
                            .communities
                            .retain(|&c| !patterns.iter().any(|pattern| pattern.matches(c)));
                    }
                    Modify::Communities(CommunityEdit::Set(values)) => {
                        attributes.communities.clone_from(values);
                    }
                    Modify::Prepend { asn, count } => {
                        attributes.as_path.prepend(asn.unwrap_or(CONTEXT.local_asn), usize::from(*count));
                    }
                    Modify::LargeCommunities(_) | Modify::ExtendedCommunities(_) => {}
                }
            }
            match statement.disposition {
                Some(Disposition::Accept) => continue 'policies,
                Some(Disposition::Reject) => return None,
                None => {}
            }
        }
        if policy.default == Disposition::Reject {
            return None;
        }
    }
    Some(attributes)
}

fn any_chain() -> impl Strategy<Value = PolicyChain> {
    let condition = prop_oneof![
        prop::sample::select(vec!["10.0.0.0/8 le 32", "10.0.0.0/9 le 16", "0.0.0.0/0 le 8", "::/0 le 64"])
            .prop_map(|entry| list("l", &[entry])),
        prop::sample::select(vec!["^65001_", "_174$", "^65000 ", "_65000_65001_", "^$", r"174 \{2"])
            .prop_map(as_path),
        prop::sample::select(vec!["65001:*", "*:3", "9:9", "no-export"])
            .prop_map(|text| communities(&[text])),
    ];
    let some = prop::sample::subsequence(vec!["65001:1", "9:9", "no-export", "174:3"], 0..3)
        .prop_map(|texts| texts.into_iter().map(community).collect::<Vec<_>>());
    let action = prop_oneof![
        (0..3_u32).prop_map(Modify::LocalPref),
        prop::option::of(49..51_u32).prop_map(Modify::Med),
        some.clone().prop_map(|values| Modify::Communities(CommunityEdit::Add(values))),
        some.prop_map(|values| Modify::Communities(CommunityEdit::Set(values))),
        prop::sample::select(vec!["65001:*", "*:3", "9:9"])
            .prop_map(|text| Modify::Communities(CommunityEdit::Remove(vec![text.parse().unwrap()]))),
        (prop::option::of(Just(Asn(7))), 0..3_u8).prop_map(|(asn, count)| Modify::Prepend { asn, count }),
    ];
    let end = prop::sample::select(vec![Disposition::Accept, Disposition::Accept, Disposition::Reject]);
    let statement = (
        prop::collection::vec(condition, 0..3),
        prop::collection::vec(action, 0..3),
        prop::option::of(end.clone()),
    )
        .prop_map(|(matches, actions, disposition)| rule(matches, actions, disposition));
    let policy = (prop::collection::vec(statement, 0..5), end)
        .prop_map(|(statements, default)| policy("p", statements, default));
    prop::collection::vec(policy, 0..4).prop_map(PolicyChain::new)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2048))]

    #[test]
    fn a_chain_decides_as_the_naive_evaluator_does(
        chain in any_chain(),
        net in prop::sample::select(vec!["10.0.0.0/8", "10.1.0.0/16", "10.200.0.0/24", "0.0.0.0/0", "2001:db8::/32"]),
        path in prop::sample::select(vec!["", "65001 174", "65001 174 {2,3}", "174"]),
        keep in 0..4_usize,
    ) {
        let mut attributes = Attributes { as_path: path.parse().unwrap(), ..route() };
        attributes.communities.truncate(keep);
        let expected = naive(&chain, prefix(net), attributes.clone());
        let found = match chain.evaluate(prefix(net), Cow::Borrowed(&attributes), &CONTEXT) {
            Decision::Accept(attributes) => Some(attributes.into_owned()),
            Decision::Reject(_) => None,
        };
        prop_assert_eq!(&found, &expected);
        if chain.is_accept_all() {
            prop_assert_eq!(found.as_ref(), Some(&attributes));
        }
        if chain.is_reject_all() {
            prop_assert_eq!(found, None);
        }
        if !chain.depends_on_prefix() {
            let elsewhere = naive(&chain, prefix("192.0.2.0/24"), attributes);
            prop_assert_eq!(expected, elsewhere);
        }
    }
}
