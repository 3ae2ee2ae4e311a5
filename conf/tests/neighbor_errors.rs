//! Every error in the keys of a neighbor, exactly as it is shown.

#[expect(dead_code, reason = "other tests use more of it")]
mod refused;

use refused::{error, errors, neighbor, parse, with_router};

#[test]
fn the_address_of_a_neighbor_is_one_host() {
    let error = |address: &str| error(&format!("[[neighbor]]\nasn = 65001\naddress = \"{address}\"\n"));
    let form = "expected an IPv4 or IPv6 address";
    assert_eq!(error("10.0.0"), format!("p.toml:6: neighbor.address: \"10.0.0\" is not an address; {form}"));
    assert_eq!(
        error("10.0.0.0/24"),
        format!("p.toml:6: neighbor.address: \"10.0.0.0/24\" is not an address; {form}")
    );
    assert_eq!(
        error("fe80::1"),
        "p.toml:6: neighbor.address: on which link is fe80::1? expected an interface behind it, fe80::1%eth0"
    );
    for address in ["fe80::1%", "fe80:0:1::1%eth0", "2001:db8::1%eth0"] {
        assert_eq!(
            error(address),
            format!("p.toml:6: neighbor.address: \"{address}\" is not an address; {form}")
        );
    }
    assert_eq!(
        error("10.0.0.2%eth0"),
        format!("p.toml:6: neighbor.address: \"10.0.0.2%eth0\" is not an address; {form}")
    );
    assert_eq!(
        error("0.0.0.0"),
        "p.toml:6: neighbor.address: 0.0.0.0 is the unspecified address; expected one unicast address"
    );
    assert_eq!(
        error("::ffff:10.0.0.2"),
        "p.toml:6: neighbor.address: ::ffff:10.0.0.2 is an IPv4 address written as IPv6; expected one unicast address"
    );
    assert_eq!(
        error("ff02::1"),
        "p.toml:6: neighbor.address: ff02::1 is a multicast address; expected one unicast address"
    );
    assert_eq!(
        error("255.255.255.255"),
        "p.toml:6: neighbor.address: 255.255.255.255 is the broadcast address; expected one unicast address"
    );
    assert_eq!(
        errors(
            "[router]\nasn = 1\nrouter-id = \"10.0.0.1\"\nlisten = [\"10.0.0.1:179\"]\n[[neighbor]]\naddress = \"10.0.0.1\"\nasn = 2\n"
        ),
        [
            "p.toml:6: neighbor.address: 10.0.0.1 is this router itself, see router.listen; expected the neighbor's \
          address"
        ]
    );
}

#[test]
fn a_neighbor_has_an_address_with_its_interface() {
    assert_eq!(
        error("[[neighbor]]\nasn = 65001\naddress = \"fe80::1%an-interface-too-long\"\n"),
        "p.toml:6: neighbor.address: \"an-interface-too-long\" cannot be an interface; expected a name of 1 to 15 \
         bytes without \"/\", \":\" and spaces"
    );
}

#[test]
fn a_neighbor_is_configured_once() {
    let twice = "[[neighbor]]\naddress = \"2001:db8::1\"\nasn = 1\n\n[[neighbor]]\nasn = 2\naddress = \"2001:db8:0::1\"\n";
    assert_eq!(
        error(twice),
        "p.toml:10: neighbor.address: duplicate neighbor 2001:db8::1, first on line 5; expected one [[neighbor]] for it"
    );
}

#[test]
fn hops_agree() {
    assert_eq!(
        neighbor("multihop = 256"),
        "p.toml:7: neighbor.multihop: 256 is out of range; expected a number from 1 to 255 (hops)"
    );
    assert_eq!(
        neighbor("ttl-security = \"on\""),
        "p.toml:7: neighbor.ttl-security: \"on\" is a string; expected true, false, or the distance of the neighbor, \
         from 1 to 254 hops"
    );
    assert_eq!(
        neighbor("multihop = 3\nttl-security = 2"),
        "p.toml:8: neighbor.ttl-security: 2 hops, but multihop says 3; expected true, or the same"
    );
}

#[test]
fn a_password_fits_the_kernel_and_is_not_shown() {
    let long = "x".repeat(81);
    for (password, reason) in [
        (&*format!("\"{long}\""), "it has 81 octets; expected 1 to 80"),
        ("\"\"", "it is empty; expected 1 to 80 octets, or no such key"),
        ("271828", "it is not a string; expected 1 to 80 octets in quotes"),
    ] {
        assert_eq!(
            neighbor(&format!("password = {password}")),
            format!("p.toml:7: neighbor.password: {reason}")
        );
    }
    assert_eq!(
        neighbor("password-file = \"/nonexistent/key\""),
        "p.toml:7: neighbor.password-file: /nonexistent/key cannot be read: No such file or directory (os error 2)"
    );
    assert_eq!(
        neighbor("password = \"x\"\npassword-file = \"key\""),
        "p.toml:8: neighbor.password-file: there is a password too; expected one of the two"
    );
    let file = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join("password-key");
    let keys = format!("asn = 65001\npassword-file = \"{}\"", file.display());
    let body = with_router(&format!("[[neighbor]]\naddress = \"10.0.0.2\"\n{keys}\n"));
    std::fs::write(&file, "\n").unwrap();
    assert_eq!(
        errors(&body),
        [format!(
            "p.toml:7: neighbor.password-file: the first line of {}: it is empty; expected 1 to 80 octets, or no such key",
            file.display()
        )]
    );
    std::fs::write(&file, "hunter2\r\nsecond line\n").unwrap();
    let config = parse(&body).unwrap();
    assert_eq!(config.neighbors[0].password.as_ref().unwrap().as_bytes(), b"hunter2");
    assert!(!format!("{config:?}").contains("hunter2"));
    let other = parse(&body.replace("password-file", "password")).unwrap();
    let changes: String = conf::diff(&config, &other).iter().map(ToString::to_string).collect();
    assert_eq!(changes, "~ neighbor 10.0.0.2: password: hidden -> hidden (disturbs nothing)");
}

#[test]
fn a_local_as_number_is_another_than_the_routers() {
    assert_eq!(
        neighbor("local-asn = 65000"),
        "p.toml:7: neighbor.local-asn: 65000 is router.asn; expected another AS number, or no such key"
    );
    assert_eq!(
        neighbor("local-asn = { no-prepend = true }"),
        "p.toml:7: neighbor.local-asn.asn: missing; expected the AS number that the neighbor is to see"
    );
    assert_eq!(
        neighbor("local-asn = { asn = 64999, replace-asn = true }"),
        "p.toml:7: neighbor.local-asn.replace-asn: unknown key; did you mean \"replace-as\"?"
    );
}

#[test]
fn names_of_hosts_fit_a_capability() {
    for name in ["", "a..b", "r_1", "r1.", &"x".repeat(64)] {
        assert_eq!(
            errors(&format!("[router]\nasn = 65000\nrouter-id = \"10.0.0.1\"\nhostname = \"{name}\"\n")),
            [format!(
                "p.toml:4: router.hostname: \"{name}\" is no name of a host; expected a name such as \
                 \"r1.example.net\", each part of 1 to 63 letters, digits and hyphens"
            )]
        );
    }
}

#[test]
fn timers_fit_each_other() {
    assert_eq!(
        neighbor("hold-time = 30\nkeepalive = 11"),
        "p.toml:8: neighbor.keepalive: 11 is more than a third of the hold time, 30 s; expected at most that"
    );
    assert_eq!(
        neighbor("hold-time = 30\nmin-hold-time = 31"),
        "p.toml:8: neighbor.min-hold-time: 31 is more than hold-time, 30 s; expected at most that"
    );
    assert_eq!(
        neighbor("min-hold-time = 2"),
        "p.toml:7: neighbor.min-hold-time: 2 is out of range; expected a number from 3 to 65535 (seconds)"
    );
    assert_eq!(
        neighbor("send-hold-time = 89"),
        "p.toml:7: neighbor.send-hold-time: 89 is less than hold-time, 90 s; expected at least that (RFC 9687), or 0 \
         for never"
    );
}

#[test]
fn a_local_address_fits_the_neighbor() {
    assert_eq!(
        neighbor("local-address = \"2001:db8::1\""),
        "p.toml:7: neighbor.local-address: 2001:db8::1 cannot reach 10.0.0.2; expected an IPv4 address, as the \
         neighbor's"
    );
    assert_eq!(
        neighbor("local-address = \"10.0.0.2\""),
        "p.toml:7: neighbor.local-address: 10.0.0.2 is the neighbor's own address; expected one of this router"
    );
    assert_eq!(
        neighbor("local-address = \"eth0\""),
        "p.toml:7: neighbor.local-address: \"eth0\" is not an address; expected an address of this router"
    );
}

#[test]
fn hold_times_and_pauses_have_bounds() {
    for bad in [1, 2] {
        assert_eq!(
            neighbor(&format!("hold-time = {bad}")),
            format!(
                "p.toml:7: neighbor.hold-time: {bad} is forbidden by RFC 4271, section 4.2; expected 0 (no keepalives) \
                 or 3 to 65535 seconds"
            )
        );
    }
    assert_eq!(
        neighbor("hold-time = 65536"),
        "p.toml:7: neighbor.hold-time: 65536 is out of range; expected 0 (no keepalives) or 3 to 65535 seconds"
    );
    assert_eq!(
        neighbor("connect-retry = 0"),
        "p.toml:7: neighbor.connect-retry: 0 is out of range; expected a number from 1 to 3600 (seconds)"
    );
    assert_eq!(
        neighbor("refresh-stale-time = 0"),
        "p.toml:7: neighbor.refresh-stale-time: 0 is out of range; expected a number from 1 to 86400 (seconds)"
    );
    assert_eq!(
        neighbor("port = 0"),
        "p.toml:7: neighbor.port: 0 is out of range; expected a number from 1 to 65535"
    );
}

#[test]
fn families_are_known_and_differ() {
    assert_eq!(
        neighbor("families = [\"ipv4-unicast\",\n\"ipv6-unicst\"]"),
        "p.toml:8: neighbor.families: unknown family \"ipv6-unicst\"; did you mean \"ipv6-unicast\"?"
    );
    assert_eq!(
        neighbor("families = \"vpnv4\""),
        "p.toml:7: neighbor.families: unknown family \"vpnv4\"; expected \"ipv4-unicast\" or \"ipv6-unicast\""
    );
    assert_eq!(
        neighbor("families = []"),
        "p.toml:7: neighbor.families: no family; expected \"ipv4-unicast\" or \"ipv6-unicast\", or no \
         such key for both"
    );
    assert_eq!(
        neighbor("families = [\"ipv4-unicast\", \"ipv4-unicast\"]"),
        "p.toml:7: neighbor.families: duplicate ipv4-unicast, first on line 7; expected each only once"
    );
}

#[test]
fn neighbors_of_different_links_may_have_the_same_address() {
    let neighbor = |interface: &str, keys: &str| {
        format!(
            "[[neighbor]]\naddress = \"fe80::1%{interface}\"\nasn = 65001\nimport = [\"all\"]\nexport = [\"all\"]\n{keys}"
        )
    };
    let both = [neighbor("eth0", ""), neighbor("eth1", "")].concat();
    let config = parse(&with_router(&both)).unwrap();
    let names: Vec<String> = config.neighbors.iter().map(|neighbor| neighbor.name().to_string()).collect();
    assert_eq!(names, ["fe80::1%eth0", "fe80::1%eth1"]);
    let twice = [neighbor("eth0", ""), neighbor("eth0", "")].concat();
    assert!(error(&twice).contains("duplicate neighbor fe80::1%eth0"), "{}", error(&twice));
    let local = neighbor("eth0", "local-address = \"2001:db8::1\"\n");
    assert!(error(&local).contains("is reached from our address on that link"), "{}", error(&local));
    for (keys, sorry) in [("a", "b"), ("a", "a")].map(|(one, two)| {
        let password = |text: &str| format!("password = \"{text}\"\n");
        ([neighbor("eth0", &password(one)), neighbor("eth1", &password(two))].concat(), one != two)
    }) {
        assert_eq!(parse(&with_router(&keys)).is_err(), sorry, "{keys}");
    }
}
