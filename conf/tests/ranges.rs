//! Ranges of dynamic neighbours.

use bgp::types::Asn;
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
fn the_longest_prefix_says_how_a_neighbor_is() {
    let config = config(
        "[[group]]\nname = \"g\"\nhold-time = 30\nconnect-retry = 9\nimport = \"all\"\nexport = \"all\"\n\
         [[neighbor-range]]\nprefix = \"10.0.0.0/8\"\nasn = [65001, \"65010-65019\"]\ngroup = \"g\"\nlimit = 7\n\
         [[neighbor-range]]\nprefix = \"10.1.0.0/16\"\nasn = 65000\n",
    );
    assert_eq!(config.warnings(), []);
    assert_eq!(config.range("192.0.2.1".parse().unwrap()), None);
    let narrow = config.range("10.1.2.3".parse().unwrap()).unwrap();
    assert_eq!((narrow.prefix.to_string().as_str(), narrow.limit), ("10.1.0.0/16", 100));
    let wide = config.range("10.2.0.1".parse().unwrap()).unwrap();
    let asns = [65_001, 65_002, 65_010, 65_019].map(|asn| wide.asns.contains(Asn(asn)));
    assert_eq!((wide.limit, asns), (7, [true, false, true, true]));
    let neighbor = wide.neighbor("10.2.0.1".parse().unwrap(), Asn(65_011));
    assert_eq!((neighbor.address.to_string().as_str(), neighbor.asn), ("10.2.0.1", Asn(65_011).into()));
    assert_eq!((neighbor.hold_time.as_secs(), neighbor.passive), (30, true));
    assert_eq!((neighbor.range, neighbor.group.as_deref()), (Some(wide.prefix), Some("g")));
}

#[test]
fn what_no_range_can_have_is_refused() {
    let error = |keys: &str| {
        let mut errors = parse(&format!("[[neighbor-range]]\n{keys}")).unwrap_err();
        assert_eq!(errors.len(), 1, "{errors:#?}");
        errors.remove(0)
    };
    let valid = "prefix = \"10.0.0.0/8\"\nasn = 65001\n";
    for (keys, expected) in [
        ("asn = 65001", "p.toml:4: neighbor-range.prefix: missing; expected a prefix, such as"),
        (
            "prefix = \"10.0.0.0/8\"",
            "p.toml:4: neighbor-range.asn: missing; expected an AS number or a range",
        ),
        (
            "prefix = \"10.0.0.1/8\"\nasn = 65001",
            "p.toml:5: neighbor-range.prefix: 10.0.0.1/8 has host bits set",
        ),
        (
            "prefix = \"fe80::/10\"\nasn = 65001",
            "p.toml:5: neighbor-range.prefix: neighbors of a link are configured one by one",
        ),
        ("prefix = \"10.0.0.0/8\"\nasn = 0", "p.toml:6: neighbor-range.asn: 0 is reserved"),
        (
            "prefix = \"10.0.0.0/8\"\nasn = [\"9-1\"]",
            "p.toml:6: neighbor-range.asn: the range \"9-1\" is empty",
        ),
        ("prefix = \"10.0.0.0/8\"\nasn = []", "p.toml:6: neighbor-range.asn: no AS number"),
        (
            &format!("{valid}limit = 0"),
            "p.toml:7: neighbor-range.limit: 0 is out of range; expected a number from 1",
        ),
        (&format!("{valid}port = 1179"), "p.toml:7: neighbor-range.port: dynamic neighbors connect to us"),
        (
            &format!("{valid}passive = false"),
            "p.toml:7: neighbor-range.passive: who a dynamic neighbor is shows",
        ),
        (&format!("{valid}address = \"10.0.0.1\""), "p.toml:7: neighbor-range.address: unknown key"),
        (
            &format!("{valid}local-address = \"::2\""),
            "p.toml:7: neighbor-range.local-address: neighbors in 10.0.0.0/8 cannot reach it",
        ),
        (
            &format!("{valid}[[neighbor-range]]\n{valid}"),
            "p.toml:8: neighbor-range.prefix: duplicate 10.0.0.0/8, first on line 5",
        ),
    ] {
        let error = error(keys);
        assert!(error.starts_with(expected), "{error}");
    }
    let warnings = config(&format!("[[neighbor-range]]\n{valid}export = \"none\"")).warnings().to_vec();
    assert_eq!(
        warnings.iter().map(ToString::to_string).collect::<Vec<_>>(),
        [
            "p.toml:4: neighbor-range.import: no policy, so no route is accepted from external neighbors in 10.0.0.0/8 \
             (RFC 8212); import = [\"none\"] says that this is meant"
        ]
    );
}

#[test]
fn changes_of_ranges_tell_what_they_take() {
    let body =
        "[[neighbor-range]]\nprefix = \"10.0.0.0/8\"\nasn = 65001\nimport = \"all\"\nexport = \"all\"\n";
    let shown = |replacements: &[(&str, &str)]| {
        let text = replacements.iter().fold(body.to_owned(), |text, (from, to)| text.replace(from, to));
        let changes = diff(&config(body), &config(&text));
        changes.iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    assert_eq!(shown(&[]), [""; 0]);
    assert_eq!(
        shown(&[("10.0.0.0/8", "10.0.0.0/9")]),
        ["- neighbor-range 10.0.0.0/8", "+ neighbor-range 10.0.0.0/9"]
    );
    assert_eq!(
        shown(&[("asn = 65001", "asn = [65001, 65003]\nlimit = 5")]),
        ["~ neighbor-range 10.0.0.0/8: asn: [65001] -> [65001, 65003], limit: 100 -> 5 (resets the session)"]
    );
    assert_eq!(
        shown(&[("export = \"all\"", "export = \"none\"")]),
        ["~ neighbor-range 10.0.0.0/8: export: [all] -> [none] (evaluates routes again)"]
    );
}
