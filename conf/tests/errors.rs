//! Every error, exactly as it is shown: `FILE:LINE: key: what is wrong; what was expected`.

mod refused;

use refused::{error, errors, neighbor, rule, with_router};

#[test]
fn text_that_is_not_toml_is_refused_with_its_line() {
    assert_eq!(errors("[router]\nasn = \n"), ["p.toml:2: not TOML: asn has no value"]);
    assert_eq!(errors("[router]\nasn = 1\nasn = 2\n"), ["p.toml:3: not TOML: duplicate key"]);
    assert_eq!(errors("[router\n"), ["p.toml:1: not TOML: unclosed table, expected `]`"]);
}

#[test]
fn a_file_that_cannot_be_read_is_named() {
    let missing = std::path::Path::new("/nonexistent/p.toml");
    let errors = conf::load(missing, []).unwrap_err();
    assert_eq!(errors.len(), 1);
    assert_eq!(
        errors[0].to_string(),
        "/nonexistent/p.toml: cannot be read: No such file or directory (os error 2)"
    );

    let binary = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join("binary.toml");
    std::fs::write(&binary, b"[router]\nasn = 1\n# \xff\n").unwrap();
    let errors = conf::load(&binary, []).unwrap_err();
    assert_eq!(errors[0].to_string(), format!("{}:3: not TOML: expected UTF-8 text", binary.display()));
}

#[test]
fn unknown_keys_are_refused_and_the_nearest_is_named() {
    assert_eq!(
        neighbor("hold-tme = 30"),
        "p.toml:7: neighbor.hold-tme: unknown key; did you mean \"hold-time\"?"
    );
    assert_eq!(
        neighbor("hold_time = 30"),
        "p.toml:7: neighbor.hold_time: unknown key; did you mean \"hold-time\"?"
    );
    assert_eq!(error("[api]\ncost = 1\n"), "p.toml:5: api.cost: unknown key; expected one of socket, listen");
    assert_eq!(
        error("[[network]]\nprefix = \"10.0.0.0/8\"\nlabel = 1\n"),
        "p.toml:6: network.label: unknown key; expected one of prefix, policy, only-if-present, kind"
    );
    assert_eq!(
        error("[[neighbour]]\nasn = 1\n"),
        "p.toml:4: neighbour: unknown key; did you mean \"neighbor\"?"
    );
    assert_eq!(
        error("[metrics]\nlisten = 1\n"),
        "p.toml:4: metrics: unknown key; expected one of router, fib, api, decision, as-list, prefix-list, \
             as-path-list, neighbor-list, community-list, large-community-list, extended-community-list, policy, group, neighbor, \
             neighbor-range, network, aggregate, redistribute"
    );
    assert_eq!(
        rule("match = { as-pth = \"^1_\" }"),
        "p.toml:7: policy.rule.match.as-pth: unknown key; did you mean \"as-path\"?"
    );
    assert_eq!(
        rule("set = { metric = 1 }").split(';').next(),
        Some("p.toml:7: policy.rule.set.metric: unknown key")
    );
    assert_eq!(
        rule("[policy.rule.set]\nlocalpref = 1"),
        "p.toml:8: policy.rule.set.localpref: unknown key; did you mean \"local-pref\"?"
    );
}

#[test]
fn add_path_says_what_it_expects() {
    let expected = "expected \"all\", or the greatest number of paths of a prefix, 1 to 255";
    for (value, reason) in [
        (
            "true",
            ": true is a boolean; expected one table, [neighbor.add-path] or add-path = { ... }".to_owned(),
        ),
        ("{ send = \"some\" }", format!(".send: \"some\" is unknown; {expected}")),
        ("{ send = 0 }", format!(".send: 0 is out of range; {expected}")),
        ("{ send = true }", format!(".send: true is a boolean; {expected}")),
        ("{ recieve = true }", ".recieve: unknown key; did you mean \"receive\"?".to_owned()),
    ] {
        assert_eq!(neighbor(&format!("add-path = {value}")), format!("p.toml:7: neighbor.add-path{reason}"));
    }
}

#[test]
fn bfd_says_what_it_expects() {
    let time = "expected a time from \"10ms\" to \"60s\"";
    let range = "expected a number from 1 to 255";
    let link = "packets on a link must always arrive with 255; expected no such key";
    for (value, reason) in [
        (
            "3",
            ": expected true, false, or { min-tx = \"300ms\", min-rx = \"300ms\", multiplier = 3 }"
                .to_owned(),
        ),
        ("{ min-tx = 50 }", format!(".min-tx: 50 is a number; {time}")),
        ("{ min-tx = \"50\" }", format!(".min-tx: \"50\" is not a time; {time}")),
        ("{ min-rx = \"9ms\" }", format!(".min-rx: \"9ms\" is out of range; {time}")),
        ("{ min-rx = \"61s\" }", format!(".min-rx: \"61s\" is out of range; {time}")),
        ("{ multiplier = 0 }", format!(".multiplier: 0 is out of range; {range} (packets)")),
        ("{ minimum-ttl = 256 }", format!(".minimum-ttl: 256 is out of range; {range}")),
        ("{ minimum-ttl = 250 }", format!(".minimum-ttl: the neighbor is one hop away, and {link}")),
        (
            "{ minimum-ttl = 250, multihop = false }",
            ".minimum-ttl: on a link packets must always arrive with 255; expected this only over several hops"
                .to_owned(),
        ),
        ("{ min-xt = \"50ms\" }", ".min-xt: unknown key; did you mean \"min-tx\"?".to_owned()),
    ] {
        assert_eq!(neighbor(&format!("bfd = {value}")), format!("p.toml:7: neighbor.bfd{reason}"));
    }
    assert_eq!(
        error(
            "[[neighbor]]\naddress = \"fe80::2%eth1\"\nasn = 65001\nimport = [\"none\"]\nexport = [\"none\"]\nbfd = { multihop = true }\n"
        ),
        "p.toml:9: neighbor.bfd.multihop: a neighbor of a link is one hop away; expected no such key"
    );
}

#[test]
fn wrong_limits_are_refused() {
    for (keys, expected) in [
        (
            "max-prefixes = 10",
            "7: neighbor.max-prefixes: 10 is a number; expected limits by family, { ipv4-unicast = 100 }",
        ),
        (
            "max-prefixes = { ipv4-unicast = 0 }",
            "7: neighbor.max-prefixes.ipv4-unicast: 0 is out of range; expected a number from 1 to 4294967295 \
             (prefixes)",
        ),
        (
            "max-prefixes = { ipv4 = 10 }",
            "7: neighbor.max-prefixes.ipv4: unknown key; expected one of ipv4-unicast, ipv6-unicast",
        ),
        (
            "max-accepted-prefixes = { ipv6-unicast = { warning = 50 } }",
            "7: neighbor.max-accepted-prefixes.ipv6-unicast.limit: missing; expected the most prefixes",
        ),
        (
            "max-prefixes = { ipv4-unicast = { limit = 10, action = \"block\" } }",
            "7: neighbor.max-prefixes.ipv4-unicast.action: \"block\" is unknown; expected \"shutdown\", \
             \"restart\", \"warn\" or \"drop-excess\"",
        ),
        (
            "max-prefixes = { ipv4-unicast = { limit = 10, restart-after = 60 } }",
            "7: neighbor.max-prefixes.ipv4-unicast.restart-after: nothing restarts; expected action = \
             \"restart\" beside it",
        ),
        (
            "max-prefixes-out = { ipv4-unicast = { limit = 10, action = \"warn\" } }",
            "7: neighbor.max-prefixes-out.ipv4-unicast.action: unknown key; expected one of limit, warning",
        ),
    ] {
        assert_eq!(neighbor(keys), format!("p.toml:{expected}"));
    }
}

#[test]
fn wrong_keys_of_graceful_restart_are_refused() {
    for (keys, expected) in [
        (
            "graceful-restart = 1",
            "7: neighbor.graceful-restart: 1 is a number; expected \"on\", \"helper\" or \"off\"",
        ),
        (
            "stale-routes-time = 0",
            "7: neighbor.stale-routes-time: 0 is out of range; expected a number from 1 to 86400 (seconds)",
        ),
        (
            "graceful-restart = \"off\"\nstale-routes-time = 60",
            "8: neighbor.stale-routes-time: has no effect with graceful-restart = \"off\"; expected no such key",
        ),
        (
            "long-lived-graceful-restart = 60",
            "7: neighbor.long-lived-graceful-restart: expected true, false, or a table of families with seconds",
        ),
        (
            "long-lived-graceful-restart = { ipv4-unicast = 16777216 }",
            "7: neighbor.long-lived-graceful-restart.ipv4-unicast: 16777216 is out of range; expected a number \
             from 0 to 16777215 (seconds)",
        ),
    ] {
        assert_eq!(neighbor(keys), format!("p.toml:{expected}"));
    }
}

#[test]
fn a_confederation_has_a_number_of_its_own() {
    let router = |keys: &str| error(&format!("confederation = {{ {keys} }}\n"));
    assert_eq!(
        router("identifier = 65000, members = [65001]"),
        "p.toml:4: router.confederation.identifier: 65000 is router.asn; expected the number of all member ASes together"
    );
    assert_eq!(
        router("identifier = 64500, members = [65001, 64500]"),
        "p.toml:4: router.confederation.members: 64500 is the confederation itself; expected one of its members"
    );
    assert_eq!(
        router("identifier = 64500"),
        "p.toml:4: router.confederation.members: missing; expected the other member ASes"
    );
    assert_eq!(
        error(
            "confederation = { identifier = 64500, members = [65001] }\n[[neighbor]]\naddress = \"10.0.0.2\"\nasn = 64500\n"
        ),
        "p.toml:7: neighbor.asn: 64500 is our own confederation; expected the neighbor's member AS"
    );
}

#[test]
fn only_internal_neighbors_are_clients_of_a_route_reflector() {
    assert_eq!(
        neighbor("import = []\nexport = []\nroute-reflector-client = true"),
        "p.toml:9: neighbor.route-reflector-client: AS 65001 is not ours; expected this only of internal \
         neighbors (asn = 65000)"
    );
    assert_eq!(
        error("[[neighbor]]\naddress = \"10.0.0.2\"\nasn = 65000\nroute-server-client = true\n"),
        "p.toml:7: neighbor.route-server-client: a route server is in no AS of its clients; expected this only of \
         external neighbors"
    );
    assert_eq!(
        neighbor("cluster-id = \"0.0.0.0\""),
        "p.toml:7: neighbor.cluster-id: 0.0.0.0 is no cluster; expected an IPv4 address other than 0.0.0.0, such \
         as \"10.0.0.1\""
    );
}

#[test]
fn what_must_be_there_is_asked_for() {
    assert_eq!(
        errors("[api]\n"),
        ["p.toml:1: router: the section [router] is missing; expected asn and router-id in it"]
    );
    assert_eq!(
        errors("# nothing\n\n[router]\n"),
        [
            "p.toml:3: router.asn: missing; expected an AS number from 1 to 4294967294",
            "p.toml:3: router.router-id: missing; expected an IPv4 address other than 0.0.0.0, such as \"10.0.0.1\"",
        ]
    );
    assert_eq!(
        errors(&with_router("[[neighbor]]\n\n[[neighbor]]\naddress = \"10.0.0.2\"\n[[network]]\n")),
        [
            "p.toml:4: neighbor.address: missing; expected an IPv4 or IPv6 address",
            "p.toml:4: neighbor.asn: missing; expected the AS number of the neighbor",
            "p.toml:6: neighbor.asn: missing; expected the AS number of the neighbor",
            "p.toml:8: network.prefix: missing; expected a prefix, such as \"203.0.113.0/24\" or \"2001:db8::/32\"",
        ]
    );
    assert_eq!(
        error("[[policy]]\ndefault = \"accept\"\n"),
        "p.toml:4: policy.name: missing; expected a name of letters, digits, \"-\", \"_\" and \".\""
    );
    assert_eq!(
        error("[[prefix-list]]\nname = \"l\"\n"),
        "p.toml:4: prefix-list.prefixes: missing; expected an array of \"PREFIX/LENGTH [ge N] [le N]\", or file"
    );
}

#[test]
fn wrong_types_are_named_with_what_is_there() {
    assert_eq!(neighbor("passive = 1"), "p.toml:7: neighbor.passive: 1 is a number; expected true or false");
    assert_eq!(
        neighbor("passive = \"yes\""),
        "p.toml:7: neighbor.passive: \"yes\" is a string; expected true or false"
    );
    assert_eq!(
        neighbor("description = 1"),
        "p.toml:7: neighbor.description: 1 is a number; expected a string"
    );
    assert_eq!(
        neighbor("port = \"179\""),
        "p.toml:7: neighbor.port: \"179\" is a string; expected a number from 1 to 65535"
    );
    assert_eq!(
        neighbor("port = 1.5"),
        "p.toml:7: neighbor.port: 1.5 is not a whole number; expected a number from 1 to 65535"
    );
    assert_eq!(
        neighbor("hold-time = [30]"),
        "p.toml:7: neighbor.hold-time: it is an array; expected 0 (no keepalives) or 3 to 65535 seconds"
    );
    assert_eq!(
        neighbor("import = [1]"),
        "p.toml:7: neighbor.import: 1 is a number; expected the name of a policy"
    );
    assert_eq!(
        error("[neighbor]\nasn = 1\n"),
        "p.toml:4: neighbor: it is a table; expected an array of tables, each headed [[neighbor]]"
    );
    assert_eq!(
        error("[[fib]]\nlookup = \"auto\"\n"),
        "p.toml:4: fib: it is an array; expected one table, [fib] or fib = { ... }"
    );
    assert_eq!(
        errors("asn = 65000\nrouter = 1\n"),
        [
            "p.toml:1: asn: unknown key; expected one of router, fib, api, decision, as-list, prefix-list, \
             as-path-list, neighbor-list, community-list, large-community-list, extended-community-list, policy, group, neighbor, \
             neighbor-range, network, aggregate, redistribute",
            "p.toml:2: router: 1 is a number; expected one table, [router] or router = { ... }",
        ]
    );
    assert_eq!(
        errors("[router]\nasn = true\nrouter-id = 1\n"),
        [
            "p.toml:2: router.asn: true is a boolean; expected an AS number from 1 to 4294967294",
            "p.toml:3: router.router-id: 1 is a number; expected an IPv4 address other than 0.0.0.0, such as \
             \"10.0.0.1\"",
        ]
    );
}

#[test]
fn as_numbers_that_nobody_can_have_are_refused() {
    for (asn, reason) in [
        ("0", "0 is reserved and never a peer (RFC 7607); expected the AS number of the speaker itself"),
        (
            "23456",
            "23456 is AS_TRANS, the stand-in for larger AS numbers (RFC 6793); expected the AS number of the speaker \
             itself",
        ),
        ("65535", "65535 is reserved (RFC 7300); expected the AS number of the speaker itself"),
        ("4294967295", "4294967295 is reserved (RFC 7300); expected the AS number of the speaker itself"),
        ("4294967296", "4294967296 is out of range; expected an AS number from 1 to 4294967294"),
        ("-1", "-1 is out of range; expected an AS number from 1 to 4294967294"),
        ("\"AS1\"", "\"AS1\" is a string; expected an AS number from 1 to 4294967294"),
    ] {
        assert_eq!(
            errors(&format!("[router]\nasn = {asn}\nrouter-id = \"10.0.0.1\"\n")),
            [format!("p.toml:2: router.asn: {reason}")]
        );
        let of_neighbor = error(&format!("[[neighbor]]\naddress = \"10.0.0.2\"\nasn = {asn}\n"));
        // Its AS may also be said in words.
        let rest = of_neighbor.strip_prefix(&format!("p.toml:6: neighbor.asn: {reason}"));
        let words = if asn.starts_with('"') { ", \"external\" or \"internal\"" } else { "" };
        assert_eq!(rest, Some(words), "{of_neighbor}");
    }
}

#[test]
fn a_router_id_is_a_real_one() {
    let expected = "expected an IPv4 address other than 0.0.0.0, such as \"10.0.0.1\"";
    assert_eq!(
        errors("[router]\nasn = 1\nrouter-id = \"0.0.0.0\"\n"),
        [format!("p.toml:3: router.router-id: 0.0.0.0 is not allowed (RFC 6286); {expected}")]
    );
    assert_eq!(
        errors("[router]\nasn = 1\nrouter-id = \"10.0.0\"\n"),
        [format!("p.toml:3: router.router-id: \"10.0.0\" is invalid; {expected}")]
    );
}

#[test]
fn listening_addresses_have_a_port_and_differ() {
    assert_eq!(
        errors(&with_router(
            "listen = [\n  \"10.0.0.1:179\",\n  \"10.0.0.1\",\n  \"::1:0\",\n  \"[::1]:0\",\n  \"10.0.0.1:179\",\n]\n"
        )),
        [
            "p.toml:6: router.listen: \"10.0.0.1\" is invalid; expected \"ADDRESS:PORT\" or \"[IPV6-ADDRESS]:PORT\"",
            "p.toml:7: router.listen: \"::1:0\" is invalid; expected \"ADDRESS:PORT\" or \"[IPV6-ADDRESS]:PORT\"",
            "p.toml:8: router.listen: [::1]:0 has port 0; expected a port from 1 to 65535",
            "p.toml:9: router.listen: duplicate 10.0.0.1:179, first on line 5; expected each only once",
        ]
    );
}

#[test]
fn the_routing_table_has_one_to_sixty_four_threads() {
    for (value, found) in [("0", "0 is out of range"), ("65", "65 is out of range"), ("\"all\"", "\"all\"")] {
        let error = error(&format!("rib-threads = {value}\n"));
        assert!(error.starts_with("p.toml:4: router.rib-threads: "), "{error}");
        assert!(error.contains(found), "{error}");
    }
    let parse = |body: &str| conf::parse("p.toml", &with_router(body), []).map(|c| c.router.rib_threads);
    assert_eq!(parse("rib-threads = 64\n"), Ok(Some(64)));
    assert_eq!(parse(""), Ok(None), "one for each core");
}

#[test]
fn interfaces_are_names_and_differ() {
    assert_eq!(
        errors(&with_router(
            "[fib]\ninterfaces = [\"eth0\", \"eth1\",\n\"eth0\",\n\"a-name-that-is-too-long\", \"\",\n\"a/b\"]\n"
        )),
        [
            "p.toml:6: fib.interfaces: duplicate eth0, first on line 5; expected each only once",
            "p.toml:7: fib.interfaces: \"a-name-that-is-too-long\" cannot be an interface; expected a name of 1 to 15 \
             bytes without \"/\", \":\" and spaces",
            "p.toml:7: fib.interfaces: \"\" cannot be an interface; expected a name of 1 to 15 bytes without \"/\", \
             \":\" and spaces",
            "p.toml:8: fib.interfaces: \"a/b\" cannot be an interface; expected a name of 1 to 15 bytes without \
             \"/\", \":\" and spaces",
        ]
    );
}

#[test]
fn the_fib_takes_known_words_and_numbers() {
    assert_eq!(
        error("[fib]\nlookup = \"trie\"\n"),
        "p.toml:5: fib.lookup: \"trie\" is unknown; expected \"auto\", \"lpm-trie\" or \"direct\""
    );
    assert_eq!(
        error("[fib]\nxdp-mode = \"fast\"\n"),
        "p.toml:5: fib.xdp-mode: \"fast\" is unknown; expected \"auto\", \"native\" or \"generic\""
    );
    assert_eq!(
        error("[fib]\nadvertise = \"later\"\n"),
        "p.toml:5: fib.advertise: \"later\" is unknown; expected \"installed\" or \"at-once\""
    );
    assert_eq!(
        error("[fib]\nmax-ipv4-entries = 0\n"),
        "p.toml:5: fib.max-ipv4-entries: 0 is out of range; expected a number from 1 to 16000000"
    );
    assert_eq!(
        error("[fib]\nmax-ipv6-entries = 16000001\n"),
        "p.toml:5: fib.max-ipv6-entries: 16000001 is out of range; expected a number from 1 to 16000000"
    );
}

#[test]
fn the_api_needs_an_absolute_socket_and_a_port() {
    assert_eq!(
        error("[api]\nsocket = \"peregrine.sock\"\n"),
        "p.toml:5: api.socket: \"peregrine.sock\" is not absolute; expected an absolute path"
    );
    assert_eq!(
        error(&format!("[api]\nsocket = \"/{}\"\n", "x".repeat(107))),
        "p.toml:5: api.socket: the path has 108 bytes; expected at most 107, as the kernel demands"
    );
    assert_eq!(
        error("[api]\nlisten = \"localhost:80\"\n"),
        "p.toml:5: api.listen: \"localhost:80\" is invalid; expected \"ADDRESS:PORT\" or \"[IPV6-ADDRESS]:PORT\""
    );
}

#[test]
fn multipath_has_bounds() {
    for bad in ["0", "65"] {
        assert_eq!(
            error(&format!("[decision]\nmultipath = {bad}\n")),
            format!(
                "p.toml:5: decision.multipath: {bad} is out of range; expected a number from 1 to 64 (paths)"
            )
        );
    }
}

#[test]
fn networks_are_networks_and_differ() {
    assert_eq!(
        error("[[network]]\nprefix = \"203.0.113.1/24\"\n"),
        "p.toml:5: network.prefix: 203.0.113.1/24 has host bits set; expected the network 203.0.113.0/24"
    );
    assert_eq!(
        error("[[network]]\nprefix = \"2001:db8::1/32\"\n"),
        "p.toml:5: network.prefix: 2001:db8::1/32 has host bits set; expected the network 2001:db8::/32"
    );
    assert_eq!(
        error("[[network]]\nprefix = \"203.0.113.0\"\n"),
        "p.toml:5: network.prefix: \"203.0.113.0\" is invalid; expected a prefix, such as \"203.0.113.0/24\" or \
         \"2001:db8::/32\""
    );
    assert_eq!(
        error("[[network]]\nprefix = \"203.0.113.0/24\"\nkind = \"drop\"\n"),
        "p.toml:6: network.kind: \"drop\" is unknown; expected \"reject\" or \"blackhole\""
    );
    assert_eq!(
        error("[[network]]\nprefix = \"ff02::/16\"\n"),
        "p.toml:5: network.prefix: ff02::/16 is multicast; expected a unicast prefix"
    );
    assert_eq!(
        error("[[network]]\nprefix = \"10.0.0.0/8\"\n[[network]]\nprefix = \"10.0.0.0/8\"\n"),
        "p.toml:7: network.prefix: duplicate 10.0.0.0/8, first on line 5; expected each only once"
    );
}

#[test]
fn names_of_policies_and_lists_lead_somewhere() {
    assert_eq!(
        neighbor("import = [\"transit\"]"),
        "p.toml:7: neighbor.import: no policy is named \"transit\"; expected a [[policy]] of that name or all, none"
    );
    assert_eq!(
        error(
            "[[policy]]\nname = \"transit-in\"\n[[neighbor]]\naddress = \"10.0.0.2\"\nasn = 65001\nimport = [\n\"all\",\n\
             \"transitin\",\n]\n"
        ),
        "p.toml:11: neighbor.import: no policy is named \"transitin\"; did you mean \"transit-in\"?"
    );
    assert_eq!(
        rule("match = { prefix-list = [\"customers\"] }"),
        "p.toml:7: policy.rule.match.prefix-list: no prefix list is named \"customers\"; expected a [[prefix-list]] of \
         that name"
    );
}

#[test]
fn a_name_that_leads_to_something_wrong_is_no_second_error() {
    let text = "[[prefix-list]]\nname = \"l\"\nprefixes = [\"x\"]\n[[policy]]\nname = \"p\"\n[[policy.rule]]\n\
                match = { prefix-list = \"l\" }\n";
    assert_eq!(
        error(text),
        "p.toml:6: prefix-list.prefixes: \"x\" is not a prefix list entry; expected \"PREFIX/LENGTH [ge N] [le N]\""
    );
}

#[test]
fn names_are_given_once_and_not_those_built_in() {
    for name in ["all", "none"] {
        assert_eq!(
            error(&format!("[[policy]]\nname = \"{name}\"\n")),
            format!("p.toml:5: policy.name: \"{name}\" is built in; expected another name")
        );
    }
    assert_eq!(
        error("[[policy]]\nname = \"p\"\n[[policy]]\nname = \"p\"\n"),
        "p.toml:7: policy.name: duplicate policy \"p\", first on line 5; expected another name"
    );
    assert_eq!(
        error("[[prefix-list]]\nname = \"l\"\nprefixes = []\n[[prefix-list]]\nname = \"l\"\nprefixes = []\n"),
        "p.toml:8: prefix-list.name: duplicate prefix list \"l\", first on line 5; expected another name"
    );
    assert_eq!(
        error("[[policy]]\nname = \"a b\"\n"),
        "p.toml:5: policy.name: \"a b\" is no name; expected a name of letters, digits, \"-\", \"_\" and \".\""
    );
}

#[test]
fn prefix_list_entries_are_checked_each_on_its_line() {
    assert_eq!(
        errors(&with_router(
            "[[prefix-list]]\nname = \"l\"\nprefixes = [\n\"10.0.0.0/8 le 24\",\n\"10.0.0.1/8\",\n\"10.0.0.0/8 ge 4\",\n1,\n]\n"
        )),
        [
            "p.toml:8: prefix-list.prefixes: 10.0.0.1/8 has host bits set; expected the network 10.0.0.0/8",
            "p.toml:9: prefix-list.prefixes: ge 4 le 32 does not fit 10.0.0.0/8; expected 8 <= ge <= le <= 32",
            "p.toml:10: prefix-list.prefixes: 1 is a number; expected an array of \"PREFIX/LENGTH [ge N] [le N]\"",
        ]
    );
}

#[test]
fn a_rule_does_something() {
    let expected = "p.toml:6: policy.rule: the rule does nothing; expected match, set, call or action in it";
    assert_eq!(rule(""), expected);
    assert_eq!(rule("name = \"idle\""), expected);
    assert_eq!(
        rule("action = \"drop\""),
        "p.toml:7: policy.rule.action: \"drop\" is unknown; expected \"accept\", \"reject\", \"next\", \"next-policy\" or \
         \"accept-now\""
    );
    assert_eq!(
        error("[[policy]]\nname = \"p\"\ndefault = \"continue\"\n"),
        "p.toml:6: policy.default: \"continue\" is unknown; expected \"accept\" or \"reject\""
    );
}

#[test]
fn a_match_holds_something_that_can_match() {
    assert_eq!(
        rule("match = { as-path = \"_174[_\" }"),
        "p.toml:7: policy.rule.match.as-path: AS-path expression \"_174[_\" is invalid: \"_\" has no meaning inside \
         brackets; expected \"(_|...)\""
    );
    assert_eq!(
        rule("match = { as-path = [\"^1_\",\n \"(1\"] }"),
        "p.toml:8: policy.rule.match.as-path: AS-path expression \"(1\" is invalid: unclosed group"
    );
    assert_eq!(
        rule("match = { community = \"70000:*\" }"),
        "p.toml:7: policy.rule.match.community: 70000 in \"70000:*\" is too large; expected at most 65535, or a large \
         community"
    );
    assert_eq!(
        rule("match = { large-community = \"1:2\" }"),
        "p.toml:7: policy.rule.match.large-community: \"1:2\" is not a large community pattern; expected \
         \"ASN:NUMBER:NUMBER\", each a number, a range \"1-9\" or \"*\""
    );
    assert_eq!(
        rule("match = { extended-community = 1 }"),
        "p.toml:7: policy.rule.match.extended-community: 1 is a number; expected a string or an array of strings"
    );
    assert_eq!(
        rule("match = { community = [] }"),
        "p.toml:7: policy.rule.match.community: the array is empty; expected at least one value"
    );
    assert_eq!(
        rule("match = \"all\""),
        "p.toml:7: policy.rule.match: \"all\" is a string; expected one table, [policy.rule.match] or match = { ... }"
    );
}

#[test]
fn what_is_set_can_be_set() {
    assert_eq!(
        rule("set = { local-pref = -1 }"),
        "p.toml:7: policy.rule.set.local-pref: -1 is out of range; expected a number from 0 to 4294967295, or \"+N\" \
         or \"-N\" to change it"
    );
    assert_eq!(
        rule("set = { med = \"igp\" }"),
        "p.toml:7: policy.rule.set.med: \"igp\" is a string; expected a number from 0 to 4294967295, \"+N\" or \"-N\" to \
         change it, or \"none\""
    );
    assert_eq!(
        rule("set = { community-add = [\"65000:*\"] }").split(';').next(),
        Some("p.toml:7: policy.rule.set.community-add: \"65000:*\" is not a community")
    );
    assert_eq!(
        rule("set = { community-remove = [] }"),
        "p.toml:7: policy.rule.set.community-remove: the array is empty; expected at least one value"
    );
    assert_eq!(
        rule("set = { prepend = 33 }"),
        "p.toml:7: policy.rule.set.prepend: 33 is out of range; expected a number from 1 to 32 (times)"
    );
    assert_eq!(
        rule("set = { prepend = { asn = 0, count = 2 } }"),
        "p.toml:7: policy.rule.set.prepend.asn: 0 is reserved and never a peer (RFC 7607); expected the AS number of \
         the speaker itself"
    );
    assert_eq!(
        rule("set = { prepend = { times = 2 } }"),
        "p.toml:7: policy.rule.set.prepend.times: unknown key; expected one of asn, count"
    );
}

#[test]
fn all_errors_of_a_file_come_at_once_and_by_line() {
    let text = "\
[[neighbor]]
address = \"10.0.0.2\"
asn = 0
passive = 1
colour = \"red\"

[router]
router-id = \"0.0.0.0\"

[[network]]
prefix = \"10.0.0.1/8\"
";
    let errors = errors(text);
    let places: Vec<&str> = errors.iter().map(|error| error.split(": ").next().unwrap()).collect();
    assert_eq!(
        places,
        ["p.toml:3", "p.toml:4", "p.toml:5", "p.toml:7", "p.toml:8", "p.toml:11"],
        "{errors:#?}"
    );
}

#[test]
fn options_about_attributes_say_what_they_take() {
    for (key, expected) in [
        (
            "allow-own-asn = 11",
            "allow-own-asn: 11 is out of range; expected a number from 0 to 10 (times in the AS path)",
        ),
        (
            "remove-private-asns = \"some\"",
            "remove-private-asns: \"some\" is unknown; expected \"if-all\", \"all\", \"replace-if-all\" or \"replace\"",
        ),
        (
            "role = \"boss\"",
            "role: \"boss\" is unknown; expected \"provider\", \"rs\", \"rs-client\", \"customer\" or \"peer\"",
        ),
        ("role-strict = true", "role-strict: there is no role to insist on; expected role beside it"),
        (
            "next-hop-self = \"always\"",
            "next-hop-self: \"always\" is a string; expected true, false or \"force\"",
        ),
        (
            "next-hop-self = \"force\"",
            "next-hop-self: \"force\" is for internal neighbors; expected true or false",
        ),
        (
            "next-hop = \"224.0.0.1\"",
            "next-hop: 224.0.0.1 is no next hop; expected an IPv4 or IPv6 address that the neighbor can reach",
        ),
        (
            "next-hop = [\"192.0.2.1\", \"192.0.2.2\"]",
            "next-hop: 192.0.2.2 beside 192.0.2.1; expected one address of each family",
        ),
        (
            "next-hop = \"192.0.2.1\"\nnext-hop-unchanged = true",
            "next-hop-unchanged: in conflict with next-hop-self and next-hop; expected one of them",
        ),
    ] {
        let found = neighbor(key);
        let found = found.split_once(": neighbor.").unwrap().1;
        assert_eq!(found, expected, "{key}");
    }
    for key in ["role = \"peer\"", "as-override = true", "remove-private-asns = \"all\""] {
        let text = error(&format!("[[neighbor]]\naddress = \"10.0.0.2\"\nasn = 65000\n{key}\n"));
        assert!(text.ends_with("this one is in our AS; expected no such key"), "{text}");
    }
}

#[test]
fn what_is_originated_says_what_it_takes() {
    for (body, expected) in [
        (
            "[[aggregate]]\nsummary-only = true\n",
            "p.toml:4: aggregate.prefix: missing; expected a prefix, such as",
        ),
        (
            "[[redistribute]]\nsource = \"static\"\n",
            "p.toml:5: redistribute.source: \"static\" is unknown; expected \"connected\" or \"kernel\"",
        ),
        (
            "[[network]]\nprefix = \"10.0.0.0/8\"\npolicy = \"absent\"\n",
            "p.toml:6: network.policy: no policy is named \"absent\"; expected a [[policy]] of that name or all, none",
        ),
        (
            "[[redistribute]]\nsource = \"kernel\"\n[[redistribute]]\nsource = \"kernel\"\n",
            "p.toml:7: redistribute.source: duplicate kernel, first on line 5",
        ),
    ] {
        let found = error(body);
        assert!(found.starts_with(expected), "{found}");
    }
    assert!(
        neighbor("default-originate = 1")
            .ends_with("1 is a number; expected true, false or { policy = [...] }")
    );
    let text = rule("match = { route-present = \"absent\" }\naction = \"accept\"");
    assert!(text.contains("no prefix list is named \"absent\""), "{text}");
}

#[test]
fn what_is_no_toml_says_what_is_meant() {
    let router = "[router]\nasn = 65000\nrouter-id = \"10.0.0.1\"\n";
    for (text, expected) in [
        (
            format!("{router}[neighbor]\n[neighbor]\n"),
            "p.toml:5: not TOML: [neighbor] is there already; each one of several is written [[neighbor]]",
        ),
        (
            format!("{router}[fib]\n[fib] # again\n"),
            "p.toml:5: not TOML: [fib] is there already; put its keys together",
        ),
        ("[router]\nasn = # later\n".to_owned(), "p.toml:2: not TOML: asn has no value"),
        ("[router]\nasn =\n".to_owned(), "p.toml:2: not TOML: asn has no value"),
    ] {
        let errors = conf::parse("p.toml", &text, []).unwrap_err();
        assert_eq!(errors.iter().map(ToString::to_string).collect::<Vec<_>>(), [expected]);
    }
}
