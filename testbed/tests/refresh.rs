//! Refreshes that are marked where they begin and end (RFC 7313): with BIRD and FRR both ways, and with a peer
//! of our own that leaves out, cheats and dawdles.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow, ensure};
use ipnet::IpNet;
use serde_json::{Value, json};
use testbed::daemon::{self, Daemon};
use testbed::feeder;
use testbed::peers::bird::{self, Bird};
use testbed::peers::frr::{self, Frr};
use testbed::process::wait_until;
use testbed::speaker::{self, PathAttributes, Received};
use testbed::topology::Star;

const SESSION: Duration = Duration::from_secs(40);
const ROUTES: Duration = Duration::from_secs(15);
const ROUTER: &str = "[router]\nasn = 64500\nrouter-id = \"10.99.0.1\"\n";
const FAMILIES: [&str; 2] = ["ipv4-unicast", "ipv6-unicast"];
const REFRESH: u8 = 5;
const BEGIN: u8 = 1;
const END: u8 = 2;

fn neighbor(address: &str, asn: u32, keys: &str) -> String {
    format!(
        "\n[[neighbor]]\naddress = \"{address}\"\nasn = {asn}\nimport = [\"all\"]\nexport = [\"all\"]\n{keys}"
    )
}

/// One neighbour as `show neighbors --json` has it.
fn shown(daemon: &Daemon, address: &str) -> Result<Value> {
    let neighbors = daemon.show_json(&["neighbors"])?;
    let all = neighbors.as_array().context("show neighbors is no list")?;
    all.iter().find(|neighbor| neighbor["address"] == address).cloned().context("no such neighbor")
}

fn wait_refreshes(daemon: &Daemon, address: &str, expected: &Value) -> Result<()> {
    wait_until(&format!("refreshes of {address}: {expected}"), ROUTES, || {
        let seen = shown(daemon, address)?["enhanced_refresh"].clone();
        if seen == *expected { Ok(()) } else { Err(anyhow!("{seen}")) }
    })
}

#[test]
fn bird_and_frr_mark_their_refreshes_and_read_our_marks() -> Result<()> {
    let programs = [&bird::PROGRAMS[..], &frr::PROGRAMS].concat();
    if !daemon::ready("refresh::bird_and_frr_mark_their_refreshes_and_read_our_marks", &programs) {
        return Ok(());
    }
    let star = Star::build("refresh", 2)?;
    let routes = |family: &str, range: std::ops::Range<u32>| -> String {
        range
            .map(|i| match family {
                "ipv4" => format!("  route 10.98.{i}.0/24 blackhole;\n"),
                _ => format!("  route fd98:{i}::/32 blackhole;\n"),
            })
            .collect()
    };
    let bird_config = format!(
        "router id 10.99.1.2;\nprotocol static s4 {{ ipv4;\n{}}}\nprotocol static s6 {{ ipv6;\n{}}}\n\
         protocol bgp uplink {{\n  local 10.99.1.2 as 64501;\n  neighbor 10.99.1.1 as 64500;\n  \
         connect delay time 1;\n  error wait time 1, 2;\n  \
         ipv4 {{ import all; export where source = RTS_STATIC; next hop self; }};\n  \
         ipv6 {{ import all; export where source = RTS_STATIC; next hop self; }};\n}}\n",
        routes("ipv4", 0..200),
        routes("ipv6", 0..200)
    );
    let bird = Bird::start(&star.sandbox, &star.neighbors[0], "bird", &bird_config)?;
    let networks: String = (0..20).map(|i| format!("  network 10.97.{i}.0/24\n")).collect();
    let frr = Frr::start(
        &star.sandbox,
        &star.neighbors[1],
        "frr",
        &format!(
            "router bgp 64502\n bgp router-id 10.99.2.2\n no bgp ebgp-requires-policy\n \
             no bgp network import-check\n neighbor 10.99.2.1 remote-as 64500\n neighbor 10.99.2.1 timers connect 1\n \
             address-family ipv4 unicast\n{networks} exit-address-family\n \
             address-family ipv6 unicast\n  neighbor 10.99.2.1 activate\n exit-address-family\n"
        ),
    )?;
    let (at_bird, at_frr) = ("10.99.1.2", "10.99.2.2");
    let config = format!("{ROUTER}{}{}", neighbor(at_bird, 64501, ""), neighbor(at_frr, 64502, ""));
    let daemon = Daemon::start(&star.sandbox, &star.router, &config)?;
    for family in FAMILIES {
        daemon.wait_count(at_bird, family, "best", 200, SESSION)?;
    }
    daemon.wait_count(at_frr, "ipv4-unicast", "best", 20, SESSION)?;
    let everything = || -> Result<()> {
        wait_until("all routes are everywhere", ROUTES, || {
            let imported = (bird.imported("uplink", "ipv4")?, bird.imported("uplink", "ipv6")?);
            ensure!(imported == (20, 0), "BIRD has {imported:?}");
            for (family, expected) in [("ipv4Unicast", 200), ("ipv6Unicast", 200)] {
                let accepted = frr.prefix_count("10.99.2.1", family, "acceptedPrefixCounter")?;
                ensure!(accepted == expected, "FRR has {accepted} {family}");
            }
            for (address, counts) in [(at_bird, [200, 200]), (at_frr, [20, 0])] {
                for (family, expected) in FAMILIES.iter().zip(counts) {
                    let count = daemon.count(address, family, "best")?;
                    ensure!(count == expected, "{count} {family} of {address}");
                }
            }
            Ok(())
        })
    };
    everything()?;

    // They send everything again, between marks in each family, and nothing is missed.
    for (address, round) in [(at_bird, 1), (at_frr, 1), (at_bird, 2)] {
        wait_until("End-of-RIB of both families", ROUTES, || {
            let ends = shown(&daemon, address)?["ends_of_rib"].clone();
            if ends == json!(FAMILIES) { Ok(()) } else { Err(anyhow!("{ends}")) }
        })?;
        daemon.refresh(address, "in")?;
        let counts = json!({ "begun": 2 * round, "ended": 2 * round, "expired": 0, "ignored": 0 });
        wait_refreshes(&daemon, address, &counts)?;
    }
    let text = daemon.show(&["neighbors", at_bird])?;
    ensure!(text.contains("enhanced; of its routes: 4 begun, 4 ended"), "{text}");
    ensure!(text.contains("enhanced-route-refresh"), "{text}");
    everything()?;

    // They ask us, and would drop what is not within our marks.
    let sent = |address: &str| {
        Ok::<_, anyhow::Error>(shown(&daemon, address)?["messages"]["sent route_refresh"].as_u64())
    };
    let before = (sent(at_bird)?, sent(at_frr)?);
    bird.query("reload in uplink")?;
    frr.query("clear bgp * soft in")?;
    wait_until("two marks in each family, beside our requests", ROUTES, || {
        let now = (sent(at_bird)?, sent(at_frr)?);
        let more = now.0 >= before.0.map(|count| count + 4) && now.1 >= before.1.map(|count| count + 2);
        if more { Ok(()) } else { Err(anyhow!("{now:?}, {before:?} before")) }
    })?;
    everything()
}

/// A peer of our own, by IPv4 only.
struct Raw {
    stream: TcpStream,
    unread: Vec<u8>,
}

impl Raw {
    fn connect(star: &Star, number: usize) -> Result<Self> {
        let [local, remote] = [2, 1].map(|host| Ipv4Addr::new(10, 99, number as u8, host));
        let stream = star.neighbors[number - 1]
            .enter(|| feeder::connect_from(local.into(), SocketAddr::from((remote, 179))))?;
        let mut raw = Self { stream, unread: Vec::new() };
        let asn = 64500 + number as u16;
        let mut open = Vec::new();
        speaker::message(&mut open, 1, |out| {
            out.push(4);
            out.extend(asn.to_be_bytes());
            out.extend([0, 0]);
            out.extend(local.octets());
            // IPv4 unicast, route refresh, enhanced route refresh, four-octet AS numbers.
            let mut capabilities = vec![1, 4, 0, 1, 0, 1, 2, 0, 70, 0, 65, 4];
            capabilities.extend(u32::from(asn).to_be_bytes());
            out.extend([capabilities.len() as u8 + 2, 2, capabilities.len() as u8]);
            out.extend(capabilities);
        });
        raw.send(&[open, speaker::keepalive()])?;
        raw.read_until(|message| matches!(message, Received::EndOfRib(false)))?;
        Ok(raw)
    }

    fn send(&mut self, messages: &[Vec<u8>]) -> Result<()> {
        self.stream.write_all(&messages.concat()).context("send")
    }

    /// Reads up to a message; the octets of that, and what came before it.
    fn read_until(&mut self, end: impl Fn(&Received) -> bool) -> Result<(Vec<u8>, Vec<Received>)> {
        let deadline = Instant::now() + ROUTES;
        let mut before = Vec::new();
        loop {
            while let Some(frame) = speaker::frame(&self.unread)? {
                let (message, octets) = (speaker::parse(frame)?, frame.to_vec());
                self.unread.drain(..octets.len());
                if end(&message) {
                    return Ok((octets, before));
                }
                before.push(message);
            }
            let left = deadline.saturating_duration_since(Instant::now());
            ensure!(!left.is_zero(), "it has not come behind {before:?}");
            self.stream.set_read_timeout(Some(left)).context("read timeout")?;
            let mut chunk = [0; 4096];
            let count = self.stream.read(&mut chunk).context("read")?;
            ensure!(count > 0, "closed behind {before:?}");
            self.unread.extend(&chunk[..count]);
        }
    }

    /// Reads up to a mark; the prefixes announced before it, sorted.
    fn read_mark(&mut self, subtype: u8) -> Result<Vec<IpNet>> {
        let (mark, before) = self.read_until(|message| matches!(message, Received::Other(REFRESH)))?;
        // AFI, subtype and SAFI follow the header.
        ensure!(mark[19..] == [0, 1, subtype, 1], "a mark {:?}, not of subtype {subtype}", &mark[19..]);
        let updates = before.into_iter().filter_map(|message| match message {
            Received::Update(update) => Some(update.announced),
            _ => None,
        });
        let mut announced: Vec<IpNet> = updates.flatten().collect();
        announced.sort_unstable();
        Ok(announced)
    }
}

/// A ROUTE-REFRESH for IPv4 unicast.
fn refresh(subtype: u8) -> Vec<u8> {
    let mut out = Vec::new();
    speaker::message(&mut out, REFRESH, |out| out.extend([0, 1, subtype, 1]));
    out
}

fn prefixes(thirds: &[u8]) -> Result<Vec<IpNet>> {
    thirds.iter().map(|third| Ok(format!("10.98.{third}.0/24").parse()?)).collect()
}

fn announce(thirds: &[u8]) -> Result<Vec<u8>> {
    let mut out = Vec::new();
    let attributes = PathAttributes::new(vec![64501], "10.99.1.2".parse()?);
    speaker::announce(&mut out, &attributes, &prefixes(thirds)?);
    Ok(out)
}

fn wait_held(daemon: &Daemon, thirds: &[u8]) -> Result<()> {
    wait_until(&format!("the prefixes {thirds:?} are held"), ROUTES, || {
        for third in 1..=4 {
            let paths = daemon.paths(&format!("10.98.{third}.0/24"))?;
            ensure!(paths.len() == usize::from(thirds.contains(&third)), "{third}: {paths:?}");
        }
        Ok(())
    })
}

#[test]
fn what_a_refresh_leaves_out_goes_at_its_end_or_when_its_time_is_over() -> Result<()> {
    let name = "refresh::what_a_refresh_leaves_out_goes_at_its_end_or_when_its_time_is_over";
    if !daemon::ready(name, &[]) {
        return Ok(());
    }
    let star = Star::build("refresh-raw", 1)?;
    let peer = "10.99.1.2";
    let config = format!(
        "{ROUTER}rib-threads = 3\n{}",
        neighbor(peer, 64501, "passive = true\nrefresh-stale-time = 3\n")
    );
    let daemon = Daemon::start(&star.sandbox, &star.router, &config)?;
    let mut raw = Raw::connect(&star, 1)?;
    raw.send(&[announce(&[1, 2, 3, 4])?, speaker::end_of_rib(false)])?;
    wait_held(&daemon, &[1, 2, 3, 4])?;

    // Two come again; the others are stale, and used, until the end.
    raw.send(&[refresh(BEGIN), announce(&[1, 2])?])?;
    wait_until("two are stale", ROUTES, || {
        let stale = shown(&daemon, peer)?["stale"]["ipv4-unicast"].clone();
        let seen = (&stale["phase"], &stale["routes"]);
        if seen == (&json!("refreshing"), &json!(2)) { Ok(()) } else { Err(anyhow!("{stale}")) }
    })?;
    let path = &daemon.paths("10.98.3.0/24")?[0];
    ensure!(path["stale"] == true && path["best"] == true, "{path}");
    raw.send(&[refresh(END)])?;
    wait_held(&daemon, &[1, 2])?;

    // All of it in one segment, twice: what comes behind a beginning is not made stale by it.
    raw.send(&[
        announce(&[3, 4])?,
        refresh(BEGIN),
        announce(&[1, 3])?,
        refresh(END),
        refresh(BEGIN),
        announce(&[3, 4])?,
        refresh(END),
    ])?;
    wait_held(&daemon, &[3, 4])?;

    // It never ends.
    raw.send(&[refresh(BEGIN), announce(&[4])?])?;
    wait_held(&daemon, &[4])?;
    wait_refreshes(&daemon, peer, &json!({ "begun": 4, "ended": 3, "expired": 1, "ignored": 0 }))?;
    raw.send(&[refresh(END)])?;
    wait_refreshes(&daemon, peer, &json!({ "begun": 4, "ended": 3, "expired": 1, "ignored": 1 }))?;

    // The session goes in the middle of one, and the next one knows nothing of it.
    raw.send(&[refresh(BEGIN)])?;
    wait_refreshes(&daemon, peer, &json!({ "begun": 5, "ended": 3, "expired": 1, "ignored": 1 }))?;
    drop(raw);
    daemon.wait_down(peer, SESSION)?;
    let mut raw = Raw::connect(&star, 1)?;
    raw.send(&[announce(&[1, 2])?, refresh(END), speaker::end_of_rib(false)])?;
    wait_held(&daemon, &[1, 2])?;
    std::thread::sleep(Duration::from_secs(4));
    wait_held(&daemon, &[1, 2])
}

#[test]
fn our_answer_is_all_within_its_marks() -> Result<()> {
    if !daemon::ready("refresh::our_answer_is_all_within_its_marks", &[]) {
        return Ok(());
    }
    let star = Star::build("refresh-out", 2)?;
    let config = format!(
        "{ROUTER}rib-threads = 3\n{}{}",
        neighbor("10.99.1.2", 64501, "passive = true\n"),
        neighbor("10.99.2.2", 64502, "passive = true\n")
    );
    let daemon = Daemon::start(&star.sandbox, &star.router, &config)?;
    let mut source = Raw::connect(&star, 1)?;
    let thirds: Vec<u8> = (0..250).collect();
    source.send(&[announce(&thirds)?])?;
    daemon.wait_count("10.99.1.2", "ipv4-unicast", "best", 250, ROUTES)?;
    let mut asks = Raw::connect(&star, 2)?;
    let expected = prefixes(&thirds)?;
    // Three at once: one answer, and one more behind it, for those that came while it was given.
    asks.send(&[refresh(0), refresh(0), refresh(0)])?;
    for _ in 0..2 {
        asks.read_mark(BEGIN)?;
        let announced = asks.read_mark(END)?;
        ensure!(announced == expected, "{} prefixes within the marks", announced.len());
    }
    // An answer without routes has its marks all the same.
    let mut withdrawn = Vec::new();
    speaker::withdraw(&mut withdrawn, &expected);
    source.send(&[withdrawn])?;
    daemon.wait_count("10.99.1.2", "ipv4-unicast", "received", 0, ROUTES)?;
    asks.send(&[refresh(0)])?;
    for subtype in [BEGIN, END] {
        let announced = asks.read_mark(subtype)?;
        ensure!(announced.is_empty(), "{announced:?}");
    }
    Ok(())
}
