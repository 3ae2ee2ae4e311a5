//! `peregrine reload`: what another configuration changes, then the change itself.

use hyper::Method;

use super::client::{Client, ClientError};
use super::table::{print_line, print_text};
use crate::api::types::ReloadReport;

/// Shows what the file changes; goes on by it unless it is only to be checked.
pub(super) async fn reload(client: &Client, check: bool, json: bool) -> Result<(), ClientError> {
    if json {
        let path = format!("/v1/reload?check={check}");
        let answer: serde_json::Value = client.fetch(Method::POST, &path).await?;
        return print_line(serde_json::to_string_pretty(&answer)?.as_bytes());
    }
    let ahead = client.fetch(Method::POST, "/v1/reload?check=true").await;
    if let (Err(ClientError::Unusable { .. }), false) = (&ahead, check) {
        // Who reads the daemon's log is to see that this was tried.
        let done: ReloadReport = client.fetch(Method::POST, "/v1/reload").await?;
        print_text(&text(&done))?;
        return print_line(b"reloaded");
    }
    let ahead: ReloadReport = ahead?;
    for warning in &ahead.warnings {
        eprintln!("warning: {warning}");
    }
    print_text(&text(&ahead))?;
    if check {
        return Ok(());
    }
    let done: ReloadReport = client.fetch(Method::POST, "/v1/reload").await?;
    if done.changes != ahead.changes {
        // Somebody wrote to the file in between.
        print_text(&text(&done))?;
    }
    print_line(b"reloaded")
}

fn text(report: &ReloadReport) -> String {
    if report.changes.is_empty() {
        return "no changes\n".to_owned();
    }
    let mut text: String = report.changes.iter().map(|change| format!("{}\n", change.text)).collect();
    let resets: Vec<String> = report.resets.iter().map(ToString::to_string).collect();
    text.push_str(&match resets.as_slice() {
        [] => "no session is reset\n".to_owned(),
        resets => format!("sessions reset: {}\n", resets.join(", ")),
    });
    text
}
