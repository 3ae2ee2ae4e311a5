//! The timers of a session: keys of `[[neighbor]]`, all in seconds.

use std::time::Duration;

use bgp::session::SendHoldTime;
use bgp::types::HoldTime;
use figment::value::Value;

use crate::config::Neighbor;
use crate::reader::{Read, Table, number, number_or};

/// What the keys say.
pub(crate) struct Timers {
    pub(crate) hold_time: HoldTime,
    pub(crate) keepalive: Option<Duration>,
    pub(crate) min_hold_time: HoldTime,
    pub(crate) send_hold_time: SendHoldTime,
    pub(crate) connect_retry: Duration,
    pub(crate) refresh_stale_time: Duration,
}

/// Reads the keys, and checks them against each other.
pub(crate) fn timers(table: &mut Table<'_, '_>) -> Timers {
    let report = table.report();
    let hold_time = table.optional("hold-time", hold_time).unwrap_or_default();
    let path = table.key("keepalive");
    let keepalive = table.optional("keepalive", |value| number(value, 1..=21_845, " (seconds)"));
    let keepalive = keepalive.map(|seconds| Duration::from_secs(seconds.into()));
    if let (Some(interval), Some(third)) = (keepalive, hold_time.keepalive())
        && interval > third
    {
        let seconds = interval.as_secs();
        report.error(
            &path,
            format!("{seconds} is more than a third of the hold time, {hold_time}; expected at most that"),
        );
    }
    let path = table.key("min-hold-time");
    let min_hold_time = table.optional("min-hold-time", min_hold_time).unwrap_or(HoldTime::SHORTEST);
    if min_hold_time > hold_time && !hold_time.is_zero() {
        let seconds = min_hold_time.as_secs();
        report.error(&path, format!("{seconds} is more than hold-time, {hold_time}; expected at most that"));
    }
    let path = table.key("send-hold-time");
    let send_hold_time = table.optional("send-hold-time", send_hold_time).unwrap_or_default();
    if let (SendHoldTime::After(time), Some(hold_time)) = (send_hold_time, hold_time.duration())
        && time < hold_time
    {
        let (seconds, hold) = (time.as_secs(), hold_time.as_secs());
        report.error(
            &path,
            format!("{seconds} is less than hold-time, {hold} s; expected at least that (RFC 9687), or 0 for never"),
        );
    }
    let connect_retry = table.optional("connect-retry", retry).unwrap_or(Neighbor::DEFAULT_CONNECT_RETRY);
    let refresh_stale_time = table
        .optional("refresh-stale-time", refresh_stale_time)
        .unwrap_or(Neighbor::DEFAULT_REFRESH_STALE_TIME);
    Timers { hold_time, keepalive, min_hold_time, send_hold_time, connect_retry, refresh_stale_time }
}

fn hold_time(value: &Value) -> Read<HoldTime> {
    let expected = "0 (no keepalives) or 3 to 65535 seconds";
    let seconds = number_or(value, 0..=u16::MAX.into(), expected)?;
    HoldTime::new(seconds as u16)
        .ok_or_else(|| format!("{seconds} is forbidden by RFC 4271, section 4.2; expected {expected}"))
}

fn min_hold_time(value: &Value) -> Read<HoldTime> {
    let seconds = number(value, 3..=u16::MAX.into(), " (seconds)")?;
    // Never shorter, by the line above.
    Ok(HoldTime::new(seconds as u16).unwrap_or(HoldTime::SHORTEST))
}

fn send_hold_time(value: &Value) -> Read<SendHoldTime> {
    let seconds = number_or(value, 0..=u32::from(u16::MAX) * 2, "0 (never), or at least the hold time")?;
    Ok(match seconds {
        0 => SendHoldTime::Off,
        seconds => SendHoldTime::After(Duration::from_secs(seconds.into())),
    })
}

fn refresh_stale_time(value: &Value) -> Read<Duration> {
    number(value, 1..=86_400, " (seconds)").map(|seconds| Duration::from_secs(seconds.into()))
}

fn retry(value: &Value) -> Read<Duration> {
    number(value, 1..=3_600, " (seconds)").map(|seconds| Duration::from_secs(seconds.into()))
}
