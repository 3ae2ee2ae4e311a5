//! Neighbours that are named by their interface alone, and those of any other AS.

use bgp::link::LinkTag;
use bgp::session::{PeerAsn, PeerKind};
use bgp::types::Asn;
use conf::Config;

fn parse(router: &str, body: &str) -> Result<Config, Vec<String>> {
    let text = format!("[router]\nasn = 65000\nrouter-id = \"10.0.0.1\"\n{router}\n{body}");
    conf::parse("p.toml", &text, []).map_err(|errors| errors.iter().map(ToString::to_string).collect())
}

fn error(router: &str, body: &str) -> String {
    match parse(router, body).err().unwrap_or_default().as_slice() {
        [error] => error.clone(),
        errors => panic!("{errors:#?}"),
    }
}

fn neighbor(keys: &str) -> conf::Neighbor {
    match parse("", &format!("[[neighbor]]\n{keys}\n")) {
        Ok(mut config) => config.neighbors.remove(0),
        Err(errors) => panic!("{errors:#?}"),
    }
}

#[test]
fn a_neighbor_may_be_named_by_its_interface_alone() {
    let eth1 = neighbor("interface = \"eth1\"\nasn = 65001");
    assert_eq!(eth1.name().to_string(), "eth1");
    assert_eq!(eth1.unnumbered(), Some(LinkTag::of("eth1")));
    assert!(eth1.extended_next_hop, "its link has no IPv4 addresses");
    assert!(!neighbor("interface = \"eth1\"\nasn = 65001\nextended-next-hop = false").extended_next_hop);
    let with_address = neighbor("address = \"fe80::1%eth1\"\nasn = 65001");
    assert_eq!(with_address.unnumbered(), None);
    assert!(!with_address.extended_next_hop);
}

#[test]
fn an_as_is_a_number_or_a_side_of_the_border() {
    let config = parse("", "[[neighbor]]\naddress = \"10.0.0.2\"\nasn = \"external\"\n").unwrap();
    let any = &config.neighbors[0];
    assert_eq!((any.asn, any.kind(&config.router)), (PeerAsn::External, PeerKind::Ebgp));
    assert_eq!(any.session_asn(&config.router), Asn(65_000));
    let config = parse("", "[[neighbor]]\ninterface = \"eth1\"\nasn = \"internal\"\n").unwrap();
    let ours = &config.neighbors[0];
    assert_eq!((ours.asn, ours.kind(&config.router)), (PeerAsn::Is(Asn(65_000)), PeerKind::Ibgp));
    let seen_as = neighbor("interface = \"eth1\"\nasn = \"internal\"\nlocal-asn = 65009");
    assert_eq!(seen_as.asn, PeerAsn::Is(Asn(65_009)));
    let text = "[[group]]\nname = \"fabric\"\nasn = \"external\"\n[[neighbor]]\ninterface = \"eth1\"\ngroup = \"fabric\"\n";
    assert_eq!(parse("", text).unwrap().neighbors[0].asn, PeerAsn::External);
    assert_eq!(
        error("", "[[neighbor]]\naddress = \"10.0.0.2\"\nasn = \"extern\"\n"),
        "p.toml:7: neighbor.asn: \"extern\" is a string; expected an AS number from 1 to 4294967294, \
         \"external\" or \"internal\""
    );
    assert_eq!(
        error(
            "confederation = { identifier = 64500, members = [65001] }",
            "[[neighbor]]\naddress = \"10.0.0.2\"\nasn = \"external\"\n"
        ),
        "p.toml:7: neighbor.asn: in a confederation it matters which AS that is; expected its number"
    );
    assert_eq!(
        error("", "[[neighbor]]\naddress = \"10.0.0.2\"\nasn = \"internal\"\nrole = \"peer\"\n"),
        "p.toml:8: neighbor.role: for external neighbors only, and this one is in our AS; expected no such key"
    );
}

#[test]
fn a_place_is_an_address_or_an_interface() {
    assert_eq!(
        error("", "[[neighbor]]\naddress = \"fe80::2%eth1\"\ninterface = \"eth1\"\nasn = 65001\n"),
        "p.toml:7: neighbor.interface: beside address; expected one of them: a neighbor's address on a link has the \
         interface in it, address = \"fe80::2%eth1\""
    );
    assert_eq!(
        error("", "[[neighbor]]\naddress = \"eth1\"\nasn = 65001\n"),
        "p.toml:6: neighbor.address: \"eth1\" is not an address; expected an IPv4 or IPv6 address"
    );
    assert_eq!(
        error("", "[[neighbor]]\ninterface = \"eth/1\"\nasn = 65001\n"),
        "p.toml:6: neighbor.interface: \"eth/1\" cannot be an interface; expected a name of 1 to 15 bytes without \
         \"/\", \":\" and spaces"
    );
    assert_eq!(
        error("", "[[neighbor]]\ninterface = \"eth1\"\nasn = 65001\nlocal-address = \"2001:db8::1\"\n"),
        "p.toml:8: neighbor.local-address: a neighbor of a link is reached from our address on that link; expected no \
         such key"
    );
}

#[test]
fn who_is_alone_on_a_link_is_alone() {
    let alone = "[[neighbor]]\ninterface = \"eth1\"\nasn = 65001\n";
    assert_eq!(
        error("", &format!("{alone}{alone}")),
        "p.toml:9: neighbor.interface: duplicate neighbor eth1, first on line 6; expected one [[neighbor]] for it"
    );
    let other = "[[neighbor]]\naddress = \"fe80::2%eth1\"\nasn = 65001\n";
    let reason =
        "another neighbor on eth1, see line 6; expected one without an address there, or several with theirs";
    assert_eq!(error("", &format!("{alone}{other}")), format!("p.toml:9: neighbor.address: {reason}"));
    assert_eq!(error("", &format!("{other}{alone}")), format!("p.toml:9: neighbor.interface: {reason}"));
    let elsewhere = other.replace("eth1", "eth2");
    assert!(parse("", &format!("{alone}{elsewhere}")).is_ok());
    let third = other.replace("::2", "::3");
    assert!(parse("", &format!("{other}{third}")).is_ok());
}

#[test]
fn neighbors_of_links_cannot_be_told_apart_by_passwords() {
    let alone = "[[neighbor]]\ninterface = \"eth1\"\nasn = 65001\npassword = \"one\"\n";
    let other = "[[neighbor]]\naddress = \"fe80::2%eth2\"\nasn = 65001\n";
    assert_eq!(
        error("", &format!("{alone}{other}")),
        "p.toml:9: neighbor.password: eth1 may have the same address on another link; expected the same password"
    );
    assert!(parse("", &format!("{alone}{other}password = \"one\"\n")).is_ok());
    assert!(parse("", &format!("{alone}[[neighbor]]\naddress = \"10.0.0.2\"\nasn = 65001\n")).is_ok());
}

#[test]
fn what_changes_of_it_is_said_by_its_interface() {
    let of = |text: &str| parse("", text).unwrap();
    let (none, eth1) = (of(""), of("[[neighbor]]\ninterface = \"eth1\"\nasn = \"external\"\n"));
    let lines =
        |from: &Config, to: &Config| conf::diff(from, to).iter().map(ToString::to_string).collect::<Vec<_>>();
    assert_eq!(lines(&none, &eth1), ["+ neighbor eth1 (another AS)"]);
    assert_eq!(lines(&eth1, &none), ["- neighbor eth1 (another AS)"]);
    let numbered = of("[[neighbor]]\ninterface = \"eth1\"\nasn = 65001\nextended-next-hop = false\n");
    assert_eq!(
        lines(&eth1, &numbered),
        ["~ neighbor eth1: asn: external -> 65001, extended-next-hop: true -> false (resets the session)"]
    );
}
