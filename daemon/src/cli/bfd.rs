//! `peregrine show bfd`.

use super::client::{Client, ClientError};
use super::show::{get, print_json};
use super::table::{Align, Table, duration, print_text};
use crate::api::bfd::{BfdReport, BfdSession};
use crate::api::types::NeighborBfd;

use Align::{Left, Right};

pub(super) async fn show(client: &Client, json: bool) -> Result<(), ClientError> {
    const PATH: &str = "/v1/bfd";
    if json {
        return print_json(client, PATH).await;
    }
    let report: BfdReport = get(client, PATH).await?;
    if report.sessions.is_empty() {
        return print_text("No BFD sessions: no neighbor has the key `bfd`.\n");
    }
    let mut table = Table::new(&[
        ("Neighbor", Left),
        ("Interface", Left),
        ("State", Left),
        ("Since", Right),
        ("Local", Right),
        ("Remote", Right),
        ("Send", Right),
        ("Receive", Right),
        ("Detect", Right),
        ("In", Right),
        ("Out", Right),
        ("Notes", Left),
    ]);
    for session in &report.sessions {
        let hex = |number: u32| format!("{number:08x}");
        let or_dash = |text: Option<String>| text.unwrap_or_else(|| "-".to_owned());
        table.row(vec![
            session.neighbor.to_string(),
            if session.multihop { "(multihop)".to_owned() } else { or_dash(session.interface.clone()) },
            session.state.clone(),
            duration(session.since_seconds),
            hex(session.discriminator),
            or_dash(session.remote_discriminator.map(hex)),
            milliseconds(session.tx_interval_seconds),
            or_dash(session.rx_interval_seconds.map(milliseconds)),
            or_dash(session.detection_seconds.map(milliseconds)),
            session.received.to_string(),
            session.sent.to_string(),
            notes(session).join(", "),
        ]);
    }
    let mut text = table.render();
    let dropped: Vec<String> = report
        .dropped
        .iter()
        .filter(|(_, count)| **count > 0)
        .map(|(reason, count)| format!("{count} {reason}"))
        .collect();
    let dropped = if dropped.is_empty() { "none".to_owned() } else { dropped.join(", ") };
    text.push_str(&format!(
        "\nDropped of {} packets: {dropped}\nTimers late by {:.3} ms on average, {:.1} ms at most{}\n",
        report.received,
        report.timers.late_seconds_mean * 1000.0,
        report.timers.late_seconds_max * 1000.0,
        if report.real_time { "" } else { "; no real-time priority" }
    ));
    print_text(&text)
}

fn milliseconds(seconds: f64) -> String {
    format!("{:.0}ms", seconds * 1000.0)
}

/// What is out of the ordinary.
fn notes(session: &BfdSession) -> Vec<String> {
    let mut notes = Vec::new();
    if let Some(error) = &session.error {
        notes.push(error.clone());
    }
    if session.ending {
        notes.push("ending".to_owned());
    }
    if session.state != "Up" && session.remote_state != "Down" {
        notes.push(format!("neighbor {}", session.remote_state));
    }
    if let (Some(why), Some(seconds)) = (&session.last_down, session.last_down_seconds) {
        let times = if session.downs == 1 { "once".to_owned() } else { format!("{} times", session.downs) };
        notes.push(format!("down {times}, {} ago: {why}", duration(seconds)));
    }
    if session.remote_demand {
        notes.push("neighbor in demand mode".to_owned());
    }
    for (reason, count) in &session.dropped {
        notes.push(format!("{count} dropped: {reason}"));
    }
    notes
}

/// BFD with one neighbour, in a line.
pub(super) fn line(bfd: &NeighborBfd) -> String {
    let since = bfd.since_seconds.map(|seconds| format!(", for {}", duration(seconds)));
    let mut text = format!("{}{}", bfd.state, since.unwrap_or_default());
    if let (Some(why), Some(seconds)) = (&bfd.last_failure, bfd.last_failure_seconds) {
        text.push_str(&format!("; failed {} so far, {} ago: {why}", bfd.failures, duration(seconds)));
    }
    text
}
