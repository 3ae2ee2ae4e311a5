//! The session state machine from outside: single sessions against a table and against chance, and
//! pairs of sessions over an in-memory network under a virtual clock.

mod collision;
mod graceful;
mod messages;
mod net;
mod pair;
mod random;
mod restart;
mod table;
mod timers;
