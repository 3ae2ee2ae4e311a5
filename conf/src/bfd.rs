//! How fast a neighbour's loss is noticed: `bfd` of `[[neighbor]]` (RFC 5880, RFC 5882).

use std::fmt;
use std::time::Duration;

use figment::value::Value;

use crate::reader::{Read, Table, boolean, number, text};

/// Bidirectional forwarding detection with a neighbour. The defaults are FRR's: 300 ms, and three packets lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bfd {
    /// Least interval at which we send.
    pub min_tx: Duration,
    /// Least interval at which we want to receive.
    pub min_rx: Duration,
    /// Packets of ours that may be lost in a row.
    pub multiplier: u8,
    /// Over several hops (RFC 5883), or on the link alone (RFC 5881); `None`: as the session.
    pub multihop: Option<bool>,
    /// Packets over several hops that arrive with less are dropped.
    pub minimum_ttl: Option<u8>,
    /// Keep the routes of a neighbour that restarts gracefully, unless it says that its BFD is independent of its
    /// control plane (RFC 5882 section 4.3).
    pub graceful: bool,
}

impl Bfd {
    const SHORTEST: Duration = Duration::from_millis(10);
    const LONGEST: Duration = Duration::from_mins(1);
}

impl Default for Bfd {
    fn default() -> Self {
        Self {
            min_tx: Duration::from_millis(300),
            min_rx: Duration::from_millis(300),
            multiplier: 3,
            multihop: None,
            minimum_ttl: None,
            graceful: false,
        }
    }
}

impl fmt::Display for Bfd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (tx, rx) = (self.min_tx.as_millis(), self.min_rx.as_millis());
        write!(f, "{{ min-tx = {tx}ms, min-rx = {rx}ms, multiplier = {}", self.multiplier)?;
        if let Some(multihop) = self.multihop {
            write!(f, ", multihop = {multihop}")?;
        }
        if let Some(ttl) = self.minimum_ttl {
            write!(f, ", minimum-ttl = {ttl}")?;
        }
        if self.graceful {
            f.write_str(", graceful = true")?;
        }
        f.write_str(" }")
    }
}

/// Reads the key of a neighbour: `true`, `false`, or a table.
pub(crate) fn bfd(table: &mut Table<'_, '_>) -> Option<Bfd> {
    const KEY: &str = "bfd";
    let default = Bfd::default();
    if !table.has_table(KEY) {
        let expected = |_| {
            "expected true, false, or { min-tx = \"300ms\", min-rx = \"300ms\", multiplier = 3 }".to_owned()
        };
        let on = table.optional(KEY, |value| boolean(value).map_err(expected)).unwrap_or(false);
        return on.then_some(default);
    }
    let mut keys = table.table(KEY)?;
    let bfd = Bfd {
        min_tx: keys.optional("min-tx", interval).unwrap_or(default.min_tx),
        min_rx: keys.optional("min-rx", interval).unwrap_or(default.min_rx),
        multiplier: keys.optional("multiplier", multiplier).unwrap_or(default.multiplier),
        multihop: keys.optional("multihop", boolean),
        minimum_ttl: keys.optional("minimum-ttl", ttl),
        graceful: keys.optional("graceful", boolean).unwrap_or(default.graceful),
    };
    if bfd.minimum_ttl.is_some() && bfd.multihop == Some(false) {
        let reason = "on a link packets must always arrive with 255; expected this only over several hops";
        keys.report().error(&keys.key("minimum-ttl"), reason);
    }
    keys.finish(&[]);
    Some(bfd)
}

fn multiplier(value: &Value) -> Read<u8> {
    number(value, 1..=u8::MAX.into(), " (packets)").map(|packets| packets as u8)
}

fn ttl(value: &Value) -> Read<u8> {
    number(value, 1..=u8::MAX.into(), "").map(|ttl| ttl as u8)
}

/// A whole number with its unit.
fn interval(value: &Value) -> Read<Duration> {
    let expected = "a time from \"10ms\" to \"60s\"";
    let written = text(value, expected)?;
    let read = |digits: &str, unit: fn(u64) -> Duration| digits.trim_end().parse().ok().map(unit);
    let time = match written.strip_suffix("ms") {
        Some(digits) => read(digits, Duration::from_millis),
        None => written.strip_suffix('s').and_then(|digits| read(digits, Duration::from_secs)),
    };
    let Some(time) = time else { return Err(format!("\"{written}\" is not a time; expected {expected}")) };
    if (Bfd::SHORTEST..=Bfd::LONGEST).contains(&time) {
        Ok(time)
    } else {
        Err(format!("\"{written}\" is out of range; expected {expected}"))
    }
}
