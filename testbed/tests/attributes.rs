//! What is originated here and how attributes go out, as BIRD and FRR judge it.
//!
//! One lab: BIRD in AS 64501 at `10.99.1.2`, our customer by RFC 9234; FRR in AS 64502 at `10.99.2.2`.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use testbed::daemon::{self, Daemon};
use testbed::peers::bird::{self, Bird};
use testbed::peers::frr::{self, Frr};
use testbed::process::wait_until;
use testbed::topology::Star;

const SESSION: Duration = Duration::from_secs(40);
const ROUTES: Duration = Duration::from_secs(15);

const BIRD: &str = "router id 10.99.1.2;\n\
    protocol static parts { ipv4; route 10.50.1.0/24 blackhole;\n  \
    route 10.50.2.0/24 blackhole; route 10.60.0.0/24 blackhole { bgp_path.prepend(65010); bgp_path.prepend(64502); };\n}\n\
    protocol static pulse { ipv4; disabled; route 10.70.0.0/24 blackhole; }\n\
    protocol bgp uplink {\n  local 10.99.1.2 as 64501;\n  neighbor 10.99.1.1 as 64500;\n  local role customer;\n  \
    connect delay time 1;\n  error wait time 1, 3;\n  \
    ipv4 { import all; export where source = RTS_STATIC; next hop self; };\n}\n";

const FRR: &str = "hostname frr\nrouter bgp 64502\n bgp router-id 10.99.2.2\n no bgp ebgp-requires-policy\n \
    timers bgp 3 9\n neighbor 10.99.2.1 remote-as 64500\n neighbor 10.99.2.1 timers connect 1\n";

const CONFIG: &str = r#"
[router]
asn = 64500
router-id = "10.99.0.1"

[[prefix-list]]
name = "trigger"
prefixes = ["10.70.0.0/24"]

[[prefix-list]]
name = "links"
prefixes = ["10.99.2.0/24"]

[[policy]]
name = "while-triggered"
[[policy.rule]]
match = { route-present = "trigger" }
set = { community-add = "64500:7" }
action = "accept"

[[policy]]
name = "links"
[[policy.rule]]
match = { prefix-list = "links" }
set = { med = 5 }
action = "accept"

[[policy]]
name = "marked"
default = "accept"
[[policy.rule]]
set = { community-set = "64500:1", med = 77 }

[[network]]
prefix = "10.97.0.0/16"
policy = ["marked"]

[[network]]
prefix = "10.96.0.0/16"
only-if-present = true

[[aggregate]]
prefix = "10.50.0.0/16"
summary-only = true

[[redistribute]]
source = "connected"
policy = ["links"]

[[neighbor]]
address = "10.99.1.2"
asn = 64501
import = ["all"]
export = ["all"]
role = "provider"
role-strict = true

[[neighbor]]
address = "10.99.2.2"
asn = 64502
import = ["all"]
export = ["all"]
as-override = true
remove-private-asns = "all"
default-originate = { policy = ["while-triggered"] }
"#;

#[test]
fn bird_and_frr_see_what_is_originated_here_and_how_attributes_go_out() -> Result<()> {
    let programs = [&bird::PROGRAMS[..], &frr::PROGRAMS[..]].concat();
    let name = "attributes::bird_and_frr_see_what_is_originated_here_and_how_attributes_go_out";
    if !daemon::ready(name, &programs) {
        return Ok(());
    }
    let star = Star::build("attributes", 2)?;
    let bird = Bird::start(&star.sandbox, &star.neighbors[0], "bird", BIRD)?;
    let frr = Frr::start(&star.sandbox, &star.neighbors[1], "frr", FRR)?;
    let daemon = Daemon::start(&star.sandbox, &star.router, CONFIG)?;
    bird.wait_established("uplink", SESSION)?;
    frr.wait_established("10.99.2.1", SESSION)?;
    daemon.wait_count("10.99.1.2", "ipv4-unicast", "best", 3, ROUTES)?;

    // The network with what its policy set, and the role's mark on it for a customer.
    let at_bird = |prefix: &str, words: &[&str]| {
        wait_until(&format!("{prefix} at BIRD"), ROUTES, || {
            let route = bird.query(&format!("show route {prefix} all"))?;
            let missing: Vec<_> = words.iter().filter(|word| !route.contains(**word)).collect();
            ensure!(missing.is_empty(), "without {missing:?}:\n{route}");
            Ok(())
        })
    };
    at_bird("10.97.0.0/16", &["BGP.med: 77", "(64500,1)", "BGP.otc: 64500", "BGP.as_path: 64500"])?;
    at_bird("10.99.2.0/24", &["BGP.origin: Incomplete", "BGP.med: 5"])?;
    at_bird("10.50.0.0/16", &["BGP.atomic_aggr", "BGP.aggregator: 10.99.0.1 AS64500"])?;

    let at_frr = |prefix: &str| -> Result<serde_json::Value> {
        let route = frr.query_json(&format!("show bgp ipv4 unicast {prefix} json"))?;
        Ok(route["paths"][0].clone())
    };
    wait_until("the aggregate at FRR, and nothing within it", ROUTES, || {
        let aggregate = at_frr("10.50.0.0/16")?;
        ensure!(aggregate["atomicAggregate"] == true && aggregate["aggregatorAs"] == 64500, "{aggregate}");
        ensure!(at_frr("10.50.1.0/24")?.is_null(), "a part of the aggregate is announced");
        let rewritten = at_frr("10.60.0.0/24")?;
        ensure!(rewritten["aspath"]["string"] == "64500 64501 64500", "{rewritten}");
        Ok(())
    })?;

    // A default route by its condition, for one neighbour; the last route within the aggregate takes it along.
    ensure!(at_frr("0.0.0.0/0")?.is_null(), "a default route without its condition");
    bird.query("enable pulse")?;
    wait_until("the default route at FRR", ROUTES, || {
        let default = at_frr("0.0.0.0/0")?;
        ensure!(default["community"]["string"] == "64500:7", "{default}");
        Ok(())
    })?;
    ensure!(daemon.paths("0.0.0.0/0")?.is_empty(), "the default route is in the RIB");
    bird.query("disable pulse")?;
    bird.query("disable parts")?;
    wait_until("aggregate and default route are gone", ROUTES, || {
        ensure!(at_frr("10.50.0.0/16")?.is_null() && at_frr("0.0.0.0/0")?.is_null(), "still there");
        Ok(())
    })?;

    // The kernel's routes are followed.
    ensure!(daemon.paths("10.96.0.0/16")?.is_empty(), "originated without its route in the kernel");
    star.router.ip(&["route", "add", "10.96.0.0/16", "via", "10.99.2.2"])?;
    wait_until("the network that is present", ROUTES, || {
        at_frr("10.96.0.0/16")?["valid"].as_bool().context("it is not there").map(drop)
    })?;
    star.router.ip(&["route", "del", "10.96.0.0/16"])?;
    wait_until("the network is gone", ROUTES, || {
        ensure!(at_frr("10.96.0.0/16")?.is_null(), "still there");
        Ok(())
    })?;

    let neighbor = daemon.show(&["neighbors", "10.99.1.2"])?;
    ensure!(neighbor.contains("role provider") && neighbor.contains("role customer"), "{neighbor}");
    let route = daemon.show(&["routes", "10.97.0.0/16"])?;
    ensure!(route.contains("communities 64500:1") && route.contains("MED 77"), "{route}");
    Ok(())
}
