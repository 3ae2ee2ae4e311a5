//! The `fib` crate as its users see it, in one program.

mod commit;
mod common;
mod failover;
mod lookup;
mod ortc;
