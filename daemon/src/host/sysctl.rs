//! Sysctls that forwarding needs, remembered so that they can be put back.
//!
//! IPv4 forwarding is switched on for the routed ports alone; other interfaces keep what the operator
//! chose. IPv6 knows only one switch for all. Turning it on makes Linux forget default routes that it
//! learned from router advertisements, unless `accept_ra` is 2: interfaces that listen to
//! advertisements get that first, for the operator's default must survive.
//!
//! What was changed is noted in a file before it is: a daemon that was killed can not put anything back, so
//! the next one does. The file is of one network namespace, by the cookie that no other one gets until the machine
//! starts anew, and a line of it counts only while the value is the one that we set.

use std::collections::BTreeSet;
use std::path::{Component, Path, PathBuf};
use std::{fmt, fs};

use tracing::{debug, warn};

use super::{HOST_END, HostError, XDP_END};
use crate::xdp::namespace_cookie;

const ROOT: &str = "/proc/sys/net";
/// Where the notes are; gone after a reboot, as is what they are about.
const NOTES: &str = "/run/peregrine";

/// What was changed, in order, with the values before.
#[derive(Debug)]
pub(super) struct Sysctls {
    changes: Vec<Change>,
    notes: Option<PathBuf>,
}

#[derive(Debug)]
struct Change {
    path: PathBuf,
    before: String,
    /// What we set.
    ours: String,
}

impl Sysctls {
    /// With what an earlier run changed and did not put back.
    pub(super) fn resume() -> Self {
        let notes = notes();
        let text = notes.as_ref().and_then(|path| fs::read_to_string(path).ok()).unwrap_or_default();
        let changes: Vec<Change> = text.lines().filter_map(Change::parse).collect();
        if !changes.is_empty() {
            debug!(count = changes.len(), "sysctls of an earlier run will be put back in the end");
        }
        Self { changes, notes }
    }

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

    /// Puts everything back, last change first; how many were.
    pub(super) fn restore(&mut self) -> usize {
        let mut restored = 0;
        for Change { path, before, .. } in self.changes.drain(..).rev() {
            // An interface that is gone took its sysctls along.
            if path.exists() {
                match fs::write(&path, &before) {
                    Ok(()) => restored += 1,
                    Err(error) => {
                        warn!(path = %path.display(), value = before, %error, "cannot put a sysctl back");
                    }
                }
            }
        }
        if let Some(path) = &self.notes {
            // Nothing was noted if nothing was changed.
            let _ = fs::remove_file(path);
        }
        restored
    }

    /// Sets one that exists, and remembers what it was.
    fn set(&mut self, name: &str, value: &str) -> Result<(), HostError> {
        let Some(before) = read(name) else { return Ok(()) };
        if before == value {
            return Ok(());
        }
        let path = Path::new(ROOT).join(name);
        // An interface that vanished and came back starts afresh: its first value is the one to keep.
        if self.changes.iter().all(|known| known.path != path) {
            self.changes.push(Change { path, before: before.clone(), ours: value.to_owned() });
            self.note();
        }
        write(name, value)?;
        debug!(name, before, value, "sysctl set");
        Ok(())
    }

    /// Writes the file anew. Without it only a killed daemon's changes are not put back.
    fn note(&self) {
        let Some(path) = &self.notes else { return };
        let text: String = self.changes.iter().map(ToString::to_string).collect();
        let fresh = path.with_extension("new");
        let written = fs::create_dir_all(NOTES)
            .and_then(|()| fs::write(&fresh, text))
            .and_then(|()| fs::rename(&fresh, path));
        if let Err(error) = written {
            debug!(path = %path.display(), %error, "cannot note which sysctls are changed");
        }
    }
}

impl Change {
    /// A line of the file, if it is still true: namespaces may reuse each other's numbers.
    fn parse(line: &str) -> Option<Self> {
        let mut fields = line.split('\t').map(str::to_owned);
        let (name, before, ours) = (fields.next()?, fields.next()?, fields.next()?);
        let path = Path::new(&name);
        // Nothing but sysctls is written, whatever the file says.
        let below = path.strip_prefix(ROOT).ok()?;
        if !below.components().all(|part| matches!(part, Component::Normal(_))) {
            return None;
        }
        (read(below.to_str()?)? == ours).then(|| Self { path: path.to_owned(), before, ours })
    }
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}\t{}\t{}", self.path.display(), self.before, self.ours)
    }
}

/// The file of the network namespace that this thread is in.
fn notes() -> Option<PathBuf> {
    let namespace = namespace_cookie().ok()?;
    Some(Path::new(NOTES).join(format!("sysctls-{namespace}")))
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
