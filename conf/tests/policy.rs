//! What each key of a policy means, from the text of a configuration to what becomes of a route.

#![expect(clippy::unwrap_used, reason = "a helper of tests fails its test by panicking")]

use std::borrow::Cow;
use std::net::IpAddr;

use bgp::policy::{Accepted, Decision, NextHopChoice, PolicyContext, PolicyNeighbor, RouteType, RpkiState};
use bgp::types::Asn;
use bgp::wire::{Attributes, Origin};
use conf::Config;

/// Lists for all of these tests.
const LISTS: &str = r#"
[router]
asn = 65000
router-id = "10.0.0.1"
[[prefix-list]]
name = "customers"
prefixes = ["192.0.2.0/24 le 28", "2001:db8::/32 le 48"]
[[prefix-list]]
name = "hosts"
prefixes = ["198.51.100.0/24"]
[[as-path-list]]
name = "short"
as-paths = ["^65001$", "^65001 174$"]
[[as-list]]
name = "tier-1"
asns = [174, 3356, "6400-6500"]
[[neighbor-list]]
name = "ix"
neighbors = ["203.0.113.0/24", "2001:db8:f::1", 65009]
[[community-list]]
name = "ours"
communities = ["65000:100-199", "no-export"]
[[large-community-list]]
name = "large-ours"
communities = ["65000:1:*"]
[[extended-community-list]]
name = "targets"
communities = ["rt:65000:*"]
[[policy]]
name = "is-customer"
[[policy.rule]]
match = { prefix-list = "customers" }
set = { local-pref = 999 }
action = "accept"
"#;

fn config(body: &str) -> Config {
    let text = format!("{LISTS}\n{body}");
    conf::parse("p.toml", &text, []).unwrap_or_else(|errors| panic!("{body}\n{errors:#?}"))
}

/// A configuration with one policy of one rule, which accepts what it matches.
fn with_rule(rule: &str, direction: &str) -> Config {
    config(&format!(
        "[[policy]]\nname = \"p\"\n[[policy.rule]]\n{rule}\n[[neighbor]]\naddress = \"203.0.113.9\"\nasn = 65001\n\
         {direction} = \"p\"\n"
    ))
}

fn route() -> Attributes {
    Attributes {
        origin: Origin::Egp,
        as_path: "65001 65001 174 64512".parse().unwrap(),
        med: Some(50),
        local_pref: Some(200),
        communities: vec!["65000:150".parse().unwrap(), "174:3".parse().unwrap()],
        large_communities: vec!["65000:1:2".parse().unwrap()],
        extended_communities: vec!["rt:65000:7".parse().unwrap()],
        ..Attributes::originated("198.51.100.7".parse::<IpAddr>().unwrap())
    }
}

fn context() -> PolicyContext {
    PolicyContext {
        local_asn: Asn(65000),
        neighbor: Some(PolicyNeighbor { address: "203.0.113.9".parse().unwrap(), asn: Asn(65001) }),
        from: Some(PolicyNeighbor { address: "2001:db8:f::1".parse().unwrap(), asn: Asn(65002) }),
        route_type: RouteType::Ebgp,
        rpki: RpkiState::Unknown,
        present: 0,
    }
}

fn holds(condition: &str) -> bool {
    let config = with_rule(&format!("match = {{ {condition} }}\naction = \"accept\""), "import");
    let prefix = "192.0.2.16/28".parse().unwrap();
    let chain = &config.neighbors[0].import;
    matches!(chain.evaluate(prefix, Cow::Owned(route()), &context()), Decision::Accept(_))
}

/// What becomes of the route: its attributes and the choice of its next hop.
fn after(set: &str, direction: &str) -> (Attributes, NextHopChoice) {
    let config = with_rule(&format!("set = {{ {set} }}\naction = \"accept\""), direction);
    let neighbor = &config.neighbors[0];
    let chain = if direction == "import" { &neighbor.import } else { &neighbor.export };
    let prefix = "192.0.2.16/28".parse().unwrap();
    match chain.evaluate(prefix, Cow::Owned(route()), &context()) {
        Decision::Accept(Accepted { attributes, next_hop, .. }) => (attributes.into_owned(), next_hop),
        Decision::Reject(by) => panic!("rejected by {by}"),
    }
}

#[test]
fn every_key_of_a_match_means_what_it_says() {
    let table = [
        // Prefixes.
        (r#"prefix-list = "customers""#, true),
        (r#"prefix-list = ["hosts", "customers"]"#, true),
        (r#"prefix-list = "hosts""#, false),
        (r#"prefix-list = { none = "hosts" }"#, true),
        (r#"prefix-list = { all = ["hosts", "customers"] }"#, false),
        (r#"prefix = "192.0.2.0/24 ge 28 le 28""#, true),
        (r#"prefix = "192.0.2.0/24""#, false),
        (r#"prefix = ["10.0.0.0/8", "customers"]"#, true),
        (r#"prefix = { any = "customers", none = "192.0.2.16/28" }"#, false),
        (r#"family = "ipv4-unicast""#, true),
        (r#"family = "ipv6-unicast""#, false),
        // Next hop.
        (r#"next-hop = "198.51.100.7""#, true),
        (r#"next-hop = "198.51.100.8""#, false),
        (r#"next-hop = ["10.0.0.1", "198.51.100.0/24"]"#, true),
        (r#"next-hop = "hosts""#, true),
        (r#"next-hop = { none = ["hosts"] }"#, false),
        // Neighbours.
        (r#"neighbor = "203.0.113.9""#, true),
        (r#"neighbor = "203.0.113.0/24""#, true),
        ("neighbor = 65001", true),
        (r#"neighbor = ["65000-65009"]"#, true),
        (r#"neighbor = "AS65002""#, false),
        (r#"neighbor = "ix""#, true),
        (r#"neighbor = { none = "ix" }"#, false),
        (r#"from = "ix""#, true),
        ("from = 65002", true),
        (r#"from = "203.0.113.9""#, false),
        (r#"route-type = ["ebgp", "local"]"#, true),
        (r#"route-type = "ibgp""#, false),
        (r#"rpki = "unknown""#, true),
        (r#"rpki = ["valid", "invalid", "not-found"]"#, false),
        // AS path: 65001 65001 174 64512.
        (r#"as-path = "^65001_""#, true),
        (r#"as-path = "short""#, false),
        (r#"as-path = ["short", "_174_"]"#, true),
        (r#"as-path = { all = ["_174_", "64512$"] }"#, true),
        (r#"as-path = { all = ["_174_", "64511$"] }"#, false),
        (r#"as-path = { none = ["short", "^$"] }"#, true),
        ("as-path-contains = 174", true),
        (r#"as-path-contains = "64512-65534""#, true),
        (r#"as-path-contains = [1, "tier-1"]"#, true),
        (r#"as-path-contains = { all = ["tier-1", 64512] }"#, true),
        (r#"as-path-contains = { all = ["tier-1", 64513] }"#, false),
        (r#"as-path-contains = { none = "64512-65000" }"#, false),
        ("as-path-first = 65001", true),
        ("as-path-first = 174", false),
        ("as-path-origin = 64512", true),
        (r#"as-path-origin = { none = ["tier-1"] }"#, true),
        ("as-path-length = 4", true),
        ("as-path-length = { ge = 5 }", false),
        ("as-path-length = { le = 4, ge = 2 }", true),
        ("as-path-unique-length = 3", true),
        ("as-path-unique-length = { eq = 4 }", false),
        // Communities.
        (r#"community = "65000:*""#, true),
        (r#"community = "65000:100-149""#, false),
        (r#"community = "ours""#, true),
        (r#"community = ["no-export", "174:3"]"#, true),
        (r#"community = { all = ["ours", "174:3"] }"#, true),
        (r#"community = { all = ["ours", "174:4"] }"#, false),
        (r#"community = { none = ["no-export", "1:*"] }"#, true),
        (r#"community = { any = "ours", none = "174:*" }"#, false),
        ("community-count = 2", true),
        ("community-count = { le = 1 }", false),
        (r#"large-community = "65000:1:1-3""#, true),
        (r#"large-community = "large-ours""#, true),
        (r#"large-community = { none = "large-ours" }"#, false),
        ("large-community-count = { ge = 1 }", true),
        (r#"extended-community = "rt:*:7""#, true),
        (r#"extended-community = "targets""#, true),
        (r#"extended-community = ["ro:*:*"]"#, false),
        ("extended-community-count = 1", true),
        // Numbers.
        (r#"origin = "egp""#, true),
        (r#"origin = ["igp", "incomplete"]"#, false),
        ("med = 50", true),
        ("med = { le = 49 }", false),
        (r#"med = "none""#, false),
        ("local-pref = { ge = 200, le = 200 }", true),
        ("local-pref = { ge = 201 }", false),
        // Of several keys, all must hold.
        ("med = 50, local-pref = 200", true),
        ("med = 50, local-pref = 201", false),
        // Others.
        (r#"policy = "is-customer""#, true),
        (r#"policy = { none = "is-customer" }"#, false),
        (r#"policy = { any = "is-customer" }, local-pref = 200"#, true),
        (r#"any = [{ med = 1 }, { med = 50, origin = "egp" }]"#, true),
        (r#"any = [{ med = 1 }, { med = 50, origin = "igp" }]"#, false),
        ("not = { med = 1 }", true),
        (r#"not = { med = 50, origin = "egp" }"#, false),
        ("not = { any = [{ not = { med = 50 } }, { med = 2 }] }", true),
    ];
    for (condition, expected) in table {
        assert_eq!(holds(condition), expected, "{condition}");
    }
}

#[test]
fn every_key_of_a_set_means_what_it_says() {
    let text =
        |all: &[bgp::wire::Community]| all.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ");
    let import = |set: &str| after(set, "import").0;
    assert_eq!(import(r#"origin = "incomplete""#).origin, Origin::Incomplete);
    assert_eq!(import("local-pref = 7").local_pref, Some(7));
    assert_eq!(import(r#"local-pref = "+7""#).local_pref, Some(207));
    assert_eq!(import(r#"local-pref = "-201""#).local_pref, Some(0));
    assert_eq!(import("med = 7").med, Some(7));
    assert_eq!(import(r#"med = "+4294967295""#).med, Some(u32::MAX));
    assert_eq!(import(r#"med = "-7""#).med, Some(43));
    assert_eq!(import(r#"med = "none""#).med, None);

    let communities = |set: &str| text(&import(set).communities);
    assert_eq!(communities(r#"community-add = ["1:1", "174:3"]"#), "65000:150 174:3 1:1");
    assert_eq!(communities(r#"community-remove = ["65000:*"]"#), "174:3");
    assert_eq!(communities(r#"community-remove = "ours""#), "174:3");
    assert_eq!(communities(r#"community-keep = "ours""#), "65000:150");
    assert_eq!(communities(r#"community-set = ["1:1", "no-export"]"#), "1:1 no-export");
    assert_eq!(communities("community-set = []"), "");
    // In the order in which they are made, not the one in which they are written.
    let all = r#"community-add = "9:9", community-keep = "1:*", community-remove = "1:2", community-set = ["1:1", "1:2", "2:2"]"#;
    assert_eq!(communities(all), "1:1 9:9");
    let large = import(r#"large-community-remove = "large-ours", large-community-add = "1:2:3""#);
    assert_eq!(large.large_communities, ["1:2:3".parse().unwrap()]);
    let extended = import(r#"extended-community-keep = "targets", extended-community-add = "ro:1:2""#);
    assert_eq!(extended.extended_communities, ["rt:65000:7".parse().unwrap(), "ro:1:2".parse().unwrap()]);

    let path = |set: &str| import(set).as_path.to_string();
    assert_eq!(path("prepend = 2"), "65000 65000 65001 65001 174 64512");
    assert_eq!(path("prepend = { asn = 7, count = 2 }"), "7 7 65001 65001 174 64512");
    assert_eq!(path(r#"prepend = { asn = "last-as", count = 1 }"#), "65001 65001 65001 174 64512");
    assert_eq!(path("prepend = [8, 9]"), "8 9 65001 65001 174 64512");
    assert_eq!(path(r#"as-path-remove = ["tier-1", "64512-65534"]"#), "");
    assert_eq!(path(r#"as-path-remove = "tier-1", prepend = 1"#), "65000 65001 65001 64512");
}

#[test]
fn the_next_hop_can_be_chosen() {
    use NextHopChoice::{AsInAttributes, Own, Usual};
    let said = |set: &str, direction| {
        let (attributes, choice) = after(set, direction);
        (attributes.next_hop.addr.to_string(), choice)
    };
    let before = "198.51.100.7".to_owned();
    assert_eq!(said("med = 1", "export"), (before.clone(), Usual));
    assert_eq!(said(r#"next-hop = "self""#, "export"), (before.clone(), Own));
    assert_eq!(said(r#"next-hop = "unchanged""#, "export"), (before, AsInAttributes));
    let set = ("192.0.2.1".to_owned(), AsInAttributes);
    assert_eq!(said(r#"next-hop = ["192.0.2.1", "2001:db8::1"]"#, "export"), set);
    assert_eq!(said(r#"next-hop = "192.0.2.1""#, "import"), set);
    assert_eq!(said(r#"next-hop = "peer-address""#, "import"), ("203.0.113.9".to_owned(), AsInAttributes));
}

#[test]
fn the_actions_lead_where_they_say() {
    let run = |first: &str| {
        let config = config(&format!(
            "[[policy]]\nname = \"a\"\n[[policy.rule]]\n{first}\n[[policy.rule]]\nset = {{ med = 2 }}\naction = \"accept\"\n\
             [[policy]]\nname = \"b\"\ndefault = \"accept\"\n[[policy.rule]]\nset = {{ local-pref = 3 }}\n\
             [[policy]]\nname = \"sub\"\ndefault = \"accept\"\n[[policy.rule]]\nset = {{ med = \"+1\" }}\n\
             [[policy]]\nname = \"no\"\n[[policy.rule]]\nmatch = {{ as-path = \"^1_\" }}\naction = \"accept\"\n\
             [[policy]]\nname = \"yes\"\n[[policy.rule]]\naction = \"accept-now\"\n\
             [[neighbor]]\naddress = \"203.0.113.9\"\nasn = 65001\nimport = [\"a\", \"b\"]\n"
        ));
        let prefix = "192.0.2.16/28".parse().unwrap();
        match config.neighbors[0].import.evaluate(prefix, Cow::Owned(route()), &context()) {
            Decision::Accept(accepted) => {
                let (med, pref) = (accepted.attributes.med.unwrap(), accepted.attributes.local_pref.unwrap());
                format!("{med} {pref}, {}", accepted.by.unwrap())
            }
            Decision::Reject(by) => by.to_string(),
        }
    };
    let set = "set = { med = 1 }";
    assert_eq!(run(&format!("{set}\naction = \"next\"")), "2 3, policy \"b\", by default");
    assert_eq!(run(set), "2 3, policy \"b\", by default");
    assert_eq!(run(&format!("{set}\naction = \"accept\"")), "1 3, policy \"b\", by default");
    assert_eq!(run(&format!("{set}\naction = \"next-policy\"")), "1 3, policy \"b\", by default");
    assert_eq!(run(&format!("{set}\naction = \"accept-now\"")), "1 200, policy \"a\", rule 1");
    assert_eq!(run("action = \"reject\""), "policy \"a\", rule 1");
    // Called policies come behind what the rule sets, and before its action.
    assert_eq!(
        run(&format!("{set}\ncall = [\"sub\", \"sub\"]\naction = \"accept\"")),
        "3 3, policy \"b\", by default"
    );
    assert_eq!(run(&format!("{set}\ncall = \"no\"\naction = \"accept\"")), "policy \"no\", by default");
    assert_eq!(run(&format!("{set}\ncall = \"yes\"\naction = \"reject\"")), "1 200, policy \"yes\", rule 1");
}

#[test]
fn a_policy_may_name_one_further_down() {
    let config = config(
        "[[policy]]\nname = \"first\"\n[[policy.rule]]\nmatch = { policy = \"second\" }\ncall = \"third\"\n\
         [[policy]]\nname = \"second\"\n[[policy.rule]]\ncall = \"third\"\n\
         [[policy]]\nname = \"third\"\n[[policy.rule]]\nmatch = { neighbor = 1 }\naction = \"accept\"\n",
    );
    let first = &config.policies["first"];
    assert!(first.involves("third") && first.dependence().neighbor);
    assert_eq!(first.statements[0].calls[0], config.policies["third"]);
}

#[test]
fn what_a_chain_depends_on_is_known() {
    let dependence = |condition: &str| {
        with_rule(&format!("match = {{ {condition} }}\naction = \"accept\""), "export").neighbors[0]
            .export
            .dependence()
    };
    let found = dependence(r#"not = { any = [{ prefix = "10.0.0.0/8" }] }"#);
    assert!(found.prefix && !found.neighbor);
    assert!(dependence("neighbor = 1").neighbor);
    let found = dependence(r#"next-hop = "hosts", community = "1:1", route-type = "ibgp""#);
    assert_eq!(found, bgp::policy::Dependence::default());
}
