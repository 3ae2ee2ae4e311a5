//! Finding the neighbour on a link that is configured by its interface alone.
//!
//! Both routers send Router Advertisements (RFC 4861 section 6.2) and learn each other's link-local address from where
//! they come: as FRR does on unnumbered interfaces, at the interval of its own. Ours have a router lifetime of 0, so that
//! no host takes us for its default router. Solicitations are answered, and sent at the start, when there is no need to
//! wait for the interval.
//!
//! A link has two ends. Of several routers the one that was heard first is the neighbour until nothing has been heard of
//! it for [`SILENCE`], which is three intervals: then who is heard is, such as the neighbour under another address.

mod packet;
mod socket;

use std::convert::Infallible;
use std::io;
use std::net::{IpAddr, Ipv6Addr};
use std::time::{Duration, Instant};

use bgp::link::LinkTag;
use nix::net::if_::if_nametoindex;
use thiserror::Error;
use tokio::sync::watch;

use super::local;
use packet::Message;
use socket::{ALL_NODES, ALL_ROUTERS, LinkSocket};

/// Pause between looks at whether the interface is there, as it was.
const LOOK: Duration = Duration::from_secs(1);
/// Between the first advertisements.
const FIRST_INTERVAL: Duration = Duration::from_secs(1);
/// How many they are (`MAX_INITIAL_RTR_ADVERTISEMENTS` of RFC 4861 section 10).
const FIRST: u32 = 3;
/// `MinRtrAdvInterval` and `MaxRtrAdvInterval` of RFC 4861 section 6.2.1, in milliseconds.
const INTERVAL: [u64; 2] = [7_500, 10_000];
/// `MIN_DELAY_BETWEEN_RAS` of RFC 4861 section 10, between answers to solicitations.
const BETWEEN_ANSWERS: Duration = Duration::from_secs(3);
/// How long a neighbour may not be heard before another one may be.
const SILENCE: Duration = Duration::from_secs(30);

/// What is known of the neighbour on a link.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// It has this address, with its link.
    At(Ipv6Addr),
    /// Nothing, for this reason.
    Nobody(String),
}

impl Found {
    /// The neighbour's address.
    pub(super) fn address(&self) -> Option<IpAddr> {
        match self {
            Self::At(address) => Some((*address).into()),
            Self::Nobody(_) => None,
        }
    }
}

/// Why nobody can be found on an interface.
#[derive(Debug, Error)]
enum LinkError {
    #[error("there is no interface {0}")]
    Missing(String),
    #[error("{0} has no link-local address")]
    NoAddress(String),
    #[error("cannot look for routers on {interface}: {source}")]
    Io { interface: String, source: io::Error },
}

/// Looks for the neighbour on a link, and lets it find us, until nobody wants to know any more.
pub(super) fn start(link: LinkTag) -> watch::Receiver<Found> {
    let interface = link.name().unwrap_or_default();
    let (found, receiver) = watch::channel(Found::Nobody(format!("nothing is known of {interface} yet")));
    tokio::spawn(async move {
        loop {
            let error = tokio::select! {
                () = found.closed() => return,
                error = look(link, &interface, &found) => match error {
                    Ok(never) => match never {},
                    Err(error) => error,
                },
            };
            say(&interface, &found, Found::Nobody(error.to_string()));
            tokio::select! {
                () = found.closed() => return,
                () = tokio::time::sleep(LOOK) => {}
            }
        }
    });
    receiver
}

/// Tells what has changed, if it has.
fn say(interface: &str, found: &watch::Sender<Found>, now: Found) {
    found.send_if_modified(|known| {
        let changed = *known != now;
        if changed {
            match &now {
                Found::At(address) => {
                    tracing::info!(interface, address = %bgp::link::bare((*address).into()), "neighbor heard");
                }
                Found::Nobody(why) => tracing::info!(interface, %why, "no neighbor"),
            }
            *known = now;
        }
        changed
    });
}

/// Advertises and listens on an interface as long as it is there.
async fn look(link: LinkTag, interface: &str, found: &watch::Sender<Found>) -> Result<Infallible, LinkError> {
    let failed = |source| LinkError::Io { interface: interface.to_owned(), source };
    let ifindex = usable(link, interface)?;
    let socket = LinkSocket::open(interface, ifindex).map_err(failed)?;
    say(interface, found, Found::Nobody(format!("no router advertisement on {interface} so far")));
    let mut heard = Heard::default();
    let mut sent = 0;
    let mut next = Instant::now();
    let mut answered: Option<Instant> = None;
    let mut looks = tokio::time::interval(LOOK);
    loop {
        tokio::select! {
            received = socket.receive() => match received.map_err(failed)? {
                (Message::Advertisement, from) if !local::has(link, from) => {
                    if heard.advertisement(from, Instant::now()) {
                        say(interface, found, Found::At(link.mark(from)));
                    }
                }
                (Message::Advertisement, _) => {}
                (Message::Solicitation, _) => {
                    let soonest = answered.map_or_else(Instant::now, |at| at + BETWEEN_ANSWERS);
                    next = next.min(soonest.max(Instant::now()));
                    answered = Some(next);
                }
            },
            () = tokio::time::sleep_until(next.into()) => {
                socket.send(&packet::ADVERTISE, ALL_NODES).await.map_err(failed)?;
                if sent < FIRST && heard.neighbor.is_none() {
                    socket.send(&packet::SOLICIT, ALL_ROUTERS).await.map_err(failed)?;
                }
                sent = FIRST.min(sent + 1);
                next = Instant::now() + if sent < FIRST { FIRST_INTERVAL } else { interval() };
            }
            _ = looks.tick() => {
                // An interface that went and came back under its name is another one.
                if usable(link, interface)? != ifindex {
                    return Err(LinkError::Missing(interface.to_owned()));
                }
            }
        }
    }
}

/// The index of the interface, if it has a link-local address.
fn usable(link: LinkTag, interface: &str) -> Result<u32, LinkError> {
    let ifindex = if_nametoindex(interface).map_err(|_| LinkError::Missing(interface.to_owned()))?;
    if local::link_locals(link).is_empty() {
        return Err(LinkError::NoAddress(interface.to_owned()));
    }
    Ok(ifindex)
}

/// Between the bounds, so that two routers that started together do not speak at once for ever.
fn interval() -> Duration {
    let [least, most] = INTERVAL;
    let now = crate::monitor::unix_time().to_bits().wrapping_mul(0x9e37_79b9_7f4a_7c15);
    Duration::from_millis(least + (now >> 32) % (most - least + 1))
}

/// Who was heard on a link.
#[derive(Debug, Default)]
struct Heard {
    neighbor: Option<(Ipv6Addr, Instant)>,
}

impl Heard {
    /// A router was heard. Whether it is the neighbour from now on, and was not before.
    fn advertisement(&mut self, from: Ipv6Addr, now: Instant) -> bool {
        match &mut self.neighbor {
            Some((known, at)) if *known == from => {
                *at = now;
                false
            }
            Some((_, at)) if now.saturating_duration_since(*at) < SILENCE => false,
            _ => {
                self.neighbor = Some((from, now));
                true
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_neighbor_is_who_was_heard_first_until_it_falls_silent() {
        let [a, b] = ["fe80::a", "fe80::b"].map(|text| text.parse::<Ipv6Addr>().unwrap());
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut heard = Heard::default();
        assert!(heard.advertisement(a, at(0)));
        assert!(!heard.advertisement(a, at(10)));
        assert!(!heard.advertisement(b, at(39)), "another one beside it");
        assert!(heard.advertisement(b, at(40)), "instead of it");
        assert!(!heard.advertisement(a, at(41)));
        assert!(!heard.advertisement(b, at(60)));
        assert!(!heard.advertisement(a, at(89)));
    }

    #[test]
    fn advertisements_come_within_the_interval() {
        let [least, most] = INTERVAL.map(Duration::from_millis);
        let intervals: Vec<_> = (0..100).map(|_| interval()).collect();
        assert!(intervals.iter().all(|interval| (least..=most).contains(interval)));
        assert!(intervals.iter().any(|interval| *interval != intervals[0]), "not always the same");
    }
}
