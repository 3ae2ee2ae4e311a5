//! Sessions with FRR's bgpd, which negotiates and packs differently from BIRD.

use std::time::Duration;

use anyhow::{Result, anyhow, ensure};
use testbed::daemon::{self, Daemon};
use testbed::peers::frr::{self, Frr};
use testbed::process::wait_until;
use testbed::topology::Star;

const SESSION: Duration = Duration::from_secs(40);
const ROUTES: Duration = Duration::from_secs(10);
const COUNT: u64 = 50;

fn frr_config() -> String {
    let mut parts = vec![
        "hostname frr\nrouter bgp 64501\n bgp router-id 10.99.1.2\n no bgp ebgp-requires-policy\n \
         no bgp default ipv4-unicast\n no bgp network import-check\n \
         timers bgp 3 9\n neighbor 10.99.1.1 remote-as 64500\n neighbor 10.99.1.1 timers connect 1\n"
            .to_owned(),
    ];
    for family in ["ipv4", "ipv6"] {
        parts.push(format!(" address-family {family} unicast\n  neighbor 10.99.1.1 activate\n"));
        if family == "ipv6" {
            parts.push("  neighbor 10.99.1.1 route-map v6 out\n".to_owned());
        }
        for i in 0..COUNT {
            let prefix =
                if family == "ipv4" { format!("10.98.{i}.0/24") } else { format!("fd98:0:{i:x}::/48") };
            parts.push(format!("  network {prefix}\n"));
        }
        parts.push(" exit-address-family\n".to_owned());
    }
    // Without zebra, bgpd does not know its own IPv6 address on the link.
    parts.push("route-map v6 permit 10\n set ipv6 next-hop global fd99:1::2\n".to_owned());
    parts.concat()
}

#[test]
fn routes_of_both_families_come_go_and_come_back() -> Result<()> {
    if !daemon::ready("frr_session::routes_of_both_families_come_go_and_come_back", &frr::PROGRAMS) {
        return Ok(());
    }
    let star = Star::build("frr-session", 1)?;
    let mut frr = Frr::start(&star.sandbox, &star.neighbors[0], "frr", &frr_config())?;
    let config = "[router]\nasn = 64500\nrouter-id = \"10.99.0.1\"\n\n[[network]]\nprefix = \"10.97.0.0/16\"\n\n\
                  [[network]]\nprefix = \"fd97::/32\"\n\n\
                  [[neighbor]]\naddress = \"10.99.1.2\"\nasn = 64501\nimport = [\"all\"]\nexport = [\"all\"]\n";
    let daemon = Daemon::start(&star.sandbox, &star.router, config)?;
    frr.wait_established("10.99.1.1", SESSION)?;
    daemon.wait_established("10.99.1.2", SESSION)?;
    for (family, of_frr) in [("ipv4-unicast", "ipv4Unicast"), ("ipv6-unicast", "ipv6Unicast")] {
        // FRR sends our own network back to us, which is received and refused as a loop.
        for which in ["accepted", "best"] {
            daemon.wait_count("10.99.1.2", family, which, COUNT, ROUTES)?;
        }
        wait_until("FRR's counts are ours", ROUTES, || {
            let accepted = frr.prefix_count("10.99.1.1", of_frr, "acceptedPrefixCounter")?;
            ensure!(accepted == 1, "FRR has accepted {accepted} {family} routes, expected 1");
            let sent = frr.prefix_count("10.99.1.1", of_frr, "sentPrefixCounter")?;
            let seen = daemon.count("10.99.1.2", family, "received")?;
            if sent == seen { Ok(()) } else { Err(anyhow!("FRR has sent {sent}, we have {seen}")) }
        })?;
    }
    let route = frr.query_json("show bgp ipv4 unicast 10.97.0.0/16 json")?;
    ensure!(route["paths"][0]["aspath"]["string"] == "64500", "AS path at FRR: {route}");
    ensure!(route["paths"][0]["nexthops"][0]["ip"] == "10.99.1.1", "next hop at FRR: {route}");
    let route = frr.query_json("show bgp ipv6 unicast fd97::/32 json")?;
    ensure!(route["paths"][0]["nexthops"][0]["ip"] == "fd99:1::1", "next hop at FRR: {route}");

    frr.configure(&["router bgp 64501", "address-family ipv4 unicast", "no network 10.98.7.0/24"])?;
    daemon.wait_count("10.99.1.2", "ipv4-unicast", "best", COUNT - 1, ROUTES)?;
    ensure!(daemon.paths("10.98.7.0/24")?.is_empty(), "the withdrawn route is still there");

    frr.kill_9()?;
    daemon.wait_down("10.99.1.2", SESSION)?;
    wait_until("no routes are left", ROUTES, || {
        let rib = daemon.show_json(&["summary"])?["rib"]["ipv6-unicast"].clone();
        if rib["paths"] == 1 { Ok(()) } else { Err(anyhow!("{rib}")) }
    })?;
    frr.launch(&star.sandbox)?;
    daemon.wait_established("10.99.1.2", Duration::from_secs(90))?;
    daemon.wait_count("10.99.1.2", "ipv6-unicast", "best", COUNT, ROUTES)
}
