//! Dynamic neighbours: `[[neighbor-range]]`.
//!
//! A range says of which prefix and of which AS numbers neighbours may connect to us, how many at a time, and,
//! with the keys of a neighbour, how their sessions are.

use bgp::policy::{AsnSet, NumberPattern, Policy};
use bgp::types::Asn;
use figment::value::Value;
use ipnet::IpNet;

use crate::config::{FibConf, Neighbor, NeighborRange, Router};
use crate::group::Groups;
use crate::named::Named;
use crate::neighbor;
use crate::policy::asn_range;
use crate::reader::{Read, Table, number};
use crate::restart;
use crate::sections::{self, unique};

/// What only makes sense where we connect.
const FOR_CONNECTING: [&str; 2] = ["port", "connect-retry"];

const ASNS: &str = "an AS number or a range \"64512-65534\", or an array of them";

pub(crate) fn ranges(
    root: &mut Table<'_, '_>,
    router: Option<&Router>,
    fib: &FibConf,
    policies: &Named<Policy>,
    groups: &Groups,
) -> Vec<NeighborRange> {
    let report = root.report();
    let (mut prefixes, mut ranges) = (Vec::new(), Vec::new());
    for table in root.tables("neighbor-range") {
        let path = table.key("prefix");
        let (prefix, range) = range(table, router, fib, policies, groups);
        prefixes.extend(prefix.map(|prefix| (path, prefix)));
        ranges.extend(range);
    }
    unique(report, &prefixes, |prefix| *prefix);
    ranges
}

/// Whether all of these AS numbers are another than the one that we are of towards them; `None`: some are.
fn is_external(asns: &AsnSet, ours: Asn) -> Option<bool> {
    let internal = AsnSet::new([NumberPattern::exactly(ours.0)]);
    if *asns == internal { Some(false) } else { (!asns.contains(ours)).then_some(true) }
}

/// Reads one. Its prefix comes back even if something else in it is wrong.
fn range(
    mut table: Table<'_, '_>,
    router: Option<&Router>,
    fib: &FibConf,
    policies: &Named<Policy>,
    groups: &Groups,
) -> (Option<IpNet>, Option<NeighborRange>) {
    let report = table.report();
    for key in FOR_CONNECTING {
        if table.has(key) {
            let reason = "dynamic neighbors connect to us, never we to them; expected no such key";
            report.error(&table.key(key), reason);
        }
    }
    if matches!(table.peek("passive"), Some(Value::Bool(_, false))) {
        let reason =
            "who a dynamic neighbor is shows when it connects, so it is always passive; expected true";
        report.error(&table.key("passive"), reason);
    }
    let group = groups.inherit(&mut table);
    let prefix = table.required("prefix", sections::PREFIX, prefix);
    let errors = report.error_count();
    let asns = table.required_list("asn", ASNS, asns);
    if asns.as_ref().is_some_and(Vec::is_empty) && report.error_count() == errors {
        report.error(&table.key("asn"), format!("no AS number; expected {ASNS}"));
    }
    let limit =
        table.optional("limit", |value| number(value, 1..=NeighborRange::LARGEST_LIMIT, " (neighbors)"));
    let asns = asns.map(|asns| AsnSet::new(asns.into_iter().map(|(_, asns)| asns)));
    let keys = neighbor::keys(&mut table, policies, router, |ours| is_external(asns.as_ref()?, ours));
    let range = prefix.zip(asns).map(|(prefix, asns)| NeighborRange {
        prefix,
        asns,
        limit: limit.unwrap_or(NeighborRange::DEFAULT_LIMIT),
        template: Neighbor { group, range: Some(prefix), passive: true, ..keys },
    });
    if let Some(range) = &range {
        if range.template.local_address.is_some_and(|local| local.is_ipv4() != range.prefix.addr().is_ipv4())
        {
            let reason =
                format!("neighbors in {} cannot reach it; expected an address of their family", range.prefix);
            report.error(&table.key("local-address"), reason);
        }
        restart::check(&table, &range.template, fib);
        if let Some(router) = router {
            if is_external(&range.asns, range.template.session_asn(router)) != Some(false) {
                let who = format!("external neighbors in {}", range.prefix);
                neighbor::warn_without_policy(&table, &range.template, &who);
            }
            if router.listen.is_empty() && !range.template.shutdown {
                report.warn(&table.key("prefix"), "no neighbor can come up: router.listen is empty");
            }
        }
    }
    table.finish(&[]);
    (prefix, range)
}

fn asns(value: &Value) -> Read<NumberPattern> {
    match value {
        Value::Num(..) => sections::asn(value).map(|asn| NumberPattern::exactly(asn.0)),
        other => asn_range(other, ASNS),
    }
}

fn prefix(value: &Value) -> Read<IpNet> {
    let prefix = sections::network_prefix(value)?;
    if matches!(prefix, IpNet::V6(net) if net.network().is_unicast_link_local()) {
        return Err(format!(
            "neighbors of a link are configured one by one: {prefix}; expected global addresses"
        ));
    }
    Ok(prefix)
}
