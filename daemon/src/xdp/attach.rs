//! Attaching the program to interfaces.
//!
//! By BPF link only: a link lives as long as a process or a pin holds it, so that a daemon that dies
//! leaves no program behind but on purpose. (aya falls back to netlink, whose attachments stay.)

use std::{
    fmt, io,
    os::fd::{BorrowedFd, OwnedFd},
};

use super::{error::XdpError, sys};

/// The call that attaches, as errors name it.
pub(super) const CALL: &str = "BPF_LINK_CREATE";

/// `XDP_FLAGS_SKB_MODE` and `XDP_FLAGS_DRV_MODE`.
const GENERIC: u32 = 1 << 1;
const NATIVE: u32 = 1 << 2;

/// How the operator wants the program attached.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum XdpMode {
    /// In the driver where it can, else in the kernel's generic hook. A native program can not redirect to
    /// an interface in the other mode: what has several interfaces chooses one mode for all.
    #[default]
    Auto,
    /// In the driver, or not at all.
    Native,
    /// In the kernel's generic hook, which any interface has and which is slower.
    Generic,
}

/// Where the program runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum AttachedMode {
    /// In the driver.
    Native,
    /// In the kernel's generic hook.
    Generic,
}

impl fmt::Display for AttachedMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Native => "native",
            Self::Generic => "generic",
        })
    }
}

/// One attachment; dropping it detaches, unless it is pinned.
#[derive(Debug)]
pub(super) struct Attachment {
    pub(super) name: String,
    pub(super) mode: AttachedMode,
    pub(super) link: OwnedFd,
    /// Whether [`super::Pins`] has a name for it.
    pub(super) pinned: bool,
}

impl Attachment {
    pub(super) fn new(
        program: BorrowedFd<'_>,
        ifindex: u32,
        name: &str,
        mode: XdpMode,
    ) -> Result<Self, XdpError> {
        let attached = |link, mode| Self { name: name.to_owned(), mode, link, pinned: false };
        let failed = |how: &str, error| XdpError::system(format!("attach {how}XDP to {name}"), CALL, error);
        // The kernel says EINVAL to an index that it does not know, as to much else.
        if !sys::interface_exists(ifindex) {
            return Err(failed("", io::Error::from_raw_os_error(libc::ENODEV)));
        }
        if mode != XdpMode::Generic {
            match sys::link_xdp(program, ifindex, NATIVE) {
                Ok(link) => return Ok(attached(link, AttachedMode::Native)),
                Err(error) => {
                    let error = failed("native ", error);
                    if mode == XdpMode::Native || !error.generic_may_help() {
                        return Err(error);
                    }
                    tracing::warn!(interface = name, %error, "falling back to generic XDP, which is slower");
                }
            }
        }
        match sys::link_xdp(program, ifindex, GENERIC) {
            Ok(link) => Ok(attached(link, AttachedMode::Generic)),
            Err(error) => Err(failed("generic ", error)),
        }
    }
}
