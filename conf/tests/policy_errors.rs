//! Every error of policies and their lists, exactly as it is shown, and the warnings.

#![expect(clippy::unwrap_used, reason = "a helper of tests fails its test by panicking")]

use std::path::PathBuf;

const ROUTER: &str = "[router]\nasn = 65000\nrouter-id = \"10.0.0.1\"\n";

fn errors(body: &str) -> Vec<String> {
    match conf::parse("p.toml", &format!("{ROUTER}{body}"), []) {
        Ok(config) => panic!("accepted:\n{body}\n{config:?}"),
        Err(errors) => errors.iter().map(ToString::to_string).collect(),
    }
}

fn error(body: &str) -> String {
    let mut errors = errors(body);
    assert_eq!(errors.len(), 1, "{body}\n{errors:#?}");
    errors.remove(0)
}

/// The error of a condition, without its place: it is in line 7.
fn condition(text: &str) -> String {
    let error = error(&format!("[[policy]]\nname = \"p\"\n[[policy.rule]]\nmatch = {{ {text} }}\n"));
    error.strip_prefix("p.toml:7: policy.rule.match").unwrap_or_else(|| panic!("{error}")).to_owned()
}

/// The error of a change, in the same way.
fn set(text: &str) -> String {
    let error = error(&format!("[[policy]]\nname = \"p\"\n[[policy.rule]]\nset = {{ {text} }}\n"));
    error.strip_prefix("p.toml:7: policy.rule.set").unwrap_or_else(|| panic!("{error}")).to_owned()
}

fn warnings(body: &str) -> Vec<String> {
    let config = conf::parse("p.toml", &format!("{ROUTER}{body}"), []).unwrap_or_else(|e| panic!("{e:#?}"));
    config.warnings().iter().map(ToString::to_string).collect()
}

/// Conditions, each with its error.
const CONDITIONS: &[(&str, &str)] = &[
    (
        "colour = 1",
        ".colour: unknown key; expected one of family, prefix-list, prefix, next-hop, neighbor, from, \
          route-type, rpki, as-path, as-path-contains, as-path-first, as-path-origin, as-path-length, \
          as-path-unique-length, community, large-community, extended-community, community-count, \
          large-community-count, extended-community-count, origin, med, local-pref, policy, route-present, any, not",
    ),
    ("as-path-lenght = 1", ".as-path-lenght: unknown key; did you mean \"as-path-length\"?"),
    (
        "prefix = \"10.0.0.0/33\"",
        ".prefix: \"10.0.0.0/33\" is not a prefix list entry; expected \"PREFIX/LENGTH [ge N] [le N]\"",
    ),
    (
        "prefix = \"10.0.0.0/8 ge 16 le 9\"",
        ".prefix: ge 16 le 9 does not fit 10.0.0.0/8; expected 8 <= ge <= le <= 32",
    ),
    (
        "prefix = 10",
        ".prefix: 10 is a number; expected \"PREFIX/LENGTH [ge N] [le N]\" or the name of a prefix list",
    ),
    (
        "prefix = \"customers\"",
        ".prefix: no prefix list is named \"customers\"; expected a [[prefix-list]] of that name",
    ),
    (
        "next-hop = \"198.51.100\"",
        ".next-hop: \"198.51.100\" is no address or prefix; expected an address, a prefix or the name of a prefix list",
    ),
    (
        "next-hop = \"198.51.100.1/24\"",
        ".next-hop: 198.51.100.1/24 has host bits set; expected the network 198.51.100.0/24",
    ),
    (
        "next-hop = { all = [\"10.0.0.1\"], any = [\"10.0.0.2\"] }",
        ".next-hop.all: unknown key; expected one of any, none",
    ),
    ("next-hop = {}", ".next-hop: no values are in it; expected any, all or none"),
    ("family = \"vpnv4\"", ".family: \"vpnv4\" is unknown; expected \"ipv4-unicast\" or \"ipv6-unicast\""),
    (
        "neighbor = \"10.0.0\"",
        ".neighbor: \"10.0.0\" is no address or prefix; expected an address, a prefix, an AS number or a range \
          \"64512-65534\", or the name of a [[neighbor-list]]",
    ),
    (
        "neighbor = -1",
        ".neighbor: -1 is out of range; expected an address, a prefix, an AS number or a range \"64512-65534\", or the \
          name of a [[neighbor-list]]",
    ),
    ("from = \"ix\"", ".from: no neighbor list is named \"ix\"; expected a [[neighbor-list]] of that name"),
    (
        "route-type = \"static\"",
        ".route-type: \"static\" is unknown; expected \"ebgp\", \"ibgp\" or \"local\"",
    ),
    (
        "rpki = \"bad\"",
        ".rpki: \"bad\" is unknown; expected \"valid\", \"invalid\", \"not-found\" or \"unknown\"",
    ),
    ("origin = 1", ".origin: 1 is a number; expected \"igp\", \"egp\" or \"incomplete\""),
    (
        "as-path = \"short\"",
        ".as-path: no AS-path list is named \"short\"; expected a [[as-path-list]] of that name",
    ),
    ("as-path = \"(1\"", ".as-path: AS-path expression \"(1\" is invalid: unclosed group"),
    (
        "as-path-contains = \"9-1\"",
        ".as-path-contains: the range \"9-1\" is empty; expected the smaller number first",
    ),
    (
        "as-path-contains = \"1-x\"",
        ".as-path-contains: \"1-x\" is not an AS number; expected a number such as 64511 or a range \"64512-65534\"",
    ),
    (
        "as-path-origin = \"tier-1\"",
        ".as-path-origin: no AS list is named \"tier-1\"; expected a [[as-list]] of that name",
    ),
    (
        "as-path-first = true",
        ".as-path-first: true is a boolean; expected an AS number, a range \"64512-65534\" or the name of an [[as-list]]",
    ),
    (
        "as-path-length = \"5\"",
        ".as-path-length: \"5\" is a string; expected a number, or { ge = N, le = N }",
    ),
    ("as-path-length = { ge = 5, le = 3 }", ".as-path-length: ge 5 le 3 can never match; expected ge <= le"),
    ("med = { eq = 5, le = 9 }", ".med: eq stands beside ge or le; expected eq alone, or ge and le"),
    ("med = {}", ".med: there is no number in it; expected eq, or ge and le"),
    ("med = { gt = 5, ge = 1 }", ".med.gt: unknown key; did you mean \"ge\"?"),
    ("local-pref = -1", ".local-pref: -1 is out of range; expected a number from 0 to 4294967295"),
    (
        "community = \"no-exprt\"",
        ".community: no community list is named \"no-exprt\"; did you mean \"no-export\"?",
    ),
    (
        "community = \"65000:9-1\"",
        ".community: the range 9-1 in \"65000:9-1\" is empty; expected the smaller number first",
    ),
    (
        "community = { all = \"1:1\", none = [\"1:1\", \"1:2\"] }",
        ".community.all: the value is also in none, so the rule can never match; \
          expected it in one of them",
    ),
    (
        "community = { any = [\"1:1\"], none = \"1:1\" }",
        ".community.any: all these values are also in none, so the rule can never match; \
          expected another",
    ),
    (
        "large-community = \"mine\"",
        ".large-community: no large community list is named \"mine\"; expected a [[large-community-list]] of that name",
    ),
    (
        "extended-community = \"xx:1:1\"",
        ".extended-community: \"xx:1:1\" is not an extended community pattern; expected \"rt:ASN:NUMBER\" (route \
          target), \"ro:ASN:NUMBER\" (route origin), each a number, a range \"1-9\" or \"*\", or \"0x\" and 16 hexadecimal digits",
    ),
    ("policy = \"other\"", ".policy: no policy is named \"other\"; expected a [[policy]] of that name"),
    ("any = []", ".any: the array is empty; expected at least one group of conditions"),
    ("any = [{ med = 1 }, {}]", ".any: there is no condition in it; expected at least one"),
    (
        "any = { med = 1 }",
        ".any: it is a table; expected an array of tables, each headed [[policy.rule.match.any]]",
    ),
    ("not = {}", ".not: there is no condition in it; expected at least one"),
    ("not = { med = { ge = 2, le = 1 } }", ".not.med: ge 2 le 1 can never match; expected ge <= le"),
];

#[test]
fn a_wrong_condition_says_what_was_expected() {
    for (text, expected) in CONDITIONS {
        assert_eq!(condition(text), *expected, "{text}");
    }
}

#[test]
fn prefixes_of_another_family_never_match() {
    let body = "[[prefix-list]]\nname = \"six\"\nprefixes = [\"::/0\"]\n[[policy]]\nname = \"p\"\n[[policy.rule]]\n\
                match = { family = \"ipv4-unicast\", prefix-list = \"six\" }\n";
    assert_eq!(
        error(body),
        "p.toml:10: policy.rule.match.family: none of the prefixes is ipv4-unicast, so the rule can never match; \
         expected one that is"
    );
}

#[test]
fn a_wrong_change_says_what_was_expected() {
    let table = [
        ("weight = 100", ".weight: not supported by this version; expected no such key"),
        ("local_pref = 1", ".local_pref: unknown key; did you mean \"local-pref\"?"),
        (
            "local-pref = \"+x\"",
            ".local-pref: \"+x\" is a string; expected a number from 0 to 4294967295, or \"+N\" or \"-N\" to change it",
        ),
        (
            "local-pref = \"+4294967296\"",
            ".local-pref: \"+4294967296\" is a string; expected a number from 0 to 4294967295, or \"+N\" or \"-N\" to \
          change it",
        ),
        (
            "med = \"+\"",
            ".med: \"+\" is a string; expected a number from 0 to 4294967295, \"+N\" or \"-N\" to change it, or \"none\"",
        ),
        ("origin = \"bgp\"", ".origin: \"bgp\" is unknown; expected \"igp\", \"egp\" or \"incomplete\""),
        (
            "next-hop = \"me\"",
            ".next-hop: \"me\" is no next hop; expected \"self\", \"peer-address\", \"unchanged\", or an address of each family",
        ),
        (
            "next-hop = \"224.0.0.1\"",
            ".next-hop: 224.0.0.1 is not the address of a host; expected one unicast address",
        ),
        (
            "next-hop = [\"10.0.0.1\", \"10.0.0.2\"]",
            ".next-hop: too many next hops; expected one word, or one address of each family",
        ),
        (
            "next-hop = [\"10.0.0.1\", \"self\"]",
            ".next-hop: too many next hops; expected one word, or one address of each family",
        ),
        (
            "community-remove = \"mine\"",
            ".community-remove: no community list is named \"mine\"; expected a [[community-list]] of that name or \
          graceful-shutdown, accept-own, llgr-stale, no-llgr, accept-own-nexthop, blackhole, no-export, no-advertise, \
          no-export-subconfed, no-peer",
        ),
        ("community-keep = []", ".community-keep: the array is empty; expected at least one value"),
        ("community-add = 5", ".community-add: 5 is a number; expected a string or an array of strings"),
        (
            "as-path-remove = \"private\"",
            ".as-path-remove: no AS list is named \"private\"; expected a [[as-list]] of that name",
        ),
        (
            "prepend = \"2\"",
            ".prepend: \"2\" is a string; expected how many times, an array of AS numbers, or { asn = ASN, count = N }",
        ),
        (
            "prepend = { asn = \"first\" }",
            ".prepend.asn: \"first\" is a string; expected an AS number, or \"last-as\" for the path's first",
        ),
        ("prepend = []", ".prepend: the array is empty; expected at least one value"),
        (
            "prepend = [0]",
            ".prepend: 0 is reserved and never a peer (RFC 7607); expected the AS number of the speaker itself",
        ),
    ];
    for (text, expected) in table {
        assert_eq!(set(text), expected, "{text}");
    }
    let many = vec!["64500"; 33].join(", ");
    assert_eq!(
        set(&format!("prepend = [{many}]")),
        ".prepend: 33 AS numbers are too many; expected at most 32"
    );
}

#[test]
fn circles_are_named() {
    let policy = |name: &str, rule: &str| format!("[[policy]]\nname = \"{name}\"\n[[policy.rule]]\n{rule}\n");
    let three = policy("a", "call = \"b\"")
        + &policy("b", "match = { not = { policy = { none = [\"c\"] } } }\naction = \"accept\"")
        + &policy("c", "match = { any = [{ med = 1 },\n{ policy = [\"a\"] }] }\naction = \"accept\"");
    assert_eq!(
        error(&three),
        "p.toml:17: policy.rule.match.any.policy: policies call each other in a circle: a -> b -> c -> a; expected none \
         that leads back to itself"
    );
    assert_eq!(
        error(&policy("self", "call = [\n\"self\"]")),
        "p.toml:8: policy.rule.call: policies call each other in a circle: self -> self; expected none that leads back \
         to itself"
    );
}

#[test]
fn calls_do_not_multiply_without_bound() {
    // Each calls the one before twice: 2^20 in all.
    let mut body = "[[policy]]\nname = \"p0\"\n[[policy.rule]]\naction = \"accept\"\n".to_owned();
    for index in 1..=20 {
        let before = index - 1;
        body += &format!(
            "[[policy]]\nname = \"p{index}\"\n[[policy.rule]]\ncall = [\"p{before}\", \"p{before}\"]\n"
        );
    }
    let text = error(&body);
    assert!(text.contains("one route could pass more than 10000 of them"), "{text}");
}

#[test]
fn calls_go_only_so_deep() {
    let chain = |length: usize| {
        let mut body = "[[policy]]\nname = \"p0\"\n[[policy.rule]]\naction = \"accept\"\n".to_owned();
        for index in 1..length {
            body += &format!("[[policy]]\nname = \"p{index}\"\n[[policy.rule]]\ncall = \"p{}\"\n", index - 1);
        }
        body
    };
    assert_eq!(warnings(&chain(32)).len(), 1);
    assert_eq!(
        errors(&chain(33)),
        [
            "p.toml:135: policy.rule.call: policies call each other more than 32 deep; expected fewer levels of calls"
        ]
    );
    // The other way round in the file, too, and without end.
    let mut body = String::new();
    for index in 0..5000 {
        body += &format!("[[policy]]\nname = \"p{index}\"\n[[policy.rule]]\ncall = \"p{}\"\n", index + 1);
    }
    body += "[[policy]]\nname = \"p5000\"\n[[policy.rule]]\naction = \"accept\"\n";
    assert!(errors(&body)[0].contains("more than 32 deep"));
}

#[test]
fn next_hops_go_in_the_right_direction() {
    let body = |next_hop: &str, direction: &str| {
        format!(
            "[[policy]]\nname = \"outer\"\n[[policy.rule]]\ncall = \"inner\"\n[[policy]]\nname = \"inner\"\n[[policy.rule]]\n\
             set = {{ next-hop = \"{next_hop}\" }}\n[[neighbor]]\naddress = \"10.0.0.2\"\nasn = 65001\n{direction} = \"outer\"\n"
        )
    };
    let expected = |next_hop, direction, expected| {
        format!(
            "p.toml:15: neighbor.{direction}: policy \"inner\" sets the next hop to \"{next_hop}\", which means nothing on \
             {direction}; expected {expected}"
        )
    };
    for (next_hop, direction, instead) in [
        ("self", "import", "an address, or \"peer-address\""),
        ("unchanged", "import", "no next-hop at all"),
        ("peer-address", "export", "\"self\" or an address"),
    ] {
        assert_eq!(error(&body(next_hop, direction)), expected(next_hop, direction, instead));
    }
    for (next_hop, direction) in [("self", "export"), ("unchanged", "export"), ("peer-address", "import")] {
        warnings(&body(next_hop, direction));
    }
}

#[test]
fn lists_are_checked_on_their_lines() {
    let body = "\
[[as-path-list]]
name = \"paths\"
as-paths = [\"^1_\",
 \"(\"]
[[as-list]]
name = \"AS1\"
asns = [1]
[[as-list]]
name = \"numbers\"
asns = [\"1-\", 4294967296]
[[neighbor-list]]
name = \"1-2\"
neighbors = [1]
[[neighbor-list]]
name = \"peers\"
neighbors = [\"10.0.0.1/8\"]
[[community-list]]
name = \"no-export\"
communities = [\"1:1\"]
[[community-list]]
name = \"c\"
communities = [\"1:70000\"]
[[large-community-list]]
name = \"c\"
communities = [\"1:1\"]
[[extended-community-list]]
name = \"c\"
[[extended-community-list]]
name = \"c\"
communities = [\"rt:1:1\"]
";
    let shown: Vec<String> =
        errors(body).iter().map(|e| e.split("; expected").next().unwrap().to_owned()).collect();
    assert_eq!(
        shown,
        [
            "p.toml:7: as-path-list.as-paths: AS-path expression \"(\" is invalid: unclosed group",
            "p.toml:9: as-list.name: \"AS1\" reads as a value",
            "p.toml:13: as-list.asns: \"1-\" is not an AS number",
            "p.toml:13: as-list.asns: 4294967296 is out of range",
            "p.toml:15: neighbor-list.name: \"1-2\" reads as a value",
            "p.toml:19: neighbor-list.neighbors: 10.0.0.1/8 has host bits set",
            "p.toml:21: community-list.name: \"no-export\" reads as a value",
            "p.toml:25: community-list.communities: 70000 in \"1:70000\" is too large",
            "p.toml:28: large-community-list.communities: \"1:1\" is not a large community pattern",
            "p.toml:29: extended-community-list.communities: missing",
            "p.toml:32: extended-community-list.name: duplicate extended community list \"c\", first on line 30",
        ]
    );
}

#[test]
fn what_is_probably_not_meant_is_warned_of() {
    let body = "\
[[as-path-list]]
name = \"a\"
as-paths = []
[[as-list]]
name = \"b\"
asns = [1]
[[neighbor-list]]
name = \"c\"
neighbors = [1]
[[community-list]]
name = \"d\"
communities = [\"1:1\"]
[[large-community-list]]
name = \"e\"
communities = [\"1:1:1\"]
[[extended-community-list]]
name = \"f\"
communities = [\"rt:1:1\"]
[[policy]]
name = \"p\"
[[policy.rule]]
match = { rpki = [\"invalid\"] }
action = \"reject\"
[[policy.rule]]
match = { rpki = [\"unknown\"] }
action = \"next\"
[[neighbor]]
address = \"10.0.0.2\"
asn = 65000
import = \"p\"
";
    assert_eq!(
        warnings(body),
        [
            "p.toml:5: as-path-list.name: no policy names this AS-path list",
            "p.toml:6: as-path-list.as-paths: the list is empty and matches nothing",
            "p.toml:8: as-list.name: no policy names this AS list",
            "p.toml:11: neighbor-list.name: no policy names this neighbor list",
            "p.toml:14: community-list.name: no policy names this community list",
            "p.toml:17: large-community-list.name: no policy names this large community list",
            "p.toml:20: extended-community-list.name: no policy names this extended community list",
            "p.toml:25: policy.rule.match.rpki: there is no RPKI cache, so every route is \"unknown\" and no other state \
             matches",
            "p.toml:27: policy.rule: the rule matches routes, but neither sets nor decides anything",
        ]
    );
}

/// A folder of its own for a test, with a configuration that names these files in its prefix list.
fn folder(test: &str, files: &[(&str, &[u8])]) -> PathBuf {
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(test);
    std::fs::create_dir_all(folder.join("lists")).unwrap();
    for (name, bytes) in files {
        std::fs::write(folder.join("lists").join(name), bytes).unwrap();
    }
    let names: Vec<String> = files.iter().map(|(name, _)| format!("\"lists/{name}\"")).collect();
    let list = format!("[[prefix-list]]\nname = \"l\"\nfile = [{}]\n", names.join(", "));
    std::fs::write(folder.join("p.toml"), format!("{ROUTER}{list}")).unwrap();
    folder
}

fn entries(test: &str, files: &[(&str, &[u8])]) -> Vec<String> {
    let config = conf::load(&folder(test, files).join("p.toml"), []).unwrap_or_else(|e| panic!("{e:#?}"));
    config.prefix_lists["l"].entries().iter().map(ToString::to_string).collect()
}

/// The errors, without the folder.
fn file_errors(test: &str, files: &[(&str, &[u8])]) -> Vec<String> {
    let folder = folder(test, files);
    let errors = conf::load(&folder.join("p.toml"), []).unwrap_err();
    let start = format!("{}/", folder.display());
    errors.iter().map(|error| error.to_string().replace(&start, "")).collect()
}

#[test]
fn prefixes_come_from_plain_files_and_from_json() {
    let plain = b"# customers\n192.0.2.0/24 ge 25 le 28\r\n\n  198.51.100.0/24   # one\n2001:db8::/32 le 48";
    let json = br#"{ "AS-ONE": [
        { "prefix": "10.0.0.0/8", "exact": true },
        { "prefix": "10.0.0.0/8", "exact": false, "less-equal": 24 } ],
      "AS-TWO": [ { "prefix": "2001:db8::/32", "greater-equal": 40, "less-equal": 48 }, { "prefix": "::/0" } ],
      "AS-ONE": [ { "prefix": "11.0.0.0/8" } ] }"#;
    assert_eq!(
        entries("both", &[("plain", plain), ("as.json", json)]),
        [
            "192.0.2.0/24 ge 25 le 28",
            "198.51.100.0/24",
            "2001:db8::/32 le 48",
            "10.0.0.0/8",
            "10.0.0.0/8 le 24",
            "2001:db8::/32 ge 40 le 48",
            "::/0",
            "11.0.0.0/8",
        ]
    );
}

#[test]
fn wrong_lines_of_a_file_are_named() {
    let plain = b"192.0.2.0/24\n192.0.2.1/24\n\n192.0.2.0/24 ge 30 le 28\n192.0.2.0/24 up to 28\n";
    assert_eq!(
        file_errors("wrong-lines", &[("a", plain), ("b", b"x\n"), ("c", b"10.0.0.0/8\n\xff\n")]),
        [
            "lists/a:2: 192.0.2.1/24 has host bits set; expected the network 192.0.2.0/24",
            "lists/a:4: ge 30 le 28 does not fit 192.0.2.0/24; expected 24 <= ge <= le <= 32",
            "lists/a:5: \"192.0.2.0/24 up to 28\" is not a prefix list entry; expected \"PREFIX/LENGTH [ge N] [le N]\"",
            "lists/b:1: \"x\" is not a prefix list entry; expected \"PREFIX/LENGTH [ge N] [le N]\"",
            "lists/c:2: not UTF-8; expected text",
        ]
    );
    let many = "x\n".repeat(100);
    let errors = file_errors("many", &[("a", many.as_bytes())]);
    assert_eq!(errors.len(), 11);
    assert_eq!(errors[10], "lists/a: 90 more entries are wrong; expected a list of prefixes");
}

#[test]
fn wrong_objects_of_json_are_named() {
    let json = br#"{ "AS": [
        { "prefix": "10.0.0.0" },
        { "prefix": "10.0.0.0/8", "exact": true, "less-equal": 24 },
        { "prefix": "10.0.0.0/8", "exact": false },
        { "prefix": "10.0.0.0/8", "greater-equal": 300 },
        { "prefix": "10.0.0.0/8", "greater-equal": 24, "less-equal": 16 } ] }"#;
    assert_eq!(
        file_errors("wrong-objects", &[("a.json", json)]),
        [
            "lists/a.json: AS[0]: prefix: \"10.0.0.0\" is invalid; expected a prefix",
            "lists/a.json: AS[1]: exact is true beside a range; expected one of them",
            "lists/a.json: AS[2]: exact is false without a range; expected greater-equal or less-equal",
            "lists/a.json: AS[3]: greater-equal: out of range; expected a prefix length",
            "lists/a.json: AS[4]: ge 24 le 16 does not fit 10.0.0.0/8; expected 8 <= ge <= le <= 32",
        ]
    );
    let one = |name: &str, text: &str| file_errors(name, &[("a.json", text.as_bytes())]);
    assert_eq!(
        one("cut", "{ \"AS\": [\n{ \"prefix\": "),
        ["lists/a.json:2: EOF while parsing a value; expected the JSON of \"bgpq4 -j\""]
    );
    assert_eq!(
        one("key", "{ \"AS\": [\n\n{ \"prefix\": \"::/0\", \"exakt\": true }] }"),
        [
            "lists/a.json:3: unknown field `exakt`, expected one of `prefix`, `exact`, `greater-equal`, `less-equal`; \
             expected the JSON of \"bgpq4 -j\""
        ]
    );
}

#[test]
fn a_file_that_cannot_be_read_is_named_where_it_is_named() {
    let folder = folder("missing", &[]);
    let text = format!("{ROUTER}[[prefix-list]]\nname = \"l\"\nfile = [\"none.txt\",\n \"\"]\n");
    std::fs::write(folder.join("p.toml"), text).unwrap();
    let start = format!("{}/", folder.display());
    let errors = conf::load(&folder.join("p.toml"), []).unwrap_err();
    let errors: Vec<String> = errors.iter().map(|error| error.to_string().replace(&start, "")).collect();
    assert_eq!(
        errors,
        [
            "p.toml:6: prefix-list.file: \"none.txt\" cannot be read: No such file or directory (os error 2); expected a \
             file of prefixes",
            "p.toml:7: prefix-list.file: \"\" is no file; expected the path of a file",
        ]
    );
}

#[test]
fn an_empty_file_is_warned_of() {
    let folder = folder("empty", &[("a.json", b"{ \"AS-EMPTY\": [] }")]);
    let config = conf::load(&folder.join("p.toml"), []).unwrap();
    let shown: Vec<String> = config.warnings().iter().map(|w| format!("{}: {}", w.key, w.reason)).collect();
    assert_eq!(
        shown,
        [
            "prefix-list.name: no policy names this prefix list",
            "prefix-list.file: the list is empty and matches nothing"
        ]
    );
}
