//! How a neighbour's restart is helped: `graceful-restart`, `stale-routes-time` and
//! `long-lived-graceful-restart`.

use std::time::Duration;

use bgp::session::GracefulHelper;
use bgp::types::Family;
use bgp::wire::LongLivedRestart;
use figment::value::Value;

use crate::reader::{Read, Table, boolean, choice, number};

/// Whether to help.
const WORDS: &[(&str, bool)] = &[("helper", true), ("off", false)];

/// Longest time for which stale routes may be kept without being long-lived ones: a day.
const LONGEST: u32 = 86_400;

/// Reads the keys of a neighbour.
pub(crate) fn helper(table: &mut Table<'_, '_>) -> Option<GracefulHelper> {
    let default = GracefulHelper::default();
    let helps = table.optional("graceful-restart", |value| choice(value, WORDS)).unwrap_or(true);
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
    helps.then_some(helper)
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
pub(crate) fn written(helper: Option<&GracefulHelper>) -> String {
    let Some(helper) = helper else { return "off".to_owned() };
    let mut text = format!("helper, stale routes for {}s", helper.stale_routes_time.as_secs());
    if helper.long_lived_aware {
        for (family, time) in Family::ALL.into_iter().zip(helper.long_lived) {
            text.push_str(&format!(", long-lived {family} for {}s", time.as_secs()));
        }
    }
    text
}
