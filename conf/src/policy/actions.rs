//! `set`: what a rule changes.
//!
//! Applied in a fixed order, whatever the order in the file: origin, local-pref, med, next-hop, then for each
//! kind of community set, remove, keep, add, and last as-path-remove and prepend.

use std::fmt::Display;
use std::net::IpAddr;
use std::str::FromStr;

use bgp::policy::{AsnSet, CommunityEdit, Modify, NextHopAction};
use bgp::types::Asn;
use figment::value::Value;

use crate::named::Named;
use crate::reader::{Read, Table, choice, number, number_or, parsed_or_said, shape, text};
use crate::sections::asn;

use super::lists::{Lists, asns, patterns};
use super::matches::ORIGINS;
use super::some;

/// More copies of an AS number than that are refused by many, and never help.
const MAX_PREPEND: u32 = 32;
/// What some expect, and the decision process does not know.
const UNSUPPORTED: &[&str] = &["weight"];

const OWN: &str = "self";
const PEER: &str = "peer-address";
const UNCHANGED: &str = "unchanged";
/// The first AS of the path, which was put there last.
const LAST_AS: &str = "last-as";

pub(super) fn actions(mut table: Table<'_, '_>, lists: &Lists) -> Vec<Modify> {
    let mut actions = Vec::new();
    actions.extend(table.optional("origin", |value| choice(value, ORIGINS)).map(Modify::Origin));
    actions.extend(table.optional("local-pref", local_pref));
    actions.extend(table.optional("med", med));
    next_hop(&mut table, &mut actions);
    let keys = ["community-set", "community-remove", "community-keep", "community-add"];
    actions.extend(edits(&mut table, keys, &lists.communities).into_iter().map(Modify::Communities));
    let keys =
        ["large-community-set", "large-community-remove", "large-community-keep", "large-community-add"];
    let named = &lists.large_communities;
    actions.extend(edits(&mut table, keys, named).into_iter().map(Modify::LargeCommunities));
    let keys = [
        "extended-community-set",
        "extended-community-remove",
        "extended-community-keep",
        "extended-community-add",
    ];
    let named = &lists.extended_communities;
    actions.extend(edits(&mut table, keys, named).into_iter().map(Modify::ExtendedCommunities));
    let removed = some(&mut table, "as-path-remove", |value| asns(value, &lists.asns));
    actions.extend(
        removed.map(|sets| {
            Modify::RemoveAsns(AsnSet::new(sets.iter().flat_map(|(_, set)| set.ranges()).copied()))
        }),
    );
    actions.extend(prepend(&mut table));
    table.finish(UNSUPPORTED);
    actions
}

/// The changes to one kind of communities, in the order in which they are made.
fn edits<T, P>(
    table: &mut Table<'_, '_>,
    [set, remove, keep, add]: [&'static str; 4],
    lists: &Named<Vec<P>>,
) -> Vec<CommunityEdit<T, P>>
where
    T: FromStr<Err: Display>,
    P: FromStr<Err: Display> + Clone,
{
    let value = |value: &Value| parsed_or_said::<T>(value, "a string or an array of strings");
    let pattern = |value: &Value| patterns(value, lists);
    let mut edits = Vec::new();
    // An empty list is an order here: it clears what was there.
    edits.extend(
        table
            .list(set, value)
            .map(|values| CommunityEdit::Set(values.into_iter().map(|(_, value)| value).collect())),
    );
    let all = |found: Vec<(_, Vec<P>)>| found.into_iter().flat_map(|(_, patterns)| patterns).collect();
    edits.extend(some(table, remove, pattern).map(|found| CommunityEdit::Remove(all(found))));
    edits.extend(some(table, keep, pattern).map(|found| CommunityEdit::Keep(all(found))));
    edits.extend(
        some(table, add, value)
            .map(|values| CommunityEdit::Add(values.into_iter().map(|(_, value)| value).collect())),
    );
    edits
}

/// A number to set, or a change to it.
enum Amount {
    Set(u32),
    By(i64),
}

/// `100`, `"+10"`, `"-10"`.
fn amount(value: &Value, expected: &str) -> Read<Amount> {
    let Value::String(_, text) = value else {
        return number_or(value, 0..=u32::MAX, expected).map(Amount::Set);
    };
    let wrong = || format!("\"{text}\" is a string; expected {expected}");
    let (sign, digits) = match (text.strip_prefix('+'), text.strip_prefix('-')) {
        (Some(digits), _) => (1, digits),
        (_, Some(digits)) => (-1, digits),
        _ => return Err(wrong()),
    };
    if !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(wrong());
    }
    digits.parse::<u32>().map(|number| Amount::By(sign * i64::from(number))).map_err(|_| wrong())
}

fn local_pref(value: &Value) -> Read<Modify> {
    let expected = "a number from 0 to 4294967295, or \"+N\" or \"-N\" to change it";
    Ok(match amount(value, expected)? {
        Amount::Set(value) => Modify::LocalPref(value),
        Amount::By(change) => Modify::LocalPrefBy(change),
    })
}

fn med(value: &Value) -> Read<Modify> {
    if matches!(value, Value::String(_, word) if word == "none") {
        return Ok(Modify::Med(None));
    }
    let expected = "a number from 0 to 4294967295, \"+N\" or \"-N\" to change it, or \"none\"";
    Ok(match amount(value, expected)? {
        Amount::Set(value) => Modify::Med(Some(value)),
        Amount::By(change) => Modify::MedBy(change),
    })
}

/// `"self"`, `"peer-address"`, `"unchanged"`, or one address of each family.
fn next_hop(table: &mut Table<'_, '_>, actions: &mut Vec<Modify>) {
    let report = table.report();
    let Some(values) = some(table, "next-hop", next_hop_action) else { return };
    let address = |action: &NextHopAction| match action {
        NextHopAction::Address(address) => Some(address.is_ipv4()),
        _ => None,
    };
    for (index, (path, action)) in values.iter().enumerate() {
        let alone = values.len() == 1 || address(action).is_some();
        if !alone || values[..index].iter().any(|(_, earlier)| address(earlier) == address(action)) {
            report.error(path, "too many next hops; expected one word, or one address of each family");
        }
    }
    actions.extend(values.into_iter().map(|(_, action)| Modify::NextHop(action)));
}

fn next_hop_action(value: &Value) -> Read<NextHopAction> {
    let expected = format!("\"{OWN}\", \"{PEER}\", \"{UNCHANGED}\", or an address of each family");
    let word = text(value, &expected)?;
    match word.as_str() {
        OWN => return Ok(NextHopAction::Own),
        PEER => return Ok(NextHopAction::PeerAddress),
        UNCHANGED => return Ok(NextHopAction::Unchanged),
        _ => {}
    }
    let address: IpAddr =
        word.parse().map_err(|_| format!("\"{word}\" is no next hop; expected {expected}"))?;
    let broadcast = address == std::net::Ipv4Addr::BROADCAST;
    if address.is_unspecified() || address.is_multicast() || broadcast || address.to_canonical() != address {
        return Err(format!("{address} is not the address of a host; expected one unicast address"));
    }
    Ok(NextHopAction::Address(address))
}

/// `prepend = 2`, `prepend = [64500, 64501]`, or `prepend = { asn = 65000, count = 2 }`.
fn prepend(table: &mut Table<'_, '_>) -> Option<Modify> {
    let count = |value: &Value| number(value, 1..=MAX_PREPEND, " (times)");
    match table.peek("prepend") {
        Some(Value::Dict(..)) => {
            let mut table = table.table("prepend")?;
            let asn = table.optional("asn", prepended);
            let count = table.optional("count", count).unwrap_or(1) as u8;
            table.finish(&[]);
            Some(match asn {
                Some(Prepended::LastAs) => Modify::PrependFirst { count },
                Some(Prepended::Asn(asn)) => Modify::Prepend { asn: Some(asn), count },
                None => Modify::Prepend { asn: None, count },
            })
        }
        Some(Value::Array(..)) => {
            let (report, path) = (table.report(), table.key("prepend"));
            let asns = some(table, "prepend", asn)?;
            if asns.len() > MAX_PREPEND as usize {
                let reason =
                    format!("{} AS numbers are too many; expected at most {MAX_PREPEND}", asns.len());
                report.error(&path, reason);
            }
            Some(Modify::PrependAsns(asns.into_iter().map(|(_, asn)| asn).collect()))
        }
        _ => {
            let count = table.optional("prepend", |value| match value {
                Value::Num(..) => count(value),
                other => Err(format!(
                    "{}; expected how many times, an array of AS numbers, or {{ asn = ASN, count = N }}",
                    shape(other)
                )),
            })?;
            Some(Modify::Prepend { asn: None, count: count as u8 })
        }
    }
}

enum Prepended {
    LastAs,
    Asn(Asn),
}

fn prepended(value: &Value) -> Read<Prepended> {
    match value {
        Value::String(_, word) if word == LAST_AS => Ok(Prepended::LastAs),
        Value::String(_, word) => Err(format!(
            "\"{word}\" is a string; expected an AS number, or \"{LAST_AS}\" for the path's first"
        )),
        value => asn(value).map(Prepended::Asn),
    }
}
