//! Malformed input over real connections: what each RFC demands, and what BIRD does with the same
//! bytes.
//!
//! [`case`] says what a row of the table is; [`headers`], [`updates`] and [`extensions`] are the table. One daemon
//! takes them all, each over a session of its own. After each, a neighbour that has done nothing
//! still has its session and all routes, and so have the sessions that survived their own case.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use testbed::capture::Capture;
use testbed::daemon::{self, Daemon};
use testbed::feeder::{Feeder, FeederConfig};
use testbed::netns::{Namespace, Sandbox};
use testbed::peers::bird::{self, Bird};
use testbed::speaker::{self, PathAttributes};
use testbed::{capture, skip};

use crate::arena::{WITNESS, WITNESS_ASN, address, attack, host};
use crate::case::{Case, Reaction};

mod arena;
mod case;
mod craft;
mod extensions;
mod headers;
mod updates;

const ROUTES: u64 = 50;

fn table() -> Vec<Case> {
    let parts = [
        headers::headers(),
        headers::opens(),
        headers::states(),
        updates::structure(),
        updates::mandatory_attributes(),
        updates::other_attributes(),
        updates::multiprotocol(),
        extensions::add_path(),
        extensions::refreshes(),
        extensions::roles(),
        extensions::long_messages(),
    ];
    parts.into_iter().flatten().collect()
}

#[test]
fn every_malformed_message_is_answered_as_its_rfc_demands() -> Result<()> {
    if !daemon::ready("malformed::every_malformed_message_is_answered_as_its_rfc_demands", &[]) {
        return Ok(());
    }
    let cases = table();
    let names: BTreeSet<&str> = cases.iter().map(|case| case.name.as_str()).collect();
    ensure!(names.len() == cases.len(), "two cases have the same name");
    ensure!(cases.len() <= 240, "{} cases do not fit into the network", cases.len());
    let sandbox = Sandbox::new("malformed")?;
    let (router, outside) = arena::network(&sandbox, cases.len())?;
    let capture = skip::installed(&capture::PROGRAMS)
        .then(|| Capture::start(&sandbox, &router, "lan", "tcp port 179 and src host 10.99.1.1"))
        .transpose()?;
    let mut daemon = Daemon::start(&sandbox, &router, &arena::daemon_config(&cases))?;
    let witness = witness(&outside)?;
    daemon.wait_count("10.99.1.10", "ipv4-unicast", "best", ROUTES, Duration::from_secs(10))?;

    let mut wrong = Vec::new();
    let mut alive = Vec::new();
    for (index, case) in cases.iter().enumerate() {
        let said = match attack(&daemon, &outside, case, host(index), case.expected) {
            Err(error) => Some(format!("{error:#}")),
            Ok(outcome) => {
                let field = case.empty.map(|field| (field, &outcome.path[field]));
                let kept = field.filter(|(_, value)| {
                    !(value.is_null() || **value == false || **value == serde_json::json!([]))
                });
                let said = (outcome.reaction != case.expected).then(|| format!("{:?}", outcome.reaction));
                let said = said.or_else(|| kept.map(|(field, value)| format!("{field} is {value}")));
                if !matches!(outcome.reaction, Reaction::Reset(..) | Reaction::Closed) {
                    alive.push((host(index), outcome));
                }
                said
            }
        };
        if let Some(said) = said {
            wrong.push(format!("{}: {said}, {} asks for {:?}", case.name, case.source, case.expected));
        }
        daemon.process().ensure_running().with_context(|| format!("after {}", case.name))?;
        untouched(&daemon, &witness, &alive.iter().map(|(host, _)| *host).collect::<Vec<_>>())
            .with_context(|| format!("after {}", case.name))?;
    }
    ensure!(wrong.is_empty(), "{} of {} cases:\n{}", wrong.len(), cases.len(), wrong.join("\n"));
    if let Some(capture) = capture {
        capture.stop_well_formed()?;
    }
    let log = daemon.process().log_text();
    ensure!(!log.contains("panicked"), "the daemon panicked:\n{log}");
    Ok(())
}

/// A neighbour with routes that nobody else has.
fn witness(outside: &Namespace) -> Result<Feeder> {
    let config = FeederConfig {
        local: address(WITNESS).into(),
        remote: "10.99.1.1:179".parse()?,
        asn: WITNESS_ASN,
        router_id: address(WITNESS),
        hold_time: 90,
    };
    let witness = outside.enter(|| Feeder::connect(&config, Duration::from_secs(10)))?;
    let prefixes = (0..ROUTES).map(|i| format!("10.98.{i}.0/24").parse()).collect::<Result<Vec<_>, _>>()?;
    let mut messages = Vec::new();
    speaker::announce(&mut messages, &PathAttributes::new(vec![WITNESS_ASN], config.local), &prefixes);
    witness.send(&messages)?;
    Ok(witness)
}

/// The witness and the sessions that should live do, with all routes.
fn untouched(daemon: &Daemon, witness: &Feeder, alive: &[u8]) -> Result<()> {
    ensure!(witness.closed().is_none(), "the witness lost its session: {:?}", witness.closed());
    let summary: Value = serde_json::from_str(&daemon.get("/v1/summary")?).context("the summary")?;
    let neighbors = summary["neighbors"].as_array().context("no neighbors")?;
    let of_witness = neighbors.iter().find(|neighbor| neighbor["address"] == "10.99.1.10");
    let best = of_witness.map(|neighbor| &neighbor["families"]["ipv4-unicast"]["best"]);
    ensure!(best.and_then(Value::as_u64) == Some(ROUTES), "{best:?} routes of the witness are left");
    let up: Vec<&str> = neighbors
        .iter()
        .filter(|neighbor| neighbor["state"] == "Established")
        .filter_map(|neighbor| neighbor["address"].as_str())
        .collect();
    for host in alive {
        ensure!(up.contains(&address(*host).to_string().as_str()), "{} lost its session", address(*host));
    }
    Ok(())
}

#[test]
fn bird_answers_the_same_bytes_as_the_table_says() -> Result<()> {
    if !skip::ready("malformed::bird_answers_the_same_bytes_as_the_table_says", &bird::PROGRAMS) {
        return Ok(());
    }
    let cases = table();
    let sandbox = Sandbox::new("malformed-bird")?;
    let (router, outside) = arena::network(&sandbox, cases.len())?;
    let bird = Bird::start(&sandbox, &router, "bird", &arena::bird_config(&cases))?;
    let mut wrong = Vec::new();
    for (index, case) in cases.iter().enumerate() {
        let (expected, why) = match case.bird {
            case::Bird::Same => (case.expected, "the same"),
            case::Bird::Differs(reaction, why) => (reaction, why),
        };
        let said = match attack(&bird, &outside, case, host(index), expected) {
            Err(error) => format!("{error:#}"),
            Ok(outcome) if outcome.reaction == expected => continue,
            Ok(outcome) => format!("{:?}", outcome.reaction),
        };
        wrong.push(format!("{}: BIRD: {said}, expected {expected:?} ({why})", case.name));
    }
    ensure!(wrong.is_empty(), "{} of {} cases:\n{}", wrong.len(), cases.len(), wrong.join("\n"));
    Ok(())
}
