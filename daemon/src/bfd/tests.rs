//! Two sessions of one thread that speak with each other, in a network namespace of their own.

use std::net::Ipv4Addr;
use std::process::Command;
use std::time::{Duration, Instant};

use bgp::bfd::Diagnostic;
use nix::sched::{CloneFlags, unshare};

use super::*;

const PATIENCE: Duration = Duration::from_secs(10);

/// Runs in a namespace where loopback is up; not at all where that takes more than we may.
fn alone(test: impl AsyncFnOnce(Bfd) + Send) {
    std::thread::scope(|scope| {
        let work = || {
            if unshare(CloneFlags::CLONE_NEWNET).is_err() {
                eprintln!("skipped: no network namespace without root");
                return;
            }
            assert!(Command::new("ip").args(["link", "set", "lo", "up"]).status().unwrap().success());
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let bfd = Bfd::start().unwrap();
                tokio::time::timeout(PATIENCE, test(bfd)).await.unwrap();
            });
        };
        scope.spawn(work).join().unwrap();
    });
}

fn spec(neighbor: u8, local: u8, multihop: bool, interval: u64) -> Spec {
    let address = |host| IpAddr::from(Ipv4Addr::new(127, 0, 0, host));
    let interval = Duration::from_millis(interval);
    Spec {
        neighbor: address(neighbor),
        local: Some(address(local)),
        multihop,
        minimum_ttl: None,
        parameters: Parameters { min_tx: interval, min_rx: interval, detect_mult: 3 },
    }
}

async fn wait(watch: &mut Watch, state: State) -> Status {
    let mut status = watch.status();
    while status.state != state {
        status = watch.changed().await;
    }
    status
}

async fn shown(bfd: &Bfd, neighbor: &str) -> crate::api::bfd::BfdSession {
    let report = bfd.report().await.unwrap();
    report.sessions.into_iter().find(|session| session.neighbor.to_string() == neighbor).unwrap()
}

#[test]
fn a_session_goes_through_its_life() {
    alone(async |bfd| {
        let mut left = bfd.watch(spec(2, 1, false, 50));
        let mut right = bfd.watch(spec(1, 2, false, 50));
        wait(&mut left, State::Up).await;
        wait(&mut right, State::Up).await;
        while shown(&bfd, "127.0.0.2").await.detection_seconds != Some(0.15) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        // Other intervals: without a loss.
        left.update(spec(2, 1, false, 200));
        while shown(&bfd, "127.0.0.1").await.detection_seconds != Some(0.6) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let (one, other) = (shown(&bfd, "127.0.0.1").await, shown(&bfd, "127.0.0.2").await);
        assert_ne!(one.source_port, other.source_port);
        assert_eq!(one.interface.as_deref(), Some("lo"));
        assert_eq!((one.downs, other.downs), (0, 0));
        // The end of one is no failure of the other, and goes on for a while.
        drop(right);
        let status = wait(&mut left, State::Down).await;
        assert_eq!(status.failures, 0);
        assert!(status.last.unwrap().by_operator_there());
        assert!(shown(&bfd, "127.0.0.1").await.ending);
        // It may begin again before that is over.
        let mut right = bfd.watch(spec(1, 2, false, 50));
        wait(&mut right, State::Up).await;
        wait(&mut left, State::Up).await;
        assert_eq!(bfd.report().await.unwrap().sessions.len(), 2);
        // When the daemon stops, all are told.
        bfd.stop().await;
        assert!(bfd.report().await.is_none());
    });
}

#[test]
fn a_session_over_several_hops_is_another_one() {
    alone(async |bfd| {
        let mut left = bfd.watch(spec(2, 1, true, 50));
        let mut right = bfd.watch(spec(1, 2, true, 50));
        wait(&mut left, State::Up).await;
        wait(&mut right, State::Up).await;
        assert!(shown(&bfd, "127.0.0.2").await.multihop);
        left.update(spec(2, 1, false, 50));
        let status = wait(&mut right, State::Down).await;
        assert_eq!((status.failures, status.last.unwrap().remote), (0, State::AdminDown));
        right.update(spec(1, 2, false, 50));
        wait(&mut right, State::Up).await;
        wait(&mut left, State::Up).await;
    });
}

#[test]
fn silence_is_told_once_and_counted() {
    alone(async |bfd| {
        let (doubt, doubts) = std::sync::mpsc::channel();
        bfd.tell_forwarding(move |news| doubt.send(news).unwrap());
        let mut left = bfd.watch(spec(2, 1, false, 50));
        let right = bfd.watch(spec(1, 2, false, 50));
        wait(&mut left, State::Up).await;
        tokio::time::sleep(Duration::from_millis(500)).await;
        let began = Instant::now();
        assert!(
            Command::new("ip")
                .args(["address", "del", "127.0.0.1/8", "dev", "lo"])
                .status()
                .unwrap()
                .success()
        );
        let status = wait(&mut left, State::Down).await;
        assert_eq!(status.last_failure.unwrap().diagnostic, Diagnostic::DETECTION_TIME_EXPIRED);
        assert_eq!(status.failures, 1);
        // Forwarding was told before, of both ends here; and that the session is there again, or does not care.
        let of_left = |doubt: &Doubt| doubt.addr.to_string() == "127.0.0.2";
        let told = |raised| Doubt { addr: "127.0.0.2".parse().unwrap(), raised };
        assert_eq!(doubts.try_iter().filter(of_left).collect::<Vec<_>>(), [told(true)]);
        left.trust();
        left.trust();
        bfd.report().await.unwrap();
        assert_eq!(doubts.try_iter().filter(of_left).collect::<Vec<_>>(), [told(false)]);
        assert!(began.elapsed() < Duration::from_secs(1), "{:?}", began.elapsed());
        assert!(shown(&bfd, "127.0.0.2").await.error.is_some(), "there is no way to the neighbor");
        drop(right);
    });
}

#[test]
fn a_port_that_another_program_has_is_named() {
    alone(async |bfd| {
        let taken = std::net::UdpSocket::bind("0.0.0.0:3784").unwrap();
        let text = "[router]\nasn = 1\nrouter-id = \"10.0.0.1\"\n[[neighbor]]\naddress = \"10.0.0.2\"\nasn = 2\n\
                    import = [\"all\"]\nexport = [\"all\"]\nbfd = true\n";
        let config = conf::parse("p.toml", text, []).unwrap();
        let error = bfd.open(&config).await.unwrap_err().to_string();
        assert!(
            error.starts_with("cannot listen on UDP port 3784 (IPv4) for BFD: Address already in use"),
            "{error}"
        );
        drop(taken);
        bfd.open(&config).await.unwrap();
    });
}
