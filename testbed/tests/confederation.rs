//! A member AS of a confederation between another member, seen from BIRD and FRR, and the world outside.

use std::time::Duration;

use anyhow::{Result, ensure};
use testbed::daemon::{self, Daemon};
use testbed::peers::bird::{self, Bird};
use testbed::peers::frr::{self, Frr};
use testbed::process::wait_until;
use testbed::topology::Star;

const SESSION: Duration = Duration::from_secs(40);
const ROUTES: Duration = Duration::from_secs(15);

/// Outside, AS 64501, which knows the confederation as AS 64500 only.
const OUTSIDE: &str = "router id 10.99.1.2;\n\
    protocol static own { ipv4; route 10.98.1.0/24 blackhole; }\n\
    protocol bgp pg {\n  local 10.99.1.2 as 64501;\n  neighbor 10.99.1.1 as 64500;\n  \
    connect delay time 1;\n  error wait time 1, 5;\n  \
    ipv4 { import all; export filter { if source != RTS_STATIC then reject; bgp_med = 70; accept; }; };\n}\n";

/// Member AS 65003, by FRR. One of its routes is for its confederation only.
const FRR: &str = "hostname frr\nrouter bgp 65003\n bgp router-id 10.99.2.2\n bgp confederation identifier 64500\n \
    bgp confederation peers 65001 65002\n no bgp ebgp-requires-policy\n no bgp network import-check\n \
    timers bgp 3 9\n neighbor 10.99.2.1 remote-as 65001\n neighbor 10.99.2.1 timers connect 1\n \
    address-family ipv4 unicast\n  network 10.98.2.0/24 route-map preferred\n  \
    network 10.98.22.0/24 route-map inside\n  neighbor 10.99.2.1 send-community\n exit-address-family\n\
    route-map preferred permit 10\n set local-preference 250\n set metric 40\n\
    route-map inside permit 10\n set community no-export\n";

/// Member AS 65002, by BIRD, which also announces a route that went through our member AS.
const BIRD: &str = "router id 10.99.3.2;\n\
    protocol static own { ipv4; route 10.98.3.0/24 blackhole; route 10.98.33.0/24 blackhole; }\n\
    protocol static ways { ipv4; route 10.99.0.0/16 via 10.99.3.1; }\n\
    protocol bgp pg {\n  local 10.99.3.2 as 65002;\n  confederation 64500;\n  confederation member yes;\n  \
    neighbor 10.99.3.1 as 65001;\n  connect delay time 1;\n  error wait time 1, 5;\n  \
    ipv4 { gateway recursive; import all; export filter {\n    if proto != \"own\" then reject;\n    \
    if net = 10.98.33.0/24 then bgp_community.add((65535, 65283));\n    accept;\n  }; };\n}\n";

const DAEMON: &str = "[router]\nasn = 65001\nrouter-id = \"10.99.0.1\"\n\
    confederation = { identifier = 64500, members = [65002, 65003] }\n\n\
    [[network]]\nprefix = \"10.97.0.0/16\"\n\n\
    [[neighbor]]\naddress = \"10.99.1.2\"\nasn = 64501\nimport = [\"all\"]\nexport = [\"all\"]\n\n\
    [[neighbor]]\naddress = \"10.99.2.2\"\nasn = 65003\n\n\
    [[neighbor]]\naddress = \"10.99.3.2\"\nasn = 65002\n";

#[test]
fn members_see_members_and_the_world_sees_one_as() -> Result<()> {
    let programs = [&bird::PROGRAMS[..], &frr::PROGRAMS[..]].concat();
    if !daemon::ready("confederation::members_see_members_and_the_world_sees_one_as", &programs) {
        return Ok(());
    }
    let star = Star::build("confed", 3)?;
    let outside = Bird::start(&star.sandbox, &star.neighbors[0], "outside", OUTSIDE)?;
    let frr = Frr::start(&star.sandbox, &star.neighbors[1], "frr", FRR)?;
    let member = Bird::start(&star.sandbox, &star.neighbors[2], "member", BIRD)?;
    let daemon = Daemon::start(&star.sandbox, &star.router, DAEMON)?;
    for n in 1..=3 {
        daemon.wait_established(&format!("10.99.{n}.2"), SESSION)?;
    }

    // To the outside all member ASes are one, without preference and MED.
    outside.wait_for_lines("10.97.0.0/16", &["BGP.as_path: 64500", "BGP.next_hop: 10.99.1.1"], ROUTES)?;
    outside.wait_for_lines("10.98.2.0/24", &["BGP.as_path: 64500", "BGP.next_hop: 10.99.1.1"], ROUTES)?;
    ensure!(!outside.routes("10.98.2.0/24")?.contains("BGP.med"), "the MED has left the confederation");
    // From member to member: preference, MED and next hop stay, each member in the confederation's segment.
    let expected =
        ["BGP.as_path: (65001 65003)", "BGP.local_pref: 250", "BGP.med: 40", "BGP.next_hop: 10.99.2.2"];
    member.wait_for_lines("10.98.2.0/24", &expected, ROUTES)?;
    member.wait_for_lines("10.98.1.0/24", &["BGP.as_path: (65001) 64501", "BGP.med: 70"], ROUTES)?;
    member.wait_for_lines("10.97.0.0/16", &["BGP.as_path: (65001)", "BGP.local_pref: 100"], ROUTES)?;
    // No-export stays within the confederation, no-export-subconfed within the member AS.
    member.wait_for_lines("10.98.22.0/24", &["BGP.as_path: (65001 65003)"], ROUTES)?;
    ensure!(outside.has_route("10.97.0.0/16"), "what is there is seen");
    ensure!(!outside.has_route("10.98.22.0/24"), "no-export has left the confederation");
    // FRR takes it all as a member should.
    for (prefix, path) in
        [("10.98.1.0/24", "(65001) 64501"), ("10.98.3.0/24", "(65001 65002)"), ("10.97.0.0/16", "(65001)")]
    {
        wait_until(&format!("FRR has {prefix}"), ROUTES, || {
            let answer = frr.query_json(&format!("show bgp ipv4 unicast {prefix} json"))?;
            ensure!(answer["paths"][0]["aspath"]["string"] == path, "{answer}");
            ensure!(answer["paths"][0]["peer"]["type"] == "confed-external", "{answer}");
            Ok(())
        })?;
    }
    let answer = frr.query_json("show bgp ipv4 unicast json")?;
    ensure!(answer["routes"].get("10.98.3.0/24").is_some(), "{answer}");
    ensure!(answer["routes"].get("10.98.33.0/24").is_none(), "no-export-subconfed has left the AS: {answer}");

    let paths = daemon.paths("10.98.2.0/24")?;
    ensure!(
        paths.len() == 1 && paths[0]["as_path"] == "(65003)" && paths[0]["local_pref"] == 250,
        "{paths:?}"
    );
    let shown = daemon.show(&["neighbors", "10.99.2.2"])?;
    ensure!(shown.contains("AS 65003 (confederation)"), "{shown}");
    Ok(())
}
