//! Sockets: who gets through, and what leaves; OPENs: who we say we are. With BIRD and FRR.

use std::io::Write as _;
use std::time::Duration;

use anyhow::{Result, anyhow, ensure};
use testbed::capture::{self, Capture};
use testbed::daemon::{self, Daemon};
use testbed::feeder::{Feeder, FeederConfig, handshake};
use testbed::netns::Sandbox;
use testbed::peers::bird::{self, Bird};
use testbed::peers::frr::{self, Frr};
use testbed::process::wait_until;
use testbed::speaker;
use testbed::table::{Announcer, Table};
use testbed::tools;
use testbed::topology::{Star, Topology};

const SESSION: Duration = Duration::from_secs(40);
const ROUTES: Duration = Duration::from_secs(10);

/// One session of BIRD; `options` go before the channels.
fn protocol(name: &str, ends: (&str, &str), options: &str, channel: &str) -> String {
    let (local, remote) = ends;
    format!(
        "protocol bgp {name} {{\n  local {local} as 64501;\n  neighbor {remote} as 64500;\n  connect delay time 1;\n  \
         error wait time 1, 2;\n  {options}\n  {channel} {{ import all; export where proto = \"s_{name}\"; next hop self; }};\n}}\n"
    )
}

fn neighbor(address: &str, keys: &str) -> String {
    format!(
        "\n[[neighbor]]\naddress = \"{address}\"\nasn = 64501\nconnect-retry = 1\nimport = [\"all\"]\nexport = [\"all\"]\n{keys}"
    )
}

#[test]
fn distance_password_and_addresses_decide_who_gets_through() -> Result<()> {
    let programs = [&bird::PROGRAMS[..], &frr::PROGRAMS, &capture::PROGRAMS].concat();
    if !daemon::ready("transport::distance_password_and_addresses_decide_who_gets_through", &programs) {
        return Ok(());
    }
    let star = Star::build("transport", 3)?;
    let [near, second, third] = &star.neighbors[..] else { unreachable!("three neighbors") };
    near.address("lo", "10.88.1.1/32")?;
    star.router.address("lo", "10.88.0.1/32")?;
    star.router.route("10.88.1.1/32", "10.99.1.2")?;
    near.route("10.88.0.1/32", "10.99.1.1")?;

    // Near, by both families; and from loopback to loopback, which static routes lead to.
    let secured = "ttl security on;\n  password \"s3cret\";";
    let near_config = [
        "router id 10.99.1.2;\n\
             protocol static s_near4 { ipv4; route 10.98.0.0/16 blackhole; }\n\
             protocol static s_near6 { ipv6; route fd98::/32 blackhole; }\n\
             protocol static s_far { ipv4; route 10.97.0.0/16 blackhole; }\n",
        &protocol("near4", ("10.99.1.2", "10.99.1.1"), secured, "ipv4"),
        &protocol("near6", ("fd99:1::2", "fd99:1::1"), secured, "ipv6"),
        &protocol("far", ("10.88.1.1", "10.88.0.1"), "multihop 3;\n  password \"f4r\";", "ipv4"),
    ]
    .concat();
    let bird = Bird::start(&star.sandbox, near, "bird", &near_config)?;
    let frr = Frr::start(
        &star.sandbox,
        second,
        "frr",
        "router bgp 64501\n bgp router-id 10.99.2.2\n no bgp ebgp-requires-policy\n no bgp network import-check\n \
         neighbor 10.99.2.1 remote-as 64500\n neighbor 10.99.2.1 ttl-security hops 1\n \
         neighbor 10.99.2.1 password fr33\n neighbor 10.99.2.1 timers connect 1\n \
         neighbor 10.99.2.1 port 1790\n network 10.96.0.0/16\n",
    )?;
    // The third has neither.
    let ends = ("10.99.3.2", "10.99.3.1");
    let head = "router id 10.99.3.2;\nprotocol static s_third { ipv4; }\n";
    let careless = |options: &str| format!("{head}{}", protocol("third", ends, options, "ipv4"));
    let stranger = Bird::start(&star.sandbox, third, "stranger", &careless(""))?;

    let ours = "tcp port 179 and src 10.99.1.1 and dst 10.99.1.2";
    let capture = Capture::start(&star.sandbox, near, "wan", ours)?;
    let config = [
        "[router]\nasn = 64500\nrouter-id = \"10.99.0.1\"\n\
         listen = [\"10.99.1.1:179\", \"10.88.0.1:179\", \"[fd99:1::1]:179\", \"10.99.2.1:1790\", \"10.99.3.1:179\"]\n\
         [fib]\ninterfaces = [\"wan1\"]\n",
        &neighbor("10.99.1.2", "ttl-security = true\npassword = \"s3cret\"\n"),
        &neighbor("fd99:1::2", "ttl-security = 1\npassword = \"s3cret\"\npassive = true\n"),
        &neighbor("10.88.1.1", "multihop = 3\npassword = \"f4r\"\nlocal-address = \"10.88.0.1\"\n"),
        // FRR connects to where we listen.
        &neighbor("10.99.2.2", "ttl-security = true\npassword = \"fr33\"\npassive = true\n"),
        &neighbor("10.99.3.2", "ttl-security = true\npassword = \"th1rd\"\npassive = true\n"),
    ]
    .concat();
    let daemon = Daemon::start(&star.sandbox, &star.router, &config)?;
    for (name, address) in [("near4", "10.99.1.2"), ("near6", "fd99:1::2"), ("far", "10.88.1.1")] {
        bird.wait_established(name, SESSION)?;
        daemon.wait_established(address, SESSION)?;
    }
    frr.wait_established("10.99.2.1", SESSION)?;
    daemon.wait_established("10.99.2.2", SESSION)?;

    // Its next hop is the neighbour, two hops away.
    daemon.wait_count("10.88.1.1", "ipv4-unicast", "best", 1, ROUTES)?;
    ensure!(daemon.paths("10.97.0.0/16")?[0]["next_hop"] == "10.88.1.1", "the far neighbor's next hop");
    daemon.wait_installed("10.97.0.0/16", true, ROUTES)?;

    let fields = ["ip.ttl", "ip.dsfield.dscp", "tcp.options.md5"];
    let packets = capture.stop(&fields)?;
    ensure!(packets.len() > 5, "{packets:?}");
    for packet in &packets {
        let [ttl, dscp, md5] = &packet[..] else { unreachable!("three fields") };
        ensure!(ttl == "255" && dscp == "48" && !md5.is_empty(), "a packet of ours: {packet:?}");
    }
    let shown = daemon.show(&["neighbors", "10.99.1.2"])?;
    ensure!(shown.contains("TTL 255 out, 255 or more in, TCP MD5"), "{shown}");
    ensure!(!daemon.show_json(&["neighbors"])?.to_string().contains("s3cret"), "the password is shown");

    // Another password at both ends, by a reload: the session with who has the same as before stays.
    let other = |text: &str| text.replace("s3cret", "0ther");
    bird.reconfigure(&other(&near_config))?;
    daemon.rewrite(&other(&config))?;
    daemon.run(&["reload"])?;
    for (name, address) in [("near4", "10.99.1.2"), ("near6", "fd99:1::2"), ("far", "10.88.1.1")] {
        bird.wait_established(name, SESSION)?;
        daemon.wait_established(address, SESSION)?;
    }
    let far = daemon.show_json(&["neighbors", "10.88.1.1"])?[0]["established_transitions"].clone();
    ensure!(far == 1, "the far session came up {far} times");

    strangers_stay_out(&star, &stranger, careless, &daemon, &other(&config))
}

/// Tries all that is not enough, which only lacks the right thing for 10.99.3.2, where `stranger` is configured by
/// `careless`; and then what is.
fn strangers_stay_out(
    star: &Star,
    stranger: &Bird,
    careless: impl Fn(&str) -> String,
    daemon: &Daemon,
    config: &str,
) -> Result<()> {
    // Neither the right password alone nor the right distance alone is enough.
    let capture = Capture::start(&star.sandbox, &star.neighbors[2], "wan", "tcp port 179 and src 10.99.3.1")?;
    for options in ["", "ttl security on;", "password \"th1rd\";", "ttl security on;\n  password \"th1rD\";"]
    {
        stranger.reconfigure(&careless(options))?;
        stranger.query("restart third")?;
        std::thread::sleep(Duration::from_secs(3));
        let state = daemon.neighbor("10.99.3.2")?["state"].clone();
        ensure!(
            state != "Established" && state != "OpenConfirm" && state != "OpenSent",
            "{options}: {state}"
        );
    }
    // Only with the password a connection can begin at all, and be seen to come from too far away.
    let refused = daemon.show_json(&["neighbors", "10.99.3.2"])?[0]["refused_too_far"].as_u64();
    ensure!(refused.is_some_and(|count| count > 0), "refused: {refused:?}");
    let history = daemon.show(&["history", "10.99.3.2"])?;
    ensure!(history.contains("its SYN arrived with a TTL of 1, and ttl-security wants 255"), "{history}");
    let answers = capture.stop(&["tcp.flags.syn", "tcp.flags.reset", "tcp.len"])?;
    ensure!(answers.iter().any(|answer| answer[1] == "1" || answer[1] == "True"), "{answers:?}");
    ensure!(answers.iter().all(|answer| answer[2] == "0"), "something was said to the stranger: {answers:?}");
    let shown = daemon.show(&["neighbors", "10.99.3.2"])?;
    ensure!(shown.contains("connections from further away refused"), "{shown}");

    // Where we connect, the stranger's system answers as who is near does; what BIRD says then is too far away.
    stranger.reconfigure(&careless("password \"th1rd\";"))?;
    daemon.rewrite(&config.replace("password = \"th1rd\"\npassive = true", "password = \"th1rd\""))?;
    daemon.run(&["reload"])?;
    wait_until("the stranger does not get beyond our OPEN", SESSION, || {
        let state = daemon.neighbor("10.99.3.2")?["state"].clone();
        ensure!(state == "OpenSent", "{state}");
        Ok(())
    })?;
    std::thread::sleep(Duration::from_secs(3));
    let state = daemon.neighbor("10.99.3.2")?["state"].clone();
    ensure!(state != "Established" && state != "OpenConfirm", "the stranger got to {state}");
    stranger.reconfigure(&careless("ttl security on;\n  password \"th1rd\";"))?;
    stranger.wait_established("third", SESSION)
}

/// The AS path of a prefix at FRR.
fn path_at_frr(frr: &Frr, prefix: &str) -> Result<String> {
    let route = frr.query_json(&format!("show bgp ipv4 unicast {prefix} json"))?;
    let path = route["paths"][0]["aspath"]["string"].as_str();
    path.map(str::to_owned).ok_or_else(|| anyhow!("no route for {prefix} at FRR: {route}"))
}

#[test]
fn a_neighbor_may_see_another_as_and_our_name() -> Result<()> {
    let programs = [&bird::PROGRAMS[..], &frr::PROGRAMS].concat();
    if !daemon::ready("transport::a_neighbor_may_see_another_as_and_our_name", &programs) {
        return Ok(());
    }
    let star = Star::build("transport-as", 3)?;
    let mut birds = Vec::new();
    for number in [1, 2] {
        let asn = 64510 + number;
        let prefix = format!("10.9{number}");
        // One more route has the router's own AS in its path, another the one that it shows.
        let config = format!(
            "router id 10.99.{number}.2;\n\
             protocol static announced {{ ipv4; route {prefix}.0.0/16 blackhole; route {prefix}.1.0/24 blackhole; \
             route {prefix}.2.0/24 blackhole; }}\n\
             filter announcing {{\n  if source != RTS_STATIC then reject;\n  \
             if net = {prefix}.1.0/24 then bgp_path.prepend(64500);\n  \
             if net = {prefix}.2.0/24 then bgp_path.prepend(64499);\n  accept;\n}}\n\
             protocol bgp uplink {{\n  local 10.99.{number}.2 as {asn};\n  neighbor 10.99.{number}.1 as 64499;\n  \
             connect delay time 1;\n  error wait time 1, 2;\n  \
             ipv4 {{ import all; export filter announcing; next hop self; }};\n}}\n"
        );
        birds.push(Bird::start(
            &star.sandbox,
            &star.neighbors[number - 1],
            &format!("bird{number}"),
            &config,
        )?);
    }
    let frr = Frr::start(
        &star.sandbox,
        &star.neighbors[2],
        "frr",
        "hostname frr-three\nrouter bgp 64513\n bgp router-id 10.99.3.2\n no bgp ebgp-requires-policy\n \
         no bgp network import-check\n neighbor 10.99.3.1 remote-as 64500\n neighbor 10.99.3.1 timers connect 1\n \
         network 10.96.0.0/16\n",
    )?;
    let session = |number: u32, keys: &str| {
        format!(
            "\n[[neighbor]]\naddress = \"10.99.{number}.2\"\nasn = {}\nfamilies = \"ipv4-unicast\"\n\
             import = [\"all\"]\nexport = [\"all\"]\n{keys}",
            64510 + number
        )
    };
    let config = [
        "[router]\nasn = 64500\nrouter-id = \"10.99.0.1\"\nhostname = \"edge.example.net\"\n".to_owned(),
        session(1, "local-asn = 64499\n"),
        session(2, "local-asn = { asn = 64499, no-prepend = true, replace-as = true }\n"),
        session(3, "advertise-hostname = true\nadvertise-version = true\n"),
    ]
    .concat();
    let daemon = Daemon::start(&star.sandbox, &star.router, &config)?;
    for bird in &birds {
        bird.wait_established("uplink", SESSION)?;
    }
    frr.wait_established("10.99.3.1", SESSION)?;

    for (prefix, path) in [("10.91.0.0/16", "64500 64499 64511"), ("10.92.0.0/16", "64500 64512")] {
        wait_until("FRR has the path", ROUTES, || {
            let seen = path_at_frr(&frr, prefix)?;
            ensure!(seen == path, "{prefix}: {seen}, expected {path}");
            Ok(())
        })?;
    }
    for (bird, path) in birds.iter().zip(["64499 64500 64513", "64499 64513"]) {
        wait_until("BIRD has the path", ROUTES, || {
            let seen = bird.routes("10.96.0.0/16")?;
            ensure!(seen.contains(&format!("BGP.as_path: {path}\n")), "{seen}; expected {path}");
            Ok(())
        })?;
    }
    for number in [1, 2] {
        daemon.wait_count(&format!("10.99.{number}.2"), "ipv4-unicast", "received", 3, ROUTES)?;
        daemon.wait_count(&format!("10.99.{number}.2"), "ipv4-unicast", "accepted", 1, ROUTES)?;
        for third in [1, 2] {
            let paths = daemon.paths(&format!("10.9{number}.{third}.0/24"))?;
            ensure!(paths[0]["usable"] == false, "a loop is used: {paths:?}");
        }
    }

    let theirs = daemon.show_json(&["neighbors", "10.99.3.2"])?[0]["capabilities"].to_string();
    ensure!(theirs.contains("fqdn frr-three"), "FRR offers {theirs}");
    let ours = frr.query_json("show bgp neighbors 10.99.3.1 json")?;
    let name = &ours["10.99.3.1"]["neighborCapabilities"]["hostName"]["rcvHostName"];
    ensure!(name == "edge", "FRR has seen the name {name}");
    Ok(())
}

#[test]
fn ipv4_packets_follow_ipv6_next_hops() -> Result<()> {
    let programs = [&bird::PROGRAMS[..], &tools::PROGRAMS].concat();
    if !daemon::ready("transport::ipv4_packets_follow_ipv6_next_hops", &programs) {
        return Ok(());
    }
    let topology = Topology::build(Sandbox::new("transport-8950")?)?;
    for (namespace, address) in [(&topology.router, "10.99.1.1/24"), (&topology.bird, "10.99.1.2/24")] {
        namespace.ip_output(&["address", "del", address, "dev", "wan"])?;
    }
    let bird = Bird::start(
        &topology.sandbox,
        &topology.bird,
        "bird",
        "router id 10.99.1.2;\n\
         protocol kernel { ipv4 { import none; export where source = RTS_BGP; }; }\n\
         protocol static announce { ipv4; route 10.99.20.0/24 via \"lan\"; }\n\
         protocol bgp uplink {\n  local fd99:1::2 as 64501;\n  neighbor fd99:1::1 as 64500;\n  connect delay time 1;\n  \
         ipv4 { extended next hop; import all; export where source = RTS_STATIC; next hop self; };\n}\n",
    )?;
    let daemon = Daemon::start(
        &topology.sandbox,
        &topology.router,
        "[router]\nasn = 64500\nrouter-id = \"10.99.0.1\"\n[fib]\ninterfaces = [\"lan\", \"wan\"]\n\
         [[network]]\nprefix = \"10.99.10.0/24\"\n\
         [[neighbor]]\naddress = \"fd99:1::2\"\nasn = 64501\nimport = [\"all\"]\nexport = [\"all\"]\n\
         extended-next-hop = true\n",
    )?;
    bird.wait_established("uplink", SESSION)?;
    daemon.wait_installed("10.99.20.0/24", true, ROUTES)?;
    let next_hop = daemon.paths("10.99.20.0/24")?[0]["next_hop"].clone();
    ensure!(next_hop == "fd99:1::2", "the next hop is {next_hop}");
    wait_until("BIRD has our route", ROUTES, || {
        let seen = bird.routes("10.99.10.0/24")?;
        ensure!(seen.contains("via fd99:1::1 on wan"), "{seen}");
        Ok(())
    })?;
    wait_until("host B answers", ROUTES, || tools::ping_all(&topology.host_a, None, "10.99.20.2", 5))?;
    Ok(())
}

#[test]
fn a_neighbor_that_stops_reading_is_let_go_and_the_operator_sees_why() -> Result<()> {
    if !daemon::ready("transport::a_neighbor_that_stops_reading_is_let_go_and_the_operator_sees_why", &[]) {
        return Ok(());
    }
    let star = Star::build("transport-deaf", 3)?;
    // The kernel takes little of what a neighbor does not read.
    star.router.run(&["sysctl", "-qw", "net.ipv4.tcp_wmem=4096 16384 131072"])?;
    let neighbor = |number: u8| {
        format!(
            "[[neighbor]]\naddress = \"10.99.{number}.2\"\nasn = 6450{number}\npassive = true\nimport = [\"all\"]\n\
             export = [\"all\"]\nfamilies = [\"ipv4-unicast\"]\nhold-time = 6\nsend-hold-time = 8\n"
        )
    };
    let config =
        ["[router]\nasn = 64500\nrouter-id = \"10.99.0.1\"\n", &neighbor(1), &neighbor(2), &neighbor(3)];
    let daemon = Daemon::start(&star.sandbox, &star.router, &config.concat())?;
    let session = |number: u8| FeederConfig {
        local: [10, 99, number, 2].into(),
        remote: ([10, 99, number, 1], 179).into(),
        asn: 64_500 + u32::from(number),
        router_id: [10, 99, number, 2].into(),
        hold_time: 6,
    };
    let connect = |number: u8| {
        star.neighbors[usize::from(number) - 1].enter(|| Feeder::connect(&session(number), SESSION))
    };
    let (feeder, receiver) = (connect(1)?, connect(2)?);
    let deaf = star.neighbors[2].enter(|| handshake(&session(3), SESSION))?;
    daemon.wait_established("10.99.3.2", SESSION)?;

    let announcer = Announcer {
        asn: 64_501,
        next_hop_v4: [10, 99, 1, 2].into(),
        next_hop_v6: [0xfd99, 1, 0, 0, 0, 0, 0, 2].into(),
        seed: 1,
    };
    let table = Table::generate(60_000, 0, 1);
    feeder.send(&table.encode(&announcer).messages)?;
    // It says all the time that it is there.
    let mut talking = deaf.stream.try_clone()?;
    let talker = std::thread::spawn(move || {
        while talking.write_all(&speaker::keepalive()).is_ok() {
            std::thread::sleep(Duration::from_secs(1));
        }
    });
    wait_until("the one who reads has it all", SESSION, || {
        let heard = receiver.inbox().routes.len();
        ensure!(heard == table.routes.len(), "{heard} routes");
        Ok(())
    })?;
    let state = &daemon.neighbor("10.99.3.2")?["state"];
    ensure!(state == "Established", "the one who does not read is {state} before its time");
    let shown = daemon.show(&["neighbors", "10.99.3.2"])?;
    ensure!(shown.contains("send hold 8s ("), "{shown}");
    daemon.wait_down("10.99.3.2", SESSION)?;
    talker.join().map_err(|_| anyhow!("the talker panicked"))?;

    let last = daemon.show_json(&["neighbors", "10.99.3.2"])?[0]["last_notification_sent"].clone();
    ensure!(last["code"] == 8 && last["detail"] == "the peer took nothing for 8 s", "{last}");
    let history = daemon.show(&["history", "10.99.3.2"])?;
    ensure!(history.contains("Send Hold Timer Expired: the peer took nothing for 8 s"), "{history}");
    for (number, other) in [(1, &feeder), (2, &receiver)] {
        ensure!(other.closed().is_none(), "neighbor {number}: {:?}", other.closed());
    }
    Ok(())
}
