//! Neighbours that have keys of a group.

use bgp::types::{Asn, FamilySet};
use conf::{Config, diff};

const ROUTER: &str = "[router]\nasn = 65000\nrouter-id = \"10.0.0.1\"\n";

/// `body` starts in line 4.
fn parse(body: &str) -> Result<Config, Vec<String>> {
    conf::parse("p.toml", &format!("{ROUTER}{body}"), [])
        .map_err(|errors| errors.iter().map(ToString::to_string).collect())
}

fn config(body: &str) -> Config {
    parse(body).unwrap_or_else(|errors| panic!("{errors:#?}"))
}

#[test]
fn a_neighbor_has_the_keys_of_its_group_unless_it_has_them_itself() {
    let config = config(
        "[[neighbor]]\naddress = \"10.0.0.2\"\ngroup = \"ix\"\n\
         [[neighbor]]\naddress = \"10.0.0.3\"\nasn = 65003\ngroup = \"ix\"\nexport = \"none\"\nhold-time = 30\n\
         [[group]]\nname = \"ix\"\nasn = 65001\npassive = true\nimport = \"all\"\nexport = [\"all\", \"none\"]\nhold-time = 9\n",
    );
    let [one, two] = &config.neighbors[..] else { panic!("{:?}", config.neighbors) };
    assert_eq!((one.asn, one.hold_time.as_secs(), one.passive), (Asn(65_001).into(), 9, true));
    assert_eq!((one.group.as_deref(), one.export.to_string().as_str()), (Some("ix"), "all, none"));
    assert_eq!((two.asn, two.hold_time.as_secs(), two.passive), (Asn(65_003).into(), 30, true));
    assert_eq!((two.import.to_string().as_str(), two.export.to_string().as_str()), ("all", "none"));
    assert_eq!(config.warnings(), []);
}

#[test]
fn a_group_takes_up_another_one_wherever_it_stands() {
    let config = config(
        "[[group]]\nname = \"a\"\ngroup = \"b\"\nhold-time = 30\nimport = \"all\"\nexport = \"all\"\n\
         [[group]]\nname = \"b\"\ngroup = \"c\"\nfamilies = \"ipv6-unicast\"\nhold-time = 60\n\
         [[group]]\nname = \"c\"\nasn = 65001\nfamilies = \"ipv4-unicast\"\npassive = true\n\
         [[neighbor]]\naddress = \"10.0.0.2\"\ngroup = \"a\"\n",
    );
    let neighbor = &config.neighbors[0];
    assert_eq!(
        (neighbor.asn, neighbor.hold_time.as_secs(), neighbor.passive),
        (Asn(65_001).into(), 30, true)
    );
    assert_eq!(neighbor.families, FamilySet::from(bgp::types::Family::Ipv6Unicast), "lists replace");
}

#[test]
fn what_is_wrong_in_a_group_is_said_once_and_of_its_line() {
    let neighbors: String =
        (2..5).map(|host| format!("[[neighbor]]\naddress = \"10.0.0.{host}\"\ngroup = \"g\"\n")).collect();
    let errors = parse(&format!(
        "[[group]]\nname = \"g\"\nasn = 65001\nhold-time = 2\nimport = \"al\"\naddress = \"10.0.0.9\"\nbfd = 3\n{neighbors}"
    ));
    let mut errors = errors.unwrap_err();
    let foreign = errors.remove(2);
    assert!(
        foreign.starts_with("p.toml:9: group.address: unknown key; expected one of name, group, asn"),
        "{foreign}"
    );
    assert_eq!(
        errors,
        [
            "p.toml:7: group.hold-time: 2 is forbidden by RFC 4271, section 4.2; expected 0 (no keepalives) or 3 to 65535 \
             seconds",
            "p.toml:8: group.import: no policy is named \"al\"; did you mean \"all\"?",
            "p.toml:10: group.bfd: expected true, false, or { min-tx = \"300ms\", min-rx = \"300ms\", multiplier = 3 }",
        ]
    );
}

#[test]
fn groups_that_do_not_exist_or_lead_in_a_circle_are_refused() {
    let neighbor = "[[neighbor]]\naddress = \"10.0.0.2\"\nasn = 65001\ngroup = \"gruop\"\n";
    assert_eq!(
        parse(&format!("[[group]]\nname = \"group\"\n{neighbor}")).unwrap_err(),
        ["p.toml:9: neighbor.group: no group is named \"gruop\"; did you mean \"group\"?"]
    );
    assert_eq!(
        parse("[[group]]\nname = \"a\"\ngroup = \"b\"\n[[group]]\nname = \"b\"\ngroup = \"a\"\n")
            .unwrap_err(),
        [
            "p.toml:6: group.group: groups take each other up in a circle; expected none that leads back to itself",
            "p.toml:9: group.group: groups take each other up in a circle; expected none that leads back to itself",
        ]
    );
    assert_eq!(
        parse("[[group]]\nname = \"a\"\n[[group]]\nname = \"a\"\n").unwrap_err(),
        ["p.toml:7: group.name: duplicate group \"a\", first on line 5; expected another name"]
    );
    assert_eq!(
        parse("[[group]]\nname = \"g\"\n[[neighbor]]\naddress = \"10.0.0.2\"\ngroup = \"g\"\n").unwrap_err(),
        ["p.toml:6: neighbor.asn: missing; expected the AS number of the neighbor"]
    );
}

#[test]
fn a_group_that_nobody_names_is_probably_not_meant() {
    let config = config("[[group]]\nname = \"g\"\n");
    let warnings: Vec<String> = config.warnings().iter().map(ToString::to_string).collect();
    assert_eq!(warnings, ["p.toml:5: group.name: no neighbor names this group"]);
}

#[test]
fn a_changed_group_is_a_change_of_its_neighbors() {
    let body = "[[group]]\nname = \"g\"\nasn = 65001\nimport = \"all\"\nexport = \"all\"\nhold-time = 30\n\
                [[neighbor]]\naddress = \"10.0.0.2\"\ngroup = \"g\"\n\
                [[neighbor]]\naddress = \"10.0.0.3\"\ngroup = \"g\"\nhold-time = 9\n";
    let changes = diff(&config(body), &config(&body.replace("hold-time = 30", "hold-time = 60")));
    let shown: Vec<String> = changes.iter().map(ToString::to_string).collect();
    assert_eq!(shown, ["~ neighbor 10.0.0.2: hold-time: 30 -> 60 (resets the session)"]);
}
