//! Bidirectional forwarding detection (RFC 5880): whether a neighbour can be reached, found out within
//! milliseconds. Without sockets or clocks.
//!
//! - [`wire`]: the control packet and what makes one unusable.
//! - [`Session`]: the state machine of one session in asynchronous mode. It is told what arrived and when, and
//!   says what is to be sent and when it wants to be called again.
//!
//! What it does not have, it does not offer: no echo (our `Required Min Echo RX Interval` is 0), no demand mode of
//! ours (the neighbour's is honoured), no authentication (packets with it are dropped).
//!
//! # The driver's loop
//!
//! ```text
//! loop {
//!     read all that has arrived: decode, find the session by `Your Discriminator`, or by the neighbour's address
//!         while that is 0, check where the packet came from, then session.handle_packet(now, &packet)
//!     session.handle_timeout(now) where poll_timeout() has passed
//!     while let Some(packet) = session.poll_transmit() { send it at once }
//!     while let Some(change) = session.poll_change() { tell whom it concerns }
//!     sleep until poll_timeout()
//! }
//! ```
//!
//! What has arrived is read *before* a timeout is served: a driver that is late must not take its own delay for the
//! neighbour's silence.

mod session;
pub mod wire;

pub use session::{Change, Parameters, Session, Snapshot};
pub use wire::{Diagnostic, Packet, State, Unusable};
