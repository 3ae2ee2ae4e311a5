//! The `peregrine` daemon as a library: everything around the pure rooms that touches the world.
//!
//! ```text
//! session/    one tokio task per neighbour: sockets, the session state machine's clock
//! bfd/        the BFD thread: finds out within milliseconds that a neighbour cannot be reached
//! routing/    the RIB threads: routes in, best paths to the FIB, updates out
//! forwarding/ the FIB thread: best paths and neighbours to edits of the BPF maps
//! xdp/        the BPF maps and programs (the one module here with `unsafe`, but for one call in `session/syn`)
//! netlink/    links, addresses, neighbours and connected routes of the kernel
//! restart     how a run follows another one whose forwarding goes on
//! reload      another configuration while the daemon runs
//! host/       the way out for the router's own traffic
//! api/        HTTP and JSON on a Unix socket, and on TCP when configured; metrics
//! cli/        the command line: `run`, `check`, and the clients of the API
//! ```

pub mod api;
mod bfd;
pub mod cli;
pub mod forwarding;
pub mod host;
mod monitor;
pub mod netlink;
mod reload;
mod restart;
mod routing;
mod run;
mod session;
pub mod xdp;
