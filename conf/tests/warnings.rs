//! What is allowed, and warned of.

fn warnings(body: &str) -> Vec<String> {
    let text = format!("[router]\nasn = 65000\nrouter-id = \"10.0.0.1\"\n{body}");
    match conf::parse("p.toml", &text, []) {
        Ok(config) => config.warnings().iter().map(ToString::to_string).collect(),
        Err(errors) => panic!("{errors:#?}"),
    }
}

#[test]
fn an_external_neighbor_without_policies_is_warned_of() {
    assert_eq!(
        warnings("[[neighbor]]\naddress = \"10.0.0.2\"\nasn = 65001\nexport = []\n"),
        [
            "p.toml:4: neighbor.import: no policy, so no route is accepted from or sent to the external neighbor 10.0.0.2 \
          (RFC 8212); import = [\"none\"] and export = [\"none\"] say that this is meant"
        ]
    );
    for (given, key, what) in [("export", "import", "accepted from"), ("import", "export", "sent to")] {
        let text =
            format!("[[neighbor]]\naddress = \"10.0.0.2\"\nasn = 65001\n{given} = \"all\"\n{key} = []\n");
        let expected = format!(
            "p.toml:8: neighbor.{key}: no policy, so no route is {what} the external neighbor 10.0.0.2 (RFC 8212); \
             {key} = [\"none\"] says that this is meant"
        );
        assert_eq!(warnings(&text), [expected]);
    }
    let quiet = "[[neighbor]]\naddress = \"10.0.0.2\"\nasn = 65001\nimport = \"all\"\nexport = \"none\"\n";
    assert_eq!(warnings(quiet), [""; 0]);
    // An internal one needs none.
    assert_eq!(warnings("[[neighbor]]\naddress = \"10.0.0.2\"\nasn = 65000\n"), [""; 0]);
}

#[test]
fn a_session_that_cannot_come_up_is_warned_of() {
    let neighbor = "listen = []\n[[neighbor]]\naddress = \"10.0.0.2\"\nasn = 65000\npassive = true\n";
    assert_eq!(
        warnings(neighbor),
        [
            "p.toml:8: neighbor.passive: the session cannot come up: the neighbor is passive and router.listen is empty"
        ]
    );
    assert_eq!(warnings(&format!("{neighbor}shutdown = true\n")), [""; 0]);
}

#[test]
fn what_no_route_reaches_is_warned_of() {
    let text = "\
[[prefix-list]]
name = \"unused\"
prefixes = [\"10.0.0.0/8\"]
[[prefix-list]]
name = \"empty\"
prefixes = []
[[policy]]
name = \"in\"
[[policy.rule]]
set = { med = 1 }
action = \"reject\"
[[policy.rule]]
match = { prefix-list = \"empty\" }
action = \"accept\"
[[policy]]
name = \"nobody\"
[[policy.rule]]
match = { as-path = \"^1_\" }
";
    assert_eq!(
        warnings(text),
        [
            "p.toml:5: prefix-list.name: no policy names this prefix list",
            "p.toml:9: prefix-list.prefixes: the list is empty and matches nothing",
            "p.toml:11: policy.name: no neighbor names this policy",
            "p.toml:12: policy.rule: the rule decides every route, so the rules behind it are never reached",
            "p.toml:13: policy.rule.set: the rule rejects the route, so what it sets is lost",
            "p.toml:19: policy.name: no neighbor names this policy",
            "p.toml:20: policy.rule: the rule matches routes, but neither sets nor decides anything",
        ]
    );
}
