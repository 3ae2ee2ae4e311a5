//! Sysctls that forwarding needs, remembered so that they can be put back.
//!
//! IPv4 forwarding is switched on for the routed ports alone; other interfaces keep what the operator
//! chose. IPv6 knows only one switch for all. Turning it on makes Linux forget default routes that it
//! learned from router advertisements, unless `accept_ra` is 2: interfaces that listen to
//! advertisements get that first, for the operator's default must survive.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use tracing::{debug, warn};

use super::{HOST_END, HostError, XDP_END};

const ROOT: &str = "/proc/sys/net";

/// What was changed, in order, with the values before.
#[derive(Debug, Default)]
pub(super) struct Sysctls {
    before: Vec<(PathBuf, String)>,
}

impl Sysctls {
    /// No router advertisements, duplicate address detection or reverse-path filter on the pair.
    pub(super) fn quiet_pair() -> Result<(), HostError> {
        set_if_present(&format!("ipv4/conf/{HOST_END}/rp_filter"), "0")?;
        set_if_present(&format!("ipv6/conf/{HOST_END}/disable_ipv6"), "0")?;
        set_if_present(&format!("ipv6/conf/{HOST_END}/accept_ra"), "0")?;
        set_if_present(&format!("ipv6/conf/{HOST_END}/accept_dad"), "0")?;
        set_if_present(&format!("ipv6/conf/{XDP_END}/disable_ipv6"), "1")
    }

    /// Lets the kernel forward what came in on these ports, and answer for it.
    pub(super) fn forward_on(&mut self, ports: &[&str]) -> Result<(), HostError> {
        self.set("ipv4/icmp_errors_use_inbound_ifaddr", "1")?;
        let strict_everywhere = read("ipv4/conf/all/rp_filter").as_deref() == Some("1");
        for port in ports {
            self.set(&format!("ipv4/conf/{port}/forwarding"), "1")?;
            // The kernel applies the larger one of `all` and the interface; 2 is loose.
            let filter = format!("ipv4/conf/{port}/rp_filter");
            if strict_everywhere || read(&filter).as_deref() == Some("1") {
                self.set(&filter, "2")?;
            }
        }
        if read("ipv6/conf/all/forwarding").as_deref() == Some("0") {
            for interface in interfaces() {
                let accept = format!("ipv6/conf/{interface}/accept_ra");
                if !ports.contains(&interface.as_str()) && read(&accept).as_deref() == Some("1") {
                    self.set(&accept, "2")?;
                }
            }
            self.set("ipv6/conf/all/forwarding", "1")?;
        }
        Ok(())
    }

    /// Puts everything back, last change first.
    pub(super) fn restore(&mut self) {
        for (path, value) in self.before.drain(..).rev() {
            // An interface that is gone took its sysctls along.
            if path.exists()
                && let Err(error) = fs::write(&path, &value)
            {
                warn!(path = %path.display(), value, %error, "cannot put a sysctl back");
            }
        }
    }

    /// Sets one that exists, and remembers what it was.
    fn set(&mut self, name: &str, value: &str) -> Result<(), HostError> {
        let Some(before) = read(name) else { return Ok(()) };
        if before == value {
            return Ok(());
        }
        write(name, value)?;
        debug!(name, before, value, "sysctl set");
        let path = Path::new(ROOT).join(name);
        // An interface that vanished and came back starts afresh: its first value is the one to keep.
        if self.before.iter().all(|(known, _)| *known != path) {
            self.before.push((path, before));
        }
        Ok(())
    }
}

pub(super) fn exists(name: &str) -> bool {
    Path::new(ROOT).join(name).exists()
}

pub(super) fn read(name: &str) -> Option<String> {
    fs::read_to_string(Path::new(ROOT).join(name)).ok().map(|value| value.trim().to_owned())
}

fn set_if_present(name: &str, value: &str) -> Result<(), HostError> {
    match read(name) {
        Some(before) if before != value => write(name, value),
        _ => Ok(()),
    }
}

fn write(name: &str, value: &str) -> Result<(), HostError> {
    let path = Path::new(ROOT).join(name);
    fs::write(&path, value).map_err(|source| HostError::Sysctl {
        path: path.display().to_string(),
        value: value.to_owned(),
        source,
    })
}

/// Interfaces with IPv6 settings, `all` and `default` left out.
fn interfaces() -> BTreeSet<String> {
    let Ok(entries) = fs::read_dir(Path::new(ROOT).join("ipv6/conf")) else { return BTreeSet::new() };
    let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    names.filter(|name| name != "all" && name != "default").collect()
}
