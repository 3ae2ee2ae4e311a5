//! The BGP speaker as pure logic: no sockets, no clocks, no threads.
//!
//! - [`wire`]: bytes to messages and back (RFC 4271 section 4 and the RFCs that extend it), with the
//!   error handling of RFC 7606.
//! - [`session`]: the state machine of one neighbour (RFC 4271 section 8); time is an argument.
//! - [`policy`]: named policies over prefixes and attributes.
//! - [`role`]: what neighbours are to each other (RFC 9234).
//! - [`bfd`]: whether a neighbour can be reached, found out within milliseconds (RFC 5880).
//! - [`link`]: link-local addresses that say on which link they are.
//! - [`rib`]: attribute interning, Adj-RIB-In, best path (RFC 4271 section 9), Adj-RIB-Out.
//!
//! Everything here is driven from outside and answers with data, so that each part can be tested,
//! recorded and replayed without a network.

pub mod bfd;
pub mod link;
pub mod policy;
pub mod rib;
pub mod role;
pub mod session;
pub mod types;
pub mod wire;
