//! What can go wrong with the data plane, in words that say what to do.

use std::{error::Error, fmt, io};

use nix::errno::Errno;

/// A failure of the data plane.
#[derive(Debug, thiserror::Error)]
pub enum XdpError {
    /// A system call failed.
    #[error("cannot {action} ({call}: {}){}", Described(.source), advice(.call, .source))]
    System {
        /// What was attempted, as in "attach XDP to eth0".
        action: String,
        /// The system call and its command.
        call: &'static str,
        /// Its error.
        source: io::Error,
    },
    /// The kernel's verifier refused the program.
    #[error(
        "the kernel refused the XDP program ({}); its verifier says: {log}", Described(.source)
    )]
    Refused {
        /// The error of `BPF_PROG_LOAD`.
        source: io::Error,
        /// The end of the verifier's log.
        log: String,
    },
    /// The embedded object is not what this binary was built for.
    #[error("the embedded XDP object is unusable: {0}")]
    Object(String),
    /// The same interface twice.
    #[error("XDP is already attached to {name} by this process")]
    AlreadyAttached {
        /// The interface.
        name: String,
    },
}

impl XdpError {
    pub(super) fn system(action: impl Into<String>, call: &'static str, source: io::Error) -> Self {
        Self::System { action: action.into(), call, source }
    }

    /// The error number, if a system call failed.
    pub fn errno(&self) -> Option<i32> {
        match self {
            Self::System { source, .. } | Self::Refused { source, .. } => source.raw_os_error(),
            Self::Object(_) | Self::AlreadyAttached { .. } => None,
        }
    }

    /// Whether a map had no room: retrying helps only once something was removed.
    pub fn is_full(&self) -> bool {
        matches!(self.errno(), Some(libc::E2BIG | libc::ENOSPC))
    }

    /// Whether a refusal of the native hook is the driver's, which the generic hook does not ask.
    pub fn generic_may_help(&self) -> bool {
        let Self::System { call: super::attach::CALL, source, .. } = self else { return false };
        !matches!(
            source.raw_os_error(),
            Some(libc::EPERM | libc::EACCES | libc::EBUSY | libc::EEXIST | libc::ENODEV | libc::ENOSYS)
        )
    }

    /// From aya's errors: a system call that failed keeps its name and number.
    pub(super) fn from_aya(action: &str, error: &(dyn Error + 'static)) -> Self {
        let mut cause = Some(error);
        while let Some(current) = cause {
            if let Some(aya::programs::ProgramError::LoadError { io_error, verifier_log }) =
                current.downcast_ref()
            {
                return if is_permission(io_error) {
                    Self::system(action, "BPF_PROG_LOAD", copy(io_error))
                } else {
                    Self::Refused { source: copy(io_error), log: tail(&verifier_log.to_string()) }
                };
            }
            if let Some(aya::maps::MapError::CreateError { name, io_error }) = current.downcast_ref() {
                return Self::system(
                    format!("{action}: create map {name}"),
                    "BPF_MAP_CREATE",
                    copy(io_error),
                );
            }
            if let Some(aya::sys::SyscallError { call, io_error }) = current.downcast_ref() {
                return Self::system(action, call, copy(io_error));
            }
            cause = current.source();
        }
        Self::Object(error.to_string())
    }
}

/// An error number with its symbol, as operators search for it.
struct Described<'a>(&'a io::Error);

impl fmt::Display for Described<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.raw_os_error() {
            Some(super::sys::ENOTSUPP) => f.write_str("ENOTSUPP, not supported by the kernel"),
            Some(number) => {
                let errno = Errno::from_raw(number);
                write!(f, "{errno:?}, {}", errno.desc())
            }
            None => self.0.fmt(f),
        }
    }
}

/// What an operator can do about it.
fn advice(call: &str, error: &io::Error) -> &'static str {
    let attaching = call == super::attach::CALL;
    match error.raw_os_error() {
        Some(libc::EPERM | libc::EACCES) => ": run as root, or with CAP_BPF, CAP_NET_ADMIN and CAP_PERFMON",
        Some(libc::EBUSY | libc::EEXIST) if attaching => {
            ": another XDP program is attached there; stop what attached it, or remove it with \
             `ip link set dev INTERFACE xdp off`"
        }
        Some(libc::EINVAL | libc::ERANGE | libc::EMSGSIZE) if attaching => {
            ": the driver refuses XDP with the interface's settings; a smaller MTU, fewer queues or \
             `ethtool -K INTERFACE lro off` may help"
        }
        Some(libc::EOPNOTSUPP) if attaching => {
            ": the driver has no native XDP; xdp-mode = \"generic\" or \"auto\" does without"
        }
        Some(libc::ENODEV) => ": there is no such interface",
        Some(libc::E2BIG | libc::ENOSPC) => ": the map is full; raise its capacity in the configuration",
        Some(libc::ENOMEM) => ": the kernel has no memory for it; lower the capacities in the configuration",
        Some(libc::ENOSYS) => ": the kernel has no BPF",
        _ => "",
    }
}

fn is_permission(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EPERM))
}

fn copy(error: &io::Error) -> io::Error {
    match error.raw_os_error() {
        Some(number) => io::Error::from_raw_os_error(number),
        None => io::Error::new(error.kind(), error.to_string()),
    }
}

/// The last lines of a verifier log, where the reason stands.
fn tail(log: &str) -> String {
    let lines: Vec<&str> = log.lines().filter(|line| !line.is_empty()).collect();
    lines[lines.len().saturating_sub(8)..].join(" | ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(call: &'static str, errno: i32) -> String {
        XdpError::system("attach XDP to eth0", call, io::Error::from_raw_os_error(errno)).to_string()
    }

    #[test]
    fn a_missing_permission_names_the_capabilities() {
        let text = shown("BPF_MAP_CREATE", libc::EPERM);
        assert!(text.starts_with("cannot attach XDP to eth0 (BPF_MAP_CREATE: EPERM, "), "{text}");
        assert!(text.contains("CAP_BPF, CAP_NET_ADMIN and CAP_PERFMON"), "{text}");
    }

    #[test]
    fn a_busy_interface_names_the_command_that_frees_it() {
        let text = shown(crate::xdp::attach::CALL, libc::EBUSY);
        assert!(text.contains("EBUSY") && text.contains("xdp off"), "{text}");
    }

    #[test]
    fn a_full_map_is_told_from_other_failures() {
        for (errno, full) in [(libc::ENOSPC, true), (libc::E2BIG, true), (libc::ENOMEM, false)] {
            let error = XdpError::system("write", "BPF_MAP_UPDATE_ELEM", io::Error::from_raw_os_error(errno));
            assert_eq!(error.is_full(), full, "{error}");
        }
    }
}
