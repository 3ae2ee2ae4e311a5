//! Neighbours that are named by their interface alone, with FRR, BIRD and ourselves on the other side.

use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, ensure};
use testbed::daemon::{self, Daemon};
use testbed::netns::{Namespace, Sandbox};
use testbed::peers::bird::{self, Bird};
use testbed::peers::frr::{self, Frr};
use testbed::process::wait_until;
use testbed::tools;
use testbed::topology::Topology;

const SESSION: Duration = Duration::from_secs(40);
const ROUTES: Duration = Duration::from_secs(15);
/// Until a neighbour that has fallen silent is given up, its successor is heard, and the session is up.
const SUCCESSION: Duration = Duration::from_secs(90);

/// The link-local address of a device, once it may be used.
fn link_local(namespace: &Namespace, device: &str) -> Result<String> {
    let mut found = String::new();
    wait_until("the device has an address", ROUTES, || {
        let text = namespace.ip_output(&["-6", "-o", "address", "show", "dev", device, "scope", "link"])?;
        ensure!(!text.contains("tentative"), "{text}");
        let address = text.split_whitespace().find(|word| word.starts_with("fe80::")).context("none")?;
        address.split('/').next().unwrap_or_default().clone_into(&mut found);
        Ok(())
    })?;
    Ok(found)
}

/// Host A - router - neighbor - host B, where the link in the middle has no addresses but its own.
fn topology(name: &str) -> Result<Topology> {
    let topology = Topology::build(Sandbox::new(name)?)?;
    for (namespace, host) in [(&topology.router, 1), (&topology.bird, 2)] {
        namespace.ip_output(&["address", "del", &format!("10.99.1.{host}/24"), "dev", "wan"])?;
        namespace.ip_output(&["address", "del", &format!("fd99:1::{host}/64"), "dev", "wan"])?;
    }
    Ok(topology)
}

fn config(asn: u32, id: u8, net: u8, neighbor: &str) -> String {
    format!(
        "[router]\nasn = {asn}\nrouter-id = \"10.99.0.{id}\"\n[fib]\ninterfaces = [\"lan\", \"wan\"]\n\
         [[network]]\nprefix = \"10.99.{net}.0/24\"\n[[network]]\nprefix = \"fd99:{net}::/64\"\n\
         [[neighbor]]\ninterface = \"wan\"\nimport = [\"all\"]\nexport = [\"all\"]\nconnect-retry = 1\n{neighbor}\n"
    )
}

fn ours(neighbor: &str) -> String {
    config(64_500, 1, 10, neighbor)
}

/// How many packets are forwarded meanwhile.
fn forwarded_by(daemon: &Daemon, act: impl FnOnce() -> Result<String>) -> Result<u64> {
    let before = daemon.verdicts()?["forwarded"];
    act()?;
    Ok(daemon.verdicts()?["forwarded"] - before)
}

/// Routes of both families that the neighbor announces, and packets of both along them, through XDP.
fn check(topology: &Topology, daemon: &Daemon, theirs: &str) -> Result<()> {
    let hop = format!("{theirs}%wan");
    daemon.wait_established("wan", SESSION)?;
    let known = daemon.neighbor("wan")?;
    ensure!(known["on_link"]["address"] == hop.as_str(), "{known}");
    for prefix in ["10.99.20.0/24", "fd99:20::/64"] {
        daemon.wait_installed(prefix, true, ROUTES)?;
        let path = daemon.paths(prefix)?.into_iter().next().context("no path")?;
        ensure!(path["next_hop"] == hop.as_str() && path["neighbor"] == "wan", "{path}");
        let shown = daemon.show(&["fib", prefix])?;
        ensure!(shown.contains(&hop) && shown.contains("dev wan"), "{shown}");
    }
    for target in ["10.99.20.2", "fd99:20::2"] {
        // The kernel finds out the MACs of the hosts by the first packets.
        wait_until("a ping and its answer are forwarded", ROUTES, || {
            let forwarded = forwarded_by(daemon, || tools::ping_all(&topology.host_a, None, target, 1))?;
            ensure!(forwarded == 2, "{forwarded} packets to and from {target}");
            Ok(())
        })?;
        let forwarded = forwarded_by(daemon, || tools::ping_all(&topology.host_a, None, target, 5))?;
        ensure!(forwarded == 10, "{forwarded} packets to and from {target}");
    }
    Ok(())
}

/// A link-local address takes the place of the one that there is.
fn readdress(namespace: &Namespace, old: &str, new: &str) -> Result<()> {
    namespace.ip_output(&["address", "del", &format!("{old}/64"), "dev", "wan"])?;
    namespace.ip_output(&["address", "add", &format!("{new}/64"), "dev", "wan", "nodad"]).map(drop)
}

#[test]
fn frr_and_we_find_each_other() -> Result<()> {
    let programs = [&frr::PROGRAMS[..], &tools::PROGRAMS].concat();
    if !daemon::ready("unnumbered::frr_and_we_find_each_other", &programs) {
        return Ok(());
    }
    let topology = topology("unnumbered-frr")?;
    let theirs = link_local(&topology.bird, "wan")?;
    // FRR first: it waits for our advertisements.
    let frr = Frr::start_with_zebra(
        &topology.sandbox,
        &topology.bird,
        "frr",
        "router bgp 64501\n bgp router-id 10.99.0.2\n no bgp ebgp-requires-policy\n no bgp network import-check\n \
         neighbor wan interface remote-as external\n neighbor wan timers connect 1\n \
         address-family ipv4 unicast\n  network 10.99.20.0/24\n exit-address-family\n \
         address-family ipv6 unicast\n  neighbor wan activate\n  network fd99:20::/64\n exit-address-family\n",
    )?;
    let daemon = Daemon::start(&topology.sandbox, &topology.router, &ours("asn = \"external\""))?;
    frr.wait_established("wan", SESSION)?;
    check(&topology, &daemon, &theirs)?;
    ensure!(daemon.neighbor("wan")?["asn"] == 64_501);

    // It is named by its interface everywhere.
    for words in [&["summary"][..], &["neighbors"], &["neighbors", "wan"]] {
        let shown = daemon.show(words)?;
        ensure!(shown.contains("wan ") && shown.contains(&format!("{theirs}%wan")), "{words:?}: {shown}");
    }
    ensure!(daemon.show(&["history", "wan"])?.contains("established"));
    ensure!(daemon.show(&["routes", "--received", "wan"])?.contains("10.99.20.0/24"));
    let labels = [("neighbor", "wan"), ("asn", "external")];
    ensure!(daemon.metrics()?.sum("peregrine_session_up", &labels)? > 0.5);
    daemon.clear("wan")?;
    check(&topology, &daemon, &theirs)?;
    let (code, said) = daemon.command(&["clear", "lan"])?;
    ensure!(code != 0 && said.contains("no neighbor lan is configured"), "{said}");

    // Another description disturbs nothing, another AS number does.
    daemon.rewrite(&ours("asn = \"external\"\ndescription = \"leaf\""))?;
    let said = daemon.run(&["reload"])?;
    ensure!(said.contains("~ neighbor wan: description") && !said.contains("resets the session"), "{said}");
    daemon.rewrite(&ours("asn = 64501"))?;
    let said = daemon.run(&["reload"])?;
    ensure!(said.contains("~ neighbor wan: asn: external -> 64501"), "{said}");
    check(&topology, &daemon, &theirs)?;
    daemon.rewrite(&ours("asn = \"internal\""))?;
    daemon.run(&["reload"])?;
    wait_until("the wrong AS is refused", ROUTES, || {
        let error = daemon.neighbor("wan")?["last_error"].to_string();
        ensure!(error.contains("Bad Peer AS"), "{error}");
        Ok(())
    })?;
    daemon.rewrite(&ours("asn = \"external\""))?;
    daemon.run(&["reload"])?;
    check(&topology, &daemon, &theirs)?;

    // What its operator says stays to be read while it takes no connections.
    frr.configure(&["router bgp 64501", "neighbor wan shutdown message back at noon"])?;
    daemon.wait_down("wan", ROUTES)?;
    wait_until("the text, and that nobody answers", ROUTES, || {
        let shown = daemon.show(&["summary"])?;
        let line = shown.lines().find(|line| line.contains("back at noon")).unwrap_or_default();
        ensure!(line.contains("; cannot connect") || line.contains("; connection lost"), "{shown}");
        Ok(())
    })?;
    frr.configure(&["router bgp 64501", "no neighbor wan shutdown"])?;
    check(&topology, &daemon, &theirs)?;
    let shown = daemon.show(&["routes"])?;
    let line = shown.lines().find(|line| line.contains("10.99.20.0/24")).unwrap_or_default();
    ensure!(line.split_whitespace().any(|word| word == "100"), "the local preference that counts: {line}");

    // The link goes, and comes back.
    topology.router.ip(&["link", "set", "wan", "down"])?;
    daemon.wait_down("wan", ROUTES)?;
    wait_until("the reason is said", ROUTES, || {
        let shown = daemon.show(&["summary"])?;
        if shown.contains("wan has no link-local address") { Ok(()) } else { Err(anyhow!("{shown}")) }
    })?;
    topology.router.ip(&["link", "set", "wan", "up"])?;
    check(&topology, &daemon, &theirs)?;

    // The neighbor goes on under another address.
    readdress(&topology.bird, &theirs, "fe80::99")?;
    wait_until("the session is with the new address", SUCCESSION, || {
        let known = daemon.neighbor("wan")?;
        let is_new = known["on_link"]["address"] == "fe80::99%wan" && known["state"] == "Established";
        if is_new { Ok(()) } else { Err(anyhow!("{known}")) }
    })?;
    check(&topology, &daemon, "fe80::99")
}

fn bird_config(neighbor: &str) -> String {
    format!(
        "router id 10.99.0.2;\n\
         protocol kernel {{ ipv4 {{ import none; export where source = RTS_BGP; }}; }}\n\
         protocol kernel {{ ipv6 {{ import none; export where source = RTS_BGP; }}; }}\n\
         protocol static announce4 {{ ipv4; route 10.99.20.0/24 via \"lan\"; }}\n\
         protocol static announce6 {{ ipv6; route fd99:20::/64 via \"lan\"; }}\n\
         protocol bgp uplink {{\n  local as 64501;\n  {neighbor}\n  connect delay time 1;\n  error wait time 1, 2;\n  \
         ipv4 {{ extended next hop; import all; export where source = RTS_STATIC; next hop self; }};\n  \
         ipv6 {{ import all; export where source = RTS_STATIC; next hop self; }};\n}}\n"
    )
}

#[test]
fn we_find_a_bird_that_waits_for_anybody_on_the_link() -> Result<()> {
    let programs = [&bird::PROGRAMS[..], &tools::PROGRAMS].concat();
    if !daemon::ready("unnumbered::we_find_a_bird_that_waits_for_anybody_on_the_link", &programs) {
        return Ok(());
    }
    let topology = topology("unnumbered-bird")?;
    let theirs = link_local(&topology.bird, "wan")?;
    let radv = "protocol radv { interface \"wan\" { max ra interval 5; default lifetime 0; }; }\n";
    let range = bird_config("neighbor range fe80::/10 as 64500;\n  interface \"wan\";");
    let daemon = Daemon::start(&topology.sandbox, &topology.router, &ours("asn = 64501"))?;
    wait_until("it says whom it waits for", ROUTES, || {
        let shown = daemon.show(&["summary"])?;
        ensure!(shown.contains("no router advertisement on wan so far"), "{shown}");
        Ok(())
    })?;
    let _bird = Bird::start(&topology.sandbox, &topology.bird, "bird", &format!("{radv}{range}"))?;
    check(&topology, &daemon, &theirs)
}

#[test]
fn a_bird_that_advertises_nothing_finds_us() -> Result<()> {
    let programs = [&bird::PROGRAMS[..], &tools::PROGRAMS].concat();
    if !daemon::ready("unnumbered::a_bird_that_advertises_nothing_finds_us", &programs) {
        return Ok(());
    }
    let topology = topology("unnumbered-in")?;
    let (us, theirs) = (link_local(&topology.router, "wan")?, link_local(&topology.bird, "wan")?);
    let keys = "asn = 64501\npassword = \"secret\"\nttl-security = true";
    let daemon = Daemon::start(&topology.sandbox, &topology.router, &ours(keys))?;
    let config =
        bird_config(&format!("neighbor {us}%wan as 64500;\n  password \"secret\";\n  ttl security on;"));
    let bird = Bird::start(&topology.sandbox, &topology.bird, "bird", &config)?;
    bird.wait_established("uplink", SESSION)?;
    check(&topology, &daemon, &theirs)?;
    daemon.clear("wan")?;
    check(&topology, &daemon, &theirs)
}

#[test]
fn two_of_us_find_each_other_on_a_link_that_goes_and_comes() -> Result<()> {
    if !daemon::ready("unnumbered::two_of_us_find_each_other_on_a_link_that_goes_and_comes", &tools::PROGRAMS)
    {
        return Ok(());
    }
    let topology = topology("unnumbered-two")?;
    let daemon = Daemon::start(&topology.sandbox, &topology.router, &ours("asn = \"external\""))?;
    let theirs = config(64_501, 2, 20, "asn = \"external\"");
    let other = Daemon::start_as(&topology.sandbox, &topology.bird, "other", &theirs)?;
    check(&topology, &daemon, &link_local(&topology.bird, "wan")?)?;
    for namespace in [&topology.router, &topology.bird] {
        namespace.ip(&["link", "set", "wan", "down"])?;
        namespace.ip(&["link", "set", "wan", "name", "other"])?;
    }
    wait_until("both say what is missing", ROUTES, || {
        for daemon in [&daemon, &other] {
            let shown = daemon.show(&["neighbors", "wan"])?;
            ensure!(shown.contains("there is no interface wan"), "{shown}");
        }
        Ok(())
    })?;
    for namespace in [&topology.router, &topology.bird] {
        namespace.ip(&["link", "set", "other", "name", "wan"])?;
        namespace.ip(&["link", "set", "wan", "up"])?;
    }
    let addresses = [link_local(&topology.router, "wan")?, link_local(&topology.bird, "wan")?];
    other.wait_established("wan", SESSION)?;
    ensure!(other.neighbor("wan")?["on_link"]["address"] == format!("{}%wan", addresses[0]).as_str());
    check(&topology, &daemon, &addresses[1])
}
