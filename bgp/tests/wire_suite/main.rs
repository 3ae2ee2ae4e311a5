//! Tests of the wire format from outside: what a peer's bytes become, and what a peer would read.

mod encoding;
mod messages;
mod properties;
mod rfc7606;
mod speed;
mod support;
mod vectors;
