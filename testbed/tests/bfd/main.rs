//! BFD with BIRD and FRR: loss is noticed within milliseconds, and nothing else ends a session.

mod attack;
mod failover;
mod partners;
mod scene;
