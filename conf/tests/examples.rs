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
    assert_eq!(
        names,
        [
            "control-plane.toml",
            "edge-router.toml",
            "fabric.toml",
            "internet-exchange.toml",
            "lab.toml",
            "policies.toml"
        ]
    );
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
    assert!(internal.attributes.next_hop_self && internal.import.is_empty());
    let bfd = internal.bfd.unwrap();
    assert_eq!((bfd.min_tx.as_millis(), bfd.multiplier), (50, 3));
    assert!(!internal.bfd_is_multihop(&config.router) && !upstream.bfd_is_multihop(&config.router));
    assert_eq!(upstream.bfd, Some(conf::Bfd::default()));
    assert_eq!((internal.connect_retry.as_secs(), internal.refresh_stale_time.as_secs()), (2, 300));
}

#[test]
fn the_fabric_has_neighbors_without_addresses() {
    let config = load("fabric.toml");
    let names: Vec<String> = config.neighbors.iter().map(|neighbor| neighbor.name().to_string()).collect();
    assert_eq!(names, ["swp1", "swp2"]);
    assert!(config.neighbors.iter().all(|neighbor| neighbor.extended_next_hop));
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
    let context = PolicyContext::new(config.router.asn);
    let run = |neighbor: usize, prefix: &str, path: &str, communities: &[&str]| {
        let attributes = Attributes {
            as_path: path.parse().unwrap(),
            communities: communities.iter().map(|text| text.parse().unwrap()).collect(),
            ..Attributes::default()
        };
        let chain = &config.neighbors[neighbor].import;
        match chain.evaluate(prefix.parse().unwrap(), Cow::Owned(attributes), &context) {
            Decision::Accept(accepted) => {
                let attributes = accepted.attributes;
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
fn the_policies_do_what_their_comments_say() {
    use std::borrow::Cow;

    use bgp::policy::{Decision, PolicyContext, PolicyNeighbor, RouteType};
    use bgp::wire::{Attributes, Community, LargeCommunity};

    let config = load("policies.toml");
    let run = |neighbor: usize, export: bool, prefix: &str, path: &str, words: &str| {
        let (large, small): (Vec<&str>, Vec<&str>) =
            words.split_whitespace().partition(|word| word.matches(':').count() == 2);
        let attributes = Attributes {
            as_path: path.parse().unwrap(),
            communities: small.iter().map(|text| text.parse::<Community>().unwrap()).collect(),
            large_communities: large.iter().map(|text| text.parse::<LargeCommunity>().unwrap()).collect(),
            ..Attributes::default()
        };
        let peer = &config.neighbors[neighbor];
        let bgp::session::PeerAsn::Is(asn) = peer.asn else { panic!("it has a number") };
        let chain = if export { &peer.export } else { &peer.import };
        let context = PolicyContext {
            neighbor: Some(PolicyNeighbor { address: peer.address, asn }),
            route_type: if path.is_empty() { RouteType::Local } else { RouteType::Ebgp },
            ..PolicyContext::new(config.router.asn)
        };
        match chain.evaluate(prefix.parse().unwrap(), Cow::Owned(attributes), &context) {
            Decision::Accept(accepted) => {
                let out = accepted.attributes;
                let small = out.communities.iter().map(ToString::to_string);
                let words: Vec<String> =
                    small.chain(out.large_communities.iter().map(ToString::to_string)).collect();
                let pref = out.local_pref.map_or(String::new(), |pref| format!(" pref {pref}"));
                format!("[{}]{pref} {}", out.as_path, words.join(" ")).trim_end().to_owned()
            }
            Decision::Reject(by) => by.to_string(),
        }
    };
    let import = |neighbor, prefix: &str, path: &str, words: &str| run(neighbor, false, prefix, path, words);
    let export = |neighbor, prefix: &str, path: &str, words: &str| run(neighbor, true, prefix, path, words);
    let (upstream, backup, peer, customer) = (0, 1, 2, 3);

    assert_eq!(
        import(upstream, "8.8.8.0/24", "64496 15169", "64500:1:1 1:1"),
        "[64496 15169] pref 100 1:1 64500:1:3"
    );
    for prefix in ["0.0.0.0/0", "10.1.0.0/16", "8.8.8.0/25", "203.0.113.0/28"] {
        assert_eq!(import(upstream, prefix, "64496", ""), "policy \"sanity\", rule 1 (bogons)", "{prefix}");
    }
    let never = "policy \"sanity\", rule 2 (AS numbers that cannot be)";
    assert_eq!(import(upstream, "8.8.8.0/24", "64496 65000 1", ""), never);
    let endless = vec!["64496"; 50].join(" ");
    assert_eq!(import(upstream, "8.8.8.0/24", &endless, ""), "policy \"sanity\", rule 3 (endless paths)");

    assert_eq!(import(peer, "8.8.8.0/24", "64498 15169", ""), "[64498 15169] pref 200 64500:1:2");
    assert_eq!(import(peer, "8.8.8.0/24", "64498 3356", ""), "policy \"peer-in\", rule 2 (leaks)");

    assert_eq!(import(customer, "192.0.2.0/24", "64511", ""), "[64511] pref 300 64500:1:1");
    assert_eq!(import(customer, "198.18.4.0/24", "64511 64506", ""), "[64511 64506] pref 300 64500:1:1");
    assert_eq!(import(customer, "192.0.2.0/24", "64511", "64500:70"), "[64511] pref 70 64500:70 64500:1:1");
    let refused = "policy \"customer-in\", by default";
    for (prefix, path) in
        [("192.0.2.0/24", "64511 64508"), ("8.8.8.0/24", "64511"), ("192.0.2.0/24", "64506")]
    {
        assert_eq!(import(customer, prefix, path, ""), refused, "{prefix} {path}");
    }
    let dropped = "[64511] pref 400 blackhole 64500:1:1";
    assert_eq!(import(customer, "192.0.2.7/32", "64511", "blackhole"), dropped);
    assert_eq!(import(customer, "192.0.2.7/32", "64511", ""), "policy \"sanity\", rule 1 (bogons)");
    assert_eq!(import(customer, "8.8.8.8/32", "64511", "blackhole"), "policy \"sanity\", rule 1 (bogons)");

    let nothing = "policy \"ours-and-customers-out\", by default";
    assert_eq!(export(peer, "203.0.113.0/24", "", ""), "[]");
    assert_eq!(export(peer, "192.0.2.0/24", "64511", "64500:1:1"), "[64511]");
    assert_eq!(export(peer, "192.0.2.0/24", "64511", "64500:602 64500:1:1"), "[64500 64500 64511]");
    assert_eq!(export(upstream, "192.0.2.0/24", "64511", "64500:602 64500:1:1"), "[64511]");
    assert_eq!(export(backup, "192.0.2.0/24", "64511", "64500:1:1"), "[64500 64500 64500 64511]");
    assert_eq!(export(peer, "8.8.8.0/24", "64496", "64500:1:3"), nothing);
    let blackholes = "1:1 blackhole 64500:1:1";
    assert_eq!(export(upstream, "192.0.2.7/32", "64511", blackholes), "[64511] blackhole no-export");
    assert_eq!(export(peer, "192.0.2.7/32", "64511", blackholes), nothing);
    assert_eq!(export(customer, "8.8.8.0/24", "64496", "64500:1:3"), "[64496]");
    assert_eq!(
        export(customer, "8.8.8.0/24", "64496", "blackhole 64500:1:3"),
        "policy \"customer-out\", by default"
    );

    // Only who is asked for has a group of its own.
    let groups = config.neighbors.iter().map(|neighbor| neighbor.export.depends_on_neighbor());
    assert_eq!(groups.collect::<Vec<_>>(), [true, false, true, false]);
}

#[test]
fn the_first_configuration_of_the_readme_is_valid() {
    let readme = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../README.md")).unwrap();
    let text = readme.split("```toml\n").nth(1).and_then(|rest| rest.split("```").next()).unwrap();
    let config = conf::parse("README.md", text, []).unwrap();
    assert_eq!(config.warnings(), []);
    assert_eq!(config.neighbors.len(), 2);
}

#[test]
fn what_the_readme_shows_is_valid_behind_its_first_configuration() {
    let readme = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../README.md")).unwrap();
    let mut blocks = readme.split("```toml\n").skip(1).map(|rest| rest.split("```").next().unwrap());
    let first = blocks.next().unwrap();
    let mut lists = 0;
    for block in blocks {
        let config = conf::parse("README.md", &format!("{first}{block}"), []).unwrap_or_else(|errors| {
            panic!("{block}: {errors:#?}");
        });
        lists += config.prefix_lists.get("customer").map_or(0, |list| list.entries().len());
    }
    assert_eq!(lists, 2);
}

#[test]
fn the_members_of_an_exchange_share_what_their_groups_say() {
    let config = load("internet-exchange.toml");
    let [v4, v6, other] = &config.neighbors[..] else { panic!("{:?}", config.neighbors) };
    assert_eq!((v4.hold_time.as_secs(), v6.hold_time.as_secs(), other.hold_time.as_secs()), (30, 30, 90));
    assert_eq!((v4.families, v6.families), (Family::Ipv4Unicast.into(), Family::Ipv6Unicast.into()));
    assert_eq!((&v4.import, &v4.export), (&other.import, &other.export));
    assert!(other.passive && !v4.passive && v6.group.as_deref() == Some("exchange-v6"));
    let range = config.range("198.51.100.77".parse().unwrap()).unwrap();
    let guest = range.neighbor("198.51.100.77".parse().unwrap(), Asn(64_600));
    assert_eq!((range.limit, guest.hold_time.as_secs(), guest.passive), (10, 30, true));
    assert!(guest.export.is_reject_all() && guest.import == v4.import);
}
