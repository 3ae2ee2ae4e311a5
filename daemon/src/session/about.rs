//! What we tell neighbours of ourselves, for their operators: capabilities without a meaning for the session.

use bgp::wire::{Capability, Fqdn};

/// Where the kernel has the machine's name.
const HOSTNAME: &str = "/proc/sys/kernel/hostname";
/// The software that we are.
const SOFTWARE: &str = concat!("Peregrine/", env!("CARGO_PKG_VERSION"));

/// The capabilities that a neighbour is to see.
pub(super) fn about(router: &conf::Router, neighbor: &conf::Neighbor) -> Vec<Capability> {
    let name = neighbor.advertise_hostname.then(|| router.hostname.clone().or_else(machine)).flatten();
    let version = neighbor.advertise_version.then(|| Capability::SoftwareVersion(SOFTWARE.to_owned()));
    name.map(|name| Capability::Fqdn(Fqdn::new(&name))).into_iter().chain(version).collect()
}

fn machine() -> Option<String> {
    let name = std::fs::read_to_string(HOSTNAME).ok()?;
    Some(name.trim_end().to_owned()).filter(|name| !name.is_empty())
}
