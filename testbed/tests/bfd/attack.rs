//! Packets that are not the neighbour's: counted, and without effect.

use std::net::UdpSocket;

use anyhow::{Context as _, Result, ensure};
use bgp::bfd::{Diagnostic, Packet, State};
use std::time::Duration;
use testbed::daemon::{self, Daemon};
use testbed::netns::Namespace;
use testbed::peers::bird::{self, Bird};

use crate::scene::{
    FAST, NEIGHBORS, OURS, SESSION, SOON, Scene, config, detail, never_lost, session, wait_for,
};
use testbed::process::wait_until;

const BIRD: &str = "router id 10.99.1.2;\n\
    protocol bfd { interface \"*\" { min rx interval 50 ms; min tx interval 50 ms; multiplier 3; }; }\n\
    protocol bgp r4 { local 10.99.1.2 as 64501; neighbor 10.99.1.1 as 64500; bfd on; ipv4 { import all; export all; }; }\n\
    protocol bgp r6 { local fd99:1::2 as 64501; neighbor fd99:1::1 as 64500; bfd on; ipv6 { import all; export all; }; }\n";

/// Sends octets from an address in a namespace.
fn send(by: &Namespace, from: &str, to: &str, ttl: u32, port: u16, octets: &[u8]) -> Result<()> {
    let at = |address: &str, port: u16| {
        if address.contains(':') { format!("[{address}]:{port}") } else { format!("{address}:{port}") }
    };
    by.enter(|| {
        let socket = UdpSocket::bind(at(from, 0)).with_context(|| format!("bind to {from}"))?;
        if from.contains(':') {
            nix::sys::socket::setsockopt(&socket, nix::sys::socket::sockopt::Ipv6Ttl, &ttl.cast_signed())?;
        } else {
            socket.set_ttl(ttl)?;
        }
        socket.send_to(octets, at(to, port)).context("send")?;
        Ok(())
    })
}

#[test]
fn packets_that_are_not_the_neighbors_are_counted_and_change_nothing() -> Result<()> {
    let name = "bfd::packets_that_are_not_the_neighbors_are_counted_and_change_nothing";
    if !daemon::ready(name, &bird::PROGRAMS) {
        return Ok(());
    }
    let scene = Scene::build("bfd-attack")?;
    scene.neighbor.address("wan", "10.99.1.66/24")?;
    scene.neighbor.address("wan", "fd99:1::66/64")?;
    // One on another link, who has the neighbour's addresses.
    let elsewhere = scene.sandbox.namespace("x")?;
    scene.sandbox.link((&scene.router, "wan2"), (&elsewhere, "wan"))?;
    scene.router.address("wan2", "10.99.2.1/24")?;
    for net in ["10.99.1.2/24", "fd99:1::2/64"] {
        elsewhere.address("wan", net)?;
    }
    let mac = scene.router.mac("wan2")?;
    for ours in OURS {
        elsewhere.ip(&["neigh", "replace", ours, "lladdr", &mac, "dev", "wan"])?;
    }
    let _bird = Bird::start(&scene.sandbox, &scene.neighbor, "bird", BIRD)?;
    let daemon = Daemon::start(&scene.sandbox, &scene.router, &config(FAST))?;
    for neighbor in NEIGHBORS {
        daemon.wait_established(neighbor, SESSION)?;
    }
    wait_for(&daemon, "Up", Some(0.15))?;
    for (index, other) in ["10.99.1.66", "fd99:1::66"].into_iter().enumerate() {
        let (neighbor, ours) = (NEIGHBORS[index], OURS[index]);
        let number = |key: &str| -> Result<u32> {
            let value = session(&daemon, neighbor)?[key].as_u64().context("no discriminator")?;
            Ok(u32::try_from(value)?)
        };
        // It knows everything, and says that the session is down.
        let down = Packet {
            diagnostic: Diagnostic::NEIGHBOR_SIGNALED_DOWN,
            state: State::Down,
            poll: false,
            final_: false,
            control_plane_independent: false,
            demand: false,
            detect_mult: 3,
            my_discriminator: number("remote_discriminator")?,
            your_discriminator: number("discriminator")?,
            desired_min_tx: Duration::from_millis(50),
            required_min_rx: Duration::from_millis(50),
            required_min_echo_rx: Duration::ZERO,
        };
        let octets = down.encode();
        let nobodys = Packet { your_discriminator: down.your_discriminator ^ 1, ..down }.encode();
        let unaddressed = Packet { your_discriminator: 0, ..down }.encode();
        let mut authenticated = [&octets[..], &[1, 4, 1, b'x']].concat();
        (authenticated[1], authenticated[3]) = (authenticated[1] | 4, 28);
        let here = &scene.neighbor;
        let cases: [(&str, &Namespace, &str, u32, &[u8]); 9] = [
            ("ttl", here, neighbor, 254, &octets),
            ("ttl", here, neighbor, 64, &unaddressed),
            ("source", here, other, 255, &octets),
            ("interface", &elsewhere, neighbor, 255, &octets),
            ("no-session", here, other, 255, &unaddressed),
            ("no-session", here, neighbor, 255, &nobodys),
            ("authentication", here, neighbor, 255, &authenticated),
            ("too-short", here, neighbor, 255, &octets[..23]),
            ("too-short", here, neighbor, 255, b""),
        ];
        let dropped = |reason: &str| -> Result<u64> {
            daemon.show_json(&["bfd"])?["dropped"][reason].as_u64().context("no such reason")
        };
        for (reason, by, from, ttl, octets) in cases {
            let before = dropped(reason)?;
            send(by, from, ours, ttl, 3784, octets)?;
            wait_until(&format!("a packet is dropped: {reason}"), SOON, || {
                let now = dropped(reason)?;
                ensure!(now == before + 1, "{now}, before {before}");
                Ok(())
            })?;
        }
        ensure!(session(&daemon, neighbor)?["downs"] == 0);
        // The packet itself would have done it.
        if index == 1 {
            never_lost(&daemon)?;
            send(&scene.neighbor, neighbor, ours, 255, 3784, &octets)?;
            daemon.wait_down(neighbor, SOON)?;
        }
    }
    ensure!(detail(&daemon, NEIGHBORS[0])?["established_transitions"] == 1);
    let text = daemon.show(&["bfd"])?;
    ensure!(text.contains("dropped: ttl") && text.contains("2 authentication"), "{text}");
    let metrics = daemon.metrics()?;
    ensure!(metrics.sum("peregrine_bfd_dropped_packets_total", &[("reason", "ttl")])? > 3.5);
    Ok(())
}
