//! Graceful restart, of a neighbour and with its help our own: `graceful-restart`, `stale-routes-time` and
//! `long-lived-graceful-restart`; and the times of our own in `[router]`.

use std::time::Duration;

use bgp::session::GracefulHelper;
use bgp::types::Family;
use bgp::wire::{GracefulRestart, LongLivedRestart};
use figment::value::Value;

use crate::config::{FibConf, Neighbor};
use crate::reader::{Read, Table, boolean, choice, number};

const KEY: &str = "graceful-restart";

/// What `graceful-restart` says.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Mode {
    /// Help, and be helped.
    On,
    /// Help only.
    Helper,
    Off,
}

const WORDS: &[(&str, Mode)] = &[("on", Mode::On), ("helper", Mode::Helper), ("off", Mode::Off)];

/// Longest time that selection may be deferred for: an hour.
const LONGEST_DEFERRAL: u32 = 3600;

/// Longest time for which stale routes may be kept without being long-lived ones: a day.
const LONGEST: u32 = 86_400;

/// Reads the keys of a neighbour: how it is helped, and whether it is asked to help, where that is said.
pub(crate) fn restart(table: &mut Table<'_, '_>) -> (Option<GracefulHelper>, Option<bool>) {
    let default = GracefulHelper::default();
    let written = table.optional(KEY, mode);
    let helps = written != Some(Mode::Off);
    if !helps {
        for key in ["stale-routes-time", "long-lived-graceful-restart"] {
            if table.has(key) {
                let reason = "has no effect with graceful-restart = \"off\"; expected no such key";
                table.report().error(&table.key(key), reason);
            }
        }
    }
    let stale_routes_time = table.optional("stale-routes-time", seconds).unwrap_or(default.stale_routes_time);
    let long_lived = long_lived(table);
    let helper = GracefulHelper {
        stale_routes_time,
        long_lived: long_lived.unwrap_or_default(),
        long_lived_aware: long_lived.is_some(),
    };
    (helps.then_some(helper), written.map(|mode| mode == Mode::On))
}

fn mode(value: &Value) -> Read<Mode> {
    match value {
        Value::Bool(_, true) => Ok(Mode::On),
        Value::Bool(_, false) => Ok(Mode::Off),
        word => choice(word, WORDS),
    }
}

/// Nobody is to keep routes to a router that does not forward meanwhile.
pub(crate) fn check(table: &Table<'_, '_>, neighbor: &Neighbor, fib: &FibConf) {
    if neighbor.own_restart != Some(true) || fib.outlives_daemon() {
        return;
    }
    let why = if fib.interfaces.is_empty() {
        "[fib] names no interfaces"
    } else {
        "[fib] keep-forwarding is false"
    };
    let reason =
        format!("{why}: nothing is forwarded here while the daemon restarts; expected \"helper\" or \"off\"");
    table.report().error(&table.key(KEY), reason);
}

/// `restart-time` and `deferral-time` of `[router]`.
pub(crate) fn times(table: &mut Table<'_, '_>) -> (Option<u16>, Option<Duration>) {
    let longest = GracefulRestart::LONGEST.into();
    let restart = table
        .optional("restart-time", |value| number(value, 1..=longest, " (seconds)").map(|time| time as u16));
    let deferral = table.optional("deferral-time", |value| {
        number(value, 1..=LONGEST_DEFERRAL, " (seconds)").map(|seconds| Duration::from_secs(seconds.into()))
    });
    (restart, deferral)
}

/// `true`, or the longest times by family; `None`: off.
fn long_lived(table: &mut Table<'_, '_>) -> Option<[Duration; Family::ALL.len()]> {
    const KEY: &str = "long-lived-graceful-restart";
    let longest = Duration::from_secs(LongLivedRestart::LONGEST.into());
    if !table.has_table(KEY) {
        let expected = |_| "expected true, false, or a table of families with seconds".to_owned();
        let on = table.optional(KEY, |value| boolean(value).map_err(expected)).unwrap_or(false);
        return on.then_some([longest; Family::ALL.len()]);
    }
    let mut times = table.table(KEY)?;
    let read = Family::ALL.map(|family| {
        let time = |value: &Value| number(value, 0..=LongLivedRestart::LONGEST, " (seconds)");
        times.optional(family.as_str(), time).map_or(longest, |seconds| Duration::from_secs(seconds.into()))
    });
    times.finish(&[]);
    Some(read)
}

fn seconds(value: &Value) -> Read<Duration> {
    number(value, 1..=LONGEST, " (seconds)").map(|seconds| Duration::from_secs(seconds.into()))
}

/// What is configured, in a line.
pub(crate) fn written(helper: Option<&GracefulHelper>, own: Option<bool>) -> String {
    let Some(helper) = helper else { return "off".to_owned() };
    let mode = match own {
        Some(true) => "on",
        Some(false) => "helper",
        None => "as forwarding is kept",
    };
    let mut text = format!("{mode}, stale routes for {}s", helper.stale_routes_time.as_secs());
    if helper.long_lived_aware {
        for (family, time) in Family::ALL.into_iter().zip(helper.long_lived) {
            text.push_str(&format!(", long-lived {family} for {}s", time.as_secs()));
        }
    }
    text
}
