//! One forwarding plane in a network namespace: who forwards holds its lock.
//!
//! The lock is an abstract Unix socket, of which each network namespace has its own, and which the kernel
//! releases however its holder ends.

use std::io;

use nix::sys::socket::{getsockopt, sockopt};
use socket2::{Domain, SockAddr, Socket, Type};

/// The socket's name; a zero byte makes it abstract.
const NAME: &str = "\0peregrine/forwarding";

/// The right to have the forwarding plane of a network namespace.
#[derive(Debug)]
pub struct Lock {
    _socket: Socket,
}

/// Why it is not to be had.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Somebody has it.
    #[error("packets are forwarded here already, by {0}: one daemon forwards in a network namespace")]
    Taken(String),
    /// The kernel has no such socket for us.
    #[error("cannot make sure that no other daemon forwards here: {0}")]
    Socket(#[from] io::Error),
}

impl Lock {
    /// Takes the lock of the calling thread's network namespace, for as long as what is returned lives.
    pub fn take() -> Result<Self, LockError> {
        let address = SockAddr::unix(NAME)?;
        let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
        match socket.bind(&address) {
            Ok(()) => {
                // Who wants it next learns from this whom to ask.
                socket.listen(1)?;
                Ok(Self { _socket: socket })
            }
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => Err(LockError::Taken(holder(&address))),
            Err(error) => Err(error.into()),
        }
    }
}

/// Who has it, in words.
fn holder(address: &SockAddr) -> String {
    let credentials = || -> io::Result<_> {
        let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
        // Its queue may be full of those who have asked before.
        socket.set_nonblocking(true)?;
        socket.connect(address)?;
        Ok(getsockopt(&socket, sockopt::PeerCredentials)?)
    };
    match credentials() {
        Ok(credentials) => format!("process {} of user {}", credentials.pid(), credentials.uid()),
        Err(_) => "another process".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::netlink::tests::in_fresh_namespace;

    #[test]
    fn one_at_a_time_has_it_and_the_next_one_hears_who() {
        in_fresh_namespace("one_at_a_time_has_it_and_the_next_one_hears_who", || async {
            let lock = Lock::take().unwrap();
            for _ in 0..5 {
                let error = Lock::take().unwrap_err().to_string();
                let first = format!("by process {} of user 0", std::process::id());
                assert!(error.contains(&first) || error.contains("by another process"), "{error}");
            }
            drop(lock);
            drop(Lock::take().unwrap());
        });
    }
}
