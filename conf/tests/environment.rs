//! Overrides from the environment: what they reach, how they are written, how they fail.

#![expect(clippy::unwrap_used, reason = "a helper of tests fails its test by panicking")]

use conf::{Config, Lookup};

const FILE: &str = "\
[router]
asn = 65000
router-id = \"10.0.0.1\"

[fib]
interfaces = [\"eth9\"]

[[neighbor]]
address = \"10.0.0.2\"
asn = 65001
import = [\"all\"]
export = [\"all\"]
";

fn parse(text: &str, variables: &[(&str, &str)]) -> Result<Config, Vec<String>> {
    let variables = variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    conf::parse("p.toml", text, variables)
        .map_err(|errors| errors.iter().map(ToString::to_string).collect::<Vec<_>>())
}

fn refused(variables: &[(&str, &str)]) -> Vec<String> {
    parse(FILE, variables).unwrap_err()
}

#[test]
fn a_variable_overrides_the_file() {
    let config = parse(
        FILE,
        &[
            ("PEREGRINE_ROUTER__ASN", "64999"),
            ("PEREGRINE_ROUTER__ROUTER_ID", "10.0.0.9"),
            ("PEREGRINE_ROUTER__LISTEN", "[::]:1179"),
            ("PEREGRINE_FIB__INTERFACES", "[eth0, eth1]"),
            ("PEREGRINE_FIB__LOOKUP", "lpm-trie"),
            ("PEREGRINE_FIB__MAX_IPV4_ENTRIES", "1000"),
            ("PEREGRINE_API__LISTEN", "127.0.0.1:8179"),
            ("PEREGRINE_DECISION__ALWAYS_COMPARE_MED", "true"),
            ("PATH", "/bin"),
            ("PEREGRINE_TEST_DATA", "/data"),
        ],
    )
    .unwrap();
    assert_eq!(config.router.asn.0, 64999);
    assert_eq!(config.router.router_id.to_string(), "10.0.0.9");
    assert_eq!(config.router.listen, ["[::]:1179".parse().unwrap()]);
    assert_eq!(config.fib.interfaces, ["eth0", "eth1"]);
    assert_eq!((config.fib.lookup, config.fib.max_ipv4_entries), (Lookup::LpmTrie, 1000));
    assert_eq!(config.api.listen, Some("127.0.0.1:8179".parse().unwrap()));
    assert!(config.decision.always_compare_med);
    // What is not overridden stays.
    assert_eq!(config.neighbors.len(), 1);
}

#[test]
fn a_section_may_come_from_the_environment_alone() {
    let variables = [("PEREGRINE_ROUTER__ASN", "65000"), ("PEREGRINE_ROUTER__ROUTER_ID", "\"10.0.0.1\"")];
    assert_eq!(parse("", &variables).unwrap().router.asn.0, 65000);
}

#[test]
fn lists_are_written_with_quotes_or_without() {
    for value in ["[eth0, eth1]", "[\"eth0\",\"eth1\"]", "['eth0', 'eth1']"] {
        let config = parse(FILE, &[("PEREGRINE_FIB__INTERFACES", value)]).unwrap();
        assert_eq!(config.fib.interfaces, ["eth0", "eth1"], "{value}");
    }
    assert_eq!(parse(FILE, &[("PEREGRINE_FIB__INTERFACES", "eth0")]).unwrap().fib.interfaces, ["eth0"]);
    assert!(parse(FILE, &[("PEREGRINE_FIB__INTERFACES", "[]")]).unwrap().fib.interfaces.is_empty());
}

#[test]
fn a_wrong_override_names_its_variable() {
    assert_eq!(
        refused(&[("PEREGRINE_ROUTER__ASN", "0")]),
        [
            "PEREGRINE_ROUTER__ASN: router.asn: 0 is reserved and never a peer (RFC 7607); expected the AS number of the \
          speaker itself"
        ]
    );
    assert_eq!(
        refused(&[("PEREGRINE_FIB__INTERFACES", "[eth0, eth0]")]),
        [
            "PEREGRINE_FIB__INTERFACES: fib.interfaces: duplicate eth0, first on PEREGRINE_FIB__INTERFACES; expected \
          each only once"
        ]
    );
    assert_eq!(
        refused(&[("PEREGRINE_FIB__LOKUP", "auto")]),
        ["PEREGRINE_FIB__LOKUP: fib.lokup: unknown key; did you mean \"lookup\"?"]
    );
    assert_eq!(
        refused(&[("PEREGRINE_ROUTER__ASN", "")]),
        ["PEREGRINE_ROUTER__ASN: router.asn: \"\" is a string; expected an AS number from 1 to 4294967294"]
    );
}

#[test]
fn what_cannot_be_overridden_is_refused() {
    assert_eq!(
        refused(&[("PEREGRINE_NEIGHBOR__ASN", "1")]),
        [
            "PEREGRINE_NEIGHBOR__ASN: no section \"neighbor\" can be overridden; expected one of router, fib, api, \
          decision"
        ]
    );
    assert_eq!(
        refused(&[("PEREGRINE_ROUTER_ASN", "1")]),
        ["PEREGRINE_ROUTER_ASN: one underscore behind the section; expected PEREGRINE_ROUTER__ASN"]
    );
}

#[test]
fn errors_of_file_and_environment_come_together() {
    let text = FILE.replace("asn = 65001", "asn = 0");
    let errors =
        parse(&text, &[("PEREGRINE_ROUTER__ROUTER_ID", "0.0.0.0"), ("PEREGRINE_X__Y", "1")]).unwrap_err();
    let places: Vec<&str> = errors.iter().map(|error| error.split(": ").next().unwrap()).collect();
    assert_eq!(places, ["p.toml:10", "PEREGRINE_X__Y", "PEREGRINE_ROUTER__ROUTER_ID"]);
}

/// Half a file is what an editor leaves behind while it saves.
#[test]
fn half_a_file_is_an_error_or_a_configuration_never_a_panic() {
    let whole = include_str!("../examples/edge-router.toml");
    for end in (0..whole.len()).step_by(13).filter(|&end| whole.is_char_boundary(end)) {
        let _ = parse(&whole[..end], &[]);
    }
}
