//! `peregrine detach`: takes back what a daemon has left that was stopped or killed.
//!
//! That are its XDP programs, which go on forwarding; the veth pair, the rules that lead into it (its routes go with the
//! pair), sysctls, as far as they were noted, and the socket. None of that is touched while a daemon runs, which shows
//! by its socket, by the lock of forwarding, or by a program on its end of the pair that no pin has put there.

use std::fmt;
use std::io;
use std::os::unix::fs::FileTypeExt as _;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use super::{HostError, Lock, XDP_END, pair, rules, sysctl::Sysctls};
use crate::xdp::{Pins, XdpError};

/// Why nothing, or not everything, was taken back.
#[derive(Debug, thiserror::Error)]
pub enum DetachError {
    /// It is all in use.
    #[error("a daemon is running ({0}): stop it, which takes back what it has changed")]
    Running(String),
    /// What is pinned cannot be found.
    #[error(transparent)]
    Pins(#[from] XdpError),
    /// Netlink is not to be had.
    #[error("cannot open a netlink socket: {0}")]
    Netlink(#[source] io::Error),
    /// The kernel refused.
    #[error(transparent)]
    Host(#[from] HostError),
    /// The socket's file stays.
    #[error("cannot remove {}: {source}", path.display())]
    Socket {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
}

/// What was taken back.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Removed {
    /// XDP programs taken off interfaces.
    pub programs: usize,
    /// Whether the veth pair was there.
    pub pair: bool,
    /// Routing rules.
    pub rules: usize,
    /// Sysctls put back.
    pub sysctls: usize,
    /// Whether the socket's file was there.
    pub socket: bool,
}

impl fmt::Display for Removed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if *self == Self::default() {
            return f.write_str("nothing was left behind");
        }
        let mut parts = Vec::new();
        if self.programs > 0 {
            parts.push(format!("{} XDP programs", self.programs));
        }
        if self.pair {
            parts.push("the veth pair".to_owned());
        }
        if self.rules > 0 {
            parts.push(format!("{} routing rules", self.rules));
        }
        if self.socket {
            parts.push("the socket".to_owned());
        }
        if !parts.is_empty() {
            write!(f, "removed {}", parts.join(", "))?;
        }
        if self.sysctls > 0 {
            write!(f, "{}{} sysctls put back", if parts.is_empty() { "" } else { "; " }, self.sysctls)?;
        }
        Ok(())
    }
}

/// Takes back what is left, in the network namespace of the caller. Doing it again finds nothing.
pub async fn detach(socket: &Path) -> Result<Removed, DetachError> {
    if UnixStream::connect(socket).is_ok() {
        return Err(DetachError::Running(format!("it answers on {}", socket.display())));
    }
    let lock = Lock::take().map_err(|error| DetachError::Running(error.to_string()))?;
    let removed = take_back(&lock).await?;
    let is_socket = std::fs::symlink_metadata(socket).is_ok_and(|there| there.file_type().is_socket());
    if is_socket {
        std::fs::remove_file(socket)
            .map_err(|source| DetachError::Socket { path: socket.to_path_buf(), source })?;
    }
    Ok(Removed { socket: is_socket, ..removed })
}

/// Takes back all but the socket's file. The lock says that nobody is using it.
pub async fn take_back(_: &Lock) -> Result<Removed, DetachError> {
    let mut programs = 0;
    if let Some(pins) = Pins::find()? {
        pins.sweep();
        programs = pins.detach_all();
    }
    let (connection, handle, _) = rtnetlink::new_connection().map_err(DetachError::Netlink)?;
    tokio::spawn(connection);
    if pair::has_program(&handle).await? {
        return Err(DetachError::Running(format!("its program is on {XDP_END}")));
    }
    let rules = rules::remove_all(&handle).await?;
    let pair = pair::remove(&handle).await?;
    let sysctls = Sysctls::resume().restore();
    Ok(Removed { programs, pair, rules, sysctls, socket: false })
}
