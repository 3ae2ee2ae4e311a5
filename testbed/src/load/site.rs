//! The place of a run: the router's namespace, everybody else's, and the link between them.

use std::time::{Duration, Instant};

use anyhow::Result;
use ipnet::IpNet;

use crate::feeder::{Established, handshake};
use crate::load::neighbors::Neighbor;
use crate::load::subject::DEVICE;
use crate::netns::{Namespace, Sandbox};

/// How long a session may take to come up.
pub const SESSION: Duration = Duration::from_mins(1);

/// Namespaces with addresses, and nothing that runs in them yet.
#[derive(Debug)]
pub struct Site {
    /// Owns the namespaces.
    pub sandbox: Sandbox,
    /// The router's.
    pub router: Namespace,
    /// The neighbours'.
    pub outside: Namespace,
}

impl Site {
    /// A sandbox of this name with the router and all its neighbours on one link.
    pub fn new(name: &str, router: &Neighbor, neighbors: &[&Neighbor]) -> Result<Self> {
        let sandbox = Sandbox::new(name)?;
        let inside = sandbox.namespace("router")?;
        let outside = sandbox.namespace("feeders")?;
        sandbox.link((&inside, DEVICE), (&outside, DEVICE))?;
        inside.addresses(DEVICE, &router.addresses()?)?;
        let addresses: Vec<[IpNet; 2]> =
            neighbors.iter().map(|neighbor| neighbor.addresses()).collect::<Result<_>>()?;
        outside.addresses(DEVICE, addresses.as_flattened())?;
        outside.offloads_for_xdp(DEVICE)?;
        Ok(Self { sandbox, router: inside, outside })
    }
}

/// A neighbour's session with the router; tried again until the timeout.
pub fn connect(
    outside: &Namespace,
    router: &Neighbor,
    neighbor: &Neighbor,
    timeout: Duration,
) -> Result<Established> {
    let deadline = Instant::now() + timeout;
    outside.enter(|| {
        loop {
            match handshake(&neighbor.session(router), timeout) {
                Ok(established) => return Ok(established),
                Err(error) if Instant::now() > deadline => {
                    return Err(error.context(format!("no session from {}", neighbor.v4)));
                }
                Err(_) => std::thread::sleep(Duration::from_millis(20)),
            }
        }
    })
}
