//! What a change of the configuration means.

use conf::{Change, Config, Effect, diff};

const FILE: &str = "\
[router]
asn = 65000
router-id = \"10.0.0.1\"

[[prefix-list]]
name = \"customers\"
prefixes = [\"10.0.0.0/8 le 24\"]

[[policy]]
name = \"customer-in\"
[[policy.rule]]
match = { prefix-list = \"customers\" }
action = \"accept\"

[[neighbor]]
address = \"10.0.0.2\"
asn = 65001
import = [\"customer-in\"]
export = [\"all\"]

[[neighbor]]
address = \"2001:db8::2\"
asn = 65002
import = [\"all\"]
export = [\"customer-in\"]

[[network]]
prefix = \"203.0.113.0/24\"
";

fn config(text: &str) -> Config {
    conf::parse("p.toml", text, []).unwrap_or_else(|errors| panic!("{errors:#?}"))
}

/// The changes when each of these texts is replaced.
fn changes(replacements: &[(&str, &str)]) -> Vec<Change> {
    let mut text = FILE.to_owned();
    for (from, to) in replacements {
        assert!(text.contains(from), "{from}");
        text = text.replace(from, to);
    }
    diff(&config(FILE), &config(&text))
}

fn shown(replacements: &[(&str, &str)]) -> Vec<String> {
    changes(replacements).iter().map(ToString::to_string).collect()
}

#[test]
fn the_same_configuration_differs_in_nothing() {
    assert_eq!(shown(&[]), [""; 0]);
    // Nor does one that says the same in other words.
    let reworded = [
        ("import = [\"all\"]", "import = \"all\"\npassive = false # as always"),
        ("asn = 65001", "asn=65_001"),
    ];
    assert_eq!(shown(&reworded), [""; 0]);
}

#[test]
fn the_order_of_neighbors_does_not_matter() {
    let (head, tail) = FILE.split_once("[[neighbor]]").unwrap();
    let (first, tail) = tail.split_once("[[neighbor]]").unwrap();
    let (second, tail) = tail.split_once("[[network]]").unwrap();
    let swapped = format!("{head}[[neighbor]]{second}[[neighbor]]{first}[[network]]{tail}");
    assert_eq!(diff(&config(FILE), &config(&swapped)), []);
}

#[test]
fn settings_tell_what_they_take() {
    let changes = changes(&[(
        "router-id = \"10.0.0.1\"",
        "router-id = \"10.0.0.9\"\nlisten = [\"10.0.0.9:179\"]\nrib-threads = 3\ncluster-id = \"10.0.0.7\"\nclient-to-client-reflection = false\nrestart-time = 60\ndeferral-time = 90\n[fib]\ninterfaces = [\"eth0\"]\nxdp-mode = \"generic\"\nadvertise = \"at-once\"\nkeep-forwarding = false\naudit-interval = 0\n\
         [api]\nlisten = \"127.0.0.1:1\"\n[decision]\nmultipath = 4\nmultipath-ibgp = 2\nmultipath-relax = true\nmultipath-weights = \"equal\"\nnext-hop-via-default = true",
    )]);
    let shown: Vec<String> = changes.iter().map(ToString::to_string).collect();
    assert_eq!(
        shown,
        [
            "~ router.router-id: 10.0.0.1 -> 10.0.0.9 (needs a restart)",
            "~ router.listen: [0.0.0.0:179, [::]:179] -> [10.0.0.9:179] (needs a restart)",
            "~ router.rib-threads: one for each core -> 3 (needs a restart)",
            "~ router.cluster-id: as router-id -> 10.0.0.7 (needs a restart)",
            "~ router.restart-time: 120 -> 60 (disturbs nothing)",
            "~ router.deferral-time: 120 -> 90 (disturbs nothing)",
            "~ router.client-to-client-reflection: true -> false (needs a restart)",
            "~ fib.interfaces: [] -> [eth0] (needs a restart)",
            "~ fib.xdp-mode: auto -> generic (needs a restart)",
            "~ fib.advertise: installed -> at-once (needs a restart)",
            "~ fib.keep-forwarding: true -> false (needs a restart)",
            "~ fib.audit-interval: 60 -> never (needs a restart)",
            "~ api.listen: none -> 127.0.0.1:1 (needs a restart)",
            "~ decision.multipath: 1 -> 4 (evaluates routes again)",
            "~ decision.multipath-ibgp: as multipath -> 2 (evaluates routes again)",
            "~ decision.multipath-relax: false -> true (evaluates routes again)",
            "~ decision.multipath-weights: link-bandwidth -> equal (evaluates routes again)",
            "~ decision.next-hop-via-default: false -> true (needs a restart)",
        ]
    );
    assert_eq!(changes.iter().map(Change::effect).max(), Some(Effect::Restart));
}

#[test]
fn neighbors_come_and_go() {
    assert_eq!(
        shown(&[("address = \"10.0.0.2\"", "address = \"10.0.0.3\"")]),
        ["- neighbor 10.0.0.2 (AS 65001)", "+ neighbor 10.0.0.3 (AS 65001)"]
    );
}

#[test]
fn a_changed_neighbor_names_its_keys_and_the_worst_effect() {
    let reset =
        [("export = [\"all\"]", "export = [\"customer-in\", \"none\"]\nhold-time = 30\ndescription = \"x\"")];
    assert_eq!(
        shown(&reset),
        [
            "~ neighbor 10.0.0.2: description: none -> x, export: [all] -> [customer-in, none], hold-time: 90 -> 30 \
          (resets the session)"
        ]
    );
    let roles = [("export = [\"all\"]", "export = [\"all\"]\nrole = \"peer\"\nas-override = true")];
    assert_eq!(
        shown(&roles),
        ["~ neighbor 10.0.0.2: as-override: no -> yes, role: no -> peer (resets the session)"]
    );
    assert_eq!(
        shown(&[("export = [\"all\"]", "export = [\"all\"]\nadd-path = { receive = true, send = 2 }")]),
        [
            "~ neighbor 10.0.0.2: add-path: { receive = false } -> { receive = true, send = 2 } (resets the session)"
        ]
    );
    assert_eq!(
        shown(&[("export = [\"all\"]", "export = [\"all\"]\nbfd = { min-tx = \"50ms\", min-rx = \"1s\" }")]),
        [
            "~ neighbor 10.0.0.2: bfd: none -> { min-tx = 50ms, min-rx = 1000ms, multiplier = 3 } (disturbs nothing)"
        ]
    );
    let soft = changes(&[("export = [\"all\"]", "export = [\"none\"]")]);
    assert_eq!(soft.iter().map(Change::effect).collect::<Vec<_>>(), [Effect::Reevaluate]);
    assert_eq!(
        shown(&[("import = [\"all\"]", "import = [\"all\"]\ndescription = \"x\"")]),
        ["~ neighbor 2001:db8::2: description: none -> x (disturbs nothing)"]
    );
}

#[test]
fn a_changed_policy_tells_whose_routes_it_touches() {
    assert_eq!(
        shown(&[("action = \"accept\"", "action = \"reject\"")]),
        ["~ policy customer-in: evaluates the routes of 10.0.0.2, 2001:db8::2 again"]
    );
    assert_eq!(
        shown(&[("le 24", "le 25")]),
        [
            "~ policy customer-in by prefix list customers: evaluates the routes of 10.0.0.2, 2001:db8::2 again"
        ]
    );
    // Whoever holds a chain sees by comparing it that what is in its policy changed.
    let (old, new) = (config(FILE), config(&FILE.replace("le 24", "le 25")));
    assert_ne!(old.neighbors[0].import, new.neighbors[0].import);
    assert_eq!(old.neighbors[0].export, new.neighbors[0].export);
}

#[test]
fn a_policy_that_is_called_touches_whoever_names_its_caller() {
    let (called, calling) = (
        "[[policy]]\nname = \"customer-in\"\n[[policy.rule]]\nmatch = { prefix-list = \"customers\" }\naction = \"accept\"",
        "[[policy]]\nname = \"inner\"\n[[policy.rule]]\nmatch = { not = { prefix-list = \"customers\" } }\naction = \"accept\"\n\
         [[policy]]\nname = \"customer-in\"\n[[policy.rule]]\ncall = \"inner\"",
    );
    let text = FILE.replace(called, calling);
    let changed = text.replace("le 24", "le 25");
    assert!(text != FILE && text != changed);
    let shown: Vec<String> =
        diff(&config(&text), &config(&changed)).iter().map(ToString::to_string).collect();
    assert_eq!(
        shown,
        [
            "~ policy customer-in: evaluates the routes of 10.0.0.2, 2001:db8::2 again",
            "~ policy inner by prefix list customers: evaluates the routes of 10.0.0.2, 2001:db8::2 again",
        ]
    );
}

#[test]
fn policies_and_networks_come_and_go() {
    assert_eq!(
        shown(&[
            ("customer-in", "customers-in"),
            ("prefix = \"203.0.113.0/24\"", "prefix = \"198.51.100.0/24\"")
        ]),
        [
            "~ neighbor 10.0.0.2: import: [customer-in] -> [customers-in] (evaluates routes again)",
            "~ neighbor 2001:db8::2: export: [customer-in] -> [customers-in] (evaluates routes again)",
            "- policy customer-in",
            "+ policy customers-in",
            "- network 203.0.113.0/24",
            "+ network 198.51.100.0/24",
        ]
    );
}

#[test]
fn aggregates_and_redistributions_come_and_go_and_change() {
    let with = |more: &str| config(&format!("{FILE}\n{more}"));
    let old = with("[[aggregate]]\nprefix = \"10.0.0.0/8\"\n[[redistribute]]\nsource = \"kernel\"\n");
    let new = with(
        "[[aggregate]]\nprefix = \"10.0.0.0/8\"\nsummary-only = true\n[[redistribute]]\nsource = \"connected\"\n",
    );
    let shown: Vec<String> = diff(&old, &new).iter().map(ToString::to_string).collect();
    assert_eq!(shown, ["- redistribute kernel", "+ redistribute connected", "~ aggregate 10.0.0.0/8"]);
    let other = config(
        &FILE.replace("prefix = \"203.0.113.0/24\"", "prefix = \"203.0.113.0/24\"\nonly-if-present = true"),
    );
    let changes = diff(&config(FILE), &other);
    assert_eq!(changes[0].to_string(), "~ network 203.0.113.0/24: originates it anew");
    for (kind, differs) in [("blackhole", true), ("reject", false)] {
        let text = FILE.replace(
            "prefix = \"203.0.113.0/24\"",
            &format!("prefix = \"203.0.113.0/24\"\nkind = \"{kind}\""),
        );
        let changes = diff(&config(FILE), &config(&text));
        let lines: Vec<String> = changes.iter().map(ToString::to_string).collect();
        let expected: &[&str] = if differs { &["~ network 203.0.113.0/24: originates it anew"] } else { &[] };
        assert_eq!(lines, expected);
    }
    assert_eq!(changes[0].effect(), Effect::Reevaluate);
}

#[test]
fn limits_on_prefixes_change_without_a_new_session_unless_there_may_be_an_excess() {
    let effect = |old: &str, new: &str| {
        let with = |limit: &str| config(&FILE.replacen("asn = 65001", &format!("asn = 65001\n{limit}"), 1));
        let changes = diff(&with(old), &with(new));
        assert_eq!(changes.len(), 1, "{old} -> {new}");
        changes[0].effect()
    };
    let number = |limit: u32| format!("max-prefixes = {{ ipv4-unicast = {limit} }}");
    let table = |limit: u32, action: &str| {
        format!("max-prefixes = {{ ipv4-unicast = {{ limit = {limit}, action = \"{action}\" }} }}")
    };
    for (old, new, expected) in [
        (number(100), number(200), Effect::Nothing),
        (number(100), number(50), Effect::Nothing),
        (String::new(), number(50), Effect::Nothing),
        (number(50), String::new(), Effect::Nothing),
        (number(50), table(50, "restart"), Effect::Nothing),
        (table(50, "drop-excess"), table(60, "drop-excess"), Effect::Nothing),
        (table(50, "drop-excess"), table(40, "drop-excess"), Effect::ResetSession),
        (table(50, "warn"), table(50, "drop-excess"), Effect::ResetSession),
        (String::new(), table(50, "drop-excess"), Effect::ResetSession),
        (number(50), table(50, "drop-excess"), Effect::Nothing),
        (number(50).replace("max", "max-accepted"), String::new(), Effect::Reevaluate),
        (number(50).replace("prefixes", "prefixes-out"), String::new(), Effect::ResetSession),
    ] {
        assert_eq!(effect(&old, &new), expected, "{old} -> {new}");
    }
}

#[test]
fn a_warning_comes_at_the_percentage_and_not_before() {
    let warned_at = |limit: u32, warning: u32| {
        conf::PrefixLimit { limit, warning, action: conf::LimitAction::Warn }.warning_count()
    };
    assert_eq!(
        [warned_at(2, 75), warned_at(1, 75), warned_at(100, 75), warned_at(u32::MAX, 100)],
        [2, 1, 75, u32::MAX]
    );
}
