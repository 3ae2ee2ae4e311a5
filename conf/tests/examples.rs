//! Every example loads, without a warning, and says what it seems to say.

use std::path::Path;

use bgp::types::{Asn, Family};
use conf::{Config, Lookup, XdpMode};

fn load(name: &str) -> Config {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples").join(name);
    match conf::load(&path, []) {
        Ok(config) => config,
        Err(errors) => panic!("{errors:#?}"),
    }
}

#[test]
fn every_example_loads_without_a_warning() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples");
    let mut names: Vec<String> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| Path::new(name).extension().is_some_and(|extension| extension == "toml"))
        .collect();
    names.sort();
    assert_eq!(names, ["control-plane.toml", "edge-router.toml", "lab.toml"]);
    for name in names {
        let warnings: Vec<String> = load(&name).warnings().iter().map(ToString::to_string).collect();
        assert_eq!(warnings, [""; 0]);
    }
}

#[test]
fn the_edge_router_is_what_it_says() {
    let config = load("edge-router.toml");
    assert_eq!(config.router.asn, Asn(64500));
    assert_eq!(config.router.router_id.to_string(), "198.51.100.1");
    assert_eq!(config.router.listen, conf::Router::default_listen());
    assert_eq!(config.fib.interfaces, ["eth0", "eth1", "eth2"]);
    assert_eq!((config.fib.lookup, config.fib.xdp_mode), (Lookup::Auto, XdpMode::Auto));
    assert_eq!(config.api.listen.map(|a| a.to_string()).as_deref(), Some("127.0.0.1:8179"));
    assert_eq!(config.decision.multipath, 2);
    assert_eq!(config.networks.len(), 2);
    assert_eq!(config.neighbors.len(), 6);

    let upstream = &config.neighbors[0];
    assert_eq!(upstream.import.to_string(), "sanity, transit-in, graceful-shutdown");
    assert!(upstream.import.depends_on_prefix());
    assert!(!upstream.families.contains(Family::Ipv6Unicast));
    let customer = &config.neighbors[4];
    assert_eq!(customer.address.to_string(), "2001:db8:30::2");
    assert!(customer.passive && customer.export.is_accept_all());
    let internal = &config.neighbors[5];
    assert!(internal.next_hop_self && internal.import.is_empty());
    assert_eq!(internal.connect_retry.as_secs(), 2);
}

#[test]
fn the_control_plane_has_no_interfaces() {
    let config = load("control-plane.toml");
    assert!(config.fib.interfaces.is_empty());
    assert!(config.neighbors[2].shutdown);
    assert!(config.neighbors[0].export.is_reject_all());
}

#[test]
fn the_policy_of_the_edge_router_does_what_its_comments_say() {
    use std::borrow::Cow;

    use bgp::policy::{Decision, PolicyContext};
    use bgp::wire::Attributes;

    let config = load("edge-router.toml");
    let context = PolicyContext { local_asn: config.router.asn };
    let run = |neighbor: usize, prefix: &str, path: &str, communities: &[&str]| {
        let attributes = Attributes {
            as_path: path.parse().unwrap(),
            communities: communities.iter().map(|text| text.parse().unwrap()).collect(),
            ..Attributes::default()
        };
        let chain = &config.neighbors[neighbor].import;
        match chain.evaluate(prefix.parse().unwrap(), Cow::Owned(attributes), &context) {
            Decision::Accept(attributes) => {
                let communities: Vec<String> =
                    attributes.communities.iter().map(ToString::to_string).collect();
                format!("{} {}", attributes.local_pref.unwrap_or(100), communities.join(" "))
            }
            Decision::Reject(rejection) => rejection.to_string(),
        }
    };
    let reserved = "policy \"sanity\", rule 2 (private and reserved AS numbers in the path)";
    let bogon = "policy \"sanity\", rule 1 (bogons)";
    let scrubbed = ["3356:1", "64500:200"];
    assert_eq!(run(0, "8.8.8.0/24", "3356 15169", &scrubbed), "100 3356:1 64500:100");
    assert_eq!(run(2, "8.8.8.0/24", "3356 15169", &[]), "90 64500:100");
    for prefix in ["0.0.0.0/0", "10.1.0.0/16", "8.8.8.0/25", "203.0.113.0/24", "::/0", "2a00::/49"] {
        assert_eq!(run(0, prefix, "3356 15169", &[]), bogon, "{prefix}");
    }
    for asn in ["64512", "64599", "64600", "65000", "65499", "65534", "65535", "23456"] {
        assert_eq!(run(0, "8.8.8.0/24", &format!("3356 {asn} 1"), &[]), reserved, "{asn}");
    }
    for asn in ["64511", "65536", "6451", "164512", "645120"] {
        assert_eq!(run(0, "8.8.8.0/24", &format!("3356 {asn} 1"), &[]), "100 64500:100", "{asn}");
    }
    let endless = vec!["3356"; 51].join(" ");
    assert_eq!(run(0, "8.8.8.0/24", &endless, &[]), "policy \"sanity\", rule 3 (endless paths)");
    let shutdown = run(0, "8.8.8.0/24", "3356", &["graceful-shutdown"]);
    assert_eq!(shutdown, "0 graceful-shutdown 64500:100");

    assert_eq!(run(4, "192.0.2.0/24", "64511 64511", &[]), "200 64500:200");
    assert_eq!(run(4, "192.0.2.0/24", "64511", &["64500:70"]), "70 64500:70 64500:200");
    let leak = "policy \"customer-one-in\", by default";
    assert_eq!(run(4, "192.0.2.0/24", "64511 3356", &[]), leak);
    assert_eq!(run(4, "8.8.8.0/24", "64511", &[]), leak);
}

#[test]
fn the_first_configuration_of_the_readme_is_valid() {
    let readme = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../README.md")).unwrap();
    let text = readme.split("```toml\n").nth(1).and_then(|rest| rest.split("```").next()).unwrap();
    let config = conf::parse("README.md", text, []).unwrap();
    assert_eq!(config.warnings(), []);
    assert_eq!(config.neighbors.len(), 2);
}
