//! The keys of a neighbour that say how attributes of its routes are judged and rewritten, beside policy.

use std::net::IpAddr;

use bgp::policy::PolicyChain;
use bgp::rib::ImportRules;
use bgp::rib::out::PrivateAsns;
use bgp::role::Role;
use bgp::types::Family;
use figment::value::Value;

use crate::reader::{Read, Table, boolean, choice, number, parsed, shape};

/// How attributes of a neighbour's routes are judged and rewritten.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "each is a key of the configuration")]
pub struct AttributeOptions {
    /// How often our AS number may be in the AS path of what it sends.
    pub allow_own_asn: u8,
    /// Its routes must begin with its AS number, if it is external.
    pub enforce_first_as: bool,
    /// Routes with an `AS_SET` are treated as withdrawn (RFC 9774).
    pub refuse_as_sets: bool,
    /// Which private AS numbers it is not sent.
    pub remove_private_asns: Option<PrivateAsns>,
    /// Put our AS number in the place of its own in what it is sent.
    pub as_override: bool,
    /// Announce ourselves as next hop, also to internal peers.
    pub next_hop_self: bool,
    /// With it: of reflected routes too.
    pub next_hop_self_force: bool,
    /// Leave the next hop as it is, also to external peers.
    pub next_hop_unchanged: bool,
    /// What we announce as our next hop, by [`Family::index`]; `None`: our address on the link.
    pub next_hops: [Option<IpAddr>; Family::ALL.len()],
    /// Whether AIGP is exchanged (RFC 7311); `None`: with internal peers.
    pub aigp: Option<bool>,
    /// What we are towards it (RFC 9234).
    pub role: Option<Role>,
    /// It must say its role.
    pub role_strict: bool,
}

impl Default for AttributeOptions {
    fn default() -> Self {
        Self {
            allow_own_asn: 0,
            enforce_first_as: true,
            refuse_as_sets: false,
            remove_private_asns: None,
            as_override: false,
            next_hop_self: false,
            next_hop_self_force: false,
            next_hop_unchanged: false,
            next_hops: [None; Family::ALL.len()],
            aigp: None,
            role: None,
            role_strict: false,
        }
    }
}

impl AttributeOptions {
    /// Each key with its value, in words, and whether another value takes a new session.
    pub fn described(&self) -> Vec<(&'static str, String, bool)> {
        let next_hops: Vec<String> = self.next_hops.iter().flatten().map(ToString::to_string).collect();
        let or_no = |text: Option<String>| text.unwrap_or_else(|| "no".to_owned());
        let private =
            |private| WORDS.iter().find(|(_, known)| *known == private).map(|(word, _)| word.to_string());
        let yes = |set: bool| if set { "yes" } else { "no" }.to_owned();
        let next_hop_self =
            if self.next_hop_self_force { "force".to_owned() } else { yes(self.next_hop_self) };
        vec![
            ("allow-own-asn", self.allow_own_asn.to_string(), true),
            ("enforce-first-as", yes(self.enforce_first_as), true),
            ("refuse-as-sets", yes(self.refuse_as_sets), true),
            ("remove-private-asns", or_no(self.remove_private_asns.and_then(private)), false),
            ("as-override", yes(self.as_override), false),
            ("next-hop-self", next_hop_self, false),
            ("next-hop-unchanged", yes(self.next_hop_unchanged), false),
            ("next-hop", if next_hops.is_empty() { "no".to_owned() } else { next_hops.join(", ") }, false),
            ("aigp", self.aigp.map_or_else(|| "internal".to_owned(), yes), true),
            ("role", or_no(self.role.map(|role| role.to_string())), true),
            ("role-strict", yes(self.role_strict), true),
        ]
    }

    /// Those that are not as by default, in words.
    pub fn changed(&self) -> impl Iterator<Item = (&'static str, String)> {
        let default = Self::default().described();
        self.described()
            .into_iter()
            .zip(default)
            .filter(|(own, default)| own != default)
            .map(|((key, value, _), _)| (key, value))
    }

    /// The part that the routes it sends are judged by; `external`: it is in another AS.
    pub fn import_rules(&self, external: bool) -> ImportRules {
        ImportRules {
            allow_own_asn: self.allow_own_asn,
            aigp: self.aigp.unwrap_or(!external),
            refuse_as_sets: self.refuse_as_sets,
            role: self.role,
            last_choice: false,
        }
    }
}

const WORDS: [(&str, PrivateAsns); 4] = [
    ("if-all", PrivateAsns { only_if_all: true, replace: false }),
    ("all", PrivateAsns { only_if_all: false, replace: false }),
    ("replace-if-all", PrivateAsns { only_if_all: true, replace: true }),
    ("replace", PrivateAsns { only_if_all: false, replace: true }),
];

/// Reads the keys; `external`: the neighbour is in another AS, as far as that is known.
pub(crate) fn attributes(
    table: &mut Table<'_, '_>,
    external: Option<bool>,
    export: &PolicyChain,
) -> AttributeOptions {
    let default = AttributeOptions::default();
    let flag = |table: &mut Table<'_, '_>, key| table.optional(key, boolean).unwrap_or(false);
    let next_hop_self = table.optional("next-hop-self", next_hop_self).unwrap_or_default();
    let options = AttributeOptions {
        allow_own_asn: table
            .optional("allow-own-asn", |value| number(value, 0..=10, " (times in the AS path)"))
            .map_or(0, |times| times as u8),
        enforce_first_as: table.optional("enforce-first-as", boolean).unwrap_or(default.enforce_first_as),
        refuse_as_sets: flag(table, "refuse-as-sets"),
        remove_private_asns: table.optional("remove-private-asns", |value| choice(value, &WORDS)),
        as_override: flag(table, "as-override"),
        next_hop_self: next_hop_self.0,
        next_hop_self_force: next_hop_self.1,
        next_hop_unchanged: flag(table, "next-hop-unchanged"),
        next_hops: next_hops(table),
        aigp: table.optional("aigp", boolean),
        role: table.optional("role", |value| choice(value, &Role::WORDS)),
        role_strict: flag(table, "role-strict"),
    };
    check(table, &options, external, export);
    options
}

/// What cannot be meant.
fn check(table: &Table<'_, '_>, options: &AttributeOptions, external: Option<bool>, export: &PolicyChain) {
    let report = table.report();
    let error = |key: &str, reason: &str| report.error(&table.key(key), reason);
    if options.role_strict && options.role.is_none() {
        error("role-strict", "there is no role to insist on; expected role beside it");
    }
    let own = options.next_hop_self || options.next_hops.iter().any(Option::is_some);
    if options.next_hop_unchanged && own {
        let reason = "in conflict with next-hop-self and next-hop; expected one of them";
        error("next-hop-unchanged", reason);
    }
    if external == Some(false) {
        let only_external = [
            ("role", options.role.is_some()),
            ("as-override", options.as_override),
            ("remove-private-asns", options.remove_private_asns.is_some()),
        ];
        for (key, _) in only_external.into_iter().filter(|(_, set)| *set) {
            error(key, "for external neighbors only, and this one is in our AS; expected no such key");
        }
    }
    if external == Some(true) && options.next_hop_self_force {
        error("next-hop-self", "\"force\" is for internal neighbors; expected true or false");
    }
    if export.is_reject_all() && (options.as_override || options.remove_private_asns.is_some()) {
        let key = if options.as_override { "as-override" } else { "remove-private-asns" };
        report.warn(&table.key(key), "nothing is exported to this neighbor, so there is nothing to rewrite");
    }
}

/// Whether it is on, and for reflected routes too.
fn next_hop_self(value: &Value) -> Read<(bool, bool)> {
    match value {
        Value::Bool(_, on) => Ok((*on, false)),
        Value::String(_, word) if word == "force" => Ok((true, true)),
        other => Err(format!("{}; expected true, false or \"force\"", shape(other))),
    }
}

/// One address of each family.
fn next_hops(table: &mut Table<'_, '_>) -> [Option<IpAddr>; Family::ALL.len()] {
    let mut next_hops = [None; Family::ALL.len()];
    for (path, address) in table.list("next-hop", next_hop).unwrap_or_default() {
        let family = if address.is_ipv4() { Family::Ipv4Unicast } else { Family::Ipv6Unicast };
        if let Some(first) = next_hops[family.index()].replace(address) {
            let reason = format!("{address} beside {first}; expected one address of each family");
            table.report().error(&path, reason);
        }
    }
    next_hops
}

fn next_hop(value: &Value) -> Read<IpAddr> {
    let expected = "an IPv4 or IPv6 address that the neighbor can reach";
    let address: IpAddr = parsed(value, expected)?;
    if address.is_unspecified() || address.is_multicast() || address.is_loopback() {
        return Err(format!("{address} is no next hop; expected {expected}"));
    }
    Ok(address)
}
